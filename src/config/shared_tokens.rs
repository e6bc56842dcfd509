//! `shared_tokens:`

use schemars::JsonSchema;
use serde::Deserialize;

use super::scalar::Span;

/// When to tell that a bearer token is seen from several networks, as a copied one would be. Nobody is refused for it.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SharedTokens {
    /// From so many networks, an IPv4 /24 or an IPv6 /48 each, 2 to 8. Default: 3.
    #[serde(default)]
    pub networks: Option<u8>,
    /// Within this time, 1s to 1d. Default: 10m.
    #[serde(default)]
    pub window: Option<Span>,
    /// Tokens that are remembered at most, 16 to 16777216. Default: 65536.
    #[serde(default)]
    pub max_tokens: Option<u32>,
}
