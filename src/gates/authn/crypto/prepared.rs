//! Public keys, parsed and checked once and looked up per token.
//!
//! `jsonwebtoken` passes keys as bytes and asks for a verifier per token; parsing the key there
//! would cost as much as the signature. Its DER constructors keep the bytes as they are, so ours
//! hold the number of an entry in a table, and the verifier takes the ready key from the entry.

use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock};

use arc_swap::ArcSwap;
use jsonwebtoken::{Algorithm, DecodingKey};
use openssl::pkey::{PKey, Public};

use super::CleanErrorQueue;
use super::scheme::Shape;

/// RSA moduli below this are refused (RFC 7518 section 3.3). In bits.
pub const MIN_RSA_BITS: i32 = 2048;
/// RSA moduli above this are refused: verifying costs the square of the length. In bits.
pub const MAX_RSA_BITS: i32 = 8192;
/// RSA exponents above this are refused for the same reason; 65537 needs 17. In bits.
const MAX_RSA_EXPONENT_BITS: i32 = 64;

type Table = HashMap<u64, Arc<Entry>>;

/// Read by every verification without a lock; copied when key sets change, which is rare and
/// concerns at most a few hundred entries.
static TABLE: LazyLock<ArcSwap<Table>> = LazyLock::new(ArcSwap::default);
static NEXT_ID: AtomicU64 = AtomicU64::new(0);

pub(super) struct Entry {
    pub(super) key: PKey<Public>,
    pub(super) algorithms: &'static [Algorithm],
}

/// A public key ready to verify with. Owns its place in the table: once dropped, its
/// [`DecodingKey`] verifies nothing any more.
pub struct PreparedKey {
    id: u64,
    decoding: DecodingKey,
    algorithms: &'static [Algorithm],
    spki: Vec<u8>,
}

impl PreparedKey {
    /// Checks and prepares a key. The error is a stable reason: `unsupported_key`, `rsa_too_small`
    /// (below [`MIN_RSA_BITS`]), `rsa_too_large` (above [`MAX_RSA_BITS`]), `rsa_modulus_even`,
    /// `rsa_exponent` (even, 1 or absurdly large), `point_not_on_curve`, `key_malformed`.
    pub fn new(key: PKey<Public>) -> Result<Self, &'static str> {
        let _clean = CleanErrorQueue;
        super::install();
        let shape = Shape::of(&key).ok_or("unsupported_key")?;
        check(&key, shape)?;
        let spki = key.public_key_to_der().map_err(|_| "key_malformed")?;
        let id = NEXT_ID.fetch_add(1, Ordering::Relaxed);
        let algorithms = shape.algorithms();
        let entry = Arc::new(Entry { key, algorithms });
        TABLE.rcu(|table| {
            let mut table = Table::clone(table);
            table.insert(id, Arc::clone(&entry));
            table
        });
        let bytes = id.to_be_bytes();
        let decoding = match shape {
            Shape::Rsa => DecodingKey::from_rsa_der(&bytes),
            Shape::P256 | Shape::P384 => DecodingKey::from_ec_der(&bytes),
            Shape::Ed25519 => DecodingKey::from_ed_der(&bytes),
        };
        Ok(Self {
            id,
            decoding,
            algorithms,
            spki,
        })
    }

    /// The handle `jsonwebtoken` verifies with; good as long as `self` lives.
    pub fn decoding(&self) -> &DecodingKey {
        &self.decoding
    }

    /// The algorithms a key of this kind may verify, before any restriction its publisher adds.
    pub fn algorithms(&self) -> &'static [Algorithm] {
        self.algorithms
    }

    /// The key's own bytes: SubjectPublicKeyInfo in DER (RFC 5280 section 4.1.2.7), equal for
    /// equal keys.
    pub fn spki(&self) -> &[u8] {
        &self.spki
    }
}

impl Drop for PreparedKey {
    fn drop(&mut self) {
        TABLE.rcu(|table| {
            let mut table = Table::clone(table);
            table.remove(&self.id);
            table
        });
    }
}

impl fmt::Debug for PreparedKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PreparedKey")
            .field("id", &self.id)
            .field("algorithms", &self.algorithms)
            .finish()
    }
}

/// The entry a decoding key points to. `None`: not one of ours, or its [`PreparedKey`] is gone.
pub(super) fn entry(key: &DecodingKey) -> Option<Arc<Entry>> {
    let id: [u8; 8] = key.try_get_as_bytes().ok()?.try_into().ok()?;
    TABLE.load().get(&u64::from_be_bytes(id)).cloned()
}

pub(super) fn check(key: &PKey<Public>, shape: Shape) -> Result<(), &'static str> {
    match shape {
        Shape::Rsa => {
            let rsa = key.rsa().map_err(|_| "key_malformed")?;
            let (n, e) = (rsa.n(), rsa.e());
            match n.num_bits() {
                bits if bits < MIN_RSA_BITS => return Err("rsa_too_small"),
                bits if bits > MAX_RSA_BITS => return Err("rsa_too_large"),
                _ => (),
            }
            if !n.is_bit_set(0) {
                return Err("rsa_modulus_even");
            }
            // One bit is 1 itself, or nothing at all.
            if !e.is_bit_set(0) || e.num_bits() <= 1 || e.num_bits() > MAX_RSA_EXPONENT_BITS {
                return Err("rsa_exponent");
            }
            Ok(())
        }
        Shape::P256 | Shape::P384 => {
            let ec = key.ec_key().map_err(|_| "key_malformed")?;
            ec.check_key().map_err(|_| "point_not_on_curve")
        }
        // Whether 32 bytes are a point shows at the first verification, which then fails.
        Shape::Ed25519 => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dropped_key_verifies_nothing() {
        let private = PKey::generate_ed25519().unwrap();
        let raw = private.raw_public_key().unwrap();
        let public = PKey::public_key_from_raw_bytes(&raw, openssl::pkey::Id::ED25519).unwrap();
        let prepared = PreparedKey::new(public).unwrap();
        let decoding = prepared.decoding().clone();
        assert!(entry(&decoding).is_some());
        drop(prepared);
        assert!(entry(&decoding).is_none());
    }

    #[test]
    fn bytes_that_are_no_handle_find_no_key() {
        assert!(entry(&DecodingKey::from_rsa_der(b"")).is_none());
        assert!(entry(&DecodingKey::from_rsa_der(b"not eight bytes")).is_none());
        assert!(entry(&DecodingKey::from_rsa_der(&u64::MAX.to_be_bytes())).is_none());
        assert!(entry(&DecodingKey::from_rsa_raw_components(&[1], &[3])).is_none());
    }
}
