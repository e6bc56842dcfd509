//! `prove` is held to its word: a request gets in without a credential if and only if a listed pattern matches it.
//!
//! Three readings of a configuration are compared on random ones: the gateway's decision, the patterns that `prove` lists
//! (read by [`PublicPattern::matches`] and by a matcher of this file), and the documented rule, written down once more in
//! [`model`].

use std::cell::Cell;
use std::collections::BTreeSet;
use std::sync::LazyLock;

use durward::clock::UnixTime;
use durward::gates::authn::verdicts::Verdicts;
use durward::gateway::Gateway;
use durward::gateway::compile::compile;
use durward::gateway::prove::{PublicPattern, prove};
use durward::head::{Head, RawHead};
use durward::request::{Peer, Request};
use durward::secrets::Sources;
use durward::trace::Trace;
use durward::world::recorded::Recorded;
use http::{HeaderMap, Uri, Version};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use serde_json::Value;

use crate::golden;
use crate::support::gateway::binary;
use crate::support::{Gateway as Process, Keys};

/// A route as it is written down.
#[derive(Debug, Clone)]
struct Written {
    host: Option<&'static str>,
    path: String,
    methods: Vec<&'static str>,
    public: bool,
}

/// A request: as it is sent, and the path that it means.
#[derive(Debug, Clone)]
struct Sent {
    method: &'static str,
    host: &'static str,
    spelled: String,
    path: String,
}

const METHODS: [&str; 3] = ["GET", "POST", "PUT"];

/// Templates of an alphabet so small that they overlap.
fn template() -> impl Strategy<Value = String> {
    let segment = prop_oneof![3 => Just("a"), 2 => Just("b"), 3 => Just("{p}"), 1 => Just("{q}")];
    let tail = prop_oneof![4 => Just(""), 2 => Just("{rest*}"), 1 => Just("/")];
    (prop::collection::vec(segment, 0..4), tail).prop_map(|(segments, tail)| {
        let mut path = String::new();
        for (index, segment) in segments.iter().enumerate() {
            // the names in one template must differ
            path.push_str(&format!("/{}", segment.replace('}', &format!("{index}}}"))));
        }
        match tail {
            "/" => path.push('/'),
            "" if path.is_empty() => path.push('/'),
            "" => {}
            rest => path.push_str(&format!("/{rest}")),
        }
        path
    })
}

fn host_pattern() -> impl Strategy<Value = Option<&'static str>> {
    prop_oneof![
        3 => Just(None),
        2 => Just(Some("a.example")),
        1 => Just(Some("b.example")),
        2 => Just(Some("*.example")),
        1 => Just(Some("*.a.example")),
    ]
}

fn routes() -> impl Strategy<Value = Vec<Written>> {
    let methods = prop::sample::subsequence(METHODS.to_vec(), 1..=3);
    let route =
        (host_pattern(), template(), methods, any::<bool>()).prop_map(|(host, path, methods, public)| {
            Written {
                host,
                path,
                methods,
                public,
            }
        });
    prop::collection::vec(route, 1..14).prop_map(|mut routes| {
        // two routes for the same requests are refused, and tested elsewhere; so is a parameter beside a rest
        let mut taken = BTreeSet::new();
        let mut shapes: Vec<String> = Vec::new();
        routes.retain(|route| {
            let shape = shape(&route.path);
            let fits = shapes.iter().all(|other| can_stand_beside(&shape, other));
            shapes.extend(fits.then_some(shape));
            fits
        });
        for route in &mut routes {
            let shape = shape(&route.path);
            route
                .methods
                .retain(|method| taken.insert((route.host, shape.clone(), *method)));
        }
        routes.retain(|route| !route.methods.is_empty());
        routes
    })
}

