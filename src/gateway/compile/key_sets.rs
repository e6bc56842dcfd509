//! `issuers.*.jwks` and `issuers.*.discovery`: where keys are, and how they are had.

use std::sync::Arc;
use std::time::Duration;

use http::Uri;
use openssl::x509::X509;

use super::certificates::certificates;
use super::findings::Findings;
use super::tenants;
use crate::config::path::ConfigPath;
use crate::config::scalar::Text;
use crate::config::{self, Jwks};
use crate::gates::authn::KeysFrom;
use crate::gates::authn::jwk::KeySet;
use crate::world::discovery::{Discovery, is_safe};
use crate::world::fetch::{KeysAt, KeysUrl};

const SECOND: Duration = Duration::from_secs(1);
const HOUR: Duration = Duration::from_secs(3600);

/// `None` where there is none, or none that can be used: that was said.
pub(super) fn discovery(
    at: &ConfigPath,
    discovery: &config::Discovery,
    issuer: Option<&str>,
    tenant: Option<&str>,
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
            if tenant.is_some() && !tenants::differ(url, findings) {
                findings.error(
                    at,
                    "metadata that are the same for all tenants are those of none",
                    "write `{tenant}` in the URL; or where the keys are: `jwks: { url: … }`",
                );
                return None;
            }
            let url = tenants::fill(at, url, tenant, findings)?;
            Some(Discovery {
                issuer: issuer?.to_owned(),
                documents: vec![url_of(at, &url, findings)?],
            })
        }
    }
}

pub(super) fn keys(
    at: &ConfigPath,
    jwks: &Jwks,
    discovery: Option<Discovery>,
    tenant: Option<&str>,
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
                    let url = tenants::fill(&at_url, url, tenant, findings)?;
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
