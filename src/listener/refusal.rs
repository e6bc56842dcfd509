//! What becomes of a request that is refused before Pingora has seen it: an answer, a record, a place in the metrics.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use http::Method;
use pingora_core::protocols::http::date;
use uuid::Uuid;

use super::connection::Connection;
use super::registry::Registry;
use super::tls::Secured;
use crate::clock::UnixTime;
use crate::denial::Denial;
use crate::gates::authn::certificate::Says;
use crate::head::{Head, Malformed};
use crate::problem;
use crate::running::explanations::Refused;
use crate::running::live::Running;
use crate::telemetry::record::{Record, certificate_fields};
use crate::telemetry::traceparent::TraceContext;
use crate::telemetry::writer::Room;
use crate::trace::Trace;

/// Bytes of the head of an answer, as a hint.
const ANSWER: usize = 384;
/// Records of one connection at most that say no more than the one before.
const MOST_UNSERVED: u32 = 200;

/// What becomes of the connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Afterwards {
    GoesOn,
    Closes,
}

/// What is known of a refused request.
#[derive(Debug, Clone, Copy)]
pub(super) struct Refusal<'a> {
    pub(super) denial: &'a Denial,
    pub(super) id: Uuid,
    pub(super) at: UnixTime,
    /// When it began.
    pub(super) began: Instant,
    pub(super) client: Option<IpAddr>,
    pub(super) tls: Option<&'a Secured>,
    /// Unless it is the head that is refused.
    pub(super) head: Option<&'a Head>,
    pub(super) tracing: Option<&'a TraceContext>,
    /// The snapshot that decided.
    pub(super) running: &'a Arc<Running>,
}

impl Refusal<'_> {
    /// The whole answer, as it goes over the wire, and how much of it is the document that says why.
    pub(super) fn answer(&self, afterwards: Afterwards) -> (Vec<u8>, usize) {
        let body = problem::document(self.denial, self.id);
        let status = self.denial.status();
        let mut answer = Vec::with_capacity(ANSWER + body.len());
        let mut line = |parts: &[&[u8]]| {
            for part in parts {
                answer.extend_from_slice(part);
            }
            answer.extend_from_slice(b"\r\n");
        };
        let (mut digits, mut id) = (itoa::Buffer::new(), Uuid::encode_buffer());
        let reason = status.canonical_reason().unwrap_or("Error");
        line(&[b"HTTP/1.1 ", status.as_str().as_bytes(), b" ", reason.as_bytes()]);
        line(&[b"content-type: application/problem+json"]);
        line(&[b"cache-control: no-store"]);
        line(&[b"content-length: ", digits.format(body.len()).as_bytes()]);
        line(&[b"x-content-type-options: nosniff"]);
        line(&[
            b"x-request-id: ",
            self.id.hyphenated().encode_lower(&mut id).as_bytes(),
        ]);
        line(&[b"date: ", date::get_cached_date().as_bytes()]);
        if let Some(tls) = self.tls {
            line(&[b"strict-transport-security: ", tls.hsts.as_bytes()]);
        }
        if let Some(allow) = self.denial.allow() {
            line(&[b"allow: ", allow.as_bytes()]);
        }
        if let Some(after) = self.denial.retry_after() {
            line(&[b"retry-after: ", digits.format(after).as_bytes()]);
        }
        line(&[match afterwards {
            Afterwards::GoesOn => b"connection: keep-alive",
            Afterwards::Closes => b"connection: close",
        }]);
        line(&[]);
        if self.head.is_some_and(|head| head.method() == Method::HEAD) {
            return (answer, 0);
        }
        answer.extend_from_slice(&body);
        (answer, body.len())
    }

    /// Keeps why, for whoever asks by its id.
    fn explain(&self, registry: &Registry, mut trace: Trace) {
        registry.live.explanations().keep(Refused {
            id: self.id,
            at: self.at,
            traced: trace.end(self.head),
            denial: self.denial.clone(),
            running: self.running.clone(),
        });
    }

    /// Counts it and writes its record, into the room that was taken for it; `sent`: bytes of the document.
    pub(super) fn record(&self, registry: &Registry, trace: Trace, sent: usize, room: Option<Room>) {
        let telemetry = &registry.telemetry;
        let (status, duration) = (self.denial.status().as_u16(), self.began.elapsed());
        let reason = self.denial.reason();
        let scheme = if self.tls.is_some() { "https" } else { "http" };
        self.explain(registry, trace);
        telemetry.metrics.denied("", self.denial);
        telemetry
            .metrics
            .duration(self.head.map(Head::method), "", Some(status), scheme, reason)
            .observe(duration.as_secs_f64());
        if !telemetry.records.is_on() {
            return;
        }
        let mut id = Uuid::encode_buffer();
        let record = Record {
            timestamp: self.at,
            id: self.id.hyphenated().encode_lower(&mut id),
            trace_id: self.tracing.map(TraceContext::trace_id),
            span_id: self.tracing.map(TraceContext::span_id),
            method: self.head.map(|head| head.method().as_str()),
            host: self.head.map(Head::host),
            path: self.head.map(Head::path),
            protocol: self.head.map(|_| "1.1"),
            status: Some(status),
            sent: u64::try_from(sent).unwrap_or(u64::MAX),
            duration,
            client: self.client,
            peer: self.client,
            tls: self.tls.map_or("", |secured| &secured.fields),
            outcome: "deny",
            gate: Some(self.denial.gate().as_str()),
            reason: Some(reason),
            scheme,
            config: self.running.gateway.hash.get(..12).unwrap_or_default(),
            ..Record::default()
        };
        record.with_line(|line| telemetry.records.write_in(room, line));
    }
}

