//! What testssl.sh makes of a listener: somebody else's opinion on protocols, suites, certificates and known attacks.

use std::process::Command;
use std::time::{Duration, Instant};

use openssl::asn1::Asn1Time;

use crate::ocsp::Responder;
use crate::support::certs::{Access, access, ec_key};
use crate::support::{Gateway, eventually};

const RESPOND: &str =
    "routes: [{ match: { methods: [GET], path: / }, public: { reason: a, owner: b }, respond: 200 }]\n";

/// What is looked at: protocols, the certificate and what else a server says of itself, headers, and the attacks that have
/// names. Suites one by one, and what clients would choose, take it much longer, and are judged in `transport.rs`.
const CHECKS: [&str; 4] = ["--protocols", "--server-defaults", "--headers", "--vulnerable"];

/// Nobody waits longer for one listener.
const PATIENCE: Duration = Duration::from_secs(300);

// S3 to S11, S18: nothing that it finds is worse than LOW
#[test]
fn testssl_finds_nothing_above_low_with_profile_intermediate() {
    judge("intermediate");
}

// S4
#[test]
fn testssl_finds_nothing_above_low_with_profile_modern() {
    judge("modern");
}

fn judge(profile: &str) {
    let start = Gateway::with(RESPOND).tls(&format!("profile: {profile}"));
    let authority = start.authority();
    // as those of public CAs: it can be asked whether the certificate is revoked, and it says that it is not
    let responder = Responder::start(authority);
    let mut leaf = authority.leaf_with(&ec_key(), &["api.example"], |builder| {
        builder
            .append_extension(access(Access::Ocsp, &responder.url()))
            .unwrap();
        builder
            .set_not_after(&Asn1Time::days_from_now(90).unwrap())
            .unwrap();
    });
    responder.knows(&leaf.certificate, 'V');
    leaf.certificate.extend(authority.pem());
    let gateway = start
        .certificate(|_, folder| format!("{{ dir: \"{}\" }}", leaf.install(folder, "judged")))
        .names(&["localhost"])
        .start();
    eventually("a staple", || crate::ocsp::stapled(&gateway));
    let ca = gateway.folder.write("judge-ca.pem", gateway.authority.pem());
    let report = gateway.folder.0.join("report.json");
    let begun = Instant::now();
    let mut judge = Command::new("testssl")
        .args(CHECKS)
        .args([
            "--ip",
            "127.0.0.1",
            "--nodns",
            "none",
            "--quiet",
            "--warnings",
            "batch",
        ])
        .args(["--color", "0", "--add-ca", &ca, "--jsonfile"])
        .arg(&report)
        .arg(format!("api.example:{}", gateway.https.port()))
        .stdin(std::process::Stdio::null())
        .stdout(std::fs::File::create(gateway.folder.0.join("said")).unwrap())
        .stderr(std::process::Stdio::null())
        .spawn()
        .expect("install it with scripts/setup test");
    while judge.try_wait().unwrap().is_none() {
        if begun.elapsed() > PATIENCE {
            let _ = judge.kill();
            let _ = judge.wait();
            panic!("testssl is not done within {PATIENCE:?}");
        }
        std::thread::sleep(Duration::from_millis(200));
    }
    let said = std::fs::read_to_string(gateway.folder.0.join("said")).unwrap();
    let found: Vec<serde_json::Value> = serde_json::from_slice(&std::fs::read(&report).unwrap())
        .unwrap_or_else(|why| panic!("{why}: {said}"));
    let text = |one: &serde_json::Value, name: &str| one[name].as_str().unwrap_or_default().to_owned();
    // that it has looked at all
    for id in [
        "TLS1_2",
        "TLS1_3",
        "cert_trust",
        "OCSP_stapling",
        "HSTS",
        "BEAST",
        "LUCKY13",
    ] {
        assert!(
            found.iter().any(|one| text(one, "id").starts_with(id)),
            "{profile}: nothing about {id}: {said}"
        );
    }
    let bad: Vec<_> = found
        .iter()
        .filter(|one| !["OK", "INFO", "LOW", "DEBUG"].contains(&&*text(one, "severity")))
        .collect();
    assert!(bad.is_empty(), "{profile}, after {:?}: {bad:#?}", begun.elapsed());
}
