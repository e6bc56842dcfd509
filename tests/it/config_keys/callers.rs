//! `issuers:`, `roles:` and `identity_headers:`

use durward::gates::authn::KeysFrom;
use durward::gateway::compile::compile;
use durward::secrets::Sources;
use serde_json::{Value, json};

use super::Row;
use super::observe::{KEYS, check_in, explain, explained, offline, running};
use crate::support::issuer::{AUDIENCE, ISSUER};
use crate::support::{Authority, Folder, Gateway, Issuer, Keys, Origin, Reply};

pub fn rows() -> Vec<Row> {
    vec![
        Row {
            key: "issuers.*.issuer",
            settings: [
                ("https://a.example", "allow"),
                ("https://a.example/", "issuer_unknown"),
            ],
            observe: |issuer| {
                let config = guarded("").replace(ISSUER, issuer);
                explain(&config, &claiming(&json!({ "iss": "https://a.example" })))
            },
        },
        Row {
            key: "issuers.*.tenants",
            settings: [("[staff, guests]", "allow"), ("[guests]", "issuer_unknown")],
            observe: |tenants| {
                let mut shared = KEYS.jwk();
                shared["issuer"] = "https://sso.example/{tenantid}".into();
                let config = guarded(&format!("tenants: {tenants}, "))
                    .replace(ISSUER, "https://sso.example/{tenant}")
                    .replace(&KEYS.jwks(), &json!({ "keys": [shared] }).to_string());
                let token = KEYS.token(json!({ "iss": "https://sso.example/staff" }));
                explain(&config, &sending(&token))
            },
        },
        Row {
            key: "issuers.*.audiences",
            settings: [("[vehicle-api]", "allow"), ("[other-api]", "audience_mismatch")],
            observe: |audiences| {
                let config = guarded("").replace("[vehicle-api]", audiences);
                explain(&config, &claiming(&json!({ "aud": "vehicle-api" })))
            },
        },
        Row {
            key: "issuers.*.algorithms",
            settings: [("[ES256, RS256]", "allow"), ("[ES256]", "algorithm_not_allowed")],
            observe: |algorithms| {
                explain(
                    &guarded(&format!("algorithms: {algorithms}, ")),
                    &bearing("at+jwt"),
                )
            },
        },
        Row {
            key: "issuers.*.token_types",
            settings: [("[at+jwt]", "allow"), ("[JWT]", "token_type")],
            observe: |types| explain(&guarded(&format!("token_types: {types}, ")), &bearing("at+jwt")),
        },
        Row {
            key: "issuers.*.clock_skew",
            settings: [("30s", "allow"), ("10s", "token_expired")],
            observe: |skew| {
                let request = claiming(&json!({ "exp": 1_700_000_000 - 20, "iat": 1_699_999_000 }));
                explain(&guarded(&format!("clock_skew: {skew}, ")), &request)
            },
        },
        Row {
            key: "issuers.*.max_lifetime",
            settings: [("1h", "allow"), ("10m", "token_lifetime")],
            observe: |lifetime| {
                let request = claiming(&json!({ "iat": 1_700_000_000, "exp": 1_700_000_000 + 1800 }));
                explain(&guarded(&format!("max_lifetime: {lifetime}, ")), &request)
            },
        },
        Row {
            key: "issuers.*.jwks.inline",
            settings: [("k1", "allow"), ("another", "signature_invalid")],
            observe: |which| {
                let mut other = Keys::new("another");
                other.kid = "k1".to_owned();
                let jwks = if which == "k1" { KEYS.jwks() } else { other.jwks() };
                explain(&guarded("").replace(&KEYS.jwks(), &jwks), &bearing("at+jwt"))
            },
        },
        Row {
            key: "issuers.*.jwks.file",
            settings: [
                ("keys.json", "good"),
                ("empty.json", "error: no usable key in the set"),
            ],
            observe: |file| {
                let folder = Folder::new();
                folder.write("keys.json", KEYS.jwks());
                folder.write("empty.json", "{\"keys\":[]}");
                check_in(
                    &folder,
                    &guarded("").replace(&inline(), &format!("file: {file}")),
                    &[],
                )
            },
        },
        Row {
            key: "issuers.*.jwks.url",
            settings: [("/jwks.json", "200"), ("/other.json", "401")],
            observe: |path| {
                // two key sets of one server; both have the `kid` of the token
                let mut other = Keys::new("another");
                other.kid = KEYS.kid.clone();
                let (good, bad) = (KEYS.jwks(), other.jwks());
                let server = Origin::answering(move |seen| {
                    jwks(if seen.target == "/jwks.json" { &good } else { &bad })
                });
                asked_with(&format!("url: \"http://{}{path}\"", server.address))
            },
        },
        Row {
            key: "issuers.*.jwks.ca",
            settings: [("its.pem", "200"), ("another.pem", "503")],
            observe: |ca| {
                let authority = Authority::new();
                let leaf = authority.leaf(&["localhost", "127.0.0.1"]);
                let good = KEYS.jwks();
                let server = Origin::tls(&leaf.certificate, &leaf.key, move |_| jwks(&good));
                let keys = format!("url: \"https://localhost:{}/\", ca: {ca}", server.address.port());
                let gateway = Gateway::with(&guarded_by(&keys))
                    .file("its.pem", authority.pem())
                    .file("another.pem", Authority::new().pem())
                    .start();
                gateway
                    .client()
                    .get_with("/", &KEYS.token(json!({})))
                    .status
                    .to_string()
            },
        },
        Row {
            key: "issuers.*.jwks.timeout",
            settings: [("100ms", "503"), ("30s", "200")],
            observe: |timeout| {
                let issuer = Issuer::start("");
                let good = KEYS.jwks();
                issuer.answer(move || jwks(&good).after(std::time::Duration::from_millis(700)));
                asked_with(&format!(
                    "url: \"http://{}/\", timeout: {timeout}",
                    issuer.address
                ))
            },
        },
        // These three work over ten seconds and more, which a test will not wait for: that they arrive where the keeper of
        // keys reads them is shown here, and what it does with them by its own tests.
        Row {
            key: "issuers.*.jwks.cache",
            settings: [("10s", "10s"), ("5m", "300s")],
            observe: |span| kept("cache", span),
        },
        Row {
            key: "issuers.*.jwks.max_stale",
            settings: [("1h", "3600s"), ("10m", "600s")],
            observe: |span| kept("max_stale", span),
        },
        Row {
            key: "issuers.*.jwks.cooldown",
            settings: [("1s", "1s"), ("10s", "10s")],
            observe: |span| kept("cooldown", span),
        },
        Row {
            key: "issuers.*.claims.subject",
            settings: [("sub", "subject ada"), ("uid", "subject 1815")],
            observe: |claim| {
                let config = guarded(&format!("claims: {{ subject: {claim} }}, "));
                let decision = explained(&config, &claiming(&json!({ "sub": "ada", "uid": "1815" })));
                decision["trace"][2]["detail"].as_str().unwrap().to_owned()
            },
        },
        Row {
            key: "issuers.*.claims.client_id",
            settings: [("client_id", "app"), ("[azp, client_id]", "party")],
            observe: |claims| {
                let gateway = running(&format!(
                    "issuers:\n  main: {{ issuer: \"{ISSUER}\", audiences: [{AUDIENCE}], \
                     claims: {{ client_id: {claims} }}, jwks: {{ {} }} }}\n{ROUTE}",
                    inline()
                ));
                let token = KEYS.token(json!({ "client_id": "app", "azp": "party" }));
                let answer = gateway.client().get_with("/", &token);
                let record = gateway.record(answer.header("x-request-id").unwrap());
                record["durward.client.id"].as_str().unwrap().to_owned()
            },
        },
        Row {
            key: "issuers.*.claims.scopes",
            settings: [("/app/rights", "allow"), ("[scope, scp]", "scope_missing")],
            observe: |claims| {
                let config = guarded(&format!("claims: {{ scopes: {claims} }}, "))
                    .replace("auth: { jwt: main }", "auth: { jwt: main, scopes: [read] }");
                explain(&config, &claiming(&json!({ "app": { "rights": ["read"] } })))
            },
        },
        Row {
            key: "issuers.*.claims.roles",
            settings: [("realm_access.roles", "allow"), ("roles", "role_missing")],
            observe: |claims| {
                let config = guarded(&format!("claims: {{ roles: {claims} }}, "))
                    .replace("auth: { jwt: main }", "auth: { jwt: main, roles: [clerk] }");
                let config = config + "roles: { clerk: [clerk] }\n";
                explain(
                    &config,
                    &claiming(&json!({ "realm_access": { "roles": ["clerk"] } })),
                )
            },
        },
        Row {
            key: "resources.*.resource",
            settings: [
                (
                    "https://api.example/v1",
                    "200 at /.well-known/oauth-protected-resource/v1",
                ),
                (
                    "https://api.example",
                    "404 at /.well-known/oauth-protected-resource/v1",
                ),
            ],
            observe: |resource| {
                let gateway = running(&told(resource, ""));
                let place = "/.well-known/oauth-protected-resource/v1";
                format!("{} at {place}", gateway.client().get(place, &[]).status)
            },
        },
        Row {
            key: "resources.*.name",
            settings: [("Cars", "\"Cars\""), ("Lorries", "\"Lorries\"")],
            observe: |name| metadata("name", name, "resource_name"),
        },
        Row {
            key: "resources.*.documentation",
            settings: [
                ("https://a.example/", "\"https://a.example/\""),
                ("https://b.example/", "\"https://b.example/\""),
            ],
            observe: |url| metadata("documentation", url, "resource_documentation"),
        },
        Row {
            key: "resources.*.authorization_servers",
            settings: [
                ("[\"https://front.example/\"]", "[\"https://front.example/\"]"),
                ("[]", "null"),
            ],
            observe: |servers| metadata("authorization_servers", servers, "authorization_servers"),
        },
        Row {
            key: "resources.*.scopes",
            settings: [("[cars]", "[\"cars\"]"), ("[]", "null")],
            observe: |scopes| metadata("scopes", scopes, "scopes_supported"),
        },
        Row {
            key: "roles.*",
            settings: [("[admin, clerk]", "allow"), ("[admin]", "role_missing")],
            observe: |values| {
                let config =
                    guarded("").replace("auth: { jwt: main }", "auth: { jwt: main, roles: [staff] }");
                explain(
                    &format!("{config}roles: {{ staff: {values} }}\n"),
                    &claiming(&json!({ "roles": ["clerk"] })),
                )
            },
        },
        Row {
            key: "identity_headers.inject.*",
            settings: [("subject", "ada"), ("claims.tenant", "acme")],
            observe: |source| {
                sent_upstream(&format!("inject: {{ X-Who: {source} }}"), &[], "x-who").unwrap_or_default()
            },
        },
        Row {
            key: "identity_headers.reserved_prefixes",
            settings: [("[x-internal-]", "removed"), ("[x-durward-]", "passed")],
            observe: |prefixes| {
                let sent = sent_upstream(
                    &format!("reserved_prefixes: {prefixes}"),
                    &[("X-Internal-Trust", "all")],
                    "x-internal-trust",
                );
                if sent.is_some() { "passed" } else { "removed" }.to_owned()
            },
        },
    ]
}

