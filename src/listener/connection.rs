//! One connection of a client: what it waits for, and until when.
//!
//! No timer is armed for it. What it does it writes down, in a few words of memory and by a clock that is read for all of
//! them at once; the [watchdog](super::registry) reads them several times a second and wakes, or ends, what is late.

use std::net::IpAddr;
use std::os::fd::RawFd;
use std::sync::atomic::{AtomicU8, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Waker};
use std::time::Duration;

use nix::sys::socket::{Shutdown, shutdown};
use parking_lot::Mutex;
use pingora_core::upstreams::peer::Tracing;

use super::client_certificate::Asked;
use super::registry::Registry;
use crate::gateway::connections::ConnectionLimits;

/// What a connection waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Stage {
    /// A PROXY protocol header.
    ProxyHeader,
    /// The end of the TLS handshake.
    Handshake,
    /// The first byte of its first request.
    FirstByte,
    /// The first byte of its next request.
    Idle,
    /// The rest of a head.
    Head,
    /// The rest of a body, at a certain rate.
    Body,
    /// For us.
    Busy,
    /// Being told why it is closed.
    Closing,
    /// HTTP/2, whatever that waits for.
    Http2,
}

/// Why we closed a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Ended {
    /// The TLS handshake took too long.
    HandshakeTimeout = 1,
    /// The TLS handshake failed.
    HandshakeFailed,
    /// No PROXY protocol header in time.
    ProxyHeaderTimeout,
    /// Neither a head, nor the preface of HTTP/2, in time.
    HeadTimeout,
    /// Nothing was asked for.
    IdleTimeout,
    /// The body came too slowly.
    BodyTooSlow,
    /// What was sent was not taken.
    WriteTimeout,
    /// What was sent is no HTTP.
    Malformed,
    /// Too many HTTP/2 frames that carry nothing.
    ControlFrames,
    /// Too many HTTP/2 streams were reset.
    Resets,
    /// As many requests as a connection may make.
    Requests,
}

impl Ended {
    /// All of them.
    pub(super) const ALL: [Ended; 11] = [
        Ended::HandshakeTimeout,
        Ended::HandshakeFailed,
        Ended::ProxyHeaderTimeout,
        Ended::HeadTimeout,
        Ended::IdleTimeout,
        Ended::BodyTooSlow,
        Ended::WriteTimeout,
        Ended::Malformed,
        Ended::ControlFrames,
        Ended::Resets,
        Ended::Requests,
    ];

    /// Stable word for metrics.
    #[must_use]
    pub fn reason(self) -> &'static str {
        match self {
            Ended::HandshakeTimeout => "handshake_timeout",
            Ended::HandshakeFailed => "handshake_failed",
            Ended::ProxyHeaderTimeout => "proxy_header_timeout",
            Ended::HeadTimeout => "head_timeout",
            Ended::IdleTimeout => "idle_timeout",
            Ended::BodyTooSlow => "body_too_slow",
            Ended::WriteTimeout => "write_timeout",
            Ended::Malformed => "malformed",
            Ended::ControlFrames => "http2_control_frames",
            Ended::Resets => "http2_resets",
            Ended::Requests => "max_requests",
        }
    }

    /// Whether it ended before a request could be made.
    #[must_use]
    pub fn is_refusal(self) -> bool {
        matches!(
            self,
            Ended::HandshakeTimeout | Ended::HandshakeFailed | Ended::ProxyHeaderTimeout
        )
    }
}

/// In the word of a stage: the watchdog has found it late, and nobody has acted on that yet.
const LATE: u64 = 1 << 63;
const TIME: u64 = (1 << 48) - 1;
/// How long a connection may take to act on being late.
const PATIENCE: u64 = 2000;

/// One connection. Shared by the task that serves it and the watchdog.
#[derive(Debug)]
pub struct Connection {
    pub(super) registry: Arc<Registry>,
    pub(super) fd: RawFd,
    /// Index of its listener.
    pub(super) listener: usize,
    pub(super) limits: Arc<ConnectionLimits>,
    /// Whom it is counted for, if for anybody.
    pub(super) network: OnceLock<u128>,
    /// The client, by the socket or by a PROXY protocol header.
    pub(super) client: OnceLock<IpAddr>,
    /// The certificate that the client was asked for.
    pub(super) asked: OnceLock<Arc<Asked>>,
    /// Stage and deadline, and whether that has passed.
    stage: AtomicU64,
    /// Since when bytes of a body are waited for, plus one; 0: they are not.
    waiting: AtomicU64,
    /// Milliseconds that were spent so, and bytes that came.
    waited: AtomicU64,
    received: AtomicU64,
    /// Since when the client takes nothing, plus one; 0: it does.
    stalled: AtomicU64,
    ended: AtomicU8,
    /// HTTP/2 requests that came to be decided.
    pub(super) begun: AtomicU32,
    waker: Mutex<Option<Waker>>,
}

