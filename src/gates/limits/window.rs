//! True sliding windows with bounded memory.
//!
//! A window of length W is cut into [`PARTS`] parts; a request at time t is counted in t's part, and admitted if the
//! current part and the [`PARTS`] before it hold fewer than L. Every interval of length W lies within that many parts, so
//! **none ever admits more than L**, however a client times its requests (S70). The price is that the oldest part counts
//! whole: a steady client can use 24/25 of its limit.
//!
//! A key takes a cache line, and there are a quarter more places than keys: 80 bytes for each. The table is
//! set-associative: a key lives in one of 8 places of its set, and what is to spare makes it seldom that more keys than
//! that meet in one. A full set gives up a place that has expired, else the one with the lowest count, whose count the
//! newcomer inherits, so that nobody gains by being forgotten. A place at its limit is never given up; where a whole set
//! is, newcomers are refused.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;

use crate::clock::UnixTime;

/// Parts of a window before the current one.
pub const PARTS: usize = 24;
/// Greatest limit: what a part's counter holds.
pub const MAX_LIMIT: u16 = u16::MAX;
/// Places that a key can live in.
const WAYS: usize = 8;
/// Locks: more than cores, so that they seldom meet.
const SHARDS: usize = 64;
/// Sets that are looked at to tell how many keys there are: some milliseconds of work.
const SAMPLE: usize = 8192;
/// Places to spare: one for so many keys.
const SPARE: usize = 4;
/// Bytes that a key takes, with what is to spare.
pub const KEY: usize = size_of::<Place>() + size_of::<Place>() / SPARE;

/// Counters of many keys over windows of one length and limit.
pub struct Windows {
    limit: u16,
    window: Duration,
    capacity: usize,
    /// Length of a part in milliseconds, rounded up: the whole is never shorter than the window.
    part: u64,
    shards: Box<[Mutex<Box<[Set]>>]>,
    sets_per_shard: u64,
    /// Newcomers that took the place of a key that was still counted.
    evicted: AtomicU64,
    /// Refusals for want of a place.
    crowded: AtomicU64,
}

/// What a check found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Quota {
    /// Requests that would still be admitted now.
    pub remaining: u16,
    /// Until `remaining` is greater again; for a refusal, until one would be admitted.
    pub reset: Duration,
}

/// The places that a key can live in.
#[derive(Clone, Copy, Default)]
struct Set([Place; WAYS]);

/// A key with its counters: one cache line. In a large table no line of a set is in any cache; what a check waits for is
/// that all of them come at once.
#[derive(Clone, Copy, Default)]
#[repr(align(64))]
struct Place {
    /// Hash of the key; 0: nobody's.
    key: u64,
    counters: Counters,
}

/// The counters of one key.
#[derive(Clone, Copy, Default)]
struct Counters {
    /// Number of the current part, modulo 2^32.
    epoch: u32,
    /// By number of the part, modulo their count.
    counts: [u16; PARTS + 1],
}

impl Windows {
    /// For `limit` requests in each `window`, of at most about `keys` keys (rounded up). Takes [`KEY`] bytes a key,
    /// in pages that are not there until they are used.
    #[must_use]
    pub fn new(limit: u16, window: Duration, keys: usize) -> Windows {
        let millis = u64::try_from(window.as_millis()).unwrap_or(u64::MAX).max(1);
        let sets = (keys + keys / SPARE).div_ceil(WAYS * SHARDS).max(1);
        let shard = || Mutex::new(vec![Set::default(); sets].into_boxed_slice());
        Windows {
            limit: limit.max(1),
            window,
            capacity: keys,
            part: millis.div_ceil(PARTS as u64),
            shards: (0..SHARDS).map(|_| shard()).collect(),
            sets_per_shard: sets as u64,
            evicted: AtomicU64::new(0),
            crowded: AtomicU64::new(0),
        }
    }

    /// Counts a request of the key, if it is within the limit. `key`: a hash that clients cannot choose.
    ///
    /// # Errors
    /// The limit is reached; nothing was counted.
    pub fn admit(&self, key: u64, now: UnixTime) -> Result<Quota, Quota> {
        let (epoch, passed) = self.epoch(now);
        let reset = |parts: u32| Duration::from_millis(u64::from(parts) * self.part - passed);
        let refused = |parts| {
            Err(Quota {
                remaining: 0,
                reset: reset(parts),
            })
        };
        self.with_set(key, |set, key| {
            let counters = match set.find(key) {
                Some(counters) => counters,
                None => {
                    // a whole set of clients at their limits: one more is one too many
                    let Some((counters, evicts)) = set.claim(key, epoch, self.limit) else {
                        self.crowded.fetch_add(1, Ordering::Relaxed);
                        return refused(1);
                    };
                    if evicts {
                        self.evicted.fetch_add(1, Ordering::Relaxed);
                    }
                    counters
                }
            };
            counters.advance(epoch);
            let used = counters.sum();
            if used >= self.limit {
                return refused(counters.parts_until_less());
            }
            counters.add();
            Ok(Quota {
                remaining: self.limit - used - 1,
                reset: reset(counters.parts_until_less()),
            })
        })
        .unwrap_or_else(|| refused(1))
    }

