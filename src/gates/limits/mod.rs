//! How often: limits over verified facts (S69, U8).
//!
//! Several limits can apply to one request; it is admitted if all of them do, and counted by all or by none. Keys are made
//! of what the gateway verified or saw itself, never of what a client merely says.

pub mod window;

use std::hash::{BuildHasher, Hash, Hasher, RandomState};
use std::net::IpAddr;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use http::HeaderValue;

use super::authn::claims::ClaimPath;
use super::flood::network;
use crate::denial::{Denial, Verdict};
use crate::gateway::{Gateway, RouteId};
use crate::identity::{Client, Identity};
use crate::world::World;
use window::Quota;

/// A compiled limit.
#[derive(Debug)]
pub struct Limit {
    /// Its name in the configuration.
    pub name: Arc<str>,
    /// Requests in a window.
    pub requests: u16,
    /// Length of the window.
    pub window: Duration,
    /// Who is counted apart. Empty: nobody, all are one.
    pub key: Box<[KeyPart]>,
    /// Callers counted at most.
    pub max_keys: usize,
}

/// A part of a key.
#[derive(Debug, Clone, PartialEq)]
pub enum KeyPart {
    /// The verified subject.
    Subject,
    /// The verified OAuth client.
    ClientId,
    /// The issuer.
    Issuer,
    /// The client's address, through declared proxies; IPv6 by /64.
    Address,
    /// The route.
    Route,
    /// A verified claim.
    Claim(ClaimPath),
}

impl KeyPart {
    /// Whether it is known of authenticated callers only.
    #[must_use]
    pub fn needs_client(&self) -> bool {
        !matches!(self, KeyPart::Address | KeyPart::Route)
    }
}

/// The limits of a route.
#[derive(Debug, Default)]
pub struct Limits {
    /// Indices of limits in the snapshot.
    pub list: Box<[usize]>,
    /// `RateLimit-Policy` of all of them.
    pub policy: Option<HeaderValue>,
    /// Line of the configuration.
    pub line: u32,
}

/// What is left of the tightest limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Standing {
    /// Index of the limit.
    pub limit: usize,
    /// What is left of it.
    pub quota: Quota,
}

impl Limits {
    /// Counts the request by all limits of its route.
    ///
    /// # Errors
    /// [`Denial::RateLimited`] by the first that is reached; then none has counted it.
    pub fn check<W: World>(
        &self,
        gateway: &Gateway,
        route: RouteId,
        identity: &Identity,
        address: Option<IpAddr>,
        world: &W,
    ) -> Verdict<Option<Standing>> {
        let now = world.now();
        let mut tightest: Option<Standing> = None;
        for (position, index) in self.list.iter().enumerate() {
            let (Some(limit), Some(windows)) = (gateway.limits.get(*index), world.windows(*index)) else {
                return Err(Denial::Internal);
            };
            match windows.admit(limit.key(*index, gateway, route, identity, address), now) {
                Ok(quota) => {
                    let standing = Standing { limit: *index, quota };
                    if tightest.is_none_or(|other| standing.is_tighter(&other, gateway)) {
                        tightest = Some(standing);
                    }
                }
                Err(quota) => {
                    for counted in self.list.iter().take(position) {
                        if let (Some(limit), Some(windows)) =
                            (gateway.limits.get(*counted), world.windows(*counted))
                        {
                            let key = limit.key(*counted, gateway, route, identity, address);
                            windows.give_back(key, now);
                        }
                    }
                    return Err(Denial::RateLimited(Standing { limit: *index, quota }));
                }
            }
        }
        Ok(tightest)
    }

    /// What applies, in words.
    #[must_use]
    pub fn describe(&self, gateway: &Gateway) -> String {
        let texts = self
            .list
            .iter()
            .filter_map(|index| gateway.limits.get(*index))
            .map(|limit| {
                let seconds = limit.window.as_secs_f64();
                format!("{} ({} in {seconds} s)", limit.name, limit.requests)
            });
        texts.collect::<Vec<_>>().join(", ")
    }
}

impl Standing {
    /// Whether less of its limit is left, in proportion.
    fn is_tighter(&self, other: &Standing, gateway: &Gateway) -> bool {
        let part = |standing: &Standing| {
            let whole = gateway
                .limits
                .get(standing.limit)
                .map_or(1, |limit| limit.requests);
            f64::from(standing.quota.remaining) / f64::from(whole.max(1))
        };
        part(self) < part(other)
    }
}

impl Limit {
    /// The key of a request: a hash that clients cannot aim at, because its seed is the process's own. `index`: of this
    /// limit.
    fn key(
        &self,
        index: usize,
        gateway: &Gateway,
        route: RouteId,
        identity: &Identity,
        address: Option<IpAddr>,
    ) -> u64 {
        let client = match identity {
            Identity::Client(client) => client.limit_key(index, gateway),
            Identity::Anonymous => self.part_of(None),
        };
        if self.key.iter().all(KeyPart::needs_client) {
            return client;
        }
        let mut hash = SEED.build_hasher();
        client.hash(&mut hash);
        for part in &self.key {
            match part {
                KeyPart::Address => address.map(network).hash(&mut hash),
                KeyPart::Route => route.hash(&mut hash),
                KeyPart::Subject | KeyPart::ClientId | KeyPart::Issuer | KeyPart::Claim(_) => {}
            }
        }
        hash.finish()
    }

    /// What a client contributes to the key.
    fn part_of(&self, client: Option<&Client>) -> u64 {
        let mut hash = SEED.build_hasher();
        for part in &self.key {
            match part {
                KeyPart::Subject => client.map(|client| &client.subject).hash(&mut hash),
                KeyPart::ClientId => client.map(|client| &client.client_id).hash(&mut hash),
                KeyPart::Issuer => client.map(|client| &client.authority).hash(&mut hash),
                KeyPart::Claim(path) => {
                    let claim = client.and_then(|client| client.claims.value(path).ok().flatten());
                    match claim {
                        Some(serde_json::Value::String(text)) => text.hash(&mut hash),
                        other => other.map(ToString::to_string).hash(&mut hash),
                    }
                }
                KeyPart::Address | KeyPart::Route => {}
            }
        }
        hash.finish()
    }
}

static SEED: LazyLock<RandomState> = LazyLock::new(RandomState::new);

impl Client {
    /// Its part of a limit's key, worked out once for all limits: looking for claims takes longer than counting.
    fn limit_key(&self, index: usize, gateway: &Gateway) -> u64 {
        let parts = || {
            gateway
                .limits
                .iter()
                .map(|limit| limit.part_of(Some(self)))
                .collect()
        };
        let policy = gateway.authn_policy;
        let (of, keys) = self.derived.limit_keys.get_or_init(|| (policy, parts()));
        match keys.get(index) {
            Some(key) if *of == policy => *key,
            // of another snapshot
            _ => gateway
                .limits
                .get(index)
                .map_or(0, |limit| limit.part_of(Some(self))),
        }
    }
}
