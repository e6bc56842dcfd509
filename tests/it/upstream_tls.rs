//! TLS towards upstreams: who they have to be, who the gateway is to them, and that nothing is sent to anybody else.

use std::net::SocketAddr;

use openssl::hash::MessageDigest;
use openssl::ssl::{SslAcceptorBuilder, SslMethod, SslVerifyMode, SslVersion};
use openssl::x509::X509;
use openssl::x509::store::X509StoreBuilder;

use crate::support::certs::{Leaf, ec_key};
use crate::support::{Authority, Folder, Gateway, Origin, Reply, eventually, gateway};

const NAME: &str = "vehicles.internal";

/// A route `/NAME` to each upstream, which is at this address and is spoken to so.
fn config(upstreams: &[(&str, SocketAddr, &str)]) -> String {
    let mut yaml = "upstreams:\n".to_owned();
    for (name, address, tls) in upstreams {
        yaml += &format!(
            "  {name}: {{ targets: [\"{address}\"], tls: {{ server_name: {NAME}, ca: ca.pem{tls} }} }}\n"
        );
    }
    yaml += "routes:\n";
    for (name, _, _) in upstreams {
        yaml += &format!(
            "  - {{ match: {{ methods: [GET], path: /{name} }}, public: {{ reason: test, owner: us }}, upstream: {name} }}\n"
        );
    }
    yaml
}

fn origin(leaf: &Leaf) -> Origin {
    Origin::tls(&leaf.certificate, &leaf.key, |_| Reply::ok())
}

fn origin_with(leaf: &Leaf, change: impl FnOnce(&mut SslAcceptorBuilder)) -> Origin {
    Origin::tls_with(&leaf.certificate, &leaf.key, |_| Reply::ok(), change)
}

/// As `sha256/BASE64`, by the certificate's own DER and not by what the gateway makes of it.
pub fn pin(pem: &[u8]) -> String {
    let key = X509::from_pem(pem).unwrap().public_key().unwrap();
    let digest = openssl::hash::hash(MessageDigest::sha256(), &key.public_key_to_der().unwrap()).unwrap();
    format!("sha256/{}", openssl::base64::encode_block(&digest))
}

/// The status of an answer, and for a failure its reason.
fn outcome(gateway: &Gateway, path: &str) -> String {
    let answer = gateway.client().get(path, &[]);
    if answer.status == 200 {
        return "200".to_owned();
    }
    let record = gateway.record(answer.header("x-request-id").unwrap());
    format!("{} {}", answer.status, record["error.type"].as_str().unwrap())
}

// S31: each fault of a certificate has a reason of its own, and no request goes to whom it is seen at
#[test]
fn a_service_whose_certificate_will_not_do_is_sent_nothing() {
    let (ours, stranger) = (Authority::new(), Authority::new());
    let untrusted = origin(&stranger.leaf(&[NAME]));
    let other = origin(&ours.leaf(&["liens.internal"]));
    let expired = origin(&ours.leaf_until(&ec_key(), &[NAME], -60));
    let no_tls = Origin::start();
    let gateway = Gateway::with(&config(&[
        ("untrusted", untrusted.address, ""),
        ("other", other.address, ""),
        ("expired", expired.address, ""),
        ("no_tls", no_tls.address, ""),
    ]))
    .file("ca.pem", ours.pem())
    .start();
    for _ in 0..2 {
        for (path, reason) in [
            ("/untrusted", "502 upstream_certificate_untrusted"),
            ("/other", "502 upstream_certificate_name"),
            ("/expired", "502 upstream_certificate_expired"),
            ("/no_tls", "502 upstream_tls"),
        ] {
            assert_eq!(outcome(&gateway, path), reason, "{path}");
        }
    }
    for origin in [&untrusted, &other, &expired, &no_tls] {
        assert_eq!(origin.begun(), 0, "a request was sent to a stranger");
    }
    let metrics = gateway.admin("/metrics").text();
    assert!(metrics.contains("upstream_certificate_expired"), "{metrics}");
}

