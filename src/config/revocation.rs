//! `revocation:`

use schemars::JsonSchema;
use serde::Deserialize;

use super::scalar::{Secret, Span, Text};

/// Where credentials are listed that were taken back before their end. An entry is a line: `jti ISSUER ID`, `sub ISSUER
/// SUBJECT`, `sid ISSUER SESSION`, `client ISSUER CLIENT`, or `issued-before ISSUER TIME`, the last for all or, with `sub
/// SUBJECT` or `client CLIENT` behind the time, for some. The issuer, ring of keys or truststore is named as in the configuration;
/// `*`: any.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Revocation {
    /// A file of entries, read again within a second when it changes. While it cannot be read, what was read last counts.
    #[serde(default)]
    pub file: Option<Text>,
    /// A Redis server that has them.
    #[serde(default)]
    pub redis: Option<RedisList>,
}

/// A list on a Redis server: a sorted set of entries, each with the time in seconds until which it counts (`+inf`: for
/// ever), and a channel that tells of new ones.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RedisList {
    /// `redis://USER:PASSWORD@HOST:PORT/DATABASE`, or `rediss://` with TLS; as a reference.
    pub url: Secret,
    /// PEM file of the CAs that may have issued the server's certificate. Default: the system's.
    #[serde(default)]
    pub ca: Option<Text>,
    /// Name of the sorted set. Default: durward:revoked.
    #[serde(default)]
    pub key: Option<String>,
    /// Name of the channel. A message is an entry; any other has the set read. Default: durward:revoked.
    #[serde(default)]
    pub channel: Option<String>,
    /// Time between two looks at the whole set, 1s to 1h. Default: 10s.
    #[serde(default)]
    pub refresh: Option<Span>,
    /// Deadline of each question, 10ms to 30s. Default: 1s.
    #[serde(default)]
    pub timeout: Option<Span>,
    /// How old the list may be while the server is away, at least `refresh`. Default: 30s, or twice `refresh` if that is
    /// more.
    #[serde(default)]
    pub max_stale: Option<Span>,
    /// What becomes of credentials when the list is older. Default: refuse.
    #[serde(default)]
    pub on_failure: OnListFailure,
}

/// What becomes of credentials while nobody knows whether they were taken back.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum OnListFailure {
    /// They are refused with 503.
    #[default]
    Refuse,
    /// The list that was read last counts; none, if none was.
    Keep,
}
