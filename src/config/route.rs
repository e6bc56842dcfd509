//! `routes:`

use schemars::JsonSchema;
use serde::Deserialize;

use super::condition::{Disable, Mode, StepUp};
use super::dpop::DpopMode;
use super::issuer::OneOrMany;
use super::scalar::{Secret, Size, Span};

/// One thing that may be asked for: who may, what may be sent, and who answers.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Route {
    /// Name in records, metrics and `prove`. Default: its methods and path.
    #[serde(default)]
    pub id: Option<String>,
    /// Which requests.
    #[serde(rename = "match")]
    pub matches: Match,
    /// Who may. A route has `auth` or `public`, never neither, never both.
    #[serde(default)]
    pub auth: Option<Auth>,
    /// Everybody may, for a written reason.
    #[serde(default)]
    pub public: Option<Public>,
    /// Under which circumstances, and with which grants: names of conditions. All of them apply.
    #[serde(default)]
    pub conditions: Vec<String>,
    /// How often: names of limits. All of them apply.
    #[serde(default)]
    pub limits: Vec<String>,
    /// Groups that it belongs to, by name: their conditions and limits apply as well.
    #[serde(default)]
    pub groups: Vec<String>,
    /// What it does not take over from the defaults and its groups, for a written reason.
    #[serde(default)]
    pub disable: Option<Disable>,
    /// What may be sent.
    #[serde(default)]
    pub request: RequestRules,
    /// Connections may become WebSockets. Without it, an upgrade is refused.
    #[serde(default)]
    pub websocket: Option<WebSocket>,
    /// Name of the upstream that answers. A route has `upstream` or `respond`.
    #[serde(default)]
    pub upstream: Option<String>,
    /// Answered by the gateway itself.
    #[serde(default)]
    pub respond: Option<Respond>,
}

/// Host, path and method.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Match {
    /// `api.example`, or `*.example` for exactly one more label. Default: any host.
    #[serde(default)]
    pub host: Option<String>,
    /// The methods allowed. GET does not imply HEAD.
    pub methods: Vec<String>,
    /// `/v1/vehicles/{vin}`; `{rest*}` as last segment takes one segment or more.
    pub path: String,
    /// What a path may be rid of, instead of being refused; then it is what is left. Default: nothing.
    #[serde(default)]
    pub normalise: Vec<Normalise>,
}

/// Something that a path may be rid of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Normalise {
    /// `/a/../b` is `/b`; `%2e` is a dot.
    DotSegments,
    /// `//` is `/`.
    EmptySegments,
    /// `/a;x=1` is `/a`.
    Parameters,
    /// `%2f` is `/`.
    EncodedSlashes,
}

/// Required of the caller.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Auth {
    /// Issuers whose signed tokens are taken, by name. `auth` has exactly one of `jwt`, `introspection`, `api_key`,
    /// `client_certificate`, `any_of` and `all_of`.
    #[serde(default)]
    pub jwt: Option<OneOrMany>,
    /// The issuer that is asked about tokens, by name.
    #[serde(default)]
    pub introspection: Option<String>,
    /// The ring of API keys of which one is taken, by name in `keys`.
    #[serde(default)]
    pub api_key: Option<String>,
    /// The certificate that the client's connection has, by name in `client_certificates`.
    #[serde(default)]
    pub client_certificate: Option<String>,
    /// One of these is enough; each one that is sent must be good. The first of those that are sent says who it is.
    #[serde(default)]
    pub any_of: Vec<Credential>,
    /// All of these. The first says who it is.
    #[serde(default)]
    pub all_of: Vec<Credential>,
    /// Whether the token has to be bound to a key that the client proves to hold (DPoP, RFC 9449), beside `jwt` or
    /// `introspection`. Default: off.
    #[serde(default)]
    pub dpop: Option<DpopMode>,
    /// All of these scopes.
    #[serde(default)]
    pub scopes: Vec<String>,
    /// Any one of these roles, as named in the top-level `roles`.
    #[serde(default)]
    pub roles: Vec<String>,
    /// What attests the application in addition, by name in `attestations`.
    #[serde(default)]
    pub attestation: Option<String>,
    /// How, and how long ago, the user has logged in.
    #[serde(default)]
    pub step_up: Option<StepUp>,
    /// `enforce`, and nothing else: who nobody looked at could be anybody. Shadow a condition instead.
    #[serde(default)]
    pub mode: Mode,
}

