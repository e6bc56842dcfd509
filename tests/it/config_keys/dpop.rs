//! `dpop:`, what routes ask of it, and how tests describe proofs; and `shared_tokens:`.

use std::time::{Duration, Instant};

use openssl::hash::MessageDigest;
use openssl::pkey::PKey;
use openssl::sign::Signer;
use serde_json::{Value, json};

use super::Row;
use super::attestations::{SECRET, kept};
use super::observe::{KEYS, explain, offline, running, test};
use crate::dpop::Holder;
use crate::support::Origin;
use crate::support::client::request;
use crate::support::issuer::now;
use crate::support::jose::base64;

pub fn rows() -> Vec<Row> {
    vec![
        Row {
            key: "dpop.algorithms",
            settings: [("[ES256]", "allow"), ("[EdDSA]", "dpop_proof_algorithm")],
            observe: |algorithms| proven(&format!("algorithms: {algorithms}"), json!({})),
        },
        Row {
            key: "dpop.max_age",
            settings: [("5m", "allow"), ("1s", "dpop_proof_expired")],
            observe: |age| proven(&format!("max_age: {age}"), json!({ "iat": now() - 100 })),
        },
        Row {
            key: "dpop.clock_skew",
            settings: [("1m", "allow"), ("0s", "dpop_proof_not_yet_valid")],
            observe: |skew| proven(&format!("clock_skew: {skew}"), json!({ "iat": now() + 40 })),
        },
        Row {
            key: "dpop.max_proofs",
            settings: [("65536", "1 tests, 0 failed"), ("64", "dpop_memory_full")],
            observe: |most| described(&format!("max_proofs: {most}"), "{ }", 1000),
        },
        Row {
            key: "dpop.nonce.lifetime",
            settings: [("10m", "allow"), ("10s", "dpop_nonce_unknown")],
            observe: |span| {
                let secret = kept("nonces", SECRET.0);
                let dpop = format!("nonce: {{ lifetime: {span}, secret: \"{secret}\" }}");
                proven(&dpop, json!({ "nonce": nonce(60) }))
            },
        },
        Row {
            key: "dpop.nonce.secret",
            settings: [("its", "allow"), ("another", "dpop_nonce_unknown")],
            observe: |whose| {
                let other = "b2YgdGhlIHRlc3RzIGFsb25lLCBhbmQgbG9uZyBlbm91Z2g=";
                let secret = kept("nonces", if whose == "its" { SECRET.0 } else { other });
                proven(
                    &format!("nonce: {{ secret: \"{secret}\" }}"),
                    json!({ "nonce": nonce(0) }),
                )
            },
        },
        Row {
            key: "routes[].auth.dpop",
            settings: [("optional", "allow"), ("required", "token_dpop_unbound")],
            observe: |demand| unbound(&format!("jwt: main, dpop: {demand}")),
        },
        Row {
            key: "routes[].auth.any_of[].dpop",
            settings: [("optional", "allow"), ("required", "token_dpop_unbound")],
            observe: |demand| unbound(&format!("any_of: [{{ jwt: main, dpop: {demand} }}]")),
        },
        Row {
            key: "routes[].auth.all_of[].dpop",
            settings: [("optional", "allow"), ("required", "token_dpop_unbound")],
            observe: |demand| unbound(&format!("all_of: [{{ jwt: main, dpop: {demand} }}]")),
        },
        Row {
            key: "upstreams.*.forward_dpop",
            settings: [("true", "passed on"), ("false", "withheld")],
            observe: |passes| {
                let origin = Origin::start();
                let gateway = running(&format!(
                    "{}upstreams: {{ o: {{ targets: [\"{}\"], forward_dpop: {passes} }} }}\n\
                     routes: [{{ match: {{ methods: [GET], path: / }}, auth: {{ jwt: main }}, upstream: o }}]\n",
                    KEYS.inline(),
                    origin.address
                ));
                let bearer = format!("Bearer {}", KEYS.token(json!({})));
                let answer = gateway
                    .client()
                    .get("/", &[("Authorization", &bearer), ("DPoP", "a proof")]);
                assert_eq!(answer.status, 200);
                match origin.only().header("dpop") {
                    Some(_) => "passed on".to_owned(),
                    None => "withheld".to_owned(),
                }
            },
        },
        Row {
            key: "tests[].request.dpop.claims",
            settings: [
                ("{ }", "1 tests, 0 failed"),
                ("{ htm: POST }", "dpop_proof_method"),
            ],
            observe: |claims| described("", &format!("{{ claims: {claims} }}"), 1),
        },
        Row {
            key: "shared_tokens.networks",
            settings: [("2", "told"), ("3", "not told")],
            observe: |networks| shared(&format!("networks: {networks}"), Duration::ZERO, 0),
        },
        Row {
            key: "shared_tokens.window",
            settings: [("1h", "told"), ("1s", "not told")],
            observe: |window| {
                let settings = format!("networks: 2, window: {window}");
                shared(&settings, Duration::from_millis(1_100), 0)
            },
        },
        Row {
            key: "shared_tokens.max_tokens",
            settings: [("65536", "told"), ("16", "not told")],
            observe: |most| {
                let settings = format!("networks: 2, max_tokens: {most}");
                shared(&settings, Duration::ZERO, 300)
            },
        },
    ]
}

