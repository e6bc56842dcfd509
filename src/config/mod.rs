//! What was written.
//!
//! Plain types with no behaviour: what they mean is decided by [`crate::gateway::compile`], the only module that reads
//! them. Every struct refuses keys it does not know; every key is named in `compile`, or that does not build.
//!
//! The order of reading: text → positioned tree (`document`) → these types (`decode`) → all faults at once ([`parse`]) →
//! places for the faults that compilation finds ([`positions`]).

mod attestation;
mod choice;
mod decode;
mod document;
mod excerpt;
pub mod fault;
mod mismatch;
pub mod parse;
pub mod path;
pub mod positions;
pub mod scalar;
mod secrecy;
mod suggest;
mod yaml;

mod acme;
mod certificate;
mod condition;
mod connection;
mod dpop;
mod issuer;
mod keys;
mod limit;
mod listener;
mod observe;
mod policy_test;
mod resource;
mod revocation;
mod route;
mod secrets;
mod shared_tokens;
mod upstream;

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Deserialize;

pub use acme::{Acme, AcmeChallenge, ExternalAccount};
pub use attestation::{Attestation, AttestationKeys};
pub use certificate::{
    AcceptedCertificates, AllowedCertificate, CertificateMode, ClientCertificates, OnStale, Truststore,
};
pub use condition::{
    Condition, Countries, CountryDatabase, Disable, Inherited, Mode, Networks, StepUp, TimeWindow, Unknown,
};
pub use connection::{Connections, Http2};
pub use dpop::{Dpop, DpopMode, DpopNonce};
pub use issuer::{ClaimPaths, Discovery, Introspection, IntrospectionResponse, Issuer, Jwks, OneOrMany};
pub use keys::{KeyEntry, KeyFile, KeyPurpose, KeyRing};
pub use limit::{FailedAuthentication, Flood, Limit, RateOrNone};
pub use listener::{
    Certificate, Listener, Plaintext, Port, ProxyProtocol, Redirect, RedirectTo, Tls, TlsProfile, TlsVersion,
};
pub use observe::{Admin, IdentityHeaders, Records, RecordsTarget, WhenFull};
pub use policy_test::PolicyTest;
pub use resource::Resource;
pub use revocation::{OnListFailure, RedisList, Revocation};
pub use route::{
    Answer, Auth, BodyHandling, Credential, Jwe, JweAlgorithm, JweKey, Match, Normalise, Public,
    RequestRules, Respond, Route, WebSocket,
};
pub use secrets::{AppRole, AwsSm, Kubernetes, Pkcs11, Secrets, Vault, VaultAuth};
pub use shared_tokens::SharedTokens;
pub use upstream::{
    ErrorBodies, SignAlgorithm, Target, Timeouts, Upstream, UpstreamSign, UpstreamTls, WeightedTarget,
};

use scalar::{Size, Text};
pub(crate) use suggest::nearest;

