//! TLS of a listener: versions, suites, the certificate by name, and the facts that requests are judged by.

use std::any::Any;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use async_trait::async_trait;
use http::HeaderValue;
use openssl::error::ErrorStack;
use openssl::pkey::Id;
use openssl::ssl::{
    AlpnError, NameType, SniError, SslAcceptor, SslAcceptorBuilder, SslAlert, SslMethod, SslOptions, SslRef,
    SslSessionCacheMode, SslVerifyMode, SslVersion, select_next_proto,
};
use pingora_core::listeners::TlsAccept;
use pingora_core::protocols::tls::TlsRef;
use pingora_core::tls::ext;

use super::Connection;
use super::client_certificate::Asked;
use super::registry::Registry;
use crate::acme::challenge;
use crate::clock::UnixTime;
use crate::gates::authn::certificate::Presented;
use crate::gateway::{Purpose, TlsPolicy};
use crate::pki::facts;
use crate::request::TlsFacts;
use crate::running::live::Live;
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

/// What the listener with this index serves by TLS. Looked up in the snapshot of the moment: a new certificate serves the
/// next handshake. A reload cannot change the order of listeners.
fn with_policy<T>(live: &Live, listener: usize, then: impl FnOnce(&TlsPolicy) -> T) -> Option<T> {
    match &live.current().gateway.listeners.get(listener)?.purpose {
        Purpose::Tls(policy) => Some(then(policy)),
        Purpose::Plaintext(_) | Purpose::Redirect(_) => None,
    }
}

/// The gateway's side of one handshake.
#[derive(Debug)]
pub(super) struct Handshake<'a> {
    registry: &'a Registry,
    connection: &'a Connection,
    /// It failed for a reason of ours.
    is_unfit: AtomicBool,
}

