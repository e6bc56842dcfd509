//! `durward explain ID`: why a request was refused, as the gateway that refused it has kept it (M3).

use serde_json::{Value, json};

use crate::support::issuer::now;
use crate::support::{Answer, Gateway, Keys, Origin, eventually};

const CANARY: &str = "c4n4ry5ecretWord";

fn start(keys: &Keys, origin: &Origin) -> Gateway {
    Gateway::start(&format!(
        "{}upstreams: {{ vehicles: {{ targets: [\"{}\"] }} }}\n\
         roles: {{ analyst: [analyst] }}\n\
         flood: {{ per_address: 1000 }}\n\
         conditions: {{ soon: {{ mode: shadow, networks: {{ allow: [10.0.0.0/8] }} }}, own: {{ claim_matches: {{ vin: vin }} }} }}\n\
         defaults: {{ conditions: [soon] }}\n\
         limits: {{ one: {{ rate: 1/h, key: route }} }}\n\
         routes:\n\
         - match: {{ methods: [POST], path: \"/v1/{{vin}}\" }}\n\
         \x20 auth: {{ jwt: main, scopes: [read], roles: [analyst] }}\n\
         \x20 conditions: [own]\n\
         \x20 upstream: vehicles\n\
         - match: {{ methods: [GET], path: /limited }}\n\
         \x20 public: {{ reason: x, owner: x }}\n\
         \x20 limits: [one]\n\
         \x20 respond: 200\n",
        keys.inline(),
        origin.address
    ))
}

/// A method, a path and headers.
type Case = (&'static str, &'static str, Vec<(String, String)>);

/// `explain` with these arguments: its exit code and both outputs.
fn explain(gateway: &Gateway, arguments: &[&str]) -> (Option<i32>, String, String) {
    let output = gateway.command("explain").args(arguments).output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (output.status.code(), text(output.stdout), text(output.stderr))
}

fn id(answer: &Answer) -> &str {
    answer.header("x-request-id").unwrap()
}

/// What the gateway has kept, once the request is over.
fn online(gateway: &Gateway, id: &str, more: &[&str]) -> String {
    eventually("the refusal is kept", || {
        let (code, said, _) = explain(gateway, &[&[id], more].concat());
        (code == Some(0)).then_some(said)
    })
}

// M3
#[test]
fn an_explanation_made_offline_is_that_of_the_gateway_byte_for_byte() {
    let (origin, keys) = (Origin::start(), Keys::new("k1"));
    let gateway = start(&keys, &origin);
    let claims = [
        json!({}),
        json!({ "scope": "read" }),
        json!({ "scope": "read", "roles": ["analyst"], "vin": "2HG" }),
        json!({ "exp": now() - 3600 }),
        json!({ "aud": "somebody-else" }),
    ];
    let mut cases: Vec<Case> = claims
        .into_iter()
        .map(|claims| {
            let token = format!("Bearer {}", keys.token(claims));
            ("POST", "/v1/1HG", vec![("Authorization".to_owned(), token)])
        })
        .collect();
    let good = json!({ "scope": "read", "roles": ["analyst"], "vin": "1HG" });
    let good = ("Authorization".to_owned(), format!("Bearer {}", keys.token(good)));
    let xml = ("Content-Type".to_owned(), "text/xml".to_owned());
    cases.extend([
        ("POST", "/v1/1HG", vec![good, xml]),
        ("POST", "/v1/1HG", vec![]),
        ("PUT", "/v1/1HG", vec![]),
        ("GET", "/nowhere?a=b", vec![]),
    ]);
    for (method, path, headers) in cases {
        let mut sent: Vec<(&str, &str)> = headers.iter().map(|(n, v)| (&**n, &**v)).collect();
        let body = if method == "POST" { "<a/>" } else { "" };
        if method == "POST" && !headers.iter().any(|(name, _)| name == "Content-Type") {
            sent.push(("Content-Type", "application/json"));
        }
        let refused = gateway.client().request(method, path, &sent, body);
        assert!(refused.status >= 400);
        let mut described: serde_json::Map<String, Value> = sent
            .iter()
            .map(|(name, value)| ((*name).to_owned(), json!(value)))
            .collect();
        if !body.is_empty() {
            described.insert("Content-Length".to_owned(), json!("4"));
        }
        let request = json!({
            "method": method, "url": format!("https://api.example{path}"), "headers": described, "from": "127.0.0.1:1",
        });
        let file = gateway.folder.write("request.json", request.to_string());
        for format in [&[][..], &["--json"]] {
            let kept = online(&gateway, id(&refused), format);
            let (code, made, said) = explain(&gateway, &[&["-r", &file], format].concat());
            assert_eq!(code, Some(0), "{said}");
            assert_eq!(kept, made);
            // and a shadow is told beside what counted
            assert_eq!(
                made.contains("network_not_allowed"),
                path == "/v1/1HG" && method == "POST",
                "{made}"
            );
        }
    }
}

