//! The head of an HTTP/1 request, as the client's bytes spell it (RFC 9112 sections 2 to 6).
//!
//! Read before anybody else sees it, byte for byte and once, however slowly it arrives. The parser behind us forgives
//! (lines that end in a bare LF, Content-Length beside Transfer-Encoding, a fragment in the target), and what it does not
//! forgive it refuses in silence; so nothing may reach it that it would refuse, or that another reader of the same bytes
//! could understand differently.

use memchr::memchr;

use super::{BodyLength, Malformed, authority};
use crate::octets::Octets;

/// How much a head may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WireLimits {
    /// Bytes, from the first one to the end of the empty line.
    pub bytes: usize,
    /// Header fields.
    pub fields: u16,
}

/// What has to be known of a head to read the message that it begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WireHead {
    /// Its length in bytes.
    pub len: usize,
    /// How long the body is.
    pub body: BodyLength,
    /// Whether the client waits for `100 Continue` before it sends the body.
    pub expects_continue: bool,
    /// Whether it has an `Upgrade` field.
    pub upgrades: bool,
}

/// Reads one head, in as many parts as it comes.
#[derive(Debug, Default)]
pub struct HeadReader {
    /// Where the line that is read begins.
    line: usize,
    /// Up to where no line ends.
    scanned: usize,
    /// Whether the one empty line that may precede a head has come.
    skipped: bool,
    has_request_line: bool,
    is_http10: bool,
    /// Authority of a target in absolute-form, as a range of the head.
    authority: Option<Range>,
    host: Option<Range>,
    length: Option<u64>,
    is_chunked: bool,
    expects_continue: bool,
    upgrades: bool,
    fields: u16,
}

type Range = (usize, usize);

impl HeadReader {
    /// Reads on. `bytes` is everything from the first byte of the head; what was read before is not read again. `None`:
    /// the head is not at its end.
    ///
    /// # Errors
    /// The first thing found in it that RFC 9112 does not allow, or that is more than `limits`.
    pub fn read(&mut self, bytes: &[u8], limits: WireLimits) -> Result<Option<WireHead>, Malformed> {
        while let Some(found) = memchr(b'\n', bytes.get(self.scanned..).unwrap_or_default()) {
            let end = self.scanned + found;
            let begin = self.line;
            let line = bytes.get(begin..end).unwrap_or_default();
            let line = line.strip_suffix(b"\r").ok_or(Malformed::Syntax)?;
            (self.line, self.scanned) = (end + 1, end + 1);
            if self.line > limits.bytes {
                return Err(Malformed::HeadTooLarge);
            }
            if has_controls(line) {
                return Err(Malformed::Syntax);
            }
            if !self.has_request_line {
                // one empty line before the head is nothing (RFC 9112 section 2.2)
                if line.is_empty() && !self.skipped {
                    self.skipped = true;
                    continue;
                }
                self.request_line(line, begin)?;
                self.has_request_line = true;
            } else if line.is_empty() {
                return self.end(bytes).map(Some);
            } else {
                self.fields += 1;
                if self.fields > limits.fields {
                    return Err(Malformed::TooManyFields);
                }
                self.field(line, begin)?;
            }
        }
        // what is no head, and will not become one, is not waited for
        let from = self.line.max(self.scanned.saturating_sub(1));
        let part = bytes.get(from..).unwrap_or_default();
        let part = part.strip_suffix(b"\r").unwrap_or(part);
        let first = bytes.get(self.line).filter(|byte| **byte != b'\r');
        if has_controls(part) || (!self.has_request_line && first.is_some_and(|byte| !is_tchar(*byte))) {
            return Err(Malformed::Syntax);
        }
        if bytes.len() > limits.bytes {
            return Err(Malformed::HeadTooLarge);
        }
        self.scanned = bytes.len();
        Ok(None)
    }

