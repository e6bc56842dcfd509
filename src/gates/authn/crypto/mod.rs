//! Signatures: an OpenSSL backend for `jsonwebtoken`, which brings none of its own for OpenSSL.
//!
//! What it decides: whether a signature is a key's over some bytes. What it never does: choose
//! the key or the algorithm, or read a token. Public keys are prepared once ([`PreparedKey`]) and
//! only looked up per token. Symmetric algorithms do not exist here: every key we verify with is
//! public, so an HMAC keyed with one proves nothing (RFC 8725 section 2.1).
//!
//! OpenSSL reports errors through a queue per thread. Pingora's TLS reads the same queue on the
//! same threads, and an entry left behind by us would look like the failure of an unrelated
//! connection; so every entry point here leaves the queue empty, whatever happened.

mod prepared;
mod public;
mod scheme;
mod sign;
mod verify;

use jsonwebtoken::Algorithm;
use jsonwebtoken::crypto::{CryptoProvider, KeyUtils};
use jsonwebtoken::errors::{ErrorKind, Result};
use jsonwebtoken::jwk::{EllipticCurve, ThumbprintHash};
use openssl::bn::{BigNum, BigNumContext};
use openssl::error::ErrorStack;
use openssl::hash::{MessageDigest, hash};
use openssl::pkey::{Id, PKey};
use openssl::rsa::Rsa;

pub use prepared::{MAX_RSA_BITS, MIN_RSA_BITS, PreparedKey};
pub use public::PublicKey;
pub use scheme::{ALGORITHMS, AlgorithmSet, asymmetric};

/// Makes this module the cryptography of `jsonwebtoken` in this process. May be called any number
/// of times from any thread. [`PreparedKey`] does it by itself; whoever only signs must call it.
pub fn install() {
    // The error says that a provider is installed, and no other exists in this build: the
    // crate's own backends are not compiled in.
    let _ = PROVIDER.install_default();
}

static PROVIDER: CryptoProvider = CryptoProvider {
    signer_factory: sign::signer,
    verifier_factory: verify::verifier,
    key_utils: KeyUtils {
        rsa_pub_components_from_private_key: rsa_components_of_private,
        rsa_pub_components_from_public_key: rsa_components_of_public,
        ec_pub_components_from_private_key: ec_components_of_private,
        ed_pub_components_from_private_key: ed_component_of_private,
        compute_digest: digest,
    },
};

/// Empties OpenSSL's error queue of this thread when it goes out of scope.
struct CleanErrorQueue;

impl Drop for CleanErrorQueue {
    fn drop(&mut self) {
        drop(ErrorStack::get());
    }
}

/// `(n, e)` of a DER private key, PKCS#1 or PKCS#8.
fn rsa_components_of_private(der: &[u8]) -> Result<(Vec<u8>, Vec<u8>)> {
    let _clean = CleanErrorQueue;
    let rsa = PKey::private_key_from_der(der)
        .and_then(|key| key.rsa())
        .map_err(invalid_rsa)?;
    Ok((rsa.n().to_vec(), rsa.e().to_vec()))
}

/// `(n, e)` of a DER public key, PKCS#1 or SubjectPublicKeyInfo.
fn rsa_components_of_public(der: &[u8]) -> Result<(Vec<u8>, Vec<u8>)> {
    let _clean = CleanErrorQueue;
    let rsa = Rsa::public_key_from_der_pkcs1(der)
        .or_else(|_| Rsa::public_key_from_der(der))
        .map_err(invalid_rsa)?;
    Ok((rsa.n().to_vec(), rsa.e().to_vec()))
}

fn invalid_rsa(_: ErrorStack) -> ErrorKind {
    ErrorKind::InvalidRsaKey("not an RSA key in DER".to_owned())
}

/// Curve, x and y (padded to the curve's size) of a DER private key.
fn ec_components_of_private(der: &[u8], algorithm: Algorithm) -> Result<(EllipticCurve, Vec<u8>, Vec<u8>)> {
    let _clean = CleanErrorQueue;
    let curve = match algorithm {
        Algorithm::ES256 => EllipticCurve::P256,
        Algorithm::ES384 => EllipticCurve::P384,
        _ => return Err(ErrorKind::InvalidEcdsaKey.into()),
    };
    let components = || -> std::result::Result<_, ErrorStack> {
        let key = PKey::private_key_from_der(der)?;
        let shape = scheme::Shape::of(&key);
        let ec = key.ec_key()?;
        let (mut x, mut y, mut context) = (BigNum::new()?, BigNum::new()?, BigNumContext::new()?);
        ec.public_key()
            .affine_coordinates(ec.group(), &mut x, &mut y, &mut context)?;
        let octets = i32::try_from(ec.group().degree().div_ceil(8)).unwrap_or(i32::MAX);
        Ok((shape, x.to_vec_padded(octets)?, y.to_vec_padded(octets)?))
    };
    match components() {
        Ok((Some(shape), x, y)) if shape.algorithms().contains(&algorithm) => Ok((curve, x, y)),
        _ => Err(ErrorKind::InvalidEcdsaKey.into()),
    }
}

/// The 32 bytes of the public key of a DER private key.
fn ed_component_of_private(der: &[u8], curve: &EllipticCurve) -> Result<Vec<u8>> {
    let _clean = CleanErrorQueue;
    if *curve != EllipticCurve::Ed25519 {
        return Err(ErrorKind::InvalidAlgorithm.into());
    }
    PKey::private_key_from_der(der)
        .ok()
        .filter(|key| key.id() == Id::ED25519)
        .and_then(|key| key.raw_public_key().ok())
        .ok_or_else(|| ErrorKind::InvalidEddsaKey.into())
}

/// For RFC 7638 thumbprints.
fn digest(data: &[u8], function: ThumbprintHash) -> Result<Vec<u8>> {
    let _clean = CleanErrorQueue;
    let function = match function {
        ThumbprintHash::SHA256 => MessageDigest::sha256(),
        ThumbprintHash::SHA384 => MessageDigest::sha384(),
        ThumbprintHash::SHA512 => MessageDigest::sha512(),
        _ => return Err(ErrorKind::UnsupportedAlgorithm.into()),
    };
    match hash(function, data) {
        Ok(digest) => Ok(digest.to_vec()),
        Err(_) => Err(ErrorKind::Provider("digest not available".to_owned()).into()),
    }
}
