//! Why the last refused requests were refused, by decision id (M3).
//!
//! A request leaves its marks here and goes; they are written out only for who asks. Memory is bounded: the oldest make
//! room. There is no list of them: who does not know an id, which only the client, the record and the service were told,
//! finds nothing.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use smallvec::SmallVec;
use uuid::Uuid;

use super::live::Running;
use crate::clock::UnixTime;
use crate::denial::Denial;
use crate::explanation::Explanation;
use crate::telemetry::record::timestamp;
use crate::trace::Traced;

/// Bytes that are kept at most: some thousands of usual refusals.
const MOST_BYTES: usize = 4 << 20;
/// One that is longer, for the length of its path, is not kept.
const LONGEST: usize = 64 << 10;

/// A refused request, as it is left.
#[derive(Debug)]
pub struct Refused {
    /// Decision id.
    pub id: Uuid,
    /// When the request came.
    pub at: UnixTime,
    /// The gates' words.
    pub traced: Traced,
    /// Why it was refused.
    pub denial: Denial,
    /// The snapshot that decided.
    pub running: Arc<Running>,
}

/// What is told of one refusal.
#[derive(Debug, Serialize, Deserialize)]
pub struct Kept {
    /// Decision id.
    pub id: String,
    /// When the request came, RFC 3339.
    pub at: String,
    /// How it was decided.
    pub decision: Explanation,
}

impl Refused {
    /// The JSON of [`Kept`].
    fn text(&self) -> Option<String> {
        let kept = Kept {
            id: self.id.to_string(),
            at: timestamp(self.at),
            decision: Explanation::new(&self.running.gateway, &self.traced, Some(&self.denial)),
        };
        serde_json::to_string(&kept).ok()
    }
}

/// The last refusals.
#[derive(Debug, Default)]
pub struct Explanations {
    ring: Mutex<Ring>,
}

#[derive(Debug, Default)]
struct Ring {
    kept: VecDeque<Entry>,
    bytes: usize,
}

#[derive(Debug)]
struct Entry {
    id: Uuid,
    told: Told,
}

#[derive(Debug, Clone)]
enum Told {
    /// To be written out.
    Marks(Arc<Refused>),
    /// Written out: its snapshot is gone.
    Text(Arc<str>),
}

impl Told {
    fn bytes(&self) -> usize {
        size_of::<Entry>()
            + match self {
                Told::Marks(refused) => size_of::<Refused>() + refused.traced.bytes(),
                Told::Text(text) => text.len(),
            }
    }
}

impl Ring {
    /// Takes out the oldest, until the rest has room.
    fn displaced(&mut self) -> SmallVec<[Entry; 2]> {
        let mut displaced = SmallVec::new();
        while self.bytes > MOST_BYTES {
            let Some(oldest) = self.kept.pop_front() else {
                break;
            };
            self.bytes -= oldest.told.bytes();
            displaced.push(oldest);
        }
        displaced
    }
}

impl Explanations {
    /// Keeps why a request was refused.
    pub fn keep(&self, refused: Refused) {
        let entry = Entry {
            id: refused.id,
            told: Told::Marks(Arc::new(refused)),
        };
        let bytes = entry.told.bytes();
        if bytes > LONGEST {
            return;
        }
        let mut ring = self.ring.lock();
        ring.bytes += bytes;
        ring.kept.push_back(entry);
        let displaced = ring.displaced();
        drop(ring);
        // given back to the allocator while nobody waits for it
        drop(displaced);
    }

    /// The JSON of [`Kept`]; `None` where it is not known, or not any more.
    #[must_use]
    pub fn find(&self, id: Uuid) -> Option<String> {
        let ring = self.ring.lock();
        let entry = ring.kept.iter().rev().find(|entry| entry.id == id)?;
        let told = entry.told.clone();
        drop(ring);
        match told {
            Told::Marks(refused) => refused.text(),
            Told::Text(text) => Some(text.to_string()),
        }
    }

    /// Writes out what snapshots other than this one have decided, so that nothing holds them any longer. What a request of
    /// theirs leaves later waits for the next time.
    pub(super) fn release(&self, current: &Arc<Running>) {
        let stale = |told: &Told| match told {
            Told::Marks(refused) if !Arc::ptr_eq(&refused.running, current) => Some(refused.clone()),
            Told::Marks(_) | Told::Text(_) => None,
        };
        let old: Vec<_> = {
            let ring = self.ring.lock();
            ring.kept.iter().filter_map(|entry| stale(&entry.told)).collect()
        };
        let mut written: HashMap<Uuid, Arc<str>> = old
            .iter()
            .filter_map(|refused| Some((refused.id, refused.text()?.into())))
            .collect();
        let mut ring = self.ring.lock();
        let Ring { kept, bytes } = &mut *ring;
        for entry in kept {
            if stale(&entry.told).is_some()
                && let Some(text) = written.remove(&entry.id)
            {
                *bytes -= entry.told.bytes();
                entry.told = Told::Text(text);
                *bytes += entry.told.bytes();
            }
        }
        let displaced = ring.displaced();
        drop(ring);
        drop((displaced, old));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gateway::Gateway;
    use crate::gateway::compile::compile;
    use crate::running::live::Live;
    use crate::secrets::Sources;
    use crate::trace::{Detail, Trace};

    fn gateway() -> Gateway {
        let yaml = "version: 1\n\
            listeners: [{ address: \"127.0.0.1:8443\", plaintext: { reason: test } }]\n\
            routes: [{ match: { methods: [GET], path: / }, public: { reason: a, owner: b }, respond: 200 }]\n";
        compile("test.yaml", yaml, &Sources::default()).gateway.unwrap()
    }

    fn refused(running: &Arc<Running>, marks: usize) -> Refused {
        let mut trace = Trace::default();
        let denial = Denial::NoRoute;
        for _ in 0..marks {
            trace.denied(denial.clone(), 0, Detail::Text("because"));
        }
        Refused {
            id: Uuid::now_v7(),
            at: UnixTime::EPOCH,
            traced: trace.end(None),
            denial,
            running: running.clone(),
        }
    }

    // M3
    #[test]
    fn the_oldest_make_room_and_memory_is_bounded() {
        let live = Live::new(gateway());
        let (running, explanations) = (live.current(), Explanations::default());
        let all: Vec<Uuid> = (0..MOST_BYTES / 40_000 + 20)
            .map(|_| {
                let refused = refused(&running, 1000);
                let id = refused.id;
                explanations.keep(refused);
                id
            })
            .collect();
        let known = |id: &Uuid| explanations.find(*id).is_some();
        assert!(!known(&all[0]) && known(&all[all.len() - 1]));
        assert!(explanations.ring.lock().bytes <= MOST_BYTES);
        // one too long is not kept, and drives nobody out
        let long = refused(&running, 3000);
        let id = long.id;
        let before = all.iter().filter(|id| known(id)).count();
        explanations.keep(long);
        assert!(!known(&id));
        assert_eq!(all.iter().filter(|id| known(id)).count(), before);
    }

    // M3, U12
    #[test]
    fn an_explanation_outlives_its_snapshot_and_does_not_hold_it() {
        let live = Live::new(gateway());
        let first = Arc::downgrade(&live.current());
        let refused = refused(&live.current(), 1);
        let id = refused.id;
        live.explanations().keep(refused);
        let before = live.explanations().find(id).unwrap();
        assert!(before.contains("because"), "{before}");
        live.exchange(gateway());
        assert_eq!(live.explanations().find(id).unwrap(), before);
        assert!(first.upgrade().is_none());
    }
}
