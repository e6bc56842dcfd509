//! WebSockets, event streams, and other answers without an end in sight: how they begin, and what ends them.

use std::time::{Duration, Instant};

use serde_json::json;

use crate::support::client::Connection;
use crate::support::gateway::is_gone;
use crate::support::issuer::now;
use crate::support::ws::{Frame, KEY, WebSockets};
use crate::support::{Gateway, Keys, Origin, Reply, eventually, h2};

/// A gateway in front of WebSockets and of an origin of streams. Tokens are good until the very second that they say.
fn start(sockets: &WebSockets, streams: &Origin, keys: &Keys) -> Gateway {
    start_with(sockets, streams, keys, "")
}

fn start_with(sockets: &WebSockets, streams: &Origin, keys: &Keys, more: &str) -> Gateway {
    let route = |path: &str, rules: &str| {
        format!("\x20 - {{ match: {{ methods: [GET, POST], path: \"{path}\" }}, {rules} }}\n")
    };
    let public = "public: { reason: test, owner: test }";
    let routes = [
        route(
            "/{path}",
            &format!("{public}, upstream: sockets, websocket: {{ idle: 2s, total: 5s }}"),
        ),
        route(
            "/token/{path}",
            "auth: { jwt: main }, upstream: sockets, websocket: {}",
        ),
        route(
            "/page/{path}",
            &format!("{public}, upstream: sockets, websocket: {{ origins: [\"https://app.example\"] }}"),
        ),
        route("/streams/{path}", "auth: { jwt: main }, upstream: streams"),
        route("/plain/{path}", &format!("{public}, upstream: streams")),
    ];
    Gateway::start(&format!(
        "{more}{}upstreams:\n  sockets: {{ targets: [\"{}\"] }}\n  streams: {{ targets: [\"{}\"] }}\nroutes:\n{}",
        keys.inline().replace("jwks:", "clock_skew: 0s, jwks:"),
        sockets.address,
        streams.address,
        routes.concat()
    ))
}

/// An origin that answers with a part every tenth of a second, 300 times; `/streams/events` as an event stream.
fn streaming() -> Origin {
    Origin::answering(|seen| {
        let kind = if seen.target.ends_with("events") {
            "text/event-stream"
        } else {
            "text/csv"
        };
        let mut parts = vec![
            format!("HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\nTransfer-Encoding: chunked\r\n\r\n")
                .into_bytes(),
        ];
        parts.extend((0..300).map(|n| format!("d\r\ndata: {n:05}\n\n\r\n").into_bytes()));
        parts.push(b"0\r\n\r\n".to_vec());
        Reply {
            parts,
            delay: Duration::from_millis(100),
            close: false,
        }
    })
}

fn bearer(keys: &Keys, lifetime: u64) -> String {
    format!("Bearer {}", keys.token(json!({ "exp": now() + lifetime })))
}

fn open(gateway: &Gateway, path: &str, headers: &[(&str, &str)]) -> Connection {
    let mut connection = gateway.client().connect();
    connection.upgrade(path, headers);
    let head = connection.head();
    assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
    connection
}

/// The record of the only request of a gateway.
fn only_record(gateway: &Gateway) -> serde_json::Value {
    let mut records = eventually("the record", || {
        Some(gateway.records()).filter(|all| !all.is_empty())
    });
    assert_eq!(records.len(), 1);
    records.remove(0)
}