impl<'a> Handshake<'a> {
    pub(super) fn new(registry: &'a Registry, connection: &'a Connection) -> Handshake<'a> {
        Handshake {
            registry,
            connection,
            is_unfit: AtomicBool::new(false),
        }
    }

    /// Whether what went wrong is our fault.
    pub(super) fn is_unfit(&self) -> bool {
        self.is_unfit.load(Ordering::Relaxed)
    }

    fn with_policy<T>(&self, then: impl FnOnce(&TlsPolicy) -> T) -> Option<T> {
        with_policy(&self.registry.live, self.connection.listener, then)
    }

    /// Asks for a certificate, by the truststore of the moment.
    fn ask(&self, ssl: &mut TlsRef) -> Result<(), ErrorStack> {
        let running = self.registry.live.current();
        // both of one snapshot: an index means nothing in another
        let gateway = &running.gateway;
        let asked = match gateway
            .listeners
            .get(self.connection.listener)
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
        let _ = self.connection.asked.set(asked);
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
impl TlsAccept for Handshake<'_> {
    async fn certificate_callback(&self, ssl: &mut TlsRef) {
        let name = asked_name(ssl);
        if is_proof(ssl) {
            let proof = name
                .as_deref()
                .and_then(|name| self.registry.live.challenges().tls(name));
            if let Some(Err(why)) = proof.map(|proof| show(ssl, &proof)) {
                self.is_unfit.store(true, Ordering::Relaxed);
                log::error!(target: "durward::tls", "proof for {name:?} cannot be used: {why}");
            }
            // nor is it asked for a certificate of its own: nothing is served on this connection
            return;
        }
        let shown = self.with_policy(|policy| match policy.certificates.choose(name.as_deref()) {
            Some(group) => group.certificates().iter().try_for_each(|one| show(ssl, one)),
            None => Ok(()),
        });
        if let Some(Err(why)) = shown {
            // no certificate is shown, so the handshake fails
            self.is_unfit.store(true, Ordering::Relaxed);
            log::error!(target: "durward::tls", "certificate for {name:?} cannot be used: {why}");
        }
        if let Err(why) = self.ask(ssl) {
            // nobody can be judged, so nobody gets in
            self.is_unfit.store(true, Ordering::Relaxed);
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
            (policy.hsts.clone(), shown.map(|shown| shown.names().clone()))
        })?;
        let certificate = self.connection.asked.get().and_then(|asked| {
            let presented = asked.presented(ssl)?;
            self.count(asked, &presented);
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
            listener: Some(self.connection.listener),
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

/// Whether a CA asks for the proof that a name is ours (RFC 8737). In TLS 1.3 the protocol is chosen before the certificate.
pub(super) fn is_proof(ssl: &SslRef) -> bool {
    ssl.selected_alpn_protocol() == Some(challenge::ALPN)
}

/// The protocol of a connection, from what the client offers.
fn protocol<'a>(
    ssl: &SslRef,
    offered: &'a [u8],
    http2: bool,
    live: &Live,
) -> std::result::Result<&'a [u8], AlpnError> {
    const PROOF: &[u8] = b"\x0aacme-tls/1";
    if offered == PROOF && ssl.version2() == Some(SslVersion::TLS1_3) {
        let shown = asked_name(ssl).and_then(|name| live.challenges().tls(&name));
        return shown.map(|_| challenge::ALPN).ok_or(AlpnError::ALERT_FATAL);
    }
    let ours: &[u8] = if http2 {
        b"\x02h2\x08http/1.1"
    } else {
        b"\x08http/1.1"
    };
    // who offers protocols, and none of ours, is told so (RFC 7301 section 3.2): their answers would be read as HTTP by
    // something that speaks another protocol (ALPACA)
    select_next_proto(ours, offered).ok_or(AlpnError::ALERT_FATAL)
}

/// Shown twice, once for each kind of key, the library takes what the client's offer allows: EC before RSA.
fn show(ssl: &mut TlsRef, chosen: &crate::gateway::CertifiedKey) -> Result<(), ErrorStack> {
    let mut chain = chosen.chain.iter();
    if let Some(leaf) = chain.next() {
        ext::ssl_use_certificate(ssl, leaf)?;
    }
    ext::ssl_use_private_key(ssl, &chosen.key)?;
    chain.try_for_each(|issuer| ext::ssl_add_chain_cert(ssl, issuer))
}

/// Shows the proof that the certificate is not revoked, where there is one. By now the one that is shown has been chosen.
fn staple(ssl: &mut SslRef, live: &Live) -> Result<bool, ErrorStack> {
    let shown = ssl.certificate().map(facts::fingerprint);
    let Some(staple) = shown.and_then(|shown| live.staples().of(&shown, UnixTime::of_system())) else {
        return Ok(false);
    };
    ssl.set_ocsp_status(&staple.der)?;
    Ok(true)
}

/// What makes the gateway's end of each handshake of a listener, by its index in the snapshot.
///
/// # Errors
/// The TLS library does not take the suites or versions.
pub fn acceptor(live: &Arc<Live>, listener: usize, policy: &TlsPolicy) -> Result<SslAcceptor, ErrorStack> {
    let mut settings = SslAcceptor::mozilla_intermediate_v5(SslMethod::tls_server())?;
    let names = live.clone();
    // having one also keeps the server name on resumed TLS 1.2 sessions, where OpenSSL otherwise forgets it
    settings.set_servername_callback(move |ssl, alert| {
        let asked = asked_name(ssl);
        let is_served = with_policy(&names, listener, |policy| {
            policy.certificates.choose(asked.as_deref()).is_some()
        });
        if is_served.unwrap_or_default() {
            return Ok(());
        }
        *alert = SslAlert::UNRECOGNIZED_NAME;
        Err(SniError::ALERT_FATAL)
    });
    let (challenges, http2) = (live.clone(), policy.http2);
    settings.set_alpn_select_callback(move |ssl, offered| protocol(ssl, offered, http2, &challenges));
    let staples = live.clone();
    settings.set_status_callback(move |ssl| staple(ssl, &staples))?;
    harden(&mut settings, policy)?;
    Ok(settings.build())
}

fn harden(settings: &mut SslAcceptorBuilder, policy: &TlsPolicy) -> Result<(), ErrorStack> {
    let least = if policy.tls12 {
        SslVersion::TLS1_2
    } else {
        SslVersion::TLS1_3
    };
    settings.set_min_proto_version(Some(least))?;
    settings.set_cipher_list(&policy.ciphers)?;
    settings.set_ciphersuites(&policy.ciphersuites)?;
    settings.set_options(SslOptions::CIPHER_SERVER_PREFERENCE | SslOptions::NO_RENEGOTIATION);
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
