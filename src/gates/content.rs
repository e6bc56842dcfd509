//! What is sent: how much, and of which type (S78, S79).
//!
//! Decides from the head alone. A body without announced length is let in against the route's limit and counted while it
//! passes: [`BodyPlan`] carries the limit to whoever reads it.

use http::header::{CONTENT_ENCODING, CONTENT_TYPE, HeaderMap};

use crate::denial::{ContentError, Denial, Verdict};
use crate::head::{BodyLength, Head};

/// Stands for every media type, and for none.
pub const ANY: &str = "*/*";

/// What a route takes.
#[derive(Debug, Clone)]
pub struct Content {
    /// Bytes that a body may have at most.
    pub max_body: u64,
    /// Media types in lower case, without parameters.
    pub types: Box<[Box<str>]>,
    /// Line of the configuration that says so.
    pub line: u32,
}

/// How the body of an admitted request is to be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BodyPlan {
    /// There is none.
    None,
    /// Passed on as it comes; refused once it grows beyond this many bytes.
    Stream {
        /// Bytes at most.
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
            BodyLength::Known(_) | BodyLength::Unknown => {}
        }
        self.check_type(headers).map_err(Denial::Content)?;
        Ok(BodyPlan::Stream { max: self.max_body })
    }

    /// What is taken, in words.
    #[must_use]
    pub fn describe(&self) -> String {
        format!("takes up to {} bytes of {}", self.max_body, self.types.join(", "))
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