#[test]
fn frames_pass_in_both_directions_and_their_bytes_are_counted() {
    let (sockets, streams, keys) = (WebSockets::start(), Origin::start(), Keys::new("k1"));
    let gateway = start(&sockets, &streams, &keys);
    let mut connection = gateway.client().connect();
    let bearer = bearer(&keys, 60);
    connection.upgrade(
        "/token/a",
        &[
            ("Authorization", &bearer),
            ("X-User-Id", "eve"),
            ("Sec-WebSocket-Protocol", "v1"),
        ],
    );
    let head = connection.head().to_ascii_lowercase();
    for expected in [
        "http/1.1 101 ",
        "\r\nupgrade: websocket\r\n",
        "\r\nconnection: upgrade\r\n",
        "\r\nsec-websocket-accept: s3pplmbitxaq9kygzzhzrbk+xoo=\r\n",
        "\r\nx-request-id: ",
        "\r\nstrict-transport-security: ",
    ] {
        assert!(head.contains(expected), "{expected}: {head}");
    }
    assert!(!head.contains("secret/1.0"), "{head}");
    // an identity like any other request's
    let asked = sockets.heard().heads[0].to_ascii_lowercase();
    assert!(
        asked.contains("\r\nx-user-id: ada\r\n") && !asked.contains(": eve\r\n"),
        "{asked}"
    );
    assert!(asked.contains("\r\nsec-websocket-protocol: v1\r\n"), "{asked}");
    eventually("it is counted as open", || {
        let metrics = gateway.admin("/metrics").text();
        metrics
            .contains("durward_streams_open{kind=\"websocket\"} 1\n")
            .then_some(())
    });
    for size in [0, 1, 125, 126, 70_000, 1 << 20] {
        let frame = Frame {
            opcode: 2,
            payload: vec![7; size],
        };
        connection.send(&frame);
        assert_eq!(connection.frame().unwrap(), frame);
    }
    connection.send(&Frame::close(1000));
    assert_eq!(connection.frame().unwrap().code(), Some(1000));
    drop(connection);
    let record = only_record(&gateway);
    assert_eq!(
        (
            &record["durward.outcome"],
            &record["http.response.status_code"],
            &record["user.id"]
        ),
        (&json!("allow"), &json!(101), &json!("ada")),
        "{record}"
    );
    for field in ["http.request.body.size", "http.response.body.size"] {
        assert!(
            record[field].as_u64().unwrap() > (1 << 20) + 70_000,
            "{field}: {record}"
        );
    }
    assert!(
        ["client", "upstream"].contains(&record["durward.closed"].as_str().unwrap()),
        "{record}"
    );
    let metrics = gateway.admin("/metrics").text();
    assert!(
        metrics.contains("durward_streams_open{kind=\"websocket\"} 0\n"),
        "{metrics}"
    );
    assert!(
        metrics.contains("durward_streams_ended_total{kind=\"websocket\",reason="),
        "{metrics}"
    );
}

#[test]
fn an_upgrade_is_refused_unless_it_is_a_handshake_on_a_route_that_takes_one() {
    let (sockets, streams, keys) = (WebSockets::start(), Origin::start(), Keys::new("k1"));
    let gateway = start(&sockets, &streams, &keys);
    let (key, version) = (
        format!("Sec-WebSocket-Key: {KEY}\r\n"),
        "Sec-WebSocket-Version: 13\r\n",
    );
    let both = "Connection: Upgrade\r\nUpgrade: websocket\r\n";
    for (line, headers, status, code) in [
        (
            "GET /plain/a",
            format!("{both}{key}{version}"),
            400,
            "upgrade_not_taken",
        ),
        (
            "GET /plain/a",
            "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n".into(),
            400,
            "upgrade_not_taken",
        ),
        (
            "GET /a",
            format!("Connection: Upgrade\r\nUpgrade: h2c\r\n{key}{version}"),
            400,
            "websocket_handshake",
        ),
        (
            "GET /a",
            format!("Connection: Upgrade\r\nUpgrade: websocket, h2c\r\n{key}{version}"),
            400,
            "websocket_handshake",
        ),
        (
            "GET /a",
            format!("{both}Upgrade: h2c\r\n{key}{version}"),
            400,
            "websocket_handshake",
        ),
        (
            "GET /a",
            format!("Upgrade: websocket\r\n{key}{version}"),
            400,
            "websocket_handshake",
        ),
        ("GET /a", format!("{both}{version}"), 400, "websocket_handshake"),
        (
            "GET /a",
            format!("{both}{key}{key}{version}"),
            400,
            "websocket_handshake",
        ),
        (
            "GET /a",
            format!("{both}Sec-WebSocket-Key: c2hvcnQ=\r\n{version}"),
            400,
            "websocket_handshake",
        ),
        (
            "GET /a",
            format!("{both}{key}{version}Content-Type: application/json\r\nContent-Length: 2\r\n"),
            400,
            "websocket_handshake",
        ),
        (
            "POST /a",
            format!("{both}{key}{version}"),
            400,
            "websocket_handshake",
        ),
        ("GET /a", format!("{both}{key}"), 426, "websocket_version"),
        (
            "GET /a",
            format!("{both}{key}Sec-WebSocket-Version: 8\r\n"),
            426,
            "websocket_version",
        ),
        (
            "GET /token/a",
            format!("{both}{key}{version}"),
            401,
            "credentials_missing",
        ),
        (
            "GET /page/a",
            format!("{both}{key}{version}"),
            403,
            "websocket_origin",
        ),
        (
            "GET /page/a",
            format!("{both}{key}{version}Origin: https://app.example.evil\r\n"),
            403,
            "websocket_origin",
        ),
        (
            "GET /page/a",
            format!("{both}{key}{version}Origin: null\r\n"),
            403,
            "websocket_origin",
        ),
    ] {
        let mut connection = gateway.client().connect();
        connection.write(format!("{line} HTTP/1.1\r\nHost: api.example\r\n{headers}\r\n"));
        let answer = connection.answer();
        assert_eq!(
            (answer.status, answer.code().as_str()),
            (status, code),
            "{line}\n{headers}"
        );
        if status == 426 {
            assert_eq!(answer.header("sec-websocket-version"), Some("13"));
            assert_eq!(answer.header("upgrade"), Some("websocket"));
        }
    }
    assert!(sockets.heard().heads.is_empty());
    assert_eq!(streams.connections(), 0);
    // and what is left of the route without an upgrade is a route
    assert_eq!(gateway.client().get("/a", &[]).status, 403);
    drop(open(&gateway, "/page/a", &[("Origin", "https://app.example")]));
}

