//! `truststores:`, `client_certificates:`, and what listeners, routes, tests and upstreams have to do with them.

use serde_json::{Value, json};

use super::Row;
use super::credentials::decide_in;
use super::observe::KEYS;

use crate::support::pki::{Held, authority, client};
use crate::support::{Authority, Folder, Gateway, Origin};

const DAY: i64 = 86_400;
const ONE: &str = "0101010101010101010101010101010101010101010101010101010101010101";
const TWO: &str = "0202020202020202020202020202020202020202020202020202020202020202";

pub fn rows() -> Vec<Row> {
    vec![
        Row {
            key: "truststores.*.ca",
            settings: [("a.pem", "200"), ("b.pem", "no connection")],
            observe: |ca| trusting(&format!("ca: [{ca}]")),
        },
        Row {
            key: "truststores.*.crl",
            settings: [("empty.crl", "200"), ("all.crl", "no connection")],
            observe: |crl| trusting(&format!("ca: [a.pem], crl: [{crl}]")),
        },
        Row {
            key: "truststores.*.on_stale",
            settings: [("refuse", "no connection"), ("accept", "200")],
            observe: |on_stale| trusting(&format!("ca: [a.pem], crl: [stale.crl], on_stale: {on_stale}")),
        },
        Row {
            key: "truststores.*.denied",
            settings: [(ONE, "200"), ("ITS", "no connection")],
            observe: |denied| trusting(&format!("ca: [a.pem], denied: [\"{denied}\"]")),
        },
        Row {
            key: "truststores.*.denied_file",
            settings: [("nobody.txt", "200"), ("it.txt", "no connection")],
            observe: |file| trusting(&format!("ca: [a.pem], denied_file: {file}")),
        },
        Row {
            key: "listeners[].tls.client_certificates.mode",
            settings: [("optional", "200"), ("required", "no connection")],
            observe: |mode| {
                let (ca, start) = (
                    authority("a").root(),
                    Gateway::with(&format!("truststores: {{ p: {{ ca: [a.pem] }} }}\n{PUBLIC}")),
                );
                let start = start.tls(&format!("client_certificates: {{ mode: {mode}, trust: p }}"));
                let gateway = start.file("a.pem", ca.pem()).start();
                status(&gateway.client())
            },
        },
        Row {
            key: "listeners[].tls.client_certificates.trust",
            settings: [("p", "200"), ("q", "no connection")],
            observe: |trust| {
                let (a, b) = (authority("a").root(), authority("b").root());
                let gateway = Gateway::with(&format!(
                    "truststores: {{ p: {{ ca: [a.pem] }}, q: {{ ca: [b.pem] }} }}\n{PUBLIC}"
                ))
                .tls(&format!(
                    "client_certificates: {{ mode: optional, trust: {trust} }}"
                ))
                .file("a.pem", a.pem())
                .file("b.pem", b.pem())
                .start();
                status(&a.issue(&client("c")).client(&gateway))
            },
        },
        Row {
            key: "upstreams.*.client_certificate_header",
            settings: [("true", "told"), ("false", "not told")],
            observe: |told| {
                let (ca, origin) = (authority("a").root(), Origin::start());
                let gateway = Gateway::with(&format!(
                    "truststores: {{ p: {{ ca: [a.pem] }} }}\n\
                     upstreams: {{ o: {{ targets: [\"{}\"], client_certificate_header: {told} }} }}\n\
                     routes: [{{ match: {{ methods: [GET], path: / }}, public: {{ reason: t, owner: u }}, upstream: o }}]\n",
                    origin.address
                ))
                .tls("client_certificates: { mode: optional, trust: p }")
                .file("a.pem", ca.pem())
                .start();
                assert_eq!(status(&ca.issue(&client("c")).client(&gateway)), "200");
                let told = origin.only().header("x-forwarded-client-cert").is_some();
                if told { "told" } else { "not told" }.to_owned()
            },
        },
        Row {
            key: "client_certificates.*.trust",
            settings: [("p", "allow"), ("q", "client_certificate_of_another_truststore")],
            observe: |trust| decided(&format!("trust: {trust}"), &json!({ "trust": "p" })),
        },
        Row {
            key: "client_certificates.*.allow[].ca",
            settings: [("CN=a", "allow"), ("CN=b", NOT_ALLOWED)],
            observe: |ca| allowed("ca", ca, &json!({ "trust": "p", "ca": "CN=a" })),
        },
        Row {
            key: "client_certificates.*.allow[].san_uri",
            settings: [("a://a", "allow"), ("a://b", NOT_ALLOWED)],
            observe: |uri| allowed("san_uri", uri, &json!({ "trust": "p", "san_uri": ["a://a"] })),
        },
        Row {
            key: "client_certificates.*.allow[].san_dns",
            settings: [("a.example", "allow"), ("b.example", NOT_ALLOWED)],
            observe: |name| {
                allowed(
                    "san_dns",
                    name,
                    &json!({ "trust": "p", "san_dns": ["a.example"] }),
                )
            },
        },
        Row {
            key: "client_certificates.*.allow[].subject",
            settings: [("CN=somebody", "allow"), ("CN=b", NOT_ALLOWED)],
            observe: |subject| allowed("subject", subject, &json!({ "trust": "p" })),
        },
        Row {
            key: "client_certificates.*.allow[].spki_sha256",
            settings: [(ONE, "allow"), (TWO, NOT_ALLOWED)],
            observe: |digest| {
                allowed(
                    "spki_sha256",
                    digest,
                    &json!({ "trust": "p", "spki_sha256": ONE }),
                )
            },
        },
        Row {
            key: "client_certificates.*.allow[].sha256",
            settings: [(ONE, "allow"), (TWO, NOT_ALLOWED)],
            observe: |digest| allowed("sha256", digest, &json!({ "trust": "p", "sha256": ONE })),
        },
        Row {
            key: "tests[].request.client_certificate.trust",
            settings: [("p", "allow"), ("q", "client_certificate_of_another_truststore")],
            observe: |trust| decided("trust: p", &json!({ "trust": trust })),
        },
        Row {
            key: "tests[].request.client_certificate.subject",
            settings: [("CN=a", "allow"), ("CN=b", NOT_ALLOWED)],
            observe: |subject| allowed("subject", "CN=a", &json!({ "trust": "p", "subject": subject })),
        },
        Row {
            key: "tests[].request.client_certificate.ca",
            settings: [("CN=a", "allow"), (ONE, NOT_ALLOWED)],
            observe: |ca| allowed("ca", "CN=a", &json!({ "trust": "p", "ca": ca })),
        },
        Row {
            key: "tests[].request.client_certificate.san_uri",
            settings: [("a://a/x", "allow"), ("a://b/x", NOT_ALLOWED)],
            observe: |uri| allowed("san_uri", "a://a/*", &json!({ "trust": "p", "san_uri": [uri] })),
        },
        Row {
            key: "tests[].request.client_certificate.san_dns",
            settings: [("A.example", "allow"), ("b.example", NOT_ALLOWED)],
            observe: |name| {
                allowed(
                    "san_dns",
                    "a.example",
                    &json!({ "trust": "p", "san_dns": [name] }),
                )
            },
        },
        Row {
            key: "tests[].request.client_certificate.spki_sha256",
            settings: [(ONE, "allow"), (TWO, NOT_ALLOWED)],
            observe: |digest| {
                allowed(
                    "spki_sha256",
                    ONE,
                    &json!({ "trust": "p", "spki_sha256": digest }),
                )
            },
        },
        Row {
            key: "tests[].request.client_certificate.sha256",
            settings: [(ONE, "allow"), (TWO, NOT_ALLOWED)],
            observe: |digest| allowed("sha256", ONE, &json!({ "trust": "p", "sha256": digest })),
        },
        Row {
            key: "routes[].auth.client_certificate",
            settings: [("all", "allow"), ("none", NOT_ALLOWED)],
            observe: |name| asked(&format!("client_certificate: {name}"), false),
        },
        Row {
            key: "routes[].auth.any_of[].client_certificate",
            settings: [("all", "allow"), ("none", NOT_ALLOWED)],
            observe: |name| {
                asked(
                    &format!("any_of: [{{ jwt: main }}, {{ client_certificate: {name} }}]"),
                    false,
                )
            },
        },
        Row {
            key: "routes[].auth.all_of[].client_certificate",
            settings: [("all", "allow"), ("none", NOT_ALLOWED)],
            observe: |name| {
                asked(
                    &format!("all_of: [{{ jwt: main }}, {{ client_certificate: {name} }}]"),
                    true,
                )
            },
        },
    ]
}

