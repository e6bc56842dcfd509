//! References to where only secrets are kept: `${sealed:/path}`, `${vault:PATH#FIELD}`,
//! `${aws-sm:NAME}`, `${pkcs11:object=LABEL}`.

use std::fmt;
use std::path::PathBuf;

use super::text::Malformed;
use super::token_object::TokenObject;

/// A place where only secrets are kept.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Stored {
    /// A sealed file.
    Sealed(PathBuf),
    /// A field of a secret in Vault.
    Vault {
        /// Below the mount of the engine.
        path: String,
        /// Which of its fields.
        field: String,
    },
    /// A secret of AWS Secrets Manager.
    AwsSm {
        /// Its name or ARN.
        name: String,
        /// Which member of it; none: the whole text.
        field: Option<String>,
    },
    /// An object in a PKCS#11 token.
    Pkcs11(TokenObject),
}

impl fmt::Display for Stored {
    /// As it would be written in the file.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Stored::Sealed(path) => write!(f, "${{sealed:{}}}", path.display()),
            Stored::Vault { path, field } => write!(f, "${{vault:{path}#{field}}}"),
            Stored::Pkcs11(object) => write!(f, "${{pkcs11:{object}}}"),
            Stored::AwsSm { name, field: None } => write!(f, "${{aws-sm:{name}}}"),
            Stored::AwsSm {
                name,
                field: Some(field),
            } => write!(f, "${{aws-sm:{name}#{field}}}"),
        }
    }
}

impl Stored {
    /// Reads a reference to where only secrets are kept.
    pub(super) fn read(inner: &str) -> Result<Stored, Malformed> {
        let split = |rest: &str| match rest.split_once('#') {
            Some((name, field)) => (name.to_owned(), Some(field.to_owned())),
            None => (rest.to_owned(), None),
        };
        let is_field = |field: &String| {
            !field.is_empty()
                && field
                    .bytes()
                    .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.'))
        };
        if let Some(path) = inner.strip_prefix("sealed:") {
            return match path {
                "" => Err(Malformed("`${sealed:…}` needs a path")),
                path => Ok(Stored::Sealed(path.into())),
            };
        }
        if let Some(rest) = inner.strip_prefix("vault:") {
            let (path, field) = split(rest);
            let is_plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.');
            let is_segment =
                |segment: &str| !matches!(segment, "" | "." | "..") && segment.bytes().all(is_plain);
            return match field.filter(is_field) {
                Some(field) if path.split('/').all(is_segment) => Ok(Stored::Vault { path, field }),
                _ => Err(Malformed(
                    "write `${vault:PATH#FIELD}`, in letters, digits, `_`, `-` and `.`",
                )),
            };
        }
        if let Some(rest) = inner.strip_prefix("aws-sm:") {
            let (name, field) = split(rest);
            let is_plain = |b: u8| b.is_ascii_alphanumeric() || b"/_+=.@-:!".contains(&b);
            return if name.is_empty() || !name.bytes().all(is_plain) || !field.as_ref().is_none_or(is_field) {
                Err(Malformed("write `${aws-sm:NAME}` or `${aws-sm:NAME#FIELD}`"))
            } else {
                Ok(Stored::AwsSm { name, field })
            };
        }
        if let Some(path) = inner.strip_prefix("pkcs11:") {
            return TokenObject::read(path).map(Stored::Pkcs11);
        }
        Err(Malformed(
            "unknown kind of reference: write `${env:NAME}` or `${file:/path}`",
        ))
    }
}
