//! Counters and histograms. Labels come from enums and from configured names only: no client can make a series.
//!
//! What happens is counted here; what is so at the moment of asking is read by [`crate::admin`]. `docs/metrics.md` lists both.

use http::Method;
use prometheus::core::Collector;
use prometheus::{
    Encoder, Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts,
    Registry, TextEncoder,
};

use super::connections::ConnectionMetrics;
use super::labels::Names;
use crate::denial::{Denial, Gate, UpstreamError};
use crate::gates::authn::certificate::{Authority, text};

/// OpenTelemetry's bounds for `http.server.request.duration`, in seconds.
const BOUNDS: [f64; 14] = [
    0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0,
];

/// All metrics of the gateway.
#[derive(Debug)]
pub struct Metrics {
    /// Of connections.
    pub connections: ConnectionMetrics,
    registry: Registry,
    duration: HistogramVec,
    decisions: IntCounterVec,
    public: IntCounterVec,
    shadowed: IntCounterVec,
    rate_limited: IntCounterVec,
    upstream_attempts: IntCounterVec,
    upstream_failures: IntCounterVec,
    upstream_duration: HistogramVec,
    shared_tokens: IntCounterVec,
    streams_open: IntGaugeVec,
    streams_ended: IntCounterVec,
    secrets_failing: IntGauge,
    certificates: IntCounterVec,
    routes: Names,
    paths: Names,
    limits: Names,
    targets: Names,
    authorities: Names,
}

impl Metrics {
    /// # Errors
    /// A name is registered twice.
    pub fn new() -> prometheus::Result<Metrics> {
        let registry = Registry::new();
        let counters = |name: &str, help: &str, labels: &[&str]| {
            register(&registry, IntCounterVec::new(Opts::new(name, help), labels))
        };
        let histograms = |name: &str, help: &str, labels: &[&str]| {
            let opts = HistogramOpts::new(name, help).buckets(BOUNDS.to_vec());
            register(&registry, HistogramVec::new(opts, labels))
        };
        Ok(Metrics {
            connections: ConnectionMetrics::new(&registry)?,
            duration: histograms(
                "http_server_request_duration_seconds",
                "Duration of requests, from the head to the last byte of the answer.",
                &[
                    "http_request_method",
                    "http_route",
                    "http_response_status_code",
                    "url_scheme",
                    "error_type",
                ],
            )?,
            secrets_failing: register(
                &registry,
                IntGauge::new(
                    "durward_secrets_failing",
                    "Secrets of stores that could not be read again when that was last tried.",
                ),
            )?,
            decisions: counters(
                "durward_decisions_total",
                "Decisions by route, gate, outcome and reason.",
                &["route", "gate", "outcome", "reason"],
            )?,
            public: counters(
                "durward_public_requests_total",
                "Requests admitted without a credential.",
                &["route"],
            )?,
            shadowed: counters(
                "durward_shadow_denials_total",
                "Refusals that were not enforced, by route, gate and reason.",
                &["route", "gate", "reason"],
            )?,
            rate_limited: counters(
                "durward_rate_limited_total",
                "Requests refused because a limit was reached.",
                &["limit"],
            )?,
            upstream_attempts: counters(
                "durward_upstream_attempts_total",
                "Requests sent to a target, or tried to be sent.",
                &["upstream", "target"],
            )?,
            upstream_failures: counters(
                "durward_upstream_failures_total",
                "Attempts that failed, also those that another target made good.",
                &["upstream", "target", "reason"],
            )?,
            upstream_duration: histograms(
                "durward_upstream_response_seconds",
                "From the choice of a target to the head of its answer.",
                &["upstream", "target", "status_class"],
            )?,
            shared_tokens: counters(
                "durward_shared_tokens_total",
                "Bearer tokens that were seen from several networks, by the route that showed it.",
                &["route"],
            )?,
            streams_open: register(
                &registry,
                IntGaugeVec::new(
                    Opts::new(
                        "durward_streams_open",
                        "WebSockets and event streams that are open.",
                    ),
                    &["kind"],
                ),
            )?,
            streams_ended: counters(
                "durward_streams_ended_total",
                "WebSockets and event streams that ended, and why.",
                &["kind", "reason"],
            )?,
            certificates: counters(
                "durward_client_certificates_total",
                "Handshakes with a good client certificate, by each CA of the truststore above it.",
                &["truststore", "ca", "sha256"],
            )?,
            registry,
            routes: Names::default(),
            paths: Names::default(),
            limits: Names::default(),
            targets: Names::default(),
            authorities: Names::default(),
        })
    }

    /// Where further metrics are entered.
    #[must_use]
    pub fn registry(&self) -> &Registry {
        &self.registry
    }

