//! Metrics of what is so at the moment of asking: keys, limits, verdicts, configuration, certificates, records.

use prometheus::{IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry};

use super::certificates::CertificateState;
use crate::clock::UnixTime;
use crate::running::live::{Live, Running};
use crate::telemetry::Telemetry;
use crate::telemetry::labels::Names;
use crate::telemetry::metrics::{Metrics, register};

/// Gauges, and counters that others keep.
#[derive(Debug)]
pub(super) struct State {
    active: IntGauge,
    key_failures: IntGaugeVec,
    key_usable: IntGaugeVec,
    key_count: IntGaugeVec,
    key_fetches: IntCounterVec,
    key_age: IntGaugeVec,
    introspections: IntCounterVec,
    introspection_failures: IntGaugeVec,
    verdicts: IntGaugeVec,
    verdicts_max: IntGaugeVec,
    verdict_lookups: IntCounterVec,
    proofs: IntGauge,
    proofs_max: IntGauge,
    limit_keys: IntGaugeVec,
    limit_capacity: IntGaugeVec,
    limit_evictions: IntCounterVec,
    limit_crowded: IntCounterVec,
    flood: IntGauge,
    attempt_keys: IntGaugeVec,
    attempt_crowded: IntCounterVec,
    revocation_entries: IntGaugeVec,
    revocation_usable: IntGaugeVec,
    revocation_current: IntGaugeVec,
    resolved: IntGaugeVec,
    info: IntGaugeVec,
    reload_successful: IntGauge,
    reload_time: IntGauge,
    certificates: CertificateState,
    lists: IntGaugeVec,
    records_dropped: IntCounter,
    records_waiting: IntGauge,
    records_failing: IntGauge,
    body_memory: IntGauge,
    records_summarised: IntCounter,
    names: Names,
}

impl State {
    pub(super) fn new(registry: &Registry) -> prometheus::Result<State> {
        let gauge = |name: &str, help: &str| register(registry, IntGauge::new(name, help));
        let gauges = |name: &str, help: &str, labels: &[&str]| {
            register(registry, IntGaugeVec::new(Opts::new(name, help), labels))
        };
        let counter = |name: &str, help: &str| register(registry, IntCounter::new(name, help));
        let counters = |name: &str, help: &str, labels: &[&str]| {
            register(registry, IntCounterVec::new(Opts::new(name, help), labels))
        };
        Ok(State {
            active: gauge("http_server_active_requests", "Requests under way.")?,
            key_failures: gauges(
                "durward_jwks_failures",
                "Failed fetches of an issuer's keys since the last good one.",
                &["issuer"],
            )?,
            key_usable: gauges(
                "durward_jwks_usable",
                "Whether tokens of an issuer can be checked now.",
                &["issuer"],
            )?,
            key_count: gauges(
                "durward_jwks_keys",
                "Keys of an issuer that are in use.",
                &["issuer"],
            )?,
            key_age: gauges(
                "durward_jwks_age_seconds",
                "Age of an issuer's fetched keys.",
                &["issuer"],
            )?,
            key_fetches: counters(
                "durward_jwks_fetches_total",
                "Fetches of an issuer's keys, by reason.",
                &["issuer", "reason"],
            )?,
            introspections: counters(
                "durward_introspections_total",
                "Questions to an issuer about a token, by what came of them.",
                &["issuer", "outcome"],
            )?,
            introspection_failures: gauges(
                "durward_introspection_failures",
                "Questions to an issuer that failed since the last one that did not.",
                &["issuer"],
            )?,
            verdicts: gauges(
                "durward_token_verdicts",
                "Verdicts on tokens that are remembered.",
                &["verdict"],
            )?,
            verdicts_max: gauges(
                "durward_token_verdicts_max",
                "Verdicts on tokens that are remembered at most.",
                &["verdict"],
            )?,
            verdict_lookups: counters(
                "durward_token_verdict_lookups_total",
                "Tokens looked up among remembered verdicts, by what was found: good, bad, or none.",
                &["found"],
            )?,
            proofs: gauge(
                "durward_dpop_proofs",
                "Proofs of possession that are remembered, so that none is taken twice.",
            )?,
            proofs_max: gauge(
                "durward_dpop_proofs_max",
                "Proofs of possession that are remembered at most.",
            )?,
            limit_keys: gauges(
                "durward_limit_keys",
                "Callers that a limit counts now; an estimate beyond 65,536.",
                &["limit"],
            )?,
            limit_capacity: gauges(
                "durward_limit_keys_max",
                "Callers that a limit counts at most.",
                &["limit"],
            )?,
            limit_evictions: counters(
                "durward_limit_evictions_total",
                "Callers who had to take another one's place, and count, because a limit counts so many.",
                &["limit"],
            )?,
            limit_crowded: counters(
                "durward_limit_crowded_total",
                "Requests refused because all places for their caller were taken by others at their limit.",
                &["limit"],
            )?,
            flood: gauge(
                "durward_flood_limit",
                "Requests of one address in a second, at most; 0: no limit.",
            )?,
            attempt_keys: gauges(
                "durward_failed_authentication_keys",
                "Addresses, or accounts, whose refused credentials are counted now.",
                &["whose"],
            )?,
            attempt_crowded: counters(
                "durward_failed_authentication_crowded_total",
                "Credentials that were not looked at because all places were taken by others at their limit.",
                &["whose"],
            )?,
            revocation_entries: gauges(
                "durward_revocation_entries",
                "Entries of the deny list.",
                &["source"],
            )?,
            revocation_usable: gauges(
                "durward_revocation_usable",
                "Whether the deny list is known, and not too old.",
                &["source"],
            )?,
            revocation_current: gauges(
                "durward_revocation_current",
                "Whether the last look at the deny list's source brought all of it.",
                &["source"],
            )?,
            resolved: gauges(
                "durward_upstream_resolved",
                "Whether an upstream has an address.",
                &["upstream"],
            )?,
            info: gauges("durward_config_info", "The running configuration.", &["hash"])?,
            reload_successful: gauge(
                "durward_config_last_reload_successful",
                "Whether what the configuration file holds is what runs.",
            )?,
            reload_time: gauge(
                "durward_config_last_reload_timestamp_seconds",
                "When the configuration file was last read.",
            )?,
            certificates: CertificateState::new(registry)?,
            lists: gauges(
                "durward_crl_next_update_seconds",
                "When a revocation list ends, in seconds since 1970, by its CA.",
                &["truststore", "ca"],
            )?,
            records_dropped: counter("durward_records_dropped_total", "Records lost.")?,
            records_waiting: gauge("durward_records_waiting", "Records that wait for the writer.")?,
            records_failing: gauge(
                "durward_records_failing",
                "Whether the sink did not take the last records.",
            )?,
            body_memory: gauge(
                "durward_body_memory_bytes",
                "Memory that buffered request bodies take.",
            )?,
            records_summarised: counter(
                "durward_records_summarised_total",
                "Refusals that a summary tells of instead of a record of their own.",
            )?,
            names: Names::default(),
        })
    }

