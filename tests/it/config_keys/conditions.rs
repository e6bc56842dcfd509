//! `conditions:`, `countries:`, `defaults:`, `groups:`, what routes make of them, and shadows

use serde_json::json;

use super::Row;
use super::observe::{KEYS, check, explain, explained, offline, prove, running};
use crate::support::issuer::AUDIENCE;
use crate::support::{Folder, mmdb};

pub fn rows() -> Vec<Row> {
    vec![
        Row {
            key: "conditions.*.mode",
            settings: [("enforce", "network_not_allowed"), ("shadow", "allow")],
            observe: |mode| {
                from(
                    &format!("mode: {mode}, networks: {{ allow: [10.0.0.0/8] }}"),
                    "192.0.2.1",
                )
            },
        },
        Row {
            key: "conditions.*.networks.allow",
            settings: [
                ("[10.0.0.0/8]", "network_not_allowed"),
                ("[192.0.2.0/24]", "allow"),
            ],
            observe: |allow| from(&format!("networks: {{ allow: {allow} }}"), "192.0.2.1"),
        },
        Row {
            key: "conditions.*.networks.deny",
            settings: [
                ("[10.0.0.0/8]", "allow"),
                ("[\"192.0.2.1\"]", "network_not_allowed"),
            ],
            observe: |deny| from(&format!("networks: {{ deny: {deny} }}"), "192.0.2.1"),
        },
        Row {
            key: "conditions.*.countries.allow",
            settings: [("[DE]", "allow"), ("[SE]", "country_not_allowed")],
            observe: |allow| country(&format!("allow: {allow}"), "192.0.2.1", &[("192.0.2.0/24", "DE")]),
        },
        Row {
            key: "conditions.*.countries.deny",
            settings: [("[DE]", "country_not_allowed"), ("[SE]", "allow")],
            observe: |deny| country(&format!("deny: {deny}"), "192.0.2.1", &[("192.0.2.0/24", "DE")]),
        },
        Row {
            key: "conditions.*.countries.unknown",
            settings: [("deny", "country_unknown"), ("allow", "allow")],
            observe: |unknown| {
                country(
                    &format!("allow: [DE], unknown: {unknown}"),
                    "10.0.0.1",
                    &[("192.0.2.0/24", "DE")],
                )
            },
        },
        Row {
            key: "countries.database",
            settings: [("DE", "allow"), ("SE", "country_not_allowed")],
            observe: |says| country("allow: [DE]", "2001:db8::1", &[("2001:db8::/32", says)]),
        },
        Row {
            key: "conditions.*.times[].days",
            settings: [("[mon, sun]", "allow"), ("[tue]", "time_not_allowed")],
            observe: |days| {
                at(&format!(
                    "days: {days}, from: \"00:00\", to: \"24:00\", zone: UTC"
                ))
            },
        },
        Row {
            key: "conditions.*.times[].from",
            settings: [("\"12:00\"", "allow"), ("\"12:01\"", "time_not_allowed")],
            observe: |from| at(&format!("from: {from}, to: \"24:00\", zone: UTC")),
        },
        Row {
            key: "conditions.*.times[].to",
            settings: [("\"12:00\"", "time_not_allowed"), ("\"12:01\"", "allow")],
            observe: |to| at(&format!("from: \"00:00\", to: {to}, zone: UTC")),
        },
        Row {
            key: "conditions.*.times[].zone",
            settings: [("Europe/Berlin", "time_not_allowed"), ("Europe/London", "allow")],
            observe: |zone| at(&format!("from: \"12:00\", to: \"13:00\", zone: {zone}")),
        },
        Row {
            key: "conditions.*.scopes",
            settings: [("[read]", "allow"), ("[read, write]", "scope_missing")],
            observe: |scopes| with_claims(&format!("scopes: {scopes}"), json!({ "scope": "read" })),
        },
        Row {
            key: "conditions.*.roles",
            settings: [("[clerk]", "allow"), ("[chief]", "role_missing")],
            observe: |roles| with_claims(&format!("roles: {roles}"), json!({ "roles": ["c"] })),
        },
        Row {
            key: "conditions.*.permissions",
            settings: [("[a, b]", "allow"), ("[a, c]", "permission_missing")],
            observe: |all| {
                with_claims(
                    &format!("permissions: {all}"),
                    json!({ "permissions": ["b", "a"] }),
                )
            },
        },
        Row {
            key: "conditions.*.step_up.acr",
            settings: [("[gold, silver]", "allow"), ("[gold]", "acr_insufficient")],
            observe: |acr| with_claims(&format!("step_up: {{ acr: {acr} }}"), logged_in()),
        },
        Row {
            key: "conditions.*.step_up.amr",
            settings: [("[mfa]", "allow"), ("[mfa, hwk]", "amr_insufficient")],
            observe: |amr| with_claims(&format!("step_up: {{ amr: {amr} }}"), logged_in()),
        },
        Row {
            key: "conditions.*.step_up.max_age",
            settings: [("10m", "allow"), ("1m", "authentication_too_old")],
            observe: |max_age| with_claims(&format!("step_up: {{ max_age: {max_age} }}"), logged_in()),
        },
        Row {
            key: "conditions.*.claim_matches.*",
            settings: [("vehicle.vin", "allow"), ("sub", "claim_mismatch")],
            observe: |claim| {
                with_claims(
                    &format!("claim_matches: {{ vin: {claim} }}"),
                    json!({ "vehicle": { "vin": "1HG" } }),
                )
            },
        },
        Row {
            key: "conditions.*.when",
            settings: [
                ("'claims.level >= 2'", "allow"),
                ("'claims.level >= 3'", "condition_not_met"),
            ],
            observe: |when| with_claims(&format!("when: {when}"), json!({ "level": 2 })),
        },
        Row {
            key: "defaults.conditions",
            settings: [("[inside]", "network_not_allowed"), ("[]", "allow")],
            observe: |names| inherited(&format!("defaults: {{ conditions: {names} }}"), ""),
        },
        Row {
            key: "groups.*.conditions",
            settings: [("[inside]", "network_not_allowed"), ("[]", "allow")],
            observe: |names| {
                inherited(
                    &format!("groups: {{ g: {{ conditions: {names} }} }}"),
                    "groups: [g]",
                )
            },
        },
        Row {
            key: "routes[].groups",
            settings: [("[g]", "network_not_allowed"), ("[]", "allow")],
            observe: |names| {
                inherited(
                    "groups: { g: { conditions: [inside] } }",
                    &format!("groups: {names}"),
                )
            },
        },
        Row {
            key: "routes[].conditions",
            settings: [("[inside]", "network_not_allowed"), ("[]", "allow")],
            observe: |names| inherited("", &format!("conditions: {names}")),
        },
        Row {
            key: "routes[].disable.conditions",
            settings: [("[inside]", "allow"), ("[other]", "network_not_allowed")],
            observe: |names| {
                inherited(
                    "defaults: { conditions: [inside, other] }",
                    &format!("disable: {{ conditions: {names}, reason: test }}"),
                )
            },
        },
        Row {
            key: "routes[].disable.reason",
            settings: [
                (
                    "probes",
                    "condition inside of the defaults, because: probes (line 7)",
                ),
                (
                    "crawlers",
                    "condition inside of the defaults, because: crawlers (line 7)",
                ),
            ],
            observe: |reason| {
                let config = inheriting(
                    "defaults: { conditions: [inside] }",
                    &format!("disable: {{ conditions: [inside], reason: {reason} }}"),
                );
                prove(&config)["routes"][0]["disabled"]
                    .as_str()
                    .unwrap()
                    .to_owned()
            },
        },
        Row {
            key: "defaults.limits",
            settings: [("[strict]", "strict (1 in 3600 s)"), ("[]", "none")],
            observe: |names| traffic(&format!("defaults: {{ limits: {names} }}"), ""),
        },
        Row {
            key: "groups.*.limits",
            settings: [("[strict]", "strict (1 in 3600 s)"), ("[]", "none")],
            observe: |names| traffic(&format!("groups: {{ g: {{ limits: {names} }} }}"), "groups: [g]"),
        },
        Row {
            key: "routes[].disable.limits",
            settings: [
                ("[strict]", "lax (9 in 3600 s)"),
                ("[lax]", "strict (1 in 3600 s)"),
            ],
            observe: |names| {
                traffic(
                    "defaults: { limits: [strict, lax] }",
                    &format!("disable: {{ limits: {names}, reason: test }}"),
                )
            },
        },
        Row {
            key: "routes[].auth.mode",
            settings: [
                ("enforce", "good"),
                (
                    "shadow",
                    "authentication cannot be a shadow: whoever has no good credential would get in as nobody in particular",
                ),
            ],
            observe: |mode| {
                let said = check(&protected("", &format!("jwt: main, mode: {mode}")));
                said.split_once("error: ")
                    .map_or("good", |(_, said)| said)
                    .to_owned()
            },
        },
        Row {
            key: "routes[].request.mode",
            settings: [("enforce", "content_type_not_allowed"), ("shadow", "allow")],
            observe: |mode| {
                let config = inheriting("", &format!("request: {{ mode: {mode} }}"));
                let headers = json!({ "Content-Length": "3", "Content-Type": "text/plain" });
                explain(
                    &config,
                    &json!({ "method": "GET", "url": "https://api.example/", "headers": headers })
                        .to_string(),
                )
            },
        },
        Row {
            key: "limits.*.mode",
            settings: [("enforce", "200 429"), ("shadow", "200 200")],
            observe: |mode| {
                twice(
                    &format!("limits: {{ l: {{ rate: 1/h, key: global, mode: {mode} }} }}"),
                    "[l]",
                )
            },
        },
        Row {
            key: "flood.mode",
            settings: [("enforce", "some refused"), ("shadow", "none refused")],
            observe: |mode| {
                let gateway = running(&format!(
                    "flood: {{ per_address: 1, mode: {mode} }}\n{}",
                    open("limits: []")
                ));
                // more than one in some second
                let refused = (0..10).any(|_| gateway.client().get("/", &[]).status == 429);
                if refused { "some refused" } else { "none refused" }.to_owned()
            },
        },
    ]
}

