//! Why a tree does not fit the type that it is decoded into, and how that is said.
//!
//! Written for somebody who knows YAML and not Rust. A value is repeated only where it is a short scalar whose keys
//! do not look like a secret's.

use std::fmt;

use serde::de::{self, Expected, Unexpected};

use super::document::{Document, Kind, NodeId, shorten};
use super::suggest;

/// The longest scalar that a message repeats, in characters.
const SHOWN: usize = 40;

/// What a mismatch is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    /// The value of a node.
    Value(NodeId),
    /// The key of an entry.
    Key(NodeId),
}

impl Place {
    pub fn node(self) -> NodeId {
        match self {
            Self::Value(node) | Self::Key(node) => node,
        }
    }
}

/// The error of the decoder. Serde builds it without a place; the innermost access that sees it adds one.
#[derive(Debug)]
pub(super) struct Mismatch(Box<Parts>);

#[derive(Debug)]
pub(super) struct Parts {
    pub place: Option<Place>,
    pub problem: Problem,
    /// Whether the value at the place is a secret by its type, whatever its key.
    pub secret: bool,
}

/// What is wrong, as told by serde.
#[derive(Debug)]
pub(super) enum Problem {
    UnknownKey {
        key: String,
        accepted: &'static [&'static str],
    },
    UnknownVariant {
        accepted: &'static [&'static str],
    },
    MissingKey(&'static str),
    /// `found` is the kind of value, never the value.
    Unfit {
        expected: String,
        found: &'static str,
        quote: bool,
    },
    /// Anything a type's own reading says, as a sentence.
    Other(String),
}

impl Mismatch {
    /// A scalar stands where text was expected.
    pub fn needs_quotes(expected: &dyn Expected) -> Self {
        Self::new(Problem::Unfit {
            expected: expected.to_string(),
            found: "",
            quote: true,
        })
    }

    pub fn new(problem: Problem) -> Self {
        Self(Box::new(Parts {
            place: None,
            problem,
            secret: false,
        }))
    }

    /// Says where it happened, unless that is known more precisely already.
    pub fn at(mut self, place: Place) -> Self {
        self.0.place.get_or_insert(place);
        self
    }

    /// Says that the value must not be shown.
    pub fn about_secret(mut self) -> Self {
        self.0.secret = true;
        self
    }

    pub fn into_parts(self) -> Parts {
        *self.0
    }
}

impl fmt::Display for Mismatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

impl std::error::Error for Mismatch {}

impl de::Error for Mismatch {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Self::new(Problem::Other(message.to_string()))
    }

    fn invalid_type(found: Unexpected<'_>, expected: &dyn Expected) -> Self {
        Self::new(Problem::Unfit {
            expected: expected.to_string(),
            found: name(found),
            quote: false,
        })
    }

    fn invalid_value(found: Unexpected<'_>, expected: &dyn Expected) -> Self {
        Self::invalid_type(found, expected)
    }

    fn invalid_length(length: usize, expected: &dyn Expected) -> Self {
        let elements = if length == 1 { "element" } else { "elements" };
        Self::custom(format!(
            "expected {}, found {length} {elements}",
            plain(&expected.to_string())
        ))
    }

    fn unknown_variant(_: &str, accepted: &'static [&'static str]) -> Self {
        Self::new(Problem::UnknownVariant { accepted })
    }

    fn unknown_field(key: &str, accepted: &'static [&'static str]) -> Self {
        Self::new(Problem::UnknownKey {
            key: key.to_owned(),
            accepted,
        })
    }

    fn missing_field(key: &'static str) -> Self {
        Self::new(Problem::MissingKey(key))
    }

    fn duplicate_field(key: &'static str) -> Self {
        // A field's alias next to the field: the same key twice never gets here.
        Self::custom(format!("key `{key}` is set twice, by two of its names"))
    }
}

