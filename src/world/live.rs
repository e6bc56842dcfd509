//! The outside, live.

use std::sync::Arc;
use std::time::Duration;

use super::introspect::{IntrospectionState, Introspector};
use super::keys::{KeySource, KeyState};
use super::{Introspected, Keys, World, revocations};
use crate::clock::UnixTime;
use crate::gates::authn::IssuerPolicy;
use crate::gates::authn::KeysFrom;
use crate::gates::authn::attempts::Counters;
use crate::gates::authn::dpop::Proofs;
use crate::gates::authn::revocation::Revocations;
use crate::gates::authn::shared_tokens::Sightings;
use crate::gates::authn::verdicts::{Digest, Verdicts};
use crate::gates::content::memory::BodyMemory;
use crate::gates::flood::Sketch;
use crate::gates::limits::window::Windows;
use crate::gateway::Gateway;

/// What outlives snapshots: keys and verdicts.
#[derive(Debug, Clone)]
pub struct Memory {
    sources: Box<[Arc<KeySource>]>,
    introspectors: Box<[Option<Arc<Introspector>>]>,
    verdicts: Arc<Verdicts>,
    windows: Box<[(Arc<str>, Arc<Windows>)]>,
    attempts: Arc<Counters>,
    revocations: Arc<Revocations>,
    proofs: Arc<Proofs>,
    sightings: Arc<Sightings>,
    floods: Arc<Sketch>,
    bodies: Arc<BodyMemory>,
}

impl Memory {
    /// For a snapshot. Of `before`, everything is kept that still means the same: keys from the same place, counters of
    /// limits that are what they were, all verdicts.
    #[must_use]
    pub fn new(gateway: &Gateway, before: Option<&Memory>) -> Memory {
        let Gateway {
            issuers,
            limits,
            attempts,
            shared_tokens,
            server,
            ..
        } = gateway;
        let sources = issuers.iter().map(|issuer| {
            let kept = before.and_then(|memory| memory.sources.iter().find(|s| is_same(s, issuer)));
            kept.cloned()
                .unwrap_or_else(|| Arc::new(KeySource::new(issuer.name.clone(), issuer.keys.clone())))
        });
        let introspectors = issuers.iter().map(|issuer| {
            let settings = issuer.introspection.as_ref()?;
            let same = |other: &&Arc<Introspector>| {
                *other.name() == issuer.name && other.settings().is_same(settings)
            };
            let kept = before.and_then(|memory| memory.introspectors().find(same));
            Some(
                kept.cloned()
                    .unwrap_or_else(|| Arc::new(Introspector::new(issuer.name.clone(), settings.clone()))),
            )
        });
        let windows = limits.iter().map(|limit| {
            let same = |(name, windows): &&(Arc<str>, Arc<Windows>)| {
                *name == limit.name && windows.counts_for(limit)
            };
            let kept = before
                .and_then(|memory| memory.windows.iter().find(same))
                .map(|(_, windows)| windows.clone());
            let windows =
                kept.unwrap_or_else(|| Arc::new(Windows::new(limit.requests, limit.window, limit.max_keys)));
            (limit.name.clone(), windows)
        });
        Memory {
            sources: sources.collect(),
            introspectors: introspectors.collect(),
            windows: windows.collect(),
            attempts: before
                .map(|memory| &memory.attempts)
                .filter(|counters| counters.counts_for(attempts))
                .cloned()
                .unwrap_or_else(|| Arc::new(Counters::new(attempts, usize::MAX))),
            revocations: {
                let kept = before.map(|memory| memory.revocations.clone());
                let kept = kept.unwrap_or_default();
                revocations::adopt(&kept, gateway);
                kept
            },
            // whatever is let pass from now on: what was used stays used
            proofs: before.map_or_else(Arc::default, |memory| memory.proofs.clone()),
            sightings: before
                .map(|memory| &memory.sightings)
                .filter(|sightings| sightings.are_for(shared_tokens.as_ref()))
                .cloned()
                .unwrap_or_else(|| {
                    let most = shared_tokens.as_ref().map(|settings| settings.max_tokens);
                    Arc::new(most.map_or_else(Sightings::default, Sightings::new))
                }),
            floods: before.map_or_else(|| Arc::new(Sketch::default()), |memory| memory.floods.clone()),
            // fixed for the life of the process, as `server` is
            bodies: before.map_or_else(
                || Arc::new(BodyMemory::new(server.body_memory)),
                |memory| memory.bodies.clone(),
            ),
            verdicts: before.map_or_else(|| Arc::new(Verdicts::default()), |memory| memory.verdicts.clone()),
        }
    }