const MATCH: &str = "match: { methods: [GET], path: / }";

/// A public route with more keys.
fn open(keys: &str) -> String {
    format!("routes:\n- {{ {MATCH}, public: {{ reason: x, owner: x }}, respond: 200, {keys} }}\n")
}

/// The statuses of two requests.
fn twice(limits: &str, names: &str) -> String {
    let gateway = running(&format!("{limits}\n{}", open(&format!("limits: {names}"))));
    let status = || gateway.client().get("/", &[]).status;
    format!("{} {}", status(), status())
}

/// A public route with this, and conditions to inherit.
fn inheriting(top: &str, route: &str) -> String {
    offline(&format!(
        "conditions: {{ inside: {{ networks: {{ allow: [10.0.0.0/8] }} }}, other: {{ networks: {{ deny: [10.0.0.0/8] }} }} }}\n\
         limits: {{ strict: {{ rate: 1/h, key: global }}, lax: {{ rate: 9/h, key: global }} }}\n{top}\n{}",
        open(route)
    ))
}

fn inherited(top: &str, route: &str) -> String {
    explain(&inheriting(top, route), &asking("192.0.2.1"))
}

fn traffic(top: &str, route: &str) -> String {
    let proof = prove(&inheriting(top, route));
    proof["routes"][0]["traffic"]
        .as_str()
        .unwrap_or("none")
        .to_owned()
}

