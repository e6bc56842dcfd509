//! The application behind Pingora's listeners: takes connections, or does not; guards them; hands what is left to the
//! application that answers.
//!
//! Pingora drops every connection that waits for a request as soon as it has stopped listening. One that was accepted in
//! that very moment has not had the time to send its first: it is given a moment, so that no request is lost.

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use openssl::ssl::SslAcceptor;
use pingora_core::apps::{HttpServerApp, ServerApp};
use pingora_core::protocols::http::ServerSession;
use pingora_core::protocols::l4::socket::SocketAddr;
use pingora_core::protocols::l4::stream::Stream as L4Stream;
use pingora_core::protocols::{ALPN, GetSocketDigest, Shutdown, SocketDigest, Stream};
use pingora_core::server::ShutdownWatch;
use tokio::io::AsyncWriteExt;
use uuid::Uuid;

use super::connection::{Connection, Ended, Stage};
use super::flooded::{self, Seen};
use super::guard::{Guarded, Speaks};
use super::handshake::shake_hands;
use super::http1::{Arrival, Message};
use super::http2::Frames;
use super::proxy_protocol::{self, Source};
use super::refusal::{Afterwards, Refusal};
use super::registry::{Refused, Registry};
use super::tls::Secured;
use crate::clock::UnixTime;
use crate::denial::Denial;
use crate::gates::network::is_trusted;
use crate::trace::{HEAD_REFUSED, Trace};

/// Between the end of listening and the end of connections that wait: longer than a handshake and a round trip take.
pub const MOMENT: Duration = Duration::from_secs(1);

/// Stands in front of an application.
pub struct Door<A> {
    app: Arc<A>,
    registry: Arc<Registry>,
    /// By listener; `None` where there is no TLS.
    acceptors: Box<[Option<SslAcceptor>]>,
}

impl<A> Door<A> {
    /// In front of this application. `acceptors`: the ends of TLS, by the listener's index; those without stay without TLS.
    #[must_use]
    pub fn new(app: A, registry: Arc<Registry>, acceptors: Box<[Option<SslAcceptor>]>) -> Door<A> {
        Door {
            app: Arc::new(app),
            registry,
            acceptors,
        }
    }
}

impl<A> std::fmt::Debug for Door<A> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Door")
    }
}

/// Takes a connection that was accepted, unless there are too many, with the client that its proxy names.
async fn receive(registry: &Arc<Registry>, stream: &mut L4Stream) -> Result<Arc<Connection>, Refused> {
    let connection = registry.accept(stream)?;
    connection.enter(Stage::ProxyHeader, Some(connection.limits.handshake_timeout));
    let digest = stream.get_socket_digest();
    let peer = digest
        .as_ref()
        .and_then(|digest| digest.peer_addr()?.as_inet().copied());
    // a socket without an address is none of a network
    let Some(peer) = peer else { return Ok(connection) };
    let running = registry.live.current();
    let proxies = running.gateway.listeners.get(connection.listener);
    let is_proxy = proxies.is_some_and(|listener| is_trusted(peer.ip(), &listener.proxy_protocol));
    drop(running);
    let mut client = peer;
    let mut is_own = false;
    if is_proxy {
        match proxy_protocol::read(stream).await {
            Ok(Source::Client(named)) => {
                client = named;
                let digest = SocketDigest::from_raw_fd(connection.fd);
                let _ = digest.peer_addr.set(Some(SocketAddr::Inet(named)));
                stream.set_socket_digest(digest);
            }
            Ok(Source::Proxy) => is_own = true,
            Err(why) => {
                let _ = connection.client.set(peer.ip().to_canonical());
                // one that says nothing and leaves is its health check
                if why.kind() == io::ErrorKind::InvalidData {
                    registry.refused(connection.listener, Refused::ProxyHeader);
                }
                return Err(Refused::ProxyHeader);
            }
        }
    }
    registry.count(&connection, client.ip().to_canonical(), is_own)?;
    Ok(connection)
}

