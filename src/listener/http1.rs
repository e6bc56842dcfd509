//! HTTP/1 on a guarded stream: one message after the other, each told apart from the next before Pingora sees any of it.

use std::future::poll_fn;
use std::io;

use tokio::io::ReadBuf;

use super::chunked::Chunks;
use super::connection::{Connection, Ended, Stage};
use super::guard::{Fault, Guarded, Speaks};
use crate::denial::Denial;
use crate::head::{BodyLength, HeadReader, Malformed, WireHead};

/// The message that is handed over.
#[derive(Debug, Default)]
pub(super) struct Message {
    /// Bytes of the head that are to be handed over.
    head: usize,
    body: Body,
    /// Whether a body waits until `100 Continue` was sent.
    expects_continue: bool,
    /// Whether the answer may be a switch to another protocol.
    upgrades: bool,
    /// Messages so far on this connection.
    pub(super) count: u32,
}

/// What is left of a body.
#[derive(Debug, Default)]
enum Body {
    #[default]
    Done,
    Sized(u64),
    Chunked(Chunks),
    /// Another protocol: nothing of it is ours to read.
    Tunnel,
}

/// What came of waiting for a head.
#[derive(Debug)]
pub(super) enum Arrival {
    /// A good one.
    Head,
    /// None: the client left, or has waited for too long, or is to leave.
    Nothing,
    /// One that is refused.
    Refused(Denial),
}

impl Message {
    fn begin(&mut self, head: WireHead, connection: &Connection) {
        self.head = head.len;
        self.expects_continue = head.expects_continue;
        self.upgrades = head.upgrades;
        self.body = match head.body {
            BodyLength::None => Body::Done,
            BodyLength::Known(length) => Body::Sized(length),
            BodyLength::Unknown => Body::Chunked(Chunks::default()),
        };
        self.count += 1;
        if self.wants_more() {
            connection.body_begins();
        } else {
            connection.enter(Stage::Busy, None);
        }
    }

    /// How long the head is, where nothing has been handed over of it, nothing follows it, and it is not the last that the
    /// connection may bring.
    pub(super) fn bodiless(&self, connection: &Connection) -> Option<usize> {
        let is_alone = matches!(self.body, Body::Done) && !self.upgrades && !self.expects_continue;
        (is_alone && self.head > 0 && self.count < connection.limits.max_requests).then_some(self.head)
    }

    /// Forgets the head, and says how long it was.
    pub(super) fn take_head(&mut self) -> usize {
        std::mem::take(&mut self.head)
    }

    /// Whether the message is not at its end.
    pub(super) fn wants_more(&self) -> bool {
        !matches!(self.body, Body::Done)
    }

    /// Whether the client is to send more of a body now.
    pub(super) fn is_in_body(&self) -> bool {
        self.head == 0 && !self.expects_continue && matches!(self.body, Body::Sized(_) | Body::Chunked(_))
    }

    /// Hands over of `held` what belongs to the message, and says how much that was.
    pub(super) fn hand_over(
        &mut self,
        held: &[u8],
        buf: &mut ReadBuf<'_>,
        connection: &Connection,
    ) -> io::Result<usize> {
        if self.head > 0 {
            // by itself: what is wrong with the body is told to whoever reads that
            let head = self.head.min(held.len()).min(buf.remaining());
            buf.put_slice(held.get(..head).unwrap_or_default());
            self.head -= head;
            return Ok(head);
        }
        let most = held.len().min(buf.remaining());
        let held = held.get(..most).unwrap_or_default();
        let taken = self.take(held, connection).map_err(|why| {
            connection.end(Ended::Malformed);
            io::Error::new(io::ErrorKind::InvalidData, Fault(why.into()))
        })?;
        buf.put_slice(held.get(..taken).unwrap_or_default());
        Ok(taken)
    }

    /// How many of these bytes belong to the body.
    pub(super) fn take(&mut self, bytes: &[u8], connection: &Connection) -> Result<usize, Malformed> {
        let taken = match &mut self.body {
            Body::Done => return Ok(0),
            Body::Tunnel => return Ok(bytes.len()),
            Body::Sized(left) => {
                let taken = usize::try_from(*left).unwrap_or(usize::MAX).min(bytes.len());
                *left -= u64::try_from(taken).unwrap_or(u64::MAX);
                if *left == 0 {
                    self.body = Body::Done;
                }
                taken
            }
            Body::Chunked(chunks) => match chunks.read(bytes)? {
                None => bytes.len(),
                Some(end) => {
                    self.body = Body::Done;
                    end
                }
            },
        };
        connection.body_came(taken);
        if !self.wants_more() {
            connection.enter(Stage::Busy, None);
        }
        Ok(taken)
    }

