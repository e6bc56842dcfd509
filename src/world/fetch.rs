//! Fetching key sets.

use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT, HeaderValue};
use http::{Request, StatusCode, Uri};
use http_body_util::Full;
use openssl::x509::X509;

use super::discovery::{self, Discovery};
use super::http::{Asker, FetchError};
use crate::gates::authn::jwk::{KeySet, MAX_SET_BYTES};

/// Where a key set is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeysAt {
    /// There: `https`, or `http` to a loopback address.
    Url(Uri),
    /// Where the issuer's metadata say.
    Discovered(Discovery),
}

/// A key set that is fetched.
#[derive(Debug, Clone)]
pub struct KeysUrl {
    /// Where.
    pub at: KeysAt,
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
            at,
            ca,
            cache,
            max_stale,
            cooldown,
            timeout,
        } = self;
        let der = |certificates: &[X509]| certificates.iter().map(|c| c.to_der().ok()).collect::<Vec<_>>();
        *at == other.at
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

impl Fetch for Asker {
    async fn keys(&self, from: &KeysUrl) -> Result<KeySet, FetchError> {
        let fetched = async {
            match &from.at {
                KeysAt::Url(url) => key_set(self, url).await,
                KeysAt::Discovered(discovery) => key_set(self, &discover(self, discovery).await?).await,
            }
        };
        tokio::time::timeout(from.timeout, fetched)
            .await
            .map_err(|_| FetchError::Timeout)?
    }
}

async fn key_set(asker: &Asker, url: &Uri) -> Result<KeySet, FetchError> {
    let mut request = get(url);
    request.headers_mut().insert(
        ACCEPT,
        HeaderValue::from_static("application/jwk-set+json, application/json"),
    );
    let set = asker.ask(request, MAX_SET_BYTES).await?;
    KeySet::parse(&set).map_err(|e| FetchError::Content(format!("not a key set: {e}")))
}

/// Where the keys are, by the first of the documents that there is.
async fn discover(asker: &Asker, discovery: &Discovery) -> Result<Uri, FetchError> {
    let mut last = FetchError::Status(StatusCode::NOT_FOUND);
    for document in &discovery.documents {
        match asker.ask(get(document), discovery::MAX_BYTES).await {
            Ok(document) => return discovery.keys(&document).map_err(FetchError::Content),
            // only what is not there is looked for elsewhere
            Err(why @ FetchError::Status(StatusCode::NOT_FOUND)) => last = why,
            Err(why) => return Err(why),
        }
    }
    Err(last)
}

fn get(url: &Uri) -> Request<Full<Bytes>> {
    let mut request = Request::new(Full::default());
    *request.uri_mut() = url.clone();
    request
}
