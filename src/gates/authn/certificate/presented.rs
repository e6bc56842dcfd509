//! The certificate of a client's connection: what it says, and whether it is good at this moment.

use std::fmt;
use std::sync::Arc;

use arc_swap::ArcSwapOption;
use http::HeaderValue;
use openssl::error::ErrorStack;
use openssl::stack::{Stack, StackRef};
use openssl::x509::{X509, X509Ref};

use super::text::{self, hex};
use super::truststore::{Authority, Truststore, Verified};
use crate::clock::UnixTime;
use crate::gates::authn::AuthnError;
use crate::gates::authn::verdicts::Digest;
use crate::gateway::Gateway;
use crate::identity::Client;

/// A certificate that a client has proven to hold the key of.
pub struct Presented {
    /// Name of the truststore that it was verified with.
    pub trust: Arc<str>,
    /// What it says.
    pub says: Says,
    /// The value of `X-Forwarded-Client-Cert`.
    pub forwarded: Option<HeaderValue>,
    /// What was sent; `None` where it was only described.
    sent: Option<(X509, Stack<X509>)>,
    standing: ArcSwapOption<Standing>,
    /// Whose it is, with the settings that this was worked out by.
    pub(super) client: ArcSwapOption<(u64, Arc<Client>)>,
}

/// What a certificate says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Says {
    /// Its subject, as RFC 4514 writes it.
    pub subject: Box<str>,
    /// Its issuer.
    pub issuer: Box<str>,
    /// Its serial number, in hexadecimal.
    pub serial: Box<str>,
    /// URIs among its alternative names.
    pub uris: Box<[Box<str>]>,
    /// DNS names among them.
    pub dns_names: Box<[Box<str>]>,
    /// SHA-256 of it.
    pub sha256: Digest,
    /// SHA-256 of its public key.
    pub spki_sha256: Digest,
    /// When it ends.
    pub not_after: UnixTime,
}

/// A verdict, and what it rests on.
#[derive(Debug)]
struct Standing {
    /// Of the truststore.
    generation: u64,
    /// From then on it is judged anew.
    until: UnixTime,
    verdict: Result<Arc<Verified>, AuthnError>,
}

impl Says {
    /// Reads a certificate. `None`: something in it cannot be read.
    #[must_use]
    pub fn read(certificate: &X509Ref) -> Option<Says> {
        let (mut uris, mut dns_names) = (Vec::new(), Vec::new());
        for name in certificate.subject_alt_names().iter().flatten() {
            uris.extend(name.uri().filter(|uri| is_clean(uri)).map(Into::into));
            dns_names.extend(
                name.dnsname()
                    .filter(|name| is_clean(name))
                    .map(|name| name.to_ascii_lowercase().into()),
            );
        }
        let serial = certificate.serial_number().to_bn().ok()?.to_vec();
        Some(Says {
            subject: text::name(certificate.subject_name()).into(),
            issuer: text::name(certificate.issuer_name()).into(),
            serial: hex(&serial).into(),
            uris: uris.into(),
            dns_names: dns_names.into(),
            sha256: text::fingerprint(certificate)?,
            spki_sha256: text::key_fingerprint(certificate)?,
            not_after: text::time(certificate.not_after())?,
        })
    }

    /// The SPIFFE id: the only URI of the certificate, if it is one (X.509-SVID section 2).
    #[must_use]
    pub fn spiffe_id(&self) -> Option<&str> {
        match &*self.uris {
            [only] if only.starts_with("spiffe://") => Some(only),
            _ => None,
        }
    }

    /// Whom it is about: the SPIFFE id, else its first URI, else its first DNS name, else its subject.
    #[must_use]
    pub fn identity(&self) -> &str {
        let named = self.spiffe_id().or(self.uris.first().map(|uri| &**uri));
        named
            .or(self.dns_names.first().map(|name| &**name))
            .unwrap_or(&self.subject)
    }

