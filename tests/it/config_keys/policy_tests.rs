//! `tests:`

use serde_json::json;

use super::Row;
use super::observe::{KEYS, test};
use crate::support::issuer::{AUDIENCE, ISSUER};
use crate::support::{Folder, Keys};

pub fn rows() -> Vec<Row> {
    vec![
        Row {
            key: "tests[].name",
            settings: [("one", "FAILED one"), ("two", "FAILED two")],
            observe: |name| {
                let said = test(&with(&format!(
                    "name: {name}, expect: never, request: {{ {GET} }}"
                )));
                let first = said.lines().next().unwrap();
                let (_, name) = first.rsplit_once(": ").unwrap();
                format!("FAILED {name}")
            },
        },
        Row {
            key: "tests[].expect",
            settings: [("allow", "holds"), ("flooded", "got allow")],
            observe: |expect| outcome(&format!("expect: {expect}, request: {{ {GET} }}")),
        },
        Row {
            key: "tests[].route",
            settings: [("home", "holds"), ("other", "got allow")],
            observe: |route| outcome(&format!("expect: allow, route: {route}, request: {{ {GET} }}")),
        },
        Row {
            key: "tests[].times",
            settings: [("1", "got allow"), ("2", "holds")],
            observe: |times| {
                outcome(&format!(
                    "expect: rate_limited, times: {times}, request: {{ method: GET, url: \"https://api.example/other\" }}"
                ))
            },
        },
        Row {
            key: "tests[].request.method",
            settings: [("GET", "holds"), ("PUT", "got method_not_allowed")],
            observe: |method| {
                outcome(&format!(
                    "expect: allow, request: {{ method: {method}, url: \"https://api.example/\" }}"
                ))
            },
        },
        Row {
            key: "tests[].request.url",
            settings: [
                ("\"https://a/\"", "holds"),
                ("\"https://a/x\"", "got route_unknown"),
            ],
            observe: |url| outcome(&format!("expect: allow, request: {{ method: GET, url: {url} }}")),
        },
        Row {
            key: "tests[].request.headers.*",
            settings: [("api.example", "holds"), ("\"a b\"", "got host_malformed")],
            observe: |host| {
                outcome(&format!(
                    "expect: allow, request: {{ {GET}, headers: {{ Host: {host} }} }}"
                ))
            },
        },
        Row {
            key: "tests[].request.from",
            settings: [
                ("\"10.0.0.1:1\"", "got network_not_allowed"),
                ("\"192.0.2.1:1\"", "holds"),
            ],
            observe: |from| outcome(&format!("expect: allow, request: {{ {GET}, from: {from} }}")),
        },
        Row {
            key: "tests[].request.at",
            settings: [
                ("\"2026-01-01T12:00:00Z\"", "holds"),
                ("\"1999-12-31T12:00:00Z\"", "got token_not_yet_valid"),
            ],
            observe: |at| {
                let token =
                    KEYS.token(json!({ "iat": null, "nbf": 1_700_000_000, "exp": 4_000_000_000_u64 }));
                outcome(&format!(
                    "expect: allow, request: {{ {MINE}, at: {at}, headers: {{ Authorization: Bearer {token} }} }}"
                ))
            },
        },
        Row {
            key: "tests[].request.keys.*",
            settings: [("good.json", "holds"), ("bad.json", "got signature_invalid")],
            observe: |name| {
                // the same `kid`, and another key
                let folder = Folder::new();
                let keys = if name == "good.json" {
                    KEYS.jwks()
                } else {
                    Keys::new("k1").jwks()
                };
                let file = folder.write(name, keys);
                let token = KEYS.token(json!({ "exp": 4_000_000_000_u64, "iat": 1_700_000_000 }));
                outcome(&format!(
                    "expect: allow, request: {{ {MINE}, keys: {{ main: \"{file}\" }}, headers: {{ Authorization: Bearer {token} }} }}"
                ))
            },
        },
        Row {
            key: "tests[].request.revoked",
            settings: [("[sub main somebody]", "got token_revoked"), ("[]", "holds")],
            observe: |revoked| {
                outcome(&format!(
                    "expect: allow, request: {{ {MINE}, revoked: {revoked}, token: {{ issuer: main }} }}"
                ))
            },
        },
        Row {
            key: "tests[].request.token.issuer",
            settings: [("main", "holds"), ("second", "got issuer_not_for_route")],
            observe: |issuer| {
                outcome(&format!(
                    "expect: allow, request: {{ {MINE}, token: {{ issuer: {issuer} }} }}"
                ))
            },
        },
        Row {
            key: "tests[].request.token.claims",
            settings: [("{ aud: \"*\" }", "got audience_mismatch"), ("{}", "holds")],
            observe: |claims| {
                outcome(&format!(
                    "expect: allow, request: {{ {MINE}, token: {{ issuer: main, claims: {claims} }} }}"
                ))
            },
        },
        Row {
            key: "tests[].request.introspection",
            settings: [
                ("{ main: { active: true, sub: ada, aud: vehicle-api } }", "holds"),
                ("{ main: { active: false } }", "got token_inactive"),
            ],
            observe: |said| {
                outcome(&format!(
                    "expect: allow, request: {{ method: GET, url: \"https://a/asked\", headers: {{ Authorization: Bearer opaque }}, introspection: {said} }}"
                ))
            },
        },
        Row {
            key: "tests[].request.api_key.keys",
            settings: [("ring", "holds"), ("spare", "got credentials_missing")],
            observe: |ring| key(&format!("keys: {ring}, scopes: [s], roles: [c]")),
        },
        Row {
            key: "tests[].request.api_key.scopes",
            settings: [("[s]", "holds"), ("[]", "got scope_missing")],
            observe: |scopes| key(&format!("keys: ring, scopes: {scopes}, roles: [c]")),
        },
        Row {
            key: "tests[].request.api_key.roles",
            settings: [("[c]", "holds"), ("[]", "got role_missing")],
            observe: |roles| key(&format!("keys: ring, scopes: [s], roles: {roles}")),
        },
        Row {
            key: "tests[].request.api_key.client",
            settings: [
                ("ada", "subject ada, by a key of ring"),
                ("bob", "subject bob, by a key of ring"),
            ],
            observe: |client| {
                let said = test(&with(&format!(
                    "name: n, expect: never, request: {{ {KEYED}, api_key: {{ keys: ring, scopes: [s], roles: [c], client: {client} }} }}"
                )));
                let line = said
                    .lines()
                    .find(|line| line.trim_start().starts_with("authn"))
                    .unwrap();
                let (_, subject) = line.split_once("pass  ").unwrap();
                subject.split("  [").next().unwrap().to_owned()
            },
        },
    ]
}

