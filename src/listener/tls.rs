//! TLS of a listener: versions, suites, the certificate by name, and the facts that requests are judged by.

use std::any::Any;
use std::sync::{Arc, OnceLock};

use async_trait::async_trait;
use http::HeaderValue;
use openssl::error::ErrorStack;
use openssl::pkey::Id;
use openssl::ssl::{NameType, SslOptions, SslSessionCacheMode, SslVerifyMode, SslVersion};
use pingora_core::listeners::TlsAccept;
use pingora_core::listeners::tls::TlsSettings;
use pingora_core::protocols::tls::TlsRef;
use pingora_core::tls::ext;

use super::Connection;
use super::client_certificate::Asked;
use super::registry::Registry;
use crate::gates::authn::certificate::Presented;
use crate::gateway::{Purpose, TlsPolicy};
use crate::request::TlsFacts;
use crate::telemetry::record::tls_fields;

/// What is kept with a TLS connection, for the requests on it.
#[derive(Debug)]
pub struct Secured {
    /// What was negotiated.
    pub facts: Arc<TlsFacts>,
    /// The same as fields of a record.
    pub fields: Arc<str>,
    /// Strict-Transport-Security of this listener.
    pub hsts: HeaderValue,
    /// The connection, where requests on it are told apart by the application alone: of HTTP/2.
    pub(crate) connection: OnceLock<Arc<Connection>>,
}

/// Looks everything up in the snapshot of the moment: a new certificate serves the next handshake.
struct Handshakes {
    registry: Arc<Registry>,
    /// Index of the listener in the snapshot; a reload cannot change their order.
    listener: usize,
}

impl Handshakes {
    fn with_policy<T>(&self, then: impl FnOnce(&TlsPolicy) -> T) -> Option<T> {
        match &self
            .registry
            .live
            .current()
            .gateway
            .listeners
            .get(self.listener)?
            .purpose
        {
            Purpose::Tls(policy) => Some(then(policy)),
            Purpose::Plaintext(_) | Purpose::Redirect(_) => None,
        }
    }
}

impl Handshakes {
    /// Asks for a certificate, by the truststore of the moment.
    fn ask(&self, ssl: &mut TlsRef) -> Result<(), ErrorStack> {
        let running = self.registry.live.current();
        // both of one snapshot: an index means nothing in another
        let gateway = &running.gateway;
        let asked = match gateway
            .listeners
            .get(self.listener)
            .map(|listener| &listener.purpose)
        {
            Some(Purpose::Tls(policy)) => policy.client_certificates,
            _ => None,
        };
        let Some(asked) = asked else { return Ok(()) };
        let Some(truststore) = gateway.truststores.get(asked.trust) else {
            return Err(ErrorStack::get());
        };
        let asked = Asked::of(truststore, asked.is_required, ssl)?;
        self.registry.asked(&asked);
        Ok(())
    }

    /// S19: which of the CAs are still in use.
    fn count(&self, asked: &Asked, presented: &Presented) {
        let truststore = &asked.truststore;
        let used = presented.authorities();
        for authority in truststore.authorities.iter().filter(|ca| used.contains(ca)) {
            let metrics = &self.registry.telemetry.metrics;
            metrics.certificates_of(&truststore.name, authority).inc();
        }
    }
}

#[async_trait]
impl TlsAccept for Handshakes {
    async fn certificate_callback(&self, ssl: &mut TlsRef) {
        let name = asked_name(ssl);
        let shown = self.with_policy(|policy| match policy.certificates.choose(name.as_deref()) {
            Some(chosen) => show(ssl, chosen),
            None => Ok(()),
        });
        if let Some(Err(why)) = shown {
            // no certificate is shown, so the handshake fails
            log::error!(target: "durward::tls", "certificate for {name:?} cannot be used: {why}");
        }
        if let Err(why) = self.ask(ssl) {
            // nobody can be judged, so nobody gets in
            log::error!(target: "durward::tls", "client certificates cannot be asked for: {why}");
            ssl.set_verify_callback(
                SslVerifyMode::PEER | SslVerifyMode::FAIL_IF_NO_PEER_CERT,
                |_, _| false,
            );
        }
    }

