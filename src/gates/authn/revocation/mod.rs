//! Credentials that were taken back before their end (U25, M11): asked of every request, whatever is remembered of its
//! credential, and of open streams when the list changes.
//!
//! What is on the list ([`list`]) is never a token, and never a digest of one: a token can be written in more than one way
//! (OWASP). On the warm path nothing is looked up: a client that was not on the list is remembered not to be until the
//! list changes, and to see that is one read of a number that seldom changes.

pub mod list;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use tokio::sync::watch;

use crate::clock::UnixTime;
use crate::identity::Client;
use list::DenyList;

/// When to ask again while the list is not known.
const RETRY: Duration = Duration::from_secs(1);

/// Where the list is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Revocation {
    /// A file, looked at four times a second.
    pub file: Option<PathBuf>,
    /// A server that says when something is added.
    pub redis: Option<RedisList>,
    /// Line of the configuration.
    pub line: u32,
}

/// A list on a Redis server.
#[derive(Clone, PartialEq, Eq)]
pub struct RedisList {
    /// `redis://` or `rediss://`, with user and password; never printed.
    pub url: String,
    /// CAs that may have issued the server's certificate, as PEM; `None`: the system's.
    pub ca: Option<String>,
    /// The sorted set: entries, each with the time in seconds until which it counts.
    pub key: String,
    /// Where additions are told.
    pub channel: String,
    /// Time between two looks at the whole set.
    pub refresh: Duration,
    /// Deadline of each question.
    pub timeout: Duration,
    /// How old the list may be.
    pub max_stale: Duration,
    /// Whether an older one stays in use.
    pub keeps: bool,
}

impl std::fmt::Debug for RedisList {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RedisList")
            .field("key", &self.key)
            .field("channel", &self.channel)
            .finish_non_exhaustive()
    }
}

impl Revocation {
    /// What is asked, in words.
    #[must_use]
    pub fn describe(&self) -> String {
        let file = self.file.iter().map(|_| "a file");
        let sources: Vec<&str> = file.chain(self.redis.iter().map(|_| "Redis")).collect();
        let keeps = self.redis.as_ref().is_some_and(|redis| redis.keeps);
        let note = if keeps { ", however old" } else { "" };
        format!("not revoked, by {}{note}", sources.join(" and "))
    }
}

/// Whether a client may still be let in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// It is not on the list.
    Good,
    /// It is.
    Revoked,
    /// The list is not known, or too old. Holds when to try again.
    Unknown(Duration),
}

/// The list as it is now. One for the life of the process; those who keep it up to date come and go.
#[derive(Debug)]
pub struct Revocations {
    lists: ArcSwap<Lists>,
    /// Counts changes of the lists.
    changes: watch::Sender<u64>,
    generation: AtomicU64,
    /// Milliseconds since 1970, by source: from then on its list is too old.
    good_until: [AtomicU64; SOURCES],
    /// By source: whether there was a list ever.
    was_read: [AtomicBool; SOURCES],
    /// By source: why the last look at it brought nothing, or not all.
    faults: Mutex<[Option<String>; SOURCES]>,
    /// The settings that it was made for.
    settings: Mutex<Option<Revocation>>,
}

/// Who tells of entries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// The file.
    File,
    /// The set on the Redis server.
    Redis,
    /// What was told since that was read as a whole.
    Told,
}

const SOURCES: usize = 3;

/// A source, for readiness, metrics and status.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct State {
    /// `file` or `redis`.
    pub source: &'static str,
    /// Entries of its list.
    pub entries: usize,
    /// Whether that can be used.
    pub is_usable: bool,
    /// Why it is not what the source has now.
    pub fault: Option<String>,
}

#[derive(Debug, Default)]
struct Lists([Arc<DenyList>; SOURCES]);

impl Default for Revocations {
    fn default() -> Revocations {
        Revocations {
            lists: ArcSwap::default(),
            changes: watch::Sender::new(0),
            // a client that was never looked up is of 0
            generation: AtomicU64::new(1),
            good_until: [const { AtomicU64::new(u64::MAX) }; SOURCES],
            was_read: [const { AtomicBool::new(false) }; SOURCES],
            faults: Mutex::default(),
            settings: Mutex::default(),
        }
    }
}

impl Revocations {
    /// Whether this client may still be let in.
    #[must_use]
    pub fn standing(&self, client: &Client, now: UnixTime) -> Standing {
        if self.denies(client) {
            return Standing::Revoked;
        }
        let is_known = |until: &AtomicU64| now.millis() < until.load(Ordering::Relaxed);
        if self.good_until.iter().all(is_known) {
            Standing::Good
        } else {
            Standing::Unknown(RETRY)
        }
    }

    /// Whether this client is on a list, however old that is.
    #[must_use]
    pub fn denies(&self, client: &Client) -> bool {
        let generation = self.generation.load(Ordering::Acquire);
        if client.derived.not_revoked.load(Ordering::Relaxed) == generation {
            return false;
        }
        if self.lists.load().0.iter().any(|list| list.denies(client)) {
            return true;
        }
        client.derived.not_revoked.store(generation, Ordering::Relaxed);
        false
    }

    /// Wakes up when something has changed.
    #[must_use]
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    /// Takes another list. Only one task does so at a time.
    pub fn replace(&self, source: Source, list: DenyList) {
        let list = Arc::new(list);
        self.change(|lists| {
            if let Some(place) = lists.get_mut(source as usize) {
                *place = list.clone();
            }
        });
        if let Some(was_read) = self.was_read.get(source as usize) {
            was_read.store(true, Ordering::Relaxed);
        }
    }

