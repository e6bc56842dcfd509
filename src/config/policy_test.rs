//! `tests:`

use schemars::JsonSchema;
use serde::Deserialize;

use crate::question::Described;

/// What becomes of a request. `durward test` holds the configuration to it.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PolicyTest {
    /// What is claimed, in a sentence.
    pub name: String,
    /// The request.
    pub request: Described,
    /// How often it is asked at that moment, 1 to 100000; the last answer counts. `{n}` in `from` and in claims that are
    /// texts is the number of the request. Default: 1.
    #[serde(default)]
    pub times: Option<u32>,
    /// `allow`, or the reason of the refusal: `scope_missing`.
    pub expect: String,
    /// Name of the route that decides. Default: any, or none.
    #[serde(default)]
    pub route: Option<String>,
}
