//! What is told of a request: its record, and its place in a trace.

use serde_json::json;

use crate::smoke::routes;
use crate::support::gateway::check;
use crate::support::{Folder, Gateway, Keys, Origin, eventually};

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
        "tls.curve",
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

/// Summaries, and the records that are none.
fn told(gateway: &Gateway) -> (Vec<serde_json::Value>, Vec<serde_json::Value>) {
    let is_summary = |line: &serde_json::Value| line["durward.refusals.count"].is_u64();
    gateway.records().into_iter().partition(is_summary)
}

fn counted(summaries: &[serde_json::Value]) -> u64 {
    summaries
        .iter()
        .map(|line| line["durward.refusals.count"].as_u64().unwrap())
        .sum()
}

// S54, S83
#[test]
fn a_credential_that_is_refused_again_and_again_has_one_record_and_then_a_count_that_misses_none() {
    let (origin, keys) = (Origin::start(), Keys::new("k1"));
    let gateway = Gateway::with(&(keys.inline() + &routes(&origin)))
        .records("summary_interval: 1s")
        .start();
    let client = gateway.client();
    let path = "/v1/vehicles/1HG/liens";
    let expired = keys.token(json!({ "exp": 1_000_000_000 }));
    let ask = |token: &str, status: u16| {
        let answer = client.get_with(path, token);
        assert_eq!(answer.status, status);
        answer.header("x-request-id").unwrap().to_owned()
    };
    let first = ask(&expired, 401);
    let record = gateway.record(&first);
    for _ in 0..20 {
        ask(&expired, 401);
    }
    let (summaries, _) = eventually("the summaries tell of all", || {
        Some(told(&gateway)).filter(|(summaries, _)| counted(summaries) == 20)
    });
    let summary = &summaries[0];
    assert_eq!(summary["durward.refusals.recorded"], first.as_str());
    assert!(summary["durward.refusals.first"].as_str() <= summary["durward.refusals.last"].as_str());
    for field in [
        "durward.credential.id",
        "http.route",
        "durward.route.id",
        "http.response.status_code",
        "client.address",
        "durward.outcome",
        "security_rule.name",
        "error.type",
        "durward.config.hash",
    ] {
        assert!(!summary[field].is_null(), "{field}");
        assert_eq!(summary[field], record[field], "{field}");
    }
    let id = summary["durward.credential.id"].as_str().unwrap();
    assert!(
        id.len() == 16 && id.bytes().all(|byte| byte.is_ascii_hexdigit()),
        "{id}"
    );

    // metrics count each, and a scope that is missing is one credential's too
    ask(&keys.token(json!({ "scope": "none" })), 403);
    let metrics = gateway.admin("/metrics").text();
    let decisions: Vec<&str> = metrics
        .lines()
        .filter(|line| line.contains("token_expired"))
        .collect();
    assert!(
        decisions
            .iter()
            .any(|line| line.starts_with("durward_decisions_total") && line.ends_with(" 21"))
    );
    assert!(
        metrics.contains("\ndurward_records_summarised_total 20\n"),
        "{metrics}"
    );
    // what is not of the credential, or without one, has its record as ever
    for _ in 0..3 {
        ask(&keys.token(json!({ "sub": "bob" })), 200);
        assert_eq!(client.get(path, &[]).status, 401);
    }
    eventually("a record for each", || {
        (told(&gateway).1.len() == 8).then_some(())
    });
    assert_eq!(counted(&told(&gateway).0), 20);
}

// S54, S83: neither a reload nor the end of the process loses what was counted
#[test]
fn what_was_counted_outlives_a_reload_and_is_told_at_the_end() {
    let (origin, keys) = (Origin::start(), Keys::new("k1"));
    let server = "server: { drain_seconds: 0, grace_period_seconds: 0 }\n";
    let mut gateway = Gateway::with(&(server.to_owned() + &keys.inline() + &routes(&origin)))
        .records("summary_interval: 1h")
        .start();
    let client = gateway.client();
    let ask = || assert_eq!(client.get_with("/v1/vehicles/1HG/liens", "a.b.c").status, 401);
    for _ in 0..5 {
        ask();
    }
    let before = gateway.admin("/config/status").json()["running"]["hash"].clone();
    let file = std::fs::read_to_string(gateway.folder.0.join("durward.yaml")).unwrap();
    gateway.folder.write("durward.yaml", file + "# changed\n");
    gateway.signal("HUP");
    eventually("the reload", || {
        let status = gateway.admin("/config/status").json();
        (status["running"]["hash"] != before).then_some(())
    });
    for _ in 0..5 {
        ask();
    }
    gateway.stop();
    let (summaries, records) = told(&gateway);
    assert_eq!((records.len(), summaries.len(), counted(&summaries)), (1, 1, 9));
}

// S83: an auditor may ask that nothing passes unrecorded
#[test]
fn nothing_reaches_a_service_unrecorded_where_that_was_asked_for() {
    let (origin, keys) = (Origin::start(), Keys::new("k1"));
    // the sink is full, and then somebody makes room
    let start = Gateway::with(&(keys.inline() + &routes(&origin))).records("queue: 3, when_full: refuse");
    let link = start.path("records.jsonl");
    std::os::unix::fs::symlink("/dev/full", &link).unwrap();
    let gateway = start.start();
    let client = gateway.client();
    let answers: Vec<_> = (0..6).map(|_| client.get("/healthz", &[])).collect();
    let statuses: Vec<u16> = answers.iter().map(|answer| answer.status).collect();
    assert_eq!(statuses, [200, 200, 200, 503, 503, 503]);
    assert_eq!(
        (answers[5].code().as_str(), answers[5].header("retry-after")),
        ("records_full", Some("1"))
    );
    assert_eq!(origin.seen().len(), 3);
    let failing = gateway.admin("/readyz");
    assert_eq!(
        (failing.status, &failing.json()["failing"][0]["dependency"]),
        (503, &json!("records"))
    );
    let metrics = gateway.admin("/metrics").text();
    assert!(metrics.contains("\ndurward_records_failing 1\n"), "{metrics}");
    // a request is counted once it is over, which the client's answer does not wait for
    eventually("all three refusals are counted", || {
        let metrics = gateway.admin("/metrics").text();
        let refused = "gate=\"records\",outcome=\"deny\",reason=\"records_full\",route=\"\"} 3\n";
        metrics.contains(refused).then_some(())
    });

    std::fs::remove_file(&link).unwrap();
    gateway.signal("USR1");
    eventually("it is ready", || {
        (gateway.admin("/readyz").status == 200).then_some(())
    });
    assert_eq!(client.get("/healthz", &[]).status, 200);
    eventually(
        "all that reached the service is recorded, and nothing twice",
        || {
            let records = gateway.records();
            let allowed = records
                .iter()
                .filter(|record| record["durward.outcome"] == "allow");
            (allowed.count() == 4).then_some(())
        },
    );
    assert_eq!(origin.seen().len(), 4);
}

#[test]
fn nothing_can_be_full_where_nothing_is_recorded() {
    let folder = Folder::new();
    let (good, said) = check(
        &folder,
        "version: 1\nrecords: { to: off, when_full: refuse }\n\
         listeners: [{ address: \"127.0.0.1:1\", plaintext: { reason: test } }]\n\
         routes: [{ match: { methods: [GET], path: / }, public: { reason: a, owner: b }, respond: 200 }]\n",
    );
    assert!(!good && said.contains("records.when_full"), "{said}");
}
