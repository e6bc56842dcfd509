//! `issuers:`

use schemars::JsonSchema;
use serde::Deserialize;

use super::scalar::{Secret, Span, Text};

/// Who issues tokens and how they are checked.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Issuer {
    /// The exact `iss` of its tokens.
    pub issuer: Text,
    /// Tenants of the provider whose tokens are taken, at most 256. For each of them, `{tenant}` in `issuer`, `audiences`,
    /// `discovery` and `jwks.url` stands for it. Default: the provider has none.
    #[serde(default)]
    pub tenants: Option<Vec<Text>>,
    /// A token's `aud` must name one of these.
    pub audiences: Vec<Text>,
    /// Signature algorithms. Default: RS256, RS384, RS512, PS256, PS384, PS512, ES256, ES384, EdDSA.
    #[serde(default)]
    pub algorithms: Option<Vec<String>>,
    /// Where its keys are, and how they are fetched. An issuer has at least one of `jwks`, `discovery` and `introspection`.
    #[serde(default)]
    pub jwks: Option<Jwks>,
    /// Keys are where its metadata say (OpenID Connect Discovery, RFC 8414): `true`, or where the metadata are.
    #[serde(default)]
    pub discovery: Option<Discovery>,
    /// It is asked about tokens (RFC 7662).
    #[serde(default)]
    pub introspection: Option<Introspection>,
    /// Tolerance for `exp`, `nbf` and `iat`, at most 5m. Default: 30s.
    #[serde(default)]
    pub clock_skew: Option<Span>,
    /// Longest accepted `exp` − `iat`. Default: no bound.
    #[serde(default)]
    pub max_lifetime: Option<Span>,
    /// Accepted `typ` headers. Default: absent, `JWT` and `at+jwt` (RFC 9068).
    #[serde(default)]
    pub token_types: Option<Vec<String>>,
    /// Which claims say what.
    #[serde(default)]
    pub claims: ClaimPaths,
}

/// Where an issuer's metadata are.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(untagged, expecting = "expected `true`, or the URL of the metadata")]
pub enum Discovery {
    /// Where the standards put them. `false`: nowhere.
    Standard(bool),
    /// There.
    Url(Text),
}

/// How an issuer is asked about tokens.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Introspection {
    /// Where it is asked.
    pub url: Text,
    /// Who we are there.
    pub client_id: Text,
    /// How we prove it.
    pub client_secret: Secret,
    /// PEM file of the CAs that may have issued the certificate of `url`. Default: the system's.
    #[serde(default)]
    pub ca: Option<Text>,
    /// How long an answer about an active token is good, 1s to 5m and at most until its `exp`. Default: 45s.
    #[serde(default)]
    pub cache: Option<Span>,
    /// How long any other answer is good, 1s to 1m. Default: 5s.
    #[serde(default)]
    pub negative_cache: Option<Span>,
    /// Deadline of one question, 100ms to 30s. Default: 3s.
    #[serde(default)]
    pub timeout: Option<Span>,
    /// Whether an answer without `aud` is taken. Default: false.
    #[serde(default)]
    pub audience_optional: bool,
    /// How it answers: `json`, or `jwt`, signed with the keys of `jwks` or `discovery` (RFC 9701). An answer in the other form
    /// is none. Default: json.
    #[serde(default)]
    pub response: IntrospectionResponse,
}

/// How an issuer answers questions about tokens.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum IntrospectionResponse {
    /// As JSON.
    #[default]
    Json,
    /// Signed.
    Jwt,
}

/// A key set (RFC 7517): exactly one of `url`, `file` and `inline`; none of them beside `discovery`.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Jwks {
    /// Fetched and kept fresh.
    #[serde(default)]
    pub url: Option<Text>,
    /// A file, read when the configuration is loaded.
    #[serde(default)]
    pub file: Option<Text>,
    /// The JSON text itself.
    #[serde(default)]
    pub inline: Option<Text>,
    /// PEM file of the CAs that may have issued the certificate of `url`. Default: the system's.
    #[serde(default)]
    pub ca: Option<Text>,
    /// How long fetched keys are fresh, 10s to 1h. Default: 5m.
    #[serde(default)]
    pub cache: Option<Span>,
    /// How long keys that cannot be refreshed stay in use, at least `cache`. Default: 1h.
    #[serde(default)]
    pub max_stale: Option<Span>,
    /// Least time between two fetches because of an unknown `kid`, unless the last one brought new keys. Default: 10s.
    #[serde(default)]
    pub cooldown: Option<Span>,
    /// Deadline of one fetch, 100ms to 30s. Default: 3s.
    #[serde(default)]
    pub timeout: Option<Span>,
}

/// Claims by dotted path (`realm_access.roles`) or JSON Pointer (`/realm_access/roles`).
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ClaimPaths {
    /// Default: `sub`.
    #[serde(default)]
    pub subject: Option<String>,
    /// The first one present counts. Default: `client_id`, `azp`.
    #[serde(default)]
    pub client_id: Option<OneOrMany>,
    /// All present ones count together. Default: `scope`, `scp`, `permissions`.
    #[serde(default)]
    pub scopes: Option<OneOrMany>,
    /// All present ones count together. Default: `roles`, `realm_access.roles`.
    #[serde(default)]
    pub roles: Option<OneOrMany>,
}

/// One name or a list of them.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(untagged, expecting = "expected a name, or a list of names")]
pub enum OneOrMany {
    /// A single name.
    One(String),
    /// Several.
    Many(Vec<String>),
}

impl OneOrMany {
    /// The names, in the order written.
    #[must_use]
    pub fn as_slice(&self) -> &[String] {
        match self {
            OneOrMany::One(name) => std::slice::from_ref(name),
            OneOrMany::Many(names) => names,
        }
    }
}