#[async_trait]
impl<A> ServerApp for Door<A>
where
    A: HttpServerApp + Send + Sync + 'static,
{
    async fn process_new(self: &Arc<Self>, stream: Stream, shutdown: &ShutdownWatch) -> Option<Stream> {
        // boxed: what a handshake needs is not kept for as long as the connection is open
        let (stream, connection) = Box::pin(self.receive(stream)).await?;
        if matches!(stream.selected_alpn_proto(), Some(ALPN::H2)) {
            if let Some(digest) = stream.get_ssl_digest()
                && let Some(secured) = digest.extension.get::<Secured>()
            {
                let _ = secured.connection.set(connection.clone());
            }
            let frames = Box::new(Frames::new(&connection));
            let guarded = Guarded::new(stream, connection, Speaks::Http2(frames));
            return ServerApp::process_new(&self.app, Box::new(guarded), shutdown).await;
        }
        let guarded = Guarded::new(stream, connection, Speaks::Http1(Message::default()));
        self.serve(Box::new(guarded), shutdown).await;
        None
    }

    async fn cleanup(&self) {
        tokio::time::sleep(MOMENT).await;
        self.registry.leave();
        self.app.http_cleanup().await;
    }
}

impl<A> Door<A>
where
    A: HttpServerApp + Send + Sync + 'static,
{
    /// A connection of which nothing has been read: takes it, or not, and does the TLS handshake.
    async fn receive(&self, stream: Stream) -> Option<(Stream, Arc<Connection>)> {
        let mut stream = *stream.into_any().downcast::<L4Stream>().ok()?;
        let connection = receive(&self.registry, &mut stream).await.ok()?;
        let stream = match self.acceptors.get(connection.listener) {
            Some(Some(acceptor)) => shake_hands(&self.registry, acceptor, stream, &connection).await?,
            _ => Box::new(stream),
        };
        Some((stream, connection))
    }

    /// Requests of HTTP/1, one after the other. While none is there, nothing is kept but the connection itself: Pingora's
    /// own session, with its buffers, begins with the head.
    async fn serve(&self, mut guarded: Box<Guarded>, shutdown: &ShutdownWatch) {
        let mut settings = None;
        loop {
            match guarded.arrival().await {
                Arrival::Head => match flooded::answer(&mut guarded).await {
                    Seen::Passed => {}
                    Seen::Answered => continue,
                    Seen::Broken => return,
                },
                Arrival::Nothing => return Shutdown::shutdown(&mut *guarded).await,
                Arrival::Refused(denial) => return Box::pin(refuse(guarded, denial)).await,
            }
            let connection = guarded.connection.clone();
            let is_last = matches!(&guarded.speaks, Speaks::Http1(message) if message.count >= connection.limits.max_requests);
            let mut session = ServerSession::new_http1(guarded);
            match settings.take() {
                None => session.set_keepalive(Some(60)),
                Some(settings) => {
                    pingora_core::apps::HttpPersistentSettings::apply_to_session(settings, &mut session)
                }
            }
            if *shutdown.borrow() {
                session.set_keepalive(None);
            }
            if is_last {
                session.set_keepalive_reuses_remaining(Some(0));
                connection.end(Ended::Requests);
            }
            let Some(reused) = self.app.process_new_http(session, shutdown).await else {
                return;
            };
            let (stream, persistent) = reused.consume();
            settings = persistent;
            match Guarded::reclaim(stream) {
                Some(reclaimed) => guarded = reclaimed,
                None => return,
            }
        }
    }
}

/// Answers a request that nobody behind us is to see, and ends the connection.
async fn refuse(mut guarded: Box<Guarded>, denial: Denial) {
    let digest = guarded.inner.get_ssl_digest();
    let registry = guarded.connection.registry.clone();
    let refusal = Refusal {
        denial: &denial,
        id: Uuid::now_v7(),
        at: UnixTime::of_system(),
        began: Instant::now(),
        client: guarded.connection.client.get().copied(),
        tls: digest
            .as_ref()
            .and_then(|digest| digest.extension.get::<Secured>()),
        head: None,
        tracing: None,
        running: &registry.live.current(),
    };
    let mut trace = Trace::default();
    trace.denied(denial.clone(), 0, HEAD_REFUSED);
    let (answer, sent) = refusal.answer(Afterwards::Closes);
    refusal.record(&registry, trace, sent, None);
    guarded
        .connection
        .enter(Stage::Closing, Some(Duration::from_secs(2)));
    let sent = async {
        guarded.inner.write_all(&answer).await?;
        guarded.inner.flush().await
    };
    if sent.await.is_ok() {
        guarded.end().await;
    }
}
