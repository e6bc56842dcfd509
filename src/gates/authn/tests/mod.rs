//! Tests of the whole way of a token, from text to verdict, and what they share.

mod abuse;
mod claims;
mod crypto;
mod keys;
mod mutation;
mod time;

use std::sync::{Arc, LazyLock};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, EncodingKey};
use openssl::bn::BigNum;
use openssl::nid::Nid;
use openssl::pkey::{Id, PKey, Private};
use openssl::rsa::Rsa;
use serde_json::{Value, json};

use super::AuthnError;
use super::jwk::KeySet;
use super::jws::Unverified;
use super::jwt::{Issuer, Verified, verify};
use crate::clock::UnixTime;
use crate::identity::{Client, Derived, Kind};

pub(super) const ISSUER: &str = "https://id.example.com/";
pub(crate) const NOW_SECONDS: u64 = 1_800_000_000;
pub(crate) const NOW: UnixTime = UnixTime::from_seconds(NOW_SECONDS);

/// A private key, and what its issuer publishes of it.
pub(super) struct TestKey {
    pub private: PKey<Private>,
    pub jwk: Value,
}

impl TestKey {
    pub fn rsa(bits: u32, kid: &str) -> Self {
        let rsa = Rsa::generate(bits).unwrap();
        let jwk = json!({"kty": "RSA", "kid": kid, "n": b64(rsa.n().to_vec()), "e": b64(rsa.e().to_vec())});
        Self {
            private: PKey::from_rsa(rsa).unwrap(),
            jwk,
        }
    }

    pub fn ec(curve: &str, kid: &str) -> Self {
        let private = PKey::ec_gen(curve).unwrap();
        let ec = private.ec_key().unwrap();
        let octets = if ec.group().curve_name() == Some(Nid::X9_62_PRIME256V1) {
            32
        } else {
            48
        };
        let (mut x, mut y) = (BigNum::new().unwrap(), BigNum::new().unwrap());
        let mut context = openssl::bn::BigNumContext::new().unwrap();
        ec.public_key()
            .affine_coordinates(ec.group(), &mut x, &mut y, &mut context)
            .unwrap();
        let (x, y) = (x.to_vec_padded(octets).unwrap(), y.to_vec_padded(octets).unwrap());
        let jwk = json!({"kty": "EC", "crv": curve, "kid": kid, "x": b64(x), "y": b64(y)});
        Self { private, jwk }
    }

    pub fn ed25519(kid: &str) -> Self {
        let private = PKey::generate_ed25519().unwrap();
        let x = b64(private.raw_public_key().unwrap());
        Self {
            jwk: json!({"kty": "OKP", "crv": "Ed25519", "kid": kid, "x": x}),
            private,
        }
    }

    pub fn encoding(&self) -> EncodingKey {
        match self.private.id() {
            Id::RSA => EncodingKey::from_rsa_der(&self.private.private_key_to_der().unwrap()),
            Id::EC => EncodingKey::from_ec_der(&self.private.private_key_to_pkcs8().unwrap()),
            _ => EncodingKey::from_ed_der(&self.private.private_key_to_pkcs8().unwrap()),
        }
    }

    /// A token with exactly this header and these claims, signed as `algorithm` says, whatever
    /// the header says.
    pub fn sign(&self, algorithm: Algorithm, header: &str, claims: &str) -> String {
        super::crypto::install();
        let message = format!("{}.{}", b64(header), b64(claims));
        let signature = jsonwebtoken::crypto::sign(message.as_bytes(), &self.encoding(), algorithm).unwrap();
        format!("{message}.{signature}")
    }

    /// A token that is good but for these claims.
    pub fn token(&self, algorithm: Algorithm, claims: &Value) -> String {
        self.sign(
            algorithm,
            &header(algorithm, &self.jwk["kid"]).to_string(),
            &claims.to_string(),
        )
    }
}

