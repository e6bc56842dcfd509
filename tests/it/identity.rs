//! What upstreams are told of the caller: what was verified, from nobody but the gateway (S56, U17).

use serde_json::json;

use crate::support::client::request;
use crate::support::origin::Seen;
use crate::support::{Gateway, Keys, Origin, h2};

fn config(keys: &Keys, origin: &Origin, more: &str) -> String {
    format!(
        "{}{more}upstreams:\n  o: {{ targets: [\"{}\"] }}\nroutes:\n\
         \x20 - {{ match: {{ methods: [GET], path: /protected }}, auth: {{ jwt: main }}, upstream: o }}\n\
         \x20 - {{ match: {{ methods: [GET], path: /public }}, public: {{ reason: probe, owner: us }}, upstream: o }}\n",
        keys.inline(),
        origin.address
    )
}

/// What a client may try to be.
const SPOOFED: [(&str, &str); 19] = [
    ("x-user-id", "eve"),
    ("X-User-ID", "eve"),
    ("X-USER-ID", "eve"),
    ("X_User_Id", "eve"),
    ("x-user_id", "eve"),
    ("X-Roles", "eve"),
    ("x_roles", "eve"),
    ("X-Roles", "eve,eve"),
    ("x-durward-subject", "eve"),
    ("X_Durward_Anything", "eve"),
    ("X-Durward-", "eve"),
    ("x-real-ip", "6.6.6.6"),
    ("X_Real_IP", "6.6.6.6"),
    ("x-forwarded-client-cert", "eve"),
    ("X-Forwarded-User", "eve"),
    ("x_forwarded_for", "6.6.6.6"),
    ("X-Forwarded-Prefix", "/eve"),
    ("X-Request-Id", "eve"),
    ("x_request_id", "eve"),
];

/// Asserts that nothing of what was spoofed arrived.
fn clean(seen: &Seen, what: &str) {
    for (name, value) in &seen.headers {
        assert!(
            !value.contains("eve") && !value.contains("6.6.6.6"),
            "{what}: {name}: {value} arrived"
        );
        let spelled = name.to_ascii_lowercase();
        assert!(!spelled.contains('_'), "{what}: {name} arrived");
    }
}

// S56, U17
#[test]
fn identity_headers_of_clients_never_arrive_in_any_spelling() {
    let (keys, origin) = (Keys::new("k1"), Origin::start());
    let gateway = Gateway::start(&config(&keys, &origin, ""));
    let client = gateway.client();
    let bearer = format!("Bearer {}", keys.token(json!({})));
    for path in ["/public", "/protected"] {
        let mut all = SPOOFED.to_vec();
        all.push(("Authorization", &bearer));
        for spoofed in SPOOFED
            .iter()
            .map(|one| vec![*one, *one, ("Authorization", &bearer)])
            .chain([all])
        {
            let what = format!("{path} {spoofed:?}");
            let answer = client.get(path, &spoofed);
            assert_eq!(answer.status, 200, "{what}: {}", answer.text());
            let lower: Vec<(String, &str)> = spoofed
                .iter()
                .map(|(name, value)| (name.to_lowercase(), *value))
                .collect();
            let lower: Vec<(&str, &str)> = lower.iter().map(|(name, value)| (&**name, *value)).collect();
            let answer = h2::get(gateway.https, &gateway.authority, path, &lower);
            assert_eq!(answer.status, 200, "{what}, HTTP/2: {}", answer.text());
            for seen in origin.seen().iter().rev().take(2) {
                clean(seen, &what);
                let (user, roles) = if path == "/public" {
                    (None, None)
                } else {
                    (Some("ada"), Some("clerk"))
                };
                assert_eq!(
                    (seen.header("x-user-id"), seen.header("x-roles")),
                    (user, roles),
                    "{what}"
                );
            }
        }
    }
}

