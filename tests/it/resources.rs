//! Protected resources (RFC 9728): clients learn from the gateway where they get tokens, and for what.

use serde_json::{Value, json};

use crate::support::client::request;
use crate::support::gateway::check;
use crate::support::issuer::{AUDIENCE, ISSUER};
use crate::support::{Authority, Folder, Gateway, Keys, h2};

const PLACE: &str = "/.well-known/oauth-protected-resource/v1";
const METADATA: &str = "https://api.example/.well-known/oauth-protected-resource/v1";

/// Routes below the resource, beside it, and of another host.
fn body(keys: &Keys, resources: &str) -> String {
    let mut of_tenants = keys.jwk();
    of_tenants["issuer"] = "https://sso.example/realms/{tenantid}".into();
    format!(
        "issuers:\n\
         \x20 main: {{ issuer: \"{ISSUER}\", audiences: [{AUDIENCE}], jwks: {{ inline: '{0}' }} }}\n\
         \x20 sso: {{ issuer: \"https://sso.example/realms/{{tenant}}\", tenants: [a, b], audiences: [{AUDIENCE}], jwks: {{ inline: '{1}' }} }}\n\
         \x20 named: {{ issuer: joe, audiences: [{AUDIENCE}], jwks: {{ inline: '{0}' }} }}\n\
         \x20 unused: {{ issuer: \"https://unused.example/\", audiences: [{AUDIENCE}], jwks: {{ inline: '{0}' }} }}\n\
         keys: {{ apps: {{ file: apps.json }} }}\n\
         conditions: {{ positions: {{ scopes: [\"read:position\"] }} }}\n\
         routes:\n\
         \x20 - {{ match: {{ host: api.example, methods: [GET], path: \"/v1/vehicles/{{vin}}\" }}, auth: {{ jwt: main, scopes: [\"read:vehicle\", \"read:lien_info\"] }}, respond: 200 }}\n\
         \x20 - {{ match: {{ methods: [GET], path: /v1/positions }}, auth: {{ jwt: [sso, named] }}, conditions: [positions], respond: 200 }}\n\
         \x20 - {{ match: {{ methods: [GET], path: /v1/exports }}, auth: {{ api_key: apps }}, respond: 200 }}\n\
         \x20 - {{ match: {{ methods: [GET], path: /v1/recent }}, auth: {{ jwt: main, step_up: {{ max_age: 5m }} }}, respond: 200 }}\n\
         \x20 - {{ match: {{ methods: [GET], path: /v10 }}, auth: {{ jwt: unused, scopes: [other] }}, respond: 200 }}\n\
         \x20 - {{ match: {{ host: localhost, methods: [GET], path: /v1/local }}, auth: {{ jwt: unused, scopes: [local] }}, respond: 200 }}\n\
         {resources}",
        keys.jwks(),
        json!({ "keys": [of_tenants] }),
    )
}

const RESOURCE: &str = "resources: { cars: { resource: \"https://api.example/v1\" } }\n";

fn start(keys: &Keys, resources: &str) -> crate::support::gateway::Start {
    Gateway::with(&body(keys, resources)).file(
        "apps.json",
        "{\"version\":1,\"environment\":\"live\",\"keys\":[]}",
    )
}