fn asking(address: &str) -> String {
    let from = if address.contains(':') {
        format!("[{address}]:1")
    } else {
        format!("{address}:1")
    };
    json!({ "method": "GET", "url": "https://api.example/", "from": from }).to_string()
}

/// What a public route with this condition says to a client of this address.
fn from(condition: &str, address: &str) -> String {
    let config = offline(&format!(
        "conditions: {{ c: {{ {condition} }} }}\n{}",
        open("conditions: [c]")
    ));
    explain(&config, &asking(address))
}

/// The same by country, with a database of these.
fn country(condition: &str, address: &str, database: &[(&str, &str)]) -> String {
    let folder = Folder::new();
    let file = folder.write("countries.mmdb", mmdb::countries(database));
    let config = offline(&format!(
        "countries: {{ database: \"{file}\" }}\nconditions: {{ c: {{ countries: {{ {condition} }} }} }}\n{}",
        open("conditions: [c]")
    ));
    explain(&config, &asking(address))
}

/// At noon of a Monday.
fn at(window: &str) -> String {
    let config = offline(&format!(
        "conditions: {{ c: {{ times: [{{ {window} }}] }} }}\n{}",
        open("conditions: [c]")
    ));
    let request = json!({ "method": "GET", "url": "https://api.example/", "at": "2026-01-05T12:00:00Z" });
    explain(&config, &request.to_string())
}

/// A route at `/{vin}` for the tokens of `main`.
fn protected(top: &str, auth: &str) -> String {
    offline(&format!(
        "issuers: {{ main: {{ issuer: \"https://main.example/\", audiences: [{AUDIENCE}], jwks: {{ inline: '{}' }} }} }}\n\
         roles: {{ clerk: [c], chief: [d] }}\n{top}\n\
         routes: [{{ match: {{ methods: [GET], path: \"/{{vin}}\" }}, auth: {{ {auth} }}, respond: 200 }}]\n",
        KEYS.jwks()
    ))
}

fn with_claims(condition: &str, claims: serde_json::Value) -> String {
    let top = format!("conditions: {{ c: {{ {condition} }} }}\ndefaults: {{ conditions: [c] }}");
    let token = json!({ "issuer": "main", "claims": claims });
    let request = json!({ "method": "GET", "url": "https://api.example/1HG", "token": token });
    let decision = explained(&protected(&top, "jwt: main"), &request.to_string());
    decision["reason"].as_str().unwrap_or("allow").to_owned()
}

/// Claims of a log-in 100 seconds before [`with_claims`] and `claiming` decide.
pub fn logged_in() -> serde_json::Value {
    json!({ "acr": "silver", "amr": ["pwd", "mfa"], "auth_time": crate::support::issuer::now() - 100 })
}
