//! Whether this process is on its way out, and what it still has to finish.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use tokio::sync::watch;

/// Shared by the signals, the requests and the port of health.
#[derive(Debug, Default)]
pub struct Lifecycle {
    draining: AtomicBool,
    ending: watch::Sender<bool>,
    in_flight: AtomicUsize,
}

impl Lifecycle {
    /// From now on clients are told to connect anew, which leads them elsewhere, and readiness is off.
    pub fn drain(&self) {
        self.draining.store(true, Ordering::Relaxed);
    }

    /// Whether clients should leave.
    #[must_use]
    pub fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Relaxed)
    }

    /// Nothing is accepted any more: what has no end of its own is to end now.
    pub fn end_streams(&self) {
        self.ending.send_replace(true);
    }

    /// Tells when [`end_streams`](Self::end_streams) was called.
    #[must_use]
    pub fn ending(&self) -> watch::Receiver<bool> {
        self.ending.subscribe()
    }

    /// A request began.
    pub fn begin(&self) {
        self.in_flight.fetch_add(1, Ordering::Relaxed);
    }

    /// A request that [began](Self::begin) is over.
    pub fn end(&self) {
        self.in_flight.fetch_sub(1, Ordering::Release);
    }

    /// Requests under way.
    #[must_use]
    pub fn in_flight(&self) -> usize {
        self.in_flight.load(Ordering::Acquire)
    }
}