    /// The histogram of requests with these labels.
    #[must_use]
    pub fn duration(
        &self,
        method: Option<&Method>,
        route: &str,
        status: Option<u16>,
        scheme: &str,
        error: &str,
    ) -> Histogram {
        let code = status.map_or(String::new(), |status| status.to_string());
        let route = self.paths.of(route);
        self.duration
            .with_label_values(&[known(method), route, &code, scheme, error])
    }

    /// The counter of allowed requests of a route.
    #[must_use]
    pub fn allowed(&self, route: &str) -> IntCounter {
        self.decisions
            .with_label_values(&[self.routes.of(route), "", "allow", ""])
    }

    /// The counter of requests that a route admitted without a credential.
    #[must_use]
    pub fn public(&self, route: &str) -> IntCounter {
        self.public.with_label_values(&[self.routes.of(route)])
    }

    /// A request was refused.
    pub fn denied(&self, route: &str, denial: &Denial) {
        let (gate, reason) = (denial.gate().as_str(), denial.reason());
        self.decisions
            .with_label_values(&[self.routes.of(route), gate, "deny", reason])
            .inc();
    }

    /// A gate in shadow would have refused a request.
    pub fn shadowed(&self, route: &str, gate: Gate, reason: &str) {
        self.shadowed
            .with_label_values(&[self.routes.of(route), gate.as_str(), reason])
            .inc();
    }

    /// The counter of requests that a limit refused.
    #[must_use]
    pub fn rate_limited(&self, limit: &str) -> IntCounter {
        self.rate_limited.with_label_values(&[self.limits.of(limit)])
    }

    /// The counter of attempts with a target.
    #[must_use]
    pub fn upstream_attempts(&self, upstream: &str, target: &str) -> IntCounter {
        let labels = [self.targets.of(upstream), self.targets.of(target)];
        self.upstream_attempts.with_label_values(&labels)
    }

    /// The histogram of a target's answers of a class, `2xx`.
    #[must_use]
    pub fn upstream_duration(&self, upstream: &str, target: &str, class: &str) -> Histogram {
        let labels = [self.targets.of(upstream), self.targets.of(target), class];
        self.upstream_duration.with_label_values(&labels)
    }

    /// So many secrets could not be read again.
    pub fn secrets_failing(&self, count: usize) {
        self.secrets_failing.set(i64::try_from(count).unwrap_or(i64::MAX));
    }

    /// An attempt failed. `target` is empty where none could be chosen.
    pub fn upstream_failed(&self, upstream: &str, target: &str, why: UpstreamError) {
        let reason = Denial::Upstream(why).reason();
        let labels = [self.targets.of(upstream), self.targets.of(target), reason];
        self.upstream_failures.with_label_values(&labels).inc();
    }

    /// The gauge of open streams of a kind.
    #[must_use]
    pub fn streams_open(&self, kind: &str) -> IntGauge {
        self.streams_open.with_label_values(&[kind])
    }

    /// The counter of bearer tokens that were seen from several networks.
    #[must_use]
    pub fn shared_tokens(&self, route: &str) -> IntCounter {
        self.shared_tokens.with_label_values(&[self.routes.of(route)])
    }

    /// A stream ended.
    pub fn stream_ended(&self, kind: &str, reason: &str) {
        self.streams_ended.with_label_values(&[kind, reason]).inc();
    }

    /// The counter of good client certificates with this CA above them.
    #[must_use]
    pub fn certificates_of(&self, truststore: &str, authority: &Authority) -> IntCounter {
        let sha256 = text::hex(authority.sha256.get(..8).unwrap_or_default());
        let names = &self.authorities;
        let labels = [truststore, &authority.subject, &sha256].map(|label| names.of(label));
        self.certificates.with_label_values(&labels)
    }

    /// Everything, in Prometheus' text format.
    #[must_use]
    pub fn text(&self) -> Vec<u8> {
        let mut text = Vec::new();
        if let Err(why) = TextEncoder::new().encode(&self.registry.gather(), &mut text) {
            log::error!(target: "durward::metrics", "metrics cannot be written: {why}");
        }
        text
    }
}

/// Made, and entered into the registry.
///
/// # Errors
/// The name is registered already.
pub(crate) fn register<C: Collector + Clone + 'static>(
    registry: &Registry,
    collector: prometheus::Result<C>,
) -> prometheus::Result<C> {
    let collector = collector?;
    registry.register(Box::new(collector.clone()))?;
    Ok(collector)
}

/// Methods beyond the registered ones share a label.
fn known(method: Option<&Method>) -> &str {
    match method {
        Some(method)
            if [
                Method::GET,
                Method::HEAD,
                Method::POST,
                Method::PUT,
                Method::DELETE,
                Method::OPTIONS,
                Method::PATCH,
                Method::TRACE,
                Method::CONNECT,
            ]
            .contains(method) =>
        {
            method.as_str()
        }
        Some(_) | None => "_OTHER",
    }
}
