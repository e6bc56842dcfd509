//! Clients' certificates in the handshake: asked for, judged, and refused before there is a request.
//!
//! OpenSSL builds and validates the path; its word and ours ([`Truststore::examine`]) have to agree. Why a certificate was
//! refused is kept with the connection, where the record of a failed handshake finds it.

use std::sync::{Arc, OnceLock};

use openssl::error::ErrorStack;
use openssl::ssl::SslVerifyMode;
use openssl::x509::{X509StoreContextRef, X509VerifyResult};
use pingora_core::protocols::tls::TlsRef;
use pingora_core::tls::ext;

use crate::clock::UnixTime;
use crate::gates::authn::AuthnError;
use crate::gates::authn::certificate::truststore::{self, Truststore, Verified};
use crate::gates::authn::certificate::{Presented, Says};
use crate::pki::handshake::Alert;

/// One handshake that asks for a certificate.
#[derive(Debug)]
pub(super) struct Asked {
    pub(super) truststore: Arc<Truststore>,
    is_required: bool,
    verified: OnceLock<Verified>,
    refused: OnceLock<Refused>,
}

/// A certificate that was refused, and why.
#[derive(Debug)]
struct Refused {
    why: AuthnError,
    /// By the number that the TLS library has for it.
    fault: i32,
    /// What it says, where it could be read.
    says: Option<Says>,
}

impl Asked {
    /// Has the handshake ask for a certificate. Without one it fails where `is_required`.
    ///
    /// # Errors
    /// OpenSSL's.
    pub(super) fn of(
        truststore: &Arc<Truststore>,
        is_required: bool,
        ssl: &mut TlsRef,
    ) -> Result<Arc<Asked>, ErrorStack> {
        let asked = Arc::new(Asked {
            truststore: truststore.clone(),
            is_required,
            verified: OnceLock::new(),
            refused: OnceLock::new(),
        });
        ext::ssl_set_verify_cert_store(ssl, truststore.store())?;
        truststore::demand(ssl.param_mut())?;
        ssl.set_client_ca_list(truststore.names()?);
        let mut mode = SslVerifyMode::PEER;
        if is_required {
            mode |= SslVerifyMode::FAIL_IF_NO_PEER_CERT;
        }
        let judge = asked.clone();
        ssl.set_verify_callback(mode, move |is_good, context| judge.judge(is_good, context));
        Ok(asked)
    }

    /// Called for each certificate of a path, from the CA's down to the client's, and for each fault.
    fn judge(&self, is_good: bool, context: &mut X509StoreContextRef) -> bool {
        let verdict = match (is_good, context.error_depth(), context.chain()) {
            (false, ..) => Err(truststore::fault(context.error().as_raw())),
            (true, 0, Some(path)) => self.truststore.examine(path, UnixTime::of_system()),
            (true, 0, None) => Err(AuthnError::CertificateInvalid),
            (true, ..) => return true,
        };
        match verdict {
            Ok(verified) => {
                let _ = self.verified.set(verified);
                true
            }
            Err(why) => {
                let leaf = context.chain().and_then(|path| path.get(0));
                let says = leaf.and_then(Says::read);
                if is_good {
                    // of the numbers that stand for an alert, this is the one that can be named
                    context.set_error(X509VerifyResult::APPLICATION_VERIFICATION);
                }
                let fault = context.error().as_raw();
                let _ = self.refused.set(Refused { why, fault, says });
                false
            }
        }
    }

    /// Why the handshake failed, so far as it did because of a certificate.
    pub(super) fn why(&self) -> Option<AuthnError> {
        match (self.refused.get(), self.verified.get()) {
            (Some(refused), _) => Some(refused.why),
            // or the client left when it was asked for one: from here, the two look the same
            (None, None) if self.is_required => Some(AuthnError::CertificateMissing),
            (None, _) => None,
        }
    }

    /// The alert that a client is sent whose certificate was refused.
    pub(super) fn alert(&self) -> Option<Alert> {
        Some(Alert::of_certificate(self.refused.get()?.fault))
    }

    /// What a certificate says that was refused.
    pub(super) fn says(&self) -> Option<&Says> {
        self.refused.get()?.says.as_ref()
    }

    /// The certificate, once the handshake is over.
    pub(super) fn presented(&self, ssl: &TlsRef) -> Option<Presented> {
        let leaf = ssl.peer_certificate()?;
        let verified = self.verified.get().filter(|_| self.refused.get().is_none())?;
        Presented::new(leaf, ssl.peer_cert_chain(), &self.truststore, verified.clone()).unwrap_or_default()
    }
}
