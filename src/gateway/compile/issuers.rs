//! `issuers:`

use std::collections::BTreeMap;
use std::time::Duration;

use super::findings::Findings;
use super::{introspection, key_sets, tenants};
use crate::config::path::ConfigPath;
use crate::config::{self, ClaimPaths, Jwks, OneOrMany};
use crate::gates::authn::claims::ClaimPath;
use crate::gates::authn::crypto;
use crate::gates::authn::introspection::Form;
use crate::gates::authn::jwt::{self, TokenTypes};
use crate::gates::authn::{IssuerPolicy, KeysFrom};

const SECOND: Duration = Duration::from_secs(1);
const HOUR: Duration = Duration::from_secs(3600);

pub(super) fn compile(
    issuers: &BTreeMap<String, config::Issuer>,
    findings: &mut Findings<'_>,
) -> Vec<IssuerPolicy> {
    let root = ConfigPath::root().key("issuers");
    let mut compiled: Vec<IssuerPolicy> = Vec::new();
    for (name, issuer) in issuers {
        let at = root.key(name);
        for tenant in tenants::of(&at, issuer, findings) {
            let Some(policy) = policy(&at, name, tenant.as_deref(), issuer, findings) else {
                continue;
            };
            if let Some(other) = compiled
                .iter()
                .find(|other| other.jwt.issuer == policy.jwt.issuer)
            {
                findings.error(
                    &at.key("issuer"),
                    format!(
                        "`{}` is the issuer of `{}` already",
                        policy.jwt.issuer, other.name
                    ),
                    "keys are chosen by issuer, so each is configured once",
                );
            }
            if tenant.is_some() && issuers.contains_key(&*policy.name) {
                findings.error(
                    &at.key("tenants"),
                    format!("`{}` is the name of another issuer", policy.name),
                    "a tenant is named `ENTRY/TENANT`: call one of the two otherwise",
                );
            }
            compiled.push(policy);
        }
    }
    compiled
}

