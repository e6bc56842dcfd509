//! Which certificate a client is shown, by the name it asks for (RFC 6066 section 3).

use std::collections::HashMap;
use std::sync::Arc;

use arc_swap::ArcSwapOption;
use openssl::pkey::{Id, PKey, Private};
use openssl::x509::X509;
use smallvec::SmallVec;

use crate::acme::Account;
use crate::pki::facts::{self, Fingerprint};

/// A certificate chain with its private key.
#[derive(Debug, Clone)]
pub struct CertifiedKey {
    /// DNS names and addresses it is for, in lower case; `*.` kept.
    pub names: Arc<[String]>,
    /// Leaf first.
    pub chain: Vec<X509>,
    /// Matches the leaf.
    pub key: PKey<Private>,
    /// Of the leaf.
    pub fingerprint: Fingerprint,
}

impl CertifiedKey {
    /// `None` for a chain without a leaf, or one whose leaf has another key.
    #[must_use]
    pub fn new(chain: Vec<X509>, key: PKey<Private>) -> Option<CertifiedKey> {
        let leaf = chain.first()?;
        if !is_pair(leaf, &key) {
            return None;
        }
        Some(CertifiedKey {
            names: facts::names(leaf).into(),
            fingerprint: facts::fingerprint(leaf),
            chain,
            key,
        })
    }

    /// When the certificate ends, in seconds since 1970; `None` where it does not say so in a way that can be read.
    #[must_use]
    pub fn not_after(&self) -> Option<i64> {
        facts::seconds(self.chain.first()?.not_after())
    }
}

/// Whether a key is the certificate's. What stands in for a key that nobody was asked for is everybody's.
#[must_use]
pub fn is_pair(leaf: &X509, key: &PKey<Private>) -> bool {
    stands_in(key) || leaf.public_key().is_ok_and(|public| public.public_eq(key))
}

/// Stands in for a key in a store that is not asked, where a configuration is checked and not run.
#[must_use]
pub fn stand_in() -> Option<PKey<Private>> {
    PKey::generate_x25519().ok()
}

/// Whether it is one that stands in: of a kind that cannot sign, and so is nobody's own.
#[must_use]
pub fn stands_in(key: &PKey<Private>) -> bool {
    key.id() == Id::X25519
}

/// A place for a certificate: filled for good from files, or from time to time by whoever renews it.
#[derive(Debug)]
pub struct Slot {
    /// DNS names and addresses that it is for, in lower case; `*.` kept.
    pub names: Arc<[String]>,
    /// Who fills it from time to time; `None`: it is filled for good.
    pub account: Option<Arc<Account>>,
    current: ArcSwapOption<CertifiedKey>,
}

impl Slot {
    /// Filled for good.
    #[must_use]
    pub fn of(certificate: CertifiedKey) -> Slot {
        Slot {
            names: certificate.names.clone(),
            account: None,
            current: ArcSwapOption::from_pointee(certificate),
        }
    }

    /// Filled by an account, with what was issued last to begin with.
    #[must_use]
    pub fn managed(names: Arc<[String]>, account: Arc<Account>, stored: Option<CertifiedKey>) -> Slot {
        Slot {
            names,
            account: Some(account),
            current: ArcSwapOption::from_pointee(stored),
        }
    }

    /// Serves the next handshake with another certificate.
    pub fn fill(&self, certificate: Arc<CertifiedKey>) {
        self.current.store(Some(certificate));
    }

    /// The certificate that is there now.
    #[must_use]
    pub fn current(&self) -> Option<Arc<CertifiedKey>> {
        self.current.load_full()
    }
}

/// What clients are shown who ask for no name, or for one that no certificate has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fallback {
    /// The certificate that stands first.
    First,
    /// The one for this name.
    Name(String),
    /// None: their handshake is refused with the alert `unrecognized_name`.
    Refuse,
}

/// The certificates for one name, or several: of RSA and of EC side by side, the client's offer decides.
#[derive(Debug)]
pub struct Group {
    slots: SmallVec<[Arc<Slot>; 2]>,
    names: Arc<[String]>,
}

impl Group {
    /// What all of them are for: whatever is shown is good for these.
    #[must_use]
    pub fn names(&self) -> &Arc<[String]> {
        &self.names
    }

    /// Those that are there now: of each kind of key the first.
    #[must_use]
    pub fn certificates(&self) -> SmallVec<[Arc<CertifiedKey>; 2]> {
        let mut found: SmallVec<[Arc<CertifiedKey>; 2]> = SmallVec::new();
        for certificate in self.slots.iter().filter_map(|slot| slot.current()) {
            if !found.iter().any(|other| other.key.id() == certificate.key.id()) {
                found.push(certificate);
            }
        }
        found
    }
}

/// The certificates of a listener, by name.
#[derive(Debug)]
pub struct Certificates {
    slots: Vec<Arc<Slot>>,
    groups: Vec<Group>,
    exact: HashMap<Box<str>, usize>,
    /// By the part after `*.`
    wildcard: HashMap<Box<str>, usize>,
    fallback: Option<usize>,
}

