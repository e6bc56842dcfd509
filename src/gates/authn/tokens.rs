//! Tokens: verified by what they say and who signed it, or by asking their issuer.
//!
//! A route that takes both tells them apart by form: what looks like a signed token is verified as one and never asked
//! about, so that no refused signature gets a second chance.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use super::attempts::Attempt;
use super::dpop::Demand;
use super::introspection;
use super::jwk::KeySet;
use super::jws::{self, Unverified};
use super::verdicts::{self, Asked, Bad, Digest, Good};
use super::{Authenticated, AuthnError, IssuerPolicy, Refusal, bearer, jwt};
use crate::clock::UnixTime;
use crate::gateway::Gateway;
use crate::identity::{Client, Derived, Kind};
use crate::request::Request;
use crate::trace::Trace;
use crate::world::{Introspected, Keys, World};

/// Whose tokens are taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tokens {
    /// Indices of the issuers whose signed tokens are taken.
    pub jwt: Box<[usize]>,
    /// Index of the issuer that is asked about all others.
    pub introspection: Option<usize>,
    /// Whether they have to be bound to a key.
    pub dpop: Demand,
}

/// Who shows a token, and who is told what is found.
struct Looker<'a> {
    client: Option<IpAddr>,
    trace: &'a mut Trace,
}

impl Tokens {
    /// Authenticates the caller by this token. `trace` is told that it was looked at.
    ///
    /// # Errors
    /// The token is not good, or what is needed to tell is missing (U2).
    pub(super) async fn authenticate<R: Request, W: World>(
        &self,
        gateway: &Gateway,
        request: &R,
        world: &W,
        sent: &[u8],
        trace: &mut Trace,
    ) -> Result<Arc<Client>, Refusal> {
        // what is too long is known by as much of it as is ever looked at
        let digest = verdicts::digest(sent.get(..jws::MAX_TOKEN_BYTES).unwrap_or(sent));
        trace.credential = Some(digest);
        if sent.len() > jws::MAX_TOKEN_BYTES {
            return Err(AuthnError::TokenTooLarge.into());
        }
        let asked = self
            .introspection
            .filter(|_| self.jwt.is_empty() || !looks_signed(sent));
        let looker = Looker {
            client: request.peer().client,
            trace,
        };
        match asked {
            None => self.verified(gateway, world, sent, digest, looker).await,
            Some(index) => asked_about(gateway, world, index, sent, digest, looker).await,
        }
    }

    async fn verified<W: World>(
        &self,
        gateway: &Gateway,
        world: &W,
        sent: &[u8],
        digest: Digest,
        looker: Looker<'_>,
    ) -> Result<Arc<Client>, Refusal> {
        let now = world.now();
        if let Some(verdict) = self.remembered(gateway, world, &digest, now) {
            return verdict;
        }
        let attempts = &gateway.attempts;
        let mut attempt =
            attempts.begin(world.attempts(), Some(&digest), looker.client, now, looker.trace)?;
        let outcome = self
            .judged(gateway, world, sent, digest, &mut attempt, looker.trace)
            .await;
        attempt.settle(&outcome);
        outcome
    }

    /// The verdict on a token that is not remembered.
    async fn judged<W: World>(
        &self,
        gateway: &Gateway,
        world: &W,
        sent: &[u8],
        digest: Digest,
        attempt: &mut Attempt<'_>,
        trace: &mut Trace,
    ) -> Result<Arc<Client>, Refusal> {
        let now = world.now();
        let token = bearer::token(sent)?;
        let unverified = Unverified::parse(token)?;
        let (index, issuer) = gateway
            .issuers
            .iter()
            .enumerate()
            .find(|(_, issuer)| issuer.jwt.issuer == unverified.issuer())
            .ok_or(AuthnError::IssuerUnknown)?;
        self.takes(index)?;
        if let Some(subject) = unverified.subject() {
            gateway
                .attempts
                .claim(attempt, unverified.issuer(), subject, trace)?;
        }

        let mut keys = match world.keys(index) {
            Keys::Known(keys) => keys,
            Keys::Unavailable(_) => known(world.newer_keys(index, unverified.key_id()).await)?,
        };
        let mut outcome = jwt::verify(&issuer.jwt, &keys, &unverified, now);
        if matches!(outcome, Err(AuthnError::KeyUnknown)) {
            // S51: the issuer may have rotated since
            let newer = known(world.newer_keys(index, unverified.key_id()).await)?;
            if newer.generation() != keys.generation() {
                keys = newer;
                outcome = jwt::verify(&issuer.jwt, &keys, &unverified, now);
            }
        }
        let keys = keys.generation();
        let outcome = outcome.and_then(|verified| client(gateway, Kind::Jwt, index, issuer, verified));
        match outcome {
            Ok(client) => {
                let good = Good {
                    client: client.clone(),
                    keys,
                    policy: gateway.authn_policy,
                };
                world.verdicts().remember_good(digest, good);
                Ok(client)
            }
            Err(why) => {
                // what time or the next fetch of keys can mend is not remembered
                if !matches!(why, AuthnError::KeyUnknown | AuthnError::TokenNotYetValid) {
                    let bad = Bad {
                        why,
                        issuer: index,
                        keys,
                        policy: gateway.authn_policy,
                    };
                    world.verdicts().remember_bad(digest, bad);
                }
                Err(why.into())
            }
        }
    }