impl Problem {
    /// Message and help for this problem at a place.
    pub fn say(&self, document: &Document, place: Place) -> (String, Option<String>) {
        let node = document.node(place.node());
        match self {
            Self::UnknownKey { key, accepted } => {
                let noun = "allowed keys";
                let near = self.meant(document, place);
                (
                    format!("unknown key {}", shorten(key)),
                    suggest::help(noun, near, accepted),
                )
            }
            Self::UnknownVariant { accepted } => {
                let near = self.meant(document, place);
                let (noun, written) = match (place, &node.kind) {
                    (Place::Key(_), _) => ("key", document.key(place.node())),
                    (Place::Value(_), Kind::Text(text)) if !node.secret => ("value", text.as_str()),
                    (Place::Value(_), _) => ("value", ""),
                };
                let shown = if written.is_empty() {
                    String::new()
                } else {
                    format!(" {}", shorten(written))
                };
                (
                    format!("unknown {noun}{shown}"),
                    suggest::help(&format!("allowed {noun}s"), near, accepted),
                )
            }
            Self::MissingKey(key) => (format!("missing key `{key}`"), None),
            Self::Unfit {
                expected,
                found,
                quote,
            } => {
                let found = match &node.kind {
                    _ if matches!(place, Place::Key(_)) => {
                        format!("the key {}", shorten(document.key(place.node())))
                    }
                    Kind::List(_) | Kind::Map(_) if !found.is_empty() => (*found).to_owned(),
                    kind => describe(kind, node.secret),
                };
                let help = quote.then(|| "put it in quotes to make it text".to_owned());
                (format!("expected {}, found {found}", plain(expected)), help)
            }
            Self::Other(message) => (discreet(message, &node.kind, node.secret), None),
        }
    }

    /// The name that an unknown one was probably meant to be; keys that are set already are out of the question.
    pub fn meant(&self, document: &Document, place: Place) -> Option<&'static str> {
        let node = place.node();
        match self {
            Self::UnknownKey { key, accepted } => {
                let around = document.node(node).parent.as_ref().map(|(parent, _)| *parent)?;
                let set = |name: &str| {
                    document
                        .children(around)
                        .iter()
                        .any(|sibling| document.key(*sibling) == name)
                };
                suggest::nearest(key, accepted.iter().copied().filter(|name| !set(name)))
            }
            Self::UnknownVariant { accepted } => {
                let written = match (place, &document.node(node).kind) {
                    (Place::Key(_), _) => document.key(node),
                    (Place::Value(_), Kind::Text(text)) => text,
                    (Place::Value(_), _) => return None,
                };
                suggest::nearest(written, accepted.iter().copied())
            }
            _ => None,
        }
    }
}

/// What was expected, in the words of YAML instead of Rust's.
fn plain(expected: &str) -> String {
    let integer = |bits: u32, signed: bool| match (bits, signed) {
        (64, false) => "an integer from 0".to_owned(),
        (64, true) => "an integer".to_owned(),
        (_, false) => format!("an integer from 0 to {}", (1u64 << bits) - 1),
        (_, true) => format!(
            "an integer from -{0} to {1}",
            1u64 << (bits - 1),
            (1u64 << (bits - 1)) - 1
        ),
    };
    match expected {
        "u8" => integer(8, false),
        "u16" => integer(16, false),
        "u32" => integer(32, false),
        "u64" | "usize" => integer(64, false),
        "i8" => integer(8, true),
        "i16" => integer(16, true),
        "i32" => integer(32, true),
        "i64" | "isize" => integer(64, true),
        "f32" | "f64" => "a number".to_owned(),
        "a boolean" => "true or false".to_owned(),
        "a string" | "a borrowed string" | "a character" => "text".to_owned(),
        "a sequence" => "a list".to_owned(),
        "unit" => "nothing".to_owned(),
        _ if expected.starts_with("a nonzero ") => "an integer other than 0".to_owned(),
        _ if expected.starts_with("a tuple") => "a list".to_owned() + expected.trim_start_matches("a tuple"),
        _ if expected.starts_with("struct ") || expected.starts_with("internally tagged enum ") => {
            "a map of keys".to_owned()
        }
        _ if expected.starts_with("tuple struct ") => "a value".to_owned(),
        _ if expected.starts_with("enum ") => "one of a set of values".to_owned(),
        _ => expected.to_owned(),
    }
}

