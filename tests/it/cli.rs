//! The command line: exit codes, what is said about faults, and decisions explained offline.

use std::net::TcpListener;
use std::path::Path;
use std::process::Output;

use serde_json::{Value, json};

use crate::golden;
use crate::support::client::request;
use crate::support::gateway::binary;
use crate::support::{Folder, Gateway, Keys};

const PUBLIC: &str = "routes:\n- { match: { methods: [GET], path: / }, public: { reason: test, owner: tests }, respond: 200 }\n";

/// Runs the binary in a folder.
fn run_in(folder: &Path, arguments: &[&str]) -> Output {
    binary().current_dir(folder).args(arguments).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// A configuration without TLS on an address.
fn plaintext(address: &str) -> String {
    format!("version: 1\nlisteners: [{{ address: \"{address}\", plaintext: {{ reason: test }} }}]\n{PUBLIC}")
}

#[test]
fn the_exit_code_says_good_bad_or_not_understood() {
    let folder = Folder::new();
    folder.write("good.yaml", plaintext("127.0.0.1:1"));
    folder.write("bad.yaml", plaintext("127.0.0.1"));
    for (arguments, code) in [
        (vec!["check", "-c", "good.yaml"], 0),
        (vec!["validate", "-c", "good.yaml"], 0),
        (vec!["prove", "-c", "good.yaml"], 0),
        (vec!["version"], 0),
        (vec!["--help"], 0),
        (vec!["check", "-c", "bad.yaml"], 1),
        (vec!["prove", "-c", "bad.yaml"], 1),
        (vec!["explain", "-c", "bad.yaml", "-r", "none.yaml"], 1),
        (vec!["explain", "-c", "good.yaml", "-r", "none.yaml"], 1),
        (vec!["check", "-c", "none.yaml"], 1),
        (vec!["check", "--unknown"], 2),
        (vec!["unknown"], 2),
        (vec![], 2),
    ] {
        let output = run_in(&folder.0, &arguments);
        assert_eq!(
            output.status.code(),
            Some(code),
            "{arguments:?}: {}",
            text(&output.stderr)
        );
        assert_eq!(output.stderr.is_empty(), code == 0, "{arguments:?}");
    }
}

// S5, S36, U14
#[test]
fn all_that_is_wrong_with_a_file_is_told_at_once_and_at_its_place() {
    let folder = Folder::new();
    folder.write("broken.yaml", std::fs::read(golden::path("broken.yaml")).unwrap());
    let output = run_in(&folder.0, &["check", "-c", "broken.yaml"]);
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(text(&output.stdout), "");
    golden::assert_same("broken.txt", &text(&output.stderr));
}

// U14
#[test]
fn a_thing_with_a_fault_is_not_unknown_to_what_names_it() {
    let folder = Folder::new();
    folder.write(
        "file.yaml",
        "version: 1\nlisteners: [{ address: \"127.0.0.1:1\", plaintext: { reason: test } }]\n\
         issuers: { main: { issuer: a, audiences: [b], jwks: { file: none.json } } }\n\
         upstreams: { service: { targets: [\"127.0.0.1:2\"], tls: { server_name: \"127.0.0.1\" } } }\n\
         routes: [{ match: { methods: [GET], path: / }, auth: { jwt: main }, limits: [much], upstream: service }]\n\
         limits: { much: { rate: 100000/s, key: global } }\n",
    );
    let said = text(&run_in(&folder.0, &["check", "-c", "file.yaml"]).stderr);
    assert!(
        said.contains("cannot read none.json")
            && said.contains("is not a DNS name")
            && said.contains("at most 65535"),
        "{said}"
    );
    assert!(said.ends_with("3 errors, 0 warnings\n"), "{said}");
}

#[test]
fn what_is_secret_is_never_repeated() {
    let folder = Folder::new();
    folder.write("key.pem", "CANARY in a file");
    let certificates = [
        "{ cert: a.crt, key_pem: CANARY }",
        "{ cert: a.crt, key_pem: \"${env:A_KEY}\" }",
        "{ cert: a.crt, key_pem: \"${env:A_KEY:-CANARY}\" }",
        "{ cert: a.crt, key_pem: \"${file:key.pem}\" }",
        "{ cert: a.crt, key_pem: { inner: CANARY } }",
        "{ cert: a.crt, key_pem: [CANARY] }",
        "{ cert: a.crt, keypem: CANARY }",
        "{ cert: a.crt, private_key: CANARY }",
        "{ cert: a.crt, key: key.pem }",
    ];
    for certificate in certificates {
        for rest in [PUBLIC, "routes: [\n"] {
            folder.write(
                "file.yaml",
                format!(
                    "version: 1\nlisteners:\n- {{ address: \"127.0.0.1:1\", tls: {{ certificates: [{certificate}] }} }}\n{rest}"
                ),
            );
            for verb in ["check", "prove", "run"] {
                let output = binary()
                    .current_dir(&folder.0)
                    .args([verb, "-c", "file.yaml"])
                    .env("A_KEY", "CANARY of the environment")
                    .env("DURWARD_LOG", "trace")
                    .output()
                    .unwrap();
                let said = text(&output.stdout) + &text(&output.stderr);
                assert_eq!(output.status.code(), Some(1), "{certificate}");
                assert!(
                    !said.contains("CANARY") && said.contains("file.yaml:"),
                    "{certificate}: {said}"
                );
            }
        }
    }
}

// S25
#[test]
fn version_names_the_tls_library() {
    let output = run_in(Path::new("."), &["version", "--json"]);
    let version: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(version["durward"], env!("CARGO_PKG_VERSION"));
    assert!(
        version["tls_library"].as_str().unwrap().starts_with("OpenSSL 3."),
        "{version}"
    );
    assert!(text(&run_in(Path::new("."), &["version"]).stdout).contains("OpenSSL 3."));
}

#[test]
fn schema_is_a_json_schema_without_loose_ends() {
    fn references<'a>(node: &'a Value, found: &mut Vec<&'a str>) {
        match node {
            Value::Object(members) => {
                found.extend(members.get("$ref").and_then(Value::as_str));
                members.values().for_each(|member| references(member, found));
            }
            Value::Array(elements) => elements.iter().for_each(|element| references(element, found)),
            _ => {}
        }
    }
    let schema: Value = serde_json::from_slice(&run_in(Path::new("."), &["schema"]).stdout).unwrap();
    assert_eq!(schema["$schema"], "https://json-schema.org/draft/2020-12/schema");
    assert_eq!(schema["additionalProperties"], false, "unknown keys are refused");
    assert_eq!(schema["required"], json!(["version", "listeners", "routes"]));
    let mut found = Vec::new();
    references(&schema, &mut found);
    assert!(found.len() > 20);
    for reference in found {
        let target = reference
            .strip_prefix('#')
            .and_then(|pointer| schema.pointer(pointer));
        assert!(target.is_some_and(Value::is_object), "{reference}");
    }
}

