//! What the handshake refuses, and what it lets through.

use openssl::hash::MessageDigest;
use openssl::ssl::SslVersion;

use super::{ROUTES, asking, reason, refused};
use crate::support::Gateway;
use crate::support::pki::{Held, Like, Purpose, authority, client, rsa};

/// A certificate, why it is refused, and a part of the alert that the client is told.
type Case = (&'static str, Held, &'static str, &'static str);

fn cases(ca: &Held) -> Vec<Case> {
    let other = authority("other").root();
    let intermediate = ca.issue(&authority("intermediate"));
    let foreign = other.issue(&authority("intermediate"));
    let changed = |change: fn(&mut Like)| {
        let mut like = client("c");
        change(&mut like);
        like
    };
    let authority_like = |change: fn(&mut Like)| {
        let mut like = authority("i");
        change(&mut like);
        ca.issue(&like)
    };
    let good = client("c");
    let constrained = authority_like(|like| like.constraints = Some("permitted;DNS:good.example"));
    let shallow = authority_like(|like| like.authority = Some(Some(0)));
    let mut deep = ca.clone();
    deep.above.clear();
    for n in 0..6 {
        deep = deep.issue(&authority(&format!("level {n}")));
    }
    let weak_key = authority_like(|like| like.key = rsa(1024));
    let weak_signature = authority_like(|like| like.digest = MessageDigest::sha1());
    let expired = authority_like(|like| like.until = -60);
    let mut with_root = other.issue(&good);
    with_root.above = vec![other.certificate.clone()];
    let purpose = "client_certificate_purpose";
    vec![
        (
            "wrong CA",
            other.issue(&good).alone(),
            "client_certificate_issuer_unknown",
            "unknown ca",
        ),
        (
            "wrong CA, sent",
            with_root,
            "client_certificate_self_signed",
            "unknown ca",
        ),
        (
            "self-signed",
            good.root(),
            "client_certificate_self_signed",
            "unknown ca",
        ),
        (
            "no intermediate",
            intermediate.issue(&good).alone(),
            "client_certificate_issuer_unknown",
            "unknown ca",
        ),
        (
            "foreign intermediate",
            foreign.issue(&good),
            "client_certificate_issuer_unknown",
            "unknown ca",
        ),
        (
            "expired",
            ca.issue(&changed(|like| like.until = -60)),
            "client_certificate_expired",
            "certificate expired",
        ),
        (
            "expired intermediate",
            expired.issue(&good),
            "client_certificate_expired",
            "certificate expired",
        ),
        (
            "not yet valid",
            ca.issue(&changed(|like| like.from = 3600)),
            "client_certificate_not_yet_valid",
            "bad certificate",
        ),
        (
            "for servers",
            ca.issue(&changed(|like| like.purpose = Purpose::Server)),
            purpose,
            "unsupported certificate",
        ),
        (
            "for anything",
            ca.issue(&changed(|like| like.purpose = Purpose::Unsaid)),
            purpose,
            "handshake failure",
        ),
        (
            "SHA-1",
            ca.issue(&changed(|like| like.digest = MessageDigest::sha1())),
            "client_certificate_signature_weak",
            "",
        ),
        (
            "SHA-1 above",
            weak_signature.issue(&good),
            "client_certificate_signature_weak",
            "",
        ),
        (
            "SHA-224",
            ca.issue(&changed(|like| like.digest = MessageDigest::sha224())),
            "client_certificate_signature_weak",
            "handshake failure",
        ),
        (
            "RSA 1024",
            ca.issue(&changed(|like| like.key = rsa(1024))),
            "client_certificate_key_weak",
            "",
        ),
        (
            "RSA 1024 above",
            weak_key.issue(&good),
            "client_certificate_key_weak",
            "",
        ),
        (
            "names",
            constrained.issue(&changed(|like| like.dns_names = vec!["bad.example".to_owned()])),
            "client_certificate_name_constraints",
            "",
        ),
        (
            "path length",
            shallow.issue(&authority("j")).issue(&good),
            "client_certificate_chain_too_long",
            "",
        ),
        (
            "too many",
            deep.issue(&good),
            "client_certificate_chain_too_long",
            "",
        ),
        (
            "issued by a client",
            ca.issue(&good).issue(&client("d")),
            "client_certificate_invalid",
            "",
        ),
    ]
}

// S26, S29: before any route is looked at
#[test]
fn every_bad_certificate_has_its_own_reason_and_no_request() {
    let ca = authority("root").root();
    let denied = ca.issue(&client("denied"));
    let banned = ca.issue(&authority("banned"));
    let list = format!(", denied: [\"{}\", \"{}\"]", denied.sha256(), banned.sha256());
    let gateway = asking(&ca, &list, ROUTES).start();
    let mut cases = cases(&ca);
    cases.push(("denied", denied, "client_certificate_denied", "handshake failure"));
    let below = banned.issue(&client("c"));
    cases.push((
        "denied above",
        below,
        "client_certificate_denied",
        "handshake failure",
    ));
    for version in [SslVersion::TLS1_2, SslVersion::TLS1_3] {
        for (what, held, expected, alert) in &cases {
            let (reason, told) = refused(&gateway, &held.speaking(&gateway, version));
            assert_eq!(reason, *expected, "{what}, {version:?}: {told}");
            assert!(
                told.contains("alert") && told.contains(alert),
                "{what}, {version:?}: {told}"
            );
        }
        // and without one, or with a good one, there is a connection
        let good = ca.issue(&authority("between")).issue(&client("good"));
        for path in ["/", "/mtls"] {
            let answer = good.speaking(&gateway, version).get(path, &[]);
            assert_eq!(answer.status, 200, "{path}: {}", answer.text());
        }
        let constrained = ca.issue(&Like {
            constraints: Some("permitted;DNS:good.example"),
            ..authority("constrained")
        });
        let named = constrained.issue(&Like {
            dns_names: vec!["a.good.example".to_owned()],
            ..client("named")
        });
        assert_eq!(named.speaking(&gateway, version).get("/mtls", &[]).status, 200);
        for key in [rsa(2048), rsa(3072)] {
            let held = ca.issue(&Like { key, ..client("rsa") });
            assert_eq!(held.speaking(&gateway, version).get("/mtls", &[]).status, 200);
        }
    }
    let metrics = gateway.admin("/metrics").text();
    let count = |reason: &str| {
        let line = metrics
            .lines()
            .find(|line| {
                let is_it = line.starts_with("durward_connections_refused_total") && line.contains(reason);
                is_it && line.contains(&gateway.https.to_string())
            })
            .unwrap();
        line.rsplit(' ').next().unwrap().parse::<u32>().unwrap()
    };
    assert_eq!(count("client_certificate_expired"), 4);
    assert_eq!(count("client_certificate_denied"), 4);
    let decided = metrics
        .lines()
        .filter(|line| line.starts_with("durward_decisions_total") && line.contains("deny"));
    assert_eq!(decided.count(), 0, "a route was looked at:\n{metrics}");
    let refused = gateway
        .records()
        .into_iter()
        .find(|record| record["error.type"] == "client_certificate_denied");
    let refused = refused.unwrap();
    assert_eq!(refused["tls.client.subject"], "CN=denied,O=Example");
    assert_eq!(refused["tls.client.issuer"], "CN=root,O=Example");
}

// S26, U19
#[test]
fn a_listener_can_ask_for_one_and_a_route_can_demand_it() {
    let ca = authority("root").root();
    let gateway = asking(&ca, "", ROUTES).start();
    let client = gateway.client();
    assert_eq!(client.get("/", &[]).status, 200);
    let answer = client.get("/mtls", &[]);
    assert_eq!(
        (answer.status, answer.code().as_str()),
        (401, "client_certificate_missing")
    );
    assert_eq!(reason(&gateway, &answer), "client_certificate_missing");
    assert_eq!(
        answer.header("www-authenticate"),
        Some("ClientCertificate realm=\"durward\"")
    );
}

// S26
#[test]
fn a_listener_that_requires_one_has_no_connection_without() {
    let ca = authority("root").root();
    let gateway = asking(&ca, "", ROUTES)
        .tls("client_certificates: { mode: required, trust: partners }")
        .start();
    for version in [SslVersion::TLS1_2, SslVersion::TLS1_3] {
        let client = crate::support::Client::new(gateway.https).tls(&gateway.authority, |settings| {
            settings.set_min_proto_version(Some(version)).unwrap();
            settings.set_max_proto_version(Some(version)).unwrap();
        });
        let (reason, told) = refused(&gateway, &client);
        assert_eq!(reason, "client_certificate_missing", "{told}");
        assert!(told.contains("alert"), "{told}");
        let good = ca.issue(&crate::support::pki::client("good"));
        assert_eq!(good.speaking(&gateway, version).get("/", &[]).status, 200);
    }
}

// S26, U12: what a listener asks for is tightened while it runs; whether it asks at all cannot be changed so
#[test]
fn a_listener_can_be_made_to_require_one_but_not_to_stop_asking() {
    let ca = authority("root").root();
    let gateway = asking(&ca, "", ROUTES).start();
    let mut open = gateway.client().connect();
    let mut ask = || {
        open.write(crate::support::client::request("GET", "/", &[], ""));
        open.answer()
    };
    assert_eq!(ask().status, 200);
    let rewrite = |from: &str, to: &str| {
        let file = gateway.folder.0.join("durward.yaml");
        let text = std::fs::read_to_string(file).unwrap();
        assert!(text.contains(from), "{text}");
        gateway.folder.write("durward.yaml", text.replace(from, to));
    };
    rewrite("mode: optional", "mode: required");
    super::reload(&gateway);
    let answer = ask();
    assert_eq!(
        (answer.status, reason(&gateway, &answer).as_str()),
        (401, "client_certificate_missing")
    );
    assert_eq!(
        refused(&gateway, &gateway.client()).0,
        "client_certificate_missing"
    );

    rewrite("mode: required", "mode: off");
    rewrite("client_certificates: { partners: { trust: partners } }", "");
    rewrite(
        "auth: { client_certificate: partners }",
        "public: { reason: t, owner: u }",
    );
    gateway.signal("HUP");
    let said = crate::support::eventually("the refusal of the change", || {
        let status = gateway.admin("/config/status").text();
        status.contains("needs upgrade").then_some(status)
    });
    assert!(
        said.contains("whether they ask for client certificates"),
        "{said}"
    );
    assert_eq!(
        refused(&gateway, &gateway.client()).0,
        "client_certificate_missing"
    );
}

// S30: nothing but the very name that was asked for reaches a route behind certificates
#[test]
fn a_certificate_counts_for_the_name_that_was_asked_for_alone() {
    let ca = authority("root").root();
    let gateway = asking(&ca, "", ROUTES).start();
    let held = ca.issue(&client("good"));
    for (sni, host, status) in [
        (Some("api.example"), "api.example", 200),
        (Some("API.example"), "api.example", 200),
        (Some("api.example"), "localhost", 421),
        (Some("localhost"), "api.example", 421),
        (Some("localhost"), "localhost", 200),
        (None, "api.example", 421),
        (None, "127.0.0.1", 421),
        (Some("api.example"), "127.0.0.1", 421),
        (Some("unknown.example"), "api.example", 421),
    ] {
        let with = held.client(&gateway).any_name();
        let client = match sni {
            Some(name) => with.sni(name),
            None => with.without_sni(),
        };
        let answer = client.get_as("/mtls", host);
        assert_eq!(answer.status, status, "{sni:?} {host}: {}", answer.text());
        // nor does a certificate that another name was asked for reach a route without it
        assert_eq!(client.get_as("/", host).status, status, "{sni:?} {host}");
        // without a certificate: asked to come again by the name, where there is another
        let without = Gateway::client(&gateway).any_name();
        let client = match sni {
            Some(name) => without.sni(name),
            None => without.without_sni(),
        };
        let expected = if status == 200 { 401 } else { 421 };
        assert_eq!(client.get_as("/mtls", host).status, expected, "{sni:?} {host}");
    }
}

// S24: hybrid where the library has it; and the record says what was agreed on
#[test]
fn the_group_of_the_key_exchange_is_recorded_and_the_hybrid_comes_first() {
    let gateway = Gateway::start(
        ROUTES
            .split_once("- { match: { methods: [GET], path: /mtls }")
            .unwrap()
            .0
            .split_once('\n')
            .unwrap()
            .1,
    );
    let agreed = |groups: &str| {
        let mut has_it = true;
        let client = crate::support::Client::new(gateway.https).tls(&gateway.authority, |settings| {
            has_it = settings.set_groups_list(groups).is_ok();
        });
        if !has_it {
            return None;
        }
        let answer = client.get("/", &[]);
        let record = gateway.record(answer.header("x-request-id").unwrap());
        Some(record["tls.curve"].as_str().unwrap_or("none").to_owned())
    };
    assert_eq!(agreed("X25519").as_deref(), Some("X25519"));
    assert_eq!(agreed("P-256").as_deref(), Some("secp256r1"));
    assert_eq!(agreed("P-384").as_deref(), Some("secp384r1"));
    let hybrid = agreed("X25519:X25519MLKEM768");
    assert!(
        hybrid.is_none_or(|group| group == "X25519MLKEM768"),
        "the client's order does not count"
    );
}