// S52: RFC 9728 sections 2 and 3.2
#[test]
fn metadata_say_what_the_routes_ask_for() {
    let keys = Keys::new("k1");
    let gateway = start(&keys, RESOURCE).start();
    let client = gateway.client();
    let answer = client.get(PLACE, &[]);
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(answer.header("content-type"), Some("application/json"));
    assert_eq!(answer.header("cache-control"), Some("public, max-age=300"));
    assert_eq!(
        answer.json(),
        json!({
            "resource": "https://api.example/v1",
            "authorization_servers": [ISSUER, "https://sso.example/realms/a", "https://sso.example/realms/b"],
            "scopes_supported": ["read:lien_info", "read:position", "read:vehicle"],
            "bearer_methods_supported": ["header"],
        })
    );
    // made here, and recorded
    let record = gateway.record(answer.header("x-request-id").unwrap());
    assert_eq!(record["http.route"], PLACE);
    assert_eq!(record["http.response.status_code"], 200);
    let head = client.request("HEAD", PLACE, &[], "");
    assert_eq!((head.status, head.text().as_str()), (200, ""));
    assert_eq!(head.header("content-length"), answer.header("content-length"));
    let post = client.send(request("POST", PLACE, &[], ""));
    assert_eq!((post.status, post.header("allow")), (405, Some("GET, HEAD")));
    // of this host, and at this place alone
    assert_eq!(
        client.get("/.well-known/oauth-protected-resource", &[]).status,
        404
    );
    assert_eq!(
        client
            .get("/.well-known/oauth-protected-resource/v10", &[])
            .status,
        404
    );
    assert_eq!(client.get(&format!("{PLACE}/vehicles"), &[]).status, 404);
    assert_eq!(client.get_as(PLACE, "localhost").status, 404);
}

// S52, U22: section 5.1
#[test]
fn challenges_of_its_routes_say_where_the_metadata_are() {
    let keys = Keys::new("k1");
    let gateway = start(&keys, RESOURCE).start();
    let client = gateway.client();
    let metadata = format!("resource_metadata=\"{METADATA}\"");
    let challenge = |path: &str, headers: &[(&str, &str)]| {
        let answer = client.get(path, headers);
        let challenge = answer.header("www-authenticate").unwrap_or_default().to_owned();
        (answer.status, challenge)
    };
    let bearer = |token: String| format!("Bearer {token}");
    for (path, authorization, status, starts) in [
        (
            "/v1/vehicles/1",
            None,
            401,
            format!("Bearer realm=\"durward\", {metadata}"),
        ),
        (
            "/v1/vehicles/1",
            Some("Bearer forged".to_owned()),
            401,
            format!("Bearer realm=\"durward\", {metadata}, error=\"invalid_token\""),
        ),
        (
            "/v1/vehicles/1",
            Some(bearer(keys.token(json!({ "scope": "openid" })))),
            403,
            format!("Bearer realm=\"durward\", {metadata}, error=\"insufficient_scope\""),
        ),
        (
            "/v1/recent",
            Some(bearer(keys.token(json!({ "auth_time": 1 })))),
            401,
            format!("Bearer realm=\"durward\", {metadata}, error=\"insufficient_user_authentication\""),
        ),
        (
            "/v1/positions",
            None,
            401,
            format!("Bearer realm=\"durward\", {metadata}"),
        ),
    ] {
        let headers: Vec<(&str, &str)> = authorization
            .iter()
            .map(|value| ("Authorization", &**value))
            .collect();
        let (found, said) = challenge(path, &headers);
        assert_eq!(found, status, "{path}: {said}");
        assert!(said.starts_with(&starts), "{path}: {said}");
    }
    // a key is no token; and what is not below the resource is not of it
    assert_eq!(
        challenge("/v1/exports", &[]),
        (401, "ApiKey realm=\"durward\"".to_owned())
    );
    assert_eq!(
        challenge("/v10", &[]),
        (401, "Bearer realm=\"durward\"".to_owned())
    );
    let elsewhere = client.get_as("/v1/positions", "localhost");
    assert_eq!(
        elsewhere.header("www-authenticate"),
        Some("Bearer realm=\"durward\"")
    );
}

