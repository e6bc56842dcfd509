//! `durward tls`: development certificates, requests, and answers to handshakes that fail.

use std::io::Write;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Output};

use crate::support::gateway::{binary, check};
use crate::support::{Authority, Folder, Gateway, refusing_address};

const RESPOND: &str = "routes:\n\
    \x20 - match: { methods: [GET], path: /ok }\n\
    \x20   public: { reason: test, owner: test }\n\
    \x20   respond: 200\n";

fn tls(arguments: &[&str]) -> Output {
    binary().arg("tls").args(arguments).output().unwrap()
}

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&[&*output.stdout, &*output.stderr].concat()).into_owned()
}

fn good(arguments: &[&str]) -> String {
    let output = tls(arguments);
    assert!(output.status.success(), "{arguments:?}: {}", text(&output));
    text(&output)
}

fn bad(arguments: &[&str]) -> String {
    let output = tls(arguments);
    assert_eq!(output.status.code(), Some(1), "{arguments:?}: {}", text(&output));
    text(&output)
}

fn mode(path: &Path) -> u32 {
    std::fs::metadata(path).unwrap().permissions().mode() & 0o777
}

/// OpenSSL's own command line, as an independent opinion.
fn openssl(arguments: &[&str]) -> String {
    let output = Command::new("openssl").args(arguments).output().unwrap();
    assert!(output.status.success(), "{arguments:?}: {}", text(&output));
    text(&output)
}

// S21
#[test]
fn a_development_ca_serves_at_once_and_is_recognised_as_such() {
    let folder = Folder::new();
    let dir = folder.0.join("dev").display().to_string();
    let made = good(&["dev-ca", "-o", &dir, "api.example", "*.wild.example", "127.0.0.1"]);
    assert!(
        made.contains("from a new CA") && made.contains("Not for production"),
        "{made}"
    );
    for (file, expected) in [
        ("ca.key", 0o600),
        ("tls.key", 0o600),
        ("ca.crt", 0o644),
        ("tls.crt", 0o644),
    ] {
        assert_eq!(mode(&folder.0.join("dev").join(file)), expected, "{file}");
    }
    openssl(&[
        "verify",
        "-CAfile",
        &format!("{dir}/ca.crt"),
        "-purpose",
        "sslserver",
        "-verify_hostname",
        "x.wild.example",
        &format!("{dir}/tls.crt"),
    ]);
    let (is_good, said) = check(
        &folder,
        &format!(
            "version: 1\nlisteners: [{{ address: \"127.0.0.1:1\", tls: {{ certificates: [{{ dir: \"{dir}\" }}] }} }}]\n{RESPOND}"
        ),
    );
    assert_eq!((is_good, said.as_str()), (true, ""));
    let file = folder.0.join("checked.yaml").display().to_string();
    let proof = binary().args(["prove", "-c", &file]).output().unwrap();
    assert!(
        text(&proof)
            .contains("127.0.0.1:1 shows a development certificate for `api.example`: not for production"),
        "{}",
        text(&proof)
    );
    let inspected = good(&["inspect", &dir, "--ca", &format!("{dir}/ca.crt")]);
    assert!(
        inspected.contains("api.example, *.wild.example, 127.0.0.1") && inspected.contains(" days left)"),
        "{inspected}"
    );
    assert_eq!(
        inspected.matches("a development certificate").count(),
        2,
        "{inspected}"
    );
    assert!(inspected.contains("the chain leads to a CA of"), "{inspected}");

    // the CA is used again, the leaf is new
    let before = std::fs::read(folder.0.join("dev/tls.crt")).unwrap();
    let ca = std::fs::read(folder.0.join("dev/ca.crt")).unwrap();
    assert!(good(&["dev-ca", "-o", &dir, "--key", "rsa", "b.example"]).contains("from the same CA"));
    assert_eq!(std::fs::read(folder.0.join("dev/ca.crt")).unwrap(), ca);
    assert_ne!(std::fs::read(folder.0.join("dev/tls.crt")).unwrap(), before);
    assert!(good(&["inspect", &dir]).contains("RSA of 2048 bits"));

    // a CA that is not ours is not overwritten
    folder.write("dev/ca.crt", Authority::new().pem());
    assert!(bad(&["dev-ca", "-o", &dir, "c.example"]).contains("not for development"));
    assert_eq!(tls(&["dev-ca", "-o", &dir, "not a name"]).status.code(), Some(2));
}

