//! How often: limits over verified facts, and the flood gate.

use serde_json::json;

use crate::support::{Gateway, Keys, Origin};

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
