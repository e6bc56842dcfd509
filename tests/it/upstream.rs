//! The way upstream and back: who is asked, how long one waits, what is sent and what of the answer leaves.

use std::collections::BTreeMap;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use serde_json::{Value, json};

use crate::support::client::request;
use crate::support::{Answer, Authority, Gateway, Origin, Reply, eventually, free_address, h2};

/// `/NAME` and whatever is below it goes to upstream NAME; each is given as flow YAML.
fn config(upstreams: &[(&str, String)]) -> String {
    let (mut names, mut routes) = ("upstreams:\n".to_owned(), "routes:\n".to_owned());
    for (name, upstream) in upstreams {
        names += &format!("  {name}: {{ {upstream} }}\n");
        for path in [format!("/{name}"), format!("/{name}/{{rest*}}")] {
            routes += &format!(
                "  - {{ match: {{ methods: [GET, HEAD, POST, PUT], path: \"{path}\" }}, public: {{ reason: test, owner: us }}, upstream: {name} }}\n"
            );
        }
    }
    names + &routes
}

fn targets(addresses: &[SocketAddr]) -> String {
    let quoted: Vec<String> = addresses.iter().map(|address| format!("\"{address}\"")).collect();
    format!("targets: [{}]", quoted.join(", "))
}

fn record(gateway: &Gateway, answer: &Answer) -> Value {
    gateway.record(answer.header("x-request-id").unwrap())
}

/// Asserts that a failure is answered so and recorded so.
fn failed(gateway: &Gateway, answer: &Answer, status: u16, code: &str, reason: &str) {
    assert_eq!(
        (answer.status, answer.code().as_str()),
        (status, code),
        "{}",
        answer.text()
    );
    let record = record(gateway, answer);
    assert_eq!(
        (&record["error.type"], &record["durward.outcome"]),
        (&json!(reason), &json!("deny"))
    );
    assert_eq!(record["http.response.status_code"], status);
    assert!(record["durward.upstream"].is_string(), "{record}");
}

/// An address that refuses connections.
fn closed() -> SocketAddr {
    free_address()
}

// issue 2, item 9
#[test]
fn requests_go_to_the_targets_in_turn_and_by_weight() {
    let origins = [Origin::start(), Origin::start(), Origin::start()];
    let [a, b, c] = [0, 1, 2].map(|n| origins[n].address);
    let weighted = format!(
        "targets: [{{ address: \"{a}\", weight: 5 }}, {{ address: \"{b}\", weight: 1 }}, {{ address: \"{c}\", weight: 3 }}]"
    );
    let gateway = Gateway::start(&config(&[("equal", targets(&[a, b, c])), ("weighted", weighted)]));
    let seen = || [0, 1, 2].map(|n| origins[n].seen().len());
    let mut connection = gateway.client().connect();
    let mut ask = |path: &str, times: usize| {
        for _ in 0..times {
            connection.write(request("GET", path, &[], ""));
            assert_eq!(connection.answer().status, 200);
        }
    };
    ask("/equal", 30);
    assert_eq!(seen(), [10, 10, 10]);
    ask("/weighted", 36);
    assert_eq!(seen(), [10 + 20, 10 + 4, 10 + 12]);
    // connections are kept and used again: one a target, as requests come one after another
    assert_eq!(origins.each_ref().map(Origin::connections), [1, 1, 1]);
}

// issue 2, item 9
#[test]
fn a_target_may_be_a_name() {
    let origin = Origin::start();
    let named = format!(
        "targets: [\"localhost:{}\"], connect_retries: 3",
        origin.address.port()
    );
    let nobody = "targets: [\"nobody.invalid:80\"]".to_owned();
    let gateway = Gateway::start(&config(&[("named", named), ("nobody", nobody)]));
    let client = gateway.client();
    // the name is looked up in the background
    eventually("the name is known", || {
        (client.get("/named", &[]).status == 200).then_some(())
    });
    let seen = origin.seen().pop().unwrap();
    assert_eq!(
        seen.header("host"),
        Some("api.example"),
        "the client's host, not ours"
    );
    let answer = client.get("/nobody", &[]);
    failed(
        &gateway,
        &answer,
        503,
        "upstream_unavailable",
        "upstream_unresolved",
    );
    assert!(answer.header("retry-after").is_some());
    let ready = gateway.admin("/readyz");
    assert_eq!(
        (ready.status, &ready.json()["failing"][0]["upstream"]),
        (503, &json!("nobody"))
    );
}

