//! Private keys that stay in their token, as OpenSSL's: through its provider `pkcs11`.
//!
//! The provider reads a key from PEM blocks `PKCS#11 PROVIDER URI`, which say where the key is, as other providers read one
//! from PEM blocks that are the key. So what decodes, signs and compares keys elsewhere need not know the difference.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use openssl::pkey::{PKey, Private};
use openssl::provider::Provider;
use parking_lot::Mutex;

use super::Settings;
use crate::config::scalar::{TokenObject, encoded};

/// Where the provider is told its module, by itself.
const MODULE: &str = "PKCS11_PROVIDER_MODULE";
const LABEL: &str = "PKCS#11 PROVIDER URI";
const DESCRIPTION: &[u8] = b"PKCS#11 Provider URI v1.0";
/// Of ASN.1 (X.680), as the provider has them.
const SEQUENCE: u8 = 0x30;
const VISIBLE_STRING: u8 = 0x1a;
const UTF8_STRING: u8 = 0x0c;

/// Those that are loaded. Never unloaded: keys of theirs may be in use anywhere.
static LOADED: Mutex<BTreeMap<PathBuf, Provider>> = Mutex::new(BTreeMap::new());

/// The key that this object is.
pub(super) fn key(settings: &Settings, object: &TokenObject) -> Result<PKey<Private>, String> {
    let provider = settings
        .provider
        .as_deref()
        .ok_or("a private key stays in its token: `secrets.pkcs11.provider` is needed to use it")?;
    let module = &settings.module;
    if std::env::var_os(MODULE).as_deref() != Some(module.as_os_str()) {
        return Err(format!(
            "the provider takes its module from the environment: start with {MODULE}={}",
            module.display()
        ));
    }
    load(provider)?;
    let uri = format!(
        "pkcs11:token={};{object}?pin-value={}",
        encoded(settings.token.as_bytes()),
        encoded(settings.pin.as_bytes())
    );
    // OpenSSL's own words could quote the URI, and with it the PIN
    PKey::private_key_from_pem(pem(&uri).as_bytes())
        .map_err(|_| "the provider does not give this key".to_owned())
}

/// The providers of OpenSSL itself stay the first to be asked.
fn load(path: &Path) -> Result<(), String> {
    let mut loaded = LOADED.lock();
    if loaded.contains_key(path) {
        return Ok(());
    }
    let name = path.to_str().ok_or("the provider's path is no text")?;
    let provider = Provider::try_load(None, name, true)
        .map_err(|why| format!("the provider {} cannot be loaded: {why}", path.display()))?;
    loaded.insert(path.to_owned(), provider);
    Ok(())
}

/// The block that the provider reads.
fn pem(uri: &str) -> String {
    let contents = [
        element(VISIBLE_STRING, DESCRIPTION),
        element(UTF8_STRING, uri.as_bytes()),
    ];
    let text = STANDARD.encode(element(SEQUENCE, &contents.concat()));
    let mut lines = String::new();
    for (index, character) in text.chars().enumerate() {
        if index > 0 && index % 64 == 0 {
            lines.push('\n');
        }
        lines.push(character);
    }
    format!("-----BEGIN {LABEL}-----\n{lines}\n-----END {LABEL}-----\n")
}

/// DER (X.690 section 8.1).
fn element(tag: u8, contents: &[u8]) -> Vec<u8> {
    let length = contents.len().to_be_bytes();
    let significant: Vec<u8> = length.into_iter().skip_while(|byte| *byte == 0).collect();
    let mut der = vec![tag];
    match (significant.as_slice(), u8::try_from(significant.len())) {
        ([], _) => der.push(0),
        ([short], _) if *short < 0x80 => der.push(*short),
        (long, count) => {
            der.push(0x80 | count.unwrap_or_default());
            der.extend_from_slice(long);
        }
    }
    der.extend_from_slice(contents);
    der
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn elements_have_lengths_of_any_size() {
        assert_eq!(element(UTF8_STRING, b""), [0x0c, 0]);
        assert_eq!(element(UTF8_STRING, b"ab"), [0x0c, 2, b'a', b'b']);
        assert_eq!(element(UTF8_STRING, &[0; 127])[..2], [0x0c, 127]);
        assert_eq!(element(UTF8_STRING, &[0; 128])[..3], [0x0c, 0x81, 128]);
        assert_eq!(element(UTF8_STRING, &[0; 300])[..4], [0x0c, 0x82, 1, 44]);
        assert!(pem(&"x".repeat(200)).lines().all(|line| line.len() <= 64));
    }
}
