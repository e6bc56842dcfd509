//! WebSockets, and answers that have no end in sight: how they begin, and what holds them.

use std::time::Instant;

use http::header::{self, HeaderMap};
use http::response::Parts;
use http::{Method, StatusCode};
use pingora_core::{Error, ErrorType, Result};
use pingora_proxy::Session;

use super::context::RequestCtx;
use super::recall::Recall;
use super::stand_in;
use super::tether::{End, Kind, Tether};
use crate::gates::upgrade;
use crate::pipeline::Admitted;

/// A media type without end.
const EVENTS: &[u8] = b"text/event-stream";

/// Holds an upgrade until the upstream has answered it.
pub(super) fn handshake(ctx: &RequestCtx) -> Option<Tether> {
    ctx.admitted()?.tunnel()?;
    Some(Tether::new(Kind::Handshake).until(latest(ctx), End::Total))
}

/// # Errors
/// The upstream has not accepted the very handshake that was sent, or there was none.
pub(super) fn check_switch(session: &Session, answer: &HeaderMap, ctx: &RequestCtx) -> Result<()> {
    let was_admitted = ctx.admitted().and_then(Admitted::tunnel).is_some();
    let key = session.req_header().headers.get(header::SEC_WEBSOCKET_KEY);
    if was_admitted && key.is_some_and(|key| upgrade::is_accepted(key, answer)) {
        return Ok(());
    }
    Err(Error::explain(ErrorType::InvalidHTTPHeader, "not the handshake that was sent").into_up())
}

/// Holds what begins with this head, if it has no end of its own.
pub(super) fn hold(session: &mut Session, response: &Parts, ctx: &mut RequestCtx) {
    let Some(kind) = kind(session, response, ctx) else {
        return;
    };
    let tunnel = ctx.admitted().and_then(Admitted::tunnel);
    let mut tether = Tether::new(kind)
        .until(ctx.leave_until, End::TokenExpired)
        .recall(Recall::of(ctx));
    tether = match (kind, tunnel) {
        (Kind::WebSocket, Some(tunnel)) => tether
            .until(Instant::now().checked_add(tunnel.total), End::Total)
            .idle(tunnel.idle),
        _ => tether.until(latest(ctx), End::Total),
    };
    if matches!(kind, Kind::WebSocket | Kind::Events) {
        tether = tether.ending(ctx.ending());
        ctx.opened(kind);
    }
    stand_in::hold(session, ctx, tether);
    if kind == Kind::WebSocket {
        // its silence is not for the session to judge
        session.set_read_timeout(None);
    }
}

fn kind(session: &Session, response: &Parts, ctx: &RequestCtx) -> Option<Kind> {
    if response.status == StatusCode::SWITCHING_PROTOCOLS {
        return Some(Kind::WebSocket);
    }
    let ends = response.headers.contains_key(header::CONTENT_LENGTH)
        || matches!(response.status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED)
        || session.req_header().method == Method::HEAD;
    let is_events = response
        .headers
        .get(header::CONTENT_TYPE)
        .and_then(|value| value.as_bytes().get(..EVENTS.len()))
        .is_some_and(|start| start.eq_ignore_ascii_case(EVENTS));
    match (ends, is_events) {
        (false, true) => Some(Kind::Events),
        (false, false) if ctx.leave_until.is_some() || Recall::is_possible(ctx) => Some(Kind::Open),
        _ => None,
    }
}

/// The end of the time that an upstream has for an answer.
fn latest(ctx: &RequestCtx) -> Option<Instant> {
    ctx.forwarded?.checked_add(ctx.upstream()?.timeouts.total)
}
