//! Proof of possession (DPoP, RFC 9449): a token that is bound to a key is good in the hands of who holds that key only.
//!
//! [`Possession`] sees to it that a bound token never counts without its proof, whatever the route asks for, and that a route
//! gets bound ones where it asks for them. [`Dpop::prove`] holds the one proof of a request against everything that it has to
//! say: [`proof`] reads it and checks its signature, [`target`] what it is for, [`nonce`] that it was made lately, and
//! [`replays`] that it comes for the first time. A proof is checked for each request; nothing about it is remembered but that
//! it was used, and the key that signed it.

pub mod nonce;
mod proof;
pub mod replays;
mod target;

#[cfg(test)]
mod tests;

use std::time::Duration;

use http::header::HeaderName;

use super::bearer::{Scheme, Sent};
use super::crypto::AlgorithmSet;
use super::verdicts::{self, Digest};
use super::{AuthnError, Refusal};
use crate::clock::UnixTime;
use crate::gateway::Gateway;
use crate::identity::Client;
use crate::request::Request;
use crate::trace::Trace;
use crate::world::World;
use nonce::{Nonces, Standing};
use proof::Proof;
pub use replays::Proofs;
use replays::{Refused, Use};

/// Carries the proof of a request (RFC 9449 section 4.1).
pub const PROOF: HeaderName = HeaderName::from_static("dpop");
/// Tells clients the nonce for their next proof (RFC 9449 section 8.1).
pub const NONCE: HeaderName = HeaderName::from_static("dpop-nonce");

/// What proofs have to be like.
#[derive(Debug)]
pub struct Dpop {
    /// The algorithms that they may have.
    pub algorithms: AlgorithmSet,
    /// How long after its `iat` one may be shown.
    pub max_age: Duration,
    /// How far in the future that may be.
    pub clock_skew: Duration,
    /// How many are remembered at most.
    pub max_proofs: usize,
    /// They have to hold one of these; `None`: they need not.
    pub nonces: Option<Nonces>,
    /// Line of the configuration.
    pub line: u32,
}

/// Whether a route takes tokens that are bound to no key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Demand {
    /// It does, and offers nothing else.
    #[default]
    Off,
    /// It does, and offers both.
    Optional,
    /// It does not.
    Required,
}

impl Demand {
    /// For descriptions: nothing, or what is asked for.
    #[must_use]
    pub fn note(self) -> &'static str {
        match self {
            Demand::Off => "",
            Demand::Optional => " (dpop: optional)",
            Demand::Required => " (dpop: required)",
        }
    }
}

/// The token that a request was sent with, and the key that it has to prove.
#[derive(Debug, Default)]
pub(super) struct Possession<'r> {
    sent: Option<Sent<'r>>,
    key: Option<Digest>,
    has_certificate: bool,
}

impl<'r> Possession<'r> {
    /// A good token of this client was sent so, where a route demands this of it.
    ///
    /// # Errors
    /// A token that is bound to a key does not count without a proof (RFC 9449 section 7.2), and one that is not, not where a
    /// bound one is required.
    pub(super) fn add(&mut self, client: &Client, sent: Sent<'r>, demand: Demand) -> Result<(), AuthnError> {
        let key = client.claims.key_thumbprint()?;
        match (key, sent.scheme, self.key) {
            (Some(_), Scheme::Bearer, _) => return Err(AuthnError::TokenProofMissing),
            // what the token says and what its issuer says of it are two keys: no proof is of both
            (Some(key), Scheme::Dpop, Some(other)) if key != other => {
                return Err(AuthnError::ProofKeyMismatch);
            }
            (Some(key), Scheme::Dpop, _) => self.key = Some(key),
            (None, _, _) if demand == Demand::Required => return Err(AuthnError::TokenNotBound),
            (None, ..) => {}
        }
        self.sent = Some(sent);
        self.has_certificate |= client.is_bound_to_certificate();
        Ok(())
    }

