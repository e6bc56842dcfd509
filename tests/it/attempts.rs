//! Who tries credentials is not listened to after a while; who is known is (S54, S73).

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use serde_json::json;

use crate::support::client::request;
use crate::support::issuer::{AUDIENCE, ISSUER};
use crate::support::{Answer, Gateway, Keys, Origin, Reply, eventually};

/// `/signed` and `/opaque` for tokens, `/key` for API keys; from the address in `X-Forwarded-For`.
struct House {
    keys: Keys,
    origin: Origin,
    gateway: Gateway,
    asked: Arc<AtomicUsize>,
}

impl House {
    fn new(limits: &str) -> House {
        let keys = Keys::new("k1");
        let origin = Origin::start();
        let asked = Arc::new(AtomicUsize::new(0));
        let count = asked.clone();
        let issuer = Origin::answering(move |_| {
            count.fetch_add(1, Ordering::SeqCst);
            Reply::new(200, &[("Content-Type", "application/json")], "{\"active\":false}")
                .after(Duration::from_millis(50))
        });
        let gateway = Gateway::with(&format!(
            "trusted_proxies: [127.0.0.0/8]\n\
             failed_authentication: {{ {limits} }}\n\
             issuers:\n  main:\n    issuer: \"{ISSUER}\"\n    audiences: [{AUDIENCE}]\n    jwks: {{ inline: '{}' }}\n\
             \x20   introspection: {{ url: \"http://{}/\", client_id: us, client_secret: \"${{env:SECRET}}\" }}\n\
             keys: {{ partners: {{ file: partners.json }} }}\n\
             upstreams: {{ o: {{ targets: [\"{}\"] }} }}\n\
             routes:\n\
             \x20 - {{ match: {{ methods: [GET], path: /signed }}, auth: {{ jwt: main }}, upstream: o }}\n\
             \x20 - {{ match: {{ methods: [GET], path: /opaque }}, auth: {{ introspection: main }}, upstream: o }}\n\
             \x20 - {{ match: {{ methods: [GET], path: /key }}, auth: {{ api_key: partners }}, upstream: o }}\n",
            keys.jwks(),
            issuer.address,
            origin.address
        ))
        .env("SECRET", "s")
        .file("partners.json", "{\"version\":1,\"environment\":\"live\",\"keys\":[]}")
        .start();
        House {
            keys,
            origin,
            gateway,
            asked,
        }
    }

    fn ask(&self, path: &str, from: &str, token: &str) -> Answer {
        let bearer = format!("Bearer {token}");
        let headers = [("Authorization", &*bearer), ("X-Forwarded-For", from)];
        self.gateway.client().get(path, &headers)
    }

    fn forged(&self, subject: &str, id: usize) -> String {
        let token = self.keys.token(json!({ "sub": subject, "jti": id.to_string() }));
        format!("{}.AAAA", token.rsplit_once('.').unwrap().0)
    }

    fn reason(&self, answer: &Answer) -> String {
        let record = self.gateway.record(answer.header("x-request-id").unwrap());
        record["error.type"].as_str().unwrap_or("none").to_owned()
    }

    fn too_many(&self, answer: &Answer, reason: &str) {
        assert_eq!(
            (answer.status, answer.code().as_str()),
            (429, "too_many_refused_credentials"),
            "{}",
            answer.text()
        );
        let after: u64 = answer.header("retry-after").unwrap().parse().unwrap();
        assert!((1..=3750).contains(&after), "{after}");
        assert_eq!(answer.header("www-authenticate"), None);
        assert_eq!(self.reason(answer), reason);
    }
}

// S73, S54, S53: however many come at once
#[test]
fn random_opaque_tokens_cost_one_question_each_within_the_limit_and_nothing_beyond_it() {
    let house = House::new("per_address: 10/h");
    let statuses: Vec<u16> = std::thread::scope(|scope| {
        let asking: Vec<_> = (0..8)
            .map(|thread| {
                let house = &house;
                scope.spawn(move || {
                    let mut connection = house.gateway.client().connect();
                    let mut statuses = Vec::new();
                    for n in 0..10 {
                        let bearer = format!("Bearer random-{thread}-{n}");
                        connection.write(request("GET", "/opaque", &[("Authorization", &bearer)], ""));
                        statuses.push(connection.answer().status);
                    }
                    statuses
                })
            })
            .collect();
        asking.into_iter().flat_map(|one| one.join().unwrap()).collect()
    });
    let of = |status: u16| statuses.iter().filter(|one| **one == status).count();
    assert_eq!((of(401), of(429)), (10, 70));
    assert_eq!(house.asked.load(Ordering::SeqCst), 10);
    assert_eq!(house.origin.connections(), 0, "nothing of it reached a service");
    house.too_many(
        &house.ask("/opaque", "127.0.0.1", "another"),
        "attempts_of_address",
    );
}

