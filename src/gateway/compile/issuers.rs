//! `issuers:`

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use http::Uri;
use openssl::x509::X509;

use super::certificates::certificates;
use super::findings::Findings;
use super::introspection;
use crate::config::path::ConfigPath;
use crate::config::scalar::Text;
use crate::config::{self, ClaimPaths, Jwks, OneOrMany};
use crate::gates::authn::claims::ClaimPath;
use crate::gates::authn::crypto;
use crate::gates::authn::jwk::KeySet;
use crate::gates::authn::jwt::{self, TokenTypes};
use crate::gates::authn::{IssuerPolicy, KeysFrom};
use crate::world::discovery::{Discovery, is_safe};
use crate::world::fetch::{KeysAt, KeysUrl};

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
        discovery,
        introspection,
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
    let discovery = discovery
        .as_ref()
        .and_then(|found| self::discovery(&at.key("discovery"), found, issuer.as_deref(), findings));
    let keys = match (jwks, discovery) {
        (None, None) => Some(KeysFrom::Nowhere),
        (jwks, discovery) => {
            let none = Jwks::default();
            keys(
                &at.key("jwks"),
                jwks.as_ref().unwrap_or(&none),
                discovery,
                findings,
            )
        }
    };
    let introspection = introspection
        .as_ref()
        .map(|introspection| introspection::compile(&at.key("introspection"), introspection, findings));
    if matches!(keys, Some(KeysFrom::Nowhere)) && introspection.is_none() {
        findings.incomplete(
            at,
            "tokens of this issuer cannot be checked",
            "add `jwks: { url: … }`, `discovery: true`, or `introspection: { … }`",
        );
    }

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

/// `None` where there is none, or none that can be used: that was said.
fn discovery(
    at: &ConfigPath,
    discovery: &config::Discovery,
    issuer: Option<&str>,
    findings: &mut Findings<'_>,
) -> Option<Discovery> {
    match discovery {
        config::Discovery::Standard(false) => None,
        config::Discovery::Standard(true) => {
            let found = Discovery::of(issuer?);
            if found.is_none() {
                findings.error(
                    at,
                    "the issuer is not an https URL, so its metadata have no place",
                    "write where they are: `discovery: \"https://…\"`",
                );
            }
            found
        }
        config::Discovery::Url(url) => {
            let url = findings.text(at, url)?;
            Some(Discovery {
                issuer: issuer?.to_owned(),
                documents: vec![url_of(at, &url, findings)?],
            })
        }
    }
}

fn keys(
    at: &ConfigPath,
    jwks: &Jwks,
    discovery: Option<Discovery>,
    findings: &mut Findings<'_>,
) -> Option<KeysFrom> {
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
    if url.is_none() && discovery.is_none() {
        for (key, _) in fetching.iter().filter(|(_, given)| *given) {
            findings.error(
                &at.key(key),
                format!("`{key}` says how keys are fetched, and these are not"),
                "",
            );
        }
    }
    match (url, discovery, file, inline) {
        (url, discovery, None, None) if url.is_some() != discovery.is_some() => {
            let place = match (url, discovery) {
                (Some(url), _) => {
                    let at_url = at.key("url");
                    let url = findings.text(&at_url, url)?;
                    KeysAt::Url(url_of(&at_url, &url, findings)?)
                }
                (None, discovery) => KeysAt::Discovered(discovery?),
            };
            let ca = authorities(&at.key("ca"), ca.as_ref(), findings)?;
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
                at: place,
                ca,
                cache,
                max_stale,
                cooldown,
                timeout,
            })))
        }
        (None, None, Some(file), None) => {
            let at = at.key("file");
            let json = findings.file(&at, file)?;
            key_set(&at, &json, findings)
        }
        (None, None, None, Some(inline)) => {
            let at = at.key("inline");
            let json = findings.text(&at, inline)?;
            key_set(&at, &json, findings)
        }
        _ => {
            findings.incomplete(
                at,
                "keys come from exactly one of `url`, `file`, `inline` and the issuer's `discovery`",
                "",
            );
            None
        }
    }
}

pub(super) fn key_set(at: &ConfigPath, json: &str, findings: &mut Findings<'_>) -> Option<KeysFrom> {
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

/// The CAs of a file; none: the system's.
pub(super) fn authorities(
    at: &ConfigPath,
    ca: Option<&Text>,
    findings: &mut Findings<'_>,
) -> Option<Vec<X509>> {
    match ca {
        None => Some(Vec::new()),
        Some(ca) => {
            let pem = findings.file(at, ca)?;
            certificates(at, &pem, findings)
        }
    }
}

/// A URL that may be asked.
pub(super) fn url_of(at: &ConfigPath, text: &str, findings: &mut Findings<'_>) -> Option<Uri> {
    let url = text.parse::<Uri>().ok().filter(|url| url.host().is_some());
    match url {
        Some(url) if is_safe(&url) => Some(url),
        Some(url) if url.scheme_str() == Some("http") => {
            findings.error(
                at,
                "must be asked over https",
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
