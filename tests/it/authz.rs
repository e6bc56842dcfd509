//! May they, from here, now? Conditions over real sockets, and what the file may not say.

use serde_json::json;

use crate::support::gateway::{binary, check};
use crate::support::{Folder, Gateway, Keys, Origin, mmdb};

/// A protected route at `/v1/vehicles/{vin}` and a public one at `/open`, behind a proxy at 127.0.0.1.
fn config(keys: &Keys, origin: &Origin, top: &str, route: &str) -> String {
    format!(
        "{}trusted_proxies: [127.0.0.0/8]\n{top}\n\
         upstreams: {{ vehicles: {{ targets: [\"{}\"] }} }}\n\
         routes:\n\
         - {{ match: {{ methods: [GET], path: \"/v1/vehicles/{{vin}}\" }}, auth: {{ jwt: main }}, upstream: vehicles, {route} }}\n\
         - {{ match: {{ methods: [GET], path: /open }}, public: {{ reason: x, owner: x }}, upstream: vehicles }}\n",
        keys.inline(),
        origin.address
    )
}

// S65, S68: by the client behind the proxy; refused before the credential is looked at, and the upstream is never asked
#[test]
fn a_network_is_that_of_the_client_and_is_asked_for_before_any_credential() {
    let (origin, keys) = (Origin::start(), Keys::new("k1"));
    let top = "conditions: { inside: { networks: { allow: [\"10.0.0.0/8\", \"2001:db8::/32\"], deny: [\"10.9.0.0/16\"] } } }";
    let gateway = Gateway::start(&config(&keys, &origin, top, "conditions: [inside]"));
    let bearer = format!("Bearer {}", keys.token(json!({})));
    let status = |forwarded: &str, token: &str| {
        let headers = [("X-Forwarded-For", forwarded), ("Authorization", token)];
        gateway.client().get("/v1/vehicles/1HG", &headers)
    };
    for (forwarded, expected) in [
        ("10.1.2.3", 200),
        ("2001:db8::7", 200),
        ("::ffff:10.1.2.3", 200),
        // a client cannot put itself inside by what it sends: only the last entry is the proxy's
        ("10.1.2.3, 203.0.113.9", 403),
        ("10.9.0.1", 403),
        ("203.0.113.9", 403),
    ] {
        assert_eq!(status(forwarded, &bearer).status, expected, "{forwarded}");
    }
    let served = origin.seen().len();
    let refused = status("203.0.113.9", "Bearer nonsense");
    assert_eq!(
        (refused.status, refused.code().as_str()),
        (403, "not_from_here_or_not_now"),
        "the credential was not looked at"
    );
    assert!(
        !refused.text().contains("network"),
        "which circumstance is nobody's business"
    );
    let record = gateway.record(refused.header("x-request-id").unwrap());
    assert_eq!(record["error.type"], "network_not_allowed");
    assert_eq!(origin.seen().len(), served);
}

// S67: each caller reaches their own, in whatever spelling, and nothing else
#[test]
fn a_part_of_the_path_has_to_be_what_the_token_says() {
    let (origin, keys) = (Origin::start(), Keys::new("k1"));
    let top = "conditions: { own: { claim_matches: { vin: car.vin } } }\ndefaults: { conditions: [] }";
    let gateway = Gateway::start(&config(&keys, &origin, top, "conditions: [own]"));
    let status = |path: &str, vin: serde_json::Value| {
        let token = keys.token(json!({ "car": { "vin": vin } }));
        gateway
            .client()
            .get_with(&format!("/v1/vehicles/{path}"), &token)
            .status
    };
    for (path, vin, expected) in [
        ("1HG", json!("1HG"), 200),
        ("%31HG", json!("1HG"), 200),
        ("a%20b", json!("a b"), 200),
        ("7", json!(7), 200),
        ("2HG", json!(["1HG", "2HG"]), 200),
        ("2HG", json!("1HG"), 403),
        ("1hg", json!("1HG"), 403),
        ("1HG", json!(["2HG"]), 403),
        ("1HG", json!([]), 403),
        ("1HG", json!(["1HG", 7]), 403),
        ("1HG", json!(null), 403),
        ("1HG", json!({ "is": "1HG" }), 403),
        ("7", json!(7.5), 403),
        ("true", json!(true), 403),
    ] {
        assert_eq!(status(path, vin.clone()), expected, "{path} {vin}");
    }
    let none = gateway
        .client()
        .get_with("/v1/vehicles/1HG", &keys.token(json!({})));
    assert_eq!((none.status, none.code().as_str()), (403, "resource_of_others"));
}

