//! Issuers that are asked about tokens: how often, and what happens when they are slow, lie, or are not there.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::issuer::{AUDIENCE, ISSUER, now};
use crate::support::{Answer, Gateway, Keys, Origin, Reply, free_address};

/// An answer about an active token, with changes; `null` removes a member.
fn active(changes: Value) -> String {
    let mut said = json!({
        "active": true, "iss": ISSUER, "aud": AUDIENCE, "sub": "ada", "client_id": "app", "token_type": "Bearer",
        "scope": "read:lien_info", "roles": ["clerk"], "exp": now() + 300,
    });
    for (name, value) in changes.as_object().unwrap() {
        if value.is_null() {
            said.as_object_mut().unwrap().remove(name);
        } else {
            said[name] = value.clone();
        }
    }
    said.to_string()
}

fn json(text: &str) -> Reply {
    Reply::new(200, &[("Content-Type", "application/json")], text)
}

/// `/opaque` asks at `url`; `/signed` asks nobody, and `/public` for nothing. `/both` does both.
fn gateway(url: &str, more: &str, keys: &Keys) -> (Origin, Gateway) {
    let origin = Origin::start();
    let gateway = Gateway::with(&format!(
        "issuers:\n  main:\n    issuer: \"{ISSUER}\"\n    audiences: [{AUDIENCE}]\n    jwks: {{ inline: '{}' }}\n\
         \x20   introspection: {{ url: \"{url}\", client_id: us, client_secret: \"${{env:SECRET}}\"{more} }}\n\
         upstreams:\n  o: {{ targets: [\"{}\"] }}\n\
         routes:\n\
         \x20 - {{ match: {{ methods: [GET], path: /opaque }}, auth: {{ introspection: main }}, upstream: o }}\n\
         \x20 - {{ match: {{ methods: [GET], path: /signed }}, auth: {{ jwt: main }}, upstream: o }}\n\
         \x20 - {{ match: {{ methods: [GET], path: /both }}, auth: {{ all_of: [{{ introspection: main }}, {{ jwt: main }}] }}, upstream: o }}\n\
         \x20 - {{ match: {{ methods: [GET], path: /public }}, public: {{ reason: probe, owner: us }}, upstream: o }}\n",
        keys.jwks(),
        origin.address
    ))
    .env("SECRET", "s3cret")
    .start();
    (origin, gateway)
}

fn reason(gateway: &Gateway, answer: &Answer) -> String {
    let record = gateway.record(answer.header("x-request-id").unwrap());
    record["error.type"].as_str().unwrap_or("none").to_owned()
}

/// What an issuer answers.
type Behaviour = Box<dyn Fn() -> Reply + Send + Sync>;

// S53: closed, named, in time, and nobody else notices
#[test]
fn an_issuer_that_does_not_answer_as_it_should_is_not_the_clients_fault() {
    let keys = Keys::new("k1");
    let secret = Origin::answering(|_| json(&active(json!({}))));
    let elsewhere = format!("http://{}/", secret.address);
    let behaviours: Vec<(&str, Behaviour)> = vec![
        (
            "slow",
            Box::new(|| json(&active(json!({}))).after(Duration::from_secs(5))),
        ),
        (
            "redirecting",
            Box::new(move || Reply::new(307, &[("Location", &*elsewhere)], "")),
        ),
        ("failing", Box::new(|| Reply::new(500, &[], "oops"))),
        (
            "refusing us",
            Box::new(|| Reply::new(401, &[("Content-Type", "application/json")], "{}")),
        ),
        (
            "HTML",
            Box::new(|| Reply::new(200, &[("Content-Type", "text/html")], &active(json!({})))),
        ),
        (
            "huge",
            Box::new(|| json(&active(json!({ "padding": "x".repeat(100_000) })))),
        ),
        ("no JSON", Box::new(|| json("<html>"))),
        ("no verdict", Box::new(|| json("{\"sub\":\"ada\"}"))),
        (
            "a text for a verdict",
            Box::new(|| json(&active(json!({ "active": "true" })))),
        ),
        (
            "two verdicts",
            Box::new(|| json("{\"active\":false,\"active\":true}")),
        ),
        (
            "broken off",
            Box::new(|| {
                Reply::raw("HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 99\r\n\r\n{")
                    .closing()
            }),
        ),
        ("no HTTP", Box::new(|| Reply::raw("hello\r\n\r\n").closing())),
    ];
    for (what, reply) in behaviours {
        let issuer = Origin::answering(move |_| reply());
        let (origin, gateway) = gateway(&format!("http://{}/", issuer.address), ", timeout: 500ms", &keys);
        let client = gateway.client();
        let begun = Instant::now();
        let answer = client.get_with("/opaque", "opaque");
        assert!(
            begun.elapsed() < Duration::from_secs(2),
            "{what}: {:?}",
            begun.elapsed()
        );
        assert_eq!(
            (answer.status, answer.code().as_str()),
            (503, "identity_provider_unavailable"),
            "{what}"
        );
        assert_eq!(answer.header("retry-after"), Some("1"), "{what}");
        assert_eq!(answer.header("www-authenticate"), None, "{what}");
        assert_eq!(origin.connections(), 0, "{what}");
        assert_eq!(
            client.get_with("/signed", &keys.token(json!({}))).status,
            200,
            "{what}"
        );
        assert_eq!(client.get("/public", &[]).status, 200, "{what}");
        let messages = gateway.messages();
        assert!(messages.contains("issuer main:"), "{what}: {messages}");
        assert!(
            !messages.contains("s3cret") && !messages.contains("opaque"),
            "{what}: {messages}"
        );
    }
    assert_eq!(secret.connections(), 0, "no redirect was followed");
}

