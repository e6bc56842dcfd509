//! What was declared and no route asks for: roles, conditions, groups, limits, issuers, keys, certificates (S66). Least privilege begins with
//! less to read; and what nobody asks for may be what somebody meant to ask for.

use std::collections::BTreeSet;

use super::findings::Findings;
use crate::config::path::ConfigPath;
use crate::gates::authn::api_key::KeyRing;
use crate::gates::authn::certificate::Accepted;
use crate::gates::authn::{Accepts, IssuerPolicy};
use crate::gates::authz::Grant;
use crate::gates::limits::Limit;
use crate::gateway::{Access, Route};

/// What was declared.
pub(super) struct Declared<'a> {
    pub roles: Vec<&'a str>,
    pub conditions: Vec<&'a str>,
    pub groups: Vec<&'a str>,
    /// Groups that routes name.
    pub grouped: BTreeSet<&'a str>,
    pub issuers: &'a [IssuerPolicy],
    pub keys: &'a [KeyRing],
    pub client_certificates: &'a [Accepted],
    pub limits: &'a [Limit],
}

/// One sentence each.
pub(super) fn report(declared: &Declared<'_>, routes: &[Route], findings: &Findings<'_>) -> Vec<String> {
    let (mut roles, mut conditions) = (BTreeSet::new(), BTreeSet::new());
    let (mut issuers, mut keys, mut limits) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
    let mut certificates = BTreeSet::new();
    for route in routes {
        limits.extend(route.limits.list.iter().copied());
        conditions.extend(
            route
                .circumstances
                .iter()
                .filter_map(|asked| asked.condition.as_deref()),
        );
        let Access::Protected { authn, authz } = &route.access else {
            continue;
        };
        for accepts in authn.accepts() {
            match accepts {
                Accepts::Token(tokens) => {
                    issuers.extend(tokens.jwt.iter().chain(&tokens.introspection).copied())
                }
                Accepts::ApiKey(ring) => _ = keys.insert(*ring),
                Accepts::Certificate(accepted) => _ = certificates.insert(*accepted),
            }
        }
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
    let lost = |used: &BTreeSet<usize>, index: &usize| !used.contains(index);
    for (_, limit) in (0..)
        .zip(declared.limits)
        .filter(|(index, _)| lost(&limits, index))
    {
        add("limit", "limits", &limit.name);
    }
    let mut idle: Vec<&IssuerPolicy> = Vec::new();
    for (_, issuer) in (0..)
        .zip(declared.issuers)
        .filter(|(index, _)| lost(&issuers, index))
    {
        // an entry once, whichever of its tenants nobody asks for
        if !idle.iter().any(|other| other.entry == issuer.entry) {
            idle.push(issuer);
        }
    }
    for issuer in idle {
        let of_entry = |(_, other): &(usize, &IssuerPolicy)| other.entry == issuer.entry;
        let mut all = (0..).zip(declared.issuers).filter(of_entry);
        if all.all(|(index, _)| lost(&issuers, &index)) {
            add("issuer", "issuers", &issuer.entry);
        }
    }
    for (_, ring) in (0..).zip(declared.keys).filter(|(index, _)| lost(&keys, index)) {
        add("ring of keys", "keys", &ring.name);
    }
    for (_, accepted) in (0..)
        .zip(declared.client_certificates)
        .filter(|(index, _)| lost(&certificates, index))
    {
        add("client certificate", "client_certificates", &accepted.name);
    }
    unused
}
