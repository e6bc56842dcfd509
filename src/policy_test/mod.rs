//! Tests that stand in the configuration, beside the routes that they are about (M6).
//!
//! Each says what becomes of a request. They are decided by the same function as live traffic, in a world of their own in
//! which time stands still and nothing was counted before, so they need no network and take no time.

pub mod mutate;

use std::io;
use std::path::Path;

use tokio::runtime::Runtime;

use crate::clock::UnixTime;
use crate::denial::Denial;
use crate::explanation::Explanation;
use crate::gates::authn::crypto;
use crate::gateway::Gateway;
use crate::question::{Described, Question};
use crate::request::Request;
use crate::trace::{HEAD_REFUSED, Trace};

/// When tests take place that do not say: 1 January 2026, 12:00 UTC, a Thursday.
const NOON: UnixTime = UnixTime::from_seconds(1_767_268_800);
/// Who asks in tests that do not say: an address for documentation (RFC 5737).
const SOMEBODY: &str = "203.0.113.1:50000";
/// What an admitted request is said to be.
pub const ALLOW: &str = "allow";

/// What becomes of a request.
#[derive(Debug)]
pub struct PolicyTest {
    /// What is claimed.
    pub name: Box<str>,
    /// The request.
    pub request: Described,
    /// How often it is asked; the last answer counts.
    pub times: u32,
    /// [`ALLOW`], or the reason of the refusal.
    pub expect: Box<str>,
    /// Name of the route that decides; `None`: any, or none.
    pub route: Option<Box<str>>,
    /// Line of the configuration.
    pub line: u32,
}

/// A test whose requests have been made.
#[derive(Debug)]
pub struct Prepared<'a> {
    /// The test.
    pub test: &'a PolicyTest,
    /// One for all times, or one for each.
    questions: Vec<Question>,
}

/// What became of a test.
#[derive(Debug)]
pub struct Outcome {
    /// Whether that is what was expected.
    pub holds: bool,
    /// The decision.
    pub decision: Explanation,
}

impl Outcome {
    /// [`ALLOW`], or the reason of the refusal.
    #[must_use]
    pub fn verdict(&self) -> &str {
        self.decision.reason.as_deref().unwrap_or(ALLOW)
    }
}

impl PolicyTest {
    /// Makes the requests, signs their tokens, and gives the gateway their API keys. Files are in `base`.
    ///
    /// # Errors
    /// A key cannot be made, or a file not be read.
    pub fn prepare(&self, gateway: &mut Gateway, base: &Path) -> Result<Prepared<'_>, String> {
        crypto::install();
        let last = if self.request.is_numbered() { self.times } else { 1 };
        let questions = (1..=last).map(|n| {
            let mut request = self.request.numbered(n);
            request.from.get_or_insert_with(|| SOMEBODY.to_owned());
            request.facts()?.ask(gateway, base, NOON)
        });
        Ok(Prepared {
            test: self,
            questions: questions.collect::<Result<_, _>>()?,
        })
    }
}

impl Prepared<'_> {
    /// Decides.
    #[must_use]
    pub fn run(&self, gateway: &Gateway, runtime: &Runtime) -> Outcome {
        let decision = runtime.block_on(self.decide(gateway));
        let verdict = decision.reason.as_deref().unwrap_or(ALLOW);
        let route_fits = self.test.route.is_none() || self.test.route.as_deref() == decision.route.as_deref();
        Outcome {
            holds: verdict == &*self.test.expect && route_fits,
            decision,
        }
    }

    async fn decide(&self, gateway: &Gateway) -> Explanation {
        // with places to spare, so that nobody has to share one
        let callers = self.questions.len().saturating_mul(16);
        let world = self
            .questions
            .first()
            .map(|question| question.world(gateway, callers));
        let mut trace = Trace::default();
        let mut last = Explanation::new(gateway, &trace.end(None), Some(&Denial::Internal));
        let Some(world) = world else { return last };
        let rounds = usize::try_from(self.test.times).unwrap_or(usize::MAX);
        for (round, question) in self.questions.iter().cycle().take(rounds).enumerate() {
            trace = Trace::default();
            let is_last = round + 1 == rounds;
            match question.request(gateway) {
                Ok(request) => {
                    let verdict = gateway.admit(&request, &world, &mut trace).await;
                    if is_last {
                        let traced = trace.end(Some(request.head()));
                        last = Explanation::new(gateway, &traced, verdict.as_ref().err());
                    }
                }
                Err(why) => {
                    let denial = trace.denied(Denial::Malformed(why), 0, HEAD_REFUSED);
                    last = Explanation::new(gateway, &trace.end(None), Some(&denial));
                }
            }
        }
        last
    }
}

/// What tests are run in.
///
/// # Errors
/// The system has no room for it.
pub fn runtime() -> io::Result<Runtime> {
    tokio::runtime::Builder::new_current_thread().build()
}