/// An origin behind TLS with a certificate of this authority for this name.
fn tls_origin(authority: &Authority, name: &str) -> Origin {
    let leaf = authority.leaf(&[name]);
    Origin::tls(&leaf.certificate, &leaf.key, |_| Reply::ok())
}

// S31
#[test]
fn tls_upstreams_are_verified_by_authority_and_by_name() {
    let (ours, other) = (Authority::new(), Authority::new());
    let good = tls_origin(&ours, "vehicles.internal");
    let other_name = tls_origin(&ours, "liens.internal");
    let plain = Origin::start();
    let to = |origin: &Origin, ca: &str| {
        let ca = if ca.is_empty() {
            String::new()
        } else {
            format!(", ca: {ca}")
        };
        format!(
            "{}, tls: {{ server_name: vehicles.internal{ca} }}",
            targets(&[origin.address])
        )
    };
    let gateway = Gateway::with(&config(&[
        ("good", to(&good, "ours.pem")),
        ("other-ca", to(&good, "other.pem")),
        ("system-ca", to(&good, "")),
        ("other-name", to(&other_name, "ours.pem")),
        ("no-tls", to(&plain, "ours.pem")),
    ]))
    .file("ours.pem", ours.pem())
    .file("other.pem", other.pem())
    .start();
    let client = gateway.client();
    // the good one first and in between: its pooled connection must not serve those who would not have trusted it
    for _ in 0..2 {
        let answer = client.get("/good", &[]);
        assert_eq!(answer.status, 200, "{}", answer.text());
        for (path, reason) in [
            ("/other-ca", "upstream_certificate_untrusted"),
            ("/system-ca", "upstream_certificate_untrusted"),
            ("/other-name", "upstream_certificate_name"),
            ("/no-tls", "upstream_tls"),
        ] {
            let answer = client.get(path, &[]);
            assert_eq!((answer.status, path), (502, path));
            failed(&gateway, &answer, 502, "upstream_unavailable", reason);
        }
    }
    assert_eq!(good.seen().len(), 2);
    assert_eq!(
        other_name.seen().len() + plain.seen().len(),
        0,
        "a request was sent to a stranger"
    );
}

// S44
#[test]
fn a_target_that_refuses_connections_is_passed_over_as_often_as_is_configured() {
    let origin = Origin::start();
    let up = origin.address;
    let gateway = Gateway::start(&config(&[
        ("one", targets(&[closed(), up])),
        (
            "none",
            format!("{}, connect_retries: 0", targets(&[closed(), up])),
        ),
        (
            "two",
            format!("{}, connect_retries: 2", targets(&[closed(), closed(), up])),
        ),
        ("all", targets(&[closed(), closed()])),
        (
            "heavy",
            format!(
                "targets: [{{ address: \"{}\", weight: 100 }}, \"{up}\"]",
                closed()
            ),
        ),
    ]));
    let client = gateway.client();
    for path in ["/one", "/two", "/heavy"] {
        for _ in 0..8 {
            // nothing was sent yet, so it does not matter what is to be
            let answer = client.request("POST", path, &[("Content-Type", "application/json")], "{}");
            assert_eq!(answer.status, 200, "{path}: {}", answer.text());
        }
    }
    let statuses: Vec<u16> = (0..8).map(|_| client.get("/none", &[]).status).collect();
    assert_eq!(
        statuses.iter().filter(|status| **status == 502).count(),
        4,
        "{statuses:?}"
    );
    failed(
        &gateway,
        &client.get("/all", &[]),
        502,
        "upstream_unavailable",
        "upstream_connect_failed",
    );
}

