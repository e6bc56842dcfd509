//! Keys that are fetched: when, how often, and what happens while their issuer rotates, fails or lies.

use std::time::{Duration, Instant};

use serde_json::json;

use crate::support::issuer::{AUDIENCE, ISSUER};
use crate::support::jose::{self, jwk, jwks};
use crate::support::{Answer, Authority, Gateway, Issuer, Keys, Origin, Reply, eventually, free_address};

/// `/one`, `/two` … for one issuer each, `/public` for everybody.
fn routes(origin: &Origin, issuers: &[&str]) -> String {
    let mut text = format!(
        "upstreams:\n  o: {{ targets: [\"{}\"] }}\nroutes:\n\
         \x20 - {{ match: {{ methods: [GET], path: /public }}, public: {{ reason: probe, owner: us }}, upstream: o }}\n",
        origin.address
    );
    for name in issuers {
        text += &format!(
            "  - {{ match: {{ methods: [GET], path: /{name} }}, auth: {{ jwt: {name} }}, upstream: o }}\n"
        );
    }
    text
}

fn start(issuer: &Issuer, more: &str) -> (Origin, Gateway) {
    let origin = Origin::start();
    let gateway = Gateway::start(&(issuer.config(more) + &routes(&origin, &["main"])));
    (origin, gateway)
}

/// One metric's value, by its whole name with labels.
fn metric(gateway: &Gateway, name: &str) -> Option<f64> {
    let text = gateway.admin("/metrics").text();
    let line = text
        .lines()
        .find(|line| line.strip_prefix(name).is_some_and(|rest| rest.starts_with(' ')))?;
    line.rsplit_once(' ')?.1.parse().ok()
}

fn unavailable(gateway: &Gateway, answer: &Answer) {
    assert_eq!(
        (answer.status, answer.code().as_str()),
        (503, "identity_provider_unavailable")
    );
    let after: u64 = answer.header("retry-after").unwrap().parse().unwrap();
    assert!((1..=30).contains(&after), "{after}");
    assert_eq!(
        answer.header("www-authenticate"),
        None,
        "the token is not at fault"
    );
    let record = gateway.record(answer.header("x-request-id").unwrap());
    assert_eq!(record["error.type"], "identity_provider_unavailable");
}

// S50
#[test]
fn many_tokens_cost_one_fetch() {
    let keys = Keys::new("k1");
    let issuer = Issuer::start(&keys.jwks());
    let (origin, gateway) = start(&issuer, "");
    let mut connection = gateway.client().connect();
    for n in 0..100 {
        let bearer = format!("Bearer {}", keys.token(json!({ "jti": n.to_string() })));
        connection.write(crate::support::client::request(
            "GET",
            "/main",
            &[("Authorization", &bearer)],
            "",
        ));
        assert_eq!(connection.answer().status, 200);
    }
    assert_eq!((issuer.fetches(), origin.seen().len()), (1, 100));
}

// S51, U1
#[test]
fn a_rotated_key_passes_on_the_first_request_and_the_old_one_no_more() {
    let (old, new) = (Keys::new("k1"), Keys::new("k2"));
    let issuer = Issuer::start(&old.jwks());
    let (_origin, gateway) = start(&issuer, "cache: 1h, cooldown: 1h");
    let client = gateway.client();
    let old_token = old.token(json!({}));
    assert_eq!(client.get_with("/main", &old_token).status, 200);
    issuer.publish(&new.jwks());
    let answer = client.get_with("/main", &new.token(json!({})));
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(issuer.fetches(), 2);
    // its verdict was remembered, and went with the key
    let answer = client.get_with("/main", &old_token);
    assert_eq!((answer.status, answer.code().as_str()), (401, "invalid_token"));
    let record = gateway.record(answer.header("x-request-id").unwrap());
    assert_eq!(record["error.type"], "key_unknown");
}

