//! What is told of a request when it is over: metrics, its record, and why it was refused. It records itself when it goes,
//! however it goes.

use std::time::Duration;

use http::Version;

use super::context::{Phase, RequestCtx};
use super::tether::{End, Kind};
use crate::denial::Denial;
use crate::gateway::Access;
use crate::gateway::policy::Public;
use crate::head::Head;
use crate::running::explanations::Refused;
use crate::telemetry::record::{Record, caller_fields};
use crate::telemetry::refusals::{CredentialId, Refusal};
use crate::telemetry::traceparent::TraceContext;
use crate::telemetry::writer::Room;
use crate::trace::Detail;

impl RequestCtx {
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
        if let Some(networks) = self.trace.networks {
            let route = self.route().map_or("", |route| &*route.id);
            self.telemetry.metrics.shared_tokens(route).inc();
            log::warn!(
                target: "durward::tokens",
                "{}: token_shared: a bearer token was seen from {networks} networks, lastly on route {route}",
                self.id
            );
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
            networks: self.trace.networks,
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
    use std::sync::Arc;

    use super::*;
    use crate::gateway::compile::compile;
    use crate::gateway::{Records, RecordsTo};
    use crate::running::live::Live;
    use crate::secrets::Sources;
    use crate::telemetry::Telemetry;

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