// S44: many at once, so that turns are taken in between
#[test]
fn a_dead_target_costs_no_request_under_load() {
    let origin = Origin::start();
    let gateway = Gateway::start(&config(&[("o", targets(&[closed(), origin.address]))]));
    let lost = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                let mut connection = gateway.client().connect();
                for _ in 0..50 {
                    connection.write(request("GET", "/o", &[], ""));
                    if connection.answer().status != 200 {
                        lost.fetch_add(1, Ordering::SeqCst);
                    }
                }
            });
        }
    });
    assert_eq!(lost.into_inner(), 0, "of 400");
}

// S44: each deadline has its own reason
#[test]
fn upstreams_that_are_slow_are_given_up() {
    let silent = Origin::answering(|_| Reply::ok().after(Duration::from_secs(60)));
    let head_only = Origin::answering(|_| Reply {
        parts: vec![
            b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n".to_vec(),
            b"0123456789".to_vec(),
        ],
        delay: Duration::from_secs(0),
        close: false,
    });
    let dripping = Origin::answering(|_| {
        let mut parts = vec![b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n".to_vec()];
        parts.extend((0..1000).map(|_| b"x".to_vec()));
        Reply {
            parts,
            delay: Duration::from_millis(50),
            close: false,
        }
    });
    let gateway = Gateway::start(&config(&[
        (
            "read",
            format!("{}, timeouts: {{ read: 200ms }}", targets(&[silent.address])),
        ),
        (
            "total",
            format!("{}, timeouts: {{ total: 300ms }}", targets(&[silent.address])),
        ),
        (
            "drip",
            format!("{}, timeouts: {{ total: 500ms }}", targets(&[dripping.address])),
        ),
        (
            "fine",
            format!("{}, timeouts: {{ read: 10s }}", targets(&[head_only.address])),
        ),
    ]));
    let client = gateway.client();
    for path in ["/read", "/total"] {
        let begun = Instant::now();
        failed(
            &gateway,
            &client.get(path, &[]),
            504,
            "upstream_timeout",
            "upstream_timeout",
        );
        assert!(begun.elapsed() < Duration::from_secs(10), "{path}");
    }
    assert_eq!(silent.seen().len(), 2, "what was sent is not sent again");
    assert_eq!(client.get("/fine", &[]).text(), "0123456789");
    // an answer that has begun can only be cut off: what came is not whole
    let begun = Instant::now();
    let mut connection = client.connect();
    connection.write(request("GET", "/drip", &[], ""));
    assert!(connection.try_answer("GET").is_none(), "the answer looked whole");
    assert!(begun.elapsed() < Duration::from_secs(10));
    let record = last_record(&gateway, "/drip");
    assert_eq!(record["error.type"], "upstream_timeout");
    let reset = h2_answer(&gateway, "/drip");
    assert!(reset.is_none(), "HTTP/2: the answer looked whole");
}

/// A socket whose queue of connections is full: further ones get no answer.
fn deaf() -> (
    SocketAddr,
    Vec<TcpStream>,
    tokio::runtime::Runtime,
    tokio::net::TcpListener,
) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let listener = runtime.block_on(async {
        let socket = tokio::net::TcpSocket::new_v4().unwrap();
        socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        socket.listen(0).unwrap()
    });
    let address = listener.local_addr().unwrap();
    let mut queued = Vec::new();
    while let Ok(stream) = TcpStream::connect_timeout(&address, Duration::from_millis(500)) {
        queued.push(stream);
        assert!(queued.len() < 100, "the queue does not fill");
    }
    (address, queued, runtime, listener)
}

