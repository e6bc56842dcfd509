//! Authentication: from a credential to an identity.
//!
//! The way of a token: [`bearer`] finds it, [`verdicts`] remembers it, [`jws`] reads it strictly and trusts none of it,
//! [`jwk`] offers the keys that may have signed it, [`crypto`] checks the signature, [`claims`] reads what was signed and
//! [`jwt`] decides whether that is acceptable from this issuer now.
//!
//! A credential that is not good refuses the request: nothing falls through to another way in.

pub mod bearer;
pub mod claims;
pub mod crypto;
pub mod error;
pub mod headers;
mod json;
pub mod jwk;
pub mod jws;
pub mod jwt;
pub mod verdicts;

#[cfg(test)]
mod tests;

use std::sync::Arc;

pub use error::AuthnError;
pub use headers::IdentityHeaders;

use crate::clock::UnixTime;
use crate::denial::{Denial, Dependency, Verdict};
use crate::gateway::Gateway;
use crate::identity::{Client, Derived};
use crate::request::Request;
use crate::trace::Trace;
use crate::world::fetch::KeysUrl;
use crate::world::{Keys, World};
use jwk::KeySet;
use jws::Unverified;
use verdicts::{Bad, Good};

/// Proof that a client was authenticated: cannot be made outside this gate.
#[derive(Debug)]
pub struct Authenticated(());

/// Credentials that a route takes.
#[derive(Debug)]
pub struct Authn {
    /// Indices of the issuers whose tokens are taken.
    pub issuers: Box<[usize]>,
    /// Line of the route's `auth`.
    pub line: u32,
}

/// An issuer and where its keys are.
#[derive(Debug)]
pub struct IssuerPolicy {
    /// Its name in the configuration.
    pub name: Arc<str>,
    /// What its tokens must be like.
    pub jwt: jwt::Issuer,
    /// Where its keys are.
    pub keys: KeysFrom,
    /// Line of the configuration.
    pub line: u32,
}

/// Where an issuer's keys come from.
#[derive(Debug, Clone)]
pub enum KeysFrom {
    /// With the configuration.
    Given(Arc<KeySet>),
    /// Fetched and kept fresh.
    Url(Box<KeysUrl>),
}

impl Authn {
    /// Authenticates the caller. `trace` is told which credential was looked at.
    ///
    /// # Errors
    /// [`Denial::Unauthenticated`] for any fault of the credential; [`Denial::Unavailable`] where the keys to check it are
    /// missing, which is not the client's fault (U2).
    pub async fn check<R: Request, W: World>(
        &self,
        gateway: &Gateway,
        request: &R,
        world: &W,
        trace: &mut Trace,
    ) -> Verdict<Arc<Client>> {
        let refused = Denial::Unauthenticated;
        let sent = bearer::sent(request.headers(), request.head().query()).map_err(refused)?;
        // what is too long is known by as much of it as is ever looked at
        let digest = verdicts::digest(sent.get(..jws::MAX_TOKEN_BYTES).unwrap_or(sent));
        trace.credential = Some(digest);
        if sent.len() > jws::MAX_TOKEN_BYTES {
            return Err(refused(AuthnError::TokenTooLarge));
        }
        let now = world.now();
        if let Some(verdict) = self.remembered(gateway, world, &digest, now) {
            return verdict;
        }

        let token = bearer::token(sent).map_err(refused)?;
        let unverified = Unverified::parse(token).map_err(refused)?;
        let (index, issuer) = gateway
            .issuers
            .iter()
            .enumerate()
            .find(|(_, issuer)| issuer.jwt.issuer == unverified.issuer())
            .ok_or(refused(AuthnError::IssuerUnknown))?;
        self.takes(index)?;

        let mut keys = match world.keys(index) {
            Keys::Known(keys) => keys,
            Keys::Unavailable(_) => known(world.newer_keys(index).await)?,
        };
        let mut outcome = jwt::verify(&issuer.jwt, &keys, &unverified, now);
        if matches!(outcome, Err(AuthnError::KeyUnknown)) {
            // S51: the issuer may have rotated since
            let newer = known(world.newer_keys(index).await)?;
            if newer.generation() != keys.generation() {
                keys = newer;
                outcome = jwt::verify(&issuer.jwt, &keys, &unverified, now);
            }
        }
        let keys = keys.generation();
        let outcome = outcome.and_then(|verified| {
            let until = verified.expires.saturating_add(issuer.jwt.clock_skew);
            let headers = gateway.identity_headers.render(&issuer.name, &verified)?;
            let client = Client {
                issuer: index,
                subject: verified.subject.into(),
                client_id: verified.client_id.map(Into::into),
                scopes: verified.scopes.into_iter().map(Into::into).collect(),
                roles: verified.roles.into_iter().map(Into::into).collect(),
                claims: verified.claims,
                expires: verified.expires,
                headers,
                authenticated: Authenticated(()),
                derived: Derived::default(),
            };
            Ok((Arc::new(client), until))
        });
        match outcome {
            Ok((client, until)) => {
                let good = Good {
                    client: client.clone(),
                    until,
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
                Err(refused(why))
            }
        }
    }

    /// The verdict on this very token, while what it rests on has not changed.
    fn remembered<W: World>(
        &self,
        gateway: &Gateway,
        world: &W,
        digest: &verdicts::Digest,
        now: UnixTime,
    ) -> Option<Verdict<Arc<Client>>> {
        let still_holds = |issuer: usize, keys: u64, policy: u64| {
            policy == gateway.authn_policy
                && matches!(world.keys(issuer), Keys::Known(current) if current.generation() == keys)
        };
        if let Some(good) = world.verdicts().good(digest) {
            // past its end the token is judged anew, for the right reason
            let holds = now < good.until && still_holds(good.client.issuer, good.keys, good.policy);
            return holds.then(|| self.takes(good.client.issuer).map(|()| good.client));
        }
        let bad = world.verdicts().bad(digest)?;
        still_holds(bad.issuer, bad.keys, bad.policy)
            .then(|| self.takes(bad.issuer).and(Err(Denial::Unauthenticated(bad.why))))
    }

    fn takes(&self, issuer: usize) -> Verdict {
        if self.issuers.contains(&issuer) {
            Ok(())
        } else {
            Err(Denial::Unauthenticated(AuthnError::IssuerNotForRoute))
        }
    }

    /// What is asked for, in words.
    #[must_use]
    pub fn describe(&self, gateway: &Gateway) -> String {
        let names: Vec<&str> = self
            .issuers
            .iter()
            .filter_map(|i| gateway.issuers.get(*i))
            .map(|i| &*i.name)
            .collect();
        format!("asks for a token of {}", names.join(" or "))
    }
}

fn known(keys: Keys) -> Verdict<Arc<KeySet>> {
    match keys {
        Keys::Known(keys) => Ok(keys),
        Keys::Unavailable(retry) => Err(Denial::Unavailable(Dependency::IdentityProvider, retry)),
    }
}
