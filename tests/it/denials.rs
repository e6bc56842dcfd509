//! How the gateway says no: what clients are told, what is kept to itself, and what is recorded (U7, U22).

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::{Value, json};

use crate::support::client::request;
use crate::support::{Answer, Gateway, Issuer, Keys, Origin, Reply, eventually, free_address, h2};

/// An origin with a mind of its own, an issuer without keys, an upstream that nobody listens for.
struct House {
    keys: Keys,
    gateway: Gateway,
}

impl House {
    fn new() -> House {
        let origin = Origin::answering(|seen| match seen.target.split('?').next().unwrap() {
            "/fails" => Reply::new(
                500,
                &[("Server", "Secret/1.0"), ("X-Powered-By", "Secret")],
                "stack trace of Secret",
            ),
            "/garbage" => Reply::raw("this is not HTTP\r\n\r\n").closing(),
            "/slow" => Reply::ok().after(Duration::from_secs(3)),
            "/long" => Reply::raw(format!(
                "HTTP/1.1 200 OK\r\nContent-Length: 100000000\r\n\r\n{}",
                "x".repeat(100_000)
            )),
            _ => Reply::new(
                200,
                &[("Server", "Secret/1.0"), ("X-Powered-By", "Secret")],
                "fine",
            ),
        });
        let keys = Keys::new("k1");
        let issuer = Issuer::start("");
        issuer.answer(|| Reply::new(500, &[], ""));
        let public = |path: &str, upstream: &str| {
            format!(
                "\x20 - match: {{ methods: [GET, HEAD, POST], path: \"{path}\" }}\n\
                 \x20   public: {{ reason: test, owner: test }}\n\
                 \x20   upstream: {upstream}\n"
            )
        };
        let body = format!(
            "{}\x20 absent: {{ issuer: \"https://absent.example/\", audiences: [vehicle-api], jwks: {{ url: \"http://{}/jwks.json\" }} }}\n\
             roles:\n  clerk: [clerk]\n  chief: [chief]\n\
             upstreams:\n\
             \x20 origin: {{ targets: [\"{}\"], timeouts: {{ read: 1s }} }}\n\
             \x20 nobody: {{ targets: [\"{}\"] }}\n\
             routes:\n{}\
             \x20 - match: {{ methods: [GET, HEAD, POST], path: \"/scope/{{x*}}\" }}\n    auth: {{ jwt: main, scopes: [\"read:lien_info\"] }}\n    upstream: origin\n\
             \x20 - match: {{ methods: [GET], path: /role }}\n    auth: {{ jwt: main, roles: [chief] }}\n    upstream: origin\n\
             \x20 - match: {{ methods: [GET], path: /absent }}\n    auth: {{ jwt: absent }}\n    upstream: origin\n",
            keys.inline(),
            issuer.address,
            origin.address,
            free_address(),
            [
                public("/open/{x*}", "origin"),
                public("/fails", "origin"),
                public("/garbage", "origin"),
                public("/slow", "origin"),
                public("/long", "origin"),
                public("/nobody", "nobody")
            ]
            .concat(),
        );
        let gateway = Gateway::start(&body);
        House { keys, gateway }
    }

