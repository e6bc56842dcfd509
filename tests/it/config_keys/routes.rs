//! `routes:`

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::Row;
use super::observe::{KEYS, explain, explained, offline, prove, running};
use crate::support::certs::ec_key;
use crate::support::client::Connection;
use crate::support::issuer::AUDIENCE;
use crate::support::ws::WebSockets;
use crate::support::{Answer, Gateway, Origin};

pub fn rows() -> Vec<Row> {
    vec![
        Row {
            key: "routes[].id",
            settings: [("probe", "probe"), ("health", "health")],
            observe: |id| {
                let config = public("", &format!("id: {id}, "));
                explained(&config, &get("https://api.example/"))["route"]
                    .as_str()
                    .unwrap()
                    .to_owned()
            },
        },
        Row {
            key: "routes[].match.host",
            settings: [("api.example", "allow"), ("\"*.api.example\"", "route_unknown")],
            observe: |host| {
                explain(
                    &public(&format!("host: {host}, "), ""),
                    &get("https://api.example/"),
                )
            },
        },
        Row {
            key: "routes[].match.methods",
            settings: [("[GET, POST]", "allow"), ("[POST]", "method_not_allowed")],
            observe: |methods| {
                explain(
                    &public("", "").replace("[GET]", methods),
                    &get("https://api.example/"),
                )
            },
        },
        Row {
            key: "routes[].match.path",
            settings: [("\"/v1/{vin}\"", "allow"), ("/v1/vin", "route_unknown")],
            observe: |path| {
                explain(
                    &public("", "").replace("path: /", &format!("path: {path}")),
                    &get("https://api.example/v1/1HG"),
                )
            },
        },
        Row {
            key: "routes[].match.normalise",
            settings: [
                (
                    "[dot_segments]",
                    "allow path_empty_segment path_parameter path_encoded_syntax",
                ),
                (
                    "[empty_segments, parameters, encoded_slashes]",
                    "path_dot_segment allow allow allow",
                ),
            ],
            observe: |repairs| {
                let config = public(&format!("normalise: {repairs}, "), "").replace("path: /", "path: /a/b");
                ["/a/./b", "/a//b", "/a;x/b", "/a%2fb"]
                    .map(|path| explain(&config, &get(&format!("https://api.example{path}"))))
                    .join(" ")
            },
        },
        Row {
            key: "routes[].auth.jwt",
            settings: [("[main, other]", "allow"), ("other", "issuer_not_for_route")],
            observe: |issuers| explain(&protected(&format!("jwt: {issuers}")), &claiming(&json!({}))),
        },
        Row {
            key: "routes[].auth.scopes",
            settings: [("[read]", "allow"), ("[read, write]", "scope_missing")],
            observe: |scopes| {
                explain(
                    &protected(&format!("jwt: main, scopes: {scopes}")),
                    &claiming(&json!({ "scope": "read" })),
                )
            },
        },
        Row {
            key: "routes[].auth.step_up.acr",
            settings: [("[gold, silver]", "allow"), ("[gold]", "acr_insufficient")],
            observe: |acr| {
                explain(
                    &protected(&format!("jwt: main, step_up: {{ acr: {acr} }}")),
                    &claiming(&super::conditions::logged_in()),
                )
            },
        },
        Row {
            key: "routes[].auth.step_up.amr",
            settings: [("[mfa]", "allow"), ("[mfa, hwk]", "amr_insufficient")],
            observe: |amr| {
                explain(
                    &protected(&format!("jwt: main, step_up: {{ amr: {amr} }}")),
                    &claiming(&super::conditions::logged_in()),
                )
            },
        },
        Row {
            key: "routes[].auth.step_up.max_age",
            settings: [("10m", "allow"), ("1m", "authentication_too_old")],
            observe: |max_age| {
                explain(
                    &protected(&format!("jwt: main, step_up: {{ max_age: {max_age} }}")),
                    &claiming(&super::conditions::logged_in()),
                )
            },
        },
        Row {
            key: "routes[].auth.roles",
            settings: [("[clerk, chief]", "allow"), ("[chief]", "role_missing")],
            observe: |roles| {
                explain(
                    &protected(&format!("jwt: main, roles: {roles}")),
                    &claiming(&json!({ "roles": ["c"] })),
                )
            },
        },
        Row {
            key: "routes[].public.reason",
            settings: [("probe", "probe"), ("crawlers", "crawlers")],
            observe: |reason| {
                listed(
                    &public("", "").replace("reason: x,", &format!("reason: {reason},")),
                    "reason",
                )
            },
        },
        Row {
            key: "routes[].public.owner",
            settings: [("platform", "platform"), ("web", "web")],
            observe: |owner| {
                listed(
                    &public("", "").replace("owner: x", &format!("owner: {owner}")),
                    "owner",
                )
            },
        },
        Row {
            key: "routes[].request.max_body",
            settings: [("2k", "allow"), ("1k", "body_too_large")],
            observe: |size| {
                explain(
                    &public("", &format!("request: {{ max_body: {size} }}, ")),
                    &sending("application/json"),
                )
            },
        },
        Row {
            key: "routes[].request.content_types",
            settings: [
                ("[text/xml]", "allow"),
                ("[application/json]", "content_type_not_allowed"),
            ],
            observe: |types| {
                explain(
                    &public("", &format!("request: {{ content_types: {types} }}, ")),
                    &sending("text/xml"),
                )
            },
        },
        Row {
            key: "routes[].request.body",
            settings: [("buffer", "origin asked: 0"), ("stream", "origin asked: 1")],
            observe: |body| {
                let origin = Origin::start();
                let gateway = uploading(&origin, &format!("body: {body}"));
                let mut connection = gateway.client().connect();
                // a part, and no end
                connection.write(format!("{CHUNKED}3\r\n012\r\n"));
                let end = Instant::now() + Duration::from_secs(2);
                while origin.begun() == 0 && Instant::now() < end {
                    std::thread::sleep(Duration::from_millis(10));
                }
                format!("origin asked: {}", origin.begun())
            },
        },
        Row {
            key: "routes[].request.body_timeout",
            settings: [("100ms", "408"), ("1m", "200")],
            observe: |timeout| {
                let origin = Origin::start();
                let gateway = uploading(&origin, &format!("body_timeout: {timeout}"));
                let mut connection = gateway.client().connect();
                connection.write(CHUNKED);
                std::thread::sleep(Duration::from_millis(500));
                connection.write("1\r\n0\r\n0\r\n\r\n");
                connection.answer().status.to_string()
            },
        },
        Row {
            key: "routes[].request.jwe.keys[].kid",
            settings: [
                ("ours", "200 application/json"),
                ("another", "400 body_not_decryptable"),
            ],
            observe: |kid| opened_body(kid, "ECDH-ES", "KEY", "[application/json]"),
        },
        Row {
            key: "routes[].request.jwe.keys[].algorithm",
            settings: [
                ("ECDH-ES", "200 application/json"),
                ("ECDH-ES+A256KW", "400 body_not_decryptable"),
            ],
            observe: |algorithm| opened_body("ours", algorithm, "KEY", "[application/json]"),
        },
        Row {
            key: "routes[].request.jwe.keys[].key",
            settings: [
                ("KEY", "200 application/json"),
                ("OTHER", "400 body_not_decryptable"),
            ],
            observe: |key| opened_body("ours", "ECDH-ES", key, "[application/json]"),
        },
        Row {
            key: "routes[].request.jwe.content_types",
            settings: [("[text/plain]", "200 text/plain"), ("[text/xml]", "200 text/xml")],
            observe: |types| opened_body("ours", "ECDH-ES", "KEY", types),
        },
        Row {
            key: "routes[].websocket.origins",
            settings: [
                ("[\"https://app.example\"]", "101"),
                ("[\"https://other.example\"]", "403"),
            ],
            observe: |origins| {
                let headers = [("Origin", "https://App.example")];
                status_of(&mut opened(&format!("{{ origins: {origins} }}"), &headers))
            },
        },
        Row {
            key: "routes[].websocket.idle",
            settings: [("1s", "ends"), ("1h", "goes on")],
            observe: |idle| ends(&format!("{{ idle: {idle} }}")),
        },
        Row {
            key: "routes[].websocket.total",
            settings: [("1s", "ends"), ("1d", "goes on")],
            observe: |total| ends(&format!("{{ total: {total} }}")),
        },
        Row {
            key: "routes[].upstream",
            settings: [("one", "1 0"), ("two", "0 1")],
            observe: |upstream| {
                let (one, two) = (Origin::start(), Origin::start());
                let gateway = running(&format!(
                    "upstreams: {{ one: {{ targets: [\"{}\"] }}, two: {{ targets: [\"{}\"] }} }}\n{}",
                    one.address,
                    two.address,
                    ROUTE.replace("respond: 200", &format!("upstream: {upstream}"))
                ));
                assert_eq!(gateway.client().get("/", &[]).status, 200);
                format!("{} {}", one.seen().len(), two.seen().len())
            },
        },
        Row {
            key: "routes[].respond",
            settings: [("200", "200 "), ("404", "404 ")],
            observe: |status| text(&answered(status)),
        },
        Row {
            key: "routes[].respond.status",
            settings: [("200", "200 "), ("503", "503 ")],
            observe: |status| text(&answered(&format!("{{ status: {status} }}"))),
        },
        Row {
            key: "routes[].respond.body",
            settings: [("hello", "200 hello"), ("good bye", "200 good bye")],
            observe: |body| text(&answered(&format!("{{ status: 200, body: {body} }}"))),
        },
    ]
}

