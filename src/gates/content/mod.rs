//! What is sent: how much, and of which type (S78, S79).
//!
//! Decides from the head alone, and says how the body is to be read: [`BodyPlan`] carries the route's limits to whoever
//! reads it. Most routes read it whole before the upstream has had the request, so that a body which turns out too long,
//! too slow or broken was never seen there; some pass it on as it comes.

pub mod jwe;
pub mod memory;

use std::sync::Arc;
use std::time::Duration;

use http::header::{CONTENT_ENCODING, CONTENT_TYPE, HeaderMap};

use super::Mode;
use crate::denial::{ContentError, Denial, Verdict};
use crate::head::{BodyLength, Head};
use jwe::Jwe;

/// Stands for every media type, and for none.
pub const ANY: &str = "*/*";

/// What a route takes.
#[derive(Debug, Clone)]
pub struct Content {
    /// Bytes that a body may have at most.
    pub max_body: u64,
    /// Media types in lower case, without parameters.
    pub types: Box<[Box<str>]>,
    /// How bodies are read.
    pub reading: Reading,
    /// What opens them; `None`: they pass as they are.
    pub jwe: Option<Arc<Jwe>>,
    /// Whether the configuration says something of length or type, rather than leaving both as they are.
    pub is_written: bool,
    /// Whether its word counts.
    pub mode: Mode,
    /// Line of the configuration that says so.
    pub line: u32,
}

/// How a route reads bodies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reading {
    /// Whole, before the upstream has had the request.
    Whole {
        /// From the first look at the body to its last byte.
        within: Duration,
    },
    /// As it comes.
    Stream,
}

/// How the body of an admitted request is to be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BodyPlan {
    /// There is none.
    None,
    /// Read to its end first; then the upstream gets the request.
    Whole {
        /// Bytes at most.
        max: u64,
        /// From the first look at the body to its last byte.
        within: Duration,
    },
    /// Passed on as it comes; refused once it grows beyond this many bytes.
    Stream {
        /// Bytes at most.
        max: u64,
    },
    /// Passed on as it comes, and recorded once it grows beyond this many bytes: a shadow of a limit.
    Watched {
        /// Bytes that would be the most.
        max: u64,
    },
}

impl Content {
    /// # Errors
    /// [`Denial::Content`]: too large by its announced length, or a type that the route does not take.
    pub fn check(&self, head: &Head, headers: &HeaderMap) -> Verdict<BodyPlan> {
        match head.body() {
            BodyLength::None => return Ok(BodyPlan::None),
            BodyLength::Known(length) if length > self.max_body => {
                return Err(Denial::Content(ContentError::TooLarge));
            }
            // nothing that could have a type: only its end is to be seen
            BodyLength::Known(0) => return Ok(self.plan(0)),
            BodyLength::Known(_) | BodyLength::Unknown => {}
        }
        self.check_type(headers).map_err(Denial::Content)?;
        Ok(self.plan(self.max_body))
    }

    fn plan(&self, max: u64) -> BodyPlan {
        match (self.mode, self.reading) {
            (Mode::Shadow, _) => self.unjudged(),
            (Mode::Enforce, Reading::Whole { within }) => BodyPlan::Whole { max, within },
            (Mode::Enforce, Reading::Stream) => BodyPlan::Stream { max },
        }
    }

    /// How a body is read that nothing is held against.
    #[must_use]
    pub fn unjudged(&self) -> BodyPlan {
        BodyPlan::Watched { max: self.max_body }
    }

    /// What is taken, in words.
    #[must_use]
    pub fn describe(&self) -> String {
        let passed = match self.reading {
            Reading::Whole { .. } => "",
            Reading::Stream => ", passed on as they come",
        };
        format!(
            "takes up to {} bytes of {}{passed}{}{}",
            self.max_body,
            self.types.join(", "),
            self.jwe.as_deref().map_or_else(String::new, Jwe::describe),
            self.mode.note()
        )
    }

    /// Whether any type will do, and none as well.
    fn takes_anything(&self) -> bool {
        self.types.iter().any(|allowed| **allowed == *ANY)
    }

    fn check_type(&self, headers: &HeaderMap) -> Result<(), ContentError> {
        if headers
            .get_all(CONTENT_ENCODING)
            .iter()
            .any(|v| !v.as_bytes().eq_ignore_ascii_case(b"identity"))
        {
            return Err(ContentError::Encoded);
        }
        let mut values = headers.get_all(CONTENT_TYPE).iter();
        let value = match (values.next(), values.next()) {
            (None, _) if self.takes_anything() => return Ok(()),
            (None, _) => return Err(ContentError::TypeMissing),
            (Some(value), None) => value.to_str().map_err(|_| ContentError::TypeMalformed)?,
            _ => return Err(ContentError::TypeRepeated),
        };
        let media_type = essence(value).ok_or(ContentError::TypeMalformed)?;
        if self.takes_anything()
            || self
                .types
                .iter()
                .any(|allowed| media_type.eq_ignore_ascii_case(allowed))
        {
            Ok(())
        } else {
            Err(ContentError::TypeNotAllowed)
        }
    }
}

/// `type/subtype` of a media type (RFC 9110 section 8.3.1); `None` where it is malformed, joined from several, or in a
/// charset other than UTF-8: an upstream that believes it would read another text than was judged.
#[must_use]
pub fn essence(value: &str) -> Option<&str> {
    let mut parts = value.split(';');
    let media_type = parts.next()?.trim();
    let (kind, subtype) = media_type.split_once('/')?;
    if !is_token(kind) || !is_token(subtype) {
        return None;
    }
    let mut charset_seen = false;
    for parameter in parts {
        let (name, value) = parameter.trim().split_once('=')?;
        let value = match value.strip_prefix('"') {
            Some(rest) => rest.strip_suffix('"').filter(|v| !v.contains(['"', '\\', ',']))?,
            None => Some(value).filter(|v| is_token(v))?,
        };
        if !is_token(name) {
            return None;
        }
        if name.eq_ignore_ascii_case("charset") {
            if charset_seen || !value.eq_ignore_ascii_case("utf-8") {
                return None;
            }
            charset_seen = true;
        }
    }
    Some(media_type)
}

/// `token` of RFC 9110 section 5.6.2.
pub(crate) fn is_token(text: &str) -> bool {
    !text.is_empty()
        && text
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b))
}

#[cfg(test)]
mod tests {
    use super::essence;

    // S79
    #[test]
    fn media_types_are_read_strictly() {
        for (good, expected) in [
            ("application/json", "application/json"),
            ("application/json; charset=UTF-8", "application/json"),
            ("Application/JSON;charset=\"utf-8\"", "Application/JSON"),
            ("multipart/form-data; boundary=abc", "multipart/form-data"),
        ] {
            assert_eq!(essence(good), Some(expected), "{good}");
        }
        for bad in [
            "",
            "json",
            "application/",
            "/json",
            "application/json, text/plain",
            "application/json; charset=utf-7",
            "application/json; charset=utf-8; charset=utf-16",
            "application/json;",
            "application/json; x",
            "application /json",
            "application/json; a=\"b\\\"\"",
        ] {
            assert_eq!(essence(bad), None, "{bad}");
        }
    }
}
