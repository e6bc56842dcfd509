//! How often: limits over verified facts, and the flood gate.

use std::time::Duration;

use serde_json::{Value, json};

use crate::support::client::{Connection, request};
use crate::support::{Answer, Gateway, Keys, Origin};

fn config(keys: &Keys, origin: &Origin, top: &str, limits: &str) -> String {
    format!(
        "{}{top}\nupstreams:\n  vehicles: {{ targets: [\"{}\"] }}\n\
         routes:\n\
         \x20 - match: {{ methods: [GET], path: /a }}\n\
         \x20   auth: {{ jwt: main }}\n\
         \x20   limits: [{limits}]\n\
         \x20   upstream: vehicles\n\
         \x20 - match: {{ methods: [GET], path: /free }}\n\
         \x20   auth: {{ jwt: main }}\n\
         \x20   upstream: vehicles\n",
        keys.inline(),
        origin.address
    )
}

// S69, S72, S75, U8
#[test]
fn a_caller_over_its_limit_is_refused_with_the_time_to_wait_and_others_are_not() {
    let (origin, keys) = (Origin::start(), Keys::new("k1"));
    let top = "limits:\n  client: { rate: 3/m, key: subject }\n  backend: { rate: 100/m, key: global }";
    let gateway = Gateway::start(&config(&keys, &origin, top, "backend, client"));
    let client = gateway.client();
    let (ada, bob) = (keys.token(json!({})), keys.token(json!({ "sub": "bob" })));

    let remaining: Vec<String> = (0..3)
        .map(|_| {
            let answer = client.get_with("/a", &ada);
            assert_eq!(answer.status, 200);
            assert_eq!(
                answer.header("ratelimit-policy"),
                Some("\"backend\";q=100;w=60, \"client\";q=3;w=60")
            );
            answer
                .header("ratelimit")
                .unwrap()
                .split(';')
                .take(2)
                .collect::<Vec<_>>()
                .join(";")
        })
        .collect();
    assert_eq!(
        remaining,
        ["\"client\";r=2", "\"client\";r=1", "\"client\";r=0"],
        "the tightest is told"
    );

    let refused = client.get_with("/a", &ada);
    assert_eq!((refused.status, refused.code().as_str()), (429, "rate_limited"));
    let wait: u64 = refused.header("retry-after").unwrap().parse().unwrap();
    assert!((1..=63).contains(&wait), "{wait}");
    assert!(
        refused
            .header("ratelimit")
            .unwrap()
            .starts_with("\"client\";r=0;t=")
    );
    assert_eq!(
        client.get_with("/a", &bob).status,
        200,
        "another subject is counted apart"
    );
    assert_eq!(
        client.get_with("/free", &ada).status,
        200,
        "another route has no limit"
    );
    assert_eq!(origin.seen().len(), 5, "a refused request reached the origin");
}

// what one limit refuses, no other has counted
#[test]
fn a_refused_request_uses_up_no_other_limit() {
    let (origin, keys) = (Origin::start(), Keys::new("k1"));
    let top = "limits:\n  one: { rate: 3/m, key: global }\n  two: { rate: 1/m, key: subject }";
    let gateway = Gateway::start(&config(&keys, &origin, top, "one, two"));
    let client = gateway.client();
    let token = |sub: &str| keys.token(json!({ "sub": sub }));
    assert_eq!(client.get_with("/a", &token("ada")).status, 200);
    for _ in 0..5 {
        assert_eq!(client.get_with("/a", &token("ada")).status, 429);
    }
    assert_eq!(client.get_with("/a", &token("bob")).status, 200);
    assert_eq!(client.get_with("/a", &token("eve")).status, 200);
    let refused = client.get_with("/a", &token("joe"));
    assert!(
        refused.header("ratelimit").unwrap().starts_with("\"one\""),
        "{refused:?}"
    );
}

// S69, S74
#[test]
fn a_flood_of_one_address_is_refused_before_any_token_is_looked_at() {
    let (origin, keys) = (Origin::start(), Keys::new("k1"));
    let gateway = Gateway::start(&config(&keys, &origin, "flood: { per_address: 5 }", ""));
    let mut connection = gateway.client().connect();
    let request = crate::support::client::request("GET", "/a", &[("Authorization", "Bearer x.y.z")], "");
    let answers: Vec<(u16, String)> = (0..40)
        .map(|_| {
            connection.write(&request);
            let answer = connection.answer();
            (answer.status, answer.code())
        })
        .collect();
    // at most two seconds have begun meanwhile, or the machine stood still
    assert!(
        answers.iter().filter(|(_, code)| code == "flooded").count() > 20,
        "{answers:?}"
    );
    assert!(answers.iter().any(|(status, _)| *status == 401), "{answers:?}");
}

/// Public routes that answer by themselves, and a flood limit.
fn flooded(top: &str) -> Gateway {
    Gateway::start(&format!(
        "{top}\nroutes: [{{ match: {{ methods: [GET, HEAD, POST], path: /a }}, public: {{ reason: a, owner: b }}, \
         request: {{ max_body: 1kb, content_types: [\"*/*\"] }}, respond: {{ status: 200, body: hello }} }}]\n"
    ))
}

