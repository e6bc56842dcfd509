//! Leaving HTTP: only for WebSocket (RFC 6455), and only on routes that say so (S12).
//!
//! Whoever is let through speaks to the upstream without being judged again, so the handshake is held to the letter.

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::header::{
    CONNECTION, HeaderMap, HeaderName, ORIGIN, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_VERSION, UPGRADE,
};
use http::{HeaderValue, Method, Version};

use crate::denial::{Denial, UpgradeError, Verdict};
use crate::head::{BodyLength, Head};

/// The only version there is (RFC 6455 section 4.1).
pub const VERSION: HeaderValue = HeaderValue::from_static("13");

/// What a route says of WebSocket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WebSocket {
    /// Nothing in either direction for so long: closed.
    pub idle: Duration,
    /// Closed after so long in any case.
    pub total: Duration,
    /// `Origin` must be one of these, in lower case. Empty: it may be anything, or absent.
    pub origins: Box<[Box<str>]>,
    /// Line of the configuration that says so.
    pub line: u32,
}

/// Leave for a connection to become a WebSocket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tunnel {
    /// Nothing in either direction for so long: closed.
    pub idle: Duration,
    /// Closed after so long in any case.
    pub total: Duration,
}

/// Judges an upgrade; `None` where nothing of the kind is asked for.
///
/// # Errors
/// [`Denial::Upgrade`]: the route takes none, or the handshake is not one.
pub fn check(taken: Option<&WebSocket>, head: &Head, headers: &HeaderMap) -> Verdict<Option<Tunnel>> {
    if !headers.contains_key(UPGRADE) {
        return Ok(None);
    }
    let taken = taken.ok_or(Denial::Upgrade(UpgradeError::NotTaken))?;
    let is_handshake = only(headers, &UPGRADE).is_some_and(|to| to.eq_ignore_ascii_case(b"websocket"))
        && *head.method() == Method::GET
        && head.version() == Version::HTTP_11
        && head.body() == BodyLength::None
        && options(headers).any(|option| option.eq_ignore_ascii_case(b"upgrade"))
        && only(headers, &SEC_WEBSOCKET_KEY).is_some_and(is_key);
    if !is_handshake {
        return Err(Denial::Upgrade(UpgradeError::Handshake));
    }
    if only(headers, &SEC_WEBSOCKET_VERSION) != Some(VERSION.as_bytes()) {
        return Err(Denial::Upgrade(UpgradeError::Version));
    }
    if !taken.origins.is_empty() {
        let origin = only(headers, &ORIGIN).unwrap_or_default();
        let is_known = |known: &&str| origin.eq_ignore_ascii_case(known.as_bytes());
        if taken
            .origins
            .iter()
            .map(|known| &**known)
            .find(is_known)
            .is_none()
        {
            return Err(Denial::Upgrade(UpgradeError::Origin));
        }
    }
    Ok(Some(Tunnel {
        idle: taken.idle,
        total: taken.total,
    }))
}

/// Whether an upstream's answer accepts the handshake with this key (RFC 6455 section 4.1, points 2 to 4).
#[must_use]
pub fn is_accepted(key: &HeaderValue, answer: &HeaderMap) -> bool {
    const GUID: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
    let accept = STANDARD.encode(openssl::sha::sha1(&[key.as_bytes(), GUID].concat()));
    only(answer, &UPGRADE).is_some_and(|to| to.eq_ignore_ascii_case(b"websocket"))
        && options(answer).any(|option| option.eq_ignore_ascii_case(b"upgrade"))
        && only(answer, &http::header::SEC_WEBSOCKET_ACCEPT) == Some(accept.as_bytes())
}

/// The value of a field that is there once.
fn only<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a [u8]> {
    let mut values = headers.get_all(name).iter();
    match (values.next(), values.next()) {
        (Some(value), None) => Some(value.as_bytes()),
        _ => None,
    }
}

/// The options of `Connection`.
fn options(headers: &HeaderMap) -> impl Iterator<Item = &[u8]> {
    let values = headers.get_all(CONNECTION).iter();
    values
        .flat_map(|value| value.as_bytes().split(|byte| *byte == b','))
        .map(<[u8]>::trim_ascii)
}

/// Sixteen bytes in base64.
fn is_key(value: &[u8]) -> bool {
    STANDARD.decode(value).is_ok_and(|nonce| nonce.len() == 16)
}

#[cfg(test)]
mod tests {
    use super::*;

    // the example of RFC 6455 section 1.3
    #[test]
    fn an_answer_accepts_exactly_the_key_that_was_sent() {
        let answer = |upgrade: &str, connection: &str, accept: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(UPGRADE, upgrade.parse().unwrap());
            headers.insert(CONNECTION, connection.parse().unwrap());
            headers.insert(http::header::SEC_WEBSOCKET_ACCEPT, accept.parse().unwrap());
            is_accepted(&HeaderValue::from_static("dGhlIHNhbXBsZSBub25jZQ=="), &headers)
        };
        let accept = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";
        assert!(answer("websocket", "Upgrade", accept));
        assert!(answer("WebSocket", "keep-alive, upgrade", accept));
        assert!(!answer("websocket", "Upgrade", "s3pPLMBiTxaQ9kYGzzhZRbK+xOp="));
        assert!(!answer("h2c", "Upgrade", accept));
        assert!(!answer("websocket", "close", accept));
    }
}
