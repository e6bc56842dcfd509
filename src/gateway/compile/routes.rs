//! `routes:` and `roles:`

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use http::{Method, StatusCode};

use super::conditions::Condition;
use super::findings::Findings;
use super::inheritance::{self, Inheritance, OfRoute};
use super::{content, credentials, limits, matching, step_up, upgrades};
use crate::config::path::ConfigPath;
use crate::config::{self, Auth, Match, Mode};
use crate::gates::authn::api_key::KeyRing;
use crate::gates::authn::attestation::Attestation;
use crate::gates::authn::certificate::Accepted;
use crate::gates::authn::dpop::{Demand, Dpop};
use crate::gates::authn::{Accepts, Asks, Authn, IssuerPolicy, Tokens};
use crate::gates::authz::{Asked, Authz, Grant, Origin, Role, Roles, Scopes};
use crate::gates::limits::Limit;
use crate::gateway::policy::Public;
use crate::gateway::router::{Claim, Conflict, HostPattern};
use crate::gateway::{Access, Action, Route, RouteId};
use crate::upstream::Upstream;

/// Names that the file has, even where what they stand for has faults: those are not unknown.
pub(super) struct Declared<'a> {
    pub issuers: Vec<&'a str>,
    pub keys: Vec<&'a str>,
    pub attestations: Vec<&'a str>,
    pub client_certificates: Vec<&'a str>,
    pub upstreams: Vec<&'a str>,
    pub limits: Vec<&'a str>,
}

/// What routes refer to by name.
pub(super) struct Names<'a> {
    pub declared: &'a Declared<'a>,
    pub issuers: &'a [IssuerPolicy],
    pub keys: &'a [KeyRing],
    pub attestations: &'a [Attestation],
    pub client_certificates: &'a [Accepted],
    pub roles: &'a BTreeMap<String, Role>,
    pub conditions: &'a BTreeMap<String, Condition>,
    pub inheritance: &'a Inheritance<'a>,
    pub limits: &'a [Limit],
    pub upstreams: &'a [Upstream],
    /// Of all buffered bodies, in bytes.
    pub body_memory: u64,
    pub dpop: &'a Dpop,
}

pub(super) fn roles(
    roles: &BTreeMap<String, Vec<String>>,
    findings: &mut Findings<'_>,
) -> BTreeMap<String, Role> {
    let root = ConfigPath::root().key("roles");
    let compiled = roles.iter().map(|(name, values)| {
        if values.is_empty() || values.iter().any(|value| value.trim().is_empty()) {
            findings.error(&root.key(name), "a role lists the token values that grant it", "");
        }
        let granted_by = values.iter().map(|value| value.as_str().into()).collect();
        (
            name.clone(),
            Role {
                name: name.as_str().into(),
                granted_by,
            },
        )
    });
    compiled.collect()
}

pub(super) fn compile(
    routes: &[config::Route],
    names: &Names<'_>,
    findings: &mut Findings<'_>,
) -> (Vec<Route>, Vec<Claim>) {
    let root = ConfigPath::root().key("routes");
    if routes.is_empty() {
        findings.incomplete(&root, "there is no route: everything would be refused", "");
    }
    let (mut compiled, mut claims, mut ids) = (Vec::new(), Vec::new(), BTreeSet::new());
    for (index, route) in routes.iter().enumerate() {
        let at = root.index(index);
        let (route, claim) = self::route(&at, route, RouteId(index), names, findings);
        if !ids.insert(route.id.clone()) {
            findings.error(
                &at.key("id"),
                format!("another route is called `{}`", route.id),
                "give this one an `id`",
            );
        }
        compiled.push(route);
        claims.extend(claim);
    }
    (compiled, claims)
}

