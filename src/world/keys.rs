//! The keys of one issuer, kept fresh.
//!
//! States: fresh (younger than `cache`), stale but in use (younger than `max_stale`), unavailable. A fetch happens in the
//! background when keys stop being fresh, and at once when a token names a key that is not there (S50, S51, U1 to U3).
//! Everybody who needs the answer waits for the one fetch. How often tokens can bring one about is bounded: after one that
//! brought nothing new not again for a `cooldown`, after one that failed not before the back-off has passed.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use tokio::sync::{Notify, watch};
use tokio::time::Instant;

use super::Keys;
use super::fetch::Fetch;
use super::http::FetchError;
use crate::gates::authn::KeysFrom;
use crate::gates::authn::jwk::KeySet;

#[cfg(test)]
mod tests;

/// Least and greatest wait between two failed fetches.
const BACKOFF: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(30));

/// Least wait between a fetch that a token brought about and that found new keys, and the next one: an issuer whose
/// servers do not agree on its keys has new ones each time.
const AFTER_NEWS: Duration = Duration::from_secs(1);

/// How long before the end of their freshness keys are fetched again, as a part of it.
const EARLY: f64 = 0.1;

/// The keys of one issuer.
#[derive(Debug)]
pub struct KeySource {
    name: Arc<str>,
    from: KeysFrom,
    current: ArcSwapOption<Held>,
    /// Fetches ended so far, good or bad.
    ended: watch::Sender<u64>,
    /// The fetch that is asked for, counted like `ended`.
    asked: AtomicU64,
    wanted: Notify,
    /// Milliseconds after `epoch`: nobody's asking brings about a fetch before.
    quiet_until: AtomicU64,
    fetching: AtomicBool,
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
            ended: watch::Sender::new(0),
            asked: AtomicU64::new(0),
            wanted: Notify::new(),
            quiet_until: AtomicU64::new(0),
            fetching: AtomicBool::new(false),
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

    /// Asks for a fetch and waits for its end, within the source's deadline. Returns at once what is there where a fetch
    /// would be too early. Unavailable where the last fetch failed, even if there are keys: what they lack may be there,
    /// and not to know that is not the token's fault (U2).
    pub async fn newer(&self) -> Keys {
        let KeysFrom::Url(url) = &self.from else {
            return self.keys();
        };
        let mut ended = self.ended.subscribe();
        let seen = *ended.borrow_and_update();
        // one that is under way is waited for, not asked for again
        if !self.fetching.load(Ordering::Acquire) {
            if self.millis() < self.quiet_until.load(Ordering::Acquire) {
                return self.unless_failing();
            }
            self.asked.fetch_max(seen + 1, Ordering::AcqRel);
            self.wanted.notify_one();
        }
        // the deadline of the fetch itself ends it; this one only guards against a fetcher that is gone
        let patience = url.timeout + Duration::from_millis(250);
        let _ = tokio::time::timeout(patience, ended.wait_for(|n| *n > seen)).await;
        self.unless_failing()
    }

    fn unless_failing(&self) -> Keys {
        match self.failures.load(Ordering::Relaxed) {
            0 => self.keys(),
            _ => Keys::Unavailable(self.backoff()),
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
            self.fetching.store(true, Ordering::Release);
            let [planned, asked] = &self.fetches;
            let (count, reason) = if was_asked {
                (asked, "unknown_kid")
            } else {
                (planned, "scheduled")
            };
            count.fetch_add(1, Ordering::Relaxed);
            log::debug!(target: "durward::keys", "jwks_refetch: issuer {}, reason {reason}", self.name);
            let news = self.took(fetcher.keys(url).await);
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
            // in this order: whoever sees the new count can ask for the next one
            self.fetching.store(false, Ordering::Release);
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
    fn took(&self, outcome: Result<KeySet, FetchError>) -> bool {
        match outcome {
            Ok(fetched) => {
                let held = self.current.load_full();
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
