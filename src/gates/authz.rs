//! May they? Scopes and roles of a verified client against what the route asks for (S62, S63, S66).
//!
//! Never looks at credentials, and never decides on resources: that is the upstream's (S64).

use std::sync::Arc;

use crate::denial::{Denial, Forbidden, Verdict};
use crate::identity::{Client, Kind};

/// What a route asks of its callers.
#[derive(Debug, Default)]
pub struct Authz {
    /// All of these.
    pub scopes: Box<[Box<str>]>,
    /// The same, apart by spaces, for the challenge.
    pub scope_challenge: Arc<str>,
    /// Any one of these; no roles ask for nothing.
    pub roles: Box<[Role]>,
    /// Line of the route's `auth`.
    pub line: u32,
}

/// A role that the configuration predefines.
#[derive(Debug, Clone)]
pub struct Role {
    /// Its name in the configuration.
    pub name: Arc<str>,
    /// Token values that grant it.
    pub granted_by: Arc<[Box<str>]>,
}

impl Authz {
    /// Takes a verified client, so it cannot run before authentication.
    ///
    /// # Errors
    /// [`Denial::Forbidden`] where a scope is missing or no role is granted.
    pub fn check(&self, client: &Client) -> Verdict {
        if !self.scopes.iter().all(|scope| client.has_scope(scope)) {
            // only a token can be asked for with other scopes (RFC 6750 section 3.1)
            let challenge = match client.kind {
                Kind::ApiKey => Arc::default(),
                Kind::Jwt | Kind::Introspection => self.scope_challenge.clone(),
            };
            return Err(Denial::Forbidden(Forbidden::Scope(challenge)));
        }
        if !self.roles.is_empty() && !self.roles.iter().any(|role| role.is_granted_to(client)) {
            return Err(Denial::Forbidden(Forbidden::Role));
        }
        Ok(())
    }

    /// Whether anything beyond a valid credential is asked for.
    #[must_use]
    pub fn asks_nothing(&self) -> bool {
        self.scopes.is_empty() && self.roles.is_empty()
    }

    /// What is asked for, in words.
    #[must_use]
    pub fn describe(&self) -> String {
        let mut parts = Vec::new();
        if !self.scopes.is_empty() {
            parts.push(format!("scopes {}", self.scope_challenge));
        }
        if !self.roles.is_empty() {
            let names: Vec<&str> = self.roles.iter().map(|role| &*role.name).collect();
            parts.push(format!("one of the roles {}", names.join(", ")));
        }
        if parts.is_empty() {
            "nothing beyond a valid credential".to_owned()
        } else {
            parts.join(" and ")
        }
    }
}

impl Role {
    fn is_granted_to(&self, client: &Client) -> bool {
        self.granted_by.iter().any(|value| client.has_role(value))
    }
}
