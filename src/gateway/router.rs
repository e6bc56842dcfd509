//! Host, path and method → route.
//!
//! One radix tree for each host that the configuration names, and one for all others. A host's tree also holds the routes
//! of the wildcards that cover it and of "any host", so one look-up answers; where two say the same path and method,
//! the more specific host wins. Within a tree a literal segment beats a parameter. A path that is known answers for its
//! methods alone: no other route is tried for a method that it lacks.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use http::Method;
use matchit::InsertError;

use super::RouteId;

/// Which hosts a route answers for, the most specific first.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum HostPattern {
    /// One name.
    Exact(Box<str>),
    /// `*.suffix`: exactly one more label.
    Wildcard(Box<str>),
    /// Any.
    Any,
}

impl HostPattern {
    /// Whether it takes in all hosts of the other.
    pub(crate) fn covers(&self, other: &HostPattern) -> bool {
        match (self, other) {
            (HostPattern::Any, _) => true,
            (HostPattern::Wildcard(suffix), HostPattern::Exact(name)) => name
                .split_once('.')
                .is_some_and(|(_, parent)| parent == &**suffix),
            (a, b) => a == b,
        }
    }
}

impl std::fmt::Display for HostPattern {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            HostPattern::Exact(name) => f.write_str(name),
            HostPattern::Wildcard(suffix) => write!(f, "*.{suffix}"),
            HostPattern::Any => f.write_str("*"),
        }
    }
}

/// One route's claim on requests.
#[derive(Debug, Clone)]
pub struct Claim {
    /// For these hosts
    pub host: HostPattern,
    /// and this path, in canonical form with `{name}` parameters,
    pub path: Box<str>,
    /// and these methods,
    pub methods: Vec<Method>,
    /// this route.
    pub route: RouteId,
}

/// Two routes claim the same requests.
#[derive(Debug, PartialEq, Eq)]
pub enum Conflict {
    /// The later of two routes for the same host, path and method.
    Duplicate {
        /// The later route.
        route: RouteId,
        /// The earlier route.
        earlier: RouteId,
        /// A method that both claim.
        method: Method,
    },
    /// One route has a parameter where the other takes the rest of the path: the tree holds only one of them there.
    Beside {
        /// The later route of the table.
        route: RouteId,
        /// The one that is there already.
        other: RouteId,
    },
    /// The path is not a template.
    Path {
        /// The route.
        route: RouteId,
        /// What is wrong with it.
        why: String,
    },
}

/// What was found.
#[derive(Debug)]
pub enum Found<'a> {
    /// This route.
    Route(RouteId),
    /// The path, with other methods; the value of `Allow`.
    OtherMethods(&'a Arc<str>),
    /// Nothing.
    Nothing,
}

/// The compiled table.
#[derive(Debug, Default)]
pub struct Router {
    exact: HashMap<Box<str>, Tree>,
    wildcard: HashMap<Box<str>, Tree>,
    any: Tree,
    entries: Vec<Entry>,
}

/// One line of the table: what the look-up answers for this host, path and method, unless a more specific host or path
/// of the table is asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The tree that holds it.
    pub host: HostPattern,
    /// Path template of the route.
    pub path: Box<str>,
    /// Method.
    pub method: Method,
    /// The answer.
    pub route: RouteId,
}

type Tree = matchit::Router<Methods>;

#[derive(Debug)]
struct Methods {
    routes: Box<[(Method, RouteId)]>,
    allow: Arc<str>,
}

