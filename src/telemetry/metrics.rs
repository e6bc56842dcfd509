//! Counters and histograms. Labels come from enums and from configured names only: no client can make a series.

use http::Method;
use prometheus::{
    Encoder, Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts,
    Registry, TextEncoder,
};

use crate::denial::Denial;
use crate::gateway::Purpose;
use crate::gateway::live::Live;
use crate::telemetry::writer::Writer;

/// OpenTelemetry's bounds for `http.server.request.duration`, in seconds.
const BOUNDS: [f64; 14] = [
    0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0,
];

/// All metrics of the gateway.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    duration: HistogramVec,
    decisions: IntCounterVec,
    public: IntCounterVec,
    key_failures: IntGaugeVec,
    key_usable: IntGaugeVec,
    key_fetches: IntCounterVec,
    key_age: IntGaugeVec,
    records_dropped: IntCounter,
    verdicts: IntGaugeVec,
    info: IntGaugeVec,
    reload_successful: IntGauge,
    reload_time: IntGauge,
    certificates: IntGaugeVec,
    records_waiting: IntGauge,
    body_memory: IntGauge,
    streams_open: IntGaugeVec,
    streams_ended: IntCounterVec,
}

impl Metrics {
    /// # Errors
    /// A name is registered twice.
    pub fn new() -> prometheus::Result<Metrics> {
        let opts = HistogramOpts::new(
            "http_server_request_duration_seconds",
            "Duration of requests, from the head to the last byte of the answer.",
        );
        let request = [
            "http_request_method",
            "http_route",
            "http_response_status_code",
            "url_scheme",
            "error_type",
        ];
        let metrics = Metrics {
            registry: Registry::new(),
            duration: HistogramVec::new(opts.buckets(BOUNDS.to_vec()), &request)?,
            decisions: IntCounterVec::new(
                Opts::new(
                    "durward_decisions_total",
                    "Decisions by route, gate, outcome and reason.",
                ),
                &["route", "gate", "outcome", "reason"],
            )?,
            public: IntCounterVec::new(
                Opts::new(
                    "durward_public_requests_total",
                    "Requests admitted without a credential.",
                ),
                &["route"],
            )?,
            key_failures: IntGaugeVec::new(
                Opts::new(
                    "durward_jwks_failures",
                    "Failed fetches of an issuer's keys since the last good one.",
                ),
                &["issuer"],
            )?,
            key_usable: IntGaugeVec::new(
                Opts::new(
                    "durward_jwks_usable",
                    "Whether tokens of an issuer can be checked now.",
                ),
                &["issuer"],
            )?,
            key_age: IntGaugeVec::new(
                Opts::new("durward_jwks_age_seconds", "Age of an issuer's fetched keys."),
                &["issuer"],
            )?,
            key_fetches: IntCounterVec::new(
                Opts::new(
                    "durward_jwks_fetches_total",
                    "Fetches of an issuer's keys, by reason.",
                ),
                &["issuer", "reason"],
            )?,
            records_dropped: IntCounter::new("durward_records_dropped_total", "Records lost.")?,
            verdicts: IntGaugeVec::new(
                Opts::new(
                    "durward_token_verdicts",
                    "Verdicts on tokens that are remembered.",
                ),
                &["verdict"],
            )?,
            info: IntGaugeVec::new(
                Opts::new("durward_config_info", "The running configuration."),
                &["hash"],
            )?,
            reload_successful: IntGauge::new(
                "durward_config_last_reload_successful",
                "Whether what the configuration file holds is what runs.",
            )?,
            reload_time: IntGauge::new(
                "durward_config_last_reload_timestamp_seconds",
                "When the configuration file was last read.",
            )?,
            certificates: IntGaugeVec::new(
                Opts::new(
                    "durward_tls_certificate_not_after_seconds",
                    "When a certificate ends, in seconds since 1970, by its first name.",
                ),
                &["listener", "name"],
            )?,
            records_waiting: IntGauge::new("durward_records_waiting", "Records that wait for the writer.")?,
            body_memory: IntGauge::new(
                "durward_body_memory_bytes",
                "Memory that buffered request bodies take.",
            )?,
            streams_open: IntGaugeVec::new(
                Opts::new(
                    "durward_streams_open",
                    "WebSockets and event streams that are open.",
                ),
                &["kind"],
            )?,
            streams_ended: IntCounterVec::new(
                Opts::new(
                    "durward_streams_ended_total",
                    "WebSockets and event streams that ended, and why.",
                ),
                &["kind", "reason"],
            )?,
        };
        let Metrics {
            registry,
            duration,
            decisions,
            public,
            key_failures,
            key_usable,
            key_fetches,
            key_age,
            records_dropped,
            verdicts,
            info,
            reload_successful,
            reload_time,
            certificates,
            records_waiting,
            body_memory,
            streams_open,
            streams_ended,
        } = &metrics;
        registry.register(Box::new(duration.clone()))?;
        registry.register(Box::new(decisions.clone()))?;
        registry.register(Box::new(public.clone()))?;
        registry.register(Box::new(key_failures.clone()))?;
        registry.register(Box::new(key_usable.clone()))?;
        registry.register(Box::new(key_fetches.clone()))?;
        registry.register(Box::new(key_age.clone()))?;
        registry.register(Box::new(records_dropped.clone()))?;
        registry.register(Box::new(verdicts.clone()))?;
        registry.register(Box::new(info.clone()))?;
        registry.register(Box::new(reload_successful.clone()))?;
        registry.register(Box::new(reload_time.clone()))?;
        registry.register(Box::new(certificates.clone()))?;
        registry.register(Box::new(records_waiting.clone()))?;
        registry.register(Box::new(body_memory.clone()))?;
        registry.register(Box::new(streams_open.clone()))?;
        registry.register(Box::new(streams_ended.clone()))?;
        Ok(metrics)
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
        self.duration
            .with_label_values(&[known(method), route, &code, scheme, error])
    }

