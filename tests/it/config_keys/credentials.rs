//! `keys:`, `issuers.*.introspection`, `issuers.*.discovery`, and how routes combine credentials.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::Row;
use super::observe::{KEYS, check_in, explain, offline};
use crate::support::gateway::binary;
use crate::support::issuer::{AUDIENCE, ISSUER};
use crate::support::{Authority, Folder, Gateway, Keys, Origin, Reply, eventually};

const ACTIVE: &str = r#"{"active":true,"sub":"ada","aud":"vehicle-api","scope":"read"}"#;

pub fn rows() -> Vec<Row> {
    let mut rows = vec![
        Row {
            key: "issuers.*.discovery",
            settings: [("/its-own", "200"), ("/of-another", "503")],
            observe: |path| {
                let set = KEYS.jwks();
                let server = Origin::answering(move |seen| {
                    let own = format!("http://{}", seen.header("host").unwrap());
                    let issuer = if seen.target == "/its-own" {
                        ISSUER
                    } else {
                        "https://evil.example/"
                    };
                    match &*seen.target {
                        "/keys" => answer(&set),
                        _ => answer(
                            &json!({ "issuer": issuer, "jwks_uri": format!("{own}/keys") }).to_string(),
                        ),
                    }
                });
                let gateway = Gateway::start(&format!(
                    "issuers: {{ main: {{ issuer: \"{ISSUER}\", audiences: [{AUDIENCE}], discovery: \"http://{}{path}\" }} }}\n{}",
                    server.address,
                    route("jwt: main")
                ));
                status(&gateway, &[("Authorization", &bearer())])
            },
        },
        Row {
            key: "issuers.*.introspection.url",
            settings: [("/active", "200"), ("/inactive", "401")],
            observe: |path| {
                let server = Origin::answering(|seen| match &*seen.target {
                    "/active" => answer(ACTIVE),
                    _ => answer("{\"active\":false}"),
                });
                let gateway = asking(&format!("http://{}{path}", server.address), "").start();
                status(&gateway, &[("Authorization", "Bearer opaque")])
            },
        },
        Row {
            key: "issuers.*.introspection.client_id",
            settings: [("us", "Basic dXM6cyUyNjE="), ("them", "Basic dGhlbTpzJTI2MQ==")],
            observe: |name| sent_credentials(&[("client_id: us", &format!("client_id: {name}"))], &[]),
        },
        Row {
            key: "issuers.*.introspection.client_secret",
            settings: [("ONE", "Basic dXM6cyUyNjE="), ("TWO", "Basic dXM6dHdv")],
            observe: |name| sent_credentials(&[("env:ONE", &format!("env:{name}"))], &[("TWO", "two")]),
        },
        Row {
            key: "issuers.*.introspection.ca",
            settings: [("its.pem", "200"), ("another.pem", "503")],
            observe: |ca| {
                let authority = Authority::new();
                let leaf = authority.leaf(&["localhost", "127.0.0.1"]);
                let server = Origin::tls(&leaf.certificate, &leaf.key, |_| answer(ACTIVE));
                let url = format!("https://localhost:{}/", server.address.port());
                let gateway = asking(&url, &format!(", ca: {ca}"))
                    .file("its.pem", authority.pem())
                    .file("another.pem", Authority::new().pem())
                    .start();
                status(&gateway, &[("Authorization", "Bearer opaque")])
            },
        },
        Row {
            key: "issuers.*.introspection.cache",
            settings: [("1s", "asked again"), ("45s", "remembered")],
            observe: |span| asked_again(ACTIVE, &format!(", negative_cache: 1s, cache: {span}"), "200"),
        },
        Row {
            key: "issuers.*.introspection.negative_cache",
            settings: [("1s", "asked again"), ("45s", "remembered")],
            observe: |span| {
                asked_again(
                    "{\"active\":false}",
                    &format!(", cache: 50s, negative_cache: {span}"),
                    "401",
                )
            },
        },
        Row {
            key: "issuers.*.introspection.timeout",
            settings: [("100ms", "503"), ("30s", "200")],
            observe: |timeout| {
                let server = Origin::answering(|_| answer(ACTIVE).after(Duration::from_millis(700)));
                let url = format!("http://{}/", server.address);
                let gateway = asking(&url, &format!(", timeout: {timeout}")).start();
                status(&gateway, &[("Authorization", "Bearer opaque")])
            },
        },
        Row {
            key: "issuers.*.introspection.audience_optional",
            settings: [("true", "allow"), ("false", "audience_missing")],
            observe: |optional| {
                let config = offline(&format!(
                    "{}{}",
                    issuer(&format!(
                        "introspection: {{ url: \"https://id.example/\", client_id: us, client_secret: \"${{env:PATH}}\", audience_optional: {optional} }}"
                    )),
                    route("introspection: main")
                ));
                explain(&config, &told(&json!({ "active": true, "sub": "ada" })))
            },
        },
        Row {
            key: "issuers.*.introspection.response",
            settings: [("json", "200"), ("jwt", "503")],
            observe: |form| {
                let server = Origin::answering(|_| answer(ACTIVE));
                let url = format!("http://{}/", server.address);
                let gateway = asking(&url, &format!(", response: {form}"))
                    .replacing(
                        "introspection: {",
                        &format!("jwks: {{ inline: '{}' }}, introspection: {{", KEYS.jwks()),
                    )
                    .start();
                status(&gateway, &[("Authorization", "Bearer opaque")])
            },
        },
        Row {
            key: "keys.*.file",
            settings: [("its.json", "good"), ("none.json", "error: not a file of keys")],
            observe: |file| {
                let folder = Folder::new();
                folder.write("its.json", NO_KEYS);
                folder.write("none.json", "[]");
                let config = offline(&format!(
                    "keys: {{ apps: {{ file: {file} }} }}\n{}",
                    route("api_key: apps")
                ));
                let said = check_in(&folder, &config, &[]);
                said.split(": invalid").next().unwrap().to_owned()
            },
        },
        Row {
            key: "keys.*.header",
            settings: [("X-Api-Key", "200"), ("X-App", "401")],
            observe: |header| {
                let start = Gateway::with(&format!(
                    "keys: {{ apps: {{ file: apps.json, header: {header} }} }}\n{}",
                    route("api_key: apps")
                ));
                let key = new_key(&start.path("apps.json"), "app", &[]);
                status(&start.start(), &[("x-api-key", &key)])
            },
        },
        Row {
            key: "keys.*.purpose",
            settings: [
                ("authentication", "good"),
                (
                    "identification",
                    "error: keys whose purpose is identification authenticate nobody",
                ),
            ],
            observe: |purpose| {
                let folder = Folder::new();
                folder.write("apps.json", NO_KEYS);
                let config = format!(
                    "keys: {{ apps: {{ file: apps.json, purpose: {purpose} }} }}\n{}",
                    route("api_key: apps")
                );
                check_in(&folder, &offline(&config), &[])
            },
        },
        Row {
            key: "routes[].auth.introspection",
            settings: [("main", "allow"), ("other", "identity_provider_unavailable")],
            observe: |name| combined(&format!("introspection: {name}"), &["opaque"]),
        },
        Row {
            key: "routes[].auth.api_key",
            settings: [("apps", "allow"), ("tools", "credentials_missing")],
            observe: |name| combined(&format!("api_key: {name}"), &["key"]),
        },
    ];
    // either way, what is listed decides: one that is sent suffices, or is not what is asked for
    rows.extend([
        Row {
            key: "routes[].auth.any_of[].jwt",
            settings: [("main", "allow"), ("other", "issuer_not_for_route")],
            observe: |name| {
                combined(
                    &format!("any_of: [{{ api_key: apps }}, {{ jwt: {name} }}]"),
                    &["jwt"],
                )
            },
        },
        Row {
            key: "routes[].auth.any_of[].introspection",
            settings: [("main", "allow"), ("other", "identity_provider_unavailable")],
            observe: |name| {
                combined(
                    &format!("any_of: [{{ api_key: apps }}, {{ introspection: {name} }}]"),
                    &["opaque"],
                )
            },
        },
        Row {
            key: "routes[].auth.any_of[].api_key",
            settings: [("apps", "allow"), ("tools", "credentials_missing")],
            observe: |name| {
                combined(
                    &format!("any_of: [{{ jwt: main }}, {{ api_key: {name} }}]"),
                    &["key"],
                )
            },
        },
        Row {
            key: "routes[].auth.all_of[].jwt",
            settings: [("main", "allow"), ("other", "issuer_not_for_route")],
            observe: |name| {
                combined(
                    &format!("all_of: [{{ api_key: apps }}, {{ jwt: {name} }}]"),
                    &["jwt", "key"],
                )
            },
        },
        Row {
            key: "routes[].auth.all_of[].introspection",
            settings: [("main", "allow"), ("other", "identity_provider_unavailable")],
            observe: |name| {
                combined(
                    &format!("all_of: [{{ api_key: apps }}, {{ introspection: {name} }}]"),
                    &["opaque", "key"],
                )
            },
        },
        Row {
            key: "routes[].auth.all_of[].api_key",
            settings: [("apps", "allow"), ("tools", "credentials_missing")],
            observe: |name| {
                combined(
                    &format!("all_of: [{{ jwt: main }}, {{ api_key: {name} }}]"),
                    &["jwt", "key"],
                )
            },
        },
    ]);
    rows
}

