//! A CA that asks for the proof of a name (TLS-ALPN-01, RFC 8737) where clients need certificates: it has none.

use openssl::ssl::{SslConnectorBuilder, SslVerifyMode, SslVersion};
use openssl::x509::X509;

use super::ROUTES;
use crate::support::ca::Ca;
use crate::support::pki::{authority, client};
use crate::support::{Client, Gateway, eventually};

/// id-pe-acmeIdentifier, in DER.
const IDENTIFIER: &[u8] = b"\x06\x08\x2b\x06\x01\x05\x05\x07\x01\x1f";

const REQUEST: &str = "GET / HTTP/1.1\r\nHost: api.example\r\n\r\n";

// S15, S30: a proof is shown to whoever asks for it, and nothing else is to be had on such a connection
#[test]
fn a_proof_is_shown_without_a_certificate_and_no_request_is_read_behind_it() {
    let (root, ca) = (authority("root").root(), Ca::undecided());
    let gateway = Gateway::with(&format!(
        "truststores: {{ partners: {{ ca: [ca.pem] }} }}\n\
         acme: {{ ca: {{ directory: \"http://{}/dir\", terms_agreed: true, storage: acme, plain_storage: true, \
         challenge: tls-alpn-01 }} }}\n{ROUTES}",
        ca.origin.address
    ))
    .names(&["localhost"])
    .certificate(|_, _| "{ acme: ca, names: [api.example] }".to_owned())
    .tls("client_certificates: { mode: required, trust: partners }")
    .records("summary_interval: 0s")
    .file("ca.pem", root.pem())
    .start();
    let offering = |protocols: &'static [u8], version: SslVersion| {
        let settings = move |builder: &mut SslConnectorBuilder| {
            builder.set_alpn_protos(protocols).unwrap();
            builder.set_max_proto_version(Some(version)).unwrap();
            builder.set_verify(SslVerifyMode::NONE);
        };
        Client::new(gateway.https)
            .tls(&gateway.authority, settings)
            .any_name()
    };
    let proof = |name: &str| {
        offering(b"\x0aacme-tls/1", SslVersion::TLS1_3)
            .sni(name)
            .try_connect()
    };
    let mut shown = eventually("the proof", || proof("api.example").ok());
    let certificate: X509 = shown.ssl().peer_certificate().unwrap();
    let der = certificate.to_der().unwrap();
    assert!(der.windows(IDENTIFIER.len()).any(|part| part == IDENTIFIER));
    assert_eq!(shown.ssl().selected_alpn_protocol(), Some(&b"acme-tls/1"[..]));
    // the connection is over, whatever is sent on it
    shown.write(REQUEST);
    let rest = shown.rest();
    assert!(rest.is_empty(), "{}", String::from_utf8_lossy(&rest));
    assert_eq!(
        ca.origin
            .seen()
            .iter()
            .filter(|seen| seen.target == "/challenge")
            .count(),
        1
    );

    // a name of which no proof was asked
    let why = proof("localhost").err().expect("a proof of nothing");
    assert!(why.contains("no application protocol"), "{why}");
    // who offers something else beside it is no CA, and neither is who speaks TLS 1.2 alone
    for (protocols, version) in [
        (&b"\x0aacme-tls/1\x08http/1.1"[..], SslVersion::TLS1_3),
        (b"\x08http/1.1", SslVersion::TLS1_3),
        (b"\x08http/1.1", SslVersion::TLS1_2),
        (b"\x0aacme-tls/1", SslVersion::TLS1_2),
    ] {
        let refused = match offering(protocols, version).sni("localhost").try_connect() {
            Err(_) => true,
            // with TLS 1.3 a client has finished before it is refused
            Ok(mut connection) => {
                connection.write(REQUEST);
                let rest = connection.rest();
                assert!(rest.is_empty(), "{}", String::from_utf8_lossy(&rest));
                rest.is_empty()
            }
        };
        assert!(refused, "{}", protocols.escape_ascii());
    }
    let reasons = || {
        let records = gateway.records();
        let reasons = records
            .iter()
            .map(|record| record["durward.tls.failure"].as_str());
        reasons
            .map(|reason| reason.unwrap_or("a request").to_owned())
            .collect::<Vec<_>>()
    };
    let expected = [
        "no_common_protocol",
        "client_certificate",
        "client_certificate",
        "client_certificate",
        "no_common_protocol",
    ];
    eventually("all to be recorded", || {
        (reasons().len() >= expected.len()).then_some(())
    });
    assert_eq!(reasons(), expected);
    // and who has a certificate gets in as ever
    let held = root.issue(&client("held"));
    assert_eq!(
        held.client(&gateway)
            .sni("localhost")
            .get_as("/", "localhost")
            .status,
        200
    );
}
