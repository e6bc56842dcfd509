//! TLS towards an upstream: who it has to be, who we are to it, and how well the connection has to be protected.
//!
//! The certificate and its name are verified in the handshake, always. What is decided here comes on top, before anything
//! of the request is sent: pins of public keys (RFC 7469 section 2.6 in spirit: one key of the verified chain has to be
//! pinned), the version and the suite.

use std::any::Any;
use std::fmt;
use std::net::SocketAddr;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use openssl::ssl::SslRef;
use openssl::x509::{X509, X509Ref};
use pingora_core::protocols::tls::{HandshakeCompleteHook, SslDigest};
use pingora_core::utils::tls::CertKey;
use smallvec::SmallVec;

use super::diagnosis::Diagnosis;
use crate::denial::UpstreamError;

/// The TLS 1.2 suites that are taken unless others are named: forward secrecy and authenticated encryption.
pub const USUAL_SUITES: [&str; 4] = [
    "ECDHE-ECDSA-AES128-GCM-SHA256",
    "ECDHE-ECDSA-AES256-GCM-SHA384",
    "ECDHE-RSA-AES128-GCM-SHA256",
    "ECDHE-RSA-AES256-GCM-SHA384",
];
/// Those of old services, which Pingora offers as well; taken only by name.
pub const OLD_SUITES: [&str; 6] = [
    "ECDHE-RSA-AES128-SHA",
    "ECDHE-RSA-AES256-SHA384",
    "AES128-GCM-SHA256",
    "AES256-GCM-SHA384",
    "AES128-SHA",
    "AES256-SHA",
];

/// TLS towards an upstream; the certificate and its name are always verified.
pub struct Tls {
    /// Name that the certificate must bear, sent as SNI. Never empty: without it Pingora verifies nothing.
    pub server_name: String,
    /// CAs that may have issued it; none: the system's.
    pub ca: Option<Arc<Box<[X509]>>>,
    /// What we show to a service that asks for a certificate.
    pub client: Option<Arc<CertKey>>,
    /// One of these has to be in the verified chain; empty: any chain will do.
    pub pins: Box<[Pin]>,
    /// Whether TLS 1.2 will do.
    pub tls12: bool,
    /// The TLS 1.2 suites that will do, by OpenSSL's names.
    pub suites: Box<[&'static str]>,
    /// Of everything above: keeps pooled connections of different trust apart. Pingora's own key ignores the CA.
    pub group_key: u64,
    /// What was last found wrong with a certificate.
    pub diagnosis: Diagnosis,
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tls")
            .field("server_name", &self.server_name)
            .field("pins", &self.pins)
            .field("group_key", &self.group_key)
            .finish_non_exhaustive()
    }
}

/// SHA-256 of a public key, as SubjectPublicKeyInfo in DER.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Pin(pub [u8; 32]);

impl Pin {
    /// Of a certificate's key; `None` where OpenSSL cannot read the key.
    #[must_use]
    pub fn of(certificate: &X509Ref) -> Option<Pin> {
        let key = certificate.public_key().ok()?.public_key_to_der().ok()?;
        Some(Pin(openssl::sha::sha256(&key)))
    }

    /// Reads `sha256/` and 44 characters of base64; curl's spelling with two slashes as well.
    #[must_use]
    pub fn parse(text: &str) -> Option<Pin> {
        let digest = text.strip_prefix("sha256/")?;
        // 43 characters and one `=`: a further slash is curl's
        let digest = match digest.len() {
            45 => digest.strip_prefix('/')?,
            _ => digest,
        };
        STANDARD.decode(digest).ok()?.try_into().ok().map(Pin)
    }
}

impl fmt::Display for Pin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "sha256/{}", STANDARD.encode(self.0))
    }
}

impl fmt::Debug for Pin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

/// The keys of the chain by which a connection was verified, the service's own first.
#[derive(Debug)]
pub struct Presented(SmallVec<[Pin; 4]>);

/// Takes them down when a handshake is complete; they stay with the connection.
pub static PRESENTED: LazyLock<HandshakeCompleteHook> = LazyLock::new(|| {
    Arc::new(|ssl: &SslRef| {
        let pins = ssl.verified_chain()?.iter().filter_map(Pin::of).collect();
        Some(Arc::new(Presented(pins)) as Arc<dyn Any + Send + Sync>)
    })
});

impl Tls {
    /// Whether a connection, new or kept, may be used. Nothing of the request was sent on it.
    ///
    /// # Errors
    /// No key of its chain is pinned, or its version or suite will not do.
    pub fn judge(&self, connection: Option<&SslDigest>) -> Result<(), UpstreamError> {
        let Some(connection) = connection else {
            return Err(UpstreamError::Tls);
        };
        let is_strong = match &*connection.version {
            "TLSv1.3" => true,
            "TLSv1.2" => self.tls12 && self.suites.contains(&&*connection.cipher),
            _ => false,
        };
        if !is_strong {
            let (version, suite) = (&connection.version, &connection.cipher);
            log::info!(target: "durward::upstream", "{}: {version} with {suite} will not do", self.server_name);
            return Err(UpstreamError::Weak);
        }
        if self.pins.is_empty() {
            return Ok(());
        }
        let presented = connection.extension.get::<Presented>();
        let keys: &[Pin] = presented.map_or(&[], |presented| &presented.0);
        if keys.iter().any(|key| self.pins.contains(key)) {
            return Ok(());
        }
        log::warn!(target: "durward::upstream", "{}: none of its keys is pinned: {keys:?}", self.server_name);
        Err(UpstreamError::Pin)
    }

    /// Why its certificate was refused.
    pub async fn diagnose(&self, address: SocketAddr, within: Duration) -> UpstreamError {
        self.diagnosis.find(self, address, within).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "sha256/47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=";

    #[test]
    fn pins_are_read_as_they_are_written_and_not_otherwise() {
        let pin = Pin::parse(TEXT).unwrap();
        assert_eq!(pin, Pin(openssl::sha::sha256(b"")));
        assert_eq!(pin.to_string(), TEXT);
        let curls = TEXT.replacen('/', "//", 1);
        assert_eq!(Pin::parse(&curls), Some(pin), "as curl writes it");
        for bad in [
            "",
            "sha256/",
            "sha1/47DEQpj8HBSa",
            &TEXT[7..],
            "sha256/47DEQpj8HBSa",
            &format!("{TEXT}="),
            &format!("{TEXT} "),
            // two bits too many
            &TEXT.replace("FU=", "FV="),
            &TEXT.to_uppercase(),
        ] {
            assert_eq!(Pin::parse(bad), None, "{bad}");
        }
    }
}
