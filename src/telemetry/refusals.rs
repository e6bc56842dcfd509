//! Repeated refusals of one credential: one record, and from then on a count (S54).
//!
//! The first refusal of a credential has a record of its own, like every request (S83). Further ones for the same reason, on
//! the same route, from the same address, are counted, and once in an interval one line tells how many there were: no
//! request is lost, and a client that asks again and again with a token that is not good does not fill the log.
//!
//! Only what is wrong with the credential is summarised: authentication and authorization. A credential is known by a
//! keyed digest, never by itself, and the key is the process's own, so that digests cannot be tried out on tokens.

use std::collections::HashMap;
use std::fmt;
use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use serde::Serialize;
use uuid::Uuid;

use super::record::timestamp;
use super::tally::{Due, Tally};
use super::writer::Writer;
use crate::clock::UnixTime;
use crate::denial::Denial;
use crate::gates::authn::verdicts::Digest;
use crate::gateway::Route;

/// Credentials that are counted at most: about 4 MiB. Beyond that, refusals have a record each.
const MOST: usize = 8192;
/// Locks.
const SHARDS: usize = 16;
/// A longer subject is in the first record only.
const LONGEST_SUBJECT: usize = 256;

/// Tells the credentials of one process apart: 64 bits of a keyed digest, in hexadecimal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct CredentialId([u8; 16]);

impl CredentialId {
    /// As records show it.
    #[must_use]
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).unwrap_or_default()
    }
}

/// A refused request with a credential.
#[derive(Debug, Clone, Copy)]
pub struct Refusal<'a> {
    /// Of what.
    pub credential: CredentialId,
    /// Why.
    pub denial: &'a Denial,
    /// Where.
    pub route: &'a Route,
    /// From where.
    pub client: Option<IpAddr>,
    /// The verified subject, if it came so far.
    pub subject: Option<&'a str>,
    /// The decision's id.
    pub id: Uuid,
    /// Of the configuration that decided, abbreviated.
    pub config: &'a str,
}

/// What is counted as one.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Key {
    credential: CredentialId,
    reason: &'static str,
    route: Arc<str>,
    client: Option<IpAddr>,
}

/// What is known of the refusals of one key.
#[derive(Debug)]
struct Repeated {
    tally: Tally,
    recorded: Uuid,
    status: u16,
    gate: &'static str,
    path: Arc<str>,
    subject: Option<Box<str>>,
    config: Box<str>,
}

/// Counts refusals.
pub struct Refusals {
    interval: Duration,
    secret: [u8; 32],
    shards: [Mutex<HashMap<Key, Repeated>>; SHARDS],
    summarised: AtomicU64,
    /// Nothing is counted any more, because nobody will tell of it.
    closed: AtomicBool,
}

/// The line that tells of refusals without a record of their own. Has the names of [`Record`](super::record::Record)
/// where it says the same, and `durward.refusals.count`, which no record has.
#[derive(Serialize)]
struct Summary<'a> {
    timestamp: String,
    #[serde(rename = "durward.refusals.count")]
    count: u64,
    #[serde(rename = "durward.refusals.first")]
    first: String,
    #[serde(rename = "durward.refusals.last")]
    last: String,
    /// Decision id of the one that has a record.
    #[serde(rename = "durward.refusals.recorded")]
    recorded: String,
    #[serde(rename = "durward.credential.id")]
    credential: &'a str,
    #[serde(rename = "http.route")]
    path: &'a str,
    #[serde(rename = "durward.route.id")]
    route: &'a str,
    #[serde(rename = "http.response.status_code")]
    status: u16,
    #[serde(rename = "client.address", skip_serializing_if = "Option::is_none")]
    client: Option<IpAddr>,
    #[serde(rename = "user.id", skip_serializing_if = "Option::is_none")]
    subject: Option<&'a str>,
    #[serde(rename = "durward.outcome")]
    outcome: &'static str,
    #[serde(rename = "security_rule.name")]
    gate: &'static str,
    #[serde(rename = "error.type")]
    reason: &'static str,
    #[serde(rename = "durward.config.hash")]
    config: &'a str,
}

impl Refusals {
    /// Tells of what is repeated once in each `interval`; zero: each refusal has its own record.
    ///
    /// # Errors
    /// The system has no randomness.
    pub fn new(interval: Duration) -> io::Result<Refusals> {
        let mut secret = [0; 32];
        openssl::rand::rand_bytes(&mut secret).map_err(io::Error::other)?;
        Ok(Refusals {
            interval,
            secret,
            shards: Default::default(),
            summarised: AtomicU64::new(0),
            closed: AtomicBool::new(false),
        })
    }

