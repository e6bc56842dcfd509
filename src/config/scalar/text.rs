//! Text that may take parts of itself from the environment or from files: `https://${env:HOST}/`.
//!
//! References are found when the text is decoded and looked up later, in the typed value. What a variable holds can
//! therefore never be read as YAML, nor hold a reference itself.
//!
//! `${env:NAME}` and `${env:NAME:-default}` (the default also stands in for an empty variable, as in a shell),
//! `${file:/path}` (without the line ends at its end), `$$` for one dollar sign. Only in a [`Secret`](super::Secret), where it
//! is kept elsewhere: `${sealed:/path}`, `${vault:PATH#FIELD}`, `${aws-sm:NAME}`, `${aws-sm:NAME#FIELD}` and
//! `${pkcs11:object=LABEL}`.

use std::borrow::Cow;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{self, Deserialize, Deserializer, Visitor};
use serde::{Serialize, Serializer};

use super::stored::Stored;

/// The world outside that references point into.
pub trait Lookup {
    /// The value of an environment variable; `None` where it is not set.
    fn env(&self, name: &str) -> Option<String>;
    /// The text of a file.
    fn file(&self, path: &Path) -> io::Result<String>;
    /// What is kept where only secrets are.
    ///
    /// # Errors
    /// [`Unresolved::Stored`], or [`Unresolved::NotAsked`] where stores are not asked.
    fn stored(&self, stored: &Stored) -> Result<String, Unresolved>;
}

/// What is wrong with a reference; never repeats the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Malformed(pub(super) &'static str);

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

impl std::error::Error for Malformed {}

/// Why a reference has no value.
#[derive(Debug)]
pub enum Unresolved {
    /// The variable is not set and the reference names no default.
    Env { name: String },
    /// The file could not be read.
    File { path: PathBuf, error: io::Error },
    /// Where it is kept did not give it.
    Stored {
        /// What was asked for.
        stored: Stored,
        /// Why it was not given; never holds a secret.
        why: String,
    },
    /// Where it is kept is not asked now.
    NotAsked,
    /// A secret came out as nothing.
    Empty,
}

impl fmt::Display for Unresolved {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Env { name } => write!(f, "environment variable `{name}` is not set"),
            Self::File { path, error } => write!(f, "cannot read `{}`: {error}", path.display()),
            Self::Stored { stored, why } => write!(f, "cannot read `{stored}`: {why}"),
            Self::NotAsked => f.write_str("stores are not asked now"),
            Self::Empty => f.write_str("the references give an empty secret"),
        }
    }
}

impl std::error::Error for Unresolved {}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Segment {
    Literal(String),
    Env { name: String, default: Option<String> },
    File(PathBuf),
    Stored(Stored),
}

/// Text with references in it, not looked up yet.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Text(Vec<Segment>);

impl Text {
    /// The text with everything looked up.
    ///
    /// # Errors
    /// The first reference that has no value.
    pub fn resolve(&self, lookup: &impl Lookup) -> Result<String, Unresolved> {
        let mut text = String::new();
        for segment in &self.0 {
            match segment {
                Segment::Literal(literal) => text.push_str(literal),
                Segment::Env { name, default } => {
                    let value = lookup.env(name);
                    let value = match default {
                        Some(default) => value
                            .filter(|value| !value.is_empty())
                            .unwrap_or_else(|| default.clone()),
                        None => value.ok_or_else(|| Unresolved::Env { name: name.clone() })?,
                    };
                    text.push_str(&value);
                }
                Segment::File(path) => {
                    let content = lookup.file(path).map_err(|error| Unresolved::File {
                        path: path.clone(),
                        error,
                    })?;
                    text.push_str(content.trim_end_matches(['\n', '\r']));
                }
                Segment::Stored(stored) => text.push_str(&lookup.stored(stored)?),
            }
        }
        Ok(text)
    }

    /// The text if it holds no reference.
    pub fn literal(&self) -> Option<&str> {
        match self.0.as_slice() {
            [] => Some(""),
            [Segment::Literal(text)] => Some(text),
            _ => None,
        }
    }

    pub(super) fn segments(&self) -> &[Segment] {
        &self.0
    }
}

impl FromStr for Text {
    type Err = Malformed;

    fn from_str(text: &str) -> Result<Self, Malformed> {
        let mut segments = Vec::new();
        let mut literal = String::new();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once('$') {
            literal.push_str(before);
            if let Some(after) = after.strip_prefix('$') {
                literal.push('$');
                rest = after;
            } else if let Some(after) = after.strip_prefix('{') {
                let (inner, after) = after
                    .split_once('}')
                    .ok_or(Malformed("a reference opened by `${` is never closed by `}`"))?;
                if !literal.is_empty() {
                    segments.push(Segment::Literal(std::mem::take(&mut literal)));
                }
                segments.push(reference(inner)?);
                rest = after;
            } else if after.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_') {
                // Taken literally, this would be a variable that silently is not one.
                return Err(Malformed(
                    "write `${env:NAME}` for a variable, or `$$` for a dollar sign",
                ));
            } else {
                literal.push('$');
                rest = after;
            }
        }
        literal.push_str(rest);
        if !literal.is_empty() {
            segments.push(Segment::Literal(literal));
        }
        Ok(Self(segments))
    }
}

