//! `issuers:`

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use http::Uri;

use super::certificates::certificates;
use super::findings::Findings;
use crate::config::path::ConfigPath;
use crate::config::{self, ClaimPaths, Jwks, OneOrMany};
use crate::gates::authn::claims::ClaimPath;
use crate::gates::authn::crypto;
use crate::gates::authn::jwk::KeySet;
use crate::gates::authn::jwt::{self, TokenTypes};
use crate::gates::authn::{IssuerPolicy, KeysFrom};
use crate::world::fetch::KeysUrl;

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
        let Some(policy) = policy(&at, name, issuer, findings) else {
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
        compiled.push(policy);
    }
    compiled
}

fn policy(
    at: &ConfigPath,
    name: &str,
    issuer: &config::Issuer,
    findings: &mut Findings<'_>,
) -> Option<IssuerPolicy> {
    let config::Issuer {
        issuer,
        audiences,
        algorithms,
        jwks,
        clock_skew,
        max_lifetime,
        token_types,
        claims,
    } = issuer;
    let issuer = findings.text(&at.key("issuer"), issuer);
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
        .filter_map(|(index, audience)| findings.text(&at.key("audiences").index(index), audience))
        .collect();
    let keys = keys(&at.key("jwks"), jwks, findings);

    let audiences: Vec<&str> = audiences.iter().map(String::as_str).collect();
    let mut jwt = jwt::Issuer::new(name, issuer.as_deref().unwrap_or_default(), &audiences);
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
    Some(IssuerPolicy {
        name: name.into(),
        jwt,
        keys: keys?,
        line: findings.line(at),
    })
    .filter(|_| issuer.is_some())
}

fn algorithms(
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

fn keys(at: &ConfigPath, jwks: &Jwks, findings: &mut Findings<'_>) -> Option<KeysFrom> {
    let Jwks {
        url,
        file,
        inline,
        ca,
        cache,
        max_stale,
        cooldown,
        timeout,
    } = jwks;
    let fetching = [
        ("ca", ca.is_some()),
        ("cache", cache.is_some()),
        ("max_stale", max_stale.is_some()),
        ("cooldown", cooldown.is_some()),
        ("timeout", timeout.is_some()),
    ];
    if url.is_none() {
        for (key, _) in fetching.iter().filter(|(_, given)| *given) {
            findings.error(
                &at.key(key),
                format!("`{key}` says how keys are fetched, and these are not"),
                "",
            );
        }
    }
    match (url, file, inline) {
        (Some(url), None, None) => {
            let at_url = at.key("url");
            let url = findings.text(&at_url, url)?;
            let url = url_of(&at_url, &url, findings)?;
            let ca = match ca {
                None => Vec::new(),
                Some(ca) => {
                    let at = at.key("ca");
                    let pem = findings.file(&at, ca)?;
                    certificates(&at, &pem, findings)?
                }
            };
            let cache = findings.duration(&at.key("cache"), *cache, SECOND * 300, SECOND * 10..=HOUR);
            let max_stale = findings.duration(
                &at.key("max_stale"),
                *max_stale,
                HOUR.max(cache),
                cache..=HOUR * 24 * 7,
            );
            let cooldown = findings.duration(&at.key("cooldown"), *cooldown, SECOND * 10, SECOND..=HOUR);
            let timeout = findings.duration(
                &at.key("timeout"),
                *timeout,
                SECOND * 3,
                Duration::from_millis(100)..=SECOND * 30,
            );
            Some(KeysFrom::Url(Box::new(KeysUrl {
                url,
                ca,
                cache,
                max_stale,
                cooldown,
                timeout,
            })))
        }
        (None, Some(file), None) => {
            let at = at.key("file");
            let json = findings.file(&at, file)?;
            key_set(&at, &json, findings)
        }
        (None, None, Some(inline)) => {
            let at = at.key("inline");
            let json = findings.text(&at, inline)?;
            key_set(&at, &json, findings)
        }
        _ => {
            findings.incomplete(at, "`jwks` has exactly one of `url`, `file` and `inline`", "");
            None
        }
    }
}

fn key_set(at: &ConfigPath, json: &str, findings: &mut Findings<'_>) -> Option<KeysFrom> {
    let keys = match KeySet::parse(json.as_bytes()) {
        Ok(keys) => keys,
        Err(why) => {
            findings.error(at, format!("not a key set: {why}"), "");
            return None;
        }
    };
    for (kid, why) in &keys.skipped {
        let kid = kid.as_deref().unwrap_or("without a kid");
        findings.warning(at, format!("key {kid} is not used: {why}"), "");
    }
    if keys.keys().is_empty() {
        findings.error(at, "no usable key in the set", "");
        return None;
    }
    Some(KeysFrom::Given(Arc::new(keys)))
}

/// `https`; `http` only where nobody stands on the way: whoever can change a key set can sign any token.
fn url_of(at: &ConfigPath, text: &str, findings: &mut Findings<'_>) -> Option<Uri> {
    let url = text.parse::<Uri>().ok().filter(|url| url.host().is_some());
    let loopback = |host: &str| {
        host == "localhost"
            || host
                .trim_matches(['[', ']'])
                .parse::<IpAddr>()
                .is_ok_and(|ip| ip.is_loopback())
    };
    match url
        .as_ref()
        .map(|url| (url.scheme_str(), url.host().unwrap_or_default()))
    {
        Some((Some("https"), _)) => url,
        Some((Some("http"), host)) if loopback(host) => url,
        Some((Some("http"), _)) => {
            findings.error(
                at,
                "keys must be fetched over https",
                "plain http is taken from loopback addresses only",
            );
            None
        }
        _ => {
            findings.error(at, format!("`{text}` is not an https URL"), "");
            None
        }
    }
}