// S32: a pin of the service's key or of its CA's lets it through, any other does not; an upstream's go before everyone's
#[test]
fn a_service_without_a_pinned_key_is_sent_nothing_however_good_its_certificate() {
    let ours = Authority::new();
    let leaf = ours.leaf(&[NAME]);
    let origins: Vec<Origin> = (0..4).map(|_| origin(&leaf)).collect();
    let address = |index: usize| origins[index].address;
    let (own, ca) = (pin(&leaf.certificate), pin(&ours.pem()));
    let another = pin(&ours.leaf(&[NAME]).certificate);
    let gateway = Gateway::with(&format!(
        "upstream_pins: [\"{another}\"]\n{}",
        config(&[
            ("everyones", address(0), ""),
            ("own", address(1), &format!(", pins: [\"{another}\", \"{own}\"]")),
            ("ca", address(2), &format!(", pins: [\"{ca}\"]")),
            ("wrong", address(3), &format!(", pins: [\"{another}\"]")),
        ])
    ))
    .file("ca.pem", ours.pem())
    .start();
    for _ in 0..2 {
        assert_eq!(outcome(&gateway, "/own"), "200");
        assert_eq!(outcome(&gateway, "/ca"), "200");
        assert_eq!(outcome(&gateway, "/everyones"), "502 upstream_pin_mismatch");
        assert_eq!(outcome(&gateway, "/wrong"), "502 upstream_pin_mismatch");
    }
    assert_eq!(
        (origins[0].begun(), origins[3].begun()),
        (0, 0),
        "a request was sent"
    );
    assert!(
        gateway.messages().contains(&own),
        "the key that was seen is in the log"
    );
}

/// Asks for a certificate by this authority.
pub fn demanding(clients: &Authority) -> impl FnOnce(&mut SslAcceptorBuilder) + use<> {
    let authority = clients.certificate.clone();
    move |acceptor| {
        let mut store = X509StoreBuilder::new().unwrap();
        store.add_cert(authority).unwrap();
        acceptor.set_verify_cert_store(store.build()).unwrap();
        acceptor.set_verify(SslVerifyMode::PEER | SslVerifyMode::FAIL_IF_NO_PEER_CERT);
    }
}

// S31, S17: the gateway shows its certificate, and another one after a reload; connections of one are never used as the other
#[test]
fn a_service_that_asks_for_a_certificate_gets_the_gateways() {
    let (ours, clients, strangers) = (Authority::new(), Authority::new(), Authority::new());
    let origin = origin_with(&ours.leaf(&[NAME]), demanding(&clients));
    let tls = ", cert: gw/tls.crt, key: gw/tls.key";
    let leaf = clients.leaf(&["gateway.internal"]);
    let gateway = Gateway::with(&config(&[
        ("known", origin.address, tls),
        (
            "by_reference",
            origin.address,
            ", cert: ref/tls.crt, key_pem: \"${env:GATEWAY_KEY}\"",
        ),
        (
            "unknown",
            origin.address,
            ", cert: other/tls.crt, key: other/tls.key",
        ),
        ("nobody", origin.address, ""),
    ]))
    .file("ca.pem", ours.pem())
    .installed("gw", &leaf)
    .installed("ref", &leaf)
    .installed("other", &strangers.leaf(&["gateway.internal"]))
    .env("GATEWAY_KEY", std::str::from_utf8(&leaf.key).unwrap())
    .start();
    for _ in 0..2 {
        assert_eq!(outcome(&gateway, "/known"), "200");
        assert_eq!(outcome(&gateway, "/by_reference"), "200");
        for path in ["/unknown", "/nobody"] {
            // TLS 1.3 tells a client that its certificate will not do once the handshake is over
            let outcome = outcome(&gateway, path);
            assert!(outcome.starts_with("502 upstream_"), "{path}: {outcome}");
        }
    }
    assert_eq!(origin.begun(), 4, "only those with the certificate were let in");
    let before = origin.connections();
    strangers.install(&gateway.folder, "gw", &["gateway.internal"]);
    gateway.signal("HUP");
    eventually("the new certificate is shown", || {
        outcome(&gateway, "/known")
            .starts_with("502 upstream_")
            .then_some(())
    });
    assert!(
        origin.connections() > before,
        "a connection of the old certificate was used"
    );
}

// pingora.md, fact 2: a connection that was made in one trust is not used in another
#[test]
fn another_authority_or_pin_is_heeded_at_once_by_connections_that_are_kept() {
    let (ours, other) = (Authority::new(), Authority::new());
    let leaf = ours.leaf(&[NAME]);
    let origin = origin(&leaf);
    let gateway = Gateway::with(&config(&[("service", origin.address, "")]))
        .file("ca.pem", ours.pem())
        .start();
    let becomes = |expected: &str| {
        gateway.signal("HUP");
        eventually(expected, || {
            (outcome(&gateway, "/service") == expected).then_some(())
        });
    };
    assert_eq!(outcome(&gateway, "/service"), "200");
    gateway.folder.write("ca.pem", other.pem());
    becomes("502 upstream_certificate_untrusted");
    gateway.folder.write("ca.pem", ours.pem());
    becomes("200");
    let file = gateway.folder.0.join("durward.yaml");
    let text = std::fs::read_to_string(&file).unwrap();
    let pinned = |pin: &str| text.replace("ca: ca.pem", &format!("ca: ca.pem, pins: [\"{pin}\"]"));
    gateway.folder.write("durward.yaml", pinned(&pin(&other.pem())));
    becomes("502 upstream_pin_mismatch");
    gateway
        .folder
        .write("durward.yaml", pinned(&pin(&leaf.certificate)));
    becomes("200");
}

