//! What a decision asks of the outside: time, keys, and what is remembered of earlier decisions.
//!
//! One narrow trait: [`live`] for the proxy, [`recorded`] for `explain`, tests and replays. Nothing else in a decision
//! reads a clock or waits for a network.

pub mod discovery;
pub mod fetch;
pub mod http;
pub mod introspect;
pub mod jitter;
pub mod keys;
pub mod live;
pub mod recorded;
pub mod revocations;
pub mod staples;

use std::sync::Arc;
use std::time::Duration;

use crate::clock::UnixTime;
use crate::gates::authn::attempts::Counters;
use crate::gates::authn::dpop::Proofs;
use crate::gates::authn::introspection::Said;
use crate::gates::authn::jwk::KeySet;
use crate::gates::authn::revocation::Revocations;
use crate::gates::authn::shared_tokens::Sightings;
use crate::gates::authn::verdicts::{Digest, Verdicts};
use crate::gates::limits::window::Windows;

/// The outside, as a decision sees it.
pub trait World: Sync {
    /// The time of the decision.
    fn now(&self) -> UnixTime;

    /// The keys of an issuer, by its index in the snapshot. Must not wait.
    fn keys(&self, issuer: usize) -> Keys;

    /// Asks for newer keys because `keys` did not hold the one that a token names, and waits for them within the issuer's
    /// deadline. Unavailable where its cooldown does not allow a fetch, unless the last one has told what is asked.
    fn newer_keys(&self, issuer: usize, kid: Option<&str>) -> impl Future<Output = Keys> + Send;

    /// Asks an issuer about a token, and waits for the answer within the issuer's deadline. Whoever calls it remembers what
    /// came of it: `digest` only brings those together who ask about the same token.
    fn introspect(
        &self,
        issuer: usize,
        token: &str,
        digest: &Digest,
    ) -> impl Future<Output = Introspected> + Send;

    /// Counts a request of this network and tells how many there were in the current second.
    fn flood(&self, network: u128) -> u32;

    /// The counters of a limit, by its index in the snapshot.
    fn windows(&self, limit: usize) -> Option<&Windows>;

    /// What was counted of refused credentials.
    fn attempts(&self) -> &Counters;

    /// What was taken back.
    fn revocations(&self) -> &Revocations;

    /// Proofs of possession seen before.
    fn proofs(&self) -> &Proofs;

    /// Where bearer tokens were seen.
    fn sightings(&self) -> &Sightings;

    /// Verdicts on credentials seen before.
    fn verdicts(&self) -> &Verdicts;
}

/// Keys of an issuer.
#[derive(Debug, Clone)]
pub enum Keys {
    /// Usable.
    Known(Arc<KeySet>),
    /// None, or too old to be trusted. Holds when to try again.
    Unavailable(Duration),
}

/// What an issuer says of a token.
#[derive(Debug, Clone)]
pub enum Introspected {
    /// This.
    Said(Arc<Said>),
    /// It could not be asked, or its answer was none. Holds when to try again.
    Unavailable(Duration),
}
