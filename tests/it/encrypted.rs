//! Bodies that are encrypted from end to end, or for the gateway (S34).

use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use openssl::nid::Nid;
use openssl::pkey::{PKey, Private};
use serde_json::{Value, json};

use crate::support::gateway::check;
use crate::support::jose::{base64, ec_key, jwk, rsa_key};
use crate::support::{Answer, Folder, Gateway, Origin, Reply};

const JOSE: (&str, &str) = ("Content-Type", "application/jose");
const SECRET: &str = "{\"vin\": \"WVWZZZ1JZXW000001\", \"diagnosis\": \"of nobody's business\"}";

/// What an implementation of somebody else encrypts: each of these, `{ key, header, plaintext }`.
pub fn encrypted(messages: &[Value]) -> Vec<String> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/provider");
    let mut child = Command::new("node")
        .arg("encrypt.mjs")
        .current_dir(folder)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut input = child.stdin.take().unwrap();
    for message in messages {
        writeln!(input, "{message}").unwrap();
    }
    drop(input);
    let output = child.wait_with_output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let lines: Vec<String> = text.lines().map(str::to_owned).collect();
    assert_eq!(lines.len(), messages.len(), "{text}");
    lines
}

pub fn message(key: &PKey<Private>, algorithm: &str, header: Value, plaintext: &[u8]) -> Value {
    let mut whole = json!({ "alg": algorithm, "enc": "A256GCM" });
    for (name, value) in header.as_object().unwrap() {
        whole[name] = value.clone();
    }
    let mut public = jwk("k", key);
    for name in ["use", "alg", "kid"] {
        public.as_object_mut().unwrap().remove(name);
    }
    json!({ "key": public, "header": whole, "plaintext": STANDARD.encode(plaintext) })
}

fn pem(key: &PKey<Private>) -> String {
    String::from_utf8(key.private_key_to_pem_pkcs8().unwrap()).unwrap()
}

fn route(path: &str, request: &str) -> String {
    format!(
        "- {{ match: {{ methods: [POST], path: {path} }}, public: {{ reason: test, owner: us }}, upstream: o, request: {{ {request} }} }}\n"
    )
}

fn reason(gateway: &Gateway, answer: &Answer) -> String {
    let record = gateway.record(answer.header("x-request-id").unwrap());
    record["error.type"].as_str().unwrap_or("none").to_owned()
}

// S34: what is encrypted for the service passes as it is, counted, and nothing of it is kept
#[test]
fn an_encrypted_body_passes_untouched_and_leaves_no_trace() {
    let origin = Origin::answering(|_| Reply::new(200, &[JOSE], "e30.x.x.x.x"));
    let gateway = Gateway::with(&format!(
        "upstreams: {{ o: {{ targets: [\"{}\"] }} }}\nroutes:\n{}",
        origin.address,
        route("/sealed", "content_types: [application/jose], max_body: 300k")
    ))
    .records("summary_interval: 0s")
    .start();
    let key = rsa_key(2048);
    // longer than what a proxy would keep by itself
    let long = format!("{SECRET}{}", "x".repeat(200_000));
    let jwe = encrypted(&[message(&key, "RSA-OAEP-256", json!({}), long.as_bytes())]).remove(0);
    let digest = openssl::sha::sha256(jwe.as_bytes());
    let declared = format!("sha-256=:{}:", STANDARD.encode(digest));
    let headers = [JOSE, ("Content-Digest", &*declared)];
    let answer = gateway.client().request("POST", "/sealed", &headers, &jwe);
    assert_eq!(
        (answer.status, answer.header("content-type")),
        (200, Some("application/jose"))
    );
    let seen = origin.only();
    assert_eq!(openssl::sha::sha256(&seen.body), digest, "byte for byte");
    assert_eq!(seen.header("content-type"), Some("application/jose"));
    assert_eq!(seen.header("content-digest"), Some(&*declared));
    let over = "x".repeat(300 * 1024 + 1);
    assert_eq!(
        gateway.client().request("POST", "/sealed", &[JOSE], &over).status,
        413
    );
    let clear = [("Content-Type", "application/json")];
    assert_eq!(
        gateway.client().request("POST", "/sealed", &clear, SECRET).status,
        415
    );
    assert_eq!(origin.begun(), 1, "neither was seen there");
    // the record is there, and says how much, not what
    assert_eq!(reason(&gateway, &answer), "none");
    let records = std::fs::read_to_string(gateway.folder.0.join("records.jsonl")).unwrap();
    let told = records + &gateway.messages() + &gateway.output() + &gateway.admin("/metrics").text();
    for part in jwe.split('.').filter(|part| part.len() > 8) {
        assert!(!told.contains(&part[..part.len().min(24)]), "{part:.24}");
    }
    assert!(!told.contains("xxxxxxxx"));
}

