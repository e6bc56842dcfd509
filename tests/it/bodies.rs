//! Bodies that are read whole before the upstream has had the request: of any size, framed in any way, on HTTP/1.1 and
//! HTTP/2, refused or accepted (S78).

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use bytes::Bytes;
use serde_json::json;

use crate::content::{chunked, post_h2};
use crate::support::client::{Connection, request};
use crate::support::origin::Seen;
use crate::support::{Answer, Gateway, Origin, Reply, eventually, h2, refusing_address};

const JSON: (&str, &str) = ("Content-Type", "application/json");
/// Around every size at which something changes: Pingora's own buffer, a slice, a frame, a limit.
const SIZES: [usize; 8] = [1, 2048, 65_535, 65_536, 65_537, 66_560, 400 << 10, 1 << 20];

/// A route for each path, method POST and PUT, with these rules, to these targets.
fn configured(targets: &str, routes: &[(String, String)]) -> String {
    let routes: Vec<String> = routes
        .iter()
        .map(|(path, rules)| {
            format!(
                "\x20 - match: {{ methods: [POST, PUT], path: {path} }}\n\
                 \x20   public: {{ reason: test, owner: test }}\n\
                 \x20   request: {{ {rules} }}\n\
                 \x20   upstream: all\n"
            )
        })
        .collect();
    format!(
        "upstreams:\n  all: {{ targets: [{targets}] }}\nroutes:\n{}",
        routes.concat()
    )
}

fn serving(origin: &Origin, rules: &str) -> Gateway {
    Gateway::start(&configured(
        &format!("\"{}\"", origin.address),
        &[("/".to_owned(), rules.to_owned())],
    ))
}

/// Bytes that tell where they were.
fn body(size: usize) -> Vec<u8> {
    (0..size).map(|n| (n % 251) as u8).collect()
}