// S44
#[test]
fn connections_that_are_not_made_in_time_are_504_with_their_own_reason() {
    let (deaf, _queued, _runtime, _listener) = deaf();
    // takes the connection and never speaks
    let mute = TcpListener::bind("127.0.0.1:0").unwrap();
    let ours = Authority::new();
    let connect = "timeouts: { connect: 300ms }, connect_retries: 0";
    let gateway = Gateway::with(&config(&[
        ("deaf", format!("{}, {connect}", targets(&[deaf]))),
        (
            "mute",
            format!(
                "{}, {connect}, tls: {{ server_name: vehicles.internal, ca: ours.pem }}",
                targets(&[mute.local_addr().unwrap()])
            ),
        ),
    ]))
    .file("ours.pem", ours.pem())
    .start();
    for path in ["/deaf", "/mute"] {
        let begun = Instant::now();
        let answer = gateway.client().get(path, &[]);
        assert_eq!((answer.status, path), (504, path));
        failed(
            &gateway,
            &answer,
            504,
            "upstream_timeout",
            "upstream_connect_timeout",
        );
        assert!(begun.elapsed() < Duration::from_secs(10), "{path}");
    }
}

/// The only record of a path.
fn last_record(gateway: &Gateway, path: &str) -> Value {
    eventually("the record", || {
        gateway
            .records()
            .into_iter()
            .rev()
            .find(|record| record["url.path"] == path)
    })
}

fn h2_answer(gateway: &Gateway, path: &str) -> Option<Answer> {
    let request = http::Request::get(format!("https://api.example{path}"))
        .body(())
        .unwrap();
    h2::exchange(gateway.https, &gateway.authority, vec![(request, Vec::new())]).remove(0)
}

// S44
#[test]
fn answers_that_are_none_are_502_and_cut_ones_are_cut_for_the_client_too() {
    let garbage = Origin::answering(|_| Reply::raw("SSH-2.0-OpenSSH_9.9\r\n\r\n").closing());
    let nothing = Origin::answering(|_| Reply::raw("").closing());
    let bad_head = Origin::answering(|_| Reply::raw("HTTP/1.1 200 OK\r\nbad header\r\n\r\n").closing());
    let half_head = Origin::answering(|_| Reply::raw("HTTP/1.1 200 OK\r\nContent-Le").closing());
    let half =
        Origin::answering(|_| Reply::raw("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf").closing());
    let half_chunked = Origin::answering(|_| {
        Reply::raw("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n").closing()
    });
    let gateway = Gateway::start(&config(&[
        ("garbage", targets(&[garbage.address])),
        ("nothing", targets(&[nothing.address])),
        ("bad-head", targets(&[bad_head.address])),
        ("half-head", targets(&[half_head.address])),
        ("half", targets(&[half.address])),
        ("half-chunked", targets(&[half_chunked.address])),
    ]));
    let client = gateway.client();
    for (path, reason) in [
        ("/garbage", "upstream_malformed"),
        ("/nothing", "upstream_broken"),
        ("/bad-head", "upstream_malformed"),
        ("/half-head", "upstream_broken"),
    ] {
        let answer = client.get(path, &[]);
        assert_eq!((answer.status, path), (502, path));
        failed(&gateway, &answer, 502, "upstream_unavailable", reason);
        let answer = h2_answer(&gateway, path).expect("the stream was reset");
        failed(&gateway, &answer, 502, "upstream_unavailable", reason);
    }
    for path in ["/half", "/half-chunked"] {
        let mut connection = client.connect();
        connection.write(request("GET", path, &[], ""));
        assert!(
            connection.try_answer("GET").is_none(),
            "{path}: the answer looked whole"
        );
        assert_eq!(
            last_record(&gateway, path)["error.type"],
            "upstream_broken",
            "{path}"
        );
        assert!(
            h2_answer(&gateway, path).is_none(),
            "{path}, HTTP/2: the answer looked whole"
        );
    }
}

