//! Gates in shadow: their word is recorded and counted, and the request passes (U6).

use serde_json::json;

use crate::support::gateway::binary;
use crate::support::{Folder, Gateway, Keys, Origin};

fn config(keys: &Keys, origin: &Origin) -> String {
    format!(
        "{}upstreams: {{ vehicles: {{ targets: [\"{}\"] }} }}\n\
         flood: {{ per_address: 1000, mode: shadow }}\n\
         limits:\n\
         \x20 few: {{ rate: 1/h, key: global, mode: shadow }}\n\
         \x20 many: {{ rate: 100/h, key: global }}\n\
         conditions:\n\
         \x20 new_scope: {{ mode: shadow, scopes: [new], networks: {{ deny: [127.0.0.0/8] }} }}\n\
         routes:\n\
         - match: {{ methods: [POST], path: \"/v1/{{vin}}\" }}\n\
         \x20 id: write\n\
         \x20 auth: {{ jwt: main, scopes: [old] }}\n\
         \x20 conditions: [new_scope]\n\
         \x20 limits: [few, many]\n\
         \x20 request: {{ mode: shadow, max_body: 10b }}\n\
         \x20 upstream: vehicles\n",
        keys.inline(),
        origin.address
    )
}

// U6
#[test]
fn a_shadow_records_and_counts_what_it_would_refuse_and_lets_it_pass() {
    let (origin, keys) = (Origin::start(), Keys::new("k1"));
    let gateway = Gateway::start(&config(&keys, &origin));
    let token = format!("Bearer {}", keys.token(json!({ "scope": "old" })));
    let post = |body: &str, chunked: bool| {
        let framing = if chunked {
            format!(
                "Transfer-Encoding: chunked\r\n\r\n{:x}\r\n{body}\r\n0\r\n\r\n",
                body.len()
            )
        } else {
            format!("Content-Length: {}\r\n\r\n{body}", body.len())
        };
        let mut connection = gateway.client().connect();
        connection.write(format!(
            "POST /v1/1HG HTTP/1.1\r\nHost: api.example\r\nAuthorization: {token}\r\nContent-Type: application/json\r\n{framing}"
        ));
        connection.answer()
    };
    let shadows = |answer: &crate::support::Answer| {
        assert_eq!(answer.status, 200, "{}", answer.text());
        let record = gateway.record(answer.header("x-request-id").unwrap());
        assert_eq!(record["durward.outcome"], "allow");
        assert!(record.get("error.type").is_none(), "{record}");
        let texts = |key: &str| -> Vec<String> { serde_json::from_value(record[key].clone()).unwrap() };
        assert_eq!(
            texts("durward.shadow.gates").len(),
            texts("durward.shadow.reasons").len()
        );
        texts("durward.shadow.reasons")
    };
    let first = post("1", false);
    assert_eq!(shadows(&first), ["network_not_allowed", "scope_missing"]);
    // the client is told of the enforced limit only
    assert_eq!(first.header("ratelimit-policy"), Some("\"many\";q=100;w=3600"));
    let second = post("12345678901", false);
    let all = [
        "network_not_allowed",
        "scope_missing",
        "rate_limited",
        "body_too_large",
    ];
    assert_eq!(shadows(&second), all);
    // of a length that nobody announced: seen while it passes
    assert_eq!(shadows(&post("123456789012345", true)), all);
    assert_eq!(origin.seen().len(), 3);
    assert_eq!(origin.seen()[2].body, b"123456789012345");

    let metrics = gateway.admin("/metrics").text();
    for (gate, reason, count) in [
        ("authz", "network_not_allowed", 3),
        ("authz", "scope_missing", 3),
        ("limits", "rate_limited", 2),
        ("content", "body_too_large", 2),
    ] {
        let line = format!(
            "durward_shadow_denials_total{{gate=\"{gate}\",reason=\"{reason}\",route=\"write\"}} {count}"
        );
        assert!(metrics.contains(&line), "{line}\n{metrics}");
    }
    assert!(
        metrics
            .contains("durward_decisions_total{gate=\"\",outcome=\"allow\",reason=\"\",route=\"write\"} 3")
    );

    // what is enforced beside a shadow still is
    let none = format!("Bearer {}", keys.token(json!({ "scope": "new" })));
    let refused = gateway.client().request(
        "POST",
        "/v1/1HG",
        &[("Authorization", &*none), ("Content-Type", "application/json")],
        "1",
    );
    assert_eq!(
        (refused.status, refused.code().as_str()),
        (403, "insufficient_scope")
    );
}

// U6
#[test]
fn prove_lists_what_is_only_a_shadow_loudly() {
    let (origin, keys, folder) = (Origin::start(), Keys::new("k1"), Folder::new());
    let yaml = format!(
        "version: 1\nlisteners: [{{ address: \"127.0.0.1:1\", plaintext: {{ reason: test }} }}]\n{}",
        config(&keys, &origin).replace("scopes: [old]", "scopes: []")
    );
    let file = folder.write("durward.yaml", yaml);
    let output = binary().args(["prove", "-c", &file]).output().unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    let (_, shadows) = said.split_once("\nNOT ENFORCED, only recorded:\n").unwrap();
    for expected in [
        "the flood limit of 1000 a second",
        "route `write`: from any network but not 127.0.0.0/8 (condition new_scope)",
        "route `write`: asks for scopes new (condition new_scope)",
        "route `write`: limit few (1 in 3600 s)",
        "route `write`: takes up to 10 bytes",
    ] {
        let line = shadows.lines().find(|line| line.contains(expected));
        assert!(
            line.is_some_and(|line| line.ends_with("is NOT ENFORCED: shadow")),
            "{expected}\n{said}"
        );
    }
    // and what is not enforced does not count as authorization
    assert!(
        said.contains("authenticates but does not authorize: any valid credential will do"),
        "{said}"
    );
}
