//! `conditions:` and `countries:`.

use std::collections::BTreeMap;
use std::sync::Arc;

use ipnet::IpNet;
use jiff::tz::TimeZone;

use super::findings::Findings;
use super::issuers::claim_path;
use super::networks::network;
use super::routes::{asked_roles, check_scopes};
use super::{step_up, when};
use crate::config::path::ConfigPath;
use crate::config::scalar::Text;
use crate::config::{self, TimeWindow, Unknown};
use crate::gates::Mode;
use crate::gates::authn::claims::ClaimPath;
use crate::gates::authz::{
    Circumstance, ClaimMatch, ClaimMatches, Countries, CountryDatabase, Grant, Networks, Permissions, Role,
    Roles, Scopes, Times, Window,
};

/// Largest database of countries, in bytes.
const MAX_DATABASE: u64 = 512 << 20;
/// The claim that names permissions.
const PERMISSIONS: &str = "permissions";
/// Names of weekdays, Monday first.
const DAYS: [&str; 7] = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];

/// A condition that routes can ask for.
#[derive(Debug)]
pub(super) struct Condition {
    pub(super) name: Arc<str>,
    pub(super) mode: Mode,
    pub(super) circumstances: Vec<(Circumstance, u32)>,
    /// Which segment a claim is held against is the route's to say.
    pub(super) grants: Vec<(Grant, u32)>,
}

pub(super) fn mode(mode: config::Mode) -> Mode {
    match mode {
        config::Mode::Enforce => Mode::Enforce,
        config::Mode::Shadow => Mode::Shadow,
    }
}

/// Where countries are looked up; `None` where nothing is said of it, or it cannot be read.
pub(super) fn database(
    countries: Option<&config::CountryDatabase>,
    findings: &mut Findings<'_>,
) -> Option<Arc<CountryDatabase>> {
    let config::CountryDatabase { database } = countries?;
    let at = ConfigPath::root().key("countries").key("database");
    let name = findings.text(&at, database)?;
    let sources = findings.sources();
    let bytes = sources.bytes(std::path::Path::new(&name), MAX_DATABASE);
    let read = bytes.map_err(|why| why.to_string()).and_then(|bytes| {
        CountryDatabase::read(bytes).map_err(|why| format!("not a database in MaxMind's format: {why}"))
    });
    match read {
        Ok(database) => Some(Arc::new(database)),
        Err(why) => {
            findings.error(&at, format!("cannot read {name}: {why}"), "");
            None
        }
    }
}

/// All conditions, by name. One with faults is there all the same: it is not unknown.
pub(super) fn compile(
    conditions: &BTreeMap<String, config::Condition>,
    roles: &BTreeMap<String, Role>,
    database: Option<&Arc<CountryDatabase>>,
    is_database_named: bool,
    findings: &mut Findings<'_>,
) -> BTreeMap<String, Condition> {
    let root = ConfigPath::root().key("conditions");
    let mut compiled = BTreeMap::new();
    for (name, condition) in conditions {
        let at = root.key(name);
        let config::Condition {
            mode,
            networks,
            countries,
            times,
            scopes,
            roles: asked,
            permissions,
            claim_matches,
            step_up,
            when,
        } = condition;
        let mut circumstances = Vec::new();
        if let Some(networks) = networks {
            let at = at.key("networks");
            let networks = self::networks(&at, networks, findings);
            circumstances.push((Circumstance::Networks(networks), findings.line(&at)));
        }
        if let Some(countries) = countries {
            let at = at.key("countries");
            if !is_database_named {
                let help =
                    "say where they are looked up: `countries: { database: countries.mmdb }`, at the top";
                findings.error(&at, "nothing tells which country an address is of", help);
            }
            if let Some(countries) = self::countries(&at, countries, database, findings) {
                circumstances.push((Circumstance::Countries(countries), findings.line(&at)));
            }
        }
        if !times.is_empty() {
            let at = at.key("times");
            let any = self::times(&at, times, findings);
            circumstances.push((Circumstance::Times(Times { any }), findings.line(&at)));
        }
        let mut grants = Vec::new();
        if !scopes.is_empty() {
            let at = at.key("scopes");
            check_scopes(&at, scopes, findings);
            grants.push((Grant::Scopes(Scopes::new(scopes)), findings.line(&at)));
        }
        if !asked.is_empty() {
            let at = at.key("roles");
            let any = asked_roles(&at, asked, roles, findings).into();
            grants.push((Grant::Roles(Roles { any }), findings.line(&at)));
        }
        if !permissions.is_empty() {
            let at = at.key("permissions");
            if permissions.iter().any(|permission| permission.trim().is_empty()) {
                findings.error(&at, "a permission is empty", "");
            }
            if let Ok(claim) = ClaimPath::parse(PERMISSIONS) {
                let all = permissions.iter().map(|one| one.as_str().into()).collect();
                grants.push((Grant::Permissions(Permissions { all, claim }), findings.line(&at)));
            }
        }
        if !claim_matches.is_empty() {
            let at = at.key("claim_matches");
            let matches = claim_matches.iter().filter_map(|(parameter, claim)| {
                let parsed = claim_path(&at.key(parameter), claim, findings)?;
                Some(ClaimMatch {
                    parameter: parameter.as_str().into(),
                    segment: usize::MAX,
                    claim: parsed,
                    written: claim.as_str().into(),
                })
            });
            let all = matches.collect();
            grants.push((Grant::ClaimMatches(ClaimMatches { all }), findings.line(&at)));
        }
        if let Some(step_up) = step_up {
            let at = at.key("step_up");
            let step_up = step_up::compile(&at, step_up, findings);
            grants.push((Grant::StepUp(step_up), findings.line(&at)));
        }
        if let Some(text) = when {
            let at = at.key("when");
            match when::compile(&at, text, findings) {
                Some(when) if when.asks_client => grants.push((Grant::When(when), findings.line(&at))),
                Some(when) => circumstances.push((Circumstance::When(when), findings.line(&at))),
                None => {}
            }
        }
        let is_empty = networks.is_none()
            && countries.is_none()
            && when.is_none()
            && circumstances.is_empty()
            && grants.is_empty();
        if is_empty {
            findings.incomplete(&at, "the condition asks for nothing", "");
        }
        let condition = Condition {
            name: name.as_str().into(),
            mode: self::mode(*mode),
            circumstances,
            grants,
        };
        compiled.insert(name.clone(), condition);
    }
    compiled
}

