//! The outside, as it was written down: for `explain` and for tests. Waits for nothing and fetches nothing.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;

use super::{Introspected, Keys, World};
use crate::clock::UnixTime;
use crate::gates::authn::attempts::Counters;
use crate::gates::authn::dpop::Proofs;
use crate::gates::authn::introspection::Said;
use crate::gates::authn::jwk::KeySet;
use crate::gates::authn::revocation::Revocations;
use crate::gates::authn::shared_tokens::Sightings;
use crate::gates::authn::verdicts::{Digest, Verdicts};
use crate::gates::limits::window::Windows;
use crate::gateway::Gateway;

/// A fixed time and fixed keys.
#[derive(Debug)]
pub struct Recorded {
    /// The time of the decision.
    pub now: UnixTime,
    /// Keys by index of issuer; `None`: unavailable.
    pub keys: Vec<Option<Arc<KeySet>>>,
    /// What issuers say of any token, by index; `None`: they cannot be asked.
    pub said: Vec<Option<Arc<Said>>>,
    /// Counters of limits, by index.
    pub windows: Vec<Windows>,
    /// Counters of refused credentials.
    pub attempts: Counters,
    /// What was taken back.
    pub revocations: Revocations,
    /// Proofs that were used.
    pub proofs: Proofs,
    /// Where bearer tokens were seen.
    pub sightings: Sightings,
    /// What is remembered. Starts empty.
    pub verdicts: Verdicts,
    /// Requests of each network.
    pub asked: Mutex<HashMap<u128, u32>>,
}

impl Recorded {
    /// At a time, with keys by index of issuer, and nothing counted or remembered yet. Limits can count so many callers.
    #[must_use]
    pub fn new(gateway: &Gateway, now: UnixTime, keys: Vec<Option<Arc<KeySet>>>, callers: usize) -> Recorded {
        let windows = gateway
            .limits
            .iter()
            .map(|limit| Windows::new(limit.requests, limit.window, callers.min(limit.max_keys)))
            .collect();
        Recorded {
            now,
            keys,
            said: Vec::new(),
            windows,
            attempts: Counters::new(&gateway.attempts, callers),
            revocations: Revocations::default(),
            proofs: Proofs::default(),
            sightings: Sightings::default(),
            verdicts: Verdicts::default(),
            asked: Mutex::default(),
        }
    }
}

impl World for Recorded {
    fn now(&self) -> UnixTime {
        self.now
    }

    fn keys(&self, issuer: usize) -> Keys {
        match self.keys.get(issuer).cloned().flatten() {
            Some(keys) => Keys::Known(keys),
            None => Keys::Unavailable(Duration::from_secs(1)),
        }
    }

    async fn newer_keys(&self, issuer: usize, _kid: Option<&str>) -> Keys {
        self.keys(issuer)
    }

    async fn introspect(&self, issuer: usize, _token: &str, _digest: &Digest) -> Introspected {
        match self.said.get(issuer).cloned().flatten() {
            Some(said) => Introspected::Said(said),
            None => Introspected::Unavailable(Duration::from_secs(1)),
        }
    }

    /// All in one second, for its time does not go on.
    fn flood(&self, network: u128) -> u32 {
        let mut asked = self.asked.lock();
        let count = asked.entry(network).or_default();
        *count = count.saturating_add(1);
        *count
    }

    fn windows(&self, limit: usize) -> Option<&Windows> {
        self.windows.get(limit)
    }

    fn attempts(&self) -> &Counters {
        &self.attempts
    }

    fn revocations(&self) -> &Revocations {
        &self.revocations
    }

    fn proofs(&self) -> &Proofs {
        &self.proofs
    }

    fn sightings(&self) -> &Sightings {
        &self.sightings
    }

    fn verdicts(&self) -> &Verdicts {
        &self.verdicts
    }
}
