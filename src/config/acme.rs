//! `acme:`

use schemars::JsonSchema;
use serde::Deserialize;

use super::scalar::{Secret, Text};

/// An account with a CA that issues certificates by itself (ACME, RFC 8555).
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Acme {
    /// URL of the CA's directory.
    pub directory: Text,
    /// PEM file of the CAs that may have issued the certificate of `directory`. Default: the system's.
    #[serde(default)]
    pub ca: Option<Text>,
    /// Where the CA writes to: `mailto:` URLs. Default: nowhere.
    #[serde(default)]
    pub contact: Vec<Text>,
    /// Whether the CA's terms of service are agreed to. Without that there is no account.
    pub terms_agreed: bool,
    /// Folder of keys and certificates, made with mode 0700.
    pub storage: Text,
    /// Whether private keys are kept there as plain files, and not sealed with the first of `secrets.sealing_keys`. Default:
    /// false.
    #[serde(default)]
    pub plain_storage: bool,
    /// How control over a name is proven. Default: `http-01`.
    #[serde(default)]
    pub challenge: AcmeChallenge,
    /// An account that exists with the CA already. Default: none.
    #[serde(default)]
    pub external_account: Option<ExternalAccount>,
    /// When a certificate is renewed, in per cent of its lifetime, 10 to 90; a CA that suggests a time (ARI) is followed.
    /// Default: 67.
    #[serde(default)]
    pub renew_after_percent: Option<u8>,
}

/// How control over a name is proven.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
pub enum AcmeChallenge {
    /// On a listener with `redirect_https`, which the CA reaches at port 80.
    #[default]
    #[serde(rename = "http-01")]
    Http01,
    /// On the TLS listener itself, which the CA reaches at port 443.
    #[serde(rename = "tls-alpn-01")]
    TlsAlpn01,
}

/// An account that exists with the CA already (RFC 8555 section 7.3.4).
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ExternalAccount {
    /// What the CA calls it.
    pub kid: Text,
    /// The key that was agreed on, in base64url, as a reference to where it is kept.
    pub hmac_key: Secret,
}
