//! What is known of one request while it is under way. It records itself when it goes, however it goes.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{HeaderValue, Version};
use pingora_core::Error;
use pingora_proxy::Session;
use uuid::Uuid;

use super::stand_in::Place;
use super::tether::{End, Kind};
use crate::clock::UnixTime;
use crate::denial::Denial;
use crate::gateway::policy::Public;
use crate::gateway::{Access, Gateway, Route, RouteId};
use crate::head::Head;
use crate::pipeline::Admitted;
use crate::request::Peer;
use crate::running::explanations::Refused;
use crate::running::live::{Live, Running};
use crate::telemetry::Telemetry;
use crate::telemetry::meters::TargetId;
use crate::telemetry::record::{Record, caller_fields};
use crate::telemetry::refusals::{CredentialId, Refusal};
use crate::telemetry::traceparent::TraceContext;
use crate::telemetry::writer::Room;
use crate::trace::{Detail, Trace};
use crate::upstream::Upstream;

/// Where a request stands.
#[derive(Debug)]
pub enum Phase {
    /// Not decided.
    Arrived,
    /// May go upstream.
    Admitted(Admitted),
    /// Refused, or failed.
    Denied(Denial),
}

/// The state of one request.
#[derive(Debug)]
pub struct RequestCtx {
    live: Arc<Live>,
    pub(super) running: Arc<Running>,
    pub(super) telemetry: Arc<Telemetry>,
    pub(super) id: Uuid,
    id_value: HeaderValue,
    pub(super) phase: Phase,
    pub(super) head: Option<Head>,
    pub(super) peer: Peer,
    pub(super) tracing: Option<TraceContext>,
    pub(super) trace: Trace,
    pub(super) hsts: Option<HeaderValue>,
    /// What the record says of TLS.
    pub(super) tls_fields: Option<Arc<str>>,
    /// Bytes of body read so far.
    pub(super) received: u64,
    /// The body, where it was read whole, until the last attempt that could need it.
    pub(super) body: Option<Bytes>,
    /// Who takes the client's place while that body is sent, or the answer is held.
    pub(super) place: Place,
    /// When what admitted the request is no longer good.
    pub(super) leave_until: Option<Instant>,
    /// Targets that no connection could be made to.
    pub(super) tried: Vec<SocketAddr>,
    /// When the first target was chosen.
    pub(super) forwarded: Option<Instant>,
    /// The target of the current attempt, and when it was chosen.
    pub(super) attempt: Option<(TargetId, Instant)>,
    /// Takes the place of the upstream's body.
    pub(super) replacement: Option<Bytes>,
    /// Whether it does.
    pub(super) replaces: bool,
    /// Room for the record, where nothing may pass without one.
    pub(super) room: Option<Room>,
    started: Instant,
    pub(super) arrived: UnixTime,
    outcome: Outcome,
}

#[derive(Debug)]
struct Outcome {
    status: Option<u16>,
    sent: u64,
    /// Broken off by the client, or by a fault.
    aborted: bool,
}

impl RequestCtx {
    pub(super) fn new(live: Arc<Live>, telemetry: Arc<Telemetry>) -> RequestCtx {
        live.lifecycle().begin();
        let id = Uuid::now_v7();
        let mut buffer = Uuid::encode_buffer();
        let id_value = HeaderValue::from_str(id.hyphenated().encode_lower(&mut buffer))
            .unwrap_or(HeaderValue::from_static(""));
        RequestCtx {
            running: live.current(),
            live,
            telemetry,
            id,
            id_value,
            phase: Phase::Arrived,
            head: None,
            peer: Peer::default(),
            tracing: None,
            trace: Trace::default(),
            hsts: None,
            tls_fields: None,
            received: 0,
            body: None,
            place: Place::default(),
            leave_until: None,
            tried: Vec::new(),
            forwarded: None,
            attempt: None,
            replacement: None,
            replaces: false,
            room: None,
            started: Instant::now(),
            arrived: UnixTime::of_system(),
            // until its end is told, it has been broken off: by a panic, or by whoever dropped it
            outcome: Outcome {
                status: None,
                sent: 0,
                aborted: true,
            },
        }
    }

