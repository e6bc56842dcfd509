//! The outside, live.

use std::sync::Arc;

use super::keys::{KeySource, KeyState};
use super::{Keys, World};
use crate::clock::UnixTime;
use crate::gates::authn::IssuerPolicy;
use crate::gates::authn::KeysFrom;
use crate::gates::authn::verdicts::Verdicts;

/// What outlives snapshots: keys and verdicts.
#[derive(Debug, Clone)]
pub struct Memory {
    sources: Box<[Arc<KeySource>]>,
    verdicts: Arc<Verdicts>,
}

impl Memory {
    /// For a snapshot's issuers. Of `before`, keys that still come from the same place are kept, and all verdicts.
    #[must_use]
    pub fn new(issuers: &[IssuerPolicy], before: Option<&Memory>) -> Memory {
        let sources = issuers.iter().map(|issuer| {
            let kept = before.and_then(|memory| memory.sources.iter().find(|s| is_same(s, issuer)));
            kept.cloned()
                .unwrap_or_else(|| Arc::new(KeySource::new(issuer.name.clone(), issuer.keys.clone())))
        });
        Memory {
            sources: sources.collect(),
            verdicts: before.map_or_else(|| Arc::new(Verdicts::default()), |memory| memory.verdicts.clone()),
        }
    }

    /// The sources of keys, by index of issuer.
    #[must_use]
    pub fn sources(&self) -> &[Arc<KeySource>] {
        &self.sources
    }

    /// Verdicts that are remembered: good and bad.
    #[must_use]
    pub fn kept_verdicts(&self) -> (usize, usize) {
        self.verdicts.kept()
    }

    /// Their states.
    pub fn key_states(&self) -> impl Iterator<Item = KeyState> {
        self.sources.iter().map(|source| source.state())
    }
}

fn is_same(source: &KeySource, issuer: &IssuerPolicy) -> bool {
    match (source.from(), &issuer.keys) {
        (KeysFrom::Url(a), KeysFrom::Url(b)) => *source.name() == issuer.name && a.is_same_source(b),
        _ => false,
    }
}

impl World for Memory {
    fn now(&self) -> UnixTime {
        UnixTime::of_system()
    }

    fn keys(&self, issuer: usize) -> Keys {
        match self.sources.get(issuer) {
            Some(source) => source.keys(),
            None => Keys::Unavailable(std::time::Duration::from_secs(1)),
        }
    }

    async fn newer_keys(&self, issuer: usize) -> Keys {
        match self.sources.get(issuer) {
            Some(source) => source.newer().await,
            None => self.keys(issuer),
        }
    }

    fn verdicts(&self) -> &Verdicts {
        &self.verdicts
    }
}
