//! All of these permissions: what issuers say of the caller apart from scopes, which they say of the application.

use std::fmt;

use serde_json::Value;

use super::list;
use crate::denial::{Denial, Forbidden, Verdict};
use crate::gates::authn::claims::ClaimPath;
use crate::identity::Client;

/// Permissions that a claim must name, all of them.
#[derive(Debug, Clone)]
pub struct Permissions {
    /// At least one.
    pub all: Box<[Box<str>]>,
    /// Where the claims name them: a list of texts, or a single text.
    pub claim: ClaimPath,
}

impl Permissions {
    /// # Errors
    /// [`Forbidden::Permission`] where one is missing, or the claim is no list of texts.
    pub fn check(&self, client: &Client) -> Verdict {
        let held = client.claims.value(&self.claim).ok().flatten();
        let holds = |wanted: &str| match held {
            Some(Value::String(held)) => held == wanted,
            // a list with something else in it is not one that we can read (U18)
            Some(Value::Array(held)) => {
                held.iter().all(Value::is_string) && held.iter().any(|held| held.as_str() == Some(wanted))
            }
            _ => false,
        };
        if self.all.iter().all(|wanted| holds(wanted)) {
            Ok(())
        } else {
            Err(Denial::Forbidden(Forbidden::Permission))
        }
    }
}

impl fmt::Display for Permissions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("asks for permissions ")?;
        list(f, &*self.all)
    }
}