    /// The decision's id, for headers.
    pub(super) fn id_value(&self) -> HeaderValue {
        self.id_value.clone()
    }

    /// Whether the client should connect anew next time.
    pub(super) fn is_draining(&self) -> bool {
        self.live.lifecycle().is_draining()
    }

    /// Tells when streams are to end because the process does.
    pub(super) fn ending(&self) -> tokio::sync::watch::Receiver<bool> {
        self.live.lifecycle().ending()
    }

    pub(super) fn gateway(&self) -> &Gateway {
        &self.running.gateway
    }

    pub(super) fn route(&self) -> Option<&Route> {
        self.trace.route.and_then(|id| self.gateway().route(id))
    }

    /// The ticket, once every gate let the request pass.
    pub(super) fn admitted(&self) -> Option<&Admitted> {
        match &self.phase {
            Phase::Admitted(admitted) => Some(admitted),
            Phase::Arrived | Phase::Denied(_) => None,
        }
    }

    /// The upstream that the ticket leads to. No ticket, no upstream.
    pub(super) fn upstream(&self) -> Option<&Upstream> {
        self.upstream_of(self.admitted()?.route())
    }

    /// Its index in the snapshot.
    pub(super) fn upstream_index(&self) -> Option<usize> {
        match self.gateway().route(self.admitted()?.route())?.action {
            crate::gateway::Action::Upstream(index) => Some(index),
            crate::gateway::Action::Respond { .. } => None,
        }
    }

    /// The upstream that was asked, whatever came of it.
    pub(super) fn asked(&self) -> Option<&Upstream> {
        self.forwarded?;
        self.upstream_of(self.trace.route?)
    }

    fn upstream_of(&self, route: RouteId) -> Option<&Upstream> {
        let route = self.gateway().route(route)?;
        match route.action {
            crate::gateway::Action::Upstream(index) => self.gateway().upstreams.get(index),
            crate::gateway::Action::Respond { .. } => None,
        }
    }

    pub(super) fn denied(&self) -> Option<&Denial> {
        match &self.phase {
            Phase::Denied(denial) => Some(denial),
            Phase::Arrived | Phase::Admitted(_) => None,
        }
    }

    /// The request is over; what is still to be done is to record it.
    pub(super) fn ended(&mut self, session: &Session, error: Option<&Error>) {
        let status = session
            .response_written()
            .map(|response| response.status.as_u16())
            // `100 Continue` and the like are no answers
            .filter(|status| !(100..200).contains(status) || *status == 101);
        self.outcome = Outcome {
            status,
            sent: u64::try_from(session.body_bytes_sent()).unwrap_or(u64::MAX),
            // a failure that was answered is a denial; one that was not was cut off
            aborted: status.is_none() || (error.is_some() && self.denied().is_none() && !self.has_parted()),
        };
        self.received = self
            .received
            .max(u64::try_from(session.body_bytes_read()).unwrap_or(u64::MAX));
    }

    /// Whether it was ended on purpose, in a way that the client can tell from a failure.
    fn has_parted(&self) -> bool {
        self.place.ended.is_some() && matches!(self.place.held, Some(Kind::WebSocket | Kind::Events))
    }

    /// A stream that has an end of its own: counted while it is open.
    pub(super) fn opened(&self, kind: Kind) {
        self.telemetry.metrics.streams_open(kind.as_str()).inc();
    }