// S62
#[test]
fn permissions_are_all_asked_for_and_an_odd_claim_grants_none() {
    let (origin, keys) = (Origin::start(), Keys::new("k1"));
    let top = "conditions: { may: { permissions: [\"vehicle:read\", \"owner:read\"] } }";
    let gateway = Gateway::start(&config(&keys, &origin, top, "conditions: [may]"));
    let answer = |held: serde_json::Value| {
        let token = keys.token(json!({ "permissions": held, "scope": "x" }));
        gateway.client().get_with("/v1/vehicles/1HG", &token)
    };
    assert_eq!(answer(json!(["owner:read", "vehicle:read", "more"])).status, 200);
    for held in [
        json!(["vehicle:read"]),
        json!("vehicle:read owner:read"),
        json!([]),
        json!(null),
    ] {
        let refused = answer(held.clone());
        assert_eq!(
            (refused.status, refused.code().as_str()),
            (403, "insufficient_permission"),
            "{held}"
        );
    }
}

// S65: the file is the user's
#[test]
fn a_country_is_what_the_database_says_and_nobody_else() {
    let database = mmdb::countries(&[
        ("192.0.2.0/24", "DE"),
        ("198.51.100.0/24", "US"),
        ("2001:db8::/32", "SE"),
    ]);
    let (origin, keys) = (Origin::start(), Keys::new("k1"));
    let top = "countries: { database: countries.mmdb }\n\
               conditions: { eu: { countries: { allow: [DE, SE] } } }\ndefaults: { conditions: [eu] }";
    let gateway = Gateway::with(&config(&keys, &origin, top, "limits: []"))
        .file("countries.mmdb", database)
        .start();
    for (forwarded, expected) in [
        ("192.0.2.255", None),
        ("::ffff:192.0.2.7", None),
        ("2001:db8::1", None),
        ("198.51.100.1", Some("country_not_allowed")),
        ("203.0.113.1", Some("country_unknown")),
        ("2001:db9::1", Some("country_unknown")),
    ] {
        let answer = gateway.client().get("/open", &[("X-Forwarded-For", forwarded)]);
        assert_eq!(
            answer.status,
            if expected.is_some() { 403 } else { 200 },
            "{forwarded}"
        );
        let record = gateway.record(answer.header("x-request-id").unwrap());
        assert_eq!(record["error.type"].as_str(), expected, "{forwarded}");
    }
}

// U5: whatever combination of places asks, all of it is asked
#[test]
fn what_is_inherited_is_added_and_a_route_cannot_replace_it() {
    let (origin, keys) = (Origin::start(), Keys::new("k1"));
    let top = "conditions: { a: { scopes: [a] }, b: { scopes: [b] }, c: { scopes: [c] } }\n\
               groups: { g: { conditions: [b] }, h: { conditions: [b, c] } }\ndefaults: { conditions: [] }";
    let gateway = Gateway::start(&config(&keys, &origin, top, "conditions: [a], groups: [g, h]"));
    let status = |scope: &str| {
        let token = keys.token(json!({ "scope": scope }));
        gateway.client().get_with("/v1/vehicles/1HG", &token).status
    };
    for all_but in ["b c", "a c", "a b"] {
        assert_eq!(status(all_but), 403, "{all_but}");
    }
    assert_eq!(status("a b c"), 200);
}

