//! Takes the client's place before Pingora for a while: to play a body that was read whole, once for each attempt, and to
//! end what would outlive its leave.
//!
//! Pingora itself can replay 64 KiB of a body, and knows no end of an answer but the upstream's. The stand-in serves the
//! body in slices, holds what passes to its [`Tether`], and hands everything else through. Pingora gets the client's own
//! session back before it decides whether the connection goes on; what it decides by the kind of session before that
//! (authority, HTTP/2) is decided when the stand-in comes.
//!
//! The trait that it implements is hidden from Pingora's documentation, which is why its version is pinned. All of its
//! methods are here, also those with defaults: a default would answer for the stand-in, not for the client.

use std::mem;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures_core::Stream;
use http::HeaderMap;
use parking_lot::Mutex;
use pingora::http::{RequestHeader, ResponseHeader};
use pingora_core::Result;
use pingora_core::protocols::Digest;
use pingora_core::protocols::http::custom::CustomMessageWrite;
use pingora_core::protocols::http::custom::server::Session as CustomSession;
use pingora_core::protocols::http::{HttpTask, ServerSession};
use pingora_core::protocols::l4::socket::SocketAddr;
use pingora_proxy::Session;

use super::context::RequestCtx;
use super::tether::{End, Kind, Tether};

/// Bytes handed on at a time: more would keep Pingora from reading the answer while it writes them.
const SLICE: usize = 64 * 1024;

/// Where a stand-in leaves what it had when it is dropped.
#[derive(Default)]
struct Slot {
    left: Mutex<Option<Left>>,
    /// The client is to be told that its connection ends.
    leave: AtomicBool,
}

struct Left {
    client: Box<ServerSession>,
    body: Bytes,
    tether: Option<Tether>,
}

/// What a request knows of its stand-in.
#[derive(Default)]
pub(super) struct Place {
    slot: Option<Arc<Slot>>,
    /// Whether it plays a body.
    plays: bool,
    /// What it holds, and what became of that.
    pub(super) held: Option<Kind>,
    pub(super) ended: Option<End>,
}

impl std::fmt::Debug for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Place").field(&self.slot.is_some()).finish()
    }
}

impl Place {
    /// Ends the client's connection after the answer; the session itself cannot be told while the stand-in is there.
    pub(super) fn leave(&self) {
        if let Some(slot) = &self.slot {
            slot.leave.store(true, Ordering::Relaxed);
        }
    }
}

/// Before an attempt. Nothing may fail between this and Pingora's body pump.
pub(super) fn swap_in(session: &mut Session, ctx: &mut RequestCtx, tether: Option<Tether>) {
    take(session, ctx);
    // without a body there is nothing to play: Pingora knows that by itself
    let body = ctx.body.clone().unwrap_or_default();
    if !body.is_empty() || tether.is_some() {
        put(session, ctx, body, tether);
    }
}

/// From now on the answer is held.
pub(super) fn hold(session: &mut Session, ctx: &mut RequestCtx, tether: Tether) {
    // an answer may come before the body was sent: the rest of it is played on
    let body = take(session, ctx).map(|(body, _)| body).unwrap_or_default();
    put(session, ctx, body, Some(tether));
}

/// The body has been sent.
pub(super) fn played(session: &mut Session, ctx: &mut RequestCtx) {
    if ctx.place.plays
        && let Some((_, Some(tether))) = take(session, ctx)
    {
        put(session, ctx, Bytes::new(), Some(tether));
    }
}

/// Gives the client's session back for good. The first thing in every callback after which an attempt is over.
pub(super) fn swap_out(session: &mut Session, ctx: &mut RequestCtx) {
    take(session, ctx);
}

fn put(session: &mut Session, ctx: &mut RequestCtx, body: Bytes, tether: Option<Tether>) {
    let slot = Arc::new(Slot::default());
    ctx.place.slot = Some(slot.clone());
    ctx.place.plays = !body.is_empty();
    ctx.place.held = tether.as_ref().map(Tether::kind);
    let stand_in = StandIn {
        client: mem::replace(&mut session.downstream_session, nobody()),
        slot,
        plays: !body.is_empty(),
        body,
        tether,
        asks: false,
    };
    *session.downstream_session = ServerSession::new_custom(Box::new(stand_in));
}

