//! A token that says what was described, signed with a key of the moment, and the key set that verifies it. So described
//! claims take the same way through the gates as a real token.

use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use openssl::bn::{BigNum, BigNumContext};
use openssl::ec::{EcGroup, EcKey};
use openssl::error::ErrorStack;
use openssl::nid::Nid;
use openssl::pkey::PKey;
use openssl::rsa::Rsa;
use serde_json::{Value, json};

use crate::clock::UnixTime;
use crate::gates::authn::crypto;
use crate::gates::authn::jwk::KeySet;
use crate::gates::authn::jwt::Issuer;

/// Lifetime of the token in seconds, unless its claims say otherwise.
const LIFETIME: u64 = 300;

/// The token, and the keys.
pub(super) fn sign(
    issuer: &Issuer,
    mut claims: BTreeMap<String, Value>,
    now: UnixTime,
) -> Result<(String, Arc<KeySet>), String> {
    crypto::install();
    let defaults = [
        ("iss", json!(issuer.issuer)),
        ("aud", json!(issuer.audiences.first())),
        ("iat", json!(now.seconds())),
        ("exp", json!(now.seconds() + LIFETIME)),
        ("sub", json!("somebody")),
    ];
    for (name, value) in defaults {
        claims.entry(name.to_owned()).or_insert(value);
    }
    let signer = Signer::of(|algorithm| issuer.algorithms.contains(&algorithm))
        .map_err(|why| format!("token: {why}"))?;
    let mut header = Header::new(signer.algorithm);
    header.kid = Some(KID.to_owned());
    header.typ = issuer.token_types.example().map(str::to_owned);
    let token = encode(&header, &claims, &signer.key).map_err(|why| format!("token: {why}"))?;
    Ok((token, signer.set.clone()))
}

const KID: &str = "described";

/// A key of the moment, one for each algorithm in the life of the process.
pub(super) struct Signer {
    pub algorithm: Algorithm,
    pub key: EncodingKey,
    /// The public half, as a JWK without a name.
    pub public: Value,
    set: Arc<KeySet>,
}

impl Signer {
    /// With the algorithm, of those that are allowed, whose keys are the quickest to make.
    pub(super) fn of(allows: impl Fn(Algorithm) -> bool) -> Result<&'static Signer, String> {
        static ES256: LazyLock<Result<Signer, String>> = LazyLock::new(|| Signer::new(Algorithm::ES256));
        static ES384: LazyLock<Result<Signer, String>> = LazyLock::new(|| Signer::new(Algorithm::ES384));
        static EDDSA: LazyLock<Result<Signer, String>> = LazyLock::new(|| Signer::new(Algorithm::EdDSA));
        static RS256: LazyLock<Result<Signer, String>> = LazyLock::new(|| Signer::new(Algorithm::RS256));
        static RS384: LazyLock<Result<Signer, String>> = LazyLock::new(|| Signer::new(Algorithm::RS384));
        static RS512: LazyLock<Result<Signer, String>> = LazyLock::new(|| Signer::new(Algorithm::RS512));
        static PS256: LazyLock<Result<Signer, String>> = LazyLock::new(|| Signer::new(Algorithm::PS256));
        static PS384: LazyLock<Result<Signer, String>> = LazyLock::new(|| Signer::new(Algorithm::PS384));
        static PS512: LazyLock<Result<Signer, String>> = LazyLock::new(|| Signer::new(Algorithm::PS512));
        let known = [
            (Algorithm::EdDSA, &EDDSA),
            (Algorithm::ES256, &ES256),
            (Algorithm::ES384, &ES384),
            (Algorithm::RS256, &RS256),
            (Algorithm::RS384, &RS384),
            (Algorithm::RS512, &RS512),
            (Algorithm::PS256, &PS256),
            (Algorithm::PS384, &PS384),
            (Algorithm::PS512, &PS512),
        ];
        let signer = known
            .into_iter()
            .find(|(algorithm, _)| allows(*algorithm))
            .ok_or("none of the algorithms can be signed with here")?
            .1;
        signer.as_ref().map_err(Clone::clone)
    }

    fn new(algorithm: Algorithm) -> Result<Signer, String> {
        let (key, public) = key(algorithm).map_err(|why| format!("no key: {why}"))?;
        let mut jwk = public.clone();
        if let Some(members) = jwk.as_object_mut() {
            members.insert("kid".to_owned(), json!(KID));
        }
        let set = json!({ "keys": [jwk] }).to_string();
        let set = KeySet::parse(set.as_bytes()).map_err(|why| format!("keys: {why}"))?;
        Ok(Signer {
            algorithm,
            key,
            public,
            set: Arc::new(set),
        })
    }
}

fn key(algorithm: Algorithm) -> Result<(EncodingKey, Value), ErrorStack> {
    match algorithm {
        Algorithm::ES256 => elliptic(Nid::X9_62_PRIME256V1, "P-256", 32),
        Algorithm::ES384 => elliptic(Nid::SECP384R1, "P-384", 48),
        Algorithm::EdDSA => {
            let key = PKey::generate_ed25519()?;
            let jwk =
                json!({ "kty": "OKP", "crv": "Ed25519", "x": URL_SAFE_NO_PAD.encode(key.raw_public_key()?) });
            Ok((EncodingKey::from_ed_der(&key.private_key_to_pkcs8()?), jwk))
        }
        _ => {
            let key = Rsa::generate(2048)?;
            let text = |n: &openssl::bn::BigNumRef| URL_SAFE_NO_PAD.encode(n.to_vec());
            let jwk = json!({ "kty": "RSA", "n": text(key.n()), "e": text(key.e()) });
            Ok((EncodingKey::from_rsa_der(&key.private_key_to_der()?), jwk))
        }
    }
}

fn elliptic(curve: Nid, name: &str, width: i32) -> Result<(EncodingKey, Value), ErrorStack> {
    let group = EcGroup::from_curve_name(curve)?;
    let key = EcKey::generate(&group)?;
    let (mut x, mut y, mut context) = (BigNum::new()?, BigNum::new()?, BigNumContext::new()?);
    key.public_key()
        .affine_coordinates(&group, &mut x, &mut y, &mut context)?;
    let text = |n: &BigNum| n.to_vec_padded(width).map(|bytes| URL_SAFE_NO_PAD.encode(bytes));
    let jwk = json!({ "kty": "EC", "crv": name, "x": text(&x)?, "y": text(&y)? });
    Ok((
        EncodingKey::from_ec_der(&PKey::from_ec_key(key)?.private_key_to_pkcs8()?),
        jwk,
    ))
}
