//! The outside, as it was written down: for `explain` and for tests. Waits for nothing and fetches nothing.

use std::sync::Arc;
use std::time::Duration;

use super::{Keys, World};
use crate::clock::UnixTime;
use crate::gates::authn::jwk::KeySet;
use crate::gates::authn::verdicts::Verdicts;

/// A fixed time and fixed keys.
#[derive(Debug)]
pub struct Recorded {
    /// The time of the decision.
    pub now: UnixTime,
    /// Keys by index of issuer; `None`: unavailable.
    pub keys: Vec<Option<Arc<KeySet>>>,
    /// What is remembered. Starts empty.
    pub verdicts: Verdicts,
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

    async fn newer_keys(&self, issuer: usize) -> Keys {
        self.keys(issuer)
    }

    fn verdicts(&self) -> &Verdicts {
        &self.verdicts
    }
}
