//! The way upstream: which peer, what it is sent, and what is said when it does not answer.
//!
//! Everything here starts from the ticket; without one there is no peer.

use std::time::{Duration, Instant};

use http::Request;
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use pingora::http::RequestHeader;
use pingora_core::protocols::ALPN;
use pingora_core::upstreams::peer::{HttpPeer, HttpUpstreamRequestPolicy, Peer};
use pingora_core::{Error, ErrorSource, ErrorType, Result};
use pingora_proxy::{FailToProxy, Session};

use super::context::{Phase, RequestCtx};
use super::tether::{ENDED, End, Kind as Held};
use super::{forwarded, reply, trust};
use crate::clock::UnixTime;
use crate::denial::{ContentError, Denial, UpstreamError};
use crate::gates::authn::{AuthnError, Schemes, dpop};
use crate::gates::content::BodyPlan;
use crate::head::Malformed;
use crate::identity::{Identity, Kind};
use crate::listener::Fault;
use crate::pipeline::Admitted;

/// Fields that we add at most, as a hint.
const OURS: usize = 14;
/// Tells of the client's certificate, as Envoy does.
pub(super) const CLIENT_CERTIFICATE: HeaderName = HeaderName::from_static("x-forwarded-client-cert");
/// What Pingora calls a body with malformed chunks.
pub(super) const INVALID_CHUNK: &str = "InvalidChunk";
/// No target has an address.
const UNRESOLVED: ErrorType = ErrorType::Custom("Unresolved");
/// The whole time of a request has passed.
pub(super) const DEADLINE: ErrorType = ErrorType::Custom("Deadline");

/// The peer for this attempt.
pub(super) fn peer(ctx: &mut RequestCtx) -> Result<Box<HttpPeer>> {
    let now = Instant::now();
    let begun = *ctx.forwarded.get_or_insert(now);
    if ctx.body.is_none() {
        // a further attempt sends the body again from its beginning
        ctx.received = 0;
    }
    ctx.attempt = None;
    ctx.leave_until = leave_until(now, ctx);
    let (Some(index), Some(upstream), Some(admitted)) =
        (ctx.upstream_index(), ctx.upstream(), ctx.admitted())
    else {
        return Error::e_explain(ErrorType::InternalError, "no ticket");
    };
    let tunnel = admitted.tunnel();
    let Some((target, address)) = upstream.next(&ctx.tried) else {
        return Err(Error::explain(UNRESOLVED, "no target has an address").into_up());
    };
    let timeouts = upstream.timeouts;
    let left = timeouts.total.saturating_sub(now.duration_since(begun));
    if left.is_zero() {
        return Err(Error::explain(DEADLINE, "the deadline has passed").into_up());
    }
    let mut peer = match &upstream.tls {
        None => HttpPeer::new(address, false, String::new()),
        Some(tls) => trust::peer(address, tls),
    };
    let options = &mut peer.options;
    options.alpn = ALPN::H1;
    options.connection_timeout = Some(timeouts.connect.min(left));
    options.total_connection_timeout = Some(timeouts.connect.min(left));
    options.read_timeout = Some(match &tunnel {
        // both directions count: the tether looks after them
        Some(tunnel) => tunnel.total.saturating_add(left),
        None => timeouts.read.min(left),
    });
    options.write_timeout = Some(timeouts.write.min(left));
    options.idle_timeout = Some(upstream.idle);
    options.http_upstream_request_policy = match tunnel {
        Some(_) => HttpUpstreamRequestPolicy::default(),
        None => HttpUpstreamRequestPolicy::deny_upgrades(),
    };
    let target = (index, target);
    ctx.running
        .meters
        .attempted(&ctx.telemetry.metrics, target, upstream);
    ctx.attempt = Some((target, now));
    Ok(Box::new(peer))
}

/// When the token is no longer good: what it admitted does not last longer (U25).
fn leave_until(now: Instant, ctx: &RequestCtx) -> Option<Instant> {
    let Identity::Client(client) = ctx.admitted()?.identity() else {
        return None;
    };
    // an API key need not end
    let until = Some(client.until).filter(|until| *until < UnixTime::MAX)?;
    now.checked_add(until.saturating_since(UnixTime::of_system()))
}

