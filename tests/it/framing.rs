//! Where a message ends, and what follows it: bodies, trailers, pipelines, limits of heads. The origin never has a
//! request that was refused, nor one with another body than was sent (U16).

use std::time::Duration;

use crate::support::frames::{self, END_HEADERS, END_STREAM, Raw};
use crate::support::{Answer, Client, Gateway, Origin};

const CHUNKED: &str = "POST /f HTTP/1.1\r\nHost: api.example\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n";

/// Everything is public and goes to one origin.
fn open(origin: &Origin, more: &str) -> Gateway {
    Gateway::start(&format!(
        "{more}upstreams:\n  all: {{ targets: [\"{}\"] }}\nroutes:\n\
         \x20 - match: {{ methods: [GET, POST, HEAD], path: \"/{{rest*}}\" }}\n\
         \x20   public: {{ reason: test, owner: test }}\n\
         \x20   upstream: all\n\
         \x20 - match: {{ methods: [POST], path: /stream }}\n\
         \x20   public: {{ reason: test, owner: test }}\n\
         \x20   request: {{ body: stream }}\n\
         \x20   upstream: all\n",
        origin.address
    ))
}

/// An answer of the gateway's own, with its record.
fn is_refused(gateway: &Gateway, answer: &Answer, status: u16, reason: &str, case: &str) {
    assert_eq!(answer.status, status, "{case}: {}", answer.text());
    let record = gateway.record(
        answer
            .header("x-request-id")
            .unwrap_or_else(|| panic!("{case}: {answer:?}")),
    );
    assert_eq!(record["error.type"], reason, "{case}");
    assert_eq!(record["http.response.status_code"], status, "{case}");
    assert_eq!(answer.header("connection"), Some("close"), "{case}");
    assert_eq!(answer.header("server"), None, "{case}");
    assert_eq!(answer.json()["status"], status, "{case}");
}

/// Bodies that end in one place, and what the origin gets of them.
const GOOD: &[(&str, &str)] = &[
    ("0\r\n\r\n", ""),
    ("2\r\n{}\r\n0\r\n\r\n", "{}"),
    ("02\r\n{}\r\n00\r\n\r\n", "{}"),
    ("1\r\n{\r\n1\r\n}\r\n0\r\n\r\n", "{}"),
    ("0000000000000002\r\n{}\r\n0\r\n\r\n", "{}"),
    ("A\r\n\"01234567\"\r\n0\r\n\r\n", "\"01234567\""),
    ("a\r\n\"01234567\"\r\n0\r\n\r\n", "\"01234567\""),
    ("2\r\n{}\r\n0\r\nX-Checksum: 1\r\nY:\t2 \r\n\r\n", "{}"),
    ("4\r\n\"\r\n\"\r\n0\r\n\r\n", "\"\r\n\""),
];

