//! `durward prove`

use std::io::{self, Write};
use std::process::ExitCode;

use clap::Args;

use super::{File, gateway};
use crate::gateway::prove::{Proof, prove};

/// What a configuration lets through.
#[derive(Debug, Args)]
pub(super) struct Prove {
    #[command(flatten)]
    file: File,
    /// As JSON
    #[arg(long)]
    json: bool,
}

impl Prove {
    pub(super) fn run(&self) -> io::Result<ExitCode> {
        let Some(gateway) = gateway(&self.file)? else {
            return Ok(ExitCode::FAILURE);
        };
        let proof = prove(&gateway);
        let mut out = io::stdout().lock();
        if self.json {
            writeln!(
                out,
                "{}",
                serde_json::to_string_pretty(&proof).map_err(io::Error::other)?
            )?;
        } else {
            print(&proof, &self.file.config.display().to_string(), &mut out)?;
        }
        Ok(ExitCode::SUCCESS)
    }
}

fn print(proof: &Proof, file: &str, out: &mut impl Write) -> io::Result<()> {
    writeln!(out, "{file} ({})\n", proof.hash)?;
    writeln!(out, "Reachable without a credential:")?;
    if proof.public.is_empty() {
        writeln!(out, "  nothing")?;
    }
    for pattern in &proof.public {
        writeln!(out, "  {} {}{}", pattern.method, pattern.host, pattern.path)?;
        writeln!(
            out,
            "      because: {} (owner: {}; route `{}`, {file}:{})",
            pattern.reason, pattern.owner, pattern.route, pattern.line
        )?;
        for circumstance in &pattern.circumstances {
            writeln!(out, "      only {circumstance}")?;
        }
        for (what, except) in [("hosts", &pattern.except_hosts), ("paths", &pattern.except_paths)] {
            if !except.is_empty() {
                writeln!(
                    out,
                    "      but not these {what}, which have rules of their own: {}",
                    except.join(" ")
                )?;
            }
        }
    }
    writeln!(out, "\nLayers:")?;
    for route in &proof.routes {
        writeln!(out, "  {} ({file}:{})", route.route, route.line)?;
        let one = |what: &Option<String>| what.iter().cloned().collect::<Vec<_>>();
        for (layer, what) in [
            ("transport", &one(&route.transport)),
            ("identity", &one(&route.identity)),
            ("authorization", &route.authorization),
            ("traffic", &one(&route.traffic)),
            ("data", &one(&route.data)),
        ] {
            let mut layer = layer;
            if what.is_empty() {
                writeln!(out, "      {layer:<14} - absent -")?;
            }
            for what in what {
                writeln!(out, "      {layer:<14} {what}")?;
                layer = "";
            }
        }
        if let Some(disabled) = &route.disabled {
            writeln!(out, "      DISABLED       {disabled}")?;
        }
    }
    if !proof.shadows.is_empty() {
        writeln!(out, "\nNOT ENFORCED, only recorded:")?;
        for shadow in &proof.shadows {
            writeln!(out, "  {shadow}")?;
        }
    }
    if !proof.findings.is_empty() {
        writeln!(out, "\nTo look at:")?;
        for finding in &proof.findings {
            writeln!(out, "  {finding}")?;
        }
    }
    Ok(())
}
