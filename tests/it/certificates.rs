//! Certificates by name, checked when they are loaded, and warned of before they end.

use openssl::asn1::Asn1Time;
use openssl::hash::MessageDigest;
use openssl::pkey::PKey;
use openssl::rsa::Rsa;
use openssl::ssl::{SslConnectorBuilder, SslVersion};

use crate::support::certs::{Access, Leaf, access, ec_key};
use crate::support::gateway::check;
use crate::support::{Authority, Client, Folder, Gateway, eventually};

const RESPOND: &str = "routes:\n\
    \x20 - match: { methods: [GET], path: /ok }\n\
    \x20   public: { reason: test, owner: test }\n\
    \x20   respond: 200\n";

fn rsa(bits: u32) -> PKey<openssl::pkey::Private> {
    PKey::from_rsa(Rsa::generate(bits).unwrap()).unwrap()
}

/// Kind of the key that was shown.
fn kind(client: &Client) -> Result<&'static str, String> {
    let connection = client.try_connect()?;
    let shown = connection.ssl().peer_certificate().unwrap();
    Ok(match shown.public_key().unwrap().id() {
        openssl::pkey::Id::RSA => "RSA",
        openssl::pkey::Id::EC => "EC",
        other => panic!("{other:?}"),
    })
}

// S14
#[test]
fn of_an_ec_and_an_rsa_certificate_for_one_name_the_clients_offer_decides() {
    let gateway = Gateway::with(RESPOND)
        .certificate(|authority, folder| {
            let dir = authority
                .leaf_of(&rsa(2048), &["api.example"])
                .install(folder, "rsa");
            format!("{{ dir: \"{dir}\" }}")
        })
        .start();
    let offering = |version: SslVersion, algorithms: Option<&str>| {
        let client =
            Client::new(gateway.https).tls(&gateway.authority, |builder: &mut SslConnectorBuilder| {
                builder.set_min_proto_version(Some(version)).unwrap();
                builder.set_max_proto_version(Some(version)).unwrap();
                if let Some(algorithms) = algorithms {
                    builder.set_sigalgs_list(algorithms).unwrap();
                }
            });
        kind(&client)
    };
    for version in [SslVersion::TLS1_2, SslVersion::TLS1_3] {
        assert_eq!(offering(version, None).unwrap(), "EC");
        assert_eq!(offering(version, Some("ECDSA+SHA256")).unwrap(), "EC");
        assert_eq!(
            offering(version, Some("rsa_pss_rsae_sha256:RSA+SHA256")).unwrap(),
            "RSA"
        );
    }
    // requests reach the host over either
    let client = Client::new(gateway.https).tls(&gateway.authority, |builder| {
        builder
            .set_sigalgs_list("rsa_pss_rsae_sha256:RSA+SHA256")
            .unwrap();
    });
    assert_eq!(client.get("/ok", &[]).status, 200);
    assert_eq!(gateway.client().get("/ok", &[]).status, 200);
}

// S14
#[test]
fn where_configured_so_a_name_that_nobody_serves_is_refused_and_others_are_served() {
    let gateway = Gateway::with(RESPOND).tls("default_certificate: none").start();
    let unknown = gateway.client().any_name();
    for client in [
        unknown.sni("nobody.example"),
        gateway.client().without_sni(),
        gateway.client().sni("x.localhost").any_name(),
    ] {
        let why = client.try_connect().err().expect("it was served");
        assert!(why.contains("unrecognized name"), "{why}");
    }
    assert_eq!(gateway.client().get("/ok", &[]).status, 200);
}

/// What `durward check` says to a listener with these certificates and other keys of `tls`.
fn checked(folder: &Folder, tls: &str) -> (bool, String) {
    check(
        folder,
        &format!("version: 1\nlisteners: [{{ address: \"127.0.0.1:1\", tls: {{ {tls} }} }}]\n{RESPOND}"),
    )
}

fn installed(folder: &Folder, leaf: &Leaf) -> (bool, String) {
    let dir = leaf.install(folder, "one");
    checked(folder, &format!("certificates: [{{ dir: \"{dir}\" }}]"))
}

// S23
#[test]
fn a_default_that_no_certificate_is_for_is_a_fault() {
    let (folder, authority) = (Folder::new(), Authority::new());
    let dir = authority.install(&folder, "one", &["localhost"]);
    let (good, said) = checked(
        &folder,
        &format!("certificates: [{{ dir: \"{dir}\" }}], default_certificate: api.example"),
    );
    assert!(!good);
    assert!(
        said.contains("no certificate of this listener is for `api.example`"),
        "{said}"
    );
}

