//! Requests of an address that is over its flood limit already: answered at the door (S74).
//!
//! Whoever floods is to cost as little as can be, so nothing is made of such a request but its head, for the record. It is
//! refused by the same gate, with the same answer, record and trace as behind the door. Whatever is not plain to see from
//! here goes on, and is judged there: a body, an upgrade, a client that a proxy names in a header, a connection that is to
//! end, HTTP/2.

use std::io;
use std::net::IpAddr;
use std::time::Instant;

use bytes::Bytes;
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::{Method, Uri, Version};
use tokio::io::AsyncWriteExt;
use uuid::Uuid;

use super::guard::Guarded;
use super::refusal::{Afterwards, Refusal};
use super::tls::Secured;
use crate::clock::UnixTime;
use crate::gates::Mode;
use crate::gates::network::is_trusted;
use crate::gateway::{Gateway, Purpose};
use crate::head::{Head, RawHead};
use crate::telemetry::traceparent::{TRACEPARENT, TraceContext};
use crate::trace::Trace;
use crate::world::live::Moment;

/// Fields of a head that is looked at here.
const FIELDS: usize = 32;

/// What became of a request.
#[derive(Debug)]
pub(super) enum Seen {
    /// It goes on.
    Passed,
    /// It was answered, and the connection goes on.
    Answered,
    /// The connection broke.
    Broken,
}

/// Answers the request whose head has just arrived, if its address is over the limit.
pub(super) async fn answer(guarded: &mut Guarded) -> Seen {
    let connection = guarded.connection.clone();
    let registry = &connection.registry;
    let running = registry.live.current();
    let limit = running.gateway.flood.filter(|flood| flood.mode == Mode::Enforce);
    let (Some(flood), Some(client)) = (limit, connection.client.get().copied()) else {
        return Seen::Passed;
    };
    let (began, now) = (Instant::now(), UnixTime::of_system());
    if !flood.is_over(client, running.memory.floods(), now)
        || !counts_connections(&running.gateway, connection.listener, client)
    {
        return Seen::Passed;
    }
    let lifecycle = registry.live.lifecycle();
    let Some((head, traceparent)) = guarded
        .bodiless()
        .and_then(|bytes| parse(bytes, &running.gateway))
    else {
        return Seen::Passed;
    };
    let (false, Ok(room)) = (lifecycle.is_draining(), registry.telemetry.records.room()) else {
        return Seen::Passed;
    };
    let mut trace = Trace::default();
    let world = Moment {
        memory: &running.memory,
        now,
    };
    let Err(denial) = running.gateway.check_flood(Some(client), &world, &mut trace) else {
        return Seen::Passed;
    };
    lifecycle.begin();
    guarded.take_head();
    let digest = guarded.inner.get_ssl_digest();
    let tls = digest
        .as_ref()
        .and_then(|digest| digest.extension.get::<Secured>());
    let tracing = registry.telemetry.records.is_on().then(|| {
        let traceparent = traceparent.as_ref().and_then(|value| value.to_str().ok());
        TraceContext::next(traceparent)
    });
    let refusal = Refusal {
        denial: &denial,
        id: Uuid::now_v7(),
        at: now,
        began,
        client: Some(client),
        tls,
        head: Some(&head),
        tracing: tracing.as_ref(),
        running: &running,
    };
    let (answer, sent) = refusal.answer(Afterwards::GoesOn);
    refusal.record(registry, trace, sent, room);
    let sent = async {
        guarded.write_all(&answer).await?;
        guarded.flush().await
    };
    let sent: io::Result<()> = sent.await;
    lifecycle.end();
    match sent {
        Ok(()) => Seen::Answered,
        Err(_) => Seen::Broken,
    }
}

/// Whether the listener's requests are limited, by the address of the connection. A proxy that stands for others names them
/// in the head, which nobody has read.
fn counts_connections(gateway: &Gateway, listener: usize, client: IpAddr) -> bool {
    let is_served = gateway
        .listeners
        .get(listener)
        .is_some_and(|listener| match listener.purpose {
            Purpose::Tls(_) | Purpose::Plaintext(_) => true,
            Purpose::Redirect(_) => false,
        });
    is_served && !is_trusted(client, &gateway.trusted_proxies)
}

/// The head, and the field that a trace goes on by; `None` where it is for the one behind the door to judge.
fn parse(bytes: &[u8], gateway: &Gateway) -> Option<(Head, Option<HeaderValue>)> {
    let mut fields = [httparse::EMPTY_HEADER; FIELDS];
    let mut request = httparse::Request::new(&mut fields);
    let is_whole = request.parse(bytes).ok()?.is_complete();
    // 1.0 ends with its answer, unless it asks for more
    let (true, Some(method), Some(target), Some(1)) =
        (is_whole, request.method, request.path, request.version)
    else {
        return None;
    };
    if !target.starts_with('/') {
        return None;
    }
    let mut headers = HeaderMap::with_capacity(request.headers.len());
    for field in &*request.headers {
        let name = HeaderName::from_bytes(field.name.as_bytes()).ok()?;
        headers.append(name, HeaderValue::from_bytes(field.value).ok()?);
    }
    if headers.contains_key(header::CONNECTION) {
        return None;
    }
    let head = gateway.read_head(RawHead {
        method: &Method::from_bytes(method.as_bytes()).ok()?,
        uri: &Uri::from_maybe_shared(Bytes::copy_from_slice(target.as_bytes())).ok()?,
        version: Version::HTTP_11,
        headers: &headers,
        ended: true,
    });
    Some((head.ok()?, headers.remove(TRACEPARENT)))
}
