//! Whether the tests would notice if a gate were gone (M6).
//!
//! A mutant is the configuration with one gate removed or loosened. A test notices it if it holds without the change and
//! not with it. A mutant that no test notices is a gate that somebody could delete tomorrow, and nothing would be said.
//! Gates in shadow decide nothing and have no mutants; nor has what a route did not write about its content.

use tokio::runtime::Runtime;

use super::{Outcome, Prepared};
use crate::gates::Mode;
use crate::gates::authn::attempts::Bound;
use crate::gates::authn::attestation::Binding;
use crate::gates::authn::certificate::Allowed;
use crate::gates::authn::dpop::Demand;
use crate::gates::authn::dpop::nonce::Nonces;
use crate::gates::authn::revocation::Revocation;
use crate::gates::authn::{Accepts, Asks, Tokens};
use crate::gates::authz::{Asked, Circumstance, Grant, Scopes};
use crate::gates::content;
use crate::gates::flood::Flood;
use crate::gateway::policy::Public;
use crate::gateway::{Access, Gateway, Route};

/// The configuration with one gate removed or loosened.
#[derive(Debug)]
pub struct Mutant {
    /// What is changed, in words.
    pub what: String,
    /// Line of the gate.
    pub line: u32,
    /// Only requests of this route can tell; `None`: any.
    route: Option<usize>,
    change: Change,
}

/// What takes the place of a part of the snapshot, by index of the route or limit.
#[derive(Debug)]
enum Change {
    Flood(Option<Flood>),
    PerAddress(Option<Bound>),
    PerAccount(Option<Bound>),
    Revocation(Option<Revocation>),
    Nonces(Option<Nonces>),
    Circumstances(usize, Box<[Asked<Circumstance>]>),
    Access(usize, Access),
    Asks(usize, Asks),
    Attestation(usize, Option<usize>),
    Binding(usize, Option<Binding>),
    Certificates(usize, Box<[Allowed]>),
    Grants(usize, Box<[Asked<Grant>]>),
    Limits(usize, Box<[usize]>),
    Requests(usize, u16),
    MaxBody(usize, u64),
    Types(usize, Box<[Box<str>]>),
    Origins(usize, Box<[Box<str>]>),
}