/// Makes the request what was authorised: canonical target, our identity headers and nobody else's.
pub(super) fn prepare(session: &Session, request: &mut RequestHeader, ctx: &RequestCtx) -> Result<()> {
    let (Some(admitted), Some(head)) = (ctx.admitted(), ctx.head.as_ref()) else {
        return Error::e_explain(ErrorType::InternalError, "no ticket");
    };
    // Written anew, field by field: nothing is there that was not put there, and, without the map of how the client
    // spelled its names, at a third of the cost of changing the copy that Pingora made.
    let mut headers = HeaderMap::with_capacity(request.headers.len() + OURS);
    let ours = &ctx.gateway().identity_headers;
    // a proof is for us: elsewhere it could be used once more. Where nobody was asked for one, it is a header like any other
    let keeps_proof = matches!(admitted.identity(), Identity::Anonymous)
        || ctx.upstream().is_some_and(|upstream| upstream.forwards_proof);
    for (name, value) in &request.headers {
        let is_rewritten = matches!(*name, header::HOST | header::COOKIE)
            || ctx.body.is_some()
                && matches!(
                    *name,
                    header::CONTENT_LENGTH | header::TRANSFER_ENCODING | header::EXPECT
                )
            || ctx.opened.is_some() && is_of_the_encrypted(name);
        let is_withheld = *name == dpop::PROOF && !keeps_proof;
        if !is_rewritten && !is_withheld && !ours.is_reserved(name) && !forwarded::is_ours(name) {
            headers.append(name.clone(), value.clone());
        }
    }
    headers.insert(header::HOST, head.authority_value());
    if let Some(cookies) = joined_cookies(request)? {
        headers.insert(header::COOKIE, cookies);
    }
    if let Some(body) = &ctx.body {
        // whatever it was before, it is this long now, and here
        headers.insert(header::CONTENT_LENGTH, HeaderValue::from(body.len()));
    }
    if let Some(content_type) = &ctx.opened {
        headers.insert(header::CONTENT_TYPE, content_type.clone());
    }
    if let Identity::Client(client) = admitted.identity() {
        for (name, value) in &client.headers {
            headers.insert(name.clone(), value.clone());
        }
    }
    let tells = ctx
        .upstream()
        .is_some_and(|upstream| upstream.client_certificate_header);
    let certificate = ctx.peer.tls.as_ref().and_then(|tls| tls.certificate.as_ref());
    if let Some(value) = certificate
        .filter(|_| tells)
        .and_then(|shown| shown.forwarded.clone())
    {
        // what clients send under this name was left out above
        headers.insert(CLIENT_CERTIFICATE, value);
    }
    forwarded::write(&session.req_header().headers, &mut headers, head, ctx)?;
    let (mut parts, ()) = Request::new(()).into_parts();
    parts.method = head.method().clone();
    parts.uri = head
        .target_uri()
        .map_err(|why| Error::because(ErrorType::InternalError, "target", why))?;
    parts.version = request.version;
    parts.headers = headers;
    *request = RequestHeader::from(parts);
    Ok(())
}

/// Whether a field describes a body as the client sent it, and not what was inside (RFC 9110 section 8.3, RFC 9530).
fn is_of_the_encrypted(name: &HeaderName) -> bool {
    *name == header::CONTENT_TYPE
        || ["content-digest", "repr-digest", "digest", "content-md5"].contains(&name.as_str())
}

/// All cookies in one field: HTTP/2 may split them (RFC 9113 section 8.2.3), and HTTP/1 knows one field only.
fn joined_cookies(request: &RequestHeader) -> Result<Option<HeaderValue>> {
    let mut cookies = request.headers.get_all(header::COOKIE).iter();
    match (cookies.next(), cookies.next()) {
        (first, None) => Ok(first.cloned()),
        (first, second) => {
            let all: Vec<&[u8]> = first
                .into_iter()
                .chain(second)
                .chain(cookies)
                .map(HeaderValue::as_bytes)
                .collect();
            HeaderValue::from_bytes(&all.join(&b"; "[..]))
                .map(Some)
                .map_err(|why| Error::because(ErrorType::InternalError, "cookies", why))
        }
    }
}

