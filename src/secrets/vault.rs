//! HashiCorp Vault and OpenBao: the key-value engine, version 2, over their HTTP API.
//!
//! A token is got once by the login that is configured, renewed while its lease lasts, and got again when it is refused.

use std::fmt;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{Method, Request, StatusCode, Uri};
use http_body_util::Full;
use openssl::x509::X509;
use serde_json::{Value, json};
use tokio::sync::Mutex;

use super::store::{MAX_ANSWER, StoreError};
use crate::world::http::Asker;

/// Where it is, and who we are there.
#[derive(Clone)]
pub struct Settings {
    /// `https://HOST:8200`, without a path.
    pub address: Uri,
    /// Of Vault Enterprise and OpenBao.
    pub namespace: Option<String>,
    /// Where the key-value engine is mounted.
    pub mount: String,
    /// CAs that may have issued its certificate; none: the system's.
    pub ca: Vec<X509>,
    /// How we log in.
    pub login: Login,
    /// Where the login is mounted.
    pub login_mount: String,
}

/// A way to log in.
#[derive(Clone, PartialEq, Eq)]
pub enum Login {
    /// With a token that was given.
    Token(String),
    /// AppRole.
    AppRole {
        /// Which role.
        role_id: String,
        /// Its secret.
        secret_id: String,
    },
    /// With the token of the pod's service account, which is read anew each time.
    Kubernetes {
        /// Which role.
        role: String,
        /// Where the token is.
        token_file: PathBuf,
    },
}

impl fmt::Debug for Login {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Login::Token(_) => "token",
            Login::AppRole { .. } => "approle",
            Login::Kubernetes { .. } => "kubernetes",
        })
    }
}

impl PartialEq for Settings {
    fn eq(&self, other: &Settings) -> bool {
        let Settings {
            address,
            namespace,
            mount,
            ca,
            login,
            login_mount,
        } = self;
        let der = |certificates: &[X509]| certificates.iter().map(|c| c.to_der().ok()).collect::<Vec<_>>();
        (address, namespace, mount, login, login_mount)
            == (
                &other.address,
                &other.namespace,
                &other.mount,
                &other.login,
                &other.login_mount,
            )
            && der(ca) == der(&other.ca)
    }
}

impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "vault {} {}", self.address, self.mount)
    }
}

/// What we are logged in with.
struct Session {
    token: String,
    /// When it should be renewed; `None`: it lasts, or cannot be renewed.
    renew: Option<Instant>,
    /// When it ends.
    ends: Option<Instant>,
}

/// A Vault that is asked.
pub struct Vault {
    settings: Settings,
    session: Mutex<Option<Session>>,
}

impl fmt::Debug for Vault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.settings.fmt(f)
    }
}

impl Vault {
    pub(super) fn new(settings: Settings) -> Vault {
        Vault {
            settings,
            session: Mutex::default(),
        }
    }

    /// The current version of a secret: a map of fields.
    pub(super) async fn read(&self, asker: &Asker, path: &str) -> Result<Value, StoreError> {
        let path = format!("{}/data/{path}", self.settings.mount);
        let mut session = self.session.lock().await;
        let is_over = |session: &Session| session.ends.is_some_and(|end| end <= Instant::now());
        if session.as_ref().is_some_and(is_over) {
            *session = None;
        }
        let was_open = session.is_some();
        let token = self.token(asker, &mut session).await?;
        let (status, mut answer) = self.ask(asker, Method::GET, &path, Some(&token), None).await?;
        let (status, answer) = if status == StatusCode::FORBIDDEN && was_open {
            // the token may have been revoked meanwhile
            *session = None;
            let token = self.token(asker, &mut session).await?;
            self.ask(asker, Method::GET, &path, Some(&token), None).await?
        } else {
            (status, answer.take())
        };
        match status {
            StatusCode::OK => answer
                .pointer("/data/data")
                .filter(|data| data.is_object())
                .cloned()
                .ok_or(StoreError::Unusable(
                    "the answer is not of a key-value engine of version 2",
                )),
            StatusCode::NOT_FOUND => Err(StoreError::Missing),
            status => Err(StoreError::Refused(status, String::new())),
        }
    }

