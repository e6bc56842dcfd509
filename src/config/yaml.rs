//! YAML text as the library hands it over: values with their places, bounded in nesting, size and repetition.
//!
//! Scalars are typed by YAML 1.2's core schema (<https://yaml.org/spec/1.2.2/#103-core-schema>) and stricter where
//! its spellings surprise: `0755` and `1_000` stay text.

use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_saphyr::options::{DuplicateKeyPolicy, MergeKeyPolicy, NonFiniteFloatPolicy};
use serde_saphyr::{Error, Location, Options, Spanned};

use super::excerpt::Mark;

/// The largest text read, in bytes.
const MAX_BYTES: usize = 16 * 1024 * 1024;
/// Levels of lists and maps.
const MAX_DEPTH: usize = 32;
/// The YAML library recurses, and unoptimised it takes some 50 KiB of stack for each level: too much for a thread whose
/// stack is 2 MiB, and no business of the caller's. In bytes; only what is used is ever touched.
const STACK: usize = 16 * 1024 * 1024;
/// Values in a file, those repeated by aliases included.
const MAX_NODES: usize = 1_000_000;
/// Parser events that aliases may repeat in total.
const MAX_REPEATED: usize = 100_000;

/// Why there is no tree at all.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Unreadable {
    pub mark: Mark,
    pub message: String,
}

impl Unreadable {
    pub fn at_top(message: &str) -> Self {
        Self {
            mark: Mark::TOP,
            message: message.to_owned(),
        }
    }
}

/// Reads one YAML document.
///
/// The YAML library runs on a stack of its own. A panic in it, however unlikely, refuses the file and nothing else.
pub(super) fn read(text: &str) -> Result<Spanned<Raw>, Unreadable> {
    if text.len() > MAX_BYTES {
        return Err(Unreadable::at_top("the file is larger than 16 MiB"));
    }
    let read = || {
        serde_saphyr::from_str_with_options(text, options()).map_err(|error| Unreadable {
            mark: error.location().map_or(Mark::TOP, mark_of),
            message: explain(&error),
        })
    };
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new()
            .name("read-yaml".to_owned())
            .stack_size(STACK);
        let thread = thread.spawn_scoped(scope, read).map_err(|error| {
            Unreadable::at_top(&format!("cannot start a thread to read the file: {error}"))
        })?;
        thread
            .join()
            .unwrap_or_else(|_| Err(Unreadable::at_top("the YAML library failed on this file")))
    })
}

/// A value as the parser hands it over.
pub(super) enum Raw {
    Null,
    Bool(bool),
    Int(i128),
    Float(f64),
    Text(String),
    List(Vec<Spanned<Raw>>),
    Map(Vec<(Spanned<String>, Spanned<Raw>)>),
}

impl<'de> Deserialize<'de> for Raw {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(RawVisitor)
    }
}

struct RawVisitor;