/// An issuer, or one tenant of it.
fn policy(
    at: &ConfigPath,
    name: &str,
    tenant: Option<&str>,
    issuer: &config::Issuer,
    findings: &mut Findings<'_>,
) -> Option<IssuerPolicy> {
    let config::Issuer {
        issuer,
        // read there
        tenants: _,
        audiences,
        algorithms,
        jwks,
        discovery,
        introspection,
        clock_skew,
        max_lifetime,
        token_types,
        claims,
    } = issuer;
    let issuer = tenants::fill(&at.key("issuer"), issuer, tenant, findings);
    if let Some(text) = issuer.as_ref().filter(|text| text.contains(['{', '}'])) {
        findings.error(
            &at.key("issuer"),
            format!("`{text}` holds a brace, and no `iss` does"),
            "what stands for a tenant is written `{tenant}`, whatever the provider calls it",
        );
    }
    if issuer.as_deref() == Some("") {
        findings.error(&at.key("issuer"), "the issuer is empty", "");
    }
    if audiences.is_empty() {
        findings.incomplete(
            &at.key("audiences"),
            "there is no audience",
            "tokens made for other services would be taken",
        );
    }
    let audiences: Vec<String> = audiences
        .iter()
        .enumerate()
        .filter_map(|(index, audience)| {
            tenants::fill(&at.key("audiences").index(index), audience, tenant, findings)
        })
        .collect();
    let discovery = discovery.as_ref().and_then(|found| {
        let at = at.key("discovery");
        key_sets::discovery(&at, found, issuer.as_deref(), tenant, findings)
    });
    let shares_keys = tenant.is_some()
        && discovery.is_none()
        && !jwks
            .as_ref()
            .and_then(|jwks| jwks.url.as_ref())
            .is_some_and(|url| tenants::differ(url, findings));
    let keys = match (jwks, discovery) {
        (None, None) => Some(KeysFrom::Nowhere),
        (jwks, discovery) => {
            let none = Jwks::default();
            key_sets::keys(
                &at.key("jwks"),
                jwks.as_ref().unwrap_or(&none),
                discovery,
                tenant,
                findings,
            )
        }
    };
    if tenant.is_some() && introspection.is_some() {
        findings.error(
            &at.key("introspection"),
            "a token that says nothing does not say which tenant to ask about it",
            "declare the issuer that is asked as an entry of its own, without `tenants`",
        );
    }
    let introspection = introspection
        .as_ref()
        .map(|introspection| introspection::compile(&at.key("introspection"), introspection, findings));
    let is_signed = introspection
        .iter()
        .flatten()
        .any(|found| found.form == Form::Jwt);
    if is_signed && matches!(keys, Some(KeysFrom::Nowhere)) {
        findings.error(
            &at.key("introspection").key("response"),
            "there are no keys to check signed answers with",
            "add `jwks: { url: … }` or `discovery: true` to the issuer",
        );
    }
    if matches!(keys, Some(KeysFrom::Nowhere)) && introspection.is_none() {
        findings.incomplete(
            at,
            "tokens of this issuer cannot be checked",
            "add `jwks: { url: … }`, `discovery: true`, or `introspection: { … }`",
        );
    }

    let audiences: Vec<&str> = audiences.iter().map(String::as_str).collect();
    let full_name = tenant.map_or_else(|| name.to_owned(), |tenant| format!("{name}/{tenant}"));
    let mut jwt = jwt::Issuer::new(&full_name, issuer.as_deref().unwrap_or_default(), &audiences);
    jwt.shares_keys = shares_keys;
    if let Some(algorithms) = algorithms {
        jwt.algorithms = self::algorithms(&at.key("algorithms"), algorithms, findings);
    }
    let skew = jwt.clock_skew;
    jwt.clock_skew = findings.duration(
        &at.key("clock_skew"),
        *clock_skew,
        skew,
        Duration::ZERO..=SECOND * 300,
    );
    jwt.max_lifetime = max_lifetime.map(|span| {
        findings.duration(
            &at.key("max_lifetime"),
            Some(span),
            HOUR,
            SECOND..=HOUR * 24 * 365,
        )
    });
    if let Some(types) = token_types {
        let types: Vec<&str> = types.iter().map(String::as_str).collect();
        // a list says what must be there, so a token without a type is not taken
        jwt.token_types = TokenTypes::new(false, &types);
    }
    let at_claims = at.key("claims");
    let ClaimPaths {
        subject,
        client_id,
        scopes,
        roles,
    } = claims;
    if let Some(path) = subject {
        jwt.subject = claim_path(&at_claims.key("subject"), path, findings)?;
    }
    for (key, asked, target) in [
        ("client_id", client_id, &mut jwt.client_id),
        ("scopes", scopes, &mut jwt.scopes),
        ("roles", roles, &mut jwt.roles),
    ] {
        if let Some(paths) = asked {
            *target = claim_paths(&at_claims.key(key), paths, findings);
        }
    }
    if let Some(KeysFrom::Given(set)) = &keys
        && !set.keys().iter().any(|key| jwt.may_use(key))
    {
        findings.error(
            &at.key("jwks"),
            format!("no key of the set is one of `{}`", jwt.issuer),
            "where tenants share a set, each key has a member `issuer` that says whose it is",
        );
    }
    Some(IssuerPolicy {
        name: full_name.into(),
        entry: name.into(),
        tenant: tenant.map(Into::into),
        jwt,
        keys: keys?,
        introspection: introspection.map_or(Some(None), |found| found.map(Some))?,
        line: findings.line(at),
    })
    .filter(|_| issuer.is_some())
}

pub(super) fn algorithms(
    at: &ConfigPath,
    names: &[String],
    findings: &mut Findings<'_>,
) -> Vec<jsonwebtoken::Algorithm> {
    if names.is_empty() {
        findings.error(at, "the list is empty", "leave the key out for the default");
    }
    let known = || {
        crypto::ALGORITHMS
            .iter()
            .map(|algorithm| format!("{algorithm:?}"))
    };
    let found = names.iter().enumerate().filter_map(|(index, name)| {
        let found = crypto::ALGORITHMS
            .iter()
            .find(|algorithm| format!("{algorithm:?}") == *name);
        if found.is_none() {
            findings.error(
                &at.index(index),
                format!("algorithm `{name}` is not allowed"),
                format!(
                    "one of {}: `none` and shared secrets cannot be configured",
                    known().collect::<Vec<_>>().join(", ")
                ),
            );
        }
        found.copied()
    });
    found.collect()
}

pub(super) fn claim_path(at: &ConfigPath, path: &str, findings: &mut Findings<'_>) -> Option<ClaimPath> {
    match ClaimPath::parse(path) {
        Ok(path) => Some(path),
        Err(why) => {
            findings.error(
                at,
                why.to_string(),
                "write `realm_access.roles`, or `/realm_access/roles` (RFC 6901)",
            );
            None
        }
    }
}

fn claim_paths(at: &ConfigPath, paths: &OneOrMany, findings: &mut Findings<'_>) -> Vec<ClaimPath> {
    match paths {
        OneOrMany::One(path) => claim_path(at, path, findings).into_iter().collect(),
        OneOrMany::Many(paths) => paths
            .iter()
            .enumerate()
            .filter_map(|(index, path)| claim_path(&at.index(index), path, findings))
            .collect(),
    }
}
