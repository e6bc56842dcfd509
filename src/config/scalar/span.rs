//! Spans of time: `250ms`, `30s`, `5m`, `1h`, `7d`.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{self, Deserialize, Deserializer, Visitor};
use serde::{Serialize, Serializer};

const EXPECTED: &str = "a duration with its unit such as `250ms`, `30s`, `5m`, `1h` or `7d`";
/// Units in milliseconds, largest first.
const UNITS: [(&str, u64); 5] = [
    ("d", 86_400_000),
    ("h", 3_600_000),
    ("m", 60_000),
    ("s", 1_000),
    ("ms", 1),
];
/// Ten years: more is a mistake, and could overflow when it is added to a point in time.
const LONGEST: u64 = 3_650 * 86_400_000;

/// A span of time in whole milliseconds, zero to ten years (3650 days).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Span(u64);

impl Span {
    /// A span of so many milliseconds; what exceeds ten years is cut.
    pub const fn from_millis(millis: u64) -> Self {
        Self(if millis < LONGEST { millis } else { LONGEST })
    }

    /// A span of so many seconds; what exceeds ten years is cut.
    pub const fn from_secs(seconds: u64) -> Self {
        Self::from_millis(seconds.saturating_mul(1_000))
    }

    /// The span as the standard library has it.
    pub const fn duration(self) -> Duration {
        Duration::from_millis(self.0)
    }

    /// Whether nothing is left of it.
    pub const fn is_zero(self) -> bool {
        self.0 == 0
    }
}

impl From<Span> for Duration {
    fn from(span: Span) -> Self {
        span.duration()
    }
}

impl FromStr for Span {
    type Err = &'static str;

    /// Fails with what is wrong; never repeats the text.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let split = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
        let (digits, unit) = text.split_at_checked(split).ok_or(EXPECTED)?;
        if digits.is_empty() {
            return Err("a duration starts with a whole number: write a duration such as `30s` or `5m`");
        }
        if unit.is_empty() {
            return Err("a duration needs its unit: `ms`, `s`, `m`, `h` or `d`");
        }
        let (_, factor) = UNITS
            .iter()
            .find(|(name, _)| *name == unit)
            .ok_or("unknown unit of time: use one of `ms`, `s`, `m`, `h`, `d`, after a whole number")?;
        let millis = digits
            .parse::<u64>()
            .ok()
            .and_then(|number| number.checked_mul(*factor));
        millis
            .filter(|millis| *millis <= LONGEST)
            .map(Self)
            .ok_or("this duration is longer than ten years")
    }
}

impl fmt::Display for Span {
    /// In the largest unit that needs no fraction.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match UNITS
            .iter()
            .find(|(_, factor)| self.0 != 0 && self.0.is_multiple_of(*factor))
        {
            Some((unit, factor)) => write!(f, "{}{unit}", self.0 / factor),
            None => f.write_str("0s"),
        }
    }
}

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        // Not `deserialize_str`: a bare `30` lacks a unit, and quotes would not help.
        deserializer.deserialize_any(SpanVisitor)
    }
}

struct SpanVisitor;

impl Visitor<'_> for SpanVisitor {
    type Value = Span;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(EXPECTED)
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Span, E> {
        text.parse().map_err(E::custom)
    }
}

impl Serialize for Span {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl JsonSchema for Span {
    fn schema_name() -> Cow<'static, str> {
        "Span".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "A duration: a whole number and its unit, `250ms`, `30s`, `5m`, `1h`, `7d`. At most ten years.",
            "type": "string",
            "pattern": "^[0-9]+(ms|s|m|h|d)$"
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn every_unit_is_read() {
        for (text, millis) in [
            ("250ms", 250),
            ("30s", 30_000),
            ("5m", 300_000),
            ("1h", 3_600_000),
            ("7d", 604_800_000),
            ("0s", 0),
        ] {
            assert_eq!(text.parse(), Ok(Span(millis)), "{text}");
        }
        assert_eq!(Span::from_secs(2).duration(), Duration::from_secs(2));
    }

    #[test]
    fn what_is_not_a_duration_is_refused() {
        for text in ["", "s", "30", "1.5s", "-1s", "1w", "1 s", "1h30m", "1S", "é"] {
            text.parse::<Span>().expect_err(text);
        }
        for text in ["3651d", "99999999999999999999d", "18446744073709551615d"] {
            assert_eq!(
                text.parse::<Span>(),
                Err("this duration is longer than ten years")
            );
        }
        serde_json::from_str::<Span>("30").unwrap_err();
    }

    proptest! {
        #[test]
        fn printing_and_reading_agree(millis in 0..=LONGEST) {
            prop_assert_eq!(Span(millis).to_string().parse(), Ok(Span(millis)));
        }
    }
}