    /// What a credential is called in records.
    #[must_use]
    pub fn name(&self, credential: &Digest) -> CredentialId {
        // both parts have a fixed length, so that hashing them one after another is a keyed digest
        let mut hash = openssl::sha::Sha256::new();
        hash.update(&self.secret);
        hash.update(credential);
        let digest = hash.finish();
        let mut name = [b'0'; 16];
        for (pair, byte) in name.chunks_exact_mut(2).zip(digest) {
            for (digit, nibble) in pair.iter_mut().zip([byte >> 4, byte & 0xf]) {
                *digit = if nibble < 10 {
                    b'0' + nibble
                } else {
                    b'a' + nibble - 10
                };
            }
        }
        CredentialId(name)
    }

    /// Whether a summary will tell of this refusal; otherwise it needs a record of its own.
    #[must_use]
    pub fn counts(&self, refusal: Refusal<'_>, now: UnixTime) -> bool {
        let Refusal {
            credential,
            denial,
            route,
            client,
            subject,
            id,
            config,
        } = refusal;
        let Some(shard) = self.shard(credential).filter(|_| !self.interval.is_zero()) else {
            return false;
        };
        let key = Key {
            credential,
            reason: denial.reason(),
            route: route.id.clone(),
            client,
        };
        let mut shard = shard.lock();
        if self.closed.load(Ordering::Acquire) {
            return false;
        }
        if let Some(repeated) = shard.get_mut(&key) {
            repeated.tally.add(now);
            return true;
        }
        if shard.len() < MOST / SHARDS {
            let repeated = Repeated {
                tally: Tally::new(now),
                recorded: id,
                status: denial.status().as_u16(),
                gate: denial.gate().as_str(),
                path: route.path.clone(),
                subject: subject
                    .filter(|subject| subject.len() <= LONGEST_SUBJECT)
                    .map(Into::into),
                config: config.into(),
            };
            shard.insert(key, repeated);
        }
        false
    }

    /// Writes the summaries that are due, and forgets who has stopped.
    pub fn tell(&self, now: UnixTime, records: &Writer) {
        self.tell_after(self.interval, now, records);
    }

    /// Writes all summaries, for the end of the process: from now on each refusal has a record of its own. Returns how
    /// many refusals the writer has no room to tell of yet.
    pub fn finish(&self, now: UnixTime, records: &Writer) -> u64 {
        self.closed.store(true, Ordering::Release);
        self.tell_after(Duration::ZERO, now, records);
        let left = |shard: &Mutex<HashMap<Key, Repeated>>| {
            shard
                .lock()
                .values()
                .map(|repeated| repeated.tally.count)
                .sum::<u64>()
        };
        self.shards.iter().map(left).sum()
    }

    fn tell_after(&self, interval: Duration, now: UnixTime, records: &Writer) {
        for shard in &self.shards {
            shard.lock().retain(|key, repeated| {
                match repeated.tally.due(interval, now) {
                    Due::Over => return false,
                    // without room in the queue they are counted on, and told of later
                    Due::Now if records.offer(&summary(key, repeated, now)) => {
                        let told = repeated.tally.told(now);
                        self.summarised.fetch_add(told, Ordering::Relaxed);
                    }
                    Due::Now | Due::NotYet => {}
                }
                true
            });
        }
    }

    /// Refusals that were told of in summaries so far.
    #[must_use]
    pub fn summarised(&self) -> u64 {
        self.summarised.load(Ordering::Relaxed)
    }

    /// How often summaries are due; `None`: never.
    #[must_use]
    pub fn interval(&self) -> Option<Duration> {
        (!self.interval.is_zero()).then_some(self.interval)
    }

    fn shard(&self, credential: CredentialId) -> Option<&Mutex<HashMap<Key, Repeated>>> {
        let [first, ..] = credential.0;
        let at = char::from(first).to_digit(16)?;
        self.shards.get(at as usize)
    }
}

