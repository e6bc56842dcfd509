//! A fake of HashiCorp Vault's HTTP API, as much of it as the gateway uses: the key-value engine of version 2, three logins,
//! looking up and renewing a token. A fake, because neither Vault nor OpenBao can be had from the registries that these
//! tests install from; what it answers is written after Vault's API documentation.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::origin::Seen;
use super::{Authority, Origin, Reply};

/// What the logins take.
pub const ROLE: &str = "gateway";
pub const SECRET_ID: &str = "s3cret-id";
pub const SERVICE_ACCOUNT: &str = "service.account.token";
/// A token without end.
pub const ROOT: &str = "hvs.root";

#[derive(Default)]
struct State {
    /// By namespace, `/`, mount, `/` and path.
    secrets: BTreeMap<String, Value>,
    /// Until when.
    tokens: BTreeMap<String, Instant>,
    lease: u64,
    sealed: bool,
    slow: Duration,
    /// What was asked, without versions: `auth/approle/login`.
    asked: Vec<String>,
}

/// A Vault behind TLS, for `vault.internal` and 127.0.0.1.
#[derive(Clone)]
pub struct Vault {
    state: Arc<Mutex<State>>,
    pub authority: Arc<Authority>,
    pub address: String,
}

impl Vault {
    pub fn start() -> Vault {
        let state = Arc::new(Mutex::new(State {
            lease: 3600,
            ..State::default()
        }));
        let authority = Authority::new();
        let leaf = authority.leaf(&["localhost", "127.0.0.1"]);
        let shared = state.clone();
        let origin = Origin::tls(&leaf.certificate, &leaf.key, move |seen| {
            let mut state = shared.lock().unwrap();
            let (status, body) = answer(&mut state, seen);
            Reply::new(status, &[("Content-Type", "application/json")], &body.to_string()).after(state.slow)
        });
        Vault {
            state,
            authority: Arc::new(authority),
            address: format!("https://localhost:{}", origin.address.port()),
        }
    }

    /// Keeps a secret at `secret/…`, or at another mount of a namespace: `ns/kv/…`.
    pub fn put(&self, path: &str, fields: Value) {
        self.state.lock().unwrap().secrets.insert(path.to_owned(), fields);
    }

    /// How long tokens last from now on, in seconds.
    pub fn lease(&self, seconds: u64) {
        self.state.lock().unwrap().lease = seconds;
    }

    /// Answers nothing but 503 from now on, or answers again.
    pub fn seal(&self, sealed: bool) {
        self.state.lock().unwrap().sealed = sealed;
    }

    /// Takes so long for each answer from now on.
    pub fn slow(&self, delay: Duration) {
        self.state.lock().unwrap().slow = delay;
    }

    /// No token is good any more.
    pub fn revoke_all(&self) {
        self.state.lock().unwrap().tokens.clear();
    }

    /// How often this was asked.
    pub fn asked(&self, path: &str) -> usize {
        self.state
            .lock()
            .unwrap()
            .asked
            .iter()
            .filter(|asked| *asked == path)
            .count()
    }
}

fn answer(state: &mut State, seen: &Seen) -> (u16, Value) {
    let errors = |status, why: &str| (status, json!({ "errors": [why] }));
    let Some(path) = seen.target.strip_prefix("/v1/") else {
        return errors(404, "no handler");
    };
    state.asked.push(path.to_owned());
    if state.sealed {
        return errors(503, "Vault is sealed");
    }
    let body: Value = serde_json::from_slice(&seen.body).unwrap_or_default();
    let token = seen.header("x-vault-token").unwrap_or_default().to_owned();
    let is_good = token == ROOT || state.tokens.get(&token).is_some_and(|end| *end > Instant::now());
    if let Some(mount) = path
        .strip_prefix("auth/")
        .and_then(|path| path.strip_suffix("/login"))
    {
        let is_known = match mount {
            "approle" | "roles" => body["role_id"] == ROLE && body["secret_id"] == SECRET_ID,
            "kubernetes" => body["role"] == ROLE && body["jwt"] == SERVICE_ACCOUNT,
            _ => return errors(403, "permission denied"),
        };
        if !is_known {
            return errors(400, "invalid role or secret ID");
        }
        return (200, json!({ "auth": issue(state) }));
    }
    if !is_good {
        return errors(403, "permission denied");
    }
    match path {
        "auth/token/lookup-self" => (200, json!({ "data": { "ttl": 0, "renewable": false } })),
        "auth/token/renew-self" => {
            let end = Instant::now() + Duration::from_secs(state.lease);
            state.tokens.insert(token.clone(), end);
            let auth = json!({ "client_token": token, "lease_duration": state.lease, "renewable": true });
            (200, json!({ "auth": auth }))
        }
        path => {
            let namespace = seen
                .header("x-vault-namespace")
                .map_or(String::new(), |name| format!("{name}/"));
            let found = path
                .split_once("/data/")
                .and_then(|(mount, path)| state.secrets.get(&format!("{namespace}{mount}/{path}")));
            match found {
                Some(fields) => {
                    let metadata = json!({ "version": 1, "destroyed": false, "deletion_time": "" });
                    (
                        200,
                        json!({ "lease_duration": 0, "data": { "data": fields, "metadata": metadata } }),
                    )
                }
                None => (404, json!({ "errors": [] })),
            }
        }
    }
}

fn issue(state: &mut State) -> Value {
    let token = format!("hvs.{}", state.tokens.len() + state.asked.len());
    let end = Instant::now() + Duration::from_secs(state.lease);
    state.tokens.insert(token.clone(), end);
    json!({ "client_token": token, "lease_duration": state.lease, "renewable": true, "policies": ["gateway"] })
}
