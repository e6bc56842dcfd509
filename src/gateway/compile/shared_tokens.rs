//! `shared_tokens:`

use std::time::Duration;

use super::findings::Findings;
use crate::config;
use crate::config::path::ConfigPath;
use crate::gates::authn::shared_tokens::{MAX_NETWORKS, SHARDS, SharedTokens};

const SECOND: Duration = Duration::from_secs(1);
/// 16 MiB.
const MAX_TOKENS: u32 = 65_536;
/// 4 GiB.
const MAX_MAX_TOKENS: u32 = 1 << 24;

pub(super) fn compile(asked: &config::SharedTokens, findings: &mut Findings<'_>) -> SharedTokens {
    let config::SharedTokens {
        networks,
        window,
        max_tokens,
    } = asked;
    let at = ConfigPath::root().key("shared_tokens");
    let networks = usize::from(networks.unwrap_or(3));
    if !(2..=MAX_NETWORKS).contains(&networks) {
        findings.error(&at.key("networks"), format!("must be 2 to {MAX_NETWORKS}"), "");
    }
    let most = max_tokens.unwrap_or(MAX_TOKENS);
    let max_tokens = usize::try_from(most).unwrap_or(usize::MAX);
    if max_tokens < SHARDS || most > MAX_MAX_TOKENS {
        let message = format!("must be {SHARDS} to {MAX_MAX_TOKENS}");
        findings.error(&at.key("max_tokens"), message, "");
    }
    SharedTokens {
        networks,
        window: findings.duration(&at.key("window"), *window, SECOND * 600, SECOND..=SECOND * 86_400),
        max_tokens,
    }
}
