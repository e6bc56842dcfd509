//! How many refused credentials of one address, and for one account, are looked at (S73, S54).
//!
//! Before anything expensive is done about a credential that is not known yet, a place is taken in the windows of the
//! client's network and of the account that the credential claims to be of; it is given back where the credential turns out
//! good. So no interval sees more refused credentials than the limit, however many come at once. What is remembered costs
//! nothing and is answered as it was: callers who are known pass at any time, and who sends the same bad credential again and
//! again counts once.
//!
//! The account is what a forger writes, so a limit by account is one that others can use up for its owner. It does not
//! apply to networks from which that account has shown a good token before.

use std::fmt;
use std::hash::{BuildHasher, RandomState};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use quick_cache::sync::Cache;

use super::verdicts::Digest;
use super::{AuthnError, Refusal};
use crate::clock::UnixTime;
use crate::denial::{Denial, Whose};
use crate::gates::Mode;
use crate::gates::flood::network;
use crate::gates::limits::window::Windows;
use crate::identity::Client;
use crate::trace::{Detail, Trace};

/// Refused credentials that are remembered to have been counted, at most: 500 KiB.
const COUNTED: usize = 16_384;
/// Networks and the accounts that they are known to use, at most: 2 MiB.
const FAMILIAR: usize = 65_536;

/// The limits.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Attempts {
    /// Of one network: an IPv4 address or an IPv6 /64.
    pub per_address: Option<Bound>,
    /// For one account, of an issuer's, by the subject that tokens claim.
    pub per_account: Option<Bound>,
    /// Networks and accounts that are counted at most, each.
    pub max_keys: usize,
    /// Whether they count.
    pub mode: Mode,
    /// Whether somebody wrote them down.
    pub is_written: bool,
    /// Line of the configuration.
    pub line: u32,
}

/// So many in a window.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bound {
    /// Refused credentials.
    pub refused: u16,
    /// Length of the window.
    pub window: Duration,
}

/// What has been counted. Bounded.
pub struct Counters {
    addresses: Option<Windows>,
    accounts: Option<Windows>,
    /// What they were made for.
    settings: [Option<Bound>; 2],
    max_keys: usize,
    counted: Cache<u64, ()>,
    familiar: Cache<u64, ()>,
    seed: RandomState,
}

/// A look at a credential that is not known. Counts as one that was refused until it is settled.
#[must_use]
#[derive(Debug)]
pub(super) struct Attempt<'w> {
    counters: &'w Counters,
    network: Option<u128>,
    /// Its name among those that were counted.
    name: Option<u64>,
    /// Places that were taken.
    address: Option<u64>,
    account: Option<u64>,
    /// The network with the account, where there is a limit by account.
    pair: Option<u64>,
    now: UnixTime,
}

impl Attempts {
    /// Begins to look at a credential. `name`: by which it is known when it comes again, where looking at it again costs
    /// next to nothing.
    ///
    /// # Errors
    /// Too many of this network were refused.
    pub(super) fn begin<'w>(
        &self,
        counters: &'w Counters,
        name: Option<&Digest>,
        client: Option<IpAddr>,
        now: UnixTime,
        trace: &mut Trace,
    ) -> Result<Attempt<'w>, Refusal> {
        let network = client.map(network);
        let name = name.map(|digest| counters.seed.hash_one(digest));
        let mut attempt = Attempt {
            counters,
            network,
            name,
            address: None,
            account: None,
            pair: None,
            now,
        };
        let is_counted = name.is_some_and(|name| counters.counted.get(&name).is_some());
        if let (false, Some(windows), Some(network)) = (is_counted, &counters.addresses, network) {
            let key = counters.seed.hash_one(network);
            match windows.admit(key, now) {
                Ok(_) => attempt.address = Some(key),
                Err(quota) => self.refuse(Whose::Address, quota.reset, trace)?,
            }
        }
        Ok(attempt)
    }

    /// The same for the account that the credential claims.
    ///
    /// # Errors
    /// Too many for this account were refused, and the network is not one that it is known to use.
    pub(super) fn claim(
        &self,
        attempt: &mut Attempt<'_>,
        issuer: &str,
        subject: &str,
        trace: &mut Trace,
    ) -> Result<(), Refusal> {
        let counters = attempt.counters;
        let Some(windows) = &counters.accounts else {
            return Ok(());
        };
        let account = counters.seed.hash_one((issuer, subject));
        let pair = counters.seed.hash_one((account, attempt.network));
        attempt.pair = Some(pair);
        let is_counted = attempt
            .name
            .is_some_and(|name| counters.counted.get(&name).is_some());
        if is_counted || counters.familiar.get(&pair).is_some() {
            return Ok(());
        }
        match windows.admit(account, attempt.now) {
            Ok(_) => attempt.account = Some(account),
            Err(quota) => self.refuse(Whose::Account, quota.reset, trace)?,
        }
        Ok(())
    }

    fn refuse(&self, whose: Whose, retry: Duration, trace: &mut Trace) -> Result<(), Refusal> {
        match self.mode {
            Mode::Enforce => Err(Refusal::TooMany(whose, retry)),
            Mode::Shadow => {
                let denial = Denial::Attempts(whose, retry);
                trace.shadowed(&denial, self.line, Detail::Text("refused credentials"));
                Ok(())
            }
        }
    }

    /// What applies, in words; `None`: nothing.
    #[must_use]
    pub fn describe(&self) -> Option<String> {
        let words = |bound: Option<Bound>, whose: &str| {
            let Bound { refused, window } = bound?;
            Some(format!("{refused} in {} s {whose}", window.as_secs_f64()))
        };
        let each = [
            words(self.per_address, "per address"),
            words(self.per_account, "per account"),
        ];
        let each: Vec<String> = each.into_iter().flatten().collect();
        let note = self.mode.note();
        (!each.is_empty()).then(|| format!("refused credentials: {}{note}", each.join(", ")))
    }
}

