//! Answers of the gateway's own: problem documents (RFC 9457) and the texts of routes without an upstream.
//!
//! One renderer for all of them, so that each has its decision id, its security headers, and no trace of what it runs on.

use std::time::Duration;

use bytes::Bytes;
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::response::Parts;
use http::{Method, Response, StatusCode};
use pingora::http::ResponseHeader;
use pingora_core::{Error, ErrorType, Result};
use pingora_proxy::Session;

use super::context::{Phase, RequestCtx};
use crate::denial::{Denial, UpgradeError};
use crate::gates::authn::dpop;
use crate::gates::limits::Standing;
use crate::gates::limits::window::Quota;
use crate::gates::upgrade;
use crate::head::{BodyLength, Head};
use crate::problem;

/// Read and thrown away of a refused body at most, so that the answer is not lost to a reset connection.
const DRAINED: usize = 256 * 1024;
/// A refused body of up to this many bytes does not cost the connection.
const WORTH_READING: u64 = 64 * 1024;
/// And for this long.
const DRAIN_TIME: Duration = Duration::from_millis(500);

/// Fields that an answer of ours has at most, as a hint.
const FIELDS: usize = 16;

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const RATE_LIMIT: HeaderName = HeaderName::from_static("ratelimit");
const RATE_LIMIT_POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");

/// `Content-Type` of problem documents.
pub(super) const PROBLEM: HeaderValue = HeaderValue::from_static("application/problem+json");
/// `Cache-Control` of what is about one request only.
pub(super) const NO_STORE: HeaderValue = HeaderValue::from_static("no-store");

/// Refuses the request.
pub(super) async fn deny(session: &mut Session, ctx: &mut RequestCtx, denial: Denial) -> Result<()> {
    let body = problem::document(&denial, ctx.id);
    let mut response = response(denial.status());
    let headers = &mut response.headers;
    headers.insert(header::CONTENT_TYPE, PROBLEM);
    headers.insert(header::CACHE_CONTROL, NO_STORE);
    if let Some(challenge) = denial.challenge() {
        headers.insert(header::WWW_AUTHENTICATE, value(&challenge)?);
    }
    if let Some(allow) = denial.allow() {
        headers.insert(header::ALLOW, value(allow)?);
    }
    if denial == Denial::Upgrade(UpgradeError::Version) {
        // RFC 9110 section 15.5.22, RFC 6455 section 4.4
        headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
        headers.insert(header::SEC_WEBSOCKET_VERSION, upgrade::VERSION);
    }
    if let Some(after) = denial.retry_after() {
        headers.insert(header::RETRY_AFTER, HeaderValue::from(after));
    }
    if let Denial::RateLimited(standing) = &denial {
        rate_limit(headers, ctx, standing);
    }
    let closes = denial.closes();
    ctx.phase = Phase::Denied(denial);
    write(session, ctx, response, body, closes).await
}

/// Answers with a text.
pub(super) async fn text(
    session: &mut Session,
    ctx: &RequestCtx,
    status: StatusCode,
    body: Bytes,
) -> Result<()> {
    let mut response = response(status);
    if !body.is_empty() {
        let text = HeaderValue::from_static("text/plain; charset=utf-8");
        response.headers.insert(header::CONTENT_TYPE, text);
    }
    write(session, ctx, response, body, false).await
}

fn response(status: StatusCode) -> Parts {
    let (mut parts, ()) = Response::new(()).into_parts();
    parts.status = status;
    parts.headers = HeaderMap::with_capacity(FIELDS);
    parts
}

fn value(text: &str) -> Result<HeaderValue> {
    HeaderValue::from_str(text).map_err(|why| Error::because(ErrorType::InternalError, "answer", why))
}

/// Headers of every answer that leaves the gateway, its own and upstreams'.
pub(super) fn seal(headers: &mut HeaderMap, ctx: &RequestCtx) {
    headers.insert(REQUEST_ID, ctx.id_value());
    if ctx.gateway().dpop.nonces.is_some() {
        // RFC 9449 section 8.2: ours alone, and nothing that a cache may tell somebody later
        headers.remove(dpop::NONCE);
        if let Some(nonce) = &ctx.trace.nonce {
            headers.insert(dpop::NONCE, nonce.clone());
            headers.insert(header::CACHE_CONTROL, NO_STORE);
        }
    }
    match &ctx.hsts {
        Some(hsts) => _ = headers.insert(header::STRICT_TRANSPORT_SECURITY, hsts.clone()),
        // S11: never on plain HTTP, whoever set it
        None => _ = headers.remove(header::STRICT_TRANSPORT_SECURITY),
    }
}