/// The whole configuration.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Version of this format: `1`.
    pub version: u32,
    /// What it is for. `production` refuses what is only for trying out. Default: `development`.
    #[serde(default)]
    pub profile: Profile,
    /// Threads and shutdown, handed to Pingora's own server settings.
    #[serde(default)]
    pub server: Server,
    /// Where secrets are kept that are neither in files nor in the environment.
    #[serde(default)]
    pub secrets: Secrets,
    /// Where metrics, health and status are served. Never on a public address.
    #[serde(default)]
    pub admin: Admin,
    /// The record of each request.
    #[serde(default)]
    pub records: Records,
    /// The sockets that clients connect to.
    pub listeners: Vec<Listener>,
    /// Accounts with CAs that issue certificates by themselves, by name.
    #[serde(default)]
    pub acme: BTreeMap<String, Acme>,
    /// What their connections may cost.
    #[serde(default)]
    pub connections: Connections,
    /// Networks whose `X-Forwarded-For` is believed, right to left. Default: none.
    #[serde(default)]
    pub trusted_proxies: Vec<Text>,
    /// Who issues tokens, by name.
    #[serde(default)]
    pub issuers: BTreeMap<String, Issuer>,
    /// API keys that clients may have, by name.
    #[serde(default)]
    pub keys: BTreeMap<String, KeyRing>,
    /// How clients prove that they hold the key that their token is bound to.
    #[serde(default)]
    pub dpop: Dpop,
    /// What attests applications, by name.
    #[serde(default)]
    pub attestations: BTreeMap<String, Attestation>,
    /// Who may have issued clients' certificates, by name.
    #[serde(default)]
    pub truststores: BTreeMap<String, Truststore>,
    /// Certificates that clients may have, by name.
    #[serde(default)]
    pub client_certificates: BTreeMap<String, AcceptedCertificates>,
    /// Roles that routes may ask for: each name lists the role values of a token that grant it.
    #[serde(default)]
    pub roles: BTreeMap<String, Vec<String>>,
    /// How the verified identity is told to upstreams.
    #[serde(default)]
    pub identity_headers: IdentityHeaders,
    /// The limit before everything else.
    #[serde(default)]
    pub flood: Flood,
    /// How many credentials that are not good are looked at.
    #[serde(default)]
    pub failed_authentication: Option<FailedAuthentication>,
    /// When to tell of bearer tokens that are seen from several networks. Default: never.
    #[serde(default)]
    pub shared_tokens: Option<SharedTokens>,
    /// Where credentials are listed that were taken back before their end.
    #[serde(default)]
    pub revocation: Option<Revocation>,
    /// Limits that routes refer to, by name.
    #[serde(default)]
    pub limits: BTreeMap<String, Limit>,
    /// The services behind the gateway, by name.
    #[serde(default)]
    pub upstreams: BTreeMap<String, Upstream>,
    /// Pins (see `upstreams.*.tls.pins`) of every upstream over TLS that has none of its own. Default: none.
    #[serde(default)]
    pub upstream_pins: Vec<Text>,
    /// What routes ask for beyond a credential, by name.
    #[serde(default)]
    pub conditions: BTreeMap<String, Condition>,
    /// Where countries are looked up.
    #[serde(default)]
    pub countries: Option<CountryDatabase>,
    /// What every route gets in addition.
    #[serde(default)]
    pub defaults: Inherited,
    /// What routes get in addition that say they belong to a group, by name.
    #[serde(default)]
    pub groups: BTreeMap<String, Inherited>,
    /// What may be asked for. Anything else is refused.
    pub routes: Vec<Route>,
    /// Protected resources of OAuth (RFC 9728), by name: clients learn there where they get tokens.
    #[serde(default)]
    pub resources: BTreeMap<String, Resource>,
    /// What becomes of requests: `durward test` holds the rest to it.
    #[serde(default)]
    pub tests: Vec<PolicyTest>,
}

/// What a gateway is for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Profile {
    /// Trying out: what is only good for that is allowed.
    #[default]
    Development,
    /// Serving for real: certificates made for development or self-signed, private keys that others can read or that are
    /// kept in the clear, and directories that issue for tests are errors.
    Production,
}

/// Threads, shutdown and upgrade; most of it is handed to Pingora's `ServerConf`.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Server {
    /// Worker threads of the proxy, 1 to 1024. Default: the number of processors.
    #[serde(default)]
    pub threads: Option<usize>,
    /// Whether idle workers take work from busy ones. Default: true.
    #[serde(default)]
    pub work_stealing: Option<bool>,
    /// Seconds that requests under way get after SIGTERM, 0 to 3600. Default: 30.
    #[serde(default)]
    pub grace_period_seconds: Option<u64>,
    /// Seconds between telling clients to leave and refusing new connections, after SIGTERM, 0 to 600. Default: 5.
    #[serde(default)]
    pub drain_seconds: Option<u64>,
    /// Folder in which a successor finds this process, with mode 0700. Without it there is no `durward upgrade`.
    #[serde(default)]
    pub state_dir: Option<Text>,
    /// Idle upstream connections kept, for each thread, 1 to 100000. Default: 128.
    #[serde(default)]
    pub upstream_keepalive_pool_size: Option<usize>,
    /// User to become when it is started as root; its rights to ports below 1024 stay. Default: stays who it is.
    #[serde(default)]
    pub user: Option<String>,
    /// Bytes that buffered request bodies may take, all together, 1mb to 64g. Default: 128mb.
    #[serde(default)]
    pub body_memory: Option<Size>,
}
