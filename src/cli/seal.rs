//! `durward seal`: makes files that `${sealed:PATH}` opens.

use std::fs::OpenOptions;
use std::io::{self, IsTerminal, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;

use crate::config::scalar::Secret;
use crate::secrets::seal::SealingKey;
use crate::secrets::{Sources, purpose_of};

/// Longest secret, in bytes.
const MOST: u64 = 1 << 20;

/// Secrets at rest.
#[derive(Debug, Args)]
pub(super) struct Seal {
    /// Where the sealing key is: a reference, as in `secrets.sealing_keys`
    #[arg(long, value_name = "REFERENCE", default_value = "${env:DURWARD_SEALING_KEY}")]
    key: Secret,
    /// File to write; what it is called is sealed in: a sealed file cannot be renamed
    #[arg(long, value_name = "FILE", required_unless_present = "new_key")]
    to: Option<PathBuf>,
    /// Print a new sealing key instead
    #[arg(long, conflicts_with = "to")]
    new_key: bool,
}

impl Seal {
    pub(super) fn run(&self) -> io::Result<ExitCode> {
        let Seal { key, to, new_key: _ } = self;
        let Some(to) = to else {
            writeln!(
                io::stdout(),
                "{}",
                SealingKey::generate().map_err(io::Error::other)?.text()
            )?;
            return Ok(ExitCode::SUCCESS);
        };
        let key = key.resolve(&Sources::default()).map_err(io::Error::other)?;
        let key = SealingKey::parse(&key)
            .ok_or_else(|| io::Error::other("not a sealing key: make one with `durward seal --new-key`"))?;
        let purpose = purpose_of(to).ok_or_else(|| io::Error::other("the file needs a name"))?;
        if io::stdin().is_terminal() {
            writeln!(io::stderr(), "durward: the secret, and then Ctrl-D:")?;
        }
        let mut secret = Vec::new();
        io::stdin().take(MOST + 1).read_to_end(&mut secret)?;
        if secret.is_empty() || secret.len() as u64 > MOST {
            return Err(io::Error::other("a secret is 1 byte to 1 MiB"));
        }
        write(to, &key.seal(&secret, &purpose).map_err(io::Error::other)?)?;
        Ok(ExitCode::SUCCESS)
    }
}

/// As a whole or not at all: a gateway that reads it sees the old secret or the new one.
fn write(to: &Path, sealed: &str) -> io::Result<()> {
    let mut new = to.to_owned().into_os_string();
    new.push(".new");
    let new = PathBuf::from(new);
    let written = || {
        let mut file = OpenOptions::new();
        let mut file = file
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&new)?;
        writeln!(file, "{sealed}")?;
        file.sync_all()?;
        std::fs::rename(&new, to)
    };
    written().map_err(|why| io::Error::new(why.kind(), format!("{}: {why}", to.display())))
}
