//! `resources:`: what clients are told, and the routes on which they are told it.

use std::collections::{BTreeMap, BTreeSet};

use http::Method;
use serde_json::{Map, Value, json};

use super::findings::Findings;
use super::key_sets::url_of;
use super::routes::{Names, check_scopes};
use super::{content, inheritance, limits, matching};
use crate::config::path::ConfigPath;
use crate::config::{self, RequestRules};
use crate::gates::authn::dpop::Demand;
use crate::gates::authn::{Accepts, IssuerPolicy, Tokens};
use crate::gates::authz::Grant;
use crate::gateway::policy::Public;
use crate::gateway::resource::{self, Identifier, Resource};
use crate::gateway::router::{Claim, HostPattern};
use crate::gateway::{Access, Action, Listener, Purpose, Route, RouteId};
use crate::head::Repairs;
use crate::world::discovery::is_safe;

/// Each resource, with the place where it was written.
pub(super) struct Declared<'a> {
    all: Vec<(ConfigPath, &'a str, &'a config::Resource, Identifier)>,
}

/// Reads the identifiers.
pub(super) fn declared<'a>(
    resources: &'a BTreeMap<String, config::Resource>,
    findings: &mut Findings<'_>,
) -> Declared<'a> {
    let root = ConfigPath::root().key("resources");
    let mut all: Vec<(ConfigPath, &str, &config::Resource, Identifier)> = Vec::new();
    for (name, resource) in resources {
        let at = root.key(name);
        let at_resource = at.key("resource");
        let Some(text) = findings.text(&at_resource, &resource.resource) else {
            continue;
        };
        let Some(identifier) = Identifier::parse(&text) else {
            findings.error(
                &at_resource,
                format!("`{text}` is no identifier of a resource"),
                "`https://` with a host and, if need be, a path without a slash at its end (RFC 9728 section 1.2)",
            );
            continue;
        };
        let path = identifier.metadata_path();
        if path.contains(['{', '}']) {
            findings.error(&at_resource, "a resource is one place and no template", "");
            continue;
        }
        if !matching::template(&at_resource, &path, findings) {
            continue;
        }
        let same = |other: &Identifier| (&other.host, &other.path) == (&identifier.host, &identifier.path);
        if let Some((_, other, ..)) = all.iter().find(|(.., other)| same(other)) {
            findings.error(&at_resource, format!("is the resource of `{other}` already"), "");
            continue;
        }
        all.push((at, name, resource, identifier));
    }
    Declared { all }
}

/// Works out what each resource is, and adds the route on which the gateway says so. `routes` and `claims` are those of the
/// file.
pub(super) fn compile(
    declared: &Declared<'_>,
    listeners: &[Listener],
    names: &Names<'_>,
    routes: &mut Vec<Route>,
    claims: &mut Vec<Claim>,
    findings: &mut Findings<'_>,
) -> Vec<Resource> {
    let written = claims.len();
    let of_file = routes.len();
    let mut compiled = Vec::new();
    for (at, name, resource, identifier) in &declared.all {
        let of_resource = routes.get(..of_file).unwrap_or_default().iter().filter(|route| {
            let host = HostPattern::Exact(identifier.host.clone());
            let all = declared.all.iter().map(|(.., other)| other);
            route.host.covers(&host) && resource::of(all, &identifier.host, &route.path) == Some(identifier)
        });
        let of_resource: Vec<&Route> = of_resource.collect();
        if of_resource.is_empty() {
            findings.warning(
                &at.key("resource"),
                "no route is below it",
                "routes belong to it whose host it has, and whose path begins with its own",
            );
        }
        let document = document(at, resource, identifier, &of_resource, names, listeners, findings);
        let path = identifier.metadata_path();
        let claim = Claim {
            host: HostPattern::Exact(identifier.host.clone()),
            path: path.as_str().into(),
            methods: vec![Method::GET, Method::HEAD],
            route: RouteId(routes.len()),
        };
        collisions(
            at,
            &claim,
            claims.get(..written).unwrap_or_default(),
            routes,
            findings,
        );
        let route = route(at, name, &claim, document.clone().into(), names, findings);
        if routes.iter().any(|other| other.id == route.id) {
            let message = format!("a route is called `{}`, as that of its metadata is", route.id);
            findings.error(&at.key("resource"), message, "call the route otherwise");
        }
        routes.push(route);
        claims.push(claim);
        compiled.push(Resource {
            identifier: identifier.clone(),
            document: document.into(),
        });
    }
    compiled
}