    /// Takes back what [`admit`](Self::admit) counted at the same time, because another limit refused.
    pub fn give_back(&self, key: u64, now: UnixTime) {
        let (epoch, _) = self.epoch(now);
        self.with_set(key, |set, key| {
            if let Some(counters) = set.find(key) {
                counters.advance(epoch);
                if let Some(count) = counters.counts.get_mut(slot(epoch)) {
                    *count = count.saturating_sub(1);
                }
            }
        });
    }

    /// Whether these are the counters that a limit asks for.
    #[must_use]
    pub fn counts_for(&self, limit: &super::Limit) -> bool {
        self.limit == limit.requests && self.window == limit.window && self.capacity == limit.max_keys
    }

    /// Requests in a window.
    #[must_use]
    pub fn limit(&self) -> u16 {
        self.limit
    }

    /// Memory that the table can come to take, in bytes.
    #[must_use]
    pub fn memory(&self) -> usize {
        SHARDS * size_of::<Set>() * usize::try_from(self.sets_per_shard).unwrap_or(usize::MAX)
    }

    /// Places for keys.
    #[must_use]
    pub fn places(&self) -> usize {
        self.memory() / size_of::<Place>()
    }

    /// Keys that are counted in the window that ends now. In a large table, estimated from a part of it: no request is to
    /// wait for who wants to know.
    #[must_use]
    pub fn live(&self, now: UnixTime) -> usize {
        let (epoch, _) = self.epoch(now);
        let is_counted = |place: &&Place| place.key != 0 && place.counters.sum_at(epoch) > 0;
        let in_set = |set: &Set| set.0.iter().filter(is_counted).count();
        let sets = usize::try_from(self.sets_per_shard).unwrap_or(usize::MAX);
        let step = sets.div_ceil(SAMPLE / SHARDS);
        let in_shard =
            |shard: &Mutex<Box<[Set]>>| shard.lock().iter().step_by(step).map(in_set).sum::<usize>();
        let found: usize = self.shards.iter().map(in_shard).sum();
        found * sets / sets.div_ceil(step)
    }

    /// What was counted since this was asked last: newcomers that took the place of a key that was still counted, and
    /// refusals because all places were taken by keys at their limit.
    #[must_use]
    pub fn take_counts(&self) -> (u64, u64) {
        let take = |count: &AtomicU64| count.swap(0, Ordering::Relaxed);
        (take(&self.evicted), take(&self.crowded))
    }

    fn with_set<T>(&self, key: u64, then: impl FnOnce(&mut Set, u64) -> T) -> Option<T> {
        // 0 marks a free place
        let key = key.max(1);
        let shard = self.shards.get(usize::try_from(key % SHARDS as u64).ok()?)?;
        // by the high bits, as the share of all sets that they are: cheaper than a remainder
        let set = (u128::from(key) * u128::from(self.sets_per_shard)) >> 64;
        let set = usize::try_from(set).ok()?;
        shard.lock().get_mut(set).map(|set| then(set, key))
    }

    /// The number of the part that `now` is in, and the milliseconds of it that have passed.
    fn epoch(&self, now: UnixTime) -> (u32, u64) {
        let (part, passed) = (now.millis() / self.part, now.millis() % self.part);
        // wraps after 2^32 parts: 49 days of milliseconds at the very least, and then only idle keys are misread
        (u32::try_from(part & u64::from(u32::MAX)).unwrap_or(0), passed)
    }
}

impl Set {
    fn find(&mut self, key: u64) -> Option<&mut Counters> {
        // all are looked at, whichever it is: reading one does not wait for what another one said
        let mut found = 0_usize;
        for (way, place) in self.0.iter().enumerate() {
            found |= usize::from(place.key == key) << way;
        }
        let place = self.0.get_mut(usize::try_from(found.trailing_zeros()).ok()?)?;
        Some(&mut place.counters)
    }