impl Certificates {
    /// Where two certificates with the same kind of key are for one name, the first is shown.
    #[must_use]
    pub fn new(slots: Vec<Arc<Slot>>, fallback: &Fallback) -> Certificates {
        let mut by_name: HashMap<&str, SmallVec<[usize; 2]>> = HashMap::new();
        for (index, slot) in slots.iter().enumerate() {
            for name in slot.names.iter() {
                let places = by_name.entry(name).or_default();
                if !places.contains(&index) {
                    places.push(index);
                }
            }
        }
        // names that have the same certificates share a group
        let mut groups = Vec::new();
        let mut known: HashMap<SmallVec<[usize; 2]>, usize> = HashMap::new();
        let mut group = |places: SmallVec<[usize; 2]>| -> usize {
            *known.entry(places).or_insert_with_key(|places| {
                let slots = places.iter().filter_map(|place| slots.get(*place).cloned());
                groups.push(Group::new(slots.collect()));
                groups.len() - 1
            })
        };
        let (mut exact, mut wildcard) = (HashMap::new(), HashMap::new());
        for (name, places) in by_name {
            let index = group(places);
            match name.strip_prefix("*.") {
                Some(suffix) => wildcard.insert(suffix.into(), index),
                None => exact.insert(name.into(), index),
            };
        }
        let first = match slots.first().map(|slot| slot.names.first()) {
            // with what else is for its name
            Some(Some(name)) => match name.strip_prefix("*.") {
                Some(suffix) => wildcard.get(suffix).copied(),
                None => exact.get(name.as_str()).copied(),
            },
            Some(None) => Some(group(SmallVec::from_elem(0, 1))),
            None => None,
        };
        let mut certificates = Certificates {
            slots,
            groups,
            exact,
            wildcard,
            fallback: None,
        };
        certificates.fallback = match fallback {
            Fallback::First => first,
            Fallback::Name(name) => certificates.find(name),
            Fallback::Refuse => None,
        };
        certificates
    }

    /// All places, in the order of the file.
    #[must_use]
    pub fn slots(&self) -> &[Arc<Slot>] {
        &self.slots
    }

    /// Whether there is a certificate for `name`, in lower case.
    #[must_use]
    pub fn has(&self, name: &str) -> bool {
        self.find(name).is_some()
    }

    /// For a client that asks for `name`, in lower case. `None`: it is to be refused.
    #[must_use]
    pub fn choose(&self, name: Option<&str>) -> Option<&Group> {
        let found = name.and_then(|name| self.find(name));
        self.groups.get(found.or(self.fallback)?)
    }

    fn find(&self, name: &str) -> Option<usize> {
        let parent = || {
            let (_, parent) = name.split_once('.')?;
            self.wildcard.get(parent)
        };
        self.exact.get(name).or_else(parent).copied()
    }
}

impl Group {
    fn new(slots: SmallVec<[Arc<Slot>; 2]>) -> Group {
        let names = match &*slots {
            [only] => only.names.clone(),
            [first, rest @ ..] => first
                .names
                .iter()
                .filter(|name| rest.iter().all(|slot| slot.names.contains(name)))
                .cloned()
                .collect(),
            [] => Arc::default(),
        };
        Group { slots, names }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::UnixTime;
    use crate::pki::issue::{Authority, Key};

    fn slot(key: Key, names: &[&str]) -> Arc<Slot> {
        let authority = Authority::new("test", 30, UnixTime::of_system()).unwrap();
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let key = key.generate().unwrap();
        let leaf = authority
            .server(&key, "test", &names, 3, UnixTime::of_system())
            .unwrap();
        Arc::new(Slot::of(CertifiedKey::new(vec![leaf], key).unwrap()))
    }

    fn shown(certificates: &Certificates, name: Option<&str>) -> Vec<Fingerprint> {
        let group = certificates.choose(name);
        group
            .map(|group| group.certificates().iter().map(|one| one.fingerprint).collect())
            .unwrap_or_default()
    }

    // S14
    #[test]
    fn both_kinds_of_key_are_offered_for_a_name_and_of_one_kind_the_first() {
        let slots = [
            slot(Key::P256, &["a.example", "b.example"]),
            slot(Key::Rsa2048, &["a.example"]),
            slot(Key::P256, &["a.example", "*.example"]),
        ];
        let prints: Vec<Fingerprint> = slots
            .iter()
            .map(|slot| slot.current().unwrap().fingerprint)
            .collect();
        let certificates = Certificates::new(slots.to_vec(), &Fallback::First);
        assert_eq!(shown(&certificates, Some("a.example")), [prints[0], prints[1]]);
        assert_eq!(shown(&certificates, Some("b.example")), [prints[0]]);
        assert_eq!(shown(&certificates, Some("c.example")), [prints[2]]);
        assert_eq!(shown(&certificates, Some("x.c.example")), [prints[0], prints[1]]);
        assert_eq!(shown(&certificates, None), [prints[0], prints[1]]);
        // whichever of them was shown, it is good for this name alone
        let names = certificates.choose(Some("a.example")).unwrap().names().clone();
        assert_eq!(*names, ["a.example".to_owned()]);
    }

    // S14
    #[test]
    fn names_that_nobody_serves_get_what_the_fallback_says() {
        let slots = || vec![slot(Key::P256, &["a.example"]), slot(Key::P256, &["b.example"])];
        let named = Certificates::new(slots(), &Fallback::Name("b.example".to_owned()));
        assert_eq!(**named.choose(None).unwrap().names(), ["b.example".to_owned()]);
        assert_eq!(
            **named.choose(Some("x")).unwrap().names(),
            ["b.example".to_owned()]
        );
        assert_eq!(
            **named.choose(Some("a.example")).unwrap().names(),
            ["a.example".to_owned()]
        );
        let none = Certificates::new(slots(), &Fallback::Refuse);
        assert!(none.choose(None).is_none() && none.choose(Some("x")).is_none());
        assert!(none.choose(Some("a.example")).is_some());
    }
}
