//! What an expression can name: verified facts, and nothing that a caller can just say.

use super::types::Type;
use crate::config::nearest;
use crate::gates::authz::{Fact, Kind};

/// Name, fact, type, and whether only a verified client has it.
const FACTS: [(&str, Fact, Type, bool); 11] = [
    ("request.method", Fact::Method, Type::Text, false),
    ("request.host", Fact::Host, Type::Text, false),
    ("request.path", Fact::Path, Type::Text, false),
    ("client.address", Fact::Address, Type::Address, false),
    ("client.subject", Fact::Subject, Type::Text, true),
    ("client.client_id", Fact::ClientId, Type::Text, true),
    ("client.issuer", Fact::Issuer, Type::Text, true),
    ("client.credential", Fact::Credential, Type::Text, true),
    ("client.scopes", Fact::Scopes, Type::List(Kind::Text), true),
    ("client.roles", Fact::Roles, Type::List(Kind::Text), true),
    ("now", Fact::Now, Type::Int, false),
];

/// Names that are not facts themselves.
pub(super) const CLAIMS: &str = "claims";
pub(super) const PARAMETERS: &str = "request.params";

/// What an expression can begin with.
pub(super) const ROOTS: [&str; 4] = ["request", "client", CLAIMS, "now"];

/// What `client.credential` can be.
pub(super) const CREDENTIALS: [&str; 4] = ["jwt", "introspection", "api_key", "client_certificate"];

/// The fact of a name, its type, and whether it is the client's.
pub(super) fn fact(name: &str) -> Option<(Fact, Type, bool)> {
    let found = FACTS.iter().find(|(known, ..)| *known == name);
    found.map(|(_, fact, of, is_clients)| (*fact, *of, *is_clients))
}

/// What could be meant by a name that is not known.
pub(super) fn meant(name: &str) -> String {
    let known = || FACTS.iter().map(|(name, ..)| *name).chain([PARAMETERS, CLAIMS]);
    match nearest(name, known()) {
        Some(nearest) => format!("did you mean `{nearest}`?"),
        None => format!("there are {}", known().collect::<Vec<_>>().join(", ")),
    }
}
