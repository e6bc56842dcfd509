//! When: windows of the week, by the clock on the wall of a named zone (S65).
//!
//! A window is a span of local time on certain weekdays. What counts is what that clock shows at the moment of the
//! decision, so daylight saving needs no rules of its own: an hour that a zone leaves out is never shown, and a window that
//! lies in it does not open that day; an hour that comes twice is shown twice, and a window that covers it is open both
//! times. A window over midnight belongs to the day on which it begins.

use std::fmt;

use jiff::Timestamp;
use jiff::civil::Weekday;
use jiff::tz::TimeZone;

use super::list;
use crate::clock::UnixTime;
use crate::denial::{Denial, Forbidden, Verdict};

/// Seconds of a day, as a clock on a wall has them.
const DAY: u32 = 86_400;

/// Windows of which one must be open.
#[derive(Debug, Clone)]
pub struct Times {
    /// At least one.
    pub any: Box<[Window]>,
}

/// A span of local time on certain weekdays.
#[derive(Debug, Clone)]
pub struct Window {
    /// Days on which it begins, Monday first.
    pub days: [bool; 7],
    /// Seconds after midnight, less than a day.
    pub from: u32,
    /// Seconds after midnight, at most a day; not later than `from`: on the next day.
    pub to: u32,
    /// Whose clock.
    pub zone: TimeZone,
}

impl Times {
    /// # Errors
    /// [`Forbidden::Time`] where no window is open.
    pub fn check(&self, now: UnixTime) -> Verdict {
        let now = i64::try_from(now.millis())
            .ok()
            .and_then(|millis| Timestamp::from_millisecond(millis).ok());
        // a time beyond the calendar is in no window
        match now {
            Some(now) if self.any.iter().any(|window| window.is_open(now)) => Ok(()),
            _ => Err(Denial::Forbidden(Forbidden::Time)),
        }
    }
}

impl Window {
    fn is_open(&self, now: Timestamp) -> bool {
        let local = self.zone.to_datetime(now);
        let clock = local.time();
        let second = [
            u32::try_from(clock.hour()).unwrap_or(0) * 3600,
            u32::try_from(clock.minute()).unwrap_or(0) * 60,
            u32::try_from(clock.second()).unwrap_or(0),
        ];
        let second: u32 = second.iter().sum();
        let today = local.date().weekday();
        if self.from < self.to {
            return self.begins_on(today) && (self.from..self.to).contains(&second);
        }
        (self.begins_on(today) && second >= self.from)
            || (self.begins_on(today.previous()) && second < self.to)
    }

    fn begins_on(&self, day: Weekday) -> bool {
        let index = usize::try_from(day.to_monday_zero_offset()).unwrap_or(usize::MAX);
        self.days.get(index).copied().unwrap_or(false)
    }
}

impl fmt::Display for Times {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("at ")?;
        list(f, &*self.any)
    }
}

