//! Bearer tokens that come from several networks in a short time (M14): what a copied token looks like from here.
//!
//! A client that moves changes its network too, so this tells, and never refuses. Tokens that are bound to a key or a
//! certificate are not looked at: a copy of one is of no use.

use std::fmt;
use std::hash::{BuildHasher, RandomState};
use std::net::IpAddr;
use std::time::Duration;

use parking_lot::Mutex;
use quick_cache::unsync::Cache;

use super::verdicts::Digest;
use crate::clock::UnixTime;

/// Networks of one token that are remembered at most.
pub const MAX_NETWORKS: usize = 8;
/// Bytes that a token takes, about.
pub const TOKEN: usize = 256;
/// Locks: more than cores, so that they seldom meet. Also the fewest tokens that can be remembered.
pub const SHARDS: usize = 16;

/// When to tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SharedTokens {
    /// From so many networks.
    pub networks: usize,
    /// Within this time.
    pub window: Duration,
    /// Tokens that are remembered at most.
    pub max_tokens: usize,
}

/// Where tokens were seen. Bounded; forgets the least useful first.
pub struct Sightings {
    shards: Box<[Mutex<Cache<u64, Seen>>]>,
    max_tokens: usize,
    seed: RandomState,
}

/// Where one token was seen, and when last.
#[derive(Debug, Clone, Copy, Default)]
struct Seen {
    networks: [Option<(u64, UnixTime)>; MAX_NETWORKS],
    told: Option<UnixTime>,
}

impl Sightings {
    /// For so many tokens.
    #[must_use]
    pub fn new(max_tokens: usize) -> Sightings {
        let shard = || Mutex::new(Cache::new(max_tokens.div_ceil(SHARDS)));
        Sightings {
            shards: (0..SHARDS).map(|_| shard()).collect(),
            max_tokens,
            seed: RandomState::new(),
        }
    }

    /// Whether they remember as many as these settings ask for.
    #[must_use]
    pub fn are_for(&self, settings: Option<&SharedTokens>) -> bool {
        settings.is_none_or(|settings| settings.max_tokens == self.max_tokens)
    }

    /// A good token came from this address: from how many networks by now, where that is to be told, once in a window.
    pub(super) fn saw(
        &self,
        token: &Digest,
        address: IpAddr,
        now: UnixTime,
        settings: &SharedTokens,
    ) -> Option<usize> {
        let network = self.seed.hash_one(network(address));
        let token = self.seed.hash_one(token);
        let shard = usize::try_from(token % SHARDS as u64).ok()?;
        let mut shard = self.shards.get(shard)?.lock();
        let mut seen = shard.get(&token).copied().unwrap_or_default();
        let told = seen.add(network, now, settings);
        shard.insert(token, seen);
        told
    }
}

impl Seen {
    fn add(&mut self, network: u64, now: UnixTime, settings: &SharedTokens) -> Option<usize> {
        let is_over = |at: UnixTime| now.saturating_since(at) >= settings.window;
        for place in &mut self.networks {
            if place.is_some_and(|(known, at)| known == network || is_over(at)) {
                *place = None;
            }
        }
        let oldest = self
            .networks
            .iter_mut()
            .min_by_key(|place| place.map(|(_, at)| at));
        if let Some(place) = oldest {
            *place = Some((network, now));
        }
        let networks = self.networks.iter().flatten().count();
        if networks < settings.networks || self.told.is_some_and(|at| !is_over(at)) {
            return None;
        }
        self.told = Some(now);
        Some(networks)
    }
}

impl Default for Sightings {
    fn default() -> Self {
        Sightings::new(SHARDS)
    }
}

impl fmt::Debug for Sightings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sightings")
            .field("max_tokens", &self.max_tokens)
            .finish_non_exhaustive()
    }
}

/// What counts as one place: an IPv4 /24 or an IPv6 /48, within which addresses of one client often change.
fn network(address: IpAddr) -> u128 {
    match address.to_canonical() {
        IpAddr::V4(address) => u128::from(address.to_bits() >> 8),
        IpAddr::V6(address) => address.to_bits() >> 80 << 80 | 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SETTINGS: SharedTokens = SharedTokens {
        networks: 3,
        window: Duration::from_secs(60),
        max_tokens: 1024,
    };

    fn saw(sightings: &Sightings, token: u8, from: &str, at: u64) -> Option<usize> {
        let (from, now) = (from.parse().unwrap(), UnixTime::from_seconds(1_000 + at));
        sightings.saw(&[token; 32], from, now, &SETTINGS)
    }

    // M14
    #[test]
    fn a_token_from_many_networks_is_told_of_once_in_a_window() {
        let all = Sightings::new(SETTINGS.max_tokens);
        for (from, at, told) in [
            ("192.0.2.1", 0, None),
            ("192.0.2.254", 1, None),
            ("::ffff:192.0.2.7", 1, None),
            ("198.51.100.1", 2, None),
            ("2001:db8:1::1", 3, Some(3)),
            ("2001:db8:1:ffff::1", 3, None),
            ("2001:db8:2::1", 4, None),
            ("203.0.113.1", 62, None),
            // all but the last two are too long ago
            ("192.0.2.1", 64, None),
            ("198.51.100.1", 65, Some(3)),
        ] {
            assert_eq!(saw(&all, 1, from, at), told, "{from} at {at}");
        }
        assert_eq!(saw(&all, 2, "192.0.2.1", 65), None, "another token");
    }

    #[test]
    fn a_client_that_moves_once_in_a_window_is_none() {
        let all = Sightings::new(SETTINGS.max_tokens);
        for n in 0..100 {
            assert_eq!(saw(&all, 1, &format!("10.0.{n}.1"), n * 31), None, "{n}");
        }
    }

    #[test]
    fn more_networks_than_are_remembered_are_many() {
        let all = Sightings::new(SETTINGS.max_tokens);
        let told: Vec<_> = (0..50)
            .filter_map(|n| saw(&all, 1, &format!("10.0.{n}.1"), n))
            .collect();
        assert_eq!(told, [3]);
        assert_eq!(saw(&all, 1, "10.0.99.1", 62), Some(MAX_NETWORKS));
    }

    #[test]
    fn no_number_of_tokens_makes_it_grow() {
        let all = Sightings::new(64);
        for n in 0_u32..10_000 {
            let mut token = [0; 32];
            token[..4].copy_from_slice(&n.to_be_bytes());
            all.saw(
                &token,
                "192.0.2.1".parse().unwrap(),
                UnixTime::from_seconds(1),
                &SETTINGS,
            );
        }
        let kept: usize = all.shards.iter().map(|shard| shard.lock().len()).sum();
        assert!(kept <= 64, "{kept}");
    }
}
