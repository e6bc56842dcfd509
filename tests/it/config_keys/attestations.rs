//! `attestations:`, what routes ask of them, and how tests describe them.

use std::sync::LazyLock;

use base64::Engine;
use serde_json::{Value, json};

use super::Row;
use super::observe::{KEYS, explain, offline, test};
use crate::support::Folder;
use crate::support::issuer::now;
use crate::support::jose::{base64, jwk, jwks, key_for, signature, signed_part};

/// 32 bytes in base64, and their bytes.
pub const SECRET: (&str, &[u8]) = (
    "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=",
    b"0123456789abcdef0123456789abcdef",
);

/// Where secrets and the like are kept for the life of the process.
static FILES: LazyLock<Folder> = LazyLock::new(Folder::new);

/// A reference to the secret.
static REFERENCE: LazyLock<String> = LazyLock::new(|| kept("good", SECRET.0));

/// A reference to a file with this text.
pub fn kept(name: &str, text: &str) -> String {
    format!("${{file:{}}}", FILES.write(name, text))
}

fn base64_of(bytes: &[u8]) -> String {
    base64::engine::general_purpose::STANDARD.encode(bytes)
}

pub fn rows() -> Vec<Row> {
    vec![
        Row {
            key: "attestations.*.header",
            settings: [("x-app", "allow"), ("x-other", "attestation_missing")],
            observe: |header| decided(&config(&format!("header: {header}")), json!({})),
        },
        Row {
            key: "attestations.*.secret",
            settings: [("good", "allow"), ("bad", "attestation_signature")],
            observe: |which| {
                let other = base64_of(&[7; 32]);
                let kept = kept("secret", if which == "good" { SECRET.0 } else { &other });
                let config = config("").replace(&*REFERENCE, &kept);
                decided(&config, json!({}))
            },
        },
        Row {
            key: "attestations.*.previous_secret",
            settings: [("good", "allow"), ("bad", "attestation_signature")],
            observe: |which| {
                let other = base64_of(&[7; 32]);
                let previous = kept("previous", if which == "good" { SECRET.0 } else { &other });
                let config = config(&format!("previous_secret: \"{previous}\""));
                let secret = format!(" secret: \"{}\"", *REFERENCE);
                let next = format!(" secret: \"{}\"", kept("next", &base64_of(&[8; 32])));
                decided(&config.replace(&secret, &next), json!({}))
            },
        },
        Row {
            key: "attestations.*.jwks.inline",
            settings: [("its", "allow"), ("another's", "attestation_signature")],
            observe: |whose| with_keys(whose, |set| format!("inline: '{set}'")),
        },
        Row {
            key: "attestations.*.jwks.file",
            settings: [("its", "allow"), ("another's", "attestation_signature")],
            observe: |whose| {
                let folder = Folder::new();
                with_keys(whose, |set| {
                    format!("file: \"{}\"", folder.write("jwks.json", set))
                })
            },
        },
        Row {
            key: "attestations.*.issuer",
            settings: [("attester", "allow"), ("another", "attestation_issuer")],
            observe: |issuer| decided(&config(&format!("issuer: {issuer}")), json!({})),
        },
        Row {
            key: "attestations.*.audience",
            settings: [("us", "allow"), ("them", "attestation_audience")],
            observe: |audience| decided(&config(&format!("audience: {audience}")), json!({})),
        },
        Row {
            key: "attestations.*.max_lifetime",
            settings: [("1h", "allow"), ("10s", "attestation_lifetime")],
            observe: |span| decided(&config(&format!("max_lifetime: {span}")), json!({})),
        },
        Row {
            key: "attestations.*.binding",
            settings: [("good", "allow"), ("bad", "attestation_binding")],
            observe: |claim| {
                let bearer = format!(
                    "Bearer {}",
                    KEYS.token(json!({ "iat": 1, "exp": 4_000_000_000_u64 }))
                );
                let digest = base64(openssl::sha::sha256(bearer.as_bytes()));
                let claims = json!({ "good": digest, "bad": base64([0; 32]) });
                decided_with(&config(&format!("binding: {claim}")), claims, &bearer)
            },
        },
        Row {
            key: "attestations.*.mode",
            settings: [("enforce", "attestation_expired"), ("shadow", "allow")],
            observe: |mode| decided(&config(&format!("mode: {mode}")), json!({ "exp": now() - 100 })),
        },
        Row {
            key: "routes[].auth.attestation",
            settings: [
                ("attestation: mobile", "attestation_missing"),
                ("roles: []", "allow"),
            ],
            observe: |asked| {
                let config = config("").replace("attestation: mobile", asked);
                let bearer = format!("Bearer {}", KEYS.token(json!({})));
                let headers = json!({ "Authorization": bearer });
                let request = json!({ "method": "GET", "url": "https://api.example/", "headers": headers });
                explain(&config, &request.to_string())
            },
        },
        Row {
            key: "tests[].request.attestation.by",
            settings: [("mobile", "1 tests, 0 failed"), ("tablet", "attestation_missing")],
            observe: |by| described(&format!("{{ by: {by} }}")),
        },
        Row {
            key: "tests[].request.attestation.claims",
            settings: [
                ("{ }", "1 tests, 0 failed"),
                ("{ iss: another }", "attestation_issuer"),
            ],
            observe: |claims| described(&format!("{{ by: mobile, claims: {claims} }}")),
        },
    ]
}

