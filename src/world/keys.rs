//! The keys of one issuer, kept fresh.
//!
//! States: fresh (younger than `cache`), stale but in use (younger than `max_stale`), unavailable. A fetch happens in the
//! background when keys stop being fresh, and at once when a token names a key that is not there (S50, S51, U1 to U3).
//! Everybody who needs the answer waits for the one fetch. How often tokens can bring one about is bounded: after one that
//! brought nothing new not again for a `cooldown`, after one that failed not before the back-off has passed.
//!
//! Only a fetch that began after a token came can tell that its key does not exist. Who came while one was under way asks
//! once more; after that, and for who comes during the cooldown, it is not known whether the key exists, which is not the
//! token's fault: it is unavailable, and not refused.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use parking_lot::Mutex;
use tokio::sync::{Notify, watch};
use tokio::time::Instant;

use super::Keys;
use super::fetch::Fetch;
use super::http::FetchError;
use crate::gates::authn::KeysFrom;
use crate::gates::authn::jwk::{Key, KeySet};

#[cfg(test)]
mod tests;

/// Least and greatest wait between two failed fetches.
const BACKOFF: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(30));

/// Least wait between a fetch that a token brought about and that found new keys, and the next one: an issuer whose
/// servers do not agree on its keys has new ones each time. Tokens wait so long for the next fetch, and not longer.
const AFTER_NEWS: Duration = Duration::from_secs(1);

/// Names of keys that are remembered not to exist, at most: 16 KiB.
const MAX_ABSENT: usize = 64;

/// How long before the end of their freshness keys are fetched again, as a part of it.
const EARLY: f64 = 0.1;

/// The keys of one issuer.
#[derive(Debug)]
pub struct KeySource {
    name: Arc<str>,
    from: KeysFrom,
    current: ArcSwapOption<Held>,
    /// Fetches begun so far: one is under way where this is more than `ended`.
    begun: AtomicU64,
    /// Fetches ended so far, good or bad.
    ended: watch::Sender<u64>,
    /// The fetch that is asked for, counted like `ended`.
    asked: AtomicU64,
    wanted: Notify,
    /// Milliseconds after `epoch`: nobody's asking brings about a fetch before,
    quiet_until: AtomicU64,
    /// but for one, of somebody who came while the last fetch was under way;
    may_follow: AtomicBool,
    /// which is the next, and which nothing may follow in this way.
    follows: AtomicBool,
    absent: Mutex<Absent>,
    failures: AtomicU64,
    /// Fetches begun: as planned, and because a token named an unknown key.
    fetches: [AtomicU64; 2],
    epoch: Instant,
}

#[derive(Debug)]
struct Held {
    keys: Arc<KeySet>,
    since: Instant,
}

/// Keys that do not exist, as far as the last fetch can tell.
#[derive(Debug, Default)]
struct Absent {
    /// Which fetch it was.
    fetch: u64,
    kids: Vec<Option<Box<str>>>,
}

