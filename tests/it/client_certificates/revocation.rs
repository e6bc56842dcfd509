//! What becomes of certificates that are taken back: by their CA, by the operator, and with their CA.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use openssl::ssl::SslVersion;

use super::{ROUTES, asking, reason, refused, reload};
use crate::support::client::{Connection, request};
use crate::support::gateway::check;
use crate::support::pki::{Held, authority, client};
use crate::support::{Gateway, eventually};

const DAY: i64 = 86_400;

fn ask(connection: &mut Connection, path: &str) -> crate::support::Answer {
    connection.write(request("GET", path, &[], ""));
    connection.answer()
}

// U20
#[test]
fn a_revoked_certificate_is_refused_and_so_is_one_that_no_current_list_speaks_of() {
    let ca = authority("root").root();
    let between = ca.issue(&authority("between"));
    let (good, revoked) = (between.issue(&client("good")), between.issue(&client("revoked")));
    let taken_back = ca.issue(&authority("taken back"));
    let unlisted = ca.issue(&authority("unlisted"));
    // another name for a key that has a list
    let renamed = ca.issue(&crate::support::pki::Like {
        key: between.key.clone(),
        ..authority("renamed")
    });
    let list = |until| ca.revoking(&[&taken_back], -DAY, until);
    let with = |on_stale: &str, of_root: Vec<u8>| {
        asking(
            &ca,
            &format!(", crl: [root.crl, between.crl], on_stale: {on_stale}"),
            ROUTES,
        )
        .file("ca.pem", [ca.pem(), between.pem()].concat())
        .file("root.crl", of_root)
        .file("between.crl", between.revoking(&[&revoked], -DAY, DAY))
        .start()
    };
    let gateway = with("refuse", list(DAY));
    for version in [SslVersion::TLS1_2, SslVersion::TLS1_3] {
        let why = |held: &Held| refused(&gateway, &held.speaking(&gateway, version)).0;
        assert_eq!(good.speaking(&gateway, version).get("/mtls", &[]).status, 200);
        assert_eq!(why(&revoked), "client_certificate_revoked");
        assert_eq!(why(&taken_back.issue(&client("c"))), "client_certificate_revoked");
        assert_eq!(
            why(&renamed.issue(&client("c"))),
            "client_certificate_crl_missing"
        );
        assert_eq!(
            why(&unlisted.issue(&client("c"))),
            "client_certificate_crl_missing"
        );
    }
    let metrics = gateway.admin("/metrics").text();
    assert!(
        metrics.contains("durward_crl_next_update_seconds{ca=\"CN=root,O=Example\",truststore=\"partners\"}"),
        "{metrics}"
    );
    drop(gateway);

    let gateway = with("refuse", list(-60));
    assert_eq!(
        refused(&gateway, &good.client(&gateway)).0,
        "client_certificate_crl_stale"
    );
    // what an old list has revoked stays so
    let below = taken_back.issue(&client("c"));
    assert_eq!(
        refused(&gateway, &below.client(&gateway)).0,
        "client_certificate_revoked"
    );
    drop(gateway);

    let gateway = with("accept", list(-60));
    assert_eq!(good.client(&gateway).get("/mtls", &[]).status, 200);
    assert_eq!(
        refused(&gateway, &revoked.client(&gateway)).0,
        "client_certificate_revoked"
    );
}

