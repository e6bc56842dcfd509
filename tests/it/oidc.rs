//! A real OpenID provider: `oidc-provider`, started from `tests/provider`.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use serde_json::json;

use crate::dpop::Holder;
use crate::support::client::request;
use crate::support::issuer::AUDIENCE;
use crate::support::{Client, Gateway, Origin, eventually};

/// The provider, ended with the value.
struct Provider {
    issuer: String,
    address: SocketAddr,
    child: Child,
}

impl Provider {
    fn start() -> Provider {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/provider");
        assert!(
            folder.join("node_modules/oidc-provider").exists(),
            "the OpenID provider of the tests is not installed: run `make test`, or `scripts/setup test` once"
        );
        let mut child = Command::new("node")
            .arg("provider.js")
            .current_dir(folder)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("node is not installed: run `scripts/setup test` once");
        let mut issuer = String::new();
        BufReader::new(child.stdout.take().unwrap())
            .read_line(&mut issuer)
            .unwrap();
        let issuer = issuer.trim().to_owned();
        let address = issuer
            .strip_prefix("http://")
            .unwrap_or_else(|| panic!("the provider said {issuer:?}"));
        Provider {
            address: address.parse().unwrap(),
            issuer,
            child,
        }
    }

    /// A token by client credentials (RFC 6749 section 4.4).
    fn token(&self) -> String {
        self.token_for("urn:vehicles")
    }

    /// A token that says nothing itself.
    fn opaque_token(&self) -> String {
        let token = self.token_for("urn:opaque");
        assert!(!token.contains('.'), "{token}");
        token
    }

    fn token_for(&self, resource: &str) -> String {
        let body = format!("grant_type=client_credentials&scope=read%3Avehicle&resource={resource}");
        let answer = self.form("/token", &body);
        assert_eq!(answer.status, 200, "{}", answer.text());
        answer.json()["access_token"].as_str().unwrap().to_owned()
    }

    /// A token for who proves to hold this key (RFC 9449 section 5).
    fn bound_token(&self, holder: &Holder, resource: &str) -> String {
        let body = format!("grant_type=client_credentials&scope=read%3Avehicle&resource={resource}");
        let at = format!("{}/token", self.issuer);
        let proof = holder.proof_for(&at, "", json!({ "htm": "POST", "ath": null }));
        let credentials = format!("Basic {}", STANDARD.encode("tests:of%20the%20tests%20alone"));
        let headers = [
            ("Authorization", &*credentials),
            ("Content-Type", "application/x-www-form-urlencoded"),
            ("DPoP", &*proof),
        ];
        let answer = self.post("/token", &headers, &body);
        assert_eq!(answer.status, 200, "{}", answer.text());
        let said = answer.json();
        assert_eq!(said["token_type"], "DPoP");
        said["access_token"].as_str().unwrap().to_owned()
    }

    /// Takes a token back (RFC 7009).
    fn revoke(&self, token: &str) {
        assert_eq!(
            self.form("/token/revocation", &format!("token={token}")).status,
            200
        );
    }

    fn form(&self, path: &str, body: &str) -> crate::support::Answer {
        let credentials = STANDARD.encode("tests:of%20the%20tests%20alone");
        let headers = [
            ("Authorization", &*format!("Basic {credentials}")),
            ("Content-Type", "application/x-www-form-urlencoded"),
        ];
        self.post(path, &headers, body)
    }

    /// From now on it signs with another key; the one before stays published.
    fn rotate(&self) {
        assert_eq!(self.post("/rotate", &[], "").status, 200);
    }

    fn post(&self, path: &str, headers: &[(&str, &str)], body: &str) -> crate::support::Answer {
        let address = self.address.to_string();
        let text = request("POST", path, headers, body).replace("api.example", &address);
        Client::new(self.address).send(text)
    }

    /// A gateway that takes its tokens; `jwks` is added to `jwks`, as flow YAML.
    fn gateway(&self, origin: &Origin, jwks: &str) -> Gateway {
        Gateway::start(&format!(
            "issuers:\n  main: {{ issuer: \"{0}\", audiences: [{AUDIENCE}], jwks: {{ url: \"{0}/jwks\"{jwks} }} }}\n\
             upstreams:\n  o: {{ targets: [\"{1}\"] }}\n\
             routes:\n  - match: {{ methods: [GET], path: \"/v1/vehicles/{{vin}}\" }}\n\
             \x20   auth: {{ jwt: main, scopes: [\"read:vehicle\"] }}\n    upstream: o\n",
            self.issuer, origin.address
        ))
    }
}

