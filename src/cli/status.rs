//! `durward status`: whether the running gateway runs what the file says (U13).

use std::io::{self, Write};
use std::process::ExitCode;

use clap::Args;
use serde::Deserialize;
use serde_json::json;

use super::File;
use super::admin::{self, NOT_ASKED, Port};
use crate::gateway::compile::hash;

/// Which gateway.
#[derive(Debug, Args)]
pub(super) struct Status {
    #[command(flatten)]
    file: File,
    #[command(flatten)]
    port: Port,
    /// As JSON
    #[arg(long)]
    json: bool,
}

/// What `/config/status` says.
#[derive(Debug, Deserialize)]
struct Said {
    running: Running,
    file: LastRead,
    /// Lists of what was taken back.
    #[serde(default)]
    revocation: Vec<DenyList>,
    current: bool,
}

#[derive(Debug, Deserialize)]
struct DenyList {
    source: String,
    fault: Option<String>,
}

#[derive(Debug, Deserialize)]
struct Running {
    hash: String,
    since: String,
}

/// What the gateway made of its file when it last read it.
#[derive(Debug, Deserialize)]
struct LastRead {
    hash: Option<String>,
    read: String,
    faults: Vec<String>,
}

impl Status {
    pub(super) fn run(&self) -> io::Result<ExitCode> {
        let name = self.file.config.display().to_string();
        let text = std::fs::read_to_string(&self.file.config);
        let asked = self
            .port
            .address(&self.file, &text)
            .and_then(|address| Ok((ask(&address)?, address)));
        let (said, admin) = match asked {
            Ok(asked) => asked,
            Err(why) => {
                writeln!(io::stderr(), "durward: {why}")?;
                return Ok(ExitCode::from(NOT_ASKED));
            }
        };
        // what the file holds now, which the gateway may not have seen yet
        let on_disk = text.ok().map(|text| hash(&text));
        let is_read = on_disk.is_none() || on_disk == said.file.hash;
        let current = said.current && is_read;
        let mut out = io::stdout().lock();
        if self.json {
            let status = json!({
                "admin": admin,
                "current": current,
                "running": { "hash": said.running.hash, "since": said.running.since },
                "file": { "name": name, "hash": on_disk },
                "last_read": { "hash": said.file.hash, "at": said.file.read, "faults": said.file.faults },
            });
            writeln!(out, "{status:#}")?;
        } else {
            let shown = |hash: &Option<String>| hash.clone().unwrap_or_else(|| "cannot be read".to_owned());
            let verdict = match (current, is_read) {
                (true, _) => "the file is what runs",
                (false, false) => "the file is NOT what runs: it has changed since the gateway read it",
                (false, true) => "the file is NOT what runs",
            };
            writeln!(
                out,
                "running    {}  since {}",
                said.running.hash, said.running.since
            )?;
            writeln!(out, "file       {}  {name}", shown(&on_disk))?;
            writeln!(
                out,
                "last read  {}  at {}",
                shown(&said.file.hash),
                said.file.read
            )?;
            for fault in &said.file.faults {
                writeln!(out, "           {fault}")?;
            }
            for DenyList { source, fault } in &said.revocation {
                if let Some(fault) = fault {
                    writeln!(out, "deny list  {source}: {fault}")?;
                }
            }
            writeln!(out, "\n{verdict}")?;
        }
        Ok(if current {
            ExitCode::SUCCESS
        } else {
            ExitCode::FAILURE
        })
    }
}

/// Asks a gateway for its status.
fn ask(admin: &str) -> io::Result<Said> {
    let (status, body) = admin::ask(admin, "/config/status")?;
    let said = (status == 200)
        .then(|| serde_json::from_str(&body).ok())
        .flatten();
    said.ok_or_else(|| admin::not_ours(admin))
}