    /// Counters for a key that has none: those of a place that is free or expired, or those with the lowest count if that
    /// is below the limit. `true`: somebody else was still counted there.
    fn claim(&mut self, key: u64, epoch: u32, limit: u16) -> Option<(&mut Counters, bool)> {
        let held = |place: &Place| match place.key {
            0 => 0,
            _ => place.counters.sum_at(epoch),
        };
        let (least, place) = self
            .0
            .iter_mut()
            .map(|place| (held(place), place))
            .min_by_key(|(held, _)| *held)?;
        if least >= limit {
            return None;
        }
        let evicts = place.key != 0 && least > 0;
        if !evicts {
            place.counters = Counters {
                epoch,
                ..Counters::default()
            };
        }
        place.key = key;
        Some((&mut place.counters, evicts))
    }
}

fn slot(epoch: u32) -> usize {
    epoch as usize % (PARTS + 1)
}

impl Counters {
    /// Parts that have begun since they were last used; none where the clock went back.
    fn elapsed(&self, epoch: u32) -> u32 {
        let elapsed = epoch.wrapping_sub(self.epoch);
        if elapsed > u32::MAX / 2 { 0 } else { elapsed }
    }

    /// Forgets the parts that have left the window.
    fn advance(&mut self, epoch: u32) {
        let elapsed = self.elapsed(epoch);
        if elapsed as usize > PARTS {
            self.counts = [0; PARTS + 1];
        } else {
            for step in 1..=elapsed {
                if let Some(count) = self.counts.get_mut(slot(self.epoch.wrapping_add(step))) {
                    *count = 0;
                }
            }
        }
        if elapsed > 0 {
            self.epoch = epoch;
        }
    }

    /// Never more than a limit, so it fits.
    fn sum(&self) -> u16 {
        self.counts.iter().fold(0, |sum, count| sum.wrapping_add(*count))
    }

    /// The sum as it would be after advancing.
    fn sum_at(&self, epoch: u32) -> u16 {
        if self.elapsed(epoch) == 0 {
            return self.sum();
        }
        let mut later = *self;
        later.advance(epoch);
        later.sum()
    }

    fn add(&mut self) {
        if let Some(count) = self.counts.get_mut(slot(self.epoch)) {
            *count = count.saturating_add(1);
        }
    }

    /// Parts that have to end until the sum becomes less: until the oldest that holds something has left the window.
    fn parts_until_less(&self) -> u32 {
        let held = self.counts.iter().enumerate();
        let held = held.fold(0_u32, |held, (slot, count)| held | u32::from(*count > 0) << slot);
        let current = u32::try_from(slot(self.epoch)).unwrap_or(0);
        // the oldest part stands behind the current one
        let older = held >> (current + 1);
        if older > 0 {
            older.trailing_zeros() + 1
        } else {
            PARTS as u32 + 1 - current + held.trailing_zeros()
        }
    }
}

impl fmt::Debug for Windows {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Windows")
            .field("limit", &self.limit)
            .field("part", &self.part)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::hash::{BuildHasher, BuildHasherDefault, DefaultHasher};

    use proptest::prelude::*;

    use super::*;

    fn at(millis: u64) -> UnixTime {
        UnixTime::from_millis(1_000_000_000 + millis)
    }

    #[test]
    fn a_key_takes_a_cache_line() {
        assert_eq!((size_of::<Place>(), align_of::<Place>()), (64, 64));
    }

    #[test]
    fn a_refusal_says_when_the_next_request_will_be_admitted() {
        let windows = Windows::new(3, Duration::from_secs(1), 1);
        for _ in 0..3 {
            windows.admit(7, at(0)).unwrap();
        }
        let refused = windows.admit(7, at(10)).unwrap_err();
        let after = 10 + u64::try_from(refused.reset.as_millis()).unwrap();
        assert!(windows.admit(7, at(after - 1)).is_err(), "{refused:?}");
        assert!(windows.admit(7, at(after)).is_ok(), "{refused:?}");
        // the oldest part counts whole, and no more than that
        assert!(after <= 1000 + 2 * 42, "{after}");
    }

    #[test]
    fn what_is_given_back_can_be_used() {
        let windows = Windows::new(1, Duration::from_secs(1), 1);
        windows.admit(7, at(0)).unwrap();
        windows.give_back(7, at(0));
        assert!(windows.admit(7, at(1)).is_ok());
        assert!(windows.admit(7, at(2)).is_err());
    }