    /// A request for each denial that a client can bring about: status, gate, reason and code.
    fn denials(&self) -> Vec<(String, u16, &'static str, &'static str, &'static str)> {
        let bearer = |changes: Value| format!("Authorization: Bearer {}\r\n", self.keys.token(changes));
        let get = |path: &str, headers: &str| {
            format!(
                "GET {path} HTTP/1.1\r\nHost: api.example\r\nX-Canary: CANARY\r\nCookie: CANARY=1\r\n{headers}\r\n"
            )
        };
        let post = |path: &str, headers: &str| {
            format!(
                "POST {path}?CANARY=1 HTTP/1.1\r\nHost: api.example\r\nX-Canary: CANARY\r\n{headers}Content-Length: 8\r\n\r\n\"CANARY\""
            )
        };
        let absent = self.keys.token(json!({ "iss": "https://absent.example/" }));
        vec![
            (
                get("/CANARY/../x", ""),
                400,
                "head",
                "path_dot_segment",
                "request_malformed",
            ),
            (
                get("/CANARY%2f", ""),
                400,
                "head",
                "path_encoded_syntax",
                "request_malformed",
            ),
            (
                get("/open/x", "Connection: Host\r\n"),
                400,
                "head",
                "connection_nomination",
                "request_malformed",
            ),
            (
                "TRACE /CANARY HTTP/1.1\r\nHost: api.example\r\n\r\n".to_owned(),
                405,
                "head",
                "method_forbidden",
                "method_not_allowed",
            ),
            (
                get("/CANARY?CANARY", ""),
                404,
                "route",
                "route_unknown",
                "route_unknown",
            ),
            (
                "CANARY /open/x HTTP/1.1\r\nHost: api.example\r\n\r\n".to_owned(),
                405,
                "route",
                "method_not_allowed",
                "method_not_allowed",
            ),
            (
                get("/scope/CANARY", ""),
                401,
                "authn",
                "credentials_missing",
                "credentials_missing",
            ),
            (
                get("/scope/CANARY", "Authorization: Basic CANARY\r\n"),
                401,
                "authn",
                "credentials_missing",
                "credentials_missing",
            ),
            (
                get("/scope/CANARY", "Authorization: Bearer CANARY.CANARY.CANARY\r\n"),
                401,
                "authn",
                "token_malformed",
                "invalid_token",
            ),
            (
                get("/scope/CANARY", &bearer(json!({ "exp": 1 }))),
                401,
                "authn",
                "token_expired",
                "token_expired",
            ),
            (
                get("/scope/CANARY", &bearer(json!({ "iss": "https://CANARY/" }))),
                401,
                "authn",
                "issuer_unknown",
                "invalid_token",
            ),
            (
                get("/scope/CANARY", &bearer(json!({ "scope": "CANARY" }))),
                403,
                "authz",
                "scope_missing",
                "insufficient_scope",
            ),
            (
                get("/role", &bearer(json!({ "roles": ["CANARY"] }))),
                403,
                "authz",
                "role_missing",
                "insufficient_role",
            ),
            (
                get("/absent", &format!("Authorization: Bearer {absent}\r\n")),
                503,
                "authn",
                "identity_provider_unavailable",
                "identity_provider_unavailable",
            ),
            (
                post("/open/CANARY", "Content-Type: canary/canary\r\n"),
                415,
                "content",
                "content_type_not_allowed",
                "content_type_not_allowed",
            ),
            (
                post("/open/CANARY", "Content-Type: CANARY\r\n"),
                415,
                "content",
                "content_type_malformed",
                "content_type_malformed",
            ),
            (
                post("/open/CANARY", ""),
                415,
                "content",
                "content_type_missing",
                "content_type_missing",
            ),
            (
                get(
                    "/open/CANARY",
                    "Content-Type: application/json\r\nContent-Length: 1048577\r\n",
                ),
                413,
                "content",
                "body_too_large",
                "body_too_large",
            ),
            (
                get("/nobody?CANARY", ""),
                502,
                "upstream",
                "upstream_connect_failed",
                "upstream_unavailable",
            ),
            (
                get("/garbage?CANARY", ""),
                502,
                "upstream",
                "upstream_malformed",
                "upstream_unavailable",
            ),
            (
                get("/slow?CANARY", ""),
                504,
                "upstream",
                "upstream_timeout",
                "upstream_timeout",
            ),
        ]
    }
}

/// RFC 9457, and nothing that helps an attacker.
fn is_a_problem(answer: &Answer, status: u16, code: &str) {
    assert_eq!((answer.status, answer.code().as_str()), (status, code));
    let document = answer.json();
    let members: BTreeSet<&str> = document.as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!(
        members,
        BTreeSet::from(["type", "title", "status", "detail", "instance", "code"])
    );
    assert_eq!(document["status"], status);
    assert_eq!(document["type"], format!("urn:durward:problem:{code}"));
    assert!(document["title"].as_str().is_some_and(|title| !title.is_empty()));
    assert!(
        document["detail"]
            .as_str()
            .is_some_and(|detail| !detail.is_empty())
    );
    let id = answer.header("x-request-id").unwrap();
    assert_eq!(document["instance"], format!("urn:uuid:{id}"));
    assert_eq!(
        answer.header("content-length"),
        Some(answer.body.len().to_string().as_str())
    );
    assert_eq!(answer.header("cache-control"), Some("no-store"));
    assert_eq!(answer.header("x-content-type-options"), Some("nosniff"));
    tells_nothing(answer);
    // each of these headers where it is due, and only there
    let challenge = answer.header("www-authenticate");
    assert_eq!(
        challenge.is_some(),
        status == 401 || code == "insufficient_scope",
        "{challenge:?}"
    );
    assert!(challenge.is_none_or(|challenge| challenge.starts_with("Bearer realm=")));
    assert_eq!(answer.header("allow").is_some(), status == 405);
    let retry = answer.header("retry-after");
    assert_eq!(retry.is_some(), status == 503);
    assert!(retry.is_none_or(|seconds| seconds.parse::<u64>().is_ok_and(|seconds| seconds > 0)));
}