impl Attempt<'_> {
    /// What came of it: one that was refused stays counted.
    pub(super) fn settle(self, outcome: &Result<Arc<Client>, Refusal>) {
        let Counters {
            addresses,
            accounts,
            counted,
            familiar,
            ..
        } = self.counters;
        match outcome {
            Err(Refusal::Bad(why)) if why.is_attempt() => {
                if let Some(name) = self.name {
                    counted.insert(name, ());
                }
                return;
            }
            Ok(_) => {
                if let Some(pair) = self.pair {
                    familiar.insert(pair, ());
                }
            }
            Err(_) => {}
        }
        for (windows, key) in [(addresses, self.address), (accounts, self.account)] {
            if let (Some(windows), Some(key)) = (windows, key) {
                windows.give_back(key, self.now);
            }
        }
    }
}

impl AuthnError {
    /// Whether it may have been a try: not where there was nothing to try, nor where what was sent has been, or will be,
    /// good.
    fn is_attempt(self) -> bool {
        !matches!(
            self,
            AuthnError::CredentialsMissing
                | AuthnError::TokenExpired
                | AuthnError::TokenNotYetValid
                | AuthnError::ApiKeyExpired
        )
    }
}

impl Counters {
    /// For these limits; of `most` networks and accounts, where that is fewer.
    #[must_use]
    pub fn new(attempts: &Attempts, most: usize) -> Counters {
        let Attempts {
            per_address,
            per_account,
            max_keys,
            ..
        } = attempts;
        let windows = |bound: &Option<Bound>| {
            let Bound { refused, window } = (*bound)?;
            Some(Windows::new(refused, window, most.min(*max_keys)))
        };
        Counters {
            addresses: windows(per_address),
            accounts: windows(per_account),
            settings: [*per_address, *per_account],
            max_keys: *max_keys,
            counted: Cache::new(COUNTED.min(most)),
            familiar: Cache::new(FAMILIAR.min(most)),
            seed: RandomState::new(),
        }
    }

    /// Whether they count what these limits ask for.
    #[must_use]
    pub fn counts_for(&self, attempts: &Attempts) -> bool {
        self.settings == [attempts.per_address, attempts.per_account] && self.max_keys == attempts.max_keys
    }

    /// The windows that there are, by whose they are.
    pub fn windows(&self) -> impl Iterator<Item = (&'static str, &Windows)> {
        let all = [("address", &self.addresses), ("account", &self.accounts)];
        all.into_iter()
            .filter_map(|(whose, windows)| Some((whose, windows.as_ref()?)))
    }
}

/// Counts nothing.
impl Default for Counters {
    fn default() -> Counters {
        Counters::new(&Attempts::default(), 0)
    }
}