const ROUTE: &str = "routes: [{ match: { methods: [GET], path: / }, auth: { jwt: main }, respond: 200 }]\n";

fn inline() -> String {
    format!("inline: '{}'", KEYS.jwks())
}

/// A route that asks for a token of `main`, whose keys are these.
fn guarded_by(keys: &str) -> String {
    format!(
        "issuers: {{ main: {{ issuer: \"{ISSUER}\", audiences: [{AUDIENCE}], jwks: {{ {keys} }} }} }}\n{ROUTE}"
    )
}

/// The same with all its keys at hand, never run; `more` are keys of the issuer.
fn guarded(more: &str) -> String {
    offline(&guarded_by(&inline()).replace("audiences:", &format!("{more}audiences:")))
}

/// A request at 1700000000 with a good token of `main` that says this.
fn claiming(claims: &Value) -> String {
    json!({
        "method": "GET", "url": "https://api.example/", "at": "2023-11-14T22:13:20Z",
        "token": { "issuer": "main", "claims": claims },
    })
    .to_string()
}

/// A request with a token that was really signed.
fn bearing(token_type: &str) -> String {
    let header = json!({ "alg": "RS256", "typ": token_type, "kid": KEYS.kid });
    sending(&KEYS.sign(&header, &Keys::claims(json!({}))))
}

