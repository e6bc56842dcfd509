//! One JWK (RFC 7517 section 4, RFC 7518 section 6, RFC 8037 section 2).

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, DecodingKey};
use openssl::bn::BigNum;
use openssl::ec::{EcGroup, EcKey};
use openssl::error::ErrorStack;
use openssl::nid::Nid;
use openssl::pkey::{Id, PKey, Public};
use openssl::rsa::Rsa;
use serde_json::{Map, Value};

use crate::gates::authn::crypto::{PreparedKey, PublicKey, asymmetric};
use crate::gates::authn::jws::is_usable_kid;

/// The private members of all key types (RFC 7518 sections 6.2.2 and 6.3.2, RFC 8037 section 2).
const PRIVATE_MEMBERS: &[&str] = &["d", "p", "q", "dp", "dq", "qi", "oth"];

/// A key that may verify signatures.
#[derive(Debug)]
pub struct Key {
    kid: Option<String>,
    algorithms: Vec<Algorithm>,
    prepared: PreparedKey,
}

impl Key {
    /// Its `kid`, if it has one.
    pub fn kid(&self) -> Option<&str> {
        self.kid.as_deref()
    }

    /// What it may verify: the algorithms of its kind, or only its `alg` if it names one.
    pub fn algorithms(&self) -> &[Algorithm] {
        &self.algorithms
    }

    /// What `jsonwebtoken` verifies with.
    pub fn decoding(&self) -> &DecodingKey {
        self.prepared.decoding()
    }

    /// The public key itself, as [`PreparedKey::spki`].
    pub fn spki(&self) -> &[u8] {
        self.prepared.spki()
    }

    /// Reads a JWK; the error is a stable reason. Publication of private parts comes first: it
    /// is the one an operator must act on, since anyone can sign with such a key.
    pub(super) fn parse(jwk: &Value) -> Result<Self, &'static str> {
        let jwk = jwk.as_object().ok_or("not_an_object")?;
        refuse_private(jwk)?;
        let kid = kid(jwk)?;
        let prepared = PreparedKey::new(public(jwk)?)?;
        let algorithms = match jwk.get("alg") {
            None => prepared.algorithms().to_vec(),
            Some(name) => {
                let name = name.as_str().ok_or("key_malformed")?;
                let algorithm = asymmetric(name).ok_or("alg_unsupported")?;
                if !prepared.algorithms().contains(&algorithm) {
                    return Err("alg_mismatch");
                }
                vec![algorithm]
            }
        };
        Ok(Self {
            kid,
            algorithms,
            prepared,
        })
    }
}

/// Reads a JWK that came with what it has signed; the error is a stable reason.
pub fn embedded(jwk: &Map<String, Value>) -> Result<PublicKey, &'static str> {
    refuse_private(jwk)?;
    PublicKey::new(public(jwk)?)
}

/// What is looked at of such a JWK beside the key itself: that it is public, and for signatures.
pub fn check_embedded(jwk: &Map<String, Value>) -> Result<(), &'static str> {
    refuse_private(jwk)?;
    may_verify(jwk)
}

fn refuse_private(jwk: &Map<String, Value>) -> Result<(), &'static str> {
    if PRIVATE_MEMBERS.iter().any(|name| jwk.contains_key(*name)) {
        return Err("private_key_published");
    }
    Ok(())
}

fn public(jwk: &Map<String, Value>) -> Result<PKey<Public>, &'static str> {
    may_verify(jwk)?;
    match text(jwk, "kty")? {
        "RSA" => rsa(jwk),
        "EC" => ec(jwk),
        "OKP" => okp(jwk),
        "oct" => Err("symmetric_key"),
        _ => Err("kty_unsupported"),
    }
}

/// The `kid` to file a skipped key under.
pub(super) fn usable_kid(jwk: &Value) -> Option<String> {
    kid(jwk.as_object()?).ok()?
}

fn kid(jwk: &Map<String, Value>) -> Result<Option<String>, &'static str> {
    match jwk.get("kid") {
        None => Ok(None),
        // No token could name another: the same rule as for the token's own.
        Some(Value::String(kid)) if is_usable_kid(kid) => Ok(Some(kid.clone())),
        Some(_) => Err("kid_malformed"),
    }
}

/// `use` and `key_ops` (RFC 7517 sections 4.2 and 4.3): both optional, neither may say otherwise.
fn may_verify(jwk: &Map<String, Value>) -> Result<(), &'static str> {
    match jwk.get("use").map(Value::as_str) {
        None | Some(Some("sig")) => (),
        Some(Some(_)) => return Err("use_not_sig"),
        Some(None) => return Err("key_malformed"),
    }
    match jwk.get("key_ops") {
        None => Ok(()),
        Some(Value::Array(operations)) if operations.iter().any(|name| name == "verify") => Ok(()),
        Some(Value::Array(_)) => Err("key_ops_without_verify"),
        Some(_) => Err("key_malformed"),
    }
}

fn rsa(jwk: &Map<String, Value>) -> Result<PKey<Public>, &'static str> {
    let (n, e) = (octets(jwk, "n")?, octets(jwk, "e")?);
    openssl(|| {
        PKey::from_rsa(Rsa::from_public_components(
            BigNum::from_slice(&n)?,
            BigNum::from_slice(&e)?,
        )?)
    })
    .ok_or("key_malformed")
}

fn ec(jwk: &Map<String, Value>) -> Result<PKey<Public>, &'static str> {
    let (curve, size) = match text(jwk, "crv")? {
        "P-256" => (Nid::X9_62_PRIME256V1, 32),
        "P-384" => (Nid::SECP384R1, 48),
        _ => return Err("crv_unsupported"),
    };
    let (x, y) = (octets(jwk, "x")?, octets(jwk, "y")?);
    // RFC 7518 section 6.2.1.2: the full size of a coordinate, leading zeros included.
    if x.len() != size || y.len() != size {
        return Err("key_malformed");
    }
    openssl(|| {
        let group = EcGroup::from_curve_name(curve)?;
        let (x, y) = (BigNum::from_slice(&x)?, BigNum::from_slice(&y)?);
        PKey::from_ec_key(EcKey::from_public_key_affine_coordinates(&group, &x, &y)?)
    })
    .ok_or("point_not_on_curve")
}

fn okp(jwk: &Map<String, Value>) -> Result<PKey<Public>, &'static str> {
    if text(jwk, "crv")? != "Ed25519" {
        return Err("crv_unsupported");
    }
    let x = octets(jwk, "x")?;
    if x.len() != 32 {
        return Err("key_malformed");
    }
    openssl(|| PKey::public_key_from_raw_bytes(&x, Id::ED25519)).ok_or("key_malformed")
}

fn openssl<T>(make: impl FnOnce() -> Result<T, ErrorStack>) -> Option<T> {
    let made = make().ok();
    // As in `crypto`: nothing stays in the thread's queue for TLS to stumble over.
    drop(ErrorStack::get());
    made
}

fn text<'a>(jwk: &'a Map<String, Value>, name: &str) -> Result<&'a str, &'static str> {
    jwk.get(name).and_then(Value::as_str).ok_or("key_malformed")
}

fn octets(jwk: &Map<String, Value>, name: &str) -> Result<Vec<u8>, &'static str> {
    URL_SAFE_NO_PAD
        .decode(text(jwk, name)?)
        .map_err(|_| "key_malformed")
}
