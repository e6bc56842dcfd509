//! The Pingora seam: the only folder that names `Session`. One concern a file; the callbacks here only hand over.

mod body;
mod context;
mod forwarded;
mod frames;
mod intake;
mod proof;
mod recall;
mod recording;
pub mod redirect;
mod reply;
mod response;
mod stand_in;
mod streams;
mod tether;
mod trust;
mod upstream;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use pingora::http::{RequestHeader, ResponseHeader};
use pingora_core::modules::http::HttpModules;
use pingora_core::protocols::Digest;
use pingora_core::upstreams::peer::HttpPeer;
use pingora_core::{Error, Result};
use pingora_proxy::{FailToProxy, ProxyHttp, ProxyWarnLogContext, Session};

pub use context::RequestCtx;

use crate::running::live::Live;
use crate::telemetry::Telemetry;

/// The gateway's logic, attached to Pingora's phases.
#[derive(Debug)]
pub struct Durward {
    live: Arc<Live>,
    telemetry: Arc<Telemetry>,
}

impl Durward {
    /// Decides by `live`, tells `telemetry`.
    #[must_use]
    pub fn new(live: Arc<Live>, telemetry: Arc<Telemetry>) -> Durward {
        Durward { live, telemetry }
    }
}

#[async_trait]
impl ProxyHttp for Durward {
    // boxed, because Pingora moves it, and what it is in, several times
    type CTX = Box<RequestCtx>;

    fn new_ctx(&self) -> Self::CTX {
        Box::new(RequestCtx::new(self.live.clone(), self.telemetry.clone()))
    }

    fn init_downstream_modules(&self, _modules: &mut HttpModules) {
        // Pingora's own would be its compression, which is never used
    }

    async fn request_filter(&self, session: &mut Session, ctx: &mut Self::CTX) -> Result<bool> {
        intake::decide(session, ctx).await
    }

    async fn upstream_peer(&self, _session: &mut Session, ctx: &mut Self::CTX) -> Result<Box<HttpPeer>> {
        upstream::peer(ctx)
    }

    async fn connected_to_upstream(
        &self,
        _session: &mut Session,
        _reused: bool,
        _peer: &HttpPeer,
        _fd: std::os::unix::io::RawFd,
        digest: Option<&Digest>,
        ctx: &mut Self::CTX,
    ) -> Result<()> {
        trust::connected(digest, ctx)
    }

    async fn upstream_request_filter(
        &self,
        session: &mut Session,
        request: &mut RequestHeader,
        ctx: &mut Self::CTX,
    ) -> Result<()> {
        upstream::prepare(session, request, ctx)?;
        // last: nothing that it covers is changed behind it
        proof::write(request, ctx)?;
        let tether = streams::handshake(ctx);
        stand_in::swap_in(session, ctx, tether);
        Ok(())
    }

    async fn request_body_filter(
        &self,
        session: &mut Session,
        body: &mut Option<Bytes>,
        end: bool,
        ctx: &mut Self::CTX,
    ) -> Result<()> {
        if end {
            stand_in::played(session, ctx);
        }
        intake::count(body.as_ref(), ctx)
    }

    async fn response_filter(
        &self,
        session: &mut Session,
        response: &mut ResponseHeader,
        ctx: &mut Self::CTX,
    ) -> Result<()> {
        response::clean(session, response, ctx)
    }

    fn response_body_filter(
        &self,
        _session: &mut Session,
        body: &mut Option<Bytes>,
        end: bool,
        ctx: &mut Self::CTX,
    ) -> Result<Option<Duration>> {
        response::body(body, end, ctx)
    }

    fn fail_to_connect(
        &self,
        _session: &mut Session,
        peer: &HttpPeer,
        ctx: &mut Self::CTX,
        error: Box<Error>,
    ) -> Box<Error> {
        upstream::not_connected(peer, ctx, error)
    }

    fn error_while_proxy(
        &self,
        _peer: &HttpPeer,
        session: &mut Session,
        error: Box<Error>,
        ctx: &mut Self::CTX,
        reused: bool,
    ) -> Box<Error> {
        stand_in::swap_out(session, ctx);
        upstream::broke(session, ctx, error, reused)
    }

    async fn fail_to_proxy(&self, session: &mut Session, error: &Error, ctx: &mut Self::CTX) -> FailToProxy {
        stand_in::swap_out(session, ctx);
        upstream::failed(session, error, ctx).await
    }

    fn suppress_error_log(&self, _session: &Session, _ctx: &Self::CTX, _error: &Error) -> bool {
        // the record of the request tells it, without the request's path and query
        true
    }

    fn request_summary(&self, _session: &Session, ctx: &Self::CTX) -> String {
        // for messages about attempts that are made again: not the request's path and query either
        ctx.id.to_string()
    }

    fn suppress_proxy_warn_log(
        &self,
        _session: &Session,
        ctx: &Self::CTX,
        error: &Error,
        _context: ProxyWarnLogContext,
    ) -> bool {
        // as above
        log::info!(target: "durward::upstream", "{}: tried again after {}", ctx.id, error.etype().as_str());
        upstream::count_failure(error, ctx);
        true
    }

    async fn logging(&self, session: &mut Session, error: Option<&Error>, ctx: &mut Self::CTX) {
        stand_in::swap_out(session, ctx);
        ctx.ended(session, error);
    }
}