    /// The token, if it is one that a copy is as good as: bound neither to a key nor to a certificate.
    pub(super) fn of_whoever_has_it(&self) -> Option<&'r [u8]> {
        let is_bound = self.key.is_some() || self.has_certificate;
        self.sent.filter(|_| !is_bound).map(|sent| sent.token)
    }

    /// Once all credentials are good: the proof, where there has to be one.
    ///
    /// # Errors
    /// It is not good, or it cannot be told now whether it is new.
    pub(super) fn prove<R: Request, W: World>(
        self,
        gateway: &Gateway,
        request: &R,
        world: &W,
        trace: &mut Trace,
    ) -> Result<(), Refusal> {
        match (self.sent, self.key) {
            (Some(Sent { token, .. }), Some(key)) => {
                gateway.dpop.prove(gateway, request, world, token, &key, trace)
            }
            (
                Some(Sent {
                    scheme: Scheme::Dpop, ..
                }),
                None,
            ) => Err(AuthnError::TokenNotBound.into()),
            _ => Ok(()),
        }
    }
}

impl Dpop {
    /// Checks the proof of a request (RFC 9449 section 4.3) for this token, which is bound to the key with this thumbprint.
    fn prove<R: Request, W: World>(
        &self,
        gateway: &Gateway,
        request: &R,
        world: &W,
        token: &[u8],
        key: &Digest,
        trace: &mut Trace,
    ) -> Result<(), Refusal> {
        let now = world.now();
        let mut sent = request.headers().get_all(&PROOF).iter();
        let sent = match (sent.next(), sent.next()) {
            (Some(sent), None) => sent.as_bytes(),
            (None, _) => return Err(AuthnError::ProofMissing.into()),
            _ => return Err(AuthnError::ProofRepeated.into()),
        };
        // a signature is looked at only where the key is the one of a good token: nobody else can ask for that work
        let proof = Proof::read(sent, self.algorithms)?;
        if proof.thumbprint() != key {
            return Err(AuthnError::ProofKeyMismatch.into());
        }
        let claims = proof.verify(world.proofs())?;
        if claims.method()? != request.head().method().as_str() {
            return Err(AuthnError::ProofMethod.into());
        }
        if !target::is_of(claims.target()?, request, &gateway.trusted_proxies) {
            return Err(AuthnError::ProofTarget.into());
        }
        if !claims.is_for(&verdicts::digest(token))? {
            return Err(AuthnError::ProofToken.into());
        }
        let issued = self.check_times(&claims, now)?;
        let id = claims.id()?;
        if let Some(nonces) = &self.nonces {
            let standing = claims.nonce()?.map(|nonce| nonces.judge(nonce, now));
            if standing != Some(Standing::Fresh) {
                trace.nonce = nonces.issue(now);
            }
            match standing {
                Some(Standing::Fresh | Standing::Aging) => {}
                Some(Standing::Unknown) => return Err(AuthnError::ProofNonce.into()),
                None => return Err(AuthnError::ProofNonceMissing.into()),
            }
        }
        let used = Use {
            key,
            id,
            issued,
            oldest: now.saturating_sub(self.max_age),
            latest: now.saturating_add(self.clock_skew),
        };
        world
            .proofs()
            .remember(&used, self.max_proofs)
            .map_err(|refused| match refused {
                Refused::Replayed => AuthnError::ProofReplayed.into(),
                Refused::Forgotten => AuthnError::ProofExpired.into(),
                Refused::Full(retry) => Refusal::ProofsFull(retry),
                Refused::KeyFull(retry) => Refusal::ProofsOfKey(retry),
            })
    }

    /// When a proof was made, if that is lately enough. Acceptable from `iat` minus the skew until `iat` plus the age.
    fn check_times(&self, claims: &proof::Said, now: UnixTime) -> Result<UnixTime, AuthnError> {
        let latest = now.saturating_add(self.clock_skew);
        let issued = claims.issued()?;
        if issued > latest || claims.not_before().is_some_and(|start| start > latest) {
            return Err(AuthnError::ProofNotYetValid);
        }
        let has_ended = claims
            .expires()
            .is_some_and(|end| now >= end.saturating_add(self.clock_skew));
        if has_ended || issued < now.saturating_sub(self.max_age) {
            return Err(AuthnError::ProofExpired);
        }
        Ok(issued)
    }
}
