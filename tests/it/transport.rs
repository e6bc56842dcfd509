//! TLS towards clients: versions, suites, certificates by name, ALPN, HSTS; and what plain HTTP gets.

use std::time::Duration;

use bytes::Bytes;
use openssl::pkey::PKey;
use openssl::rsa::Rsa;
use openssl::ssl::{SslConnectorBuilder, SslMode, SslVersion};
use serde_json::json;

use crate::smoke::routes;
use crate::support::gateway::{binary, check};
use crate::support::{Answer, Client, Folder, Gateway, Keys, Origin, Reply, h2};

/// One route that answers without an upstream.
const RESPOND: &str = "routes:\n\
    \x20 - match: { methods: [GET], path: /ok }\n\
    \x20   public: { reason: test, owner: test }\n\
    \x20   respond: 200\n";

/// Everything that OpenSSL can speak, however old.
fn anything(builder: &mut SslConnectorBuilder) {
    builder.set_cipher_list("ALL:@SECLEVEL=0").unwrap();
    builder.set_security_level(0);
    builder.set_min_proto_version(None).unwrap();
}

fn client(gateway: &Gateway, settings: impl FnOnce(&mut SslConnectorBuilder)) -> Client {
    Client::new(gateway.https).tls(&gateway.authority, settings)
}

/// Common name of the certificate that was shown.
fn shown(client: &Client) -> String {
    let connection = client.connect();
    let certificate = connection.ssl().peer_certificate().unwrap();
    let name = certificate.subject_name().entries().next().unwrap();
    name.data().to_string().unwrap()
}

// S1
#[test]
fn plain_http_on_the_tls_port_gets_no_http() {
    let gateway = Gateway::start(RESPOND);
    let mut connection = Client::new(gateway.https).connect();
    connection.write("GET /ok HTTP/1.1\r\nHost: api.example\r\n\r\n");
    let rest = connection.rest();
    assert!(
        !rest.windows(5).any(|part| part == b"HTTP/"),
        "{}",
        String::from_utf8_lossy(&rest)
    );
    // and the next one is served
    assert_eq!(gateway.client().get("/ok", &[]).status, 200);
}

// S1, S2
#[test]
fn a_client_that_offers_both_versions_gets_tls_13_and_a_plain_upstream() {
    let origin = Origin::start();
    let gateway = Gateway::start(&(Keys::new("k1").inline() + &routes(&origin)));
    let mut connection = gateway.client().connect();
    assert_eq!(connection.ssl().version_str(), "TLSv1.3");
    connection.write("GET /healthz HTTP/1.1\r\nHost: api.example\r\n\r\n");
    assert_eq!(connection.answer().status, 200);
    assert_eq!(origin.only().header("x-forwarded-proto"), Some("https"));
}

// S3
#[test]
fn versions_below_tls_12_are_refused_with_the_alert_protocol_version() {
    let gateway = Gateway::start(RESPOND);
    for version in [SslVersion::TLS1, SslVersion::TLS1_1] {
        let client = client(&gateway, |builder| {
            anything(builder);
            builder.set_max_proto_version(Some(version)).unwrap();
        });
        let why = client.try_connect().err().expect("an old version was spoken");
        assert!(why.contains("alert protocol version"), "{why}");
    }
}

// S3
#[test]
fn versions_below_tls_12_cannot_be_configured() {
    let folder = Folder::new();
    for version in ["1.0", "1.1"] {
        let (good, said) = check(&folder, &listener(&format!("min_version: \"{version}\"")));
        assert!(!good);
        assert!(said.contains("checked.yaml:3:"), "{said}");
        assert!(said.contains("min_version") && said.contains("1.2"), "{said}");
    }
}

/// A whole configuration with these keys in its listener's `tls`, on line 3. The certificates do not exist.
fn listener(tls: &str) -> String {
    format!(
        "version: 1\nlisteners:\n  - {{ address: \"127.0.0.1:1\", tls: {{ certificates: [{{ dir: none }}], {tls} }} }}\n{RESPOND}"
    )
}

