//! What runs now: one snapshot with the memory that goes with it, exchanged as a whole.

use std::sync::Arc;

use arc_swap::ArcSwap;

use super::Gateway;
use crate::world::live::Memory;

/// A snapshot in use. A request holds the one it began with until it ends.
#[derive(Debug)]
pub struct Running {
    /// The configuration, compiled.
    pub gateway: Gateway,
    /// Keys and verdicts.
    pub memory: Memory,
}

/// The current one.
#[derive(Debug)]
pub struct Live(ArcSwap<Running>);

impl Live {
    /// Starts with this snapshot and an empty memory.
    #[must_use]
    pub fn new(gateway: Gateway) -> Live {
        let memory = Memory::new(&gateway, None);
        Live(ArcSwap::from_pointee(Running { gateway, memory }))
    }

    /// The current snapshot.
    #[must_use]
    pub fn current(&self) -> Arc<Running> {
        self.0.load_full()
    }
}
