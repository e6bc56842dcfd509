//! What is reachable is what the configuration lists, and nothing else (S35).

use crate::support::{Answer, Gateway, Origin, h2};

const ROUTES: &str = r#"
routes:
  - match: { methods: [GET], path: "/v1/vehicles/{vin}" }
    public: { reason: test, owner: test }
    respond: { status: 200, body: vehicle }
  - match: { methods: [PUT, DELETE], path: "/v1/vehicles/{id}" }
    public: { reason: test, owner: test }
    respond: { status: 200, body: changed }
  - match: { methods: [GET], path: "/v1/vehicles/search" }
    public: { reason: test, owner: test }
    respond: { status: 200, body: search }
  - match: { methods: [GET], path: "/v1/vehicles/{vin}/liens" }
    public: { reason: test, owner: test }
    respond: { status: 200, body: liens }
  - match: { methods: [GET], path: "/files/{rest*}" }
    public: { reason: test, owner: test }
    respond: { status: 200, body: file }
  - match: { methods: [GET], path: "/slash/" }
    public: { reason: test, owner: test }
    respond: { status: 200, body: slash }
  - match: { host: api.example, methods: [GET], path: "/host" }
    public: { reason: test, owner: test }
    respond: { status: 200, body: api }
  - match: { host: "*.example", methods: [GET], path: "/host" }
    public: { reason: test, owner: test }
    respond: { status: 200, body: wildcard }
  - match: { host: admin.example, methods: [POST, PATCH], path: "/secret" }
    public: { reason: test, owner: test }
    respond: { status: 200, body: secret }
"#;

fn start() -> Gateway {
    Gateway::with(ROUTES)
        .names(&[
            "localhost",
            "api.example",
            "admin.example",
            "*.example",
            "any",
            "example",
            "x.y.example",
        ])
        .start()
}

fn ask(gateway: &Gateway, method: &str, host: &str, path: &str) -> Answer {
    let mut connection = gateway.client().connect();
    connection.write(format!(
        "{method} {path} HTTP/1.1\r\nHost: {host}\r\nContent-Length: 0\r\n\r\n"
    ));
    connection.answer_to(method)
}

/// The body, or the status with `Allow`.
fn outcome(answer: &Answer) -> String {
    match answer.status {
        200 => answer.text(),
        405 => format!("405 {}", answer.header("allow").unwrap()),
        status => {
            assert_eq!(answer.header("allow"), None);
            status.to_string()
        }
    }
}

// S35
#[test]
fn host_path_and_method_find_the_most_specific_route_or_none() {
    let gateway = start();
    for (method, host, path, expected) in [
        ("GET", "any", "/v1/vehicles/1HG", "vehicle"),
        ("PUT", "any", "/v1/vehicles/1HG", "changed"),
        ("GET", "any", "/v1/vehicles/search", "search"),
        ("GET", "any", "/v1/vehicles/%73earch", "search"),
        ("GET", "any", "/v1/vehicles/Search", "vehicle"),
        ("GET", "any", "/v1/vehicles/search/liens", "liens"),
        ("GET", "any", "/v1/vehicles/1HG?search", "vehicle"),
        ("GET", "any", "/files/a", "file"),
        ("GET", "any", "/files/a/b/c", "file"),
        ("GET", "any", "/slash/", "slash"),
        // not listed
        ("GET", "any", "/", "404"),
        ("GET", "any", "/v1/vehicles", "404"),
        ("GET", "any", "/v1/vehicles/", "404"),
        ("GET", "any", "/v1/vehicles/1HG/", "404"),
        ("GET", "any", "/v1/vehicles/1HG/liens/", "404"),
        ("GET", "any", "/V1/vehicles/1HG", "404"),
        ("GET", "any", "/v1/vehicles/1HG/other", "404"),
        ("GET", "any", "/files", "404"),
        ("GET", "any", "/files/", "404"),
        ("GET", "any", "/slash", "404"),
        ("GET", "any", "/v1", "404"),
        // hosts
        ("GET", "api.example", "/host", "api"),
        ("GET", "API.EXAMPLE", "/host", "api"),
        ("GET", "api.example:8443", "/host", "api"),
        ("GET", "x.example", "/host", "wildcard"),
        ("GET", "X.Example:1", "/host", "wildcard"),
        ("GET", "admin.example", "/host", "wildcard"),
        ("GET", "x.y.example", "/host", "404"),
        ("GET", "example", "/host", "404"),
        ("GET", "any", "/host", "404"),
        ("GET", "api.example", "/v1/vehicles/1HG", "vehicle"),
        ("POST", "admin.example", "/secret", "secret"),
    ] {
        assert_eq!(
            outcome(&ask(&gateway, method, host, path)),
            expected,
            "{method} {host}{path}"
        );
    }
}

