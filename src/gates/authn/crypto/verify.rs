//! Checking a signature with a prepared key.

use std::sync::Arc;

use jsonwebtoken::crypto::JwtVerifier;
use jsonwebtoken::errors::{ErrorKind, Result};
use jsonwebtoken::signature::{self, Verifier};
use jsonwebtoken::{Algorithm, DecodingKey};
use openssl::bn::BigNum;
use openssl::ecdsa::EcdsaSig;
use openssl::error::ErrorStack;
use openssl::pkey::{PKeyRef, Public};
use openssl::rsa::Padding;
use openssl::sign::{self, RsaPssSaltlen};

use super::CleanErrorQueue;
use super::prepared::{self, Entry};
use super::scheme::Scheme;

/// What `jsonwebtoken` calls per token. Errors: `UnsupportedAlgorithm` for HMAC (S48),
/// `InvalidKeyFormat` for a key that is not prepared, `InvalidAlgorithm` for a key of another kind.
pub(super) fn verifier(algorithm: &Algorithm, key: &DecodingKey) -> Result<Box<dyn JwtVerifier>> {
    let scheme = Scheme::of(*algorithm).ok_or(ErrorKind::UnsupportedAlgorithm)?;
    let entry = prepared::entry(key).ok_or(ErrorKind::InvalidKeyFormat)?;
    if !entry.algorithms.contains(algorithm) {
        return Err(ErrorKind::InvalidAlgorithm.into());
    }
    Ok(Box::new(PreparedVerifier {
        algorithm: *algorithm,
        scheme,
        entry,
    }))
}

struct PreparedVerifier {
    algorithm: Algorithm,
    scheme: Scheme,
    entry: Arc<Entry>,
}

impl JwtVerifier for PreparedVerifier {
    fn algorithm(&self) -> Algorithm {
        self.algorithm
    }
}

impl Verifier<Vec<u8>> for PreparedVerifier {
    fn verify(&self, message: &[u8], signature: &Vec<u8>) -> std::result::Result<(), signature::Error> {
        let _clean = CleanErrorQueue;
        match verify(self.scheme, &self.entry.key, message, signature) {
            Ok(true) => Ok(()),
            // An error of OpenSSL's is not told apart: it says that no signature was verified.
            Ok(false) | Err(_) => Err(signature::Error::new()),
        }
    }
}

/// OpenSSL itself refuses RSA and Ed25519 signatures of another length than the key's; for ECDSA
/// it never sees the length, so [`der`] does.
pub(super) fn verify(
    scheme: Scheme,
    key: &PKeyRef<Public>,
    message: &[u8],
    signature: &[u8],
) -> std::result::Result<bool, ErrorStack> {
    match scheme {
        Scheme::Pkcs1(digest) => {
            let mut verifier = sign::Verifier::new(digest, key)?;
            verifier.set_rsa_padding(Padding::PKCS1)?;
            verifier.verify_oneshot(signature, message)
        }
        Scheme::Pss(digest) => {
            let mut verifier = sign::Verifier::new(digest, key)?;
            verifier.set_rsa_padding(Padding::PKCS1_PSS)?;
            verifier.set_rsa_mgf1_md(digest)?;
            // Left alone, OpenSSL takes whatever salt length the signature has.
            verifier.set_rsa_pss_saltlen(RsaPssSaltlen::DIGEST_LENGTH)?;
            verifier.verify_oneshot(signature, message)
        }
        Scheme::Ecdsa { digest, octets } => match der(signature, octets)? {
            Some(der) => sign::Verifier::new(digest, key)?.verify_oneshot(&der, message),
            None => Ok(false),
        },
        Scheme::Ed25519 => sign::Verifier::new_without_digest(key)?.verify_oneshot(signature, message),
    }
}

/// JOSE writes an ECDSA signature as r and s of fixed length (RFC 7518 section 3.4), OpenSSL reads
/// DER. `None`: another length, or r or s is zero. A zero must never reach the arithmetic: an
/// all-zero signature was once valid for everything (CVE-2022-21449).
fn der(signature: &[u8], octets: usize) -> std::result::Result<Option<Vec<u8>>, ErrorStack> {
    let Some((r, s)) = signature.split_at_checked(octets) else {
        return Ok(None);
    };
    if s.len() != octets {
        return Ok(None);
    }
    let (r, s) = (BigNum::from_slice(r)?, BigNum::from_slice(s)?);
    if r.num_bits() == 0 || s.num_bits() == 0 {
        return Ok(None);
    }
    EcdsaSig::from_private_components(r, s)?.to_der().map(Some)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn r_and_s_have_exactly_their_length_and_are_not_zero() {
        let accepted = |r: &[u8], s: &[u8]| der(&[r, s].concat(), 32).unwrap().is_some();
        assert!(accepted(&[1; 32], &[1; 32]));
        // OpenSSL would read these as the same numbers as in a signature of the right length.
        let mut padded = [1; 33];
        padded[0] = 0;
        assert!(!accepted(&[1; 32], &padded));
        assert!(!accepted(&[1; 32], &[1; 31]));
        assert!(!accepted(&[1; 31], &[]));
        assert!(!accepted(&[], &[]));
        assert!(!accepted(&[0; 32], &[1; 32]));
        assert!(!accepted(&[1; 32], &[0; 32]));
    }
}
