//! `durward tls dev-ca`

use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use openssl::pkey::PKey;
use openssl::x509::X509;

use super::{KeyKind, subject_name};
use crate::clock::UnixTime;
use crate::pki::facts;
use crate::pki::issue::Authority;
use crate::pki::store::{Readers, State};

const CA_DAYS: u32 = 365;

/// A development CA with a server certificate, as a folder that a listener can name.
#[derive(Debug, Args)]
pub(super) struct DevCa {
    /// Folder for ca.crt, ca.key, tls.crt and tls.key
    #[arg(short, long, value_name = "FOLDER", default_value = "certs")]
    out: PathBuf,
    /// Days that the server certificate is good
    #[arg(long, default_value_t = 30, value_parser = clap::value_parser!(u32).range(1..=365))]
    days: u32,
    /// Kind of the server's key
    #[arg(long, value_enum, default_value_t = KeyKind::Ec)]
    key: KeyKind,
    /// DNS names and addresses of the server
    #[arg(required = true, value_name = "NAME", value_parser = subject_name)]
    names: Vec<String>,
}

impl DevCa {
    pub(super) fn run(&self) -> io::Result<ExitCode> {
        let DevCa {
            out,
            days,
            key,
            names,
        } = self;
        let folder = State::open(out)?;
        let _lock = folder.lock()?;
        let now = UnixTime::of_system();
        let kept = authority(&folder, *days, now)?;
        let again = kept.is_some();
        let authority = match kept {
            Some(authority) => authority,
            None => {
                let made = Authority::new("Durward development CA", CA_DAYS, now)?;
                folder.write("ca.key", &made.key.private_key_to_pem_pkcs8()?, Readers::Owner)?;
                folder.write("ca.crt", &made.certificate.to_pem()?, Readers::Everybody)?;
                made
            }
        };
        let key = key.key().generate()?;
        let common = names.first().map_or("", String::as_str);
        let leaf = authority.server(&key, common, names, *days, now)?;
        let mut chain = leaf.to_pem()?;
        chain.extend(authority.certificate.to_pem()?);
        folder.write("tls.key", &key.private_key_to_pem_pkcs8()?, Readers::Owner)?;
        folder.write("tls.crt", &chain, Readers::Everybody)?;
        let path = folder.path().display();
        let mut out = io::stdout();
        writeln!(
            out,
            "{path}: tls.crt and tls.key for {}, for {days} days, from {} CA",
            names.join(", "),
            if again { "the same" } else { "a new" }
        )?;
        writeln!(
            out,
            "  listener:  tls: {{ certificates: [{{ dir: \"{path}\" }}] }}\n  \
             client:    curl --cacert {path}/ca.crt https://{common}:PORT/\n\
             Not for production: whoever reads ca.key can be any server to whoever trusts ca.crt."
        )?;
        Ok(ExitCode::SUCCESS)
    }
}

/// The CA of an earlier run, if it outlives what it is to issue.
fn authority(folder: &State, days: u32, now: UnixTime) -> io::Result<Option<Authority>> {
    let (Some(certificate), Some(key)) = (
        folder.read("ca.crt", Readers::Everybody)?,
        folder.read("ca.key", Readers::Owner)?,
    ) else {
        return Ok(None);
    };
    let (Ok(certificate), Ok(key)) = (X509::from_pem(&certificate), PKey::private_key_from_pem(&key)) else {
        return Ok(None);
    };
    let end = i64::try_from(now.seconds()).unwrap_or(i64::MAX) + i64::from(days) * 86_400;
    let lasts = facts::seconds(certificate.not_after()).is_some_and(|ends| ends > end);
    if !facts::is_for_development(&certificate) {
        let why = format!(
            "{} has a CA that is not for development: it is left alone",
            folder.path().display()
        );
        return Err(io::Error::other(why));
    }
    let fits = certificate
        .public_key()
        .is_ok_and(|public| public.public_eq(&key));
    Ok((lasts && fits).then_some(Authority { certificate, key }))
}
