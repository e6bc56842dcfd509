//! Rates: `20/s`, `100/m`, `1000/10s`.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{self, Deserialize, Deserializer, Visitor};

use super::Span;

const EXPECTED: &str = "a rate such as `20/s`, `100/m` or `1000/10s`";

/// So many requests in a window.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    /// Requests, at least 1.
    pub requests: u32,
    /// Length of the window.
    pub per: Span,
}

impl FromStr for Rate {
    type Err = &'static str;

    /// Fails with what is wrong; never repeats the text.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (requests, per) = text
            .split_once('/')
            .ok_or("write a rate such as `20/s`, `100/m` or `1000/10s`")?;
        let requests: u32 = requests
            .parse()
            .map_err(|_| "a rate starts with a whole number of requests")?;
        if requests == 0 {
            return Err("a rate of nothing refuses everything: leave the route out instead");
        }
        // `/s` is `/1s`
        let per = if per.starts_with(|c: char| c.is_ascii_digit()) {
            per.parse()
        } else {
            format!("1{per}").parse()
        };
        let per: Span = per.map_err(|_| "a rate ends with a span of time: `s`, `m`, `10s`")?;
        if per.is_zero() {
            return Err("the window of a rate cannot be empty");
        }
        Ok(Rate { requests, per })
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.requests, self.per)
    }
}

impl<'de> Deserialize<'de> for Rate {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(RateVisitor)
    }
}

struct RateVisitor;

impl Visitor<'_> for RateVisitor {
    type Value = Rate;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(EXPECTED)
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Rate, E> {
        text.parse().map_err(E::custom)
    }
}

impl JsonSchema for Rate {
    fn schema_name() -> Cow<'static, str> {
        "Rate".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "A rate: requests and the window that they are counted in, `20/s`, `100/m`, `1000/10s`.",
            "type": "string",
            "pattern": "^[0-9]+/([0-9]+)?(ms|s|m|h|d)$"
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_name_requests_and_a_window() {
        for (text, requests, seconds) in [("20/s", 20, 1), ("100/m", 100, 60), ("1000/10s", 1000, 10)] {
            let rate: Rate = text.parse().unwrap();
            assert_eq!(
                (rate.requests, rate.per.duration().as_secs()),
                (requests, seconds),
                "{text}"
            );
        }
        for bad in [
            "", "20", "/s", "0/s", "20/", "20/0s", "-1/s", "20/x", "20/s/s", "1.5/s",
        ] {
            assert!(bad.parse::<Rate>().is_err(), "{bad}");
        }
    }
}
