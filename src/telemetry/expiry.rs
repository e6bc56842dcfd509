//! Warnings of certificates that are about to end (S16): 30, 14, 7 and 1 days before, each once.
//!
//! A warning that would come before the middle of a lifetime says nothing: a certificate of six days is not warned of from the
//! beginning.

use std::collections::HashMap;
use std::fmt;

use crate::clock::UnixTime;
use crate::gateway::CertifiedKey;
use crate::pki::facts::{self, Fingerprint};

/// Days before the end at which there is a warning.
const DAYS: [i64; 4] = [1, 7, 14, 30];

/// What has been said so far.
#[derive(Debug, Default)]
pub struct Expiry {
    /// The last of [`DAYS`] that a certificate was warned of; 0: that it has ended.
    told: HashMap<Fingerprint, i64>,
}

/// A certificate ends soon.
#[derive(Debug, PartialEq, Eq)]
pub struct EndsSoon {
    /// Its first name.
    pub name: String,
    /// Fewer days than this are left; 0: it has ended.
    pub within: i64,
    /// When, in the words of the certificate.
    pub at: String,
}

impl fmt::Display for EndsSoon {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let EndsSoon { name, within, at } = self;
        match within {
            0 => write!(
                f,
                "certificate_expired: the certificate for {name} ended at {at}: clients refuse it"
            ),
            1 => write!(
                f,
                "certificate_expires: the certificate for {name} ends within a day, at {at}: renew it"
            ),
            days => write!(
                f,
                "certificate_expires: the certificate for {name} ends within {days} days, at {at}: renew it"
            ),
        }
    }
}

impl Expiry {
    /// What has to be said now. Nothing twice; a warning that is overtaken by a later one is left out.
    pub fn due<'a>(
        &mut self,
        now: UnixTime,
        certificates: impl Iterator<Item = &'a CertifiedKey>,
    ) -> Vec<EndsSoon> {
        let now = i64::try_from(now.seconds()).unwrap_or(i64::MAX);
        let mut told = HashMap::new();
        let mut due = Vec::new();
        for certificate in certificates {
            let (Some(ends), Some(leaf)) = (certificate.not_after(), certificate.chain.first()) else {
                continue;
            };
            let left = ends - now;
            let life = facts::seconds(leaf.not_before()).map_or(0, |begins| ends - begins);
            let passed = |days: &i64| left <= days * 86_400 && days * 86_400 <= life / 2;
            let within = if left < 0 {
                Some(0)
            } else {
                DAYS.into_iter().find(passed)
            };
            let Some(within) = within else { continue };
            let id = certificate.fingerprint;
            let before = told.get(&id).or(self.told.get(&id));
            if before.is_none_or(|before| within < *before) {
                due.push(EndsSoon {
                    name: certificate.names.first().cloned().unwrap_or_default(),
                    within,
                    at: leaf.not_after().to_string(),
                });
            }
            told.insert(id, within);
        }
        // certificates that are gone are forgotten
        self.told = told;
        due
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pki::issue::{Authority, Key};

    const DAY: u64 = 86_400;

    fn certificate(days: u32) -> CertifiedKey {
        let now = UnixTime::EPOCH.saturating_add(std::time::Duration::from_secs(DAY));
        let authority = Authority::new("test", days, now).unwrap();
        let key = Key::P256.generate().unwrap();
        let leaf = authority
            .server(&key, "test", &["a.example".to_owned()], days, now)
            .unwrap();
        CertifiedKey::new(vec![leaf], key).unwrap()
    }

    // S16
    #[test]
    fn each_warning_is_given_once_and_a_renewed_certificate_begins_anew() {
        // begins on day 1, ends on day 91
        let (mut expiry, old) = (Expiry::default(), certificate(90));
        let mut on = |day: u64, certificate: &CertifiedKey| -> Vec<i64> {
            let due = expiry.due(UnixTime::from_seconds(day * DAY), [certificate].into_iter());
            due.into_iter().map(|soon| soon.within).collect()
        };
        assert!(on(60, &old).is_empty());
        assert_eq!(on(61, &old), [30]);
        assert!(on(62, &old).is_empty());
        assert_eq!(on(77, &old), [14]);
        // asleep for a while: one warning, the pressing one
        assert_eq!(on(90, &old), [1]);
        assert!(on(90, &old).is_empty());
        assert_eq!(on(92, &old), [0]);
        assert!(on(93, &old).is_empty());
        let new = certificate(95);
        assert_eq!(on(93, &new), [7]);
        assert!(on(93, &new).is_empty());
        // begins on day 1, ends on day 7
        let short = certificate(6);
        assert!(on(1, &short).is_empty() && on(4, &short).is_empty());
        assert_eq!(on(6, &short), [1]);
    }

    // S16
    #[test]
    fn a_certificate_of_two_listeners_is_warned_of_once() {
        let (mut expiry, one) = (Expiry::default(), certificate(90));
        let due = expiry.due(UnixTime::from_seconds(80 * DAY), [&one, &one].into_iter());
        assert_eq!(due.len(), 1);
        assert_eq!(due[0].name, "a.example");
        let said = due[0].to_string();
        assert!(
            said.contains("a.example ends within 14 days, at Apr  2"),
            "{said}"
        );
    }
}
