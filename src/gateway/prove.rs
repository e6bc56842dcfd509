//! What a snapshot lets through, said before anybody asks: every way in without a credential, and the layers of each
//! route (S92, M2).
//!
//! Read off the very table that the router looks requests up in. [`PublicPattern::matches`] is the claim; a property test
//! holds the running gateway to it in both directions.

use serde::Serialize;

use super::router::{Entry, HostPattern};
use super::{Access, Action, Gateway, Listener, Purpose, Route};
use crate::gates::Mode;
use crate::gates::authn::revocation::Revocation;
use crate::pki::facts;

/// Everything that is claimed of a snapshot.
#[derive(Debug, Serialize)]
pub struct Proof {
    /// Identifies the configuration.
    pub hash: String,
    /// Everything that is reachable without a credential.
    pub public: Vec<PublicPattern>,
    /// The layers of each route, in the order of the file.
    pub routes: Vec<RouteLayers>,
    /// Gates that let pass what they would refuse.
    pub shadows: Vec<String>,
    /// What somebody should look at.
    pub findings: Vec<String>,
}

/// Requests that are admitted without a credential.
#[derive(Debug, Serialize)]
pub struct PublicPattern {
    /// Host pattern; `*` is any.
    pub host: String,
    /// Hosts that the pattern covers but that have rules of their own.
    pub except_hosts: Vec<String>,
    /// Method.
    pub method: String,
    /// Path template.
    pub path: String,
    /// Paths that the template covers but that have rules of their own.
    pub except_paths: Vec<String>,
    /// Name of the route.
    pub route: String,
    /// Why it is public.
    pub reason: String,
    /// Who answers for that.
    pub owner: String,
    /// Circumstances that are asked for all the same. [`matches`](Self::matches) knows nothing of them.
    pub circumstances: Vec<String>,
    /// Line of the marker.
    pub line: u32,
}

/// The five layers of a route; `None` where one is absent.
#[derive(Debug, Serialize)]
pub struct RouteLayers {
    /// Name of the route.
    pub route: String,
    /// Line of its match.
    pub line: u32,
    /// How it is reached.
    pub transport: Option<String>,
    /// Who may.
    pub identity: Option<String>,
    /// What they must have been granted, and from where and when; each with the line that asks.
    pub authorization: Vec<String>,
    /// How often.
    pub traffic: Option<String>,
    /// What may be sent.
    pub data: Option<String>,
    /// What the route does not take over from the defaults and its groups, and why not.
    pub disabled: Option<String>,
}

impl PublicPattern {
    /// Whether a request is one of these. `host` in lower case without port, `path` canonical.
    #[must_use]
    pub fn matches(&self, method: &str, host: &str, path: &str) -> bool {
        self.method == method
            && host_matches(&self.host, host)
            && !self.except_hosts.iter().any(|except| host_matches(except, host))
            && path_matches(&self.path, path)
            && !self.except_paths.iter().any(|except| path_matches(except, path))
    }
}

/// Works out what a snapshot lets through.
#[must_use]
pub fn prove(gateway: &Gateway) -> Proof {
    let entries = gateway.router.entries();
    let public = entries
        .iter()
        .filter_map(|entry| pattern(gateway, entries, entry))
        .collect();
    let routes = layers(gateway);
    let findings = findings(gateway);
    Proof {
        hash: gateway.hash.clone(),
        public,
        routes,
        shadows: shadows(gateway),
        findings,
    }
}

fn pattern(gateway: &Gateway, entries: &[Entry], entry: &Entry) -> Option<PublicPattern> {
    let route = gateway.route(entry.route)?;
    let Access::Public(public) = &route.access else {
        return None;
    };
    let is_public = |other: &Entry| {
        other.method == entry.method
            && gateway
                .route(other.route)
                .is_some_and(|route| matches!(route.access, Access::Public(_)))
    };
    let siblings = || {
        entries
            .iter()
            .filter(|other| other.host == entry.host && other.path != entry.path)
    };
    let mut except_paths: Vec<String> = siblings()
        .filter(|other| wins(&other.path, &entry.path))
        .filter(|other| !siblings().any(|same| same.path == other.path && is_public(same)))
        .map(|other| other.path.to_string())
        .collect();
    except_paths.dedup();
    let mut except_hosts: Vec<String> = entries
        .iter()
        .map(|other| &other.host)
        .filter(|host| **host != entry.host && narrower(host, &entry.host))
        .map(ToString::to_string)
        .collect();
    except_hosts.sort_unstable();
    except_hosts.dedup();
    Some(PublicPattern {
        host: entry.host.to_string(),
        except_hosts,
        method: entry.method.to_string(),
        path: entry.path.to_string(),
        except_paths,
        route: route.id.to_string(),
        reason: public.reason.to_string(),
        owner: public.owner.to_string(),
        circumstances: circumstances(route).collect(),
        line: public.line,
    })
}

