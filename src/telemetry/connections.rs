//! What is counted of connections, apart from the requests on them.

use prometheus::{IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry};

use crate::pki::handshake::Failure;

/// Metrics of connections, by listener.
#[derive(Debug)]
pub struct ConnectionMetrics {
    open: IntGaugeVec,
    refused: IntCounterVec,
    closed: IntCounterVec,
    handshakes: IntCounterVec,
}

impl ConnectionMetrics {
    /// # Errors
    /// A name is registered twice.
    pub fn new(registry: &Registry) -> prometheus::Result<ConnectionMetrics> {
        let metrics = ConnectionMetrics {
            open: IntGaugeVec::new(
                Opts::new("durward_connections", "Connections of clients that are open."),
                &["listener"],
            )?,
            refused: IntCounterVec::new(
                Opts::new(
                    "durward_connections_refused_total",
                    "Connections that were closed before a first request could be made, by reason.",
                ),
                &["listener", "reason"],
            )?,
            closed: IntCounterVec::new(
                Opts::new(
                    "durward_connections_closed_total",
                    "Connections that were closed for what the client did, or did not do in time, by reason.",
                ),
                &["listener", "reason"],
            )?,
            handshakes: IntCounterVec::new(
                Opts::new(
                    "durward_tls_handshake_failures_total",
                    "TLS handshakes with clients that failed, by what is wrong and the alert that was sent or received.",
                ),
                &["listener", "failure", "alert"],
            )?,
        };
        registry.register(Box::new(metrics.open.clone()))?;
        registry.register(Box::new(metrics.refused.clone()))?;
        registry.register(Box::new(metrics.closed.clone()))?;
        registry.register(Box::new(metrics.handshakes.clone()))?;
        Ok(metrics)
    }

    /// The number of open connections of a listener; from now on it has a series for each of these reasons.
    #[must_use]
    pub fn open(&self, listener: &str, refused: &[&str], closed: &[&str]) -> IntGauge {
        for reason in refused {
            self.refused.with_label_values(&[listener, reason]);
        }
        for reason in closed {
            self.closed.with_label_values(&[listener, reason]);
        }
        self.open.with_label_values(&[listener])
    }

    /// A connection was refused.
    pub fn refused(&self, listener: &str, reason: &str) {
        self.refused.with_label_values(&[listener, reason]).inc();
    }

    /// A connection was closed by us.
    pub fn closed(&self, listener: &str, reason: &str) {
        self.closed.with_label_values(&[listener, reason]).inc();
    }

    /// From now on a listener with TLS has a series for each failure that comes without an alert.
    pub fn expect_handshakes(&self, listener: &str) {
        use Failure::{Closed, NotTls, PlainHttp, Timeout};
        for failure in [Closed, NotTls, PlainHttp, Timeout] {
            self.handshakes
                .with_label_values(&[listener, failure.reason(), "none"]);
        }
    }

    /// A handshake failed; both words are of fixed lists.
    pub fn handshake_failed(&self, listener: &str, failure: &'static str, alert: &'static str) {
        self.handshakes
            .with_label_values(&[listener, failure, alert])
            .inc();
    }
}
