//! Mutual TLS: which certificates get a connection, what they are good for on it, and for how long.

mod handshake;
mod proof;
mod resumption;
mod revocation;
mod routes;
mod streams;

use crate::support::gateway::Start;
use crate::support::pki::Held;
use crate::support::{Answer, Client, Gateway, eventually};

/// Routes of every kind: `/` is public, `/mtls` asks for a certificate.
const ROUTES: &str = "client_certificates: { partners: { trust: partners } }\nroutes:\n\
    - { match: { methods: [GET], path: / }, public: { reason: test, owner: us }, respond: 200 }\n\
    - { match: { methods: [GET], path: /mtls }, auth: { client_certificate: partners }, respond: 200 }\n";

/// A gateway that asks for certificates of this CA, with more keys of its truststore, of routes and of everything else.
fn asking(ca: &Held, trust: &str, rest: &str) -> Start {
    Gateway::with(&format!(
        "truststores: {{ partners: {{ ca: [ca.pem]{trust} }} }}\n{rest}"
    ))
    .tls("client_certificates: { mode: optional, trust: partners }")
    .records("summary_interval: 0s")
    .file("ca.pem", ca.pem())
}

/// Why a request was refused, by its record; `none`: it was not.
fn reason(gateway: &Gateway, answer: &Answer) -> String {
    let record = gateway.record(answer.header("x-request-id").unwrap());
    record["error.type"].as_str().unwrap_or("none").to_owned()
}

/// The reason of the only handshake that was refused since there were so many records; and what the client was told.
fn refused(gateway: &Gateway, client: &Client) -> (String, String) {
    let records = || {
        let all = gateway.records().into_iter();
        all.filter(|record| record["security_rule.name"] == "listener")
            .collect::<Vec<_>>()
    };
    let before = records().len();
    let told = match client.try_connect() {
        Err(why) => why,
        Ok(mut connection) => {
            // with TLS 1.3 a client has finished before its certificate is looked at
            connection.write("GET / HTTP/1.1\r\nHost: api.example\r\n\r\n");
            let mut first = [0; 16];
            match std::io::Read::read(&mut connection.reader(), &mut first) {
                Ok(0) => "closed".to_owned(),
                Ok(_) => panic!("an answer: {}", String::from_utf8_lossy(&first)),
                Err(why) => why.to_string(),
            }
        }
    };
    let record = eventually("the record of a handshake", || records().get(before).cloned());
    // S23: the alert that it names is the one that the client got
    if record["durward.tls.failure"] == "client_certificate" && told.contains("alert") {
        let alert = record["durward.tls.alert"].as_str().unwrap().replace('_', " ");
        assert!(told.contains(&alert), "{alert}: {told}");
    }
    (record["error.type"].as_str().unwrap().to_owned(), told)
}

/// Has the gateway read its files again, and waits until it runs what they say.
fn reload(gateway: &Gateway) {
    let read = |gateway: &Gateway| gateway.messages().matches("from now on").count();
    let before = read(gateway);
    gateway.signal("HUP");
    eventually("the reload", || (read(gateway) > before).then_some(()));
}