// S4
#[test]
fn the_modern_profile_speaks_tls_13_only() {
    let gateway = Gateway::with(RESPOND).tls("profile: modern").start();
    let old = client(&gateway, |builder| {
        builder.set_max_proto_version(Some(SslVersion::TLS1_2)).unwrap();
    });
    let why = old.try_connect().err().expect("TLS 1.2 was spoken");
    assert!(why.contains("alert protocol version"), "{why}");
    assert_eq!(gateway.client().connect().ssl().version_str(), "TLSv1.3");
}

// S5
#[test]
fn only_suites_with_forward_secrecy_and_aead_are_spoken_in_tls_12() {
    let gateway = Gateway::with(RESPOND)
        .certificate(|authority, folder| {
            let key = PKey::from_rsa(Rsa::generate(2048).unwrap()).unwrap();
            let dir = authority.leaf_of(&key, &["rsa.example"]).install(folder, "rsa");
            format!("{{ dir: \"{dir}\" }}")
        })
        .start();
    let speaks = |suite: &str, name: &str| {
        let client = client(&gateway, |builder| {
            builder.set_security_level(0);
            builder.set_min_proto_version(None).unwrap();
            builder.set_max_proto_version(Some(SslVersion::TLS1_2)).unwrap();
            builder
                .set_cipher_list(&format!("{suite}:@SECLEVEL=0"))
                .unwrap_or_else(|why| panic!("{suite}: {why}"));
        });
        client.sni(name).try_connect().is_ok()
    };
    for (name, kind) in [("api.example", "ECDSA"), ("rsa.example", "RSA")] {
        for suite in ["AES128-GCM-SHA256", "AES256-GCM-SHA384", "CHACHA20-POLY1305"] {
            let suite = format!("ECDHE-{kind}-{suite}");
            assert!(speaks(&suite, name), "{suite}");
        }
        // CBC, CCM, static RSA, finite-field DHE, pre-shared keys, without authentication, without encryption
        for suite in [
            "ECDHE-ECDSA-AES128-SHA",
            "ECDHE-ECDSA-AES256-SHA",
            "ECDHE-ECDSA-AES128-SHA256",
            "ECDHE-ECDSA-AES256-SHA384",
            "ECDHE-ECDSA-AES128-CCM",
            "ECDHE-ECDSA-AES256-CCM8",
            "ECDHE-RSA-AES128-SHA",
            "ECDHE-RSA-AES256-SHA",
            "ECDHE-RSA-AES128-SHA256",
            "ECDHE-RSA-AES256-SHA384",
            "DHE-RSA-AES128-GCM-SHA256",
            "DHE-RSA-AES256-GCM-SHA384",
            "DHE-RSA-CHACHA20-POLY1305",
            "DHE-RSA-AES256-SHA",
            "AES128-GCM-SHA256",
            "AES256-GCM-SHA384",
            "AES128-SHA",
            "AES256-SHA",
            "AES128-SHA256",
            "ECDHE-PSK-CHACHA20-POLY1305",
            "AECDH-AES256-SHA",
            "ADH-AES256-GCM-SHA384",
            "NULL-SHA256",
            "ECDHE-RSA-NULL-SHA",
        ] {
            assert!(!speaks(suite, name), "{suite} was spoken for {name}");
        }
    }
}

// S5
#[test]
fn a_weak_suite_in_the_configuration_is_a_fault_with_its_line() {
    let folder = Folder::new();
    for suite in [
        "RC4-SHA",
        "ECDHE-RSA-AES128-SHA256",
        "DHE-RSA-AES256-GCM-SHA384",
        "AES128-GCM-SHA256",
        "ALL",
    ] {
        let (good, said) = check(&folder, &listener(&format!("ciphers: [{suite}]")));
        assert!(!good);
        assert!(
            said.contains("checked.yaml:3:") && said.contains(&format!("suite `{suite}` is not allowed")),
            "{said}"
        );
    }
    let (_, said) = check(&folder, &listener("ciphersuites: [TLS_AES_128_CCM_SHA256]"));
    assert!(
        said.contains("suite `TLS_AES_128_CCM_SHA256` is not allowed"),
        "{said}"
    );
    let (_, said) = check(&folder, &listener("ciphers: [ECDHE-RSA-AES128-GCM-SHA256]"));
    assert!(!said.contains("not allowed"), "{said}");
}