/// A route of the file at the very place of the metadata would be taken away from without a word (or take that away).
fn collisions(
    at: &ConfigPath,
    claim: &Claim,
    others: &[Claim],
    routes: &[Route],
    findings: &mut Findings<'_>,
) {
    for other in others {
        let meets = other.host.covers(&claim.host);
        let named = routes.get(other.route.0).map(|route| (&*route.id, route.line));
        let (id, line) = named.unwrap_or(("?", 0));
        if meets && other.path == claim.path {
            findings.error(
                &at.key("resource"),
                format!(
                    "its metadata are at `{}`, which belongs to the route `{id}` (line {line})",
                    claim.path
                ),
                "the gateway answers there itself: take the route away, or the resource",
            );
        } else if meets && other.path.starts_with("/.well-known/") && shadows(&claim.path, &other.path) {
            findings.warning(
                &at.key("resource"),
                format!(
                    "its metadata are at `{}`, of which the route `{id}` (line {line}) no longer hears",
                    claim.path
                ),
                "",
            );
        }
    }
}

/// Whether a path is one of a template's.
fn shadows(path: &str, template: &str) -> bool {
    let mut rest = path.split('/');
    for segment in template.split('/') {
        let parameter = segment.strip_prefix('{').and_then(|name| name.strip_suffix('}'));
        match (parameter, rest.next()) {
            (_, None) => return false,
            (Some(name), Some(_)) if name.ends_with('*') => return true,
            (None, Some(found)) if found != segment => return false,
            _ => {}
        }
    }
    rest.next().is_none()
}

/// The route on which a resource's metadata are answered: for everybody, wherever the defaults let them come from.
fn route(
    at: &ConfigPath,
    name: &str,
    claim: &Claim,
    document: bytes::Bytes,
    names: &Names<'_>,
    findings: &mut Findings<'_>,
) -> Route {
    let line = findings.line(at);
    let (circumstances, counted) =
        inheritance::of_everybody(names.inheritance, names.conditions, names.limits);
    let counted: Vec<(ConfigPath, &str)> = counted.into_iter().map(|name| (at.clone(), name)).collect();
    let spelled: Vec<&str> = claim.methods.iter().map(Method::as_str).collect();
    Route {
        id: format!("{} {}{}", spelled.join(","), claim.host, claim.path).into(),
        host: claim.host.clone(),
        methods: claim.methods.clone().into(),
        path: (*claim.path).into(),
        repairs: Repairs::default(),
        access: Access::Public(Public {
            reason: format!(
                "metadata of the protected resource `{name}` (RFC 9728), answered by the gateway"
            )
            .into(),
            owner: format!("resources.{name}").into(),
            line,
        }),
        circumstances: circumstances.into(),
        limits: limits::of_route(at, &counted, &names.declared.limits, names.limits, true, findings),
        content: content::compile(at, &RequestRules::default(), names.body_memory, findings),
        websocket: None,
        action: Action::Metadata(document),
        disabled: None,
        line,
    }
}