/// And bodies that end elsewhere for another reader, or nowhere.
const BAD: &[(&str, &str)] = &[
    // sizes
    ("\r\n\r\n", "chunk_malformed"),
    ("\n", "chunk_malformed"),
    (" 2\r\n{}\r\n0\r\n\r\n", "chunk_malformed"),
    ("2 \r\n{}\r\n0\r\n\r\n", "chunk_malformed"),
    ("2\t\r\n{}\r\n0\r\n\r\n", "chunk_malformed"),
    ("+2\r\n{}\r\n0\r\n\r\n", "chunk_malformed"),
    ("-2\r\n{}\r\n0\r\n\r\n", "chunk_malformed"),
    ("0x2\r\n{}\r\n0\r\n\r\n", "chunk_malformed"),
    ("2h\r\n{}\r\n0\r\n\r\n", "chunk_malformed"),
    ("2_0\r\n{}\r\n0\r\n\r\n", "chunk_malformed"),
    ("g\r\n{}\r\n0\r\n\r\n", "chunk_malformed"),
    ("\"2\"\r\n{}\r\n0\r\n\r\n", "chunk_malformed"),
    ("2,2\r\n{}\r\n0\r\n\r\n", "chunk_malformed"),
    ("2.0\r\n{}\r\n0\r\n\r\n", "chunk_malformed"),
    ("\u{662}\r\n{}\r\n0\r\n\r\n", "chunk_malformed"),
    ("00000000000000002\r\n{}\r\n0\r\n\r\n", "chunk_malformed"),
    ("10000000000000002\r\n{}\r\n0\r\n\r\n", "chunk_malformed"),
    ("fffffffffffffffff\r\n{}\r\n0\r\n\r\n", "chunk_malformed"),
    // extensions
    ("2;\r\n{}\r\n0\r\n\r\n", "chunk_malformed"),
    ("2;a\r\n{}\r\n0\r\n\r\n", "chunk_malformed"),
    ("2;a=b\r\n{}\r\n0\r\n\r\n", "chunk_malformed"),
    ("2;a=\"\r\n{}\r\n0\r\n\r\n", "chunk_malformed"),
    ("2;\n{}\r\n0\r\n\r\n", "chunk_malformed"),
    ("2;a\0\r\n{}\r\n0\r\n\r\n", "chunk_malformed"),
    ("2 ; a\r\n{}\r\n0\r\n\r\n", "chunk_malformed"),
    ("2\r\n{}\r\n0;a\r\n\r\n", "chunk_malformed"),
    // line ends
    ("2\n{}\r\n0\r\n\r\n", "chunk_malformed"),
    ("2\r{}\r\n0\r\n\r\n", "chunk_malformed"),
    ("2\r\r\n{}\r\n0\r\n\r\n", "chunk_malformed"),
    ("2\r\n{}\n0\r\n\r\n", "chunk_malformed"),
    ("2\r\n{}\r0\r\n\r\n", "chunk_malformed"),
    ("2\r\n{}0\r\n\r\n", "chunk_malformed"),
    ("2\r\n{}\r\n\r\n0\r\n\r\n", "chunk_malformed"),
    ("1\r\n{}\r\n0\r\n\r\n", "chunk_malformed"),
    ("3\r\n{}\r\n0\r\n\r\n", "chunk_malformed"),
    ("2\r\n{}\r\n0\n\r\n", "chunk_malformed"),
    // trailers
    ("2\r\n{}\r\n0\r\n\n", "trailer_malformed"),
    ("2\r\n{}\r\n0\r\nX: y\n\r\n", "trailer_malformed"),
    ("2\r\n{}\r\n0\r\nX : y\r\n\r\n", "trailer_malformed"),
    ("2\r\n{}\r\n0\r\n X: y\r\n\r\n", "trailer_malformed"),
    ("2\r\n{}\r\n0\r\nX\r\n\r\n", "trailer_malformed"),
    ("2\r\n{}\r\n0\r\n: y\r\n\r\n", "trailer_malformed"),
    ("2\r\n{}\r\n0\r\nX: y\r\n z\r\n\r\n", "trailer_malformed"),
    ("2\r\n{}\r\n0\r\nX: \0\r\n\r\n", "trailer_malformed"),
    ("2\r\n{}\r\n0\r\nX: a\rY: b\r\n\r\n", "trailer_malformed"),
    ("2\r\n{}\r\n0\r\nContent-Length: 2\r\n\r\n", "trailer_malformed"),
    (
        "2\r\n{}\r\n0\r\ntransfer-encoding: chunked\r\n\r\n",
        "trailer_malformed",
    ),
    ("2\r\n{}\r\n0\r\nHost: other\r\n\r\n", "trailer_malformed"),
    ("2\r\n{}\r\n0\r\nAuthorization: x\r\n\r\n", "trailer_malformed"),
    (
        "2\r\n{}\r\n0\r\nGET /smuggled HTTP/1.1\r\n\r\n",
        "trailer_malformed",
    ),
];

