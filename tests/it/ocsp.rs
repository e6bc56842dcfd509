//! Proof that a certificate is not revoked, shown with it. The responder is OpenSSL's.

use std::process::Command;
use std::sync::Arc;

use openssl::ssl::{SslConnector, SslMethod, StatusType};
use openssl::x509::X509;

use crate::support::certs::{Access, access, ec_key};
use crate::support::gateway::binary;
use crate::support::{Authority, Folder, Gateway, Origin, Reply, eventually};

const RESPOND: &str = "routes:\n\
    \x20 - match: { methods: [GET], path: /ok }\n\
    \x20   public: { reason: test, owner: test }\n\
    \x20   respond: 200\n";

/// `openssl ocsp` behind a server on loopback: by itself it would listen everywhere.
pub struct Responder {
    origin: Origin,
    folder: Arc<Folder>,
}

impl Responder {
    pub fn start(authority: &Authority) -> Responder {
        let folder = Arc::new(Folder::new());
        folder.write("ca.crt", authority.pem());
        folder.write("ca.key", authority.key_pem());
        folder.write("index", "");
        let files = folder.clone();
        let origin = Origin::answering(move |seen| {
            assert_eq!(seen.header("content-type"), Some("application/ocsp-request"));
            files.write("request", &seen.body);
            let done = Command::new("openssl")
                .current_dir(&files.0)
                .args([
                    "ocsp", "-index", "index", "-CA", "ca.crt", "-rsigner", "ca.crt", "-rkey", "ca.key",
                ])
                .args(["-nmin", "5", "-reqin", "request", "-respout", "response"])
                .output()
                .unwrap();
            assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
            let body = std::fs::read(files.0.join("response")).unwrap();
            let head = format!(
                "HTTP/1.1 200 OK\r\nContent-Type: application/ocsp-response\r\nContent-Length: {}\r\n\r\n",
                body.len()
            );
            Reply::raw([head.as_bytes(), &body].concat())
        });
        Responder { origin, folder }
    }

    /// What it answers about this certificate from now on: `V` good, `R` revoked.
    pub fn knows(&self, certificate: &[u8], status: char) {
        let serial = X509::from_pem(certificate)
            .unwrap()
            .serial_number()
            .to_bn()
            .unwrap();
        let revoked = if status == 'R' { "260101000000Z" } else { "" };
        let line = format!(
            "{status}\t491231235959Z\t{revoked}\t{}\tunknown\t/CN=x\n",
            &*serial.to_hex_str().unwrap()
        );
        self.folder.write("index", line);
    }

    pub fn url(&self) -> String {
        format!("http://{}/", self.origin.address)
    }
}

/// The staple that a client is shown.
pub fn stapled(gateway: &Gateway) -> Option<Vec<u8>> {
    let mut builder = SslConnector::builder(SslMethod::tls_client()).unwrap();
    builder
        .cert_store_mut()
        .add_cert(gateway.authority.certificate.clone())
        .unwrap();
    let mut ssl = builder
        .build()
        .configure()
        .unwrap()
        .into_ssl("api.example")
        .unwrap();
    ssl.set_status_type(StatusType::OCSP).unwrap();
    let stream = std::net::TcpStream::connect(gateway.https).unwrap();
    let stream = ssl.connect(stream).unwrap();
    stream.ssl().ocsp_status().map(<[u8]>::to_vec)
}

fn probe(gateway: &Gateway) -> String {
    let ca = gateway.folder.write("probe-ca.crt", gateway.authority.pem());
    let output = binary()
        .args([
            "tls",
            "probe",
            &gateway.https.to_string(),
            "--sni",
            "api.example",
            "--ca",
            &ca,
        ])
        .output()
        .unwrap();
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// A gateway with a certificate that names a responder, which says this of it; and one that names none.
fn asking(status: char) -> (Gateway, Responder) {
    let start = Gateway::with(RESPOND);
    let authority = start.authority();
    let responder = Responder::start(authority);
    let mut leaf = authority.leaf_with(&ec_key(), &["api.example"], |builder| {
        builder
            .append_extension(access(Access::Ocsp, &responder.url()))
            .unwrap();
    });
    responder.knows(&leaf.certificate, status);
    leaf.certificate.extend(authority.pem());
    let gateway = start
        .certificate(|_, folder| format!("{{ dir: \"{}\" }}", leaf.install(folder, "asked")))
        .names(&["localhost"])
        .start();
    (gateway, responder)
}

// S18
#[test]
fn a_proof_is_fetched_in_the_background_shown_and_kept_while_the_responder_is_away() {
    let (gateway, responder) = asking('V');
    let first = eventually("a staple", || stapled(&gateway));
    let said = probe(&gateway);
    assert!(said.contains("staple      good, for 4 minutes more"), "{said}");
    assert!(
        said.contains(&format!("ocsp        {}", responder.url())),
        "{said}"
    );
    let metrics = gateway.admin("/metrics").text();
    for line in [
        "durward_ocsp_questions_total{name=\"api.example\",outcome=\"good\"} 1",
        "durward_ocsp_questions_total{name=\"api.example\",outcome=\"failed\"} 0",
        "durward_ocsp_failures{name=\"api.example\"} 0",
    ] {
        assert!(metrics.contains(line), "{line}: {metrics}");
    }
    // the other certificate names no responder, which is nothing to worry about
    assert!(
        gateway.messages().lines().any(|line| line.contains("localhost")
            && line.contains("names no responder")
            && !line.contains("WARN")),
        "{}",
        gateway.messages()
    );
    // handshakes ask nobody
    assert_eq!(responder.origin.seen().len(), 1);
    drop(responder);
    assert_eq!(stapled(&gateway), Some(first));
    assert_eq!(gateway.client().get("/ok", &[]).status, 200);
}

// S18
#[test]
fn a_responder_that_is_away_or_says_revoked_keeps_nobody_from_being_served() {
    let (gateway, _responder) = asking('R');
    eventually("it is said", || {
        gateway
            .messages()
            .contains("certificate for api.example: the certificate is REVOKED")
            .then_some(())
    });
    assert_eq!(stapled(&gateway), None);
    assert_eq!(gateway.client().get("/ok", &[]).status, 200);
    let metrics = gateway.admin("/metrics").text();
    assert!(
        metrics.contains("durward_ocsp_failures{name=\"api.example\"} 1"),
        "{metrics}"
    );
}