fn sized(method: &str, path: &str, body: &[u8]) -> Vec<u8> {
    let head = format!(
        "{method} {path} HTTP/1.1\r\nHost: api.example\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    [head.as_bytes(), body].concat()
}

fn in_chunks(method: &str, path: &str, body: &[u8]) -> Vec<u8> {
    let head = format!(
        "{method} {path} HTTP/1.1\r\nHost: api.example\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
    );
    [head.into_bytes(), chunked(body, 10_000)].concat()
}

/// Waits until all memory for bodies was given back.
fn all_memory_is_given_back(gateway: &Gateway) {
    eventually("memory is given back", || {
        let metrics = gateway.admin("/metrics").text();
        metrics.contains("durward_body_memory_bytes 0\n").then_some(())
    });
}

fn whole(seen: &Seen, expected: &[u8]) {
    assert!(
        seen.complete && seen.body == expected,
        "{} of {} bytes",
        seen.body.len(),
        expected.len()
    );
    assert_eq!(
        seen.header("content-length"),
        Some(expected.len().to_string().as_str())
    );
    assert_eq!(
        (seen.header("transfer-encoding"), seen.header("expect")),
        (None, None)
    );
}

// S78
#[test]
fn bodies_of_all_sizes_arrive_as_they_were_sent_and_the_connection_goes_on() {
    let origin = Origin::start();
    let gateway = serving(&origin, "max_body: 1mb");
    let mut connection = gateway.client().connect();
    let mut sent = Vec::new();
    for size in SIZES {
        let body = body(size);
        for bytes in [sized("POST", "/", &body), in_chunks("POST", "/", &body)] {
            connection.write(bytes);
            let answer = connection
                .try_answer("POST")
                .unwrap_or_else(|| panic!("closed at {size}"));
            assert_eq!(
                (answer.status, answer.header("connection")),
                (200, Some("keep-alive")),
                "{size}"
            );
            sent.push(body.clone());
        }
        let length = size.to_string();
        for headers in [vec![JSON], vec![JSON, ("content-length", &length)]] {
            let answer = post_h2(&gateway, "/", &headers, &body).expect("reset");
            assert_eq!(answer.status, 200, "{size}");
            sent.push(body.clone());
        }
    }
    // nothing at all, framed as something
    connection.write(in_chunks("POST", "/", b""));
    assert_eq!(connection.answer().status, 200);
    sent.push(Vec::new());
    let seen = origin.seen();
    assert_eq!(seen.len(), sent.len());
    for (seen, body) in seen.iter().zip(&sent) {
        whole(seen, body);
    }
    all_memory_is_given_back(&gateway);
}

// S78
#[test]
fn nothing_of_a_body_that_is_one_byte_too_long_is_seen_at_any_size() {
    let origin = Origin::start();
    let routes: Vec<(String, String)> = SIZES
        .iter()
        .map(|size| (format!("/{size}"), format!("max_body: {}b", size - 1)))
        .collect();
    let gateway = Gateway::start(&configured(&format!("\"{}\"", origin.address), &routes));
    for size in SIZES {
        let (path, body) = (format!("/{size}"), body(size));
        for bytes in [sized("POST", &path, &body), in_chunks("POST", &path, &body)] {
            let mut connection = gateway.client().connect();
            connection.write(bytes);
            let answer = connection.answer();
            assert_eq!(
                (answer.status, answer.code().as_str()),
                (413, "body_too_large"),
                "{size}"
            );
        }
        let length = size.to_string();
        for headers in [vec![JSON], vec![JSON, ("content-length", &length)]] {
            let answer = post_h2(&gateway, &path, &headers, &body).expect("the answer was lost");
            assert_eq!(
                (answer.status, answer.code().as_str()),
                (413, "body_too_large"),
                "{size}"
            );
        }
    }
    assert_eq!(origin.connections(), 0);
    all_memory_is_given_back(&gateway);
}

// S78
#[test]
fn the_upstream_sees_nothing_before_the_last_byte_is_here() {
    let origin = Origin::start();
    let gateway = serving(&origin, "max_body: 1mb");
    for bytes in [
        sized("POST", "/", &body(400_000)),
        in_chunks("POST", "/", &body(400_000)),
    ] {
        let before = origin.connections();
        let (most, last) = bytes.split_at(bytes.len() - 1);
        let mut connection = gateway.client().connect();
        connection.write(most);
        eventually("all but the last byte is held", || {
            let metrics = gateway.admin("/metrics").text();
            let held = metrics
                .lines()
                .find_map(|line| line.strip_prefix("durward_body_memory_bytes "))?;
            (held.parse::<u64>().unwrap() >= 399_999).then_some(())
        });
        assert_eq!(origin.connections(), before);
        connection.write(last);
        assert_eq!(connection.answer().status, 200);
    }
}

// RFC 9110 section 10.1.1
#[test]
fn a_client_that_waits_to_continue_is_told_by_the_gateway() {
    let origin = Origin::start();
    let gateway = serving(&origin, "");
    let mut connection = gateway.client().connect();
    connection.write(
        "POST / HTTP/1.1\r\nHost: api.example\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\
         Expect: 100-continue\r\n\r\n",
    );
    assert_eq!(connection.status(), 100);
    assert_eq!(origin.connections(), 0);
    connection.write("{}");
    assert_eq!(connection.answer().status, 200);
    whole(&origin.only(), b"{}");
}

// S44: RFC 9110 section 9.2.2
#[test]
fn a_body_is_sent_again_whole_where_an_idle_connection_turns_out_dead() {
    for size in [1000, 65_537, 1 << 20] {
        let count = AtomicUsize::new(0);
        // the second request on the first connection is read, and then the connection ends without an answer
        let origin = Origin::answering(move |_| match count.fetch_add(1, Ordering::SeqCst) {
            1 | 4 => Reply {
                parts: Vec::new(),
                delay: Duration::ZERO,
                close: true,
            },
            _ => Reply::ok(),
        });
        let gateway = serving(&origin, "max_body: 1mb");
        let body = body(size);
        let mut connection = gateway.client().connect();
        for _ in 0..2 {
            connection.write(sized("PUT", "/", &body));
            assert_eq!(connection.answer().status, 200, "{size}");
        }
        assert_eq!(origin.seen().len(), 3);
        // the same over HTTP/2
        let put = || {
            let request =
                http::Request::put("https://api.example/").header("content-type", "application/json");
            (request.body(()).unwrap(), vec![Bytes::from(body.clone())])
        };
        for answer in h2::exchange(gateway.https, &gateway.authority, vec![put(), put()]) {
            assert_eq!(answer.expect("reset").status, 200, "{size}");
        }
        assert_eq!(origin.seen().len(), 6);
        origin.seen().iter().for_each(|seen| whole(seen, &body));
        all_memory_is_given_back(&gateway);
    }
}

// S44: RFC 9110 section 9.2.2
#[test]
fn what_is_not_safe_to_repeat_is_not_repeated_and_connections_are_tried_elsewhere() {
    let count = AtomicUsize::new(0);
    let origin = Origin::answering(move |_| match count.fetch_add(1, Ordering::SeqCst) {
        1 => Reply {
            parts: Vec::new(),
            delay: Duration::ZERO,
            close: true,
        },
        _ => Reply::ok(),
    });
    let (_socket, refusing) = refusing_address();
    let targets = format!("\"{refusing}\", \"{}\"", origin.address);
    let gateway = Gateway::start(&configured(
        &targets,
        &[("/".to_owned(), "max_body: 1mb".to_owned())],
    ));
    let body = body(1 << 20);
    let statuses: Vec<u16> = (0..4)
        .map(|_| {
            let mut connection = gateway.client().connect();
            connection.write(sized("POST", "/", &body));
            connection.answer().status
        })
        .collect();
    assert_eq!(statuses, [200, 502, 200, 200]);
    assert_eq!(origin.seen().len(), 4);
    origin.seen().iter().for_each(|seen| whole(seen, &body));
}

// S78
#[test]
fn without_memory_for_it_a_body_is_refused_for_now_and_small_ones_still_pass() {
    let origin = Origin::start();
    let gateway = Gateway::start(&format!(
        "server: {{ body_memory: 1mb }}\n{}",
        configured(
            &format!("\"{}\"", origin.address),
            &[("/".to_owned(), "max_body: 700k".to_owned())]
        )
    ));
    let bytes = sized("POST", "/", &body(700_000));
    let mut first = gateway.client().connect();
    first.write(&bytes[..bytes.len() - 1]);
    eventually("the first body is held", || {
        let metrics = gateway.admin("/metrics").text();
        metrics
            .contains("durward_body_memory_bytes 700000\n")
            .then_some(())
    });
    let large = body(300_000);
    let mut connection = gateway.client().connect();
    connection.write(sized("POST", "/", &large));
    let answer = connection.answer();
    assert_eq!(
        (answer.status, answer.code().as_str()),
        (503, "body_memory_exhausted")
    );
    assert_eq!(answer.header("retry-after"), Some("1"));
    let answer = post_h2(&gateway, "/", &[JSON], &large).expect("the answer was lost");
    assert_eq!(
        (answer.status, answer.code().as_str()),
        (503, "body_memory_exhausted")
    );
    let record = gateway.record(answer.header("x-request-id").unwrap());
    assert_eq!(
        (
            &record["durward.outcome"],
            &record["security_rule.name"],
            &record["error.type"]
        ),
        (&json!("deny"), &json!("content"), &json!("body_memory_exhausted"))
    );
    assert_eq!(origin.connections(), 0);
    let answer = gateway
        .client()
        .request("POST", "/", &[JSON], &"0".repeat(60_000));
    assert_eq!(answer.status, 200);

    first.write(&bytes[bytes.len() - 1..]);
    assert_eq!(first.answer().status, 200);
    let mut connection = gateway.client().connect();
    connection.write(sized("POST", "/", &large));
    assert_eq!(connection.answer().status, 200);
    all_memory_is_given_back(&gateway);
}

// S78
#[test]
fn a_client_that_leaves_in_mid_body_costs_the_upstream_nothing() {
    let origin = Origin::start();
    let gateway = serving(&origin, "max_body: 1mb");
    for bytes in [
        sized("POST", "/", &body(400_000)),
        in_chunks("POST", "/", &body(400_000)),
    ] {
        let mut connection = gateway.client().connect();
        connection.write(&bytes[..200_000]);
        drop(connection);
    }
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let (mut client, driver) = h2::connect(gateway.https, &gateway.authority).await;
        let (_answer, mut sending) = client.send_request(post(&[]), false).unwrap();
        sending.send_data(Bytes::from(body(10_000)), false).unwrap();
        sending.send_reset(::h2::Reason::CANCEL);
        // let it go out
        let _ = tokio::time::timeout(Duration::from_millis(200), driver).await;
    });
    let records = eventually("all three are recorded", || {
        Some(gateway.records()).filter(|all| all.len() == 3)
    });
    for record in records {
        assert_eq!(record["durward.outcome"], "abort", "{record}");
    }
    assert_eq!(origin.connections(), 0);
    all_memory_is_given_back(&gateway);
}