// U16: RFC 9112 section 7.1
#[test]
fn a_chunked_body_is_passed_on_as_it_was_sent_or_never_to_its_end() {
    let origin = Origin::start();
    let gateway = open(&origin, "");
    for (wire, body) in GOOD {
        let answer = gateway.client().send(format!("{CHUNKED}{wire}"));
        assert_eq!(answer.status, 200, "{wire:?}: {}", answer.text());
        let seen = origin.seen();
        let seen = seen.last().unwrap();
        assert_eq!((seen.complete, &*seen.body), (true, body.as_bytes()), "{wire:?}");
        assert!(seen.all("x-checksum").is_empty());
    }
    let good = origin.seen().iter().filter(|seen| seen.complete).count();
    for (wire, reason) in BAD {
        // with the head, and after it
        for split in [false, true] {
            let mut connection = gateway.client().connect();
            if split {
                connection.write(CHUNKED);
                std::thread::sleep(Duration::from_millis(20));
                connection.write(wire);
            } else {
                connection.write(format!("{CHUNKED}{wire}"));
            }
            connection.write("GET /smuggled HTTP/1.1\r\nHost: api.example\r\n\r\n");
            let answer = connection
                .try_answer("POST")
                .unwrap_or_else(|| panic!("no answer to {wire:?}"));
            is_refused(&gateway, &answer, 400, reason, wire);
            assert!(connection.is_closed_within(Duration::from_secs(5)), "{wire:?}");
        }
    }
    let seen = origin.seen();
    assert_eq!(seen.iter().filter(|seen| seen.complete).count(), good);
    assert!(seen.iter().all(|seen| seen.target != "/smuggled"));
}

