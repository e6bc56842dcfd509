//! Signing, for issuers we run ourselves: the demo's and the tests'. The gateway signs no tokens.

use jsonwebtoken::crypto::JwtSigner;
use jsonwebtoken::errors::{ErrorKind, Result};
use jsonwebtoken::signature::{self, Signer};
use jsonwebtoken::{Algorithm, EncodingKey};
use openssl::ecdsa::EcdsaSig;
use openssl::error::ErrorStack;
use openssl::pkey::{PKey, PKeyRef, Private};
use openssl::rsa::Padding;
use openssl::sign::{self, RsaPssSaltlen};

use super::CleanErrorQueue;
use super::scheme::{Scheme, Shape};

/// What `jsonwebtoken` calls per token. Takes whatever DER its `EncodingKey` holds: PKCS#8, or the
/// traditional form of RSA and EC keys. Errors: `UnsupportedAlgorithm` for HMAC, `InvalidKeyFormat`
/// for bytes that are no private key, `InvalidAlgorithm` for a key of another kind.
pub(super) fn signer(algorithm: &Algorithm, key: &EncodingKey) -> Result<Box<dyn JwtSigner>> {
    let _clean = CleanErrorQueue;
    let scheme = Scheme::of(*algorithm).ok_or(ErrorKind::UnsupportedAlgorithm)?;
    let key = PKey::private_key_from_der(key.as_bytes()).map_err(|_| ErrorKind::InvalidKeyFormat)?;
    match Shape::of(&key) {
        Some(shape) if shape.algorithms().contains(algorithm) => Ok(Box::new(PrivateSigner {
            algorithm: *algorithm,
            scheme,
            key,
        })),
        _ => Err(ErrorKind::InvalidAlgorithm.into()),
    }
}

struct PrivateSigner {
    algorithm: Algorithm,
    scheme: Scheme,
    key: PKey<Private>,
}

impl JwtSigner for PrivateSigner {
    fn algorithm(&self) -> Algorithm {
        self.algorithm
    }
}

impl Signer<Vec<u8>> for PrivateSigner {
    fn try_sign(&self, message: &[u8]) -> std::result::Result<Vec<u8>, signature::Error> {
        let _clean = CleanErrorQueue;
        sign(self.scheme, &self.key, message).map_err(signature::Error::from_source)
    }
}

fn sign(scheme: Scheme, key: &PKeyRef<Private>, message: &[u8]) -> std::result::Result<Vec<u8>, ErrorStack> {
    match scheme {
        Scheme::Pkcs1(digest) => {
            let mut signer = sign::Signer::new(digest, key)?;
            signer.set_rsa_padding(Padding::PKCS1)?;
            signer.sign_oneshot_to_vec(message)
        }
        Scheme::Pss(digest) => {
            let mut signer = sign::Signer::new(digest, key)?;
            signer.set_rsa_padding(Padding::PKCS1_PSS)?;
            signer.set_rsa_mgf1_md(digest)?;
            // Left alone, OpenSSL takes the longest salt that fits, which RFC 7518 section 3.5
            // forbids and other verifiers refuse.
            signer.set_rsa_pss_saltlen(RsaPssSaltlen::DIGEST_LENGTH)?;
            signer.sign_oneshot_to_vec(message)
        }
        Scheme::Ecdsa { digest, octets } => {
            let der = sign::Signer::new(digest, key)?.sign_oneshot_to_vec(message)?;
            let signature = EcdsaSig::from_der(&der)?;
            let octets = i32::try_from(octets).unwrap_or(i32::MAX);
            let mut bytes = signature.r().to_vec_padded(octets)?;
            bytes.extend(signature.s().to_vec_padded(octets)?);
            Ok(bytes)
        }
        Scheme::Ed25519 => sign::Signer::new_without_digest(key)?.sign_oneshot_to_vec(message),
    }
}