// U20: requests on connections that are open already, HTTP/1.1 with TLS 1.2 and 1.3
#[test]
fn a_certificate_that_is_taken_back_is_refused_on_open_connections_too() {
    let ca = authority("root").root();
    let other = authority("other").root();
    let held = ca.issue(&client("held"));
    let gateway = asking(&ca, ", crl: [ca.crl], denied_file: denied.txt", ROUTES)
        .file("ca.crl", ca.revoking(&[], -DAY, DAY))
        .file("denied.txt", "# none yet\n")
        .start();
    let write = |name: &str, contents: Vec<u8>| {
        gateway.folder.write(name, contents);
        reload(&gateway);
    };
    let steps: [(&str, Vec<u8>, Vec<u8>, &str); 3] = [
        (
            "ca.crl",
            ca.revoking(&[&held], -DAY, DAY),
            ca.revoking(&[], -DAY, DAY),
            "client_certificate_revoked",
        ),
        (
            "denied.txt",
            format!("{} # stolen\n", held.sha256()).into_bytes(),
            b"\n".to_vec(),
            "client_certificate_denied",
        ),
        // the file is the truststore's own: with another CA the list would be nobody's
        (
            "ca.crl",
            ca.revoking(&[], -2 * DAY, -DAY),
            ca.revoking(&[], -DAY, DAY),
            "client_certificate_crl_stale",
        ),
    ];
    for (file, bad, good, expected) in steps {
        for version in [SslVersion::TLS1_2, SslVersion::TLS1_3] {
            let mut connection = held.speaking(&gateway, version).connect();
            assert_eq!(ask(&mut connection, "/mtls").status, 200, "{expected}");
            write(file, bad.clone());
            for path in ["/mtls", "/"] {
                let answer = ask(&mut connection, path);
                assert_eq!(
                    (answer.status, answer.code().as_str()),
                    (401, "invalid_client_certificate")
                );
                assert_eq!(reason(&gateway, &answer), expected, "{path}");
            }
            assert_eq!(refused(&gateway, &held.client(&gateway)).0, expected);
            write(file, good.clone());
            assert_eq!(
                ask(&mut connection, "/mtls").status,
                200,
                "{expected}: taken back by mistake"
            );
        }
    }
    drop(gateway);

    // S19: a CA that is gone
    let gateway = asking(&ca, "", ROUTES)
        .file("ca.pem", [ca.pem(), other.pem()].concat())
        .start();
    let mut connection = held.client(&gateway).connect();
    assert_eq!(ask(&mut connection, "/mtls").status, 200);
    gateway.folder.write("ca.pem", other.pem());
    reload(&gateway);
    let answer = ask(&mut connection, "/mtls");
    assert_eq!(reason(&gateway, &answer), "client_certificate_issuer_unknown");
    assert_eq!(
        refused(&gateway, &held.client(&gateway)).0,
        "client_certificate_issuer_unknown"
    );
    assert_eq!(
        other
            .issue(&client("new"))
            .client(&gateway)
            .get("/mtls", &[])
            .status,
        200
    );
}

// S30, U20: HTTP/2, where one connection has requests for many hosts
#[test]
fn on_http2_a_certificate_counts_for_its_host_and_for_as_long_as_it_is_good() {
    let ca = authority("root").root();
    let held = ca.issue(&client("held"));
    let gateway = asking(&ca, ", denied_file: denied.txt", ROUTES)
        .file("denied.txt", "")
        .start();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let done = async {
        let connected = crate::support::h2::connect_with(gateway.https, &gateway.authority, |settings| {
            held.present(settings);
        });
        let (mut requests, _driver) = connected.await;
        let mut ask = async |host: &str| {
            requests = requests.clone().ready().await.unwrap();
            let request = http::Request::get(format!("https://{host}/mtls"))
                .body(())
                .unwrap();
            let (answer, _) = requests.send_request(request, true).unwrap();
            answer.await.unwrap().status().as_u16()
        };
        assert_eq!(ask("api.example").await, 200);
        assert_eq!(ask("localhost").await, 421);
        gateway.folder.write("denied.txt", held.sha256());
        reload(&gateway);
        assert_eq!(ask("api.example").await, 401);
    };
    let time = Duration::from_secs(30);
    runtime.block_on(async { tokio::time::timeout(time, done).await.expect("too slow") });
}