    /// As Envoy writes it: <https://www.envoyproxy.io/docs/envoy/latest/configuration/http/http_conn_man/headers>
    fn forwarded(&self) -> Option<HeaderValue> {
        let quoted = |text: &str| format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""));
        let value = |text: &str| match text.contains([',', ';', '=', '"']) {
            true => quoted(text),
            false => text.to_owned(),
        };
        let mut parts = vec![
            format!("Hash={}", hex(&self.sha256)),
            format!("Subject={}", quoted(&self.subject)),
        ];
        parts.extend(self.uris.iter().map(|uri| format!("URI={}", value(uri))));
        parts.extend(self.dns_names.iter().map(|name| format!("DNS={}", value(name))));
        HeaderValue::from_str(&parts.join(";")).ok()
    }
}

/// Whether a name can be compared, recorded and sent as it is.
fn is_clean(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_graphic())
}

impl Presented {
    /// Of a connection. `verified`: what its handshake found by the truststore of this name and generation.
    ///
    /// # Errors
    /// OpenSSL's; `Ok(None)`: something in the certificate cannot be read.
    pub fn new(
        leaf: X509,
        sent: Option<&StackRef<X509>>,
        truststore: &Truststore,
        verified: Verified,
    ) -> Result<Option<Presented>, ErrorStack> {
        let mut beside = Stack::new()?;
        for certificate in sent.into_iter().flatten() {
            beside.push(certificate.to_owned())?;
        }
        let Some(says) = Says::read(&leaf) else {
            return Ok(None);
        };
        let mut presented = Presented::described(says, truststore, verified);
        presented.sent = Some((leaf, beside));
        Ok(Some(presented))
    }

    /// One that nobody has sent: for questions.
    #[must_use]
    pub fn described(says: Says, truststore: &Truststore, verified: Verified) -> Presented {
        let standing = Standing {
            generation: truststore.generation,
            until: verified.until,
            verdict: truststore
                .is_not_denied(&says.sha256)
                .map(|()| Arc::new(verified)),
        };
        Presented {
            trust: truststore.name.clone(),
            forwarded: says.forwarded(),
            says,
            sent: None,
            standing: ArcSwapOption::from_pointee(standing),
            client: ArcSwapOption::empty(),
        }
    }

    /// The CAs above it, as last verified.
    #[must_use]
    pub fn authorities(&self) -> Box<[Authority]> {
        match &*self.standing.load() {
            Some(standing) => match &standing.verdict {
                Ok(verified) => verified.authorities.clone(),
                Err(_) => Box::default(),
            },
            None => Box::default(),
        }
    }

    /// Whether it is good now, by the truststore as it is now: a CA may be gone since the handshake, or the certificate be
    /// revoked (U20).
    ///
    /// # Errors
    /// Why not.
    pub fn check(&self, gateway: &Gateway, now: UnixTime) -> Result<Arc<Verified>, AuthnError> {
        let truststore = gateway.truststores.iter().find(|store| store.name == self.trust);
        let truststore = truststore.ok_or(AuthnError::CertificateIssuerUnknown)?;
        if let Some(standing) = &*self.standing.load()
            && standing.generation == truststore.generation
            && now < standing.until
        {
            return standing.verdict.clone();
        }
        let verdict = match &self.sent {
            Some((leaf, sent)) => truststore.verify(leaf, sent, now).map(Arc::new),
            None => Err(AuthnError::CertificateExpired),
        };
        // what time can mend is looked at again before long
        let until = match &verdict {
            Ok(verified) => verified.until,
            Err(_) => now.saturating_add(std::time::Duration::from_secs(1)),
        };
        self.standing.store(Some(Arc::new(Standing {
            generation: truststore.generation,
            until,
            verdict: verdict.clone(),
        })));
        verdict
    }
}

impl PartialEq for Presented {
    fn eq(&self, other: &Presented) -> bool {
        self.trust == other.trust && self.says == other.says
    }
}

impl Eq for Presented {}

impl fmt::Debug for Presented {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Presented")
            .field("trust", &self.trust)
            .field("says", &self.says)
            .finish_non_exhaustive()
    }
}
