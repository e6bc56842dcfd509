//! `listeners:` and `trusted_proxies:`

use openssl::nid::Nid;
use openssl::ssl::{SslConnectorBuilder, SslVersion};

use super::Row;
use super::observe::{PUBLIC, check_in, header, offline, plaintext, prove};
use crate::support::{Authority, Client, Folder, Gateway};

const AES: &str = "ECDHE-ECDSA-AES256-GCM-SHA384";
const CHACHA: &str = "ECDHE-ECDSA-CHACHA20-POLY1305";

pub fn rows() -> Vec<Row> {
    vec![
        Row {
            key: "listeners[].address",
            settings: [("{https}", "on the one address"), ("{http}", "on the other")],
            observe: |address| {
                let body = PUBLIC.replace("respond: 200", "respond: { status: 200, body: it }");
                let gateway = plaintext(&body).replacing("{https}", address).start();
                let at = |address| {
                    let answer = Client::new(address)
                        .try_connect()
                        .ok()
                        .and_then(|mut connection| {
                            connection.write("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
                            connection.try_answer("GET")
                        });
                    answer.is_some_and(|answer| answer.text() == "it")
                };
                match (at(gateway.https), at(gateway.http)) {
                    (true, false) => "on the one address".to_owned(),
                    (false, true) => "on the other".to_owned(),
                    both => format!("{both:?}"),
                }
            },
        },
        Row {
            key: "listeners[].tls.profile",
            settings: [("intermediate", "TLSv1.2"), ("modern", "refused")],
            observe: |profile| negotiated(&format!("profile: {profile}"), at_most_12, version),
        },
        Row {
            key: "listeners[].tls.min_version",
            settings: [("\"1.2\"", "TLSv1.2"), ("\"1.3\"", "refused")],
            observe: |least| negotiated(&format!("min_version: {least}"), at_most_12, version),
        },
        Row {
            key: "listeners[].tls.ciphers",
            settings: [(AES, AES), (CHACHA, CHACHA)],
            observe: |cipher| negotiated(&format!("ciphers: [{cipher}]"), at_most_12, suite),
        },
        Row {
            key: "listeners[].tls.ciphersuites",
            settings: [
                ("TLS_AES_128_GCM_SHA256", "TLS_AES_128_GCM_SHA256"),
                ("TLS_CHACHA20_POLY1305_SHA256", "TLS_CHACHA20_POLY1305_SHA256"),
            ],
            observe: |suite_asked| negotiated(&format!("ciphersuites: [{suite_asked}]"), |_| (), suite),
        },
        Row {
            key: "listeners[].tls.http2",
            settings: [("true", "h2"), ("false", "http/1.1")],
            observe: |http2| {
                let offer_both = |builder: &mut SslConnectorBuilder| {
                    builder.set_alpn_protos(b"\x02h2\x08http/1.1").unwrap();
                };
                negotiated(&format!("http2: {http2}"), offer_both, |ssl| {
                    String::from_utf8_lossy(ssl.selected_alpn_protocol().unwrap_or_default()).into_owned()
                })
            },
        },
        Row {
            key: "listeners[].tls.hsts_max_age",
            settings: [("1d", "max-age=86400"), ("730d", "max-age=63072000")],
            observe: |age| {
                let gateway = Gateway::with(PUBLIC).tls(&format!("hsts_max_age: {age}")).start();
                header(&gateway.client().get("/", &[]), "strict-transport-security")
            },
        },
        Row {
            key: "listeners[].tls.certificates[].dir",
            settings: [("one", "one.example"), ("two", "two.example")],
            observe: |dir| {
                let start = Gateway::whole(&format!(
                    "version: 1\nadmin: {{ address: \"{{admin}}\" }}\nlisteners: [{{ address: \"{{https}}\", \
                     tls: {{ certificates: [{{ dir: {dir} }}] }} }}]\n{PUBLIC}"
                ));
                let authority = Authority::new();
                for name in ["one", "two"] {
                    let leaf = authority.leaf(&[&format!("{name}.example")]);
                    std::fs::create_dir_all(start.path(name)).unwrap();
                    write_private(&start.path(name).join("tls.crt"), &leaf.certificate);
                    write_private(&start.path(name).join("tls.key"), &leaf.key);
                }
                let gateway = start.start();
                let anybody = |builder: &mut SslConnectorBuilder| {
                    builder.set_verify(openssl::ssl::SslVerifyMode::NONE);
                };
                let connection = Client::new(gateway.https).tls(&authority, anybody).connect();
                let shown = connection.ssl().peer_certificate().unwrap();
                let name = shown
                    .subject_name()
                    .entries_by_nid(Nid::COMMONNAME)
                    .next()
                    .unwrap();
                String::from_utf8_lossy(name.data().as_slice()).into_owned()
            },
        },
        Row {
            key: "listeners[].tls.default_certificate",
            settings: [("localhost", "localhost"), ("none", "refused: unrecognized name")],
            observe: |default| {
                let gateway = Gateway::with(PUBLIC)
                    .tls(&format!("default_certificate: {default}"))
                    .start();
                match gateway.client().without_sni().try_connect() {
                    Ok(connection) => {
                        let shown = connection.ssl().peer_certificate().unwrap();
                        let name = shown.subject_name().entries().next().unwrap();
                        name.data().to_string().unwrap()
                    }
                    Err(why) if why.contains("unrecognized name") => "refused: unrecognized name".to_owned(),
                    Err(why) => why,
                }
            },
        },
        Row {
            key: "listeners[].tls.certificates[].cert",
            settings: [
                ("one.crt", "good"),
                ("two.crt", "error: the key is not the certificate's"),
            ],
            observe: |cert| check_pair(&format!("cert: {cert}, key: one.key")),
        },
        Row {
            key: "listeners[].tls.certificates[].key",
            settings: [
                ("one.key", "good"),
                ("two.key", "error: the key is not the certificate's"),
            ],
            observe: |key| check_pair(&format!("cert: one.crt, key: {key}")),
        },
        Row {
            key: "listeners[].tls.certificates[].key_pem",
            settings: [
                ("${env:ONE}", "good"),
                ("${file:two.key}", "error: the key is not the certificate's"),
            ],
            observe: |reference| check_pair(&format!("cert: one.crt, key_pem: \"{reference}\"")),
        },
        Row {
            key: "listeners[].redirect_https",
            settings: [
                ("true", "https://api.example/"),
                ("{ port: 8443 }", "https://api.example:8443/"),
            ],
            observe: redirected,
        },
        Row {
            key: "listeners[].redirect_https.port",
            settings: [
                ("1443", "https://api.example:1443/"),
                ("443", "https://api.example/"),
            ],
            observe: |port| redirected(&format!("{{ port: {port} }}")),
        },
        Row {
            key: "listeners[].plaintext.reason",
            settings: [
                (
                    "behind a balancer",
                    "127.0.0.1:1 proxies plain HTTP: behind a balancer",
                ),
                ("in a mesh", "127.0.0.1:1 proxies plain HTTP: in a mesh"),
            ],
            observe: |reason| {
                let proof =
                    prove(&offline(PUBLIC).replace("reason: test }", &format!("reason: {reason} }}")));
                proof["findings"][0].as_str().unwrap().to_owned()
            },
        },
        Row {
            key: "trusted_proxies",
            settings: [("[127.0.0.0/8]", "203.0.113.9"), ("[10.0.0.0/8]", "127.0.0.1")],
            observe: |networks| {
                let gateway = Gateway::start(&format!("trusted_proxies: {networks}\n{PUBLIC}"));
                let answer = gateway.client().get("/", &[("X-Forwarded-For", "203.0.113.9")]);
                let record = gateway.record(answer.header("x-request-id").unwrap());
                record["client.address"].as_str().unwrap().to_owned()
            },
        },
    ]
}

fn at_most_12(builder: &mut SslConnectorBuilder) {
    builder.set_max_proto_version(Some(SslVersion::TLS1_2)).unwrap();
}

fn version(ssl: &openssl::ssl::SslRef) -> String {
    ssl.version_str().to_owned()
}

fn suite(ssl: &openssl::ssl::SslRef) -> String {
    ssl.current_cipher()
        .map(|cipher| cipher.name().to_owned())
        .unwrap_or_default()
}

/// What is negotiated with a listener of these keys, or `refused`.
fn negotiated(
    tls: &str,
    client: impl FnOnce(&mut SslConnectorBuilder),
    what: impl FnOnce(&openssl::ssl::SslRef) -> String,
) -> String {
    let gateway = Gateway::with(PUBLIC).tls(tls).start();
    match Client::new(gateway.https)
        .tls(&gateway.authority, client)
        .try_connect()
    {
        Ok(connection) => what(connection.ssl()),
        Err(_) => "refused".to_owned(),
    }
}

/// What `check` says to a certificate of these keys, beside `one.crt`, `one.key`, `two.crt` and `two.key`.
fn check_pair(certificate: &str) -> String {
    let (folder, authority) = (Folder::new(), Authority::new());
    let mut one = Vec::new();
    for name in ["one", "two"] {
        let leaf = authority.leaf(&["localhost"]);
        folder.write(&format!("{name}.crt"), &leaf.certificate);
        folder.write(&format!("{name}.key"), &leaf.key);
        if name == "one" {
            one = leaf.key;
        }
    }
    let config = format!(
        "version: 1\nlisteners: [{{ address: \"127.0.0.1:1\", tls: {{ certificates: [{{ {certificate} }}] }} }}]\n{PUBLIC}"
    );
    check_in(&folder, &config, &[("ONE", std::str::from_utf8(&one).unwrap())])
}

fn redirected(redirect: &str) -> String {
    let gateway = Gateway::whole(&format!(
        "version: 1\nadmin: {{ address: \"{{admin}}\" }}\n\
         listeners: [{{ address: \"{{http}}\", redirect_https: {redirect} }}]\n{PUBLIC}"
    ))
    .start();
    header(&gateway.plain().get("/", &[]), "location")
}

fn write_private(path: &std::path::Path, contents: &[u8]) {
    use std::os::unix::fs::PermissionsExt;
    std::fs::write(path, contents).unwrap();
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).unwrap();
}