pub(super) static RSA: LazyLock<TestKey> = LazyLock::new(|| TestKey::rsa(2048, "rsa"));
pub(super) static P256: LazyLock<TestKey> = LazyLock::new(|| TestKey::ec("P-256", "p256"));
pub(super) static P384: LazyLock<TestKey> = LazyLock::new(|| TestKey::ec("P-384", "p384"));
pub(super) static ED: LazyLock<TestKey> = LazyLock::new(|| TestKey::ed25519("ed"));

/// All four keys in one set.
pub(super) static KEYS: LazyLock<KeySet> =
    LazyLock::new(|| key_set(&[&RSA.jwk, &P256.jwk, &P384.jwk, &ED.jwk]));

pub(super) fn key_set(keys: &[&Value]) -> KeySet {
    KeySet::parse(json!({"keys": keys}).to_string().as_bytes()).unwrap()
}

/// The key of [`KEYS`] that signs with `algorithm`.
pub(super) fn key_for(algorithm: Algorithm) -> &'static TestKey {
    match algorithm {
        Algorithm::ES256 => &P256,
        Algorithm::ES384 => &P384,
        Algorithm::EdDSA => &ED,
        _ => &RSA,
    }
}

pub(super) fn b64(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

pub(super) fn header(algorithm: Algorithm, kid: &Value) -> Value {
    json!({"alg": format!("{algorithm:?}"), "typ": "JWT", "kid": kid})
}

pub(super) fn claims() -> Value {
    json!({
        "iss": ISSUER, "sub": "alice", "aud": "vin-api", "client_id": "app",
        "iat": NOW_SECONDS - 60, "nbf": NOW_SECONDS - 60, "exp": NOW_SECONDS + 600,
        "scope": "vin:read vin:write", "realm_access": {"roles": ["clerk"]},
    })
}

/// [`claims`] with one changed, or removed if `value` is null.
pub(super) fn claims_with(name: &str, value: Value) -> Value {
    let mut claims = claims();
    if value.is_null() {
        claims.as_object_mut().unwrap().remove(name);
    } else {
        claims[name] = value;
    }
    claims
}

/// Takes every algorithm, so that each test says itself which are not.
pub(super) fn issuer() -> Issuer {
    let algorithms = super::crypto::ALGORITHMS.to_vec();
    Issuer {
        algorithms,
        ..Issuer::new("main", ISSUER, &["vin-api", "lien-api"])
    }
}

/// The whole way: text to verdict.
pub(super) fn authenticate(issuer: &Issuer, keys: &KeySet, token: &str) -> Result<Verified, AuthnError> {
    verify(issuer, keys, &Unverified::parse(token)?, NOW)
}

/// With the issuer and keys of most tests.
pub(super) fn verdict(token: &str) -> Result<Verified, AuthnError> {
    authenticate(&issuer(), &KEYS, token)
}

#[track_caller]
pub(super) fn refused(token: &str, expected: AuthnError) {
    assert_eq!(verdict(token).map(|_| ()), Err(expected), "{token}");
}

/// Signed with a good key, so that only what is in the claims can be at fault.
#[track_caller]
pub(super) fn claims_refused(claims: &Value, expected: AuthnError) {
    refused(&ED.token(Algorithm::EdDSA, claims), expected);
}

/// A client that was authenticated, of whom nothing else matters.
pub(crate) fn client() -> Arc<Client> {
    client_with(json!({}))
}

/// The same with these changes to its claims; `null` removes one.
pub(crate) fn client_with(changes: Value) -> Arc<Client> {
    let mut claims = claims();
    for (name, value) in changes.as_object().unwrap() {
        if value.is_null() {
            claims.as_object_mut().unwrap().remove(name);
        } else {
            claims[name] = value.clone();
        }
    }
    let verified = verdict(&ED.token(Algorithm::EdDSA, &claims)).unwrap();
    Arc::new(Client {
        kind: Kind::Jwt,
        issuer: 0,
        authority: "main".into(),
        tenant: None,
        subject: verified.subject.into(),
        client_id: verified.client_id.map(Into::into),
        scopes: Box::default(),
        roles: Box::default(),
        claims: verified.claims,
        until: UnixTime::MAX,
        headers: Box::default(),
        authenticated: super::Authenticated(()),
        derived: Derived::default(),
    })
}
