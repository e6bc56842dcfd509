//! The files of an account: its key, and a file for each certificate with the key behind it. Sealed (S33) but where the
//! configuration says that they need not be; mode 0600, in a folder with mode 0700. Every byte goes through
//! [`Store::read`] and [`Store::write`].

use std::fs;
use std::io::{self, ErrorKind};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use openssl::pkey::{PKey, Private};
use openssl::x509::X509;

use crate::gateway::CertifiedKey;
use crate::pki::store::{Readers, State};
use crate::secrets::seal::{self, SealingKey};

/// Where an account's files are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Store {
    /// The folder. Made on first use.
    pub folder: PathBuf,
    /// What seals, first, and what has sealed; none: files are plain.
    pub keys: Vec<SealingKey>,
}

impl Store {
    /// What a file holds; `None` if there is none. One that is plain is taken as it is, even where files are sealed: it is from
    /// before that, and sealed when it is written next.
    fn read(&self, name: &str) -> io::Result<Option<Vec<u8>>> {
        let path = self.folder.join(name);
        let meta = match fs::metadata(&path) {
            Ok(meta) => meta,
            Err(why) if why.kind() == ErrorKind::NotFound => return Ok(None),
            Err(why) => return Err(why),
        };
        if meta.permissions().mode() & 0o077 != 0 {
            let why = format!("{} is open to other users: chmod 600", path.display());
            return Err(io::Error::new(ErrorKind::PermissionDenied, why));
        }
        let bytes = fs::read(&path)?;
        let Some(sealed) = std::str::from_utf8(&bytes)
            .ok()
            .filter(|text| seal::is_sealed(text))
        else {
            return Ok(Some(bytes));
        };
        let opened = seal::open(&self.keys, sealed, &purpose(name));
        opened.map(Some).map_err(|why| {
            let why = format!("{}: {why}", path.display());
            io::Error::new(ErrorKind::InvalidData, why)
        })
    }

    /// Whole or not at all.
    fn write(&self, name: &str, bytes: &[u8]) -> io::Result<()> {
        let state = State::open(&self.folder)?;
        match self.keys.first() {
            Some(key) => {
                let sealed = key.seal(bytes, &purpose(name)).map_err(io::Error::other)?;
                state.write(name, sealed.as_bytes(), Readers::Owner)
            }
            None => state.write(name, bytes, Readers::Owner),
        }
    }

    /// The certificate for these names that was issued last.
    ///
    /// # Errors
    /// The file cannot be read or opened, or others can read it, too.
    pub fn load(&self, names: &[String]) -> io::Result<Option<CertifiedKey>> {
        let Some(pem) = self.read(&certificate_file(names))? else {
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
    pub fn keep(&self, names: &[String], chain: &[u8], key: &PKey<Private>) -> io::Result<()> {
        let pem = [&key.private_key_to_pem_pkcs8()?, chain].concat();
        self.write(&certificate_file(names), &pem)
    }

    /// The key of an account; made on first use.
    ///
    /// # Errors
    /// Those of the file system; or the file holds no key.
    pub fn account_key(&self, account: &str) -> io::Result<PKey<Private>> {
        let name = format!("account-{account}.key");
        if let Some(pem) = self.read(&name)? {
            return Ok(PKey::private_key_from_pem(&pem)?);
        }
        let key = crate::pki::issue::Key::P256.generate()?;
        self.write(&name, &key.private_key_to_pem_pkcs8()?)?;
        Ok(key)
    }
}

/// What a file is sealed as: one cannot be put in the place of another.
fn purpose(name: &str) -> String {
    format!("acme/{name}")
}

/// The name of a certificate's file: its first name, and what tells it from others with the same one.
#[must_use]
pub fn certificate_file(names: &[String]) -> String {
    let digest = openssl::sha::sha256(names.join(",").as_bytes());
    let short: String = digest.iter().take(4).map(|byte| format!("{byte:02x}")).collect();
    let first = names.first().map_or("", String::as_str);
    format!("{first}-{short}.pem")
}

#[cfg(test)]
mod tests {
    use super::*;

    // S33
    #[test]
    fn keys_are_sealed_at_rest_and_plain_ones_of_before_are_still_read() {
        let folder = std::env::temp_dir().join(format!("durward-acme-store-{}", std::process::id()));
        let _ = fs::remove_dir_all(&folder);
        let plain = Store {
            folder: folder.clone(),
            keys: Vec::new(),
        };
        let (old, new) = (SealingKey::generate().unwrap(), SealingKey::generate().unwrap());
        let sealed = |keys: &[&SealingKey]| Store {
            folder: folder.clone(),
            keys: keys.iter().map(|key| (*key).clone()).collect(),
        };
        let file = |account: &str| fs::read_to_string(folder.join(format!("account-{account}.key"))).unwrap();

        let before = plain.account_key("a").unwrap();
        assert!(file("a").contains("PRIVATE KEY"));
        assert!(sealed(&[&old]).account_key("a").unwrap().public_eq(&before));

        let key = sealed(&[&old]).account_key("b").unwrap();
        assert!(!file("b").contains("PRIVATE KEY"), "{}", file("b"));
        // a newer key seals, and the older one still opens
        assert!(sealed(&[&new, &old]).account_key("b").unwrap().public_eq(&key));
        let why = |store: &Store| store.account_key("b").unwrap_err().to_string();
        for store in [plain, sealed(&[&new])] {
            assert!(why(&store).contains("sealed with another key"), "{}", why(&store));
        }
        // one cannot be put in the place of another
        fs::rename(folder.join("account-b.key"), folder.join("account-c.key")).unwrap();
        let why = sealed(&[&old]).account_key("c").unwrap_err().to_string();
        assert!(why.contains("another purpose"), "{why}");
        fs::remove_dir_all(&folder).unwrap();
    }
}