// S73
#[test]
fn who_forges_tokens_is_stopped_and_who_is_known_is_not() {
    let house = House::new("per_address: 3/h");
    let known = house.keys.token(json!({ "sub": "bob" }));
    assert_eq!(house.ask("/signed", "192.0.2.1", &known).status, 200);
    let same = house.forged("ada", 0);
    for _ in 0..20 {
        let answer = house.ask("/signed", "192.0.2.1", &same);
        assert_eq!(
            (answer.status, answer.code().as_str()),
            (401, "invalid_token"),
            "the same counts once"
        );
    }
    for n in 1..3 {
        assert_eq!(
            house.ask("/signed", "192.0.2.1", &house.forged("ada", n)).status,
            401
        );
    }
    house.too_many(
        &house.ask("/signed", "192.0.2.1", &house.forged("ada", 9)),
        "attempts_of_address",
    );
    // not even a good one is looked at, unless it was before
    let fresh = house.keys.token(json!({ "sub": "eve" }));
    house.too_many(&house.ask("/signed", "192.0.2.1", &fresh), "attempts_of_address");
    assert_eq!(house.ask("/signed", "192.0.2.1", &known).status, 200);
    assert_eq!(
        house.ask("/signed", "192.0.2.2", &fresh).status,
        200,
        "from elsewhere"
    );
    // and what is known to be bad is told so
    assert_eq!(house.ask("/signed", "192.0.2.1", &same).status, 401);
    // keys are credentials, too
    let headers = [("X-Api-Key", "dwk_live_guess"), ("X-Forwarded-For", "192.0.2.1")];
    house.too_many(
        &house.gateway.client().get("/key", &headers),
        "attempts_of_address",
    );
    // an expired token was good once, and nothing that was sent is no try
    for n in 0..10 {
        let expired = house
            .keys
            .token(json!({ "exp": 1000, "iat": 900, "jti": n.to_string() }));
        assert_eq!(
            house.ask("/signed", "192.0.2.3", &expired).code(),
            "token_expired"
        );
        let nothing = house
            .gateway
            .client()
            .get("/signed", &[("X-Forwarded-For", "192.0.2.3")]);
        assert_eq!(nothing.code(), "credentials_missing");
    }
    assert_eq!(house.origin.seen().len(), 3);
}

// S73: a name is anybody's to write
#[test]
fn an_account_under_attack_is_not_locked_for_its_owner() {
    let house = House::new("per_address: false, per_account: 5/h");
    let good = |id: &str| house.keys.token(json!({ "sub": "victim", "jti": id }));
    assert_eq!(house.ask("/signed", "192.0.2.1", &good("1")).status, 200);
    for n in 0..5 {
        let answer = house.ask("/signed", &format!("198.51.100.{n}"), &house.forged("victim", n));
        assert_eq!(answer.status, 401);
    }
    house.too_many(
        &house.ask("/signed", "198.51.100.9", &house.forged("victim", 9)),
        "attempts_for_account",
    );
    // with a new token, from where the account is at home
    assert_eq!(house.ask("/signed", "192.0.2.1", &good("2")).status, 200);
    assert_eq!(
        house
            .ask(
                "/signed",
                "198.51.100.9",
                &house.keys.token(json!({ "sub": "bob" }))
            )
            .status,
        200
    );
}

// S17, S73
#[test]
fn a_reload_forgets_no_attempt() {
    let house = House::new("per_address: 1/h");
    assert_eq!(
        house.ask("/signed", "192.0.2.1", &house.forged("ada", 0)).status,
        401
    );
    let file = house.gateway.folder.0.join("durward.yaml");
    let yaml = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, format!("{yaml}# changed\n")).unwrap();
    house.gateway.signal("HUP");
    eventually("the reload", || {
        house.gateway.messages().contains("from now on").then_some(())
    });
    house.too_many(
        &house.ask("/signed", "192.0.2.1", &house.forged("ada", 1)),
        "attempts_of_address",
    );
}