impl Drop for Provider {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

// S46, S63
#[test]
fn a_token_of_a_certified_provider_passes() {
    let (provider, origin) = (Provider::start(), Origin::start());
    let gateway = provider.gateway(&origin, "");
    let answer = gateway.client().get_with("/v1/vehicles/1HG", &provider.token());
    assert_eq!(answer.status, 200, "{}", answer.text());
    let seen = origin.only();
    assert_eq!(seen.header("x-user-id"), Some("tests"));
    let record = gateway.record(answer.header("x-request-id").unwrap());
    assert_eq!(
        (&record["durward.client.id"], &record["durward.issuer"]),
        (&"tests".into(), &"main".into())
    );
}

// S51, U1
#[test]
fn no_valid_token_is_refused_while_the_provider_rotates_its_keys_under_load() {
    const CLIENTS: usize = 4;
    const ROTATIONS: usize = 4;
    let (provider, origin) = (Provider::start(), Origin::start());
    // nothing but an unknown key makes it fetch
    let gateway = provider.gateway(&origin, ", cache: 1h, cooldown: 1s");
    let first = provider.token();
    // the newest token, and the one before, whose key is still published
    let tokens = Mutex::new([first.clone(), first]);
    let (sent, over) = (AtomicUsize::new(0), AtomicBool::new(false));
    let refused = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for client in 0..CLIENTS {
            let (gateway, tokens, sent, over, refused) = (&gateway, &tokens, &sent, &over, &refused);
            scope.spawn(move || {
                let mut connection = gateway.client().connect();
                for n in client.. {
                    let token = tokens.lock().unwrap()[n % 2].clone();
                    let bearer = format!("Bearer {token}");
                    connection.write(request(
                        "GET",
                        "/v1/vehicles/1HG",
                        &[("Authorization", &bearer)],
                        "",
                    ));
                    let answer = connection.answer();
                    if answer.status != 200 {
                        refused.lock().unwrap().push(answer.text());
                    }
                    sent.fetch_add(1, Ordering::SeqCst);
                    if over.load(Ordering::SeqCst) {
                        return;
                    }
                }
            });
        }
        for _ in 0..ROTATIONS {
            provider.rotate();
            let newest = provider.token();
            let mut tokens = tokens.lock().unwrap();
            *tokens = [newest, tokens[0].clone()];
            drop(tokens);
            // a provider does not rotate twice in a second
            let (before, since) = (sent.load(Ordering::SeqCst), Instant::now());
            eventually("traffic goes on", || {
                let enough = sent.load(Ordering::SeqCst) >= before + 20 * CLIENTS;
                (enough && since.elapsed() > Duration::from_millis(1200)).then_some(())
            });
        }
        over.store(true, Ordering::SeqCst);
    });
    let refused = refused.into_inner().unwrap();
    assert!(
        refused.is_empty(),
        "{} of {sent:?}: {}",
        refused.len(),
        refused[0]
    );
    assert!(sent.load(Ordering::SeqCst) >= ROTATIONS * 20 * CLIENTS);
    let changes = gateway.messages().matches("issuer main: keys changed").count();
    assert_eq!(changes, 1 + ROTATIONS, "each rotation was noticed, once");
}

/// A gateway that learns everything from the provider: keys by discovery, and about opaque tokens by asking.
fn asking(provider: &Provider, origin: &Origin, more: &str) -> Gateway {
    Gateway::with(&format!(
        "issuers:\n  main:\n    issuer: \"{0}\"\n    audiences: [{AUDIENCE}]\n    discovery: true\n\
         \x20   introspection: {{ url: \"{0}/token/introspection\", client_id: gateway, client_secret: \"${{env:SECRET}}\"{more} }}\n\
         upstreams:\n  o: {{ targets: [\"{1}\"] }}\n\
         routes:\n  - match: {{ methods: [GET], path: /opaque }}\n    auth: {{ introspection: main, scopes: [\"read:vehicle\"] }}\n    upstream: o\n\
         \x20 - match: {{ methods: [GET], path: /signed }}\n    auth: {{ jwt: main, scopes: [\"read:vehicle\"] }}\n    upstream: o\n\
         \x20 - match: {{ methods: [GET], path: /either }}\n    auth: {{ any_of: [{{ jwt: main }}, {{ introspection: main }}] }}\n    upstream: o\n",
        provider.issuer, origin.address
    ))
    .env("SECRET", "of the gateway & alone")
    .start()
}

