//! What was declared and no route asks for: roles, conditions, groups, limits, issuers (S66). Least privilege begins with
//! less to read; and what nobody asks for may be what somebody meant to ask for.

use std::collections::BTreeSet;

use super::findings::Findings;
use crate::config::path::ConfigPath;
use crate::gates::authn::IssuerPolicy;
use crate::gates::authz::Grant;
use crate::gates::limits::Limit;
use crate::gateway::{Access, Route};

/// Names that were declared, other than those that are compiled.
pub(super) struct Declared<'a> {
    pub roles: Vec<&'a str>,
    pub conditions: Vec<&'a str>,
    pub groups: Vec<&'a str>,
    /// Groups that routes name.
    pub grouped: BTreeSet<&'a str>,
}

/// One sentence each.
pub(super) fn report(
    declared: &Declared<'_>,
    issuers: &[IssuerPolicy],
    limits: &[Limit],
    routes: &[Route],
    findings: &Findings<'_>,
) -> Vec<String> {
    let (mut roles, mut conditions) = (BTreeSet::new(), BTreeSet::new());
    let (mut used_issuers, mut used_limits) = (BTreeSet::new(), BTreeSet::new());
    for route in routes {
        used_limits.extend(route.limits.list.iter().copied());
        conditions.extend(
            route
                .circumstances
                .iter()
                .filter_map(|asked| asked.condition.as_deref()),
        );
        let Access::Protected { authn, authz } = &route.access else {
            continue;
        };
        used_issuers.extend(authn.issuers.iter().copied());
        for asked in &authz.grants {
            conditions.extend(asked.condition.as_deref());
            if let Grant::Roles(asked) = &asked.what {
                roles.extend(asked.any.iter().map(|role| &*role.name));
            }
        }
    }
    let mut unused = Vec::new();
    let mut add = |noun: &str, map: &str, name: &str| {
        let line = findings.line(&ConfigPath::root().key(map).key(name));
        unused.push(format!("{noun} `{name}` (line {line}) is asked for by no route"));
    };
    let nouns = [
        ("role", "roles", &declared.roles, &roles),
        ("condition", "conditions", &declared.conditions, &conditions),
        ("group", "groups", &declared.groups, &declared.grouped),
    ];
    for (noun, map, names, used) in nouns {
        for name in names.iter().filter(|name| !used.contains(**name)) {
            add(noun, map, name);
        }
    }
    for (index, limit) in limits.iter().enumerate() {
        if !used_limits.contains(&index) {
            add("limit", "limits", &limit.name);
        }
    }
    for (index, issuer) in issuers.iter().enumerate() {
        if !used_issuers.contains(&index) {
            add("issuer", "issuers", &issuer.name);
        }
    }
    unused
}