// S22, S23
#[test]
fn what_is_wrong_with_a_chain_is_said_when_it_is_loaded() {
    let (folder, authority) = (Folder::new(), Authority::new());
    let names = ["localhost"];

    // in order, it is good
    let between = authority.intermediate();
    let mut chain = between.leaf(&names);
    chain.certificate.extend(between.pem());
    chain.certificate.extend(authority.pem());
    assert_eq!(installed(&folder, &chain), (true, String::new()));

    // the root before the intermediate
    let mut chain = between.leaf(&names);
    chain.certificate.extend(authority.pem());
    chain.certificate.extend(between.pem());
    let (good, said) = installed(&folder, &chain);
    assert!(
        good && said
            .contains("warning: the chain is out of order: certificate 2 did not issue certificate 1"),
        "{said}"
    );

    // the leaf alone says where its issuer's certificate is to be had, so clients do not have that
    let leaf = authority.leaf_with(&ec_key(), &names, |builder| {
        builder
            .append_extension(access(Access::Issuers, "http://ca.example/ca.crt"))
            .unwrap();
    });
    let (good, said) = installed(&folder, &leaf);
    assert!(
        good && said.contains("warning: the chain is incomplete: `CN=test CA` is missing"),
        "{said}"
    );

    // beside it, the CA that did not issue it: as Kubernetes lays it out
    let leaf = authority.leaf(&names);
    std::fs::create_dir_all(folder.0.join("one")).unwrap();
    folder.write("one/ca.crt", authority.pem());
    assert_eq!(installed(&folder, &leaf), (true, String::new()));
    folder.write("one/ca.crt", Authority::new().pem());
    let (good, said) = installed(&folder, &leaf);
    assert!(
        good && said.contains("warning: the chain does not lead to ca.crt"),
        "{said}"
    );
    std::fs::remove_file(folder.0.join("one/ca.crt")).unwrap();

    // days from now: ended, and not begun
    for (from, to, words) in [
        (-10, -2, "warning: the certificate expired at "),
        (2, 10, "warning: the certificate is not valid before "),
    ] {
        let leaf = authority.leaf_with(&ec_key(), &names, |builder| {
            let day =
                |day: i64| Asn1Time::from_unix(crate::support::issuer::now() as i64 + day * 86_400).unwrap();
            builder.set_not_before(&day(from)).unwrap();
            builder.set_not_after(&day(to)).unwrap();
        });
        let (good, said) = installed(&folder, &leaf);
        assert!(good && said.contains(words), "{said}");
    }
}

// S23: the TLS library would not serve with these at all
#[test]
fn short_keys_and_broken_digests_are_refused() {
    let (folder, authority) = (Folder::new(), Authority::new());
    let (good, said) = installed(&folder, &authority.leaf_of(&rsa(1024), &["localhost"]));
    assert!(
        !good && said.contains("error: the certificate has a weak key: RSA of 1024 bits"),
        "{said}"
    );
    let leaf = authority.leaf_signed(&ec_key(), &["localhost"], MessageDigest::sha1());
    let (good, said) = installed(&folder, &leaf);
    assert!(
        !good && said.contains("error: the certificate is signed with") && said.contains("SHA1"),
        "{said}"
    );
}

// S16
#[test]
fn a_certificate_that_ends_soon_is_warned_of_once() {
    let gateway = Gateway::start(RESPOND);
    // of two months, five days are left
    let install = |name: &str| {
        let leaf = gateway.authority.leaf_with(&ec_key(), &[name], |builder| {
            let day =
                |day: i64| Asn1Time::from_unix(crate::support::issuer::now() as i64 + day * 86_400).unwrap();
            builder.set_not_before(&day(-55)).unwrap();
            builder.set_not_after(&day(5)).unwrap();
        });
        leaf.install(&gateway.folder, "certs");
    };
    install("localhost");
    let warnings = || {
        let said = gateway.messages();
        let lines = said.lines().filter(|line| line.contains("certificate_expires"));
        lines.map(str::to_owned).collect::<Vec<_>>()
    };
    let first = eventually("the warning", || Some(warnings()).filter(|all| !all.is_empty()));
    assert!(
        first[0].contains("the certificate for localhost ends within 7 days"),
        "{first:?}"
    );
    // a reload looks again, and has nothing new to say
    let since = gateway.admin("/config/status").json()["running"]["since"].clone();
    gateway.signal("HUP");
    eventually("a reload", || {
        (gateway.admin("/config/status").json()["running"]["since"] != since).then_some(())
    });
    // another certificate has a warning of its own: when that is there, the reload has been looked at
    install("api.example");
    let all = eventually("the next warning", || {
        Some(warnings()).filter(|all| all.len() > first.len())
    });
    assert_eq!(all.len(), 2, "{all:?}");
    assert!(all[1].contains("for api.example ends within 7 days"), "{all:?}");
}
