//! The issuer's signing keys, and what it publishes of them.
//!
//! Signing is done with OpenSSL directly rather than with the library that the gateway verifies with, so that a token of
//! the demo is a check by somebody else.

use std::io;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use openssl::bn::{BigNum, BigNumContext};
use openssl::ec::{EcGroup, EcKey};
use openssl::ecdsa::EcdsaSig;
use openssl::error::ErrorStack;
use openssl::hash::{MessageDigest, hash};
use openssl::nid::Nid;
use openssl::pkey::{Id, PKey, Private};
use openssl::rsa::Rsa;
use openssl::sign::Signer;
use serde_json::{Value, json};

use crate::pki::store::{Readers, State};

/// The RSA key (2048 bits, PKCS #8).
const RSA: &str = "issuer.key";
/// The P-256 key (PKCS #8).
const EC: &str = "issuer-ec.key";
/// Octets of a P-256 coordinate, and of each half of its signatures (RFC 7518 section 3.4).
const P256: i32 = 32;

/// Signature algorithms of the demo's tokens (RFC 7518 section 3.1).
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Algorithm {
    /// RSASSA-PKCS1-v1_5 with SHA-256.
    #[default]
    #[value(name = "RS256")]
    Rs256,
    /// ECDSA on P-256 with SHA-256.
    #[value(name = "ES256")]
    Es256,
}

impl Algorithm {
    /// As written in `alg`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Algorithm::Rs256 => "RS256",
            Algorithm::Es256 => "ES256",
        }
    }
}

/// One key for each [`Algorithm`].
#[derive(Debug)]
pub struct Keys {
    rsa: Key,
    ec: Key,
}

/// A private key with its public half as a JWK.
#[derive(Debug)]
struct Key {
    private: PKey<Private>,
    kid: String,
    jwk: Value,
}

/// Makes the keys that are missing. The caller holds the lock.
///
/// # Errors
/// Those of the file system and of OpenSSL.
pub fn ensure(state: &State) -> io::Result<()> {
    if state.read(RSA, Readers::Owner)?.is_none() {
        let key = PKey::from_rsa(Rsa::generate(2048)?)?;
        state.write(RSA, &key.private_key_to_pem_pkcs8()?, Readers::Owner)?;
    }
    if state.read(EC, Readers::Owner)?.is_none() {
        let group = EcGroup::from_curve_name(Nid::X9_62_PRIME256V1)?;
        let key = PKey::from_ec_key(EcKey::generate(&group)?)?;
        state.write(EC, &key.private_key_to_pem_pkcs8()?, Readers::Owner)?;
    }
    Ok(())
}

impl Keys {
    /// Reads the keys that [`ensure`] has made.
    ///
    /// # Errors
    /// `NotFound` if a key is missing, `InvalidData` if one is of another kind; those of the file system and of OpenSSL.
    pub fn load(state: &State) -> io::Result<Keys> {
        Ok(Keys {
            rsa: Key::load(state, RSA, Id::RSA)?,
            ec: Key::load(state, EC, Id::EC)?,
        })
    }

    /// The key set (RFC 7517 section 5).
    #[must_use]
    pub fn jwks(&self) -> Value {
        json!({"keys": [self.rsa.jwk, self.ec.jwk]})
    }

    /// A compact JWS (RFC 7515 section 3.1) of type `at+jwt` (RFC 9068 section 2.1).
    ///
    /// # Errors
    /// Those of OpenSSL.
    pub fn sign(&self, algorithm: Algorithm, claims: &Value) -> Result<String, ErrorStack> {
        let key = match algorithm {
            Algorithm::Rs256 => &self.rsa,
            Algorithm::Es256 => &self.ec,
        };
        let header = json!({"typ": "at+jwt", "alg": algorithm.name(), "kid": key.kid});
        let input = format!("{}.{}", encode(header.to_string()), encode(claims.to_string()));
        let mut signer = Signer::new(MessageDigest::sha256(), &key.private)?;
        let signature = signer.sign_oneshot_to_vec(input.as_bytes())?;
        let signature = match algorithm {
            Algorithm::Rs256 => signature,
            Algorithm::Es256 => {
                // OpenSSL writes ASN.1; a JWS has both numbers side by side.
                let parts = EcdsaSig::from_der(&signature)?;
                [parts.r().to_vec_padded(P256)?, parts.s().to_vec_padded(P256)?].concat()
            }
        };
        Ok(format!("{input}.{}", encode(signature)))
    }
}