impl fmt::Display for Window {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const NAMES: [&str; 7] = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];
        if self.days != [true; 7] {
            let named = NAMES.iter().zip(self.days).filter(|(_, is_one)| *is_one);
            let named: Vec<&str> = named.map(|(name, _)| *name).collect();
            write!(f, "{} ", named.join(" "))?;
        }
        let clock = |seconds: u32| format!("{:02}:{:02}", seconds / 3600, seconds % 3600 / 60);
        write!(f, "{}-{}", clock(self.from), clock(self.to.min(DAY)))?;
        write!(f, " {}", self.zone.iana_name().unwrap_or("UTC"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn window(days: &[usize], from: (u32, u32), to: (u32, u32), zone: &str) -> Times {
        let mut on = [days.is_empty(); 7];
        for day in days {
            on[*day] = true;
        }
        Times {
            any: Box::new([Window {
                days: on,
                from: from.0 * 3600 + from.1 * 60,
                to: to.0 * 3600 + to.1 * 60,
                zone: TimeZone::get(zone).unwrap(),
            }]),
        }
    }

    fn is_open(times: &Times, at: &str) -> bool {
        let at: Timestamp = at.parse().unwrap();
        times
            .check(UnixTime::from_millis(at.as_millisecond().try_into().unwrap()))
            .is_ok()
    }

    // S65
    #[test]
    fn a_window_opens_and_closes_by_the_local_clock_of_summer_and_winter() {
        let office = window(&[0, 1, 2, 3, 4], (8, 0), (18, 0), "Europe/Berlin");
        for (at, expected) in [
            // Monday in winter: UTC+1
            ("2026-01-05T06:59:59.999Z", false),
            ("2026-01-05T07:00:00Z", true),
            ("2026-01-05T16:59:59.999Z", true),
            ("2026-01-05T17:00:00Z", false),
            // Monday in summer: UTC+2
            ("2026-07-06T05:59:59Z", false),
            ("2026-07-06T06:00:00Z", true),
            ("2026-07-06T15:59:59Z", true),
            ("2026-07-06T16:00:00Z", false),
            // Saturday, and Sunday in UTC that is Monday in Berlin
            ("2026-01-10T10:00:00Z", false),
            ("2026-01-04T23:30:00Z", false),
        ] {
            assert_eq!(is_open(&office, at), expected, "{at}");
        }
    }

    // S65
    #[test]
    fn a_window_over_midnight_belongs_to_the_day_on_which_it_begins() {
        // Friday 22:00 to Saturday 06:00
        let night = window(&[4], (22, 0), (6, 0), "America/New_York");
        for (at, expected) in [
            ("2026-01-10T02:59:59Z", false), // Friday 21:59:59
            ("2026-01-10T03:00:00Z", true),  // Friday 22:00
            ("2026-01-10T10:59:59Z", true),  // Saturday 05:59:59
            ("2026-01-10T11:00:00Z", false), // Saturday 06:00
            ("2026-01-09T06:00:00Z", false), // Friday 01:00: that of Thursday is not asked for
            ("2026-01-11T03:00:00Z", false), // Saturday 22:00
        ] {
            assert_eq!(is_open(&night, at), expected, "{at}");
        }
        let midnight = window(&[6], (12, 0), (24, 0), "UTC");
        assert!(is_open(&midnight, "2026-01-11T23:59:59.999Z"));
        assert!(!is_open(&midnight, "2026-01-12T00:00:00Z"));
    }

    // S65
    #[test]
    fn an_hour_that_is_left_out_is_in_no_window() {
        // 29 March 2026 in Berlin: 02:00 is 03:00
        let left_out = window(&[], (2, 0), (3, 0), "Europe/Berlin");
        assert!(!is_open(&left_out, "2026-03-29T00:59:59Z")); // 01:59:59
        assert!(!is_open(&left_out, "2026-03-29T01:00:00Z")); // 03:00:00
        assert!(is_open(&left_out, "2026-03-28T01:30:00Z")); // the day before
        // one that ends in it is over when the clock has passed its end, one that begins in it is open then
        let before = window(&[], (1, 0), (2, 30), "Europe/Berlin");
        assert!(is_open(&before, "2026-03-29T00:59:59Z") && !is_open(&before, "2026-03-29T01:00:00Z"));
        let behind = window(&[], (2, 30), (4, 0), "Europe/Berlin");
        assert!(!is_open(&behind, "2026-03-29T00:59:59Z") && is_open(&behind, "2026-03-29T01:00:00Z"));
    }

    // S65
    #[test]
    fn an_hour_that_comes_twice_is_in_its_window_twice() {
        // 25 October 2026 in Berlin: 03:00 is 02:00
        let twice = window(&[6], (2, 15), (2, 45), "Europe/Berlin");
        for (at, expected) in [
            ("2026-10-25T00:14:59Z", false), // 02:14:59, the first time
            ("2026-10-25T00:15:00Z", true),
            ("2026-10-25T00:45:00Z", false),
            ("2026-10-25T01:14:59Z", false), // 02:14:59, the second time
            ("2026-10-25T01:15:00Z", true),
            ("2026-10-25T01:45:00Z", false),
        ] {
            assert_eq!(is_open(&twice, at), expected, "{at}");
        }
        // and a window over both of them lasts an hour longer
        let long = window(&[6], (1, 0), (4, 0), "Europe/Berlin");
        assert!(is_open(&long, "2026-10-24T23:00:00Z") && is_open(&long, "2026-10-25T02:59:59Z"));
        assert!(!is_open(&long, "2026-10-24T22:59:59Z") && !is_open(&long, "2026-10-25T03:00:00Z"));
    }

    // zones that skip a day, have half hours, or change by half an hour
    #[test]
    fn odd_zones_have_their_own_clocks() {
        let kolkata = window(&[0], (9, 0), (10, 0), "Asia/Kolkata");
        assert!(is_open(&kolkata, "2026-01-05T03:30:00Z") && !is_open(&kolkata, "2026-01-05T04:30:00Z"));
        // Samoa had no Friday, 30 December 2011
        let friday = window(&[4], (0, 0), (24, 0), "Pacific/Apia");
        let saturday = window(&[5], (0, 0), (24, 0), "Pacific/Apia");
        assert!(!is_open(&friday, "2011-12-30T10:00:00Z") && is_open(&saturday, "2011-12-30T10:00:00Z"));
        assert!(!is_open(&friday, "2011-12-30T09:59:59Z") && !is_open(&saturday, "2011-12-30T09:59:59Z"));
    }

    #[test]
    fn a_time_beyond_the_calendar_is_in_no_window() {
        let always = window(&[], (0, 0), (24, 0), "UTC");
        assert!(always.check(UnixTime::from_millis(u64::MAX)).is_err());
        assert!(always.check(UnixTime::EPOCH).is_ok());
    }
}
