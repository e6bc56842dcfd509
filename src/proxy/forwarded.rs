//! What upstreams are told of the way here: rebuilt by us, from what we saw (RFC 7239, RFC 9110 section 7.6.3).
//!
//! What the client said about itself is dropped, unless it came through a declared proxy.

use http::header::{self, HeaderMap, HeaderName};
use pingora::http::RequestHeader;
use pingora_core::Result;
use uuid::Uuid;

use super::context::RequestCtx;
use crate::gates::network::is_trusted;
use crate::head::Head;

const FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const PORT: HeaderName = HeaderName::from_static("x-forwarded-port");
const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Whether a header is one that only we write, in any spelling.
pub(super) fn is_ours(name: &HeaderName) -> bool {
    let name = name.as_str();
    let starts = |prefix: &str| {
        name.len() >= prefix.len()
            && name
                .bytes()
                .zip(prefix.bytes())
                .all(|(a, b)| a == b || (a == b'_' && b == b'-'))
    };
    starts("x-forwarded-") || (starts("x-request-id") && name.len() == 12) || name == "forwarded"
}

/// Writes them. `client_headers`: as the client sent them.
pub(super) fn write(
    client_headers: &HeaderMap,
    request: &mut RequestHeader,
    head: &Head,
    ctx: &RequestCtx,
) -> Result<()> {
    let scheme = if ctx.peer.tls.is_some() { "https" } else { "http" };
    if let Some(peer) = ctx.peer.address.map(|address| address.ip().to_canonical()) {
        let mut chain = String::new();
        if is_trusted(peer, &ctx.gateway().trusted_proxies) {
            for value in client_headers
                .get_all(&FOR)
                .iter()
                .filter_map(|value| value.to_str().ok())
            {
                chain.push_str(value);
                chain.push_str(", ");
            }
        }
        chain.push_str(&peer.to_string());
        request.insert_header(FOR, chain)?;
        let client = ctx.peer.client.unwrap_or(peer);
        let node = if client.is_ipv6() {
            format!("\"[{client}]\"")
        } else {
            client.to_string()
        };
        request.insert_header(
            header::FORWARDED,
            format!("for={node};host=\"{}\";proto={scheme}", head.authority()),
        )?;
    }
    request.insert_header(PROTO, scheme)?;
    request.insert_header(HOST, head.authority())?;
    let port = match head.authority().rsplit_once(':') {
        Some((_, port)) if port.bytes().all(|b| b.is_ascii_digit()) => port,
        _ if scheme == "https" => "443",
        _ => "80",
    };
    request.insert_header(PORT, port)?;
    let mut buffer = Uuid::encode_buffer();
    request.insert_header(REQUEST_ID, &*ctx.id.hyphenated().encode_lower(&mut buffer))?;
    if let Some(tracing) = &ctx.tracing {
        request.insert_header(TRACEPARENT, tracing.to_string())?;
        // the state of a trace that does not go on belongs to nobody
        if !ctx.trace_went_on {
            request.remove_header("tracestate");
        }
    }
    request.append_header(header::VIA, "1.1 durward")?;
    Ok(())
}