// S44
#[test]
fn what_may_have_been_done_already_is_not_done_twice() {
    // answers the first request of each connection, reads the second one and closes
    let origin = Origin::answering(|seen| {
        if seen.target.ends_with("/close") {
            Reply::raw("").closing()
        } else {
            Reply::ok()
        }
    });
    let gateway = Gateway::start(&config(&[("o", targets(&[origin.address]))]));
    let client = gateway.client();
    let json = ("Content-Type", "application/json");
    let count = |method: &str| {
        let seen = origin.seen();
        seen.iter()
            .filter(|one| one.target == "/o/close" && one.method == method)
            .count()
    };
    for method in ["POST", "PUT", "GET"] {
        // a connection is pooled, so that the next request goes over a used one
        assert_eq!(client.get("/o/ok", &[]).status, 200);
        let answer = match method {
            "GET" => client.get("/o/close", &[]),
            _ => client.request(method, "/o/close", &[json], "{}"),
        };
        failed(&gateway, &answer, 502, "upstream_unavailable", "upstream_broken");
    }
    assert_eq!(count("POST"), 1, "a POST was repeated");
    // idempotent ones may be, once: the used connection could have been closed before
    assert!(count("GET") <= 2 && count("PUT") <= 2);
}

// RFC 9110 section 7.6.1
#[test]
fn what_is_for_one_hop_stays_on_it() {
    let origin = Origin::answering(|_| {
        Reply::raw(
            "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: X-Internal, keep-alive\r\nX-Internal: 1\r\n\
             Keep-Alive: timeout=5\r\nProxy-Authenticate: Basic\r\nX-Kept: yes\r\n\r\nok",
        )
    });
    let gateway = Gateway::start(&config(&[("o", targets(&[origin.address]))]));
    let headers = [
        ("Connection", "keep-alive, X-Mine, TE"),
        ("X-Mine", "1"),
        ("Keep-Alive", "timeout=5"),
        ("Proxy-Connection", "keep-alive"),
        ("Proxy-Authorization", "Basic YTpi"),
        ("TE", "trailers"),
        ("Accept", "text/plain"),
        ("X-Kept", "yes"),
    ];
    let answer = gateway.client().get("/o", &headers);
    let seen = origin.only();
    for name in [
        "x-mine",
        "keep-alive",
        "proxy-connection",
        "proxy-authorization",
        "te",
        "upgrade",
        "http2-settings",
    ] {
        assert_eq!(seen.header(name), None, "{name} went upstream");
    }
    assert!(
        seen.all("connection")
            .iter()
            .all(|value| !value.to_lowercase().contains("x-mine"))
    );
    assert_eq!(
        (seen.header("accept"), seen.header("x-kept")),
        (Some("text/plain"), Some("yes"))
    );
    assert_eq!(seen.header("via"), Some("1.1 durward"));
    assert_eq!((answer.status, answer.header("x-kept")), (200, Some("yes")));
    for name in ["keep-alive", "x-internal", "proxy-authenticate"] {
        assert_eq!(answer.header(name), None, "{name} left");
    }
    // what came through somebody else says so, and us too
    gateway.client().get("/o", &[("Via", "1.0 somebody")]);
    let seen = origin.seen().pop().unwrap();
    assert_eq!(seen.all("via").join(", "), "1.0 somebody, 1.1 durward");
}