#[test]
fn what_is_written_is_told_in_the_place_of_what_follows() {
    let keys = Keys::new("k1");
    let written = "resources:\n\
         \x20 cars:\n\
         \x20   resource: \"https://api.example/v1\"\n\
         \x20   name: Cars\n\
         \x20   documentation: \"https://docs.example/cars\"\n\
         \x20   authorization_servers: [\"https://front.example/\"]\n\
         \x20   scopes: [cars]\n\
         \x20 all: { resource: \"https://api.example\", scopes: [], authorization_servers: [] }\n";
    let gateway = start(&keys, written).start();
    let client = gateway.client();
    assert_eq!(
        client.get(PLACE, &[]).json(),
        json!({
            "resource": "https://api.example/v1",
            "authorization_servers": ["https://front.example/"],
            "scopes_supported": ["cars"],
            "bearer_methods_supported": ["header"],
            "resource_name": "Cars",
            "resource_documentation": "https://docs.example/cars",
        })
    );
    // what is empty is left out
    assert_eq!(
        client.get("/.well-known/oauth-protected-resource", &[]).json(),
        json!({ "resource": "https://api.example", "bearer_methods_supported": ["header"] })
    );
    // the closest one counts
    let challenge = |path: &str| {
        client
            .get(path, &[])
            .header("www-authenticate")
            .unwrap()
            .to_owned()
    };
    assert!(challenge("/v1/positions").contains("/.well-known/oauth-protected-resource/v1\""));
    assert!(challenge("/v10").contains("/.well-known/oauth-protected-resource\""));
}

// S68, S69: what the defaults ask of everybody is asked here as well, and nothing of callers
#[test]
fn defaults_apply_as_far_as_they_are_about_everybody() {
    let keys = Keys::new("k1");
    let defaults = "limits: { each: { rate: 2/m, key: address }, caller: { rate: 1/m, key: subject } }\n\
         defaults: { conditions: [staff], limits: [each, caller] }\n";
    let body = body(&keys, &format!("{RESOURCE}{defaults}"))
        .replace("conditions: {", "roles: { clerk: [clerk] }\nconditions: { staff: { roles: [clerk], networks: { deny: [\"192.0.2.0/24\"] } },");
    let gateway = Gateway::with(&body)
        .file(
            "apps.json",
            "{\"version\":1,\"environment\":\"live\",\"keys\":[]}",
        )
        .start();
    let client = gateway.client();
    let statuses: Vec<u16> = (0..3).map(|_| client.get(PLACE, &[]).status).collect();
    assert_eq!(statuses, [200, 200, 429]);
    let printed = gateway.command("prove").arg("--json").output().unwrap();
    let proof: Value = serde_json::from_slice(&printed.stdout).unwrap();
    let public = proof["public"].as_array().unwrap();
    let shown: Vec<&Value> = public.iter().filter(|one| one["path"] == PLACE).collect();
    assert_eq!(shown.len(), 2, "GET and HEAD: {public:?}");
    for one in shown {
        assert_eq!(
            (&one["host"], &one["owner"]),
            (&json!("api.example"), &json!("resources.cars"))
        );
        let why = one["reason"].as_str().unwrap();
        assert!(why.contains("RFC 9728") && why.contains("`cars`"), "{why}");
        assert!(one["circumstances"].to_string().contains("192.0.2.0/24"), "{one}");
    }
}

// S28: tokens that are bound to a certificate are held to it wherever there can be one (RFC 8705)
#[test]
fn a_gateway_that_asks_for_certificates_says_so_over_http2_too() {
    let keys = Keys::new("k1");
    let gateway = start(
        &keys,
        &format!("{RESOURCE}truststores: {{ services: {{ ca: [ca.pem] }} }}\n"),
    )
    .file("ca.pem", Authority::new().pem())
    .tls("client_certificates: { mode: optional, trust: services }")
    .start();
    let answer = h2::get(gateway.https, &gateway.authority, PLACE, &[]);
    assert_eq!(answer.status, 200);
    assert_eq!(answer.json()["tls_client_certificate_bound_access_tokens"], true);
}