/// Always makes a route, so that the index of each stays the one in the file; a fault keeps the snapshot from being used.
fn route(
    at: &ConfigPath,
    route: &config::Route,
    id: RouteId,
    names: &Names<'_>,
    findings: &mut Findings<'_>,
) -> (Route, Option<Claim>) {
    let config::Route {
        id: name,
        matches,
        auth,
        public,
        conditions,
        limits,
        groups,
        disable,
        request,
        websocket,
        upstream,
        respond,
    } = route;
    let Match {
        host,
        methods,
        path,
        normalise,
    } = matches;
    let at_match = at.key("match");
    let host = matching::host(&at_match.key("host"), host.as_deref(), findings);
    let methods = matching::methods(&at_match.key("methods"), methods, findings);
    let template_fits = matching::template(&at_match.key("path"), path, findings);

    let mut access = match (auth, public) {
        (Some(auth), None) => protected(&at.key("auth"), auth, names, findings),
        (None, Some(config::Public { reason, owner })) => {
            let at = at.key("public");
            for (key, text) in [("reason", reason), ("owner", owner)] {
                if text.trim().is_empty() {
                    findings.error(
                        &at.key(key),
                        format!("`{key}` is empty"),
                        "it shows in every audit",
                    );
                }
            }
            let (reason, owner) = (reason.as_str().into(), owner.as_str().into());
            Access::Public(Public {
                reason,
                owner,
                line: findings.line(&at),
            })
        }
        (auth, _) => {
            // S36: never neither, never both
            findings.incomplete(
                at,
                if auth.is_some() {
                    "a route is not `auth` and `public` at once"
                } else {
                    "the route says not who may use it"
                },
                "add `auth: { jwt: … }`, or `public: { reason: …, owner: … }` if everybody may",
            );
            Access::Protected {
                authn: Authn {
                    asks: nothing(),
                    attestation: None,
                    line: 0,
                },
                authz: Authz::default(),
            }
        }
    };
    let websocket = websocket
        .as_ref()
        .map(|websocket| upgrades::websocket(&at.key("websocket"), websocket, &methods, upstream, findings));
    let of_route = OfRoute {
        conditions,
        limits,
        groups,
        disable: disable.as_ref(),
        path,
        is_public: matches!(access, Access::Public(_)),
    };
    let joined = inheritance::join(at, &of_route, names.inheritance, names.conditions, findings);
    if let Access::Protected { authz, .. } = &mut access {
        authz.grants = std::mem::take(&mut authz.grants)
            .into_iter()
            .chain(joined.grants)
            .collect();
    }
    let action = action(at, upstream.as_deref(), respond.as_ref(), names, findings);
    let spelled: Vec<&str> = methods.iter().map(Method::as_str).collect();
    let default_name = match &host {
        Some(HostPattern::Any) | None => format!("{} {path}", spelled.join(",")),
        Some(host) => format!("{} {host}{path}", spelled.join(",")),
    };
    let name = name.clone().unwrap_or(default_name);
    if name.trim().is_empty() {
        findings.error(&at.key("id"), "the id is empty", "");
    }
    let claim = host.clone().filter(|_| template_fits).map(|host| Claim {
        host,
        path: path.as_str().into(),
        methods: methods.clone(),
        route: id,
    });
    let route = Route {
        id: name.into(),
        host: host.unwrap_or(HostPattern::Any),
        methods: methods.into(),
        path: path.as_str().into(),
        repairs: normalise.iter().copied().map(matching::repair).collect(),
        access,
        circumstances: joined.circumstances.into(),
        limits: limits::of_route(
            &at.key("limits"),
            &joined.limits,
            &names.declared.limits,
            names.limits,
            of_route.is_public,
            findings,
        ),
        content: content::compile(&at.key("request"), request, names.body_memory, findings),
        websocket,
        action,
        disabled: joined.disabled,
        line: findings.line(&at_match),
    };
    (route, claim)
}

fn protected(at: &ConfigPath, auth: &Auth, names: &Names<'_>, findings: &mut Findings<'_>) -> Access {
    let Auth {
        scopes,
        roles,
        attestation,
        step_up,
        mode,
        // read there
        jwt: _,
        introspection: _,
        api_key: _,
        client_certificate: _,
        any_of: _,
        all_of: _,
        dpop: _,
    } = auth;
    let asks = credentials::asks(at, auth, names, findings).unwrap_or_else(nothing);
    if *mode == Mode::Shadow {
        findings.error(
            &at.key("mode"),
            "authentication cannot be a shadow: whoever has no good credential would get in as nobody in particular",
            "shadow `conditions` instead; or declare the route `public`, which says what it is",
        );
    }
    let of_auth = |what: Grant, line: u32| Asked {
        what,
        condition: None,
        origin: Origin::Route,
        mode: crate::gates::Mode::Enforce,
        line,
    };
    let mut grants = Vec::new();
    if !scopes.is_empty() {
        let at = at.key("scopes");
        check_scopes(&at, scopes, findings);
        grants.push(of_auth(Grant::Scopes(Scopes::new(scopes)), findings.line(&at)));
    }
    if !roles.is_empty() {
        let at = at.key("roles");
        let any = asked_roles(&at, roles, names.roles, findings).into();
        grants.push(of_auth(Grant::Roles(Roles { any }), findings.line(&at)));
    }
    if let Some(step_up) = step_up {
        let at = at.key("step_up");
        let step_up = step_up::compile(&at, step_up, findings);
        grants.push(of_auth(Grant::StepUp(step_up), findings.line(&at)));
    }
    let attestation = attestation.as_deref().and_then(|name| {
        let found = names
            .attestations
            .iter()
            .position(|attestation| *attestation.name == *name);
        let declared = &names.declared.attestations;
        if found.is_none() && !declared.contains(&name) {
            let at = at.key("attestation");
            findings.unknown(&at, "attestation", "attestations", name, declared.iter().copied());
        }
        found
    });
    let line = findings.line(at);
    Access::Protected {
        authn: Authn {
            asks,
            attestation,
            line,
        },
        authz: Authz {
            grants: grants.into(),
            line,
        },
    }
}