/// RateLimit and RateLimit-Policy (draft-ietf-httpapi-ratelimit-headers).
pub(super) fn rate_limit(headers: &mut HeaderMap, ctx: &RequestCtx, standing: &Standing) {
    let Some(limit) = ctx.gateway().limits.get(standing.limit) else {
        return;
    };
    if let Some(policy) = ctx.route().and_then(|route| route.limits.policy.clone()) {
        headers.insert(RATE_LIMIT_POLICY, policy);
    }
    if let Ok(value) = HeaderValue::from_str(&quota(&limit.name, standing.quota)) {
        headers.insert(RATE_LIMIT, value);
    }
}

/// What is left of a limit, as a structured field (RFC 9651).
fn quota(name: &str, quota: Quota) -> String {
    let Quota { remaining, reset } = quota;
    let seconds = reset.as_millis().div_ceil(1000);
    // written on every answer, so not by way of a formatter
    let (mut left, mut after) = (itoa::Buffer::new(), itoa::Buffer::new());
    [
        "\"",
        name,
        "\";r=",
        left.format(remaining),
        ";t=",
        after.format(seconds),
    ]
    .concat()
}

async fn write(
    session: &mut Session,
    ctx: &RequestCtx,
    mut response: Parts,
    body: Bytes,
    closes: bool,
) -> Result<()> {
    let bodiless = matches!(response.status.as_u16(), 100..200 | 204 | 304);
    if !bodiless {
        let length = HeaderValue::from(body.len());
        response.headers.insert(header::CONTENT_LENGTH, length);
    }
    let nosniff = HeaderValue::from_static("nosniff");
    response.headers.insert(header::X_CONTENT_TYPE_OPTIONS, nosniff);
    seal(&mut response.headers, ctx);
    let response = ResponseHeader::from(response);
    let unread = !session.as_downstream_mut().is_body_done();
    // a small body is read to its end so that the connection can go on
    let goes_on = !closes && is_worth_reading(ctx, session);
    if unread && goes_on {
        let downstream = session.as_downstream_mut();
        // otherwise Pingora closes as soon as it answers before the body was read
        downstream.set_close_on_response_before_downstream_finish(false);
        downstream.set_total_drain_timeout(Some(DRAIN_TIME));
    } else if closes || unread {
        session.set_keepalive(None);
    }
    if ctx.is_draining() {
        session.set_keepalive(None);
    }
    if unread && goes_on && session.as_downstream().is_http2() {
        // ending the stream before its last bytes are here resets it, and some clients then throw the answer away
        drain(session).await;
    }
    let is_head = session.req_header().method == Method::HEAD;
    if bodiless || is_head || body.is_empty() {
        session.write_response_header(Box::new(response), true).await?;
        session.write_response_body(None, true).await?;
    } else {
        session.write_response_header(Box::new(response), false).await?;
        session.write_response_body(Some(body), true).await?;
    }
    if unread && !goes_on {
        drain(session).await;
    }
    Ok(())
}

/// Whether the rest of a refused request is small, and certain to come. A client that waits for `100 Continue` may send
/// its next request instead, which must not be taken for the body.
fn is_worth_reading(ctx: &RequestCtx, session: &Session) -> bool {
    let length = ctx.head.as_ref().map(Head::body);
    matches!(length, Some(BodyLength::Known(length)) if length <= WORTH_READING)
        && !session.req_header().headers.contains_key(header::EXPECT)
}

/// Reads some of what the client still sends. Nothing depends on how that ends.
async fn drain(session: &mut Session) {
    let mut left = DRAINED;
    let reading = async {
        while let Ok(Some(part)) = session.as_downstream_mut().read_request_body().await {
            left = left.saturating_sub(part.len());
            if left == 0 {
                break;
            }
        }
    };
    let _ = tokio::time::timeout(DRAIN_TIME, reading).await;
}
