//! What is repeated is counted, and a line tells of it once in an interval (S54).

use std::time::Duration;

use crate::clock::UnixTime;

/// How often something was repeated since a line told of it.
#[derive(Debug)]
pub(super) struct Tally {
    /// When that was.
    told: UnixTime,
    /// Times since then.
    pub(super) count: u64,
    /// The first and the last of them.
    pub(super) first: UnixTime,
    pub(super) last: UnixTime,
}

/// Whether it is time to tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Due {
    NotYet,
    Now,
    /// Nothing was repeated for a whole interval: it can be forgotten.
    Over,
}

impl Tally {
    /// Something happened that has a record of its own.
    pub(super) fn new(now: UnixTime) -> Tally {
        Tally {
            told: now,
            count: 0,
            first: now,
            last: now,
        }
    }

    /// It happened again.
    pub(super) fn add(&mut self, now: UnixTime) {
        if self.count == 0 {
            self.first = now;
        }
        self.count += 1;
        self.last = self.last.max(now);
    }

    pub(super) fn due(&self, interval: Duration, now: UnixTime) -> Due {
        match self.count {
            _ if now.saturating_since(self.told) < interval => Due::NotYet,
            0 => Due::Over,
            _ => Due::Now,
        }
    }

    /// A line has told of it; hands back of how many.
    pub(super) fn told(&mut self, now: UnixTime) -> u64 {
        self.told = now;
        std::mem::take(&mut self.count)
    }
}
