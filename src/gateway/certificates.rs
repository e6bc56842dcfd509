//! Which certificate a client is shown, by the name it asks for (RFC 6066 section 3).

use std::collections::HashMap;

use super::CertifiedKey;

/// The certificates of a listener, by name.
#[derive(Debug)]
pub struct Certificates {
    all: Vec<CertifiedKey>,
    exact: HashMap<Box<str>, usize>,
    /// By the part after `*.`
    wildcard: HashMap<Box<str>, usize>,
}

impl Certificates {
    /// Where two certificates are for one name, the first is shown; the first of all is the default.
    #[must_use]
    pub fn new(all: Vec<CertifiedKey>) -> Certificates {
        let (mut exact, mut wildcard) = (HashMap::new(), HashMap::new());
        for (index, certificate) in all.iter().enumerate() {
            for name in certificate.names.iter() {
                match name.strip_prefix("*.") {
                    Some(suffix) => wildcard.entry(suffix.into()).or_insert(index),
                    None => exact.entry(name.as_str().into()).or_insert(index),
                };
            }
        }
        Certificates { all, exact, wildcard }
    }

    /// All of them, in the order of the file.
    #[must_use]
    pub fn all(&self) -> &[CertifiedKey] {
        &self.all
    }

    /// For a client that asks for `name`, in lower case; the default where it asks for none, or for one that no
    /// certificate has.
    #[must_use]
    pub fn choose(&self, name: Option<&str>) -> Option<&CertifiedKey> {
        let found = name.and_then(|name| {
            let parent = || {
                name.split_once('.')
                    .and_then(|(_, parent)| self.wildcard.get(parent))
            };
            self.exact.get(name).or_else(parent)
        });
        self.all.get(found.copied().unwrap_or(0))
    }
}