/// Asks until a refusal comes, which is soon, and after it at least as often as is allowed in a second.
fn first_flooded(connection: &mut Connection, request: &str, method: &str) -> Answer {
    let refused = (0..100).find_map(|_| {
        connection.write(request);
        let answer = connection.answer_to(method);
        (answer.status == 429).then_some(answer)
    });
    refused.expect("a hundred requests are more than a few a second")
}

// S74, S83, M3: whoever is over the limit already is answered before much is made of its request, and nobody can tell
#[test]
fn a_flood_is_answered_at_the_door_as_behind_it() {
    let gateway = flooded("flood: { per_address: 2 }");
    let mut connection = gateway.client().connect();
    let trace = (
        "traceparent",
        "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
    );
    // a body is judged behind the door
    let requests = [
        request("POST", "/a?q=1", &[trace], ""),
        request("POST", "/a?q=1", &[trace], "b"),
    ];
    let answers = requests.map(|request| first_flooded(&mut connection, &request, "GET"));
    let [door, behind] = answers.each_ref().map(|answer| {
        let mut names: Vec<_> = answer
            .headers
            .iter()
            .map(|(name, _)| name.to_lowercase())
            .collect();
        names.sort();
        let values = ["retry-after", "connection"].map(|name| answer.header(name).map(str::to_owned));
        (answer.status, answer.code(), names, values)
    });
    assert_eq!(door, behind);
    assert_eq!(door.3[0].as_deref(), Some("1"));

    let told = answers.each_ref().map(|answer| {
        let id = answer.header("x-request-id").unwrap();
        let mut record = gateway.record(id);
        assert_eq!(record["trace_id"], "0af7651916cd43dd8448eb211c80319c");
        for own in [
            "timestamp",
            "durward.decision.id",
            "span_id",
            "durward.duration",
            "http.request.method",
            "http.request.body.size",
        ] {
            assert!(!record[own].is_null(), "{own}: {record}");
            record[own] = Value::Null;
        }
        let explained = gateway.command("explain").args([id, "--json"]).output().unwrap();
        let mut explained: Value = serde_json::from_slice(&explained.stdout).unwrap();
        explained["id"] = Value::Null;
        explained["at"] = Value::Null;
        (record, explained)
    });
    let [door, behind] = &told;
    assert_eq!(door, behind);
    assert_eq!(door.0["url.path"], "/a");
    assert_eq!(door.0["error.type"], "flooded");

    let page = gateway.admin("/metrics").text();
    let counted = page
        .lines()
        .find(|line| line.starts_with("durward_decisions_total{") && line.contains("flooded"))
        .and_then(|line| line.rsplit(' ').next()?.parse::<f64>().ok());
    assert!(counted.is_some_and(|count| count >= 2.0), "{counted:?}");
}

// S74: the connection goes on, message by message
#[test]
fn what_follows_a_flooding_request_on_its_connection_is_a_request() {
    let gateway = flooded("flood: { per_address: 2 }");
    let mut connection = gateway.client().connect();
    let head = request("HEAD", "/a", &[], "");
    assert_eq!(first_flooded(&mut connection, &head, "HEAD").body, b"");
    // many at once, of which none is lost
    let (get, post) = (request("GET", "/a", &[], ""), request("POST", "/a", &[], "four"));
    connection.write([&*get, &*post, &*get, &*get, &*post, &*head, &*get].concat());
    for method in ["GET", "POST", "GET", "GET", "POST", "HEAD", "GET"] {
        let answer = connection.answer_to(method);
        assert!(matches!(answer.status, 200 | 429), "{answer:?}");
    }
    let closing = request("GET", "/a", &[("Connection", "close")], "");
    connection.write(request("GET", "/a", &[], "").repeat(5));
    for _ in 0..5 {
        connection.answer();
    }
    connection.write(closing);
    let answer = connection.answer();
    assert_eq!(answer.header("connection"), Some("close"), "{answer:?}");
    assert!(connection.is_closed_within(Duration::from_secs(5)));
}

// S68, S74: a proxy floods for nobody but those that it names
#[test]
fn the_clients_of_a_proxy_are_counted_one_by_one() {
    let gateway = flooded("flood: { per_address: 3 }\ntrusted_proxies: [127.0.0.0/8]");
    let mut connection = gateway.client().connect();
    for n in 0..100 {
        let client = format!("203.0.{}.{n}", n % 7);
        connection.write(request("GET", "/a", &[("X-Forwarded-For", &client)], ""));
        assert_eq!(connection.answer().status, 200);
    }
    let one = request("GET", "/a", &[("X-Forwarded-For", "198.51.100.1")], "");
    assert_eq!(first_flooded(&mut connection, &one, "GET").code(), "flooded");
}

// U6
#[test]
fn a_flood_limit_in_shadow_refuses_nobody() {
    let gateway = flooded("flood: { per_address: 1, mode: shadow }");
    let mut connection = gateway.client().connect();
    for _ in 0..20 {
        connection.write(request("GET", "/a", &[], ""));
        assert_eq!(connection.answer().status, 200);
    }
}
