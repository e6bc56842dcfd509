//! What a certificate is good for: which routes, together with what, and what upstreams are told of it.

use openssl::hash::MessageDigest;
use serde_json::json;

use super::{asking, reason};
use crate::config_keys::credentials::new_key;
use crate::support::issuer::{AUDIENCE, ISSUER};
use crate::support::pki::{Held, Like, authority, client};
use crate::support::{Answer, Gateway, Keys, Origin};

fn get(gateway: &Gateway, held: Option<&Held>, path: &str, headers: &[(&str, &str)]) -> Answer {
    match held {
        Some(held) => held.client(gateway).get(path, headers),
        None => gateway.client().get(path, headers),
    }
}

fn service() -> Like {
    Like {
        uris: vec!["spiffe://example/billing".to_owned()],
        dns_names: vec!["billing.example".to_owned()],
        ..client("billing")
    }
}

// S27: by CA, names, subject, key and certificate, and by nothing less
#[test]
fn a_route_takes_the_certificates_that_it_names() {
    let ca = authority("root").root();
    let (one, other) = (ca.issue(&authority("one")), ca.issue(&authority("other")));
    let held = one.issue(&service());
    let renewed = other.issue(&Like {
        key: held.key.clone(),
        ..client("renewed")
    });
    let stranger = other.issue(&client("stranger"));
    let digest = one.sha256();
    let rules = [
        ("ca", "ca: \"CN=one,O=Example\"".to_owned(), [true, false, false]),
        ("ca2", format!("ca: \"{digest}\""), [true, false, false]),
        ("root", "ca: \"CN=root,O=Example\"".to_owned(), [true, true, true]),
        (
            "uri",
            "san_uri: \"spiffe://example/billing\"".to_owned(),
            [true, false, false],
        ),
        (
            "uris",
            "san_uri: \"spiffe://example/*\"".to_owned(),
            [true, false, false],
        ),
        (
            "uri2",
            "san_uri: \"spiffe://example/bill\"".to_owned(),
            [false; 3],
        ),
        ("dns", "san_dns: Billing.example".to_owned(), [true, false, false]),
        (
            "subject",
            "subject: \"CN=billing,O=Example\"".to_owned(),
            [true, false, false],
        ),
        (
            "spki",
            format!("spki_sha256: {}", held.spki_sha256()),
            [true, true, false],
        ),
        (
            "sha256",
            format!("sha256: {}", held.sha256()),
            [true, false, false],
        ),
        (
            "both",
            format!("sha256: {}, ca: \"CN=other,O=Example\"", held.sha256()),
            [false; 3],
        ),
        (
            "either",
            "san_dns: billing.example }, { subject: \"CN=renewed,O=Example\"".to_owned(),
            [true, true, false],
        ),
    ];
    let mut config = "client_certificates:\n".to_owned();
    for (name, rule, _) in &rules {
        config.push_str(&format!(
            "  {name}: {{ trust: partners, allow: [{{ {rule} }}] }}\n"
        ));
    }
    config.push_str("routes:\n");
    for (name, ..) in &rules {
        config.push_str(&format!(
            "- {{ match: {{ methods: [GET], path: /{name} }}, auth: {{ client_certificate: {name} }}, respond: 200 }}\n"
        ));
    }
    let gateway = asking(&ca, "", &config).start();
    for (index, held) in [&held, &renewed, &stranger].into_iter().enumerate() {
        let mut connection = held.client(&gateway).connect();
        for (name, _, allowed) in &rules {
            connection.write(crate::support::client::request(
                "GET",
                &format!("/{name}"),
                &[],
                "",
            ));
            let answer = connection.answer();
            let expected = if allowed[index] { 200 } else { 401 };
            assert_eq!(answer.status, expected, "{name}, {index}");
            if expected == 401 {
                assert_eq!(
                    reason(&gateway, &answer),
                    "client_certificate_not_allowed",
                    "{name}, {index}"
                );
            }
        }
    }
}

