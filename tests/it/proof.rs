//! Proof that a request came through the gateway: what it signs others verify, and the demo's service takes nothing else.

use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use durward::demo::proof::{Refusal, Verifier};
use openssl::pkey::PKey;
use serde_json::{Value, json};

use crate::secrets::python;
use crate::support::issuer::{AUDIENCE, ISSUER};
use crate::support::origin::Seen;
use crate::support::{Gateway, Keys, Origin, Reply, eventually};

const SHARED: &str = "MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE=";

/// `/signed` needs a token and is signed so; `/public` is signed too, and `/plain` is not.
pub fn config(origin: &Origin, keys: &Keys, sign: &str) -> String {
    format!(
        "issuers: {{ main: {{ issuer: \"{ISSUER}\", audiences: [{AUDIENCE}], jwks: {{ inline: '{}' }} }} }}\n\
         upstreams:\n\
         \x20 o: {{ targets: [\"{address}\"], sign: {{ {sign} }} }}\n\
         \x20 p: {{ targets: [\"{address}\"] }}\n\
         routes:\n\
         \x20 - {{ match: {{ methods: [GET, POST], path: /signed }}, auth: {{ jwt: main }}, upstream: o }}\n\
         \x20 - {{ match: {{ methods: [GET], path: /public }}, public: {{ reason: test, owner: us }}, upstream: o }}\n\
         \x20 - {{ match: {{ methods: [GET], path: /plain }}, public: {{ reason: test, owner: us }}, upstream: p }}\n",
        keys.jwks(),
        address = origin.address
    )
}

/// What somebody else's library says of requests.
pub fn verified(requests: &[Value]) -> Vec<Value> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/python/verify_signature.py");
    let mut child = Command::new(python())
        .arg(script)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut input = child.stdin.take().unwrap();
    for request in requests {
        writeln!(input, "{request}").unwrap();
    }
    drop(input);
    let output = child.wait_with_output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

pub fn as_json(seen: &Seen, algorithm: &str, key: &str) -> Value {
    let host = seen.header("host").unwrap();
    json!({
        "method": seen.method, "url": format!("http://{host}{}", seen.target), "headers": seen.headers,
        "body": STANDARD.encode(&seen.body), "algorithm": algorithm, "key": key,
    })
}