fn narrower(host: &HostPattern, than: &HostPattern) -> bool {
    match (host, than) {
        (_, HostPattern::Any) => true,
        (HostPattern::Exact(name), HostPattern::Wildcard(suffix)) => name
            .split_once('.')
            .is_some_and(|(_, parent)| parent == &**suffix),
        _ => false,
    }
}

/// How a template's segment takes part in a match, the one that wins first.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
enum Segment<'a> {
    Literal(&'a str),
    Parameter,
    Rest,
}

fn segments(template: &str) -> impl Iterator<Item = Segment<'_>> {
    template.split('/').skip(1).map(|segment| {
        match segment.strip_prefix('{').and_then(|s| s.strip_suffix('}')) {
            None => Segment::Literal(segment),
            Some(name) if name.ends_with('*') => Segment::Rest,
            Some(_) => Segment::Parameter,
        }
    })
}

/// Whether some path is covered by both templates and goes to `a`: where they first differ, `a` is the more specific.
fn wins(a: &str, b: &str) -> bool {
    let (mut left, mut right) = (segments(a), segments(b));
    let mut decided = false;
    loop {
        match (left.next(), right.next()) {
            (None, None) => return decided,
            (Some(Segment::Rest), Some(_)) => return decided,
            (Some(_), Some(Segment::Rest)) => return true,
            (Some(Segment::Literal(x)), Some(Segment::Literal(y))) if x != y => return false,
            // a parameter does not take an empty segment
            (Some(Segment::Literal("")), Some(Segment::Parameter))
            | (Some(Segment::Parameter), Some(Segment::Literal(""))) => return false,
            (Some(x), Some(y)) => {
                if !decided && x > y {
                    return false;
                }
                decided |= matches!((x, y), (Segment::Literal(_), Segment::Parameter));
            }
            _ => return false,
        }
    }
}

fn host_matches(pattern: &str, host: &str) -> bool {
    match pattern.strip_prefix("*.") {
        Some(suffix) => host.split_once('.').is_some_and(|(_, parent)| parent == suffix),
        None => pattern == "*" || pattern == host,
    }
}

fn path_matches(template: &str, path: &str) -> bool {
    let mut rest = path.split('/').skip(1);
    for segment in segments(template) {
        match (segment, rest.next()) {
            (_, None) | (Segment::Parameter, Some("")) => return false,
            (Segment::Rest, Some(first)) => return !first.is_empty() || rest.next().is_some(),
            (Segment::Literal(literal), Some(found)) if literal != found => return false,
            _ => {}
        }
    }
    rest.next().is_none()
}

fn layers(gateway: &Gateway) -> Vec<RouteLayers> {
    let transport = transport(gateway);
    let layers = gateway.routes.iter().map(|route| {
        let (identity, authorization) = match &route.access {
            Access::Public(_) => (None, authorization(route)),
            Access::Protected { authn, .. } => {
                let terms = [authn.terms(gateway)].into_iter();
                let revocation = gateway.revocation.as_ref().map(Revocation::describe);
                let identity: Vec<String> = terms.chain(revocation).collect();
                (Some(identity.join("; ")), authorization(route))
            }
        };
        RouteLayers {
            route: route.id.to_string(),
            line: route.line,
            transport: transport.clone(),
            identity,
            authorization,
            traffic: traffic(gateway, route),
            data: Some(route.content.describe()),
            disabled: route.disabled.as_ref().map(|disabled| {
                format!(
                    "{}, because: {} (line {})",
                    disabled.what, disabled.reason, disabled.line
                )
            }),
        }
    });
    layers.collect()
}

/// Everything that is asked for, each with the line that asks.
fn authorization(route: &Route) -> Vec<String> {
    let grants = match &route.access {
        Access::Protected { authz, .. } => &*authz.grants,
        Access::Public(_) => &[],
    };
    let grants = grants
        .iter()
        .map(|asked| format!("{}, line {}", asked.describe(), asked.line));
    circumstances(route).chain(grants).collect()
}

fn circumstances(route: &Route) -> impl Iterator<Item = String> {
    let asked = route.circumstances.iter();
    asked.map(|asked| format!("{}, line {}", asked.describe(), asked.line))
}