// S51
#[test]
fn a_flood_of_random_kids_causes_one_fetch_in_a_cooldown_and_one_for_who_came_meanwhile() {
    let (keys, attacker) = (Keys::new("k1"), Keys::new("x"));
    let issuer = Issuer::start(&keys.jwks());
    let (origin, gateway) = start(&issuer, "cooldown: 1h");
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let (gateway, attacker) = (&gateway, &attacker);
            scope.spawn(move || {
                let mut connection = gateway.client().connect();
                for n in 0..50 {
                    let header = json!({ "alg": "RS256", "kid": format!("{thread}-{n}") });
                    let bearer = format!("Bearer {}", attacker.sign(&header, &Keys::claims(json!({}))));
                    let headers = [("Authorization", &*bearer)];
                    connection.write(crate::support::client::request("GET", "/main", &headers, ""));
                    let answer = connection.answer();
                    match answer.status {
                        // the one that was asked about first, and who came in time to ask once more
                        401 => assert_eq!(answer.code(), "invalid_token"),
                        // nobody can tell until the cooldown has passed
                        503 => {
                            let after: u64 = answer.header("retry-after").unwrap().parse().unwrap();
                            assert!((3500..=3600).contains(&after), "{after}");
                        }
                        other => panic!("{other}"),
                    }
                }
            });
        }
    });
    let fetches = issuer.fetches();
    assert!(
        (2..=3).contains(&fetches),
        "one at the start, at most two for the flood: {fetches}"
    );
    // U1
    let metrics = gateway.admin("/metrics").text();
    assert!(
        metrics.contains("durward_jwks_age_seconds{issuer=\"main\"} "),
        "{metrics}"
    );
    for (reason, fetches) in [("scheduled", 1), ("unknown_kid", fetches - 1)] {
        let line = format!("durward_jwks_fetches_total{{issuer=\"main\",reason=\"{reason}\"}} {fetches}");
        assert!(metrics.contains(&line), "{line}: {metrics}");
    }
    assert_eq!(origin.connections(), 0);
    assert_eq!(
        gateway.client().get_with("/main", &keys.token(json!({}))).status,
        200
    );
}

// S51, U1: single flight
#[test]
fn many_requests_with_a_new_key_wait_for_one_fetch() {
    let (old, new) = (Keys::new("k1"), Keys::new("k2"));
    let issuer = Issuer::start(&old.jwks());
    let (_origin, gateway) = start(&issuer, "");
    assert_eq!(
        gateway.client().get_with("/main", &old.token(json!({}))).status,
        200
    );
    let set = new.jwks();
    issuer.answer(move || {
        Reply::new(200, &[("Content-Type", "application/json")], &set).after(Duration::from_millis(500))
    });
    std::thread::scope(|scope| {
        for n in 0..20 {
            let (gateway, new) = (&gateway, &new);
            scope.spawn(move || {
                let answer = gateway
                    .client()
                    .get_with("/main", &new.token(json!({ "jti": n.to_string() })));
                assert_eq!(answer.status, 200, "{}", answer.text());
            });
        }
    });
    assert_eq!(issuer.fetches(), 2);
}

// U2: with the shortest times that can be configured
#[test]
fn keys_stay_in_use_while_their_issuer_is_down_and_then_it_is_503_and_never_401() {
    let (keys, newer) = (Keys::new("k1"), Keys::new("k2"));
    let issuer = Issuer::start(&keys.jwks());
    let (_origin, gateway) = start(
        &issuer,
        "cache: 10s, max_stale: 10s, cooldown: 1s, timeout: 500ms",
    );
    let client = gateway.client();
    let token = keys.token(json!({}));
    assert_eq!(client.get_with("/main", &token).status, 200);
    issuer.answer(|| Reply::raw("").closing());
    // what the keys lack may have been published since: nobody can know
    unavailable(&gateway, &client.get_with("/main", &newer.token(json!({}))));
    let asked = issuer.fetches();
    assert_eq!(client.get_with("/main", &token).status, 200);
    assert_eq!(
        client
            .get_with("/main", &keys.token(json!({ "jti": "another" })))
            .status,
        200
    );

    let (mut served, end) = (0, Instant::now() + Duration::from_secs(30));
    let answer = loop {
        let answer = client.get_with("/main", &token);
        if answer.status != 200 {
            break answer;
        }
        served += 1;
        assert!(Instant::now() < end, "max_stale has no effect");
        std::thread::sleep(Duration::from_millis(50));
    };
    assert!(served > 10);
    unavailable(&gateway, &answer);
    assert!(issuer.fetches() > asked, "nobody tried to get them");
    assert_eq!(client.get("/public", &[]).status, 200);
    let ready = gateway.admin("/readyz");
    assert_eq!(
        (ready.status, &ready.json()["failing"][0]["issuer"]),
        (503, &json!("main"))
    );

    issuer.publish(&newer.jwks());
    eventually("the issuer is back", || {
        (client.get_with("/main", &newer.token(json!({}))).status == 200).then_some(())
    });
    assert_eq!(gateway.admin("/readyz").status, 200);
}