struct House {
    rsa: PKey<Private>,
    before: PKey<Private>,
    p256: PKey<Private>,
    p384: PKey<Private>,
    origin: Origin,
    gateway: Gateway,
}

fn house() -> House {
    let (rsa, before) = (rsa_key(2048), rsa_key(2048));
    let (p256, p384) = (ec_key(Nid::X9_62_PRIME256V1), ec_key(Nid::SECP384R1));
    let origin = Origin::start();
    let types = "content_types: [application/json, text/plain]";
    let gateway = Gateway::with(&format!(
        "upstreams: {{ o: {{ targets: [\"{}\"] }} }}\nroutes:\n{}{}",
        origin.address,
        route(
            "/open",
            &format!(
                "max_body: 400k, jwe: {{ {types}, keys: [\
                 {{ kid: now, algorithm: RSA-OAEP-256, key: \"${{env:RSA}}\" }}, \
                 {{ kid: before, algorithm: RSA-OAEP-256, key: \"${{env:BEFORE}}\" }}, \
                 {{ kid: ec, algorithm: ECDH-ES, key: \"${{env:P256}}\" }}, \
                 {{ kid: ec-kw, algorithm: ECDH-ES+A256KW, key: \"${{env:P384}}\" }}] }}"
            )
        ),
        route(
            "/single",
            "jwe: { keys: [{ algorithm: RSA-OAEP-256, key: \"${env:RSA}\" }] }"
        ),
    ))
    .env("RSA", &pem(&rsa))
    .env("BEFORE", &pem(&before))
    .env("P256", &pem(&p256))
    .env("P384", &pem(&p384))
    .records("summary_interval: 0s")
    .start();
    House {
        rsa,
        before,
        p256,
        p384,
        origin,
        gateway,
    }
}

// S34, S17: opened with the key that is named, old or new, before the service gets it, at any size
#[test]
fn what_is_encrypted_for_the_gateway_is_opened_before_the_service_gets_it() {
    let house = house();
    let long = "y".repeat(250_000);
    let messages = [
        (
            &house.rsa,
            "RSA-OAEP-256",
            json!({ "kid": "now" }),
            SECRET,
            "application/json",
        ),
        (
            &house.before,
            "RSA-OAEP-256",
            json!({ "kid": "before", "cty": "json" }),
            SECRET,
            "application/json",
        ),
        (
            &house.p256,
            "ECDH-ES",
            json!({ "kid": "ec", "cty": "application/json" }),
            SECRET,
            "application/json",
        ),
        (
            &house.p256,
            "ECDH-ES",
            json!({ "kid": "ec", "apu": "QWxpY2U", "apv": "Qm9i", "cty": "text/plain" }),
            &*long,
            "text/plain",
        ),
        (
            &house.p384,
            "ECDH-ES+A256KW",
            json!({ "kid": "ec-kw", "cty": "text/plain" }),
            "z",
            "text/plain",
        ),
    ];
    let sent: Vec<Value> = messages
        .iter()
        .map(|(key, algorithm, header, text, _)| message(key, algorithm, header.clone(), text.as_bytes()))
        .collect();
    let mut connection = house.gateway.client().connect();
    for (jwe, (_, algorithm, _, text, content_type)) in encrypted(&sent).iter().zip(&messages) {
        let headers = [JOSE, ("Content-Digest", "sha-256=:AAAA:")];
        connection.write(crate::support::client::request("POST", "/open", &headers, jwe));
        assert_eq!(connection.answer().status, 200, "{algorithm}");
        let seen = house.origin.seen().pop().unwrap();
        assert_eq!(
            String::from_utf8(seen.body.clone()).unwrap(),
            *text,
            "{algorithm}"
        );
        assert_eq!(seen.header("content-type"), Some(*content_type));
        assert_eq!(seen.header("content-length"), Some(&*text.len().to_string()));
        assert_eq!(
            seen.header("content-digest"),
            None,
            "it was of what was encrypted"
        );
    }
    // one key alone need not be named, and may be
    for header in [json!({}), json!({ "kid": "any" })] {
        let jwe = encrypted(&[message(&house.rsa, "RSA-OAEP-256", header, SECRET.as_bytes())]).remove(0);
        assert_eq!(
            house
                .gateway
                .client()
                .request("POST", "/single", &[JOSE], &jwe)
                .status,
            200
        );
    }
}

