//! What is answered to a CA that checks whether a name is ours. Empty but for the seconds that this takes.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::RwLock;

use super::Challenge;
use crate::gateway::CertifiedKey;
use crate::pki::issue;

/// The protocol by which a CA asks for a proof in TLS (RFC 8737 section 4).
pub const ALPN: &[u8] = b"acme-tls/1";

/// Where a CA looks for a proof on plain HTTP.
pub const PATH: &str = "/.well-known/acme-challenge/";

/// The proofs of the moment.
#[derive(Debug, Default)]
pub struct Challenges {
    http: RwLock<HashMap<String, Arc<str>>>,
    tls: RwLock<HashMap<String, Arc<CertifiedKey>>>,
}

/// A proof that is there while this is.
#[derive(Debug)]
pub struct Shown<'a> {
    challenges: &'a Challenges,
    challenge: Challenge,
    key: String,
}

impl Challenges {
    /// The proof on plain HTTP, by the path of the request.
    #[must_use]
    pub fn http(&self, path: &str) -> Option<Arc<str>> {
        let token = path.strip_prefix(PATH)?;
        self.http.read().get(token).cloned()
    }

    /// The proof in TLS for a name.
    #[must_use]
    pub fn tls(&self, name: &str) -> Option<Arc<CertifiedKey>> {
        self.tls.read().get(name).cloned()
    }

    /// Shows the proof for a name: `token` is the CA's, `thumbprint` the account key's (RFC 8555 section 8.1).
    ///
    /// # Errors
    /// The certificate cannot be made.
    pub fn show(
        &self,
        challenge: Challenge,
        name: &str,
        token: &str,
        thumbprint: &str,
    ) -> Result<Shown<'_>, openssl::error::ErrorStack> {
        let authorization = format!("{token}.{thumbprint}");
        let key = match challenge {
            Challenge::Http01 => {
                self.http.write().insert(token.to_owned(), authorization.into());
                token.to_owned()
            }
            Challenge::TlsAlpn01 => {
                let digest = openssl::sha::sha256(authorization.as_bytes());
                let key = issue::Key::P256.generate()?;
                let proof = issue::proof(&key, name, &digest)?;
                if let Some(proof) = CertifiedKey::new(vec![proof], key) {
                    self.tls.write().insert(name.to_owned(), Arc::new(proof));
                }
                name.to_owned()
            }
        };
        Ok(Shown {
            challenges: self,
            challenge,
            key,
        })
    }
}

impl Drop for Shown<'_> {
    fn drop(&mut self) {
        match self.challenge {
            Challenge::Http01 => drop(self.challenges.http.write().remove(&self.key)),
            Challenge::TlsAlpn01 => drop(self.challenges.tls.write().remove(&self.key)),
        }
    }
}
