//! `admin:`, `records:` and `identity_headers:`

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Deserialize;

use super::scalar::{Span, Text};

/// The port of metrics and health.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Admin {
    /// `ADDRESS:PORT`. Default: 127.0.0.1:9100.
    #[serde(default)]
    pub address: Option<Text>,
}

/// Where the record of each request goes.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Records {
    /// Default: stdout.
    #[serde(default)]
    pub to: RecordsTarget,
    /// Records that wait for the writer at most, 1 to 1000000. Default: 8192.
    #[serde(default)]
    pub queue: Option<usize>,
    /// What happens to requests while no more records can wait, or the sink does not take them. Default: drop.
    #[serde(default)]
    pub when_full: WhenFull,
    /// Repeated refusals of one credential have one record, then a line with their count once in this time, 1s to 1h.
    /// 0s: each has a record of its own. Default: 10s.
    #[serde(default)]
    pub summary_interval: Option<Span>,
}

/// What happens to requests that cannot be recorded.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum WhenFull {
    /// They are served; their records are dropped and counted.
    #[default]
    Drop,
    /// They are refused with 503: nothing reaches a service unless there is room for its record.
    Refuse,
}

/// A sink of records.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum RecordsTarget {
    /// The standard output.
    #[default]
    Stdout,
    /// No records are written; metrics still count.
    Off,
    /// Appended to this file, made with mode 0640.
    File(Text),
}

/// Headers that carry the verified identity upstream. Copies sent by clients never pass, under any spelling.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct IdentityHeaders {
    /// Header name → `subject`, `client_id`, `issuer`, `scopes`, `roles`, or a claim as `claims.PATH`.
    /// Default: `X-User-Id: subject`, `X-Roles: roles`.
    #[serde(default)]
    pub inject: Option<BTreeMap<String, String>>,
    /// Header names that start so are stripped as well. Default: `x-durward-`.
    #[serde(default)]
    pub reserved_prefixes: Option<Vec<String>>,
}
