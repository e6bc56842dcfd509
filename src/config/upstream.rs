//! `upstreams:`

use schemars::JsonSchema;
use serde::Deserialize;

use super::listener::TlsVersion;
use super::scalar::{Secret, Span, Text};

/// A service behind the gateway.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Upstream {
    /// Its addresses, taken in turn by weight.
    pub targets: Vec<Target>,
    /// Speak TLS to it.
    #[serde(default)]
    pub tls: Option<UpstreamTls>,
    /// Sign what is sent to it, so that it can refuse what did not come through the gateway. Default: not signed.
    #[serde(default)]
    pub sign: Option<UpstreamSign>,
    /// Deadlines.
    #[serde(default)]
    pub timeouts: Timeouts,
    /// Tell it the client's certificate, in `X-Forwarded-Client-Cert`. Default: false.
    #[serde(default)]
    pub client_certificate_header: bool,
    /// Pass on the proof of a DPoP token (RFC 9449), for a service that looks at it itself. Default: false.
    #[serde(default)]
    pub forward_dpop: bool,
    /// How long an idle connection is kept. Default: 30s. Keep it below the service's own.
    #[serde(default)]
    pub idle: Option<Span>,
    /// Further targets tried when a connection cannot be made, 0 to 8. Default: 1.
    #[serde(default)]
    pub connect_retries: Option<u8>,
    /// Bodies of its 5xx answers. Default: replace.
    #[serde(default)]
    pub error_bodies: ErrorBodies,
}

/// `HOST:PORT`, or with a weight.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(
    untagged,
    expecting = "expected `HOST:PORT`, or `{ address: HOST:PORT, weight: 1 }`"
)]
pub enum Target {
    /// `HOST:PORT`, weight 1.
    Address(Text),
    /// With a weight.
    Weighted(WeightedTarget),
}

/// An address and its share.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct WeightedTarget {
    /// `HOST:PORT`.
    pub address: Text,
    /// Share of the requests, 1 to 1000.
    pub weight: u32,
}

/// TLS towards an upstream. The certificate and its name are always verified.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct UpstreamTls {
    /// The name its certificate must bear; also sent as SNI. A DNS name.
    pub server_name: Text,
    /// PEM file of the CAs that may have issued it. Default: the system's.
    #[serde(default)]
    pub ca: Option<Text>,
    /// PEM file of the certificate, and its chain, that is shown to a service which asks for one.
    #[serde(default)]
    pub cert: Option<Text>,
    /// PEM file of its key.
    #[serde(default)]
    pub key: Option<Text>,
    /// Its key in PEM, where it is kept elsewhere.
    #[serde(default)]
    pub key_pem: Option<Secret>,
    /// SHA-256 of public keys (`sha256/BASE64`), one of which has to be in the service's verified chain. Default: `upstream_pins`.
    #[serde(default)]
    pub pins: Option<Vec<Text>>,
    /// Lowest version. Default: 1.2.
    #[serde(default)]
    pub min_version: Option<TlsVersion>,
    /// TLS 1.2 suites (OpenSSL's names) that will do. Default: ECDHE with AES-GCM.
    #[serde(default)]
    pub ciphers: Option<Vec<String>>,
}

/// HTTP Message Signatures (RFC 9421) on requests to an upstream.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct UpstreamSign {
    /// How.
    pub algorithm: SignAlgorithm,
    /// With what: for HMAC 32 bytes or more in base64, otherwise a private key in PEM.
    pub key: Secret,
    /// How the service knows the key.
    pub keyid: Text,
    /// How long a signature is good, 1s to 5m. Default: 30s.
    #[serde(default)]
    pub expires: Option<Span>,
}

/// Algorithms of RFC 9421 that requests can be signed with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
pub enum SignAlgorithm {
    /// With a key that the service has too.
    #[serde(rename = "hmac-sha256")]
    HmacSha256,
    /// With a key whose public half the service has.
    #[serde(rename = "ed25519")]
    Ed25519,
    /// With a key whose public half the service has.
    #[serde(rename = "ecdsa-p256-sha256")]
    EcdsaP256Sha256,
}

/// Deadlines of a request to an upstream.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Timeouts {
    /// Connecting, TLS included. Default: 2s.
    #[serde(default)]
    pub connect: Option<Span>,
    /// Each wait for bytes of the answer. Default: 30s.
    #[serde(default)]
    pub read: Option<Span>,
    /// Each wait until bytes are taken. Default: 30s.
    #[serde(default)]
    pub write: Option<Span>,
    /// From the choice of the target to the last byte. Default: 60s.
    #[serde(default)]
    pub total: Option<Span>,
}

/// What becomes of the bodies of an upstream's 5xx answers.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ErrorBodies {
    /// The gateway's problem document takes their place: stack traces stay inside.
    #[default]
    Replace,
    /// They pass.
    Pass,
}