// S27, S28: who it is, in the record and for upstreams; who a client says it is, to nobody
#[test]
fn the_identity_of_a_certificate_is_recorded_and_told_to_upstreams_that_ask() {
    let ca = authority("root").root();
    let (told, silent) = (Origin::start(), Origin::start());
    let gateway = asking(
        &ca,
        "",
        &format!(
            "client_certificates: {{ partners: {{ trust: partners }} }}\n\
             identity_headers: {{ inject: {{ X-User-Id: subject, X-Issuer: issuer, X-Spiffe: claims.spiffe_id }} }}\n\
             upstreams: {{ told: {{ targets: [\"{}\"], client_certificate_header: true }}, silent: {{ targets: [\"{}\"] }} }}\n\
             routes:\n\
             - {{ match: {{ methods: [GET], path: /told }}, auth: {{ client_certificate: partners }}, upstream: told }}\n\
             - {{ match: {{ methods: [GET], path: /silent }}, auth: {{ client_certificate: partners }}, upstream: silent }}\n\
             - {{ match: {{ methods: [GET], path: /public }}, public: {{ reason: t, owner: u }}, upstream: told }}\n",
            told.address, silent.address
        ),
    )
    .start();
    let held = ca.issue(&service());
    let lies = [
        ("X-Forwarded-Client-Cert", "Hash=0;Subject=\"CN=admin\""),
        ("X_Forwarded_Client_Cert", "Hash=0"),
        ("X-User-Id", "admin"),
    ];
    let answer = get(&gateway, Some(&held), "/told", &lies);
    assert_eq!(answer.status, 200, "{}", answer.text());
    let seen = told.only();
    let expected = format!(
        "Hash={};Subject=\"CN=billing,O=Example\";URI=spiffe://example/billing;DNS=billing.example",
        held.sha256()
    );
    assert_eq!(seen.all("x-forwarded-client-cert"), [expected.as_str()]);
    assert_eq!(seen.all("x_forwarded_client_cert"), [""; 0]);
    assert_eq!(seen.header("x-user-id"), Some("spiffe://example/billing"));
    assert_eq!(seen.header("x-spiffe"), Some("spiffe://example/billing"));
    assert_eq!(seen.header("x-issuer"), Some("partners"));
    let record = gateway.record(answer.header("x-request-id").unwrap());
    for (field, value) in [
        ("user.id", "spiffe://example/billing"),
        ("durward.issuer", "partners"),
        ("tls.client.subject", "CN=billing,O=Example"),
        ("tls.client.issuer", "CN=root,O=Example"),
        ("tls.client.hash.sha256", &held.sha256()),
    ] {
        assert_eq!(record[field], value, "{record}");
    }
    // S24: what was agreed on; the harness's client is of the same library
    let group = record["tls.curve"].as_str().unwrap();
    assert!(
        ["X25519MLKEM768", "X25519", "secp256r1"].contains(&group),
        "{group}"
    );

    assert_eq!(get(&gateway, Some(&held), "/silent", &lies).status, 200);
    assert_eq!(silent.only().all("x-forwarded-client-cert"), [""; 0]);
    assert_eq!(get(&gateway, None, "/public", &lies).status, 200);
    assert_eq!(told.seen().pop().unwrap().all("x-forwarded-client-cert"), [""; 0]);

    for (like, subject) in [
        (
            Like {
                uris: Vec::new(),
                ..service()
            },
            "billing.example",
        ),
        (client("nameless"), "CN=nameless,O=Example"),
    ] {
        let answer = get(&gateway, Some(&ca.issue(&like)), "/silent", &[]);
        let record = gateway.record(answer.header("x-request-id").unwrap());
        assert_eq!(record["user.id"], subject);
    }
}

/// How a credential of a kind is sent.
#[derive(Clone, Copy, PartialEq, Debug)]
enum Sent {
    Good,
    /// Good, and not of those that the route takes.
    Bad,
    Not,
}

