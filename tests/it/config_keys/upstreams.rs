//! `upstreams:`

use std::io::copy;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use durward::demo::proof::Verifier;
use openssl::pkey::PKey;
use openssl::ssl::SslVersion;

use super::Row;
use super::observe::running;
use crate::support::{Authority, Gateway, Origin, Reply, refusing_address};
use crate::upstream_tls::{demanding, pin};

pub fn rows() -> Vec<Row> {
    vec![
        Row {
            key: "upstreams.*.targets",
            settings: [("one", "1 0"), ("two", "0 1")],
            observe: |target| turns(target, 1),
        },
        Row {
            key: "upstreams.*.targets[].address",
            settings: [("one", "1 0"), ("two", "0 1")],
            observe: |target| turns(&format!("{{ address: {target}, weight: 1 }}"), 1),
        },
        Row {
            key: "upstreams.*.targets[].weight",
            settings: [("3", "6 2"), ("1", "4 4")],
            observe: |weight| turns(&format!("{{ address: one, weight: {weight} }}, two"), 8),
        },
        Row {
            key: "upstreams.*.tls.server_name",
            settings: [
                ("svc.internal", "200"),
                ("other.internal", "502 upstream_certificate_name"),
            ],
            observe: |name| over_tls(name, "its.pem"),
        },
        Row {
            key: "upstreams.*.tls.ca",
            settings: [
                ("its.pem", "200"),
                ("another.pem", "502 upstream_certificate_untrusted"),
            ],
            observe: |ca| over_tls("svc.internal", ca),
        },
        Row {
            key: "upstreams.*.sign.algorithm",
            settings: [
                ("hmac-sha256", "alg=\"hmac-sha256\""),
                ("ed25519", "alg=\"ed25519\""),
            ],
            observe: |algorithm| {
                let key = if algorithm == "ed25519" { "ED25519" } else { "HMAC" };
                signed(
                    &format!("algorithm: {algorithm}, key: \"${{env:{key}}}\", keyid: k"),
                    "alg=",
                )
            },
        },
        Row {
            key: "upstreams.*.sign.key",
            settings: [("HMAC", "by that key"), ("OTHER", "by another")],
            observe: |key| {
                signed(
                    &format!("algorithm: hmac-sha256, key: \"${{env:{key}}}\", keyid: k"),
                    "",
                )
            },
        },
        Row {
            key: "upstreams.*.sign.keyid",
            settings: [("one", "keyid=\"one\""), ("two", "keyid=\"two\"")],
            observe: |id| {
                signed(
                    &format!("algorithm: hmac-sha256, key: \"${{env:HMAC}}\", keyid: {id}"),
                    "keyid=",
                )
            },
        },
        Row {
            key: "upstreams.*.sign.expires",
            settings: [("1s", "1"), ("5m", "300")],
            observe: |span| {
                let sign =
                    format!("algorithm: hmac-sha256, key: \"${{env:HMAC}}\", keyid: k, expires: {span}");
                let number = |text: String| -> u64 { text.split_once('=').unwrap().1.parse().unwrap() };
                let input = signed(&sign, "created=,expires=");
                let (created, expires) = input.split_once(',').unwrap();
                (number(expires.to_owned()) - number(created.to_owned())).to_string()
            },
        },
        Row {
            key: "upstream_pins",
            settings: [("ITS", "200"), ("ANOTHER", "502 upstream_pin_mismatch")],
            observe: |pin| pinned("", pin),
        },
        Row {
            key: "upstreams.*.tls.pins",
            settings: [("ITS", "200"), ("ANOTHER", "502 upstream_pin_mismatch")],
            observe: |pin| pinned(pin, "ANOTHER"),
        },
        Row {
            key: "upstreams.*.tls.cert",
            settings: [
                ("cert: known/tls.crt, key: known/tls.key", "200"),
                ("", "502 upstream_broken"),
            ],
            observe: showing,
        },
        Row {
            key: "upstreams.*.tls.key",
            settings: [
                ("cert: known/tls.crt, key: known/tls.key", "200"),
                (
                    "cert: unknown/tls.crt, key: unknown/tls.key",
                    "502 upstream_broken",
                ),
            ],
            observe: showing,
        },
        Row {
            key: "upstreams.*.tls.key_pem",
            settings: [
                ("cert: known/tls.crt, key_pem: \"${file:known/tls.key}\"", "200"),
                (
                    "cert: unknown/tls.crt, key_pem: \"${file:unknown/tls.key}\"",
                    "502 upstream_broken",
                ),
            ],
            observe: showing,
        },
        Row {
            key: "upstreams.*.tls.min_version",
            settings: [("\"1.2\"", "200"), ("\"1.3\"", "502 upstream_tls_weak")],
            observe: |version| {
                over_tls12(
                    "ECDHE-ECDSA-AES128-GCM-SHA256",
                    &format!("min_version: {version}"),
                )
            },
        },
        Row {
            key: "upstreams.*.tls.ciphers",
            settings: [
                ("ECDHE-ECDSA-AES256-GCM-SHA384", "200"),
                ("ECDHE-ECDSA-AES128-GCM-SHA256", "502 upstream_tls_weak"),
            ],
            observe: |suite| over_tls12("ECDHE-ECDSA-AES256-GCM-SHA384", &format!("ciphers: [{suite}]")),
        },
        Row {
            // the handshake is a part of connecting, and this one does not come to its end in time
            key: "upstreams.*.timeouts.connect",
            settings: [("10s", "200"), ("100ms", "504 upstream_connect_timeout")],
            observe: |span| {
                let authority = Authority::new();
                let leaf = authority.leaf(&["svc.internal"]);
                let origin = Origin::tls(&leaf.certificate, &leaf.key, |_| Reply::ok());
                let gateway = Gateway::with(&service(&format!(
                    "targets: [\"{}\"], timeouts: {{ connect: {span} }}, tls: {{ server_name: svc.internal, ca: ca.pem }}",
                    late(origin.address)
                )))
                .file("ca.pem", authority.pem())
                .start();
                outcome(&gateway, "")
            },
        },
        Row {
            key: "upstreams.*.timeouts.read",
            settings: [("10s", "200"), ("100ms", "504 upstream_timeout")],
            observe: |span| outcome_of_a_slow_service(&format!("read: {span}")),
        },
        Row {
            key: "upstreams.*.timeouts.total",
            settings: [("10s", "200"), ("100ms", "504 upstream_timeout")],
            observe: |span| outcome_of_a_slow_service(&format!("total: {span}")),
        },
        Row {
            // more than the sockets on the way take, to somebody who is late to read; an answer is waited for even then
            key: "upstreams.*.timeouts.write",
            settings: [("10s", "200"), ("100ms", "504 upstream_timeout")],
            observe: |span| {
                let origin = Origin::start();
                let gateway = running(&service(&format!(
                    "targets: [\"{}\"], timeouts: {{ write: {span}, read: 3s }}",
                    late(origin.address)
                )));
                outcome(&gateway, &"x".repeat(24 << 20))
            },
        },
        Row {
            key: "upstreams.*.idle",
            settings: [("1ms", "connects again"), ("1h", "keeps its connection")],
            observe: |span| {
                let origin = Origin::start();
                let gateway = running(&service(&format!(
                    "targets: [\"{}\"], idle: {span}",
                    origin.address
                )));
                for _ in 0..30 {
                    // timers are coarse: waiting for the record leaves the connection idle for long enough
                    let answer = gateway.client().get("/", &[]);
                    gateway.record(answer.header("x-request-id").unwrap());
                }
                if origin.connections() > 2 {
                    "connects again"
                } else {
                    "keeps its connection"
                }
                .to_owned()
            },
        },
        Row {
            key: "upstreams.*.connect_retries",
            settings: [("0", "502 upstream_connect_failed"), ("1", "200")],
            observe: |retries| {
                let ((_held, nobody), origin) = (refusing_address(), Origin::start());
                let gateway = running(&service(&format!(
                    "targets: [\"{nobody}\", \"{}\"], connect_retries: {retries}",
                    origin.address
                )));
                outcome(&gateway, "")
            },
        },
        Row {
            key: "upstreams.*.error_bodies",
            settings: [
                ("replace", "problem document"),
                ("pass", "NullPointerException at Main.java"),
            ],
            observe: |what| {
                let origin = Origin::answering(|_| Reply::new(500, &[], "NullPointerException at Main.java"));
                let gateway = running(&service(&format!(
                    "targets: [\"{}\"], error_bodies: {what}",
                    origin.address
                )));
                let answer = gateway.client().get("/", &[]);
                match answer.header("content-type") {
                    Some("application/problem+json") => "problem document".to_owned(),
                    _ => answer.text(),
                }
            },
        },
    ]
}