    /// `method SP target SP version`, and nothing else.
    fn request_line(&mut self, line: &[u8], begin: usize) -> Result<(), Malformed> {
        let mut words = line.split(|byte| *byte == b' ');
        let (Some(method), Some(target), Some(version), None) =
            (words.next(), words.next(), words.next(), words.next())
        else {
            return Err(Malformed::Syntax);
        };
        if method.is_empty() || target.is_empty() || !method.iter().all(|byte| is_tchar(*byte)) {
            return Err(Malformed::Syntax);
        }
        match version {
            b"HTTP/1.1" => {}
            b"HTTP/1.0" => self.is_http10 = true,
            [b'H', b'T', b'T', b'P', b'/', major, b'.', minor]
                if major.is_ascii_digit() && minor.is_ascii_digit() =>
            {
                return Err(Malformed::Version);
            }
            _ => return Err(Malformed::Syntax),
        }
        if matches!(method, b"CONNECT" | b"TRACE") {
            // refused for its method, whatever its target
            return Err(Malformed::Method);
        }
        // origin-form or absolute-form, and never a fragment (RFC 9112 section 3.2, RFC 9110 section 4.2.5)
        let path = if target.starts_with(b"/") {
            target
        } else {
            let rest = ["http://", "https://"].iter().find_map(|scheme| {
                let (start, rest) = target.split_at_checked(scheme.len())?;
                start.eq_ignore_ascii_case(scheme.as_bytes()).then_some(rest)
            });
            let rest = rest.ok_or(Malformed::Target)?;
            let end = rest
                .iter()
                .position(|byte| matches!(byte, b'/' | b'?'))
                .unwrap_or(rest.len());
            let (authority, path) = rest.split_at_checked(end).unwrap_or_default();
            let start = begin + method.len() + 1 + target.len() - rest.len();
            self.authority = Some((start, start + authority.len()));
            path
        };
        if memchr(b'#', target).is_some() {
            return Err(Malformed::Target);
        }
        let (path, query) = match memchr(b'?', path) {
            Some(mark) => path.split_at_checked(mark).unwrap_or_default(),
            None => (path, &[][..]),
        };
        if !path.iter().all(|byte| is_path_byte(*byte)) {
            return Err(Malformed::PathCharacter);
        }
        // what is wrong with it beyond this is found when it is read as a query; a quotation mark ends it for some
        if query
            .iter()
            .any(|byte| !byte.is_ascii_graphic() || matches!(byte, b'"' | b'<' | b'>'))
        {
            return Err(Malformed::Query);
        }
        Ok(())
    }

    fn field(&mut self, line: &[u8], begin: usize) -> Result<(), Malformed> {
        let colon = memchr(b':', line).ok_or(Malformed::Syntax)?;
        let (name, rest) = line.split_at_checked(colon).unwrap_or_default();
        if name.is_empty() || !name.iter().all(|byte| is_tchar(*byte)) {
            return Err(Malformed::Syntax);
        }
        let raw = rest.get(1..).unwrap_or_default();
        match name.len() {
            4 if name.eq_ignore_ascii_case(b"host") => {
                if self.host.is_some() {
                    return Err(Malformed::HostRepeated);
                }
                let blanks = raw.len() - raw.trim_ascii_start().len();
                let start = begin + colon + 1 + blanks;
                self.host = Some((start, start + raw.trim_ascii().len()));
            }
            6 if name.eq_ignore_ascii_case(b"expect") => {
                self.expects_continue |= raw.trim_ascii().eq_ignore_ascii_case(b"100-continue");
            }
            7 if name.eq_ignore_ascii_case(b"upgrade") => self.upgrades = true,
            14 if name.eq_ignore_ascii_case(b"content-length") => {
                if self.length.is_some() {
                    return Err(Malformed::ContentLength);
                }
                self.length = Some(content_length(raw.trim_ascii())?);
            }
            17 if name.eq_ignore_ascii_case(b"transfer-encoding") => {
                if self.is_chunked || !raw.trim_ascii().eq_ignore_ascii_case(b"chunked") {
                    return Err(Malformed::TransferEncoding);
                }
                self.is_chunked = true;
            }
            _ => {}
        }
        Ok(())
    }

    /// What can only be judged once everything is there.
    fn end(&self, bytes: &[u8]) -> Result<WireHead, Malformed> {
        let at = |(start, end): Range| bytes.get(start..end).unwrap_or_default();
        let host = at(self.host.ok_or(Malformed::HostMissing)?);
        let text = std::str::from_utf8(host).map_err(|_| Malformed::Host)?;
        authority::check(text)?;
        // byte for byte: whoever reads them later may compare them so
        if self.authority.is_some_and(|authority| at(authority) != host) {
            return Err(Malformed::Target);
        }
        if self.is_chunked && self.is_http10 {
            return Err(Malformed::TransferEncoding);
        }
        let body = match (self.length, self.is_chunked) {
            (Some(_), true) => return Err(Malformed::FramingConflict),
            (None, true) => BodyLength::Unknown,
            (Some(0) | None, false) => BodyLength::None,
            (Some(length), false) => BodyLength::Known(length),
        };
        Ok(WireHead {
            len: self.line,
            body,
            expects_continue: self.expects_continue,
            upgrades: self.upgrades,
        })
    }
}