// S28: every combination of two credentials, sent well, badly and not at all
#[test]
fn certificates_combine_with_tokens_and_keys() {
    let ca = authority("root").root();
    let keys = Keys::new("k1");
    let start = asking(
        &ca,
        "",
        &format!(
            "{}keys: {{ ring: {{ file: ring.json }} }}\n\
             client_certificates: {{ billing: {{ trust: partners, allow: [{{ san_dns: billing.example }}] }} }}\nroutes:\n\
             - {{ match: {{ methods: [GET], path: /any/jwt }}, auth: {{ any_of: [{{ jwt: main }}, {{ client_certificate: billing }}] }}, respond: 200 }}\n\
             - {{ match: {{ methods: [GET], path: /all/jwt }}, auth: {{ all_of: [{{ jwt: main }}, {{ client_certificate: billing }}] }}, respond: 200 }}\n\
             - {{ match: {{ methods: [GET], path: /any/key }}, auth: {{ any_of: [{{ client_certificate: billing }}, {{ api_key: ring }}] }}, respond: 200 }}\n\
             - {{ match: {{ methods: [GET], path: /all/key }}, auth: {{ all_of: [{{ client_certificate: billing }}, {{ api_key: ring }}] }}, respond: 200 }}\n",
            keys.inline()
        ),
    );
    let key = new_key(&start.path("ring.json"), "acme", &[]);
    let gateway = start.start();
    let (good, other) = (ca.issue(&service()), ca.issue(&client("other")));
    let bearer = format!("Bearer {}", keys.token(json!({})));
    let stale = format!("Bearer {}", keys.token(json!({ "exp": 1 })));
    let bad_key = new_key(&gateway.folder.0.join("another.json"), "acme", &[]);
    let kinds = [Sent::Good, Sent::Bad, Sent::Not];
    for (second, name, [well, badly]) in [
        ("jwt", "Authorization", [&bearer, &stale]),
        ("key", "X-Api-Key", [&key, &bad_key]),
    ] {
        for certificate in kinds {
            for sent in kinds {
                let held = match certificate {
                    Sent::Good => Some(&good),
                    Sent::Bad => Some(&other),
                    Sent::Not => None,
                };
                let headers = match sent {
                    Sent::Good => vec![(name, well.as_str())],
                    Sent::Bad => vec![(name, badly.as_str())],
                    Sent::Not => Vec::new(),
                };
                let is_bad = certificate == Sent::Bad || sent == Sent::Bad;
                for (how, is_enough) in [
                    ("any", certificate == Sent::Good || sent == Sent::Good),
                    ("all", certificate == Sent::Good && sent == Sent::Good),
                ] {
                    let answer = get(&gateway, held, &format!("/{how}/{second}"), &headers);
                    let expected = if is_enough && !is_bad { 200 } else { 401 };
                    assert_eq!(
                        answer.status,
                        expected,
                        "{how} {second}: {certificate:?} {sent:?}: {}",
                        answer.text()
                    );
                    if (how, certificate, sent) == ("all", Sent::Not, Sent::Good) {
                        assert_eq!(reason(&gateway, &answer), "client_certificate_missing");
                    }
                    if expected == 200 && how == "all" {
                        // the first says who it is
                        let record = gateway.record(answer.header("x-request-id").unwrap());
                        let of = if second == "jwt" { "main" } else { "partners" };
                        assert_eq!(record["durward.issuer"], of);
                    }
                }
            }
        }
    }
}

