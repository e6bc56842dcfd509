//! HTTP/2 on a guarded stream: the headers of frames are read as they pass, in both directions (RFC 9113 section 4.1).
//!
//! What a frame means is for the library behind us to say. Here it is counted what frames cost: those that carry nothing
//! of a request, streams that are reset, bodies that do not come, connections on which nothing is asked for. The library
//! bounds the rest: the size of a header block and its CONTINUATION frames, streams at once, streams that are reset before
//! they are taken, empty DATA frames.

use super::connection::{Connection, Ended, Stage, is_slow, millis};
use crate::gateway::connections::FrameRate;

/// Bytes of the client's preface (RFC 9113 section 3.4).
const PREFACE: u32 = 24;
/// What each side may send before it is allowed more (RFC 9113 section 6.9.2); the library leaves it so.
const WINDOW: i64 = 65_535;
/// Frames that answer one of ours cost nothing: a PING that measures it, WINDOW_UPDATE for it and for its connection.
const CREDIT: u32 = 3;
/// How often bodies are looked at.
const LOOK: std::time::Duration = std::time::Duration::from_secs(1);

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const GOAWAY: u8 = 7;
const WINDOW_UPDATE: u8 = 8;
const CONTINUATION: u8 = 9;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;

/// What passes on one connection.
#[derive(Debug)]
pub(super) struct Frames {
    reading: Walker,
    writing: Walker,
    /// Whether the last write has to be repeated as it was.
    pub(super) is_blocked: bool,
    streams: Vec<Open>,
    /// The newest stream.
    last: u32,
    /// Streams that the client opened.
    opened: u32,
    has_begun: bool,
    in_header_block: bool,
    /// What the client may send on the connection.
    window: i64,
    control: Budget,
    resets: Budget,
    mode: Mode,
    looked: u64,
    /// Found while writing; told at the next read.
    found: Option<Ended>,
    /// Whether the client was told to ask elsewhere.
    is_leaving: bool,
}

/// A stream that is not at its end.
#[derive(Debug)]
struct Open {
    id: u32,
    /// Whether the client may send more.
    asks: bool,
    /// Whether we may.
    answers: bool,
    /// What the client may send.
    window: i64,
    received: u64,
    /// Milliseconds in which it could have sent more.
    waited: u64,
}

/// What the connection is waited for with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    Preface,
    /// The rest of a frame, or of a block of headers; by the number of frames so far.
    Frame(u64),
    Idle,
    Bodies,
    Busy,
}

/// What is known of a frame from its first bytes.
#[derive(Debug, Clone, Copy)]
struct Frame {
    kind: u8,
    flags: u8,
    stream: u32,
    len: u32,
    /// Of WINDOW_UPDATE.
    increment: u32,
}

impl Frames {
    pub(super) fn new(connection: &Connection) -> Frames {
        let limits = &connection.limits;
        connection.enter(Stage::Http2, Some(limits.head_timeout));
        let now = connection.now();
        Frames {
            reading: Walker {
                skip: PREFACE,
                ..Walker::default()
            },
            writing: Walker::default(),
            is_blocked: false,
            streams: Vec::new(),
            last: 0,
            opened: 0,
            has_begun: false,
            in_header_block: false,
            window: WINDOW,
            control: Budget::new(limits.control_frames, now),
            resets: Budget::new(limits.resets, now),
            mode: Mode::Preface,
            looked: now,
            found: None,
            is_leaving: false,
        }
    }

    /// Streams that the client opened.
    pub(super) fn opened(&self) -> u32 {
        self.opened
    }

    /// Bytes came.
    pub(super) fn came(&mut self, bytes: &[u8], connection: &Connection) -> Result<(), Ended> {
        let now = connection.now();
        let mut rest = bytes;
        while let Some(frame) = self.reading.next(&mut rest) {
            self.has_begun = true;
            self.take(frame, connection, now)?;
        }
        self.wait(connection);
        self.verdict(connection)
    }