fn content_length(value: &[u8]) -> Result<u64, Malformed> {
    // `parse` alone would take a sign
    if value.is_empty() || !value.iter().all(u8::is_ascii_digit) {
        return Err(Malformed::ContentLength);
    }
    std::str::from_utf8(value)
        .ok()
        .and_then(|digits| digits.parse().ok())
        .ok_or(Malformed::ContentLength)
}

/// Control characters, but for the tab. Of lengths that are known, and without a branch, so that it is done for many bytes
/// at once: most lines are short, and a compiler that was told so by a profile would else look at a token byte by byte.
fn has_controls(line: &[u8]) -> bool {
    fn any(bytes: &[u8]) -> bool {
        bytes.iter().fold(false, |found, byte| {
            found | ((*byte < 0x20) & (*byte != b'\t')) | (*byte == 0x7f)
        })
    }
    let (chunks, rest) = line.as_chunks::<32>();
    let found = chunks.iter().any(|chunk| any(chunk));
    let (chunks, rest) = rest.as_chunks::<8>();
    found || chunks.iter().any(|chunk| any(chunk)) || any(rest)
}

/// RFC 9110 section 5.6.2
pub(crate) fn is_tchar(byte: u8) -> bool {
    const TCHAR: Octets = Octets::alphanumeric_and(b"!#$%&'*+-.^_`|~");
    TCHAR.has(byte)
}

