//! What upstreams are told of the way here: rebuilt by us, from what we saw (RFC 7239, RFC 9110 section 7.6.3).
//!
//! What the client said about itself is dropped, unless it came through a declared proxy.

use std::cell::RefCell;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::net::IpAddr;

use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use pingora_core::{Error, ErrorType, Result};

use super::context::RequestCtx;
use crate::gates::network::is_trusted;
use crate::head::Head;
use crate::telemetry::traceparent::TRACEPARENT;

const FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const PORT: HeaderName = HeaderName::from_static("x-forwarded-port");
const TRACESTATE: HeaderName = HeaderName::from_static("tracestate");
pub(super) const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

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
    headers: &mut HeaderMap,
    head: &Head,
    ctx: &RequestCtx,
) -> Result<()> {
    let is_https = ctx.peer.tls.is_some();
    if let Some(peer) = ctx.peer.address.map(|address| address.ip().to_canonical()) {
        let client = ctx.peer.client.unwrap_or(peer);
        let way = Way::of(peer, client, head.authority(), is_https)?;
        let chain = if is_trusted(peer, &ctx.gateway().trusted_proxies) {
            continued(client_headers, peer)?
        } else {
            way.peer
        };
        headers.insert(FOR, chain);
        headers.insert(header::FORWARDED, way.forwarded);
    }
    headers.insert(
        PROTO,
        HeaderValue::from_static(if is_https { "https" } else { "http" }),
    );
    headers.insert(HOST, head.authority_value());
    let port = match head.authority().rsplit_once(':') {
        Some((_, port)) if port.bytes().all(|b| b.is_ascii_digit()) => value(port)?,
        _ => HeaderValue::from_static(if is_https { "443" } else { "80" }),
    };
    headers.insert(PORT, port);
    headers.insert(REQUEST_ID, ctx.id_value());
    if let Some(tracing) = &ctx.tracing {
        headers.insert(TRACEPARENT, tracing.header_value());
        // the state of a trace that does not go on belongs to nobody
        if !tracing.went_on() {
            headers.remove(TRACESTATE);
        }
    }
    headers.append(header::VIA, HeaderValue::from_static("1.1 durward"));
    Ok(())
}

/// The chain that a declared proxy sent, and that proxy.
fn continued(client_headers: &HeaderMap, peer: IpAddr) -> Result<HeaderValue> {
    let mut chain = String::new();
    for value in client_headers
        .get_all(&FOR)
        .iter()
        .filter_map(|value| value.to_str().ok())
    {
        chain.push_str(value);
        chain.push_str(", ");
    }
    value(&format!("{chain}{peer}"))
}

/// What stays the same for all requests of a client to a host.
#[derive(Clone)]
struct Way {
    key: (IpAddr, IpAddr, bool),
    authority: Box<str>,
    /// The socket's other end.
    peer: HeaderValue,
    /// `Forwarded`
    forwarded: HeaderValue,
}

/// Ways kept by each thread.
const KEPT: usize = 64;

impl Way {
    /// Kept from an earlier request, or written out.
    fn of(peer: IpAddr, client: IpAddr, authority: &str, is_https: bool) -> Result<Way> {
        thread_local!(static WAYS: RefCell<[Option<Way>; KEPT]> = const { RefCell::new([const { None }; KEPT]) });
        let key = (peer, client, is_https);
        let mut hash = DefaultHasher::new();
        (key, authority).hash(&mut hash);
        let slot = usize::try_from(hash.finish() % KEPT as u64).unwrap_or(0);
        WAYS.with_borrow_mut(|ways| {
            let kept = ways.get(slot).and_then(Option::as_ref);
            if let Some(way) = kept.filter(|way| way.key == key && *way.authority == *authority) {
                return Ok(way.clone());
            }
            let node = if client.is_ipv6() {
                format!("\"[{client}]\"")
            } else {
                client.to_string()
            };
            let scheme = if is_https { "https" } else { "http" };
            let way = Way {
                key,
                authority: authority.into(),
                peer: value(&peer.to_string())?,
                forwarded: value(&format!("for={node};host=\"{authority}\";proto={scheme}"))?,
            };
            if let Some(slot) = ways.get_mut(slot) {
                *slot = Some(way.clone());
            }
            Ok(way)
        })
    }
}

fn value(text: &str) -> Result<HeaderValue> {
    HeaderValue::from_str(text)
        .map_err(|why| Error::because(ErrorType::InternalError, "forwarding headers", why))
}
