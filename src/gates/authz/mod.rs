//! May they, from here, now? What a route asks for beyond a good credential (S62 to S68).
//!
//! Two kinds, told apart by what must have happened before. A [`Circumstance`] (network, country, time) is asked of every
//! request, before any credential is looked at, and of public routes as well. A [`Grant`] (scope, role, permission, a claim
//! that equals a part of the path, how they logged in) is asked of a verified [`Client`], so it cannot be asked too early.
//! An expression ([`When`]) is the one or the other, by what it names.
//!
//! All that a route asks for must hold. Where several places of the configuration ask (the route, its groups, the
//! defaults), their lists are joined: nothing replaces anything (U5). Never looks at credentials, never reads a clock, and
//! never decides on resources beyond the path: that is the upstream's (S64).

mod claim_matches;
mod countries;
mod networks;
mod permissions;
mod roles;
mod scopes;
mod step_up;
mod times;
mod when;

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

pub use claim_matches::{ClaimMatch, ClaimMatches};
pub use countries::{Countries, CountryDatabase};
pub use networks::Networks;
pub use permissions::Permissions;
pub use roles::{Role, Roles};
pub use scopes::Scopes;
pub use step_up::StepUp;
pub use times::{Times, Window};
pub use when::{Arithmetic, Comparison, Fact, Fault, Kind, Node, Quantifier, When};

use super::Mode;
use crate::clock::UnixTime;
use crate::denial::Verdict;
use crate::head::Head;
use crate::identity::Client;

/// What a route asks of its callers.
#[derive(Debug, Default)]
pub struct Authz {
    /// All of these, in this order.
    pub grants: Box<[Asked<Grant>]>,
    /// Line of the route's `auth`.
    pub line: u32,
}

/// Something that a route asks for, and where it says so.
#[derive(Debug, Clone)]
pub struct Asked<T> {
    /// What.
    pub what: T,
    /// Name of the condition that it is a part of; `None`: of the route's own `auth`.
    pub condition: Option<Arc<str>>,
    /// Who asks.
    pub origin: Origin,
    /// Whether it counts.
    pub mode: Mode,
    /// Line of the configuration.
    pub line: u32,
}

/// Who asks for something.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// The route itself.
    Route,
    /// A group that the route is in.
    Group(Arc<str>),
    /// The defaults.
    Defaults,
}

/// What is known of a request without its credential.
#[derive(Debug, Clone, Copy)]
pub struct Facts<'a> {
    /// The canonical head.
    pub head: &'a Head,
    /// Address of the client, through declared proxies.
    pub address: Option<IpAddr>,
    /// The time of the decision.
    pub now: UnixTime,
}

/// Asked of every request.
#[derive(Debug, Clone)]
pub enum Circumstance {
    /// Where it comes from, by address.
    Networks(Networks),
    /// Where it comes from, by country.
    Countries(Countries),
    /// When.
    Times(Times),
    /// What an expression says that names nothing of the client's but its address.
    When(When),
}

/// Asked of a verified client.
#[derive(Debug, Clone)]
pub enum Grant {
    /// What the application may do.
    Scopes(Scopes),
    /// Who the caller is to us.
    Roles(Roles),
    /// What the caller may do.
    Permissions(Permissions),
    /// Whose the resource is.
    ClaimMatches(ClaimMatches),
    /// How the caller has logged in.
    StepUp(StepUp),
    /// What an expression says.
    When(When),
}

impl Circumstance {
    /// Asks of a request, before any credential is looked at.
    ///
    /// # Errors
    /// [`Forbidden`](crate::denial::Denial::Forbidden), as the circumstance says.
    pub fn check(&self, facts: &Facts<'_>) -> Verdict {
        match self {
            Circumstance::Networks(networks) => networks.check(facts.address),
            Circumstance::Countries(countries) => countries.check(facts.address),
            Circumstance::Times(times) => times.check(facts.now),
            Circumstance::When(when) => when.check(facts, None),
        }
    }
}

impl Grant {
    /// Asks of a verified client, for what it asks.
    ///
    /// # Errors
    /// [`Forbidden`](crate::denial::Denial::Forbidden) or [`StepUp`](crate::denial::Denial::StepUp), as the grant says.
    pub fn check(&self, client: &Client, facts: &Facts<'_>) -> Verdict {
        match self {
            Grant::Scopes(scopes) => scopes.check(client),
            Grant::Roles(roles) => roles.check(client),
            Grant::Permissions(permissions) => permissions.check(client),
            Grant::ClaimMatches(matches) => matches.check(client, facts.head.path()),
            Grant::StepUp(step_up) => step_up.check(client, facts.now),
            Grant::When(when) => when.check(facts, Some(client)),
        }
    }
}

impl Authz {
    /// Whether nothing beyond a valid credential is asked for and enforced.
    #[must_use]
    pub fn asks_nothing(&self) -> bool {
        !self.grants.iter().any(|grant| grant.mode == Mode::Enforce)
    }
}

impl<T: fmt::Display> Asked<T> {
    /// What is asked for, in words, and by whom.
    #[must_use]
    pub fn describe(&self) -> String {
        let what = &self.what;
        let by = match (&self.condition, &self.origin) {
            (None, _) => String::new(),
            (Some(condition), Origin::Route) => format!(" (condition {condition})"),
            (Some(condition), origin) => format!(" (condition {condition}, of {origin})"),
        };
        format!("{what}{by}{}", self.mode.note())
    }
}

impl fmt::Display for Circumstance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Circumstance::Networks(networks) => networks.fmt(f),
            Circumstance::Countries(countries) => countries.fmt(f),
            Circumstance::Times(times) => times.fmt(f),
            Circumstance::When(when) => when.fmt(f),
        }
    }
}

impl fmt::Display for Grant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Grant::Scopes(scopes) => scopes.fmt(f),
            Grant::Roles(roles) => roles.fmt(f),
            Grant::Permissions(permissions) => permissions.fmt(f),
            Grant::ClaimMatches(matches) => matches.fmt(f),
            Grant::StepUp(step_up) => step_up.fmt(f),
            Grant::When(when) => when.fmt(f),
        }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Origin::Route => f.write_str("the route"),
            Origin::Group(group) => write!(f, "group {group}"),
            Origin::Defaults => f.write_str("the defaults"),
        }
    }
}

/// Things apart by `, `.
fn list(f: &mut fmt::Formatter<'_>, things: impl IntoIterator<Item = impl fmt::Display>) -> fmt::Result {
    for (index, thing) in things.into_iter().enumerate() {
        if index > 0 {
            f.write_str(", ")?;
        }
        thing.fmt(f)?;
    }
    Ok(())
}
