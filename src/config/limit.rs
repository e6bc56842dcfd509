//! `flood:` and `limits:`

use schemars::JsonSchema;
use serde::Deserialize;

use super::OneOrMany;
use super::condition::Mode;
use super::scalar::Rate;

/// The cheap limit before everything else. Counted coarsely: never too few, seldom too many.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Flood {
    /// Requests in a second of one address; of one /64 with IPv6. Default: no limit.
    #[serde(default)]
    pub per_address: Option<u32>,
    /// With `shadow`, requests beyond it are recorded and pass. Default: enforce.
    #[serde(default)]
    pub mode: Mode,
}

/// A limit that routes refer to by name.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Limit {
    /// Requests in a window: `20/s`, `1000/10s`. No interval of that length ever admits more.
    pub rate: Rate,
    /// Who is counted apart: `global`, or any of `subject`, `client_id`, `issuer`, `address`, `route`, `claims.PATH`.
    pub key: OneOrMany,
    /// Callers counted at most, 1 to 16777216, at 64 bytes each. Default: 65536; 1 for `global`.
    #[serde(default)]
    pub max_keys: Option<u32>,
    /// With `shadow`, requests beyond it are recorded and pass, and clients are not told of it. Default: enforce.
    #[serde(default)]
    pub mode: Mode,
}