fn take(session: &mut Session, ctx: &mut RequestCtx) -> Option<(Bytes, Option<Tether>)> {
    let slot = ctx.place.slot.take()?;
    ctx.place.plays = false;
    // the stand-in fills the slot when it is dropped
    *session.downstream_session = *nobody();
    let Left { client, body, tether } = slot.left.lock().take()?;
    session.downstream_session = client;
    if slot.leave.load(Ordering::Relaxed) {
        session.set_keepalive(None);
    }
    ctx.place.ended = tether.as_ref().and_then(Tether::ended).or(ctx.place.ended);
    Some((body, tether))
}

/// Holds a place between two assignments.
fn nobody() -> Box<ServerSession> {
    Box::new(ServerSession::new_custom(Box::new(())))
}

struct StandIn {
    client: Box<ServerSession>,
    slot: Arc<Slot>,
    plays: bool,
    /// What is left of the body.
    body: Bytes,
    tether: Option<Tether>,
    /// An upgrade was sent, and no answer has come.
    asks: bool,
}

impl StandIn {
    fn slice(&mut self) -> Option<Bytes> {
        let slice = self.body.split_to(self.body.len().min(SLICE));
        Some(slice).filter(|slice| !slice.is_empty())
    }

    /// Before the head of an answer is written.
    fn settle(&mut self) {
        if self.slot.leave.load(Ordering::Relaxed) {
            self.client.set_keepalive(None);
        }
    }
}

impl Drop for StandIn {
    fn drop(&mut self) {
        *self.slot.left.lock() = Some(Left {
            client: mem::replace(&mut self.client, nobody()),
            body: mem::take(&mut self.body),
            tether: self.tether.take(),
        });
    }
}

/// Messages of protocols of other people's own.
type Messages = Box<dyn Stream<Item = Result<Bytes>> + Unpin + Send + Sync + 'static>;

#[async_trait]
impl CustomSession for StandIn {
    // The body.

    async fn read_body_bytes(&mut self) -> Result<Option<Bytes>> {
        if self.plays {
            return Ok(self.slice());
        }
        self.client.read_request_body().await
    }

    async fn read_body_or_idle(&mut self, no_body_expected: bool) -> Result<Option<Bytes>> {
        if !no_body_expected && let Some(slice) = self.slice() {
            // nothing is awaited, so nothing is lost when Pingora drops this for something faster
            return Ok(Some(slice));
        }
        // after a body that was played there is none, and this returns when the client goes away
        let no_body_expected = no_body_expected || self.plays || self.asks;
        match &mut self.tether {
            Some(tether) => tether.read(&mut self.client, no_body_expected).await,
            None => self.client.read_body_or_idle(no_body_expected).await,
        }
    }

    fn is_body_done(&mut self) -> bool {
        if self.plays {
            return self.body.is_empty();
        }
        if self.asks {
            // an answer that is no switch of protocols ends it
            let answer = self.client.response_written();
            return answer.is_some_and(|answer| !answer.status.is_informational());
        }
        self.client.is_body_done()
    }

    fn is_body_empty(&mut self) -> bool {
        !self.plays && !self.asks && self.client.is_body_empty()
    }

    async fn drain_request_body(&mut self) -> Result<()> {
        self.body.clear();
        self.client.drain_request_body().await
    }

    fn enable_retry_buffering(&mut self) {
        // The head of the request is sent. Were Pingora told now that an upgrade has no body, it would put the end of one
        // into the same queue as the frames to come; and where the upstream switches before that is taken out, it ends the
        // new protocol.
        self.asks = self.tether.as_ref().map(Tether::kind) == Some(Kind::Handshake);
        // what is played is kept whole elsewhere
        if !self.plays {
            self.client.enable_retry_buffering();
        }
    }

    fn retry_buffer_truncated(&self) -> bool {
        !self.plays && self.client.retry_buffer_truncated()
    }

    fn get_retry_buffer(&self) -> Option<Bytes> {
        if self.plays {
            return None;
        }
        self.client.get_retry_buffer()
    }

    // There are no messages beside HTTP.

    async fn finish_custom(&mut self) -> Result<()> {
        Ok(())
    }

    fn take_custom_message_reader(&mut self) -> Option<Messages> {
        None
    }

