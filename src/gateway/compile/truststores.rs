//! `truststores:`

use std::collections::{BTreeMap, HashSet};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

use openssl::x509::{X509, X509Crl, X509VerifyResult};

use super::certificates::certificates;
use super::findings::Findings;
use crate::clock::UnixTime;
use crate::config::path::ConfigPath;
use crate::config::scalar::Text;
use crate::config::{self, OnStale};
use crate::gates::authn::certificate::truststore::{self, Parts, RevocationList};
use crate::gates::authn::certificate::{Truststore, text};
use crate::gates::authn::verdicts::Digest;

/// Extensions in DER (RFC 5280 section 5.2.4 and 5.2.5) of lists that are not the whole list: changes only, or certificates
/// of some kind only. OpenSSL offers no other way to ask for them.
const PARTIAL: [&[u8]; 2] = [&[0x06, 0x03, 0x55, 0x1d, 0x1b], &[0x06, 0x03, 0x55, 0x1d, 0x1c]];

pub(super) fn compile(
    truststores: &BTreeMap<String, config::Truststore>,
    authorities: &[&str],
    findings: &mut Findings<'_>,
) -> Vec<Arc<Truststore>> {
    let root = ConfigPath::root().key("truststores");
    let compiled = truststores.iter().filter_map(|(name, truststore)| {
        let at = root.key(name);
        if authorities.contains(&name.as_str()) {
            findings.error(
                &at,
                format!("an issuer or a ring of keys is called `{name}`, too"),
                "records and limits tell callers apart by these names",
            );
        }
        self::truststore(&at, name, truststore, findings).map(Arc::new)
    });
    compiled.collect()
}

fn truststore(
    at: &ConfigPath,
    name: &str,
    truststore: &config::Truststore,
    findings: &mut Findings<'_>,
) -> Option<Truststore> {
    let config::Truststore {
        ca,
        crl,
        on_stale,
        denied,
        denied_file,
    } = truststore;
    let mut generation = DefaultHasher::new();
    (name, *on_stale == OnStale::Accept).hash(&mut generation);
    if ca.is_empty() {
        findings.incomplete(&at.key("ca"), "there is no CA", "name a PEM file");
    }
    let files: Vec<Option<Vec<X509>>> = each(&at.key("ca"), ca, findings, |at, pem, findings| {
        pem.hash(&mut generation);
        let found = certificates(at, pem, findings)?;
        for certificate in &found {
            check_authority(at, certificate, findings);
        }
        Some(found)
    });
    let files: Option<Vec<_>> = files.into_iter().collect();
    let authorities = files?.concat();
    check_issuers(&at.key("ca"), &authorities, findings);
    let lists: Vec<Vec<RevocationList>> = each(&at.key("crl"), crl, findings, |at, pem, findings| {
        pem.hash(&mut generation);
        self::lists(at, pem, &authorities, findings)
    });
    let lists: Vec<RevocationList> = lists.into_iter().flatten().collect();
    if !crl.is_empty() {
        let listed = |certificate: &X509| {
            let (name, key) = (certificate.subject_name(), text::key_fingerprint(certificate));
            let is_of = |list: &RevocationList| key.is_some_and(|key| list.is_of(name, &key));
            lists.iter().any(is_of)
        };
        for certificate in authorities.iter().filter(|certificate| !listed(certificate)) {
            findings.warning(
                &at.key("crl"),
                format!("there is no list of {}", text::name(certificate.subject_name())),
                "certificates that it has issued are refused",
            );
        }
    }
    let denied = self::denied(at, denied, denied_file.as_ref(), findings);
    let mut sorted: Vec<&Digest> = denied.iter().collect();
    sorted.sort_unstable();
    sorted.hash(&mut generation);
    let parts = Parts {
        name: name.into(),
        generation: generation.finish(),
        certificates: authorities,
        lists,
        accepts_stale: *on_stale == OnStale::Accept,
        denied,
        line: findings.line(at),
    };
    Truststore::new(parts)
        .map_err(|why| findings.error(at, format!("not taken by OpenSSL: {why}"), ""))
        .ok()
}