/// The metadata (RFC 9728 section 2), as JSON.
fn document(
    at: &ConfigPath,
    resource: &config::Resource,
    identifier: &Identifier,
    routes: &[&Route],
    names: &Names<'_>,
    listeners: &[Listener],
    findings: &mut Findings<'_>,
) -> String {
    let config::Resource {
        // read before
        resource: _,
        name,
        documentation,
        authorization_servers,
        scopes,
    } = resource;
    let servers: Vec<String> = match authorization_servers {
        None => servers_of(routes, names.issuers),
        Some(servers) => {
            let at = at.key("authorization_servers");
            let texts = servers.iter().enumerate().filter_map(|(index, server)| {
                let at = at.index(index);
                let text = findings.text(&at, server)?;
                url_of(&at, &text, findings).map(|_| text)
            });
            texts.collect()
        }
    };
    let scopes: Vec<String> = match scopes {
        None => scopes_of(routes),
        Some(scopes) => {
            check_scopes(&at.key("scopes"), scopes, findings);
            scopes.clone()
        }
    };
    let documentation = documentation.as_ref().and_then(|documentation| {
        let at = at.key("documentation");
        let text = findings.text(&at, documentation)?;
        url_of(&at, &text, findings).map(|_| text)
    });
    if name.as_ref().is_some_and(|name| name.trim().is_empty()) {
        findings.error(&at.key("name"), "the name is empty", "");
    }
    let binds = listeners.iter().any(
        |listener| matches!(&listener.purpose, Purpose::Tls(policy) if policy.client_certificates.is_some()),
    );
    let mut members = Map::new();
    members.insert("resource".to_owned(), json!(identifier.text));
    // section 3.2: what is empty is left out
    if !servers.is_empty() {
        members.insert("authorization_servers".to_owned(), json!(servers));
    }
    if !scopes.is_empty() {
        members.insert("scopes_supported".to_owned(), json!(scopes));
    }
    members.insert("bearer_methods_supported".to_owned(), json!(["header"]));
    if binds {
        members.insert(
            "tls_client_certificate_bound_access_tokens".to_owned(),
            json!(true),
        );
    }
    let demands: Vec<Demand> = tokens_of(routes).map(|tokens| tokens.dpop).collect();
    if demands.iter().any(|demand| *demand != Demand::Off) {
        let algorithms = names.dpop.algorithms.names();
        let algorithms: Vec<&str> = algorithms.split(' ').collect();
        members.insert("dpop_signing_alg_values_supported".to_owned(), json!(algorithms));
        if demands.iter().all(|demand| *demand == Demand::Required) {
            members.insert("dpop_bound_access_tokens_required".to_owned(), json!(true));
        }
    }
    let texts = [
        ("resource_name", name.as_ref()),
        ("resource_documentation", documentation.as_ref()),
    ];
    for (member, text) in texts {
        if let Some(text) = text {
            members.insert(member.to_owned(), json!(text));
        }
    }
    Value::Object(members).to_string()
}

/// The tokens that routes take.
fn tokens_of<'a>(routes: &[&'a Route]) -> impl Iterator<Item = &'a Tokens> {
    let accepts = routes.iter().filter_map(|route| match &route.access {
        Access::Protected { authn, .. } => Some(authn.accepts()),
        Access::Public(_) => None,
    });
    accepts.flatten().filter_map(|accepts| match accepts {
        Accepts::Token(tokens) => Some(tokens),
        _ => None,
    })
}

/// The issuers whose tokens routes take. One whose name is no URL is none that clients could ask.
fn servers_of(routes: &[&Route], issuers: &[IssuerPolicy]) -> Vec<String> {
    let servers: BTreeSet<usize> = tokens_of(routes)
        .flat_map(|tokens| tokens.jwt.iter().chain(&tokens.introspection).copied())
        .collect();
    let named = servers.into_iter().filter_map(|index| issuers.get(index));
    let named = named.map(|issuer| issuer.jwt.issuer.clone());
    named
        .filter(|issuer| issuer.parse().is_ok_and(|url| is_safe(&url)))
        .collect()
}

/// The scopes that routes ask for, each once.
fn scopes_of(routes: &[&Route]) -> Vec<String> {
    let mut scopes = BTreeSet::new();
    for route in routes {
        if let Access::Protected { authz, .. } = &route.access {
            for asked in &authz.grants {
                if let Grant::Scopes(asked) = &asked.what {
                    scopes.extend(asked.all.iter().map(ToString::to_string));
                }
            }
        }
    }
    scopes.into_iter().collect()
}
