//! Requests to a CA (RFC 8555 section 6): signed, with a nonce each, and tried again where only the nonce was at fault.

use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT, CONTENT_TYPE, HeaderMap, HeaderValue, LOCATION, RETRY_AFTER};
use http::{Method, Request, Response, Uri};
use http_body_util::Full;
use parking_lot::Mutex;
use serde_json::{Value, json};

use super::jws::{AccountKey, Signed};
use super::{Account, Failure};
use crate::world::discovery::is_safe;
use crate::world::http::Asker;

/// Deadline of one request.
const PATIENCE: Duration = Duration::from_secs(30);
/// A longer answer is none.
const MAX_BYTES: usize = 1 << 20;
/// A nonce that is not taken is replaced so often: CAs forget them at will.
const NONCES: usize = 10;

/// A CA, asked in the name of an account.
#[derive(Debug)]
pub struct Client<'a> {
    asker: &'a Asker,
    key: AccountKey,
    directory: Value,
    /// The account's URL.
    kid: String,
    nonce: Mutex<Option<String>>,
}

/// An answer that is not an error.
#[derive(Debug)]
pub struct Answer {
    /// URL of what was made.
    pub location: Option<String>,
    /// How long the CA asks to be left alone.
    pub retry_after: Option<Duration>,
    /// What came.
    pub body: Bytes,
}

impl Answer {
    /// As JSON.
    ///
    /// # Errors
    /// It is none.
    pub fn json(&self) -> Result<Value, Failure> {
        serde_json::from_slice(&self.body).map_err(|why| Failure(format!("the answer is not JSON: {why}")))
    }
}

impl<'a> Client<'a> {
    /// Reads the directory and finds the account, or makes it.
    ///
    /// # Errors
    /// The CA cannot be asked, or does not want the account.
    pub async fn open(asker: &'a Asker, account: &Account, key: AccountKey) -> Result<Client<'a>, Failure> {
        let directory = get(asker, &account.directory).await?.json()?;
        let mut client = Client {
            asker,
            key,
            directory,
            kid: String::new(),
            nonce: Mutex::new(None),
        };
        let url = client.url("newAccount")?;
        let mut wanted = json!({ "termsOfServiceAgreed": true, "contact": account.contact });
        if let (Some(external), Some(members)) = (&account.external, wanted.as_object_mut()) {
            let binding = client.key.bound_to(external, &url)?;
            members.insert("externalAccountBinding".to_owned(), binding);
        }
        // one that exists is what comes back then (RFC 8555 section 7.3)
        let answer = client.signed(Signed::Jwk, &url, Some(&wanted)).await?;
        client.kid = answer
            .location
            .ok_or_else(|| Failure("the CA gave the account no URL".to_owned()))?;
        Ok(client)
    }

    /// Of the account's key, for proofs.
    #[must_use]
    pub fn thumbprint(&self) -> String {
        self.key.thumbprint()
    }

    /// Where the CA wants something of this kind.
    ///
    /// # Errors
    /// It does not offer it.
    pub fn url(&self, what: &str) -> Result<String, Failure> {
        let url = self.directory.get(what).and_then(Value::as_str);
        url.map(str::to_owned)
            .ok_or_else(|| Failure(format!("the directory has no `{what}`")))
    }

    /// Asks for something to be made or done.
    ///
    /// # Errors
    /// What the CA has against it.
    pub async fn post(&self, url: &str, payload: &Value) -> Result<Answer, Failure> {
        self.signed(Signed::Account(&self.kid), url, Some(payload)).await
    }

    /// Asks how something is.
    ///
    /// # Errors
    /// What the CA has against it.
    pub async fn read(&self, url: &str) -> Result<Answer, Failure> {
        self.signed(Signed::Account(&self.kid), url, None).await
    }

    async fn signed(
        &self,
        signed: Signed<'_>,
        url: &str,
        payload: Option<&Value>,
    ) -> Result<Answer, Failure> {
        let target = parse(url)?;
        let mut last = Failure("no nonce is taken".to_owned());
        for _ in 0..NONCES {
            let kept = self.nonce.lock().take();
            let nonce = match kept {
                Some(nonce) => nonce,
                None => self.new_nonce().await?,
            };
            let body = self.key.sign(signed, &nonce, url, payload)?;
            let mut request = Request::new(Full::new(Bytes::from(body)));
            *request.method_mut() = Method::POST;
            *request.uri_mut() = target.clone();
            let kind = HeaderValue::from_static("application/jose+json");
            request.headers_mut().insert(CONTENT_TYPE, kind);
            let kinds = HeaderValue::from_static("application/json, application/pem-certificate-chain");
            request.headers_mut().insert(ACCEPT, kinds);
            let answer = exchange(self.asker, request).await?;
            *self.nonce.lock() = nonce_of(answer.headers());
            match judged(answer) {
                Err((kind, why)) if kind.ends_with(":badNonce") => last = why,
                judged => return judged.map_err(|(_, why)| why),
            }
        }
        Err(last)
    }

    async fn new_nonce(&self) -> Result<String, Failure> {
        let mut request = Request::new(Full::default());
        *request.method_mut() = Method::HEAD;
        *request.uri_mut() = parse(&self.url("newNonce")?)?;
        let answer = exchange(self.asker, request).await?;
        nonce_of(answer.headers()).ok_or_else(|| Failure("the CA gave no nonce".to_owned()))
    }
}

/// Something public.
///
/// # Errors
/// There is no answer, or it is an error.
pub async fn get(asker: &Asker, url: &Uri) -> Result<Answer, Failure> {
    let mut request = Request::new(Full::default());
    *request.uri_mut() = url.clone();
    judged(exchange(asker, request).await?).map_err(|(_, why)| why)
}

async fn exchange(asker: &Asker, request: Request<Full<Bytes>>) -> Result<Response<Bytes>, Failure> {
    let url = request.uri().clone();
    tokio::time::timeout(PATIENCE, asker.exchange(request, MAX_BYTES))
        .await
        .map_err(|_| Failure(format!("{url}: no answer within 30s")))?
        .map_err(|why| Failure(format!("{url}: {why}")))
}

/// The answer, or the type of the problem (RFC 8555 section 6.7) and the whole of it in words.
fn judged(answer: Response<Bytes>) -> Result<Answer, (String, Failure)> {
    let (head, body) = answer.into_parts();
    let text = |name| {
        let value = head.headers.get(name)?;
        value.to_str().ok().map(str::to_owned)
    };
    if head.status.is_success() {
        return Ok(Answer {
            location: text(LOCATION),
            // a date would do, too; the usual wait then does
            retry_after: text(RETRY_AFTER)
                .and_then(|seconds| seconds.parse().ok())
                .map(Duration::from_secs),
            body,
        });
    }
    let problem: Value = serde_json::from_slice(&body).unwrap_or_default();
    let member = |name: &str| {
        problem
            .get(name)
            .and_then(Value::as_str)
            .unwrap_or_default()
            .to_owned()
    };
    let (kind, detail) = (member("type"), member("detail"));
    let why = Failure(format!("the CA answers {}: {kind} {detail}", head.status));
    Err((kind, why))
}

fn nonce_of(headers: &HeaderMap) -> Option<String> {
    headers.get("replay-nonce")?.to_str().ok().map(str::to_owned)
}

/// What a CA names is asked over HTTPS like itself; plain HTTP is for loopback only.
fn parse(url: &str) -> Result<Uri, Failure> {
    url.parse::<Uri>()
        .ok()
        .filter(is_safe)
        .ok_or_else(|| Failure(format!("the CA names `{url}`, which is not an https URL")))
}
