//! An issuer's keys (RFC 7517): what it publishes, and which of it may verify a token.
//!
//! A set is read leniently and its keys strictly: one key that is unknown, weak or broken is left
//! out, with a reason, and the others keep working (RFC 7517 section 5). Keys are found by exact
//! `kid` and by what they may do; the token's header never widens that.

mod key;
mod thumbprint;

use std::collections::HashSet;
use std::sync::atomic::{AtomicU64, Ordering};
use std::{error, fmt};

use jsonwebtoken::Algorithm;
use serde_json::Value;

use super::json::{self, Fault};

pub use key::{Key, check_embedded, embedded};
pub use thumbprint::thumbprint;

/// Longest set that is read, in bytes.
pub const MAX_SET_BYTES: usize = 256 * 1024;
/// Most keys a set may have, unusable ones included.
pub const MAX_KEYS: usize = 100;
/// A JWK is flat; the set adds two levels, and extensions get a few more.
const MAX_DEPTH: usize = 8;

static NEXT_GENERATION: AtomicU64 = AtomicU64::new(1);

/// Why a whole set was refused. Whoever fetched it keeps the one it has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeySetError {
    /// More than [`MAX_SET_BYTES`].
    TooLarge,
    /// Not JSON, or nested too deeply.
    Malformed,
    /// A JSON member twice (RFC 7517 section 4 and 5 let us refuse).
    DuplicateMember,
    /// No object with an array `keys`.
    NotASet,
    /// More than [`MAX_KEYS`].
    TooManyKeys,
}

impl KeySetError {
    /// Stable, snake_case.
    pub const fn reason(&self) -> &'static str {
        match self {
            Self::TooLarge => "key_set_too_large",
            Self::Malformed => "key_set_malformed",
            Self::DuplicateMember => "key_set_duplicate_member",
            Self::NotASet => "key_set_not_a_set",
            Self::TooManyKeys => "key_set_too_many_keys",
        }
    }
}

impl fmt::Display for KeySetError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.reason())
    }
}

impl error::Error for KeySetError {}

/// Why no key of a set may verify a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoKey {
    /// There is none of that `kid` (or, without one, none for the algorithm): the issuer may have
    /// rotated its keys, and fetching them again can help (S51, U1).
    Unknown,
    /// The `kid` is there and its key may not be used this way, or not at all. Fetching again
    /// does not help.
    Unsuited,
    /// No `kid` was given and several keys fit: guessing would make every token cost several checks.
    Ambiguous,
}

/// The keys of one issuer at one time. Immutable.
#[derive(Debug)]
pub struct KeySet {
    keys: Vec<Key>,
    /// Keys that were left out, with their `kid` if they have a usable one, and why.
    pub skipped: Vec<(Option<String>, &'static str)>,
    generation: u64,
}

impl KeySet {
    /// Reads a JWK Set. Errors concern the set as a whole; a key that cannot be used is in
    /// [`Self::skipped`] instead. A set without any usable key is not an error.
    pub fn parse(text: &[u8]) -> Result<Self, KeySetError> {
        if text.len() > MAX_SET_BYTES {
            return Err(KeySetError::TooLarge);
        }
        let set = json::parse(text, MAX_DEPTH).map_err(|fault| match fault {
            Fault::Duplicate => KeySetError::DuplicateMember,
            Fault::Syntax | Fault::Depth => KeySetError::Malformed,
        })?;
        let members = set
            .get("keys")
            .and_then(Value::as_array)
            .ok_or(KeySetError::NotASet)?;
        if members.len() > MAX_KEYS {
            return Err(KeySetError::TooManyKeys);
        }
        let (mut keys, mut skipped) = (Vec::new(), Vec::new());
        for member in members {
            match Key::parse(member) {
                Ok(key) => keys.push(key),
                Err(reason) => skipped.push((key::usable_kid(member), reason)),
            }
        }
        let generation = NEXT_GENERATION.fetch_add(1, Ordering::Relaxed);
        Ok(Self {
            keys,
            skipped,
            generation,
        })
    }

    /// Unique to this parsed set within the process, never 0. A cache of verdicts that remembers
    /// it can tell that the keys behind a verdict have been replaced.
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// The usable keys, in the issuer's order.
    pub fn keys(&self) -> &[Key] {
        &self.keys
    }

    /// Whether the other set would answer every question the same way, whatever the order of its
    /// keys. Whoever refetches then keeps the old set, and with it the generation.
    pub fn same_keys(&self, other: &Self) -> bool {
        self.identities() == other.identities()
            && self.skipped.iter().collect::<HashSet<_>>() == other.skipped.iter().collect::<HashSet<_>>()
    }

    fn identities(&self) -> HashSet<(Option<&str>, &[Algorithm], &[u8])> {
        self.keys
            .iter()
            .map(|key| (key.kid(), key.algorithms(), key.spki()))
            .collect()
    }

    /// The keys that may have made a signature with `algorithm`: with a `kid`, those of exactly
    /// that `kid`; without, the only key that can do the algorithm. Never empty if `Ok`, and one
    /// key unless the issuer published a `kid` more than once.
    pub fn candidates(
        &self,
        kid: Option<&str>,
        algorithm: Algorithm,
    ) -> Result<impl Iterator<Item = &Key>, NoKey> {
        let fits =
            move |key: &&Key| key.algorithms().contains(&algorithm) && (kid.is_none() || key.kid() == kid);
        match (self.keys.iter().filter(fits).count(), kid) {
            (0, Some(kid)) if self.knows(kid) => Err(NoKey::Unsuited),
            (0, _) => Err(NoKey::Unknown),
            (2.., None) => Err(NoKey::Ambiguous),
            _ => Ok(self.keys.iter().filter(fits)),
        }
    }

    /// Whether there is a key of this `kid`, usable or not.
    #[must_use]
    pub fn knows(&self, kid: &str) -> bool {
        self.keys.iter().any(|key| key.kid() == Some(kid))
            || self
                .skipped
                .iter()
                .any(|(skipped, _)| skipped.as_deref() == Some(kid))
    }
}