    /// Renews the token when it is time to.
    pub(super) async fn renew(&self, asker: &Asker) -> Result<(), StoreError> {
        let mut session = self.session.lock().await;
        let Some(open) = session.as_ref() else {
            return Ok(());
        };
        if open.renew.is_none_or(|when| when > Instant::now()) {
            return Ok(());
        }
        let token = open.token.clone();
        let (status, answer) = self
            .ask(
                asker,
                Method::POST,
                "auth/token/renew-self",
                Some(&token),
                Some(json!({})),
            )
            .await?;
        *session = if status == StatusCode::OK {
            Session::of(answer.get("auth"))
        } else {
            None
        };
        if session.is_none() {
            // its longest life is over: a new one
            self.token(asker, &mut session).await?;
        }
        Ok(())
    }

    /// The token we have, or a new one.
    async fn token(&self, asker: &Asker, session: &mut Option<Session>) -> Result<String, StoreError> {
        if let Some(session) = session {
            return Ok(session.token.clone());
        }
        let login = |path: &str| format!("auth/{}/{path}", self.settings.login_mount);
        let (path, body) = match &self.settings.login {
            Login::Token(token) => {
                let (status, answer) = self
                    .ask(asker, Method::GET, "auth/token/lookup-self", Some(token), None)
                    .await?;
                // a token may be forbidden to look at itself, and still be good
                let data = answer.get("data").filter(|_| status == StatusCode::OK);
                let seconds = data.and_then(|data| data.get("ttl")).and_then(Value::as_u64);
                let renewable = data
                    .and_then(|data| data.get("renewable"))
                    .and_then(Value::as_bool);
                *session = Some(Session::new(
                    token.clone(),
                    seconds.unwrap_or(0),
                    renewable == Some(true),
                ));
                return Ok(token.clone());
            }
            Login::AppRole { role_id, secret_id } => (
                login("login"),
                json!({ "role_id": role_id, "secret_id": secret_id }),
            ),
            Login::Kubernetes { role, token_file } => {
                let token = std::fs::read_to_string(token_file)
                    .map_err(|_| StoreError::Unusable("the service account's token cannot be read"))?;
                (login("login"), json!({ "role": role, "jwt": token.trim() }))
            }
        };
        let (status, answer) = self.ask(asker, Method::POST, &path, None, Some(body)).await?;
        if status != StatusCode::OK {
            return Err(StoreError::Login(status));
        }
        let opened = Session::of(answer.get("auth"))
            .ok_or(StoreError::Unusable("the login was answered without a token"))?;
        let token = opened.token.clone();
        *session = Some(opened);
        Ok(token)
    }

    async fn ask(
        &self,
        asker: &Asker,
        method: Method,
        path: &str,
        token: Option<&str>,
        body: Option<Value>,
    ) -> Result<(StatusCode, Value), StoreError> {
        let unusable = StoreError::Unusable("the request cannot be written");
        let (scheme, authority) = match (
            self.settings.address.scheme_str(),
            self.settings.address.authority(),
        ) {
            (Some(scheme), Some(authority)) => (scheme, authority),
            _ => return Err(unusable),
        };
        let mut request = Request::builder()
            .method(method)
            .uri(format!("{scheme}://{authority}/v1/{path}"))
            .header("x-vault-request", "true");
        if let Some(token) = token {
            request = request.header("x-vault-token", token);
        }
        if let Some(namespace) = &self.settings.namespace {
            request = request.header("x-vault-namespace", namespace);
        }
        let body = body.map_or_else(Bytes::new, |body| Bytes::from(body.to_string()));
        let request = request.body(Full::new(body)).map_err(|_| unusable)?;
        let (head, body) = asker.exchange(request, MAX_ANSWER).await?.into_parts();
        let status = head.status;
        Ok((status, serde_json::from_slice(&body).unwrap_or_default()))
    }
}

impl Session {
    /// Of the `auth` that a login or a renewal is answered with.
    fn of(auth: Option<&Value>) -> Option<Session> {
        let auth = auth?;
        let token = auth.get("client_token")?.as_str()?.to_owned();
        let seconds = auth.get("lease_duration").and_then(Value::as_u64).unwrap_or(0);
        let renewable = auth.get("renewable").and_then(Value::as_bool).unwrap_or(false);
        Some(Session::new(token, seconds, renewable))
    }

    /// `seconds`: how long it lasts; none: for ever.
    fn new(token: String, seconds: u64, renewable: bool) -> Session {
        let now = Instant::now();
        let lease = Duration::from_secs(seconds);
        let lasts = seconds > 0;
        Session {
            token,
            // with a third of it left for attempts that fail
            renew: (lasts && renewable).then(|| now + lease * 2 / 3),
            ends: lasts.then(|| now + lease),
        }
    }
}