// U16: RFC 9112 section 9.3.2
#[test]
fn requests_that_come_at_once_are_answered_in_order_each_with_its_own_body() {
    let origin = Origin::answering(|seen| {
        let body = String::from_utf8_lossy(&seen.body);
        crate::support::Reply::new(200, &[], &format!("{} {} {body}", seen.method, seen.target))
    });
    let gateway = open(&origin, "");
    let post = |path: &str, body: &str| {
        format!(
            "POST {path} HTTP/1.1\r\nHost: api.example\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        )
    };
    let get = |path: &str| format!("GET {path} HTTP/1.1\r\nHost: api.example\r\n\r\n");
    let all = [
        get("/1"),
        post("/2", "GET /no HTTP/1.1\r\n\r\n"),
        CHUNKED.replace("/f", "/3") + "2\r\n{}\r\n0\r\n\r\n",
        get("/4"),
        post("/5", "{}"),
    ]
    .concat();
    let expected = [
        "GET /1 ",
        "POST /2 GET /no HTTP/1.1\r\n\r\n",
        "POST /3 {}",
        "GET /4 ",
        "POST /5 {}",
    ];
    for step in [1, 7, 64, all.len()] {
        let mut connection = gateway.client().connect();
        for part in all.as_bytes().chunks(step) {
            connection.write(part);
        }
        for answer in expected {
            assert_eq!(connection.answer().text(), answer, "in steps of {step}");
        }
    }
    let targets: Vec<String> = origin.seen().into_iter().map(|seen| seen.target).collect();
    assert_eq!(targets, ["/1", "/2", "/3", "/4", "/5"].repeat(4));
}

// U16: one that is refused ends the connection, and those before it have their answers
#[test]
fn what_comes_after_a_malformed_request_is_not_read() {
    let origin = Origin::start();
    let gateway = open(&origin, "");
    let mut connection = gateway.client().connect();
    let good = "GET /good HTTP/1.1\r\nHost: api.example\r\n\r\n";
    connection.write(format!("{good}GET /bad HTTP/1.1\nHost: api.example\n\n{good}"));
    assert_eq!(connection.answer().status, 200);
    is_refused(&gateway, &connection.answer(), 400, "head_syntax", "the second");
    assert!(connection.is_closed_within(Duration::from_secs(5)));
    assert_eq!(origin.seen().len(), 1);
}

// S74: heads have a size
#[test]
fn heads_that_are_too_large_are_431_however_they_come() {
    let origin = Origin::start();
    let gateway = open(&origin, "connections: { max_head: 4k, max_fields: 20 }\n");
    let one = |length: usize| {
        let start = "GET /x HTTP/1.1\r\nHost: api.example\r\nX: ";
        format!("{start}{}\r\n\r\n", "x".repeat(length - start.len() - 4))
    };
    let many = |fields: usize| {
        let fields: String = (1..fields).map(|n| format!("X{n}: y\r\n")).collect();
        format!("GET /x HTTP/1.1\r\nHost: api.example\r\n{fields}\r\n")
    };
    for good in [one(4096), many(20)] {
        assert_eq!(gateway.client().send(good).status, 200);
    }
    assert_eq!(origin.seen().len(), 2);
    let endless = "GET /x HTTP/1.1\r\nHost: api.example\r\nX: ".to_owned() + &"x".repeat(100_000);
    for (bad, reason) in [
        (one(4097), "head_too_large"),
        (one(60_000), "head_too_large"),
        (endless, "head_too_large"),
        ("G".repeat(5000), "head_too_large"),
        (many(21), "too_many_fields"),
        (many(200), "too_many_fields"),
    ] {
        let answer = gateway.client().send(&bad);
        is_refused(&gateway, &answer, 431, reason, bad.get(..60).unwrap());
        assert_eq!(answer.code(), "head_too_large");
    }
    assert_eq!(origin.seen().len(), 2);
}

// S10, S83: on the port that redirects, too
#[test]
fn the_port_that_redirects_refuses_what_is_malformed_with_a_record() {
    let origin = Origin::start();
    let gateway = open(&origin, "");
    let good = gateway
        .plain()
        .send("GET /x HTTP/1.1\r\nHost: api.example\r\n\r\n");
    assert_eq!(good.status, 301);
    for (bad, status, reason) in [
        ("GET /x HTTP/1.1\nHost: api.example\n\n", 400, "head_syntax"),
        ("GET /x HTTP/1.1\r\n\r\n", 400, "host_missing"),
        (
            "GET /x HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n",
            400,
            "host_repeated",
        ),
        ("GET /x HTTP/3.0\r\nHost: a\r\n\r\n", 505, "version_not_supported"),
        (
            "GET /a/../b HTTP/1.1\r\nHost: api.example\r\n\r\n",
            400,
            "path_dot_segment",
        ),
        (
            "TRACE /x HTTP/1.1\r\nHost: api.example\r\n\r\n",
            405,
            "method_forbidden",
        ),
        (
            "CONNECT a:1 HTTP/1.1\r\nHost: a:1\r\n\r\n",
            405,
            "method_forbidden",
        ),
        (
            "POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
            400,
            "framing_conflict",
        ),
        ("\x16\x03\x01\x02\0\x01\0\x01\u{fc}\x03\x03", 400, "head_syntax"),
    ] {
        let answer = gateway.plain().send(bad);
        is_refused(&gateway, &answer, status, reason, bad);
        assert_eq!(answer.header("strict-transport-security"), None, "S11");
    }
    let metrics = gateway.admin("/metrics").text();
    let counted =
        "durward_decisions_total{gate=\"head\",outcome=\"deny\",reason=\"host_missing\",route=\"\"} 1";
    assert!(metrics.contains(counted), "{metrics}");
}

// S11, S83
#[test]
fn what_is_refused_before_anybody_reads_it_is_answered_like_everything_else() {
    let origin = Origin::start();
    let gateway = open(&origin, "");
    let answer = gateway.client().send("GET /x HTTP/1.1\nHost: api.example\n\n");
    let record = gateway.record(answer.header("x-request-id").unwrap());
    assert_eq!(
        answer.header("strict-transport-security"),
        Some("max-age=63072000")
    );
    assert_eq!(answer.header("x-content-type-options"), Some("nosniff"));
    assert_eq!(answer.header("cache-control"), Some("no-store"));
    assert!(answer.header("date").is_some());
    assert_eq!(answer.code(), "request_malformed");
    assert_eq!(record["client.address"], "127.0.0.1");
    assert_eq!(record["tls.protocol.version"], "TLSv1.3");
    assert_eq!(record["durward.outcome"], "deny");
    assert_eq!(record["security_rule.name"], "head");
}

/// What an HTTP/2 client may send by hand, on a stream of its own.
struct Stream {
    name: &'static str,
    frames: Vec<(u8, u8, Vec<u8>)>,
}

fn malformed_streams() -> Vec<Stream> {
    let headers = |fields: &[(&str, &str)], ends: bool| {
        let flags = END_HEADERS | if ends { END_STREAM } else { 0 };
        (frames::HEADERS, flags, frames::block(fields))
    };
    let with = |method: &'static str, more: &[(&'static str, &'static str)]| {
        [&frames::request(method, "/f")[..], more].concat()
    };
    let get = |name, more: &[(&'static str, &'static str)]| Stream {
        name,
        frames: vec![headers(&with("GET", more), true)],
    };
    let json = ("content-type", "application/json");
    let post = |name,
                more: &[(&'static str, &'static str)],
                bodies: &[&[u8]],
                trailers: Option<&[(&'static str, &'static str)]>| {
        let mut all = vec![headers(&with("POST", &[&[json], more].concat()), false)];
        for (index, body) in bodies.iter().enumerate() {
            let ends = index + 1 == bodies.len() && trailers.is_none();
            all.push((frames::DATA, if ends { END_STREAM } else { 0 }, body.to_vec()));
        }
        all.extend(trailers.map(|trailers| headers(trailers, true)));
        Stream { name, frames: all }
    };
    let raw = |name, fields: &[(&str, &str)]| Stream {
        name,
        frames: vec![headers(fields, true)],
    };
    vec![
        post("less than its length", &[("content-length", "5")], &[b"{}"], None),
        post("more than its length", &[("content-length", "1")], &[b"{}"], None),
        post(
            "more in a second frame",
            &[("content-length", "2")],
            &[b"{}", b"{}"],
            None,
        ),
        post("no body for its length", &[("content-length", "2")], &[b""], None),
        post(
            "two lengths",
            &[("content-length", "2"), ("content-length", "2")],
            &[b"{}"],
            None,
        ),
        post(
            "pseudo-header in trailers",
            &[],
            &[b"{}"],
            Some(&[(":path", "/g")]),
        ),
        post("trailers", &[], &[b"{}"], Some(&[("x-user-id", "root")])),
        post(
            "connection in trailers",
            &[],
            &[b"{}"],
            Some(&[("connection", "close")]),
        ),
        post("upper case in trailers", &[], &[b"{}"], Some(&[("X-A", "1")])),
        get("connection", &[("connection", "close")]),
        get("transfer-encoding", &[("transfer-encoding", "chunked")]),
        get("te", &[("te", "gzip")]),
        get("upgrade", &[("upgrade", "h2c")]),
        get("upper case", &[("X-Upper", "1")]),
        get("pseudo-header after a header", &[("x", "1"), (":path", "/g")]),
        get("two paths", &[(":path", "/g")]),
        get("unknown pseudo-header", &[(":what", "1")]),
        get("status", &[(":status", "200")]),
        get("line break in a value", &[("x", "1\r\nhost: b")]),
        get("null in a value", &[("x", "\0")]),
        get("colon in a name", &[("x:y", "1")]),
        get("blank in a name", &[("x y", "1")]),
        get("two hosts", &[("host", "api.example"), ("host", "api.example")]),
        get("another host", &[("host", "other.example")]),
        raw(
            "no method",
            &[
                (":scheme", "https"),
                (":authority", "api.example"),
                (":path", "/f"),
            ],
        ),
        raw(
            "no path",
            &[
                (":method", "GET"),
                (":scheme", "https"),
                (":authority", "api.example"),
            ],
        ),
        raw(
            "empty path",
            &[
                (":method", "GET"),
                (":scheme", "https"),
                (":authority", "api.example"),
                (":path", ""),
            ],
        ),
        raw(
            "asterisk",
            &[
                (":method", "GET"),
                (":scheme", "https"),
                (":authority", "api.example"),
                (":path", "*"),
            ],
        ),
        raw(
            "path without a slash",
            &[
                (":method", "GET"),
                (":scheme", "https"),
                (":authority", "api.example"),
                (":path", "f"),
            ],
        ),
        raw(
            "absolute path",
            &[
                (":method", "GET"),
                (":scheme", "https"),
                (":authority", "api.example"),
                (":path", "http://b/f"),
            ],
        ),
        raw(
            "blank in the path",
            &[
                (":method", "GET"),
                (":scheme", "https"),
                (":authority", "api.example"),
                (":path", "/f f"),
            ],
        ),
        raw(
            "line break in the path",
            &[
                (":method", "GET"),
                (":scheme", "https"),
                (":authority", "api.example"),
                (":path", "/f\r\nx: y"),
            ],
        ),
        raw(
            "no authority",
            &[(":method", "GET"), (":scheme", "https"), (":path", "/f")],
        ),
        raw(
            "user in the authority",
            &[
                (":method", "GET"),
                (":scheme", "https"),
                (":authority", "a@api.example"),
                (":path", "/f"),
            ],
        ),
        raw(
            "blank in the method",
            &[
                (":method", "GET /f"),
                (":scheme", "https"),
                (":authority", "api.example"),
                (":path", "/f"),
            ],
        ),
    ]
}

