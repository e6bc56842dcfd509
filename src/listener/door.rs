//! The application behind Pingora's listeners: its own proxy, with a gentler end.
//!
//! Pingora drops every connection that waits for a request as soon as it has stopped listening. One that was accepted in
//! that very moment has not had the time to send its first: it is given a moment, so that no request is lost.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use pingora_core::apps::ServerApp;
use pingora_core::protocols::Stream;
use pingora_core::server::ShutdownWatch;
use pingora_proxy::{HttpProxy, ProxyHttp};

/// Between the end of listening and the end of connections that wait: longer than a handshake and a round trip take.
pub const MOMENT: Duration = Duration::from_secs(1);

/// Hands connections to the proxy.
pub struct Door<P> {
    proxy: Arc<HttpProxy<P>>,
}

impl<P> Door<P> {
    /// In front of this proxy.
    #[must_use]
    pub fn new(proxy: HttpProxy<P>) -> Door<P> {
        Door {
            proxy: Arc::new(proxy),
        }
    }
}

impl<P> std::fmt::Debug for Door<P> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Door")
    }
}

#[async_trait]
impl<P> ServerApp for Door<P>
where
    P: ProxyHttp + Send + Sync + 'static,
    P::CTX: Send + Sync,
{
    async fn process_new(self: &Arc<Self>, stream: Stream, shutdown: &ShutdownWatch) -> Option<Stream> {
        self.proxy.process_new(stream, shutdown).await
    }

    async fn cleanup(&self) {
        tokio::time::sleep(MOMENT).await;
        ServerApp::cleanup(&*self.proxy).await;
    }
}
