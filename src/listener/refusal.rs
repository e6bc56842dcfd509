//! What becomes of a request that is refused before Pingora has seen it: an answer, a record, a place in the metrics.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::HeaderValue;
use uuid::Uuid;

use super::connection::Connection;
use super::registry::Registry;
use super::tls::Secured;
use crate::clock::UnixTime;
use crate::denial::Denial;
use crate::head::Malformed;
use crate::problem;
use crate::running::explanations::Refused;
use crate::telemetry::record::Record;
use crate::trace::{HEAD_REFUSED, Trace};

/// Records of one connection at most that say no more than the one before.
const MOST_UNSERVED: u32 = 200;

/// What is known of a refused request.
#[derive(Debug, Clone, Copy)]
pub(super) struct Refusal<'a> {
    pub(super) denial: &'a Denial,
    pub(super) id: Uuid,
    pub(super) client: Option<IpAddr>,
    pub(super) tls: Option<&'a Secured>,
    /// When it began.
    pub(super) began: Instant,
}

impl Refusal<'_> {
    /// The document that says why.
    pub(super) fn body(&self) -> Bytes {
        problem::document(self.denial, self.id)
    }

    /// The whole answer, as it goes over the wire.
    pub(super) fn answer(&self, body: &Bytes) -> Vec<u8> {
        let status = self.denial.status();
        let reason = status.canonical_reason().unwrap_or("Error");
        let mut head = format!(
            "HTTP/1.1 {} {reason}\r\n\
             content-type: application/problem+json\r\n\
             cache-control: no-store\r\n\
             content-length: {}\r\n\
             x-content-type-options: nosniff\r\n\
             x-request-id: {}\r\n",
            status.as_u16(),
            body.len(),
            self.id,
        );
        let date = pingora_core::protocols::http::date::get_cached_date();
        let hsts = self.tls.map(|secured| &secured.hsts);
        for (name, value) in [("date", Some(&date)), ("strict-transport-security", hsts)] {
            if let Some(value) = value.and_then(|value: &HeaderValue| value.to_str().ok()) {
                head.push_str(&format!("{name}: {value}\r\n"));
            }
        }
        if let Some(allow) = self.denial.allow() {
            head.push_str(&format!("allow: {allow}\r\n"));
        }
        head.push_str("connection: close\r\n\r\n");
        [head.as_bytes(), body].concat()
    }

    /// Keeps why, for whoever asks by its id.
    fn explain(&self, registry: &Registry) {
        let mut trace = Trace::default();
        trace.denied(self.denial.clone(), 0, HEAD_REFUSED);
        registry.live.explanations().keep(Refused {
            id: self.id,
            at: UnixTime::of_system().saturating_sub(self.began.elapsed()),
            traced: trace.end(None),
            denial: self.denial.clone(),
            running: registry.live.current(),
        });
    }

    /// Counts it and writes its record; `sent`: bytes of the document.
    pub(super) fn record(&self, registry: &Registry, sent: usize) {
        let metrics = &registry.telemetry.metrics;
        let status = self.denial.status().as_u16();
        let reason = self.denial.reason();
        let scheme = if self.tls.is_some() { "https" } else { "http" };
        self.explain(registry);
        metrics.denied("", self.denial);
        metrics
            .duration(None, "", Some(status), scheme, reason)
            .observe(self.began.elapsed().as_secs_f64());
        write(
            registry,
            Record {
                status: Some(status),
                sent: u64::try_from(sent).unwrap_or(u64::MAX),
                duration: self.began.elapsed(),
                client: self.client,
                peer: self.client,
                tls: self.tls.map_or("", |secured| &secured.fields),
                outcome: "deny",
                gate: Some(self.denial.gate().as_str()),
                reason: Some(reason),
                scheme,
                ..Record::default()
            },
            self.id,
            self.began.elapsed(),
        );
    }
}

/// The record of a connection on which no request could be made; `fields`: what else it says. Returns its id.
pub(super) fn record_unmade(
    registry: &Registry,
    connection: &Connection,
    reason: &'static str,
    fields: &str,
) -> Uuid {
    let client = connection.client.get().copied();
    let id = Uuid::now_v7();
    write(
        registry,
        Record {
            client,
            peer: client,
            tls: fields,
            outcome: "deny",
            gate: Some("listener"),
            reason: Some(reason),
            scheme: "https",
            ..Record::default()
        },
        id,
        Duration::ZERO,
    );
    id
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
            write(&connection.registry, record, Uuid::now_v7(), Duration::ZERO);
        }
    });
}

fn write(registry: &Registry, record: Record<'_>, id: Uuid, since: Duration) {
    let records = &registry.telemetry.records;
    if !records.is_on() {
        return;
    }
    let running = registry.live.current();
    let mut buffer = Uuid::encode_buffer();
    let record = Record {
        timestamp: UnixTime::of_system().saturating_sub(since),
        id: id.hyphenated().encode_lower(&mut buffer),
        config: running.gateway.hash.get(..12).unwrap_or_default(),
        ..record
    };
    record.with_line(|line| records.write(line));
}
