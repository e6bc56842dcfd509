//! One question to somebody outside, such as an identity provider: bounded in time and size, no redirects, no proxies
//! (SSRF has nothing to hold on to), and an answer only of the media type that was asked for.

use std::fmt;

use bytes::Bytes;
use http::header::{ACCEPT, CONTENT_TYPE, HeaderMap, HeaderValue};
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper_openssl::client::legacy::HttpsConnector;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use openssl::ssl::{SslConnector, SslMethod, SslVersion};
use openssl::x509::X509;

use crate::gates::authn::introspection::signed::Untrusted;

/// Asks over HTTP.
#[derive(Debug)]
pub struct Asker {
    client: Client<HttpsConnector<HttpConnector>, Full<Bytes>>,
}

/// Why there is no answer that can be used.
#[derive(Debug, PartialEq, Eq)]
pub enum FetchError {
    /// The deadline passed.
    Timeout,
    /// No connection, or TLS was not acceptable.
    Connect(String),
    /// Anything but 200.
    Status(StatusCode),
    /// Not JSON by its Content-Type.
    ContentType,
    /// Larger than it may be, or broken off.
    Body(String),
    /// Not what was asked for.
    Content(String),
    /// Not believed.
    Untrusted(Untrusted),
}

impl fmt::Display for FetchError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            FetchError::Timeout => f.write_str("no answer within the deadline"),
            FetchError::Connect(why) => write!(f, "no connection: {why}"),
            FetchError::Status(status) => write!(f, "answered {status} (redirects are not followed)"),
            FetchError::ContentType => f.write_str("the answer is not JSON by its Content-Type"),
            FetchError::Body(why) => write!(f, "the answer broke off or is too large: {why}"),
            FetchError::Content(why) => write!(f, "the answer is {why}"),
            FetchError::Untrusted(why) => write!(f, "the answer is {why}"),
        }
    }
}

impl Asker {
    /// Must be made on the runtime that is to run its connections. `ca`: those that may have issued the server's
    /// certificate; none: the system's.
    ///
    /// # Errors
    /// The TLS library cannot be set up with these CAs.
    pub fn new(ca: &[X509]) -> Result<Asker, openssl::error::ErrorStack> {
        let mut tls = SslConnector::builder(SslMethod::tls_client())?;
        tls.set_min_proto_version(Some(SslVersion::TLS1_2))?;
        if !ca.is_empty() {
            let mut store = openssl::x509::store::X509StoreBuilder::new()?;
            for certificate in ca {
                store.add_cert(certificate.clone())?;
            }
            tls.set_cert_store(store.build());
        }
        let mut http = HttpConnector::new();
        http.enforce_http(false);
        let connector = HttpsConnector::with_connector(http, tls)?;
        Ok(Asker {
            client: Client::builder(TokioExecutor::new()).build(connector),
        })
    }

    /// Asks once, and returns the JSON text of an answer of at most `limit` bytes. Whoever calls it sets a deadline.
    ///
    /// # Errors
    /// See [`FetchError`].
    pub async fn ask(&self, mut request: Request<Full<Bytes>>, limit: usize) -> Result<Bytes, FetchError> {
        request
            .headers_mut()
            .entry(ACCEPT)
            .or_insert(HeaderValue::from_static("application/json"));
        let (answer, body) = self.send(request).await?.into_parts();
        if answer.status != StatusCode::OK {
            return Err(FetchError::Status(answer.status));
        }
        if !essence_of(&answer.headers).is_some_and(is_json) {
            return Err(FetchError::ContentType);
        }
        read(body, limit).await
    }

    /// Asks once, and returns whatever the answer is, of at most `limit` bytes. Whoever calls it sets a deadline.
    ///
    /// # Errors
    /// No connection, more than `limit` bytes, or the answer broke off.
    pub async fn exchange(
        &self,
        request: Request<Full<Bytes>>,
        limit: usize,
    ) -> Result<Response<Bytes>, FetchError> {
        let (head, body) = self.send(request).await?.into_parts();
        Ok(Response::from_parts(head, read(body, limit).await?))
    }

    async fn send(&self, request: Request<Full<Bytes>>) -> Result<Response<Incoming>, FetchError> {
        self.client
            .request(request)
            .await
            .map_err(|e| FetchError::Connect(describe(&e)))
    }
}

/// The media type of an answer, without its parameters.
pub(crate) fn essence_of(headers: &HeaderMap) -> Option<&str> {
    headers
        .get(CONTENT_TYPE)
        .and_then(|v| v.to_str().ok())
        .and_then(crate::gates::content::essence)
}

/// Whether a media type is one of JSON.
pub(super) fn is_json(essence: &str) -> bool {
    essence.eq_ignore_ascii_case("application/json") || essence.ends_with("+json")
}

async fn read(body: Incoming, limit: usize) -> Result<Bytes, FetchError> {
    let body = Limited::new(body, limit)
        .collect()
        .await
        .map_err(|e| FetchError::Body(e.to_string()))?;
    Ok(body.to_bytes())
}

/// The error with its causes: the outermost alone says "client error (Connect)".
fn describe(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        text = format!("{text}: {inner}");
        cause = inner.source();
    }
    text
}