    fn restore_custom_message_reader(&mut self, _: Messages) -> Result<()> {
        Ok(())
    }

    fn take_custom_message_writer(&mut self) -> Option<Box<dyn CustomMessageWrite>> {
        None
    }

    fn restore_custom_message_writer(&mut self, _: Box<dyn CustomMessageWrite>) -> Result<()> {
        Ok(())
    }

    // Everything else is the client's.

    fn req_header(&self) -> &RequestHeader {
        self.client.req_header()
    }

    fn req_header_mut(&mut self) -> &mut RequestHeader {
        self.client.req_header_mut()
    }

    async fn write_response_header(&mut self, response: Box<ResponseHeader>, _end: bool) -> Result<()> {
        self.settle();
        self.client.write_response_header(response).await
    }

    async fn write_response_header_ref(&mut self, response: &ResponseHeader, _end: bool) -> Result<()> {
        self.settle();
        self.client.write_response_header_ref(response).await
    }

    async fn write_body(&mut self, data: Bytes, end: bool) -> Result<()> {
        self.client.write_response_body(data, end).await
    }

    async fn write_trailers(&mut self, trailers: HeaderMap) -> Result<()> {
        self.client.write_response_trailers(trailers).await
    }

    async fn response_duplex_vec(&mut self, tasks: Vec<HttpTask>) -> Result<bool> {
        self.settle();
        match &mut self.tether {
            Some(tether) => tether.write(&mut self.client, tasks).await,
            None => self.client.response_duplex_vec(tasks).await,
        }
    }

    fn proxy_tasks_enabled(&self) -> bool {
        self.client.supports_proxy_task_api()
    }

    fn set_proxy_tasks_enabled(&mut self, enabled: bool) {
        self.client.set_proxy_tasks_enabled(enabled);
    }

    fn send_proxy_task(&mut self, task: HttpTask) {
        self.settle();
        self.client.send_downstream_proxy_task(task);
    }

    fn has_pending_proxy_tasks(&self) -> bool {
        self.client.has_pending_downstream_proxy_tasks()
    }

    async fn write_proxy_tasks(&mut self) -> Result<bool> {
        self.client.write_downstream_proxy_tasks().await
    }

    fn set_read_timeout(&mut self, timeout: Option<Duration>) {
        self.client.set_read_timeout(timeout);
    }

    fn get_read_timeout(&self) -> Option<Duration> {
        self.client.get_read_timeout()
    }

    fn set_write_timeout(&mut self, timeout: Option<Duration>) {
        self.client.set_write_timeout(timeout);
    }

    fn get_write_timeout(&self) -> Option<Duration> {
        self.client.get_write_timeout()
    }

    fn set_total_drain_timeout(&mut self, timeout: Option<Duration>) {
        self.client.set_total_drain_timeout(timeout);
    }

    fn get_total_drain_timeout(&self) -> Option<Duration> {
        self.client.get_total_drain_timeout()
    }

    fn request_summary(&self) -> String {
        self.client.request_summary()
    }

    fn response_written(&self) -> Option<&ResponseHeader> {
        self.client.response_written()
    }

    async fn shutdown(&mut self, _code: u32, _context: &str) {
        self.client.shutdown().await;
    }

    async fn abandon(&mut self, _context: &str) {
        self.client.shutdown().await;
    }

    async fn finish(&mut self) -> Result<()> {
        self.client.finish_body().await
    }

    fn body_bytes_sent(&self) -> usize {
        self.client.body_bytes_sent()
    }

    fn body_bytes_read(&self) -> usize {
        self.client.body_bytes_read()
    }

    fn digest(&self) -> Option<&Digest> {
        self.client.digest()
    }

    fn digest_mut(&mut self) -> Option<&mut Digest> {
        self.client.digest_mut()
    }

    fn client_addr(&self) -> Option<&SocketAddr> {
        self.client.client_addr()
    }

    fn server_addr(&self) -> Option<&SocketAddr> {
        self.client.server_addr()
    }

    fn pseudo_raw_h1_request_header(&self) -> Bytes {
        self.client.to_h1_raw()
    }

    fn is_upgrade_req(&self) -> bool {
        self.client.is_upgrade_req()
    }

    fn was_upgraded(&self) -> bool {
        self.client.was_upgraded()
    }
}