/// The parts of a compact JWE, with one of them changed.
fn with_part(jwe: &str, index: usize, change: impl FnOnce(&str) -> String) -> String {
    let mut parts: Vec<String> = jwe.split('.').map(str::to_owned).collect();
    parts[index] = change(&parts[index]);
    parts.join(".")
}

fn with_header(jwe: &str, change: impl FnOnce(&mut Value)) -> String {
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;
    with_part(jwe, 0, |part| {
        let mut header: Value = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).unwrap()).unwrap();
        change(&mut header);
        base64(header.to_string())
    })
}

/// With its first character exchanged, which no padding hides.
fn altered(part: &str) -> String {
    let first = if part.starts_with('A') { "B" } else { "A" };
    format!("{first}{}", &part[1..])
}

// S34: no algorithm of the message's own, nothing compressed, and one answer to all that is wrong
#[test]
fn what_cannot_be_opened_is_refused_in_one_way_and_recorded_in_many() {
    let house = house();
    let of = |key, algorithm, header| message(key, algorithm, header, SECRET.as_bytes());
    let now = json!({ "kid": "now" });
    let mut made = encrypted(&[
        of(&house.rsa, "RSA-OAEP-256", now.clone()),
        of(&house.before, "RSA-OAEP-256", now.clone()),
        of(&house.rsa, "RSA-OAEP-256", json!({ "kid": "next" })),
        of(&house.rsa, "RSA-OAEP-256", json!({})),
        of(&house.rsa, "RSA-OAEP", now.clone()),
        of(
            &house.rsa,
            "RSA-OAEP-256",
            json!({ "kid": "now", "enc": "A128GCM" }),
        ),
        of(
            &house.rsa,
            "RSA-OAEP-256",
            json!({ "kid": "now", "cty": "application/xml" }),
        ),
        of(&house.p256, "ECDH-ES", json!({ "kid": "ec" })),
        message(&house.rsa, "RSA-OAEP-256", now, b""),
    ]);
    let empty = made.pop().unwrap();
    let ec = made.pop().unwrap();
    let good = made.first().unwrap().clone();
    let off_curve = with_header(&ec, |header| header["epk"]["x"] = json!(base64([1; 32])));
    let other_curve = with_header(&ec, |header| header["epk"]["crv"] = json!("P-384"));
    let cases = [
        (made[1].clone(), "jwe_key_unusable"),
        (made[2].clone(), "jwe_key_unknown"),
        (made[3].clone(), "jwe_key_unknown"),
        (made[4].clone(), "jwe_algorithm"),
        (made[5].clone(), "jwe_algorithm"),
        (made[6].clone(), "jwe_content_type"),
        (
            with_header(&good, |header| header["alg"] = json!("dir")),
            "jwe_algorithm",
        ),
        (
            with_header(&good, |header| header["zip"] = json!("DEF")),
            "jwe_compressed",
        ),
        (
            with_header(&good, |header| header["crit"] = json!(["exp"])),
            "jwe_critical",
        ),
        (
            with_header(&good, |header| header["x"] = json!("y")),
            "jwe_altered",
        ),
        (with_part(&good, 1, altered), "jwe_key_unusable"),
        (with_part(&good, 2, altered), "jwe_altered"),
        (with_part(&good, 3, altered), "jwe_altered"),
        (with_part(&good, 4, altered), "jwe_altered"),
        (with_part(&good, 4, |tag| tag[..8].to_owned()), "jwe_malformed"),
        (with_part(&good, 1, |key| format!("{key}=")), "jwe_malformed"),
        (format!("{good}.x"), "jwe_malformed"),
        (SECRET.to_owned(), "jwe_malformed"),
        (
            with_part(&good, 0, |_| base64("{\"alg\":\"RSA-OAEP-256\",\"alg\":\"dir\"}")),
            "jwe_malformed",
        ),
        (empty, "jwe_malformed"),
        (off_curve, "jwe_key_unusable"),
        (other_curve, "jwe_key_unusable"),
    ];
    let mut answers = Vec::new();
    for (jwe, expected) in &cases {
        let answer = house.gateway.client().request("POST", "/open", &[JOSE], jwe);
        assert_eq!(
            (answer.status, &*answer.code()),
            (400, "body_not_decryptable"),
            "{expected}"
        );
        assert_eq!(reason(&house.gateway, &answer), *expected, "{jwe:.60}");
        let mut said = answer.json();
        said["instance"] = json!("");
        answers.push(said.to_string());
    }
    answers.dedup();
    assert_eq!(answers.len(), 1, "{answers:#?}");
    let clear = [("Content-Type", "application/json")];
    assert_eq!(
        house
            .gateway
            .client()
            .request("POST", "/open", &clear, SECRET)
            .status,
        415
    );
    assert_eq!(house.origin.begun(), 0, "none of it was seen there");
    assert_eq!(
        house
            .gateway
            .client()
            .request("POST", "/open", &[JOSE], &good)
            .status,
        200
    );
}