// S35: RFC 9110 section 15.5.6
#[test]
fn a_known_path_with_another_method_says_which_are_allowed() {
    let gateway = start();
    for (method, host, path, expected) in [
        ("POST", "any", "/v1/vehicles/1HG", "405 DELETE, GET, PUT"),
        ("OPTIONS", "any", "/v1/vehicles/1HG", "405 DELETE, GET, PUT"),
        ("PATCH", "any", "/v1/vehicles/1HG", "405 DELETE, GET, PUT"),
        // GET does not imply HEAD, and methods are case-sensitive
        ("HEAD", "any", "/v1/vehicles/1HG", "405 DELETE, GET, PUT"),
        ("get", "any", "/v1/vehicles/1HG", "405 DELETE, GET, PUT"),
        ("Get", "any", "/v1/vehicles/1HG", "405 DELETE, GET, PUT"),
        ("BREW", "any", "/v1/vehicles/1HG", "405 DELETE, GET, PUT"),
        ("M-SEARCH", "any", "/v1/vehicles/1HG", "405 DELETE, GET, PUT"),
        // the more specific path answers for itself
        ("PUT", "any", "/v1/vehicles/search", "405 GET"),
        ("DELETE", "any", "/files/a", "405 GET"),
        ("POST", "x.example", "/host", "405 GET"),
        // an unknown path has no methods, whatever is asked
        ("BREW", "any", "/other", "404"),
        ("OPTIONS", "any", "/other", "404"),
        // another host's path is unknown here, and its methods are nobody's business
        ("GET", "any", "/secret", "404"),
        ("GET", "api.example", "/secret", "404"),
        ("GET", "x.example", "/secret", "404"),
        ("GET", "admin.example", "/secret", "405 PATCH, POST"),
    ] {
        let answer = ask(&gateway, method, host, path);
        assert_eq!(outcome(&answer), expected, "{method} {host}{path}");
        if method != "HEAD" && answer.status != 200 {
            let code = if answer.status == 405 {
                "method_not_allowed"
            } else {
                "route_unknown"
            };
            assert_eq!(answer.code(), code);
        }
    }
    let answer = h2::get(gateway.https, &gateway.authority, "/v1/vehicles/1HG/none", &[]);
    assert_eq!(answer.status, 404);
}

// S35: method names are labels of metrics only where they are known
#[test]
fn an_unknown_method_does_not_become_a_label() {
    let gateway = start();
    let answer = ask(&gateway, "CANARYMETHOD", "any", "/v1/vehicles/1HG");
    gateway.record(answer.header("x-request-id").unwrap());
    let metrics = gateway.admin("/metrics").text();
    assert!(metrics.contains("_OTHER"), "{metrics}");
    assert!(!metrics.contains("CANARYMETHOD"));
}

// S35, S41
#[test]
fn a_route_can_answer_by_itself() {
    let origin = Origin::start();
    let gateway = Gateway::start(
        "routes:\n\
         \x20 - { match: { methods: [GET, HEAD], path: /text }, public: { reason: t, owner: t }, respond: { status: 200, body: \"hello\" } }\n\
         \x20 - { match: { methods: [GET], path: /short }, public: { reason: t, owner: t }, respond: 418 }\n\
         \x20 - { match: { methods: [GET], path: /empty }, public: { reason: t, owner: t }, respond: 204 }\n\
         \x20 - { match: { methods: [GET], path: /unchanged }, public: { reason: t, owner: t }, respond: 304 }\n\
         \x20 - { match: { methods: [GET, POST], path: /gone }, public: { reason: t, owner: t }, respond: { status: 410, body: gone } }\n",
    );
    // all on one connection: no answer disturbs the next
    let mut connection = gateway.client().connect();
    let mut ask = |method: &str, path: &str, body: &str| {
        let kind = [("Content-Type", "application/json")];
        connection.write(crate::support::client::request(method, path, &kind, body));
        connection
            .try_answer(method)
            .unwrap_or_else(|| panic!("no answer to {method} {path}"))
    };
    let answer = ask("GET", "/text", "");
    assert_eq!((answer.status, answer.text().as_str()), (200, "hello"));
    assert_eq!(answer.header("content-type"), Some("text/plain; charset=utf-8"));
    assert_eq!(answer.header("content-length"), Some("5"));

    let answer = ask("HEAD", "/text", "");
    assert_eq!((answer.status, answer.header("content-length")), (200, Some("5")));

    let answer = ask("GET", "/short", "");
    assert_eq!((answer.status, answer.header("content-length")), (418, Some("0")));
    assert_eq!(answer.header("content-type"), None);

    for (path, status) in [("/empty", 204), ("/unchanged", 304)] {
        let answer = ask("GET", path, "");
        assert_eq!(
            (
                answer.status,
                answer.header("content-length"),
                answer.header("transfer-encoding")
            ),
            (status, None, None)
        );
    }
    let answer = ask("POST", "/gone", "{\"some\":\"body\"}");
    assert_eq!((answer.status, answer.text().as_str()), (410, "gone"));
    let answer = ask("GET", "/gone", "");
    assert_eq!((answer.status, answer.text().as_str()), (410, "gone"));
    let record = gateway.record(answer.header("x-request-id").unwrap());
    assert_eq!(record["durward.outcome"], "allow");
    assert_eq!(record["durward.upstream"], serde_json::Value::Null);

    for (path, status, text) in [
        ("/text", 200, "hello"),
        ("/empty", 204, ""),
        ("/gone", 410, "gone"),
    ] {
        let answer = h2::get(gateway.https, &gateway.authority, path, &[]);
        assert_eq!((answer.status, answer.text().as_str()), (status, text), "{path}");
    }
    assert_eq!(origin.connections(), 0);
}
