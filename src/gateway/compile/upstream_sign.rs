//! `upstreams.*.sign`

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use openssl::nid::Nid;
use openssl::pkey::{Id, PKey, Private};

use super::certificates::token_key;
use super::findings::{Findings, NOT_ASKED};
use crate::config::path::ConfigPath;
use crate::config::{SignAlgorithm, UpstreamSign};
use crate::gateway::certificates::stands_in;
use crate::upstream::signature::{Key, Signer};

const SECOND: Duration = Duration::from_secs(1);
/// Shortest shared key, in bytes: what the digest has (RFC 2104 section 3).
const SHORTEST: usize = 32;

pub(super) fn compile(at: &ConfigPath, sign: &UpstreamSign, findings: &mut Findings<'_>) -> Option<Signer> {
    let UpstreamSign {
        algorithm,
        key,
        keyid,
        expires,
    } = sign;
    let at_keyid = at.key("keyid");
    let keyid = findings.text(&at_keyid, keyid)?;
    let is_plain = |b: u8| b.is_ascii_alphanumeric() || b"_-.:/@".contains(&b);
    if !(1..=128).contains(&keyid.len()) || !keyid.bytes().all(is_plain) {
        findings.error(
            &at_keyid,
            "a key is named by 1 to 128 letters, digits and `_-.:/@`",
            "",
        );
        return None;
    }
    let expires = findings.duration(&at.key("expires"), *expires, SECOND * 30, SECOND..=SECOND * 300);
    let at = at.key("key");
    // one that nobody was asked for is stood in for
    let stand_in = || PKey::hmac(NOT_ASKED.as_bytes()).ok().map(Key::HmacSha256);
    let key = match key.token_key() {
        Some(object) => match token_key(&at, object, findings)? {
            key if stands_in(&key) => stand_in(),
            key => private(*algorithm, key),
        },
        None => match findings.secret(&at, key)?.as_str() {
            NOT_ASKED => stand_in(),
            text => self::key(*algorithm, text),
        },
    };
    if key.is_none() {
        let wanted = match algorithm {
            SignAlgorithm::HmacSha256 => "32 bytes or more in base64: openssl rand -base64 32",
            SignAlgorithm::Ed25519 => "a private key in PEM: openssl genpkey -algorithm ed25519",
            SignAlgorithm::EcdsaP256Sha256 => {
                "a private key in PEM: openssl genpkey -algorithm ec -pkeyopt ec_paramgen_curve:P-256"
            }
        };
        findings.error(&at, "not a key of this algorithm", wanted);
    }
    Some(Signer {
        key: key?,
        keyid,
        expires,
    })
}

fn key(algorithm: SignAlgorithm, text: &str) -> Option<Key> {
    match algorithm {
        SignAlgorithm::HmacSha256 => {
            let bytes = STANDARD
                .decode(text.trim())
                .ok()
                .filter(|bytes| bytes.len() >= SHORTEST)?;
            PKey::hmac(&bytes).ok().map(Key::HmacSha256)
        }
        SignAlgorithm::Ed25519 | SignAlgorithm::EcdsaP256Sha256 => {
            private(algorithm, PKey::private_key_from_pem(text.as_bytes()).ok()?)
        }
    }
}

/// A private key, if it is of this algorithm.
fn private(algorithm: SignAlgorithm, key: PKey<Private>) -> Option<Key> {
    match algorithm {
        SignAlgorithm::HmacSha256 => None,
        SignAlgorithm::Ed25519 => (key.id() == Id::ED25519).then_some(Key::Ed25519(key)),
        SignAlgorithm::EcdsaP256Sha256 if key.id() == Id::EC => {
            // the public half says it, too, of a key that stays in a token
            let public = PKey::public_key_from_der(&key.public_key_to_der().ok()?).ok()?;
            let curve = public.ec_key().ok()?.group().curve_name();
            (curve == Some(Nid::X9_62_PRIME256V1)).then_some(Key::EcdsaP256(key))
        }
        SignAlgorithm::EcdsaP256Sha256 => None,
    }
}
