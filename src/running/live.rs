//! What runs now: one snapshot with the memory that goes with it, exchanged as a whole.

use std::sync::Arc;

use arc_swap::ArcSwap;
use tokio::sync::watch;

use super::explanations::Explanations;
use crate::clock::UnixTime;
use crate::gateway::Gateway;
use crate::lifecycle::Lifecycle;
use crate::telemetry::meters::Meters;
use crate::world::live::Memory;

/// A snapshot in use. A request holds the one it began with until it ends.
#[derive(Debug)]
pub struct Running {
    /// The configuration, compiled.
    pub gateway: Gateway,
    /// Keys, verdicts and counters.
    pub memory: Memory,
    /// Metrics of its routes.
    pub meters: Meters,
    /// Since when.
    pub since: UnixTime,
}

/// The current one.
#[derive(Debug)]
pub struct Live {
    running: ArcSwap<Running>,
    last_reload: ArcSwap<Reload>,
    /// Counts exchanges.
    exchanged: watch::Sender<u64>,
    lifecycle: Arc<Lifecycle>,
    explanations: Explanations,
}

/// What became of the last attempt to reload.
#[derive(Debug, Clone)]
pub struct Reload {
    /// When.
    pub at: UnixTime,
    /// Identifies what the file held; `None` where it could not be read.
    pub file: Option<String>,
    /// Why it does not run, a line for each fault. Empty: it runs.
    pub faults: Vec<String>,
}

impl Live {
    /// Starts with this snapshot and an empty memory.
    #[must_use]
    pub fn new(gateway: Gateway) -> Live {
        let memory = Memory::new(&gateway, None);
        let since = UnixTime::of_system();
        let meters = Meters::new(&gateway);
        let reload = Reload {
            at: since,
            file: Some(gateway.hash.clone()),
            faults: Vec::new(),
        };
        Live {
            running: ArcSwap::from_pointee(Running {
                gateway,
                memory,
                meters,
                since,
            }),
            last_reload: ArcSwap::from_pointee(reload),
            exchanged: watch::Sender::new(0),
            lifecycle: Arc::default(),
            explanations: Explanations::default(),
        }
    }

    /// The current snapshot.
    #[must_use]
    pub fn current(&self) -> Arc<Running> {
        self.running.load_full()
    }

    /// Whether the process is on its way out.
    #[must_use]
    pub fn lifecycle(&self) -> &Arc<Lifecycle> {
        &self.lifecycle
    }

    /// Why the last refused requests were refused.
    #[must_use]
    pub fn explanations(&self) -> &Explanations {
        &self.explanations
    }

    /// What became of the last attempt to reload; the start counts as one.
    #[must_use]
    pub fn last_reload(&self) -> Arc<Reload> {
        self.last_reload.load_full()
    }

    /// Wakes up at each exchange.
    #[must_use]
    pub fn exchanges(&self) -> watch::Receiver<u64> {
        self.exchanged.subscribe()
    }

    /// Exchanges the snapshot. Memory that still means the same goes on: no limit is reset, no key forgotten.
    pub(super) fn exchange(&self, gateway: Gateway) {
        let memory = Memory::new(&gateway, Some(&self.current().memory));
        let since = UnixTime::of_system();
        let meters = Meters::new(&gateway);
        let running = Arc::new(Running {
            gateway,
            memory,
            meters,
            since,
        });
        self.running.store(running.clone());
        self.explanations.release(&running);
        self.exchanged.send_modify(|count| *count += 1);
    }

    pub(super) fn note(&self, reload: Reload) {
        self.last_reload.store(Arc::new(reload));
    }
}
