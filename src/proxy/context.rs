//! What is known of one request while it is under way.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use http::HeaderValue;
use pingora_core::Error;
use pingora_proxy::Session;
use uuid::Uuid;

use super::stand_in::Place;
use super::tether::Kind;
use crate::clock::UnixTime;
use crate::denial::Denial;
use crate::gateway::{Gateway, Route, RouteId};
use crate::head::Head;
use crate::pipeline::Admitted;
use crate::request::Peer;
use crate::running::live::{Live, Running};
use crate::telemetry::Telemetry;
use crate::telemetry::meters::TargetId;
use crate::telemetry::traceparent::TraceContext;
use crate::telemetry::writer::Room;
use crate::trace::Trace;
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
    pub(super) live: Arc<Live>,
    pub(super) running: Arc<Running>,
    pub(super) telemetry: Arc<Telemetry>,
    pub(super) id: Uuid,
    pub(super) id_value: HeaderValue,
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
    /// The type of that body, where it was opened here.
    pub(super) opened: Option<HeaderValue>,
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
    pub(super) started: Instant,
    pub(super) arrived: UnixTime,
    pub(super) outcome: Outcome,
}

/// How it ended.
#[derive(Debug)]
pub(super) struct Outcome {
    pub(super) status: Option<u16>,
    pub(super) sent: u64,
    /// Broken off by the client, or by a fault.
    pub(super) aborted: bool,
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
            opened: None,
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
            crate::gateway::Action::Respond { .. } | crate::gateway::Action::Metadata(_) => None,
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
            crate::gateway::Action::Respond { .. } | crate::gateway::Action::Metadata(_) => None,
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
}