    #[test]
    fn a_flood_of_keys_forgives_nobody_at_its_limit() {
        let windows = Windows::new(2, Duration::from_secs(1), 512);
        for _ in 0..2 {
            windows.admit(u64::MAX, at(0)).unwrap();
        }
        let mut state = 1_u64;
        for _ in 0..100_000 {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let _ = windows.admit(state, at(1));
        }
        assert!(windows.admit(u64::MAX, at(2)).is_err());
        assert!(windows.live(at(2)) <= windows.places());
    }

    // a million callers in one window: no more memory than stated, and who keeps to the limit is not refused for them
    #[test]
    fn a_million_keys_stay_within_the_bound_and_disturb_no_well_behaved_client() {
        const KEYS: u64 = 1_000_000;
        const GOOD: u64 = 2_000;
        let window = Duration::from_secs(60);
        let windows = Windows::new(20, window, 1 << 20);
        // as uneven as real hashes: most sets get more keys or fewer than there are places
        let spread = |n: u64| BuildHasherDefault::<DefaultHasher>::default().hash_one(n);
        let (mut asked, mut refused) = (0_u64, 0_u64);
        for n in 0..KEYS {
            // each key once, over half a window; the good ones come 10 times, between all the others
            let now = at(n * 30_000 / KEYS);
            let _ = windows.admit(spread(n), now);
            if n % (KEYS / (GOOD * 10)) == 0 {
                let client = spread(KEYS + asked % GOOD);
                refused += u64::from(windows.admit(client, now).is_err());
                asked += 1;
            }
        }
        let stated = (1 << 20) * KEY;
        assert!(windows.memory() <= stated, "{} of {stated}", windows.memory());
        let live = windows.live(at(30_000));
        assert!(live > 800_000 && live * KEY <= stated, "{live}");
        assert!(
            asked >= 20_000 && refused * 10_000 < asked,
            "{refused} of {asked}"
        );
    }

    #[test]
    fn newcomers_to_a_full_table_are_counted() {
        let windows = Windows::new(2, Duration::from_secs(1), 1);
        let mut state = 1_u64;
        for _ in 0..20_000 {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let _ = windows.admit(state, at(0));
        }
        // each of the 512 places was taken, then taken over once, and is at its limit now
        assert_eq!(windows.live(at(0)), windows.places());
        assert_eq!(windows.take_counts(), (512, 20_000 - 1024));
        assert_eq!(windows.take_counts(), (0, 0), "counted once");
        assert_eq!(windows.live(at(5_000)), 0, "the window has passed");
    }

    #[test]
    fn a_clock_that_goes_back_forgets_nothing() {
        let windows = Windows::new(1, Duration::from_secs(1), 1);
        windows.admit(7, at(500)).unwrap();
        assert!(windows.admit(7, at(0)).is_err());
    }

    proptest! {
        // S70: against the definition, for a client that times its requests as it likes
        #[test]
        fn no_interval_admits_more_than_the_limit(
            limit in 1_u16..20,
            window in 25_u64..3000,
            gaps in proptest::collection::vec(0_u64..200, 1..400),
        ) {
            let windows = Windows::new(limit, Duration::from_millis(window), 64);
            let (mut now, mut admitted) = (0, Vec::new());
            for gap in gaps {
                now += gap;
                if windows.admit(99, at(now)).is_ok() {
                    admitted.push(now);
                }
            }
            for (index, start) in admitted.iter().enumerate() {
                let within = admitted[index..].iter().take_while(|t| **t < start + window).count();
                prop_assert!(within <= usize::from(limit), "{within} within {window} ms from {start}");
            }
        }

        #[test]
        fn a_sum_becomes_less_when_it_is_said_to(counts in any::<[bool; PARTS + 1]>(), epoch in 0..u32::MAX / 2) {
            prop_assume!(counts.contains(&true));
            let counters = Counters { epoch, counts: counts.map(u16::from) };
            let parts = counters.parts_until_less();
            let sum = |passed: u32| counters.sum_at(epoch.wrapping_add(passed));
            prop_assert_eq!(sum(parts - 1), counters.sum());
            prop_assert!(sum(parts) < counters.sum());
        }

        // and a client that keeps to what the coarseness leaves it is never refused
        #[test]
        fn a_steady_client_below_its_limit_is_never_refused(limit in 25_u64..200, offset in 0_u64..1000) {
            let window = 10_000;
            let windows = Windows::new(u16::try_from(limit).unwrap(), Duration::from_millis(window), 64);
            let gap = (window + window / 20).div_ceil(limit);
            for n in 0..limit * 4 {
                prop_assert!(windows.admit(5, at(offset + n * gap)).is_ok(), "request {n} of {limit}, every {gap} ms");
            }
        }
    }
}
