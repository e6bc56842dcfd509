//! One path, decoded once.
//!
//! Canonical means: unreserved characters are literal, everything else that is encoded has upper-case digits, and
//! nothing is left that a second reader could take for a separator, a dot segment or another layer of encoding.

use http::Uri;

use super::Malformed;
use crate::octets::Octets;

/// A canonical path: borrowed from the request's target where that already is canonical.
#[derive(Debug, Clone)]
pub struct CanonicalPath(Option<Box<str>>);

impl CanonicalPath {
    pub(super) fn parse(uri: &Uri) -> Result<CanonicalPath, Malformed> {
        canonical(uri.path()).map(CanonicalPath)
    }

    pub(super) fn is_as_sent(&self) -> bool {
        self.0.is_none()
    }

    /// One that is canonical.
    pub(super) fn of(path: Box<str>) -> CanonicalPath {
        CanonicalPath(Some(path))
    }

    pub(super) fn as_str<'a>(&'a self, uri: &'a Uri) -> &'a str {
        self.0.as_deref().unwrap_or_else(|| uri.path())
    }
}

/// Checks a path and makes it canonical; `None` where it already is.
pub(crate) fn canonical(path: &str) -> Result<Option<Box<str>>, Malformed> {
    if !path.starts_with('/') {
        return Err(Malformed::Target);
    }
    let mut encoded = false;
    for byte in path.bytes() {
        match byte {
            b'%' => encoded = true,
            b';' => return Err(Malformed::PathParameter),
            _ if is_path_character(byte) => {}
            _ => return Err(Malformed::PathCharacter),
        }
    }
    check_segments(path)?;
    if encoded { decode(path).map(Some) } else { Ok(None) }
}

/// A query is passed on as it is, so it may hold only what a query can (RFC 3986 section 3.4).
pub(super) fn check_query(query: Option<&str>) -> Result<(), Malformed> {
    let allowed =
        |b: u8| is_path_character(b) || matches!(b, b'?' | b'%' | b';' | b'[' | b']' | b'|' | b'{' | b'}');
    match query {
        Some(query) if !query.bytes().all(allowed) => Err(Malformed::Query),
        _ => Ok(()),
    }
}

/// `pchar` and `/`, without `%` and `;`.
fn is_path_character(byte: u8) -> bool {
    const PATH: Octets = Octets::alphanumeric_and(b"-._~/!$&'()*+,=:@");
    PATH.has(byte)
}

fn is_unreserved(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~')
}

fn check_segments(path: &str) -> Result<(), Malformed> {
    let mut segments = path.as_bytes().split(|byte| *byte == b'/').skip(1).peekable();
    while let Some(segment) = segments.next() {
        match segment {
            b"." | b".." => return Err(Malformed::PathDotSegment),
            // the last one may be empty: a trailing slash
            b"" if segments.peek().is_some() => return Err(Malformed::PathEmptySegment),
            _ => {}
        }
    }
    Ok(())
}

fn decode(path: &str) -> Result<Box<str>, Malformed> {
    let mut canonical = String::with_capacity(path.len());
    let mut decoded = Vec::with_capacity(path.len());
    let mut bytes = path.bytes();
    while let Some(byte) = bytes.next() {
        if byte != b'%' {
            canonical.push(char::from(byte));
            decoded.push(byte);
            continue;
        }
        let high = bytes.next().and_then(hex).ok_or(Malformed::PathEncoding)?;
        let low = bytes.next().and_then(hex).ok_or(Malformed::PathEncoding)?;
        let value = high << 4 | low;
        match value {
            b'/' | b'\\' | b'.' | b'%' | b';' | b'?' | b'#' | 0x7f => {
                return Err(Malformed::PathEncodedSyntax);
            }
            0..0x20 => return Err(Malformed::PathEncodedSyntax),
            _ if is_unreserved(value) => canonical.push(char::from(value)),
            _ => {
                canonical.push('%');
                for nibble in [high, low] {
                    canonical.push(char::from(if nibble < 10 {
                        b'0' + nibble
                    } else {
                        b'A' + nibble - 10
                    }));
                }
            }
        }
        decoded.push(value);
    }
    let text = std::str::from_utf8(&decoded).map_err(|_| Malformed::PathUtf8)?;
    // those beyond ASCII: terminals obey U+009B as they do an escape
    if text.chars().any(char::is_control) {
        return Err(Malformed::PathEncodedSyntax);
    }
    Ok(canonical.into())
}

fn hex(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).and_then(|n| u8::try_from(n).ok())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    // U15
    #[test]
    fn paths_that_two_readers_could_take_differently_are_refused() {
        for (path, why) in [
            ("/a/../b", Malformed::PathDotSegment),
            ("/a/.", Malformed::PathDotSegment),
            ("/%2e%2e/b", Malformed::PathEncodedSyntax),
            ("/a%2Eb", Malformed::PathEncodedSyntax),
            ("/a//b", Malformed::PathEmptySegment),
            ("//a", Malformed::PathEmptySegment),
            ("/a%2fb", Malformed::PathEncodedSyntax),
            ("/a%5Cb", Malformed::PathEncodedSyntax),
            ("/a\\b", Malformed::PathCharacter),
            ("/a%00", Malformed::PathEncodedSyntax),
            ("/a%0d%0a", Malformed::PathEncodedSyntax),
            ("/a%c2%9b", Malformed::PathEncodedSyntax),
            ("/a%252e", Malformed::PathEncodedSyntax),
            ("/a%3fb", Malformed::PathEncodedSyntax),
            ("/a%23b", Malformed::PathEncodedSyntax),
            ("/a;x=1", Malformed::PathParameter),
            ("/a%3bx", Malformed::PathEncodedSyntax),
            ("/a%zz", Malformed::PathEncoding),
            ("/a%2", Malformed::PathEncoding),
            ("/a%c0%ae", Malformed::PathUtf8),
            ("/a%ff", Malformed::PathUtf8),
            ("/a b", Malformed::PathCharacter),
            ("/a\"b", Malformed::PathCharacter),
            ("*", Malformed::Target),
            ("", Malformed::Target),
        ] {
            assert_eq!(canonical(path), Err(why), "{path}");
        }
    }

    #[test]
    fn encoded_letters_are_the_letters_and_the_rest_is_written_one_way() {
        assert_eq!(canonical("/%41%62c").unwrap().as_deref(), Some("/Abc"));
        assert_eq!(canonical("/%c3%a4%20").unwrap().as_deref(), Some("/%C3%A4%20"));
        assert_eq!(canonical("/plain/path/").unwrap(), None);
        assert_eq!(canonical("/").unwrap(), None);
    }

    proptest! {
        // U15: a canonical path is its own canonical form, so a second reading finds nothing new
        #[test]
        fn canonical_is_a_fixed_point(path in "/[ -~]{0,40}") {
            if let Ok(first) = canonical(&path) {
                let first = first.map_or(path, String::from);
                let second = canonical(&first).unwrap().map_or(first.clone(), String::from);
                prop_assert_eq!(first, second);
            }
        }
    }
}
