//! Answers of the gateway's own: problem documents (RFC 9457) and the texts of routes without an upstream.
//!
//! One renderer for all of them, so that each has its decision id, its security headers, and no trace of what it runs on.

use std::time::Duration;

use bytes::Bytes;
use http::header::{self, HeaderName};
use http::{HeaderValue, Method, StatusCode};
use pingora::http::ResponseHeader;
use pingora_core::Result;
use pingora_proxy::Session;
use serde::Serialize;
use uuid::Uuid;

use super::context::{Phase, RequestCtx};
use crate::denial::{Denial, UpgradeError};
use crate::gates::limits::Standing;
use crate::gates::limits::window::Quota;
use crate::gates::upgrade;
use crate::head::{BodyLength, Head};

/// Read and thrown away of a refused body at most, so that the answer is not lost to a reset connection.
const DRAINED: usize = 256 * 1024;
/// A refused body of up to this many bytes does not cost the connection.
const WORTH_READING: u64 = 64 * 1024;
/// And for this long.
const DRAIN_TIME: Duration = Duration::from_millis(500);

/// A problem document.
#[derive(Serialize)]
struct Problem<'a> {
    r#type: String,
    title: &'a str,
    status: u16,
    detail: &'a str,
    instance: String,
    code: &'a str,
}

/// Refuses the request.
pub(super) async fn deny(session: &mut Session, ctx: &mut RequestCtx, denial: Denial) -> Result<()> {
    let body = problem(&denial, ctx.id);
    let mut response = ResponseHeader::build(denial.status(), Some(12))?;
    response.insert_header(header::CONTENT_TYPE, "application/problem+json")?;
    response.insert_header(header::CACHE_CONTROL, "no-store")?;
    if let Some(challenge) = denial.challenge() {
        response.insert_header(header::WWW_AUTHENTICATE, challenge)?;
    }
    if let Some(allow) = denial.allow() {
        response.insert_header(header::ALLOW, allow)?;
    }
    if denial == Denial::Upgrade(UpgradeError::Version) {
        // RFC 9110 section 15.5.22, RFC 6455 section 4.4
        response.insert_header(header::UPGRADE, "websocket")?;
        response.insert_header(header::SEC_WEBSOCKET_VERSION, upgrade::VERSION)?;
    }
    if let Some(after) = denial.retry_after() {
        response.insert_header(header::RETRY_AFTER, after.to_string())?;
    }
    if let Denial::RateLimited(standing) = &denial {
        rate_limit(&mut response, ctx, standing)?;
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
    let mut response = ResponseHeader::build(status, Some(8))?;
    if !body.is_empty() {
        response.insert_header(header::CONTENT_TYPE, "text/plain; charset=utf-8")?;
    }
    write(session, ctx, response, body, false).await
}

/// The document that tells a client why.
pub(super) fn problem(denial: &Denial, id: Uuid) -> Bytes {
    let problem = Problem {
        r#type: format!("urn:durward:problem:{}", denial.code()),
        title: denial.status().canonical_reason().unwrap_or("Error"),
        status: denial.status().as_u16(),
        detail: denial.detail(),
        instance: format!("urn:uuid:{id}"),
        code: denial.code(),
    };
    serde_json::to_vec(&problem).unwrap_or_default().into()
}

/// Headers of every answer that leaves the gateway, its own and upstreams'.
pub(super) fn seal(response: &mut ResponseHeader, ctx: &RequestCtx) -> Result<()> {
    response.insert_header(HeaderName::from_static("x-request-id"), ctx.id_value())?;
    match &ctx.hsts {
        Some(hsts) => response.insert_header(header::STRICT_TRANSPORT_SECURITY, hsts.clone())?,
        // S11: never on plain HTTP, whoever set it
        None => _ = response.remove_header(&header::STRICT_TRANSPORT_SECURITY),
    }
    Ok(())
}

/// RateLimit and RateLimit-Policy (draft-ietf-httpapi-ratelimit-headers).
pub(super) fn rate_limit(response: &mut ResponseHeader, ctx: &RequestCtx, standing: &Standing) -> Result<()> {
    let Some(limit) = ctx.gateway().limits.get(standing.limit) else {
        return Ok(());
    };
    if let Some(policy) = ctx.route().and_then(|route| route.limits.policy.clone()) {
        response.insert_header(HeaderName::from_static("ratelimit-policy"), policy)?;
    }
    let Quota { remaining, reset } = standing.quota;
    let seconds = reset.as_millis().div_ceil(1000);
    let value = format!("\"{}\";r={remaining};t={seconds}", limit.name);
    response.insert_header(HeaderName::from_static("ratelimit"), value)
}

async fn write(
    session: &mut Session,
    ctx: &RequestCtx,
    mut response: ResponseHeader,
    body: Bytes,
    closes: bool,
) -> Result<()> {
    let bodiless = matches!(response.status.as_u16(), 100..200 | 204 | 304);
    if !bodiless {
        response.insert_header(header::CONTENT_LENGTH, HeaderValue::from(body.len()))?;
    }
    response.insert_header(header::X_CONTENT_TYPE_OPTIONS, "nosniff")?;
    seal(&mut response, ctx)?;
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