// S62, S67: true admits, false and no value refuse with reasons of their own, and no claim's value is told to anybody
#[test]
fn an_expression_is_asked_of_verified_claims_and_of_the_request() {
    let (origin, keys) = (Origin::start(), Keys::new("k1"));
    let top = "conditions:\n\
        \x20 level: { when: 'claims.level >= 2 && request.params.vin in claims.vins' }\n\
        \x20 inside: { when: 'cidr(\"10.0.0.0/8\").containsIP(client.address) || request.method == \"HEAD\"' }";
    let gateway = Gateway::start(&config(&keys, &origin, top, "conditions: [inside, level]"));
    let ask = |from: &str, path: &str, claims: serde_json::Value| {
        let bearer = format!("Bearer {}", keys.token(claims));
        let headers = [("X-Forwarded-For", from), ("Authorization", &bearer)];
        gateway.client().get(&format!("/v1/vehicles/{path}"), &headers)
    };
    for path in ["1HG", "%31HG", "a%20b"] {
        let good = json!({ "level": 2, "vins": ["1HG", "a b"] });
        assert_eq!(ask("10.1.2.3", path, good).status, 200, "{path}");
    }
    let served = origin.seen().len();
    for (from, claims, reason) in [
        (
            "10.1.2.3",
            json!({ "level": 1, "vins": ["1HG"] }),
            "condition_not_met",
        ),
        (
            "10.1.2.3",
            json!({ "level": 2, "vins": ["2HG"] }),
            "condition_not_met",
        ),
        (
            "192.0.2.1",
            json!({ "level": 2, "vins": ["1HG"] }),
            "condition_not_met",
        ),
        ("10.1.2.3", json!({ "vins": ["1HG"] }), "condition_error"),
        (
            "10.1.2.3",
            json!({ "level": "secret-2", "vins": ["1HG"] }),
            "condition_error",
        ),
        (
            "10.1.2.3",
            json!({ "level": 2, "vins": "1HG" }),
            "condition_error",
        ),
        (
            "10.1.2.3",
            json!({ "level": 2.5, "vins": ["1HG"] }),
            "condition_error",
        ),
    ] {
        let refused = ask(from, "1HG", claims.clone());
        assert_eq!(
            (refused.status, refused.code().as_str()),
            (403, "condition_not_met"),
            "{claims}: the client is told one thing"
        );
        let record = gateway.record(refused.header("x-request-id").unwrap());
        assert_eq!(record["error.type"], reason, "{claims}");
        assert!(!record.to_string().contains("secret-2"), "{record}");
    }
    assert_eq!(origin.seen().len(), served);
    let early = gateway.client().get(
        "/v1/vehicles/1HG",
        &[
            ("X-Forwarded-For", "192.0.2.1"),
            ("Authorization", "Bearer nonsense"),
        ],
    );
    assert_eq!(
        early.status, 403,
        "what needs no client is asked before any credential"
    );
}

// S66: in shadow it is recorded, and passes
#[test]
fn an_expression_in_shadow_refuses_nobody() {
    let (origin, keys) = (Origin::start(), Keys::new("k1"));
    let top = "conditions: { level: { mode: shadow, when: claims.level >= 2 } }";
    let gateway = Gateway::start(&config(&keys, &origin, top, "conditions: [level]"));
    for (claims, reason) in [
        (json!({ "level": 1 }), "condition_not_met"),
        (json!({}), "condition_error"),
    ] {
        let answer = gateway.client().get_with("/v1/vehicles/1HG", &keys.token(claims));
        assert_eq!(answer.status, 200);
        let record = gateway.record(answer.header("x-request-id").unwrap());
        assert!(record.to_string().contains(reason), "{record}");
    }
}