const ROUTE: &str =
    "routes:\n- { match: { methods: [GET], path: / }, public: { reason: x, owner: x }, respond: 200 }\n";

/// One public route, with more keys for its match and for itself.
fn public(matching: &str, route: &str) -> String {
    offline(&ROUTE.replace("match: { ", &format!("{route}match: {{ {matching}")))
}

/// One route that asks for this, of two issuers and two roles.
fn protected(auth: &str) -> String {
    let issuer = |name: &str| {
        format!(
            "{name}: {{ issuer: \"https://{name}.example/\", audiences: [{AUDIENCE}], jwks: {{ inline: '{}' }} }}",
            KEYS.jwks()
        )
    };
    offline(&format!(
        "issuers: {{ {}, {} }}\nroles: {{ clerk: [c], chief: [d] }}\n\
         routes: [{{ match: {{ methods: [GET], path: / }}, auth: {{ {auth} }}, respond: 200 }}]\n",
        issuer("main"),
        issuer("other")
    ))
}

fn get(url: &str) -> String {
    json!({ "method": "GET", "url": url }).to_string()
}

/// A request with a good token of `main` that says this.
fn claiming(claims: &Value) -> String {
    json!({ "method": "GET", "url": "https://api.example/", "token": { "issuer": "main", "claims": claims } })
        .to_string()
}

