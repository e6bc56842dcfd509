//! `durward explain`: how a decision came about.
//!
//! Of a refused request, by its id: the running gateway is asked (M3). Or of a described one, by the very function that the
//! proxy runs: nothing is fetched and no clock is read: the description says when, and brings the keys of issuers that the
//! configuration would fetch.

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use super::admin::{self, NOT_ASKED, Port};
use super::{File, gateway, report};
use crate::clock::UnixTime;
use crate::config::parse::parse;
use crate::denial::Denial;
use crate::explanation::Explanation;
use crate::gates::authn::crypto;
use crate::gateway::Gateway;
use crate::gateway::compile::hash;
use crate::question::{Described, Question};
use crate::request::Request;
use crate::running::explanations::Kept;
use crate::trace::{HEAD_REFUSED, Trace};
use clap::Args;

/// Which decision.
#[derive(Debug, Args)]
#[group(id = "which", required = true, multiple = false, args = ["id", "request"])]
pub struct Explain {
    /// Decision id of a refused request: `X-Request-Id` of its answer, `durward.decision.id` of its record. The running
    /// gateway is asked, which knows some thousands of the last ones
    #[arg(value_name = "ID")]
    id: Option<uuid::Uuid>,
    #[command(flatten)]
    file: File,
    /// Description of a request, in YAML or JSON: decided offline
    #[arg(short, long, value_name = "FILE")]
    request: Option<PathBuf>,
    #[command(flatten)]
    port: Port,
    /// As JSON
    #[arg(long)]
    json: bool,
}

impl Explain {
    pub(super) fn run(&self) -> io::Result<ExitCode> {
        match (&self.request, self.id) {
            (Some(request), _) => self.offline(request),
            (None, Some(id)) => self.online(id),
            // the command line asks for one of them
            (None, None) => Ok(ExitCode::from(NOT_ASKED)),
        }
    }

    /// Asks the gateway that decided.
    fn online(&self, id: uuid::Uuid) -> io::Result<ExitCode> {
        let text = std::fs::read_to_string(&self.file.config);
        let asked = self.port.address(&self.file, &text).and_then(|address| {
            let (status, body) = admin::ask(&address, &format!("/explain/{id}"))?;
            let kept = (status == 200)
                .then(|| serde_json::from_str::<Kept>(&body).ok())
                .flatten();
            match (kept, status) {
                (Some(kept), _) => Ok(Some(kept)),
                (None, 404) => Ok(None),
                _ => Err(admin::not_ours(&address)),
            }
        });
        let mut err = io::stderr().lock();
        match asked {
            Err(why) => {
                writeln!(err, "durward: {why}")?;
                Ok(ExitCode::from(NOT_ASKED))
            }
            Ok(None) => {
                writeln!(
                    err,
                    "durward: no refusal of this id is known, or not any more: its record says the reason"
                )?;
                Ok(ExitCode::FAILURE)
            }
            Ok(Some(kept)) => {
                writeln!(err, "decided at {}", kept.at)?;
                if text.is_ok_and(|text| hash(&text) != kept.decision.config) {
                    let name = self.file.config.display();
                    writeln!(
                        err,
                        "{name} has changed since: lines are those of {}",
                        kept.decision.config
                    )?;
                }
                self.show(&kept.decision)?;
                Ok(ExitCode::SUCCESS)
            }
        }
    }

    /// Decides about a described request.
    fn offline(&self, request: &Path) -> io::Result<ExitCode> {
        let Some(mut gateway) = gateway(&self.file)? else {
            return Ok(ExitCode::FAILURE);
        };
        let name = request.display().to_string();
        let text = std::fs::read_to_string(request)
            .map_err(|why| io::Error::new(why.kind(), format!("cannot read {name}: {why}")))?;
        let described = match parse::<Described>(&name, &text).accept() {
            Ok((described, _)) => described,
            Err(faults) => {
                report(&faults)?;
                return Ok(ExitCode::FAILURE);
            }
        };
        let base = request.parent().unwrap_or(Path::new(""));
        let now = UnixTime::of_system();
        let question = described
            .facts()
            .and_then(|facts| facts.ask(&mut gateway, base, now))
            .map_err(|why| io::Error::other(format!("{name}: {why}")))?;
        self.show(&decide(&gateway, &question)?)?;
        Ok(ExitCode::SUCCESS)
    }

    fn show(&self, explanation: &Explanation) -> io::Result<()> {
        let mut out = io::stdout().lock();
        if self.json {
            explanation.write_json(&mut out)
        } else {
            explanation.write(&self.file.config.display().to_string(), &mut out)
        }
    }
}

/// The decision and how it came about.
fn decide(gateway: &Gateway, question: &Question) -> io::Result<Explanation> {
    crypto::install();
    let mut trace = Trace::default();
    let request = match question.request(gateway) {
        Ok(request) => request,
        Err(why) => {
            let denial = trace.denied(Denial::Malformed(why), 0, HEAD_REFUSED);
            return Ok(Explanation::new(gateway, &trace.end(None), Some(&denial)));
        }
    };
    let world = question.world(gateway, 1);
    let runtime = tokio::runtime::Builder::new_current_thread().build()?;
    let verdict = runtime.block_on(gateway.admit(&request, &world, &mut trace));
    let denial = verdict.as_ref().err();
    Ok(Explanation::new(
        gateway,
        &trace.end(Some(request.head())),
        denial,
    ))
}