const NOT_ALLOWED: &str = "client_certificate_not_allowed";
const PUBLIC: &str =
    "routes: [{ match: { methods: [GET], path: / }, public: { reason: t, owner: u }, respond: 200 }]\n";

/// The status of a request, or that there is no connection.
fn status(client: &crate::support::Client) -> String {
    let answer = client.try_connect().ok().and_then(|mut connection| {
        connection.write("GET / HTTP/1.1\r\nHost: api.example\r\n\r\n");
        connection.try_answer("GET")
    });
    answer.map_or("no connection".to_owned(), |answer| answer.status.to_string())
}

/// What becomes of a client of the CA `a`, whose certificate is `ITS`, with such a truststore.
fn trusting(trust: &str) -> String {
    let (a, b) = (authority("a").root(), authority("b").root());
    let held: Held = a.issue(&client("c"));
    let trust = trust.replace("ITS", &held.sha256());
    let start = Gateway::with(&format!("truststores: {{ p: {{ {trust} }} }}\n{PUBLIC}"))
        .tls("client_certificates: { mode: optional, trust: p }")
        .file("a.pem", a.pem())
        .file("b.pem", b.pem())
        .file("empty.crl", a.revoking(&[], -DAY, DAY))
        .file("all.crl", a.revoking(&[&held], -DAY, DAY))
        .file("stale.crl", a.revoking(&[], -2 * DAY, -DAY))
        .file("nobody.txt", format!("{ONE}\n"))
        .file("it.txt", held.sha256());

    status(&held.client(&start.start()))
}