// S21: from a request to a served certificate
#[test]
fn a_request_is_ready_to_send_and_what_comes_back_serves() {
    let folder = Folder::new();
    let dir = folder.0.join("real").display().to_string();
    let made = good(&[
        "csr",
        "-o",
        &dir,
        "--organisation",
        "Example",
        "API.example",
        "10.0.0.1",
    ]);
    assert!(made.contains("tls.csr asks for api.example, 10.0.0.1"), "{made}");
    assert_eq!(mode(&folder.0.join("real/tls.key")), 0o600);
    let csr = format!("{dir}/tls.csr");
    let read = openssl(&["req", "-in", &csr, "-noout", "-text", "-verify"]);
    for part in [
        "DNS:api.example",
        "IP Address:10.0.0.1",
        "O = Example",
        "verify OK",
        "ecdsa-with-SHA256",
    ] {
        assert!(read.contains(part), "{part}: {read}");
    }
    let inspected = good(&["inspect", &csr]);
    assert!(
        inspected.contains("DNS:api.example, IP Address:10.0.0.1") && inspected.contains("EC of 256 bits"),
        "{inspected}"
    );
    // the key may be in use
    assert!(bad(&["csr", "-o", &dir, "api.example"]).contains("--keep-key"));
    let key = std::fs::read(folder.0.join("real/tls.key")).unwrap();
    good(&["csr", "-o", &dir, "--keep-key", "api.example"]);
    assert_eq!(std::fs::read(folder.0.join("real/tls.key")).unwrap(), key);

    // some CA signs it
    let ca = folder.0.join("ca").display().to_string();
    good(&["dev-ca", "-o", &ca, "ca.example"]);
    openssl(&[
        "x509",
        "-req",
        "-in",
        &csr,
        "-CA",
        &format!("{ca}/ca.crt"),
        "-CAkey",
        &format!("{ca}/ca.key"),
        "-days",
        "9",
        "-copy_extensions",
        "copy",
        "-out",
        &format!("{dir}/tls.crt"),
    ]);
    let (is_good, said) = check(
        &folder,
        &format!(
            "version: 1\nlisteners: [{{ address: \"127.0.0.1:1\", tls: {{ certificates: [{{ dir: \"{dir}\" }}] }} }}]\n{RESPOND}"
        ),
    );
    assert!(is_good, "{said}");
}

fn probe(gateway: &Gateway, more: &[&str]) -> Output {
    let (address, ca) = (
        gateway.https.to_string(),
        gateway.folder.write("probe-ca.crt", gateway.authority.pem()),
    );
    let arguments = [&["probe", &*address, "--ca", &*ca], more].concat();
    tls(&arguments)
}

// S23, S24
#[test]
fn a_probe_says_what_is_negotiated_and_shown() {
    let gateway = Gateway::start(RESPOND);
    let output = probe(&gateway, &["--sni", "api.example"]);
    let said = text(&output);
    assert!(output.status.success(), "{said}");
    for line in [
        "version     TLSv1.3",
        "suite       TLS_AES_256_GCM_SHA384",
        "group       X25519MLKEM768",
        "protocol    h2",
        "staple      none",
        "names       localhost, api.example, 127.0.0.1",
        "issued by   CN=test CA",
        "good: clients believe it",
    ] {
        assert!(said.contains(line), "{line}: {said}");
    }
    let output = probe(
        &gateway,
        &[
            "--max-version",
            "1.2",
            "--ciphers",
            "ECDHE-ECDSA-AES128-GCM-SHA256",
        ],
    );
    let said = text(&output);
    assert!(output.status.success(), "{said}");
    for line in [
        "version     TLSv1.2",
        "suite       ECDHE-ECDSA-AES128-GCM-SHA256",
        "group       x25519",
    ] {
        assert!(said.contains(line), "{line}: {said}");
    }
}