    fn take(&mut self, frame: Frame, connection: &Connection, now: u64) -> Result<(), Ended> {
        let ends = frame.flags & END_STREAM != 0;
        let mut costs = false;
        match frame.kind {
            DATA => {
                let length = i64::from(frame.len);
                self.window -= length;
                costs = frame.len == 0 && !ends;
                if let Some(stream) = self.stream(frame.stream) {
                    stream.window -= length;
                    stream.received += u64::from(frame.len);
                    stream.asks &= !ends;
                }
            }
            HEADERS => {
                self.in_header_block = frame.flags & END_HEADERS == 0;
                if frame.stream > self.last {
                    self.last = frame.stream;
                    self.opened += 1;
                    self.streams.push(Open {
                        id: frame.stream,
                        asks: !ends,
                        answers: true,
                        window: WINDOW,
                        received: 0,
                        waited: 0,
                    });
                } else if let Some(stream) = self.stream(frame.stream) {
                    stream.asks &= !ends;
                } else {
                    costs = true;
                }
            }
            RST_STREAM => {
                self.streams.retain(|stream| stream.id != frame.stream);
                if !self.resets.take(now) {
                    return Err(Ended::Resets);
                }
            }
            CONTINUATION => {
                self.in_header_block &= frame.flags & END_HEADERS == 0;
                costs = true;
            }
            // SETTINGS, PING, PRIORITY, WINDOW_UPDATE, and what nobody knows
            _ => costs = true,
        }
        self.forget();
        // the library answers what is too much; what it has not got round to answering is bounded as well
        let most = usize::try_from(connection.limits.max_concurrent_streams).unwrap_or(usize::MAX);
        if (costs && !self.control.take(now)) || self.streams.len() > most.saturating_mul(4) {
            return Err(Ended::ControlFrames);
        }
        Ok(())
    }

    /// Bytes were sent.
    pub(super) fn went(&mut self, bytes: &[u8], connection: &Connection) {
        let now = connection.now();
        let mut rest = bytes;
        while let Some(frame) = self.writing.next(&mut rest) {
            match frame.kind {
                DATA | HEADERS => {
                    self.control.give(CREDIT);
                    if frame.flags & END_STREAM != 0
                        && let Some(stream) = self.stream(frame.stream)
                    {
                        stream.answers = false;
                    }
                }
                RST_STREAM => {
                    self.streams.retain(|stream| stream.id != frame.stream);
                    if !self.resets.take(now) {
                        self.found = Some(Ended::Resets);
                    }
                }
                WINDOW_UPDATE if frame.stream == 0 => self.window += i64::from(frame.increment),
                WINDOW_UPDATE => {
                    if let Some(stream) = self.stream(frame.stream) {
                        stream.window += i64::from(frame.increment);
                    }
                }
                _ => {}
            }
        }
        self.forget();
        self.wait(connection);
    }

    fn stream(&mut self, id: u32) -> Option<&mut Open> {
        // the newest is asked for most
        self.streams.iter_mut().rev().find(|stream| stream.id == id)
    }

    fn forget(&mut self) {
        self.streams.retain(|stream| stream.asks || stream.answers);
    }

    /// Looks whether something is late; asked by the watchdog.
    pub(super) fn look(&mut self, connection: &Connection) -> Result<(), Ended> {
        match self.mode {
            Mode::Preface | Mode::Frame(_) => return Err(Ended::HeadTimeout),
            Mode::Idle if self.is_leaving => return Err(Ended::Requests),
            Mode::Idle => return Err(Ended::IdleTimeout),
            Mode::Bodies | Mode::Busy => {}
        }
        let now = connection.now();
        let since = now.saturating_sub(self.looked);
        self.looked = now;
        for stream in &mut self.streams {
            // what has no room to be sent to is not the client's fault
            if stream.asks && stream.window > 0 && self.window > 0 {
                stream.waited += since;
                if is_slow(&connection.limits, stream.waited, stream.received) {
                    return Err(Ended::BodyTooSlow);
                }
            }
        }
        connection.enter(Stage::Http2, Some(LOOK));
        self.verdict(connection)
    }