/// What a path can hold (RFC 3986 section 3.3).
fn is_path_byte(byte: u8) -> bool {
    const PATH: Octets = Octets::alphanumeric_and(b"/-._~!$&'()*+,;=:@%");
    PATH.has(byte)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: WireLimits = WireLimits {
        bytes: 200,
        fields: 5,
    };

    fn read(head: &[u8]) -> Result<Option<WireHead>, Malformed> {
        HeadReader::default().read(head, LIMITS)
    }

    /// The same, a byte at a time.
    fn drip(head: &[u8]) -> Result<Option<WireHead>, Malformed> {
        let mut reader = HeadReader::default();
        for end in 1..=head.len() {
            match reader.read(&head[..end], LIMITS) {
                Ok(None) => {}
                // what comes after the end of a head is no part of it
                ended => return ended,
            }
        }
        Ok(None)
    }

    // U16
    #[test]
    fn a_head_is_spelled_in_one_way_only() {
        for good in [
            "GET / HTTP/1.1\r\nHost: a\r\n\r\n",
            "GET HTTP://a/?b HTTP/1.1\r\nHost: a\r\n\r\n",
            "GET http://a HTTP/1.1\r\nHost: a\r\n\r\n",
            "GET /?a HTTP/1.1\r\nHost: a\r\nX:\r\nY:  a: b \r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a\r\nX: \u{e4}\ta\r\n\r\n",
            "\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n",
            "GET / HTTP/1.0\r\nHost:a\r\n\r\n",
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\n",
            "POST / HTTP/1.1\r\nHost: a\r\ntransfer-encoding: chunked\r\n\r\n",
        ] {
            let head = read(good.as_bytes()).unwrap().unwrap();
            assert_eq!(head.len, good.len(), "{good:?}");
            assert_eq!(drip(good.as_bytes()), Ok(Some(head)), "{good:?}");
        }
        for (bad, why) in [
            ("\r\n\r\n", Malformed::Syntax),
            ("GET / HTTP/1.1\n\n", Malformed::Syntax),
            ("GET / HTTP/1.1\nHost: a\r\n\r\n", Malformed::Syntax),
            ("GET / HTTP/1.1\r\nHost: a\n\r\n", Malformed::Syntax),
            ("GET / HTTP/1.1\r\nHost: a\r\n\n", Malformed::Syntax),
            ("GET / HTTP/1.1\r\nHost: a\rX: b\r\n\r\n", Malformed::Syntax),
            ("GET / HTTP/1.1\r\nHost: a\r\nX: \0\r\n\r\n", Malformed::Syntax),
            ("GET / HTTP/1.1\r\nHost: a\r\nX: \x7f\r\n\r\n", Malformed::Syntax),
            ("\nGET / HTTP/1.1\r\n\r\n", Malformed::Syntax),
            ("\x16\x03\x01", Malformed::Syntax),
            ("\r\n\r\nGET / HTTP/1.1\r\n\r\n", Malformed::Syntax),
            ("GET  / HTTP/1.1\r\n\r\n", Malformed::Syntax),
            ("GET / HTTP/1.1 \r\n\r\n", Malformed::Syntax),
            ("GET\t/ HTTP/1.1\r\n\r\n", Malformed::Syntax),
            ("G@T / HTTP/1.1\r\n\r\n", Malformed::Syntax),
            ("GET / http/1.1\r\n\r\n", Malformed::Syntax),
            ("GET / HTTP/1.10\r\n\r\n", Malformed::Syntax),
            ("GET / HTTP/1.2\r\n\r\n", Malformed::Version),
            ("PRI * HTTP/2.0\r\n\r\n", Malformed::Version),
            ("GET / HTTP/1.1\r\nHost: a\r\n folded\r\n\r\n", Malformed::Syntax),
            ("GET / HTTP/1.1\r\nHost : a\r\n\r\n", Malformed::Syntax),
            ("GET / HTTP/1.1\r\nHost\r\n\r\n", Malformed::Syntax),
            ("GET / HTTP/1.1\r\n: a\r\n\r\n", Malformed::Syntax),
            ("GET /#a HTTP/1.1\r\n\r\n", Malformed::Target),
            ("GET * HTTP/1.1\r\n\r\n", Malformed::Target),
            ("GET %20/ HTTP/1.1\r\n\r\n", Malformed::Target),
            ("GET ftp://a/ HTTP/1.1\r\n\r\n", Malformed::Target),
            ("GET a:443 HTTP/1.1\r\n\r\n", Malformed::Target),
            ("GET http://b/ HTTP/1.1\r\nHost: a\r\n\r\n", Malformed::Target),
            ("GET http://A/ HTTP/1.1\r\nHost: a\r\n\r\n", Malformed::Target),
            ("GET http:/// HTTP/1.1\r\nHost: a\r\n\r\n", Malformed::Target),
            ("GET /\u{e4} HTTP/1.1\r\n\r\n", Malformed::PathCharacter),
            ("GET /a|b HTTP/1.1\r\n\r\n", Malformed::PathCharacter),
            ("GET /?\" HTTP/1.1\r\n\r\n", Malformed::Query),
            ("CONNECT a:443 HTTP/1.1\r\n\r\n", Malformed::Method),
            ("GET / HTTP/1.1\r\n\r\n", Malformed::HostMissing),
            (
                "GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n",
                Malformed::HostRepeated,
            ),
            ("GET / HTTP/1.1\r\nHost: a b\r\n\r\n", Malformed::Host),
            (
                "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
                Malformed::FramingConflict,
            ),
            (
                "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\n",
                Malformed::ContentLength,
            ),
            (
                "POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n",
                Malformed::TransferEncoding,
            ),
            (
                "GET / HTTP/1.1\r\nHost: a\r\nB:\r\nC:\r\nD:\r\nE:\r\nF:\r\n\r\n",
                Malformed::TooManyFields,
            ),
        ] {
            assert_eq!(read(bad.as_bytes()), Err(why), "{bad:?}");
            assert_eq!(drip(bad.as_bytes()), Err(why), "a byte at a time: {bad:?}");
        }
    }

    #[test]
    fn a_head_is_no_longer_than_its_limit_however_it_comes() {
        let of = |length: usize| {
            let start = "GET / HTTP/1.1\r\nHost: a\r\nX: ";
            format!("{start}{}\r\n\r\n", "x".repeat(length - start.len() - 4))
        };
        assert_eq!(of(200).len(), 200);
        assert!(read(of(200).as_bytes()).unwrap().is_some());
        assert_eq!(read(of(201).as_bytes()), Err(Malformed::HeadTooLarge));
        assert_eq!(drip(of(201).as_bytes()), Err(Malformed::HeadTooLarge));
        assert_eq!(read(&[b'x'; 201]), Err(Malformed::HeadTooLarge));
    }

    #[test]
    fn what_follows_a_head_is_not_looked_at() {
        let head = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
        let found = read(format!("{head}\0\n garbage").as_bytes()).unwrap().unwrap();
        assert_eq!((found.len, found.body), (head.len(), BodyLength::None));
    }

    #[test]
    fn a_head_says_how_its_message_goes_on() {
        let head =
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nExpect: 100-Continue\r\nUpgrade: x\r\n\r\n";
        let found = read(head.as_bytes()).unwrap().unwrap();
        assert_eq!(found.body, BodyLength::Known(5));
        assert!(found.expects_continue && found.upgrades);
    }
}
