//! `connections:` and the PROXY protocol

use std::time::Duration;

use super::Row;
use super::observe::{PUBLIC, plaintext, running};
use crate::support::frames::{self, Raw};
use crate::support::{Gateway, Origin, Reply};

const SOON: Duration = Duration::from_millis(1000);

pub fn rows() -> Vec<Row> {
    vec![
        Row {
            key: "connections.max",
            settings: [("1", "one answered"), ("2", "two answered")],
            observe: |max| answered_at_once(&format!("max: {max}")),
        },
        Row {
            key: "connections.max_per_address",
            settings: [("1", "one answered"), ("2", "two answered")],
            observe: |max| answered_at_once(&format!("max_per_address: {max}")),
        },
        Row {
            key: "connections.handshake_timeout",
            settings: [("200ms", "closed"), ("30s", "open")],
            observe: |time| {
                let gateway = running(&with(&format!("handshake_timeout: {time}")));
                let mut connection = crate::support::Client::new(gateway.https).connect();
                is_closed(connection.is_closed_within(SOON))
            },
        },
        Row {
            key: "connections.head_timeout",
            settings: [("200ms", "408"), ("30s", "open")],
            observe: |time| told(&format!("head_timeout: {time}"), "GET / HTTP/1.1\r\n"),
        },
        Row {
            key: "connections.idle_timeout",
            settings: [("200ms", "closed"), ("30s", "open")],
            observe: |time| {
                let gateway = at(&format!("idle_timeout: {time}"));
                let mut connection = crate::support::Client::new(gateway.https).connect();
                connection.write("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
                assert_eq!(connection.answer().status, 200);
                is_closed(connection.is_closed_within(SOON))
            },
        },
        Row {
            key: "connections.body_min_rate",
            settings: [("1k", "408"), ("0", "open")],
            observe: |rate| slow_body(&format!("body_min_rate: {rate}, body_grace: 200ms")),
        },
        Row {
            key: "connections.body_grace",
            settings: [("200ms", "408"), ("30s", "open")],
            observe: |grace| slow_body(&format!("body_grace: {grace}")),
        },
        Row {
            key: "connections.write_timeout",
            settings: [("200ms", "given up"), ("1m", "waited for")],
            observe: |time| {
                let long = "x".repeat(32 << 20);
                let origin = Origin::answering(move |_| Reply::new(200, &[], &long));
                let gateway = Gateway::start(&format!(
                    "{}{}",
                    connections(&format!("write_timeout: {time}")),
                    proxied(&origin)
                ));
                let mut connection = gateway.client().connect();
                connection.write("GET / HTTP/1.1\r\nHost: api.example\r\n\r\n");
                assert_eq!(connection.status(), 200);
                std::thread::sleep(SOON);
                if gateway.records().is_empty() {
                    "waited for"
                } else {
                    "given up"
                }
                .to_owned()
            },
        },
        Row {
            key: "connections.max_requests",
            settings: [("1", "close"), ("2", "keep-alive")],
            observe: |max| {
                let gateway = at(&format!("max_requests: {max}"));
                let answer = gateway_answer(&gateway, "GET / HTTP/1.1\r\nHost: a\r\n\r\n");
                answer.header("connection").unwrap().to_owned()
            },
        },
        Row {
            key: "connections.max_head",
            settings: [("1k", "431"), ("2k", "200")],
            observe: |max| {
                let head = format!("GET / HTTP/1.1\r\nHost: a\r\nX: {}\r\n\r\n", "x".repeat(1000));
                told(&format!("max_head: {max}"), &head)
            },
        },
        Row {
            key: "connections.max_fields",
            settings: [("2", "431"), ("3", "200")],
            observe: |max| {
                told(
                    &format!("max_fields: {max}"),
                    "GET / HTTP/1.1\r\nHost: a\r\nX: 1\r\nY: 2\r\n\r\n",
                )
            },
        },
        Row {
            key: "connections.http2.max_concurrent_streams",
            settings: [("7", "7"), ("100", "100")],
            observe: |max| {
                let gateway = running(&with(&format!("http2: {{ max_concurrent_streams: {max} }}")));
                let mut raw = Raw::connect(gateway.https, &gateway.authority);
                let settings = raw.until(|frame| frame.kind == frames::SETTINGS).unwrap();
                let most = settings
                    .payload
                    .chunks(6)
                    .find(|pair| pair[..2] == [0, 3])
                    .unwrap();
                u32::from_be_bytes(most[2..].try_into().unwrap()).to_string()
            },
        },
        Row {
            key: "connections.http2.control_frames",
            settings: [("10/10s", "goodbye"), ("1000/10s", "answered")],
            observe: |rate| {
                flooded(&format!("http2: {{ control_frames: {rate} }}"), |raw| {
                    (0..30).for_each(|_| _ = raw.send(frames::PING, 0, 0, &[0; 8]));
                })
            },
        },
        Row {
            key: "connections.http2.resets",
            settings: [("10/10s", "goodbye"), ("100/10s", "answered")],
            observe: |rate| {
                flooded(&format!("http2: {{ resets: {rate} }}"), |raw| {
                    for stream in 0..15 {
                        raw.get(2 * stream + 1, "/");
                        raw.send(frames::RST_STREAM, 0, 2 * stream + 1, &[0, 0, 0, 8]);
                    }
                })
            },
        },
        Row {
            key: "listeners[].proxy_protocol.from",
            settings: [("127.0.0.0/8", "203.0.113.9"), ("10.0.0.0/8", "400")],
            observe: |network| {
                let gateway = Gateway::whole(&format!(
                    "version: 1\nadmin: {{ address: \"{{admin}}\" }}\nrecords: {{ to: {{ file: records.jsonl }} }}\n\
                     listeners: [{{ address: \"{{https}}\", plaintext: {{ reason: test }}, \
                     proxy_protocol: {{ from: [{network}] }} }}]\n{PUBLIC}"
                ))
                .start();
                let request = "PROXY TCP4 203.0.113.9 192.0.2.1 4711 80\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n";
                let answer = gateway_answer(&gateway, request);
                if answer.status != 200 {
                    return answer.status.to_string();
                }
                let record = gateway.record(answer.header("x-request-id").unwrap());
                record["client.address"].as_str().unwrap().to_owned()
            },
        },
    ]
}

fn connections(keys: &str) -> String {
    format!("connections: {{ {keys} }}\n")
}

fn with(keys: &str) -> String {
    connections(keys) + PUBLIC
}

/// A gateway of one plaintext listener.
fn at(keys: &str) -> Gateway {
    plaintext(&with(keys)).start()
}

/// A route that takes everything there.
fn proxied(origin: &Origin) -> String {
    format!(
        "upstreams: {{ o: {{ targets: [\"{}\"] }} }}\n\
         routes: [{{ match: {{ methods: [GET, POST], path: / }}, public: {{ reason: a, owner: b }}, upstream: o, \
         request: {{ content_types: [\"*/*\"] }} }}]\n",
        origin.address
    )
}

fn gateway_answer(gateway: &Gateway, request: &str) -> crate::support::Answer {
    crate::support::Client::new(gateway.https).send(request)
}

fn is_closed(closed: bool) -> String {
    if closed { "closed" } else { "open" }.to_owned()
}

/// The status that is answered soon, or that nothing is.
fn told(keys: &str, request: &str) -> String {
    let gateway = at(keys);
    let mut connection = crate::support::Client::new(gateway.https).connect();
    connection.write(request);
    connection
        .status_within(SOON)
        .map_or("open".to_owned(), |status| status.to_string())
}

fn slow_body(keys: &str) -> String {
    let origin = Origin::start();
    let gateway = plaintext(&(connections(keys) + &proxied(&origin))).start();
    let mut connection = crate::support::Client::new(gateway.https).connect();
    connection.write("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\n12345");
    connection
        .status_within(SOON)
        .map_or("open".to_owned(), |status| status.to_string())
}

/// How many of two connections that are open at once get an answer.
fn answered_at_once(keys: &str) -> String {
    let gateway = at(keys);
    let client = crate::support::Client::new(gateway.https);
    let mut connections = [client.connect(), client.connect()];
    let mut answered = 0;
    for connection in &mut connections {
        connection.write("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
        answered += usize::from(connection.try_answer("GET").is_some());
    }
    ["none", "one answered", "two answered"][answered].to_owned()
}

/// Whether a request is answered after these frames.
fn flooded(keys: &str, flood: impl Fn(&mut Raw)) -> String {
    let gateway = running(&with(keys));
    let mut raw = Raw::connect(gateway.https, &gateway.authority);
    flood(&mut raw);
    raw.get(101, "/");
    let end = raw.until(|frame| {
        frame.kind == frames::GOAWAY || (frame.kind == frames::HEADERS && frame.stream == 101)
    });
    match end {
        Some(frame) if frame.kind == frames::GOAWAY && frame.code() == 11 => "goodbye".to_owned(),
        Some(frame) if frame.kind == frames::HEADERS => "answered".to_owned(),
        other => format!("{other:?}"),
    }
}