/// No connection: another target, while the upstream allows it.
pub(super) fn not_connected(peer: &HttpPeer, ctx: &mut RequestCtx, mut error: Box<Error>) -> Box<Error> {
    let retries = ctx.upstream().map_or(0, |upstream| upstream.connect_retries);
    // a certificate that is not acceptable is no reason to try elsewhere: somebody may be in between
    if ctx.tried.len() < usize::from(retries) && !is_tls(error.etype()) {
        ctx.tried.extend(peer.address().as_inet().copied());
        error.set_retry(true);
    }
    error
}

/// The connection broke: tried again on another where it had been idle before, and a repetition does no harm
/// (RFC 9110 section 9.2.2).
pub(super) fn broke(session: &Session, ctx: &RequestCtx, mut error: Box<Error>, reused: bool) -> Box<Error> {
    let has_body = match ctx.admitted().map(Admitted::body) {
        Some(BodyPlan::Whole { .. }) => ctx.body.is_some(),
        Some(BodyPlan::Stream { .. } | BodyPlan::Watched { .. }) => {
            !session.as_ref().retry_buffer_truncated()
        }
        Some(BodyPlan::None) | None => true,
    };
    if has_body && session.req_header().method.is_idempotent() {
        error.retry.decide_reuse(reused);
    } else {
        error.set_retry(false);
    }
    error
}

/// Counts an attempt that failed because of the upstream; each attempt once.
pub(super) fn count_failure(error: &Error, ctx: &RequestCtx) {
    count(denial(error, ctx).as_ref(), ctx);
}

fn count(denial: Option<&Denial>, ctx: &RequestCtx) {
    if let (Some(Denial::Upstream(why)), Some(upstream)) = (denial, ctx.asked()) {
        let target = ctx.attempt.map(|((_, target), _)| upstream.target_name(target));
        let target = target.unwrap_or_default();
        ctx.telemetry
            .metrics
            .upstream_failed(&upstream.name, &target, *why);
    }
}

/// The head of the upstream's answer is here.
pub(super) fn answered(status: http::StatusCode, now: Instant, ctx: &RequestCtx) {
    if let (Some((target, begun)), Some(upstream)) = (ctx.attempt, ctx.upstream()) {
        let after = now.saturating_duration_since(begun);
        ctx.running
            .meters
            .answered(&ctx.telemetry.metrics, target, upstream, status, after);
    }
}

/// Answers for an upstream that did not, and for bodies that grew too long.
pub(super) async fn failed(session: &mut Session, error: &Error, ctx: &mut RequestCtx) -> FailToProxy {
    let denial = match denial(error, ctx) {
        Some(Denial::Upstream(UpstreamError::Tls)) if *error.etype() == ErrorType::InvalidCert => {
            Some(Denial::Upstream(trust::what_is_wrong(ctx).await))
        }
        denial => denial,
    };
    count(denial.as_ref(), ctx);
    let Some(denial) = denial else {
        // the client is gone, or cannot be answered any more
        return FailToProxy {
            error_code: 0,
            can_reuse_downstream: false,
        };
    };
    log::info!(target: "durward::upstream", "{}: {} ({})", ctx.id, denial.reason(), error.etype().as_str());
    let code = denial.status().as_u16();
    // `100 Continue` is no answer
    let answered = session
        .response_written()
        .is_some_and(|response| !response.status.is_informational());
    if answered {
        // an answer that has begun can only be cut off; the record says why
        ctx.phase = Phase::Denied(denial);
    } else if let Err(why) = reply::deny(session, ctx, denial).await {
        log::debug!(target: "durward::proxy", "the client did not take the answer: {why}");
    }
    FailToProxy {
        error_code: code,
        can_reuse_downstream: false,
    }
}

