//! Proofs that were taken, so that none is taken twice (RFC 9449 section 11.1).
//!
//! A proof is known by its key and its `jti`, and remembered for as long as its `iat` would let it pass: entries are kept by
//! the time of their `iat`, and whole slots of that time are forgotten once no proof of them can pass. What was forgotten is
//! refused for good, even where a clock goes back or a reload lets older proofs pass. Only proofs that are good in everything
//! else come here, so nobody fills the memory without a token of an issuer's and the key of it.
//!
//! An entry takes 80 bytes at most ([`ENTRY`]). Where the memory is full, proofs are refused and not forgotten; from half
//! of it on, no key gets more than a sixteenth, so that one that is used for a flood does not shut out the others.

use std::collections::btree_map::BTreeMap;
use std::collections::{HashMap, HashSet};
use std::fmt;
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use quick_cache::sync::Cache;

use crate::clock::UnixTime;
use crate::gates::authn::crypto::PublicKey;
use crate::gates::authn::verdicts::Digest;

/// Bytes that a remembered proof takes at most: two hashes, and the count of its key, in tables that have just grown.
pub const ENTRY: usize = 80;
/// Locks: more than cores, so that they seldom meet.
const SHARDS: usize = 64;
/// Time that is forgotten at once, in milliseconds.
const SLOT: u64 = 4_000;
/// The part of the memory that one key may have once half of it is used.
const SHARE: usize = 16;
/// Keys that are kept ready to verify with, at most: some 8 MiB.
const KEYS: usize = 4_096;

/// What is known of proofs and their keys. Bounded.
pub struct Proofs {
    shards: Box<[Mutex<Shard>]>,
    keys: Cache<Digest, Arc<PublicKey>>,
    seed: RandomState,
}

/// A proof that is about to be taken.
#[derive(Debug)]
pub(super) struct Use<'a> {
    /// Thumbprint of its key.
    pub key: &'a Digest,
    /// `jti`.
    pub id: &'a str,
    /// `iat`.
    pub issued: UnixTime,
    /// The earliest `iat` that would pass now.
    pub oldest: UnixTime,
    /// The latest `iat` that would pass now.
    pub latest: UnixTime,
}

/// Why a proof is not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refused {
    /// It was taken before.
    Replayed,
    /// It is so old that it is not known any more whether it was.
    Forgotten,
    /// There is no room to remember it; holds when there may be.
    Full(Duration),
    /// Its key has used up its share; holds when there may be room.
    KeyFull(Duration),
}

/// A part of the memory.
#[derive(Default)]
struct Shard {
    /// By slot of `iat`: the key and the proof of each, as hashes.
    slots: BTreeMap<u64, HashSet<(u64, u64)>>,
    /// Proofs of each key in all slots.
    by_key: HashMap<u64, usize>,
    used: usize,
    /// The first slot that is still known.
    first: u64,
}

impl Proofs {
    /// Takes a proof, where there is room for so many in all.
    pub(super) fn remember(&self, used: &Use<'_>, capacity: usize) -> Result<(), Refused> {
        let key = self.seed.hash_one(used.key);
        let proof = self.seed.hash_one((used.key, used.id));
        let shard = usize::try_from(proof % SHARDS as u64).unwrap_or(0);
        let Some(shard) = self.shards.get(shard) else {
            return Err(Refused::Full(Duration::from_secs(1)));
        };
        shard
            .lock()
            .remember((key, proof), used, capacity.div_ceil(SHARDS))
    }

    /// A key that has signed proofs before.
    pub(super) fn key(&self, thumbprint: &Digest) -> Option<Arc<PublicKey>> {
        self.keys.get(thumbprint)
    }

    pub(super) fn remember_key(&self, thumbprint: Digest, key: Arc<PublicKey>) {
        self.keys.insert(thumbprint, key);
    }

    /// How many proofs are remembered of which the `iat` is not before `oldest`, by whole slots.
    #[must_use]
    pub fn kept(&self, oldest: UnixTime) -> usize {
        let first = oldest.millis() / SLOT;
        let in_shard = |shard: &Mutex<Shard>| -> usize {
            let shard = shard.lock();
            shard.slots.range(first..).map(|(_, slot)| slot.len()).sum()
        };
        self.shards.iter().map(in_shard).sum()
    }
}

impl Shard {
    fn remember(&mut self, entry: (u64, u64), used: &Use<'_>, capacity: usize) -> Result<(), Refused> {
        self.forget(used.oldest.millis() / SLOT);
        // The clock was far ahead for a while, and nothing could pass until it is there again. What could have passed until now
        // may have been forgotten meanwhile; what is made from now on was not.
        self.first = self.first.min(used.latest.millis() / SLOT + 1);
        let slot = used.issued.millis() / SLOT;
        if slot < self.first {
            return Err(Refused::Forgotten);
        }
        if self.slots.get(&slot).is_some_and(|slot| slot.contains(&entry)) {
            return Err(Refused::Replayed);
        }
        let (key, _) = entry;
        let of_key = self.by_key.get(&key).copied().unwrap_or_default();
        if self.used >= capacity {
            return Err(Refused::Full(self.retry(used.oldest)));
        }
        if self.used >= capacity / 2 && of_key >= (capacity / SHARE).max(1) {
            return Err(Refused::KeyFull(self.retry(used.oldest)));
        }
        self.slots.entry(slot).or_default().insert(entry);
        *self.by_key.entry(key).or_default() += 1;
        self.used += 1;
        Ok(())
    }