// S53
#[test]
fn an_issuer_that_is_not_there_is_left_alone_for_a_moment() {
    let keys = Keys::new("k1");
    let (_origin, gateway) = gateway(&format!("http://{}/", free_address()), "", &keys);
    let client = gateway.client();
    for n in 0..20 {
        let answer = client.get_with("/opaque", &format!("opaque-{n}"));
        assert_eq!((answer.status, answer.header("retry-after")), (503, Some("1")));
    }
    let metrics = gateway.admin("/metrics").text();
    let failures = metrics
        .lines()
        .find_map(|line| line.strip_prefix("durward_introspection_failures{issuer=\"main\"} "))
        .unwrap();
    // it may have been asked again after each second
    assert!((3..20).contains(&failures.parse::<u32>().unwrap()), "{failures}");
}

// S47, S53, U4: active is not enough
#[test]
fn an_active_token_must_be_this_issuers_for_us_and_now() {
    let keys = Keys::new("k1");
    let issuer = Origin::answering(|seen| {
        // the token says what is said of it
        let form = String::from_utf8(seen.body.clone()).unwrap();
        let token = form.strip_prefix("token=").unwrap().split('&').next().unwrap();
        let changes = match token {
            "good" => json!({}),
            "list" => json!({ "aud": ["other", AUDIENCE] }),
            "no-iss" => json!({ "iss": null }),
            "no-type" => json!({ "token_type": null }),
            "no-end" => json!({ "exp": null }),
            "machine" => json!({ "sub": null }),
            "inactive" => json!({ "active": false }),
            "other-iss" => json!({ "iss": "https://evil.example/" }),
            "other-aud" => json!({ "aud": "other" }),
            "no-aud" => json!({ "aud": null }),
            "expired" => json!({ "exp": now() - 31 }),
            "early" => json!({ "nbf": now() + 60 }),
            "refresh" => json!({ "token_type": "refresh_token" }),
            "keycloak-refresh" => json!({ "typ": "Refresh" }),
            "dpop" => json!({ "token_type": "DPoP" }),
            "nobody" => json!({ "sub": null, "client_id": null }),
            "shape" => json!({ "scope": 5 }),
            "header" => json!({ "sub": "ada\r\nX-Roles: admin" }),
            _ => panic!("{form}"),
        };
        json(&active(changes))
    });
    let (origin, gateway) = gateway(&format!("http://{}/", issuer.address), "", &keys);
    let client = gateway.client();
    for (token, subject) in [
        ("good", "ada"),
        ("list", "ada"),
        ("no-iss", "ada"),
        ("no-type", "ada"),
        ("no-end", "ada"),
        ("machine", "app"),
    ] {
        let answer = client.get_with("/opaque", token);
        assert_eq!(answer.status, 200, "{token}: {}", answer.text());
        let seen = origin.seen().pop().unwrap();
        assert_eq!(seen.header("x-user-id"), Some(subject), "{token}");
        assert_eq!(seen.header("x-roles"), Some("clerk"), "{token}");
    }
    let passed = origin.seen().len();
    for (token, expected) in [
        ("inactive", "token_inactive"),
        ("other-iss", "issuer_mismatch"),
        ("other-aud", "audience_mismatch"),
        ("no-aud", "audience_missing"),
        ("expired", "token_expired"),
        ("early", "token_not_yet_valid"),
        ("refresh", "token_type"),
        ("keycloak-refresh", "token_type"),
        ("dpop", "token_type"),
        ("nobody", "subject_missing"),
        ("shape", "claim_shape"),
        ("header", "claim_not_a_header_value"),
    ] {
        let answer = client.get_with("/opaque", token);
        assert_eq!(answer.status, 401, "{token}: {}", answer.text());
        assert_eq!(reason(&gateway, &answer), expected, "{token}");
        assert!(
            answer.header("www-authenticate").unwrap().starts_with("Bearer "),
            "{token}"
        );
    }
    assert_eq!(origin.seen().len(), passed, "a refused request goes nowhere");
    let form = &issuer.seen()[0];
    assert_eq!(form.method, "POST");
    assert_eq!(
        form.header("content-type"),
        Some("application/x-www-form-urlencoded")
    );
    assert_eq!(form.header("authorization"), Some("Basic dXM6czNjcmV0"));
    assert_eq!(form.body, b"token=good&token_type_hint=access_token");
}