fn denial(error: &Error, ctx: &RequestCtx) -> Option<Denial> {
    if let Some(denial) = ctx.denied() {
        return Some(denial.clone());
    }
    if let Some(denial) = Fault::behind(error) {
        // refused at the door, in the middle of the body
        return Some(denial);
    }
    let etype = error.etype();
    match error.esource() {
        ErrorSource::Downstream => match etype {
            _ if *etype == ENDED => match ctx.place.held {
                Some(Held::WebSocket | Held::Events) => None,
                _ => Some(outlived(ctx)),
            },
            // a client that leaves, or does not take its answer, is never counted against the upstream
            ErrorType::ReadError
            | ErrorType::WriteError
            | ErrorType::WriteTimedout
            | ErrorType::ConnectionClosed => None,
            ErrorType::ReadTimedout => Some(Denial::Content(ContentError::TooSlow)),
            // Pingora refuses some of what may be nominated in `Connection`
            ErrorType::InvalidHTTPHeader => Some(Denial::Malformed(Malformed::Connection)),
            ErrorType::Custom(INVALID_CHUNK) => Some(Denial::Content(ContentError::Chunks)),
            _ => Some(Denial::Content(ContentError::Incomplete)),
        },
        ErrorSource::Internal | ErrorSource::Unset if matches!(etype, ErrorType::HTTPStatus(400)) => {
            Some(Denial::Malformed(Malformed::Connection))
        }
        ErrorSource::Internal | ErrorSource::Unset | ErrorSource::Upstream => Some(match etype {
            ErrorType::Custom("Unresolved") => Denial::Upstream(UpstreamError::Unresolved),
            _ if *etype == trust::PIN => Denial::Upstream(UpstreamError::Pin),
            _ if *etype == trust::WEAK => Denial::Upstream(UpstreamError::Weak),
            ErrorType::Custom("Deadline") | ErrorType::ReadTimedout | ErrorType::WriteTimedout => {
                Denial::Upstream(UpstreamError::Timeout)
            }
            ErrorType::ConnectTimedout | ErrorType::TLSHandshakeTimedout => {
                Denial::Upstream(UpstreamError::ConnectTimeout)
            }
            _ if is_tls(etype) => Denial::Upstream(UpstreamError::Tls),
            ErrorType::ConnectRefused
            | ErrorType::ConnectNoRoute
            | ErrorType::ConnectError
            | ErrorType::SocketError
            | ErrorType::BindError => Denial::Upstream(UpstreamError::ConnectFailed),
            ErrorType::InvalidHTTPHeader | ErrorType::H1Error => Denial::Upstream(UpstreamError::Malformed),
            _ if error.esource() == &ErrorSource::Upstream => Denial::Upstream(UpstreamError::Broken),
            _ => Denial::Internal,
        }),
    }
}

/// What admitted the request has come to its end, or was taken back, while it was under way.
fn outlived(ctx: &RequestCtx) -> Denial {
    if let Some(End::Certificate(why)) = ctx.place.ended {
        return Denial::Unauthenticated(why, Schemes::CERTIFICATE);
    }
    let client = match ctx.admitted().map(Admitted::identity) {
        Some(Identity::Client(client)) => client,
        Some(Identity::Anonymous) | None => return Denial::Internal,
    };
    let kind = client.kind;
    let why = match ctx.place.ended {
        Some(End::Revoked) => AuthnError::revoked(kind),
        _ => AuthnError::expired(kind),
    };
    let schemes = match kind {
        Kind::Jwt | Kind::Introspection => {
            let algorithms = ctx.gateway().dpop.algorithms;
            Schemes::default().for_sent(Some(client.scheme()), algorithms)
        }
        Kind::ApiKey => Schemes::API_KEY,
        Kind::Certificate => Schemes::CERTIFICATE,
    };
    Denial::Unauthenticated(why, schemes)
}

fn is_tls(etype: &ErrorType) -> bool {
    matches!(
        etype,
        ErrorType::TLSHandshakeFailure | ErrorType::InvalidCert | ErrorType::HandshakeError
    )
}

/// Whether what admitted this request is no longer good.
pub(super) fn is_expired(now: Instant, ctx: &RequestCtx) -> bool {
    ctx.leave_until.is_some_and(|until| until <= now)
}

/// Whether the time of this request is over.
pub(super) fn is_late(now: Instant, ctx: &RequestCtx) -> bool {
    let total = ctx
        .upstream()
        .map_or(Duration::MAX, |upstream| upstream.timeouts.total);
    ctx.forwarded
        .is_some_and(|begun| now.saturating_duration_since(begun) > total)
}