pub const NO_KEYS: &str = r#"{"version":1,"environment":"live","keys":[]}"#;

fn answer(json: &str) -> Reply {
    Reply::new(200, &[("Content-Type", "application/json")], json)
}

fn route(auth: &str) -> String {
    format!("routes: [{{ match: {{ methods: [GET], path: / }}, auth: {{ {auth} }}, respond: 200 }}]\n")
}

fn issuer(more: &str) -> String {
    format!("issuers: {{ main: {{ issuer: \"{ISSUER}\", audiences: [{AUDIENCE}], {more} }} }}\n")
}

/// A gateway that asks there about tokens. Its secret is `s&1`.
fn asking(url: &str, more: &str) -> crate::support::gateway::Start {
    let introspection =
        format!("introspection: {{ url: \"{url}\", client_id: us, client_secret: \"${{env:ONE}}\"{more} }}");
    Gateway::with(&(issuer(&introspection) + &route("introspection: main"))).env("ONE", "s&1")
}

fn status(gateway: &Gateway, headers: &[(&str, &str)]) -> String {
    gateway.client().get("/", headers).status.to_string()
}

fn bearer() -> String {
    format!("Bearer {}", KEYS.token(json!({})))
}

/// What the issuer gets as `Authorization`.
fn sent_credentials(changes: &[(&str, &str)], environment: &[(&str, &str)]) -> String {
    let server = Origin::answering(|_| answer(ACTIVE));
    let mut start = asking(&format!("http://{}/", server.address), "");
    for (part, with) in changes {
        start = start.replacing(part, with);
    }
    for (name, value) in environment {
        start = start.env(name, value);
    }
    assert_eq!(
        status(&start.start(), &[("Authorization", "Bearer opaque")]),
        "200"
    );
    server.only().header("authorization").unwrap().to_owned()
}

