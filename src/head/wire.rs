//! The head as the client's bytes spell it (RFC 9112 sections 2 and 5).
//!
//! The parser before us forgives: lines that end in a bare LF, Content-Length beside Transfer-Encoding, a fragment in the
//! target. Another reader of the same bytes may understand those differently, so they are refused.

use memchr::{memchr, memchr2};

use super::Malformed;

/// Checks the bytes of an HTTP/1 head, from the first one to the empty line that ends it.
///
/// # Errors
/// The first thing found in it that RFC 9112 does not allow.
pub fn check_wire(head: &[u8]) -> Result<(), Malformed> {
    // one empty line before the head is nothing (RFC 9112 section 2.2)
    let head = head.strip_prefix(b"\r\n").unwrap_or(head);
    let mut lines = Lines {
        rest: head.strip_suffix(b"\r\n").ok_or(Malformed::Syntax)?,
    };
    request_line(lines.next().ok_or(Malformed::Syntax)??)?;
    let (mut length, mut coding) = (false, false);
    for line in lines {
        let line = line?;
        let colon = memchr(b':', line).ok_or(Malformed::Syntax)?;
        let name = line.get(..colon).unwrap_or_default();
        if name.is_empty() || !name.iter().all(u8::is_ascii_graphic) {
            return Err(Malformed::Syntax);
        }
        length |= name.eq_ignore_ascii_case(b"content-length");
        coding |= name.eq_ignore_ascii_case(b"transfer-encoding");
    }
    if length && coding {
        Err(Malformed::FramingConflict)
    } else {
        Ok(())
    }
}

/// Lines that end in CRLF, without it; CR and LF stand nowhere else.
struct Lines<'a> {
    rest: &'a [u8],
}

impl<'a> Iterator for Lines<'a> {
    type Item = Result<&'a [u8], Malformed>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        // whichever comes first has to be a CR, with an LF behind it
        let end = memchr2(b'\r', b'\n', self.rest).unwrap_or(self.rest.len());
        let (line, rest) = self.rest.split_at_checked(end)?;
        self.rest = rest.strip_prefix(b"\r\n").unwrap_or_default();
        Some(if rest.starts_with(b"\r\n") {
            Ok(line)
        } else {
            Err(Malformed::Syntax)
        })
    }
}

/// `method SP target SP version`, and nothing else.
fn request_line(line: &[u8]) -> Result<(), Malformed> {
    let mut words = line.split(|byte| *byte == b' ');
    let (Some(method), Some(target), Some(_version), None) =
        (words.next(), words.next(), words.next(), words.next())
    else {
        return Err(Malformed::Syntax);
    };
    if method.is_empty() || target.is_empty() {
        return Err(Malformed::Syntax);
    }
    if method == b"CONNECT" {
        // refused for its method, whatever its target
        return Ok(());
    }
    // origin-form or absolute-form, and never a fragment (RFC 9112 section 3.2, RFC 9110 section 4.2.5)
    let is_absolute = |scheme: &[u8]| {
        target
            .get(..scheme.len())
            .is_some_and(|start| start.eq_ignore_ascii_case(scheme))
    };
    let is_form = target.starts_with(b"/") || is_absolute(b"http://") || is_absolute(b"https://");
    if is_form && !target.contains(&b'#') {
        Ok(())
    } else {
        Err(Malformed::Target)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_is_spelled_in_one_way_only() {
        for good in [
            "GET / HTTP/1.1\r\n\r\n",
            "GET HTTP://a/?b HTTP/1.1\r\n\r\n",
            "CONNECT a:443 HTTP/1.1\r\n\r\n",
            "GET /?a HTTP/1.1\r\nHost: a\r\nX:\r\nY:  a: b \r\n\r\n",
            "\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n",
            "POST / HTTP/1.1\r\nContent-Length: 1\r\n\r\n",
            "POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n",
        ] {
            assert_eq!(check_wire(good.as_bytes()), Ok(()), "{good:?}");
        }
        for (bad, why) in [
            ("", Malformed::Syntax),
            ("\r\n\r\n", Malformed::Syntax),
            ("GET / HTTP/1.1\n\n", Malformed::Syntax),
            ("GET / HTTP/1.1\nHost: a\r\n\r\n", Malformed::Syntax),
            ("GET / HTTP/1.1\r\nHost: a\n\r\n", Malformed::Syntax),
            ("GET / HTTP/1.1\r\nHost: a\r\n\n", Malformed::Syntax),
            ("GET / HTTP/1.1\r\nHost: a\rX: b\r\n\r\n", Malformed::Syntax),
            ("\nGET / HTTP/1.1\r\n\r\n", Malformed::Syntax),
            ("\r\n\r\nGET / HTTP/1.1\r\n\r\n", Malformed::Syntax),
            ("GET  / HTTP/1.1\r\n\r\n", Malformed::Syntax),
            ("GET / HTTP/1.1 \r\n\r\n", Malformed::Syntax),
            ("GET / HTTP/1.1\r\nHost: a\r\n folded\r\n\r\n", Malformed::Syntax),
            ("GET / HTTP/1.1\r\nHost : a\r\n\r\n", Malformed::Syntax),
            ("GET / HTTP/1.1\r\nHost\r\n\r\n", Malformed::Syntax),
            ("GET /#a HTTP/1.1\r\n\r\n", Malformed::Target),
            ("GET * HTTP/1.1\r\n\r\n", Malformed::Target),
            ("GET %20/ HTTP/1.1\r\n\r\n", Malformed::Target),
            ("GET ftp://a/ HTTP/1.1\r\n\r\n", Malformed::Target),
            ("GET a:443 HTTP/1.1\r\n\r\n", Malformed::Target),
            (
                "POST / HTTP/1.1\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
                Malformed::FramingConflict,
            ),
        ] {
            assert_eq!(check_wire(bad.as_bytes()), Err(why), "{bad:?}");
        }
    }
}
