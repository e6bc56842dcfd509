//! Metrics of certificates: when they end, what is stapled to them, and their orders.

use prometheus::{IntCounterVec, IntGaugeVec, Opts, Registry};

use super::state::{number, raise};
use crate::gateway::{Gateway, Purpose};
use crate::running::live::Live;
use crate::telemetry::labels::Names;
use crate::telemetry::metrics::register;

/// Gauges, and counters that others keep.
#[derive(Debug)]
pub(super) struct CertificateState {
    not_after: IntGaugeVec,
    staples: IntGaugeVec,
    staple_failures: IntGaugeVec,
    staple_questions: IntCounterVec,
    orders: IntCounterVec,
    order_failures: IntGaugeVec,
    order_planned: IntGaugeVec,
}

impl CertificateState {
    pub(super) fn new(registry: &Registry) -> prometheus::Result<CertificateState> {
        let gauges = |name: &str, help: &str, labels: &[&str]| {
            register(registry, IntGaugeVec::new(Opts::new(name, help), labels))
        };
        let counters = |name: &str, help: &str, labels: &[&str]| {
            register(registry, IntCounterVec::new(Opts::new(name, help), labels))
        };
        Ok(CertificateState {
            orders: counters(
                "durward_acme_orders_total",
                "Orders of certificates, by outcome.",
                &["account", "name", "outcome"],
            )?,
            order_failures: gauges(
                "durward_acme_failures",
                "Orders of a certificate that failed since the last one that did not.",
                &["account", "name"],
            )?,
            order_planned: gauges(
                "durward_acme_next_order_timestamp_seconds",
                "When a certificate is ordered next.",
                &["account", "name"],
            )?,
            staples: gauges(
                "durward_ocsp_staple_next_update_seconds",
                "Until when the proof that a certificate is not revoked can be shown.",
                &["name"],
            )?,
            staple_failures: gauges(
                "durward_ocsp_failures",
                "Questions about a certificate that failed since the last one that did not.",
                &["name"],
            )?,
            staple_questions: counters(
                "durward_ocsp_questions_total",
                "Questions about a certificate to its responder, by outcome.",
                &["name", "outcome"],
            )?,
            not_after: gauges(
                "durward_tls_certificate_not_after_seconds",
                "When a certificate ends, in seconds since 1970, by its first name.",
                &["listener", "name"],
            )?,
        })
    }

    pub(super) fn read(&self, gateway: &Gateway, live: &Live, names: &Names) {
        self.not_after.reset();
        for listener in &gateway.listeners {
            let Purpose::Tls(policy) = &listener.purpose else {
                continue;
            };
            let address = listener.address.to_string();
            for certificate in policy
                .certificates
                .slots()
                .iter()
                .filter_map(|slot| slot.current())
            {
                let name = certificate.names.first().map_or("", String::as_str);
                let gauge = self.not_after.with_label_values(&[&address, names.of(name)]);
                // of several for one name, the one that ends first
                if let Some(ends) = certificate.not_after()
                    && (gauge.get() == 0 || ends < gauge.get())
                {
                    gauge.set(ends);
                }
            }
        }
        self.read_staples(live, names);
        self.read_orders(live, names);
    }

    fn read_orders(&self, live: &Live, names: &Names) {
        self.order_failures.reset();
        self.order_planned.reset();
        for state in live.orders().states() {
            let labels = [names.of(&state.account), names.of(&state.name)];
            self.order_failures
                .with_label_values(&labels)
                .set(number(state.failures));
            self.order_planned
                .with_label_values(&labels)
                .set(number(state.planned.seconds()));
            for (outcome, orders) in state.orders {
                let [account, name] = labels;
                raise(&self.orders.with_label_values(&[account, name, outcome]), orders);
            }
        }
    }

    fn read_staples(&self, live: &Live, names: &Names) {
        self.staples.reset();
        self.staple_failures.reset();
        for state in live.staples().states() {
            let name = names.of(&state.name);
            let until = state.next_update.map_or(0, |until| number(until.seconds()));
            self.staples.with_label_values(&[name]).set(until);
            self.staple_failures
                .with_label_values(&[name])
                .set(number(state.failures));
            for (outcome, asked) in state.asked {
                raise(&self.staple_questions.with_label_values(&[name, outcome]), asked);
            }
        }
    }
}
