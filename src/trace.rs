//! How a decision came about.
//!
//! The pipeline writes down what it found at each gate: always the route and the caller, for the record of the request;
//! and, where somebody asked to be shown, every step with the line of configuration that decided it.

use std::sync::Arc;

use crate::denial::{Denial, Gate};
use crate::gates::authn::verdicts::Digest;
use crate::gateway::RouteId;
use crate::identity::Client;

/// One gate's word.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// Which gate.
    pub gate: Gate,
    /// `None`: passed.
    pub denied: Option<&'static str>,
    /// What was found or asked for. Nothing secret.
    pub detail: String,
    /// Line of the configuration that decided, 0 where none did.
    pub line: u32,
}

/// Filled by the pipeline as it goes.
#[derive(Debug, Default)]
pub struct Trace {
    /// The route, once one matched.
    pub route: Option<RouteId>,
    /// The caller, once authenticated.
    pub client: Option<Arc<Client>>,
    /// The credential that was looked at, good or not.
    pub credential: Option<Digest>,
    steps: Option<Vec<Step>>,
}

impl Trace {
    /// Keeps the steps too. Without it, describing a step costs nothing.
    #[must_use]
    pub fn detailed() -> Trace {
        Trace {
            steps: Some(Vec::with_capacity(8)),
            ..Trace::default()
        }
    }

    /// The gate let the request pass.
    pub fn passed(&mut self, gate: Gate, line: u32, detail: impl FnOnce() -> String) {
        if let Some(steps) = &mut self.steps {
            steps.push(Step {
                gate,
                denied: None,
                detail: detail(),
                line,
            });
        }
    }

    /// The gate refused the request; hands the denial on.
    pub fn denied(&mut self, denial: Denial, line: u32, detail: impl FnOnce() -> String) -> Denial {
        if let Some(steps) = &mut self.steps {
            steps.push(Step {
                gate: denial.gate(),
                denied: Some(denial.reason()),
                detail: detail(),
                line,
            });
        }
        denial
    }

    /// The steps, in order; none unless the trace is detailed.
    #[must_use]
    pub fn steps(&self) -> &[Step] {
        self.steps.as_deref().unwrap_or_default()
    }
}
