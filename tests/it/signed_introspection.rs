//! Signed answers about tokens (RFC 9701): what is not one is no answer, and never the client's fault.

use std::sync::{Arc, Mutex};

use serde_json::{Value, json};

use crate::support::issuer::{AUDIENCE, ISSUER, now};
use crate::support::{Answer, Gateway, Issuer, Keys, Origin, Reply, jose};

const SIGNED: &str = "application/token-introspection+jwt";

/// What the issuer says of an active token.
fn active() -> Value {
    json!({
        "active": true, "iss": ISSUER, "aud": AUDIENCE, "sub": "ada", "client_id": "app", "token_type": "Bearer",
        "scope": "read:lien_info", "exp": now() + 300,
    })
}

/// The claims of an answer to us, with changes; `null` removes one.
fn claims(changes: Value) -> Value {
    let mut claims = json!({ "iss": ISSUER, "aud": "us", "iat": now(), "token_introspection": active() });
    for (name, value) in changes.as_object().unwrap() {
        if value.is_null() {
            claims.as_object_mut().unwrap().remove(name);
        } else {
            claims[name] = value.clone();
        }
    }
    claims
}

fn header(keys: &Keys) -> Value {
    json!({ "alg": "RS256", "typ": "token-introspection+jwt", "kid": keys.kid })
}

fn signed(keys: &Keys, changes: Value) -> Reply {
    jwt(&keys.sign(&header(keys), &claims(changes)))
}

fn jwt(text: &str) -> Reply {
    Reply::new(200, &[("Content-Type", SIGNED)], text)
}

/// The token of a request for an answer.
fn token_of(body: &[u8]) -> String {
    let form = String::from_utf8(body.to_vec()).unwrap();
    let token = form.strip_prefix("token=").unwrap().split('&').next().unwrap();
    token.to_owned()
}

/// `/` asks at `url`, whose answers are signed with the keys of `jwks`.
fn gateway(url: &str, jwks: &str, service: &Origin) -> Gateway {
    Gateway::with(&format!(
        "issuers:\n  main:\n    issuer: \"{ISSUER}\"\n    audiences: [{AUDIENCE}]\n    jwks: {{ {jwks} }}\n\
         \x20   introspection: {{ url: \"{url}\", client_id: us, client_secret: \"${{env:SECRET}}\", response: jwt }}\n\
         upstreams: {{ o: {{ targets: [\"{}\"] }} }}\n\
         routes:\n\
         \x20 - {{ match: {{ methods: [GET], path: / }}, auth: {{ introspection: main }}, upstream: o }}\n\
         \x20 - {{ match: {{ methods: [GET], path: /signed }}, auth: {{ jwt: main }}, upstream: o }}\n",
        service.address
    ))
    .env("SECRET", "s3cret")
    .start()
}

fn reason(gateway: &Gateway, answer: &Answer) -> String {
    let record = gateway.record(answer.header("x-request-id").unwrap());
    record["error.type"].as_str().unwrap_or("none").to_owned()
}