fn summary(key: &Key, repeated: &Repeated, now: UnixTime) -> Vec<u8> {
    let summary = Summary {
        timestamp: timestamp(now),
        count: repeated.tally.count,
        first: timestamp(repeated.tally.first),
        last: timestamp(repeated.tally.last),
        recorded: repeated.recorded.to_string(),
        credential: key.credential.as_str(),
        path: &repeated.path,
        route: &key.route,
        status: repeated.status,
        client: key.client,
        subject: repeated.subject.as_deref(),
        outcome: "deny",
        gate: repeated.gate,
        reason: key.reason,
        config: &repeated.config,
    };
    let mut line = serde_json::to_vec(&summary).unwrap_or_default();
    line.push(b'\n');
    line
}

impl fmt::Debug for Refusals {
    /// Not the secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Refusals")
            .field("interval", &self.interval)
            .field("summarised", &self.summarised)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::denial::Forbidden;
    use crate::gateway::compile::compile;
    use crate::gateway::{Gateway, Records, RecordsTo};
    use crate::secrets::Sources;

    fn gateway() -> Gateway {
        let yaml = "version: 1\n\
            listeners: [{ address: \"127.0.0.1:8443\", plaintext: { reason: test } }]\n\
            routes: [{ match: { methods: [GET], path: / }, public: { reason: a, owner: b }, respond: 200 }]\n";
        compile("test.yaml", yaml, &Sources::default()).gateway.unwrap()
    }

    fn at(seconds: u64) -> UnixTime {
        UnixTime::from_seconds(1_800_000_000 + seconds)
    }

    fn refused(refusals: &Refusals, credential: u32, route: &Route, when: UnixTime) -> bool {
        let mut digest = [0; 32];
        digest[..4].copy_from_slice(&credential.to_be_bytes());
        let refusal = Refusal {
            credential: refusals.name(&digest),
            denial: &Denial::Forbidden(Forbidden::Role),
            route,
            client: None,
            subject: None,
            id: Uuid::nil(),
            config: "",
        };
        refusals.counts(refusal, when)
    }

    // S54: no number of credentials makes it grow, and those that do not fit have records
    #[test]
    fn memory_is_bounded_and_what_does_not_fit_is_recorded_one_by_one() {
        let (gateway, refusals) = (gateway(), Refusals::new(Duration::from_secs(10)).unwrap());
        let route = &gateway.routes[0];
        for credential in 0..50_000 {
            assert!(
                !refused(&refusals, credential, route, at(0)),
                "a first one is recorded"
            );
        }
        let held: usize = refusals.shards.iter().map(|shard| shard.lock().len()).sum();
        assert_eq!(held, MOST);
        let second = (0..50_000).filter(|credential| refused(&refusals, *credential, route, at(1)));
        assert_eq!(second.count(), MOST);
    }

    // S83: a count is kept until there is room to tell it
    #[test]
    fn a_full_queue_loses_no_count_and_who_stops_is_forgotten() {
        let (gateway, refusals) = (gateway(), Refusals::new(Duration::from_secs(10)).unwrap());
        let route = &gateway.routes[0];
        let path = std::env::temp_dir().join(format!("durward-refusals-{}", std::process::id()));
        let records = |queue| {
            let records = Records {
                to: RecordsTo::File(path.clone()),
                queue,
                refuses_when_full: false,
                summary_interval: Duration::ZERO,
            };
            Writer::start(&records).unwrap()
        };
        for _ in 0..4 {
            refused(&refusals, 7, route, at(0));
        }
        refusals.tell(at(10), &records(0));
        assert_eq!(refusals.summarised(), 0);
        refused(&refusals, 7, route, at(11));
        let roomy = records(8);
        refusals.tell(at(9), &roomy);
        assert_eq!(refusals.summarised(), 0, "not before it is due");
        refusals.tell(at(12), &roomy);
        assert_eq!(refusals.summarised(), 4);
        // nothing more came: forgotten, and the next one is a first one again
        refusals.tell(at(22), &roomy);
        assert!(!refused(&refusals, 7, route, at(23)));
        assert!(refused(&refusals, 7, route, at(24)));
        assert_eq!(refusals.finish(at(24), &roomy), 0);
        assert_eq!(refusals.summarised(), 5);
        assert!(!refused(&refusals, 7, route, at(25)), "nobody would tell of it");
        roomy.finish();
        let text = std::fs::read_to_string(&path).unwrap();
        std::fs::remove_file(path).unwrap();
        let counts = text.lines().map(|line| {
            serde_json::from_str::<serde_json::Value>(line).unwrap()["durward.refusals.count"].as_u64()
        });
        assert_eq!(counts.collect::<Vec<_>>(), [Some(4), Some(1)]);
    }
}
