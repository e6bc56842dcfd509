//! Secrets: always a reference to where the secret is kept, never the secret itself.

use std::borrow::Cow;
use std::fmt;
use std::path::Path;
use std::str::FromStr;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{self, Deserialize, Deserializer, Visitor};

use super::stored::Stored;
use super::text::{Lookup, Malformed, Segment, Text, Unresolved};
use super::token_object::{ObjectType, TokenObject};

/// The name by which the decoder knows that a value is secret, whatever its key: what is wrong is not shown then.
pub(in crate::config) const TYPE: &str = "durward::Secret";

const NOT_ITSELF: &str = "write a reference such as ${env:NAME} or ${file:/path}, not the secret itself";

/// A reference to a secret, in the syntax of [`Text`] but without defaults. Does not print and does not serialize.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Text);

impl Secret {
    /// The files that are read for it as they are.
    pub fn files(&self) -> impl Iterator<Item = &Path> {
        self.0.segments().iter().filter_map(|segment| match segment {
            Segment::File(path) => Some(path.as_path()),
            Segment::Literal(_) | Segment::Env { .. } | Segment::Stored(_) => None,
        })
    }

    /// Whether any of it is kept where only secrets are, and is no sealed file.
    #[must_use]
    pub fn is_in_a_store(&self) -> bool {
        let is_store = |segment: &Segment| match segment {
            Segment::Stored(stored) => !matches!(stored, Stored::Sealed(_)),
            Segment::Literal(_) | Segment::Env { .. } | Segment::File(_) => false,
        };
        self.0.segments().iter().any(is_store)
    }

    /// The private key that it is where that stays in its token: it has no text.
    #[must_use]
    pub fn token_key(&self) -> Option<&TokenObject> {
        match self.0.segments() {
            [Segment::Stored(Stored::Pkcs11(object))] if object.class == ObjectType::Private => Some(object),
            _ => None,
        }
    }

    /// The secret itself. Whoever takes it sees to it that it is not printed.
    ///
    /// # Errors
    /// The first reference that has no value, or [`Unresolved::Empty`] where nothing came out: an unset secret must
    /// not pass for an empty one.
    pub fn resolve(&self, lookup: &impl Lookup) -> Result<String, Unresolved> {
        let secret = self.0.resolve(lookup)?;
        if secret.is_empty() {
            Err(Unresolved::Empty)
        } else {
            Ok(secret)
        }
    }
}

impl FromStr for Secret {
    type Err = Malformed;

    fn from_str(text: &str) -> Result<Self, Malformed> {
        let text: Text = text.parse()?;
        if text
            .segments()
            .iter()
            .all(|segment| matches!(segment, Segment::Literal(_)))
        {
            return Err(Malformed(NOT_ITSELF));
        }
        if text
            .segments()
            .iter()
            .any(|segment| matches!(segment, Segment::Env { default: Some(_), .. }))
        {
            return Err(Malformed(
                "a secret has no default: write ${env:NAME} without `:-`",
            ));
        }
        Ok(Self(text))
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[secret]")
    }
}

impl fmt::Display for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[secret]")
    }
}

impl<'de> Deserialize<'de> for Secret {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_newtype_struct(TYPE, SecretVisitor)
    }
}

struct SecretVisitor;

impl<'de> Visitor<'de> for SecretVisitor {
    type Value = Secret;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a reference such as ${env:NAME} or ${file:/path}")
    }

    fn visit_newtype_struct<D: Deserializer<'de>>(self, deserializer: D) -> Result<Secret, D::Error> {
        // Not `deserialize_str`: quotes would not turn a number into a reference.
        deserializer.deserialize_any(self)
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Secret, E> {
        text.parse().map_err(E::custom)
    }

    fn visit_bool<E: de::Error>(self, _: bool) -> Result<Secret, E> {
        Err(E::custom(NOT_ITSELF))
    }

    fn visit_u64<E: de::Error>(self, _: u64) -> Result<Secret, E> {
        Err(E::custom(NOT_ITSELF))
    }

    fn visit_i64<E: de::Error>(self, _: i64) -> Result<Secret, E> {
        Err(E::custom(NOT_ITSELF))
    }

    fn visit_f64<E: de::Error>(self, _: f64) -> Result<Secret, E> {
        Err(E::custom(NOT_ITSELF))
    }
}

impl JsonSchema for Secret {
    fn schema_name() -> Cow<'static, str> {
        "Secret".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "Where a secret is kept: `${env:NAME}`, `${file:/path}`, `${sealed:/path}`, `${vault:PATH#FIELD}`, `${aws-sm:NAME#FIELD}`, `${pkcs11:object=LABEL}`. Never the secret itself.",
            "type": "string",
            "pattern": "\\$\\{(env:[A-Za-z_][A-Za-z0-9_]*|(file|sealed|vault|aws-sm|pkcs11):[^}]+)\\}"
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::text::tests::World;
    use super::*;

    #[test]
    fn a_secret_is_a_reference() {
        let secret: Secret = "Bearer ${file:/run/token}".parse().unwrap();
        assert_eq!(secret.resolve(&World).unwrap(), "Bearer s3cret");
        assert_eq!(format!("{secret} {secret:?}"), "[secret] [secret]");
    }

    #[test]
    fn a_secret_may_be_kept_where_text_may_not() {
        let secret: Secret = "Bearer ${vault:a/b#known}".parse().unwrap();
        assert_eq!(secret.resolve(&World).unwrap(), "Bearer from the vault");
        for text in [
            "\"${sealed:/x}\"",
            "\"${vault:a/b#c}\"",
            "\"${aws-sm:arn:aws:x:y#c}\"",
            "\"${pkcs11:object=a;type=private}\"",
        ] {
            let secret: Secret = serde_json::from_str(text).unwrap();
            assert!(
                matches!(secret.resolve(&World), Err(Unresolved::NotAsked)),
                "{text}"
            );
            serde_json::from_str::<Text>(text).unwrap_err();
        }
    }

    #[test]
    fn a_literal_secret_is_refused_without_repeating_it() {
        for text in [
            "hunter2",
            "",
            "$$hunter2",
            "${env:X:-hunter2}",
            "a${env:Y}${env:X:-hunter2}",
        ] {
            let error = text.parse::<Secret>().unwrap_err().to_string();
            assert!(!error.contains("hunter2"), "{error}");
        }
        let error = serde_json::from_str::<Secret>("12345").unwrap_err().to_string();
        assert!(error.starts_with(NOT_ITSELF), "{error}");
    }

    #[test]
    fn an_empty_secret_is_not_a_secret() {
        let secret: Secret = "${env:EMPTY}".parse().unwrap();
        assert!(matches!(secret.resolve(&World), Err(Unresolved::Empty)));
    }
}
