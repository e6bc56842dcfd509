//! Verdicts on credentials seen before, so that a signature is checked once for each token and not for each request.
//!
//! Keyed by the SHA-256 of the whole token: two tokens that differ in one bit of the signature are two tokens. Good and
//! bad verdicts are kept apart, so that a flood of forgeries evicts nothing but forgeries. A verdict holds only while the
//! keys and the settings that it was made with do; whoever looks it up checks that.

use std::fmt;
use std::sync::Arc;

use quick_cache::sync::Cache;

use super::AuthnError;
use crate::clock::UnixTime;
use crate::identity::Client;

/// Good verdicts kept at most: about 1 KiB each with a typical token.
const GOOD: usize = 65_536;
/// Bad verdicts kept at most: about 100 bytes each.
const BAD: usize = 16_384;

/// SHA-256 of a token.
pub type Digest = [u8; 32];

/// The digest under which a token's verdict is kept.
#[must_use]
pub fn digest(token: &[u8]) -> Digest {
    // not the one-call function, which looks the algorithm up anew each time
    let mut hash = openssl::sha::Sha256::new();
    hash.update(token);
    hash.finish()
}

/// A token was good.
#[derive(Debug, Clone)]
pub struct Good {
    /// Whose.
    pub client: Arc<Client>,
    /// Generation of the keys that verified it.
    pub keys: u64,
    /// Settings that it was judged by.
    pub policy: u64,
}

/// A token was not good.
#[derive(Debug, Clone, Copy)]
pub struct Bad {
    /// Why.
    pub why: AuthnError,
    /// The issuer that it names.
    pub issuer: usize,
    /// Generation of the keys that it was checked with.
    pub keys: u64,
    /// Settings that it was judged by.
    pub policy: u64,
}

/// The issuer of a token was asked about it.
#[derive(Debug, Clone)]
pub struct Asked {
    /// Whose it is, or why it is not good.
    pub outcome: Result<Arc<Client>, AuthnError>,
    /// Index of the issuer that was asked.
    pub issuer: usize,
    /// From then on it is asked again.
    pub until: UnixTime,
    /// Settings that its answer was judged by.
    pub policy: u64,
}

/// The memory. Bounded; forgets the least useful first.
pub struct Verdicts {
    good: Cache<Digest, Good>,
    bad: Cache<Digest, Bad>,
    /// Never among the good: a token that is good by its signature is not one that its issuer says is active.
    active: Cache<Digest, Asked>,
    inactive: Cache<Digest, Asked>,
}

impl Verdicts {
    /// For this many good and bad verdicts.
    #[must_use]
    pub fn new(good: usize, bad: usize) -> Verdicts {
        Verdicts {
            good: Cache::new(good),
            bad: Cache::new(bad),
            active: Cache::new(good),
            inactive: Cache::new(bad),
        }
    }

    pub(super) fn asked(&self, digest: &Digest) -> Option<Asked> {
        self.active.get(digest).or_else(|| self.inactive.get(digest))
    }

    pub(super) fn remember_asked(&self, digest: Digest, asked: Asked) {
        // in one of them only: what was active yesterday must not be found before today's answer
        match asked.outcome {
            Ok(_) => {
                self.inactive.remove(&digest);
                self.active.insert(digest, asked);
            }
            Err(_) => {
                self.active.remove(&digest);
                self.inactive.insert(digest, asked);
            }
        }
    }

    pub(super) fn good(&self, digest: &Digest) -> Option<Good> {
        self.good.get(digest)
    }

    pub(super) fn bad(&self, digest: &Digest) -> Option<Bad> {
        self.bad.get(digest)
    }

    pub(super) fn remember_good(&self, digest: Digest, verdict: Good) {
        self.good.insert(digest, verdict);
    }

    pub(super) fn remember_bad(&self, digest: Digest, verdict: Bad) {
        self.bad.insert(digest, verdict);
    }

    /// How many good and bad verdicts are kept now.
    #[must_use]
    pub fn kept(&self) -> (usize, usize) {
        (self.good.len(), self.bad.len())
    }

    /// How many answers of issuers are kept now, and at most: of active tokens and of others.
    #[must_use]
    pub fn kept_answers(&self) -> [(&'static str, usize, u64); 2] {
        [
            ("active", self.active.len(), self.active.capacity()),
            ("inactive", self.inactive.len(), self.inactive.capacity()),
        ]
    }

    /// How many good and bad verdicts are kept at most.
    #[must_use]
    pub fn most(&self) -> (u64, u64) {
        (self.good.capacity(), self.bad.capacity())
    }

    /// Tokens looked up so far, by what was found: a good verdict, a bad one, or none.
    #[must_use]
    pub fn lookups(&self) -> [(&'static str, u64); 3] {
        // the bad are looked through for what is not among the good
        [
            ("good", self.good.hits()),
            ("bad", self.bad.hits()),
            ("none", self.bad.misses()),
        ]
    }
}

impl Default for Verdicts {
    fn default() -> Self {
        Verdicts::new(GOOD, BAD)
    }
}

impl fmt::Debug for Verdicts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (good, bad) = self.kept();
        f.debug_struct("Verdicts")
            .field("good", &good)
            .field("bad", &bad)
            .finish()
    }
}