// S5, S14
#[test]
fn configured_tls_12_suites_are_the_only_ones() {
    let gateway = Gateway::with(RESPOND)
        .tls("ciphers: [ECDHE-ECDSA-AES128-GCM-SHA256]")
        .start();
    let speaks = |suite: &str| {
        let client = client(&gateway, |builder| {
            builder.set_max_proto_version(Some(SslVersion::TLS1_2)).unwrap();
            builder.set_cipher_list(suite).unwrap();
        });
        client.try_connect().is_ok()
    };
    assert!(speaks("ECDHE-ECDSA-AES128-GCM-SHA256"));
    assert!(!speaks("ECDHE-ECDSA-AES256-GCM-SHA384"));
}

// S6
#[test]
fn tls_13_suites_are_chosen_by_the_gateway_and_can_be_configured() {
    let cipher = |gateway: &Gateway, offered: &str| {
        let client = client(gateway, |builder| builder.set_ciphersuites(offered).unwrap());
        let connection = client.try_connect().ok()?;
        let name = connection.ssl().current_cipher().unwrap().name();
        Some(name)
    };
    let all = "TLS_AES_128_GCM_SHA256:TLS_CHACHA20_POLY1305_SHA256:TLS_AES_256_GCM_SHA384";
    let gateway = Gateway::start(RESPOND);
    assert_eq!(cipher(&gateway, all), Some("TLS_AES_256_GCM_SHA384"));

    let gateway = Gateway::with(RESPOND)
        .tls("ciphersuites: [TLS_CHACHA20_POLY1305_SHA256]")
        .start();
    assert_eq!(cipher(&gateway, all), Some("TLS_CHACHA20_POLY1305_SHA256"));
    assert_eq!(cipher(&gateway, "TLS_AES_256_GCM_SHA384"), None);
}

// S7
#[test]
fn tls_12_suites_beside_tls_13_only_are_warned_of() {
    let folder = Folder::new();
    for only_13 in ["min_version: \"1.3\"", "profile: modern"] {
        let (_, said) = check(
            &folder,
            &listener(&format!("{only_13}, ciphers: [ECDHE-RSA-AES128-GCM-SHA256]")),
        );
        assert!(said.contains("warning") && said.contains("no effect"), "{said}");
        assert!(said.contains("checked.yaml:3:"), "{said}");
    }
}

// S10
#[test]
fn plain_http_is_redirected_with_path_and_query() {
    let (origin, gateway) = plain_and_secure();
    let port = gateway.https.port();
    for method in ["GET", "HEAD"] {
        for (target, host, location) in [
            (
                "/healthz",
                "api.example",
                format!("https://api.example:{port}/healthz"),
            ),
            (
                "/a/b%20c?x=1&y=%2F?",
                "API.example:8080",
                format!("https://api.example:{port}/a/b%20c?x=1&y=%2F?"),
            ),
            ("/", "[::1]:80", format!("https://[::1]:{port}/")),
        ] {
            let mut connection = gateway.plain().connect();
            connection.write(format!("{method} {target} HTTP/1.1\r\nHost: {host}\r\n\r\n"));
            let answer = connection.answer_to(method);
            assert_eq!(
                (answer.status, answer.header("location")),
                (301, Some(location.as_str())),
                "{method} {target}"
            );
            is_plain_answer(&answer);
        }
    }
    assert_eq!(origin.connections(), 0);
}