#[test]
fn nothing_begins_that_the_upstream_has_not_accepted() {
    let (sockets, streams, keys) = (WebSockets::start(), Origin::start(), Keys::new("k1"));
    let gateway = start(&sockets, &streams, &keys);
    let mut connection = gateway.client().connect();
    connection.upgrade("/wrong", &[]);
    let answer = connection.answer();
    assert_eq!(
        (answer.status, answer.code().as_str()),
        (502, "upstream_unavailable")
    );
    let mut connection = gateway.client().connect();
    connection.upgrade("/no", &[]);
    assert_eq!(connection.answer().status, 403);
    // an upstream that switches without being asked to
    let eager = Origin::answering(|_| {
        Reply::raw("HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n")
    });
    let gateway = start(&sockets, &eager, &keys);
    let answer = gateway.client().get("/plain/a", &[]);
    assert_eq!(
        (answer.status, answer.code().as_str()),
        (502, "upstream_unavailable")
    );
}

// U25, M11
#[test]
fn a_websocket_ends_when_its_token_does_and_others_go_on() {
    let (sockets, streams, keys) = (WebSockets::start(), Origin::start(), Keys::new("k1"));
    let gateway = start(&sockets, &streams, &keys);
    let (short, long) = (bearer(&keys, 3), bearer(&keys, 600));
    let begun = now();
    let mut ends = open(&gateway, "/token/a", &[("Authorization", &short)]);
    let mut cut = open(&gateway, "/token/half", &[("Authorization", &short)]);
    let mut goes_on = open(&gateway, "/token/a", &[("Authorization", &long)]);
    ends.send(&Frame::text("while it is good"));
    assert_eq!(ends.frame().unwrap(), Frame::text("while it is good"));
    // a goodbye that can be heard
    let goodbye = ends.frame().unwrap();
    assert_eq!(
        (goodbye.code(), &goodbye.payload[2..]),
        (Some(1008), &b"token_expired"[..])
    );
    assert!((2..=4).contains(&(now() - begun)), "after {} s", now() - begun);
    ends.send(&Frame::close(1008));
    assert_eq!(ends.frame(), None);
    eventually("the upstream is told too", || {
        sockets.heard().ends.contains(&Some(1008)).then_some(())
    });
    // in the middle of a frame there is none
    assert_eq!(cut.rest(), [0x81, 10, b'h', b'a', b'l', b'f']);
    let records = eventually("two records", || {
        Some(gateway.records()).filter(|all| all.len() == 2)
    });
    for record in records {
        assert_eq!(
            (&record["durward.closed"], &record["durward.outcome"]),
            (&json!("token_expired"), &json!("allow")),
            "{record}"
        );
    }
    goes_on.send(&Frame::text("still here"));
    assert_eq!(goes_on.frame().unwrap(), Frame::text("still here"));
}

// U25
#[test]
fn what_a_client_says_after_the_end_of_its_token_does_not_arrive() {
    let (sockets, streams, keys) = (WebSockets::start(), Origin::start(), Keys::new("k1"));
    let gateway = start(&sockets, &streams, &keys);
    let mut connection = open(&gateway, "/token/a", &[("Authorization", &bearer(&keys, 2))]);
    assert_eq!(connection.frame().unwrap().code(), Some(1008));
    connection.send(&Frame::text("too late"));
    assert_eq!(connection.frame(), None);
    assert!(["token_expired"].contains(&only_record(&gateway)["durward.closed"].as_str().unwrap()));
}