// U3
#[test]
fn an_issuer_that_is_down_at_the_start_disturbs_no_other_and_is_found_when_it_comes() {
    let (keys, other) = (Keys::new("k1"), Keys::new("k1"));
    let (origin, address) = (Origin::start(), free_address());
    let config = format!(
        "issuers:\n  late: {{ issuer: late, audiences: [{AUDIENCE}], jwks: {{ url: \"http://{address}/\" }} }}\n\
         \x20 there: {{ issuer: there, audiences: [{AUDIENCE}], jwks: {{ inline: '{}' }} }}\n",
        other.jwks()
    );
    let gateway = Gateway::start(&(config + &routes(&origin, &["late", "there"])));
    let client = gateway.client();
    let token = keys.token(json!({ "iss": "late" }));
    unavailable(&gateway, &client.get_with("/late", &token));
    assert_eq!(client.get("/public", &[]).status, 200);
    assert_eq!(
        client
            .get_with("/there", &other.token(json!({ "iss": "there" })))
            .status,
        200
    );
    // what is wrong with a token for sure stays its fault
    assert_eq!(client.get_with("/late", "a.b.c").status, 401);
    assert_eq!(client.get("/late", &[]).status, 401);
    let ready = gateway.admin("/readyz");
    assert_eq!(ready.status, 503);
    let failing = ready.json()["failing"].as_array().unwrap().clone();
    assert_eq!((failing.len(), &failing[0]["issuer"]), (1, &json!("late")));
    assert_eq!(
        metric(&gateway, "durward_jwks_usable{issuer=\"late\"}"),
        Some(0.0)
    );
    assert_eq!(
        metric(&gateway, "durward_jwks_usable{issuer=\"there\"}"),
        Some(1.0)
    );
    assert!(metric(&gateway, "durward_jwks_failures{issuer=\"late\"}").unwrap() >= 1.0);

    let set = keys.jwks();
    let _late = Origin::at(address, move |_| {
        Reply::new(200, &[("Content-Type", "application/json")], &set)
    });
    eventually("the issuer is found", || {
        (client.get_with("/late", &token).status == 200).then_some(())
    });
    assert_eq!(gateway.admin("/readyz").status, 200);
    assert_eq!(
        metric(&gateway, "durward_jwks_usable{issuer=\"late\"}"),
        Some(1.0)
    );
}

/// An HTTP answer with a key set of this length.
fn padded(keys: &Keys, length: usize) -> Reply {
    let mut set = keys.jwks();
    set.extend(std::iter::repeat_n(' ', length.saturating_sub(set.len())));
    Reply::new(200, &[("Content-Type", "application/json")], &set)
}