// S19, U20: from an old CA to a new one, and new lists, while clients of both keep sending
#[test]
fn truststore_and_lists_are_exchanged_while_clients_send_and_none_fails() {
    let (old, new) = (authority("old").root(), authority("new").root());
    let of = |ca: &Held, name: &str| ca.issue(&client(name));
    let (old_client, new_client) = (of(&old, "old client"), of(&new, "new client"));
    let gateway = asking(&old, ", crl: [all.crl]", ROUTES)
        .file("all.crl", old.revoking(&[], -DAY, DAY))
        .start();
    let both = [old.pem(), new.pem()].concat();
    let lists = |until: i64| [old.revoking(&[], -DAY, until), new.revoking(&[], -DAY, until)].concat();
    let install = |ca: &[u8], crl: &[u8]| {
        // as one would: what is read in between has to be good as well
        for (name, contents) in [("ca.pem", ca), ("all.crl", crl)] {
            gateway.folder.write("next", contents);
            std::fs::rename(gateway.folder.0.join("next"), gateway.folder.0.join(name)).unwrap();
        }
        reload(&gateway);
    };
    let (stop, sent) = (AtomicBool::new(false), AtomicUsize::new(0));
    let keep_sending = |held: &Held| {
        let (kept, mut failures) = (held.client(&gateway), Vec::new());
        let mut connection = kept.connect();
        while !stop.load(Ordering::Relaxed) {
            let answers = [ask(&mut connection, "/mtls"), kept.get("/mtls", &[])];
            sent.fetch_add(2, Ordering::Relaxed);
            failures.extend(answers.into_iter().filter(|answer| answer.status != 200));
        }
        failures
    };
    let failures = std::thread::scope(|scope| {
        let first = scope.spawn(|| keep_sending(&old_client));
        install(&both, &old.revoking(&[], -DAY, DAY));
        install(&both, &lists(DAY));
        let second = scope.spawn(|| keep_sending(&new_client));
        let end = Instant::now() + Duration::from_secs(20);
        for n in 0.. {
            install(&both, &lists(DAY + n));
            if n >= 5 && sent.load(Ordering::Relaxed) > 100 {
                break;
            }
            assert!(Instant::now() < end, "too slow");
        }
        stop.store(true, Ordering::Relaxed);
        [first.join().unwrap(), second.join().unwrap()].concat()
    });
    assert!(
        failures.is_empty(),
        "{} of {} failed: {failures:?}",
        failures.len(),
        sent.into_inner()
    );
    // each CA is counted, also the one that nobody uses any more
    let metrics = gateway.admin("/metrics").text();
    for name in ["old", "new"] {
        let line = metrics.lines().find(|line| {
            line.starts_with("durward_client_certificates_total") && line.contains(&format!("CN={name},"))
        });
        let count: f64 = line.unwrap().rsplit(' ').next().unwrap().parse().unwrap();
        assert!(count > 10.0, "{metrics}");
    }
    // until the old one is taken away
    install(&new.pem(), &new.revoking(&[], -DAY, DAY));
    assert_eq!(
        refused(&gateway, &old_client.client(&gateway)).0,
        "client_certificate_issuer_unknown"
    );
    assert_eq!(new_client.client(&gateway).get("/mtls", &[]).status, 200);
}