fn post(headers: &[(&str, &str)]) -> http::Request<()> {
    let request = http::Request::post("https://api.example/").header("content-type", "application/json");
    headers
        .iter()
        .fold(request, |request, (name, value)| request.header(*name, *value))
        .body(())
        .unwrap()
}

// S78
#[test]
fn a_slow_body_is_refused_at_its_deadline() {
    let origin = Origin::start();
    let gateway = serving(&origin, "max_body: 1mb, body_timeout: 300ms");
    for bytes in [
        sized("POST", "/", &body(1000)),
        in_chunks("POST", "/", &body(1000)),
    ] {
        let mut connection = gateway.client().connect();
        let begun = Instant::now();
        connection.write(&bytes[..bytes.len() - 1]);
        let answer = connection.answer();
        assert_eq!((answer.status, answer.code().as_str()), (408, "body_too_slow"));
        assert!(
            (300..3000).contains(&begun.elapsed().as_millis()),
            "{:?}",
            begun.elapsed()
        );
        assert!(connection.is_closed_within(Duration::from_secs(5)));
    }
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let status = runtime.block_on(async {
        let (mut client, _driver) = h2::connect(gateway.https, &gateway.authority).await;
        let (answer, mut sending) = client.send_request(post(&[]), false).unwrap();
        sending.send_data(Bytes::from_static(b"{"), false).unwrap();
        let answer = tokio::time::timeout(Duration::from_secs(5), answer).await;
        answer.expect("no answer").unwrap().status().as_u16()
    });
    assert_eq!((status, origin.connections()), (408, 0));
    all_memory_is_given_back(&gateway);
}

