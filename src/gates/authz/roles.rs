//! One of these roles (S62, S66).

use std::fmt;
use std::sync::Arc;

use super::list;
use crate::denial::{Denial, Forbidden, Verdict};
use crate::identity::Client;

/// Roles of which the caller must have one.
#[derive(Debug, Clone)]
pub struct Roles {
    /// At least one.
    pub any: Box<[Role]>,
}

/// A role that the configuration predefines.
#[derive(Debug, Clone)]
pub struct Role {
    /// Its name in the configuration.
    pub name: Arc<str>,
    /// Token values that grant it.
    pub granted_by: Arc<[Box<str>]>,
}

impl Roles {
    /// # Errors
    /// [`Forbidden::Role`] where none is granted.
    pub fn check(&self, client: &Client) -> Verdict {
        if self.any.iter().any(|role| role.is_granted_to(client)) {
            Ok(())
        } else {
            Err(Denial::Forbidden(Forbidden::Role))
        }
    }
}

impl Role {
    fn is_granted_to(&self, client: &Client) -> bool {
        self.granted_by.iter().any(|value| client.has_role(value))
    }
}

impl fmt::Display for Roles {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("asks for one of the roles ")?;
        list(f, self.any.iter().map(|role| &role.name))
    }
}
