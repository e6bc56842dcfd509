//! TLS handshakes that fail: what is told of them, and how often (S23).

use std::io::Write;
use std::net::TcpStream;

use openssl::ssl::{SslConnectorBuilder, SslVersion};
use openssl::x509::store::X509StoreBuilder;
use serde_json::{Value, json};

use crate::support::{Client, Gateway, eventually};

const RESPOND: &str =
    "routes: [{ match: { methods: [GET], path: / }, public: { reason: a, owner: b }, respond: 200 }]\n";

/// Records and summaries of the listener.
fn told(gateway: &Gateway) -> Vec<Value> {
    let all = gateway.records().into_iter();
    all.filter(|record| record["security_rule.name"] == "listener")
        .collect()
}

fn failures(gateway: &Gateway, failure: &str, alert: &str) -> f64 {
    let name = format!(
        "durward_tls_handshake_failures_total{{alert=\"{alert}\",failure=\"{failure}\",listener=\"{}\"}} ",
        gateway.https
    );
    let metrics = gateway.admin("/metrics").text();
    let line = metrics.lines().find_map(|line| line.strip_prefix(&name));
    line.map_or(0.0, |value| value.parse().unwrap())
}

/// How a client fails: its settings, or what it sends in the place of TLS.
enum How {
    Settings(fn(&mut SslConnectorBuilder)),
    Name(&'static str),
    Bytes(&'static [u8]),
}

fn only_tls12(builder: &mut SslConnectorBuilder) {
    builder.set_max_proto_version(Some(SslVersion::TLS1_2)).unwrap();
}

// S23: what is wrong, the alert with its sender, and what the client offered
#[test]
fn each_failed_handshake_is_recorded_with_its_reason_alert_and_offer() {
    let gateway = Gateway::with(RESPOND)
        .tls("default_certificate: none")
        .records("summary_interval: 0s")
        .start();
    let old = |builder: &mut SslConnectorBuilder| {
        builder.set_security_level(0);
        builder.set_cipher_list("ALL:@SECLEVEL=0").unwrap();
        builder.set_min_proto_version(None).unwrap();
        builder.set_max_proto_version(Some(SslVersion::TLS1_1)).unwrap();
    };
    let cases: Vec<(How, &str, &str, &str, &str, Value)> = vec![
        (
            How::Settings(old),
            "no_common_version",
            "protocol_version",
            "gateway",
            "durward.tls.offer.versions",
            "TLSv1.1".into(),
        ),
        (
            How::Settings(|builder| {
                only_tls12(builder);
                builder.set_cipher_list("ECDHE-ECDSA-AES128-SHA").unwrap();
            }),
            "no_common_suite",
            "handshake_failure",
            "gateway",
            "tls.client.supported_ciphers",
            "TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA".into(),
        ),
        (
            How::Settings(|builder| builder.set_groups_list("P-521").unwrap()),
            "no_common_group",
            "handshake_failure",
            "gateway",
            "durward.tls.offer.groups",
            "secp521r1".into(),
        ),
        (
            // the certificate has an EC key
            How::Settings(|builder| builder.set_sigalgs_list("rsa_pss_rsae_sha256").unwrap()),
            "no_common_signature",
            "handshake_failure",
            "gateway",
            "durward.tls.offer.signature_algorithms",
            "rsa_pss_rsae_sha256".into(),
        ),
        (
            How::Name("nobody.example"),
            "unrecognized_name",
            "unrecognized_name",
            "gateway",
            "tls.client.server_name",
            "nobody.example".into(),
        ),
        (
            // RFC 7301 section 3.2
            How::Settings(|builder| builder.set_alpn_protos(b"\x04imap").unwrap()),
            "no_common_protocol",
            "no_application_protocol",
            "gateway",
            "durward.tls.offer.protocols",
            "imap".into(),
        ),
        (
            // a client that trusts nobody
            How::Settings(|builder| builder.set_cert_store(X509StoreBuilder::new().unwrap().build())),
            "certificate_refused",
            "unknown_ca",
            "client",
            "durward.tls.offer.versions",
            "TLSv1.3".into(),
        ),
        (
            How::Bytes(b"GET / HTTP/1.1\r\nHost: api.example\r\n\r\n"),
            "plain_http",
            "",
            "",
            "",
            Value::Null,
        ),
        (
            How::Bytes(b"SSH-2.0-OpenSSH_9.2\r\n"),
            "not_tls",
            "",
            "",
            "",
            Value::Null,
        ),
        (
            // a ClientHello that ends in its middle
            How::Bytes(b"\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03"),
            "closed",
            "",
            "",
            "durward.tls.offer.versions",
            "TLSv1.2".into(),
        ),
        (
            How::Bytes(b"\x16\x03\x01\0\x04\x01\0\0\0"),
            "malformed",
            "decode_error",
            "gateway",
            "",
            Value::Null,
        ),
    ];
    for (at, (how, failure, alert, sender, field, value)) in cases.into_iter().enumerate() {
        let said = match how {
            How::Bytes(bytes) => {
                let mut stream = TcpStream::connect(gateway.https).unwrap();
                stream.write_all(bytes).unwrap();
                stream.shutdown(std::net::Shutdown::Write).unwrap();
                // until it is closed
                let mut said = Vec::new();
                let _ = std::io::Read::read_to_end(&mut stream, &mut said);
                if said.starts_with(b"\x15") {
                    said.last().unwrap().to_string()
                } else {
                    String::new()
                }
            }
            How::Settings(settings) => fails(&Client::new(gateway.https).tls(&gateway.authority, settings)),
            How::Name(name) => fails(&gateway.client().sni(name).any_name()),
        };
        let record = eventually(failure, || told(&gateway).get(at).cloned());
        let text = |name: &str| record[name].as_str().unwrap_or_default().to_owned();
        assert_eq!(text("durward.tls.failure"), failure, "{said}: {record}");
        assert_eq!(text("durward.tls.alert"), alert, "{said}: {record}");
        assert_eq!(text("durward.tls.alert.sender"), sender, "{record}");
        assert_eq!(text("durward.listener"), gateway.https.to_string());
        assert_eq!(text("client.address"), "127.0.0.1");
        assert_eq!(text("error.type"), "handshake_failed");
        assert!(text("error.message").len() > 40, "{record}");
        // the same alert as the client was told
        if sender == "gateway" {
            let number = if alert == "decode_error" { "50" } else { "none" };
            let words = alert.replace('_', " ");
            assert!(said == number || said.contains(&words), "{alert}: {said}");
        }
        match &record[field] {
            _ if field.is_empty() => {}
            Value::Array(list) => assert!(list.contains(&value), "{record}"),
            one => assert_eq!(*one, value, "{record}"),
        }
        assert_eq!(
            failures(&gateway, failure, if alert.is_empty() { "none" } else { alert }),
            1.0
        );
    }
    // and who gets in is not among them
    assert_eq!(gateway.client().get("/", &[]).status, 200);
    assert_eq!(told(&gateway).len(), 11);
}

fn fails(client: &Client) -> String {
    client.try_connect().err().expect("the handshake went well")
}

// S23, S73
#[test]
fn a_handshake_that_is_not_finished_in_time_is_recorded_as_that() {
    let gateway = Gateway::start(&format!("connections: {{ handshake_timeout: 300ms }}\n{RESPOND}"));
    for (bytes, count) in [(&b"\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03"[..], 1), (b"", 2)] {
        let mut stream = TcpStream::connect(gateway.https).unwrap();
        stream.write_all(bytes).unwrap();
        let _ = std::io::Read::read_to_end(&mut stream, &mut Vec::new());
        eventually("the count", || {
            (failures(&gateway, "timeout", "none") == f64::from(count)).then_some(())
        });
    }
    let record = eventually("the record", || told(&gateway).first().cloned());
    assert_eq!(record["error.type"], "handshake_timeout");
    assert_eq!(record["durward.tls.failure"], "timeout");
    // the words of `durward tls probe`
    let message = record["error.message"].as_str().unwrap();
    assert!(
        message.contains("the handshake was not finished in time"),
        "{message}"
    );
}

// S23, S54: however often somebody tries, there is one record, and then a line with a count
#[test]
fn a_scanner_does_not_fill_the_log() {
    const TIMES: u64 = 300;
    let gateway = Gateway::with(RESPOND).records("summary_interval: 1s").start();
    for _ in 0..TIMES {
        let mut stream = TcpStream::connect(gateway.https).unwrap();
        stream.write_all(b"GET / HTTP/1.0\r\n\r\n").unwrap();
        let _ = std::io::Read::read_to_end(&mut stream, &mut Vec::new());
    }
    let count = |line: &Value| line["durward.refusals.count"].as_u64();
    eventually("all of them to be told", || {
        let told: u64 = told(&gateway).iter().map(|line| count(line).unwrap_or(1)).sum();
        (told == TIMES).then_some(())
    });
    let told = told(&gateway);
    let (summaries, records): (Vec<_>, Vec<_>) = told.iter().partition(|line| count(line).is_some());
    assert!(records.len() + summaries.len() < 30, "{}", told.len());
    for summary in &summaries {
        assert_eq!(
            json!([
                summary["client.address"],
                summary["durward.tls.failure"],
                summary["error.type"],
                summary["durward.listener"]
            ]),
            json!([
                "127.0.0.1",
                "plain_http",
                "handshake_failed",
                gateway.https.to_string()
            ])
        );
    }
    assert_eq!(
        summaries[0]["durward.refusals.recorded"],
        records[0]["durward.decision.id"]
    );
    assert_eq!(failures(&gateway, "plain_http", "none"), TIMES as f64);
}