// RFC 9113 section 8.1.1
#[test]
fn an_http2_body_of_another_length_than_announced_never_reaches_the_upstream() {
    let origin = Origin::start();
    let gateway = serving(&origin, "max_body: 1mb");
    for (announced, sent) in [(10, 5), (5, 10), (0, 5), (100_000, 99_999), (99_999, 100_000)] {
        let length = announced.to_string();
        let answer = post_h2(&gateway, "/", &[JSON, ("content-length", &length)], &body(sent));
        assert!(
            answer.is_none_or(|answer| answer.status == 400),
            "{announced} {sent}"
        );
    }
    let records = eventually("all are recorded", || {
        Some(gateway.records()).filter(|all| all.len() == 5)
    });
    for record in records {
        assert_eq!(
            (&record["durward.outcome"], &record["error.type"]),
            (&json!("deny"), &json!("content_length_malformed")),
            "{record}"
        );
    }
    // none is none, whether it is said in HEADERS or after
    let answer = post_h2(&gateway, "/", &[("content-length", "0")], b"").expect("reset");
    assert_eq!(answer.status, 200);
    assert_eq!(origin.connections(), 1);
}

/// A frame of HTTP/2 (RFC 9113 section 4.1).
fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

// RFC 9113 section 8.1
#[test]
fn http2_trailers_are_refused_whatever_they_hold() {
    let (data, headers, settings) = (0, 1, 4);
    let (end_stream, end_headers) = (1, 4);
    let origin = Origin::start();
    let gateway = serving(&origin, "max_body: 1mb");
    // HPACK without its dynamic table: POST, https, /, and two literals
    let text = |value: &str| [&[value.len() as u8], value.as_bytes()].concat();
    let head = [
        &[0x83, 0x87, 0x84, 0x01][..],
        &text("api.example"),
        &[0x0f, 0x10],
        &text("application/json"),
    ]
    .concat();
    let trailers = [
        [&[0x00][..], &text("x-checksum"), &text("1")].concat(),
        [&[0x00][..], &text(":path"), &text("/other")].concat(),
        [&[0x00][..], &text(":made-up"), &text("1")].concat(),
    ];
    for trailer in trailers {
        let mut connection = gateway
            .client()
            .tls(&gateway.authority, |builder| {
                builder.set_alpn_protos(b"\x02h2").unwrap()
            })
            .connect();
        connection.write(
            [
                b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec(),
                frame(settings, 0, 0, &[]),
                frame(headers, end_headers, 1, &head),
                frame(data, 0, 1, b"{}"),
                frame(headers, end_headers | end_stream, 1, &trailer),
            ]
            .concat(),
        );
        assert_eq!(h2_status(&mut connection), 400);
    }
    assert_eq!(origin.connections(), 0);
}