/// Gates whose word does not count.
fn shadows(gateway: &Gateway) -> Vec<String> {
    let mut shadows = Vec::new();
    let mut add =
        |what: String, line: u32| shadows.push(format!("{what} (line {line}) is NOT ENFORCED: shadow"));
    if let Some(flood) = gateway.flood.filter(|flood| flood.mode == Mode::Shadow) {
        add(
            format!("the flood limit of {} a second", flood.per_address),
            flood.line,
        );
    }
    if let Some(what) = gateway
        .attempts
        .describe()
        .filter(|_| gateway.attempts.mode == Mode::Shadow)
    {
        add(what.replace(Mode::Shadow.note(), ""), gateway.attempts.line);
    }
    for route in &gateway.routes {
        let of = |what: String| format!("route `{}`: {what}", route.id);
        let plain = |text: String| text.replace(Mode::Shadow.note(), "");
        for asked in route
            .circumstances
            .iter()
            .filter(|asked| asked.mode == Mode::Shadow)
        {
            add(of(plain(asked.describe())), asked.line);
        }
        if let Access::Protected { authn, authz } = &route.access {
            let attestation = authn
                .attestation
                .and_then(|index| gateway.attestations.get(index));
            if let Some(shadow) = attestation.filter(|attestation| attestation.mode == Mode::Shadow) {
                add(of(plain(shadow.describe())), shadow.line);
            }
            for asked in authz.grants.iter().filter(|asked| asked.mode == Mode::Shadow) {
                add(of(plain(asked.describe())), asked.line);
            }
        }
        let limits = route
            .limits
            .list
            .iter()
            .filter_map(|index| gateway.limits.get(*index));
        for limit in limits.filter(|limit| limit.mode == Mode::Shadow) {
            add(
                of(format!("limit {}", plain(limit.describe()))),
                route.limits.line,
            );
        }
        if route.content.mode == Mode::Shadow {
            add(of(plain(route.content.describe())), route.content.line);
        }
    }
    shadows
}

fn traffic(gateway: &Gateway, route: &Route) -> Option<String> {
    let attempts = match &route.access {
        Access::Protected { .. } => gateway.attempts.describe(),
        Access::Public(_) => None,
    };
    let flood = gateway
        .flood
        .map(|flood| format!("{} a second per address{}", flood.per_address, flood.mode.note()));
    let limits = (!route.limits.list.is_empty()).then(|| route.limits.describe(gateway));
    let all: Vec<String> = limits.into_iter().chain(flood).chain(attempts).collect();
    (!all.is_empty()).then(|| all.join("; "))
}

fn transport(gateway: &Gateway) -> Option<String> {
    let mut tls12 = None;
    let (mut ask, mut require) = (false, true);
    for listener in &gateway.listeners {
        match &listener.purpose {
            Purpose::Tls(policy) => {
                tls12 = Some(tls12.unwrap_or(false) || policy.tls12);
                let asked = policy.client_certificates;
                ask |= asked.is_some();
                require &= asked.is_some_and(|asked| asked.is_required);
            }
            Purpose::Plaintext(_) => return None,
            Purpose::Redirect(_) => {}
        }
    }
    let certificates = match (ask, require) {
        (true, true) => ", client certificate required",
        (true, false) => ", client certificate asked for",
        (false, _) => "",
    };
    let versions = |tls12| if tls12 { "TLS 1.2 or 1.3" } else { "TLS 1.3" };
    tls12.map(|tls12| format!("{}{certificates}", versions(tls12)))
}

fn findings(gateway: &Gateway) -> Vec<String> {
    let mut findings = Vec::new();
    for listener in &gateway.listeners {
        if let Purpose::Plaintext(reason) = &listener.purpose {
            findings.push(format!("{} proxies plain HTTP: {reason}", listener.address));
        }
        findings.extend(development(listener));
    }
    for route in &gateway.routes {
        if let Access::Protected { authz, .. } = &route.access
            && authz.asks_nothing()
        {
            findings.push(format!(
                "route `{}` (line {}) authenticates but does not authorize: any valid credential will do",
                route.id, route.line
            ));
        }
    }
    for upstream in &gateway.upstreams {
        let used = gateway.routes.iter().any(|route| {
            matches!(route.action, Action::Upstream(index)
                if gateway.upstreams.get(index).is_some_and(|u| u.name == upstream.name))
        });
        if !used {
            findings.push(format!("upstream `{}` is used by no route", upstream.name));
        }
    }
    findings.extend(gateway.unused.iter().cloned());
    findings
}

/// Certificates that say themselves that they are not for production (S21).
fn development(listener: &Listener) -> Vec<String> {
    let Purpose::Tls(policy) = &listener.purpose else {
        return Vec::new();
    };
    let slots = policy.certificates.slots().iter();
    let shown = slots.filter_map(|slot| slot.current());
    let development = shown.filter(|one| {
        one.chain
            .first()
            .is_some_and(|leaf| facts::is_for_development(leaf))
    });
    development
        .map(|one| {
            let name = one.names.first().map_or("", String::as_str);
            format!(
                "{} shows a development certificate for `{name}`: not for production",
                listener.address
            )
        })
        .collect()
}
