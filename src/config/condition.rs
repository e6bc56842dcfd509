//! `conditions:`, `countries:`, `defaults:` and `groups:`

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Deserialize;

use super::scalar::{Span, Text};

/// Whether a gate's word counts.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// What it refuses is refused.
    #[default]
    Enforce,
    /// What it would refuse is recorded and counted, and passes.
    Shadow,
}

/// What routes ask for beyond a credential, by the name under which they ask for it. All of it must hold.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Condition {
    /// Default: enforce.
    #[serde(default)]
    pub mode: Mode,
    /// From where, by address.
    #[serde(default)]
    pub networks: Option<Networks>,
    /// From where, by country. Needs `countries`.
    #[serde(default)]
    pub countries: Option<Countries>,
    /// When: one of these windows.
    #[serde(default)]
    pub times: Vec<TimeWindow>,
    /// All of these scopes.
    #[serde(default)]
    pub scopes: Vec<String>,
    /// Any one of these roles, as named in the top-level `roles`.
    #[serde(default)]
    pub roles: Vec<String>,
    /// All of these, in the claim `permissions`.
    #[serde(default)]
    pub permissions: Vec<String>,
    /// Parameters of the path, and the claims that they must equal.
    #[serde(default)]
    pub claim_matches: BTreeMap<String, String>,
    /// How, and how long ago, the user has logged in.
    #[serde(default)]
    pub step_up: Option<StepUp>,
    /// What has to be true, in CEL, of the request and its client: `claims.level >= 2`.
    #[serde(default)]
    pub when: Option<String>,
}

/// How the user has to have logged in (RFC 9470). All that is named must hold.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct StepUp {
    /// The claim `acr` is one of these, the preferred first. Default: any.
    #[serde(default)]
    pub acr: Vec<String>,
    /// The claim `amr` has all of these (RFC 8176): `mfa`. Default: none.
    #[serde(default)]
    pub amr: Vec<String>,
    /// The claim `auth_time` is at most so long ago, 1s to 30d. Default: any time.
    #[serde(default)]
    pub max_age: Option<Span>,
}

/// Networks of clients, through declared proxies.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Networks {
    /// Who may. Default: everybody.
    #[serde(default)]
    pub allow: Vec<Text>,
    /// Who may not, even if allowed. Default: nobody.
    #[serde(default)]
    pub deny: Vec<Text>,
}

/// Countries of clients, as ISO 3166-1 alpha-2: `DE`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Countries {
    /// Who may. Default: all.
    #[serde(default)]
    pub allow: Vec<String>,
    /// Who may not. Default: none.
    #[serde(default)]
    pub deny: Vec<String>,
    /// An address whose country is not known. Default: deny.
    #[serde(default)]
    pub unknown: Unknown,
}

/// What becomes of an address whose country is not known.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Unknown {
    /// Refused.
    #[default]
    Deny,
    /// May ask.
    Allow,
}

/// A span of local time on certain weekdays.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TimeWindow {
    /// `mon`, `tue`, `wed`, `thu`, `fri`, `sat`, `sun`: days on which it begins. Default: all.
    #[serde(default)]
    pub days: Vec<String>,
    /// `08:00`
    pub from: String,
    /// `18:00`, or `24:00`; where that is earlier than `from`, on the next day.
    pub to: String,
    /// Whose clock: `Europe/Berlin`, or `UTC`.
    pub zone: String,
}

/// Which country an address is of.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CountryDatabase {
    /// A file in MaxMind's DB format.
    pub database: Text,
}

/// What routes get in addition to what they ask for themselves. Nothing is ever replaced.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Inherited {
    /// Names of conditions.
    #[serde(default)]
    pub conditions: Vec<String>,
    /// Names of limits.
    #[serde(default)]
    pub limits: Vec<String>,
}

/// What a route does not take over from the defaults and its groups.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Disable {
    /// Names of conditions.
    #[serde(default)]
    pub conditions: Vec<String>,
    /// Names of limits.
    #[serde(default)]
    pub limits: Vec<String>,
    /// Why. Shows in `prove`.
    pub reason: String,
}
