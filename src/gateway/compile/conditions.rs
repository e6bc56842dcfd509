//! `conditions:`, `countries:`, `defaults:`, `groups:`, and what a route makes of them.
//!
//! What a route asks for is the join of its own list, its groups' and the defaults': there is no way to replace one by
//! another, only to leave one out by name and for a written reason (U5).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use ipnet::IpNet;
use jiff::tz::TimeZone;

use super::findings::Findings;
use super::issuers::claim_path;
use super::routes::{asked_roles, check_scopes};
use crate::config::path::ConfigPath;
use crate::config::scalar::Text;
use crate::config::{self, TimeWindow, Unknown};
use crate::gates::Mode;
use crate::gates::authn::claims::ClaimPath;
use crate::gates::authz::{
    Asked, Circumstance, ClaimMatch, ClaimMatches, Countries, CountryDatabase, Grant, Networks, Origin,
    Permissions, Role, Roles, Scopes, Times, Window,
};
use crate::gateway::policy::Disabled;

/// Largest database of countries, in bytes.
const MAX_DATABASE: u64 = 512 << 20;
/// The claim that names permissions.
const PERMISSIONS: &str = "permissions";
/// Names of weekdays, Monday first.
const DAYS: [&str; 7] = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];

/// A condition that routes can ask for.
#[derive(Debug)]
pub(super) struct Condition {
    name: Arc<str>,
    mode: Mode,
    circumstances: Vec<(Circumstance, u32)>,
    /// Which segment a claim is held against is the route's to say.
    grants: Vec<(Grant, u32)>,
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
        let is_empty =
            networks.is_none() && countries.is_none() && circumstances.is_empty() && grants.is_empty();
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
        let parsed = texts.iter().enumerate().filter_map(|(index, text)| {
            let at = at.index(index);
            let text = findings.text(&at, text)?;
            let network = text
                .parse::<IpNet>()
                .ok()
                .or_else(|| text.parse::<std::net::IpAddr>().ok().map(IpNet::from));
            match network {
                None => findings.error(
                    &at,
                    format!("`{text}` is not a network"),
                    "write `10.0.0.0/8` or an address",
                ),
                // addresses are held against this as what they map
                Some(IpNet::V6(network)) if network.addr().to_ipv4_mapped().is_some() => {
                    findings.error(&at, "this is an IPv4 network", "write it as one: `10.0.0.0/8`");
                }
                Some(_) => {}
            }
            network
        });
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

/// The defaults and the groups, of which every name was looked up.
pub(super) struct Inheritance<'a> {
    defaults: &'a config::Inherited,
    groups: &'a BTreeMap<String, config::Inherited>,
}

impl<'a> Inheritance<'a> {
    pub(super) fn new(
        defaults: &'a config::Inherited,
        groups: &'a BTreeMap<String, config::Inherited>,
        conditions: &BTreeMap<String, Condition>,
        limits: &[&str],
        findings: &mut Findings<'_>,
    ) -> Inheritance<'a> {
        let root = ConfigPath::root();
        let groups_at = groups
            .iter()
            .map(|(name, group)| (root.key("groups").key(name), group));
        for (at, inherited) in std::iter::once((root.key("defaults"), defaults)).chain(groups_at) {
            let config::Inherited {
                conditions: asked,
                limits: counted,
            } = inherited;
            for (index, name) in asked.iter().enumerate() {
                if !conditions.contains_key(name) {
                    let known = conditions.keys().map(String::as_str);
                    findings.unknown(
                        &at.key("conditions").index(index),
                        "condition",
                        "conditions",
                        name,
                        known,
                    );
                }
            }
            for (index, name) in counted.iter().enumerate() {
                if !limits.contains(&name.as_str()) {
                    let known = limits.iter().copied();
                    findings.unknown(&at.key("limits").index(index), "limit", "limits", name, known);
                }
            }
        }
        Inheritance { defaults, groups }
    }

    /// Who asks for more than the route does itself, in the order in which it is asked.
    fn of(
        &self,
        at: &ConfigPath,
        groups: &[String],
        findings: &mut Findings<'_>,
    ) -> Vec<(Origin, &'a config::Inherited)> {
        let mut from = Vec::new();
        for (index, name) in groups.iter().enumerate() {
            match self.groups.get(name) {
                Some(group) => from.push((Origin::Group(name.as_str().into()), group)),
                None => {
                    let known = self.groups.keys().map(String::as_str);
                    findings.unknown(&at.key("groups").index(index), "group", "groups", name, known);
                }
            }
        }
        from.push((Origin::Defaults, self.defaults));
        from
    }
}

/// What a route asks for, all in all.
pub(super) struct Joined<'a> {
    pub circumstances: Vec<Asked<Circumstance>>,
    pub grants: Vec<Asked<Grant>>,
    /// Names of limits, and where each is asked for.
    pub limits: Vec<(ConfigPath, &'a str)>,
    pub disabled: Option<Disabled>,
}

/// What a route says of conditions and limits.
pub(super) struct OfRoute<'a> {
    pub conditions: &'a [String],
    pub limits: &'a [String],
    pub groups: &'a [String],
    pub disable: Option<&'a config::Disable>,
    pub path: &'a str,
    pub is_public: bool,
}