fn sent() -> impl Strategy<Value = Sent> {
    let method = prop::sample::select(vec!["GET", "GET", "POST", "PUT", "HEAD"]);
    let host = prop::sample::select(vec![
        "a.example",
        "A.Example",
        "b.example",
        "c.example",
        "x.a.example",
        "y.x.a.example",
        "example",
        "other",
    ]);
    // as spelled, and what it means
    let segment = prop::sample::select(vec![
        ("a", "a"),
        ("a", "a"),
        ("b", "b"),
        ("c", "c"),
        ("%61", "a"),
        ("%62", "b"),
    ]);
    (
        method,
        host,
        prop::collection::vec(segment, 0..5),
        prop::bool::weighted(0.15),
    )
        .prop_map(|(method, host, segments, slash)| {
            let join = |part: fn(&(&'static str, &'static str)) -> &'static str| {
                let mut path: String = segments
                    .iter()
                    .map(|segment| format!("/{}", part(segment)))
                    .collect();
                if slash || path.is_empty() {
                    path.push('/');
                }
                path
            };
            Sent {
                method,
                host,
                spelled: join(|s| s.0),
                path: join(|s| s.1),
            }
        })
}

static KEYS: LazyLock<Keys> = LazyLock::new(|| Keys::new("k1"));

/// The issuer and the routes, in YAML.
fn yaml(routes: &[Written]) -> String {
    let mut text = KEYS.inline() + "routes:\n";
    for (
        index,
        Written {
            host,
            path,
            methods,
            public,
        },
    ) in routes.iter().enumerate()
    {
        let host = host.map(|host| format!("host: \"{host}\", ")).unwrap_or_default();
        let access = if *public {
            "public: { reason: test, owner: tests }"
        } else {
            "auth: { jwt: main, scopes: [s] }"
        };
        text.push_str(&format!(
            "  - {{ id: r{index}, match: {{ {host}methods: [{}], path: \"{path}\" }}, {access}, respond: 200 }}\n",
            methods.join(", ")
        ));
    }
    text
}

/// A template with its parameters unnamed.
fn shape(path: &str) -> String {
    let shapes = path.split('/').map(|segment| match segment.strip_prefix('{') {
        None => segment,
        Some(name) if name.ends_with("*}") => "{*}",
        Some(_) => "{}",
    });
    shapes.collect::<Vec<_>>().join("/")
}

/// Whether two shapes first differ in something else than a parameter here and the rest there.
fn can_stand_beside(a: &str, b: &str) -> bool {
    let differing = a.split('/').zip(b.split('/')).find(|(a, b)| a != b);
    !matches!(differing, Some(("{}", "{*}") | ("{*}", "{}")))
}

/// How a template takes a path: for each segment 0 for a literal, 1 for a parameter, 2 for the rest. `None`: not at all.
fn fit(template: &str, path: &str) -> Option<Vec<u8>> {
    let (template, path): (Vec<&str>, Vec<&str>) = (template.split('/').collect(), path.split('/').collect());
    let mut fit = Vec::new();
    for (index, segment) in template.iter().enumerate() {
        if segment.ends_with("*}") {
            let rest = path.get(index..).unwrap_or_default().join("/");
            fit.push(2);
            return (!rest.is_empty()).then_some(fit);
        }
        let found = path.get(index)?;
        match segment.starts_with('{') {
            true if found.is_empty() => return None,
            true => fit.push(1),
            false if segment != found => return None,
            false => fit.push(0),
        }
    }
    (template.len() == path.len()).then_some(fit)
}

fn covers(pattern: &str, host: &str) -> bool {
    match pattern.strip_prefix("*.") {
        Some(suffix) => host
            .strip_suffix(suffix)
            .and_then(|label| label.strip_suffix('.'))
            .is_some_and(|label| !label.is_empty() && !label.contains('.')),
        None => pattern == "*" || pattern == host,
    }
}

/// 0 for a name, 1 for a wildcard, 2 for any host.
fn breadth(host: Option<&str>) -> u8 {
    host.map_or(2, |host| u8::from(host.starts_with("*.")))
}

/// Whether a request needs no credential, by the rule that is documented at the router: the most specific path among the
/// routes of all patterns that cover the host; of those, the most specific host that has the method.
fn model(routes: &[Written], method: &str, host: &str, path: &str) -> bool {
    let covering = || {
        routes
            .iter()
            .filter(|route| covers(route.host.unwrap_or("*"), host))
    };
    let Some(best) = covering().filter_map(|route| fit(&route.path, path)).min() else {
        return false;
    };
    covering()
        .filter(|route| fit(&route.path, path).as_ref() == Some(&best) && route.methods.contains(&method))
        .min_by_key(|route| breadth(route.host))
        .is_some_and(|route| route.public)
}

