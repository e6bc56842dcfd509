//! Asking a running gateway at its admin port.

use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream, ToSocketAddrs};
use std::time::Duration;

use clap::Args;

use super::File;
use crate::gateway::compile::admin_address;
use crate::secrets::Sources;

/// Nobody waits longer for a gateway of this machine.
const PATIENCE: Duration = Duration::from_secs(5);
/// A longer answer is not one of ours.
const LONGEST: u64 = 1 << 20;
/// Exit code: the gateway could not be asked.
pub(super) const NOT_ASKED: u8 = 2;

/// Which gateway.
#[derive(Debug, Args)]
pub(super) struct Port {
    /// Admin port of the gateway; default: the one that the configuration file names
    #[arg(long, value_name = "ADDRESS:PORT")]
    admin: Option<String>,
}

impl Port {
    /// The address to ask. `text` is what the configuration file holds.
    ///
    /// # Errors
    /// Nothing says where the gateway is.
    pub(super) fn address(&self, file: &File, text: &io::Result<String>) -> io::Result<String> {
        if let Some(admin) = &self.admin {
            return Ok(admin.clone());
        }
        let name = file.config.display();
        let text = text.as_ref().map_err(|why| {
            let why = format!("cannot read {name}: {why}; `--admin` says where the gateway is");
            io::Error::other(why)
        })?;
        let mut address = admin_address(text, &Sources::beside(&file.config)).ok_or_else(|| {
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

/// The status and the body of what a gateway answers to this path.
///
/// # Errors
/// It does not answer, or not like a gateway.
pub(super) fn ask(admin: &str, path: &str) -> io::Result<(u16, String)> {
    let answered = fetch(admin, path).map_err(|why| failed(admin, &why))?;
    let parts = answered.strip_prefix("HTTP/1.1 ").and_then(|answer| {
        let (head, body) = answer.split_once("\r\n\r\n")?;
        Some((head.get(..3)?.parse().ok()?, body.to_owned()))
    });
    parts.ok_or_else(|| not_ours(admin))
}

/// Whoever answered is no gateway.
pub(super) fn not_ours(admin: &str) -> io::Error {
    failed(
        admin,
        &io::Error::other("that is not the admin port of a gateway"),
    )
}

fn failed(admin: &str, why: &io::Error) -> io::Error {
    io::Error::new(why.kind(), format!("cannot ask {admin}: {why}"))
}

fn fetch(admin: &str, path: &str) -> io::Result<String> {
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
        "GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n"
    )?;
    let mut answer = String::new();
    stream.take(LONGEST).read_to_string(&mut answer)?;
    Ok(answer)
}
