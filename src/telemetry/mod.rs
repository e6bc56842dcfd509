//! What is told of what happened: records, metrics, health.

pub mod connections;
pub mod expiry;
pub mod handshakes;
pub mod labels;
pub(crate) mod line;
pub mod meters;
pub mod metrics;
pub mod record;
pub mod refusals;
mod sink;
mod tally;
pub mod traceparent;
pub mod writer;

use std::io;
use std::time::{Duration, Instant};

use handshakes::Handshakes;
use metrics::Metrics;
use refusals::Refusals;
use writer::Writer;

use crate::clock::UnixTime;
use crate::gateway::Records;

/// How long the end of the process waits for room for the last summaries.
const LAST: Duration = Duration::from_secs(2);

/// Where requests tell what became of them.
#[derive(Debug)]
pub struct Telemetry {
    /// Counters and histograms.
    pub metrics: Metrics,
    /// The way to the record's sink.
    pub records: Writer,
    /// Refusals that are counted instead of recorded one by one.
    pub refusals: Refusals,
    /// Handshakes that failed, the same way.
    pub handshakes: Handshakes,
}

impl Telemetry {
    /// Opens the sink of records.
    ///
    /// # Errors
    /// The sink cannot be opened, or the system has no randomness.
    pub fn start(records: &Records) -> io::Result<Telemetry> {
        Ok(Telemetry {
            metrics: Metrics::new().map_err(io::Error::other)?,
            records: Writer::start(records)
                .map_err(|why| io::Error::new(why.kind(), format!("records cannot be written: {why}")))?,
            refusals: Refusals::new(records.summary_interval)?,
            handshakes: Handshakes::new(records.summary_interval),
        })
    }

    /// Tells what is still to be told, and ends the writer; for the end of the process.
    pub fn finish(&self) {
        let end = Instant::now() + LAST;
        let left = loop {
            let now = UnixTime::of_system();
            let left = self.refusals.finish(now, &self.records) + self.handshakes.finish(now, &self.records);
            match left {
                0 => break 0,
                left if Instant::now() > end => break left,
                _ => std::thread::sleep(Duration::from_millis(20)),
            }
        };
        self.records.lost(left);
        self.records.finish();
    }
}
