//! A certificate in words.

use std::io::{self, Write};

use openssl::nid::Nid;
use openssl::x509::X509Ref;

use crate::clock::UnixTime;
use crate::pki::{facts, ocsp};

/// Writes what a certificate says; `place` counts from 1.
pub(super) fn certificate(
    out: &mut impl Write,
    place: usize,
    certificate: &X509Ref,
    now: UnixTime,
) -> io::Result<()> {
    let mut line = |what: &str, value: &str| writeln!(out, "  {what:<12}{value}");
    line(&format!("[{place}]"), &facts::name(certificate.subject_name()))?;
    line("issued by", &facts::name(certificate.issuer_name()))?;
    let names = facts::names(certificate);
    if !names.is_empty() {
        line("names", &names.join(", "))?;
    }
    let now = i64::try_from(now.seconds()).unwrap_or(i64::MAX);
    let left = match facts::seconds(certificate.not_after()).map(|end| (end - now).div_euclid(86_400)) {
        Some(days) if days >= 0 => format!("{days} days left"),
        _ => "over".to_owned(),
    };
    line(
        "valid",
        &format!(
            "{} to {} ({left})",
            certificate.not_before(),
            certificate.not_after()
        ),
    )?;
    if let Ok(key) = certificate.public_key() {
        line("key", &facts::key(&key))?;
    }
    let signed = certificate.signature_algorithm().object().nid();
    line("signature", signed.long_name().unwrap_or("unknown"))?;
    let print = facts::fingerprint(certificate);
    let print: Vec<String> = print.iter().map(|byte| format!("{byte:02x}")).collect();
    line("sha256", &print.concat())?;
    if let Some(responder) = ocsp::responder(certificate) {
        line("ocsp", &responder)?;
    }
    for url in facts::access(certificate, Nid::AD_CA_ISSUERS) {
        line("issuer at", &url)?;
    }
    if facts::is_for_development(certificate) {
        line("", "a development certificate: not for production")?;
    }
    Ok(())
}