#[test]
fn a_bad_file_is_not_run() {
    let folder = Folder::new();
    // were it to listen, it would say that it cannot
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    folder.write("bad.yaml", plaintext(&address).replace("methods", "metods"));
    let output = run_in(&folder.0, &["run", "-c", "bad.yaml"]);
    let said = text(&output.stderr);
    assert_eq!(output.status.code(), Some(1));
    assert!(
        said.contains("unknown key `metods`") && !said.contains("cannot listen"),
        "{said}"
    );
}

#[test]
fn an_address_in_use_is_named_and_ends_the_run() {
    let folder = Folder::new();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = taken.local_addr().map(|address| (taken, address)).unwrap();
    let port = taken.1.port();
    let free = crate::support::free_address();
    for (listener, admin, named) in [
        (taken.1.to_string(), free.to_string(), taken.1.to_string()),
        (free.to_string(), taken.1.to_string(), taken.1.to_string()),
        // each of these two is free, both are not
        (
            format!("0.0.0.0:{}", free.port()),
            free.to_string(),
            free.to_string(),
        ),
    ] {
        folder.write(
            "file.yaml",
            format!("admin: {{ address: \"{admin}\" }}\n{}", plaintext(&listener)),
        );
        let output = run_in(&folder.0, &["run", "-c", "file.yaml"]);
        let said = text(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert!(
            said.contains(&format!("cannot listen on {named}")),
            "port {port}: {said}"
        );
    }
    folder.write(
        "file.yaml",
        format!(
            "admin: {{ address: \"{free}\" }}\n{}",
            plaintext(&free.to_string())
        ),
    );
    let said = text(&run_in(&folder.0, &["check", "-c", "file.yaml"]).stderr);
    assert!(
        said.contains(&format!("{free} is an address of `listeners`")),
        "{said}"
    );
}

/// What `explain` prints for a request.
fn explain(folder: &Folder, config: &str, described: &Value, more: &[&str]) -> String {
    folder.write("request.json", described.to_string());
    let mut arguments = vec!["explain", "-c", config, "-r", "request.json"];
    arguments.extend_from_slice(more);
    let output = run_in(&folder.0, &arguments);
    assert!(output.status.success(), "{described}: {}", text(&output.stderr));
    text(&output.stdout)
}

fn decision(folder: &Folder, config: &str, described: &Value) -> Value {
    serde_json::from_str(&explain(folder, config, described, &["--json"])).unwrap()
}

fn explain_folder() -> Folder {
    let folder = Folder::new();
    folder.write(
        "explain.yaml",
        std::fs::read(golden::path("explain.yaml")).unwrap(),
    );
    folder
}

// U7, M3
#[test]
fn explain_shows_each_gate_and_the_line_that_decided() {
    let liens = "https://api.example/v1/vehicles/1HG/liens";
    let history = "https://api.example/v1/vehicles/1HG/history";
    let token = |claims: Value| json!({ "issuer": "main", "claims": claims });
    let good = json!({ "sub": "ada", "scope": "read:lien_info", "roles": ["vehicle-analyst"] });
    let sending =
        |length: &str, media_type: &str| json!({ "Content-Length": length, "Content-Type": media_type });
    let at = "2026-03-01T12:00:00Z";
    let cases = [
        (
            "allow",
            json!({ "method": "GET", "url": liens, "at": at, "token": token(good.clone()) }),
        ),
        (
            "allow",
            json!({ "method": "GET", "url": "https://api.example/healthz", "at": at }),
        ),
        (
            "400",
            json!({ "method": "GET", "url": "https://api.example/v1/%2e%2e/healthz", "at": at }),
        ),
        ("401", json!({ "method": "GET", "url": liens, "at": at })),
        (
            "403",
            json!({ "method": "GET", "url": liens, "at": at, "token": token(json!({ "scope": "read:vehicle" })) }),
        ),
        (
            "403",
            json!({ "method": "GET", "url": liens, "at": at, "token": token(json!({ "scope": "read:lien_info" })) }),
        ),
        (
            "404",
            json!({ "method": "GET", "url": "https://api.example/v2", "at": at }),
        ),
        (
            "405",
            json!({ "method": "DELETE", "url": liens, "at": at, "token": token(good.clone()) }),
        ),
        (
            "413",
            json!({ "method": "POST", "url": history, "at": at, "token": token(json!({})),
                        "headers": sending("1025", "application/json") }),
        ),
        (
            "415",
            json!({ "method": "POST", "url": history, "at": at, "token": token(json!({})),
                        "headers": sending("1024", "text/xml") }),
        ),
        // a real token, and nobody has given its issuer's keys
        (
            "503",
            json!({ "method": "GET", "url": liens, "at": at,
                        "headers": { "Authorization": format!("Bearer {UNCHECKED}") } }),
        ),
    ];
    let folder = explain_folder();
    let mut all = String::new();
    for (status, described) in &cases {
        let decision = decision(&folder, "explain.yaml", described);
        let found = decision["status"]
            .as_u64()
            .map_or("allow".to_owned(), |status| status.to_string());
        assert_eq!(found, *status, "{described}");
        let (text, json) = (explain(&folder, "explain.yaml", described, &[]), &decision);
        all.push_str(&format!(
            "## {status}: {} {}\n\n{text}\n{json:#}\n\n",
            described["method"], described["url"]
        ));
    }
    golden::assert_same("explain.txt", &all);
}

/// Of `https://id.example/`; its signature is no signature.
const UNCHECKED: &str = "eyJhbGciOiJSUzI1NiIsImtpZCI6ImsxIn0.\
                         eyJpc3MiOiJodHRwczovL2lkLmV4YW1wbGUvIiwiYXVkIjoidmVoaWNsZS1hcGkiLCJzdWIiOiJhZGEiLCJleHAiOjQxMDI0NDQ4MDB9.\
                         c2lnbmF0dXJl";

// S49
#[test]
fn explain_decides_for_the_time_it_is_told() {
    let folder = explain_folder();
    // 2023-11-14T22:13:20Z
    let claims = json!({ "iat": 1_699_999_000, "exp": 1_700_000_000, "scope": "read:lien_info", "roles": ["vehicle-analyst"] });
    for (at, expected) in [
        ("2023-11-14T22:13:19Z", Value::Null),
        ("2023-11-14T22:13:49Z", Value::Null),
        ("2023-11-14T22:13:51Z", json!("token_expired")),
        ("2023-11-14T21:56:11Z", Value::Null),
        ("2023-11-14T21:56:09Z", json!("token_not_yet_valid")),
    ] {
        let described = json!({
            "method": "GET", "url": "https://api.example/v1/vehicles/1HG/liens", "at": at,
            "token": { "issuer": "main", "claims": claims },
        });
        assert_eq!(
            decision(&folder, "explain.yaml", &described)["reason"],
            expected,
            "{at}"
        );
    }
}

#[test]
fn explain_checks_a_real_token_with_the_keys_it_is_given() {
    let (folder, keys, other) = (explain_folder(), Keys::new("k1"), Keys::new("k1"));
    folder.write("keys.json", keys.jwks());
    folder.write("other.json", other.jwks());
    let claims =
        json!({ "iss": "https://id.example/", "scope": "read:lien_info", "roles": ["vehicle-analyst"] });
    let bearer = format!("Bearer {}", keys.token(claims));
    for (file, expected) in [
        ("keys.json", Value::Null),
        ("other.json", json!("signature_invalid")),
    ] {
        let described = json!({
            "method": "GET", "url": "https://api.example/v1/vehicles/1HG/liens",
            "headers": { "Authorization": bearer }, "keys": { "main": file },
        });
        let decision = decision(&folder, "explain.yaml", &described);
        assert_eq!(decision["reason"], expected, "{file}");
        assert!(
            !decision
                .to_string()
                .contains(bearer.trim_start_matches("Bearer ")),
            "the token is repeated"
        );
    }
}

// M3
#[test]
fn explain_and_the_running_gateway_say_the_same() {
    let keys = Keys::new("k1");
    let gateway = Gateway::start(&format!(
        "{}roles: {{ analyst: [vehicle-analyst] }}\nroutes:\n\
         - {{ match: {{ methods: [GET], path: \"/v/{{vin}}\" }}, auth: {{ jwt: main, scopes: [\"read:vehicle\"] }}, respond: 200 }}\n\
         - {{ match: {{ methods: [GET], path: \"/h/{{vin}}\" }}, auth: {{ jwt: main, roles: [analyst] }}, respond: 200 }}\n\
         - {{ match: {{ methods: [POST], path: /in }}, public: {{ reason: x, owner: x }}, request: {{ max_body: 10 }}, respond: 200 }}\n\
         - {{ match: {{ host: api.example, methods: [GET], path: /only }}, public: {{ reason: x, owner: x }}, respond: 200 }}\n",
        keys.inline()
    ));
    let bearer = |changes: Value| format!("Bearer {}", keys.token(changes));
    let good = bearer(json!({}));
    let auth = |value: &str| vec![("Authorization", value.to_owned())];
    let typed = |value: &str| vec![("Content-Type", value.to_owned())];
    let now = crate::support::issuer::now();
    type Headers = Vec<(&'static str, String)>;
    let table: Vec<(&str, &str, Headers, &str)> = vec![
        ("GET", "/v/1", auth(&good), ""),
        ("GET", "/v/1?full=yes", auth(&good), ""),
        ("GET", "/v/%31", auth(&good), ""),
        ("GET", "/v/1", vec![], ""),
        ("GET", "/v/1", auth("Bearer"), ""),
        ("GET", "/v/1", auth("Basic YTpi"), ""),
        ("GET", "/v/1", auth("Bearer a.b.c"), ""),
        ("GET", "/v/1", auth(&bearer(json!({ "exp": now - 60 }))), ""),
        ("GET", "/v/1", auth(&bearer(json!({ "aud": "other" }))), ""),
        (
            "GET",
            "/v/1",
            auth(&bearer(json!({ "iss": "https://other.example/" }))),
            "",
        ),
        ("GET", "/v/1", auth(&bearer(json!({ "scope": "read:other" }))), ""),
        ("GET", "/v/1?access_token=x", vec![], ""),
        ("GET", "/h/1", auth(&good), ""),
        (
            "GET",
            "/h/1",
            auth(&bearer(json!({ "roles": ["vehicle-analyst"] }))),
            "",
        ),
        ("HEAD", "/v/1", auth(&good), ""),
        ("GET", "/v", auth(&good), ""),
        ("GET", "/v/1/", auth(&good), ""),
        ("GET", "/v/a;b", auth(&good), ""),
        ("GET", "/v/..", auth(&good), ""),
        ("GET", "/v/a%2fb", auth(&good), ""),
        ("TRACE", "/v/1", auth(&good), ""),
        ("GET", "/only", vec![], ""),
        ("POST", "/in", typed("application/json"), "{\"a\": 1}"),
        ("POST", "/in", typed("application/json; charset=utf-7"), "{}"),
        ("POST", "/in", typed("text/xml"), "<a/>"),
        ("POST", "/in", vec![], "{}"),
        (
            "POST",
            "/in",
            typed("application/json"),
            "{\"a\": \"longer than ten\"}",
        ),
    ];
    let config = gateway.folder.0.join("durward.yaml").display().to_string();
    for (method, target, headers, body) in &table {
        let sent: Vec<(&str, &str)> = headers
            .iter()
            .map(|(name, value)| (*name, value.as_str()))
            .collect();
        let mut connection = gateway.client().connect();
        connection.write(request(method, target, &sent, body));
        let answer = connection.answer_to(method);
        let record = gateway.record(answer.header("x-request-id").unwrap());

        let mut described: serde_json::Map<String, Value> = headers
            .iter()
            .map(|(name, value)| ((*name).to_owned(), json!(value)))
            .collect();
        if !body.is_empty() {
            described.insert("Content-Length".to_owned(), json!(body.len().to_string()));
        }
        let described =
            json!({ "method": method, "url": format!("https://api.example{target}"), "headers": described });
        let decision = decision(&gateway.folder, &config, &described);
        let expected = (
            decision["status"].as_u64().unwrap_or(200),
            &decision["reason"],
            &decision["route"],
        );
        let found = (
            u64::from(answer.status),
            &record["error.type"],
            &record["durward.route.id"],
        );
        assert_eq!(found, expected, "{method} {target} {sent:?}");
    }
}

// what the figures of the benchmarks rest on; nothing else would say that it is gone
#[test]
fn malloc_is_the_allocator_that_was_chosen() {
    let output = binary()
        .arg("version")
        .env("MIMALLOC_VERBOSE", "1")
        .output()
        .unwrap();
    assert!(
        text(&output.stderr).contains("mimalloc: process init"),
        "{output:?}"
    );
}
