//! How much may be sent, and of which type (S78, S79).

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::time::Duration;

use bytes::Bytes;
use serde_json::json;

use crate::support::client::request;
use crate::support::{Answer, Gateway, Keys, Origin, eventually, h2};

const MEGABYTE: usize = 1 << 20;
const JSON: (&str, &str) = ("Content-Type", "application/json");

fn start(address: SocketAddr, keys: &Keys) -> Gateway {
    let route = |path: &str, more: &str| {
        format!(
            "\x20 - match: {{ methods: [GET, POST], path: {path} }}\n\
             \x20   public: {{ reason: test, owner: test }}\n\
             \x20   upstream: all\n{more}"
        )
    };
    Gateway::start(&format!(
        "{}upstreams:\n  all: {{ targets: [\"{address}\"] }}\nroutes:\n{}{}{}{}{}\
         \x20 - match: {{ methods: [POST], path: /liens }}\n\
         \x20   auth: {{ jwt: main, scopes: [\"read:lien_info\"] }}\n\
         \x20   upstream: all\n",
        keys.inline(),
        route("/", ""),
        route("/small", "    request: { max_body: 10b }\n"),
        route("/none", "    request: { max_body: 0b }\n"),
        route("/stream", "    request: { body: stream }\n"),
        route(
            "/forms",
            "    request: { content_types: [\"application/x-www-form-urlencoded\", \"Text/Plain\"] }\n"
        ),
    ))
}

fn serving(origin: &Origin) -> Gateway {
    start(origin.address, &Keys::new("k1"))
}

/// A body in chunks of at most `size` bytes.
pub fn chunked(body: &[u8], size: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    for chunk in body.chunks(size) {
        bytes.extend(format!("{:x}\r\n", chunk.len()).bytes());
        bytes.extend(chunk);
        bytes.extend(b"\r\n");
    }
    bytes.extend(b"0\r\n\r\n");
    bytes
}

pub fn post_chunked(gateway: &Gateway, path: &str, body: &[u8]) -> Answer {
    let mut connection = gateway.client().connect();
    connection.write(format!(
        "POST {path} HTTP/1.1\r\nHost: api.example\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
    ));
    connection.write(chunked(body, 10_000));
    connection.answer()
}

