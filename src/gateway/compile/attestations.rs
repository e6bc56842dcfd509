//! `attestations:`

use std::collections::BTreeMap;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::header::HeaderName;

use super::findings::{Findings, NOT_ASKED};
use super::issuers::claim_path;
use super::key_sets::key_set;
use super::observe::NOT_FOR_IDENTITY;
use crate::config::path::ConfigPath;
use crate::config::scalar::Secret;
use crate::config::{self, AttestationKeys};
use crate::gates::authn::KeysFrom;
use crate::gates::authn::api_key::KeyRing;
use crate::gates::authn::attestation::{self, Attestation, Binding, MIN_SECRET, Verifier};

const SECOND: Duration = Duration::from_secs(1);

pub(super) fn compile(
    attestations: &BTreeMap<String, config::Attestation>,
    rings: &[KeyRing],
    findings: &mut Findings<'_>,
) -> Vec<Attestation> {
    let root = ConfigPath::root().key("attestations");
    let compiled = attestations
        .iter()
        .filter_map(|(name, written)| one(&root.key(name), name, written, rings, findings));
    compiled.collect()
}

fn one(
    at: &ConfigPath,
    name: &str,
    written: &config::Attestation,
    rings: &[KeyRing],
    findings: &mut Findings<'_>,
) -> Option<Attestation> {
    let config::Attestation {
        header,
        secret,
        previous_secret,
        jwks,
        issuer,
        audience,
        max_lifetime,
        binding,
        mode,
    } = written;
    let header = header.as_deref().unwrap_or("x-attestation");
    let parsed = HeaderName::from_bytes(header.as_bytes()).ok();
    let is_free = |name: &HeaderName| {
        !NOT_FOR_IDENTITY.contains(&name.as_str()) && rings.iter().all(|ring| ring.header != *name)
    };
    let parsed = parsed.filter(is_free);
    if parsed.is_none() {
        findings.error(
            &at.key("header"),
            format!("`{header}` cannot carry an attestation"),
            "a header of its own, such as `x-attestation`",
        );
    }
    let verifier = match (secret, jwks) {
        (Some(secret), None) => shared(&at.key("secret"), secret, findings),
        (None, Some(jwks)) => {
            if issuer.is_none() {
                findings.incomplete(at, "with `jwks`, `issuer` says whose tokens are meant", "");
            }
            keys(&at.key("jwks"), jwks, findings)
        }
        _ => {
            findings.incomplete(at, "an attestation has exactly one of `secret` and `jwks`", "");
            None
        }
    };
    let previous = match (previous_secret, secret) {
        (None, _) => None,
        (Some(previous), Some(_)) => Some(shared(&at.key("previous_secret"), previous, findings)?),
        (Some(_), None) => {
            findings.incomplete(at, "`previous_secret` goes with `secret`", "");
            None
        }
    };
    let max_lifetime = findings.duration(
        &at.key("max_lifetime"),
        *max_lifetime,
        SECOND * 600,
        SECOND * 10..=SECOND * 86_400,
    );
    let issuer = issuer.as_ref().map(|text| findings.text(&at.key("issuer"), text));
    let audience = audience
        .as_ref()
        .map(|text| findings.text(&at.key("audience"), text));
    let binding = binding.as_ref().map(|written| {
        let claim = claim_path(&at.key("binding"), written, findings)?;
        Some(Binding {
            written: written.as_str().into(),
            claim,
        })
    });
    let line = findings.line(at);
    let mut attestation = Attestation::new(name, parsed?, verifier?, max_lifetime, line);
    attestation.verifiers.extend(previous);
    attestation.issuer = issuer.map_or(Some(None), |text| text.map(Some))?;
    attestation.audience = audience.map_or(Some(None), |text| text.map(Some))?;
    attestation.binding = binding.map_or(Some(None), |binding| binding.map(Some))?;
    attestation.mode = super::conditions::mode(*mode);
    Some(attestation)
}

/// A secret that the service has, too.
fn shared(at: &ConfigPath, secret: &Secret, findings: &mut Findings<'_>) -> Option<Verifier> {
    let text = findings.secret(at, secret)?;
    // one that nobody was asked for has any form
    let text = if text == NOT_ASKED {
        STANDARD.encode([0; MIN_SECRET])
    } else {
        text
    };
    let key = attestation::secret(&text);
    if key.is_none() {
        let message = format!("the secret is not base64 of at least {MIN_SECRET} bytes");
        findings.error(at, message, "`openssl rand -base64 32` makes one");
    }
    key.map(Verifier::Secret)
}

fn keys(at: &ConfigPath, jwks: &AttestationKeys, findings: &mut Findings<'_>) -> Option<Verifier> {
    let AttestationKeys { file, inline } = jwks;
    let (at, json) = match (file, inline) {
        (Some(file), None) => {
            let at = at.key("file");
            let json = findings.file(&at, file)?;
            (at, json)
        }
        (None, Some(inline)) => {
            let at = at.key("inline");
            let json = findings.text(&at, inline)?;
            (at, json)
        }
        _ => {
            findings.incomplete(at, "keys come from exactly one of `file` and `inline`", "");
            return None;
        }
    };
    match key_set(&at, &json, findings)? {
        KeysFrom::Given(keys) => Some(Verifier::Keys(keys)),
        KeysFrom::Url(_) | KeysFrom::Nowhere => None,
    }
}