    /// The verdict on this very token, while what it rests on has not changed.
    fn remembered<W: World>(
        &self,
        gateway: &Gateway,
        world: &W,
        digest: &Digest,
        now: UnixTime,
    ) -> Option<Result<Arc<Client>, Refusal>> {
        let still_holds = |issuer: usize, keys: u64, policy: u64| {
            policy == gateway.authn_policy
                && matches!(world.keys(issuer), Keys::Known(current) if current.generation() == keys)
        };
        if let Some(good) = world.verdicts().good(digest) {
            // past its end the token is judged anew, for the right reason
            let holds = now < good.client.until && still_holds(good.client.issuer, good.keys, good.policy);
            return holds.then(|| self.takes(good.client.issuer).map(|()| good.client));
        }
        let bad = world.verdicts().bad(digest)?;
        still_holds(bad.issuer, bad.keys, bad.policy).then(|| self.takes(bad.issuer).and(Err(bad.why.into())))
    }

    fn takes(&self, issuer: usize) -> Result<(), Refusal> {
        if self.jwt.contains(&issuer) {
            Ok(())
        } else {
            Err(AuthnError::IssuerNotForRoute.into())
        }
    }
}

/// Whether these bytes are meant to be a JWS: two dots, and a header that begins as JSON does.
fn looks_signed(token: &[u8]) -> bool {
    token.starts_with(b"eyJ") && token.iter().filter(|byte| **byte == b'.').count() == 2
}

/// S53, U23: the answer of the issuer, remembered for a while.
async fn asked_about<W: World>(
    gateway: &Gateway,
    world: &W,
    index: usize,
    sent: &[u8],
    digest: Digest,
    looker: Looker<'_>,
) -> Result<Arc<Client>, Refusal> {
    let policy = gateway.authn_policy;
    let now = world.now();
    if let Some(asked) = world.verdicts().asked(&digest)
        && (asked.issuer, asked.policy) == (index, policy)
        && now < asked.until
    {
        return asked.outcome.map_err(Refusal::from);
    }
    // without its name: whoever is asked again has been asked twice
    let attempts = &gateway.attempts;
    let attempt = attempts.begin(world.attempts(), None, looker.client, now, looker.trace)?;
    let outcome = ask_about(gateway, world, index, sent, digest).await;
    attempt.settle(&outcome);
    outcome
}

async fn ask_about<W: World>(
    gateway: &Gateway,
    world: &W,
    index: usize,
    sent: &[u8],
    digest: Digest,
) -> Result<Arc<Client>, Refusal> {
    let now = world.now();
    let token = bearer::token(sent)?;
    let issuer = gateway.issuers.get(index);
    let Some((issuer, settings)) = issuer.and_then(|issuer| Some((issuer, issuer.introspection.as_ref()?)))
    else {
        return Err(Refusal::Unavailable(Duration::from_secs(1)));
    };
    let said = match world.introspect(index, token, &digest).await {
        Introspected::Said(said) => said,
        Introspected::Unavailable(retry) => return Err(Refusal::Unavailable(retry)),
    };
    let judged = introspection::verify(&issuer.jwt, settings, &said, now);
    let (expires, span) = match &judged {
        Ok(verified) => (verified.expires, settings.cache),
        Err(_) => (UnixTime::MAX, settings.negative_cache),
    };
    let outcome = judged.and_then(|verified| client(gateway, Kind::Introspection, index, issuer, verified));
    let asked = Asked {
        outcome: outcome.clone(),
        issuer: index,
        until: now.saturating_add(span).min(expires),
        policy: gateway.authn_policy,
    };
    world.verdicts().remember_asked(digest, asked);
    outcome.map_err(Refusal::from)
}

/// A client, from what is known to be true of it.
fn client(
    gateway: &Gateway,
    kind: Kind,
    index: usize,
    issuer: &IssuerPolicy,
    verified: jwt::Verified,
) -> Result<Arc<Client>, AuthnError> {
    let headers = gateway.identity_headers.render(&issuer.name, &verified)?;
    Ok(Arc::new(Client {
        kind,
        issuer: index,
        authority: issuer.name.clone(),
        until: verified.expires.saturating_add(issuer.jwt.clock_skew),
        subject: verified.subject.into(),
        client_id: verified.client_id.map(Into::into),
        scopes: verified.scopes.into_iter().map(Into::into).collect(),
        roles: verified.roles.into_iter().map(Into::into).collect(),
        claims: verified.claims,
        headers,
        authenticated: Authenticated(()),
        derived: Derived::default(),
    }))
}

fn known(keys: Keys) -> Result<Arc<KeySet>, Refusal> {
    match keys {
        Keys::Known(keys) => Ok(keys),
        Keys::Unavailable(retry) => Err(Refusal::Unavailable(retry)),
    }
}