/// Joins what the route, its groups and the defaults ask for.
pub(super) fn join<'a>(
    at: &ConfigPath,
    route: &OfRoute<'a>,
    inheritance: &Inheritance<'a>,
    known: &BTreeMap<String, Condition>,
    findings: &mut Findings<'_>,
) -> Joined<'a> {
    let from = inheritance.of(at, route.groups, findings);
    let mut joined = Joined {
        circumstances: Vec::new(),
        grants: Vec::new(),
        limits: Vec::new(),
        disabled: None,
    };
    let (mut without_conditions, mut without_limits) = (BTreeSet::new(), BTreeSet::new());
    if let Some(disable) = route.disable {
        let at = at.key("disable");
        let config::Disable {
            conditions,
            limits,
            reason,
        } = disable;
        if reason.trim().is_empty() {
            findings.error(
                &at.key("reason"),
                "the reason is empty",
                "it shows in every audit",
            );
        }
        if conditions.is_empty() && limits.is_empty() {
            findings.incomplete(&at, "nothing is disabled", "");
        }
        let mut parts = Vec::new();
        let mut leave_out = |key: &str,
                             noun: &str,
                             names: &'a [String],
                             own: &[String],
                             asked: &dyn Fn(&config::Inherited) -> Vec<String>| {
            let mut left_out = BTreeSet::new();
            for (index, name) in names.iter().enumerate() {
                let at = at.key(key).index(index);
                let by = from.iter().find(|(_, inherited)| asked(inherited).contains(name));
                match by {
                    _ if own.contains(name) => {
                        findings.error(&at, format!("the route itself asks for `{name}`"), "");
                    }
                    None => {
                        let message =
                            format!("neither the defaults nor a group of the route have the {noun} `{name}`");
                        findings.error(&at, message, "there is nothing to leave out");
                    }
                    Some((by, _)) => {
                        parts.push(format!("{noun} {name} of {by}"));
                        left_out.insert(name.as_str());
                    }
                }
            }
            left_out
        };
        without_conditions = leave_out("conditions", "condition", conditions, route.conditions, &|i| {
            i.conditions.clone()
        });
        without_limits = leave_out("limits", "limit", limits, route.limits, &|i| i.limits.clone());
        joined.disabled = Some(Disabled {
            what: parts.join(", ").into(),
            reason: reason.as_str().into(),
            line: findings.line(&at),
        });
    }
    let mut seen = BTreeSet::new();
    for (index, name) in route.conditions.iter().enumerate() {
        let at = at.key("conditions").index(index);
        match known.get(name) {
            None => {
                let names = known.keys().map(String::as_str);
                findings.unknown(&at, "condition", "conditions", name, names);
            }
            Some(_) if !seen.insert(name.as_str()) => {
                findings.error(&at, format!("`{name}` is listed twice"), "");
            }
            Some(condition) => condition.add(&at, &Origin::Route, route, &mut joined, findings),
        }
    }
    for (origin, inherited) in &from {
        for name in &inherited.conditions {
            if without_conditions.contains(name.as_str()) || !seen.insert(name) {
                continue;
            }
            if let Some(condition) = known.get(name) {
                condition.add(at, origin, route, &mut joined, findings);
            }
        }
    }
    let own = route.limits.iter().enumerate();
    joined.limits = own
        .map(|(index, name)| (at.key("limits").index(index), name.as_str()))
        .collect();
    for (_, inherited) in &from {
        for name in &inherited.limits {
            let is_there = joined.limits.iter().any(|(_, there)| there == name);
            if !is_there && !without_limits.contains(name.as_str()) {
                joined.limits.push((at.clone(), name));
            }
        }
    }
    joined
}

impl Condition {
    fn add(
        &self,
        at: &ConfigPath,
        origin: &Origin,
        route: &OfRoute<'_>,
        joined: &mut Joined<'_>,
        findings: &mut Findings<'_>,
    ) {
        let name = &self.name;
        if route.is_public && !self.grants.is_empty() {
            let help = match origin {
                Origin::Route => "give the route `auth`",
                Origin::Group(_) | Origin::Defaults => {
                    "give the route `auth`, or leave the condition out with `disable`, for a reason"
                }
            };
            let message =
                format!("the condition `{name}` asks something of the caller, and a public route has none");
            findings.error(at, message, help);
        }
        for (what, line) in &self.circumstances {
            joined.circumstances.push(self.asked(what.clone(), *line, origin));
        }
        for (what, line) in &self.grants {
            let mut what = what.clone();
            if let Grant::ClaimMatches(matches) = &mut what {
                for one in &mut matches.all {
                    match segment(route.path, &one.parameter) {
                        Some(segment) => one.segment = segment,
                        None => {
                            let message = format!(
                                "the condition `{name}` looks at the parameter `{}`, and `{}` has no segment of that name",
                                one.parameter, route.path
                            );
                            findings.error(at, message, "name the segment so, or leave the condition out");
                        }
                    }
                }
            }
            joined.grants.push(self.asked(what, *line, origin));
        }
    }

    fn asked<T>(&self, what: T, line: u32, origin: &Origin) -> Asked<T> {
        Asked {
            what,
            condition: Some(self.name.clone()),
            origin: origin.clone(),
            mode: self.mode,
            line,
        }
    }
}

/// Which segment of a template a parameter is; the rest of a path is none.
fn segment(template: &str, parameter: &str) -> Option<usize> {
    let mut segments = template.split('/').skip(1);
    segments
        .position(|segment| segment.strip_prefix('{').and_then(|s| s.strip_suffix('}')) == Some(parameter))
}
