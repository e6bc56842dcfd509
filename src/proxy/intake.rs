//! From Pingora's session to a decision, and the count of what is sent while it passes.

use std::time::Duration;

use bytes::Bytes;
use http::header::HeaderMap;
use pingora_core::protocols::http::ServerSession;
use pingora_core::{Error, ErrorType, Result};
use pingora_proxy::Session;

use super::context::{Phase, RequestCtx};
use super::tether::Kind;
use super::{body, reply};
use crate::denial::{ContentError, Denial, Dependency, Verdict};
use crate::gates::content::BodyPlan;
use crate::gates::network::client_address;
use crate::gateway::Action;
use crate::head::{Head, Malformed, RawHead};
use crate::listener::tls::Secured;
use crate::pipeline::Admitted;
use crate::request::{Peer, Request};
use crate::telemetry::traceparent::{TRACEPARENT, TraceContext};
use crate::telemetry::writer::Full;
use crate::trace::{Detail, HEAD_REFUSED};
use crate::world::live::Moment;

/// When there may be room for records again.
const RECORDS: Duration = Duration::from_secs(1);

/// Decides, and answers everything that does not go upstream. `true`: answered.
pub(super) async fn decide(session: &mut Session, ctx: &mut RequestCtx) -> Result<bool> {
    ctx.peer = peer(session, ctx);
    // of each part of an answer; a window that stays closed is no reason to hold on to it
    session.set_write_timeout(Some(ctx.gateway().connections.write_timeout));
    let traceparent = session
        .req_header()
        .headers
        .get(TRACEPARENT)
        .and_then(|value| value.to_str().ok());
    ctx.tracing = Some(TraceContext::next(traceparent));
    match ctx.telemetry.records.room() {
        Ok(room) => ctx.room = room,
        Err(Full) => {
            let denial = Denial::Unavailable(Dependency::Records, RECORDS);
            reply::deny(session, ctx, denial).await?;
            return Ok(true);
        }
    }
    match admit(session, ctx).await {
        Err(denial) => {
            reply::deny(session, ctx, denial).await?;
            Ok(true)
        }
        Ok(admitted) => {
            let action = ctx
                .gateway()
                .route(admitted.route())
                .map(|route| route.action.clone());
            ctx.phase = Phase::Admitted(admitted);
            match action {
                Some(Action::Upstream(_)) => match body::read(session, ctx).await? {
                    None => Ok(false),
                    Some(denial) => {
                        reply::deny(session, ctx, denial).await?;
                        Ok(true)
                    }
                },
                Some(Action::Respond { status, body }) => {
                    reply::text(session, ctx, status, body).await?;
                    Ok(true)
                }
                None => {
                    reply::deny(session, ctx, Denial::Internal).await?;
                    Ok(true)
                }
            }
        }
    }
}

/// A request as the gates see it.
struct Live<'a> {
    head: &'a Head,
    headers: &'a HeaderMap,
    peer: &'a Peer,
}

impl Request for Live<'_> {
    fn head(&self) -> &Head {
        self.head
    }

    fn headers(&self) -> &HeaderMap {
        self.headers
    }

    fn peer(&self) -> &Peer {
        self.peer
    }
}

async fn admit(session: &mut Session, ctx: &mut RequestCtx) -> Verdict<Admitted> {
    let most = usize::from(ctx.gateway().connections.head.fields);
    let head = match read_head(session.as_downstream_mut(), |raw| ctx.gateway().read_head(raw)) {
        // of HTTP/1, the door has counted them
        Ok(_) if session.req_header().headers.len() > most => Err(Malformed::TooManyFields),
        read => read,
    };
    let head = head.map_err(|why| ctx.trace.denied(Denial::Malformed(why), 0, HEAD_REFUSED))?;
    let request = session.req_header();
    let live = Live {
        head: &head,
        headers: &request.headers,
        peer: &ctx.peer,
    };
    let running = ctx.running.clone();
    let world = Moment {
        memory: &running.memory,
        now: ctx.arrived,
    };
    let verdict = running.gateway.admit(&live, &world, &mut ctx.trace).await;
    ctx.head = Some(head);
    verdict
}

/// The canonical head of what was read, as `read` judges it. The very bytes of an HTTP/1 head were judged before, at the door.
pub(super) fn read_head(
    session: &mut ServerSession,
    read: impl FnOnce(RawHead<'_>) -> Result<Head, Malformed>,
) -> Result<Head, Malformed> {
    let ended = session.is_body_empty();
    let request = session.req_header();
    read(RawHead {
        method: &request.method,
        uri: &request.uri,
        version: request.version,
        headers: &request.headers,
        ended,
    })
}

fn peer(session: &Session, ctx: &mut RequestCtx) -> Peer {
    let address = session
        .client_addr()
        .and_then(|address| address.as_inet())
        .copied();
    let secured = session
        .digest()
        .and_then(|digest| digest.ssl_digest.as_ref())
        .and_then(|tls| tls.extension.get::<Secured>());
    ctx.hsts = secured.map(|secured| secured.hsts.clone());
    ctx.tls_fields = secured.map(|secured| secured.fields.clone());
    if let Some(connection) = secured.and_then(|secured| secured.connection.get()) {
        connection.begin();
    }
    let headers = &session.req_header().headers;
    let client = address.map(|address| client_address(address.ip(), headers, &ctx.gateway().trusted_proxies));
    Peer {
        address,
        client,
        tls: secured.map(|secured| secured.facts.clone()),
    }
}

/// Counts a part of the body. Beyond the route's limit the request ends, and what the upstream has of it stays without
/// an end, so that it cannot be taken for whole (S78).
pub(super) fn count(part: Option<&Bytes>, ctx: &mut RequestCtx) -> Result<()> {
    let Some(part) = part else { return Ok(()) };
    let max = match ctx.admitted().map(Admitted::body) {
        // counted when it was read
        Some(BodyPlan::Whole { .. }) => return Ok(()),
        Some(BodyPlan::Stream { max }) => max,
        Some(BodyPlan::Watched { max }) => {
            watch(part, max, ctx);
            u64::MAX
        }
        // what is said on a WebSocket
        Some(BodyPlan::None) if ctx.place.held == Some(Kind::WebSocket) => u64::MAX,
        Some(BodyPlan::None) | None => 0,
    };
    ctx.received = ctx
        .received
        .saturating_add(u64::try_from(part.len()).unwrap_or(u64::MAX));
    if ctx.received > max {
        ctx.phase = Phase::Denied(Denial::Content(ContentError::TooLarge));
        return Error::e_explain(
            ErrorType::HTTPStatus(413),
            "the body is longer than the route takes",
        );
    }
    Ok(())
}

/// Records once that a body is longer than it would be let, were its limit enforced.
fn watch(part: &Bytes, max: u64, ctx: &mut RequestCtx) {
    let denial = Denial::Content(ContentError::TooLarge);
    let received = ctx
        .received
        .saturating_add(u64::try_from(part.len()).unwrap_or(u64::MAX));
    let is_told = ctx.trace.shadows().any(|(_, reason)| reason == denial.reason());
    if received > max && !is_told {
        let line = ctx.route().map_or(0, |route| route.content.line);
        ctx.trace.shadowed(&denial, line, Detail::Content);
    }
}
