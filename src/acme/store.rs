//! The files of an account: its key, and a file for each certificate with the key behind it. Mode 0600, in a folder with
//! mode 0700. Every byte goes through [`read`] and [`write`].

use std::fs;
use std::io::{self, ErrorKind};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use openssl::pkey::{PKey, Private};
use openssl::x509::X509;

use crate::gateway::CertifiedKey;
use crate::pki::store::{Readers, State};

/// What a file holds; `None` if there is none.
fn read(folder: &Path, name: &str) -> io::Result<Option<Vec<u8>>> {
    let path = folder.join(name);
    let meta = match fs::metadata(&path) {
        Ok(meta) => meta,
        Err(why) if why.kind() == ErrorKind::NotFound => return Ok(None),
        Err(why) => return Err(why),
    };
    if meta.permissions().mode() & 0o077 != 0 {
        let why = format!("{} is open to other users: chmod 600", path.display());
        return Err(io::Error::new(ErrorKind::PermissionDenied, why));
    }
    fs::read(path).map(Some)
}

/// Whole or not at all.
fn write(folder: &Path, name: &str, bytes: &[u8]) -> io::Result<()> {
    State::open(folder)?.write(name, bytes, Readers::Owner)
}

/// The name of a certificate's file: its first name, and what tells it from others with the same one.
#[must_use]
pub fn certificate_file(names: &[String]) -> String {
    let digest = openssl::sha::sha256(names.join(",").as_bytes());
    let short: String = digest.iter().take(4).map(|byte| format!("{byte:02x}")).collect();
    let first = names.first().map_or("", String::as_str);
    format!("{first}-{short}.pem")
}

/// The certificate for these names that was issued last.
///
/// # Errors
/// The file cannot be read, or others can read it, too.
pub fn load(folder: &Path, names: &[String]) -> io::Result<Option<CertifiedKey>> {
    let Some(pem) = read(folder, &certificate_file(names))? else {
        return Ok(None);
    };
    // what cannot be read is as good as none: it is ordered again
    let (Ok(key), Ok(chain)) = (PKey::private_key_from_pem(&pem), X509::stack_from_pem(&pem)) else {
        return Ok(None);
    };
    Ok(CertifiedKey::new(chain, key).filter(|found| names.iter().all(|name| found.names.contains(name))))
}

/// Keeps a certificate. It serves from the next start on, whatever happens to this process.
///
/// # Errors
/// Those of the file system.
pub fn keep(folder: &Path, names: &[String], chain: &[u8], key: &PKey<Private>) -> io::Result<()> {
    let pem = [&key.private_key_to_pem_pkcs8()?, chain].concat();
    write(folder, &certificate_file(names), &pem)
}

/// The key of an account; made on first use.
///
/// # Errors
/// Those of the file system; or the file holds no key.
pub fn account_key(folder: &Path, account: &str) -> io::Result<PKey<Private>> {
    let name = format!("account-{account}.key");
    if let Some(pem) = read(folder, &name)? {
        return Ok(PKey::private_key_from_pem(&pem)?);
    }
    let key = crate::pki::issue::Key::P256.generate()?;
    write(folder, &name, &key.private_key_to_pem_pkcs8()?)?;
    Ok(key)
}