/// Reads what stands between `${` and `}`.
fn reference(inner: &str) -> Result<Segment, Malformed> {
    if let Some(path) = inner.strip_prefix("file:") {
        return match path {
            "" => Err(Malformed("`${file:…}` needs a path")),
            path => Ok(Segment::File(path.into())),
        };
    }
    let Some(variable) = inner.strip_prefix("env:") else {
        return Stored::read(inner).map(Segment::Stored);
    };
    let (name, default) = match variable.split_once(":-") {
        Some((name, default)) => (name, Some(default.to_owned())),
        None => (variable, None),
    };
    let letter = |c: char| c.is_ascii_alphabetic() || c == '_';
    if !name.starts_with(letter) || !name.chars().all(|c| letter(c) || c.is_ascii_digit()) {
        return Err(Malformed(
            "the variable in `${env:NAME}` is named by letters, digits and `_` only",
        ));
    }
    Ok(Segment::Env {
        name: name.to_owned(),
        default,
    })
}

impl fmt::Display for Text {
    /// As it would be written in the file.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for segment in &self.0 {
            match segment {
                Segment::Literal(text) => f.write_str(&text.replace('$', "$$"))?,
                Segment::Env { name, default: None } => write!(f, "${{env:{name}}}")?,
                Segment::Env {
                    name,
                    default: Some(default),
                } => write!(f, "${{env:{name}:-{default}}}")?,
                Segment::File(path) => write!(f, "${{file:{}}}", path.display())?,
                Segment::Stored(stored) => stored.fmt(f)?,
            }
        }
        Ok(())
    }
}

impl<'de> Deserialize<'de> for Text {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_str(TextVisitor)
    }
}

struct TextVisitor;

impl Visitor<'_> for TextVisitor {
    type Value = Text;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a string")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Text, E> {
        let text: Text = text.parse().map_err(E::custom)?;
        if text
            .segments()
            .iter()
            .any(|segment| matches!(segment, Segment::Stored(_)))
        {
            return Err(E::custom("this is no secret: write ${env:NAME} or ${file:/path}"));
        }
        Ok(text)
    }
}

impl Serialize for Text {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl JsonSchema for Text {
    fn schema_name() -> Cow<'static, str> {
        "Text".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "Text that may hold references: `${env:NAME}`, `${env:NAME:-default}`, `${file:/path}`; `$$` is a dollar sign.",
            "type": "string",
            "pattern": "^([^$]|\\$\\$|\\$\\{env:[A-Za-z_][A-Za-z0-9_]*(:-[^}]*)?\\}|\\$\\{file:[^}]+\\}|\\$(?![A-Za-z_{$]))*$"
        })
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use proptest::prelude::*;

    /// A world with the variables `HOST` and `EMPTY` and the file `/run/token`.
    pub struct World;

    impl Lookup for World {
        fn env(&self, name: &str) -> Option<String> {
            [("HOST", "id.example"), ("EMPTY", ""), ("NESTED", "${env:HOST}")]
                .iter()
                .find(|(known, _)| *known == name)
                .map(|(_, value)| (*value).to_owned())
        }

        fn file(&self, path: &Path) -> io::Result<String> {
            if path == Path::new("/run/token") {
                Ok("s3cret\r\n".to_owned())
            } else {
                Err(io::ErrorKind::NotFound.into())
            }
        }

        fn stored(&self, stored: &Stored) -> Result<String, Unresolved> {
            match stored {
                Stored::Vault { field, .. } if field == "known" => Ok("from the vault".to_owned()),
                _ => Err(Unresolved::NotAsked),
            }
        }
    }

    fn resolved(text: &str) -> String {
        text.parse::<Text>().unwrap().resolve(&World).unwrap()
    }

    #[test]
    fn references_are_looked_up() {
        assert_eq!(
            resolved("https://${env:HOST}/${file:/run/token}"),
            "https://id.example/s3cret"
        );
        assert_eq!(
            resolved("${env:NONE:-a:-b}|${env:EMPTY:-c}|${env:EMPTY}|${env:HOST:-d}"),
            "a:-b|c||id.example"
        );
        assert_eq!(
            resolved("$$5 $ 5$ $${env:HOST} $$$${x}"),
            "$5 $ 5$ ${env:HOST} $${x}"
        );
        assert_eq!(resolved(""), "");
    }

    #[test]
    fn what_a_variable_holds_is_not_looked_up_again() {
        assert_eq!(resolved("${env:NESTED}"), "${env:HOST}");
    }

    #[test]
    fn a_reference_without_a_value_is_named() {
        let error = |text: &str| {
            text.parse::<Text>()
                .unwrap()
                .resolve(&World)
                .unwrap_err()
                .to_string()
        };
        assert_eq!(error("x${env:NONE}"), "environment variable `NONE` is not set");
        assert!(error("${file:/none}").starts_with("cannot read `/none`: "));
    }

    #[test]
    fn a_malformed_reference_is_refused() {
        for text in [
            "${env:A",
            "${",
            "${}",
            "${env:}",
            "${env:1A}",
            "${env:A-B}",
            "${file:}",
            "${vault:x}",
            "${vault:#y}",
            "${vault:x#}",
            "${vault:../sys#y}",
            "${vault:a//b#y}",
            "${vault:a?b#y}",
            "${sealed:}",
            "${aws-sm:}",
            "${aws-sm:x#}",
            "${aws-sm:a b}",
            "$HOME",
            "${HOME}",
        ] {
            text.parse::<Text>().expect_err(text);
        }
    }

    #[test]
    fn text_without_references_is_known_as_such() {
        assert_eq!("a$$b".parse::<Text>().unwrap().literal(), Some("a$b"));
        assert_eq!("a${env:B}".parse::<Text>().unwrap().literal(), None);
    }

    proptest! {
        #[test]
        fn printing_and_reading_agree(text in "([a$é:{}-]|\\$\\{env:A(:-[b$]{0,2})?\\}|\\$\\{file:/x\\}|\\$\\$){0,8}") {
            if let Ok(parsed) = text.parse::<Text>() {
                prop_assert_eq!(parsed.to_string().parse(), Ok(parsed));
            }
        }
    }
}
