//! `durward tls csr`

use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use openssl::pkey::PKey;

use super::{KeyKind, subject_name};
use crate::pki::issue;
use crate::pki::store::{Readers, State};

/// A request for a certificate (PKCS #10), with its key.
#[derive(Debug, Args)]
pub(super) struct Csr {
    /// Folder for tls.key and tls.csr
    #[arg(short, long, value_name = "FOLDER", default_value = "certs")]
    out: PathBuf,
    /// Kind of the key that is made
    #[arg(long, value_enum, default_value_t = KeyKind::Ec)]
    key: KeyKind,
    /// Ask again for the key that is in the folder; otherwise a folder with a key is left alone
    #[arg(long)]
    keep_key: bool,
    /// Organisation, for CAs that want one
    #[arg(long, value_name = "NAME")]
    organisation: Option<String>,
    /// DNS names and addresses of the server
    #[arg(required = true, value_name = "NAME", value_parser = subject_name)]
    names: Vec<String>,
}

impl Csr {
    pub(super) fn run(&self) -> io::Result<ExitCode> {
        let Csr {
            out,
            key,
            keep_key,
            organisation,
            names,
        } = self;
        let folder = State::open(out)?;
        let _lock = folder.lock()?;
        let path = folder.path().display();
        let key = match (folder.read("tls.key", Readers::Owner)?, keep_key) {
            (None, true) => return Err(io::Error::other(format!("there is no {path}/tls.key to keep"))),
            // it may serve right now
            (Some(_), false) => {
                return Err(io::Error::other(format!(
                    "{path}/tls.key is there already: `--keep-key` asks for the same key again, `-o` names another folder"
                )));
            }
            (Some(pem), true) => PKey::private_key_from_pem(&pem)?,
            (None, false) => {
                let key = key.key().generate()?;
                folder.write("tls.key", &key.private_key_to_pem_pkcs8()?, Readers::Owner)?;
                key
            }
        };
        let request = issue::request(&key, names, organisation.as_deref())?;
        folder.write("tls.csr", &request.to_pem()?, Readers::Everybody)?;
        writeln!(
            io::stdout(),
            "{path}: tls.csr asks for {}; tls.key stays here\n  \
             1. Send tls.csr to your CA.\n  \
             2. Write what comes back to {path}/tls.crt: the server's certificate first, then the intermediates.\n  \
             3. durward tls inspect {path}/tls.crt\n  \
             4. tls: {{ certificates: [{{ dir: \"{path}\" }}] }} in a listener; a running gateway takes it within seconds.",
            names.join(", ")
        )?;
        Ok(ExitCode::SUCCESS)
    }
}
