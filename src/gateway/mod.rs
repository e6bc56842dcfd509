//! What was meant: the configuration, compiled into one immutable snapshot.
//!
//! A request is decided by one snapshot from beginning to end. What must outlive snapshots (keys, verdicts) is not here
//! but in the [`World`](crate::world::World) that is handed to each decision.

pub mod certificates;
pub mod compile;
pub mod connections;
pub mod policy;
pub mod prove;
pub mod router;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;

pub use certificates::CertifiedKey;
pub use policy::{Access, Action, Route, RouteId};

use crate::gates::authn::api_key::KeyRing;
use crate::gates::authn::attempts::Attempts;
use crate::gates::authn::attestation::Attestation;
use crate::gates::authn::certificate::{Accepted, Truststore};
use crate::gates::authn::dpop::Dpop;
use crate::gates::authn::revocation::Revocation;
use crate::gates::authn::shared_tokens::SharedTokens;
use crate::gates::authn::{IdentityHeaders, IssuerPolicy};
use crate::gates::flood::Flood;
use crate::gates::limits::Limit;
use crate::head::{Head, Malformed, RawHead};
use crate::policy_test::PolicyTest;
use crate::upstream::Upstream;
use certificates::{Certificates, Slot};
use connections::ConnectionLimits;
use router::{Found, Router};

/// The compiled configuration.
#[derive(Debug)]
pub struct Gateway {
    /// Identifies the configuration's text: hexadecimal SHA-256.
    pub hash: String,
    /// Identifies everything that a verdict on a credential depends on, and what is kept with it, so that verdicts outlive
    /// other changes.
    pub authn_policy: u64,
    pub(crate) router: Router,
    /// Whether a route stands for repairs of paths.
    pub(crate) repairs: bool,
    /// All routes; a [`RouteId`] is an index into them.
    pub routes: Box<[Route]>,
    /// All issuers, by name.
    pub issuers: Box<[IssuerPolicy]>,
    /// All rings of API keys, by name.
    pub keys: Box<[KeyRing]>,
    /// What proofs of possession have to be like.
    pub dpop: Dpop,
    /// What attests applications, by name.
    pub attestations: Box<[Attestation]>,
    /// Who may have issued clients' certificates, by name.
    pub truststores: Box<[Arc<Truststore>]>,
    /// Certificates that routes take, by name.
    pub client_certificates: Box<[Accepted]>,
    /// How the identity is told to upstreams.
    pub identity_headers: IdentityHeaders,
    /// The limit before everything else.
    pub flood: Option<Flood>,
    /// How many refused credentials are looked at.
    pub attempts: Attempts,
    /// When to tell of bearer tokens from several networks.
    pub shared_tokens: Option<SharedTokens>,
    /// Where what was taken back is listed.
    pub revocation: Option<Revocation>,
    /// All limits.
    pub limits: Box<[Limit]>,
    /// All upstreams.
    pub upstreams: Box<[Upstream]>,
    /// Networks whose `X-Forwarded-For` is believed.
    pub trusted_proxies: Box<[IpNet]>,
    /// What clients' connections may cost.
    pub connections: Arc<ConnectionLimits>,
    /// The sockets.
    pub listeners: Box<[Listener]>,
    /// Where metrics and health are served.
    pub admin: SocketAddr,
    /// Where records go.
    pub records: Records,
    /// Threads, shutdown and upgrade.
    pub server: Server,
    /// What becomes of requests.
    pub tests: Box<[PolicyTest]>,
    /// What was declared and no route asks for, in sentences.
    pub unused: Box<[String]>,
}

impl Gateway {
    /// The canonical head of a request. Where its path is refused, and a route stands for what is wrong with it, it is the
    /// repaired one from here on: for the gates, for the upstream and in the record.
    ///
    /// # Errors
    /// What is ambiguous or not allowed in it.
    pub fn read_head(&self, raw: RawHead<'_>) -> Result<Head, Malformed> {
        let fault = match Head::parse(raw) {
            Err(fault) if self.repairs => fault,
            judged => return judged,
        };
        let Ok((head, repairs)) = Head::repair(raw) else {
            return Err(fault);
        };
        match self.router.find(head.host(), head.path(), head.method()) {
            Found::Route(id) if self.route(id).is_some_and(|route| route.repairs.contain(repairs)) => {
                Ok(head)
            }
            _ => Err(fault),
        }
    }

    /// The places for certificates of all listeners.
    pub fn slots(&self) -> impl Iterator<Item = &Arc<Slot>> {
        let policies = self
            .listeners
            .iter()
            .filter_map(|listener| match &listener.purpose {
                Purpose::Tls(policy) => Some(policy),
                Purpose::Plaintext(_) | Purpose::Redirect(_) => None,
            });
        policies.flat_map(|policy| policy.certificates.slots())
    }

    /// A route of this snapshot. Ids are minted by `compile` of the same snapshot only.
    #[must_use]
    pub fn route(&self, id: RouteId) -> Option<&Route> {
        self.routes.get(id.0)
    }
}

/// Threads, shutdown and upgrade.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Server {
    /// Pingora's own settings, as YAML for its own reader.
    pub pingora: String,
    /// From telling clients to leave to refusing new connections.
    pub drain: Duration,
    /// Where a successor finds this process.
    pub state_dir: Option<PathBuf>,
    /// Whom to become when started as root.
    pub user: Option<String>,
    /// Bytes that buffered bodies may take, all together.
    pub body_memory: u64,
}

/// A socket and what it is for.
#[derive(Debug)]
pub struct Listener {
    /// Where.
    pub address: SocketAddr,
    /// What for.
    pub purpose: Purpose,
    /// Networks whose connections begin with a PROXY protocol header.
    pub proxy_protocol: Box<[IpNet]>,
}

/// What a socket is for.
#[derive(Debug)]
pub enum Purpose {
    /// TLS, then the pipeline.
    Tls(Box<TlsPolicy>),
    /// The pipeline without TLS, for the written reason.
    Plaintext(String),
    /// Redirect to HTTPS on this port.
    Redirect(u16),
}

/// TLS of a listener.
#[derive(Debug)]
pub struct TlsPolicy {
    /// Whether TLS 1.2 is spoken.
    pub tls12: bool,
    /// OpenSSL's list of TLS 1.2 suites.
    pub ciphers: String,
    /// OpenSSL's list of TLS 1.3 suites.
    pub ciphersuites: String,
    /// The chains and keys.
    pub certificates: Certificates,
    /// Whether clients are asked for certificates.
    pub client_certificates: Option<ClientCertificates>,
    /// Offer HTTP/2.
    pub http2: bool,
    /// Value of Strict-Transport-Security.
    pub hsts: http::HeaderValue,
}

/// Certificates that a listener asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClientCertificates {
    /// Whether there is no connection without one.
    pub is_required: bool,
    /// Index of the truststore.
    pub trust: usize,
}

/// Where records go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Records {
    /// The sink.
    pub to: RecordsTo,
    /// Records that wait at most.
    pub queue: usize,
    /// Whether a request that cannot be recorded is refused.
    pub refuses_when_full: bool,
    /// How often repeated refusals of one credential are told of; zero: each has its own record.
    pub summary_interval: Duration,
}

/// A sink of records.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RecordsTo {
    /// Standard output.
    Stdout,
    /// Nowhere.
    Off,
    /// Appended to this file.
    File(PathBuf),
}