    /// The counter of allowed requests of a route.
    #[must_use]
    pub fn allowed(&self, route: &str) -> IntCounter {
        self.decisions.with_label_values(&[route, "", "allow", ""])
    }

    /// The counter of requests that a route admitted without a credential.
    #[must_use]
    pub fn public(&self, route: &str) -> IntCounter {
        self.public.with_label_values(&[route])
    }

    /// A request was refused.
    pub fn denied(&self, route: &str, denial: &Denial) {
        self.decisions
            .with_label_values(&[route, denial.gate().as_str(), "deny", denial.reason()])
            .inc();
    }

    /// The gauge of open streams of a kind.
    #[must_use]
    pub fn streams_open(&self, kind: &str) -> IntGauge {
        self.streams_open.with_label_values(&[kind])
    }

    /// A stream ended.
    pub fn stream_ended(&self, kind: &str, reason: &str) {
        self.streams_ended.with_label_values(&[kind, reason]).inc();
    }

    /// Everything, in Prometheus' text format.
    #[must_use]
    pub fn text(&self, live: &Live, records: &Writer) -> Vec<u8> {
        let running = live.current();
        for state in running.memory.key_states() {
            let failures = i64::try_from(state.failures).unwrap_or(i64::MAX);
            self.key_failures
                .with_label_values(&[&*state.issuer])
                .set(failures);
            self.key_usable
                .with_label_values(&[&*state.issuer])
                .set(i64::from(state.usable));
            if let Some(age) = state.age {
                self.key_age
                    .with_label_values(&[&*state.issuer])
                    .set(i64::try_from(age).unwrap_or(i64::MAX));
            }
            for (reason, fetches) in state.fetches {
                let counter = self.key_fetches.with_label_values(&[&*state.issuer, reason]);
                // a reload may have begun to count anew; a counter never goes back
                counter.inc_by(fetches.saturating_sub(counter.get()));
            }
        }
        let (good, bad) = running.memory.kept_verdicts();
        for (label, kept) in [("good", good), ("bad", bad)] {
            self.verdicts
                .with_label_values(&[label])
                .set(i64::try_from(kept).unwrap_or(i64::MAX));
        }
        self.info.reset();
        self.info.with_label_values(&[&running.gateway.hash]).set(1);
        self.certificates.reset();
        for listener in &running.gateway.listeners {
            let Purpose::Tls(policy) = &listener.purpose else {
                continue;
            };
            for certificate in policy.certificates.all() {
                let name = certificate.names.first().map_or("", String::as_str);
                if let Some(ends) = certificate.not_after() {
                    self.certificates
                        .with_label_values(&[&listener.address.to_string(), name])
                        .set(ends);
                }
            }
        }
        self.records_waiting
            .set(i64::try_from(records.waiting()).unwrap_or(i64::MAX));
        self.body_memory
            .set(i64::try_from(running.memory.bodies().used()).unwrap_or(i64::MAX));
        let reload = live.last_reload();
        self.reload_successful.set(i64::from(reload.faults.is_empty()));
        self.reload_time
            .set(i64::try_from(reload.at.seconds()).unwrap_or(i64::MAX));
        self.records_dropped
            .inc_by(records.dropped().saturating_sub(self.records_dropped.get()));

        let mut text = Vec::new();
        if let Err(why) = TextEncoder::new().encode(&self.registry.gather(), &mut text) {
            log::error!(target: "durward::metrics", "metrics cannot be written: {why}");
        }
        text
    }
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
