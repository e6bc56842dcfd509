//! `durward status`: whether the running gateway runs what the file says (U13).

use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream, ToSocketAddrs};
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use serde::Deserialize;
use serde_json::json;

use super::File;
use crate::gateway::compile::{admin_address, hash};
use crate::secrets::Sources;

/// Nobody waits longer for a gateway of this machine.
const PATIENCE: Duration = Duration::from_secs(5);
/// A longer answer is not one of ours.
const LONGEST: u64 = 1 << 20;
/// The gateway could not be asked.
const NOT_ASKED: u8 = 2;

/// Which gateway.
#[derive(Debug, Args)]
pub(super) struct Status {
    #[command(flatten)]
    file: File,
    /// Its admin port; default: the one that the configuration file names
    #[arg(long, value_name = "ADDRESS:PORT")]
    admin: Option<String>,
    /// As JSON
    #[arg(long)]
    json: bool,
}

/// What `/config/status` says.
#[derive(Debug, Deserialize)]
struct Said {
    running: Running,
    file: LastRead,
    current: bool,
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
            .address(&name, &text)
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
            writeln!(out, "\n{verdict}")?;
        }
        Ok(if current {
            ExitCode::SUCCESS
        } else {
            ExitCode::FAILURE
        })
    }

    /// The address to ask.
    fn address(&self, name: &str, text: &io::Result<String>) -> io::Result<String> {
        if let Some(admin) = &self.admin {
            return Ok(admin.clone());
        }
        let text = text.as_ref().map_err(|why| {
            let why = format!("cannot read {name}: {why}; `--admin` says where the gateway is");
            io::Error::other(why)
        })?;
        let mut address = admin_address(text, &Sources::beside(&self.file.config)).ok_or_else(|| {
            io::Error::other(format!(
                "{name}: `admin.address` cannot be read; `--admin` says where the gateway is"
            ))
        })?;
        if address.ip().is_unspecified() {
            address.set_ip(match address {
                SocketAddr::V4(_) => IpAddr::V4(Ipv4Addr::LOCALHOST),
                SocketAddr::V6(_) => IpAddr::V6(Ipv6Addr::LOCALHOST),
            });
        }
        Ok(address.to_string())
    }
}

/// Asks a gateway for its status.
fn ask(admin: &str) -> io::Result<Said> {
    let failed = |why: io::Error| io::Error::new(why.kind(), format!("cannot ask {admin}: {why}"));
    let answer = fetch(admin).map_err(failed)?;
    let said = answer
        .strip_prefix("HTTP/1.1 200")
        .and_then(|answer| answer.split_once("\r\n\r\n"))
        .and_then(|(_, body)| serde_json::from_str(body).ok());
    said.ok_or_else(|| failed(io::Error::other("that is not the admin port of a gateway")))
}

fn fetch(admin: &str) -> io::Result<String> {
    let address = admin
        .to_socket_addrs()?
        .next()
        .ok_or_else(|| io::Error::other("no address has this name"))?;
    let mut stream = TcpStream::connect_timeout(&address, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    // asked by address, whatever it was called: names are for browsers, which the admin port does not answer
    write!(
        stream,
        "GET /config/status HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n"
    )?;
    let mut answer = String::new();
    stream.take(LONGEST).read_to_string(&mut answer)?;
    Ok(answer)
}
