//! `listeners:`

use schemars::JsonSchema;
use serde::Deserialize;

use super::certificate::ClientCertificates;
use super::scalar::{Secret, Span, Text};

/// One socket. Exactly one of `tls`, `redirect_https` and `plaintext` says what it is for.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Listener {
    /// `ADDRESS:PORT`.
    pub address: Text,
    /// Terminate TLS here.
    #[serde(default)]
    pub tls: Option<Tls>,
    /// Answer plain HTTP with a redirect to HTTPS, and nothing else.
    #[serde(default)]
    pub redirect_https: Option<Redirect>,
    /// Proxy plain HTTP: only behind something else that terminates TLS.
    #[serde(default)]
    pub plaintext: Option<Plaintext>,
    /// Take the client's address from a PROXY protocol header, version 1 or 2.
    #[serde(default)]
    pub proxy_protocol: Option<ProxyProtocol>,
}

/// Who sends PROXY protocol headers.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ProxyProtocol {
    /// Networks whose connections begin with a header; without one they are closed. From elsewhere it is no header, but a
    /// malformed request.
    pub from: Vec<Text>,
}

/// TLS of a listener.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Tls {
    /// Versions and suites, by Mozilla's names.
    #[serde(default)]
    pub profile: TlsProfile,
    /// Overrides the profile's lowest version.
    #[serde(default)]
    pub min_version: Option<TlsVersion>,
    /// Overrides the profile's TLS 1.2 suites (OpenSSL's names). Only ECDHE with AES-GCM or ChaCha20-Poly1305.
    #[serde(default)]
    pub ciphers: Option<Vec<String>>,
    /// Overrides the TLS 1.3 suites.
    #[serde(default)]
    pub ciphersuites: Option<Vec<String>>,
    /// The certificates; the first also serves clients that name no host, or an unknown one.
    pub certificates: Vec<Certificate>,
    /// Ask clients for certificates. Default: they are not asked.
    #[serde(default)]
    pub client_certificates: Option<ClientCertificates>,
    /// Offer HTTP/2 beside HTTP/1.1. Default: true.
    #[serde(default = "yes")]
    pub http2: bool,
    /// `max-age` of Strict-Transport-Security. Default: 730d.
    #[serde(default)]
    pub hsts_max_age: Option<Span>,
}

fn yes() -> bool {
    true
}

/// Version and suite profile of a TLS listener.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum TlsProfile {
    /// TLS 1.2 with AEAD and forward secrecy, and TLS 1.3.
    #[default]
    Intermediate,
    /// TLS 1.3 only.
    Modern,
}

/// A version that may be asked for. Older ones cannot be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
pub enum TlsVersion {
    /// TLS 1.2 (RFC 5246)
    #[serde(rename = "1.2")]
    V1_2,
    /// TLS 1.3 (RFC 8446)
    #[serde(rename = "1.3")]
    V1_3,
}

/// A certificate chain and its key: a `dir` that holds `tls.crt` and `tls.key`, or `cert` with `key` or `key_pem`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Certificate {
    /// Folder with `tls.crt` and `tls.key` (the layout of Kubernetes).
    #[serde(default)]
    pub dir: Option<Text>,
    /// PEM file: the leaf first, then its issuers.
    #[serde(default)]
    pub cert: Option<Text>,
    /// PEM file of the private key.
    #[serde(default)]
    pub key: Option<Text>,
    /// The private key itself, as a reference to where it is kept.
    #[serde(default)]
    pub key_pem: Option<Secret>,
}

/// Where plain HTTP is sent: `true` for port 443, or the port.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(untagged, expecting = "expected `true`, or the port: `{ port: 8443 }`")]
pub enum Redirect {
    /// To port 443.
    Switch(bool),
    /// To another port.
    To(RedirectTo),
}

/// A port to redirect to.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RedirectTo {
    /// Port of the HTTPS address that clients are sent to. Default: 443.
    #[serde(default)]
    pub port: Option<Port>,
}

/// A port, or a reference to one.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(untagged, expecting = "expected a port, 1 to 65535")]
pub enum Port {
    /// As it is.
    Number(u16),
    /// `${env:…}`
    Text(Text),
}

/// Why this listener proxies plain HTTP.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Plaintext {
    /// The reason, for whoever reads `prove` and the audit.
    pub reason: String,
}
