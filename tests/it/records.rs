//! What is told of a request: its record, and its place in a trace.

use serde_json::json;

use crate::smoke::routes;
use crate::support::{Gateway, Keys, Origin, eventually};

// S86
#[test]
fn a_trace_that_the_client_began_goes_on_through_the_gateway_into_the_record() {
    let (origin, keys) = (Origin::start(), Keys::new("k1"));
    let gateway = Gateway::start(&(keys.inline() + &routes(&origin)));
    let came = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    let headers = [("traceparent", came), ("tracestate", "vendor=1")];
    let answer = gateway.client().get("/healthz", &headers);
    let record = gateway.record(answer.header("x-request-id").unwrap());
    let seen = origin.only();
    let went = seen.header("traceparent").unwrap();
    let span = record["span_id"].as_str().unwrap();
    assert_eq!(record["trace_id"], "4bf92f3577b34da6a3ce929d0e0e4736");
    assert_eq!(went, format!("00-4bf92f3577b34da6a3ce929d0e0e4736-{span}-01"));
    assert_eq!(seen.header("tracestate"), Some("vendor=1"));
    assert_eq!(seen.header("x-request-id"), answer.header("x-request-id"));
}

// S86
#[test]
fn a_trace_begins_where_none_came_or_none_that_is_well_formed() {
    let (origin, keys) = (Origin::start(), Keys::new("k1"));
    let gateway = Gateway::start(&(keys.inline() + &routes(&origin)));
    for came in ["", "00-zz-zz-01"] {
        let headers = [("traceparent", came), ("tracestate", "vendor=1")];
        assert_eq!(gateway.client().get("/healthz", &headers).status, 200);
    }
    let seen = origin.seen();
    let traces: Vec<&str> = seen
        .iter()
        .map(|seen| &seen.header("traceparent").unwrap()[3..35])
        .collect();
    assert_ne!(traces[0], traces[1]);
    assert!(
        seen.iter().all(|seen| seen.header("tracestate").is_none()),
        "{seen:?}"
    );
}

// S83, S84: an allowed request, field by field
#[test]
fn the_record_of_an_allowed_request_has_the_fields_of_the_list_and_no_others() {
    let (origin, keys) = (Origin::start(), Keys::new("k1"));
    let gateway = Gateway::start(&(keys.inline() + &routes(&origin)));
    let answer = gateway
        .client()
        .get_with("/v1/vehicles/1HG/liens?secret=canary", &keys.token(json!({})));
    let record = gateway.record(answer.header("x-request-id").unwrap());
    let names: Vec<&str> = record.as_object().unwrap().keys().map(String::as_str).collect();
    let expected = [
        "client.address",
        "durward.client.id",
        "durward.config.hash",
        "durward.decision.id",
        "durward.duration",
        "durward.issuer",
        "durward.outcome",
        "durward.route.id",
        "durward.upstream",
        "http.request.body.size",
        "http.request.method",
        "http.response.body.size",
        "http.response.status_code",
        "http.route",
        "network.peer.address",
        "network.protocol.version",
        "server.address",
        "span_id",
        "timestamp",
        "tls.cipher",
        "tls.client.server_name",
        "tls.protocol.version",
        "trace_id",
        "url.path",
        "url.scheme",
        "user.id",
        "user.roles",
    ];
    assert_eq!(names, expected);
    assert_eq!(record["user.id"], "ada");
    assert!(!record.to_string().contains("canary"));
}

// S83: as logrotate does it
#[test]
fn a_file_that_was_moved_away_is_opened_anew_on_a_signal_and_no_record_is_lost() {
    let (origin, keys) = (Origin::start(), Keys::new("k1"));
    let gateway = Gateway::start(&(keys.inline() + &routes(&origin)));
    let (file, moved) = (
        gateway.folder.0.join("records.jsonl"),
        gateway.folder.0.join("records.1"),
    );
    let first = gateway.client().get("/healthz", &[]);
    gateway.record(first.header("x-request-id").unwrap());
    std::fs::rename(&file, &moved).unwrap();
    gateway.signal("USR1");
    eventually("the file is there again", || file.exists().then_some(()));
    let second = gateway.client().get("/healthz", &[]);
    gateway.record(second.header("x-request-id").unwrap());
    let lines = |path| std::fs::read_to_string(path).unwrap().lines().count();
    assert_eq!((lines(&moved), lines(&file)), (1, 1));
}
