//! All of these scopes (S63).

use std::fmt;
use std::sync::Arc;

use crate::denial::{Denial, Forbidden, Verdict};
use crate::identity::{Client, Kind};

/// Scopes that the credential must have, all of them.
#[derive(Debug, Clone)]
pub struct Scopes {
    /// One scope each.
    pub all: Box<[Box<str>]>,
    /// The same, apart by spaces, for the challenge.
    pub challenge: Arc<str>,
}

impl Scopes {
    /// Of scopes, one each.
    #[must_use]
    pub fn new(scopes: &[String]) -> Scopes {
        Scopes {
            all: scopes.iter().map(|scope| scope.as_str().into()).collect(),
            challenge: scopes.join(" ").into(),
        }
    }

    /// # Errors
    /// [`Forbidden::Scope`] where one is missing.
    pub fn check(&self, client: &Client) -> Verdict {
        if self.all.iter().all(|scope| client.has_scope(scope)) {
            Ok(())
        } else {
            // only a token can be asked for with other scopes (RFC 6750 section 3.1)
            let challenge = match client.kind {
                Kind::ApiKey | Kind::Certificate => Arc::default(),
                Kind::Jwt | Kind::Introspection => self.challenge.clone(),
            };
            Err(Denial::Forbidden(Forbidden::Scope(challenge, client.scheme())))
        }
    }
}

impl fmt::Display for Scopes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "asks for scopes {}", self.challenge)
    }
}
