//! Public keys that come with what they have signed.
//!
//! Checked like any other, and verified with as they are: [`super::PreparedKey`] has a place in a table that is copied when
//! it changes, which is right for the keys of issuers and wrong for those of callers.

use std::fmt;

use jsonwebtoken::Algorithm;
use openssl::pkey::{PKey, Public};

use super::prepared::check;
use super::scheme::{Scheme, Shape};
use super::{CleanErrorQueue, verify};

/// A public key that signatures can be held against.
pub struct PublicKey {
    key: PKey<Public>,
    algorithms: &'static [Algorithm],
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PublicKey")
            .field("algorithms", &self.algorithms)
            .finish_non_exhaustive()
    }
}

impl PublicKey {
    /// Checks a key. The error is a stable reason, as of [`super::PreparedKey::new`].
    pub fn new(key: PKey<Public>) -> Result<Self, &'static str> {
        let _clean = CleanErrorQueue;
        let shape = Shape::of(&key).ok_or("unsupported_key")?;
        check(&key, shape)?;
        let algorithms = shape.algorithms();
        Ok(Self { key, algorithms })
    }

    /// Whether this is the key's signature over the message. Never, with an algorithm of another kind of key.
    #[must_use]
    pub fn has_signed(&self, algorithm: Algorithm, message: &[u8], signature: &[u8]) -> bool {
        let _clean = CleanErrorQueue;
        let scheme = Scheme::of(algorithm).filter(|_| self.algorithms.contains(&algorithm));
        scheme.is_some_and(|scheme| {
            verify::verify(scheme, &self.key, message, signature).is_ok_and(|is_good| is_good)
        })
    }
}