/// A route that asks for a token and an attestation, with these settings.
fn config(more: &str) -> String {
    let header = if more.contains("header:") {
        ""
    } else {
        "header: x-app, "
    };
    offline(&format!(
        "{}attestations: {{ mobile: {{ {header}secret: \"{}\", {more} }} }}\n\
         routes: [{{ match: {{ methods: [GET], path: / }}, auth: {{ jwt: main, attestation: mobile }}, respond: 200 }}]\n",
        KEYS.inline(),
        *REFERENCE
    ))
}

fn claims(changes: Value) -> Value {
    let mut claims = json!({ "iss": "attester", "aud": "us", "exp": now() + 200 });
    for (name, value) in changes.as_object().unwrap() {
        claims[name] = value.clone();
    }
    claims
}

fn decided(config: &str, changes: Value) -> String {
    let bearer = format!("Bearer {}", KEYS.token(json!({})));
    decided_with(config, changes, &bearer)
}

fn decided_with(config: &str, changes: Value, bearer: &str) -> String {
    let signed = signed_part(json!({ "alg": "HS256" }), claims(changes));
    let key = openssl::pkey::PKey::hmac(SECRET.1).unwrap();
    let token = format!("{signed}.{}", base64(signature("HS256", &key, &signed)));
    ask(config, bearer, &token)
}

fn ask(config: &str, bearer: &str, attestation: &str) -> String {
    let headers = json!({ "Authorization": bearer, "X-App": attestation });
    let request = json!({ "method": "GET", "url": "https://api.example/", "headers": headers });
    explain(config, &request.to_string())
}

fn with_keys(whose: &str, written: impl FnOnce(&str) -> String) -> String {
    let (its, another) = (key_for("ES256"), key_for("ES256"));
    let published = if whose == "its" { &its } else { &another };
    let written = written(&jwks(&[jwk("a", published)]));
    let secret = format!("secret: \"{}\"", *REFERENCE);
    let config = config("issuer: attester").replace(&secret, &format!("jwks: {{ {written} }}"));
    let signed = signed_part(json!({ "alg": "ES256", "kid": "a" }), claims(json!({})));
    let token = format!("{signed}.{}", base64(signature("ES256", &its, &signed)));
    ask(&config, &format!("Bearer {}", KEYS.token(json!({}))), &token)
}

/// What `durward test` says of a request with this attestation.
fn described(attestation: &str) -> String {
    let config = config("issuer: attester").replace(
        "attestations: { ",
        &format!(
            "attestations: {{ tablet: {{ header: x-tablet, secret: \"{}\" }}, ",
            *REFERENCE
        ),
    );
    let request = format!(
        "method: GET, url: \"https://api.example/\", token: {{ issuer: main }}, attestation: {attestation}"
    );
    let said = test(&format!(
        "{config}tests: [{{ name: n, expect: allow, request: {{ {request} }} }}]\n"
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