// M14: a client learns from the metadata, and from the challenge's way to them, that it needs proofs (RFC 9728 section 2)
#[test]
fn a_resource_says_whether_tokens_have_to_be_bound_to_a_key() {
    let keys = Keys::new("k1");
    let told = |one: &str, others: &str| {
        let body = body(&keys, RESOURCE)
            .replace("jwt: main", &format!("jwt: main{one}"))
            .replace("jwt: [sso, named]", &format!("jwt: [sso, named]{others}"));
        let gateway = Gateway::with(&format!("dpop: {{ algorithms: [ES256] }}\n{body}"))
            .file(
                "apps.json",
                "{\"version\":1,\"environment\":\"live\",\"keys\":[]}",
            )
            .start();
        let client = gateway.client();
        let refused = client.get("/v1/recent", &[]);
        assert_eq!(refused.status, 401);
        let challenge = refused.header("www-authenticate").unwrap().to_owned();
        let metadata = client.get(PLACE, &[]).json();
        let said = [
            "dpop_signing_alg_values_supported",
            "dpop_bound_access_tokens_required",
        ];
        (said.map(|member| metadata[member].clone()), challenge)
    };
    assert_eq!(told("", "").0, [Value::Null, Value::Null]);
    let (required, optional) = (", dpop: required", ", dpop: optional");
    assert_eq!(told(required, optional).0, [json!(["ES256"]), Value::Null]);
    let (said, challenge) = told(required, required);
    assert_eq!(said, [json!(["ES256"]), json!(true)]);
    assert!(
        challenge.starts_with("DPoP ") && challenge.contains("resource_metadata="),
        "{challenge}"
    );
}

// U14: it does not take a place away without a word
#[test]
fn a_place_that_a_route_has_is_not_taken_without_a_word() {
    let folder = Folder::new();
    let issuer = format!(
        "issuers: {{ main: {{ issuer: \"{ISSUER}\", audiences: [{AUDIENCE}], jwks: {{ inline: '{}' }} }} }}\n",
        Keys::new("k").jwks()
    );
    let config = |resource: &str, route: &str| {
        format!(
            "version: 1\nlisteners: [{{ address: \"127.0.0.1:1\", plaintext: {{ reason: test }} }}]\n{issuer}routes:\n  - {{ match: {{ methods: [GET], path: /v1/x }}, auth: {{ jwt: main, scopes: [x] }}, respond: 200 }}\n{route}\
             resources: {{ cars: {{ resource: \"{resource}\" }} }}\n"
        )
    };
    let public = |host: &str, methods: &str, path: &str| {
        format!(
            "  - {{ id: theirs, match: {{ {host}methods: [{methods}], path: \"{path}\" }}, public: {{ reason: x, owner: x }}, respond: 200 }}\n"
        )
    };
    let taken = "its metadata are at `/.well-known/oauth-protected-resource/v1`, which belongs to the route `theirs` (line 6)";
    for route in [
        public("", "GET", PLACE),
        public("", "HEAD", PLACE),
        public("", "POST", PLACE),
        public("host: api.example, ", "GET", PLACE),
        public("host: \"*.example\", ", "GET", PLACE),
    ] {
        let (is_good, said) = check(&folder, &config("https://api.example/v1", &route));
        assert!(!is_good && said.contains(taken), "{route}: {said}");
    }
    let (is_good, said) = check(
        &folder,
        &config(
            "https://api.example/v1",
            &public("", "GET", "/.well-known/{rest*}"),
        ),
    );
    assert!(
        is_good && said.contains("of which the route `theirs` (line 6) no longer hears"),
        "{said}"
    );
    for route in [
        public("host: other.example, ", "GET", PLACE),
        public("", "GET", "/{rest*}"),
        String::new(),
    ] {
        let (is_good, said) = check(&folder, &config("https://api.example/v1", &route));
        assert!(is_good && said.is_empty(), "{route}: {said}");
    }
    for (resource, expected) in [
        ("http://api.example/v1", "is no identifier of a resource"),
        ("https://api.example/v1/", "is no identifier of a resource"),
        ("https://api.example/v1?x=1", "is no identifier of a resource"),
        ("https://api.example/v1#x", "is no identifier of a resource"),
        ("vehicles", "is no identifier of a resource"),
        (
            "https://api.example/v1/../v2",
            "not a path that a request could have",
        ),
    ] {
        let (is_good, said) = check(&folder, &config(resource, ""));
        assert!(!is_good && said.contains(expected), "{resource}: {said}");
    }
    let (is_good, said) = check(&folder, &config("https://api.example/v2", ""));
    assert!(is_good && said.contains("no route is below it"), "{said}");
}