// S58, RFC 8705
#[test]
fn a_token_that_is_bound_to_a_certificate_is_good_with_that_one_only() {
    let ca = authority("root").root();
    let keys = Keys::new("k1");
    let gateway = asking(
        &ca,
        "",
        &format!(
            "{}client_certificates: {{ partners: {{ trust: partners }} }}\nroutes:\n\
             - {{ match: {{ methods: [GET], path: / }}, auth: {{ jwt: main }}, respond: 200 }}\n\
             - {{ match: {{ methods: [GET], path: /both }}, auth: {{ all_of: [{{ jwt: main }}, {{ client_certificate: partners }}] }}, respond: 200 }}\n",
            keys.inline()
        ),
    )
    .start();
    let (held, other) = (ca.issue(&client("held")), ca.issue(&client("other")));
    let digest = held.certificate.digest(MessageDigest::sha256()).unwrap();
    let bound = keys.token(json!({ "cnf": { "x5t#S256": crate::support::jose::base64(digest) } }));
    let strange = keys.token(json!({ "cnf": { "x5t#S256": 7 } }));
    let free = keys.token(json!({}));
    for (token, with, status, expected) in [
        (&bound, Some(&held), 200, "none"),
        (&bound, Some(&other), 401, "token_certificate_mismatch"),
        (&bound, None, 401, "token_certificate_missing"),
        (&free, Some(&other), 200, "none"),
        (&strange, Some(&held), 401, "claim_shape"),
        // the verdict on the token is remembered; where it may be used is not
        (&bound, Some(&held), 200, "none"),
        (&bound, Some(&other), 401, "token_certificate_mismatch"),
    ] {
        let answer = get(
            &gateway,
            with,
            "/",
            &[("Authorization", &format!("Bearer {token}"))],
        );
        assert_eq!(
            (answer.status, reason(&gateway, &answer).as_str()),
            (status, expected)
        );
    }
    let answer = get(
        &gateway,
        Some(&other),
        "/both",
        &[("Authorization", &format!("Bearer {bound}"))],
    );
    assert_eq!(reason(&gateway, &answer), "token_certificate_mismatch");
    assert_eq!((AUDIENCE, ISSUER), (AUDIENCE, ISSUER));
}

const TESTED: &str = "
tests:
- { name: billing gets in, expect: allow, request: { method: GET, url: \"https://api.example/\", client_certificate: { trust: partners, san_uri: [\"spiffe://example/billing\"], ca: \"CN=root,O=Example\" } } }
- { name: others do not, expect: client_certificate_not_allowed, request: { method: GET, url: \"https://api.example/\", client_certificate: { trust: partners } } }
- { name: nor does nobody, expect: client_certificate_missing, request: { method: GET, url: \"https://api.example/\" } }
";

// M2, M3, M6
#[test]
fn prove_explain_and_test_understand_certificates() {
    let ca = authority("root").root();
    let config = "client_certificates: { billing: { trust: partners, allow: [{ san_uri: \"spiffe://example/billing\" }] } }\n\
        routes: [{ match: { methods: [GET], path: / }, auth: { client_certificate: billing }, respond: 200 }]\n";
    let gateway = asking(&ca, "", &format!("{config}{TESTED}")).start();
    let run = |verb: &str, more: &[&str]| {
        let output = gateway.command(verb).args(more).output().unwrap();
        String::from_utf8([output.stdout, output.stderr].concat()).unwrap()
    };
    let proof: serde_json::Value = serde_json::from_str(&run("prove", &["--json"])).unwrap();
    assert_eq!(
        proof["routes"][0]["identity"],
        "client_certificate: billing (1 rule, of partners)"
    );
    assert_eq!(
        proof["routes"][0]["transport"],
        "TLS 1.2 or 1.3, client certificate asked for"
    );
    let tested = run("test", &["--mutate"]);
    assert!(tested.contains("2 of 2 mutants noticed"), "{tested}");
    let file = gateway.folder.0.join("durward.yaml");
    let written = std::fs::read_to_string(&file).unwrap();
    let fewer: Vec<&str> = written
        .lines()
        .filter(|line| !line.contains("others do not"))
        .collect();
    std::fs::write(&file, fewer.join("\n")).unwrap();
    let tested = run("test", &["--mutate"]);
    assert!(
        tested.contains("takes every client certificate as one of `billing`"),
        "{tested}"
    );
    let request = gateway.folder.write(
        "request.yaml",
        "method: GET\nurl: \"https://api.example/\"\nclient_certificate: { trust: partners, san_uri: [\"spiffe://example/billing\"] }\n",
    );
    let explained = run("explain", &["-r", &request]);
    assert!(
        explained.contains("subject spiffe://example/billing, by a certificate that partners trusts")
            && explained.contains("admitted"),
        "{explained}"
    );
}
