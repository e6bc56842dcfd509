//! Where in the claims something is.

use std::{error, fmt};

/// The names that lead from the claims to one of them; at least one. Two ways to write it:
///
/// - dotted: `scope`, `realm_access.roles`;
/// - JSON Pointer (RFC 6901), for names with dots or slashes: `/realm_access/roles`,
///   `/https:~1~1example.com~1roles`. Steps into arrays are not supported: what stands first in
///   a list is chance.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ClaimPath {
    names: Vec<String>,
}

/// Why a text is not a [`ClaimPath`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClaimPathError {
    /// Nothing, or an empty name (`a..b`, `/a/`).
    Empty,
    /// A dotted path with a slash in it. `https://example.com/roles` is one name with dots, and
    /// read as a dotted path would quietly never be found.
    NeedsPointer,
    /// In a JSON Pointer, `~` not followed by `0` or `1` (RFC 6901 section 3).
    Escape,
}

impl fmt::Display for ClaimPathError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Empty => "a claim path needs a name in each of its steps",
            Self::NeedsPointer => {
                "a claim name with slashes must be written as a JSON Pointer, \
                 such as /https:~1~1example.com~1roles"
            }
            Self::Escape => "in a JSON Pointer, ~ must be followed by 0 or 1",
        })
    }
}

impl error::Error for ClaimPathError {}

impl ClaimPath {
    /// Reads either form; a leading slash makes it a JSON Pointer.
    pub fn parse(text: &str) -> Result<Self, ClaimPathError> {
        let names = match text.strip_prefix('/') {
            Some(pointer) => pointer.split('/').map(unescape).collect::<Result<Vec<_>, _>>()?,
            None if text.contains('/') => return Err(ClaimPathError::NeedsPointer),
            None => text.split('.').map(str::to_owned).collect(),
        };
        if names.iter().any(String::is_empty) {
            return Err(ClaimPathError::Empty);
        }
        Ok(Self { names })
    }

    /// The path of one top-level claim, whatever characters its name has.
    pub fn of(name: &str) -> Self {
        Self {
            names: vec![name.to_owned()],
        }
    }

    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.names.iter().map(String::as_str)
    }

    /// A path of these names, in order; for defaults known to be good.
    pub(in crate::gates::authn) fn nested(names: &[&str]) -> Self {
        Self {
            names: names.iter().map(|name| (*name).to_owned()).collect(),
        }
    }
}

fn unescape(step: &str) -> Result<String, ClaimPathError> {
    let mut name = String::with_capacity(step.len());
    let mut characters = step.chars();
    while let Some(character) = characters.next() {
        name.push(match character {
            '~' => match characters.next() {
                Some('0') => '~',
                Some('1') => '/',
                _ => return Err(ClaimPathError::Escape),
            },
            other => other,
        });
    }
    Ok(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(text: &str) -> Vec<String> {
        ClaimPath::parse(text).unwrap().names
    }

    #[test]
    fn dotted_paths_and_json_pointers_lead_to_the_same_place() {
        assert_eq!(names("realm_access.roles"), ["realm_access", "roles"]);
        assert_eq!(names("/realm_access/roles"), ["realm_access", "roles"]);
        assert_eq!(
            names("/https:~1~1example.com~1roles"),
            ["https://example.com/roles"]
        );
        assert_eq!(names("/a~01"), ["a~1"]);
        assert_eq!(names("cognito:groups"), ["cognito:groups"]);
    }

    #[test]
    fn paths_that_could_never_match_are_refused() {
        for text in ["", ".", "a..b", "a.", "/", "/a/", "//a"] {
            assert_eq!(ClaimPath::parse(text), Err(ClaimPathError::Empty), "{text}");
        }
        assert_eq!(
            ClaimPath::parse("https://example.com/roles"),
            Err(ClaimPathError::NeedsPointer)
        );
        for text in ["/~", "/a~2", "/a~"] {
            assert_eq!(ClaimPath::parse(text), Err(ClaimPathError::Escape), "{text}");
        }
    }
}
