//! `durward tls inspect`

use std::fs;
use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use openssl::x509::{X509, X509Req};

use super::show;
use crate::clock::UnixTime;
use crate::pki::{facts, flaws};

/// What the certificates of a file are. Exit code 1: something is wrong with them.
#[derive(Debug, Args)]
pub(super) struct Inspect {
    /// PEM file with a chain or with a request; or a folder with tls.crt
    file: PathBuf,
    /// PEM file of the CAs that clients trust: does the chain lead there?
    #[arg(long, value_name = "FILE")]
    ca: Option<PathBuf>,
}

impl Inspect {
    pub(super) fn run(&self) -> io::Result<ExitCode> {
        let Inspect { file, ca } = self;
        let file = if file.is_dir() {
            file.join("tls.crt")
        } else {
            file.clone()
        };
        let read = |path: &PathBuf| {
            fs::read(path)
                .map_err(|why| io::Error::new(why.kind(), format!("cannot read {}: {why}", path.display())))
        };
        let (pem, now) = (read(&file)?, UnixTime::of_system());
        let mut out = io::stdout();
        if let Ok(request) = X509Req::from_pem(&pem) {
            return describe(&request, &mut out);
        }
        let chain = X509::stack_from_pem(&pem).unwrap_or_default();
        if chain.is_empty() {
            let why = format!("{}: neither a certificate nor a request in PEM", file.display());
            return Err(io::Error::other(why));
        }
        for (index, certificate) in chain.iter().enumerate() {
            show::certificate(&mut out, index + 1, certificate, now)?;
        }
        let mut good = true;
        for flaw in flaws::of(&chain, now) {
            good = false;
            writeln!(out, "! {flaw}: {}", flaw.help())?;
        }
        if let Some(ca) = ca {
            let authorities = X509::stack_from_pem(&read(ca)?)?;
            match flaws::leads_to(&chain, &authorities) {
                Ok(()) => writeln!(out, "the chain leads to a CA of {}", ca.display())?,
                Err((_, why)) => {
                    good = false;
                    writeln!(
                        out,
                        "! the chain does not lead to a CA of {}: {why}",
                        ca.display()
                    )?;
                }
            }
        }
        Ok(if good {
            ExitCode::SUCCESS
        } else {
            ExitCode::FAILURE
        })
    }
}

/// What a request asks for.
fn describe(request: &X509Req, out: &mut impl Write) -> io::Result<ExitCode> {
    let key = request.public_key()?;
    writeln!(out, "  {:<12}{}", "request", facts::name(request.subject_name()))?;
    writeln!(out, "  {:<12}{}", "key", facts::key(&key))?;
    // the text form is the only one in which OpenSSL's binding gives the names
    let text = request.to_text()?;
    let text = String::from_utf8_lossy(&text);
    let names = text
        .lines()
        .skip_while(|line| !line.contains("Subject Alternative Name"));
    if let Some(names) = names.map(str::trim).nth(1) {
        writeln!(out, "  {:<12}{names}", "names")?;
    }
    if request.verify(&key)? {
        Ok(ExitCode::SUCCESS)
    } else {
        writeln!(out, "! the request is not signed with its own key")?;
        Ok(ExitCode::FAILURE)
    }
}