// U16: RFC 9113 section 8.1.1
#[test]
fn malformed_requests_of_http2_never_come_to_their_end_at_the_origin_and_have_a_record() {
    let origin = Origin::start();
    let gateway = open(&origin, "");
    let good = Stream {
        name: "good",
        frames: vec![
            (
                frames::HEADERS,
                END_HEADERS,
                frames::block(
                    &[
                        &frames::request("POST", "/f")[..],
                        &[("content-type", "application/json"), ("content-length", "4")],
                    ]
                    .concat(),
                ),
            ),
            (frames::DATA, 0, b"{}".to_vec()),
            (frames::DATA, END_STREAM, b"{}".to_vec()),
        ],
    };
    let send = |stream: &Stream| {
        let mut raw = Raw::connect(gateway.https, &gateway.authority);
        for (kind, flags, payload) in &stream.frames {
            raw.send(*kind, *flags, 1, payload);
        }
        let ended = raw.until(|frame| {
            matches!(frame.kind, frames::RST_STREAM | frames::GOAWAY)
                || (frame.kind == frames::HEADERS && frame.stream == 1)
        });
        let status = ended.as_ref().filter(|frame| frame.kind == frames::HEADERS);
        // a connection that was not ended with it still serves
        if ended.as_ref().is_some_and(|frame| frame.kind != frames::GOAWAY) {
            raw.get(3, "/after");
            raw.until(|frame| frame.stream == 3 && frame.kind == frames::HEADERS)
                .unwrap_or_else(|| panic!("{}: nothing afterwards", stream.name));
        }
        status.and_then(frames::Frame::status)
    };
    assert_eq!(send(&good), Some(200));
    let complete = |origin: &Origin| {
        let seen = origin.seen();
        seen.iter()
            .filter(|seen| seen.complete && seen.target != "/after")
            .count()
    };
    assert_eq!(complete(&origin), 1);
    let streams = malformed_streams();
    for stream in &streams {
        let status = send(stream);
        assert_ne!(status, Some(200), "{}", stream.name);
        assert_eq!(
            complete(&origin),
            1,
            "{}: {:?}",
            stream.name,
            origin.seen().last()
        );
    }
    // one record each, beside those of the requests that came after
    let refused = || {
        let records = gateway.records();
        records
            .iter()
            .filter(|record| record["durward.outcome"] != "allow")
            .count()
    };
    crate::support::eventually("a record of each", || (refused() >= streams.len()).then_some(()));
    assert_eq!(refused(), streams.len());
}