#[test]
fn a_websocket_ends_after_silence_and_after_its_longest_time() {
    let (sockets, streams, keys) = (WebSockets::start(), Origin::start(), Keys::new("k1"));
    let gateway = start(&sockets, &streams, &keys);
    let begun = Instant::now();
    let mut silent = open(&gateway, "/a", &[]);
    let goodbye = silent.frame().unwrap();
    assert_eq!(
        (goodbye.code(), &goodbye.payload[2..]),
        (Some(1001), &b"idle"[..])
    );
    assert!(
        (1900..3500).contains(&begun.elapsed().as_millis()),
        "{:?}",
        begun.elapsed()
    );

    // one side that speaks is enough, and not for ever
    let begun = Instant::now();
    let mut talking = open(&gateway, "/mute", &[]);
    talking.patience(Duration::from_millis(500));
    let goodbye = loop {
        talking.send(&Frame::text("."));
        if let Some(frame) = talking.frame() {
            break frame;
        }
        assert!(begun.elapsed() < Duration::from_secs(8), "never ended");
    };
    assert_eq!(
        (goodbye.code(), &goodbye.payload[2..]),
        (Some(1001), &b"total"[..])
    );
    assert!(
        (4900..6500).contains(&begun.elapsed().as_millis()),
        "{:?}",
        begun.elapsed()
    );
}

// U25, M11
#[test]
fn an_event_stream_ends_cleanly_with_its_token_and_any_other_answer_is_cut_off() {
    let (sockets, streams, keys) = (WebSockets::start(), streaming(), Keys::new("k1"));
    let gateway = start(&sockets, &streams, &keys);
    let bearer = bearer(&keys, 3);
    let get = |path: &str| {
        let mut connection = gateway.client().connect();
        connection.write(format!(
            "GET {path} HTTP/1.1\r\nHost: api.example\r\nAuthorization: {bearer}\r\n\r\n"
        ));
        connection
    };
    let (mut events, mut table) = (get("/streams/events"), get("/streams/table"));
    let rest = String::from_utf8(events.rest()).unwrap();
    assert!(rest.contains("data: 00005\n\n"), "{rest}");
    assert!(rest.ends_with("0\r\n\r\n"), "{rest}");
    assert!(!rest.contains("data: 00040"), "{rest}");
    let rest = String::from_utf8(table.rest()).unwrap();
    assert!(
        rest.contains("data: 00005\n\n") && !rest.contains("data: 00040"),
        "{rest}"
    );
    assert!(!rest.ends_with("0\r\n\r\n"), "it looks whole: {rest}");
    let records = eventually("two records", || {
        Some(gateway.records()).filter(|all| all.len() == 2)
    });
    for record in records {
        assert_eq!(record["durward.closed"], "token_expired", "{record}");
        let is_events = record["url.path"] == "/streams/events";
        let expected = if is_events {
            (json!("allow"), json!(null))
        } else {
            (json!("deny"), json!("token_expired"))
        };
        assert_eq!(
            (&record["durward.outcome"], &record["error.type"]),
            (&expected.0, &expected.1),
            "{record}"
        );
    }
}

// U25, M11
#[test]
fn the_same_over_http2() {
    let (sockets, streams, keys) = (WebSockets::start(), streaming(), Keys::new("k1"));
    let gateway = start(&sockets, &streams, &keys);
    let bearer = bearer(&keys, 3);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let (mut client, _driver) = h2::connect(gateway.https, &gateway.authority).await;
        for (path, is_clean) in [("events", true), ("table", false)] {
            let request = http::Request::get(format!("https://api.example/streams/{path}"));
            let request = request.header("authorization", &bearer).body(()).unwrap();
            if !is_clean {
                // the first has ended with the token
                let (answer, _) = client.send_request(request, true).unwrap();
                assert_eq!(answer.await.unwrap().status(), 401);
                continue;
            }
            let (answer, _) = client.send_request(request, true).unwrap();
            let mut body = answer.await.unwrap().into_body();
            let mut text = Vec::new();
            while let Some(part) = body.data().await {
                let part = part.expect("an event stream ends cleanly");
                body.flow_control().release_capacity(part.len()).unwrap();
                text.extend_from_slice(&part);
            }
            assert!(text.len() > 100 && text.len() < 700, "{}", text.len());
        }
        let fresh = format!("Bearer {}", keys.token(json!({ "exp": now() + 2 })));
        let request = http::Request::get("https://api.example/streams/table").header("authorization", fresh);
        let (answer, _) = client.send_request(request.body(()).unwrap(), true).unwrap();
        let mut body = answer.await.unwrap().into_body();
        let end = loop {
            match body.data().await {
                Some(Ok(part)) => body.flow_control().release_capacity(part.len()).unwrap(),
                other => break other,
            }
        };
        assert!(matches!(end, Some(Err(_))), "it looks whole");
    });
}

