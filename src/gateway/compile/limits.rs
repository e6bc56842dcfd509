//! `flood:` and `limits:`

use std::collections::BTreeMap;
use std::time::Duration;

use http::HeaderValue;

use super::findings::Findings;
use super::issuers::claim_path;
use crate::config::path::ConfigPath;
use crate::config::{self, OneOrMany};
use crate::gates::Mode;
use crate::gates::flood::Flood;
use crate::gates::limits::window::MAX_LIMIT;
use crate::gates::limits::{KeyPart, Limit, Limits};

/// Callers counted at most, unless configured otherwise: 4 MiB.
pub(super) const MAX_KEYS: u32 = 65_536;
/// 1 GiB.
pub(super) const MAX_MAX_KEYS: u32 = 1 << 24;

pub(super) fn flood(flood: &config::Flood, findings: &mut Findings<'_>) -> Option<Flood> {
    let config::Flood { per_address, mode } = flood;
    let at = ConfigPath::root().key("flood").key("per_address");
    if *per_address == Some(0) {
        findings.error(&at, "0 would refuse everything", "leave the key out for no limit");
    }
    per_address.map(|per_address| Flood {
        per_address,
        mode: super::conditions::mode(*mode),
        line: findings.line(&at),
    })
}

pub(super) fn compile(limits: &BTreeMap<String, config::Limit>, findings: &mut Findings<'_>) -> Vec<Limit> {
    let root = ConfigPath::root().key("limits");
    let compiled = limits.iter().filter_map(|(name, limit)| {
        let at = root.key(name);
        let config::Limit {
            rate,
            key,
            max_keys,
            mode,
        } = limit;
        if !crate::gates::content::is_token(name) {
            findings.error(
                &at,
                "the name of a limit shows in headers: letters, digits, `-` and `_`",
                "",
            );
        }
        let window = rate.per.duration();
        if !(Duration::from_millis(100)..=Duration::from_secs(86_400)).contains(&window) {
            findings.error(&at.key("rate"), "the window must be 100ms to 1d", "");
        }
        let Ok(requests) = u16::try_from(rate.requests) else {
            let help = "for more in a window, say the same for a shorter one: `1000/s` for `60000/m`";
            findings.error(
                &at.key("rate"),
                format!("at most {MAX_LIMIT} requests in a window"),
                help,
            );
            return None;
        };
        let key = self::key(&at.key("key"), key, findings);
        let max_keys = max_keys.unwrap_or(if key.is_empty() { 1 } else { MAX_KEYS });
        if !(1..=MAX_MAX_KEYS).contains(&max_keys) {
            findings.error(&at.key("max_keys"), format!("must be 1 to {MAX_MAX_KEYS}"), "");
        }
        Some(Limit {
            name: name.as_str().into(),
            requests,
            window,
            key: key.into(),
            max_keys: max_keys as usize,
            mode: super::conditions::mode(*mode),
        })
    });
    compiled.collect()
}

fn key(at: &ConfigPath, key: &OneOrMany, findings: &mut Findings<'_>) -> Vec<KeyPart> {
    let parts = key.as_slice();
    if parts.is_empty() {
        findings.incomplete(
            at,
            "nothing is counted apart",
            "write `key: global` if that is meant",
        );
    }
    if let [part] = parts
        && part == "global"
    {
        return Vec::new();
    }
    let compiled = parts.iter().enumerate().filter_map(|(index, part)| {
        let at = if matches!(key, OneOrMany::One(_)) {
            at.clone()
        } else {
            at.index(index)
        };
        match part.as_str() {
            "subject" => Some(KeyPart::Subject),
            "client_id" => Some(KeyPart::ClientId),
            "issuer" => Some(KeyPart::Issuer),
            "address" => Some(KeyPart::Address),
            "route" => Some(KeyPart::Route),
            other => match other.strip_prefix("claims.") {
                Some(path) => claim_path(&at, path, findings).map(KeyPart::Claim),
                None => {
                    let known =
                        "one of global (alone), subject, client_id, issuer, address, route, or `claims.PATH`";
                    findings.error(&at, "requests cannot be counted by this", known);
                    None
                }
            },
        }
    });
    compiled.collect()
}

/// The limits that a route names, or takes over; each with the place where it does.
pub(super) fn of_route(
    at: &ConfigPath,
    names: &[(ConfigPath, &str)],
    declared: &[&str],
    limits: &[Limit],
    is_public: bool,
    findings: &mut Findings<'_>,
) -> Limits {
    let mut list = Vec::new();
    for (at, name) in names {
        match limits.iter().position(|limit| *limit.name == **name) {
            // one with faults of its own is not unknown
            None if declared.contains(name) => {}
            None => findings.unknown(at, "limit", "limits", name, declared.iter().copied()),
            Some(found) if list.contains(&found) => {
                findings.error(at, format!("`{name}` is listed twice"), "")
            }
            Some(found) => list.push(found),
        }
    }
    let chosen: Vec<&Limit> = list.iter().filter_map(|index| limits.get(*index)).collect();
    for limit in &chosen {
        if is_public && limit.key.iter().any(KeyPart::needs_client) {
            findings.error(
                at,
                format!("`{}` counts by caller, and a public route has none", limit.name),
                "use a limit by address, route or global; one of the defaults or a group can be left out with `disable`",
            );
        }
    }
    let policy: Vec<String> = chosen
        .iter()
        .filter(|limit| limit.mode == Mode::Enforce)
        .map(|limit| {
            format!(
                "\"{}\";q={};w={}",
                limit.name,
                limit.requests,
                limit.window.as_secs().max(1)
            )
        })
        .collect();
    let policy = (!policy.is_empty())
        .then(|| HeaderValue::from_str(&policy.join(", ")).ok())
        .flatten();
    Limits {
        list: list.into(),
        policy,
        line: findings.line(at),
    }
}
