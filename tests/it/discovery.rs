//! Keys that are where their issuer's metadata say (OpenID Connect Discovery 1.0, RFC 8414).

use std::sync::{Arc, Mutex};

use serde_json::json;

use crate::support::issuer::AUDIENCE;
use crate::support::origin::Seen;
use crate::support::{Authority, Gateway, Keys, Origin, Reply};

fn document(json: &str) -> Reply {
    Reply::new(200, &[("Content-Type", "application/json")], json)
}

/// A gateway that learns from the issuer itself where its keys are; `jwks` is added to the issuer, as flow YAML.
fn gateway(issuer: &str, jwks: &str) -> crate::support::gateway::Start {
    Gateway::with(&format!(
        "issuers: {{ main: {{ issuer: \"{issuer}\", audiences: [{AUDIENCE}], discovery: true{jwks} }} }}\n\
         routes: [{{ match: {{ methods: [GET], path: / }}, auth: {{ jwt: main }}, respond: 200 }}]\n"
    ))
}

/// A server whose behaviour may depend on its own address.
fn issuer(behaviour: impl Fn(&str, &Seen) -> Reply + Send + Sync + 'static) -> (Origin, String) {
    let own = Arc::new(Mutex::new(String::new()));
    let known = own.clone();
    let origin = Origin::answering(move |seen| {
        let own = known.lock().unwrap().clone();
        behaviour(&own, seen)
    });
    let url = format!("http://{}/tenant", origin.address);
    own.lock().unwrap().clone_from(&url);
    (origin, url)
}

const OPENID: &str = "/tenant/.well-known/openid-configuration";
const OAUTH: &str = "/.well-known/oauth-authorization-server/tenant";

// S52
#[test]
fn metadata_are_found_where_either_standard_puts_them() {
    let keys = Keys::new("k1");
    for place in [OPENID, OAUTH] {
        let set = keys.jwks();
        let (server, url) = issuer(move |own, seen| match &*seen.target {
            target if target == place => {
                document(&json!({ "issuer": own, "jwks_uri": format!("{own}/keys") }).to_string())
            }
            "/tenant/keys" => document(&set),
            _ => Reply::new(404, &[], ""),
        });
        let gateway = gateway(&url, "").start();
        let answer = gateway.client().get_with("/", &keys.token(json!({ "iss": url })));
        assert_eq!(answer.status, 200, "{place}: {}", gateway.messages());
        let asked: Vec<String> = server.seen().into_iter().map(|seen| seen.target).collect();
        let expected: &[&str] = match place {
            OPENID => &[OPENID, "/tenant/keys"],
            _ => &[OPENID, OAUTH, "/tenant/keys"],
        };
        assert_eq!(asked, expected);
    }
}

// S52, U4: mix-up
#[test]
fn metadata_that_lie_give_no_keys() {
    let keys = Keys::new("k1");
    let elsewhere = Origin::start();
    let other = format!("http://{}/", elsewhere.address);
    type Lie = Box<dyn Fn(&str, &Seen) -> Reply + Send + Sync>;
    let redirect = other.clone();
    let lies: Vec<(&str, Lie)> = vec![
        (
            "of another issuer",
            Box::new(|own, _| {
                document(
                    &json!({ "issuer": format!("{own}/"), "jwks_uri": format!("{own}/keys") }).to_string(),
                )
            }),
        ),
        (
            "redirects are not followed",
            Box::new(move |_, _| Reply::new(302, &[("Location", &*redirect)], "")),
        ),
        (
            "jwks_uri is not an https URL",
            Box::new(|own, _| {
                document(
                    &json!({ "issuer": own, "jwks_uri": "http://169.254.169.254/latest/meta-data" })
                        .to_string(),
                )
            }),
        ),
        (
            "not JSON by its Content-Type",
            Box::new(|_, _| Reply::new(200, &[("Content-Type", "text/html")], "<html>")),
        ),
        ("not a JSON document", Box::new(|_, _| document("<html>"))),
        ("too large", Box::new(|_, _| document(&" ".repeat(100_000)))),
    ];
    for (said, lie) in lies {
        let (_server, url) = issuer(lie);
        let gateway = gateway(&url, "").start();
        let answer = gateway.client().get_with("/", &keys.token(json!({ "iss": url })));
        assert_eq!(
            (answer.status, answer.code().as_str()),
            (503, "identity_provider_unavailable"),
            "{said}"
        );
        assert!(
            gateway.messages().contains(said),
            "{said}: {}",
            gateway.messages()
        );
    }
    assert_eq!(elsewhere.connections(), 0);
}

// S52: a private CA for metadata and keys
#[test]
fn an_issuer_behind_a_private_authority_is_believed_by_that_authority_alone() {
    let (keys, authority) = (Keys::new("k1"), Authority::new());
    let leaf = authority.leaf(&["localhost", "127.0.0.1"]);
    let set = keys.jwks();
    let server = Origin::tls(&leaf.certificate, &leaf.key, move |seen| {
        let own = format!("https://{}", seen.header("host").unwrap());
        match &*seen.target {
            "/keys" => document(&set),
            _ => document(&json!({ "issuer": own, "jwks_uri": format!("{own}/keys") }).to_string()),
        }
    });
    let url = format!("https://localhost:{}", server.address.port());
    let token = keys.token(json!({ "iss": url }));
    for (ca, expected) in [(authority.pem(), 200), (Authority::new().pem(), 503)] {
        let gateway = gateway(&url, ", jwks: { ca: ca.pem }").file("ca.pem", ca).start();
        assert_eq!(
            gateway.client().get_with("/", &token).status,
            expected,
            "{}",
            gateway.messages()
        );
    }
}