// S52, S53, U4
#[test]
fn keys_are_discovered_and_opaque_tokens_are_asked_about_at_a_certified_provider() {
    let (provider, origin) = (Provider::start(), Origin::start());
    let gateway = asking(&provider, &origin, "");
    let client = gateway.client();
    let (signed, opaque) = (provider.token(), provider.opaque_token());
    for (path, token) in [
        ("/signed", &signed),
        ("/opaque", &opaque),
        ("/either", &signed),
        ("/either", &opaque),
        ("/opaque", &opaque),
    ] {
        let answer = client.get_with(path, token);
        assert_eq!(answer.status, 200, "{path}: {}", answer.text());
        let record = gateway.record(answer.header("x-request-id").unwrap());
        assert_eq!(
            (
                &record["user.id"],
                &record["durward.client.id"],
                &record["durward.issuer"]
            ),
            (&"tests".into(), &"tests".into(), &"main".into())
        );
    }
    for seen in origin.seen() {
        assert_eq!(seen.header("x-user-id"), Some("tests"));
    }
    let metrics = gateway.admin("/metrics").text();
    let asked = "durward_introspections_total{issuer=\"main\",outcome=\"active\"} 1";
    assert!(metrics.contains(asked), "{metrics}");
    let answer = client.get_with("/signed", &opaque);
    assert_eq!((answer.status, answer.code().as_str()), (401, "invalid_token"));
    let answer = client.get_with("/opaque", "made-up");
    assert_eq!((answer.status, answer.code().as_str()), (401, "invalid_token"));
    let record = gateway.record(answer.header("x-request-id").unwrap());
    assert_eq!(record["error.type"], "token_inactive");
}

// S53, S54
#[test]
fn a_token_that_its_provider_took_back_is_refused_once_the_answer_is_too_old() {
    let (provider, origin) = (Provider::start(), Origin::start());
    let gateway = asking(&provider, &origin, ", cache: 1s, negative_cache: 1s");
    let client = gateway.client();
    let token = provider.opaque_token();
    assert_eq!(client.get_with("/opaque", &token).status, 200);
    provider.revoke(&token);
    let since = Instant::now();
    let refused = eventually("the token is refused", || {
        let answer = client.get_with("/opaque", &token);
        (answer.status != 200).then_some(answer)
    });
    assert!(since.elapsed() < Duration::from_secs(3), "{:?}", since.elapsed());
    assert_eq!((refused.status, refused.code().as_str()), (401, "invalid_token"));
    let record = gateway.record(refused.header("x-request-id").unwrap());
    assert_eq!(record["error.type"], "token_inactive");
}

// M14, RFC 9449: bound by a certified provider, as JWT and as opaque token, and of no use to anybody else
#[test]
fn tokens_that_a_certified_provider_binds_to_a_key_need_its_proof() {
    let (provider, origin) = (Provider::start(), Origin::start());
    let gateway = asking(&provider, &origin, "");
    let (holder, thief) = (Holder::new(), Holder::new());
    for (path, resource) in [("/signed", "urn:vehicles"), ("/opaque", "urn:opaque")] {
        let token = provider.bound_token(&holder, resource);
        let ask = |scheme: &str, by: &Holder| {
            let proof = by.proof(path, &token, json!({}));
            let authorization = format!("{scheme} {token}");
            let answer = gateway
                .client()
                .get(path, &[("Authorization", &authorization), ("DPoP", &proof)]);
            let record = gateway.record(answer.header("x-request-id").unwrap());
            record["error.type"].as_str().unwrap_or("none").to_owned()
        };
        assert_eq!(ask("DPoP", &holder), "none", "{path}");
        assert_eq!(ask("DPoP", &thief), "dpop_key_mismatch", "{path}");
        assert_eq!(ask("Bearer", &holder), "token_dpop_scheme", "{path}");
    }
    assert_eq!(origin.seen().len(), 2);
}
