//! Repeated failures of TLS handshakes: one record, and from then on a count (S23, S54).
//!
//! As with [refused credentials](super::refusals): the first failure of a kind has a record of its own, with what the client
//! offered; further ones of the same client, for the same reason, are counted, and once in an interval one line tells how
//! many there were. So a scanner does not fill the log, however often it comes.
//!
//! From how many addresses it comes does not matter either: beyond [`MOST`] kinds, those of a listener and reason are
//! counted as one, whoever they are from.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use serde::Serialize;
use uuid::Uuid;

use super::record::timestamp;
use super::tally::{Due, Tally};
use super::writer::Writer;
use crate::clock::UnixTime;
use crate::gates::authn::certificate::text::hex;
use crate::pki::handshake::Failure;

/// Kinds that are told apart at most: less than 512 KiB.
const MOST: usize = 1024;

/// What is counted as one.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Kind {
    /// Address of the listener.
    pub listener: Box<str>,
    /// Reason of the record.
    pub reason: &'static str,
    /// What is wrong.
    pub failure: Failure,
    /// The client's network, as floods are counted; `None`: many.
    pub network: Option<u128>,
    /// SHA-256 of the client's certificate, where that is why.
    pub certificate: Option<[u8; 32]>,
}

/// A handshake that failed.
#[derive(Debug)]
pub struct Failed {
    /// As what it is counted.
    pub kind: Kind,
    /// The client.
    pub client: Option<IpAddr>,
}

#[derive(Debug)]
struct Repeated {
    tally: Tally,
    /// Id of the record of the first; of what is counted as one from the beginning there is none.
    recorded: Option<Uuid>,
    client: Option<IpAddr>,
}

/// Counts handshakes that failed.
#[derive(Debug)]
pub struct Handshakes {
    interval: Duration,
    kinds: Mutex<Kinds>,
    summarised: AtomicU64,
}

#[derive(Debug, Default)]
struct Kinds {
    repeated: HashMap<Kind, Repeated>,
    /// Nothing is counted any more, because nobody will tell of it.
    is_closed: bool,
}

/// The line that tells of failures without a record of their own. Its names are those of the summaries of refusals.
#[derive(Serialize)]
struct Summary<'a> {
    timestamp: String,
    #[serde(rename = "durward.refusals.count")]
    count: u64,
    #[serde(rename = "durward.refusals.first")]
    first: String,
    #[serde(rename = "durward.refusals.last")]
    last: String,
    /// Id of the record of the first.
    #[serde(rename = "durward.refusals.recorded", skip_serializing_if = "Option::is_none")]
    recorded: Option<String>,
    #[serde(rename = "client.address", skip_serializing_if = "Option::is_none")]
    client: Option<IpAddr>,
    #[serde(rename = "durward.listener")]
    listener: &'a str,
    #[serde(rename = "tls.client.hash.sha256", skip_serializing_if = "Option::is_none")]
    certificate: Option<String>,
    #[serde(rename = "durward.tls.failure")]
    failure: &'static str,
    #[serde(rename = "durward.outcome")]
    outcome: &'static str,
    #[serde(rename = "security_rule.name")]
    gate: &'static str,
    #[serde(rename = "error.type")]
    reason: &'static str,
}

impl Handshakes {
    /// Tells of what is repeated once in each `interval`; zero: each failure has its own record.
    #[must_use]
    pub fn new(interval: Duration) -> Handshakes {
        Handshakes {
            interval,
            kinds: Mutex::default(),
            summarised: AtomicU64::new(0),
        }
    }

    /// Whether a summary will tell of this failure; otherwise it needs a record of its own.
    #[must_use]
    pub fn counts(&self, failed: &Failed, now: UnixTime) -> bool {
        if self.interval.is_zero() {
            return false;
        }
        let mut kinds = self.kinds.lock();
        if kinds.is_closed {
            return false;
        }
        if let Some(repeated) = kinds.repeated.get_mut(&failed.kind) {
            repeated.tally.add(now);
            return true;
        }
        let is_new = kinds.repeated.len() < MOST;
        let (kind, client) = if is_new {
            (failed.kind.clone(), failed.client)
        } else {
            // there are not many of these: listeners times reasons
            let many = Kind {
                network: None,
                certificate: None,
                ..failed.kind.clone()
            };
            (many, None)
        };
        let repeated = kinds.repeated.entry(kind).or_insert(Repeated {
            tally: Tally::new(now),
            recorded: None,
            client,
        });
        if !is_new {
            repeated.tally.add(now);
        }
        !is_new
    }

    /// The first of a kind has this record.
    pub fn recorded(&self, kind: Kind, id: Uuid) {
        if let Some(repeated) = self.kinds.lock().repeated.get_mut(&kind) {
            repeated.recorded = Some(id);
        }
    }