// S23
#[test]
fn a_probe_says_in_words_why_clients_stay_away() {
    let gateway = Gateway::with(RESPOND).tls("default_certificate: none").start();
    let says = |more: &[&str], part: &str| {
        let output = probe(&gateway, more);
        assert_eq!(output.status.code(), Some(1), "{}", text(&output));
        assert!(text(&output).contains(part), "{part}: {}", text(&output));
    };
    says(
        &["--sni", "nobody.example"],
        "no certificate for the name that the client asks for, and no default: `nobody.example`",
    );
    says(
        &["--sni", "api.example", "--max-version", "1.1"],
        "no common version of TLS",
    );
    says(
        &[
            "--sni",
            "api.example",
            "--max-version",
            "1.2",
            "--ciphers",
            "AES128-SHA",
        ],
        "no common cipher suite",
    );
    // another CA is trusted: who issued it is neither there nor trusted
    let stranger = gateway.folder.write("stranger.crt", Authority::new().pem());
    let address = gateway.https.to_string();
    let said = bad(&["probe", &address, "--sni", "api.example", "--ca", &stranger]);
    assert!(
        said.contains("! clients do not believe the chain") || said.contains("nor trusted here"),
        "{said}"
    );
    // and what is no TLS at all
    let said = bad(&["probe", &gateway.http.to_string()]);
    assert!(said.contains("plain HTTP on this port"), "{said}");
    let (_held, nobody) = refusing_address();
    assert!(bad(&["probe", &nobody.to_string()]).contains("the connection is refused"));
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = silent.local_addr().unwrap().to_string();
    let closing = std::thread::spawn(move || {
        let (mut stream, _) = silent.accept().unwrap();
        // all that was sent is read first: otherwise the system resets the connection
        let _ = std::io::Read::read(&mut stream, &mut [0; 4096]);
        let _ = stream.flush();
    });
    let said = bad(&["probe", &address]);
    closing.join().unwrap();
    assert!(said.contains("closed the connection without a word"), "{said}");
}

// S23
#[test]
fn a_probe_says_what_is_wrong_with_a_certificate() {
    let gateway = Gateway::with(RESPOND).names(&["api.example"]).start();
    let said = text(&probe(&gateway, &["--sni", "other.example"]));
    assert!(
        said.contains("name mismatch: the certificate is for api.example, not for `other.example` (SSL_ERROR_BAD_CERT_DOMAIN)"),
        "{said}"
    );
    // its intermediate is left out, then it has ended
    let between = gateway.authority.intermediate();
    between.install(&gateway.folder, "certs", &["api.example"]);
    crate::support::eventually("the chain is said to be incomplete", || {
        text(&probe(&gateway, &["--sni", "api.example"]))
            .contains("`CN=test intermediate CA` is neither in the chain nor trusted here")
            .then_some(())
    });
    let ended = gateway
        .authority
        .leaf_with(&crate::support::certs::ec_key(), &["api.example"], |builder| {
            let day = |days: i64| {
                openssl::asn1::Asn1Time::from_unix(crate::support::issuer::now() as i64 - days * 86_400)
                    .unwrap()
            };
            builder.set_not_before(&day(9)).unwrap();
            builder.set_not_after(&day(2)).unwrap();
        });
    ended.install(&gateway.folder, "certs");
    crate::support::eventually("it is said to have ended", || {
        let output = probe(&gateway, &["--sni", "api.example"]);
        assert_eq!(output.status.code(), Some(1));
        text(&output)
            .contains("! the certificate expired at")
            .then_some(())
    });
}