/// The record of a connection on which no request could be made.
pub(super) fn record_unmade(
    registry: &Registry,
    connection: &Connection,
    reason: &'static str,
    certificate: Option<&Says>,
) {
    let client = connection.client.get().copied();
    let certificate = certificate.map(certificate_fields).unwrap_or_default();
    write(
        registry,
        Record {
            client,
            peer: client,
            tls: &certificate,
            outcome: "deny",
            gate: Some("listener"),
            reason: Some(reason),
            scheme: "https",
            ..Record::default()
        },
    );
}

/// Requests of HTTP/2 that ended before anybody could decide about them: malformed, or reset at once. There are no more
/// of these on a connection than the library behind us puts up with.
pub(super) fn record_unserved(connection: &Arc<Connection>, opened: u32) {
    let unserved =
        move |connection: &Connection| opened.saturating_sub(connection.begun.load(Ordering::Relaxed));
    if unserved(connection) == 0 {
        return;
    }
    let (connection, runtime) = (connection.clone(), tokio::runtime::Handle::try_current());
    let Ok(runtime) = runtime else { return };
    runtime.spawn(async move {
        // the last of them may only just have been handed on
        tokio::time::sleep(Duration::from_secs(2)).await;
        let denial = Denial::Malformed(Malformed::Stream);
        let client = connection.client.get().copied();
        for _ in 0..unserved(&connection).min(MOST_UNSERVED) {
            connection.registry.telemetry.metrics.denied("", &denial);
            let record = Record {
                client,
                peer: client,
                protocol: Some("2"),
                outcome: "deny",
                gate: Some(denial.gate().as_str()),
                reason: Some(denial.reason()),
                scheme: "https",
                ..Record::default()
            };
            write(&connection.registry, record);
        }
    });
}

fn write(registry: &Registry, record: Record<'_>) {
    let records = &registry.telemetry.records;
    if !records.is_on() {
        return;
    }
    let running = registry.live.current();
    let mut buffer = Uuid::encode_buffer();
    let record = Record {
        timestamp: UnixTime::of_system(),
        id: Uuid::now_v7().hyphenated().encode_lower(&mut buffer),
        config: running.gateway.hash.get(..12).unwrap_or_default(),
        ..record
    };
    record.with_line(|line| records.write(line));
}