impl Connection {
    /// A request of HTTP/2 came to be decided.
    pub(crate) fn begin(&self) {
        self.begun.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn new(
        registry: Arc<Registry>,
        fd: RawFd,
        listener: usize,
        limits: Arc<ConnectionLimits>,
    ) -> Connection {
        Connection {
            registry,
            fd,
            listener,
            limits,
            network: OnceLock::new(),
            client: OnceLock::new(),
            asked: OnceLock::new(),
            stage: AtomicU64::new(word(Stage::Busy, TIME)),
            waiting: AtomicU64::new(0),
            waited: AtomicU64::new(0),
            received: AtomicU64::new(0),
            stalled: AtomicU64::new(0),
            ended: AtomicU8::new(0),
            begun: AtomicU32::new(0),
            waker: Mutex::new(None),
        }
    }

    /// Milliseconds since the registry was made; a few times a second.
    pub(super) fn now(&self) -> u64 {
        self.registry.now()
    }

    /// From now on it waits for something else, at most so long.
    pub(super) fn enter(&self, stage: Stage, at_most: Option<Duration>) {
        let deadline = at_most.map_or(TIME, |time| {
            // one tick more: the clock may be about to move
            self.now() + millis(time) + Registry::TICK
        });
        self.stage.store(word(stage, deadline), Ordering::Relaxed);
    }

    /// The same without another deadline.
    pub(super) fn move_to(&self, stage: Stage) {
        let deadline = self.stage.load(Ordering::Relaxed) & TIME;
        self.stage.store(word(stage, deadline), Ordering::Relaxed);
    }

    pub(super) fn stage(&self) -> Stage {
        stage_of(self.stage.load(Ordering::Relaxed))
    }

    /// Whether the watchdog has found it late. To be asked after having said, to `cx`, who is to be woken.
    pub(super) fn poll_late(&self, cx: &Context<'_>) -> bool {
        let mut waker = self.waker.lock();
        match &*waker {
            Some(known) if known.will_wake(cx.waker()) => {}
            _ => *waker = Some(cx.waker().clone()),
        }
        drop(waker);
        self.is_late()
    }

    pub(super) fn is_late(&self) -> bool {
        self.stage.load(Ordering::Relaxed) & LATE != 0
    }

    /// Notes why it was closed; the first reason stays.
    pub(super) fn end(&self, why: Ended) {
        let _ = self
            .ended
            .compare_exchange(0, why as u8, Ordering::Relaxed, Ordering::Relaxed);
    }

    pub(super) fn ended(&self) -> Option<Ended> {
        let why = self.ended.load(Ordering::Relaxed);
        Ended::ALL.into_iter().find(|ended| *ended as u8 == why)
    }

    /// A body begins.
    pub(super) fn body_begins(&self) {
        self.waiting.store(0, Ordering::Relaxed);
        self.waited.store(0, Ordering::Relaxed);
        self.received.store(0, Ordering::Relaxed);
        self.enter(Stage::Body, None);
    }

    /// Bytes of a body are waited for.
    pub(super) fn body_waits(&self) {
        if self.waiting.load(Ordering::Relaxed) == 0 {
            self.waiting.store(self.now() + 1, Ordering::Relaxed);
        }
    }

    /// Bytes of a body came.
    pub(super) fn body_came(&self, bytes: usize) {
        let since = self.waiting.load(Ordering::Relaxed);
        if since != 0 {
            self.waiting.store(0, Ordering::Relaxed);
            self.waited
                .fetch_add((self.now() + 1).saturating_sub(since), Ordering::Relaxed);
        }
        self.received
            .fetch_add(u64::try_from(bytes).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    /// The client does not take what it is sent.
    pub(super) fn write_waits(&self) {
        if self.stalled.load(Ordering::Relaxed) == 0 {
            self.stalled.store(self.now() + 1, Ordering::Relaxed);
        }
    }

    /// It does.
    pub(super) fn write_goes(&self) {
        if self.stalled.load(Ordering::Relaxed) != 0 {
            self.stalled.store(0, Ordering::Relaxed);
        }
    }

    /// Looks whether it is late, and does something about it.
    pub(super) fn watch(&self, now: u64) {
        let seen = self.stage.load(Ordering::Relaxed);
        let stalled = self.stalled.load(Ordering::Relaxed);
        if stalled != 0 && (now + 1).saturating_sub(stalled) > millis(self.limits.write_timeout) {
            self.end(Ended::WriteTimeout);
            return self.cut();
        }
        let is_late = now >= seen & TIME
            || (seen & LATE == 0 && stage_of(seen) == Stage::Body && self.is_body_slow(now));
        if !is_late {
            return;
        }
        match stage_of(seen) {
            _ if seen & LATE != 0 => self.cut(),
            Stage::ProxyHeader => {
                self.end(Ended::ProxyHeaderTimeout);
                self.cut();
            }
            Stage::Handshake => {
                self.end(Ended::HandshakeTimeout);
                self.cut();
            }
            stage => {
                // unless something came at this very moment
                let late = word(stage, now + PATIENCE) | LATE;
                if self
                    .stage
                    .compare_exchange(seen, late, Ordering::Relaxed, Ordering::Relaxed)
                    .is_ok()
                {
                    self.wake();
                }
            }
        }
    }

    /// Tells the task that waits for a request to go.
    pub(super) fn leave(&self) {
        let seen = self.stage.load(Ordering::Relaxed);
        if matches!(stage_of(seen), Stage::FirstByte | Stage::Idle) {
            let late = word(stage_of(seen), self.now() + PATIENCE) | LATE;
            let _ = self
                .stage
                .compare_exchange(seen, late, Ordering::Relaxed, Ordering::Relaxed);
            self.wake();
        }
    }

    fn is_body_slow(&self, now: u64) -> bool {
        let waiting = self.waiting.load(Ordering::Relaxed);
        if waiting == 0 {
            return false;
        }
        let waited = self.waited.load(Ordering::Relaxed) + (now + 1).saturating_sub(waiting);
        let received = self.received.load(Ordering::Relaxed);
        is_slow(&self.limits, waited, received)
    }

    fn wake(&self) {
        let waker = self.waker.lock().clone();
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// Ends the socket, whoever reads from it or writes to it. Called while the registry holds the connection, so that the
    /// descriptor is still its own.
    fn cut(&self) {
        let _ = shutdown(self.fd, Shutdown::Both);
        // once
        self.stage.store(word(Stage::Closing, TIME), Ordering::Relaxed);
        self.stalled.store(0, Ordering::Relaxed);
    }
}

/// Whether so many bytes are too few for so many milliseconds of waiting.
pub(super) fn is_slow(limits: &ConnectionLimits, waited: u64, received: u64) -> bool {
    waited > millis(limits.body_grace)
        && received.saturating_mul(1000) < waited.saturating_mul(limits.body_min_rate)
}

pub(super) fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(TIME).min(TIME)
}

fn word(stage: Stage, deadline: u64) -> u64 {
    (stage as u64) << 48 | deadline.min(TIME)
}

fn stage_of(word: u64) -> Stage {
    const ALL: [Stage; 9] = [
        Stage::ProxyHeader,
        Stage::Handshake,
        Stage::FirstByte,
        Stage::Idle,
        Stage::Head,
        Stage::Body,
        Stage::Busy,
        Stage::Closing,
        Stage::Http2,
    ];
    let number = (word & !LATE) >> 48;
    ALL.into_iter()
        .find(|stage| *stage as u64 == number)
        .unwrap_or(Stage::Busy)
}

/// Goes with the socket, however that ends: Pingora tells it so before the descriptor is closed.
#[derive(Debug)]
pub(super) struct Ticket(pub(super) Option<Arc<Connection>>);

impl Tracing for Ticket {
    fn on_connected(&self) {}

    fn on_disconnected(&self) {
        if let Some(connection) = &self.0 {
            connection.registry.remove(connection);
        }
    }

    fn boxed_clone(&self) -> Box<dyn Tracing> {
        // a copy would take the connection away twice
        Box::new(Ticket(None))
    }
}
