//! `attestations:`

use schemars::JsonSchema;
use serde::Deserialize;

use super::condition::Mode;
use super::scalar::{Secret, Span, Text};

/// Short-lived tokens by which an application shows that it is the genuine one, on a device that is sound. Each has exactly
/// one of `secret` and `jwks`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Attestation {
    /// Which header carries the token. Default: x-attestation.
    #[serde(default)]
    pub header: Option<String>,
    /// The secret of HS256, in base64, of at least 32 bytes.
    #[serde(default)]
    pub secret: Option<Secret>,
    /// The secret before, taken as well while the service goes over to `secret`. Default: none.
    #[serde(default)]
    pub previous_secret: Option<Secret>,
    /// The keys of the service that issues the tokens, which then have to say `iss`.
    #[serde(default)]
    pub jwks: Option<AttestationKeys>,
    /// The exact `iss`. Needed with `jwks`; default: any, or none.
    #[serde(default)]
    pub issuer: Option<Text>,
    /// What `aud` must name. Default: nothing.
    #[serde(default)]
    pub audience: Option<Text>,
    /// How long before its end a token may be shown, 10s to 1d. Default: 10m.
    #[serde(default)]
    pub max_lifetime: Option<Span>,
    /// The claim that has the SHA-256 of the value of `Authorization`, in base64: `pay`. Default: tokens are not bound.
    #[serde(default)]
    pub binding: Option<String>,
    /// With `shadow`, what is missing or not good is recorded and passes. Default: enforce.
    #[serde(default)]
    pub mode: Mode,
}

/// A key set (RFC 7517): exactly one of `file` and `inline`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AttestationKeys {
    /// A file, read when the configuration is loaded.
    #[serde(default)]
    pub file: Option<Text>,
    /// The JSON text itself.
    #[serde(default)]
    pub inline: Option<Text>,
}
