//! What became of orders, for whoever asks.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use parking_lot::Mutex;

use super::Managed;
use crate::clock::UnixTime;

/// What became of the orders of certificates, for metrics.
#[derive(Debug, Default)]
pub struct Orders {
    states: Mutex<BTreeMap<PathBuf, OrderState>>,
}

/// What became of the orders of one certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OrderState {
    /// Name of the account.
    pub account: Arc<str>,
    /// First name of the certificate.
    pub name: String,
    /// When the next one is ordered.
    pub planned: UnixTime,
    /// Failed orders since the last good one.
    pub failures: u64,
    /// Orders by outcome: `issued` and `failed`.
    pub orders: [(&'static str, u64); 2],
}

impl Orders {
    /// For metrics.
    #[must_use]
    pub fn states(&self) -> Vec<OrderState> {
        self.states.lock().values().cloned().collect()
    }

    /// Forgets certificates that are not among these.
    pub fn retain(&self, managed: &[Managed]) {
        let files: Vec<PathBuf> = managed.iter().map(Managed::file).collect();
        self.states.lock().retain(|file, _| files.contains(file));
    }

    /// The next order of this certificate is planned.
    pub fn planned(&self, managed: &Managed, at: UnixTime) {
        self.note(managed, |state| state.planned = at);
    }

    /// An order of this certificate has ended.
    pub fn ended(&self, managed: &Managed, failed: bool) {
        self.note(managed, |state| {
            let [(_, issued), (_, refused)] = &mut state.orders;
            if failed {
                state.failures += 1;
                *refused += 1;
            } else {
                state.failures = 0;
                *issued += 1;
            }
        });
    }

    fn note(&self, managed: &Managed, change: impl FnOnce(&mut OrderState)) {
        let mut states = self.states.lock();
        let state = states.entry(managed.file()).or_insert_with(|| OrderState {
            account: managed.account.name.clone(),
            name: managed.names.first().cloned().unwrap_or_default(),
            planned: UnixTime::EPOCH,
            failures: 0,
            orders: [("issued", 0), ("failed", 0)],
        });
        change(state);
    }
}