/// What stands there, with its value where that may be shown.
fn describe(kind: &Kind, secret: bool) -> String {
    let shown = |noun: &str, value: String| {
        if secret || value.is_empty() || value.chars().count() > SHOWN {
            noun.to_owned()
        } else {
            format!("{noun} {}", shorten(&value))
        }
    };
    match kind {
        Kind::Null => "nothing".to_owned(),
        Kind::Bool(value) => shown("the boolean", value.to_string()),
        Kind::Int(value) => shown("the integer", value.to_string()),
        Kind::Float(value) => shown("the number", value.to_string()),
        Kind::Text(text) => shown("the text", text.clone()),
        Kind::List(_) => "a list".to_owned(),
        Kind::Map(_) => "a map of keys".to_owned(),
    }
}

fn name(found: Unexpected<'_>) -> &'static str {
    match found {
        Unexpected::Bool(_) => "a boolean",
        Unexpected::Unsigned(_) | Unexpected::Signed(_) => "an integer",
        Unexpected::Float(_) => "a number",
        Unexpected::Char(_) | Unexpected::Str(_) | Unexpected::Bytes(_) => "text",
        Unexpected::Unit | Unexpected::Option => "nothing",
        Unexpected::Seq => "a list",
        Unexpected::Map => "a map of keys",
        _ => "something else",
    }
}

/// A type's own message, without the value where that may not be shown: types do not know where they stand.
fn discreet(message: &str, kind: &Kind, secret: bool) -> String {
    let message = message.replace(|c: char| c.is_control(), " ");
    let value = match kind {
        Kind::Text(text) => text.clone(),
        Kind::Int(value) => value.to_string(),
        Kind::Float(value) => value.to_string(),
        Kind::Null | Kind::Bool(_) | Kind::List(_) | Kind::Map(_) => return message,
    };
    if value.is_empty() || !(secret || value.chars().count() > SHOWN) {
        return message;
    }
    let message = message.replace(&value, "…");
    if !secret {
        return message;
    }
    // Parsers like to quote the part they stumbled over.
    let parts = message.split('`').enumerate();
    let hide = |(at, part)| {
        if at % 2 == 1 && value.contains(part) {
            "…"
        } else {
            part
        }
    };
    parts.map(hide).collect::<Vec<_>>().join("`")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rust_types_are_said_in_plain_words() {
        assert_eq!(plain("u16"), "an integer from 0 to 65535");
        assert_eq!(plain("i8"), "an integer from -128 to 127");
        assert_eq!(plain("struct Listener"), "a map of keys");
        assert_eq!(plain("a tuple of size 2"), "a list of size 2");
        assert_eq!(plain("a size such as `1mb`"), "a size such as `1mb`");
    }

    #[test]
    fn a_long_or_secret_value_is_not_repeated() {
        assert_eq!(describe(&Kind::Text("abc".to_owned()), false), "the text `abc`");
        assert_eq!(describe(&Kind::Text("abc".to_owned()), true), "the text");
        assert_eq!(describe(&Kind::Text("x".repeat(41)), false), "the text");
        assert_eq!(describe(&Kind::Int(1234), true), "the integer");
    }

    #[test]
    fn a_types_own_message_does_not_give_a_secret_away() {
        let value = Kind::Text("hunter2 x".to_owned());
        assert_eq!(
            discreet("bad word `hunter2`, write `b`", &value, true),
            "bad word `…`, write `b`"
        );
        assert_eq!(discreet("`hunter2 x` is bad", &value, true), "`…` is bad");
        assert_eq!(
            discreet("`hunter2 x` is bad", &value, false),
            "`hunter2 x` is bad"
        );
        let long = Kind::Text("y".repeat(50));
        assert_eq!(
            discreet(&format!("{} is bad", "y".repeat(50)), &long, false),
            "… is bad"
        );
    }
}