/// The contents of each file, read.
fn each<T>(
    at: &ConfigPath,
    files: &[Text],
    findings: &mut Findings<'_>,
    mut read: impl FnMut(&ConfigPath, &str, &mut Findings<'_>) -> T,
) -> Vec<T> {
    let mut all = Vec::new();
    for (index, file) in files.iter().enumerate() {
        let at = at.index(index);
        if let Some(contents) = findings.file(&at, file) {
            all.push(read(&at, &contents, findings));
        }
    }
    all
}

/// What is in a truststore can issue certificates, and nobody can forge it.
fn check_authority(at: &ConfigPath, certificate: &X509, findings: &mut Findings<'_>) {
    let name = text::name(certificate.subject_name());
    let signs = certificate.key_usage().is_none_or(|usage| {
        use openssl::x509::X509KeyUsage as Usage;
        usage.contains(Usage::KEY_CERT_SIGN)
    });
    if !is_authority(certificate) || !signs {
        findings.error(
            at,
            format!("{name} is not a CA: it may not issue certificates"),
            "single certificates are named in `client_certificates.*.allow`",
        );
    }
    let is_root = certificate.issued(certificate) == X509VerifyResult::OK;
    if let Err(why) = truststore::is_strong(certificate, !is_root) {
        findings.error(
            at,
            format!("{name} is too weak: {}", why.reason()),
            "RSA of 2048 bits, or an elliptic curve; SHA-256",
        );
    }
    let now = UnixTime::of_system();
    if text::time(certificate.not_after()).is_some_and(|end| end <= now) {
        findings.warning(
            at,
            format!("{name} expired at {}", certificate.not_after()),
            "certificates that it has issued are refused",
        );
    }
}

/// Whether its basic constraints say so (RFC 5280 section 4.2.1.9): OpenSSL lets only such a one issue another.
fn is_authority(certificate: &X509) -> bool {
    // SEQUENCE { BOOLEAN TRUE … } behind the identifier of the extension; `critical` may stand in between
    const BASIC: [u8; 5] = [0x06, 0x03, 0x55, 0x1d, 0x13];
    let der = certificate.to_der().unwrap_or_default();
    (0..der.len()).any(|at| {
        let after = der.get(at..).and_then(|rest| rest.strip_prefix(&BASIC));
        let value = after.map(|rest| rest.strip_prefix(&[0x01, 0x01, 0xff]).unwrap_or(rest));
        matches!(value, Some([0x04, _, 0x30, _, 0x01, 0x01, 0xff, ..]))
    })
}

/// S26: the path from each CA ends within the truststore.
fn check_issuers(at: &ConfigPath, authorities: &[X509], findings: &mut Findings<'_>) {
    for certificate in authorities {
        let is_issuer = |other: &&X509| {
            other.issued(certificate) == X509VerifyResult::OK
                && other
                    .public_key()
                    .is_ok_and(|key| certificate.verify(&key).unwrap_or(false))
        };
        if !authorities.iter().any(|other| is_issuer(&other)) {
            findings.error(
                at,
                format!(
                    "the path of {} is not complete: {} is missing",
                    text::name(certificate.subject_name()),
                    text::name(certificate.issuer_name())
                ),
                "add the CA that issued it",
            );
        }
    }
}

fn lists(
    at: &ConfigPath,
    pem: &str,
    authorities: &[X509],
    findings: &mut Findings<'_>,
) -> Vec<RevocationList> {
    const BEGIN: &str = "-----BEGIN X509 CRL-----";
    let mut blocks = pem.split(BEGIN).skip(1).peekable();
    if blocks.peek().is_none() {
        findings.error(
            at,
            "no revocation list in the file",
            "it must hold PEM blocks `BEGIN X509 CRL`; from DER: openssl crl -inform DER",
        );
    }
    let mut lists = Vec::new();
    for block in blocks {
        match list(&format!("{BEGIN}{block}"), authorities) {
            Ok(list) => {
                if list.until <= UnixTime::of_system() {
                    findings.warning(
                        at,
                        format!(
                            "the list of {} is out of date",
                            text::name(list.crl.issuer_name())
                        ),
                        "`on_stale` says what becomes of its CA's certificates",
                    );
                }
                lists.push(list);
            }
            Err(why) => findings.error(at, why, ""),
        }
    }
    lists
}

fn list(pem: &str, authorities: &[X509]) -> Result<RevocationList, String> {
    let crl = X509Crl::from_pem(pem.as_bytes()).map_err(|why| format!("not a revocation list: {why}"))?;
    let issuer = text::name(crl.issuer_name());
    let of = |what: &str| format!("the list of {issuer}: {what}");
    let der = crl.to_der().map_err(|why| of(&why.to_string()))?;
    if PARTIAL
        .iter()
        .any(|extension| der.windows(extension.len()).any(|part| part == *extension))
    {
        return Err(of("not a whole list: changes, or certificates of one kind only"));
    }
    let signed = authorities.iter().find(|certificate| {
        let is_named = matches!(
            certificate.subject_name().try_cmp(crl.issuer_name()),
            Ok(std::cmp::Ordering::Equal)
        );
        is_named
            && certificate
                .public_key()
                .is_ok_and(|key| crl.verify(&key).unwrap_or(false))
    });
    let key = signed
        .and_then(|certificate| text::key_fingerprint(certificate))
        .ok_or_else(|| of("no CA of `ca` has signed it"))?;
    let since = text::time(crl.last_update()).ok_or_else(|| of("no time"))?;
    let until = crl.next_update().and_then(text::time);
    let until = until.ok_or_else(|| of("it says not until when it is current (`nextUpdate`)"))?;
    Ok(RevocationList {
        key,
        crl,
        since,
        until,
    })
}

fn denied(
    at: &ConfigPath,
    denied: &[String],
    file: Option<&Text>,
    findings: &mut Findings<'_>,
) -> HashSet<Digest> {
    let mut all = HashSet::new();
    for (index, text) in denied.iter().enumerate() {
        all.extend(digest(&at.key("denied").index(index), text, findings));
    }
    if let Some(file) = file {
        let at = at.key("denied_file");
        let contents = findings.file(&at, file).unwrap_or_default();
        for (number, line) in contents.lines().enumerate() {
            let line = line.split('#').next().unwrap_or_default().trim();
            if line.is_empty() {
                continue;
            }
            match text::digest_of_hex(line) {
                Some(digest) => _ = all.insert(digest),
                None => findings.error(
                    &at,
                    format!("line {} of the file is not a SHA-256", number + 1),
                    "64 hexadecimal digits: openssl x509 -noout -fingerprint -sha256",
                ),
            }
        }
    }
    all
}

/// A SHA-256 in hexadecimal.
pub(super) fn digest(at: &ConfigPath, text: &str, findings: &mut Findings<'_>) -> Option<Digest> {
    let digest = text::digest_of_hex(text);
    if digest.is_none() {
        findings.error(
            at,
            "not a SHA-256",
            "64 hexadecimal digits: openssl x509 -noout -fingerprint -sha256",
        );
    }
    digest
}

/// The index of a truststore by its name.
pub(super) fn trust(
    at: &ConfigPath,
    name: &str,
    truststores: &[Arc<Truststore>],
    declared: &[&str],
    findings: &mut Findings<'_>,
) -> Option<usize> {
    let found = truststores
        .iter()
        .position(|truststore| *truststore.name == *name);
    if found.is_none() && !declared.contains(&name) {
        findings.unknown(at, "truststore", "truststores", name, declared.iter().copied());
    }
    found
}
