//! One reading of each request: what two readers could understand differently is refused, what is accepted goes
//! upstream exactly as it was judged (U15, U16).

use std::time::Duration;

use crate::support::{Answer, Gateway, Origin, h2};

/// What becomes of a request.
#[derive(Debug, Clone, Copy)]
enum Fate {
    /// Refused by the gateway, for this reason.
    Refused(&'static str),
    /// Passed on with this target.
    Passed(&'static str),
}
use Fate::{Passed, Refused};

/// Everything is public and goes to one origin, so that whatever is refused is refused for its head.
fn open(origin: &Origin) -> Gateway {
    let route = |path: &str| {
        format!(
            "\x20 - match: {{ methods: [GET, POST, OPTIONS], path: \"{path}\" }}\n\
             \x20   public: {{ reason: test, owner: test }}\n\
             \x20   upstream: all\n"
        )
    };
    Gateway::with(&format!(
        "upstreams:\n  all: {{ targets: [\"{}\"] }}\nroutes:\n{}{}",
        origin.address,
        route("/"),
        route("/{rest*}")
    ))
    .names(&["localhost", "api.example", "127.0.0.1", "::1"])
    .start()
}

fn judge(gateway: &Gateway, origin: &Origin, request: &[u8], fate: Fate) {
    let spelled = String::from_utf8_lossy(request).replace("\r\n", "\\r\\n");
    let before = (origin.seen().len(), origin.connections());
    let mut connection = gateway.client().connect();
    connection.write(request);
    let answer = connection.try_answer("GET");
    match fate {
        Passed(target) => {
            let answer = answer.unwrap_or_else(|| panic!("no answer to {spelled}"));
            assert_eq!(answer.status, 200, "{spelled}: {}", answer.text());
            let seen = origin.seen();
            assert_eq!(seen.len(), before.0 + 1, "{spelled}");
            assert_eq!(seen.last().unwrap().target, target, "{spelled}");
        }
        Refused(reason) => {
            let answer = answer.unwrap_or_else(|| panic!("no answer to {spelled}"));
            is_refused(gateway, &answer, reason, &spelled);
            assert!(
                connection.is_closed_within(Duration::from_secs(5)),
                "still open after {spelled}"
            );
            assert_eq!(
                (origin.seen().len(), origin.connections()),
                before,
                "{spelled} reached the origin"
            );
        }
    }
}

fn is_refused(gateway: &Gateway, answer: &Answer, reason: &str, spelled: &str) {
    let record = gateway.record(
        answer
            .header("x-request-id")
            .unwrap_or_else(|| panic!("{spelled}: {answer:?}")),
    );
    assert_eq!(record["error.type"], reason, "{spelled}");
    let (status, code, gate) = match reason {
        "method_forbidden" => (405, "method_not_allowed", "head"),
        "method_not_allowed" => (405, "method_not_allowed", "route"),
        "route_unknown" => (404, "route_unknown", "route"),
        "version_not_supported" => (505, "version_not_supported", "head"),
        _ => (400, "request_malformed", "head"),
    };
    assert_eq!(
        (answer.status, answer.code().as_str()),
        (status, code),
        "{spelled}"
    );
    assert_eq!(record["security_rule.name"], gate, "{spelled}");
}

/// A gateway, its origin, and requests with their fates.
fn table(rows: &[(&[u8], Fate)]) {
    let origin = Origin::start();
    let gateway = open(&origin);
    for (request, fate) in rows {
        judge(&gateway, &origin, request, *fate);
    }
}

/// Rows that differ in the target.
fn targets(rows: &[(&str, Fate)]) {
    let requests: Vec<(Vec<u8>, Fate)> = rows
        .iter()
        .map(|(target, fate)| {
            (
                format!("GET {target} HTTP/1.1\r\nHost: api.example\r\n\r\n").into_bytes(),
                *fate,
            )
        })
        .collect();
    table(
        &requests
            .iter()
            .map(|(request, fate)| (&**request, *fate))
            .collect::<Vec<_>>(),
    );
}

/// Paths that every reader takes for the same, and paths that not every reader does.
const PATHS: &[(&str, Fate)] = &[
    ("/", Passed("/")),
    ("/a/b", Passed("/a/b")),
    ("/a/", Passed("/a/")),
    ("/A/b", Passed("/A/b")),
    ("/a?x=1&y=/../%2e", Passed("/a?x=1&y=/../%2e")),
    ("/a?", Passed("/a?")),
    ("/%61%2Db", Passed("/a-b")),
    ("/%c3%a4", Passed("/%C3%A4")),
    ("/a%20b", Passed("/a%20b")),
    ("/a%3ab", Passed("/a%3Ab")),
    ("/!$&'()*+,=:@~", Passed("/!$&'()*+,=:@~")),
    ("/..a/b..", Passed("/..a/b..")),
    ("/...", Passed("/...")),
    ("/a/../b", Refused("path_dot_segment")),
    ("/..", Refused("path_dot_segment")),
    ("/a/.", Refused("path_dot_segment")),
    ("/./a", Refused("path_dot_segment")),
    ("/%2e%2e/a", Refused("path_encoded_syntax")),
    ("/.%2E/a", Refused("path_encoded_syntax")),
    ("/a%2fb", Refused("path_encoded_syntax")),
    ("/a%2Fb", Refused("path_encoded_syntax")),
    ("/a%5cb", Refused("path_encoded_syntax")),
    ("/a%00", Refused("path_encoded_syntax")),
    ("/a%0d%0aX:%201", Refused("path_encoded_syntax")),
    ("/a%09b", Refused("path_encoded_syntax")),
    ("/a%7f", Refused("path_encoded_syntax")),
    ("/a%252e", Refused("path_encoded_syntax")),
    ("/a%3fx=1", Refused("path_encoded_syntax")),
    ("/a%23x", Refused("path_encoded_syntax")),
    ("/a%3bx", Refused("path_encoded_syntax")),
    ("/a;x=1/b", Refused("path_parameter")),
    ("/a..;/b", Refused("path_parameter")),
    ("/a//b", Refused("path_empty_segment")),
    ("//a", Refused("path_empty_segment")),
    ("/a//", Refused("path_empty_segment")),
    ("/a\\b", Refused("path_character")),
    ("/\\..\\a", Refused("path_character")),
    ("/a|b", Refused("path_character")),
    ("/{a}", Refused("path_character")),
    ("/a\"b", Refused("path_character")),
    ("/a%zz", Refused("path_encoding")),
    ("/a%2", Refused("path_encoding")),
    ("/a%", Refused("path_encoding")),
    ("/a%u002e", Refused("path_encoding")),
    ("/%c0%ae%c0%ae/", Refused("path_not_utf8")),
    ("/a%ff", Refused("path_not_utf8")),
    ("/a?x=\"", Refused("query_character")),
    ("/a?x=\\", Refused("query_character")),
];

// U15
#[test]
fn a_path_is_passed_on_as_it_was_judged_or_not_at_all() {
    targets(PATHS);
}

// U15
#[test]
fn the_same_holds_for_paths_over_http2() {
    let origin = Origin::start();
    let gateway = open(&origin);
    for (path, fate) in PATHS {
        if format!("https://api.example{path}").parse::<http::Uri>().is_err() {
            // the client's own library does not send it
            continue;
        }
        let before = origin.seen().len();
        let answer = h2::get(gateway.https, &gateway.authority, path, &[]);
        match fate {
            Passed(target) => {
                assert_eq!(answer.status, 200, "{path}: {}", answer.text());
                assert_eq!(origin.seen().last().unwrap().target, *target);
            }
            Refused(reason) => is_refused(&gateway, &answer, reason, path),
        }
        assert_eq!(
            origin.seen().len(),
            before + usize::from(matches!(fate, Passed(_))),
            "{path}"
        );
    }
}

// U15: RFC 9112 section 3.2
#[test]
fn a_target_is_in_origin_form_or_in_an_absolute_form_that_agrees_with_host() {
    targets(&[
        ("http://api.example/abs?q", Passed("/abs?q")),
        ("https://api.example/abs", Passed("/abs")),
        ("http://api.example", Passed("/")),
        ("http://api.example/a/../b", Refused("path_dot_segment")),
        ("http://other.example/abs", Refused("target_malformed")),
        ("http://api.example:81/abs", Refused("target_malformed")),
        ("http://user@api.example/abs", Refused("target_malformed")),
        ("*", Refused("target_malformed")),
        ("api.example:443", Refused("target_malformed")),
        ("a/b", Refused("target_malformed")),
        ("?x=1", Refused("target_malformed")),
        ("/a#b", Refused("target_malformed")),
        ("/a?x#b", Refused("target_malformed")),
        ("ftp://api.example/abs", Refused("target_malformed")),
    ]);
}

// U15, U16: RFC 9110 section 7.2
#[test]
fn there_is_exactly_one_host_and_it_is_a_name_or_an_address() {
    table(&[
        (b"GET /h HTTP/1.1\r\nHost: API.Example:8443\r\n\r\n", Passed("/h")),
        (b"GET /h HTTP/1.1\r\nhOST:api.example\r\n\r\n", Passed("/h")),
        (b"GET /h HTTP/1.0\r\nHost: api.example\r\n\r\n", Passed("/h")),
        (b"GET /h HTTP/1.1\r\nHost: [::1]:443\r\n\r\n", Passed("/h")),
        (b"GET /h HTTP/1.1\r\n\r\n", Refused("host_missing")),
        (b"GET /h HTTP/1.0\r\n\r\n", Refused("host_missing")),
        (
            b"GET http://api.example/h HTTP/1.1\r\n\r\n",
            Refused("host_missing"),
        ),
        (b"GET /h HTTP/1.1\r\nHost:\r\n\r\n", Refused("host_malformed")),
        (
            b"GET /h HTTP/1.1\r\nHost: api.example\r\nHost: api.example\r\n\r\n",
            Refused("host_repeated"),
        ),
        (
            b"GET /h HTTP/1.1\r\nHost: api.example\r\nHost: evil.example\r\n\r\n",
            Refused("host_repeated"),
        ),
        (
            b"GET /h HTTP/1.1\r\nHost: api.example, evil.example\r\n\r\n",
            Refused("host_malformed"),
        ),
        (
            b"GET /h HTTP/1.1\r\nHost: api.example/evil\r\n\r\n",
            Refused("host_malformed"),
        ),
        (
            b"GET /h HTTP/1.1\r\nHost: api.example evil\r\n\r\n",
            Refused("host_malformed"),
        ),
        (
            b"GET /h HTTP/1.1\r\nHost: user@api.example\r\n\r\n",
            Refused("host_malformed"),
        ),
        (
            b"GET /h HTTP/1.1\r\nHost: api.example.\r\n\r\n",
            Refused("host_malformed"),
        ),
        (
            b"GET /h HTTP/1.1\r\nHost: .api.example\r\n\r\n",
            Refused("host_malformed"),
        ),
        (
            b"GET /h HTTP/1.1\r\nHost: api..example\r\n\r\n",
            Refused("host_malformed"),
        ),
        (
            b"GET /h HTTP/1.1\r\nHost: api.example:\r\n\r\n",
            Refused("host_malformed"),
        ),
        (
            b"GET /h HTTP/1.1\r\nHost: api.example:x\r\n\r\n",
            Refused("host_malformed"),
        ),
        (
            b"GET /h HTTP/1.1\r\nHost: api.example:99999\r\n\r\n",
            Refused("host_malformed"),
        ),
        (
            b"GET /h HTTP/1.1\r\nHost: api.example:1:2\r\n\r\n",
            Refused("host_malformed"),
        ),
        (
            b"GET /h HTTP/1.1\r\nHost: [::1\r\n\r\n",
            Refused("host_malformed"),
        ),
        (
            b"GET /h HTTP/1.1\r\nHost: api%2eexample\r\n\r\n",
            Refused("host_malformed"),
        ),
        (
            b"GET /h HTTP/1.1\r\nHost: \xc3\xa4.example\r\n\r\n",
            Refused("host_malformed"),
        ),
    ]);
}

/// A POST to `/f` with these header lines and this body.
fn post(headers: &str, body: &str) -> Vec<u8> {
    format!("POST /f HTTP/1.1\r\nHost: api.example\r\nContent-Type: application/json\r\n{headers}\r\n{body}")
        .into_bytes()
}

// U16: RFC 9112 section 6
#[test]
fn the_end_of_a_body_is_said_once_and_in_one_way() {
    let (two, chunked) = ("{}", "2\r\n{}\r\n0\r\n\r\n");
    let rows = [
        (post("Content-Length: 2\r\n", two), Passed("/f")),
        (post("content-length:2 \r\n", two), Passed("/f")),
        (post("Content-Length: 002\r\n", two), Passed("/f")),
        (post("Transfer-Encoding: chunked\r\n", chunked), Passed("/f")),
        (post("transfer-encoding: CHUNKED\r\n", chunked), Passed("/f")),
        (post("Content-Length: 2\r\nContent-Length: 2\r\n", two), Refused("content_length_malformed")),
        (post("Content-Length: 2, 2\r\n", two), Refused("content_length_malformed")),
        (post("Content-Length: 2\r\nContent-Length: 3\r\n", two), Refused("content_length_malformed")),
        (post("Content-Length: 2, 3\r\n", two), Refused("content_length_malformed")),
        (post("Content-Length: +2\r\n", two), Refused("content_length_malformed")),
        (post("Content-Length: -2\r\n", two), Refused("content_length_malformed")),
        (post("Content-Length: 0x2\r\n", two), Refused("content_length_malformed")),
        (post("Content-Length: 2 3\r\n", two), Refused("content_length_malformed")),
        (post("Content-Length: 2.0\r\n", two), Refused("content_length_malformed")),
        (post("Content-Length:\r\n", two), Refused("content_length_malformed")),
        (post("Content-Length: 18446744073709551618\r\n", two), Refused("content_length_malformed")),
        (post("Content-Length: 2\r\nTransfer-Encoding: chunked\r\n", chunked), Refused("framing_conflict")),
        (post("Transfer-Encoding: chunked\r\nContent-Length: 2\r\n", chunked), Refused("framing_conflict")),
        (post("Content-Length: 0\r\ntransfer-encoding: chunked\r\n", chunked), Refused("framing_conflict")),
        (post("Transfer-Encoding: gzip, chunked\r\n", chunked), Refused("transfer_encoding")),
        (post("Transfer-Encoding: identity, chunked\r\n", chunked), Refused("transfer_encoding")),
        (post("Transfer-Encoding: chunked, chunked\r\n", chunked), Refused("transfer_encoding")),
        (post("Transfer-Encoding: , chunked\r\n", chunked), Refused("transfer_encoding")),
        (post("Transfer-Encoding: chunked,\r\n", chunked), Refused("transfer_encoding")),
        (post("Transfer-Encoding: identity\r\nTransfer-Encoding: chunked\r\n", chunked), Refused("transfer_encoding")),
        (post("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n", chunked), Refused("transfer_encoding")),
        (post("Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n", chunked), Refused("transfer_encoding")),
        (post("Transfer-Encoding: identity\r\n", chunked), Refused("transfer_encoding")),
        (post("Transfer-Encoding: xchunked\r\n", chunked), Refused("transfer_encoding")),
        (post("Transfer-Encoding: \"chunked\"\r\n", chunked), Refused("transfer_encoding")),
        (post("Transfer-Encoding: chunked;q=1\r\n", chunked), Refused("transfer_encoding")),
        (post("Transfer-Encoding:\x0bchunked\r\n", chunked), Refused("head_syntax")),
        (post("Transfer-Encoding : chunked\r\n", chunked), Refused("head_syntax")),
        (post("Transfer-Encoding:\r\n", chunked), Refused("transfer_encoding")),
        (post("X: y\r\n Transfer-Encoding: chunked\r\n", chunked), Refused("head_syntax")),
        (
            b"POST /f HTTP/1.0\r\nHost: api.example\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
                .to_vec(),
            Refused("transfer_encoding"),
        ),
    ];
    table(
        &rows
            .iter()
            .map(|(request, fate)| (&**request, *fate))
            .collect::<Vec<_>>(),
    );
}

// U16: RFC 9112 sections 2 and 5
#[test]
fn a_head_is_spelled_as_the_standard_spells_it() {
    table(&[
        (b"\r\nGET /s HTTP/1.1\r\nHost: api.example\r\n\r\n", Passed("/s")),
        (b"GET /s HTTP/1.1\nHost: api.example\n\n", Refused("head_syntax")),
        (
            b"GET /s HTTP/1.1\r\nHost: api.example\n\r\n",
            Refused("head_syntax"),
        ),
        (
            b"GET /s HTTP/1.1\nHost: api.example\r\n\r\n",
            Refused("head_syntax"),
        ),
        (
            b"GET /s HTTP/1.1\r\nHost: api.example\r\n\n",
            Refused("head_syntax"),
        ),
        (
            b"\nGET /s HTTP/1.1\r\nHost: api.example\r\n\r\n",
            Refused("head_syntax"),
        ),
        (
            b"\r\n\r\nGET /s HTTP/1.1\r\nHost: api.example\r\n\r\n",
            Refused("head_syntax"),
        ),
        (
            b"GET /s HTTP/1.1\r\nHost: api.example\r\nX: a\r\n b\r\n\r\n",
            Refused("head_syntax"),
        ),
        (
            b"GET /s HTTP/1.1\r\nHost: api.example\r\nX: a\rY: b\r\n\r\n",
            Refused("head_syntax"),
        ),
        (
            b"GET /s HTTP/1.1\r\nHost: api.example\r\nX: a\0b\r\n\r\n",
            Refused("head_syntax"),
        ),
        (
            b"GET /s HTTP/1.1\r\nHost: api.example\r\nX : a\r\n\r\n",
            Refused("head_syntax"),
        ),
        (
            b"GET /s HTTP/1.1\r\nHost: api.example\r\n: a\r\n\r\n",
            Refused("head_syntax"),
        ),
        (
            b"GET /s HTTP/1.1\r\nHost: api.example\r\nX\r\n\r\n",
            Refused("head_syntax"),
        ),
        (
            b"GET /s HTTP/1.1\r\nHost: api.example\r\nX(y: a\r\n\r\n",
            Refused("head_syntax"),
        ),
        (
            b" GET /s HTTP/1.1\r\nHost: api.example\r\n\r\n",
            Refused("head_syntax"),
        ),
        (
            b"GET\t/s\tHTTP/1.1\r\nHost: api.example\r\n\r\n",
            Refused("head_syntax"),
        ),
        (
            b"GET  /s HTTP/1.1\r\nHost: api.example\r\n\r\n",
            Refused("head_syntax"),
        ),
        (
            b"GET /s HTTP/1.1 \r\nHost: api.example\r\n\r\n",
            Refused("head_syntax"),
        ),
        (b"GET /s\r\nHost: api.example\r\n\r\n", Refused("head_syntax")),
        (
            b"GET /s HTTP/1.2\r\nHost: api.example\r\n\r\n",
            Refused("version_not_supported"),
        ),
        (
            b"GET /s HTTP/2.0\r\nHost: api.example\r\n\r\n",
            Refused("version_not_supported"),
        ),
        (
            b"GET /s http/1.1\r\nHost: api.example\r\n\r\n",
            Refused("head_syntax"),
        ),
        (
            b"G@T /s HTTP/1.1\r\nHost: api.example\r\n\r\n",
            Refused("head_syntax"),
        ),
        (
            b"GET /\xff HTTP/1.1\r\nHost: api.example\r\n\r\n",
            Refused("path_character"),
        ),
    ]);
}

// RFC 9110 sections 9.3.6 and 9.3.8
#[test]
fn methods_that_tunnel_reflect_or_ask_about_the_server_are_refused() {
    table(&[
        (
            b"TRACE / HTTP/1.1\r\nHost: api.example\r\n\r\n",
            Refused("method_forbidden"),
        ),
        (
            b"CONNECT api.example:443 HTTP/1.1\r\nHost: api.example:443\r\n\r\n",
            Refused("method_forbidden"),
        ),
        (
            b"CONNECT / HTTP/1.1\r\nHost: api.example\r\n\r\n",
            Refused("method_forbidden"),
        ),
        (
            b"OPTIONS * HTTP/1.1\r\nHost: api.example\r\n\r\n",
            Refused("target_malformed"),
        ),
        (b"OPTIONS / HTTP/1.1\r\nHost: api.example\r\n\r\n", Passed("/")),
    ]);
    let origin = Origin::start();
    let gateway = open(&origin);
    let trace = http::Request::builder()
        .method("TRACE")
        .uri("https://api.example/");
    let connect = http::Request::builder().method("CONNECT").uri("api.example:443");
    let requests = [trace, connect]
        .map(|request| (request.body(()).unwrap(), vec![]))
        .to_vec();
    for answer in h2::exchange(gateway.https, &gateway.authority, requests) {
        is_refused(&gateway, &answer.unwrap(), "method_forbidden", "over HTTP/2");
    }
    assert_eq!(origin.connections(), 0);
}

// U16, U17
#[test]
fn connection_nominates_only_what_is_the_clients_to_remove() {
    let origin = Origin::start();
    let gateway = open(&origin);
    let ask = |headers: &str| {
        gateway
            .client()
            .send(format!("GET /c HTTP/1.1\r\nHost: api.example\r\n{headers}\r\n"))
    };
    // its own hop-by-hop fields go no further
    let answer = ask(
        "Connection: keep-alive, X-Mine\r\nX-Mine: 1\r\nKeep-Alive: timeout=5\r\nTE: trailers\r\nProxy-Connection: close\r\n",
    );
    assert_eq!(answer.status, 200);
    let seen = origin.only();
    for name in ["connection", "x-mine", "keep-alive", "te", "proxy-connection"] {
        assert_eq!(seen.header(name), None, "{name}");
    }
    // what the gateway says cannot be removed so
    // what is judged, or is the gateway's to say, cannot be removed so; nor what is no name, nor too much
    let many = vec!["x"; 64].join(", ");
    for bad in [
        "Host",
        "Content-Type",
        "content-length",
        "Authorization",
        "Cookie",
        "X-Forwarded-For",
        "close, x-forwarded-proto",
        "X-Request-Id",
        "Forwarded",
        "Via",
        "\"x\"",
        "a b",
        "x;y",
        &many,
    ] {
        let answer = ask(&format!("Connection: {bad}\r\n"));
        is_refused(&gateway, &answer, "connection_nomination", bad);
    }
    assert_eq!(origin.seen().len(), 1);
}

// U16
#[test]
fn no_protocol_is_switched() {
    let origin = Origin::start();
    let gateway = open(&origin);
    for upgrade in ["websocket", "h2c", "TLS/1.0", "foo, websocket"] {
        let answer = gateway.client().send(format!(
            "GET /u HTTP/1.1\r\nHost: api.example\r\nConnection: Upgrade\r\nUpgrade: {upgrade}\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        ));
        assert_ne!(answer.status, 101, "{upgrade}");
        for seen in origin.seen() {
            assert_eq!(
                (seen.header("upgrade"), seen.header("connection")),
                (None, None),
                "{upgrade}"
            );
        }
    }
}

// U16: a second request in the bytes of the first must not become one
#[test]
fn what_follows_a_refused_request_is_not_read_as_another_one() {
    let origin = Origin::start();
    let gateway = open(&origin);
    let smuggled = "GET /smuggled HTTP/1.1\r\nHost: api.example\r\n\r\n";
    for first in [
        "POST /f HTTP/1.1\r\nHost: api.example\r\nContent-Length: 6\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "POST /f HTTP/1.1\r\nHost: api.example\r\nTransfer-Encoding: identity, chunked\r\n\r\n0\r\n\r\n",
        "GET /a/../b HTTP/1.1\r\nHost: api.example\r\n\r\n",
        "TRACE / HTTP/1.1\r\nHost: api.example\r\n\r\n",
    ] {
        let mut connection = gateway.client().connect();
        connection.write(format!("{first}{smuggled}"));
        let answer = connection.answer();
        assert!(answer.status >= 400, "{first}");
        assert!(connection.is_closed_within(Duration::from_secs(5)), "{first}");
    }
    assert_eq!(origin.connections(), 0);
}

// U15: what HTTP/2 can say in two places
#[test]
fn an_http2_request_has_one_authority_and_one_length() {
    let origin = Origin::start();
    let gateway = open(&origin);
    let send = |headers: &[(&str, &str)]| {
        let mut request =
            http::Request::post("https://api.example/f").header("content-type", "application/json");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let parts = vec![bytes::Bytes::from_static(b"{}")];
        h2::exchange(
            gateway.https,
            &gateway.authority,
            vec![(request.body(()).unwrap(), parts)],
        )
        .remove(0)
    };
    assert_eq!(send(&[]).unwrap().status, 200);
    assert_eq!(
        send(&[("host", "api.example"), ("content-length", "2")])
            .unwrap()
            .status,
        200
    );
    assert_eq!(origin.seen().len(), 2);
    for headers in [
        &[("host", "other.example")][..],
        &[("host", "api.example"), ("host", "api.example")],
        &[("content-length", "2"), ("content-length", "2")],
        &[("content-length", "2, 2")],
        &[("content-length", "+2")],
        &[("content-length", "x")],
    ] {
        if let Some(answer) = send(headers) {
            assert_eq!(answer.status, 400, "{headers:?}");
        }
    }
    assert_eq!(origin.seen().len(), 2, "{:?}", origin.seen().last());
}

// U15: what was repaired is what the route was found by, what is recorded, and what the upstream receives
#[test]
fn a_path_is_repaired_only_where_its_route_stands_for_that() {
    let origin = Origin::start();
    let route = |path: &str, more: &str| {
        format!(
            "\x20 - match: {{ methods: [GET], path: \"{path}\"{more} }}\n\
             \x20   public: {{ reason: test, owner: test }}\n\
             \x20   upstream: all\n"
        )
    };
    let gateway = Gateway::start(&format!(
        "upstreams:\n  all: {{ targets: [\"{}\"] }}\nroutes:\n{}{}{}",
        origin.address,
        route(
            "/open/{rest*}",
            ", normalise: [dot_segments, empty_segments, parameters, encoded_slashes]"
        ),
        route("/dots/{rest*}", ", normalise: [dot_segments]"),
        route("/strict/{rest*}", ""),
    ));
    for (path, expected) in [
        ("/open/a/../b", Ok("/open/b")),
        ("/open//a/./b/%2E%2e/c;x=1?q=//../%2f", Ok("/open/a/c?q=//../%2f")),
        ("/open/a%2Fb", Ok("/open/a/b")),
        ("/strict/../open/a", Ok("/open/a")),
        ("/dots/a/../b", Ok("/dots/b")),
        ("/dots/%2e%2e/open//a", Ok("/open/a")),
        // what is left is the path: a stricter route's own rules hold
        ("/open/../strict/a", Err("path_dot_segment")),
        ("/open/%2e%2e/strict/a", Err("path_encoded_syntax")),
        ("/open/..%2fstrict/a", Err("path_encoded_syntax")),
        ("/open/..;/strict/a", Err("path_parameter")),
        ("/open/../dots//a", Err("path_dot_segment")),
        ("/dots//a", Err("path_empty_segment")),
        ("/dots/a;b", Err("path_parameter")),
        ("/dots/a%2fb", Err("path_encoded_syntax")),
        ("/open/../../a", Err("path_dot_segment")),
        ("/open/../nothing", Err("path_dot_segment")),
        // never repaired
        ("/open/a%5cb", Err("path_encoded_syntax")),
        ("/open/%252e%252e/strict/a", Err("path_encoded_syntax")),
        ("/open/a%00", Err("path_encoded_syntax")),
        ("/open/a%ff", Err("path_not_utf8")),
        ("/open/%c0%ae%c0%ae/strict/a", Err("path_not_utf8")),
    ] {
        let before = origin.seen().len();
        let answer = gateway.client().get(path, &[]);
        let record = gateway.record(answer.header("x-request-id").unwrap());
        match expected {
            Ok(target) => {
                assert_eq!(answer.status, 200, "{path}: {}", answer.text());
                let seen = origin.seen().pop().unwrap();
                assert_eq!(seen.target, target, "{path}");
                assert_eq!(record["url.path"], target.split('?').next().unwrap(), "{path}");
            }
            Err(reason) => {
                assert_eq!(
                    (answer.status, &record["error.type"]),
                    (400, &reason.into()),
                    "{path}"
                );
                assert_eq!(origin.seen().len(), before, "{path}");
            }
        }
    }
}