    /// Reads everything.
    pub(super) fn read(&self, live: &Live, telemetry: &Telemetry) {
        let running = live.current();
        self.active.set(number(live.lifecycle().in_flight()));
        self.read_keys(&running);
        self.read_introspections(&running);
        self.read_verdicts(&running);
        self.read_limits(&running);
        self.read_configuration(&running, live, &telemetry.metrics);
        let Telemetry {
            records, refusals, ..
        } = telemetry;
        self.body_memory.set(number(running.memory.bodies().used()));
        self.records_waiting.set(number(records.waiting()));
        self.records_failing.set(i64::from(records.is_failing()));
        raise(&self.records_dropped, records.dropped());
        raise(&self.records_summarised, refusals.summarised());
    }

    fn read_keys(&self, running: &Running) {
        // what is no longer configured is no longer told
        for gauges in [
            &self.key_failures,
            &self.key_usable,
            &self.key_count,
            &self.key_age,
        ] {
            gauges.reset();
        }
        for state in running.memory.key_states() {
            let issuer = [self.names.of(&state.issuer)];
            self.key_failures
                .with_label_values(&issuer)
                .set(number(state.failures));
            self.key_usable
                .with_label_values(&issuer)
                .set(i64::from(state.usable));
            self.key_count.with_label_values(&issuer).set(number(state.keys));
            if let Some(age) = state.age {
                self.key_age.with_label_values(&issuer).set(number(age));
            }
            for (reason, fetches) in state.fetches {
                let [issuer] = issuer;
                raise(&self.key_fetches.with_label_values(&[issuer, reason]), fetches);
            }
        }
    }

    fn read_introspections(&self, running: &Running) {
        self.introspection_failures.reset();
        for state in running.memory.introspection_states() {
            let issuer = self.names.of(&state.issuer);
            self.introspection_failures
                .with_label_values(&[issuer])
                .set(number(state.failures));
            for (outcome, asked) in state.asked {
                raise(&self.introspections.with_label_values(&[issuer, outcome]), asked);
            }
        }
    }