/// Whether a listed pattern, as printed, covers a request.
fn listed(pattern: &Value, method: &str, host: &str, path: &str) -> bool {
    let text = |key: &str| pattern[key].as_str().unwrap();
    let any = |key: &str, covers: &dyn Fn(&str) -> bool| {
        pattern[key]
            .as_array()
            .unwrap()
            .iter()
            .any(|except| covers(except.as_str().unwrap()))
    };
    text("method") == method
        && covers(text("host"), host)
        && !any("except_hosts", &|except| covers(except, host))
        && fit(text("path"), path).is_some()
        && !any("except_paths", &|except| fit(except, path).is_some())
}

struct Asked {
    head: Head,
    headers: HeaderMap,
    peer: Peer,
}

impl Request for Asked {
    fn head(&self) -> &Head {
        &self.head
    }
    fn headers(&self) -> &HeaderMap {
        &self.headers
    }
    fn peer(&self) -> &Peer {
        &self.peer
    }
}

/// Whether the gateway admits a request without a credential.
fn admits(gateway: &Gateway, sent: &Sent) -> bool {
    static RUNTIME: LazyLock<tokio::runtime::Runtime> =
        LazyLock::new(|| tokio::runtime::Builder::new_current_thread().build().unwrap());
    static WORLD: LazyLock<Recorded> = LazyLock::new(|| Recorded {
        said: Vec::new(),
        now: UnixTime::from_seconds(1_700_000_000),
        keys: Vec::new(),
        windows: Vec::new(),
        attempts: Default::default(),
        revocations: Default::default(),
        proofs: Default::default(),
        sightings: Default::default(),
        verdicts: Verdicts::default(),
        asked: Default::default(),
    });
    let mut headers = HeaderMap::new();
    headers.insert("host", sent.host.parse().unwrap());
    let head = Head::parse(RawHead {
        method: &sent.method.parse().unwrap(),
        uri: &sent.spelled.parse::<Uri>().unwrap(),
        version: Version::HTTP_11,
        headers: &headers,
        ended: false,
    })
    .unwrap();
    let asked = Asked {
        head,
        headers,
        peer: Peer::default(),
    };
    match RUNTIME.block_on(gateway.admit(&asked, &*WORLD, &mut Trace::default())) {
        Ok(_) => true,
        Err(denial) => {
            let expected = ["route_unknown", "method_not_allowed", "credentials_missing"];
            assert!(
                expected.contains(&denial.reason()),
                "{sent:?}: {}",
                denial.reason()
            );
            false
        }
    }
}

proptest! {
    #![proptest_config(Config { cases: 512, failure_persistence: None, ..Config::default() })]

    // S35, S36, S92, M2
    #[test]
    fn the_decision_needs_no_credential_if_and_only_if_prove_lists_a_matching_pattern(
        routes in routes(),
        requests in prop::collection::vec(sent(), 60),
    ) {
        let text = format!(
            "version: 1\nlisteners: [{{ address: \"127.0.0.1:1\", plaintext: {{ reason: test }} }}]\n{}",
            yaml(&routes)
        );
        let compiled = compile("durward.yaml", &text, &Sources::default());
        let faults: Vec<String> = compiled.faults.iter().map(ToString::to_string).collect();
        let gateway = compiled.gateway.unwrap_or_else(|| panic!("{}\n{text}", faults.join("\n")));
        let proof = prove(&gateway);
        let printed = serde_json::to_value(&proof.public).unwrap();
        for sent in &requests {
            let host = sent.host.to_ascii_lowercase();
            let admitted = admits(&gateway, sent);
            let claims = |pattern: &PublicPattern| pattern.matches(sent.method, &host, &sent.path);
            prop_assert_eq!(admitted, proof.public.iter().any(claims), "prove's own reading, {:?}\n{}", sent, text);
            let read = printed.as_array().unwrap().iter().any(|p| listed(p, sent.method, &host, &sent.path));
            prop_assert_eq!(admitted, read, "what prove prints, {:?}\n{}", sent, text);
            prop_assert_eq!(admitted, model(&routes, sent.method, &host, &sent.path), "the rule, {:?}\n{}", sent, text);
        }
    }
}

