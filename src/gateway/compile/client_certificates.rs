//! `client_certificates:`

use std::collections::BTreeMap;
use std::sync::Arc;

use super::findings::Findings;
use super::truststores;
use crate::config::path::ConfigPath;
use crate::config::{self, AllowedCertificate};
use crate::gates::authn::certificate::{Accepted, Allowed, Ca, Truststore, Uri, text};

pub(super) fn compile(
    accepted: &BTreeMap<String, config::AcceptedCertificates>,
    truststores: &[Arc<Truststore>],
    declared: &[&str],
    asked: &[usize],
    findings: &mut Findings<'_>,
) -> Vec<Accepted> {
    let root = ConfigPath::root().key("client_certificates");
    let mut compiled = Vec::new();
    for (name, config::AcceptedCertificates { trust, allow }) in accepted {
        let at = root.key(name);
        let at_trust = at.key("trust");
        let index = truststores::trust(&at_trust, trust, truststores, declared, findings);
        if index.is_some_and(|index| !asked.contains(&index)) {
            findings.error(
                &at_trust,
                format!("no listener asks for certificates of `{trust}`"),
                format!(
                    "add `client_certificates: {{ mode: optional, trust: {trust} }}` to the `tls` of one"
                ),
            );
        }
        let at_allow = at.key("allow");
        let allow = allow
            .iter()
            .enumerate()
            .map(|(index, allowed)| self::allowed(&at_allow.index(index), allowed, findings));
        let allow = allow.collect();
        compiled.extend(index.map(|trust| Accepted {
            name: name.as_str().into(),
            trust,
            allow,
            line: findings.line(&at),
        }));
    }
    compiled
}

fn allowed(at: &ConfigPath, allowed: &AllowedCertificate, findings: &mut Findings<'_>) -> Allowed {
    let AllowedCertificate {
        ca,
        san_uri,
        san_dns,
        subject,
        spki_sha256,
        sha256,
    } = allowed;
    let texts = [ca, san_uri, san_dns, subject, spki_sha256, sha256];
    if texts.iter().all(|text| text.is_none()) {
        findings.incomplete(
            at,
            "this allows everything",
            "leave `allow` out to take all certificates",
        );
    }
    for (key, text) in ["ca", "san_uri", "san_dns", "subject"].into_iter().zip(texts) {
        if text.as_ref().is_some_and(|text| text.trim().is_empty()) {
            findings.error(&at.key(key), format!("`{key}` is empty"), "");
        }
    }
    let uri = |text: &String| match text.strip_suffix('*') {
        Some(start) if start.ends_with('/') => Uri::Below(start.into()),
        _ => Uri::Exactly(text.as_str().into()),
    };
    let lone = |uri: &&String| uri.contains('*') && !uri.ends_with("/*");
    if san_uri.as_ref().filter(lone).is_some() {
        findings.error(
            &at.key("san_uri"),
            "`*` stands for the rest behind a `/`, at the end only",
            "",
        );
    }
    let mut read = |key: &str, text: &Option<String>| {
        text.as_ref()
            .and_then(|text| truststores::digest(&at.key(key), text, findings))
    };
    Allowed {
        spki_sha256: read("spki_sha256", spki_sha256),
        sha256: read("sha256", sha256),
        ca: ca.as_ref().map(|ca| match text::digest_of_hex(ca) {
            Some(sha256) => Ca::Sha256(sha256),
            None => Ca::Subject(ca.as_str().into()),
        }),
        san_uri: san_uri.as_ref().map(uri),
        san_dns: san_dns.as_ref().map(|name| name.to_ascii_lowercase().into()),
        subject: subject.as_deref().map(Into::into),
    }
}