impl<'de> Visitor<'de> for RawVisitor {
    type Value = Raw;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a YAML value")
    }

    fn visit_unit<E>(self) -> Result<Raw, E> {
        Ok(Raw::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Raw, E> {
        Ok(Raw::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Raw, E> {
        Ok(Raw::Int(value.into()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Raw, E> {
        Ok(Raw::Int(value.into()))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Raw, E> {
        Ok(Raw::Float(value))
    }

    fn visit_str<E>(self, value: &str) -> Result<Raw, E> {
        Ok(Raw::Text(value.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<Raw, A::Error> {
        let mut elements = Vec::new();
        while let Some(element) = access.next_element()? {
            elements.push(element);
        }
        Ok(Raw::List(elements))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Raw, A::Error> {
        let mut entries = Vec::new();
        while let Some(entry) = access.next_entry()? {
            entries.push(entry);
        }
        Ok(Raw::Map(entries))
    }
}

fn options() -> Options {
    serde_saphyr::options! {
        with_snippet: false,
        duplicate_keys: DuplicateKeyPolicy::PassThrough,
        merge_keys: MergeKeyPolicy::AsOrdinary,
        strict_booleans: true,
        leading_zero_numbers_as_strings: true,
        underscored_numbers_as_strings: true,
        reject_unsupported_tags: true,
        non_finite_float_policy: NonFiniteFloatPolicy::PassThrough,
        alias_limits: serde_saphyr::alias_limits! { max_total_replayed_events: MAX_REPEATED },
        budget: serde_saphyr::budget! {
            max_depth: MAX_DEPTH,
            flow_nesting_limit: MAX_DEPTH,
            max_nodes: MAX_NODES,
            max_events: 3 * MAX_NODES,
        },
    }
}

pub(super) fn mark_of(location: Location) -> Mark {
    let narrow = |wide: u64| u32::try_from(wide).unwrap_or(u32::MAX);
    let bytes = || {
        let start = usize::try_from(location.span().byte_offset()?).ok()?;
        Some(start..start.checked_add(usize::try_from(location.span().byte_len()?).ok()?)?)
    };
    Mark {
        line: narrow(location.line()).max(1),
        column: narrow(location.column()).max(1),
        bytes: bytes().unwrap_or_default(),
    }
}

/// The parser's complaint in our words where its own speak of Rust or could repeat a value.
fn explain(error: &Error) -> String {
    match error.without_snippet() {
        Error::MultipleDocuments { .. } => {
            "the file holds several YAML documents (`---`); one is allowed".to_owned()
        }
        Error::UnsupportedTag { .. } => "this YAML tag (`!…`) is not supported".to_owned(),
        Error::NullIntoString { .. } => "a key may not be empty or null".to_owned(),
        Error::RecursiveReferencesRequireWeakTypes { .. } => {
            "this alias repeats the value that it stands in".to_owned()
        }
        Error::AliasError { .. } | Error::AliasReplayLimitExceeded { .. } => {
            "aliases (`*name`) repeat more than a configuration may hold".to_owned()
        }
        Error::Budget { .. } => {
            "the file is nested too deeply, or holds or repeats too many values".to_owned()
        }
        Error::InvalidScalar { .. } => "this value does not fit its YAML tag".to_owned(),
        Error::Unexpected { .. } => "a key must be a plain word".to_owned(),
        other => {
            let text = other.to_string();
            // The place is told separately.
            let text = text
                .split_once(" at line ")
                .map_or(text.as_str(), |(before, _)| before);
            format!("not valid YAML: {text}")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(text: &str) -> (u32, u32, String) {
        let Unreadable { mark, message } = read(text).err().expect("refused");
        (mark.line, mark.column, message)
    }

    #[test]
    fn text_that_is_not_yaml_is_refused_at_its_place() {
        assert_eq!(
            refused("a: 1\n b: 2\n"),
            (
                2,
                3,
                "not valid YAML: mapping values are not allowed in this context".to_owned()
            )
        );
        assert_eq!(refused("? [1]\n: x\n").0, 1);
        assert_eq!(
            refused("a: !hunter2 x\n").2,
            "this YAML tag (`!…`) is not supported"
        );
    }

    #[test]
    fn deep_nesting_is_refused_without_using_up_the_stack() {
        for text in [
            "[".repeat(100_000),
            "a: ".to_owned() + &"{a: ".repeat(50_000),
            "- ".repeat(50_000),
            (0..2000).map(|indent| " ".repeat(indent) + "a:\n").collect(),
        ] {
            refused(&text);
        }
    }

    #[test]
    fn the_deepest_allowed_nesting_fits_into_the_stack_of_any_thread() {
        let flow = "a: ".to_owned() + &"[".repeat(MAX_DEPTH - 1) + &"]".repeat(MAX_DEPTH - 1);
        let block: String = (0..MAX_DEPTH).map(|indent| " ".repeat(indent) + "a:\n").collect();
        for text in [flow, block] {
            let read = move || super::read(&text).map(|_| ());
            let thread = std::thread::Builder::new()
                .stack_size(1024 * 1024)
                .spawn(read)
                .unwrap();
            assert_eq!(thread.join().unwrap(), Ok(()));
        }
    }

    #[test]
    fn an_alias_bomb_is_refused() {
        let mut text = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
        for level in 1..10 {
            let below = vec![format!("*a{}", level - 1); 10].join(", ");
            text += &format!("a{level}: &a{level} [{below}]\n");
        }
        assert!(refused(&text).2.starts_with("aliases"), "{:?}", refused(&text));
        assert!(refused("a: &a [*a]\n").2.starts_with("this alias"));
    }
}
