//! How many connections there may be, whose they are, and who says so: caps and the PROXY protocol.

use std::net::TcpStream;
use std::time::Duration;

use crate::support::{Client, Gateway, Origin, eventually};

const PUBLIC: &str =
    "routes: [{ match: { methods: [GET], path: / }, public: { reason: a, owner: b }, respond: 200 }]\n";

fn metric(gateway: &Gateway, name: &str) -> f64 {
    let metrics = gateway.admin("/metrics").text();
    let line = metrics.lines().find(|line| line.starts_with(name));
    line.map_or(0.0, |line| line.rsplit(' ').next().unwrap().parse().unwrap())
}

/// Of the TLS listener.
fn refused(gateway: &Gateway, reason: &str) -> f64 {
    let listener = gateway.https;
    metric(
        gateway,
        &format!("durward_connections_refused_total{{listener=\"{listener}\",reason=\"{reason}\"}}"),
    )
}

// S74
#[test]
fn connections_beyond_the_cap_are_closed_before_tls_and_make_room_when_they_end() {
    let gateway = Gateway::start(&format!("connections: {{ max: 3 }}\n{PUBLIC}"));
    // of all listeners together, shaken hands with or not
    let silent = TcpStream::connect(gateway.https).unwrap();
    let mut held = [gateway.client().connect(), gateway.client().connect()];
    let open = format!("durward_connections{{listener=\"{}\"}}", gateway.https);
    eventually("three are open", || {
        (metric(&gateway, &open) == 3.0).then_some(())
    });
    assert!(gateway.client().try_connect().is_err());
    let mut plain = gateway.plain().connect();
    plain.write("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    assert!(plain.try_answer("GET").is_none());
    assert_eq!(refused(&gateway, "max"), 1.0);
    // those that are there are served
    for connection in &mut held {
        connection.write("GET / HTTP/1.1\r\nHost: api.example\r\n\r\n");
        assert_eq!(connection.answer().status, 200);
    }
    drop((silent, held));
    eventually("there is room again", || {
        let mut connection = gateway.client().try_connect().ok()?;
        connection.write("GET / HTTP/1.1\r\nHost: api.example\r\n\r\n");
        connection.try_answer("GET")
    });
    eventually("none is open", || (metric(&gateway, &open) == 0.0).then_some(()));
}

/// A gateway whose listener takes PROXY protocol headers from here.
fn behind_a_proxy(listener: &str, more: &str) -> Gateway {
    Gateway::whole(&format!(
        "version: 1\nadmin: {{ address: \"{{admin}}\" }}\nrecords: {{ to: {{ file: records.jsonl }} }}\n\
         listeners:\n  - {{ address: \"{{https}}\", {listener}, proxy_protocol: {{ from: [127.0.0.0/8] }} }}\n{more}"
    ))
    .start()
}

const TLS: &str = "tls: { certificates: [{ dir: \"{certs}\" }] }";
const PLAIN: &str = "plaintext: { reason: test }";
const REDIRECT: &str = "redirect_https: true";

/// Version 2, of this address.
fn version2(command: u8, family: u8, rest: &[u8]) -> Vec<u8> {
    let mut bytes = b"\r\n\r\n\0\r\nQUIT\n".to_vec();
    bytes.extend([0x20 | command, family]);
    bytes.extend((rest.len() as u16).to_be_bytes());
    bytes.extend(rest);
    bytes
}

fn v4(address: [u8; 4]) -> Vec<u8> {
    version2(
        1,
        0x11,
        &[&address[..], &[192, 0, 2, 1], &[0x12, 0x34, 0x01, 0xbb]].concat(),
    )
}

fn v6() -> Vec<u8> {
    let mut address = [0; 36];
    address[..4].copy_from_slice(&[0x20, 0x01, 0x0d, 0xb8]);
    address[15] = 7;
    version2(1, 0x21, &address)
}

// S83: one record a failed handshake, and none of who only looks whether somebody listens
#[test]
fn failed_handshakes_have_a_record_and_looks_have_none() {
    let gateway = Gateway::start(PUBLIC);
    drop(TcpStream::connect(gateway.https).unwrap());
    let mut connection = Client::new(gateway.https)
        .beginning("GET / HTTP/1.1\r\n\r\n")
        .connect();
    assert!(!connection.rest().starts_with(b"HTTP"));
    let record = eventually("a record", || gateway.records().pop());
    assert_eq!(
        (
            &record["error.type"],
            &record["client.address"],
            &record["security_rule.name"]
        ),
        (
            &"handshake_failed".into(),
            &"127.0.0.1".into(),
            &"listener".into()
        )
    );
    assert_eq!(gateway.records().len(), 1);
    assert_eq!(refused(&gateway, "handshake_failed"), 1.0);
}

// S68: on every kind of listener, in both versions
#[test]
fn the_client_is_whom_the_proxy_names() {
    let origin = Origin::start();
    let proxied = format!(
        "upstreams: {{ o: {{ targets: [\"{}\"] }} }}\n\
         routes: [{{ match: {{ methods: [GET], path: / }}, public: {{ reason: a, owner: b }}, upstream: o }}]\n",
        origin.address
    );
    for listener in [TLS, PLAIN, REDIRECT] {
        let gateway = behind_a_proxy(listener, &proxied);
        for (header, client) in [
            (
                b"PROXY TCP4 203.0.113.9 192.0.2.1 4711 443\r\n".to_vec(),
                "203.0.113.9",
            ),
            (
                b"PROXY TCP6 2001:db8::7 2001:db8::1 4711 443\r\n".to_vec(),
                "2001:db8::7",
            ),
            (
                b"PROXY TCP6 ::ffff:203.0.113.9 ::1 4711 443\r\n".to_vec(),
                "203.0.113.9",
            ),
            (v4([198, 51, 100, 3]), "198.51.100.3"),
            (v6(), "2001:db8::7"),
            // the proxy's own
            (b"PROXY UNKNOWN\r\n".to_vec(), "127.0.0.1"),
            (version2(0, 0, &[]), "127.0.0.1"),
        ] {
            let client_of = || match listener {
                TLS => Client::new(gateway.https).trusting(&gateway.authority),
                _ => Client::new(gateway.https),
            };
            let mut connection = client_of().beginning(header).connect();
            for _ in 0..2 {
                // what it says itself is not believed
                connection.write("GET / HTTP/1.1\r\nHost: api.example\r\nX-Forwarded-For: 6.6.6.6\r\n\r\n");
                let answer = connection.answer();
                assert_eq!(answer.status, if listener == REDIRECT { 301 } else { 200 });
                let record = gateway.record(answer.header("x-request-id").unwrap());
                assert_eq!(record["client.address"], client, "{listener}");
                if listener != REDIRECT {
                    let seen = origin.seen();
                    let seen = seen.last().unwrap();
                    assert_eq!(seen.header("x-forwarded-for"), Some(client), "{listener}");
                }
            }
            // and of what is refused at the door
            connection.write("GET / HTTP/1.1\nHost: a\n\n");
            let answer = connection.answer();
            let record = gateway.record(answer.header("x-request-id").unwrap());
            assert_eq!((answer.status, &record["client.address"]), (400, &client.into()));
        }
    }
}

// S68
#[test]
fn a_connection_of_a_proxy_without_a_good_header_is_closed_and_counted() {
    let gateway = behind_a_proxy(
        TLS,
        &format!("connections: {{ handshake_timeout: 1s }}\n{PUBLIC}"),
    );
    for bad in [
        &b"GET / HTTP/1.1\r\nHost: api.example\r\n\r\n"[..],
        b"PROXY TCP4 203.0.113.9 192.0.2.1 4711\r\n",
        b"PROXY TCP4 203.0.113.999 192.0.2.1 4711 443\r\n",
        b"PROXY TCP4 203.0.113.9 192.0.2.1 4711 443\n",
        &version2(1, 0x11, &[0; 5]),
        &version2(2, 0x11, &[0; 12]),
        // TLS without one
        b"\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03\0",
    ] {
        let mut connection = Client::new(gateway.https).beginning(bad).connect();
        assert!(connection.rest().is_empty(), "{}", bad.escape_ascii());
    }
    assert_eq!(refused(&gateway, "proxy_header"), 7.0);
    // one that does not come to its end
    let mut connection = Client::new(gateway.https).beginning("PROXY TCP4 203").connect();
    assert!(connection.is_closed_within(Duration::from_secs(5)));
    eventually("the deadline of the header", || {
        (refused(&gateway, "proxy_header_timeout") == 1.0).then_some(())
    });
}

// S68, S74: limits and the flood gate count whom the proxy names
#[test]
fn what_is_counted_by_address_is_counted_by_the_address_that_the_proxy_names() {
    let gateway = behind_a_proxy(
        PLAIN,
        &format!("connections: {{ max_per_address: 2 }}\nflood: {{ per_address: 3 }}\n{PUBLIC}"),
    );
    let connect = |header: &str| Client::new(gateway.https).beginning(header.as_bytes()).connect();
    let ask = |connection: &mut crate::support::client::Connection| {
        connection.write("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
        connection.try_answer("GET").map(|answer| answer.status)
    };
    // one IPv6 network is one client
    let of = |n: u8| format!("PROXY TCP6 2001:db8::{n} 2001:db8::ff 1 2\r\n");
    let mut held = [connect(&of(1)), connect(&of(2))];
    assert_eq!(held.each_mut().map(ask), [Some(200); 2]);
    assert_eq!(ask(&mut connect(&of(3))), None);
    assert_eq!(
        ask(&mut connect("PROXY TCP6 2001:db8:0:1::1 ::1 1 2\r\n")),
        Some(200)
    );
    // the proxy's own are not counted
    let mut own: Vec<_> = (0..4).map(|_| connect("PROXY UNKNOWN\r\n")).collect();
    assert!(own.iter_mut().all(|connection| ask(connection).is_some()));
    assert_eq!(refused(&gateway, "max_per_address"), 1.0);
    let mut flooding = connect("PROXY TCP4 203.0.113.9 192.0.2.1 1 2\r\n");
    let statuses: Vec<_> = (0..40).filter_map(|_| ask(&mut flooding)).collect();
    assert!(statuses.contains(&200) && statuses.contains(&429), "{statuses:?}");
}

// S68
#[test]
fn from_elsewhere_a_header_is_a_malformed_request() {
    let gateway = Gateway::start(PUBLIC);
    let answer = gateway
        .plain()
        .beginning("PROXY TCP4 203.0.113.9 192.0.2.1 4711 443\r\n")
        .send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(answer.status, 400);
    let record = gateway.record(answer.header("x-request-id").unwrap());
    assert_eq!(
        (&record["client.address"], &record["error.type"]),
        (&"127.0.0.1".into(), &"head_syntax".into())
    );
    let client = gateway
        .client()
        .beginning("PROXY TCP4 203.0.113.9 192.0.2.1 4711 443\r\n");
    assert!(client.try_connect().is_err());
}

// S74: trusted proxies have more connections than a client may have
#[test]
fn connections_of_trusted_proxies_are_not_counted_by_address() {
    let gateway = Gateway::start(&format!(
        "connections: {{ max_per_address: 1 }}\ntrusted_proxies: [127.0.0.0/8]\n{PUBLIC}"
    ));
    let mut held: Vec<_> = (0..4).map(|_| gateway.client().connect()).collect();
    for connection in &mut held {
        connection.write("GET / HTTP/1.1\r\nHost: api.example\r\n\r\n");
        assert_eq!(connection.answer().status, 200);
    }
}