// M3, S84: nothing that was sent in a header, a query or a claim; after admission, too
#[test]
fn no_secret_appears_in_an_explanation() {
    let (origin, keys) = (Origin::start(), Keys::new("k1"));
    let gateway = start(&keys, &origin);
    let claims = json!({ "scope": CANARY, "roles": [CANARY], "vin": CANARY, "aud": CANARY });
    let bad = format!("Bearer {}{CANARY}", keys.token(json!({})));
    let told = format!("Bearer {}", keys.token(claims.clone()));
    let mut granted = claims;
    granted["aud"] = json!("vehicle-api");
    let granted = format!("Bearer {}", keys.token(granted));
    for token in [&bad, &told, &granted] {
        let refused = gateway.client().request(
            "POST",
            &format!("/v1/1HG?key={CANARY}"),
            &[
                ("Authorization", &**token),
                ("Cookie", CANARY),
                ("Content-Type", "application/json"),
            ],
            CANARY,
        );
        assert!([401, 403].contains(&refused.status));
        let kept = online(&gateway, id(&refused), &["--json"]);
        assert!(!kept.contains(CANARY), "{kept}");
        assert!(kept.contains("\"outcome\": \"deny\""), "{kept}");
    }
}

// M3
#[test]
fn what_is_refused_at_the_door_or_by_a_limit_is_explained_and_what_is_unknown_is_not() {
    let (origin, keys) = (Origin::start(), Keys::new("k1"));
    let gateway = start(&keys, &origin);
    let mut connection = gateway.client().connect();
    connection.write("GET / HTTP/1.1\r\nHost: api.example\r\nHost: api.example\r\n\r\n");
    let malformed = connection.answer();
    assert_eq!(malformed.status, 400);
    let kept = online(&gateway, id(&malformed), &[]);
    assert!(
        kept.contains("DENY  host_repeated: the head is refused"),
        "{kept}"
    );

    let admitted = gateway.client().get("/limited", &[]);
    let limited = gateway.client().get("/limited", &[]);
    assert_eq!((admitted.status, limited.status), (200, 429));
    let kept = online(&gateway, id(&limited), &[]);
    assert!(
        kept.contains("limits   DENY  rate_limited: one (1 in 3600 s)"),
        "{kept}"
    );

    for unknown in [id(&admitted), "00000000-0000-7000-8000-000000000000"] {
        let (code, said, why) = explain(&gateway, &[unknown]);
        assert_eq!((code, said.as_str()), (Some(1), ""));
        assert!(why.contains("no refusal of this id is known"), "{why}");
    }
    for nonsense in [&["not-an-id"][..], &[], &[id(&limited), "-r", "x"]] {
        assert_eq!(explain(&gateway, nonsense).0, Some(2), "{nonsense:?}");
    }

    // the file has changed since, and the lines are no longer its
    let file = gateway.folder.0.join("durward.yaml");
    let text = std::fs::read_to_string(&file).unwrap();
    gateway
        .folder
        .write("durward.yaml", format!("# one more line\n{text}"));
    let (code, said, why) = explain(&gateway, &[id(&limited)]);
    assert_eq!((code, said), (Some(0), kept));
    assert!(why.contains("has changed since"), "{why}");
}