fn allowed(key: &str, value: &str, described: &Value) -> String {
    decided(&format!("trust: p, allow: [{{ {key}: \"{value}\" }}]"), described)
}

/// The decision on a request with this certificate, where a route asks for one of these.
fn decided(accepted: &str, described: &Value) -> String {
    decide(
        &format!("c: {{ {accepted} }}"),
        "client_certificate: c",
        described,
        false,
    )
}

fn asked(auth: &str, with_token: bool) -> String {
    let accepted = "all: { trust: p }, none: { trust: p, allow: [{ subject: CN=nobody }] }";
    decide(accepted, auth, &json!({ "trust": "p" }), with_token)
}

fn decide(accepted: &str, auth: &str, described: &Value, with_token: bool) -> String {
    let (folder, ca) = (Folder::new(), authority("a").root());
    folder.write("a.pem", ca.pem());
    let dir = Authority::new().install(&folder, "certs", &["api.example"]);
    let listener = |port: u16, trust: &str| {
        format!(
            "{{ address: \"127.0.0.1:{port}\", tls: {{ certificates: [{{ dir: \"{dir}\" }}], client_certificates: {{ mode: optional, trust: {trust} }} }} }}"
        )
    };
    let config = format!(
        "version: 1\nlisteners: [{}, {}]\n{}truststores: {{ p: {{ ca: [a.pem] }}, q: {{ ca: [a.pem] }} }}\n\
         client_certificates: {{ {accepted} }}\n\
         routes: [{{ match: {{ methods: [GET], path: / }}, auth: {{ {auth} }}, respond: 200 }}]\n",
        listener(1, "p"),
        listener(2, "q"),
        KEYS.inline(),
    );
    let mut request =
        json!({ "method": "GET", "url": "https://api.example/", "client_certificate": described });
    if with_token {
        request["token"] = json!({ "issuer": "main" });
    }
    decide_in(&folder, &config, &request)
}