    async fn handshake_complete_callback(&self, ssl: &TlsRef) -> Option<Arc<dyn Any + Send + Sync>> {
        let sni = asked_name(ssl);
        let (hsts, names) = self.with_policy(|policy| {
            let shown = policy.certificates.choose(sni.as_deref());
            (policy.hsts.clone(), shown.map(|shown| shown.names.clone()))
        })?;
        let certificate = self.registry.was_asked().and_then(|asked| {
            let presented = asked.presented(ssl)?;
            self.count(&asked, &presented);
            Some(Arc::new(presented))
        });
        let facts = TlsFacts {
            version: ssl.version_str().to_owned(),
            cipher: ssl
                .current_cipher()
                .map(|cipher| cipher.name().to_owned())
                .unwrap_or_default(),
            sni,
            names: names.unwrap_or_default(),
            group: group(ssl),
            certificate,
            listener: Some(self.listener),
        };
        Some(Arc::new(Secured {
            fields: tls_fields(&facts).into(),
            facts: Arc::new(facts),
            hsts,
            connection: OnceLock::new(),
        }))
    }
}

fn asked_name(ssl: &TlsRef) -> Option<String> {
    ssl.servername(NameType::HOST_NAME).map(str::to_ascii_lowercase)
}

fn show(ssl: &mut TlsRef, chosen: &crate::gateway::CertifiedKey) -> Result<(), ErrorStack> {
    let mut chain = chosen.chain.iter();
    if let Some(leaf) = chain.next() {
        ext::ssl_use_certificate(ssl, leaf)?;
    }
    ext::ssl_use_private_key(ssl, &chosen.key)?;
    chain.try_for_each(|issuer| ext::ssl_add_chain_cert(ssl, issuer))
}

/// Settings for Pingora's listener, by index in the snapshot.
///
/// # Errors
/// The TLS library does not take the suites or versions.
pub fn settings(
    registry: &Arc<Registry>,
    listener: usize,
    policy: &TlsPolicy,
) -> pingora_core::Result<TlsSettings> {
    let handshakes = Handshakes {
        registry: registry.clone(),
        listener,
    };
    let mut settings = TlsSettings::with_callbacks(Box::new(handshakes))?;
    if policy.http2 {
        settings.enable_h2();
    } else {
        settings.set_alpn(pingora_core::protocols::ALPN::H1);
    }
    harden(&mut settings, policy).map_err(|why| {
        pingora_core::Error::because(pingora_core::ErrorType::InternalError, "TLS settings", why)
    })?;
    Ok(settings)
}

fn harden(settings: &mut TlsSettings, policy: &TlsPolicy) -> Result<(), ErrorStack> {
    let least = if policy.tls12 {
        SslVersion::TLS1_2
    } else {
        SslVersion::TLS1_3
    };
    settings.set_min_proto_version(Some(least))?;
    settings.set_cipher_list(&policy.ciphers)?;
    settings.set_ciphersuites(&policy.ciphersuites)?;
    settings.set_options(SslOptions::CIPHER_SERVER_PREFERENCE | SslOptions::NO_RENEGOTIATION);
    // keeps the server name on resumed TLS 1.2 sessions, where OpenSSL otherwise forgets it
    settings.set_servername_callback(|_, _| Ok(()));
    // the hybrid group first, where the library has it (OpenSSL 3.5); where not, its own list stays
    let _ = settings.set_groups_list(GROUPS);
    if policy.client_certificates.is_some() {
        // A resumed session skips every callback above: it would carry a client's certificate, or its absence, past the
        // name that was asked for and past a truststore that has changed. docs/client-certificates.md
        settings.set_options(SslOptions::NO_TICKET);
        settings.set_session_cache_mode(SslSessionCacheMode::OFF);
        settings.set_num_tickets(0)?;
    }
    settings.set_session_id_context(b"durward")
}

/// The post-quantum hybrid of X25519 and ML-KEM (S24).
const HYBRID: &str = "X25519MLKEM768";
/// Groups of the key exchange, the preferred first: who knows the hybrid is asked to use it, at the price of a round trip.
const GROUPS: &str = "X25519MLKEM768/X25519:P-256:P-384";

/// The group of the key exchange. OpenSSL keeps the client's share with TLS 1.3 only.
fn group(ssl: &TlsRef) -> Option<&'static str> {
    use openssl::nid::Nid;
    let share = ssl.peer_tmp_key().ok()?;
    match share.id() {
        Id::X25519 => Some("X25519"),
        Id::EC => match share.ec_key().ok()?.group().curve_name()? {
            Nid::X9_62_PRIME256V1 => Some("secp256r1"),
            Nid::SECP384R1 => Some("secp384r1"),
            _ => None,
        },
        // keys of a kind that has no number of its own: of the groups above, that is one
        other if other.as_raw() == -1 => Some(HYBRID),
        _ => None,
    }
}