/// Whether a token is told of that comes from one network and, so much later and after so many other tokens, from another.
fn shared(settings: &str, later: Duration, others: usize) -> String {
    let gateway = running(&format!(
        "{}trusted_proxies: [\"127.0.0.0/8\"]\nshared_tokens: {{ {settings} }}\n\
         routes: [{{ match: {{ methods: [GET], path: / }}, auth: {{ jwt: main }}, respond: 200 }}]\n",
        KEYS.inline()
    ));
    let mut connection = gateway.client().connect();
    let mut ask = |token: &str, from: &str| {
        let bearer = format!("Bearer {token}");
        let headers = [("Authorization", bearer.as_str()), ("X-Forwarded-For", from)];
        connection.write(request("GET", "/", &headers, ""));
        let answer = connection.answer();
        assert_eq!(answer.status, 200, "nobody is refused");
        answer.header("x-request-id").unwrap().to_owned()
    };
    let told = |id: String| gateway.record(&id)["durward.token.networks"].clone();
    let token = KEYS.token(json!({ "jti": "it" }));
    let first = ask(&token, "192.0.2.1");
    let since = Instant::now();
    assert_eq!(told(first), Value::Null);
    for other in 0..others {
        ask(&KEYS.token(json!({ "jti": other.to_string() })), "192.0.2.1");
    }
    // the window is the gateway's: it has to pass
    std::thread::sleep(later.saturating_sub(since.elapsed()));
    match told(ask(&token, "198.51.100.1")) {
        Value::Null => "not told".to_owned(),
        networks => {
            assert_eq!(networks, 2);
            "told".to_owned()
        }
    }
}

fn config(dpop: &str, auth: &str) -> String {
    offline(&format!(
        "{}dpop: {{ {dpop} }}\n\
         routes: [{{ match: {{ methods: [GET], path: / }}, auth: {{ {auth} }}, respond: 200 }}]\n",
        KEYS.inline()
    ))
}

fn ask(config: &str, headers: &Value) -> String {
    let request = json!({ "method": "GET", "url": "https://api.example/", "headers": headers });
    explain(config, &request.to_string())
}

/// The decision on a bound token with a proof that is good but for these changes.
fn proven(dpop: &str, changes: Value) -> String {
    let holder = Holder::new();
    let token = KEYS.token(holder.bound());
    let proof = holder.proof("/", &token, changes);
    let headers = json!({ "Authorization": format!("DPoP {token}"), "DPoP": proof });
    ask(&config(dpop, "jwt: main"), &headers)
}

/// The decision on a token that is bound to no key.
fn unbound(auth: &str) -> String {
    let bearer = format!("Bearer {}", KEYS.token(json!({})));
    ask(&config("", auth), &json!({ "Authorization": bearer }))
}

/// A nonce of the secret, given out so long ago, in seconds.
fn nonce(ago: u64) -> String {
    let time = (now() - ago).to_be_bytes();
    let key = PKey::hmac(SECRET.1).unwrap();
    let mut signer = Signer::new(MessageDigest::sha256(), &key).unwrap();
    let signed = [&b"durward dpop nonce"[..], &time].concat();
    let mac = signer.sign_oneshot_to_vec(&signed).unwrap();
    base64([&time[..], &mac[..16]].concat())
}

/// What `durward test` says of a request with this proof, asked so often.
fn described(dpop: &str, proof: &str, times: u32) -> String {
    let said = test(&format!(
        "{}tests: [{{ name: n, expect: allow, times: {times}, request: {{ method: GET, \
         url: \"https://api.example/\", token: {{ issuer: main }}, dpop: {proof} }} }}]\n",
        config(dpop, "jwt: main, dpop: required")
    ));
    // an outcome, or the summary
    match said.split("got ").nth(1) {
        Some(got) => got.split_whitespace().next().unwrap_or_default().to_owned(),
        None => {
            let end = said.find(" failed").map_or(said.len(), |at| at + " failed".len());
            said[..end].to_owned()
        }
    }
}