// S31
#[test]
fn versions_and_suites_below_what_is_asked_for_get_nothing() {
    let ours = Authority::new();
    let leaf = ours.leaf(&[NAME]);
    let only = |version, suite: &'static str| {
        origin_with(&leaf, move |acceptor| {
            acceptor.set_max_proto_version(Some(version)).unwrap();
            acceptor.set_cipher_list(suite).unwrap();
        })
    };
    let good = only(SslVersion::TLS1_2, "ECDHE-ECDSA-AES128-GCM-SHA256");
    let rsa = openssl::pkey::PKey::from_rsa(openssl::rsa::Rsa::generate(2048).unwrap()).unwrap();
    let rsa = ours.leaf_of(&rsa, &[NAME]);
    let old = origin_with(&rsa, |acceptor| {
        acceptor.set_max_proto_version(Some(SslVersion::TLS1_2)).unwrap();
        acceptor.set_cipher_list("AES128-GCM-SHA256").unwrap();
    });
    let gateway = Gateway::with(&config(&[
        ("usual", good.address, ""),
        ("newer", good.address, ", min_version: \"1.3\""),
        ("old", old.address, ""),
        ("named", old.address, ", ciphers: [AES128-GCM-SHA256]"),
    ]))
    .file("ca.pem", ours.pem())
    .start();
    for _ in 0..2 {
        assert_eq!(outcome(&gateway, "/usual"), "200");
        assert_eq!(outcome(&gateway, "/newer"), "502 upstream_tls_weak");
        assert_eq!(outcome(&gateway, "/old"), "502 upstream_tls_weak");
        assert_eq!(outcome(&gateway, "/named"), "200");
    }
    assert_eq!((good.begun(), old.begun()), (2, 2));
}

// issue 5, point 6: offered where the TLS library knows it, which these tests share with the gateway
#[test]
fn a_service_that_takes_only_a_post_quantum_group_is_reached() {
    let known = openssl::ssl::SslContext::builder(SslMethod::tls_server())
        .unwrap()
        .set_groups_list("X25519MLKEM768")
        .is_ok();
    let group = if known { "X25519MLKEM768" } else { "X25519" };
    let ours = Authority::new();
    let origin = origin_with(&ours.leaf(&[NAME]), |acceptor| {
        acceptor.set_groups_list(group).unwrap()
    });
    let gateway = Gateway::with(&config(&[("pq", origin.address, "")]))
        .file("ca.pem", ours.pem())
        .start();
    assert_eq!(outcome(&gateway, "/pq"), "200", "{group}");
}

#[test]
fn what_is_written_wrongly_is_said() {
    let folder = Folder::new();
    let (ours, other) = (Authority::new(), Authority::new());
    folder.write("ca.pem", ours.pem());
    ours.install(&folder, "gw", &["gateway.internal"]);
    other.install(&folder, "other", &["gateway.internal"]);
    let address = "127.0.0.1:9".parse().unwrap();
    for (tls, said) in [
        (", cert: gw/tls.crt", "`cert` with `key` or `key_pem`"),
        (", key: gw/tls.key", "`cert` with `key` or `key_pem`"),
        (
            ", cert: gw/tls.crt, key: other/tls.key",
            "the key is not the certificate's",
        ),
        (
            ", cert: gw/tls.key, key: gw/tls.key",
            "no certificate in the file",
        ),
        (", pins: []", "no pin would let no service through"),
        (", pins: [sha256/abc]", "not a pin"),
        (", ciphers: [DES-CBC3-SHA]", "is not offered to services"),
        (", ciphers: []", "there is no suite"),
    ] {
        let yaml = format!(
            "version: 1\nlisteners: []\n{}",
            config(&[("service", address, tls)])
        );
        let (good, messages) = gateway::check(&folder, &yaml);
        assert!(!good && messages.contains(said), "{tls}: {messages}");
    }
}