/// The token says what is answered about it.
fn answered(token: &str, keys: &Keys, other: &Keys) -> Reply {
    let with_header = |name: &str, value: Value| {
        let mut header = header(keys);
        header[name] = value;
        jwt(&keys.sign(&header, &claims(json!({}))))
    };
    let saying = |changes: Value| {
        let mut said = active();
        said.as_object_mut()
            .unwrap()
            .extend(changes.as_object().unwrap().clone());
        signed(keys, json!({ "token_introspection": said }))
    };
    match token.split('-').next().unwrap() {
        "good" => signed(keys, json!({})),
        "several" => signed(keys, json!({ "aud": ["others", "us"] })),
        "audience" => signed(keys, json!({ "aud": AUDIENCE })),
        "second" => signed(keys, json!({ "iat": now() - 20 })),
        "inactive" => signed(keys, json!({ "token_introspection": { "active": false } })),
        "expired" => saying(json!({ "exp": now() - 31 })),
        "elsewhere" => saying(json!({ "aud": "other" })),
        "plain" => Reply::new(
            200,
            &[("Content-Type", "application/json")],
            &active().to_string(),
        ),
        "disguised" => jwt(&active().to_string()),
        "html" => Reply::new(
            200,
            &[("Content-Type", "text/html")],
            &keys.sign(&header(keys), &claims(json!({}))),
        ),
        "bare" => Reply::new(
            200,
            &[("Content-Type", "application/jwt")],
            &keys.sign(&header(keys), &claims(json!({}))),
        ),
        "encrypted" => jwt("eyJhbGciOiJSU0EtT0FFUCIsImVuYyI6IkEyNTZHQ00ifQ.a.b.c.d"),
        "accesstoken" => jwt(&keys.token(json!({ "aud": "us", "token_introspection": active() }))),
        "untyped" => with_header("typ", json!(null)),
        "idtoken" => with_header("typ", json!("JWT")),
        "embedded" => with_header("jwk", keys.jwk()),
        "none" => {
            let unsigned = json!({ "alg": "none", "typ": "token-introspection+jwt" });
            jwt(&format!("{}.", jose::signed_part(unsigned, claims(json!({})))))
        }
        "symmetric" => with_header("alg", json!("HS256")),
        "stranger" => signed(
            &Keys {
                kid: keys.kid.clone(),
                ..other.clone()
            },
            json!({}),
        ),
        "unknown" => signed(other, json!({})),
        "issuer" => signed(keys, json!({ "iss": "https://evil.example/" })),
        "nobody" => signed(keys, json!({ "iss": null })),
        "others" => signed(keys, json!({ "aud": "others" })),
        "noaud" => signed(keys, json!({ "aud": null })),
        "old" => signed(keys, json!({ "iat": now() - 40 })),
        "undated" => signed(keys, json!({ "iat": null })),
        "future" => signed(keys, json!({ "iat": now() + 40 })),
        "flat" => {
            let mut flat = active();
            flat.as_object_mut()
                .unwrap()
                .extend([("aud".to_owned(), json!("us")), ("iat".to_owned(), json!(now()))]);
            jwt(&keys.sign(&header(keys), &flat))
        }
        "text" => signed(keys, json!({ "token_introspection": active().to_string() })),
        "vague" => signed(
            keys,
            json!({ "token_introspection": { "active": "true", "sub": "ada" } }),
        ),
        other => panic!("{other}"),
    }
}

