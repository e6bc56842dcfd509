//! `dpop:`, and what routes ask of it.

use schemars::JsonSchema;
use serde::Deserialize;

use super::scalar::{Secret, Span};

/// What proofs have to be like by which clients show that they hold the key that their token is bound to (RFC 9449).
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Dpop {
    /// Signature algorithms. Default: RS256, PS256, ES256, EdDSA.
    #[serde(default)]
    pub algorithms: Option<Vec<String>>,
    /// How long after its `iat` a proof may be shown, 1s to 5m. Default: 60s.
    #[serde(default)]
    pub max_age: Option<Span>,
    /// How far ahead of ours the clock of a client may be, at most 1m. Default: 30s.
    #[serde(default)]
    pub clock_skew: Option<Span>,
    /// Proofs that are remembered at most, so that none is taken twice, 64 to 16777216. Default: 524288.
    #[serde(default)]
    pub max_proofs: Option<u32>,
    /// A proof has to hold a nonce of ours. Default: it need not.
    #[serde(default)]
    pub nonce: Option<DpopNonce>,
}

/// Nonces that clients get from us and put into their proofs.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DpopNonce {
    /// How long one is good, 10s to 1h. Clients get the next at half of it. Default: 5m.
    #[serde(default)]
    pub lifetime: Option<Span>,
    /// What they are made with, base64 of at least 32 bytes: the same for all gateways that clients do not tell apart.
    /// Default: of the process, so that after a restart each client has to ask for one again.
    #[serde(default)]
    pub secret: Option<Secret>,
}

/// Whether clients have to prove that they hold the key that their token is bound to. A token that is bound to a key always
/// needs its proof.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum DpopMode {
    /// Tokens that are bound to no key are taken, and clients are not told that there is another way.
    #[default]
    Off,
    /// They are taken, and challenges offer both.
    Optional,
    /// They are refused.
    Required,
}