// U16: what is not judged is not passed on either
#[test]
fn a_fragment_of_an_http2_request_ends_at_the_gateway() {
    let origin = Origin::start();
    let gateway = open(&origin, "");
    let mut raw = Raw::connect(gateway.https, &gateway.authority);
    // the library takes it off before it is judged
    raw.get(1, "/f#g");
    raw.until(|frame| frame.kind == frames::HEADERS).unwrap();
    assert_eq!(origin.only().target, "/f");
}

// U16: RFC 9110 section 10.1.1
#[test]
fn a_client_that_waits_for_100_continue_is_told_so_and_is_slow_only_afterwards() {
    let origin = Origin::start();
    let gateway = open(&origin, "connections: { body_grace: 500ms }\n");
    let head = "POST /f HTTP/1.1\r\nHost: api.example\r\nContent-Type: application/json\r\n\
                Expect: 100-continue\r\nContent-Length: 2\r\n\r\n";
    let mut connection = Client::connect(&gateway.client());
    connection.write(head);
    assert_eq!(connection.status(), 100);
    connection.write("{}");
    assert_eq!(connection.answer().status, 200);
    let mut connection = Client::connect(&gateway.client());
    connection.write(head);
    assert_eq!(connection.status(), 100);
    is_refused(
        &gateway,
        &connection.answer(),
        408,
        "body_too_slow",
        "nothing after 100",
    );
}
