//! `defaults:`, `groups:`, and what a route makes of them.
//!
//! What a route asks for is the join of its own list, its groups' and the defaults': there is no way to replace one by
//! another, only to leave one out by name and for a written reason (U5).

use std::collections::{BTreeMap, BTreeSet};

use super::conditions::Condition;
use super::findings::Findings;
use crate::config;
use crate::config::path::ConfigPath;
use crate::gates::authz::{Asked, Circumstance, Grant, Origin};
use crate::gates::limits::{KeyPart, Limit};
use crate::gateway::policy::Disabled;

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

/// What the defaults ask of everybody, whoever that is: for what the gateway answers itself. What they ask of callers has
/// no meaning there.
pub(super) fn of_everybody<'a>(
    inheritance: &Inheritance<'a>,
    known: &BTreeMap<String, Condition>,
    limits: &[Limit],
) -> (Vec<Asked<Circumstance>>, Vec<&'a str>) {
    let conditions = inheritance
        .defaults
        .conditions
        .iter()
        .filter_map(|name| known.get(name));
    let circumstances = conditions.flat_map(|condition| {
        let asked = condition.circumstances.iter();
        asked.map(|(what, line)| condition.asked(what.clone(), *line, &Origin::Defaults))
    });
    let counts_callers = |name: &str| {
        let limit = limits.iter().find(|limit| *limit.name == *name);
        limit.is_some_and(|limit| limit.key.iter().any(KeyPart::needs_client))
    };
    let counted = inheritance.defaults.limits.iter().map(String::as_str);
    (
        circumstances.collect(),
        counted.filter(|name| !counts_callers(name)).collect(),
    )
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
        let mut place = |parameter: &str, segment: &mut usize| match self::segment(route.path, parameter) {
            Some(found) => *segment = found,
            None => {
                let message = format!(
                    "the condition `{name}` looks at the parameter `{parameter}`, and `{}` has no segment of that name",
                    route.path
                );
                findings.error(at, message, "name the segment so, or leave the condition out");
            }
        };
        for (what, line) in &self.circumstances {
            let mut what = what.clone();
            if let Circumstance::When(when) = &mut what {
                for (parameter, segment) in &mut when.parameters {
                    place(parameter, segment);
                }
            }
            joined.circumstances.push(self.asked(what, *line, origin));
        }
        for (what, line) in &self.grants {
            let mut what = what.clone();
            match &mut what {
                Grant::ClaimMatches(matches) => {
                    for one in &mut matches.all {
                        place(&one.parameter, &mut one.segment);
                    }
                }
                Grant::When(when) => {
                    for (parameter, segment) in &mut when.parameters {
                        place(parameter, segment);
                    }
                }
                Grant::Scopes(_) | Grant::Roles(_) | Grant::Permissions(_) | Grant::StepUp(_) => {}
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