// S35, S36, M2
#[test]
fn the_running_gateway_needs_no_credential_if_and_only_if_prove_lists_a_matching_pattern() {
    let config = Config {
        cases: 10,
        failure_persistence: None,
        max_shrink_iters: 0,
        ..Config::default()
    };
    let (admitted, refused) = (Cell::new(0), Cell::new(0));
    let round = || {
        TestRunner::new(config.clone()).run(
            &(routes(), prop::collection::vec(sent(), 60)),
            |(routes, requests)| {
                // all that are asked: a host without a certificate is none (421)
                let names = [
                    "api.example",
                    "a.example",
                    "*.example",
                    "*.a.example",
                    "y.x.a.example",
                    "example",
                    "other",
                ];
                let gateway = Process::with(&yaml(&routes)).names(&names).start();
                let file = gateway.folder.0.join("durward.yaml");
                let output = binary()
                    .args(["prove", "--json", "-c"])
                    .arg(&file)
                    .output()
                    .unwrap();
                let proof: Value = serde_json::from_slice(&output.stdout).unwrap();
                let mut connection = gateway.client().connect();
                for sent in &requests {
                    let Sent {
                        method,
                        host,
                        spelled,
                        path,
                    } = sent;
                    connection.write(format!("{method} {spelled} HTTP/1.1\r\nHost: {host}\r\n\r\n"));
                    let answer = connection.answer_to(method);
                    let public = proof["public"].as_array().unwrap();
                    let expected = public
                        .iter()
                        .any(|p| listed(p, method, &host.to_ascii_lowercase(), path));
                    prop_assert_eq!(
                        answer.status == 200,
                        expected,
                        "{:?} got {}\n{:#}",
                        sent,
                        answer.status,
                        proof
                    );
                    prop_assert!(
                        matches!(answer.status, 200 | 401 | 404 | 405),
                        "{:?} got {}",
                        sent,
                        answer.status
                    );
                    let count = if expected { &admitted } else { &refused };
                    count.set(count.get() + 1);
                }
                Ok(())
            },
        )
    };
    // ten configurations can by chance have next to nothing public: then ten more are drawn
    for _ in 0..5 {
        round().unwrap_or_else(|why| panic!("{why}"));
        if admitted.get() > 20 && refused.get() > 20 {
            break;
        }
    }
    let (admitted, refused) = (admitted.get(), refused.get());
    assert!(
        admitted > 20 && refused > 20,
        "{admitted} admitted and {refused} refused say little"
    );
}

// S92, M2
#[test]
fn prove_points_at_plain_http_at_routes_without_authorization_and_at_upstreams_without_a_route() {
    let file = golden::path("explain.yaml");
    let output = binary()
        .args(["prove", "--json", "-c"])
        .arg(&file)
        .output()
        .unwrap();
    let proof: Value = serde_json::from_slice(&output.stdout).unwrap();
    let findings: Vec<&str> = proof["findings"]
        .as_array()
        .unwrap()
        .iter()
        .map(|f| f.as_str().unwrap())
        .collect();
    assert_eq!(
        findings,
        [
            "127.0.0.1:8081 proxies plain HTTP: TLS ends at the load balancer",
            "route `POST /v1/vehicles/{vin}/history` (line 17) authenticates but does not authorize: any valid credential will do",
            "upstream `parts` is used by no route",
        ]
    );
    for route in proof["routes"].as_array().unwrap() {
        assert_eq!(
            route["transport"],
            Value::Null,
            "a listener without TLS leaves the layer out for all"
        );
    }
    let printed = binary().args(["prove", "-c"]).arg(&file).output().unwrap().stdout;
    let printed = String::from_utf8(printed).unwrap();
    for finding in findings {
        assert!(printed.contains(&format!("\n  {finding}\n")), "{printed}");
    }
}