// S56, U17: a nomination makes the next hop delete a header
#[test]
fn nominations_in_connection_take_nothing_away_that_the_gateway_says() {
    let (keys, origin) = (Keys::new("k1"), Origin::start());
    let gateway = Gateway::start(&config(&keys, &origin, ""));
    let bearer = format!("Bearer {}", keys.token(json!({})));
    for nominated in [
        "x-user-id",
        "X-User-Id, X-Roles",
        "close, x-user-id, x-roles, x-request-id, strict-transport-security",
        "keep-alive, X_User_Id, x-durward-subject",
        "authorization",
        "via",
        "content-type",
        "\"x-user-id\"",
        "a, b, c, d, e, f, g, h, i, j",
        "x-forwarded-for, forwarded, x-forwarded-proto",
        "host",
    ] {
        for spoofed in [false, true] {
            let mut headers = vec![("Authorization", &*bearer), ("Connection", nominated)];
            if spoofed {
                headers.push(("X-User-Id", "eve"));
            }
            let before = (origin.seen().len(), origin.connections());
            let answer = gateway.client().get("/protected", &headers);
            let seen = origin.seen();
            if answer.status != 200 {
                // refusing is as good, as long as it is the client's fault
                assert_eq!(
                    (answer.status, answer.code().as_str()),
                    (400, "request_malformed"),
                    "{nominated}"
                );
                assert_eq!(
                    (seen.len(), origin.connections()),
                    before,
                    "a refused request reached the origin"
                );
                let record = gateway.record(answer.header("x-request-id").unwrap());
                assert_eq!(record["error.type"], "connection_nomination", "{nominated}");
                continue;
            }
            let seen = seen.last().unwrap();
            clean(seen, nominated);
            assert_eq!(seen.header("x-user-id"), Some("ada"), "{nominated}");
            assert_eq!(seen.header("x-roles"), Some("clerk"), "{nominated}");
            assert_eq!(seen.header("host"), Some("api.example"), "{nominated}");
            assert_eq!(seen.header("x-forwarded-for"), Some("127.0.0.1"), "{nominated}");
            assert_eq!(
                seen.header("x-request-id"),
                answer.header("x-request-id"),
                "{nominated}"
            );
            assert!(
                !seen.headers.iter().any(|(_, value)| value.contains("x-user-id")),
                "{nominated}"
            );
        }
    }
}

// S56, U18
#[test]
fn configured_headers_carry_claims_and_lists_that_read_back_unambiguously() {
    let (keys, origin) = (Keys::new("k1"), Origin::start());
    let more = "identity_headers:\n  reserved_prefixes: [x-acme-]\n  inject:\n    X-Subject: subject\n\
                \x20   X-Client: client_id\n    X-Issuer: issuer\n    X-Scopes: scopes\n    X-Acme-Roles: roles\n\
                \x20   X-Tenant: claims.org.tenant\n    X-Groups: claims.groups\n    X-Odd: \"claims./a.b~1c\"\n";
    let gateway = Gateway::start(&config(&keys, &origin, more));
    let claims = json!({
        "org": { "tenant": "acme" }, "groups": ["a,b", "50%", "c d"], "roles": [], "a.b/c": "odd",
    });
    let headers = [
        ("X-Tenant", "eve"),
        ("x_tenant", "eve"),
        ("X-Groups", "eve"),
        ("x-acme-anything", "eve"),
        ("X-Acme_Roles", "eve"),
        ("X-Subject", "eve"),
        // what services commonly believe is not ours here, and does not pass all the same
        ("X-User-Id", "eve"),
        ("X-Roles", "eve"),
    ];
    let bearer = format!("Bearer {}", keys.token(claims));
    let mut with_token = headers.to_vec();
    with_token.push(("Authorization", &bearer));
    assert_eq!(gateway.client().get("/protected", &with_token).status, 200);
    let seen = origin.seen().pop().unwrap();
    clean(&seen, "protected");
    for (name, value) in [
        ("x-subject", Some("ada")),
        ("x-client", Some("tests")),
        ("x-issuer", Some("main")),
        ("x-scopes", Some("read:lien_info,read:vehicle")),
        ("x-acme-roles", Some("")),
        ("x-tenant", Some("acme")),
        ("x-groups", Some("a%2Cb,50%25,c d")),
        ("x-odd", Some("odd")),
        ("x-user-id", None),
        ("x-roles", None),
    ] {
        assert_eq!(seen.header(name), value, "{name}");
    }
    // an absent claim is an absent header, not somebody else's
    with_token.pop();
    let bearer = format!("Bearer {}", keys.token(json!({ "client_id": null })));
    with_token.push(("Authorization", &bearer));
    assert_eq!(gateway.client().get("/protected", &with_token).status, 200);
    let seen = origin.seen().pop().unwrap();
    clean(&seen, "without the claims");
    for name in ["x-tenant", "x-groups", "x-client", "x-odd"] {
        assert_eq!(seen.header(name), None, "{name}");
    }
    assert_eq!(gateway.client().get("/public", &headers).status, 200);
    clean(&origin.seen().pop().unwrap(), "public");
    // a claim of a shape that no header has
    for claims in [
        json!({ "groups": { "a": 1 } }),
        json!({ "groups": [1] }),
        json!({ "org": { "tenant": 7 } }),
    ] {
        let answer = gateway.client().get_with("/protected", &keys.token(claims));
        assert_eq!((answer.status, answer.code().as_str()), (401, "invalid_token"));
        let record = gateway.record(answer.header("x-request-id").unwrap());
        assert_eq!(record["error.type"], "claim_shape");
    }
    let answer = gateway
        .client()
        .get_with("/protected", &keys.token(json!({ "groups": ["a\nb"] })));
    let record = gateway.record(answer.header("x-request-id").unwrap());
    assert_eq!(
        (answer.status, &record["error.type"]),
        (401, &json!("claim_not_a_header_value"))
    );
}