// M12, S40: three algorithms, verified by an implementation of somebody else
#[test]
fn signatures_are_verified_by_an_independent_library() {
    let ed25519 = PKey::generate_ed25519().unwrap();
    let ec = crate::support::certs::ec_key();
    let pem = |key: &PKey<openssl::pkey::Private>| {
        let public = String::from_utf8(key.public_key_to_pem().unwrap()).unwrap();
        (
            String::from_utf8(key.private_key_to_pem_pkcs8().unwrap()).unwrap(),
            public,
        )
    };
    let ((ed_private, ed_public), (ec_private, ec_public)) = (pem(&ed25519), pem(&ec));
    for (algorithm, private, public) in [
        ("hmac-sha256", SHARED, SHARED),
        ("ed25519", &ed_private, &ed_public),
        ("ecdsa-p256-sha256", &ec_private, &ec_public),
    ] {
        let (origin, keys) = (Origin::start(), Keys::new("k1"));
        let sign = format!("algorithm: {algorithm}, key: \"${{env:KEY}}\", keyid: gateway-1");
        let gateway = Gateway::with(&config(&origin, &keys, &sign))
            .env("KEY", private)
            .start();
        let token = keys.token(json!({ "sub": "ada", "roles": ["clerk"] }));
        let bearer = format!("Bearer {token}");
        let client = gateway.client();
        let forged = [
            ("Signature", "durward=:AAAA:"),
            ("Signature-Input", "durward=();created=1"),
            ("X-User-Id", "eve"),
        ];
        assert_eq!(client.get("/public?a=b%20c&d", &forged).status, 200);
        let with = [
            ("Authorization", bearer.as_str()),
            ("Content-Type", "application/json"),
            ("Content-Digest", "md5=:AA==:"),
        ];
        assert_eq!(client.request("POST", "/signed", &with, "{\"a\": 1}").status, 200);
        assert_eq!(client.get("/plain", &[]).status, 200);
        let seen = origin.seen();
        let altered = |change: &dyn Fn(&mut Seen)| {
            let mut altered = seen[1].clone();
            change(&mut altered);
            as_json(&altered, algorithm, public)
        };
        let answers = verified(&[
            as_json(&seen[0], algorithm, public),
            as_json(&seen[1], algorithm, public),
            altered(&|seen| seen.target = "/signed?x".to_owned()),
            altered(&|seen| seen.method = "PUT".to_owned()),
            altered(&|seen| seen.body = b"{\"a\": 2}".to_vec()),
            altered(&|seen| {
                let roles = seen
                    .headers
                    .iter_mut()
                    .find(|(name, _)| name.eq_ignore_ascii_case("x-roles"));
                roles.unwrap().1 = "admin".to_owned();
            }),
        ]);
        assert_eq!(
            answers[0],
            json!({ "covered": ["@method", "@authority", "@path", "@query", "x-request-id"], "keyid": "gateway-1" }),
            "{algorithm}"
        );
        let covered = [
            "@method",
            "@authority",
            "@path",
            "@query",
            "content-digest",
            "content-type",
            "x-request-id",
            "x-roles",
            "x-user-id",
        ];
        assert_eq!(
            answers[1],
            json!({ "covered": covered, "keyid": "gateway-1" }),
            "{algorithm}"
        );
        for answer in &answers[2..] {
            assert!(answer["refused"].is_string(), "{algorithm}: {answer}");
        }
        if algorithm == "ed25519" {
            let documented = |seen: &Seen| {
                let mut request = as_json(seen, algorithm, public);
                request["documented"] = json!(true);
                request
            };
            let (mut added, mut longer) = (seen[0].clone(), seen[0].clone());
            added.headers.push(("X-Roles".to_owned(), "admin".to_owned()));
            longer.body = b"{}".to_vec();
            let all = [&seen[1], &seen[1], &seen[0], &added, &longer, &seen[2]];
            let answers = verified(&all.map(documented));
            let good = json!({ "good": true });
            assert_eq!((&answers[0], &answers[2]), (&good, &good));
            assert_eq!(answers[1], json!({ "refused": "ValueError: used before" }));
            for answer in &answers[3..] {
                assert!(answer["refused"].is_string(), "{answer}");
            }
        }
        assert!(
            seen[2].all("signature").is_empty(),
            "signed for a service that does not ask for it"
        );
    }
}

pub fn request(seen: &Seen) -> http::Request<bytes::Bytes> {
    let mut request = http::Request::builder()
        .method(seen.method.as_str())
        .uri(&seen.target);
    for (name, value) in &seen.headers {
        request = request.header(name, value);
    }
    request.body(seen.body.clone().into()).unwrap()
}