/// Neither about the gateway nor about the request.
fn tells_nothing(answer: &Answer) {
    for name in ["server", "x-powered-by"] {
        assert_eq!(answer.header(name), None);
    }
    let all = format!("{:?} {}", answer.headers, answer.text()).to_ascii_lowercase();
    for word in ["canary", "secret", "pingora", "127.0.0.1"] {
        assert!(!all.contains(word), "{word} in {all}");
    }
}

// U7, U22, S39, S83
#[test]
fn every_denial_is_a_problem_document_and_one_record() {
    let house = House::new();
    let client = house.gateway.client();
    for (bytes, status, gate, reason, code) in house.denials() {
        let line = bytes.lines().next().unwrap().to_owned();
        let answer = client.send(&bytes);
        assert_eq!((answer.status, answer.code().as_str()), (status, code), "{line}");
        is_a_problem(&answer, status, code);
        let record = house.gateway.record(answer.header("x-request-id").unwrap());
        assert_eq!(record["durward.outcome"], "deny", "{line}");
        assert_eq!(record["security_rule.name"], gate, "{line}");
        assert_eq!(record["http.response.status_code"], status, "{line}");
        assert_eq!(record["http.response.body.size"], answer.body.len(), "{line}");
        assert_eq!(record["error.type"], reason, "{line}");
    }
    // S84: of the request only method, host, path and what was verified are told
    let told = house.gateway.records();
    assert_eq!(told.len(), house.denials().len());
    for mut record in told {
        record
            .as_object_mut()
            .unwrap()
            .retain(|name, _| !matches!(&**name, "url.path" | "http.request.method" | "user.roles"));
        assert!(!record.to_string().contains("CANARY"), "{record}");
    }
    assert!(
        !house.gateway.messages().contains("CANARY"),
        "{}",
        house.gateway.messages()
    );
    assert!(!house.gateway.admin("/metrics").text().contains("CANARY"));
}

// S85: also what cannot be read as a request at all
#[test]
fn nothing_of_an_unreadable_request_is_logged() {
    let house = House::new();
    for client in [house.gateway.client(), house.gateway.plain()] {
        for bytes in [
            "GET /CANARY HTTP/1.1\r\nHost: api.example\r\nAuthorization: Bearer CANARY\r\nX : CANARY\r\n\r\n",
            "GET /CANARY HTTP/9.9\r\nHost: api.example\r\nAuthorization: Bearer CANARY\r\n\r\n",
            "CANARY\r\n\r\n",
            "GET /CANARY HTTP/1.1\r\nHost: CANARY@api.example\r\nContent-Length: CANARY\r\n\r\n",
        ] {
            let mut connection = client.connect();
            connection.write(bytes);
            let rest = connection.rest();
            assert!(!String::from_utf8_lossy(&rest).contains("CANARY"), "{bytes}");
        }
    }
    assert!(
        !house.gateway.messages().contains("CANARY"),
        "{}",
        house.gateway.messages()
    );
}

// U22: the same over HTTP/2
#[test]
fn denials_over_http2_are_the_same() {
    let house = House::new();
    let token = format!("Bearer {}", house.keys.token(json!({ "scope": "CANARY" })));
    for (path, headers, status, code) in [
        ("/CANARY", vec![], 404, "route_unknown"),
        ("/CANARY/..%2f", vec![], 400, "request_malformed"),
        ("/scope/CANARY", vec![], 401, "credentials_missing"),
        (
            "/scope/CANARY",
            vec![("authorization", "Bearer CANARY")],
            401,
            "invalid_token",
        ),
        (
            "/scope/CANARY",
            vec![("authorization", token.as_str())],
            403,
            "insufficient_scope",
        ),
        ("/nobody", vec![], 502, "upstream_unavailable"),
    ] {
        let answer = h2::get(house.gateway.https, &house.gateway.authority, path, &headers);
        is_a_problem(&answer, status, code);
        let record = house.gateway.record(answer.header("x-request-id").unwrap());
        assert_eq!(
            (&record["durward.outcome"], &record["network.protocol.version"]),
            (
                &json!("deny"),
                &if status == 400 { Value::Null } else { json!("2") }
            )
        );
    }
}