fn networks(at: &ConfigPath, networks: &config::Networks, findings: &mut Findings<'_>) -> Networks {
    let config::Networks { allow, deny } = networks;
    if allow.is_empty() && deny.is_empty() {
        findings.incomplete(
            at,
            "no network is named",
            "`allow` those that may, or `deny` those that may not",
        );
    }
    let mut read = |key: &str, texts: &[Text]| -> Box<[IpNet]> {
        let at = at.key(key);
        let parsed = texts.iter().enumerate();
        let parsed = parsed.filter_map(|(index, text)| network(&at.index(index), text, findings));
        parsed.collect()
    };
    Networks {
        allow: read("allow", allow),
        deny: read("deny", deny),
    }
}

fn countries(
    at: &ConfigPath,
    countries: &config::Countries,
    database: Option<&Arc<CountryDatabase>>,
    findings: &mut Findings<'_>,
) -> Option<Countries> {
    let config::Countries { allow, deny, unknown } = countries;
    if allow.is_empty() && deny.is_empty() {
        findings.incomplete(
            at,
            "no country is named",
            "`allow` those that may, or `deny` those that may not",
        );
    }
    let mut read =
        |key: &str, codes: &[String]| {
            let at = at.key(key);
            let codes = codes.iter().enumerate().filter_map(|(index, code)| {
                match <[u8; 2]>::try_from(code.as_bytes()) {
                    Ok(bytes) if bytes.iter().all(u8::is_ascii_uppercase) => Some(bytes),
                    _ => {
                        let message = format!("`{code}` is not a country");
                        findings.error(
                            &at.index(index),
                            message,
                            "two capital letters of ISO 3166-1: `DE`",
                        );
                        None
                    }
                }
            });
            codes.collect()
        };
    Some(Countries {
        allow: read("allow", allow),
        deny: read("deny", deny),
        unknown: *unknown == Unknown::Allow,
        database: database?.clone(),
    })
}

fn times(at: &ConfigPath, windows: &[TimeWindow], findings: &mut Findings<'_>) -> Box<[Window]> {
    let compiled = windows.iter().enumerate().filter_map(|(index, window)| {
        let at = at.index(index);
        let TimeWindow { days, from, to, zone } = window;
        let mut on = [days.is_empty(); 7];
        for (index, day) in days.iter().enumerate() {
            let known = DAYS
                .iter()
                .position(|name| name == day)
                .and_then(|day| on.get_mut(day));
            match known {
                Some(day) => *day = true,
                None => {
                    let help = format!("one of {}", DAYS.join(", "));
                    findings.error(
                        &at.key("days").index(index),
                        format!("`{day}` is not a weekday"),
                        help,
                    );
                }
            }
        }
        let mut clock = |key: &str, text: &str, last: u32| {
            let read = seconds(text).filter(|seconds| *seconds <= last);
            if read.is_none() {
                let help = "hours and minutes: `08:00`";
                findings.error(&at.key(key), format!("`{text}` is not a time of day"), help);
            }
            read
        };
        let (from, to) = (clock("from", from, 86_340), clock("to", to, 86_400));
        let known = TimeZone::get(zone);
        if known.is_err() {
            let help = "a name of the IANA time zone database: `Europe/Berlin`, `UTC`";
            findings.error(&at.key("zone"), format!("unknown time zone `{zone}`"), help);
        }
        let (from, to) = (from?, to?);
        if from == to {
            let help = "for whole days, write `from: \"00:00\", to: \"24:00\"`";
            findings.error(&at.key("to"), "the window ends where it begins", help);
        }
        Some(Window {
            days: on,
            from,
            to,
            zone: known.ok()?,
        })
    });
    compiled.collect()
}

/// Seconds after midnight of `HH:MM`, to 24:00.
fn seconds(text: &str) -> Option<u32> {
    let (hour, minute) = text.split_once(':')?;
    let two = |digits: &str| {
        let fits = digits.len() == 2 && digits.bytes().all(|byte| byte.is_ascii_digit());
        fits.then(|| digits.parse::<u32>().ok()).flatten()
    };
    let (hour, minute) = (two(hour)?, two(minute)?);
    (minute < 60 && (hour < 24 || (hour == 24 && minute == 0))).then_some(hour * 3600 + minute * 60)
}