    /// Why a stream ended; `None` where the request was none.
    fn closed(&self) -> Option<&'static str> {
        match (self.place.held?, self.place.ended) {
            (Kind::Handshake, _) | (Kind::Open, None) => None,
            (_, Some(end)) => Some(end.as_str()),
            (_, None) if self.outcome.aborted => Some("aborted"),
            (_, None) => Some(End::Upstream.as_str()),
        }
    }

    fn public(&self) -> Option<&Public> {
        match &self.route()?.access {
            Access::Public(public) => Some(public),
            Access::Protected { .. } => None,
        }
    }

    fn count(&self, reason: Option<&str>, scheme: &'static str, duration: Duration) {
        let metrics = &self.telemetry.metrics;
        let route = self.route();
        let method = self.head.as_ref().map(Head::method);
        if let (None, Some(id), Some(route), Some(method), Some(status)) =
            (reason, self.trace.route, route, method, self.outcome.status)
        {
            let labels = (method.clone(), status, scheme);
            return self
                .running
                .meters
                .allowed(metrics, (id, route), labels, duration);
        }
        let (name, path) = route.map_or(("", ""), |route| (&*route.id, &*route.path));
        match &self.phase {
            Phase::Denied(denial) => {
                metrics.denied(name, denial);
                if let Denial::RateLimited(standing) = denial
                    && let Some(limit) = self.gateway().limits.get(standing.limit)
                {
                    self.running.meters.limited(metrics, standing.limit, &limit.name);
                }
            }
            // admitted, and broken off
            Phase::Admitted(_) => {
                metrics.allowed(name).inc();
                if self.public().is_some() {
                    metrics.public(name).inc();
                }
            }
            Phase::Arrived => {}
        }
        metrics
            .duration(
                method,
                path,
                self.outcome.status,
                scheme,
                reason.unwrap_or_default(),
            )
            .observe(duration.as_secs_f64());
    }

    /// Whether a summary tells of this request, because its credential was refused so before (S54).
    fn is_summarised(&self, credential: CredentialId) -> bool {
        let (Some(denial), Some(route)) = (self.denied(), self.route()) else {
            return false;
        };
        let refusal = Refusal {
            credential,
            denial,
            route,
            client: self.peer.client,
            subject: self.trace.client.as_deref().map(|client| &*client.subject),
            id: self.id,
            config: self.gateway().hash.get(..12).unwrap_or_default(),
        };
        denial.is_of_credential() && self.telemetry.refusals.counts(refusal, self.arrived)
    }

    /// Keeps why the request was refused, for whoever asks by its id (M3).
    fn explain(&mut self) {
        let Phase::Denied(denial) = &self.phase else {
            return;
        };
        if !self.trace.ends_denied() {
            // by something else than a gate: after it was admitted, or before it was looked at
            self.trace
                .denied(denial.clone(), 0, Detail::Text(denial.detail()));
        }
        self.live.explanations().keep(Refused {
            id: self.id,
            at: self.arrived,
            traced: self.trace.end(self.head.as_ref()),
            denial: denial.clone(),
            running: self.running.clone(),
        });
    }

    fn record(&self, room: Option<Room>) {
        let denial = self.denied();
        let reason = match denial {
            Some(denial) => Some(denial.reason()),
            None if self.outcome.aborted => Some("aborted"),
            None => None,
        };
        let duration = self.started.elapsed();
        let scheme = if self.peer.tls.is_some() { "https" } else { "http" };
        let head = self.head.as_ref();
        self.count(reason, scheme, duration);
        for (gate, reason) in self.trace.shadows() {
            let route = self.route().map_or("", |route| &*route.id);
            self.telemetry.metrics.shadowed(route, gate, reason);
        }
        if !self.telemetry.records.is_on() {
            return;
        }
        let client = self.trace.client.as_deref();
        let credential = denial
            .and(self.trace.credential.as_ref())
            .map(|credential| self.telemetry.refusals.name(credential));
        if credential.is_some_and(|credential| self.is_summarised(credential)) {
            return;
        }
        let (shadow_gates, shadow_reasons): (Vec<Box<str>>, Vec<Box<str>>) = self
            .trace
            .shadows()
            .map(|(gate, reason)| (gate.as_str().into(), reason.into()))
            .unzip();
        let gateway = self.gateway();
        let tracing = self.tracing.as_ref();
        let record = Record {
            timestamp: self.arrived,
            id: self.id_value.to_str().unwrap_or_default(),
            trace_id: tracing.map(TraceContext::trace_id),
            span_id: tracing.map(TraceContext::span_id),
            method: head.map(|head| head.method().as_str()),
            scheme,
            host: head.map(Head::host),
            path: head.map(Head::path),
            route: self
                .trace
                .route
                .map_or("", |id| self.running.meters.route_fields(id)),
            status: self.outcome.status,
            sent: self.outcome.sent,
            received: self.received,
            duration,
            client: self.peer.client,
            peer: self.peer.address.map(|address| address.ip()),
            protocol: head.map(|head| match head.version() {
                Version::HTTP_10 => "1.0",
                Version::HTTP_2 => "2",
                _ => "1.1",
            }),
            tls: self.tls_fields.as_deref().unwrap_or_default(),
            caller: client.map_or("", |client| {
                let written = &client.derived.record;
                written.get_or_init(|| caller_fields(client))
            }),
            credential: credential.as_ref().map(CredentialId::as_str),
            public: self.public().map(|_| true),
            public_reason: self.public().map(|public| &*public.reason),
            public_owner: self.public().map(|public| &*public.owner),
            outcome: match (denial, self.outcome.aborted) {
                (Some(_), _) => "deny",
                (None, true) => "abort",
                (None, false) => "allow",
            },
            gate: denial.map(|denial| denial.gate().as_str()),
            reason,
            shadow_gates: &shadow_gates,
            shadow_reasons: &shadow_reasons,
            upstream: self.asked().map(|upstream| &*upstream.name),
            closed: self.closed(),
            config: gateway.hash.get(..12).unwrap_or_default(),
        };
        record.with_line(|line| self.telemetry.records.write_in(room, line));
    }
}

