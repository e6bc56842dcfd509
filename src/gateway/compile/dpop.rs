//! `dpop:`, and what routes ask of it.

use std::time::Duration;

use super::findings::{Findings, NOT_ASKED};
use super::issuers::algorithms;
use crate::config::path::ConfigPath;
use crate::config::scalar::Secret;
use crate::config::{self, DpopMode, DpopNonce};
use crate::gates::authn::attestation::{self, MIN_SECRET};
use crate::gates::authn::dpop::nonce::Nonces;
use crate::gates::authn::dpop::{Demand, Dpop};
use crate::gates::authn::jwt::{DEFAULT_ALGORITHMS, DEFAULT_CLOCK_SKEW};

const SECOND: Duration = Duration::from_secs(1);
/// 40 MiB: more than 8,000 requests a second with the other defaults.
const MAX_PROOFS: u32 = 1 << 19;
/// 1.3 GiB.
const MAX_MAX_PROOFS: u32 = 1 << 24;
/// The memory has so many parts.
const MIN_MAX_PROOFS: u32 = 64;

pub(super) fn compile(dpop: &config::Dpop, findings: &mut Findings<'_>) -> Dpop {
    let config::Dpop {
        algorithms: asked,
        max_age,
        clock_skew,
        max_proofs,
        nonce,
    } = dpop;
    let at = ConfigPath::root().key("dpop");
    let algorithms = match asked {
        None => DEFAULT_ALGORITHMS.into_iter().collect(),
        Some(asked) => algorithms(&at.key("algorithms"), asked, findings)
            .into_iter()
            .collect(),
    };
    let max_proofs = max_proofs.unwrap_or(MAX_PROOFS);
    if !(MIN_MAX_PROOFS..=MAX_MAX_PROOFS).contains(&max_proofs) {
        let message = format!("must be {MIN_MAX_PROOFS} to {MAX_MAX_PROOFS}");
        findings.error(&at.key("max_proofs"), message, "");
    }
    Dpop {
        algorithms,
        max_age: findings.duration(&at.key("max_age"), *max_age, SECOND * 60, SECOND..=SECOND * 300),
        clock_skew: findings.duration(
            &at.key("clock_skew"),
            *clock_skew,
            DEFAULT_CLOCK_SKEW,
            Duration::ZERO..=SECOND * 60,
        ),
        max_proofs: usize::try_from(max_proofs).unwrap_or(usize::MAX),
        nonces: nonce
            .as_ref()
            .and_then(|nonce| nonces(&at.key("nonce"), nonce, findings)),
        line: findings.line(&at),
    }
}

/// `None` where they cannot be made: that was said.
fn nonces(at: &ConfigPath, nonce: &DpopNonce, findings: &mut Findings<'_>) -> Option<Nonces> {
    let DpopNonce { lifetime, secret } = nonce;
    let lifetime = findings.duration(
        &at.key("lifetime"),
        *lifetime,
        SECOND * 300,
        SECOND * 10..=SECOND * 3600,
    );
    let key = match secret {
        None => None,
        Some(secret) => key(&at.key("secret"), secret, findings)?,
    };
    let nonces = Nonces::new(key, lifetime);
    if nonces.is_none() {
        findings.error(at, "the system has no randomness for a secret", "");
    }
    nonces
}

/// `Some(None)`: a store has it that is not asked now, and one of the process does for questions.
fn key(
    at: &ConfigPath,
    secret: &Secret,
    findings: &mut Findings<'_>,
) -> Option<Option<openssl::pkey::PKey<openssl::pkey::Private>>> {
    let text = findings.secret(at, secret)?;
    if text == NOT_ASKED {
        return Some(None);
    }
    let key = attestation::secret(&text);
    if key.is_none() {
        let message = format!("the secret is not base64 of at least {MIN_SECRET} bytes");
        findings.error(at, message, "`openssl rand -base64 32` makes one");
    }
    key.map(Some)
}

/// What a route demands of its tokens. Only tokens can be bound.
pub(super) fn demand(
    at: &ConfigPath,
    asked: Option<DpopMode>,
    has_token: bool,
    findings: &mut Findings<'_>,
) -> Demand {
    if asked.is_some() && !has_token {
        findings.error(
            &at.key("dpop"),
            "only a token can be bound to a key",
            "write `dpop` beside the `jwt` or `introspection` that it is about",
        );
    }
    match asked {
        None | Some(DpopMode::Off) => Demand::Off,
        Some(DpopMode::Optional) => Demand::Optional,
        Some(DpopMode::Required) => Demand::Required,
    }
}