/// A POST over HTTP/2 in DATA frames, without Content-Length unless it is among the headers.
pub fn post_h2(gateway: &Gateway, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Option<Answer> {
    let mut request = http::Request::post(format!("https://api.example{path}"));
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let parts = body.chunks(100_000).map(Bytes::copy_from_slice).collect();
    h2::exchange(
        gateway.https,
        &gateway.authority,
        vec![(request.body(()).unwrap(), parts)],
    )
    .remove(0)
}

// S78
#[test]
fn a_megabyte_passes_and_one_byte_more_is_refused_before_anything_is_read() {
    let origin = Origin::start();
    let gateway = serving(&origin);
    // nothing of the body is sent: the announced length alone is refused
    let mut connection = gateway.client().connect();
    connection.write(format!(
        "POST / HTTP/1.1\r\nHost: api.example\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
        MEGABYTE + 1
    ));
    let answer = connection.answer();
    assert_eq!((answer.status, answer.code().as_str()), (413, "body_too_large"));
    assert!(connection.is_closed_within(Duration::from_secs(5)));

    let length = (MEGABYTE + 1).to_string();
    let answer = post_h2(
        &gateway,
        "/",
        &[JSON, ("content-length", &length)],
        &vec![b' '; MEGABYTE + 1],
    )
    .expect("reset");
    assert_eq!((answer.status, answer.code().as_str()), (413, "body_too_large"));
    assert_eq!(origin.connections(), 0);

    let body = " ".repeat(MEGABYTE);
    assert_eq!(gateway.client().request("POST", "/", &[JSON], &body).status, 200);
    let length = MEGABYTE.to_string();
    let answer = post_h2(
        &gateway,
        "/",
        &[JSON, ("content-length", &length)],
        body.as_bytes(),
    )
    .expect("reset");
    assert_eq!(answer.status, 200);
    for seen in origin.seen() {
        assert!(seen.complete);
        assert_eq!(seen.body.len(), MEGABYTE);
    }
}

// S78
#[test]
fn a_body_that_is_passed_on_as_it_comes_is_counted_and_never_reaches_its_end_beyond_the_limit() {
    let origin = Origin::start();
    let gateway = serving(&origin);
    let (fits, exceeds) = (vec![b' '; MEGABYTE], vec![b' '; MEGABYTE + 1]);

    assert_eq!(post_chunked(&gateway, "/stream", &fits).status, 200);
    assert_eq!(
        post_h2(&gateway, "/stream", &[JSON], &fits)
            .expect("reset")
            .status,
        200
    );
    let whole = origin.seen();
    assert!(
        whole
            .iter()
            .all(|seen| seen.complete && seen.body.len() == MEGABYTE)
    );

    for answer in [
        post_chunked(&gateway, "/stream", &exceeds),
        post_h2(&gateway, "/stream", &[JSON], &exceeds).expect("the answer was lost"),
    ] {
        assert_eq!((answer.status, answer.code().as_str()), (413, "body_too_large"));
        let record = gateway.record(answer.header("x-request-id").unwrap());
        assert_eq!(
            (&record["durward.outcome"], &record["security_rule.name"]),
            (&json!("deny"), &json!("content"))
        );
    }
    eventually("the origin sees both bodies break off", || {
        (origin.seen().len() == 4).then_some(())
    });
    assert!(origin.seen()[2..].iter().all(|seen| !seen.complete));
}

// S78
#[test]
fn the_answer_to_an_endless_body_arrives() {
    let origin = Origin::start();
    let gateway = serving(&origin);
    let mut connection = gateway.client().connect();
    connection.write("POST /small HTTP/1.1\r\nHost: api.example\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n");
    // more than the limit, and no end
    connection.write("b\r\n01234567890\r\n");
    let answer = connection.answer();
    assert_eq!(answer.status, 413);
    assert!(connection.is_closed_within(Duration::from_secs(5)));
}

// S78
#[test]
fn the_limit_can_be_configured_down_to_nothing() {
    let origin = Origin::start();
    let gateway = serving(&origin);
    let client = gateway.client();
    for (path, body, status) in [
        ("/small", "0123456789", 200),
        ("/small", "01234567890", 413),
        ("/none", "", 200),
        ("/none", "0", 413),
    ] {
        assert_eq!(
            client.request("POST", path, &[JSON], body).status,
            status,
            "{path} {body}"
        );
        let by_count = post_chunked(&gateway, path, body.as_bytes()).status;
        assert_eq!(by_count, status, "{path} {body} chunked");
        let by_count = post_h2(&gateway, path, &[JSON], body.as_bytes())
            .expect("reset")
            .status;
        assert_eq!(by_count, status, "{path} {body} HTTP/2");
    }
}

// S79
#[test]
fn a_body_has_one_declared_type_that_its_route_takes() {
    let origin = Origin::start();
    let gateway = serving(&origin);
    let types = |values: &[&'static str]| {
        values
            .iter()
            .map(|value| ("Content-Type", *value))
            .collect::<Vec<_>>()
    };
    let mut accepted = 0;
    for (path, headers, expected) in [
        ("/", types(&["application/json"]), None),
        ("/", types(&["Application/JSON"]), None),
        ("/", types(&["application/json; charset=utf-8"]), None),
        ("/", types(&["application/json;charset=\"UTF-8\""]), None),
        ("/", vec![JSON, ("Content-Encoding", "identity")], None),
        ("/forms", types(&["application/x-www-form-urlencoded"]), None),
        ("/forms", types(&["text/plain"]), None),
        ("/", types(&[]), Some("content_type_missing")),
        (
            "/",
            types(&["application/json", "application/json"]),
            Some("content_type_repeated"),
        ),
        (
            "/",
            types(&["application/json", "text/plain"]),
            Some("content_type_repeated"),
        ),
        (
            "/",
            types(&["application/json, text/plain"]),
            Some("content_type_malformed"),
        ),
        (
            "/",
            types(&["application/json,application/json"]),
            Some("content_type_malformed"),
        ),
        ("/", types(&["json"]), Some("content_type_malformed")),
        ("/", types(&[""]), Some("content_type_malformed")),
        ("/", types(&["application/json;"]), Some("content_type_malformed")),
        ("/", types(&["application /json"]), Some("content_type_malformed")),
        (
            "/",
            types(&["application/json; charset=utf-7"]),
            Some("content_type_malformed"),
        ),
        (
            "/",
            types(&["application/json; charset=utf-16le"]),
            Some("content_type_malformed"),
        ),
        (
            "/",
            types(&["application/json; charset=utf-8; charset=utf-7"]),
            Some("content_type_malformed"),
        ),
        (
            "/",
            types(&["application/jsonx"]),
            Some("content_type_not_allowed"),
        ),
        (
            "/",
            types(&["application/problem+json"]),
            Some("content_type_not_allowed"),
        ),
        ("/", types(&["text/json"]), Some("content_type_not_allowed")),
        (
            "/",
            types(&["application/x-www-form-urlencoded"]),
            Some("content_type_not_allowed"),
        ),
        (
            "/",
            types(&["multipart/form-data; boundary=x"]),
            Some("content_type_not_allowed"),
        ),
        (
            "/forms",
            types(&["application/json"]),
            Some("content_type_not_allowed"),
        ),
        (
            "/",
            vec![JSON, ("Content-Encoding", "gzip")],
            Some("content_encoding"),
        ),
        (
            "/",
            vec![JSON, ("Content-Encoding", "identity, gzip")],
            Some("content_encoding"),
        ),
        (
            "/",
            vec![JSON, ("Content-Encoding", "identity"), ("Content-Encoding", "br")],
            Some("content_encoding"),
        ),
    ] {
        accepted += usize::from(expected.is_none());
        // over HTTP/1.1 with a length, over HTTP/2 without
        let answers = [
            gateway.client().request("POST", path, &headers, "{\"a\":1}"),
            post_h2(&gateway, path, &headers, b"{\"a\":1}").expect("reset"),
        ];
        for answer in answers {
            match expected {
                None => assert_eq!(answer.status, 200, "{headers:?}: {}", answer.text()),
                Some(code) => assert_eq!(
                    (answer.status, answer.code().as_str()),
                    (415, code),
                    "{headers:?}"
                ),
            }
        }
        assert_eq!(origin.seen().len(), 2 * accepted, "{headers:?}");
    }
    // without a body there is nothing to declare
    assert_eq!(
        gateway.client().get("/", &[("Content-Type", "text/x")]).status,
        200
    );
    assert_eq!(gateway.client().get("/", &[]).status, 200);
}

// S78, S79: refusing costs no connection where what was sent is small
#[test]
fn a_connection_goes_on_after_a_small_refused_body() {
    let (origin, keys) = (Origin::start(), Keys::new("k1"));
    let gateway = start(origin.address, &keys);
    let stranger = format!("Bearer {}", keys.token(json!({ "scope": "other" })));
    let friend = format!("Bearer {}", keys.token(json!({})));
    let mut connection = gateway.client().connect();
    for (path, headers, status) in [
        ("/liens", vec![JSON], 401),
        ("/liens", vec![JSON, ("Authorization", "Bearer a.b.c")], 401),
        ("/liens", vec![JSON, ("Authorization", &stranger)], 403),
        ("/nothing", vec![JSON], 404),
        ("/", vec![("Content-Type", "text/plain")], 415),
        ("/liens", vec![JSON, ("Authorization", &friend)], 200),
        ("/", vec![], 415),
        ("/", vec![JSON], 200),
    ] {
        // the body looks like a request: it must not be read as one
        let body = "GET /smuggled HTTP/1.1\r\nHost: api.example\r\n\r\n";
        connection.write(request("POST", path, &headers, body));
        let answer = connection
            .try_answer("POST")
            .unwrap_or_else(|| panic!("closed before {path} {status}"));
        assert_eq!(
            (answer.status, answer.header("connection")),
            (status, Some("keep-alive")),
            "{path}"
        );
    }
    assert!(origin.seen().iter().all(|seen| seen.method == "POST"));
}

// S78
#[test]
fn a_connection_ends_after_a_refused_body_that_is_large_or_without_length() {
    let origin = Origin::start();
    let gateway = serving(&origin);
    let head = "POST /nothing HTTP/1.1\r\nHost: api.example\r\nContent-Type: application/json\r\n";
    for framing in ["Content-Length: 1000000", "Transfer-Encoding: chunked"] {
        let mut connection = gateway.client().connect();
        connection.write(format!("{head}{framing}\r\n\r\n"));
        let answer = connection.answer();
        assert_eq!(
            (answer.status, answer.header("connection")),
            (404, Some("close")),
            "{framing}"
        );
        assert!(connection.is_closed_within(Duration::from_secs(5)), "{framing}");
    }
}

// RFC 9110 section 10.1.1
#[test]
fn a_client_that_waits_to_continue_is_refused_before_it_sends_anything() {
    let origin = Origin::start();
    let gateway = serving(&origin);
    for (path, kind, length, status) in [
        ("/nothing", "application/json", 2, 404),
        ("/liens", "application/json", 2, 401),
        ("/", "text/plain", 2, 415),
        ("/small", "application/json", 11, 413),
    ] {
        let mut connection = gateway.client().connect();
        connection.write(format!(
            "POST {path} HTTP/1.1\r\nHost: api.example\r\nContent-Type: {kind}\r\nContent-Length: {length}\r\n\
             Expect: 100-continue\r\n\r\n"
        ));
        // the first that comes is the refusal
        assert_eq!(connection.status(), status, "{path}");
    }
    assert_eq!(origin.connections(), 0);
}

// RFC 9110 section 10.1.1
#[test]
fn a_client_that_waits_to_continue_is_told_by_the_origin() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let origin = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            stream.read_exact(&mut byte).unwrap();
            head.extend(byte);
        }
        stream.write_all(b"HTTP/1.1 100 Continue\r\n\r\n").unwrap();
        let mut body = [0; 2];
        stream.read_exact(&mut body).unwrap();
        stream
            .write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
            .unwrap();
        (String::from_utf8(head).unwrap(), body)
    });
    let gateway = start(address, &Keys::new("k1"));
    let mut connection = gateway.client().connect();
    connection.write(
        "POST /stream HTTP/1.1\r\nHost: api.example\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\
         Expect: 100-continue\r\n\r\n",
    );
    assert_eq!(connection.status(), 100);
    connection.write("{}");
    assert_eq!(connection.answer().status, 200);
    let (head, body) = origin.join().unwrap();
    assert!(
        head.to_ascii_lowercase().contains("expect: 100-continue\r\n"),
        "{head}"
    );
    assert_eq!(&body, b"{}");
}

// S78: RFC 9113 section 8.1
#[test]
fn an_early_refusal_over_http2_is_not_lost_while_the_client_still_sends() {
    let origin = Origin::start();
    let gateway = serving(&origin);
    let large = vec![b' '; 5 * MEGABYTE];
    for (path, kind, status) in [
        ("/nothing", "application/json", 404),
        ("/liens", "application/json", 401),
        ("/", "text/plain", 415),
    ] {
        let answer = post_h2(&gateway, path, &[("content-type", kind)], &large);
        assert_eq!(answer.expect("the answer was lost").status, status, "{path}");
    }
    assert_eq!(origin.connections(), 0);
    let answer = post_h2(&gateway, "/small", &[JSON], &large);
    assert_eq!(answer.expect("the answer was lost").status, 413);
}