    fn read_verdicts(&self, running: &Running) {
        let verdicts = running.memory.verdicts();
        let (kept, most) = (verdicts.kept(), verdicts.most());
        for (label, kept, most) in [("good", kept.0, most.0), ("bad", kept.1, most.1)] {
            self.verdicts.with_label_values(&[label]).set(number(kept));
            self.verdicts_max.with_label_values(&[label]).set(number(most));
        }
        for (label, kept, most) in verdicts.kept_answers() {
            self.verdicts.with_label_values(&[label]).set(number(kept));
            self.verdicts_max.with_label_values(&[label]).set(number(most));
        }
        for (found, lookups) in verdicts.lookups() {
            raise(&self.verdict_lookups.with_label_values(&[found]), lookups);
        }
        let dpop = &running.gateway.dpop;
        let oldest = UnixTime::of_system().saturating_sub(dpop.max_age);
        self.proofs.set(number(running.memory.proofs().kept(oldest)));
        self.proofs_max.set(number(dpop.max_proofs));
    }

    fn read_limits(&self, running: &Running) {
        self.limit_keys.reset();
        self.limit_capacity.reset();
        let now = UnixTime::of_system();
        for (name, windows) in running.memory.limits() {
            let limit = [self.names.of(name)];
            self.limit_keys
                .with_label_values(&limit)
                .set(number(windows.live(now)));
            self.limit_capacity
                .with_label_values(&limit)
                .set(number(windows.places()));
            // taken, so that counting goes on where a reload begins a table anew
            let (evicted, crowded) = windows.take_counts();
            self.limit_evictions.with_label_values(&limit).inc_by(evicted);
            self.limit_crowded.with_label_values(&limit).inc_by(crowded);
        }
        self.attempt_keys.reset();
        for (whose, windows) in running.memory.attempts().windows() {
            let live = number(windows.live(now));
            self.attempt_keys.with_label_values(&[whose]).set(live);
            let (_, crowded) = windows.take_counts();
            self.attempt_crowded.with_label_values(&[whose]).inc_by(crowded);
        }
        let gauges = [
            &self.revocation_entries,
            &self.revocation_usable,
            &self.revocation_current,
        ];
        gauges.iter().for_each(|gauges| gauges.reset());
        for list in running.memory.revocations().states(now) {
            let says = [
                number(list.entries),
                i64::from(list.is_usable),
                i64::from(list.fault.is_none()),
            ];
            for (gauges, says) in gauges.iter().zip(says) {
                gauges.with_label_values(&[list.source]).set(says);
            }
        }
        let flood = running.gateway.flood.map_or(0, |flood| flood.per_address);
        self.flood.set(number(flood));
    }

    fn read_lists(&self, running: &Running) {
        self.lists.reset();
        for truststore in &running.gateway.truststores {
            for (authority, until) in truststore.lists() {
                let labels = [self.names.of(&truststore.name), self.names.of(&authority)];
                self.lists.with_label_values(&labels).set(number(until.seconds()));
            }
        }
    }

    fn read_configuration(&self, running: &Running, live: &Live, metrics: &Metrics) {
        let gateway = &running.gateway;
        self.resolved.reset();
        for upstream in &gateway.upstreams {
            let label = [self.names.of(&upstream.name)];
            let resolved = upstream.is_resolved();
            self.resolved.with_label_values(&label).set(i64::from(resolved));
        }
        self.info.reset();
        self.info.with_label_values(&[&gateway.hash]).set(1);
        for truststore in &gateway.truststores {
            // from the beginning, so that a CA that nobody uses has a count, too
            for authority in &truststore.authorities {
                let _ = metrics.certificates_of(&truststore.name, authority);
            }
        }
        self.read_lists(running);
        self.certificates.read(gateway, live, &self.names);
        let reload = live.last_reload();
        self.reload_successful.set(i64::from(reload.faults.is_empty()));
        self.reload_time.set(number(reload.at.seconds()));
    }
}

pub(super) fn number(n: impl TryInto<i64>) -> i64 {
    n.try_into().unwrap_or(i64::MAX)
}

/// To what somebody else has counted. A reload may have begun to count anew there; a counter never goes back.
pub(super) fn raise(counter: &IntCounter, to: u64) {
    counter.inc_by(to.saturating_sub(counter.get()));
}
