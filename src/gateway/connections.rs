//! What clients' connections may cost.

use std::time::Duration;

use crate::head::WireLimits;

/// Limits of connections, and of what is sent on them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConnectionLimits {
    /// At once, over all listeners.
    pub max: usize,
    /// At once, of one address, or of one /64 with IPv6.
    pub max_per_address: u32,
    /// From accepting to the end of the TLS handshake, PROXY header included.
    pub handshake_timeout: Duration,
    /// For the first byte, and then for each whole head.
    pub head_timeout: Duration,
    /// Between requests.
    pub idle_timeout: Duration,
    /// Bytes a second that a body comes at, at least.
    pub body_min_rate: u64,
    /// How long a body may be waited for before its rate counts.
    pub body_grace: Duration,
    /// How long a client may take nothing of what it is sent.
    pub write_timeout: Duration,
    /// Requests on one connection.
    pub max_requests: u32,
    /// Of each head.
    pub head: WireLimits,
    /// HTTP/2: requests at once on one connection.
    pub max_concurrent_streams: u32,
    /// HTTP/2: frames that carry nothing of a request.
    pub control_frames: FrameRate,
    /// HTTP/2: streams that are reset.
    pub resets: FrameRate,
}

/// So many in a window; as many at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FrameRate {
    /// Frames.
    pub frames: u32,
    /// Length of the window.
    pub per: Duration,
}

impl ConnectionLimits {
    /// What is told to HTTP/2 when the process starts, and stays.
    #[must_use]
    pub fn of_http2(&self) -> (usize, u32) {
        (self.head.bytes, self.max_concurrent_streams)
    }
}
