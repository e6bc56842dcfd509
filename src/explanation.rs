//! A decision, written out: what `explain` prints, and what is kept of each refusal (M3).
//!
//! Made in one place from the marks of a [`Trace`](crate::trace::Trace), so that a decision explained offline and the same decision explained
//! by the gateway that took it are the same, byte for byte. Holds method, path, host, subject and what the configuration
//! says; no header, no query and no claim beyond the subject has a place in it.

use std::io::{self, Write};

use serde::{Deserialize, Serialize};

use crate::denial::{Denial, Gate};
use crate::gateway::Gateway;
use crate::trace::{Step, Traced, Word};

/// A decision and how it came about.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Explanation {
    /// `allow` or `deny`.
    pub outcome: String,
    /// Status of a refusal.
    pub status: Option<u16>,
    /// Gate that refused.
    pub gate: Option<String>,
    /// Why, precisely.
    pub reason: Option<String>,
    /// What the client is told.
    pub code: Option<String>,
    /// Name of the route.
    pub route: Option<String>,
    /// Identifies the configuration that decided.
    pub config: String,
    /// Each gate's word, in order.
    pub trace: Vec<Said>,
}

/// One gate's word.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Said {
    /// Which gate.
    pub gate: String,
    /// `pass`, `deny`, or `shadow`: it would deny, and is not enforced.
    pub outcome: String,
    /// Why it denies or would.
    pub reason: Option<String>,
    /// What was found or asked for.
    pub detail: String,
    /// Line of the configuration, 0 where none decided.
    pub line: u32,
}

impl Explanation {
    /// Writes a decision out. `gateway` is the snapshot that took it.
    #[must_use]
    pub fn new(gateway: &Gateway, traced: &Traced, denial: Option<&Denial>) -> Explanation {
        let route = traced.route().and_then(|id| gateway.route(id));
        Explanation {
            outcome: if denial.is_some() { "deny" } else { "allow" }.to_owned(),
            status: denial.map(|denial| denial.status().as_u16()),
            gate: denial.map(Denial::gate).map(Gate::as_str).map(str::to_owned),
            reason: denial.map(Denial::reason).map(str::to_owned),
            code: denial.map(Denial::code).map(str::to_owned),
            route: route.map(|route| route.id.to_string()),
            config: gateway.hash.clone(),
            trace: traced.steps(gateway).into_iter().map(Said::from).collect(),
        }
    }

    /// For people. `file` is the configuration that decided.
    ///
    /// # Errors
    /// Those of the output.
    pub fn write(&self, file: &str, out: &mut impl Write) -> io::Result<()> {
        for said in &self.trace {
            let word = match &*said.outcome {
                "deny" => "DENY",
                "shadow" => "SHADOW",
                word => word,
            };
            let reason = said
                .reason
                .as_ref()
                .map_or(String::new(), |reason| format!("{reason}: "));
            let place = match said.line {
                0 => String::new(),
                line => format!("  [{file}:{line}]"),
            };
            writeln!(out, "{:<8} {word}  {reason}{}{place}", said.gate, said.detail)?;
        }
        match (&self.status, &self.reason, &self.code) {
            (Some(status), Some(reason), Some(code)) => {
                writeln!(out, "\ndenied: {status} {reason} (the client is told `{code}`)")
            }
            _ => writeln!(out, "\nadmitted"),
        }
    }

    /// For programs.
    ///
    /// # Errors
    /// Those of the output.
    pub fn write_json(&self, out: &mut impl Write) -> io::Result<()> {
        let value = serde_json::to_value(self).map_err(io::Error::other)?;
        writeln!(out, "{value:#}")
    }
}

impl From<Step> for Said {
    fn from(step: Step) -> Said {
        let (outcome, reason) = match step.word {
            Word::Passed => ("pass", None),
            Word::Denied(reason) => ("deny", Some(reason)),
            Word::Shadowed(reason) => ("shadow", Some(reason)),
        };
        Said {
            gate: step.gate.as_str().to_owned(),
            outcome: outcome.to_owned(),
            reason: reason.map(str::to_owned),
            detail: step.detail,
            line: step.line,
        }
    }
}