// S10
#[test]
fn plain_http_with_a_credential_or_a_body_is_refused_and_never_proxied() {
    let (origin, gateway) = plain_and_secure();
    let get = "GET /healthz HTTP/1.1\r\nHost: api.example\r\n";
    let credential = |header: &str| (format!("{get}{header}\r\n\r\n"), 403, "plaintext_credential");
    let body = |request: &str| (request.to_owned(), 403, "plaintext_body");
    for (request, status, reason) in [
        credential("Authorization: Bearer a.b.c"),
        credential("authorization: Basic eDp5"),
        credential("Proxy-Authorization: Basic eDp5"),
        credential("Cookie: session=1"),
        credential("X-Api-Key: 1"),
        credential("x-api-key:"),
        body("POST /healthz HTTP/1.1\r\nHost: api.example\r\nContent-Length: 2\r\n\r\n{}"),
        body("POST /healthz HTTP/1.1\r\nHost: api.example\r\n\r\n"),
        body("DELETE /healthz HTTP/1.1\r\nHost: api.example\r\n\r\n"),
        body("OPTIONS /healthz HTTP/1.1\r\nHost: api.example\r\n\r\n"),
        body("GET /healthz HTTP/1.1\r\nHost: api.example\r\nContent-Length: 2\r\n\r\n{}"),
        body("GET /healthz HTTP/1.1\r\nHost: api.example\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
        (
            "GET /a/../b HTTP/1.1\r\nHost: api.example\r\n\r\n".to_owned(),
            400,
            "path_dot_segment",
        ),
        (
            "GET /a HTTP/1.1\r\nHost: a..b\r\n\r\n".to_owned(),
            400,
            "host_malformed",
        ),
        (
            "TRACE / HTTP/1.1\r\nHost: api.example\r\n\r\n".to_owned(),
            405,
            "method_forbidden",
        ),
    ] {
        let mut connection = gateway.plain().connect();
        connection.write(&request);
        let answer = connection.answer();
        assert!(connection.is_closed_within(Duration::from_secs(5)), "{request}");
        assert_eq!(answer.status, status, "{request}");
        answer.code();
        is_plain_answer(&answer);
        let record = gateway.record(answer.header("x-request-id").unwrap());
        assert_eq!(record["error.type"], reason, "{request}");
        assert_eq!(record["url.scheme"], "http");
    }
    assert_eq!(origin.connections(), 0);
}

/// No HSTS (RFC 6797 section 7.2), and nothing about what the gateway runs on.
fn is_plain_answer(answer: &Answer) {
    assert_eq!(answer.header("strict-transport-security"), None);
    assert_eq!(answer.header("server"), None);
}

fn plain_and_secure() -> (Origin, Gateway) {
    let origin = Origin::start();
    let gateway = Gateway::start(&(Keys::new("k1").inline() + &routes(&origin)));
    (origin, gateway)
}

// S11
#[test]
fn every_answer_over_tls_has_hsts_and_only_ours() {
    let keys = Keys::new("k1");
    let origin = Origin::answering(|seen| match seen.target.as_str() {
        "/healthz" => Reply::new(
            200,
            &[
                ("Strict-Transport-Security", "max-age=1"),
                ("strict-transport-security", "max-age=0"),
            ],
            "",
        ),
        _ => Reply::raw("garbage\r\n\r\n").closing(),
    });
    let gateway = Gateway::start(&(keys.inline() + &routes(&origin)));
    let client = gateway.client();
    let liens = "/v1/vehicles/1HG/liens";
    let answers = [
        (200, client.get("/healthz", &[])),
        (502, client.get_with(liens, &keys.token(json!({})))),
        (401, client.get(liens, &[])),
        (403, client.get_with(liens, &keys.token(json!({ "scope": "" })))),
        (404, client.get("/", &[])),
        (405, client.request("POST", "/healthz", &[], "")),
        (400, client.get("/a/../healthz", &[])),
        (
            413,
            client.request("GET", "/healthz", &[("Content-Length", "99999999")], ""),
        ),
        (415, client.request("GET", "/healthz", &[], "{}")),
        (200, h2::get(gateway.https, &gateway.authority, "/healthz", &[])),
        (404, h2::get(gateway.https, &gateway.authority, "/", &[])),
    ];
    for (status, answer) in answers {
        assert_eq!(answer.status, status, "{answer:?}");
        assert_eq!(
            answer.header("strict-transport-security"),
            Some("max-age=63072000"),
            "{answer:?}"
        );
    }
}

// S11
#[test]
fn the_age_of_hsts_can_be_configured() {
    let gateway = Gateway::with(RESPOND).tls("hsts_max_age: 1d").start();
    let answer = gateway.client().get("/ok", &[]);
    assert_eq!(answer.header("strict-transport-security"), Some("max-age=86400"));
}

// S12
#[test]
fn no_plaintext_http2_is_spoken() {
    let gateway = Gateway::start(RESPOND);
    let upgrade = "GET /ok HTTP/1.1\r\nHost: api.example\r\nConnection: Upgrade, HTTP2-Settings\r\n\
                   Upgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n\r\n";
    // within TLS the request is answered as if the upgrade had not been asked for, or refused
    let answer = gateway.client().send(upgrade);
    assert_ne!(answer.status, 101);
    let answer = gateway.plain().send(upgrade);
    assert_ne!(answer.status, 101);
    let mut connection = gateway.plain().connect();
    connection.write(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0");
    let rest = connection.rest();
    assert!(rest.starts_with(b"HTTP/1.1 505"), "{rest:?}");
}

// S12: RFC 7507
#[test]
fn a_client_that_was_made_to_fall_back_is_told_so() {
    let gateway = Gateway::start(RESPOND);
    let client = client(&gateway, |builder| {
        builder.set_max_proto_version(Some(SslVersion::TLS1_2)).unwrap();
        builder.set_mode(SslMode::SEND_FALLBACK_SCSV);
    });
    let why = client.try_connect().err().expect("the downgrade went through");
    assert!(why.contains("inappropriate fallback"), "{why}");
}

// S13
#[test]
fn http2_is_preferred_and_http11_spoken_where_that_is_all() {
    let chosen = |gateway: &Gateway, offered: &[u8]| {
        let client = client(gateway, |builder| builder.set_alpn_protos(offered).unwrap());
        match client.try_connect() {
            Ok(connection) => {
                let name = connection.ssl().selected_alpn_protocol().unwrap();
                Some(String::from_utf8_lossy(name).into_owned())
            }
            // RFC 7301 section 3.2
            Err(why) => {
                assert!(why.contains("alert no application protocol"), "{why}");
                None
            }
        }
    };
    let gateway = Gateway::start(RESPOND);
    for (offered, expected) in [
        (&b"\x02h2\x08http/1.1"[..], Some("h2")),
        (b"\x08http/1.1\x02h2", Some("h2")),
        (b"\x08http/1.1", Some("http/1.1")),
        (b"\x06spdy/3", None),
    ] {
        assert_eq!(chosen(&gateway, offered).as_deref(), expected);
    }
    let gateway = Gateway::with(RESPOND).tls("http2: false").start();
    assert_eq!(
        chosen(&gateway, b"\x02h2\x08http/1.1").as_deref(),
        Some("http/1.1")
    );
    assert_eq!(chosen(&gateway, b"\x02h2").as_deref(), None);
}

// S14
#[test]
fn the_certificate_is_chosen_by_the_name_that_the_client_asks_for() {
    let gateway = Gateway::with(RESPOND)
        .certificate(|authority, folder| {
            format!(
                "{{ dir: \"{}\" }}",
                authority.install(folder, "other", &["other.example"])
            )
        })
        .certificate(|authority, folder| {
            format!(
                "{{ dir: \"{}\" }}",
                authority.install(folder, "wild", &["*.wild.example"])
            )
        })
        .start();
    for settings in [SslVersion::TLS1_2, SslVersion::TLS1_3] {
        let client = || {
            client(&gateway, |builder| {
                builder.set_max_proto_version(Some(settings)).unwrap()
            })
        };
        assert_eq!(shown(&client().sni("other.example")), "other.example");
        assert_eq!(shown(&client().sni("OTHER.example")), "other.example");
        assert_eq!(shown(&client().sni("a.wild.example")), "*.wild.example");
        // the first certificate is for whoever asks for no name, or for one that is nobody's
        for name in [
            "api.example",
            "nobody.example",
            "wild.example",
            "a.b.wild.example",
        ] {
            assert_eq!(shown(&client().any_name().sni(name)), "localhost", "{name}");
        }
        assert_eq!(shown(&client().without_sni()), "localhost");
    }
    let answer = gateway
        .client()
        .sni("other.example")
        .get_as("/ok", "other.example");
    assert_eq!(
        gateway.record(answer.header("x-request-id").unwrap())["tls.client.server_name"],
        "other.example"
    );
}

// S30: RFC 9110 section 7.4, RFC 9113 section 9.1.2
#[test]
fn a_host_is_reached_by_a_connection_that_was_made_for_it_and_by_no_other() {
    let gateway = Gateway::with(RESPOND)
        .certificate(|authority, folder| {
            let dir = authority.install(folder, "other", &["other.example", "*.wild.example"]);
            format!("{{ dir: \"{dir}\" }}")
        })
        .start();
    // the first certificate is for localhost, api.example and 127.0.0.1
    for (sni, host, status) in [
        (Some("api.example"), "api.example", 200),
        (Some("api.example"), "API.example:8443", 200),
        (Some("api.example"), "localhost", 200),
        (Some("other.example"), "other.example", 200),
        (Some("other.example"), "a.wild.example", 200),
        (Some("a.wild.example"), "b.wild.example", 200),
        (None, "api.example", 200),
        (None, "127.0.0.1", 200),
        // another certificate's name
        (Some("api.example"), "other.example", 421),
        (Some("other.example"), "api.example", 421),
        (Some("a.wild.example"), "api.example", 421),
        (None, "other.example", 421),
        // nobody's name, on whatever connection
        (Some("api.example"), "nobody.example", 421),
        (Some("nobody.example"), "nobody.example", 421),
        (Some("a.b.wild.example"), "a.b.wild.example", 421),
        (Some("wild.example"), "wild.example", 421),
        (None, "nobody.example", 421),
        // addresses
        (Some("api.example"), "10.0.0.1", 421),
        (None, "10.0.0.1", 421),
        (None, "[::1]", 421),
        (Some("other.example"), "127.0.0.1", 421),
    ] {
        let client = gateway.client().any_name();
        let client = match sni {
            Some(name) => client.sni(name),
            None => client.without_sni(),
        };
        let answer = client.get_as("/ok", host);
        assert_eq!(answer.status, status, "{sni:?} {host}");
        if status == 421 {
            assert_eq!(answer.code(), "host_misdirected");
            let record = gateway.record(answer.header("x-request-id").unwrap());
            assert_eq!(
                (&record["security_rule.name"], &record["http.route"]),
                (&"route".into(), &serde_json::Value::Null)
            );
        }
    }
    // a connection of HTTP/2 is good for every name of its certificate
    let get = |host: &str| {
        let request = http::Request::get(format!("https://{host}/ok"));
        (request.body(()).unwrap(), Vec::new())
    };
    let answers = h2::exchange(
        gateway.https,
        &gateway.authority,
        vec![get("api.example"), get("other.example"), get("localhost")],
    );
    let statuses: Vec<u16> = answers
        .into_iter()
        .map(|answer| answer.expect("reset").status)
        .collect();
    assert_eq!(statuses, [200, 421, 200]);
}

// S14, S23
#[test]
fn the_whole_chain_is_sent() {
    let gateway = Gateway::with(RESPOND)
        .certificate(|authority, folder| {
            let between = authority.intermediate();
            let mut leaf = between.leaf(&["chain.example"]);
            leaf.certificate.extend(between.pem());
            format!("{{ dir: \"{}\" }}", leaf.install(folder, "chain"))
        })
        .start();
    let connection = gateway.client().sni("chain.example").connect();
    assert_eq!(connection.ssl().peer_cert_chain().unwrap().len(), 2);
    assert_eq!(
        connection.ssl().verify_result(),
        openssl::x509::X509VerifyResult::OK
    );
}

// S14, S17
#[test]
fn a_private_key_can_come_from_the_environment_or_a_file_reference() {
    let authority = crate::support::Authority::new();
    let (from_env, from_file) = (
        authority.leaf(&["env.example"]),
        authority.leaf(&["file.example"]),
    );
    let gateway = Gateway::with(RESPOND)
        .env("TEST_TLS_KEY", std::str::from_utf8(&from_env.key).unwrap())
        .certificate(|_, folder| {
            let cert = folder.write("env.crt", &from_env.certificate);
            format!("{{ cert: \"{cert}\", key_pem: \"${{env:TEST_TLS_KEY}}\" }}")
        })
        .certificate(|_, folder| {
            let cert = folder.write("file.crt", &from_file.certificate);
            let key = folder.write("file.key", &from_file.key);
            format!("{{ cert: \"{cert}\", key_pem: \"${{file:{key}}}\" }}")
        })
        .start();
    for name in ["env.example", "file.example"] {
        let client = Client::new(gateway.https).trusting(&authority).sni(name);
        assert_eq!(client.get_as("/ok", name).status, 200, "{name}");
    }
    assert!(!gateway.messages().contains("PRIVATE KEY"));
}

// S38
#[test]
fn an_http2_client_reaches_an_http11_origin_in_its_own_terms() {
    let origin = Origin::answering(|_| {
        Reply::raw(
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nConnection: keep-alive, x-hop\r\nX-Hop: 1\r\n\
             Keep-Alive: timeout=5\r\nTrailer: X-Sum\r\n\r\n3\r\nabc\r\n3\r\ndef\r\n0\r\nX-Sum: 1\r\n\r\n",
        )
    });
    let gateway = Gateway::start(&format!(
        "upstreams:\n  u: {{ targets: [\"{}\"] }}\nroutes:\n\
         \x20 - match: {{ methods: [GET, POST], path: /x }}\n    public: {{ reason: test, owner: test }}\n    upstream: u\n",
        origin.address
    ));
    let request = http::Request::get("https://api.example/x?q=1")
        .header("cookie", "a=1")
        .header("cookie", "b=2")
        .header("te", "trailers")
        .body(())
        .unwrap();
    let post = http::Request::post("https://api.example/x")
        .header("content-type", "application/json")
        .body(())
        .unwrap();
    let parts = vec![Bytes::from_static(b"{\"a\":"), Bytes::from_static(b"1}")];
    let mut answers = h2::exchange(
        gateway.https,
        &gateway.authority,
        vec![(request, vec![]), (post, parts)],
    );
    for answer in answers.drain(..) {
        let answer = answer.expect("the stream was reset");
        assert_eq!((answer.status, answer.text().as_str()), (200, "abcdef"));
        for hop in ["connection", "transfer-encoding", "keep-alive", "x-hop"] {
            assert_eq!(answer.header(hop), None, "{hop}");
        }
    }
    let seen = origin.seen();
    let (get, post) = (&seen[0], &seen[1]);
    assert_eq!((get.method.as_str(), get.target.as_str()), ("GET", "/x?q=1"));
    assert_eq!(get.header("host"), Some("api.example"));
    assert_eq!(get.header("cookie"), Some("a=1; b=2"));
    assert_eq!(get.header("te"), None);
    assert_eq!(get.header("transfer-encoding"), None);
    assert!(
        get.headers.iter().all(|(name, _)| !name.starts_with(':')),
        "{get:?}"
    );
    assert_eq!(post.body, b"{\"a\":1}");
    assert!(post.complete);
}

// S5, S6, S9, S21: suites, versions, groups and certificates, as somebody else judges them
#[test]
fn both_profiles_and_development_certificates_are_what_mozilla_recommends() {
    let sslyze = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/python/venv/bin/sslyze");
    let folder = Folder::new();
    let certificates = folder.0.join("certs");
    let made = binary()
        .args(["tls", "dev-ca", "localhost", "--out"])
        .arg(&certificates)
        .output()
        .unwrap();
    assert!(made.status.success(), "{made:?}");
    for profile in ["intermediate", "modern"] {
        let gateway = Gateway::whole(&format!(
            "version: 1\nadmin: {{ address: \"{{admin}}\" }}\nlisteners:\n\
             \x20 - address: \"{{https}}\"\n\
             \x20   tls: {{ profile: {profile}, certificates: [{{ dir: \"{}\" }}] }}\n{RESPOND}",
            certificates.display()
        ))
        .start();
        let judged = std::process::Command::new(&sslyze)
            .arg(format!("--mozilla_config={profile}"))
            .args(["--sni", "localhost", "--certinfo_ca_file"])
            .arg(certificates.join("ca.crt"))
            .arg(gateway.https.to_string())
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&judged.stdout);
        assert!(said.contains("OK - Compliant."), "{profile}: {said}");
    }
}