/// A request with 2000 bytes of this type.
fn sending(content_type: &str) -> String {
    let headers = json!({ "Content-Length": "2000", "Content-Type": content_type });
    json!({ "method": "GET", "url": "https://api.example/", "headers": headers }).to_string()
}

/// What `prove` says of the first public pattern.
fn listed(config: &str, key: &str) -> String {
    prove(config)["public"][0][key].as_str().unwrap().to_owned()
}

/// A gateway with such a route, and a connection that has asked for a WebSocket.
fn opened(websocket: &str, headers: &[(&str, &str)]) -> (Gateway, Connection) {
    let origin = WebSockets::start();
    let gateway = running(&format!(
        "upstreams: {{ one: {{ targets: [\"{}\"] }} }}\n\
         routes: [{{ match: {{ methods: [GET], path: / }}, public: {{ reason: x, owner: x }}, upstream: one, websocket: {websocket} }}]\n",
        origin.address
    ));
    let mut connection = gateway.client().connect();
    connection.upgrade("/", headers);
    (gateway, connection)
}

fn status_of((_gateway, connection): &mut (Gateway, Connection)) -> String {
    connection.head()[9..12].to_owned()
}

/// Whether a WebSocket on which nobody says anything ends within three seconds.
fn ends(websocket: &str) -> String {
    let (_gateway, mut connection) = opened(websocket, &[]);
    assert!(connection.head().starts_with("HTTP/1.1 101 "));
    connection.patience(Duration::from_secs(3));
    match connection.frame() {
        Some(frame) => {
            assert_eq!(frame.code(), Some(1001));
            "ends"
        }
        None => "goes on",
    }
    .to_owned()
}

/// What becomes of a body that is encrypted with ECDH-ES for the key `ours`, and its type at the service.
fn opened_body(kid: &str, algorithm: &str, key: &str, types: &str) -> String {
    let (ours, another) = (ec_key(), ec_key());
    let pem = |key: &openssl::pkey::PKey<openssl::pkey::Private>| {
        String::from_utf8(key.private_key_to_pem_pkcs8().unwrap()).unwrap()
    };
    let origin = Origin::start();
    let gateway = crate::support::Gateway::with(&format!(
        "upstreams: {{ one: {{ targets: [\"{}\"] }} }}\n\
         routes: [{{ match: {{ methods: [POST], path: / }}, public: {{ reason: x, owner: x }}, upstream: one, request: {{ jwe: {{ \
         content_types: {types}, keys: [{{ kid: {kid}, algorithm: {algorithm}, key: \"${{env:{key}}}\" }}] }} }} }}]\n",
        origin.address
    ))
    .env("KEY", &pem(&ours))
    .env("OTHER", &pem(&another))
    .start();
    let message = crate::encrypted::message(&ours, "ECDH-ES", json!({ "kid": "ours" }), b"{}");
    let jwe = crate::encrypted::encrypted(&[message]).remove(0);
    let answer = gateway
        .client()
        .request("POST", "/", &[("Content-Type", "application/jose")], &jwe);
    match answer.status {
        200 => format!("200 {}", origin.only().header("content-type").unwrap()),
        status => format!("{status} {}", answer.code()),
    }
}

const CHUNKED: &str = "POST / HTTP/1.1\r\nHost: api.example\r\nTransfer-Encoding: chunked\r\n\r\n";

/// A route to an origin that takes ten bytes of anything, with more rules for them.
fn uploading(origin: &Origin, rules: &str) -> Gateway {
    running(&format!(
        "upstreams: {{ one: {{ targets: [\"{}\"] }} }}\n\
         routes: [{{ match: {{ methods: [POST], path: / }}, public: {{ reason: x, owner: x }}, upstream: one, \
         request: {{ max_body: 10b, content_types: [\"*/*\"], {rules} }} }}]\n",
        origin.address
    ))
}

fn answered(respond: &str) -> Answer {
    running(&ROUTE.replace("respond: 200", &format!("respond: {respond}")))
        .client()
        .get("/", &[])
}

fn text(answer: &Answer) -> String {
    format!("{} {}", answer.status, answer.text())
}