    fn verdict(&self, connection: &Connection) -> Result<(), Ended> {
        if let Some(found) = self.found {
            return Err(found);
        }
        let most = connection.limits.max_requests;
        let beyond = most.saturating_add(connection.limits.max_concurrent_streams);
        if self.opened > beyond {
            return Err(Ended::Requests);
        }
        Ok(())
    }

    /// Sets the deadline for what is waited for now, if that is something else than before.
    fn wait(&mut self, connection: &Connection) {
        let limits = &connection.limits;
        let mode = if !self.has_begun {
            Mode::Preface
        } else if self.in_header_block || self.reading.is_within_control() {
            Mode::Frame(self.reading.frames)
        } else if self.streams.is_empty() {
            Mode::Idle
        } else if self.streams.iter().any(|stream| stream.asks) {
            Mode::Bodies
        } else {
            Mode::Busy
        };
        if mode == self.mode {
            return;
        }
        // of one frame after the other in one block, the first began it
        let same_block =
            self.in_header_block && matches!((self.mode, mode), (Mode::Frame(_), Mode::Frame(_)));
        self.mode = mode;
        match mode {
            Mode::Frame(_) if same_block => {}
            Mode::Preface | Mode::Frame(_) => connection.enter(Stage::Http2, Some(limits.head_timeout)),
            // the client may still have something on its way
            Mode::Idle if self.is_leaving => connection.enter(Stage::Http2, Some(LOOK)),
            Mode::Idle => connection.enter(Stage::Http2, Some(limits.idle_timeout)),
            Mode::Bodies => {
                self.looked = connection.now();
                connection.enter(Stage::Http2, Some(LOOK));
            }
            Mode::Busy => connection.enter(Stage::Http2, None),
        }
    }

    /// What tells the client to make its next requests elsewhere, once it has made as many as it may.
    pub(super) fn notice(&mut self, connection: &Connection) -> Option<[u8; 17]> {
        if self.is_leaving || self.opened < connection.limits.max_requests {
            return None;
        }
        let notice = self.goaway(i32::MAX.unsigned_abs(), 0)?;
        self.is_leaving = true;
        Some(notice)
    }

    /// What is said before the connection is closed, where something can be said.
    pub(super) fn goodbye(&self, why: Ended) -> Option<[u8; 17]> {
        // RFC 9113 section 7: NO_ERROR, ENHANCE_YOUR_CALM
        let code = match why {
            Ended::IdleTimeout | Ended::Requests => 0,
            _ => 11,
        };
        self.goaway(self.last, code).filter(|_| self.has_begun)
    }

    fn goaway(&self, last: u32, code: u8) -> Option<[u8; 17]> {
        // never between the bytes of another frame
        if !self.writing.is_between() || self.is_blocked {
            return None;
        }
        let [a, b, c, d] = last.to_be_bytes();
        Some([0, 0, 8, GOAWAY, 0, 0, 0, 0, 0, a, b, c, d, 0, 0, 0, code])
    }
}

/// Finds the frames in a stream of bytes.
#[derive(Debug, Default)]
struct Walker {
    /// The first bytes of a frame: its header, and of WINDOW_UPDATE its payload.
    start: [u8; 13],
    have: usize,
    /// Bytes of payload that are still to come.
    skip: u32,
    kind: u8,
    frames: u64,
}

impl Walker {
    /// The next frame, and `bytes` without what was looked at.
    fn next(&mut self, bytes: &mut &[u8]) -> Option<Frame> {
        loop {
            let skipped = usize::try_from(self.skip).unwrap_or(usize::MAX).min(bytes.len());
            *bytes = bytes.get(skipped..).unwrap_or_default();
            self.skip -= u32::try_from(skipped).unwrap_or(self.skip);
            if bytes.is_empty() {
                return None;
            }
            let wanted = if self.have >= 9 { 13 } else { 9 };
            let now = (wanted - self.have).min(bytes.len());
            let (now, rest) = bytes.split_at_checked(now)?;
            for byte in now {
                if let Some(place) = self.start.get_mut(self.have) {
                    *place = *byte;
                }
                self.have += 1;
            }
            *bytes = rest;
            if self.have < wanted {
                return None;
            }
            let [a, b, c, kind, flags, s, t, u, v, w, x, y, z] = self.start;
            let len = u32::from_be_bytes([0, a, b, c]);
            if kind == WINDOW_UPDATE && len >= 4 && wanted == 9 {
                continue;
            }
            self.skip = len - if wanted == 13 { 4 } else { 0 };
            self.have = 0;
            self.kind = kind;
            self.frames += 1;
            let reserved = !(1 << 31);
            return Some(Frame {
                kind,
                flags,
                stream: u32::from_be_bytes([s, t, u, v]) & reserved,
                len,
                increment: if wanted == 13 {
                    u32::from_be_bytes([w, x, y, z]) & reserved
                } else {
                    0
                },
            });
        }
    }