    /// Writes the summaries that are due, and forgets who has stopped.
    pub fn tell(&self, now: UnixTime, records: &Writer) {
        self.tell_after(self.interval, now, records);
    }

    /// Writes all summaries, for the end of the process: from now on each failure has a record of its own. Returns how many
    /// the writer has no room to tell of yet.
    pub fn finish(&self, now: UnixTime, records: &Writer) -> u64 {
        self.kinds.lock().is_closed = true;
        self.tell_after(Duration::ZERO, now, records);
        let kinds = self.kinds.lock();
        kinds.repeated.values().map(|repeated| repeated.tally.count).sum()
    }

    fn tell_after(&self, interval: Duration, now: UnixTime, records: &Writer) {
        self.kinds.lock().repeated.retain(|kind, repeated| {
            match repeated.tally.due(interval, now) {
                Due::Over => return false,
                // without room in the queue they are counted on, and told of later
                Due::Now if records.offer(&summary(kind, repeated, now)) => {
                    let told = repeated.tally.told(now);
                    self.summarised.fetch_add(told, Ordering::Relaxed);
                }
                Due::Now | Due::NotYet => {}
            }
            true
        });
    }

    /// Failures that were told of in summaries so far.
    #[must_use]
    pub fn summarised(&self) -> u64 {
        self.summarised.load(Ordering::Relaxed)
    }
}

fn summary(kind: &Kind, repeated: &Repeated, now: UnixTime) -> Vec<u8> {
    let summary = Summary {
        timestamp: timestamp(now),
        count: repeated.tally.count,
        first: timestamp(repeated.tally.first),
        last: timestamp(repeated.tally.last),
        recorded: repeated.recorded.map(|id| id.to_string()),
        client: repeated.client,
        listener: &kind.listener,
        certificate: kind.certificate.map(|sha256| hex(&sha256)),
        failure: kind.failure.reason(),
        outcome: "deny",
        gate: "listener",
        reason: kind.reason,
    };
    let mut line = serde_json::to_vec(&summary).unwrap_or_default();
    line.push(b'\n');
    line
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gateway::{Records, RecordsTo};

    fn at(seconds: u64) -> UnixTime {
        UnixTime::from_seconds(1_800_000_000 + seconds)
    }

    fn failed(network: u32) -> Failed {
        Failed {
            kind: Kind {
                listener: "127.0.0.1:443".into(),
                reason: "handshake_failed",
                failure: Failure::NoCommonSuite,
                network: Some(network.into()),
                certificate: None,
            },
            client: Some(IpAddr::from(network.to_be_bytes())),
        }
    }

    // S23: from however many addresses, there are no more lines than kinds
    #[test]
    fn a_scan_from_many_addresses_is_bounded_in_memory_and_in_lines() {
        let handshakes = Handshakes::new(Duration::from_secs(10));
        let recorded = (0..50_000).filter(|network| !handshakes.counts(&failed(*network), at(0)));
        assert_eq!(recorded.count(), MOST);
        assert_eq!(handshakes.kinds.lock().repeated.len(), MOST + 1);
        let path = std::env::temp_dir().join(format!("durward-handshakes-{}", std::process::id()));
        let records = Writer::start(&Records {
            to: RecordsTo::File(path.clone()),
            queue: 2000,
            refuses_when_full: false,
            summary_interval: Duration::ZERO,
        })
        .unwrap();
        assert!(
            handshakes.counts(&failed(7), at(1)),
            "known, and counted for itself"
        );
        handshakes.tell(at(9), &records);
        assert_eq!(handshakes.summarised(), 0, "not before it is due");
        handshakes.tell(at(10), &records);
        assert_eq!(handshakes.summarised(), 50_000 - MOST as u64 + 1);
        assert!(!handshakes.counts(&failed(9), at(11)), "who stopped is forgotten");
        assert_eq!(handshakes.finish(at(11), &records), 0);
        assert!(!handshakes.counts(&failed(7), at(12)), "nobody would tell of it");
        records.finish();
        let text = std::fs::read_to_string(&path).unwrap();
        std::fs::remove_file(path).unwrap();
        let mut told: Vec<_> = text
            .lines()
            .map(|line| {
                let line: serde_json::Value = serde_json::from_str(line).unwrap();
                (
                    line["durward.refusals.count"].as_u64().unwrap(),
                    line["client.address"].clone(),
                )
            })
            .collect();
        told.sort_by_key(|(count, _)| *count);
        assert_eq!(
            told,
            [
                (1, "0.0.0.7".into()),
                (50_000 - MOST as u64, serde_json::Value::Null)
            ]
        );
    }

    #[test]
    fn without_an_interval_each_has_its_record() {
        let handshakes = Handshakes::new(Duration::ZERO);
        assert!(!handshakes.counts(&failed(1), at(0)) && !handshakes.counts(&failed(1), at(0)));
        assert!(handshakes.kinds.lock().repeated.is_empty());
    }
}