#[test]
fn what_a_condition_cannot_mean_is_a_fault_of_the_file() {
    let folder = Folder::new();
    folder.write("junk.mmdb", "junk");
    let public = "- { match: { methods: [GET], path: /a }, public: { reason: x, owner: x }, respond: 200";
    let said = |top: &str, more: &str| {
        let yaml = format!(
            "version: 1\nlisteners: [{{ address: \"127.0.0.1:1\", plaintext: {{ reason: test }} }}]\n\
             limits: {{ l: {{ rate: 1/s, key: address }}, s: {{ rate: 1/s, key: subject }} }}\n{top}\nroutes:\n{public}, {more} }}\n"
        );
        let (is_good, said) = check(&folder, &yaml);
        assert!(!is_good, "{top} {more} is taken");
        said
    };
    let window = |keys: &str| format!("conditions: {{ c: {{ times: [{{ {keys} }}] }} }}");
    let net = "conditions: { c: { networks: { allow: [10.0.0.0/8] } }, d: { scopes: [x] }, e: { claim_matches: { vin: vin } } }";
    let cases: Vec<(String, &str, &str)> = vec![
        (net.into(), "conditions: [cc]", "unknown condition `cc`"),
        (net.into(), "conditions: [c, c]", "`c` is listed twice"),
        (net.into(), "conditions: [d]", "a public route has none"),
        (
            format!("{net}\ndefaults: {{ conditions: [d] }}"),
            "limits: []",
            "leave the condition out with `disable`",
        ),
        (net.into(), "conditions: [e]", "has no segment of that name"),
        (
            net.into(),
            "disable: { conditions: [c], reason: x }",
            "there is nothing to leave out",
        ),
        (
            format!("{net}\ndefaults: {{ conditions: [c] }}"),
            "disable: { conditions: [c], reason: \" \" }",
            "the reason is empty",
        ),
        (
            format!("{net}\ndefaults: {{ conditions: [c] }}"),
            "conditions: [c], disable: { conditions: [c], reason: x }",
            "the route itself asks for `c`",
        ),
        (
            format!("{net}\ndefaults: {{ conditions: [c] }}"),
            "disable: { reason: x }",
            "nothing is disabled",
        ),
        (
            format!("{net}\ndefaults: {{ limits: [s] }}"),
            "limits: []",
            "a public route has none",
        ),
        (
            format!("{net}\ndefaults: {{ limits: [m] }}"),
            "limits: []",
            "unknown limit `m`",
        ),
        (net.into(), "groups: [g]", "unknown group `g`"),
        ("conditions: { c: {} }".into(), "limits: []", "asks for nothing"),
        (
            "conditions: { c: { when: claims.level >= 2 } }".into(),
            "conditions: [c]",
            "a public route has none",
        ),
        (
            "conditions: { c: { when: request.params.vin == '1' } }".into(),
            "conditions: [c]",
            "looks at the parameter `vin`, and `/a` has no segment of that name",
        ),
        (
            "conditions: { c: { when: \"true && request.pth == '/'\" } }".into(),
            "limits: []",
            "character 9 of the expression: `request.pth` is not known",
        ),
        (
            "conditions: { c: { networks: {} } }".into(),
            "limits: []",
            "no network is named",
        ),
        (
            "conditions: { c: { networks: { deny: [\"::ffff:10.0.0.0/104\"] } } }".into(),
            "limits: []",
            "this is an IPv4 network",
        ),
        (
            "conditions: { c: { countries: { allow: [DE] } } }".into(),
            "limits: []",
            "nothing tells which country",
        ),
        (
            "countries: { database: junk.mmdb }".into(),
            "limits: []",
            "not a database in MaxMind's format",
        ),
        (
            "countries: { database: nowhere.mmdb }".into(),
            "limits: []",
            "cannot read nowhere.mmdb",
        ),
        (
            "countries: { database: junk.mmdb }\nconditions: { c: { countries: { allow: [de] } } }".into(),
            "limits: []",
            "`de` is not a country",
        ),
        (
            window("from: \"8:00\", to: \"09:00\", zone: UTC"),
            "limits: []",
            "`8:00` is not a time of day",
        ),
        (
            window("from: \"24:00\", to: \"09:00\", zone: UTC"),
            "limits: []",
            "`24:00` is not a time of day",
        ),
        (
            window("from: \"08:00\", to: \"08:00\", zone: UTC"),
            "limits: []",
            "the window ends where it begins",
        ),
        (
            window("from: \"08:00\", to: \"09:60\", zone: UTC"),
            "limits: []",
            "`09:60` is not a time of day",
        ),
        (
            window("from: \"08:00\", to: \"09:00\", zone: Europe/Bonn"),
            "limits: []",
            "unknown time zone `Europe/Bonn`",
        ),
        (
            window("days: [monday], from: \"08:00\", to: \"09:00\", zone: UTC"),
            "limits: []",
            "`monday` is not a weekday",
        ),
    ];
    for (top, more, expected) in cases {
        let said = said(&top, more);
        assert!(said.contains(expected), "{top} {more}: {said}");
    }
}

