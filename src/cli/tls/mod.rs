//! `durward tls`: certificates for those who have none yet, and answers for those whose handshakes fail.

mod advice;
mod csr;
mod dev_ca;
mod inspect;
mod probe;
mod server_hello;
mod show;

use std::io;
use std::net::IpAddr;
use std::process::ExitCode;

use clap::{Args, Subcommand, ValueEnum};

use crate::pki::issue::Key;

/// Certificates.
#[derive(Debug, Args)]
pub struct Tls {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Make a development CA and a server certificate; not for production
    DevCa(dev_ca::DevCa),
    /// Make a key and a request for a certificate (CSR), ready to send to a CA
    Csr(csr::Csr),
    /// Speak TLS with a server: what is negotiated, what it shows, and what is wrong with it
    Probe(probe::Probe),
    /// Say what the certificates of a file are, and what is wrong with them
    Inspect(inspect::Inspect),
}

impl Tls {
    pub(super) fn run(&self) -> io::Result<ExitCode> {
        match &self.verb {
            Verb::DevCa(dev_ca) => dev_ca.run(),
            Verb::Csr(csr) => csr.run(),
            Verb::Probe(probe) => probe.run(),
            Verb::Inspect(inspect) => inspect.run(),
        }
    }
}

/// Kind of a key that is made.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum KeyKind {
    /// EC on P-256
    Ec,
    /// RSA of 2048 bits
    Rsa,
}

impl KeyKind {
    fn key(self) -> Key {
        match self {
            KeyKind::Ec => Key::P256,
            KeyKind::Rsa => Key::Rsa2048,
        }
    }
}

/// A DNS name, `*.` allowed, or an address; in lower case.
fn subject_name(text: &str) -> Result<String, String> {
    let name = text.to_ascii_lowercase();
    if name.parse::<IpAddr>().is_ok() {
        return Ok(name);
    }
    let is_label = |label: &str| {
        !label.is_empty()
            && label.len() <= 63
            && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    let plain = name.strip_prefix("*.").unwrap_or(&name);
    if name.len() <= 253 && plain.split('.').all(is_label) {
        Ok(name)
    } else {
        Err("neither a DNS name nor an address".to_owned())
    }
}