fn sending(token: &str) -> String {
    json!({
        "method": "GET", "url": "https://api.example/", "headers": { "Authorization": format!("Bearer {token}") },
    })
    .to_string()
}

/// A route of this resource, which also says this.
fn told(resource: &str, more: &str) -> String {
    format!(
        "{}resources: {{ cars: {{ resource: \"{resource}\"{more} }} }}\n",
        guarded_by(&inline())
    )
}

/// A member of the metadata of a resource that says this.
fn metadata(key: &str, value: &str, member: &str) -> String {
    let gateway = running(&told("https://api.example", &format!(", {key}: {value}")));
    let answer = gateway.client().get("/.well-known/oauth-protected-resource", &[]);
    answer.json()[member].to_string()
}

fn jwks(text: &str) -> Reply {
    Reply::new(200, &[("Content-Type", "application/json")], text)
}

/// The status that a good token gets where keys are fetched so.
fn asked_with(keys: &str) -> String {
    let gateway = running(&guarded_by(keys));
    gateway
        .client()
        .get_with("/", &KEYS.token(json!({})))
        .status
        .to_string()
}

/// What the keeper of keys is told.
fn kept(key: &str, span: &str) -> String {
    let text = offline(&guarded_by(&format!(
        "url: \"https://id.example/\", {key}: {span}"
    )));
    let gateway = compile("durward.yaml", &text, &Sources::default())
        .gateway
        .expect("a good configuration");
    let KeysFrom::Url(url) = &gateway.issuers[0].keys else {
        panic!("keys are fetched")
    };
    let all = [
        ("cache", url.cache),
        ("max_stale", url.max_stale),
        ("cooldown", url.cooldown),
    ];
    let (_, found) = all.into_iter().find(|(name, _)| *name == key).unwrap();
    format!("{}s", found.as_secs())
}

/// A header as the service gets it, from a client with a token that sends these headers.
fn sent_upstream(identity_headers: &str, headers: &[(&str, &str)], name: &str) -> Option<String> {
    let origin = Origin::start();
    let gateway = running(&format!(
        "{}identity_headers: {{ {identity_headers} }}\nupstreams: {{ service: {{ targets: [\"{}\"] }} }}\n{}",
        KEYS.inline(),
        origin.address,
        ROUTE.replace("respond: 200", "upstream: service")
    ));
    let bearer = format!("Bearer {}", KEYS.token(json!({ "tenant": "acme" })));
    let mut all = vec![("Authorization", bearer.as_str())];
    all.extend_from_slice(headers);
    assert_eq!(gateway.client().get("/", &all).status, 200);
    origin.only().header(name).map(str::to_owned)
}
