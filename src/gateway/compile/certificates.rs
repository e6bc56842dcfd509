//! Certificates and keys from PEM, checked against each other.

use openssl::asn1::Asn1Time;
use openssl::pkey::{Id, PKey, Private};
use openssl::x509::X509;

use super::findings::{Findings, NOT_ASKED};
use crate::config::Certificate;
use crate::config::path::ConfigPath;
use crate::gateway::CertifiedKey;

/// A chain and its key.
pub(super) fn certified_key(
    at: &ConfigPath,
    certificate: &Certificate,
    findings: &mut Findings<'_>,
) -> Option<CertifiedKey> {
    let Certificate {
        dir,
        cert,
        key,
        key_pem,
    } = certificate;
    let (chain_pem, key) = match (dir, cert, key, key_pem) {
        (Some(dir), None, None, None) => {
            let at = at.key("dir");
            let dir = findings.text(&at, dir)?;
            let chain = findings.read(&at, &format!("{dir}/tls.crt"));
            (chain, key_file(&at, &format!("{dir}/tls.key"), findings))
        }
        (None, Some(cert), Some(key), None) => {
            let chain = findings.file(&at.key("cert"), cert);
            let at = at.key("key");
            let key = findings
                .text(&at, key)
                .and_then(|name| key_file(&at, &name, findings));
            (chain, key)
        }
        (None, Some(cert), None, Some(key_pem)) => {
            let chain = findings.file(&at.key("cert"), cert);
            let at = at.key("key_pem");
            let key = findings
                .secret(&at, key_pem)
                .and_then(|pem| private_key(&at, &pem, findings));
            (chain, key)
        }
        _ => {
            findings.incomplete(
                at,
                "a certificate is a `dir`, or `cert` with `key` or `key_pem`",
                "",
            );
            return None;
        }
    };
    let (chain, key) = (certificates(at, &chain_pem?, findings)?, key?);
    let leaf = chain.first()?;
    if !is_pair(leaf, &key) {
        findings.error(
            at,
            "the key is not the certificate's",
            "the first certificate of the file must be the server's own",
        );
        return None;
    }
    if Asn1Time::days_from_now(0).is_ok_and(|now| leaf.not_after() < now) {
        findings.warning(
            at,
            format!("the certificate expired at {}", leaf.not_after()),
            "clients will refuse it",
        );
    }
    Some(CertifiedKey {
        names: names(leaf).into(),
        chain,
        key,
    })
}

/// All certificates of a PEM text; at least one.
pub(super) fn certificates(at: &ConfigPath, pem: &str, findings: &mut Findings<'_>) -> Option<Vec<X509>> {
    match X509::stack_from_pem(pem.as_bytes()) {
        Ok(chain) if !chain.is_empty() => Some(chain),
        Ok(_) => {
            findings.error(
                at,
                "no certificate in the file",
                "it must hold PEM blocks `BEGIN CERTIFICATE`",
            );
            None
        }
        Err(why) => {
            findings.error(at, format!("not a PEM certificate: {why}"), "");
            None
        }
    }
}

pub(super) fn key_file(at: &ConfigPath, name: &str, findings: &mut Findings<'_>) -> Option<PKey<Private>> {
    if findings
        .sources()
        .is_readable_by_others(std::path::Path::new(name))
    {
        findings.warning(
            at,
            "the private key can be read by others than its owner",
            "chmod 600 the file",
        );
    }
    let pem = findings.read(at, name)?;
    private_key(at, &pem, findings)
}

/// Whether a key is the certificate's. What stands in for a key that nobody was asked for is everybody's.
pub(super) fn is_pair(leaf: &X509, key: &PKey<Private>) -> bool {
    key.id() == STANDS_IN || leaf.public_key().is_ok_and(|public| public.public_eq(key))
}

/// A kind of key that cannot sign, and so is nobody's.
const STANDS_IN: Id = Id::X25519;

pub(super) fn private_key(at: &ConfigPath, pem: &str, findings: &mut Findings<'_>) -> Option<PKey<Private>> {
    if pem == NOT_ASKED {
        return PKey::generate_x25519().ok();
    }
    let key = PKey::private_key_from_pem(pem.as_bytes())
        .ok()
        .filter(|key| key.id() != STANDS_IN);
    if key.is_none() {
        // OpenSSL's own words could quote the key
        findings.error(at, "not a private key in PEM, or one with a passphrase", "");
    }
    key
}

/// DNS names and addresses that a certificate is for, in lower case.
fn names(leaf: &X509) -> Vec<String> {
    let Some(names) = leaf.subject_alt_names() else {
        return Vec::new();
    };
    names
        .iter()
        .filter_map(|name| match (name.dnsname(), name.ipaddress()) {
            (Some(dns), _) => Some(dns.to_ascii_lowercase()),
            (None, Some(bytes)) => match *bytes {
                [a, b, c, d] => Some(std::net::Ipv4Addr::new(a, b, c, d).to_string()),
                _ => <[u8; 16]>::try_from(bytes)
                    .ok()
                    .map(|b| std::net::Ipv6Addr::from(b).to_string()),
            },
            (None, None) => None,
        })
        .collect()
}