const FORWARDED: [(&str, &str); 8] = [
    ("X-Forwarded-For", "6.6.6.6, 7.7.7.7"),
    ("X-Forwarded-For", "8.8.8.8"),
    ("X-Forwarded-Proto", "http"),
    ("X-Forwarded-Host", "evil.example"),
    ("X-Forwarded-Port", "1"),
    ("Forwarded", "for=6.6.6.6;host=evil.example;proto=http"),
    ("X-Real-IP", "6.6.6.6"),
    ("X-Request-Id", "mine"),
];

// S56: by default nobody is believed
#[test]
fn what_a_client_says_of_its_own_address_is_dropped() {
    let (keys, origin) = (Keys::new("k1"), Origin::start());
    let gateway = Gateway::start(&config(&keys, &origin, ""));
    let answer = gateway.client().get("/public", &FORWARDED);
    let seen = origin.only();
    let id = answer.header("x-request-id").unwrap();
    for (name, value) in [
        ("x-forwarded-for", Some("127.0.0.1")),
        ("x-forwarded-proto", Some("https")),
        ("x-forwarded-host", Some("api.example")),
        ("x-forwarded-port", Some("443")),
        (
            "forwarded",
            Some("for=127.0.0.1;host=\"api.example\";proto=https"),
        ),
        ("x-real-ip", None),
        ("x-request-id", Some(id)),
        ("via", Some("1.1 durward")),
    ] {
        assert_eq!(seen.header(name), value, "{name}");
    }
    assert!(id.len() == 36 && id != "mine");
    assert_eq!(gateway.record(id)["client.address"], "127.0.0.1");
}

// S56: right to left, as far as the proxies are our own
#[test]
fn declared_proxies_are_believed_and_what_is_before_them_is_not() {
    let (keys, origin) = (Keys::new("k1"), Origin::start());
    let more = "trusted_proxies: [127.0.0.0/8, 10.0.0.0/8, \"fd00::/8\"]\n";
    let gateway = Gateway::start(&config(&keys, &origin, more));
    let mut connection = gateway.client().connect();
    for (values, client) in [
        (&["203.0.113.9"][..], "203.0.113.9"),
        (&["6.6.6.6, 203.0.113.9"], "203.0.113.9"),
        (&["6.6.6.6, 203.0.113.9, 10.1.2.3"], "203.0.113.9"),
        (&["6.6.6.6", "203.0.113.9", "10.1.2.3, 10.4.5.6"], "203.0.113.9"),
        (&["6.6.6.6, 203.0.113.9,10.1.2.3 ,fd00::1"], "203.0.113.9"),
        (&["2001:db8::7, 10.1.2.3"], "2001:db8::7"),
        // what is not an address ends the chain at the last one that is known
        (&["203.0.113.9, nonsense"], "127.0.0.1"),
        (&["203.0.113.9, nonsense, 10.1.2.3"], "10.1.2.3"),
        (&["10.9.9.9, 10.1.2.3"], "10.9.9.9"),
    ] {
        let headers: Vec<(&str, &str)> = values.iter().map(|value| ("X-Forwarded-For", *value)).collect();
        connection.write(request("GET", "/public", &headers, ""));
        let answer = connection.answer();
        assert_eq!(answer.status, 200, "{values:?}");
        let record = gateway.record(answer.header("x-request-id").unwrap());
        assert_eq!(record["client.address"], client, "{values:?}");
        assert_eq!(record["network.peer.address"], "127.0.0.1");
        let seen = origin.seen().pop().unwrap();
        let chain = seen.header("x-forwarded-for").unwrap();
        assert_eq!(chain, format!("{}, 127.0.0.1", values.join(", ")), "{values:?}");
        let node = if client.contains(':') {
            format!("\"[{client}]\"")
        } else {
            client.to_owned()
        };
        let forwarded = seen.header("forwarded").unwrap();
        assert!(
            forwarded.starts_with(&format!("for={node};")),
            "{values:?}: {forwarded}"
        );
        // a proxy is believed about the client's address, and about nothing else
        assert_eq!(seen.header("x-forwarded-proto"), Some("https"));
    }
}
