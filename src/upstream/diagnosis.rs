//! Why a certificate was refused.
//!
//! Pingora says that a certificate was not acceptable, and not why. So, once it was refused, the service is connected to
//! again, with the same trust and nothing to say: the handshake ends at the same fault, and this time we see which it was.
//! The finding only words the refusal; it admits nothing.

use std::net::SocketAddr;
use std::pin::Pin;
use std::time::{Duration, Instant};

use openssl::error::ErrorStack;
use openssl::ssl::{Ssl, SslConnector, SslMethod};
use openssl::x509::store::X509StoreBuilder;
use tokio::net::TcpStream;
use tokio::sync::Mutex;
use tokio_openssl::SslStream;

use super::tls::Tls;
use crate::denial::UpstreamError;

/// For so long one finding stands for all: a service that is down is not asked twice for each request.
const GOOD_FOR: Duration = Duration::from_secs(5);

// OpenSSL, x509_vfy.h
const NOT_YET_VALID: i32 = 9;
const HAS_EXPIRED: i32 = 10;
const HOSTNAME_MISMATCH: i32 = 62;

/// What was found last, and where. Whoever asks meanwhile waits for it.
#[derive(Debug, Default)]
pub struct Diagnosis(Mutex<Option<(SocketAddr, Instant, UpstreamError)>>);

impl Diagnosis {
    /// What is wrong with the certificate there; [`UpstreamError::Tls`] where it cannot be seen in time.
    pub(super) async fn find(&self, tls: &Tls, address: SocketAddr, within: Duration) -> UpstreamError {
        let found = async {
            let mut last = self.0.lock().await;
            if let Some((at, when, found)) = *last
                && at == address
                && when.elapsed() < GOOD_FOR
            {
                return found;
            }
            let found = examine(tls, address).await;
            *last = Some((address, Instant::now(), found));
            found
        };
        tokio::time::timeout(within, found)
            .await
            .unwrap_or(UpstreamError::Tls)
    }
}

async fn examine(tls: &Tls, address: SocketAddr) -> UpstreamError {
    let (Ok(ssl), Ok(stream)) = (client(tls), TcpStream::connect(address).await) else {
        return UpstreamError::Tls;
    };
    let Ok(mut stream) = SslStream::new(ssl, stream) else {
        return UpstreamError::Tls;
    };
    if Pin::new(&mut stream).connect().await.is_ok() {
        // it is good by now
        return UpstreamError::Tls;
    }
    match stream.ssl().verify_result().as_raw() {
        0 => UpstreamError::Tls,
        NOT_YET_VALID | HAS_EXPIRED => UpstreamError::Expired,
        HOSTNAME_MISMATCH => UpstreamError::Name,
        _ => UpstreamError::Untrusted,
    }
}

/// With the trust of the upstream, and without our certificate.
fn client(tls: &Tls) -> Result<Ssl, ErrorStack> {
    let mut connector = SslConnector::builder(SslMethod::tls_client())?;
    if let Some(ca) = &tls.ca {
        let mut store = X509StoreBuilder::new()?;
        for certificate in ca.iter() {
            store.add_cert(certificate.clone())?;
        }
        connector.set_cert_store(store.build());
    }
    connector.build().configure()?.into_ssl(&tls.server_name)
}
