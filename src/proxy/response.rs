//! What leaves: upstreams' answers without what they give away (S39).

use bytes::Bytes;
use http::{Method, Uri, header};
use pingora::http::ResponseHeader;
use pingora_core::{Error, Result};
use pingora_proxy::Session;

use super::context::RequestCtx;
use super::reply;
use super::upstream::{DEADLINE, is_late};
use crate::denial::{Denial, UpstreamError};
use crate::pipeline::Admitted;
use crate::upstream::Upstream;

/// What services run on is nobody's business.
const FINGERPRINTS: [&str; 8] = [
    "server",
    "x-powered-by",
    "x-aspnet-version",
    "x-aspnetmvc-version",
    "x-runtime",
    "x-generator",
    "x-debug-token",
    "x-backend-server",
];

/// Cleans the head of an answer.
pub(super) fn clean(
    session: &mut Session,
    response: &mut ResponseHeader,
    ctx: &mut RequestCtx,
) -> Result<()> {
    if is_late(ctx) {
        return Err(Error::explain(DEADLINE, "the answer came too late").into_up());
    }
    for name in FINGERPRINTS {
        response.remove_header(name);
    }
    // an informational response is followed by the real one
    if response.status.is_informational() {
        return Ok(());
    }
    if ctx.is_draining() {
        session.set_keepalive(None);
    }
    if let Some(location) = location(response, ctx) {
        response.insert_header(header::LOCATION, location)?;
    }
    let replace = response.status.is_server_error()
        && ctx
            .upstream()
            .is_some_and(|upstream| upstream.replace_error_bodies)
        && session.req_header().method != Method::HEAD;
    if replace {
        let body = reply::problem(
            &Denial::Upstream(UpstreamError::Failed(response.status.as_u16())),
            ctx.id,
        );
        for name in [
            header::TRANSFER_ENCODING,
            header::CONTENT_ENCODING,
            header::ETAG,
            header::LAST_MODIFIED,
        ] {
            response.remove_header(&name);
        }
        response.insert_header(header::CONTENT_TYPE, "application/problem+json")?;
        response.insert_header(header::CONTENT_LENGTH, body.len().to_string())?;
        response.insert_header(header::CACHE_CONTROL, "no-store")?;
        ctx.replacement = Some(body);
        ctx.replaces = true;
    }
    if let Some(standing) = ctx.admitted().and_then(Admitted::standing) {
        reply::rate_limit(response, ctx, &standing)?;
    }
    reply::seal(response, ctx)
}

/// Puts our own body in the place of the upstream's, and keeps the deadline.
pub(super) fn body(
    body: &mut Option<Bytes>,
    _end: bool,
    ctx: &mut RequestCtx,
) -> Result<Option<std::time::Duration>> {
    if is_late(ctx) {
        return Err(Error::explain(DEADLINE, "the answer takes too long").into_up());
    }
    if ctx.replaces {
        *body = Some(ctx.replacement.take().unwrap_or_default());
    }
    Ok(None)
}

/// `Location` without the upstream's own address: the client could not go there, and should not know.
fn location(response: &ResponseHeader, ctx: &RequestCtx) -> Option<String> {
    let location: Uri = response
        .headers
        .get(header::LOCATION)?
        .to_str()
        .ok()?
        .parse()
        .ok()?;
    let authority = location.authority()?.as_str();
    let is_internal = ctx
        .upstream()
        .is_some_and(|upstream: &Upstream| upstream.is_at(authority));
    is_internal.then(|| {
        location
            .path_and_query()
            .map_or("/", |target| target.as_str())
            .to_owned()
    })
}