// U2, U3: what is not a key set from the configured place is no key set
#[test]
fn an_issuer_that_lies_is_not_believed_and_holds_nobody_up() {
    let keys = Keys::new("k1");
    let set = keys.jwks();
    let elsewhere = Issuer::start(&set);
    let target = format!("http://{}/jwks.json", elsewhere.address);
    let (trusted, stranger) = (Authority::new(), Authority::new());
    let leaf = trusted.leaf(&["localhost"]);
    let other_name = trusted.leaf(&["issuer.example"]);

    let said = |reply: fn(&str) -> Reply| {
        let set = set.clone();
        Origin::answering(move |_| reply(&set))
    };
    let with_keys = |reply: fn(&Keys) -> Reply| {
        let keys = keys.clone();
        Origin::answering(move |_| reply(&keys))
    };
    let redirecting = |status: u16| {
        let target = target.clone();
        Origin::answering(move |_| Reply::new(status, &[("Location", &target)], ""))
    };
    let tls = |leaf: &crate::support::certs::Leaf| {
        let set = set.clone();
        Origin::tls(&leaf.certificate, &leaf.key, move |_| {
            Reply::new(200, &[("Content-Type", "application/json")], &set)
        })
    };
    // name, server, https with this CA
    let liars = [
        (
            "html",
            said(|_| Reply::new(200, &[("Content-Type", "text/html")], "<h1>Log in</h1>")),
            "",
        ),
        (
            "html-as-json",
            said(|_| Reply::new(200, &[("Content-Type", "application/json")], "<h1>")),
            "",
        ),
        (
            "keys-as-html",
            said(|set| Reply::new(200, &[("Content-Type", "text/html")], set)),
            "",
        ),
        ("untyped", said(|set| Reply::new(200, &[], set)), ""),
        (
            "error",
            said(|set| Reply::new(500, &[("Content-Type", "application/json")], set)),
            "",
        ),
        (
            "accepted",
            said(|set| Reply::new(202, &[("Content-Type", "application/json")], set)),
            "",
        ),
        ("moved", redirecting(302), ""),
        ("moved-for-good", redirecting(308), ""),
        ("huge", with_keys(|keys| padded(keys, 300_000)), ""),
        (
            "short",
            said(|_| {
                Reply::raw(
                    "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 9000\r\n\r\n{}",
                )
                .closing()
            }),
            "",
        ),
        (
            "no-set",
            said(|_| Reply::new(200, &[("Content-Type", "application/json")], "{}")),
            "",
        ),
        (
            "twice",
            said(|_| {
                Reply::new(
                    200,
                    &[("Content-Type", "application/json")],
                    r#"{"keys":[],"keys":[]}"#,
                )
            }),
            "",
        ),
        (
            "noise",
            said(|_| Reply::raw("nothing of the kind\r\n\r\n").closing()),
            "",
        ),
        ("silent", said(|_| Reply::ok().after(Duration::from_secs(60))), ""),
        ("stranger", tls(&leaf), "stranger.pem"),
        ("other-name", tls(&other_name), "trusted.pem"),
        ("system-ca", tls(&leaf), "system"),
    ];
    let mut issuers = "issuers:\n".to_owned();
    for (name, server, ca) in &liars {
        let url = match *ca {
            "" => format!("url: \"http://{}/jwks.json\"", server.address),
            "system" => format!("url: \"https://localhost:{}/\"", server.address.port()),
            ca => format!("url: \"https://localhost:{}/\", ca: {ca}", server.address.port()),
        };
        issuers += &format!(
            "  {name}: {{ issuer: {name}, audiences: [{AUDIENCE}], jwks: {{ {url}, timeout: 500ms }} }}\n"
        );
    }
    let honest = tls(&leaf);
    issuers += &format!(
        "  honest: {{ issuer: honest, audiences: [{AUDIENCE}], jwks: {{ url: \"https://localhost:{}/\", ca: trusted.pem }} }}\n",
        honest.address.port()
    );
    let full = with_keys(|keys| padded(keys, 256 * 1024));
    issuers += &format!(
        "  full: {{ issuer: full, audiences: [{AUDIENCE}], jwks: {{ url: \"http://{}/\" }} }}\n",
        full.address
    );
    let origin = Origin::start();
    let mut names: Vec<&str> = liars.iter().map(|(name, ..)| *name).collect();
    names.extend(["honest", "full"]);
    let gateway = Gateway::with(&(issuers + &routes(&origin, &names)))
        .file("trusted.pem", trusted.pem())
        .file("stranger.pem", stranger.pem())
        .start();
    let client = gateway.client();
    for (name, ..) in &liars {
        let begun = Instant::now();
        let answer = client.get_with(&format!("/{name}"), &keys.token(json!({ "iss": name })));
        assert!(
            begun.elapsed() < Duration::from_secs(5),
            "{name}: {:?}",
            begun.elapsed()
        );
        assert_eq!(answer.status, 503, "{name}: {}", answer.text());
        unavailable(&gateway, &answer);
    }
    for name in ["honest", "full"] {
        let answer = client.get_with(&format!("/{name}"), &keys.token(json!({ "iss": name })));
        assert_eq!(answer.status, 200, "{name}: {}", answer.text());
    }
    assert_eq!(elsewhere.fetches(), 0, "a redirect was followed");
    let failing = gateway.admin("/readyz").json()["failing"]
        .as_array()
        .unwrap()
        .clone();
    let failing: Vec<&str> = failing
        .iter()
        .map(|one| one["issuer"].as_str().unwrap())
        .collect();
    for name in &names {
        let down = !matches!(*name, "honest" | "full");
        assert_eq!(failing.contains(name), down, "{name}: {failing:?}");
        assert_eq!(
            metric(&gateway, &format!("durward_jwks_usable{{issuer=\"{name}\"}}")),
            Some(if down { 0.0 } else { 1.0 })
        );
    }
}

