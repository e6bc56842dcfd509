//! `durward check`

use std::collections::BTreeSet;
use std::io::{self, Write};
use std::process::ExitCode;
use std::sync::Arc;

use clap::Args;

use super::{File, compiled};
use crate::secrets::keeper::Keeper;

/// Whether a configuration is good.
#[derive(Debug, Args)]
pub(super) struct Check {
    #[command(flatten)]
    file: File,
    /// Ask the stores for the secrets in them, as `run` does
    #[arg(long)]
    network: bool,
}

impl Check {
    pub(super) fn run(&self) -> io::Result<ExitCode> {
        let Check { file, network } = self;
        let keeper = network.then(|| Arc::new(Keeper::default()));
        let compiled = compiled(file, keeper.as_ref())?;
        let Some(gateway) = compiled.gateway else {
            return Ok(ExitCode::FAILURE);
        };
        let mut out = io::stdout();
        let issuers: BTreeSet<&str> = gateway.issuers.iter().map(|issuer| &*issuer.entry).collect();
        writeln!(
            out,
            "{}: good, {} routes, {} upstreams, {} issuers ({})",
            file.config.display(),
            gateway.routes.len(),
            gateway.upstreams.len(),
            issuers.len(),
            gateway.hash
        )?;
        for secret in compiled.not_asked {
            writeln!(out, "not looked up: {secret} (--network asks for it)")?;
        }
        Ok(ExitCode::SUCCESS)
    }
}