// S26, S29, U14: what cannot be meant is an error, at its place
#[test]
fn a_truststore_that_cannot_be_meant_is_refused() {
    let ca = authority("root").root();
    let between = ca.issue(&authority("between"));
    let other = authority("other").root();
    let weak = crate::support::pki::Like {
        key: crate::support::pki::rsa(1024),
        ..authority("weak")
    };
    let folder = crate::support::Folder::new();
    let files = [
        ("root.pem", ca.pem()),
        ("between.pem", between.pem()),
        ("leaf.pem", ca.issue(&client("leaf")).pem()),
        ("weak.pem", weak.root().pem()),
        ("other.crl", other.revoking(&[], -DAY, DAY)),
        ("empty", Vec::new()),
        ("words", b"no digits\n".to_vec()),
    ];
    for (name, contents) in files {
        folder.write(name, contents);
    }
    let gateway = Gateway::with("").path("x");
    drop(gateway);
    let dir = crate::support::Authority::new().install(&folder, "certs", &["api.example"]);
    let judged = |trust: &str, asked: &str, rest: &str| {
        let (good, said) = check(
            &folder,
            &format!(
                "version: 1\ntruststores: {{ p: {{ {trust} }} }}\n\
                 listeners: [{{ address: \"127.0.0.1:1\", tls: {{ certificates: [{{ dir: \"{dir}\" }}], client_certificates: {{ {asked} }} }} }}]\n\
                 {rest}routes: [{{ match: {{ methods: [GET], path: / }}, public: {{ reason: t, owner: u }}, respond: 200 }}]\n"
            ),
        );
        if good { format!("good {said}") } else { said }
    };
    let (root, asked) = ("ca: [root.pem]", "mode: optional, trust: p");
    assert_eq!(judged(root, asked, ""), "good ");
    for (trust, asked, rest, expected) in [
        ("ca: []", asked, "", "there is no CA"),
        ("ca: [none.pem]", asked, "", "cannot read"),
        ("ca: [empty]", asked, "", "no certificate in the file"),
        (
            "ca: [between.pem]",
            asked,
            "",
            "the path of CN=between,O=Example is not complete: CN=root,O=Example is missing",
        ),
        (
            "ca: [root.pem, leaf.pem]",
            asked,
            "",
            "CN=leaf,O=Example is not a CA",
        ),
        (
            "ca: [weak.pem]",
            asked,
            "",
            "CN=weak,O=Example is too weak: client_certificate_key_weak",
        ),
        (
            "ca: [root.pem], crl: [empty]",
            asked,
            "",
            "no revocation list in the file",
        ),
        (
            "ca: [root.pem], crl: [other.crl]",
            asked,
            "",
            "the list of CN=other,O=Example: no CA of `ca` has signed it",
        ),
        ("ca: [root.pem], denied: [abc]", asked, "", "not a SHA-256"),
        (
            "ca: [root.pem], denied_file: words",
            asked,
            "",
            "line 1 of the file is not a SHA-256",
        ),
        (
            root,
            "mode: optional",
            "",
            "nothing says whose certificates are good",
        ),
        (root, "mode: optional, trust: q", "", "unknown truststore `q`"),
        (
            root,
            "mode: off",
            "client_certificates: { c: { trust: p } }\n",
            "no listener asks for certificates of `p`",
        ),
        (
            root,
            asked,
            "client_certificates: { c: { trust: q } }\n",
            "unknown truststore `q`",
        ),
        (
            root,
            asked,
            "client_certificates: { c: { trust: p, allow: [{}] } }\n",
            "this allows everything",
        ),
        (
            root,
            asked,
            "client_certificates: { c: { trust: p, allow: [{ sha256: abc }] } }\n",
            "not a SHA-256",
        ),
        (
            root,
            asked,
            "client_certificates: { c: { trust: p, allow: [{ san_uri: \"spiffe://*\" }] } }\n",
            "good",
        ),
        (
            root,
            asked,
            "client_certificates: { c: { trust: p, allow: [{ san_uri: \"spiffe://a*\" }] } }\n",
            "at the end only",
        ),
        (
            root,
            asked,
            "keys: { p: { file: none } }\n",
            "an issuer or a ring of keys is called `p`, too",
        ),
    ] {
        let said = judged(trust, asked, rest);
        assert!(said.contains(expected), "{trust} {asked} {rest}: {said}");
    }
}

// U25, M11: the list of those who were taken back knows callers by certificate, under their truststore's name
#[test]
fn who_is_on_the_deny_list_of_callers_is_refused_on_open_connections_too() {
    let ca = authority("root").root();
    let (good, listed) = (ca.issue(&client("good")), ca.issue(&client("listed")));
    let gateway = asking(&ca, "", &format!("revocation: {{ file: revoked.txt }}\n{ROUTES}"))
        .file("revoked.txt", "")
        .start();
    let mut connection = listed.client(&gateway).connect();
    assert_eq!(ask(&mut connection, "/mtls").status, 200);
    gateway
        .folder
        .write("revoked.txt", "sub partners CN=listed,O=Example\n");
    let refused = eventually("the list is read", || {
        Some(ask(&mut connection, "/mtls")).filter(|answer| answer.status != 200)
    });
    assert_eq!(
        (refused.status, reason(&gateway, &refused)),
        (401, "client_certificate_revoked".to_owned())
    );
    assert_eq!(good.client(&gateway).get("/mtls", &[]).status, 200);
}