impl fmt::Debug for Counters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Counters")
            .field("settings", &self.settings)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BAD: Result<Arc<Client>, Refusal> = Err(Refusal::Bad(AuthnError::SignatureInvalid));

    fn attempts(per_address: Option<u16>, per_account: Option<u16>) -> Attempts {
        let bound = |refused: u16| Bound {
            refused,
            window: Duration::from_secs(60),
        };
        Attempts {
            per_address: per_address.map(bound),
            per_account: per_account.map(bound),
            max_keys: 1024,
            mode: Mode::Enforce,
            is_written: true,
            line: 1,
        }
    }

    struct Stage(Attempts, Counters);

    impl Stage {
        fn new(per_address: Option<u16>, per_account: Option<u16>) -> Stage {
            let attempts = attempts(per_address, per_account);
            let counters = Counters::new(&attempts, usize::MAX);
            Stage(attempts, counters)
        }

        fn begin(&self, from: &str, name: Option<Digest>, account: &str) -> Result<Attempt<'_>, Refusal> {
            let (now, trace) = (UnixTime::from_seconds(1_000), &mut Trace::default());
            let from = Some(from.parse().unwrap());
            let mut attempt = self.0.begin(&self.1, name.as_ref(), from, now, trace)?;
            match self.0.claim(&mut attempt, "main", account, trace) {
                Ok(()) => Ok(attempt),
                Err(refusal) => {
                    attempt.settle(&Err(refusal));
                    Err(refusal)
                }
            }
        }

        /// Whether one more bad credential is looked at.
        fn bad(&self, from: &str, account: &str) -> bool {
            self.begin(from, None, account)
                .map(|attempt| attempt.settle(&BAD))
                .is_ok()
        }
    }

    // S73
    #[test]
    fn a_network_has_so_many_and_others_are_not_concerned() {
        let stage = Stage::new(Some(3), None);
        assert_eq!(
            [0; 5].map(|_| stage.bad("192.0.2.1", "a")),
            [true, true, true, false, false]
        );
        assert!(stage.bad("192.0.2.2", "a"));
        // one subscriber, however many addresses
        let of = |n: u16| stage.bad(&format!("2001:db8:0:1::{n:x}"), "a");
        assert_eq!([1, 2, 3, 4].map(of), [true, true, true, false]);
        assert!(stage.bad("2001:db8:0:2::1", "a"));
    }

    // S73: those that come at once are counted before it is known what they are
    #[test]
    fn what_is_not_settled_counts_and_what_was_good_or_could_not_be_told_does_not() {
        let stage = Stage::new(Some(2), None);
        let under_way = [
            stage.begin("192.0.2.1", None, "a"),
            stage.begin("192.0.2.1", None, "a"),
        ];
        assert!(!stage.bad("192.0.2.1", "a"));
        for (attempt, outcome) in under_way.into_iter().zip([
            Err(Refusal::Unavailable(Duration::ZERO)),
            Err(Refusal::Bad(AuthnError::TokenExpired)),
        ]) {
            attempt.unwrap().settle(&outcome);
        }
        assert_eq!([0; 3].map(|_| stage.bad("192.0.2.1", "a")), [true, true, false]);
        // gone without a word: it could be had for nothing
        let stage = Stage::new(Some(1), None);
        drop(stage.begin("192.0.2.1", None, "a"));
        assert!(!stage.bad("192.0.2.1", "a"));
    }

    // S54
    #[test]
    fn the_same_bad_credential_counts_once() {
        let stage = Stage::new(Some(2), Some(2));
        for _ in 0..100 {
            let attempt = stage.begin("192.0.2.1", Some([7; 32]), "a").unwrap();
            attempt.settle(&BAD);
        }
        assert!(stage.bad("192.0.2.1", "a"));
        assert!(!stage.bad("192.0.2.1", "a"));
        assert!(
            stage.begin("192.0.2.1", Some([7; 32]), "a").is_ok(),
            "it is known what it is"
        );
    }

    // S73: whoever writes a victim's name into forged tokens does not lock the victim out
    #[test]
    fn an_account_that_is_attacked_can_be_used_from_where_it_has_been_used() {
        let stage = Stage::new(None, Some(3));
        let good = crate::gates::authn::tests::client();
        stage
            .begin("192.0.2.1", None, "victim")
            .unwrap()
            .settle(&Ok(good));
        let attacked: Vec<bool> = (0..5)
            .map(|n| stage.bad(&format!("198.51.100.{n}"), "victim"))
            .collect();
        assert_eq!(attacked, [true, true, true, false, false]);
        assert!(stage.begin("192.0.2.1", None, "victim").is_ok(), "at home");
        assert!(
            stage.begin("198.51.100.9", None, "somebody").is_ok(),
            "another account"
        );
        assert_eq!(
            stage.begin("192.0.2.2", None, "victim").map(|_| ()),
            Err(Refusal::TooMany(Whose::Account, Duration::from_millis(62_500)))
        );
    }
}