impl Router {
    /// Builds the table.
    ///
    /// # Errors
    /// All conflicts.
    pub fn new(claims: &[Claim]) -> Result<Router, Vec<Conflict>> {
        let mut conflicts = Vec::new();
        let mut router = Router::default();
        let hosts: BTreeSet<&HostPattern> = claims.iter().map(|claim| &claim.host).collect();
        for host in hosts {
            let tree = tree(host, claims, &mut router.entries, &mut conflicts);
            match host {
                HostPattern::Exact(name) => _ = router.exact.insert(name.clone(), tree),
                HostPattern::Wildcard(suffix) => _ = router.wildcard.insert(suffix.clone(), tree),
                HostPattern::Any => router.any = tree,
            }
        }
        if conflicts.is_empty() {
            return Ok(router);
        }
        // one conflict shows in the tree of every host that it touches
        let mut distinct: Vec<Conflict> = Vec::new();
        for conflict in conflicts {
            if !distinct.contains(&conflict) {
                distinct.push(conflict);
            }
        }
        Err(distinct)
    }

    /// Looks a request up. `host` in lower case without port, `path` canonical.
    #[must_use]
    pub fn find(&self, host: &str, path: &str, method: &Method) -> Found<'_> {
        match self.tree_for(host).at(path) {
            Err(_) => Found::Nothing,
            Ok(found) => match found.value.routes.iter().find(|(known, _)| known == method) {
                Some((_, route)) => Found::Route(*route),
                None => Found::OtherMethods(&found.value.allow),
            },
        }
    }

    /// The whole table, as [`find`](Self::find) uses it.
    #[must_use]
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    fn tree_for(&self, host: &str) -> &Tree {
        self.exact
            .get(host)
            .or_else(|| {
                host.split_once('.')
                    .and_then(|(_, parent)| self.wildcard.get(parent))
            })
            .unwrap_or(&self.any)
    }
}

/// The tree of one host: its own claims and those of the patterns that cover it, the most specific first.
fn tree(
    host: &HostPattern,
    claims: &[Claim],
    entries: &mut Vec<Entry>,
    conflicts: &mut Vec<Conflict>,
) -> Tree {
    let mut covering: Vec<&Claim> = claims.iter().filter(|claim| claim.host.covers(host)).collect();
    covering.sort_by(|a, b| a.host.cmp(&b.host));
    let mut paths: BTreeMap<String, Vec<(Method, &Claim)>> = BTreeMap::new();
    for claim in covering {
        let known = paths.entry(normalised(&claim.path)).or_default();
        for method in &claim.methods {
            match known.iter().find(|(m, _)| m == method) {
                None => known.push((method.clone(), claim)),
                // a more specific host has it already
                Some((_, other)) if other.host != claim.host => {}
                Some((_, other)) => conflicts.push(Conflict::Duplicate {
                    route: claim.route,
                    earlier: other.route,
                    method: method.clone(),
                }),
            }
        }
    }
    let named: BTreeMap<String, RouteId> = paths
        .iter()
        .filter_map(|(path, methods)| Some((path.clone(), methods.first()?.1.route)))
        .collect();
    let mut tree = Tree::new();
    for (path, methods) in paths {
        let Some((_, first)) = methods.first() else {
            continue;
        };
        let route = first.route;
        entries.extend(methods.iter().map(|(method, claim)| Entry {
            host: host.clone(),
            path: claim.path.clone(),
            method: method.clone(),
            route: claim.route,
        }));
        let mut names: Vec<&str> = methods.iter().map(|(method, _)| method.as_str()).collect();
        names.sort_unstable();
        let entry = Methods {
            allow: names.join(", ").into(),
            routes: methods
                .iter()
                .map(|(method, claim)| (method.clone(), claim.route))
                .collect(),
        };
        match tree.insert(path, entry) {
            Ok(()) => {}
            Err(InsertError::Conflict { with }) if let Some(other) = named.get(&with) => {
                conflicts.push(Conflict::Beside { route, other: *other });
            }
            Err(why) => conflicts.push(Conflict::Path {
                route,
                why: why.to_string(),
            }),
        }
    }
    tree
}