    /// Whether a frame has ended and none has begun.
    fn is_between(&self) -> bool {
        self.have == 0 && self.skip == 0
    }

    /// Whether a frame has begun and not ended that is not as large as a body may be.
    fn is_within_control(&self) -> bool {
        self.have > 0 || (self.skip > 0 && self.kind != DATA)
    }
}

/// So many in a window, as many at once.
#[derive(Debug)]
struct Budget {
    rate: FrameRate,
    /// Thousandths of a frame.
    left: u64,
    at: u64,
}

impl Budget {
    fn new(rate: FrameRate, now: u64) -> Budget {
        Budget {
            rate,
            left: u64::from(rate.frames) * 1000,
            at: now,
        }
    }

    /// Spends one; `false`: there is none left.
    fn take(&mut self, now: u64) -> bool {
        let most = u64::from(self.rate.frames) * 1000;
        let gained = now.saturating_sub(self.at).saturating_mul(most) / millis(self.rate.per).max(1);
        self.at = now;
        self.left = self.left.saturating_add(gained).min(most);
        match self.left.checked_sub(1000) {
            Some(left) => {
                self.left = left;
                true
            }
            None => false,
        }
    }

    fn give(&mut self, frames: u32) {
        let most = u64::from(self.rate.frames) * 1000;
        self.left = (self.left + u64::from(frames) * 1000).min(most);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
        let [_, a, b, c] = (payload.len() as u32).to_be_bytes();
        let mut bytes = vec![a, b, c, kind, flags];
        bytes.extend(stream.to_be_bytes());
        bytes.extend(payload);
        bytes
    }

    #[test]
    fn frames_are_found_however_their_bytes_come() {
        let bytes = [
            frame(HEADERS, END_HEADERS, 1, b"abc"),
            frame(WINDOW_UPDATE, 0, 0, &7u32.to_be_bytes()),
            frame(DATA, END_STREAM, 1, &[0; 300]),
            frame(4, 1, 0, b""),
        ]
        .concat();
        for step in [1, 2, 7, 9, 13, 100, bytes.len()] {
            let mut walker = Walker::default();
            let mut found = Vec::new();
            for part in bytes.chunks(step) {
                let mut rest = part;
                while let Some(frame) = walker.next(&mut rest) {
                    found.push((frame.kind, frame.flags, frame.stream, frame.len, frame.increment));
                }
                assert!(rest.is_empty());
            }
            assert_eq!(
                found,
                [
                    (1, 4, 1, 3, 0),
                    (8, 0, 0, 4, 7),
                    (0, 1, 1, 300, 0),
                    (4, 1, 0, 0, 0)
                ],
                "{step}"
            );
            assert!(walker.is_between());
        }
    }

    #[test]
    fn a_budget_is_spent_and_comes_back() {
        let rate = FrameRate {
            frames: 10,
            per: Duration::from_secs(10),
        };
        let mut budget = Budget::new(rate, 0);
        assert!((0..10).all(|_| budget.take(0)));
        assert!(!budget.take(900));
        assert!(budget.take(1900));
        assert!(!budget.take(1900));
        budget.give(2);
        assert!(budget.take(1900) && budget.take(1900) && !budget.take(1900));
        assert!((0..10).all(|_| budget.take(1_000_000)));
        assert!(!budget.take(1_000_000));
    }
}