// S39
#[test]
fn nothing_that_tells_of_the_inside_leaves() {
    let own = Arc::new(std::sync::Mutex::new(String::new()));
    let address = own.clone();
    let origin = Origin::answering(move |seen| {
        let own = address.lock().unwrap().clone();
        let location = match seen.target.as_str() {
            "/o/own" => format!("http://{own}/next?a=b#part"),
            "/o/own-https" => format!("https://{own}/next"),
            "/o/own-ip" => "http://127.0.0.1/next".to_owned(),
            "/o/own-root" => format!("http://{own}"),
            "/o/own-scheme" => format!("//{own}/next"),
            "/o/own-user" => format!("http://user:secret@{own}/next"),
            "/o/own-case" => format!("HTTP://{own}/next"),
            "/o/own-space" => format!("http://{own}/a b"),
            "/o/relative" => "/next".to_owned(),
            _ => "https://elsewhere.example/next".to_owned(),
        };
        let headers = [
            ("Server", "Apache/2.4.1 (internal-7)"),
            ("X-Powered-By", "PHP/5.3"),
            ("X-AspNet-Version", "4"),
            ("X-Runtime", "0.1"),
            ("Via", "1.1 internal-7"),
            ("Strict-Transport-Security", "max-age=1"),
            ("X-Request-Id", "theirs"),
            ("Location", &location),
            ("Content-Location", &location),
        ];
        Reply::new(201, &headers, "{}")
    });
    *own.lock().unwrap() = origin.address.to_string();
    let gateway = Gateway::start(&config(&[("o", targets(&[origin.address]))]));
    for (path, location) in [
        ("/o/own", "/next?a=b#part"),
        ("/o/own-https", "/next"),
        ("/o/own-ip", "/next"),
        ("/o/own-root", "/"),
        ("/o/own-scheme", "/next"),
        ("/o/own-user", "/next"),
        ("/o/own-case", "/next"),
        ("/o/own-space", "/a b"),
        ("/o/relative", "/next"),
        ("/o/elsewhere", "https://elsewhere.example/next"),
    ] {
        for answer in [
            gateway.client().get(path, &[]),
            h2_answer(&gateway, path).unwrap(),
        ] {
            assert_eq!(answer.status, 201);
            assert_eq!(answer.header("location"), Some(location), "{path}");
            assert_eq!(answer.header("content-location"), Some(location), "{path}");
            let text = format!("{:?}", answer.headers);
            for tale in [
                "Apache",
                "PHP",
                "internal-7",
                "theirs",
                "X-Runtime",
                "spNet",
                "127.0.0.1",
                "secret",
            ] {
                assert!(!text.contains(tale), "{path}: {tale} left: {text}");
            }
            assert_eq!(answer.header("server"), None);
            let hsts = answer.header("strict-transport-security").unwrap();
            assert_ne!(hsts, "max-age=1");
        }
    }
}

/// Failures in every way they can be framed.
fn failing() -> Origin {
    Origin::answering(|seen| match seen.target.rsplit('/').next().unwrap_or_default() {
        "sized" => Reply::new(
            500,
            &[("Content-Type", "text/html"), ("ETag", "\"1\"")],
            "at Vehicle.java:42",
        ),
        "empty" => Reply::new(503, &[("Retry-After", "7")], ""),
        "chunked" => Reply::raw(
            "HTTP/1.1 502 Bad\r\nTransfer-Encoding: chunked\r\n\r\n8\r\nat Vehic\r\na\r\nle.java:42\r\n0\r\n\r\n",
        ),
        "closing" => Reply::raw("HTTP/1.1 500 Bad\r\nConnection: close\r\n\r\nat Vehicle.java:42").closing(),
        "zipped" => Reply::new(500, &[("Content-Encoding", "gzip")], "at Vehicle.java:42"),
        "long" => Reply::new(500, &[], &"at Vehicle.java:42\n".repeat(20_000)),
        "head" => Reply::raw("HTTP/1.1 500 Bad\r\nContent-Length: 18\r\nContent-Type: text/html\r\n\r\n"),
        _ => Reply::new(404, &[("Content-Type", "text/plain")], "no such vehicle"),
    })
}

