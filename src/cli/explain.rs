//! `durward explain`: the decision on a described request, by the very function that the proxy runs.
//!
//! Nothing is fetched and no clock is read: the description says when, and brings the keys of issuers that the
//! configuration would fetch.

mod described;
mod token;

use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use serde_json::json;

use super::{File, gateway, report};
use crate::config::parse::parse;
use crate::denial::{Denial, Gate};
use crate::gates::authn::crypto;
use crate::gateway::Gateway;
use crate::pipeline::Admitted;
use crate::trace::Trace;
use described::{Described, Question};

/// A decision, offline.
#[derive(Debug, Args)]
pub struct Explain {
    #[command(flatten)]
    file: File,
    /// Description of the request, in YAML or JSON
    #[arg(short, long, value_name = "FILE")]
    request: PathBuf,
    /// As JSON
    #[arg(long)]
    json: bool,
}

impl Explain {
    pub(super) fn run(&self) -> io::Result<ExitCode> {
        let Some(gateway) = gateway(&self.file)? else {
            return Ok(ExitCode::FAILURE);
        };
        let name = self.request.display().to_string();
        let text = std::fs::read_to_string(&self.request)
            .map_err(|why| io::Error::new(why.kind(), format!("cannot read {name}: {why}")))?;
        let described = match parse::<Described>(&name, &text).accept() {
            Ok((described, _)) => described,
            Err(faults) => {
                report(&faults)?;
                return Ok(ExitCode::FAILURE);
            }
        };
        let base = self.request.parent().unwrap_or(std::path::Path::new(""));
        let question = described
            .question(&gateway, base)
            .map_err(|why| io::Error::other(format!("{name}: {why}")))?;
        let (verdict, trace) = decide(&gateway, &question)?;
        let mut out = io::stdout().lock();
        if self.json {
            write_json(&gateway, &verdict, &trace, &mut out)?;
        } else {
            write_text(
                &self.file.config.display().to_string(),
                &verdict,
                &trace,
                &mut out,
            )?;
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// The decision and how it came about.
fn decide(gateway: &Gateway, question: &Question) -> io::Result<(Result<Admitted, Denial>, Trace)> {
    crypto::install();
    let mut trace = Trace::detailed();
    let request = match question.request(gateway) {
        Ok(request) => request,
        Err(why) => {
            let denial = trace.denied(Denial::Malformed(why), 0, || "the head is refused".to_owned());
            return Ok((Err(denial), trace));
        }
    };
    let runtime = tokio::runtime::Builder::new_current_thread().build()?;
    let verdict = runtime.block_on(gateway.admit(&request, &question.world, &mut trace));
    Ok((verdict, trace))
}

fn write_text(
    file: &str,
    verdict: &Result<Admitted, Denial>,
    trace: &Trace,
    out: &mut impl Write,
) -> io::Result<()> {
    for step in trace.steps() {
        let (word, reason) = match step.denied {
            None => ("pass", String::new()),
            Some(reason) => ("DENY", format!("{reason}: ")),
        };
        let place = if step.line > 0 {
            format!("  [{file}:{}]", step.line)
        } else {
            String::new()
        };
        writeln!(
            out,
            "{:<8} {word}  {reason}{}{place}",
            step.gate.as_str(),
            step.detail
        )?;
    }
    match verdict {
        Ok(_) => writeln!(out, "\nadmitted"),
        Err(denial) => writeln!(
            out,
            "\ndenied: {} {} (the client is told `{}`)",
            denial.status().as_u16(),
            denial.reason(),
            denial.code()
        ),
    }
}

fn write_json(
    gateway: &Gateway,
    verdict: &Result<Admitted, Denial>,
    trace: &Trace,
    out: &mut impl Write,
) -> io::Result<()> {
    let steps: Vec<_> = trace
        .steps()
        .iter()
        .map(|step| {
            json!({
                "gate": step.gate.as_str(),
                "outcome": if step.denied.is_some() { "deny" } else { "pass" },
                "reason": step.denied,
                "detail": step.detail,
                "line": step.line,
            })
        })
        .collect();
    let route = trace
        .route
        .and_then(|id| gateway.route(id))
        .map(|route| route.id.to_string());
    let denial = verdict.as_ref().err();
    let decision = json!({
        "outcome": if denial.is_some() { "deny" } else { "allow" },
        "status": denial.map(|denial| denial.status().as_u16()),
        "gate": denial.map(Denial::gate).map(Gate::as_str),
        "reason": denial.map(Denial::reason),
        "code": denial.map(Denial::code),
        "route": route,
        "config": gateway.hash,
        "trace": steps,
    });
    writeln!(out, "{decision:#}")
}
