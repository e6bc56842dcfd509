//! Watches over secrets while they are in use: whether one has changed in its store, and that we stay logged in.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use super::store::{Document, Stores, fingerprint};

/// Between two looks whether something is due.
pub const LOOK: Duration = Duration::from_secs(1);

/// Secrets of the configuration that runs. Survives reloads.
#[derive(Debug, Default)]
pub struct Keeper {
    kept: Mutex<Kept>,
    /// Something else is to be had than what runs.
    changed: AtomicBool,
    /// Secrets that could not be read again when that was last tried.
    failing: AtomicUsize,
}

#[derive(Debug, Default)]
struct Kept {
    stores: Option<Arc<Stores>>,
    /// What was read for the configuration that runs.
    read: BTreeMap<Document, [u8; 32]>,
    /// When the stores were last asked.
    asked: Option<Instant>,
    /// A configuration could not be compiled for want of a secret.
    wants: bool,
}

/// What a compilation had of the stores.
#[derive(Debug, Default, Clone)]
pub struct Reading {
    /// Those that it asked.
    pub stores: Option<Arc<Stores>>,
    /// What they said.
    pub read: BTreeMap<Document, [u8; 32]>,
    /// Whether one of them did not give what was asked for.
    pub failed: bool,
}

impl Keeper {
    /// The stores that the running configuration was read from: the next one may go on with their login.
    #[must_use]
    pub fn stores(&self) -> Option<Arc<Stores>> {
        self.kept.lock().stores.clone()
    }

    /// Whether there is reason to compile anew. Asked once: it is then taken to be done.
    #[must_use]
    pub fn take_changed(&self) -> bool {
        self.changed.swap(false, Ordering::AcqRel)
    }

    /// What was read is what runs now.
    pub fn adopt(&self, reading: Reading) {
        let Reading {
            stores,
            read,
            failed: _,
        } = reading;
        *self.kept.lock() = Kept {
            stores,
            read,
            asked: Some(Instant::now()),
            wants: false,
        };
    }

    /// A configuration does not run. If that is for want of a secret, it is tried again.
    pub fn decline(&self, reading: &Reading) {
        let mut kept = self.kept.lock();
        kept.wants = reading.failed;
        kept.asked = Some(Instant::now());
        if kept.stores.is_none() {
            // those that it would have had: their settings say how often they may be asked
            kept.stores.clone_from(&reading.stores);
        }
    }

    /// Secrets that could not be read again when that was last tried. What was read before stays in use.
    #[must_use]
    pub fn failing(&self) -> usize {
        self.failing.load(Ordering::Acquire)
    }

    /// Does what is due.
    pub async fn tend(&self) {
        let (stores, read) = {
            let mut kept = self.kept.lock();
            let Some(stores) = kept.stores.clone() else { return };
            let is_due = kept
                .asked
                .is_none_or(|asked| asked.elapsed() >= stores.settings().refresh);
            if is_due {
                kept.asked = Some(Instant::now());
                if std::mem::take(&mut kept.wants) {
                    self.changed.store(true, Ordering::Release);
                }
            }
            let read = if is_due {
                kept.read.clone()
            } else {
                BTreeMap::new()
            };
            (stores, read)
        };
        if let Err(why) = stores.renew().await {
            log::warn!(target: "durward::secrets", "the login cannot be renewed: {why}");
        }
        if read.is_empty() {
            return;
        }
        let mut failing = 0;
        for (document, before) in read {
            match stores.read(&document).await {
                Ok(now) if fingerprint(&now) != before => {
                    log::info!(target: "durward::secrets", "{document} has changed");
                    self.changed.store(true, Ordering::Release);
                }
                Ok(_) => {}
                // what was read before stays in use
                Err(why) => {
                    failing += 1;
                    log::warn!(target: "durward::secrets", "{document} cannot be read again: {why}");
                }
            }
        }
        self.failing.store(failing, Ordering::Release);
    }
}
