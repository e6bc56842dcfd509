//! `truststores:`, `client_certificates:`, and what a listener asks of its clients.

use schemars::JsonSchema;
use serde::Deserialize;

use super::scalar::Text;

/// Who may have issued clients' certificates, and which of those are no longer good. Files are read again when they change.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Truststore {
    /// PEM files of CAs. All of them are trusted, so that an old and a new one can be for a while. A CA that is not its own
    /// issuer needs its issuer beside it.
    pub ca: Vec<Text>,
    /// PEM files of revocation lists (RFC 5280), of CAs that are in `ca`. With any, a certificate of a CA without a list is
    /// refused. Default: none.
    #[serde(default)]
    pub crl: Vec<Text>,
    /// What becomes of certificates while the list of their CA is past its `nextUpdate`. Default: refuse.
    #[serde(default)]
    pub on_stale: OnStale,
    /// Certificates that are refused at once, on open connections, too, with all that they have issued: SHA-256 of each, in
    /// hexadecimal.
    #[serde(default)]
    pub denied: Vec<String>,
    /// A file of more of them, one a line; what follows a `#` is a remark.
    #[serde(default)]
    pub denied_file: Option<Text>,
}

/// What becomes of certificates while a revocation list is out of date.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum OnStale {
    /// They are refused.
    #[default]
    Refuse,
    /// They are judged by the list that there is.
    Accept,
}

/// Certificates that routes take, by the name under which they ask for them.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AcceptedCertificates {
    /// Name of the truststore that they were verified with.
    pub trust: String,
    /// Which of them: one of these. Default: all.
    #[serde(default)]
    pub allow: Vec<AllowedCertificate>,
}

/// What a certificate must be like, in everything that is named here. Names are compared as records show them.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AllowedCertificate {
    /// A CA above it: the subject (RFC 4514: `CN=Partners,O=Example`), or the SHA-256 of the CA's certificate.
    #[serde(default)]
    pub ca: Option<String>,
    /// A URI among its alternative names: `spiffe://example/billing`; `spiffe://example/*` for all that begin so.
    #[serde(default)]
    pub san_uri: Option<String>,
    /// A DNS name among its alternative names.
    #[serde(default)]
    pub san_dns: Option<String>,
    /// Its subject (RFC 4514).
    #[serde(default)]
    pub subject: Option<String>,
    /// SHA-256 of its public key (SubjectPublicKeyInfo), in hexadecimal: stays through renewals with the same key.
    #[serde(default)]
    pub spki_sha256: Option<String>,
    /// SHA-256 of itself, in hexadecimal.
    #[serde(default)]
    pub sha256: Option<String>,
}

/// Whether a listener asks its clients for certificates. One that is presented and not good is always refused, in the
/// handshake. Connections of such a listener are never resumed.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ClientCertificates {
    /// Whether.
    pub mode: CertificateMode,
    /// Name of the truststore that they are verified with.
    #[serde(default)]
    pub trust: Option<String>,
}

/// Whether clients are asked for a certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum CertificateMode {
    /// They are not.
    Off,
    /// They are, and may have none: routes that ask for one refuse them.
    Optional,
    /// Without one there is no connection.
    Required,
}
