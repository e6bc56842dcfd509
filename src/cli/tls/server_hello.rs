//! Which group a server chose for the exchange of keys: read off its own bytes, since the binding of the TLS library does
//! not say (RFC 8446 section 4.2.8, RFC 8422 section 5.4).

use crate::pki::iana;

/// Name of the group; `None` where there was none, or it came encrypted.
pub(super) fn group(received: &[u8]) -> Option<String> {
    let handshake = handshake(received);
    let mut rest = handshake.as_slice();
    let mut found = None;
    while let Some((kind, body, next)) = message(rest) {
        match kind {
            2 => found = key_share(body).or(found),
            // ServerKeyExchange: a named curve
            12 if body.first() == Some(&3) => found = number(body.get(1..3)?).or(found),
            _ => {}
        }
        rest = next;
    }
    found.map(iana::group)
}

/// The handshake messages in the records that are not encrypted.
fn handshake(mut records: &[u8]) -> Vec<u8> {
    let mut messages = Vec::new();
    while let Some((head, rest)) = records.split_at_checked(5) {
        let length = usize::from(number(head.get(3..5).unwrap_or_default()).unwrap_or_default());
        let Some((body, next)) = rest.split_at_checked(length) else {
            break;
        };
        match head.first() {
            Some(22) => messages.extend_from_slice(body),
            // ChangeCipherSpec: what follows is encrypted, or repeats what was asked for by a retry
            Some(20) => break,
            _ => {}
        }
        records = next;
    }
    messages
}

fn message(bytes: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let [kind, a, b, c, rest @ ..] = bytes else {
        return None;
    };
    let length = usize::from(*a) << 16 | usize::from(*b) << 8 | usize::from(*c);
    let (body, next) = rest.split_at_checked(length)?;
    Some((*kind, body, next))
}

/// The extension `key_share` of a ServerHello.
fn key_share(hello: &[u8]) -> Option<u16> {
    let session = usize::from(*hello.get(34)?);
    // version, random, session id, suite, compression
    let extensions = hello.get(35 + session + 3..)?;
    let mut rest = extensions.get(2..)?;
    while let Some((head, next)) = rest.split_at_checked(4) {
        let length = usize::from(number(head.get(2..4)?)?);
        let (body, next) = next.split_at_checked(length)?;
        if number(head.get(..2)?)? == 51 {
            return number(body.get(..2)?);
        }
        rest = next;
    }
    None
}

fn number(bytes: &[u8]) -> Option<u16> {
    <[u8; 2]>::try_from(bytes).ok().map(u16::from_be_bytes)
}