// U23: single flight
#[test]
fn everybody_with_the_same_token_waits_for_one_answer() {
    let keys = Keys::new("k1");
    let issuer = Origin::answering(|_| json(&active(json!({}))).after(Duration::from_millis(500)));
    let (origin, gateway) = gateway(&format!("http://{}/", issuer.address), "", &keys);
    std::thread::scope(|scope| {
        for _ in 0..16 {
            scope.spawn(|| assert_eq!(gateway.client().get_with("/opaque", "opaque").status, 200));
        }
    });
    assert_eq!((issuer.seen().len(), origin.seen().len()), (1, 16));
    for _ in 0..50 {
        assert_eq!(gateway.client().get_with("/opaque", "opaque").status, 200);
    }
    assert_eq!(issuer.seen().len(), 1, "remembered");
}

// S53, S54: once for each token, good or not
#[test]
fn a_flood_of_random_tokens_asks_once_for_each() {
    let keys = Keys::new("k1");
    let issuer = Origin::answering(|_| json("{\"active\":false}"));
    let (origin, gateway) = gateway(&format!("http://{}/", issuer.address), "", &keys);
    let refused = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let (gateway, refused) = (&gateway, &refused);
            scope.spawn(move || {
                let mut connection = gateway.client().connect();
                for n in 0..100 {
                    let bearer = format!("Bearer {thread}-{}", n % 20);
                    let headers = [("Authorization", &*bearer)];
                    connection.write(crate::support::client::request("GET", "/opaque", &headers, ""));
                    assert_eq!(connection.answer().status, 401);
                    refused.fetch_add(1, Ordering::SeqCst);
                }
            });
        }
    });
    assert_eq!(refused.load(Ordering::SeqCst), 400);
    assert_eq!(issuer.seen().len(), 80, "one for each token");
    assert_eq!(origin.connections(), 0);
}

// S53: never past its end
#[test]
fn an_answer_is_never_good_beyond_the_tokens_end() {
    let keys = Keys::new("k1");
    let end = now() + 2;
    let issuer = Origin::answering(move |_| {
        json(&if now() < end {
            active(json!({ "exp": end }))
        } else {
            "{\"active\":false}".to_owned()
        })
    });
    let (_origin, gateway) = gateway(&format!("http://{}/", issuer.address), ", cache: 60s", &keys);
    let client = gateway.client();
    assert_eq!(client.get_with("/opaque", "opaque").status, 200);
    crate::support::eventually("its end", || (now() > end).then_some(()));
    assert_eq!(client.get_with("/opaque", "opaque").status, 401);
}

// U24, M14: a good signature is no answer of the issuer's, and a forged token is not even asked about
#[test]
fn a_token_that_must_be_signed_and_active_is_both() {
    let keys = Keys::new("k1");
    let (good, taken_back) = (keys.token(json!({})), keys.token(json!({ "jti": "2" })));
    let known = good.clone();
    let issuer = Origin::answering(move |seen| {
        let is_good = String::from_utf8_lossy(&seen.body).contains(&known);
        json(&if is_good {
            active(json!({}))
        } else {
            "{\"active\":false}".to_owned()
        })
    });
    let (_origin, gateway) = gateway(&format!("http://{}/", issuer.address), "", &keys);
    let client = gateway.client();
    // its signature alone is remembered as good
    assert_eq!(client.get_with("/signed", &taken_back).status, 200);
    assert_eq!(issuer.seen().len(), 0);
    let answer = client.get_with("/both", &taken_back);
    assert_eq!(
        (answer.status, reason(&gateway, &answer).as_str()),
        (401, "token_inactive")
    );
    assert_eq!(client.get_with("/both", &good).status, 200);
    let asked = issuer.seen().len();
    let forged = Keys::new("k1").token(json!({}));
    let answer = client.get_with("/both", &forged);
    assert_eq!(
        (answer.status, reason(&gateway, &answer).as_str()),
        (401, "signature_invalid")
    );
    assert_eq!(issuer.seen().len(), asked);
}
