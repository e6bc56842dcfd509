//! `durward version`

use std::io::{self, Write};
use std::process::ExitCode;

use clap::Args;
use serde_json::json;

/// The version, and the TLS library that is in this binary.
#[derive(Debug, Args)]
pub(super) struct Version {
    /// As JSON
    #[arg(long)]
    json: bool,
}

impl Version {
    pub(super) fn run(&self) -> io::Result<ExitCode> {
        let (version, tls) = (env!("CARGO_PKG_VERSION"), openssl::version::version());
        let mut out = io::stdout();
        if self.json {
            // S25
            let facts = json!({ "durward": version, "pingora": PINGORA, "tls_library": tls });
            writeln!(out, "{facts}")?;
        } else {
            writeln!(out, "durward {version} (Pingora {PINGORA}, {tls})")?;
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// Pinned in `Cargo.toml`.
const PINGORA: &str = "0.9.1";
