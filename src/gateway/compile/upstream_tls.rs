//! `upstreams.*.tls` and `upstream_pins`

use std::collections::BTreeSet;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

use openssl::asn1::Asn1Time;
use pingora_core::utils::tls::CertKey;

use super::certificates::{certificates, key_file, secret_key};
use super::findings::Findings;
use crate::config::path::ConfigPath;
use crate::config::scalar::{Secret, Text};
use crate::config::{TlsVersion, UpstreamTls};
use crate::gateway::certificates::is_pair;
use crate::head::is_host_name;
use crate::upstream::tls::{OLD_SUITES, Pin, USUAL_SUITES};
use crate::upstream::{Diagnosis, Tls};

/// `everyones`: pins of upstreams that have none of their own.
pub(super) fn compile(
    at: &ConfigPath,
    upstream: &str,
    tls: &UpstreamTls,
    everyones: &[Pin],
    findings: &mut Findings<'_>,
) -> Option<Tls> {
    let UpstreamTls {
        server_name,
        ca,
        cert,
        key,
        key_pem,
        pins,
        min_version,
        ciphers,
    } = tls;
    let at_name = at.key("server_name");
    let server_name = findings.text(&at_name, server_name)?;
    if !is_host_name(&server_name) || server_name.parse::<std::net::IpAddr>().is_ok() {
        findings.error(
            &at_name,
            format!("`{server_name}` is not a DNS name"),
            "the certificate is verified against it; addresses cannot be",
        );
        return None;
    }
    // all that decides whether a connection can be trusted, and who we are on it
    let mut trust = DefaultHasher::new();
    (upstream, &server_name).hash(&mut trust);
    let ca = match ca {
        None => None,
        Some(ca) => {
            let at = at.key("ca");
            let pem = findings.file(&at, ca)?;
            pem.hash(&mut trust);
            Some(Arc::new(certificates(&at, &pem, findings)?.into_boxed_slice()))
        }
    };
    let client = client(at, cert.as_ref(), key.as_ref(), key_pem.as_ref(), findings);
    if let Some(client) = &client {
        for certificate in [client.leaf()].into_iter().chain(client.intermediates()) {
            certificate.to_der().ok().hash(&mut trust);
        }
    }
    let pins = match pins {
        None => everyones.to_vec(),
        Some(pins) => {
            let at = at.key("pins");
            if pins.is_empty() {
                findings.incomplete(
                    &at,
                    "no pin would let no service through",
                    "leave `pins` out, for those of `upstream_pins` or none",
                );
            }
            self::pins(&at, pins, findings)
        }
    };
    let tls12 = *min_version != Some(TlsVersion::V1_3);
    let suites = suites(&at.key("ciphers"), ciphers.as_deref(), tls12, findings);
    (&pins, tls12, &suites).hash(&mut trust);
    Some(Tls {
        server_name,
        ca,
        client,
        pins: pins.into(),
        tls12,
        suites: suites.into(),
        group_key: trust.finish(),
        diagnosis: Diagnosis::default(),
    })
}

/// Pins in a fixed order, each once.
pub(super) fn pins(at: &ConfigPath, pins: &[Text], findings: &mut Findings<'_>) -> Vec<Pin> {
    let mut read = BTreeSet::new();
    for (index, pin) in pins.iter().enumerate() {
        let at = at.index(index);
        let Some(text) = findings.text(&at, pin) else {
            continue;
        };
        match Pin::parse(&text) {
            Some(pin) => {
                read.insert(pin);
            }
            None => findings.error(
                &at,
                "not a pin: `sha256/` and the 44 characters of a SHA-256 in base64",
                "openssl x509 -in FILE -pubkey -noout | openssl pkey -pubin -outform der | openssl dgst -sha256 -binary | base64",
            ),
        }
    }
    if read.len() == 1 {
        findings.warning(
            at,
            "there is only one pin",
            "when that key is lost or replaced, the service cannot be reached: pin the next key or the CA's as well",
        );
    }
    read.into_iter().collect()
}

/// What is shown to services that ask for a certificate.
fn client(
    at: &ConfigPath,
    cert: Option<&Text>,
    key: Option<&Text>,
    key_pem: Option<&Secret>,
    findings: &mut Findings<'_>,
) -> Option<Arc<CertKey>> {
    let (cert, key) = match (cert, key, key_pem) {
        (None, None, None) => return None,
        (Some(cert), Some(key), None) => {
            let at = at.key("key");
            let name = findings.text(&at, key);
            (cert, name.and_then(|name| key_file(&at, &name, findings)))
        }
        (Some(cert), None, Some(key_pem)) => {
            let at = at.key("key_pem");
            (cert, secret_key(&at, key_pem, findings))
        }
        _ => {
            findings.incomplete(at, "our certificate is `cert` with `key` or `key_pem`", "");
            return None;
        }
    };
    let at = at.key("cert");
    let pem = findings.file(&at, cert)?;
    let (chain, key) = (certificates(&at, &pem, findings)?, key?);
    let leaf = chain.first()?;
    if !is_pair(leaf, &key) {
        findings.error(
            &at,
            "the key is not the certificate's",
            "the first certificate of the file must be our own",
        );
        return None;
    }
    if Asn1Time::days_from_now(0).is_ok_and(|now| leaf.not_after() < now) {
        findings.warning(
            &at,
            format!("the certificate expired at {}", leaf.not_after()),
            "the service will refuse it",
        );
    }
    Some(Arc::new(CertKey::new(chain, key)))
}

fn suites(
    at: &ConfigPath,
    ciphers: Option<&[String]>,
    tls12: bool,
    findings: &mut Findings<'_>,
) -> Vec<&'static str> {
    let Some(ciphers) = ciphers else {
        return USUAL_SUITES.to_vec();
    };
    if !tls12 {
        findings.warning(
            at,
            "these TLS 1.2 suites have no effect: the lowest version is TLS 1.3",
            "",
        );
    } else if ciphers.is_empty() {
        findings.incomplete(
            at,
            "there is no suite",
            "for TLS 1.3 alone, write `min_version: \"1.3\"`",
        );
    }
    let mut taken = Vec::new();
    for (index, cipher) in ciphers.iter().enumerate() {
        let at = at.index(index);
        let offered = USUAL_SUITES.iter().chain(&OLD_SUITES);
        match offered.copied().find(|offered| offered == cipher) {
            Some(suite) => taken.push(suite),
            None => {
                let all = [USUAL_SUITES.as_slice(), &OLD_SUITES].concat().join(", ");
                findings.error(&at, format!("`{cipher}` is not offered to services"), all);
                continue;
            }
        }
        if OLD_SUITES.contains(&cipher.as_str()) {
            findings.warning(
                &at,
                format!("`{cipher}` lacks forward secrecy or authenticated encryption"),
                "for old services only",
            );
        }
    }
    taken
}