// S40: direct, replayed, altered and late requests
#[test]
fn the_demos_verifier_takes_what_the_gateway_sent_once_and_nothing_else() {
    let (origin, keys) = (Origin::start(), Keys::new("k1"));
    let sign = "algorithm: hmac-sha256, key: \"${env:KEY}\", keyid: gateway-1, expires: 10s";
    let gateway = Gateway::with(&config(&origin, &keys, sign))
        .env("KEY", SHARED)
        .start();
    let bearer = format!(
        "Bearer {}",
        keys.token(json!({ "sub": "ada", "roles": ["clerk"] }))
    );
    let with = [
        ("Authorization", bearer.as_str()),
        ("Content-Type", "application/json"),
    ];
    assert_eq!(
        gateway
            .client()
            .request("POST", "/signed?a=b", &with, "{\"a\": 1}")
            .status,
        200
    );
    assert_eq!(gateway.client().get("/public", &[]).status, 200);
    let (post, get) = (origin.seen()[0].clone(), origin.seen()[1].clone());
    let verifier = || Verifier::new("gateway-1", SHARED).unwrap();
    let now = crate::support::issuer::now();
    let judge = |change: &dyn Fn(&mut Seen)| {
        let mut seen = post.clone();
        change(&mut seen);
        verifier().verify(&request(&seen), now)
    };
    assert_eq!(judge(&|_| {}), Ok(()));
    let set = |seen: &mut Seen, name: &str, value: &str| {
        let header = seen
            .headers
            .iter_mut()
            .find(|(n, _)| n.eq_ignore_ascii_case(name))
            .unwrap();
        header.1 = value.to_owned();
    };
    let remove = |seen: &mut Seen, name: &str| seen.headers.retain(|(n, _)| !n.eq_ignore_ascii_case(name));
    // direct
    assert_eq!(judge(&|seen| remove(seen, "signature")), Err(Refusal::Unsigned));
    assert_eq!(
        judge(&|seen| remove(seen, "signature-input")),
        Err(Refusal::Unsigned)
    );
    let stranger = Verifier::new("gateway-1", &STANDARD.encode([7; 32])).unwrap();
    assert_eq!(stranger.verify(&request(&post), now), Err(Refusal::Altered));
    assert_eq!(
        Verifier::new("gateway-2", SHARED)
            .unwrap()
            .verify(&request(&post), now),
        Err(Refusal::Unsigned)
    );
    // altered
    assert_eq!(
        judge(&|seen| seen.method = "PUT".to_owned()),
        Err(Refusal::Altered)
    );
    assert_eq!(
        judge(&|seen| seen.target = "/signed".to_owned()),
        Err(Refusal::Altered)
    );
    assert_eq!(
        judge(&|seen| seen.target = "/other?a=b".to_owned()),
        Err(Refusal::Altered)
    );
    assert_eq!(judge(&|seen| seen.body = b"{}".to_vec()), Err(Refusal::Altered));
    for (name, value) in [
        ("host", "other.example"),
        ("x-user-id", "eve"),
        ("x-request-id", "1"),
        ("content-digest", "sha-256=:AA==:"),
    ] {
        assert_eq!(
            judge(&|seen| set(seen, name, value)),
            Err(Refusal::Altered),
            "{name}"
        );
        assert_eq!(
            judge(&|seen| seen.headers.push((name.to_owned(), value.to_owned()))),
            Err(Refusal::Altered),
            "{name} twice"
        );
    }
    assert_eq!(judge(&|seen| remove(seen, "x-roles")), Err(Refusal::Altered));
    // added to what did not have it
    let mut with_identity = get.clone();
    with_identity
        .headers
        .push(("X-Roles".to_owned(), "admin".to_owned()));
    assert_eq!(
        verifier().verify(&request(&with_identity), now),
        Err(Refusal::NotCovered)
    );
    let mut with_body = get.clone();
    with_body.body = b"{}".to_vec();
    assert_eq!(
        verifier().verify(&request(&with_body), now),
        Err(Refusal::NotCovered)
    );
    // late, and early
    assert_eq!(verifier().verify(&request(&post), now + 11), Err(Refusal::NotNow));
    assert_eq!(verifier().verify(&request(&post), now - 60), Err(Refusal::NotNow));
    // replayed
    let verifier = verifier();
    assert_eq!(verifier.verify(&request(&post), now), Ok(()));
    assert_eq!(verifier.verify(&request(&post), now), Err(Refusal::Replayed));
    assert_eq!(
        verifier.verify(&request(&get), now),
        Ok(()),
        "each has a nonce of its own"
    );
}

// S17: a new key is used from the next request on; services hold both for a while
#[test]
fn a_new_signing_key_is_taken_over_while_it_runs() {
    let (origin, keys) = (
        Origin::answering(|_| Reply::ok().after(Duration::ZERO)),
        Keys::new("k1"),
    );
    let sign = "algorithm: hmac-sha256, key: \"${file:shared}\", keyid: gateway-1";
    let gateway = Gateway::with(&config(&origin, &keys, sign))
        .file("shared", SHARED)
        .start();
    let signed_with = |key: &str| {
        assert_eq!(gateway.client().get("/public", &[]).status, 200);
        let seen = origin.seen().pop().unwrap();
        let verifier = Verifier::new("gateway-1", key).unwrap();
        verifier
            .verify(&request(&seen), crate::support::issuer::now())
            .is_ok()
    };
    assert!(signed_with(SHARED));
    let new = STANDARD.encode([9; 32]);
    gateway.folder.write("shared", &new);
    gateway.signal("HUP");
    eventually("the new key signs", || signed_with(&new).then_some(()));
}
