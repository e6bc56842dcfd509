//! Sealed text: what is secret, at rest, for whoever has the key. AES-256-GCM (NIST SP 800-38D).
//!
//! One line: `durward-sealed:v1:KEYID:DATA`. KEYID is the first 8 hexadecimal digits of the key's SHA-256, so that keys can
//! overlap; DATA is base64 of a random nonce (12 bytes), the ciphertext and the tag (16 bytes). Version, key and *purpose* are
//! authenticated with it: what was sealed as one thing cannot be put in the place of another.

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use openssl::rand::rand_bytes;
use openssl::symm::{Cipher, decrypt_aead, encrypt_aead};

const HEAD: &str = "durward-sealed:v1:";
const NONCE: usize = 12;
const TAG: usize = 16;

/// A key that seals: 256 bits. Does not print.
#[derive(Clone, PartialEq, Eq)]
pub struct SealingKey([u8; 32]);

/// Why something sealed cannot be opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SealError {
    /// Not in this format, or of a version that is not known.
    Format,
    /// Sealed with a key that is not there.
    UnknownKey,
    /// Altered, or sealed for another purpose.
    Forged,
    /// OpenSSL failed.
    Library,
}

impl fmt::Display for SealError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            SealError::Format => "not sealed by `durward seal`, or by a newer one",
            SealError::UnknownKey => "sealed with another key",
            SealError::Forged => "altered, or sealed for another purpose (a sealed file cannot be renamed)",
            SealError::Library => "the cipher failed",
        })
    }
}

impl std::error::Error for SealError {}

impl fmt::Debug for SealingKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SealingKey({})", self.id())
    }
}

impl SealingKey {
    /// A new one.
    ///
    /// # Errors
    /// The system has no randomness to give.
    pub fn generate() -> Result<SealingKey, SealError> {
        let mut key = [0; 32];
        rand_bytes(&mut key).map_err(|_| SealError::Library)?;
        Ok(SealingKey(key))
    }

    /// Reads 32 bytes in base64, as [`SealingKey::text`] writes them. Nothing shorter is taken: a passphrase is no key.
    #[must_use]
    pub fn parse(text: &str) -> Option<SealingKey> {
        Some(SealingKey(STANDARD.decode(text.trim()).ok()?.try_into().ok()?))
    }

    /// The key itself. Whoever takes it sees to it that it is kept.
    #[must_use]
    pub fn text(&self) -> String {
        STANDARD.encode(self.0)
    }

    fn id(&self) -> String {
        let digest = openssl::sha::sha256(&self.0);
        digest.iter().take(4).map(|byte| format!("{byte:02x}")).collect()
    }

    /// Seals for this purpose.
    ///
    /// # Errors
    /// [`SealError::Library`].
    pub fn seal(&self, secret: &[u8], purpose: &str) -> Result<String, SealError> {
        let mut nonce = [0; NONCE];
        rand_bytes(&mut nonce).map_err(|_| SealError::Library)?;
        let mut tag = [0; TAG];
        let id = self.id();
        let sealed = encrypt_aead(
            Cipher::aes_256_gcm(),
            &self.0,
            Some(&nonce),
            authenticated(&id, purpose).as_bytes(),
            secret,
            &mut tag,
        )
        .map_err(|_| SealError::Library)?;
        let data = [nonce.as_slice(), &sealed, &tag].concat();
        Ok(format!("{HEAD}{id}:{}", STANDARD.encode(data)))
    }
}

/// Whether this claims to be sealed.
#[must_use]
pub fn is_sealed(text: &str) -> bool {
    text.starts_with(HEAD)
}

/// Opens what one of these keys has sealed for this purpose.
///
/// # Errors
/// See [`SealError`].
pub fn open(keys: &[SealingKey], sealed: &str, purpose: &str) -> Result<Vec<u8>, SealError> {
    let (id, data) = sealed
        .trim()
        .strip_prefix(HEAD)
        .and_then(|rest| rest.split_once(':'))
        .ok_or(SealError::Format)?;
    let key = keys
        .iter()
        .find(|key| key.id() == id)
        .ok_or(SealError::UnknownKey)?;
    let data = STANDARD.decode(data).map_err(|_| SealError::Format)?;
    let (nonce, rest) = data.split_at_checked(NONCE).ok_or(SealError::Format)?;
    let at = rest.len().checked_sub(TAG).ok_or(SealError::Format)?;
    let (ciphertext, tag) = rest.split_at_checked(at).ok_or(SealError::Format)?;
    decrypt_aead(
        Cipher::aes_256_gcm(),
        &key.0,
        Some(nonce),
        authenticated(id, purpose).as_bytes(),
        ciphertext,
        tag,
    )
    .map_err(|_| SealError::Forged)
}

/// What goes with the ciphertext unencrypted and cannot be changed.
fn authenticated(id: &str, purpose: &str) -> String {
    format!("{HEAD}{id}:{purpose}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_sealed_opens_with_its_key_for_its_purpose_alone() {
        let (key, other) = (SealingKey::generate().unwrap(), SealingKey::generate().unwrap());
        for secret in [&b""[..], b"hunter2", &[0xff; 5000]] {
            let sealed = key.seal(secret, "acme/account").unwrap();
            let keys = [other.clone(), key.clone()];
            assert_eq!(
                open(&keys, &format!("{sealed}\n"), "acme/account").unwrap(),
                secret
            );
            assert_eq!(open(&keys, &sealed, "acme/key"), Err(SealError::Forged));
            assert_eq!(
                open(&keys[..1], &sealed, "acme/account"),
                Err(SealError::UnknownKey)
            );
            assert_ne!(
                sealed,
                key.seal(secret, "acme/account").unwrap(),
                "each nonce is new"
            );
        }
        assert_eq!(SealingKey::parse(&key.text()), Some(key.clone()));
        assert!(!format!("{key:?}").contains(&key.text()));
    }

    #[test]
    fn a_change_of_any_byte_is_noticed() {
        let key = SealingKey::generate().unwrap();
        let keys = [key.clone()];
        let sealed = key.seal(b"hunter2", "x").unwrap();
        let at = sealed.rfind(':').unwrap() + 1;
        let mut data = STANDARD.decode(&sealed[at..]).unwrap();
        for index in 0..data.len() {
            data[index] ^= 1;
            let forged = format!("{}{}", &sealed[..at], STANDARD.encode(&data));
            assert_eq!(open(&keys, &forged, "x"), Err(SealError::Forged), "{index}");
            data[index] ^= 1;
        }
        for bad in ["", "hunter2", &sealed.replace(":v1:", ":v2:"), &sealed[..at + 20]] {
            assert_eq!(open(&keys, bad, "x"), Err(SealError::Format), "{bad}");
        }
        for bad in ["", "hunter2", "aHVudGVyMg=="] {
            assert_eq!(SealingKey::parse(bad), None);
        }
    }
}
