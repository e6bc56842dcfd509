//! Sizes in bytes: `512`, `256k`, `1mb`, `1 MiB`.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{self, Deserialize, Deserializer, Unexpected, Visitor};
use serde::{Serialize, Serializer};

const EXPECTED: &str = "a size in bytes such as `512`, `256k` or `1mb`";
const UNITS: [(&str, u64); 3] = [("g", 1 << 30), ("m", 1 << 20), ("k", 1 << 10)];

/// A number of bytes, 0 to 2⁶⁴-1. All units are powers of 1024: `1mb` is 1 048 576 bytes, as in nginx.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Size(u64);

impl Size {
    /// A size of so many bytes.
    pub const fn new(bytes: u64) -> Self {
        Self(bytes)
    }

    /// The number of bytes.
    pub const fn bytes(self) -> u64 {
        self.0
    }
}

impl FromStr for Size {
    type Err = &'static str;

    /// Fails with what is wrong; never repeats the text.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let split = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
        let (digits, unit) = text.split_at_checked(split).ok_or(EXPECTED)?;
        if digits.is_empty() {
            return Err("a size starts with a whole number: write a size such as `512`, `256k` or `1mb`");
        }
        let unit = unit.strip_prefix(' ').unwrap_or(unit).to_ascii_lowercase();
        let factor = match unit.as_str() {
            "" | "b" => 1,
            "k" | "kb" | "kib" => 1 << 10,
            "m" | "mb" | "mib" => 1 << 20,
            "g" | "gb" | "gib" => 1 << 30,
            _ => return Err("unknown unit of size: use `k`, `m` or `g`, or none for bytes"),
        };
        let number: u64 = digits.parse().map_err(|_| "this size is too large")?;
        number
            .checked_mul(factor)
            .map(Self)
            .ok_or("this size is too large")
    }
}

impl fmt::Display for Size {
    /// In the largest unit that needs no fraction.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match UNITS
            .iter()
            .find(|(_, factor)| self.0 != 0 && self.0.is_multiple_of(*factor))
        {
            Some((unit, factor)) => write!(f, "{}{unit}b", self.0 / factor),
            None => write!(f, "{}", self.0),
        }
    }
}

impl<'de> Deserialize<'de> for Size {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(SizeVisitor)
    }
}

/// Takes a bare number too: `max_body: 512` needs no quotes.
struct SizeVisitor;

impl Visitor<'_> for SizeVisitor {
    type Value = Size;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(EXPECTED)
    }

    fn visit_u64<E: de::Error>(self, bytes: u64) -> Result<Size, E> {
        Ok(Size(bytes))
    }

    fn visit_i64<E: de::Error>(self, bytes: i64) -> Result<Size, E> {
        u64::try_from(bytes)
            .map(Size)
            .map_err(|_| E::invalid_value(Unexpected::Signed(bytes), &self))
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Size, E> {
        text.parse().map_err(E::custom)
    }
}

impl Serialize for Size {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl JsonSchema for Size {
    fn schema_name() -> Cow<'static, str> {
        "Size".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "A size in bytes: `512`, `256k`, `1mb`, `2 GiB`. All units are powers of 1024.",
            "type": ["string", "integer"],
            "pattern": "^[0-9]+ ?([kKmMgG]([iI]?[bB])?|[bB])?$",
            "minimum": 0
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn one_mb_is_1_048_576_bytes() {
        for text in [
            "1mb", "1m", "1M", "1MB", "1MiB", "1 MiB", "1024k", "1024 KB", "1048576", "1048576b",
        ] {
            assert_eq!(text.parse(), Ok(Size(1_048_576)), "{text}");
        }
        assert_eq!("2g".parse(), Ok(Size(2 << 30)));
        assert_eq!("0".parse(), Ok(Size(0)));
    }

    #[test]
    fn what_is_not_a_size_is_refused() {
        for text in [
            "", "k", "1.5m", "-1", "1t", "1  m", "1mb ", " 1", "1_000", "é", "1é",
        ] {
            text.parse::<Size>().expect_err(text);
        }
        for text in ["17179869184g", "18446744073709551616", "99999999999999999999999k"] {
            assert_eq!(text.parse::<Size>(), Err("this size is too large"));
        }
    }

    #[test]
    fn a_bare_number_is_bytes_and_a_negative_one_is_refused() {
        assert_eq!(serde_json::from_str::<Size>("512").unwrap(), Size(512));
        serde_json::from_str::<Size>("-1").unwrap_err();
        serde_json::from_str::<Size>("1.5").unwrap_err();
    }

    proptest! {
        #[test]
        fn printing_and_reading_agree(bytes: u64) {
            prop_assert_eq!(Size(bytes).to_string().parse(), Ok(Size(bytes)));
        }
    }
}