/// What became of a source's last fetches, for readiness and metrics.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyState {
    /// Name of the issuer.
    pub issuer: Arc<str>,
    /// Whether tokens can be checked now.
    pub usable: bool,
    /// Failed fetches since the last good one.
    pub failures: u64,
    /// Keys that are there.
    pub keys: usize,
    /// Age of the keys in seconds.
    pub age: Option<u64>,
    /// Fetches begun, by reason: `scheduled` and `unknown_kid`.
    pub fetches: [(&'static str, u64); 2],
}

impl KeySource {
    /// A source that has not fetched yet. Keys that come with the configuration are there at once.
    #[must_use]
    pub fn new(name: Arc<str>, from: KeysFrom) -> KeySource {
        let epoch = Instant::now();
        let current = match &from {
            KeysFrom::Given(keys) => Some(Arc::new(Held {
                keys: keys.clone(),
                since: epoch,
            })),
            KeysFrom::Url(_) | KeysFrom::Nowhere => None,
        };
        KeySource {
            name,
            from,
            current: ArcSwapOption::new(current),
            begun: AtomicU64::new(0),
            ended: watch::Sender::new(0),
            asked: AtomicU64::new(0),
            wanted: Notify::new(),
            quiet_until: AtomicU64::new(0),
            may_follow: AtomicBool::new(false),
            follows: AtomicBool::new(false),
            absent: Mutex::default(),
            failures: AtomicU64::new(0),
            fetches: [const { AtomicU64::new(0) }; 2],
            epoch,
        }
    }

    /// Name of the issuer.
    #[must_use]
    pub fn name(&self) -> &Arc<str> {
        &self.name
    }

    /// Where the keys come from.
    #[must_use]
    pub fn from(&self) -> &KeysFrom {
        &self.from
    }

    /// The keys as they are now.
    #[must_use]
    pub fn keys(&self) -> Keys {
        let current = self.current.load();
        match (&self.from, current.as_deref()) {
            (KeysFrom::Given(keys), _) => Keys::Known(keys.clone()),
            (KeysFrom::Url(url), Some(held)) if held.since.elapsed() <= url.max_stale => {
                Keys::Known(held.keys.clone())
            }
            (KeysFrom::Url(_) | KeysFrom::Nowhere, _) => Keys::Unavailable(self.backoff()),
        }
    }

    /// Asks for a fetch that brings the key of this name, and waits for its end, within the source's deadline. Known: these
    /// are all the keys that there are. Unavailable where that cannot be told: the last fetch failed, or it began before
    /// this was asked and the next one would be too early. Not to know that is not the token's fault (U2).
    pub async fn newer(&self, kid: Option<&str>) -> Keys {
        let KeysFrom::Url(url) = &self.from else {
            return self.keys();
        };
        // the deadline of the fetch itself ends it; this one also guards against a fetcher that is gone
        let patience = url.timeout + Duration::from_millis(250);
        let asked = tokio::time::timeout(patience, self.asked_newer(kid));
        asked.await.unwrap_or_else(|_| Keys::Unavailable(self.backoff()))
    }

    async fn asked_newer(&self, kid: Option<&str>) -> Keys {
        // while somebody else asked for it, it came
        if !self.is_failing() && self.has(kid) {
            return self.keys();
        }
        let mut ended = self.ended.subscribe();
        let began = self.begun.load(Ordering::Acquire);
        let came_during = *ended.borrow() < began;
        if came_during {
            // the sender is in `self`: it cannot be gone
            let _ = ended.wait_for(|n| *n >= began).await;
            if self.is_failing() || self.has(kid) {
                return self.unless_failing();
            }
        }
        // the first one that begins after this was asked
        let next = began + 1;
        let is_coming =
            self.begun.load(Ordering::Acquire) >= next || self.asked.load(Ordering::Acquire) >= next;
        if !is_coming {
            let quiet = self.quiet();
            if !quiet.is_zero() {
                if came_during && self.may_follow.swap(false, Ordering::AcqRel) {
                    self.follows.store(true, Ordering::Release);
                } else if quiet > AFTER_NEWS || self.is_failing() || self.is_absent(kid) {
                    return self.as_of_last_fetch(kid);
                } else {
                    // soon enough
                    tokio::time::sleep(quiet).await;
                }
            }
            self.asked.fetch_max(next, Ordering::AcqRel);
            self.wanted.notify_one();
        }
        let _ = ended.wait_for(|n| *n >= next).await;
        if !self.is_failing() && !self.has(kid) {
            self.note_absent(next, kid);
        }
        self.unless_failing()
    }

    fn is_failing(&self) -> bool {
        self.failures.load(Ordering::Relaxed) > 0
    }

    fn unless_failing(&self) -> Keys {
        if self.is_failing() {
            Keys::Unavailable(self.backoff())
        } else {
            self.keys()
        }
    }

    /// Whether there is a key of this name. Without one, only a whole look at the keys can tell.
    fn has(&self, kid: Option<&str>) -> bool {
        let current = self.current.load();
        kid.zip(current.as_deref())
            .is_some_and(|(kid, held)| held.keys.knows(kid))
    }

    /// The keys, where the last fetch has told that there is none of this name; else nobody can know before the next.
    fn as_of_last_fetch(&self, kid: Option<&str>) -> Keys {
        if self.is_absent(kid) || self.is_failing() {
            return self.unless_failing();
        }
        Keys::Unavailable(self.quiet())
    }

    /// Whether the last fetch has told that there is no key of this name.
    fn is_absent(&self, kid: Option<&str>) -> bool {
        let absent = self.absent.lock();
        absent.fetch == *self.ended.borrow() && absent.kids.iter().any(|absent| absent.as_deref() == kid)
    }

    /// Until somebody's asking brings about a fetch.
    fn quiet(&self) -> Duration {
        let until = self.quiet_until.load(Ordering::Acquire);
        Duration::from_millis(until.saturating_sub(self.millis()))
    }

    fn note_absent(&self, fetch: u64, kid: Option<&str>) {
        let mut absent = self.absent.lock();
        if absent.fetch == fetch && absent.kids.len() < MAX_ABSENT {
            absent.kids.push(kid.map(Into::into));
        }
    }

    /// For readiness and metrics.
    #[must_use]
    pub fn state(&self) -> KeyState {
        let age = match &self.from {
            KeysFrom::Given(_) | KeysFrom::Nowhere => None,
            KeysFrom::Url(_) => self
                .current
                .load()
                .as_deref()
                .map(|held| held.since.elapsed().as_secs()),
        };
        let [planned, asked] = &self.fetches;
        KeyState {
            issuer: self.name.clone(),
            usable: matches!(self.keys(), Keys::Known(_)),
            failures: self.failures.load(Ordering::Relaxed),
            keys: match self.keys() {
                Keys::Known(keys) => keys.keys().len(),
                Keys::Unavailable(_) => 0,
            },
            age,
            fetches: [
                ("scheduled", planned.load(Ordering::Relaxed)),
                ("unknown_kid", asked.load(Ordering::Relaxed)),
            ],
        }
    }

    /// Keeps the keys fresh; never ends. Keys that came with the configuration need nothing.
    pub async fn keep_fresh(&self, fetcher: &impl Fetch) {
        let KeysFrom::Url(url) = &self.from else { return };
        let mut was_asked = false;
        loop {
            let number = self.begun.fetch_add(1, Ordering::AcqRel) + 1;
            let follows = self.follows.swap(false, Ordering::AcqRel);
            let [planned, asked] = &self.fetches;
            let (count, reason) = if was_asked {
                (asked, "unknown_kid")
            } else {
                (planned, "scheduled")
            };
            count.fetch_add(1, Ordering::Relaxed);
            log::debug!(target: "durward::keys", "jwks_refetch: issuer {}, reason {reason}", self.name);
            let news = self.took(number, fetcher.keys(url).await);
            let failed = self.failures.load(Ordering::Relaxed) > 0;
            let quiet = match (failed, was_asked, news) {
                (true, ..) => self.backoff(),
                (false, true, true) => AFTER_NEWS.min(url.cooldown),
                (false, true, false) => url.cooldown,
                // nobody's asking: the first token with an unknown `kid` is heard at once
                (false, false, _) => Duration::ZERO,
            };
            self.quiet_until
                .store(self.millis() + millis(quiet), Ordering::Release);
            self.may_follow.store(!follows, Ordering::Release);
            // last: whoever sees the new count can ask for the next one
            self.ended.send_modify(|n| *n += 1);
            let pause = if failed {
                self.backoff()
            } else {
                url.cache.mul_f64(1.0 - EARLY)
            };
            was_asked = self.rest(pause).await;
        }
    }

    /// Waits until it is time for the next fetch: after `pause`, or once somebody asks (`true`). Whoever asked for the
    /// one that has just ended has been answered by it.
    async fn rest(&self, pause: Duration) -> bool {
        let end = Instant::now() + pause;
        loop {
            tokio::select! {
                () = tokio::time::sleep_until(end) => return false,
                () = self.wanted.notified() => {
                    if self.asked.load(Ordering::Acquire) > *self.ended.borrow() {
                        return true;
                    }
                }
            }
        }
    }

    /// Whether there are other keys now than before.
    fn took(&self, number: u64, outcome: Result<KeySet, FetchError>) -> bool {
        match outcome {
            Ok(fetched) => {
                let held = self.current.load_full();
                // what was there and is no more was taken away
                let kids = held.iter().flat_map(|held| held.keys.keys()).map(Key::kid);
                let gone = kids.filter(|kid| kid.is_some_and(|kid| !fetched.knows(kid)));
                *self.absent.lock() = Absent {
                    fetch: number,
                    kids: gone.take(MAX_ABSENT).map(|kid| kid.map(Into::into)).collect(),
                };
                // the same keys keep their generation, so that verdicts made with them stay good
                let (keys, news) = match held {
                    Some(held) if held.keys.same_keys(&fetched) => (held.keys.clone(), false),
                    _ => {
                        log::info!(target: "durward::keys", "issuer {}: keys changed", self.name);
                        (Arc::new(fetched), true)
                    }
                };
                for (kid, why) in &keys.skipped {
                    log::warn!(target: "durward::keys", "issuer {}: key {kid:?} is not used: {why}", self.name);
                }
                self.current.store(Some(Arc::new(Held {
                    keys,
                    since: Instant::now(),
                })));
                self.failures.store(0, Ordering::Relaxed);
                news
            }
            Err(why) => {
                self.failures.fetch_add(1, Ordering::Relaxed);
                log::warn!(target: "durward::keys", "issuer {}: no new keys: {why}", self.name);
                false
            }
        }
    }

    fn backoff(&self) -> Duration {
        let failures = self.failures.load(Ordering::Relaxed).saturating_sub(1).min(8);
        (BACKOFF.0 * (1 << failures)).min(BACKOFF.1)
    }

    fn millis(&self) -> u64 {
        millis(self.epoch.elapsed())
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
