//! `failed_authentication:`

use std::time::Duration;

use super::findings::Findings;
use super::limits::{MAX_KEYS, MAX_MAX_KEYS};
use crate::config::path::ConfigPath;
use crate::config::{FailedAuthentication, RateOrNone};
use crate::gates::authn::attempts::{Attempts, Bound};
use crate::gates::limits::window::MAX_LIMIT;

const MINUTE: Duration = Duration::from_secs(60);
/// Far more than callers have whose tokens have just expired, far fewer than trying takes.
const PER_ADDRESS: Bound = Bound {
    refused: 300,
    window: MINUTE,
};
const PER_ACCOUNT: Bound = Bound {
    refused: 60,
    window: MINUTE,
};

pub(super) fn compile(limits: Option<&FailedAuthentication>, findings: &mut Findings<'_>) -> Attempts {
    let at = ConfigPath::root().key("failed_authentication");
    let default = FailedAuthentication::default();
    let FailedAuthentication {
        per_address,
        per_account,
        max_keys,
        mode,
    } = limits.unwrap_or(&default);
    let max_keys = max_keys.unwrap_or(MAX_KEYS);
    if !(1..=MAX_MAX_KEYS).contains(&max_keys) {
        findings.error(&at.key("max_keys"), format!("must be 1 to {MAX_MAX_KEYS}"), "");
    }
    Attempts {
        per_address: bound(&at.key("per_address"), *per_address, PER_ADDRESS, findings),
        per_account: bound(&at.key("per_account"), *per_account, PER_ACCOUNT, findings),
        max_keys: max_keys as usize,
        mode: super::conditions::mode(*mode),
        is_written: limits.is_some(),
        line: findings.line(&at),
    }
}

fn bound(
    at: &ConfigPath,
    rate: Option<RateOrNone>,
    default: Bound,
    findings: &mut Findings<'_>,
) -> Option<Bound> {
    let rate = match rate {
        None => return Some(default),
        Some(RateOrNone::Some(rate)) => rate,
        Some(RateOrNone::None(false)) => return None,
        Some(RateOrNone::None(true)) => {
            findings.error(at, "how many?", "write a rate such as `300/m`; `false`: no limit");
            return None;
        }
    };
    let window = rate.per.duration();
    if !(Duration::from_millis(100)..=Duration::from_secs(86_400)).contains(&window) {
        findings.error(at, "the window must be 100ms to 1d", "");
    }
    let refused = u16::try_from(rate.requests);
    if refused.is_err() {
        findings.error(at, format!("at most {MAX_LIMIT} in a window"), "");
    }
    Some(Bound {
        refused: refused.unwrap_or(MAX_LIMIT),
        window,
    })
}