// S39
#[test]
fn bodies_of_failures_are_the_gateways_however_they_are_framed() {
    let origin = failing();
    let gateway = Gateway::start(&config(&[("o", targets(&[origin.address]))]));
    let mut connection = gateway.client().connect();
    for (path, status) in [
        ("/o/sized", 500),
        ("/o/chunked", 502),
        ("/o/closing", 500),
        ("/o/zipped", 500),
        ("/o/long", 500),
    ] {
        connection.write(request("GET", path, &[], ""));
        let h1 = connection.answer();
        let h2 = h2_answer(&gateway, path).expect("the stream was reset");
        for (answer, over) in [(h1, "HTTP/1.1"), (h2, "HTTP/2")] {
            let what = format!("{path} over {over}");
            assert_eq!(
                (answer.status, answer.code().as_str()),
                (status, "upstream_failed"),
                "{what}"
            );
            assert_eq!(answer.json()["status"], status, "{what}");
            assert!(!answer.text().contains("Vehicle"), "{what}");
            for name in ["etag", "content-encoding", "transfer-encoding"] {
                assert_eq!(answer.header(name), None, "{what}: {name}");
            }
            let length = answer.header("content-length").unwrap().parse::<usize>().unwrap();
            assert_eq!(length, answer.body.len(), "{what}");
            let record = record(&gateway, &answer);
            assert_eq!(record["http.response.status_code"], status, "{what}");
        }
    }
    // an empty body gives nothing away, and stays as it is
    connection.write(request("GET", "/o/empty", &[], ""));
    for answer in [
        connection.answer(),
        h2_answer(&gateway, "/o/empty").expect("the stream was reset"),
    ] {
        assert_eq!(
            (answer.status, answer.body.len(), answer.header("retry-after")),
            (503, 0, Some("7"))
        );
    }
    // HEAD has no body to replace, and says nothing of the one that GET would not have had
    connection.write(request("HEAD", "/o/head", &[], ""));
    let answer = connection.answer_to("HEAD");
    assert_eq!(answer.status, 500);
    assert_ne!(
        answer.header("content-type"),
        Some("text/html"),
        "HEAD tells of another body than GET"
    );
    // what is the client's fault is told in the service's own words
    connection.write(request("GET", "/o/other", &[], ""));
    let answer = connection.answer();
    assert_eq!((answer.status, answer.text().as_str()), (404, "no such vehicle"));
    let http2 = http::Request::head("https://api.example/o/head")
        .body(())
        .unwrap();
    let answer = h2::exchange(gateway.https, &gateway.authority, vec![(http2, Vec::new())]).remove(0);
    assert_eq!(answer.expect("the stream was reset").status, 500);
}

// S39: unless somebody says otherwise
#[test]
fn bodies_of_failures_pass_where_that_is_configured() {
    let origin = failing();
    let upstream = format!("{}, error_bodies: pass", targets(&[origin.address]));
    let gateway = Gateway::start(&config(&[("o", upstream)]));
    for path in ["/o/sized", "/o/chunked", "/o/closing"] {
        for answer in [
            gateway.client().get(path, &[]),
            h2_answer(&gateway, path).unwrap(),
        ] {
            assert!(answer.status >= 500);
            assert_eq!(answer.text(), "at Vehicle.java:42", "{path}");
        }
    }
}

// RFC 9110 section 15.2
#[test]
fn informational_answers_are_followed_by_the_real_one() {
    let origin = Origin::answering(|_| Reply {
        parts: vec![
            b"HTTP/1.1 103 Early Hints\r\nLink: </a.css>\r\nServer: internal-7\r\n\r\n".to_vec(),
            b"HTTP/1.1 103 Early Hints\r\nLink: </b.css>\r\n\r\n".to_vec(),
            b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nreal".to_vec(),
        ],
        delay: Duration::from_millis(20),
        close: false,
    });
    let gateway = Gateway::start(&config(&[("o", targets(&[origin.address]))]));
    let mut connection = gateway.client().connect();
    for _ in 0..3 {
        connection.write(request("GET", "/o", &[], ""));
        let answer = connection.answer();
        assert_eq!((answer.status, answer.text().as_str()), (200, "real"));
        let answer = h2_answer(&gateway, "/o").expect("the stream was reset");
        assert_eq!((answer.status, answer.text().as_str()), (200, "real"));
        assert_eq!(record(&gateway, &answer)["http.response.status_code"], 200);
    }
}

/// 5 MB that tell where each byte belongs.
fn pattern() -> Vec<u8> {
    (0..5_000_000_u32)
        .map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8)
        .collect()
}