/// A credential: exactly one of `jwt`, `introspection`, `api_key` and `client_certificate`, as in `auth`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Credential {
    /// Issuers whose signed tokens are taken.
    #[serde(default)]
    pub jwt: Option<OneOrMany>,
    /// The issuer that is asked about tokens.
    #[serde(default)]
    pub introspection: Option<String>,
    /// The ring of API keys of which one is taken.
    #[serde(default)]
    pub api_key: Option<String>,
    /// The certificate that the client's connection has.
    #[serde(default)]
    pub client_certificate: Option<String>,
    /// Whether the token has to be bound to a key that the client proves to hold. Default: off.
    #[serde(default)]
    pub dpop: Option<DpopMode>,
}

/// Why a route needs no credential, and who answers for that.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Public {
    /// The reason.
    pub reason: String,
    /// Who to ask.
    pub owner: String,
}

/// Rules for what is sent.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RequestRules {
    /// With `shadow`, what is against these rules is recorded and passes, and bodies are passed on as they come.
    /// Default: enforce.
    #[serde(default)]
    pub mode: Mode,
    /// Largest request body. Default: 1mb.
    #[serde(default)]
    pub max_body: Option<Size>,
    /// Media types that a body may have; `*/*`: any, or none. Default: `application/json`.
    #[serde(default)]
    pub content_types: Option<Vec<String>>,
    /// When the upstream gets a body. Default: buffer.
    #[serde(default)]
    pub body: BodyHandling,
    /// Time in which a buffered body has to be here whole, 100ms to 10m. Default: 30s.
    #[serde(default)]
    pub body_timeout: Option<Span>,
    /// Bodies are encrypted for us (JWE, RFC 7516), and opened before the upstream gets them. Then they are
    /// `application/jose`, and nothing else is taken. Default: bodies pass as they are.
    #[serde(default)]
    pub jwe: Option<Jwe>,
}

/// What bodies are opened with, and what may be inside. Content is encrypted with A256GCM and not compressed.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Jwe {
    /// Our keys: an old and a new one can be for a while.
    pub keys: Vec<JweKey>,
    /// Media types of which `cty` names one; the first where it says nothing. Default: `application/json`.
    #[serde(default)]
    pub content_types: Option<Vec<String>>,
}

/// A key that clients encrypt for.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct JweKey {
    /// How clients name it. A single key needs none.
    #[serde(default)]
    pub kid: Option<String>,
    /// How the key of a message is encrypted with it.
    pub algorithm: JweAlgorithm,
    /// A private key in PEM: RSA of 2048 bits or more, or EC on P-256 or P-384.
    pub key: Secret,
}

/// Key management of RFC 7518 section 4.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
pub enum JweAlgorithm {
    /// RSAES-OAEP with SHA-256.
    #[serde(rename = "RSA-OAEP-256")]
    RsaOaep256,
    /// ECDH, whose result is the key.
    #[serde(rename = "ECDH-ES")]
    EcdhEs,
    /// ECDH, whose result wraps the key.
    #[serde(rename = "ECDH-ES+A256KW")]
    EcdhEsA256Kw,
}

/// When the upstream gets the body of a request.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum BodyHandling {
    /// Once it is here whole: a body that is refused, broken or slow was never seen there.
    #[default]
    Buffer,
    /// As it comes, counted: for large uploads, and for services that answer while they read.
    Stream,
}

/// WebSockets of a route. They also end when the token does that admitted them.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct WebSocket {
    /// Closed when nobody has said anything for so long, 1s to 1h. Default: 60s.
    #[serde(default)]
    pub idle: Option<Span>,
    /// Closed after so long in any case, 1s to 1d. Default: 1h.
    #[serde(default)]
    pub total: Option<Span>,
    /// What `Origin` may be: `https://app.example`. Default: anything, or absent.
    #[serde(default)]
    pub origins: Vec<String>,
}

/// An answer without an upstream: a status, or a status with a body.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(untagged, expecting = "expected a status, or `{ status: 200, body: … }`")]
pub enum Respond {
    /// Without a body.
    Status(u16),
    /// With one.
    Answer(Answer),
}

/// A status and a body.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Answer {
    /// Status, 200 to 599.
    pub status: u16,
    /// Body, as text/plain. Default: none.
    #[serde(default)]
    pub body: Option<String>,
}
