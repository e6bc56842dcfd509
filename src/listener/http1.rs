//! HTTP/1 on a guarded stream: one message after the other, each told apart from the next before Pingora sees any of it.

use std::future::poll_fn;
use std::io;
use std::time::Duration;

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

    /// Reads and throws away what the client still sends, so that it can read why it is to leave: bytes that nobody read
    /// reset a connection, and the answer with it.
    pub(super) async fn linger(&mut self) {
        const MOST: usize = 256 * 1024;
        self.connection
            .enter(Stage::Closing, Some(Duration::from_secs(1)));
        let mut read = 0;
        while read < MOST {
            self.held.clear();
            match poll_fn(|cx| self.poll_hold(cx)).await {
                Ok(0) | Err(_) => return,
                Ok(more) => read += more,
            }
        }
    }
}