// S34: a route that opens bodies takes no others, and keys are of their algorithm
#[test]
fn what_contradicts_encrypted_bodies_is_a_fault() {
    let folder = Folder::new();
    let ec = folder.write("ec.pem", pem(&ec_key(Nid::X9_62_PRIME256V1)));
    let short = folder.write("short.pem", pem(&rsa_key(1024)));
    let key =
        |algorithm: &str, file: &str| format!("{{ algorithm: {algorithm}, key: \"${{file:{file}}}\" }}");
    let good = key("ECDH-ES", &ec);
    for (request, words) in [
        (format!("jwe: {{ keys: [{good}] }}"), ""),
        (
            format!("jwe: {{ keys: [{good}] }}, body: stream"),
            "encrypted bodies are application/jose, read whole",
        ),
        (
            format!("jwe: {{ keys: [{good}] }}, mode: shadow"),
            "encrypted bodies are application/jose, read whole",
        ),
        (
            format!("jwe: {{ keys: [{good}] }}, content_types: [\"*/*\"]"),
            "encrypted bodies are application/jose",
        ),
        (
            format!("jwe: {{ keys: [{}] }}", key("RSA-OAEP-256", &ec)),
            "not a key of this algorithm",
        ),
        (
            format!("jwe: {{ keys: [{}] }}", key("RSA-OAEP-256", &short)),
            "not a key of this algorithm",
        ),
        (
            format!("jwe: {{ keys: [{}] }}", key("ECDH-ES", &short)),
            "not a key of this algorithm",
        ),
        (
            format!("jwe: {{ keys: [{good}, {good}] }}"),
            "told apart by their `kid`",
        ),
        (
            "jwe: { keys: [] }".to_owned(),
            "without a key nothing can be opened",
        ),
        (
            format!("jwe: {{ keys: [{good}], content_types: [\"*/*\"] }}"),
            "`*/*` is not a media type",
        ),
    ] {
        let yaml = format!(
            "version: 1\nlisteners: [{{ address: \"127.0.0.1:1\", plaintext: {{ reason: test }} }}]\n\
             upstreams: {{ o: {{ targets: [\"127.0.0.1:9\"] }} }}\nroutes:\n{}",
            route("/", &request)
        );
        let (is_good, said) = check(&folder, &yaml);
        assert_eq!(is_good, words.is_empty(), "{request}: {said}");
        assert!(said.contains(words), "{request}: {said}");
    }
}
