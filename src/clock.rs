//! Time as a value. Decisions never read a clock: they are given the moment they decide for, so
//! that the same request can be decided again, offline, with the same answer.

use std::time::Duration;

/// A moment, in milliseconds since 1970-01-01T00:00:00Z, leap seconds not counted (the scale of
/// RFC 7519 section 2 `NumericDate`). Arithmetic saturates: it never wraps and never panics.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UnixTime(u64);

impl UnixTime {
    /// The epoch itself, and the earliest moment there is.
    pub const EPOCH: Self = Self(0);

    /// The latest moment there is: what is good until then has no end.
    pub const MAX: Self = Self(u64::MAX);

    /// `millis` milliseconds after the epoch.
    pub const fn from_millis(millis: u64) -> Self {
        Self(millis)
    }

    /// `seconds` seconds after the epoch.
    pub const fn from_seconds(seconds: u64) -> Self {
        Self(seconds.saturating_mul(1000))
    }

    /// Now, by the system's clock. Only the live world asks.
    #[must_use]
    pub fn of_system() -> Self {
        let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        Self(since.map(whole_millis).unwrap_or_default())
    }

    /// Milliseconds since the epoch.
    pub const fn millis(self) -> u64 {
        self.0
    }

    /// Whole seconds since the epoch, rounded down.
    pub const fn seconds(self) -> u64 {
        self.0 / 1000
    }

    /// This moment plus `duration` (rounded down to a millisecond).
    pub fn saturating_add(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(whole_millis(duration)))
    }

    /// This moment minus `duration` (rounded down to a millisecond), at the earliest the epoch.
    pub fn saturating_sub(self, duration: Duration) -> Self {
        Self(self.0.saturating_sub(whole_millis(duration)))
    }

    /// How long after `earlier` this is; zero if it is not.
    pub fn saturating_since(self, earlier: Self) -> Duration {
        Duration::from_millis(self.0.saturating_sub(earlier.0))
    }
}

fn whole_millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seconds_round_down_and_arithmetic_saturates() {
        assert_eq!(UnixTime::from_millis(1_999).seconds(), 1);
        assert_eq!(
            UnixTime::EPOCH.saturating_sub(Duration::from_secs(1)),
            UnixTime::EPOCH
        );
        assert_eq!(
            UnixTime::from_millis(u64::MAX)
                .saturating_add(Duration::MAX)
                .millis(),
            u64::MAX
        );
        let later = UnixTime::from_seconds(10);
        assert_eq!(
            later.saturating_since(UnixTime::from_seconds(7)),
            Duration::from_secs(3)
        );
        assert_eq!(UnixTime::from_seconds(7).saturating_since(later), Duration::ZERO);
    }
}