// S66
#[test]
fn prove_lists_what_no_route_asks_for() {
    let keys = Keys::new("k1");
    let yaml = format!(
        "version: 1\nlisteners: [{{ address: \"127.0.0.1:1\", plaintext: {{ reason: test }} }}]\n{}\
         roles: {{ used: [u], lost: [l] }}\n\
         conditions: {{ asked: {{ roles: [used] }}, forgotten: {{ roles: [lost] }} }}\n\
         groups: {{ g: {{ conditions: [asked] }}, nobodys: {{}} }}\n\
         limits: {{ counted: {{ rate: 1/s, key: global }}, idle: {{ rate: 1/s, key: global }} }}\n\
         routes: [{{ match: {{ methods: [GET], path: / }}, auth: {{ jwt: main }}, groups: [g], limits: [counted], respond: 200 }}]\n",
        keys.inline()
    );
    let folder = Folder::new();
    let file = folder.write("durward.yaml", yaml);
    let output = binary().args(["prove", "--json", "-c", &file]).output().unwrap();
    let proof: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let findings: Vec<String> = serde_json::from_value(proof["findings"].clone()).unwrap();
    let unused: Vec<&str> = findings
        .iter()
        .filter(|finding| finding.ends_with("is asked for by no route"))
        .map(|finding| finding.split(" (").next().unwrap())
        .collect();
    assert_eq!(
        unused,
        [
            "role `lost`",
            "condition `forgotten`",
            "group `nobodys`",
            "limit `idle`"
        ]
    );
}

// S58: RFC 9470, per route; nothing reaches the service
#[test]
fn a_log_in_that_falls_short_is_challenged_for_a_better_one() {
    let (origin, keys) = (Origin::start(), Keys::new("k1"));
    let top = "conditions: { sure: { step_up: { acr: [gold, silver], amr: [mfa], max_age: 5m } } }";
    let gateway = Gateway::start(&config(&keys, &origin, top, "conditions: [sure]"));
    let now = crate::support::issuer::now();
    let asks = "acr_values=\"gold silver\", max_age=\"300\"";
    for (claims, expected) in [
        (
            json!({ "acr": "silver", "amr": ["pwd", "mfa"], "auth_time": now - 200 }),
            None,
        ),
        (
            json!({ "amr": ["mfa"], "auth_time": now }),
            Some("acr_insufficient"),
        ),
        (
            json!({ "acr": "gold", "amr": ["pwd"], "auth_time": now }),
            Some("amr_insufficient"),
        ),
        (
            json!({ "acr": "gold", "amr": ["mfa"], "auth_time": now - 400 }),
            Some("authentication_too_old"),
        ),
        (
            json!({ "acr": "gold", "amr": ["mfa"] }),
            Some("authentication_too_old"),
        ),
    ] {
        let answer = gateway.client().get_with("/v1/vehicles/1HG", &keys.token(claims));
        let Some(reason) = expected else {
            assert_eq!(answer.status, 200, "{}", answer.text());
            continue;
        };
        assert_eq!(
            (answer.status, answer.code().as_str()),
            (401, "insufficient_user_authentication"),
            "{reason}"
        );
        let challenge = answer.header("www-authenticate").unwrap();
        assert!(
            challenge.starts_with("Bearer realm=\"durward\", error=\"insufficient_user_authentication\"")
                && challenge.ends_with(asks),
            "{challenge}"
        );
        let record = gateway.record(answer.header("x-request-id").unwrap());
        assert_eq!(record["error.type"], reason);
        assert_eq!(record["user.id"], "ada", "who it is is known");
    }
    assert_eq!(origin.seen().len(), 1);
}
