//! The cheap limit, before anything that costs (S74).
//!
//! Counted with a sketch of fixed size: it may count an innocent address along with others, but never too little, and no
//! number of addresses makes it grow.

use std::fmt;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};

use pingora_limits::estimator::Estimator;

use super::Mode;
use crate::clock::UnixTime;
use crate::denial::{Denial, Verdict};
use crate::world::World;

/// Requests of one address in one second.
#[derive(Debug, Clone, Copy)]
pub struct Flood {
    /// At most so many.
    pub per_address: u32,
    /// Whether it counts.
    pub mode: Mode,
    /// Line of the configuration.
    pub line: u32,
}

impl Flood {
    /// Counts the request. A request without an address (a local socket) is not limited here.
    ///
    /// # Errors
    /// [`Denial::Flooded`]
    pub fn check<W: World>(&self, client: Option<IpAddr>, world: &W) -> Verdict {
        match client {
            Some(address) if world.flood(network(address)) > self.per_address => Err(Denial::Flooded),
            Some(_) | None => Ok(()),
        }
    }

    /// Whether a request of this address would be refused, by those that were counted. Counts nothing.
    #[must_use]
    pub fn is_over(&self, address: IpAddr, counted: &Sketch, now: UnixTime) -> bool {
        counted.counted(network(address), now) >= self.per_address
    }
}

/// Who is counted as one: an IPv4 address, or an IPv6 /64, which is what one subscriber has.
#[must_use]
pub fn network(address: IpAddr) -> u128 {
    match address.to_canonical() {
        IpAddr::V4(address) => u128::from(address.to_bits()),
        IpAddr::V6(address) => address.to_bits() >> 64 << 64 | 1,
    }
}

/// Requests of each network in the current second.
///
/// Of `pingora-limits` this takes the sketch only: its `Rate` reads the clock itself, and can panic on a thread that was
/// kept waiting for a second.
pub struct Sketch {
    /// By even and odd seconds.
    slots: [Estimator; 2],
    second: AtomicU64,
}

impl Sketch {
    /// Counts a request and tells how many of this network there were in its second: never too few but in the instant in
    /// which a second begins, too many where networks share all their counters.
    pub fn count(&self, network: u128, now: UnixTime) -> u32 {
        let second = now.seconds();
        let slot = self.slot(second);
        let last = self.second.load(Ordering::Relaxed);
        // a clock that goes back counts on where it was
        if second > last
            && self
                .second
                .compare_exchange(last, second, Ordering::AcqRel, Ordering::Relaxed)
                .is_ok()
        {
            slot.reset();
        }
        u32::try_from(slot.incr(network, 1)).unwrap_or(u32::MAX)
    }

    /// How many of this network were counted in this second, as [`count`](Self::count) would tell.
    #[must_use]
    pub fn counted(&self, network: u128, now: UnixTime) -> u32 {
        let second = now.seconds();
        if second > self.second.load(Ordering::Acquire) {
            return 0;
        }
        u32::try_from(self.slot(second).get(network)).unwrap_or(u32::MAX)
    }

    fn slot(&self, second: u64) -> &Estimator {
        let [even, odd] = &self.slots;
        if second.is_multiple_of(2) { even } else { odd }
    }
}

impl Default for Sketch {
    fn default() -> Self {
        // 4 rows of 65,536 counters, twice: 4 MiB at the most, in pages that are there once they are used
        let slot = || Estimator::new(4, 65_536);
        Sketch {
            slots: [slot(), slot()],
            second: AtomicU64::new(0),
        }
    }
}

impl fmt::Debug for Sketch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sketch")
            .field("second", &self.second)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_second_counts_anew() {
        let sketch = Sketch::default();
        let at = UnixTime::from_millis;
        assert_eq!([1000, 1500, 1999].map(|t| sketch.count(7, at(t))), [1, 2, 3]);
        assert_eq!([2000, 2001].map(|t| sketch.count(7, at(t))), [1, 2]);
        assert_eq!(sketch.count(8, at(2002)), 1);
        assert_eq!(sketch.count(7, at(9000)), 1);
    }

    #[test]
    fn addresses_of_one_subscriber_are_one() {
        let of = |text: &str| network(text.parse().unwrap());
        assert_eq!(of("2001:db8::1"), of("2001:db8::ffff:1"));
        assert_ne!(of("2001:db8::1"), of("2001:db8:0:1::1"));
        assert_ne!(of("192.0.2.1"), of("192.0.2.2"));
        assert_eq!(of("::ffff:192.0.2.1"), of("192.0.2.1"));
    }
}