/// A route to a service with these keys.
fn service(keys: &str) -> String {
    format!(
        "upstreams: {{ service: {{ {keys} }} }}\n\
         routes: [{{ match: {{ methods: [GET, POST], path: / }}, public: {{ reason: test, owner: tests }}, \
         request: {{ max_body: 64mb, content_types: [text/plain] }}, upstream: service }}]\n"
    )
}

/// The status of an answer, and for a failure the reason in its record.
fn outcome(gateway: &Gateway, body: &str) -> String {
    let method = if body.is_empty() { "GET" } else { "POST" };
    let answer = gateway
        .client()
        .request(method, "/", &[("Content-Type", "text/plain")], body);
    if answer.status < 400 {
        return answer.status.to_string();
    }
    let record = gateway.record(answer.header("x-request-id").unwrap());
    format!(
        "{} {}",
        answer.status,
        record["error.type"].as_str().unwrap_or("no reason")
    )
}

/// How many of so many requests each of two services gets; `one` and `two` stand for their addresses.
fn turns(targets: &str, requests: usize) -> String {
    let (one, two) = (Origin::start(), Origin::start());
    let quoted = |origin: &Origin| format!("\"{}\"", origin.address);
    let targets = targets
        .replace("one", &quoted(&one))
        .replace("two", &quoted(&two));
    let gateway = running(&service(&format!("targets: [{targets}]")));
    for _ in 0..requests {
        assert_eq!(outcome(&gateway, ""), "200");
    }
    format!("{} {}", one.seen().len(), two.seen().len())
}