// U2: good keys are not given up for an answer that is none
#[test]
fn an_issuer_that_begins_to_lie_costs_nobody_their_access() {
    let (keys, newer) = (Keys::new("k1"), Keys::new("k2"));
    let issuer = Issuer::start(&keys.jwks());
    let (_origin, gateway) = start(&issuer, "cooldown: 1s");
    let client = gateway.client();
    assert_eq!(client.get_with("/main", &keys.token(json!({}))).status, 200);
    issuer.answer(|| Reply::new(200, &[("Content-Type", "text/html")], "<h1>Maintenance</h1>"));
    unavailable(&gateway, &client.get_with("/main", &newer.token(json!({}))));
    assert_eq!(issuer.fetches(), 2);
    assert_eq!(
        client
            .get_with("/main", &keys.token(json!({ "jti": "2" })))
            .status,
        200
    );
    assert_eq!(gateway.admin("/readyz").status, 200);
    assert_eq!(
        metric(&gateway, "durward_jwks_failures{issuer=\"main\"}"),
        Some(1.0)
    );
}

// S46: one bad key in a set costs the others nothing
#[test]
fn keys_that_cannot_be_used_are_left_out_of_a_fetched_set() {
    let (keys, weak) = (Keys::new("k1"), jose::rsa_key(1024));
    let mut private = jwk("private", &keys.key);
    private["d"] = json!("AQAB");
    let issuer = Issuer::start(&jwks(&[jwk("weak", &weak), private, json!(7), keys.jwk()]));
    let (_origin, gateway) = start(&issuer, "");
    let client = gateway.client();
    assert_eq!(client.get_with("/main", &keys.token(json!({}))).status, 200);
    for (kid, key) in [("weak", &weak), ("private", &keys.key)] {
        let claims = Keys::claims(json!({ "iss": ISSUER }));
        let token = jose::token("RS256", key, json!({ "alg": "RS256", "kid": kid }), claims);
        let answer = client.get_with("/main", &token);
        assert_eq!(
            (answer.status, answer.code().as_str()),
            (401, "invalid_token"),
            "{kid}"
        );
        let record = gateway.record(answer.header("x-request-id").unwrap());
        assert_eq!(record["error.type"], "key_unsuited", "{kid}");
    }
    assert_eq!(issuer.fetches(), 1, "fetching again would not help");
    let said = gateway.messages();
    assert!(
        said.contains("private_key_published") && said.contains("weak"),
        "{said}"
    );
}
