//! JSON read strictly: no member twice at any depth, no deeper than the caller allows.
//!
//! RFC 8259 section 4 leaves open what a repeated name means, so two readers of one document can
//! see two documents; RFC 7515 section 4 and RFC 7519 section 4 let us refuse instead, and we do.

use std::cell::Cell;
use std::fmt;

use serde::de::{self, DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

/// What is wrong with a document.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// Not JSON (RFC 8259), or a number outside of what an `f64` holds.
    Syntax,
    /// A member name occurs twice in one object.
    Duplicate,
    /// Nested deeper than allowed.
    Depth,
}

/// Reads one whole document. An array or object counts one level; a scalar none.
pub(crate) fn parse(text: &[u8], max_depth: usize) -> Result<Value, Fault> {
    let mut deserializer = serde_json::Deserializer::from_slice(text);
    let value = read(&mut deserializer, max_depth)?;
    deserializer.end().map_err(|_| Fault::Syntax)?;
    Ok(value)
}

/// Reads one value from a deserializer that something else has opened.
pub(super) fn read<'de, D: Deserializer<'de>>(deserializer: D, max_depth: usize) -> Result<Value, Fault> {
    // A deserializer's own error is text; the cell carries which of our rules was broken.
    let fault = Cell::new(None);
    let strict = Strict {
        levels_left: max_depth,
        fault: &fault,
    };
    strict
        .deserialize(deserializer)
        .map_err(|_| fault.get().unwrap_or(Fault::Syntax))
}

#[derive(Clone, Copy)]
struct Strict<'f> {
    levels_left: usize,
    fault: &'f Cell<Option<Fault>>,
}

impl Strict<'_> {
    fn refuse<E: de::Error>(&self, fault: Fault) -> E {
        self.fault.set(Some(fault));
        E::custom("refused")
    }

    fn inside<E: de::Error>(&self) -> Result<Self, E> {
        match self.levels_left.checked_sub(1) {
            Some(levels_left) => Ok(Self {
                levels_left,
                fault: self.fault,
            }),
            None => Err(self.refuse(Fault::Depth)),
        }
    }
}

impl<'de> DeserializeSeed<'de> for Strict<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Strict<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(Value::Number(value.into()))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(Value::Number(value.into()))
    }

    fn visit_f64<E: de::Error>(self, value: f64) -> Result<Value, E> {
        Number::from_f64(value)
            .map(Value::Number)
            .ok_or_else(|| self.refuse(Fault::Syntax))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(Value::String(value.to_owned()))
    }

    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(Value::String(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let inside = self.inside()?;
        let mut array = Vec::new();
        while let Some(item) = items.next_element_seed(inside)? {
            array.push(item);
        }
        Ok(Value::Array(array))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Value, A::Error> {
        let inside = self.inside()?;
        let mut object = Map::new();
        while let Some(name) = members.next_key::<String>()? {
            if object.contains_key(&name) {
                return Err(self.refuse(Fault::Duplicate));
            }
            let value = members.next_value_seed(inside)?;
            object.insert(name, value);
        }
        Ok(Value::Object(object))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn well_formed_documents_read_as_serde_json_reads_them() {
        let text = br#" {"a":[1,-2,2.5,true,null,"\u00e9"],"b":{"a":1}} "#;
        assert_eq!(parse(text, 2), Ok(serde_json::from_slice(text).unwrap()));
    }

    #[test]
    fn repeated_names_are_refused_at_any_depth_and_however_written() {
        for text in [
            r#"{"a":1,"a":1}"#,
            r#"{"x":[{"a":1,"b":2,"a":3}]}"#,
            r#"{"a":1,"\u0061":1}"#,
        ] {
            assert_eq!(parse(text.as_bytes(), 8), Err(Fault::Duplicate), "{text}");
        }
        assert!(parse(br#"[{"a":1},{"a":1}]"#, 8).is_ok());
    }

    #[test]
    fn depth_is_counted_in_arrays_and_objects() {
        assert!(parse(b"1", 0).is_ok());
        assert!(parse(b"[[1]]", 2).is_ok());
        assert_eq!(parse(b"[[1]]", 1), Err(Fault::Depth));
        assert_eq!(parse("[".repeat(100_000).as_bytes(), 32), Err(Fault::Depth));
    }

    #[test]
    fn what_is_not_json_is_refused() {
        for text in [
            "",
            "{",
            "{}x",
            "{} {}",
            "NaN",
            "1e400",
            "{'a':1}",
            r#""\ud800""#,
            "{\"a\":1,}",
            "\u{feff}{}",
        ] {
            assert_eq!(parse(text.as_bytes(), 8), Err(Fault::Syntax), "{text}");
        }
        assert_eq!(parse(b"\"\xff\"", 8), Err(Fault::Syntax));
    }
}