fn over_tls(server_name: &str, ca: &str) -> String {
    let authority = Authority::new();
    let leaf = authority.leaf(&["svc.internal"]);
    let origin = Origin::tls(&leaf.certificate, &leaf.key, |_| Reply::ok());
    let keys = format!(
        "targets: [\"{}\"], tls: {{ server_name: {server_name}, ca: {ca} }}",
        origin.address
    );
    let gateway = Gateway::with(&service(&keys))
        .file("its.pem", authority.pem())
        .file("another.pem", Authority::new().pem())
        .start();
    outcome(&gateway, "")
}

/// What a signed request says in these parameters; without any, by which key it is signed.
fn signed(sign: &str, parameters: &str) -> String {
    let origin = Origin::start();
    let keys = format!("targets: [\"{}\"], sign: {{ {sign} }}", origin.address);
    let hmac = STANDARD.encode([1; 32]);
    let ed25519 = PKey::generate_ed25519()
        .unwrap()
        .private_key_to_pem_pkcs8()
        .unwrap();
    let gateway = Gateway::with(&service(&keys))
        .env("HMAC", &hmac)
        .env("OTHER", &STANDARD.encode([2; 32]))
        .env("ED25519", std::str::from_utf8(&ed25519).unwrap())
        .start();
    assert_eq!(outcome(&gateway, ""), "200");
    let seen = origin.only();
    if parameters.is_empty() {
        let verifier = Verifier::new("k", &hmac).unwrap();
        return match verifier.verify(&crate::proof::request(&seen), crate::support::issuer::now()) {
            Ok(()) => "by that key".to_owned(),
            Err(_) => "by another".to_owned(),
        };
    }
    let input = seen.header("signature-input").unwrap().to_owned();
    let found = parameters
        .split(',')
        .map(|name| input.split(';').find(|one| one.starts_with(name)).unwrap());
    found.collect::<Vec<_>>().join(",")
}

