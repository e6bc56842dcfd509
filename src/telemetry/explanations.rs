//! Why the last refused requests were refused, by decision id (M3).
//!
//! Written out when the request ends, while its snapshot is at hand, and kept in bounded memory: the oldest make room.
//! There is no list of them: who does not know an id, which only the client, the record and the service were told, finds
//! nothing.

use std::collections::VecDeque;

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::record::timestamp;
use crate::clock::UnixTime;
use crate::explanation::Explanation;

/// Bytes of text that are kept at most: some thousands of usual refusals.
const MOST_BYTES: usize = 4 << 20;
/// One that is longer, for the length of its path, is not kept.
const LONGEST: usize = 64 << 10;

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

/// The last refusals.
#[derive(Debug, Default)]
pub struct Explanations {
    ring: Mutex<Ring>,
}

#[derive(Debug, Default)]
struct Ring {
    kept: VecDeque<(Uuid, Box<str>)>,
    bytes: usize,
}

impl Explanations {
    /// Keeps why a request was refused.
    pub fn keep(&self, id: Uuid, at: UnixTime, decision: Explanation) {
        let kept = Kept {
            id: id.to_string(),
            at: timestamp(at),
            decision,
        };
        let Ok(text) = serde_json::to_string(&kept) else {
            return;
        };
        if text.len() > LONGEST {
            return;
        }
        let mut dropped = Vec::new();
        let mut ring = self.ring.lock();
        ring.bytes += text.len();
        ring.kept.push_back((id, text.into()));
        while ring.bytes > MOST_BYTES {
            let Some((_, oldest)) = ring.kept.pop_front() else {
                break;
            };
            ring.bytes -= oldest.len();
            dropped.push(oldest);
        }
        // given back to the allocator when others need not wait for it
        drop(ring);
    }

    /// The JSON of [`Kept`]; `None` where it is not known, or not any more.
    #[must_use]
    pub fn find(&self, id: Uuid) -> Option<String> {
        let ring = self.ring.lock();
        let found = ring.kept.iter().rev().find(|(kept, _)| *kept == id);
        found.map(|(_, text)| text.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn explanation(route: &str) -> Explanation {
        Explanation {
            outcome: "deny".to_owned(),
            status: Some(403),
            gate: None,
            reason: None,
            code: None,
            route: Some(route.to_owned()),
            config: String::new(),
            trace: Vec::new(),
        }
    }

    // M3
    #[test]
    fn the_oldest_make_room_and_memory_is_bounded() {
        let explanations = Explanations::default();
        let ids: Vec<Uuid> = (0..200).map(|_| Uuid::now_v7()).collect();
        for id in &ids {
            explanations.keep(*id, UnixTime::EPOCH, explanation(&"x".repeat(40_000)));
        }
        let known = ids.iter().filter(|id| explanations.find(**id).is_some()).count();
        assert_eq!(known, MOST_BYTES / (40_000 + 180), "{known}");
        assert!(explanations.find(ids[0]).is_none());
        assert!(explanations.find(ids[199]).is_some());
        assert!(explanations.ring.lock().bytes <= MOST_BYTES);
        // one too long is not kept, and drives nobody out
        let long = Uuid::now_v7();
        explanations.keep(long, UnixTime::EPOCH, explanation(&"x".repeat(70_000)));
        assert!(explanations.find(long).is_none() && explanations.find(ids[199]).is_some());
    }
}
