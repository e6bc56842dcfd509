//! Tokens and keys of every algorithm, well-formed or not, made with OpenSSL directly.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as B64;
use openssl::bn::{BigNum, BigNumContext};
use openssl::ec::{EcGroup, EcKey};
use openssl::ecdsa::EcdsaSig;
use openssl::hash::MessageDigest;
use openssl::nid::Nid;
use openssl::pkey::{PKey, Private};
use openssl::rsa::{Padding, Rsa};
use openssl::sign::{RsaPssSaltlen, Signer};
use serde_json::{Value, json};

/// Every algorithm that an issuer can be configured with.
pub const ALGORITHMS: [&str; 9] = [
    "RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "EdDSA",
];

pub fn base64(bytes: impl AsRef<[u8]>) -> String {
    B64.encode(bytes)
}

pub fn rsa_key(bits: u32) -> PKey<Private> {
    PKey::from_rsa(Rsa::generate(bits).unwrap()).unwrap()
}

pub fn ec_key(curve: Nid) -> PKey<Private> {
    let group = EcGroup::from_curve_name(curve).unwrap();
    PKey::from_ec_key(EcKey::generate(&group).unwrap()).unwrap()
}

/// A new key for an algorithm.
pub fn key_for(algorithm: &str) -> PKey<Private> {
    match algorithm {
        "ES256" => ec_key(Nid::X9_62_PRIME256V1),
        "ES384" => ec_key(Nid::SECP384R1),
        "EdDSA" => PKey::generate_ed25519().unwrap(),
        _ => rsa_key(2048),
    }
}

/// The public half, as a JWK without `alg`.
pub fn jwk(kid: &str, key: &PKey<Private>) -> Value {
    if let Ok(rsa) = key.rsa() {
        let (n, e) = (base64(rsa.n().to_vec()), base64(rsa.e().to_vec()));
        return json!({ "kty": "RSA", "use": "sig", "kid": kid, "n": n, "e": e });
    }
    if let Ok(ec) = key.ec_key() {
        let (name, size) = match ec.group().curve_name() {
            Some(Nid::X9_62_PRIME256V1) => ("P-256", 32),
            Some(Nid::SECP384R1) => ("P-384", 48),
            Some(Nid::SECP521R1) => ("P-521", 66),
            other => panic!("curve {other:?}"),
        };
        let (mut x, mut y) = (BigNum::new().unwrap(), BigNum::new().unwrap());
        let mut context = BigNumContext::new().unwrap();
        ec.public_key()
            .affine_coordinates(ec.group(), &mut x, &mut y, &mut context)
            .unwrap();
        let [x, y] = [x, y].map(|n| base64(n.to_vec_padded(size).unwrap()));
        return json!({ "kty": "EC", "use": "sig", "kid": kid, "crv": name, "x": x, "y": y });
    }
    let x = base64(key.raw_public_key().unwrap());
    json!({ "kty": "OKP", "use": "sig", "kid": kid, "crv": "Ed25519", "x": x })
}

/// A key set of these keys.
pub fn jwks(keys: &[Value]) -> String {
    json!({ "keys": keys }).to_string()
}

/// A signature as the algorithm has it (RFC 7518 section 3).
pub fn signature(algorithm: &str, key: &PKey<Private>, message: &str) -> Vec<u8> {
    let message = message.as_bytes();
    let digest = match &algorithm[2..] {
        "384" => MessageDigest::sha384(),
        "512" => MessageDigest::sha512(),
        _ => MessageDigest::sha256(),
    };
    match &algorithm[..2] {
        "Ed" => Signer::new_without_digest(key)
            .unwrap()
            .sign_oneshot_to_vec(message)
            .unwrap(),
        "PS" => {
            let mut signer = Signer::new(digest, key).unwrap();
            signer.set_rsa_padding(Padding::PKCS1_PSS).unwrap();
            signer.set_rsa_pss_saltlen(RsaPssSaltlen::DIGEST_LENGTH).unwrap();
            signer.sign_oneshot_to_vec(message).unwrap()
        }
        "ES" => {
            let hash = openssl::hash::hash(digest, message).unwrap();
            let ec = key.ec_key().unwrap();
            let size = i32::try_from(ec.group().degree().div_ceil(8)).unwrap();
            let made = EcdsaSig::sign(&hash, &ec).unwrap();
            let mut bytes = made.r().to_vec_padded(size).unwrap();
            bytes.extend(made.s().to_vec_padded(size).unwrap());
            bytes
        }
        // the same call makes RSA signatures and HMACs
        _ => Signer::new(digest, key)
            .unwrap()
            .sign_oneshot_to_vec(message)
            .unwrap(),
    }
}

/// What is signed: header and claims as they are given, which need not be JSON.
pub fn signed_part(header: impl ToString, claims: impl ToString) -> String {
    format!("{}.{}", base64(header.to_string()), base64(claims.to_string()))
}

/// A token of these two, signed with `algorithm` whatever the header says.
pub fn token(algorithm: &str, key: &PKey<Private>, header: impl ToString, claims: impl ToString) -> String {
    let signed = signed_part(header, claims);
    let signature = signature(algorithm, key, &signed);
    format!("{signed}.{}", base64(signature))
}