/// Status of the first answer on a connection, by the static table of HPACK; 400 also where the stream or the connection
/// is ended for an error.
fn h2_status(connection: &mut Connection) -> u16 {
    loop {
        let head = connection.bytes(9);
        let length = usize::from(head[0]) << 16 | usize::from(head[1]) << 8 | usize::from(head[2]);
        let payload = connection.bytes(length);
        match (head[3], payload.first()) {
            // HEADERS
            (1, Some(0x88)) => return 200,
            (1, Some(0x8c)) => return 400,
            // RST_STREAM, GOAWAY
            (3 | 7, _) => return 400,
            _ => {}
        }
    }
}

// RFC 9112 section 7.1
#[test]
fn broken_chunks_never_reach_the_upstream() {
    let origin = Origin::start();
    let gateway = serving(&origin, "max_body: 1mb");
    let head = "POST / HTTP/1.1\r\nHost: api.example\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n";
    for chunks in [
        "4\nabcd\r\n0\r\n\r\n",
        "0x4\r\nabcd\r\n0\r\n\r\n",
        "g\r\n",
        "4\r\nabcdefgh\r\n0\r\n\r\n",
        "-1\r\n\r\n",
    ] {
        let mut connection = gateway.client().connect();
        connection.write(format!("{head}{chunks}"));
        assert_eq!(connection.answer().status, 400, "{chunks:?}");
        assert!(connection.is_closed_within(Duration::from_secs(5)), "{chunks:?}");
    }
    assert_eq!(origin.connections(), 0);
}

/// An origin that answers as soon as it has a head and somebody says so, and only then reads the body. Takes little in
/// advance.
fn hasty(go: Receiver<()>, answers: usize) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten().take(answers) {
            let _ = answer_early(stream, &go);
        }
    });
    address
}

fn answer_early(stream: TcpStream, go: &Receiver<()>) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream.try_clone()?);
    let mut stream = stream;
    loop {
        let mut length = 0;
        loop {
            let mut line = String::new();
            if reader.read_line(&mut line)? == 0 {
                return Ok(());
            }
            if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
                length = value.trim().parse().unwrap();
            }
            if line == "\r\n" {
                break;
            }
        }
        go.recv().map_err(std::io::Error::other)?;
        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nearly")?;
        std::io::copy(&mut (&mut reader).take(length), &mut std::io::sink())?;
    }
}

// S78
#[test]
fn an_answer_before_the_body_was_sent_arrives_and_the_connection_goes_on() {
    let (ready, go) = channel();
    (0..4).for_each(|_| ready.send(()).unwrap());
    let address = hasty(go, 2);
    let gateway = Gateway::start(&configured(
        &format!("\"{address}\""),
        &[("/".to_owned(), "max_body: 16mb".to_owned())],
    ));
    let body = body(12 << 20);
    let mut connection = gateway.client().connect();
    for _ in 0..2 {
        connection.write(sized("POST", "/", &body));
        let answer = connection.answer();
        assert_eq!((answer.status, answer.text().as_str()), (200, "early"));
        assert_eq!(answer.header("connection"), Some("keep-alive"));
    }
    for _ in 0..2 {
        let answer = post_h2(&gateway, "/", &[JSON], &body).expect("reset");
        assert_eq!((answer.status, answer.text().as_str()), (200, "early"));
    }
    all_memory_is_given_back(&gateway);
}

