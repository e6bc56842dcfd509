//! `flood:`, `failed_authentication:` and `limits:`

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

/// How many credentials that are not good are looked at; after that they are refused without, with 429. What is remembered
/// to be good passes all the same.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct FailedAuthentication {
    /// Of one address; of one /64 with IPv6. `false`: no limit. Default: 300/m.
    #[serde(default)]
    pub per_address: Option<RateOrNone>,
    /// Of those that claim one subject of an issuer, from addresses that have not shown a good one of it. `false`: no
    /// limit. Default: 60/m.
    #[serde(default)]
    pub per_account: Option<RateOrNone>,
    /// Addresses, and subjects, that are counted at most, 1 to 16777216, at 80 bytes each. Default: 65536.
    #[serde(default)]
    pub max_keys: Option<u32>,
    /// With `shadow`, what is beyond the limits is recorded and looked at. Default: enforce.
    #[serde(default)]
    pub mode: Mode,
}

/// A rate, or `false` for none.
#[derive(Debug, Clone, Copy, Deserialize, JsonSchema)]
#[serde(untagged, expecting = "expected a rate such as `300/m`, or `false`")]
pub enum RateOrNone {
    /// `false`.
    None(bool),
    /// So many.
    Some(Rate),
}

/// A limit that routes refer to by name.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Limit {
    /// Requests in a window: `20/s`, `1000/10s`. No interval of that length ever admits more.
    pub rate: Rate,
    /// Who is counted apart: `global`, or any of `subject`, `client_id`, `issuer`, `address`, `route`, `claims.PATH`.
    pub key: OneOrMany,
    /// Callers counted at most, 1 to 16777216, at 80 bytes each. Default: 65536; 1 for `global`.
    #[serde(default)]
    pub max_keys: Option<u32>,
    /// With `shadow`, requests beyond it are recorded and pass, and clients are not told of it. Default: enforce.
    #[serde(default)]
    pub mode: Mode,
}
