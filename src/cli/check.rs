//! `durward check`

use std::io::{self, Write};
use std::process::ExitCode;

use super::{File, gateway};

pub(super) fn check(file: &File) -> io::Result<ExitCode> {
    let Some(gateway) = gateway(file)? else {
        return Ok(ExitCode::FAILURE);
    };
    writeln!(
        io::stdout(),
        "{}: good, {} routes, {} upstreams, {} issuers ({})",
        file.config.display(),
        gateway.routes.len(),
        gateway.upstreams.len(),
        gateway.issuers.len(),
        gateway.hash
    )?;
    Ok(ExitCode::SUCCESS)
}