impl Mutant {
    /// Whether some test notices the mutant. `outcomes` are those of the same tests without it. The gateway is afterwards
    /// as it was.
    pub fn is_noticed(
        &mut self,
        gateway: &mut Gateway,
        tests: &[Prepared<'_>],
        outcomes: &[Outcome],
        runtime: &Runtime,
    ) -> bool {
        let route = self.route.and_then(|index| gateway.routes.get(index));
        let route = route.map(|route| route.id.to_string());
        self.change.swap(gateway);
        let mut concerned = tests
            .iter()
            .zip(outcomes)
            .filter(|(_, outcome)| outcome.holds && (route.is_none() || outcome.decision.route == route));
        let is_noticed = concerned.any(|(test, _)| !test.run(gateway, runtime).holds);
        self.change.swap(gateway);
        is_noticed
    }
}

impl Change {
    /// Puts it in its place, and takes what was there; twice, and all is as it was.
    fn swap(&mut self, gateway: &mut Gateway) {
        use std::mem::swap;
        fn route(gateway: &mut Gateway, index: usize) -> Option<&mut Route> {
            gateway.routes.get_mut(index)
        }
        match self {
            Change::Flood(flood) => swap(flood, &mut gateway.flood),
            Change::PerAddress(bound) => swap(bound, &mut gateway.attempts.per_address),
            Change::Revocation(list) => swap(list, &mut gateway.revocation),
            Change::Nonces(nonces) => swap(nonces, &mut gateway.dpop.nonces),
            Change::PerAccount(bound) => swap(bound, &mut gateway.attempts.per_account),
            Change::Circumstances(index, circumstances) => {
                if let Some(route) = route(gateway, *index) {
                    swap(circumstances, &mut route.circumstances);
                }
            }
            Change::Access(index, access) => {
                if let Some(route) = route(gateway, *index) {
                    swap(access, &mut route.access);
                }
            }
            Change::Asks(index, asks) => {
                if let Some(Access::Protected { authn, .. }) = route(gateway, *index).map(|r| &mut r.access) {
                    swap(asks, &mut authn.asks);
                }
            }
            Change::Attestation(index, attestation) => {
                if let Some(Access::Protected { authn, .. }) = route(gateway, *index).map(|r| &mut r.access) {
                    swap(attestation, &mut authn.attestation);
                }
            }
            Change::Binding(index, binding) => {
                if let Some(attestation) = gateway.attestations.get_mut(*index) {
                    swap(binding, &mut attestation.binding);
                }
            }
            Change::Certificates(index, allow) => {
                if let Some(accepted) = gateway.client_certificates.get_mut(*index) {
                    swap(allow, &mut accepted.allow);
                }
            }
            Change::Grants(index, grants) => {
                if let Some(Access::Protected { authz, .. }) = route(gateway, *index).map(|r| &mut r.access) {
                    swap(grants, &mut authz.grants);
                }
            }
            Change::Limits(index, list) => {
                if let Some(route) = route(gateway, *index) {
                    swap(list, &mut route.limits.list);
                }
            }
            Change::Requests(index, requests) => {
                if let Some(limit) = gateway.limits.get_mut(*index) {
                    swap(requests, &mut limit.requests);
                }
            }
            Change::MaxBody(index, max) => {
                if let Some(route) = route(gateway, *index) {
                    swap(max, &mut route.content.max_body);
                }
            }
            Change::Types(index, types) => {
                if let Some(route) = route(gateway, *index) {
                    swap(types, &mut route.content.types);
                }
            }
            Change::Origins(index, origins) => {
                if let Some(websocket) = route(gateway, *index).and_then(|route| route.websocket.as_mut()) {
                    swap(origins, &mut websocket.origins);
                }
            }
        }
    }
}

/// All mutants of a configuration, in the order of the pipeline.
#[must_use]
pub fn mutants(gateway: &Gateway) -> Vec<Mutant> {
    let mut mutants = Vec::new();
    if let Some(flood) = gateway.flood.filter(|flood| flood.mode == Mode::Enforce) {
        mutants.push(Mutant {
            what: "without the flood limit".to_owned(),
            line: flood.line,
            route: None,
            change: Change::Flood(None),
        });
    }
    let attempts = &gateway.attempts;
    if attempts.is_written && attempts.mode == Mode::Enforce {
        let each = [
            (attempts.per_address, "of an address", Change::PerAddress(None)),
            (attempts.per_account, "for an account", Change::PerAccount(None)),
        ];
        for (bound, whose, change) in each {
            if bound.is_some() {
                mutants.push(Mutant {
                    what: format!("looks at any number of refused credentials {whose}"),
                    line: attempts.line,
                    route: None,
                    change,
                });
            }
        }
    }
    if let Some(revocation) = &gateway.revocation {
        mutants.push(Mutant {
            what: "takes what was revoked".to_owned(),
            line: revocation.line,
            route: None,
            change: Change::Revocation(None),
        });
    }
    if gateway.dpop.nonces.is_some() {
        mutants.push(Mutant {
            what: "takes proofs without a nonce".to_owned(),
            line: gateway.dpop.line,
            route: None,
            change: Change::Nonces(None),
        });
    }
    for (index, route) in gateway.routes.iter().enumerate() {
        of_route(gateway, index, route, &mut mutants);
    }
    for (index, limit) in gateway.limits.iter().enumerate() {
        let by = gateway
            .routes
            .iter()
            .find(|route| route.limits.list.contains(&index));
        if let Some(route) = by.filter(|_| limit.mode == Mode::Enforce) {
            mutants.push(Mutant {
                what: format!("limit `{}` admits twice as many", limit.name),
                line: route.limits.line,
                route: None,
                change: Change::Requests(index, limit.requests.saturating_mul(2)),
            });
        }
    }
    mutants
}

fn of_route(gateway: &Gateway, index: usize, route: &Route, mutants: &mut Vec<Mutant>) {
    let mut add = |what: String, line: u32, change: Change| {
        mutants.push(Mutant {
            what: format!("route `{}` {what}", route.id),
            line,
            route: Some(index),
            change,
        });
    };
    for (position, asked) in enforced(&route.circumstances) {
        let change = Change::Circumstances(index, without(&route.circumstances, position));
        add(format!("without \"{}\"", asked.describe()), asked.line, change);
        if let Circumstance::Networks(networks) = &asked.what
            && !networks.allow.is_empty()
            && !networks.deny.is_empty()
        {
            let mut networks = networks.clone();
            networks.deny = Box::default();
            let looser = with(&route.circumstances, position, Circumstance::Networks(networks));
            add(
                "denies no network".to_owned(),
                asked.line,
                Change::Circumstances(index, looser),
            );
        }
        if let Circumstance::When(when) = &asked.what {
            for (less, when) in when.looser() {
                let looser = with(&route.circumstances, position, Circumstance::When(when));
                add(
                    format!("without {less}"),
                    asked.line,
                    Change::Circumstances(index, looser),
                );
            }
        }
    }
    if let Access::Protected { authn, authz } = &route.access {
        let public = Access::Public(Public {
            reason: "a mutant".into(),
            owner: "durward test".into(),
            line: 0,
        });
        add(
            "without authentication".to_owned(),
            authn.line,
            Change::Access(index, public),
        );
        for (what, asks) in looser_credentials(gateway, &authn.asks) {
            add(what, authn.line, Change::Asks(index, asks));
        }
        let attestation = authn
            .attestation
            .and_then(|which| gateway.attestations.get(which));
        if let Some(attestation) = attestation.filter(|attestation| attestation.mode == Mode::Enforce) {
            let change = Change::Attestation(index, None);
            add("without its attestation".to_owned(), authn.line, change);
            if let (Some(which), true) = (authn.attestation, attestation.binding.is_some()) {
                let change = Change::Binding(which, None);
                let what = "takes attestations that are not bound to Authorization";
                add(what.to_owned(), attestation.line, change);
            }
        }
        for accepts in authn.accepts() {
            if let Accepts::Certificate(accepted) = accepts
                && let Some(known) = gateway.client_certificates.get(*accepted)
                && !known.allow.is_empty()
            {
                let all = Change::Certificates(*accepted, Box::default());
                let what = format!("takes every client certificate as one of `{}`", known.name);
                add(what, authn.line, all);
            }
        }
        for (position, asked) in enforced(&authz.grants) {
            let change = Change::Grants(index, without(&authz.grants, position));
            add(format!("without \"{}\"", asked.describe()), asked.line, change);
            for (less, what) in looser(&asked.what) {
                let change = Change::Grants(index, with(&authz.grants, position, what));
                add(format!("without {less}"), asked.line, change);
            }
        }
    }
    let limits = &route.limits;
    for (position, limit) in limits.list.iter().enumerate() {
        let limit = gateway
            .limits
            .get(*limit)
            .filter(|limit| limit.mode == Mode::Enforce);
        if let Some(limit) = limit {
            let change = Change::Limits(index, without(&limits.list, position));
            add(format!("without limit `{}`", limit.name), limits.line, change);
        }
    }
    let content = &route.content;
    if content.is_written && content.mode == Mode::Enforce {
        add(
            "takes bodies of any length".to_owned(),
            content.line,
            Change::MaxBody(index, u64::MAX),
        );
        if !content.types.iter().any(|kind| **kind == *content::ANY) {
            let any = Box::new([content::ANY.into()]);
            add(
                "takes bodies of any type".to_owned(),
                content.line,
                Change::Types(index, any),
            );
        }
    }
    if let Some(websocket) = route
        .websocket
        .as_ref()
        .filter(|websocket| !websocket.origins.is_empty())
    {
        let any = Change::Origins(index, Box::default());
        add("takes WebSockets of any origin".to_owned(), websocket.line, any);
    }
}

/// Tokens of any issuer in the place of those of some; tokens that are bound to no key, where they have to be; and of several
/// credentials that are all asked for, one less.
fn looser_credentials(gateway: &Gateway, asks: &Asks) -> Vec<(String, Asks)> {
    let parts: &[Accepts] = match asks {
        Asks::One(one) => std::slice::from_ref(one),
        Asks::Any(parts) | Asks::All { parts, .. } => parts,
    };
    let mut looser = Vec::new();
    let with = |position: usize, change: &dyn Fn(&mut Tokens)| {
        let mut parts: Box<[Accepts]> = parts.into();
        if let Some(Accepts::Token(tokens)) = parts.get_mut(position) {
            change(tokens);
        }
        match asks {
            Asks::One(_) | Asks::Any(_) => Asks::Any(parts),
            Asks::All { identity, .. } => Asks::All {
                parts,
                identity: *identity,
            },
        }
    };
    for (position, accepts) in parts.iter().enumerate() {
        if let Accepts::Token(tokens) = accepts
            && !tokens.jwt.is_empty()
            && tokens.jwt.len() < gateway.issuers.len()
        {
            let every = |tokens: &mut Tokens| tokens.jwt = (0..gateway.issuers.len()).collect();
            looser.push(("takes tokens of every issuer".to_owned(), with(position, &every)));
        }
        if let Accepts::Token(tokens) = accepts
            && tokens.dpop == Demand::Required
        {
            let unbound = |tokens: &mut Tokens| tokens.dpop = Demand::Off;
            let what = "takes tokens that are not bound to a key";
            looser.push((what.to_owned(), with(position, &unbound)));
        }
        if let Asks::All { identity, .. } = asks
            && parts.len() > 1
        {
            let identity = identity.saturating_sub(usize::from(position <= *identity));
            let parts = without(parts, position);
            let which = match accepts {
                Accepts::Token(_) => "token",
                Accepts::ApiKey(_) => "API key",
                Accepts::Certificate(_) => "client certificate",
            };
            looser.push((format!("without its {which}"), Asks::All { parts, identity }));
        }
    }
    looser
}

/// A grant that asks for several things, with one of them less.
fn looser(grant: &Grant) -> Vec<(String, Grant)> {
    let several = |count: usize| 0..if count > 1 { count } else { 0 };
    match grant {
        Grant::Scopes(scopes) => several(scopes.all.len())
            .filter_map(|position| {
                let rest: Vec<String> = without(&scopes.all, position)
                    .iter()
                    .map(ToString::to_string)
                    .collect();
                Some((
                    scopes.all.get(position)?.to_string(),
                    Grant::Scopes(Scopes::new(&rest)),
                ))
            })
            .collect(),
        Grant::Permissions(permissions) => several(permissions.all.len())
            .filter_map(|position| {
                let mut rest = permissions.clone();
                rest.all = without(&permissions.all, position);
                Some((
                    permissions.all.get(position)?.to_string(),
                    Grant::Permissions(rest),
                ))
            })
            .collect(),
        Grant::ClaimMatches(matches) => several(matches.all.len())
            .filter_map(|position| {
                let mut rest = matches.clone();
                rest.all = without(&matches.all, position);
                Some((matches.all.get(position)?.to_string(), Grant::ClaimMatches(rest)))
            })
            .collect(),
        Grant::StepUp(step_up) => {
            let looser = step_up.looser().into_iter();
            looser
                .map(|(less, step_up)| (less, Grant::StepUp(step_up)))
                .collect()
        }
        Grant::When(when) => {
            let looser = when.looser().into_iter();
            looser.map(|(less, when)| (less, Grant::When(when))).collect()
        }
        // one of them is enough: with one less, more is asked for
        Grant::Roles(_) => Vec::new(),
    }
}

fn enforced<T>(asked: &[Asked<T>]) -> impl Iterator<Item = (usize, &Asked<T>)> {
    asked
        .iter()
        .enumerate()
        .filter(|(_, asked)| asked.mode == Mode::Enforce)
}

fn without<T: Clone>(list: &[T], position: usize) -> Box<[T]> {
    let kept = list.iter().enumerate().filter(|(index, _)| *index != position);
    kept.map(|(_, item)| item.clone()).collect()
}

fn with<T: Clone>(list: &[Asked<T>], position: usize, what: T) -> Box<[Asked<T>]> {
    let mut list: Box<[Asked<T>]> = list.into();
    if let Some(asked) = list.get_mut(position) {
        asked.what = what;
    }
    list
}