// U12
#[test]
fn a_reload_leaves_streams_alone_and_an_upgrade_ends_them_with_a_word() {
    let (sockets, streams, keys) = (WebSockets::start(), streaming(), Keys::new("k1"));
    let server = "server: { state_dir: state, drain_seconds: 0, grace_period_seconds: 20 }\n";
    let gateway = start_with(&sockets, &streams, &keys, server);
    let long = bearer(&keys, 600);
    let websockets = |count: usize| -> Vec<Connection> {
        (0..count)
            .map(|_| open(&gateway, "/token/a", &[("Authorization", &long)]))
            .collect()
    };
    let echo = |socket: &mut Connection| {
        socket.send(&Frame::text("here"));
        assert_eq!(socket.frame(), Some(Frame::text("here")));
    };
    let events = || {
        let mut connection = gateway.client().connect();
        connection.write(format!(
            "GET /streams/events HTTP/1.1\r\nHost: api.example\r\nAuthorization: {long}\r\n\r\n"
        ));
        assert!(connection.head().starts_with("HTTP/1.1 200 "));
        connection
    };
    let (mut old, mut old_events) = (websockets(10), events());
    let serving = gateway.serving().unwrap();
    let file = gateway.folder.0.join("durward.yaml");
    for reload in 0..3 {
        let before = gateway.admin("/config/status").json()["running"]["hash"].clone();
        let text = std::fs::read_to_string(&file).unwrap();
        gateway
            .folder
            .write("durward.yaml", format!("{text}# {reload}\n"));
        gateway.signal("HUP");
        eventually("the reload", || {
            Some(gateway.admin("/config/status").json()).filter(|status| status["running"]["hash"] != before)
        });
        old.iter_mut().for_each(echo);
    }
    let output = gateway.command("upgrade").output().unwrap();
    assert!(
        output.status.success(),
        "{}{}",
        String::from_utf8_lossy(&output.stderr),
        gateway.messages()
    );
    assert_ne!(gateway.serving().unwrap(), serving);
    // the old streams end by announcement
    for mut socket in old {
        let goodbye = socket.frame().expect("dropped without a word");
        assert_eq!(
            (goodbye.code(), &goodbye.payload[2..]),
            (Some(1001), &b"draining"[..])
        );
        socket.send(&Frame::close(1001));
        assert_eq!(socket.frame(), None);
    }
    let rest = String::from_utf8(old_events.rest()).unwrap();
    assert!(rest.ends_with("\r\n0\r\n\r\n"), "{rest}");
    eventually("the old process is gone", || is_gone(serving).then_some(()));
    // and the new process serves
    let (mut new, mut new_events) = (websockets(10), events());
    new.iter_mut().for_each(echo);
    assert!(new_events.bytes(100).len() == 100);
    let ended: Vec<_> = gateway
        .records()
        .iter()
        .map(|record| record["durward.closed"].clone())
        .collect();
    assert_eq!(ended, vec![json!("draining"); 11]);
}

// U12
#[test]
fn the_end_of_the_process_ends_streams_with_a_word() {
    let (sockets, streams, keys) = (WebSockets::start(), streaming(), Keys::new("k1"));
    let gateway = start_with(
        &sockets,
        &streams,
        &keys,
        "server: { drain_seconds: 1, grace_period_seconds: 20 }\n",
    );
    let long = bearer(&keys, 600);
    let mut socket = open(&gateway, "/token/a", &[("Authorization", &long)]);
    let begun = Instant::now();
    gateway.signal("TERM");
    socket.send(&Frame::text("while others leave"));
    assert_eq!(socket.frame(), Some(Frame::text("while others leave")));
    let goodbye = socket.frame().unwrap();
    assert_eq!(
        (goodbye.code(), &goodbye.payload[2..]),
        (Some(1001), &b"draining"[..])
    );
    assert!(
        begun.elapsed() >= Duration::from_millis(900),
        "{:?}",
        begun.elapsed()
    );
    drop(socket);
    eventually("the process is gone", || gateway.has_ended().then_some(()));
}