// issue 2, item 9
#[test]
fn long_answers_and_long_requests_arrive_as_they_were_sent() {
    let origin = Origin::answering(|seen| {
        let body = if seen.body.is_empty() {
            pattern()
        } else {
            seen.body.clone()
        };
        if seen.target == "/o/sized" {
            let mut bytes = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len()).into_bytes();
            bytes.extend(body);
            return Reply::raw(bytes);
        }
        let mut parts = vec![b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n".to_vec()];
        for chunk in body.chunks(70_001) {
            let mut part = format!("{:x}\r\n", chunk.len()).into_bytes();
            part.extend(chunk);
            part.extend(b"\r\n");
            parts.push(part);
        }
        parts.push(b"0\r\n\r\n".to_vec());
        Reply {
            parts,
            delay: Duration::ZERO,
            close: false,
        }
    });
    let routes = config(&[("o", targets(&[origin.address]))]);
    let routes = routes.replace(
        "upstream: o }",
        "upstream: o, request: { max_body: 8mb, content_types: [application/octet-stream] } }",
    );
    let gateway = Gateway::start(&routes);
    let whole = pattern();
    let same = |body: &[u8], what: &str| assert!(body == whole, "{what}: {} bytes came", body.len());
    for path in ["/o/sized", "/o/chunked"] {
        same(&gateway.client().get(path, &[]).body, path);
        same(&h2_answer(&gateway, path).expect("reset").body, path);
        let post = http::Request::post(format!("https://api.example{path}"))
            .header("content-type", "application/octet-stream")
            .body(())
            .unwrap();
        let parts = whole.chunks(1 << 20).map(Bytes::copy_from_slice).collect();
        let answer = h2::exchange(gateway.https, &gateway.authority, vec![(post, parts)]).remove(0);
        same(&answer.expect("reset").body, "there and back");
    }
}

// a client that goes is no failure of the service
#[test]
fn a_client_that_goes_away_is_recorded_as_such_and_not_as_a_failure() {
    let origin = Origin::answering(|seen| {
        let mut parts = vec![b"HTTP/1.1 200 OK\r\nContent-Length: 100000000\r\n\r\n".to_vec()];
        if seen.target == "/o/before" {
            return Reply::ok().after(Duration::from_secs(2));
        }
        parts.extend((0..1000).map(|_| vec![b'x'; 100_000]));
        Reply {
            parts,
            delay: Duration::ZERO,
            close: false,
        }
    });
    let gateway = Gateway::start(&config(&[("o", targets(&[origin.address]))]));
    for path in ["/o/before", "/o/amid"] {
        let mut connection = gateway.client().connect();
        connection.write(request("GET", path, &[], ""));
        eventually("the origin was asked", || {
            origin.seen().iter().any(|one| one.target == path).then_some(())
        });
        drop(connection);
    }
    // while the body is sent
    let mut connection = gateway.client().connect();
    let half = "POST /o/half HTTP/1.1\r\nHost: api.example\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{";
    connection.write(half);
    eventually("the beginning is here", || {
        let metrics = gateway.admin("/metrics").text();
        metrics.contains("durward_body_memory_bytes 1\n").then_some(())
    });
    drop(connection);
    let mut outcomes = BTreeMap::new();
    for path in ["/o/before", "/o/amid", "/o/half"] {
        let record = last_record(&gateway, path);
        let status = record["http.response.status_code"].as_u64().unwrap_or_default();
        assert!(status < 500, "{path}: {record}");
        let reason = record["error.type"].as_str().unwrap_or_default();
        assert!(!reason.starts_with("upstream"), "{path}: {record}");
        outcomes.insert(path, (record["durward.outcome"].clone(), reason.to_owned()));
    }
    assert_eq!(outcomes["/o/before"], (json!("abort"), "aborted".to_owned()));
    assert_eq!(outcomes["/o/amid"], (json!("abort"), "aborted".to_owned()));
    let metrics = gateway.admin("/metrics").text();
    assert!(
        !metrics
            .lines()
            .any(|line| line.contains("response_status_code=\"5")),
        "{metrics}"
    );
}