/// Each has to be a scope-token (RFC 6749 section 3.3).
pub(super) fn check_scopes(at: &ConfigPath, scopes: &[String], findings: &mut Findings<'_>) {
    for (index, scope) in scopes.iter().enumerate() {
        let fits = |b: u8| matches!(b, 0x21 | 0x23..=0x5b | 0x5d..=0x7e);
        if scope.is_empty() || !scope.bytes().all(fits) {
            findings.error(
                &at.index(index),
                format!("`{scope}` is not a scope"),
                "one scope an entry, without spaces",
            );
        }
    }
}

/// The roles of these names.
pub(super) fn asked_roles(
    at: &ConfigPath,
    asked: &[String],
    roles: &BTreeMap<String, Role>,
    findings: &mut Findings<'_>,
) -> Vec<Role> {
    let found = asked.iter().enumerate().filter_map(|(index, name)| {
        let found = roles.get(name);
        if found.is_none() {
            let known = roles.keys().map(String::as_str);
            findings.unknown(&at.index(index), "role", "roles", name, known);
        }
        found.cloned()
    });
    found.collect()
}

/// What no credential satisfies: in the place of what has faults.
fn nothing() -> Asks {
    Asks::One(Accepts::Token(Tokens {
        jwt: Box::default(),
        introspection: None,
        dpop: Demand::Off,
    }))
}

fn action(
    at: &ConfigPath,
    upstream: Option<&str>,
    respond: Option<&config::Respond>,
    names: &Names<'_>,
    findings: &mut Findings<'_>,
) -> Action {
    let nothing = Action::Respond {
        status: StatusCode::NOT_FOUND,
        body: bytes::Bytes::new(),
    };
    match (upstream, respond) {
        (Some(name), None) => match names
            .upstreams
            .iter()
            .position(|upstream| *upstream.name == *name)
        {
            Some(index) => Action::Upstream(index),
            None => {
                let declared = &names.declared.upstreams;
                if !declared.contains(&name) {
                    findings.unknown(
                        &at.key("upstream"),
                        "upstream",
                        "upstreams",
                        name,
                        declared.iter().copied(),
                    );
                }
                nothing
            }
        },
        (None, Some(respond)) => {
            let (at, status, body) = match respond {
                config::Respond::Status(status) => (at.key("respond"), *status, None),
                config::Respond::Answer(config::Answer { status, body }) => {
                    (at.key("respond").key("status"), *status, body.clone())
                }
            };
            match StatusCode::from_u16(status)
                .ok()
                .filter(|status| (200..600).contains(&status.as_u16()))
            {
                Some(status) => Action::Respond {
                    status,
                    body: body.unwrap_or_default().into(),
                },
                None => {
                    findings.error(&at, "must be 200 to 599", "");
                    nothing
                }
            }
        }
        _ => {
            findings.incomplete(at, "a route has exactly one of `upstream` and `respond`", "");
            nothing
        }
    }
}

/// Turns conflicts of the router into faults at the routes' places.
pub(super) fn report(conflicts: Vec<Conflict>, routes: &[Route], findings: &mut Findings<'_>) {
    let root = ConfigPath::root().key("routes");
    for conflict in conflicts {
        match conflict {
            Conflict::Duplicate {
                route,
                earlier,
                method,
            } => {
                let earlier: Option<(&Arc<str>, u32)> = routes.get(earlier.0).map(|r| (&r.id, r.line));
                let (id, line) = earlier.map_or(("?", 0), |(id, line)| (&**id, line));
                findings.error(
                    &root.index(route.0).key("match"),
                    format!("{method} of this path belongs to the route `{id}` already (line {line})"),
                    "",
                );
            }
            Conflict::Beside { route, other } => {
                let (id, line) = routes
                    .get(other.0)
                    .map_or(("?", 0), |other| (&*other.id, other.line));
                findings.error(
                    &root.index(route.0).key("match").key("path"),
                    format!("cannot stand beside the path of the route `{id}` (line {line})"),
                    "one has a parameter where the other takes the rest: give them different literal segments",
                );
            }
            Conflict::Path { route, why } => {
                findings.error(&root.index(route.0).key("match").key("path"), why, "")
            }
        }
    }
}
