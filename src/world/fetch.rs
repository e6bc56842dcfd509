//! Fetching key sets: one GET, bounded in time and size, no redirects, no proxies (SSRF has nothing to hold on to).

use std::fmt;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, StatusCode, Uri};
use http_body_util::{BodyExt, Empty, Limited};
use hyper_openssl::client::legacy::HttpsConnector;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use openssl::ssl::{SslConnector, SslMethod, SslVersion};
use openssl::x509::X509;

use crate::gates::authn::jwk::{KeySet, MAX_SET_BYTES};

/// A key set behind a URL.
#[derive(Debug, Clone)]
pub struct KeysUrl {
    /// `https`, or `http` to a loopback address.
    pub url: Uri,
    /// CAs that may have issued the server's certificate; none: the system's.
    pub ca: Vec<X509>,
    /// How long keys are fresh.
    pub cache: Duration,
    /// How long keys that cannot be refreshed stay in use.
    pub max_stale: Duration,
    /// Least time between two fetches because of an unknown `kid`.
    pub cooldown: Duration,
    /// Deadline of one fetch.
    pub timeout: Duration,
}

impl KeysUrl {
    /// Whether keys fetched for one are good for the other.
    #[must_use]
    pub fn is_same_source(&self, other: &KeysUrl) -> bool {
        let KeysUrl {
            url,
            ca,
            cache,
            max_stale,
            cooldown,
            timeout,
        } = self;
        let der = |certificates: &[X509]| certificates.iter().map(|c| c.to_der().ok()).collect::<Vec<_>>();
        *url == other.url
            && der(ca) == der(&other.ca)
            && (cache, max_stale, cooldown, timeout)
                == (&other.cache, &other.max_stale, &other.cooldown, &other.timeout)
    }
}

/// Gets keys from where they are.
pub trait Fetch {
    /// Gets them once, within the deadline of `from`.
    ///
    /// # Errors
    /// See [`FetchError`].
    fn keys(&self, from: &KeysUrl) -> impl Future<Output = Result<KeySet, FetchError>> + Send;
}

/// Fetches the keys of one source.
#[derive(Debug)]
pub struct Fetcher {
    client: Client<HttpsConnector<HttpConnector>, Empty<Bytes>>,
}

/// Why no keys came.
#[derive(Debug)]
pub enum FetchError {
    /// The deadline passed.
    Timeout,
    /// No connection, or TLS was not acceptable.
    Connect(String),
    /// Anything but 200.
    Status(StatusCode),
    /// Not JSON by its Content-Type.
    ContentType,
    /// Larger than a key set may be, or broken off.
    Body(String),
    /// Not a key set.
    Keys(String),
}

impl fmt::Display for FetchError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            FetchError::Timeout => f.write_str("no answer within the deadline"),
            FetchError::Connect(why) => write!(f, "no connection: {why}"),
            FetchError::Status(status) => write!(f, "answered {status} (redirects are not followed)"),
            FetchError::ContentType => f.write_str("the answer is not JSON by its Content-Type"),
            FetchError::Body(why) => write!(f, "the answer broke off or is too large: {why}"),
            FetchError::Keys(why) => write!(f, "the answer is not a key set: {why}"),
        }
    }
}

impl Fetcher {
    /// Must be made on the runtime that is to run its connections.
    ///
    /// # Errors
    /// The TLS library cannot be set up with these CAs.
    pub fn new(ca: &[X509]) -> Result<Fetcher, openssl::error::ErrorStack> {
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
        Ok(Fetcher {
            client: Client::builder(TokioExecutor::new()).build(connector),
        })
    }

    async fn fetch(&self, url: &Uri) -> Result<KeySet, FetchError> {
        let mut request = Request::new(Empty::new());
        *request.uri_mut() = url.clone();
        request.headers_mut().insert(
            http::header::ACCEPT,
            http::HeaderValue::from_static("application/jwk-set+json, application/json"),
        );
        let answer = self
            .client
            .request(request)
            .await
            .map_err(|e| FetchError::Connect(describe(&e)))?;
        if answer.status() != StatusCode::OK {
            return Err(FetchError::Status(answer.status()));
        }
        let json = answer
            .headers()
            .get(http::header::CONTENT_TYPE)
            .and_then(|v| v.to_str().ok())
            .is_some_and(|value| {
                crate::gates::content::essence(value)
                    .is_some_and(|t| t.eq_ignore_ascii_case("application/json") || t.ends_with("+json"))
            });
        if !json {
            return Err(FetchError::ContentType);
        }
        let body = Limited::new(answer.into_body(), MAX_SET_BYTES)
            .collect()
            .await
            .map_err(|e| FetchError::Body(e.to_string()))?;
        KeySet::parse(&body.to_bytes()).map_err(|e| FetchError::Keys(e.to_string()))
    }
}

impl Fetch for Fetcher {
    async fn keys(&self, from: &KeysUrl) -> Result<KeySet, FetchError> {
        tokio::time::timeout(from.timeout, self.fetch(&from.url))
            .await
            .map_err(|_| FetchError::Timeout)?
    }
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