const KEYED: &str = "method: GET, url: \"https://api.example/keyed\"";

/// What becomes of a request with such a key.
fn key(granted: &str) -> String {
    outcome(&format!(
        "expect: allow, request: {{ {KEYED}, api_key: {{ {granted} }} }}"
    ))
}

const GET: &str = "method: GET, url: \"https://api.example/\"";
const MINE: &str = "method: GET, url: \"https://api.example/mine\"";

/// A configuration with this test.
fn with(test: &str) -> String {
    let issuer = |name: &str| {
        let says = if name == "main" {
            ISSUER
        } else {
            "https://second.example/"
        };
        format!(
            "{name}: {{ issuer: \"{says}\", audiences: [{AUDIENCE}], jwks: {{ inline: '{}' }}, \
             introspection: {{ url: \"http://127.0.0.1:1/\", client_id: us, client_secret: \"${{env:CLIENT_SECRET}}\" }} }}",
            KEYS.jwks()
        )
    };
    super::observe::offline(&format!(
        "issuers: {{ {}, {} }}\n\
         keys: {{ ring: {{ file: {keys} }}, spare: {{ file: {keys}, header: x-spare-key }} }}\n\
         revocation: {{ file: {list} }}\n\
         roles: {{ clerk: [c] }}\n\
         limits: {{ l: {{ rate: 1/h, key: global }} }}\n\
         conditions: {{ c: {{ networks: {{ deny: [10.0.0.0/8] }} }} }}\n\
         routes:\n\
         - {{ id: home, match: {{ methods: [GET], path: / }}, public: {{ reason: x, owner: x }}, respond: 200, conditions: [c] }}\n\
         - {{ id: other, match: {{ methods: [GET], path: /other }}, public: {{ reason: x, owner: x }}, respond: 200, limits: [l] }}\n\
         - {{ match: {{ methods: [GET], path: /asked }}, auth: {{ introspection: main }}, respond: 200 }}\n\
         - {{ match: {{ methods: [GET], path: /keyed }}, auth: {{ api_key: ring, scopes: [s], roles: [clerk] }}, respond: 200 }}\n\
         - {{ id: mine, match: {{ methods: [GET], path: /mine }}, auth: {{ jwt: main }}, respond: 200 }}\n\
         tests: [{{ {test} }}]",
        issuer("main"),
        issuer("second"),
        list = concat!(env!("CARGO_MANIFEST_DIR"), "/conf/revoked.txt"),
        keys = concat!(env!("CARGO_MANIFEST_DIR"), "/conf/partner-keys.json"),
    ))
}

/// What becomes of a test: `holds`, or what it got.
fn outcome(written: &str) -> String {
    let said = test(&with(&format!("name: n, {written}")));
    if said.starts_with("1 tests, 0 failed") {
        return "holds".to_owned();
    }
    let got = said.split("got ").nth(1).unwrap_or_else(|| panic!("{said}"));
    format!("got {}", got.split_whitespace().next().unwrap())
}
