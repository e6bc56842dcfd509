//! A part of the path is what the token says: customers reach their own records, and no others' (S67).
//!
//! Compared is what the segment means, percent-decoded, byte for byte with the claim. A claim may be a text, a whole number
//! (by its decimal digits), or a list of texts of which one must be equal. Anything else, and no claim at all, refuses.

use std::borrow::Cow;
use std::fmt;

use serde_json::Value;

use super::list;
use crate::denial::{Denial, Forbidden, Verdict};
use crate::gates::authn::claims::ClaimPath;
use crate::identity::Client;

/// Path parameters that must equal claims, all of them.
#[derive(Debug, Clone)]
pub struct ClaimMatches {
    /// At least one.
    pub all: Box<[ClaimMatch]>,
}

/// A path parameter that must equal a claim.
#[derive(Debug, Clone)]
pub struct ClaimMatch {
    /// Name of the parameter in the route's template.
    pub parameter: Box<str>,
    /// Which segment of the path it is; the one behind the first slash is 0.
    pub segment: usize,
    /// The claim.
    pub claim: ClaimPath,
    /// The claim, as written.
    pub written: Box<str>,
}

impl ClaimMatches {
    /// # Errors
    /// [`Forbidden::Claim`] where one does not match.
    pub fn check(&self, client: &Client, path: &str) -> Verdict {
        if self.all.iter().all(|one| one.holds(client, path)) {
            Ok(())
        } else {
            Err(Denial::Forbidden(Forbidden::Claim))
        }
    }
}

impl ClaimMatch {
    fn holds(&self, client: &Client, path: &str) -> bool {
        let Some(segment) = path.split('/').skip(1).nth(self.segment) else {
            return false;
        };
        if segment.is_empty() {
            return false;
        }
        match client.claims.value(&self.claim) {
            Ok(Some(Value::String(text))) => means(segment, text.bytes()),
            Ok(Some(Value::Number(number))) => match number.as_u64() {
                Some(number) => means(segment, itoa::Buffer::new().format(number).bytes()),
                None => false,
            },
            Ok(Some(Value::Array(texts))) => {
                texts.iter().all(Value::is_string)
                    && texts
                        .iter()
                        .filter_map(Value::as_str)
                        .any(|text| means(segment, text.bytes()))
            }
            _ => false,
        }
    }
}

/// Whether a segment of a canonical path means these bytes.
fn means(segment: &str, bytes: impl Iterator<Item = u8>) -> bool {
    Decoded(segment.as_bytes()).eq(bytes.map(Some))
}

/// What a segment of a canonical path means; `None` where that is no text, which a canonical path has not.
pub(super) fn decoded(segment: &str) -> Option<Cow<'_, str>> {
    if !segment.contains('%') {
        return Some(Cow::Borrowed(segment));
    }
    let bytes: Option<Vec<u8>> = Decoded(segment.as_bytes()).collect();
    String::from_utf8(bytes?).ok().map(Cow::Owned)
}

/// Bytes of a segment, percent-decoded; `None` where an escape is broken, which a canonical path has not.
struct Decoded<'a>(&'a [u8]);

impl Iterator for Decoded<'_> {
    type Item = Option<u8>;

    fn next(&mut self) -> Option<Option<u8>> {
        let digit = |byte: u8| {
            char::from(byte)
                .to_digit(16)
                .and_then(|digit| u8::try_from(digit).ok())
        };
        match *self.0 {
            [] => None,
            [b'%', high, low, ref rest @ ..] => {
                self.0 = rest;
                Some(digit(high).zip(digit(low)).map(|(high, low)| high << 4 | low))
            }
            [b'%', ..] => {
                self.0 = &[];
                Some(None)
            }
            [byte, ref rest @ ..] => {
                self.0 = rest;
                Some(Some(byte))
            }
        }
    }
}

impl fmt::Display for ClaimMatches {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("asks that ")?;
        list(f, &*self.all)
    }
}

impl fmt::Display for ClaimMatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{{{}}} of the path is the claim {}",
            self.parameter, self.written
        )
    }
}

#[cfg(test)]
mod tests {
    use super::means;

    // S67
    #[test]
    fn a_segment_is_compared_by_what_it_means() {
        let is = |segment: &str, text: &str| means(segment, text.bytes());
        assert!(is("1HGCM82633A004352", "1HGCM82633A004352"));
        assert!(is("a%20b", "a b"));
        assert!(is("m%C3%BCller", "müller"));
        assert!(is("a+b", "a+b"));
        for (segment, text) in [
            ("1hg", "1HG"),
            ("1HG", "1HGX"),
            ("1HGX", "1HG"),
            ("", "x"),
            ("a+b", "a b"),
            ("a%2", "a%2"),
            ("a%zz", "a%zz"),
            ("%00", ""),
        ] {
            assert!(!is(segment, text), "{segment} {text}");
        }
    }
}