// RFC 9110 section 9.3.2
#[test]
fn the_answer_to_head_has_the_length_of_the_body_and_no_body() {
    let house = House::new();
    let mut connection = house.gateway.client().connect();
    for (path, status) in [("/scope/x", 401), ("/nothing", 404), ("/role", 405)] {
        let get = if path == "/role" { "POST" } else { "GET" };
        connection.write(request(get, path, &[], ""));
        let whole = connection
            .try_answer(get)
            .unwrap_or_else(|| panic!("closed before {path}"));
        connection.write(request("HEAD", path, &[], ""));
        let head = connection
            .try_answer("HEAD")
            .unwrap_or_else(|| panic!("closed after {path}: {whole:?}"));
        assert_eq!((whole.status, head.status), (status, status), "{path}");
        assert_eq!(
            head.header("content-length"),
            Some(whole.body.len().to_string().as_str()),
            "{path}"
        );
        assert_eq!(head.header("content-type"), Some("application/problem+json"));
        tells_nothing(&head);
    }
    // the connection is still in step
    connection.write(request("GET", "/open/x", &[], ""));
    assert_eq!(connection.answer().text(), "fine");

    // an upstream's failure ends it, and says so
    let whole = house.gateway.client().get("/nobody", &[]);
    connection.write(request("HEAD", "/nobody", &[], ""));
    let head = connection.answer_to("HEAD");
    assert_eq!((whole.status, head.status), (502, 502));
    assert_eq!(
        head.header("content-length"),
        Some(whole.body.len().to_string().as_str())
    );
    assert_eq!(head.header("connection"), Some("close"));
    assert!(connection.is_closed_within(Duration::from_secs(5)));
}

// S39
#[test]
fn what_services_run_on_and_why_they_failed_stays_inside() {
    let house = House::new();
    let answer = house.gateway.client().get("/open/x", &[]);
    assert_eq!((answer.status, answer.text().as_str()), (200, "fine"));
    tells_nothing(&answer);

    let answer = house.gateway.client().get("/fails", &[]);
    assert_eq!((answer.status, answer.code().as_str()), (500, "upstream_failed"));
    tells_nothing(&answer);
    let id = answer.header("x-request-id").unwrap();
    assert_eq!(answer.json()["instance"], format!("urn:uuid:{id}"));
    // the gateway did not refuse it: gateway-made and upstream-made failures are told apart (U7)
    assert_eq!(house.gateway.record(id)["durward.outcome"], "allow");
}

// S83
#[test]
fn each_request_has_one_record_however_it_ends() {
    let house = House::new();
    let gateway = &house.gateway;
    let count = |expected: usize| {
        eventually("a record for each request", || {
            (gateway.records().len() >= expected).then_some(())
        });
        let records = gateway.records();
        assert_eq!(records.len(), expected, "{records:#?}");
        records
    };

    // three on one connection, one over HTTP/2
    let mut connection = gateway.client().connect();
    for path in ["/open/1", "/nothing", "/open/2"] {
        connection.write(request("GET", path, &[], ""));
        connection.answer();
    }
    h2::get(gateway.https, &gateway.authority, "/open/3", &[]);
    count(4);

    // a client that goes away while it sends
    let mut connection = gateway.client().connect();
    connection.write("POST /open/4 HTTP/1.1\r\nHost: api.example\r\nContent-Type: application/json\r\nContent-Length: 100000\r\n\r\n{");
    eventually("the request is under way", || {
        let metrics = gateway.admin("/metrics").text();
        metrics.contains("durward_body_memory_bytes 1\n").then_some(())
    });
    drop(connection);
    let records = count(5);
    let record = &records[4];
    assert_eq!(
        (&record["durward.outcome"], &record["error.type"]),
        (&json!("abort"), &json!("aborted")),
        "{record}"
    );
    assert_eq!(record["http.response.status_code"], Value::Null);

    // and while it is answered
    let mut connection = gateway.client().connect();
    connection.write(request("GET", "/long", &[], ""));
    assert_eq!(connection.status(), 200);
    drop(connection);
    let records = count(6);
    let record = &records[5];
    assert_eq!(record["durward.outcome"], "abort", "{record}");
    assert_eq!(record["http.response.status_code"], 200);

    // a connection without a request has none
    drop(gateway.client().connect());
    let answer = gateway.client().get("/open/7", &[]);
    gateway.record(answer.header("x-request-id").unwrap());
    let ids: BTreeSet<String> = count(7)
        .iter()
        .map(|record| record["durward.decision.id"].to_string())
        .collect();
    assert_eq!(ids.len(), 7);
}