/// The template in the tree's own notation, with all parameters named alike: routes may name the same segment
/// differently.
fn normalised(template: &str) -> String {
    let segments: Vec<&str> = template
        .split('/')
        .map(
            |segment| match segment.strip_prefix('{').and_then(|s| s.strip_suffix('}')) {
                None => segment,
                Some(name) if name.ends_with('*') => "{*rest}",
                Some(_) => "{p}",
            },
        )
        .collect();
    // the tree wants distinct names within one path
    let mut count = 0;
    segments
        .into_iter()
        .map(|segment| {
            if segment == "{p}" {
                count += 1;
                format!("{{p{count}}}")
            } else {
                segment.to_owned()
            }
        })
        .collect::<Vec<_>>()
        .join("/")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn claim(route: usize, host: HostPattern, methods: &[&str], path: &str) -> Claim {
        let methods = methods.iter().map(|m| m.parse().unwrap()).collect();
        Claim {
            host,
            path: path.into(),
            methods,
            route: RouteId(route),
        }
    }

    fn found(router: &Router, method: &str, host: &str, path: &str) -> String {
        match router.find(host, path, &method.parse().unwrap()) {
            Found::Route(id) => id.0.to_string(),
            Found::OtherMethods(allow) => allow.to_string(),
            Found::Nothing => "-".to_owned(),
        }
    }

    // S35
    #[test]
    fn only_what_is_listed_is_found() {
        let api = || HostPattern::Exact("api.example".into());
        let router = Router::new(&[
            claim(0, api(), &["GET"], "/v1/vehicles/{vin}"),
            claim(1, api(), &["PUT"], "/v1/vehicles/{id}"),
            claim(2, api(), &["GET"], "/v1/vehicles/search"),
            claim(3, HostPattern::Any, &["GET"], "/healthz"),
            claim(
                4,
                HostPattern::Wildcard("example".into()),
                &["GET"],
                "/files/{rest*}",
            ),
            claim(5, HostPattern::Any, &["GET"], "/v1/vehicles/{vin}"),
        ])
        .unwrap();
        for (method, host, path, expected) in [
            ("GET", "api.example", "/v1/vehicles/1HG", "0"),
            ("PUT", "api.example", "/v1/vehicles/1HG", "1"),
            ("GET", "api.example", "/v1/vehicles/search", "2"),
            ("PUT", "api.example", "/v1/vehicles/search", "GET"),
            ("DELETE", "api.example", "/v1/vehicles/1HG", "GET, PUT"),
            ("GET", "api.example", "/v1/vehicles/1HG/x", "-"),
            ("GET", "api.example", "/v1/vehicles/", "-"),
            ("GET", "api.example", "/healthz", "3"),
            ("HEAD", "api.example", "/healthz", "GET"),
            ("GET", "other", "/healthz", "3"),
            ("GET", "other", "/v1/vehicles/1HG", "5"),
            ("GET", "x.example", "/files/a/b", "4"),
            ("GET", "x.y.example", "/files/a", "-"),
            ("GET", "api.example", "/files/a", "4"),
            ("GET", "other", "/", "-"),
        ] {
            assert_eq!(
                found(&router, method, host, path),
                expected,
                "{method} {host}{path}"
            );
        }
    }

    #[test]
    fn two_routes_cannot_claim_the_same_requests() {
        let conflict = Router::new(&[
            claim(0, HostPattern::Any, &["GET"], "/a/{x}"),
            claim(1, HostPattern::Any, &["POST", "GET"], "/a/{y}"),
        ])
        .unwrap_err();
        let beside = Router::new(&[
            claim(0, HostPattern::Any, &["GET"], "/files/{name}"),
            claim(1, HostPattern::Any, &["PUT"], "/files/{rest*}"),
        ])
        .unwrap_err();
        assert!(matches!(*beside, [Conflict::Beside { .. }]), "{beside:?}");
        let expected = Conflict::Duplicate {
            route: RouteId(1),
            earlier: RouteId(0),
            method: Method::GET,
        };
        assert_eq!(conflict, [expected]);
    }
}