    /// A whole list of the server's takes the place of what it told one by one.
    pub fn replace_redis(&self, list: DenyList) {
        let list = Arc::new(list);
        self.change(|lists| {
            let [_, redis, told] = lists;
            (*redis, *told) = (list.clone(), Arc::default());
        });
    }

    /// Adds what was told.
    pub fn add(&self, entry: list::Entry) {
        self.change(|lists| {
            let [_, _, told] = lists;
            Arc::make_mut(told).add(entry.clone());
        });
    }

    fn change(&self, change: impl Fn(&mut [Arc<DenyList>; SOURCES])) {
        self.lists.rcu(|lists| {
            let mut lists = Lists(lists.0.clone());
            change(&mut lists.0);
            lists
        });
        // in this order: who sees the new number sees the new lists
        self.generation.fetch_add(1, Ordering::AcqRel);
        self.changes.send_modify(|count| *count += 1);
    }

    /// The list of this source is good until then.
    pub fn good_until(&self, source: Source, until: UnixTime) {
        if let Some(good_until) = self.good_until.get(source as usize) {
            good_until.store(until.millis(), Ordering::Relaxed);
        }
    }

    /// Whether the list of this source can be used.
    #[must_use]
    pub fn is_known(&self, source: Source, now: UnixTime) -> bool {
        let until = self.good_until.get(source as usize);
        until.is_some_and(|until| now.millis() < until.load(Ordering::Relaxed))
    }

    /// Whether a list of this source was ever taken.
    #[must_use]
    pub fn was_read(&self, source: Source) -> bool {
        let was_read = self.was_read.get(source as usize);
        was_read.is_some_and(|was_read| was_read.load(Ordering::Relaxed))
    }

    /// Why the last look at this source brought nothing, or not all.
    pub fn note(&self, source: Source, fault: Option<String>) {
        if let Some(place) = self.faults.lock().get_mut(source as usize) {
            *place = fault;
        }
    }

    /// What was noted last.
    #[must_use]
    pub fn fault(&self, source: Source) -> Option<String> {
        self.faults.lock().get(source as usize).cloned().flatten()
    }

    /// Takes other settings; returns those before.
    pub fn adopt(&self, settings: Option<Revocation>) -> Option<Revocation> {
        std::mem::replace(&mut self.settings.lock(), settings)
    }

    /// Each source that is followed now.
    #[must_use]
    pub fn states(&self, now: UnixTime) -> Vec<State> {
        let settings = self.settings.lock().clone();
        let Some(Revocation { file, redis, .. }) = settings else {
            return Vec::new();
        };
        let followed = [(Source::File, file.is_some()), (Source::Redis, redis.is_some())];
        let states = followed.into_iter().zip(self.entries());
        let states = states.filter(|((_, is_followed), _)| *is_followed);
        let state = |((source, _), (name, entries))| State {
            source: name,
            entries,
            is_usable: self.is_known(source, now),
            fault: self.fault(source),
        };
        states.map(state).collect()
    }

    /// Entries of the file, and of the server.
    #[must_use]
    pub fn entries(&self) -> [(&'static str, usize); 2] {
        let lists = self.lists.load();
        let [file, redis, told] = &lists.0;
        [("file", file.len()), ("redis", redis.len() + told.len())]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gates::authn::tests::client;

    // U25: what was good a moment ago is looked up again after every change, and only then
    #[test]
    fn a_change_of_the_list_is_seen_by_clients_that_were_good_before() {
        let revocations = Revocations::default();
        let client = client();
        let now = UnixTime::from_seconds(1);
        assert_eq!(revocations.standing(&client, now), Standing::Good);
        let remembered = client.derived.not_revoked.load(Ordering::Relaxed);
        assert_eq!(revocations.standing(&client, now), Standing::Good);
        assert_eq!(client.derived.not_revoked.load(Ordering::Relaxed), remembered);
        let mut changes = revocations.changes();
        revocations.add(list::parse("sub main bob", &["main"]).unwrap().unwrap());
        assert_eq!(revocations.standing(&client, now), Standing::Good);
        revocations.add(list::parse("sub main alice", &["main"]).unwrap().unwrap());
        assert!(changes.has_changed().unwrap());
        changes.mark_unchanged();
        assert_eq!(revocations.standing(&client, now), Standing::Revoked);
        assert_eq!(revocations.entries(), [("file", 0), ("redis", 2)]);
        // and back
        revocations.replace_redis(DenyList::default());
        assert_eq!(revocations.standing(&client, now), Standing::Good);
        assert_eq!(revocations.entries(), [("file", 0), ("redis", 0)]);
    }

    // U25, U2
    #[test]
    fn a_list_that_is_too_old_lets_nobody_in_and_forgives_nobody() {
        let revocations = Revocations::default();
        let client = client();
        revocations.good_until(Source::Redis, UnixTime::from_seconds(10));
        let at = |seconds| revocations.standing(&client, UnixTime::from_seconds(seconds));
        assert_eq!(at(9), Standing::Good);
        assert_eq!(at(10), Standing::Unknown(RETRY));
        revocations.add(list::parse("sub * alice", &[]).unwrap().unwrap());
        assert_eq!(at(10), Standing::Revoked);
    }
}