impl Drop for RequestCtx {
    fn drop(&mut self) {
        let room = self.room.take();
        self.record(room);
        self.explain();
        if let (Some(kind @ (Kind::WebSocket | Kind::Events)), Some(why)) = (self.place.held, self.closed()) {
            self.telemetry.metrics.streams_open(kind.as_str()).dec();
            self.telemetry.metrics.stream_ended(kind.as_str(), why);
        }
        self.live.lifecycle().end();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gateway::compile::compile;
    use crate::gateway::{Records, RecordsTo};
    use crate::secrets::Sources;

    // S83: nobody told how it ended, as when a request panics
    #[test]
    fn a_request_that_is_dropped_records_itself_as_broken_off() {
        let yaml = "version: 1\n\
            listeners: [{ address: \"127.0.0.1:8443\", plaintext: { reason: test } }]\n\
            routes: [{ match: { methods: [GET], path: / }, public: { reason: a, owner: b }, respond: 200 }]\n";
        let gateway = compile("test.yaml", yaml, &Sources::default()).gateway.unwrap();
        let path = std::env::temp_dir().join(format!("durward-dropped-{}", std::process::id()));
        let records = Records {
            to: RecordsTo::File(path.clone()),
            queue: 8,
            refuses_when_full: false,
            summary_interval: Duration::ZERO,
        };
        let telemetry = Arc::new(Telemetry::start(&records).unwrap());
        let live = Arc::new(Live::new(gateway));
        let ctx = RequestCtx::new(live.clone(), telemetry.clone());
        assert_eq!(live.lifecycle().in_flight(), 1);
        drop(ctx);
        assert_eq!(live.lifecycle().in_flight(), 0);
        telemetry.records.finish();
        let text = std::fs::read_to_string(&path).unwrap();
        std::fs::remove_file(path).unwrap();
        let record: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(
            (&record["durward.outcome"], &record["error.type"]),
            (&"abort".into(), &"aborted".into())
        );
        let metrics = String::from_utf8(telemetry.metrics.text()).unwrap();
        assert!(!metrics.contains("outcome=\"allow\""), "{metrics}");
    }
}
