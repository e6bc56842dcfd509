//! What is told of what happened: records, metrics, health.

pub mod admin;
pub mod connections;
pub mod meters;
pub mod metrics;
pub mod record;
pub mod traceparent;
pub mod writer;

use metrics::Metrics;
use writer::Writer;

/// Where requests tell what became of them.
#[derive(Debug)]
pub struct Telemetry {
    /// Counters and histograms.
    pub metrics: Metrics,
    /// The way to the record's sink.
    pub records: Writer,
}