impl Key {
    fn load(state: &State, name: &str, kind: Id) -> io::Result<Key> {
        let pem = state.read(name, Readers::Owner)?.ok_or(io::ErrorKind::NotFound)?;
        let private = PKey::private_key_from_pem(&pem)?;
        if private.id() != kind {
            let text = format!("{} holds another kind of key", state.path().join(name).display());
            return Err(io::Error::new(io::ErrorKind::InvalidData, text));
        }
        let (members, algorithm) = if kind == Id::RSA {
            (rsa_members(&private)?, "RS256")
        } else {
            (ec_members(&private)?, "ES256")
        };
        let kid = thumbprint(&members)?;
        let mut jwk = members;
        for (name, value) in [("alg", algorithm), ("use", "sig"), ("kid", kid.as_str())] {
            if let Some(object) = jwk.as_object_mut() {
                object.insert(name.to_owned(), value.into());
            }
        }
        Ok(Key { private, kid, jwk })
    }
}

/// The members of a key that its thumbprint covers, and no others.
fn rsa_members(key: &PKey<Private>) -> Result<Value, ErrorStack> {
    let key = key.rsa()?;
    Ok(json!({"e": encode(key.e().to_vec()), "kty": "RSA", "n": encode(key.n().to_vec())}))
}

fn ec_members(key: &PKey<Private>) -> Result<Value, ErrorStack> {
    let key = key.ec_key()?;
    let (mut x, mut y) = (BigNum::new()?, BigNum::new()?);
    key.public_key()
        .affine_coordinates(key.group(), &mut x, &mut y, &mut *BigNumContext::new()?)?;
    let (x, y) = (encode(x.to_vec_padded(P256)?), encode(y.to_vec_padded(P256)?));
    Ok(json!({"crv": "P-256", "kty": "EC", "x": x, "y": y}))
}

/// RFC 7638 section 3: SHA-256 of the required members in the order of their names, without white space. `serde_json`
/// writes them so, whether it sorts or keeps the order above.
fn thumbprint(members: &Value) -> Result<String, ErrorStack> {
    Ok(encode(hash(
        MessageDigest::sha256(),
        members.to_string().as_bytes(),
    )?))
}

fn encode(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pki::store::Scratch;

    #[test]
    fn the_thumbprint_is_that_of_rfc_7638_section_3_1() {
        let n = "0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJECPebWKRXjBZCiFV4n3oknjhMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY368QQMicAtaSqzs8KJZgnYb9c7d0zgdAZHzu6qMQvRL5hajrn1n91CbOpbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF44-csFCur-kEgU8awapJzKnqDKgw";
        let members = json!({"e": "AQAB", "kty": "RSA", "n": n});
        assert_eq!(
            thumbprint(&members).unwrap(),
            "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs"
        );
    }

    #[test]
    fn keys_stay_the_same_and_only_their_public_half_is_published() {
        let scratch = Scratch::new();
        let state = State::open(&scratch.0).unwrap();
        ensure(&state).unwrap();
        let first = Keys::load(&state).unwrap().jwks();
        ensure(&state).unwrap();
        assert_eq!(Keys::load(&state).unwrap().jwks(), first);
        for (key, members) in [(0, "alg e kid kty n use"), (1, "alg crv kid kty use x y")] {
            let mut names: Vec<_> = first["keys"][key].as_object().unwrap().keys().cloned().collect();
            names.sort();
            assert_eq!(names.join(" "), members);
        }
    }
}