// S53, M14, U4
#[test]
fn what_is_not_signed_by_the_issuer_for_us_and_now_is_no_answer() {
    let (keys, other) = (Keys::new("k1"), Keys::new("k2"));
    let (known, stranger) = (keys.clone(), other.clone());
    let issuer = Origin::answering(move |seen| answered(&token_of(&seen.body), &known, &stranger));
    let service = Origin::start();
    let gateway = gateway(
        &format!("http://{}/", issuer.address),
        &format!("inline: '{}'", keys.jwks()),
        &service,
    );
    let client = gateway.client();
    for token in ["good", "several", "audience", "second"] {
        let answer = client.get_with("/", token);
        assert_eq!(answer.status, 200, "{token}: {}", gateway.messages());
        assert_eq!(service.seen().pop().unwrap().header("x-user-id"), Some("ada"));
    }
    assert_eq!(issuer.seen()[0].header("accept"), Some(SIGNED));
    // an answer that is believed is judged as any other
    for (token, expected) in [
        ("inactive", "token_inactive"),
        ("expired", "token_expired"),
        ("elsewhere", "audience_mismatch"),
    ] {
        let answer = client.get_with("/", token);
        assert_eq!(
            (answer.status, reason(&gateway, &answer).as_str()),
            (401, expected),
            "{token}"
        );
    }
    let unusable = "identity_provider_unavailable";
    for (n, (token, expected, said)) in [
        (
            "plain",
            "introspection_unsigned",
            "plain JSON, where a signed one was asked for",
        ),
        (
            "encrypted",
            "introspection_encrypted",
            "encrypted, which is not supported",
        ),
        ("disguised", "introspection_untrusted", "token_malformed"),
        ("html", unusable, "not application/token-introspection+jwt"),
        ("bare", unusable, "not application/token-introspection+jwt"),
        ("accesstoken", "introspection_untrusted", "token_type"),
        ("untyped", "introspection_untrusted", "token_malformed"),
        ("idtoken", "introspection_untrusted", "token_type"),
        ("embedded", "introspection_untrusted", "header_embedded_key"),
        ("none", "introspection_untrusted", "algorithm_none"),
        ("symmetric", "introspection_untrusted", "algorithm_symmetric"),
        ("stranger", "introspection_untrusted", "signature_invalid"),
        ("unknown", "introspection_untrusted", "key_unknown"),
        ("issuer", "introspection_untrusted", "issuer_mismatch"),
        ("nobody", "introspection_untrusted", "issuer_missing"),
        ("others", "introspection_untrusted", "audience_mismatch"),
        ("noaud", "introspection_untrusted", "audience_missing"),
        ("old", "introspection_untrusted", "token_expired"),
        ("undated", "introspection_untrusted", "claim_missing"),
        ("future", "introspection_untrusted", "token_not_yet_valid"),
        ("flat", "introspection_untrusted", "claim_missing"),
        ("text", "introspection_untrusted", "claim_shape"),
        ("vague", "introspection_untrusted", "claim_shape"),
    ]
    .into_iter()
    .enumerate()
    {
        // an issuer that fails again and again is left alone: this one does not
        assert_eq!(client.get_with("/", &format!("good-{n}")).status, 200);
        let (passed, before) = (service.seen().len(), gateway.messages().len());
        let answer = client.get_with("/", token);
        assert_eq!(
            (answer.status, answer.code().as_str()),
            (503, unusable),
            "{token}"
        );
        assert_eq!(reason(&gateway, &answer), expected, "{token}");
        assert_eq!(answer.header("retry-after"), Some("1"), "{token}");
        assert_eq!(answer.header("www-authenticate"), None, "{token}");
        assert_eq!(
            service.seen().len(),
            passed,
            "{token}: a refused request goes nowhere"
        );
        let messages = gateway.messages()[before..].to_owned();
        assert!(messages.contains(said), "{token}: {messages}");
        assert!(
            !messages.contains("ada") && !messages.contains("eyJ"),
            "{token}: {messages}"
        );
    }
}

// M14: what the issuer signs about tokens is no token
#[test]
fn an_answer_is_not_taken_for_a_token() {
    let keys = Keys::new("k1");
    let gateway = gateway(
        "http://127.0.0.1:1/",
        &format!("inline: '{}'", keys.jwks()),
        &Origin::start(),
    );
    let mut both = Keys::claims(json!({}));
    both["token_introspection"] = active();
    let answer = gateway
        .client()
        .get_with("/signed", &keys.sign(&header(&keys), &both));
    assert_eq!(
        (answer.status, reason(&gateway, &answer).as_str()),
        (401, "token_type")
    );
}

// S51, U2: its keys are the issuer's, fetched as those are
#[test]
fn a_rotated_key_is_fetched_and_missing_keys_are_not_the_clients_fault() {
    let (first, second) = (Keys::new("k1"), Keys::new("k2"));
    let sets = Issuer::start(&first.jwks());
    let signer = Arc::new(Mutex::new(first));
    let current = signer.clone();
    let issuer = Origin::answering(move |_| signed(&current.lock().unwrap(), json!({})));
    let url = format!("http://{}/", issuer.address);
    let keys = format!("url: \"http://{}/\", cooldown: 1s", sets.address);
    let gateway = gateway(&url, &keys, &Origin::start());
    let client = gateway.client();
    assert_eq!(client.get_with("/", "one").status, 200, "{}", gateway.messages());
    sets.publish(&second.jwks());
    *signer.lock().unwrap() = second;
    assert_eq!(client.get_with("/", "two").status, 200, "{}", gateway.messages());
    assert_eq!(sets.fetches(), 2);
    *signer.lock().unwrap() = Keys::new("k3");
    sets.answer(|| Reply::new(500, &[], ""));
    let answer = client.get_with("/", "three");
    assert_eq!(
        (answer.status, reason(&gateway, &answer).as_str()),
        (503, "identity_provider_unavailable")
    );
}
