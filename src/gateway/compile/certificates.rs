//! Certificates and keys from PEM, checked against each other.

use std::path::Path;
use std::sync::Arc;

use openssl::pkey::{PKey, Private};
use openssl::x509::X509;

use super::acme::{self, Accounts};
use super::findings::{Findings, NOT_ASKED};
use crate::clock::UnixTime;
use crate::config::Certificate;
use crate::config::path::ConfigPath;
use crate::config::scalar::{Secret, Text, TokenObject, Unresolved};
use crate::gateway::CertifiedKey;
use crate::gateway::certificates::{Slot, stand_in, stands_in};
use crate::pki::facts;
use crate::pki::flaws::{self, Distrust, Flaw};

/// An entry of `certificates`.
pub(super) fn slot(
    at: &ConfigPath,
    certificate: &Certificate,
    accounts: &Accounts,
    findings: &mut Findings<'_>,
) -> Option<Arc<Slot>> {
    match certificate {
        Certificate {
            dir: None,
            cert: None,
            key: None,
            key_pem: None,
            acme: Some(account),
            names,
        } => acme::slot(at, account, names.as_deref(), accounts, findings),
        _ => certified_key(at, certificate, findings).map(|certificate| Arc::new(Slot::of(certificate))),
    }
}

/// A chain and its key.
fn certified_key(
    at: &ConfigPath,
    certificate: &Certificate,
    findings: &mut Findings<'_>,
) -> Option<CertifiedKey> {
    let Certificate {
        dir,
        cert,
        key,
        key_pem,
        acme,
        names,
    } = certificate;
    let is_of_files = acme.is_none() && names.is_none();
    let (chain_pem, key) = match (dir, cert, key, key_pem) {
        (Some(dir), None, None, None) if is_of_files => {
            let at = at.key("dir");
            let dir = findings.text(&at, dir)?;
            let chain = findings.read(&at, &format!("{dir}/tls.crt"));
            (chain, key_file(&at, &format!("{dir}/tls.key"), findings))
        }
        (None, Some(cert), Some(key), None) if is_of_files => {
            let chain = findings.file(&at.key("cert"), cert);
            let at = at.key("key");
            let key = findings
                .text(&at, key)
                .and_then(|name| key_file(&at, &name, findings));
            (chain, key)
        }
        (None, Some(cert), None, Some(key_pem)) if is_of_files => {
            let chain = findings.file(&at.key("cert"), cert);
            let at = at.key("key_pem");
            (chain, secret_key(&at, key_pem, findings))
        }
        _ => {
            findings.incomplete(
                at,
                "a certificate is a `dir`, or `cert` with `key` or `key_pem`, or `acme` with `names`",
                "",
            );
            return None;
        }
    };
    let (chain, key) = (certificates(at, &chain_pem?, findings)?, key?);
    let mut flaws = flaws::of(&chain, UnixTime::of_system());
    if let Some(why) = dir
        .as_ref()
        .and_then(|dir| stranger(&at.key("dir"), dir, &chain, findings))
    {
        flaws.push(why);
    }
    for flaw in flaws {
        if flaw.is_fatal() {
            findings.error(at, flaw.to_string(), flaw.help());
        } else {
            findings.warning(at, flaw.to_string(), flaw.help());
        }
    }
    let certified = CertifiedKey::new(chain, key);
    if certified.is_none() {
        findings.error(
            at,
            "the key is not the certificate's",
            "the first certificate of the file must be the server's own",
        );
    }
    certified
}

/// Beside `tls.crt`, Kubernetes and `durward tls dev-ca` put the CA that issued it: what keeps the chain from leading there.
fn stranger(at: &ConfigPath, dir: &Text, chain: &[X509], findings: &mut Findings<'_>) -> Option<Flaw> {
    let name = format!("{}/ca.crt", findings.text(at, dir)?);
    if !findings.sources().path(Path::new(&name)).exists() {
        return None;
    }
    let pem = findings.read(at, &name)?;
    let authorities = certificates(at, &pem, findings)?;
    let (why, words) = flaws::leads_to(chain, &authorities).err()?;
    // which has a warning of its own
    let is_of_time = [Distrust::EXPIRED, Distrust::NOT_YET_VALID].contains(&why);
    (!is_of_time).then(|| Flaw::NotOfThisCa(words.to_owned()))
}

/// All certificates of a PEM text; at least one.
pub(super) fn certificates(at: &ConfigPath, pem: &str, findings: &mut Findings<'_>) -> Option<Vec<X509>> {
    match X509::stack_from_pem(pem.as_bytes()) {
        Ok(chain) if !chain.is_empty() => {
            if let Some(one) = chain.iter().find(|one| facts::is_for_development(one)) {
                findings.unfit(
                    at,
                    format!("the certificate of {} is for development", facts::name(one.subject_name())),
                    "get one from a CA (`durward tls csr`, or `acme`); whoever has a development CA can be any server",
                );
            }
            Some(chain)
        }
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
    findings.private_file(at, Path::new(name), "the private key");
    let pem = findings.read(at, name)?;
    private_key(at, &pem, findings)
}

/// A private key, or what stands for one that stays in its token.
pub(super) fn secret_key(
    at: &ConfigPath,
    key: &Secret,
    findings: &mut Findings<'_>,
) -> Option<PKey<Private>> {
    match key.token_key() {
        Some(object) => token_key(at, object, findings),
        None => {
            let pem = findings.secret(at, key)?;
            private_key(at, &pem, findings)
        }
    }
}

/// A private key that stays in its token; what stands in for it where nobody is asked.
pub(super) fn token_key(
    at: &ConfigPath,
    object: &TokenObject,
    findings: &mut Findings<'_>,
) -> Option<PKey<Private>> {
    match findings.sources().token_key(object) {
        Ok(key) => Some(key),
        Err(Unresolved::NotAsked) => stand_in(),
        Err(why) => {
            findings.error(at, why.to_string(), "");
            None
        }
    }
}

fn private_key(at: &ConfigPath, pem: &str, findings: &mut Findings<'_>) -> Option<PKey<Private>> {
    if pem == NOT_ASKED {
        return stand_in();
    }
    let key = PKey::private_key_from_pem(pem.as_bytes())
        .ok()
        .filter(|key| !stands_in(key));
    if key.is_none() {
        // OpenSSL's own words could quote the key
        findings.error(at, "not a private key in PEM, or one with a passphrase", "");
    }
    key
}