/// Whether the same token is asked about again after more than a second.
fn asked_again(said: &'static str, more: &str, expected: &str) -> String {
    let server = Origin::answering(move |_| answer(said));
    let gateway = asking(&format!("http://{}/", server.address), more).start();
    let ask = || assert_eq!(status(&gateway, &[("Authorization", "Bearer opaque")]), expected);
    ask();
    assert_eq!(server.seen().len(), 1);
    let first = Instant::now();
    eventually("a second passes", || {
        (first.elapsed() > Duration::from_millis(1100)).then_some(())
    });
    ask();
    if server.seen().len() == 1 {
        "remembered"
    } else {
        "asked again"
    }
    .to_owned()
}

/// A request at which the issuer says this of the token.
fn told(said: &Value) -> String {
    json!({
        "method": "GET", "url": "https://api.example/", "headers": { "Authorization": "Bearer opaque" },
        "introspection": { "main": said },
    })
    .to_string()
}

/// Makes a key with the command line.
pub fn new_key(file: &std::path::Path, client: &str, more: &[&str]) -> String {
    let output = binary()
        .args(["keys", "new", "--client", client, "--file"])
        .arg(file)
        .args(more)
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

/// The decision on a request with these credentials, where a route asks so. The issuer `other` cannot be asked, and its
/// keys are others; the keys of `tools` are sent in `x-tool`.
fn combined(auth: &str, sent: &[&str]) -> String {
    let folder = Folder::new();
    let key = new_key(&folder.0.join("apps.json"), "app", &[]);
    folder.write("tools.json", NO_KEYS);
    let asked =
        "introspection: { url: \"https://id.example/\", client_id: us, client_secret: \"${env:PATH}\" }";
    let config = offline(&format!(
        "issuers:\n  main: {{ issuer: \"{ISSUER}\", audiences: [{AUDIENCE}], jwks: {{ inline: '{}' }}, {asked} }}\n\
         \x20 other: {{ issuer: \"https://other.example/\", audiences: [{AUDIENCE}], jwks: {{ inline: '{}' }}, {asked} }}\n\
         keys: {{ apps: {{ file: apps.json }}, tools: {{ file: tools.json, header: x-tool }} }}\n{}",
        KEYS.jwks(),
        Keys::new("other").jwks(),
        route(auth)
    ));
    let mut headers = serde_json::Map::new();
    for credential in sent {
        match *credential {
            "jwt" => headers.insert("Authorization".into(), bearer().into()),
            "opaque" => headers.insert("Authorization".into(), "Bearer opaque".into()),
            _ => headers.insert("X-Api-Key".into(), key.clone().into()),
        };
    }
    let said = serde_json::from_str::<Value>(ACTIVE).unwrap();
    let request = json!({
        "method": "GET", "url": "https://api.example/", "headers": headers, "introspection": { "main": said },
    });
    decide_in(&folder, &config, &request)
}

/// `allow`, or the reason why not.
pub fn decide_in(folder: &Folder, config: &str, request: &Value) -> String {
    let file = folder.write("durward.yaml", config);
    let request = folder.write("request.yaml", request.to_string());
    let output = binary()
        .args(["explain", "--json", "-c", &file, "-r", &request])
        .output()
        .unwrap();
    let decision: Value = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|why| panic!("{why}: {}\n{config}", String::from_utf8_lossy(&output.stderr)));
    decision["reason"].as_str().unwrap_or("allow").to_owned()
}