/// A service with pins of its own, or none, and pins of everyone's; `ITS` and `ANOTHER` stand for keys.
fn pinned(own: &str, everyones: &str) -> String {
    let authority = Authority::new();
    let leaf = authority.leaf(&["svc.internal"]);
    let origin = Origin::tls(&leaf.certificate, &leaf.key, |_| Reply::ok());
    let own = match own {
        "" => String::new(),
        own => format!(", pins: [{own}]"),
    };
    let keys = format!(
        "targets: [\"{}\"], tls: {{ server_name: svc.internal, ca: ca.pem{own} }}",
        origin.address
    );
    let another = pin(&authority.leaf(&["svc.internal"]).certificate);
    let yaml = format!("upstream_pins: [{everyones}]\n{}", service(&keys))
        .replace("ITS", &pin(&leaf.certificate))
        .replace("ANOTHER", &another);
    let gateway = Gateway::with(&yaml).file("ca.pem", authority.pem()).start();
    outcome(&gateway, "")
}

/// A service that asks for a certificate by an authority of its own; `known` is by it.
fn showing(keys: &str) -> String {
    let (authority, clients) = (Authority::new(), Authority::new());
    let leaf = authority.leaf(&["svc.internal"]);
    let origin = Origin::tls_with(&leaf.certificate, &leaf.key, |_| Reply::ok(), demanding(&clients));
    let keys = format!(
        "targets: [\"{}\"], tls: {{ server_name: svc.internal, ca: ca.pem, {keys} }}",
        origin.address
    );
    let gateway = Gateway::with(&service(&keys))
        .file("ca.pem", authority.pem())
        .installed("known", &clients.leaf(&["gateway.internal"]))
        .installed("unknown", &authority.leaf(&["gateway.internal"]))
        .start();
    let outcome = outcome(&gateway, "");
    // the service's refusal may arrive while the request is still being written
    outcome.replace("upstream_tls", "upstream_broken")
}

/// A service that knows only TLS 1.2 with this suite.
fn over_tls12(suite: &str, keys: &str) -> String {
    let authority = Authority::new();
    let leaf = authority.leaf(&["svc.internal"]);
    let origin = Origin::tls_with(
        &leaf.certificate,
        &leaf.key,
        |_| Reply::ok(),
        |acceptor| {
            acceptor.set_max_proto_version(Some(SslVersion::TLS1_2)).unwrap();
            acceptor.set_cipher_list(suite).unwrap();
        },
    );
    let keys = format!(
        "targets: [\"{}\"], tls: {{ server_name: svc.internal, ca: ca.pem, {keys} }}",
        origin.address
    );
    let gateway = Gateway::with(&service(&keys))
        .file("ca.pem", authority.pem())
        .start();
    outcome(&gateway, "")
}

/// How long slow things take here: much longer than the short deadlines, much shorter than the long ones.
const SLOW: Duration = Duration::from_millis(900);

fn outcome_of_a_slow_service(timeouts: &str) -> String {
    let origin = Origin::answering(|_| Reply::ok().after(SLOW));
    outcome(
        &running(&service(&format!(
            "targets: [\"{}\"], timeouts: {{ {timeouts} }}",
            origin.address
        ))),
        "",
    )
}

/// Accepts connections for `origin`, and passes on what is sent only after a while.
fn late(origin: SocketAddr) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for client in listener.incoming().flatten() {
            std::thread::spawn(move || {
                std::thread::sleep(SLOW);
                let service = TcpStream::connect(origin).unwrap();
                let (mut from, mut to) = (client.try_clone().unwrap(), service.try_clone().unwrap());
                std::thread::spawn(move || copy(&mut from, &mut to));
                let _ = copy(&mut &service, &mut &client);
            });
        }
    });
    address
}