    /// The sources of keys, by index of issuer.
    #[must_use]
    pub fn sources(&self) -> &[Arc<KeySource>] {
        &self.sources
    }

    /// The limits by name, with their counters.
    pub fn limits(&self) -> impl Iterator<Item = (&str, &Windows)> {
        self.windows.iter().map(|(name, windows)| (&**name, &**windows))
    }

    /// Counters of refused credentials.
    #[must_use]
    pub fn attempts(&self) -> &Counters {
        &self.attempts
    }

    /// Requests of each network.
    #[must_use]
    pub fn floods(&self) -> &Sketch {
        &self.floods
    }

    /// What was taken back.
    #[must_use]
    pub fn revocations(&self) -> &Arc<Revocations> {
        &self.revocations
    }

    /// Proofs of possession that were used.
    #[must_use]
    pub fn proofs(&self) -> &Proofs {
        &self.proofs
    }

    /// Verdicts on credentials.
    #[must_use]
    pub fn verdicts(&self) -> &Verdicts {
        &self.verdicts
    }

    /// Memory for bodies.
    #[must_use]
    pub fn bodies(&self) -> &Arc<BodyMemory> {
        &self.bodies
    }

    /// Those who ask issuers about tokens.
    pub fn introspectors(&self) -> impl Iterator<Item = &Arc<Introspector>> {
        self.introspectors.iter().flatten()
    }

    /// The states of the sources that there are.
    pub fn key_states(&self) -> impl Iterator<Item = KeyState> {
        let there = |source: &&Arc<KeySource>| !matches!(source.from(), KeysFrom::Nowhere);
        self.sources.iter().filter(there).map(|source| source.state())
    }

    /// What became of questions about tokens.
    pub fn introspection_states(&self) -> impl Iterator<Item = IntrospectionState> {
        self.introspectors().map(|introspector| introspector.state())
    }
}

fn is_same(source: &KeySource, issuer: &IssuerPolicy) -> bool {
    match (source.from(), &issuer.keys) {
        (KeysFrom::Url(a), KeysFrom::Url(b)) => *source.name() == issuer.name && a.is_same_source(b),
        _ => false,
    }
}

/// The outside at the moment that one request is decided for.
#[derive(Debug, Clone, Copy)]
pub struct Moment<'a> {
    /// What is known of it.
    pub memory: &'a Memory,
    /// When the request came.
    pub now: UnixTime,
}

impl World for Moment<'_> {
    fn now(&self) -> UnixTime {
        self.now
    }

    fn keys(&self, issuer: usize) -> Keys {
        match self.memory.sources.get(issuer) {
            Some(source) => source.keys(),
            None => Keys::Unavailable(Duration::from_secs(1)),
        }
    }

    async fn newer_keys(&self, issuer: usize, kid: Option<&str>) -> Keys {
        match self.memory.sources.get(issuer) {
            Some(source) => source.newer(kid).await,
            None => self.keys(issuer),
        }
    }

    async fn introspect(&self, issuer: usize, token: &str, digest: &Digest) -> Introspected {
        match self.memory.introspectors.get(issuer) {
            Some(Some(introspector)) => introspector.ask(digest, token).await,
            _ => Introspected::Unavailable(Duration::from_secs(1)),
        }
    }

    fn flood(&self, network: u128) -> u32 {
        self.memory.floods.count(network, self.now())
    }

    fn windows(&self, limit: usize) -> Option<&Windows> {
        self.memory.windows.get(limit).map(|(_, windows)| &**windows)
    }

    fn attempts(&self) -> &Counters {
        &self.memory.attempts
    }

    fn revocations(&self) -> &Revocations {
        &self.memory.revocations
    }

    fn proofs(&self) -> &Proofs {
        &self.memory.proofs
    }

    fn sightings(&self) -> &Sightings {
        &self.memory.sightings
    }

    fn verdicts(&self) -> &Verdicts {
        &self.memory.verdicts
    }
}