// U12
#[test]
fn while_the_process_ends_bodies_are_read_and_sent_and_clients_are_told_to_leave() {
    let (ready, go) = channel();
    let address = hasty(go, 2);
    let gateway = Gateway::start(&format!(
        "server: {{ drain_seconds: 1, grace_period_seconds: 20 }}\n{}",
        configured(
            &format!("\"{address}\""),
            &[("/".to_owned(), "max_body: 16mb".to_owned())]
        )
    ));
    let bytes = sized("POST", "/", &body(12 << 20));
    // one is being sent to the upstream, the other is still being read
    let (mut sending, mut reading) = (gateway.client().connect(), gateway.client().connect());
    sending.write(&bytes);
    reading.write(&bytes[..bytes.len() / 2]);
    eventually("both are under way", || {
        let metrics = gateway.admin("/metrics").text();
        let held = metrics
            .lines()
            .find_map(|line| line.strip_prefix("durward_body_memory_bytes "))?;
        (held.parse::<u64>().unwrap() > 18 << 20).then_some(())
    });
    gateway.signal("TERM");
    eventually("readiness is off", || {
        Some(gateway.admin("/readyz")).filter(|a| a.status == 503)
    });
    (0..2).for_each(|_| ready.send(()).unwrap());
    let told = |connection: &mut Connection| {
        let answer = connection.answer();
        (answer.status, answer.header("connection").map(str::to_owned))
    };
    assert_eq!(told(&mut sending), (200, Some("close".to_owned())));
    reading.write(&bytes[bytes.len() / 2..]);
    assert_eq!(told(&mut reading), (200, Some("close".to_owned())));
    eventually("the process is gone", || gateway.has_ended().then_some(()));
}

// S78
#[test]
fn many_at_a_time_do_not_get_in_each_others_way() {
    let origin = Origin::answering(|seen| {
        let sum = seen.body.iter().map(|byte| u64::from(*byte)).sum::<u64>();
        Reply::new(200, &[], &sum.to_string())
    });
    let gateway = serving(&origin, "max_body: 1mb");
    let expected = |size: usize| {
        body(size)
            .iter()
            .map(|byte| u64::from(*byte))
            .sum::<u64>()
            .to_string()
    };
    std::thread::scope(|scope| {
        for client in 0..8 {
            let (gateway, expected) = (&gateway, &expected);
            scope.spawn(move || {
                let mut connection = gateway.client().connect();
                for round in 0..12 {
                    let size = SIZES[(client + round) % SIZES.len()];
                    let bytes = if round % 2 == 0 {
                        sized("POST", "/", &body(size))
                    } else {
                        in_chunks("POST", "/", &body(size))
                    };
                    connection.write(bytes);
                    assert_eq!(connection.answer().text(), expected(size));
                }
            });
        }
        let (gateway, expected) = (&gateway, &expected);
        scope.spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .unwrap();
            runtime.block_on(async {
                let (client, _driver) = h2::connect(gateway.https, &gateway.authority).await;
                for _ in 0..3 {
                    let mut streams = tokio::task::JoinSet::new();
                    for size in SIZES {
                        let mut client = client.clone().ready().await.unwrap();
                        let expected = expected(size);
                        streams.spawn(async move {
                            let parts = vec![Bytes::from(body(size))];
                            let answer: Answer = h2::one(&mut client, post(&[]), parts).await.unwrap();
                            assert_eq!(answer.text(), expected);
                        });
                    }
                    while let Some(done) = streams.join_next().await {
                        done.unwrap();
                    }
                }
            });
        });
    });
    assert_eq!(origin.seen().len(), 8 * 12 + 3 * SIZES.len());
    all_memory_is_given_back(&gateway);
    // one more, to see that nothing is stuck
    let mut connection = gateway.client().connect();
    connection.write(request("POST", "/", &[JSON], "{}"));
    assert_eq!(connection.answer().status, 200);
}