    /// The beginning of something that was sent: `100 Continue`, a switch, an answer.
    pub(super) fn answered(&mut self, bytes: &[u8], connection: &Connection) {
        if self.expects_continue {
            // from now on the client has no reason to wait
            self.expects_continue = false;
        }
        if self.upgrades {
            let is_interim = bytes.starts_with(b"HTTP/1.1 1");
            if bytes.starts_with(b"HTTP/1.1 101") {
                self.body = Body::Tunnel;
                connection.enter(Stage::Busy, None);
            }
            self.upgrades = is_interim && !bytes.starts_with(b"HTTP/1.1 101");
        }
    }
}

impl Guarded {
    /// Waits for a head, and judges it.
    pub(super) async fn arrival(&mut self) -> Arrival {
        let connection = self.connection.clone();
        let limits = connection.limits.clone();
        let Speaks::Http1(message) = &self.speaks else {
            return Arrival::Nothing;
        };
        // what is left of a body, or of another protocol, is nothing to go on from
        if message.wants_more() || message.head > 0 {
            return Arrival::Nothing;
        }
        let mut reader = HeadReader::default();
        if self.held.is_empty() {
            if message.count == 0 {
                connection.enter(Stage::FirstByte, Some(limits.head_timeout));
            } else {
                connection.enter(Stage::Idle, Some(limits.idle_timeout));
            }
            if connection.registry.is_leaving() {
                return Arrival::Nothing;
            }
            match poll_fn(|cx| self.poll_hold(cx)).await {
                Ok(0) => return Arrival::Nothing,
                Ok(_) => {}
                Err(why) => {
                    if why.kind() == io::ErrorKind::TimedOut && !connection.registry.is_leaving() {
                        connection.end(match connection.stage() {
                            Stage::FirstByte => Ended::HeadTimeout,
                            _ => Ended::IdleTimeout,
                        });
                    }
                    return Arrival::Nothing;
                }
            }
        }
        let mut timed = false;
        loop {
            match reader.read(&self.held, limits.head) {
                Err(why) => {
                    connection.end(Ended::Malformed);
                    return Arrival::Refused(Denial::Malformed(why));
                }
                Ok(Some(head)) => {
                    if let Speaks::Http1(message) = &mut self.speaks {
                        message.begin(head, &connection);
                    }
                    return Arrival::Head;
                }
                Ok(None) => {}
            }
            if !timed {
                // most heads come at once
                timed = true;
                connection.enter(Stage::Head, Some(limits.head_timeout));
            }
            match poll_fn(|cx| self.poll_hold(cx)).await {
                Ok(0) => return Arrival::Nothing,
                Ok(_) => {}
                Err(why) if why.kind() == io::ErrorKind::TimedOut => {
                    connection.end(Ended::HeadTimeout);
                    return Arrival::Refused(Denial::HeadTooSlow);
                }
                Err(_) => return Arrival::Nothing,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use pingora_core::protocols::http::v1::server::HttpSession;
    use proptest::prelude::*;
    use tokio::io::AsyncWriteExt;

    use super::*;
    use crate::head::WireLimits;

    const LIMITS: WireLimits = WireLimits {
        bytes: 32 << 10,
        fields: 100,
    };

    /// What Pingora makes of these bytes: the length of the head, and the body.
    fn by_pingora(bytes: &[u8]) -> Option<(usize, Vec<u8>)> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(async {
            let (mut client, server) = tokio::io::duplex(1 << 20);
            client.write_all(bytes).await.unwrap();
            drop(client);
            let mut session = HttpSession::new(Box::new(server));
            let length = session.read_request().await.ok()??;
            let mut body = Vec::new();
            while let Some(part) = session.read_body_bytes().await.ok()? {
                body.extend_from_slice(&part);
            }
            Some((length, body))
        })
    }

    /// A head of lines that are mostly good, with a byte of it changed, put in, or left out.
    fn heads() -> impl Strategy<Value = Vec<u8>> {
        let request_lines = prop_oneof![
            8 => "(GET|POST|X-Y|A!#) /[a-zA-Z0-9/._~!$&'()*+,;=:@%?-]{0,20} HTTP/1\\.[01]",
            1 => "(GET|PUT) https?://(a|b:8|A)(/[a-z?=%#{}|\\\\\"<>^`]{0,8})? HTTP/1\\.1",
            1 => "GET [!-~]{1,12} HTTP/1\\.1",
        ];
        let lines = prop_oneof![
            4 => Just("Host: a".to_owned()),
            1 => "Host:[ \t]?[a-zA-Z0-9.:\\[\\]_@/-]{0,12}[ \t]?",
            1 => "(Content-Length|content-length): ?[0-9]{1,20}",
            1 => "Transfer-Encoding: ?(chunked|CHUNKED|gzip, chunked)",
            1 => "(Connection|Upgrade|Expect|TE|Cookie): [ -~]{0,20}",
            2 => "[!#$%&'*+.^_`|~0-9a-zA-Z-]{1,12}:[ \t!-~\u{80}-\u{ff}]{0,20}",
        ];
        let change = (any::<prop::sample::Index>(), any::<u8>(), 0..6u8);
        (request_lines, prop::collection::vec(lines, 0..5), change).prop_map(|(first, lines, change)| {
            let mut bytes = format!("{first}\r\nHost: a\r\n").into_bytes();
            for line in lines
                .iter()
                .filter(|line| !line.to_lowercase().starts_with("host") || line.len() > 8)
            {
                bytes.extend(line.as_bytes());
                bytes.extend(b"\r\n");
            }
            bytes.extend(b"\r\n");
            let (index, byte, how) = change;
            let index = index.index(bytes.len());
            match how {
                0 => bytes[index] = byte,
                1 => bytes.insert(index, byte),
                2 => _ = bytes.remove(index),
                _ => {}
            }
            bytes
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]

        // U16: whatever we take, Pingora takes for the same; what it would refuse in silence never reaches it
        #[test]
        fn a_head_that_we_take_is_one_for_pingora_too(head in heads()) {
            if let Ok(Some(ours)) = HeadReader::default().read(&head, LIMITS) {
                let whole = match ours.body {
                    BodyLength::None => head[..ours.len].to_vec(),
                    BodyLength::Known(length) if length < 10_000 => {
                        [&head[..ours.len], &vec![b'x'; length as usize][..]].concat()
                    }
                    BodyLength::Known(_) => return Ok(()),
                    BodyLength::Unknown => [&head[..ours.len], &b"1\r\nx\r\n0\r\n\r\n"[..]].concat(),
                };
                let expected = match ours.body {
                    BodyLength::None => 0,
                    BodyLength::Known(length) => length as usize,
                    BodyLength::Unknown => 1,
                };
                // one empty line before the head counts for us and not for Pingora
                let blank = usize::from(head.starts_with(b"\r\n")) * 2;
                let theirs = by_pingora(&whole);
                let lengths = theirs.map(|(head, body)| (head, body.len()));
                let is_same = lengths == Some((ours.len, expected)) || lengths == Some((ours.len - blank, expected));
                prop_assert!(is_same, "{}: {ours:?}, {lengths:?}", head.escape_ascii());
            }
        }

        // U16: a body ends for Pingora where it ends for us
        #[test]
        fn a_chunked_body_ends_where_it_ends_for_pingora(
            chunks in prop::collection::vec("[0-9a-f\r\n;]{1,20}", 0..4),
            upper in any::<bool>(),
            zeros in 0..4usize,
            trailer in "|([a-z]{1,5}: ?[!-~]{0,8}\r\n)",
            change in (any::<prop::sample::Index>(), any::<u8>(), 0..5u8),
        ) {
            let mut wire = Vec::new();
            for chunk in &chunks {
                let size = format!("{}{:x}", "0".repeat(zeros), chunk.len());
                let size = if upper { size.to_uppercase() } else { size };
                wire.extend(format!("{size}\r\n{chunk}\r\n").as_bytes());
            }
            wire.extend(format!("0{}\r\n{trailer}\r\n", "0".repeat(zeros)).as_bytes());
            let (index, byte, how) = change;
            let index = index.index(wire.len());
            match how {
                0 => wire[index] = byte,
                1 => wire.insert(index, byte),
                _ => {}
            }
            let head = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
            if let Ok(Some(end)) = Chunks::default().read(&wire) {
                let theirs = by_pingora(&[head, &wire[..end]].concat());
                prop_assert!(theirs.is_some(), "{}", wire.escape_ascii());
                // and not before
                prop_assert!(by_pingora(&[head, &wire[..end - 1]].concat()).is_none());
                if how > 1 {
                    prop_assert_eq!(theirs.unwrap().1, chunks.concat().into_bytes());
                }
            }
        }

        #[test]
        fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..200), step in 1..50usize) {
            let mut reader = HeadReader::default();
            for end in (1..=bytes.len()).step_by(step) {
                if reader.read(&bytes[..end], LIMITS).is_err() {
                    break;
                }
            }
            let _ = Chunks::default().read(&bytes);
        }
    }
}
