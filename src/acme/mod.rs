//! Certificates from a CA that issues them by itself (ACME, RFC 8555), and renewed before they end.
//!
//! A client of our own, on the HTTP client and the TLS library that are here already: what there is for Rust brings a
//! second crypto library along, or a blocking client.
//!
//! [`renewal`] decides when, [`order`] goes through the steps of RFC 8555 section 7.1 with the words of [`client`] and
//! [`jws`], [`challenge`] holds what listeners answer meanwhile, and [`store`] is the only place that touches files.

pub mod challenge;
pub mod client;
pub mod jws;
pub mod order;
pub mod orders;
pub mod renewal;
pub mod store;

use std::path::PathBuf;
use std::sync::Arc;

use http::Uri;
use openssl::x509::X509;

use self::store::Store;
use crate::gateway::certificates::Slot;

/// An account with a CA.
#[derive(Debug, Clone)]
pub struct Account {
    /// Its name in the configuration.
    pub name: Arc<str>,
    /// The CA's directory.
    pub directory: Uri,
    /// CAs that may have issued the certificate of the directory; none: the system's.
    pub ca: Vec<X509>,
    /// Where the CA writes to: `mailto:…`.
    pub contact: Vec<String>,
    /// What binds it to an account that exists elsewhere.
    pub external: Option<ExternalAccount>,
    /// Where keys and certificates are kept.
    pub storage: Store,
    /// How control over a name is proven.
    pub challenge: Challenge,
    /// When a certificate is renewed, as a part of its lifetime.
    pub renew_after: f64,
}

impl Account {
    /// Whether nothing would be done otherwise with the other one.
    #[must_use]
    pub fn is_same(&self, other: &Account) -> bool {
        let Account {
            name,
            directory,
            ca,
            contact,
            external,
            storage,
            challenge,
            renew_after,
        } = self;
        let der = |certificates: &[X509]| certificates.iter().map(|c| c.to_der().ok()).collect::<Vec<_>>();
        (name, directory, contact, external, storage)
            == (
                &other.name,
                &other.directory,
                &other.contact,
                &other.external,
                &other.storage,
            )
            && der(ca) == der(&other.ca)
            && *challenge == other.challenge
            && renew_after.total_cmp(&other.renew_after).is_eq()
    }
}

/// An account that exists with the CA already (RFC 8555 section 7.3.4).
#[derive(Clone, PartialEq, Eq)]
pub struct ExternalAccount {
    /// What the CA calls it.
    pub kid: String,
    /// What was agreed on.
    pub key: Vec<u8>,
}

impl std::fmt::Debug for ExternalAccount {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ExternalAccount")
            .field("kid", &self.kid)
            .finish_non_exhaustive()
    }
}

/// How control over a name is proven.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Challenge {
    /// A file on the port of plain HTTP (RFC 8555 section 8.3).
    Http01,
    /// A certificate on the port of TLS (RFC 8737), in TLS 1.3.
    TlsAlpn01,
}

impl Challenge {
    /// As the CA calls it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Challenge::Http01 => "http-01",
            Challenge::TlsAlpn01 => "tls-alpn-01",
        }
    }
}

/// A certificate that is kept by us.
#[derive(Debug, Clone)]
pub struct Managed {
    /// With whom.
    pub account: Arc<Account>,
    /// What it is for, in the order of the configuration.
    pub names: Arc<[String]>,
    /// Where it serves.
    pub slot: Arc<Slot>,
}

impl Managed {
    /// `None` for a place that is filled for good.
    #[must_use]
    pub fn of(slot: &Arc<Slot>) -> Option<Managed> {
        Some(Managed {
            account: slot.account.clone()?,
            names: slot.names.clone(),
            slot: slot.clone(),
        })
    }

    /// Identifies it among those of all accounts: its file.
    #[must_use]
    pub fn file(&self) -> PathBuf {
        self.account
            .storage
            .folder
            .join(store::certificate_file(&self.names))
    }

    /// Takes what the store holds, if that is another certificate than the one that serves, and whether it did.
    pub fn load(&self) -> bool {
        let Ok(Some(stored)) = self.account.storage.load(&self.names) else {
            return false;
        };
        let current = self.slot.current();
        let is_new = current.is_none_or(|current| current.fingerprint != stored.fingerprint);
        if is_new {
            self.slot.fill(Arc::new(stored));
        }
        is_new
    }
}

/// A failure, in words for the log.
#[derive(Debug)]
pub struct Failure(pub String);

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl From<openssl::error::ErrorStack> for Failure {
    fn from(why: openssl::error::ErrorStack) -> Failure {
        Failure(why.to_string())
    }
}

impl From<std::io::Error> for Failure {
    fn from(why: std::io::Error) -> Failure {
        Failure(why.to_string())
    }
}
