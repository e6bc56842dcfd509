//! Who the caller is, as verified. Only [`crate::gates::authn`] can make a [`Client`].

use std::sync::{Arc, OnceLock};

use http::header::{HeaderName, HeaderValue};

use crate::clock::UnixTime;
use crate::gates::authn::Authenticated;
use crate::gates::authn::claims::Claims;

/// The caller of a request.
#[derive(Debug, Clone)]
pub enum Identity {
    /// A public route was asked; no credential was looked at.
    Anonymous,
    /// A verified client.
    Client(Arc<Client>),
}

/// A verified caller and what it was granted. Made once for each credential and shared while that is cached.
#[derive(Debug)]
pub struct Client {
    /// Index of the issuer in the snapshot that verified it.
    pub issuer: usize,
    /// `sub`: unique within the issuer, usable as a header value.
    pub subject: Box<str>,
    /// The OAuth client that acts, where the token says so.
    pub client_id: Option<Box<str>>,
    /// OAuth scopes.
    pub scopes: Box<[Box<str>]>,
    /// Role values, as the issuer spells them.
    pub roles: Box<[Box<str>]>,
    /// Everything that the credential says.
    pub claims: Claims,
    /// `exp` of the credential: the identity does not outlive it.
    pub expires: UnixTime,
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
    /// How records name it.
    pub record: OnceLock<Box<str>>,
}

impl Client {
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
