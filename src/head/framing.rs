//! How long the body is, understood in one way only (RFC 9112 section 6.3).

use http::Version;
use http::header::{CONTENT_LENGTH, HeaderMap, TRANSFER_ENCODING};

use super::Malformed;

/// The announced length of a request body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BodyLength {
    /// No body follows.
    None,
    /// This many bytes follow. With HTTP/2 that may be none: whether it is true is seen at the end of the stream.
    Known(u64),
    /// Chunked, or HTTP/2 without Content-Length.
    Unknown,
}

impl BodyLength {
    pub(super) fn parse(headers: &HeaderMap, version: Version, ended: bool) -> Result<BodyLength, Malformed> {
        let length = content_length(headers)?;
        let mut codings = headers.get_all(TRANSFER_ENCODING).iter();
        let chunked = match (codings.next(), codings.next()) {
            (None, _) => false,
            (Some(one), None)
                if version == Version::HTTP_11 && one.as_bytes().eq_ignore_ascii_case(b"chunked") =>
            {
                true
            }
            _ => return Err(Malformed::TransferEncoding),
        };
        match (length, chunked) {
            (Some(_), true) => Err(Malformed::FramingConflict),
            (None, true) => Ok(BodyLength::Unknown),
            (Some(0), false) if version < Version::HTTP_2 => Ok(BodyLength::None),
            (Some(n), false) => Ok(BodyLength::Known(n)),
            // HTTP/1: neither means no body. HTTP/2: the end of the stream says it.
            (None, false) if version < Version::HTTP_2 || ended => Ok(BodyLength::None),
            (None, false) => Ok(BodyLength::Unknown),
        }
    }
}

fn content_length(headers: &HeaderMap) -> Result<Option<u64>, Malformed> {
    let mut values = headers.get_all(CONTENT_LENGTH).iter();
    match (values.next(), values.next()) {
        (None, _) => Ok(None),
        (Some(one), None) => {
            // `parse` alone would take a sign
            if one.is_empty() || !one.as_bytes().iter().all(u8::is_ascii_digit) {
                return Err(Malformed::ContentLength);
            }
            let digits = one.to_str().map_err(|_| Malformed::ContentLength)?;
            digits.parse().map(Some).map_err(|_| Malformed::ContentLength)
        }
        _ => Err(Malformed::ContentLength),
    }
}
