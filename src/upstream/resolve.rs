//! Names of targets, looked up in the background: a request never waits for DNS, and the last good answer is kept when
//! a look-up fails.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;

/// Time between two look-ups of a name.
pub const INTERVAL: Duration = Duration::from_secs(10);

/// A target given by name.
#[derive(Debug)]
pub struct Named {
    /// `HOST:PORT`
    pub name: String,
    addresses: ArcSwap<Vec<SocketAddr>>,
    turn: AtomicUsize,
}

impl Named {
    /// Without an address until the first look-up.
    #[must_use]
    pub fn new(name: String) -> Named {
        Named {
            name,
            addresses: ArcSwap::default(),
            turn: AtomicUsize::new(0),
        }
    }

    /// One of its addresses, in turn.
    #[must_use]
    pub fn next(&self) -> Option<SocketAddr> {
        let addresses = self.addresses.load();
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        addresses.get(turn.checked_rem(addresses.len())?).copied()
    }

    /// Whether it has an address.
    #[must_use]
    pub fn is_resolved(&self) -> bool {
        !self.addresses.load().is_empty()
    }

    /// Looks the name up once.
    pub async fn resolve(&self) {
        match tokio::net::lookup_host(&self.name).await {
            Ok(found) => {
                let mut found: Vec<SocketAddr> = found.collect();
                found.sort_unstable();
                found.dedup();
                if !found.is_empty() && **self.addresses.load() != found {
                    log::info!(target: "durward::upstream", "{} is {found:?}", self.name);
                    self.addresses.store(found.into());
                }
            }
            Err(why) => log::warn!(target: "durward::upstream", "{}: no address: {why}", self.name),
        }
    }
}