    /// Forgets the slots before this one.
    fn forget(&mut self, first: u64) {
        if first <= self.first {
            return;
        }
        self.first = first;
        let kept = self.slots.split_off(&first);
        for (key, _) in std::mem::replace(&mut self.slots, kept).into_values().flatten() {
            self.used = self.used.saturating_sub(1);
            if let Some(count) = self.by_key.get_mut(&key) {
                *count = count.saturating_sub(1);
                if *count == 0 {
                    self.by_key.remove(&key);
                }
            }
        }
    }

    /// Until the oldest slot is forgotten.
    fn retry(&self, oldest: UnixTime) -> Duration {
        let first = self.slots.keys().next().copied().unwrap_or(self.first);
        let end = first.saturating_add(1).saturating_mul(SLOT);
        Duration::from_millis(end.saturating_sub(oldest.millis())).max(Duration::from_secs(1))
    }
}

impl Default for Proofs {
    fn default() -> Self {
        Proofs {
            shards: (0..SHARDS).map(|_| Mutex::default()).collect(),
            keys: Cache::new(KEYS),
            seed: RandomState::new(),
        }
    }
}

impl fmt::Debug for Proofs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Proofs")
            .field("kept", &self.kept(UnixTime::EPOCH))
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const AGE: u64 = 60;
    const SKEW: u64 = 30;
    const MANY: usize = 1 << 20;

    fn take(
        proofs: &Proofs,
        key: u8,
        id: &str,
        issued: u64,
        now: u64,
        capacity: usize,
    ) -> Result<(), Refused> {
        let used = Use {
            key: &[key; 32],
            id,
            issued: UnixTime::from_seconds(issued),
            oldest: UnixTime::from_seconds(now - AGE),
            latest: UnixTime::from_seconds(now + SKEW),
        };
        proofs.remember(&used, capacity)
    }

    // RFC 9449 section 11.1
    #[test]
    fn a_proof_is_taken_once_for_as_long_as_it_could_pass() {
        let proofs = Proofs::default();
        assert_eq!(take(&proofs, 1, "a", 1000, 1000, MANY), Ok(()));
        for now in [1000, 1001, 1030, 1060] {
            assert_eq!(
                take(&proofs, 1, "a", 1000, now, MANY),
                Err(Refused::Replayed),
                "{now}"
            );
        }
        assert_eq!(
            take(&proofs, 1, "b", 1000, 1001, MANY),
            Ok(()),
            "another of the same key"
        );
        assert_eq!(
            take(&proofs, 2, "a", 1000, 1001, MANY),
            Ok(()),
            "the same of another key"
        );
        // from the future, as far as that is let
        assert_eq!(take(&proofs, 1, "c", 1090, 1060, MANY), Ok(()));
        assert_eq!(take(&proofs, 1, "c", 1090, 1150, MANY), Err(Refused::Replayed));
    }

    // in each part of the memory
    #[test]
    fn what_was_forgotten_cannot_come_back_with_the_clock_or_a_longer_age() {
        let proofs = Proofs::default();
        let all = |issued: u64, now: u64, expected: Result<(), Refused>| {
            let id = |n: u64| format!("{n} of {issued}");
            (0..1000).all(|n| take(&proofs, 1, &id(n), issued, now, MANY) == expected)
        };
        assert!(all(1000, 1000, Ok(())));
        assert!(all(2000, 2000, Ok(())), "forgets those before");
        assert!(all(1000, 1060, Err(Refused::Forgotten)), "the clock goes back");
        assert!(all(1060, 1060, Err(Refused::Forgotten)), "who knows");
        assert!(all(1095, 1095, Ok(())), "made since then");
        assert!(all(1095, 1095, Err(Refused::Replayed)));
        assert_eq!(proofs.kept(UnixTime::EPOCH), 2000);
        assert_eq!(proofs.kept(UnixTime::from_seconds(1100)), 1000);
        assert_eq!(proofs.kept(UnixTime::from_seconds(2004)), 0);
    }

    #[test]
    fn a_full_memory_refuses_and_forgets_nothing_and_has_room_again_in_time() {
        let proofs = Proofs::default();
        let capacity = 64 * 32;
        let mut taken = Vec::new();
        // many keys, so that none has more than its share
        for n in 0_u32..20_000 {
            let key = u8::try_from(n % 200).unwrap();
            match take(&proofs, key, &n.to_string(), 1000, 1000, capacity) {
                Ok(()) => taken.push((key, n)),
                Err(Refused::Full(retry)) => assert_eq!(retry, Duration::from_secs(64)),
                Err(other) => assert!(matches!(other, Refused::KeyFull(_)), "{other:?}"),
            }
        }
        assert_eq!((taken.len(), proofs.kept(UnixTime::EPOCH)), (capacity, capacity));
        for (key, n) in &taken {
            let again = take(&proofs, *key, &n.to_string(), 1000, 1060, capacity);
            assert_eq!(again, Err(Refused::Replayed));
        }
        assert!((0_u32..20_000).all(|n| take(&proofs, 7, &format!("x{n}"), 1060, 1063, capacity).is_err()));
        assert_eq!(take(&proofs, 7, "later", 1064, 1064, capacity), Ok(()));
    }

    #[test]
    fn a_key_that_is_used_for_a_flood_leaves_room_for_the_others() {
        let proofs = Proofs::default();
        let capacity = 64 * 64;
        let flood = |n: u32| take(&proofs, 1, &n.to_string(), 1000, 1000, capacity);
        let taken = (0..100_000).filter(|n| flood(*n).is_ok()).count();
        assert_eq!(taken, capacity / 2, "while there is room, as much as it likes");
        assert!(matches!(flood(100_001), Err(Refused::KeyFull(_))));
        for key in 2..=200 {
            assert_eq!(take(&proofs, key, "mine", 1000, 1000, capacity), Ok(()), "{key}");
        }
    }
}
