//! Who the caller is, as verified. Only [`crate::gates::authn`] can make a [`Client`].

use std::sync::atomic::AtomicU64;
use std::sync::{Arc, OnceLock};

use http::header::{HeaderName, HeaderValue};

use crate::clock::UnixTime;
use crate::gates::authn::claims::Claims;
use crate::gates::authn::{Authenticated, Scheme};

/// The caller of a request.
#[derive(Debug, Clone)]
pub enum Identity {
    /// A public route was asked; no credential was looked at.
    Anonymous,
    /// A verified client.
    Client(Arc<Client>),
}

/// What kind of credential told who the caller is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// A token that says so itself, signed (RFC 7519).
    Jwt,
    /// A token that its issuer was asked about (RFC 7662).
    Introspection,
    /// An API key of the configuration's.
    ApiKey,
    /// A certificate of its connection (mutual TLS).
    Certificate,
}

/// A verified caller and what it was granted. Made once for each credential and shared while that is cached.
#[derive(Debug)]
pub struct Client {
    /// What it was identified by.
    pub kind: Kind,
    /// Index of the issuer, of the ring of API keys or of the truststore, in the snapshot that verified it.
    pub issuer: usize,
    /// Name of that issuer, ring or truststore in the configuration: no two of them share one.
    pub authority: Arc<str>,
    /// `sub`: unique within the authority, usable as a header value.
    pub subject: Box<str>,
    /// The OAuth client that acts, where the token says so.
    pub client_id: Option<Box<str>>,
    /// OAuth scopes.
    pub scopes: Box<[Box<str>]>,
    /// Role values, as the issuer spells them.
    pub roles: Box<[Box<str>]>,
    /// Everything that the credential says.
    pub claims: Claims,
    /// `exp` of the credential, with its issuer's tolerance: the identity does not outlive it.
    pub until: UnixTime,
    /// Identity headers for upstreams, ready to send.
    pub headers: Box<[(HeaderName, HeaderValue)]>,
    /// Proof that the authentication gate made this.
    pub authenticated: Authenticated,
    /// What follows from all this, once somebody has asked for it.
    pub derived: Derived,
}

/// What is the same for all requests of a client, and is worked out at the first.
#[derive(Debug, Default)]
pub struct Derived {
    /// Its part of the key of each limit, with the `authn_policy` of the snapshot whose limits they are.
    pub limit_keys: OnceLock<(u64, Box<[u64]>)>,
    /// The change of the deny list as of which it is not on it; 0: it was never looked up.
    pub not_revoked: AtomicU64,
    /// How records name it.
    pub record: OnceLock<Box<str>>,
    /// How explanations name it.
    pub words: OnceLock<Arc<str>>,
}

impl Client {
    /// Whether its token is bound to a key: then it came with a proof of that (RFC 9449 section 7.2).
    #[must_use]
    pub fn is_bound_to_key(&self) -> bool {
        matches!(self.claims.key_thumbprint(), Ok(Some(_)))
    }

    /// Whether its token is bound to a certificate: then that is the one of its connection (RFC 8705 section 3).
    #[must_use]
    pub fn is_bound_to_certificate(&self) -> bool {
        matches!(self.claims.certificate_thumbprint(), Ok(Some(_)))
    }

    /// How its token is sent.
    #[must_use]
    pub fn scheme(&self) -> Scheme {
        if self.is_bound_to_key() {
            Scheme::Dpop
        } else {
            Scheme::Bearer
        }
    }

    /// Who it is and what says so, in words.
    #[must_use]
    pub fn described(&self) -> Arc<str> {
        let Client {
            subject, authority, ..
        } = self;
        let proven = if self.is_bound_to_key() {
            ", whose token came with a proof (DPoP)"
        } else {
            ""
        };
        let words = || match self.kind {
            Kind::Jwt => format!("subject {subject}{proven}").into(),
            Kind::Introspection => format!("subject {subject}, active says {authority}{proven}").into(),
            Kind::ApiKey => format!("subject {subject}, by a key of {authority}").into(),
            Kind::Certificate => {
                format!("subject {subject}, by a certificate that {authority} trusts").into()
            }
        };
        self.derived.words.get_or_init(words).clone()
    }

    /// Whether this scope was granted.
    #[must_use]
    pub fn has_scope(&self, scope: &str) -> bool {
        self.scopes.iter().any(|s| **s == *scope)
    }

    /// Whether the token carries this role value.
    #[must_use]
    pub fn has_role(&self, role: &str) -> bool {
        self.roles.iter().any(|r| **r == *role)
    }
}
