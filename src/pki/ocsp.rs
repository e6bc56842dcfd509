//! Proof from its CA that a certificate is not revoked (OCSP, RFC 6960), for the server to show with it (RFC 6066
//! section 8).

use std::fmt;

use openssl::asn1::{Asn1GeneralizedTimeRef, Asn1Time};
use openssl::error::ErrorStack;
use openssl::hash::MessageDigest;
use openssl::ocsp::{
    OcspBasicResponse, OcspCertId, OcspCertStatus, OcspFlag, OcspRequest, OcspResponse, OcspResponseStatus,
};
use openssl::stack::Stack;
use openssl::x509::store::X509StoreBuilder;
use openssl::x509::verify::X509VerifyFlags;
use openssl::x509::{X509, X509Ref};

use super::facts;
use crate::clock::UnixTime;

/// How far a responder's clock may be ahead of ours, in seconds.
const SKEW: u64 = 300;

/// An answer that was verified, and says that the certificate is good.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Staple {
    /// As it is sent to clients.
    pub der: Vec<u8>,
    /// Since when it is so.
    pub this_update: UnixTime,
    /// Until when it can be shown.
    pub next_update: UnixTime,
}

impl Staple {
    /// When to ask again: in the middle of its life, so that half of it is left for a responder that is away.
    #[must_use]
    pub fn refresh_at(&self) -> UnixTime {
        let life = self.next_update.saturating_since(self.this_update);
        self.this_update.saturating_add(life / 2)
    }
}

/// Why an answer is not shown to clients.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rejected {
    /// Not an OCSP response.
    Malformed,
    /// The responder says that it cannot answer.
    Refused(&'static str),
    /// Not signed by the certificate's issuer, nor by whom that has authorized.
    Signature,
    /// It is about another certificate.
    OtherCertificate,
    /// The certificate is revoked.
    Revoked,
    /// The responder does not know the certificate.
    Unknown,
    /// It does not say until when it is good.
    Endless,
    /// It is over, or has not begun.
    Stale,
}

impl fmt::Display for Rejected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Rejected::Malformed => "the answer is not an OCSP response",
            Rejected::Refused(why) => return write!(f, "the responder answers `{why}`"),
            Rejected::Signature => "the answer is not signed by the certificate's issuer",
            Rejected::OtherCertificate => "the answer is about another certificate",
            Rejected::Revoked => "the certificate is REVOKED: replace it",
            Rejected::Unknown => "the responder does not know the certificate",
            Rejected::Endless => "the answer does not say until when it is good",
            Rejected::Stale => "the answer is out of date",
        })
    }
}

/// Where a certificate says that it can be asked about; `None` where it says nothing.
#[must_use]
pub fn responder(certificate: &X509Ref) -> Option<String> {
    let responders = certificate.ocsp_responders().ok()?;
    responders.iter().next().map(|url| url.to_string())
}

/// The question about a certificate. Digests in it only name the issuer, and SHA-1 is what responders know (RFC 5019
/// section 2.1.1).
///
/// # Errors
/// Those of OpenSSL.
pub fn question(certificate: &X509Ref, issuer: &X509Ref) -> Result<Vec<u8>, ErrorStack> {
    let mut request = OcspRequest::new()?;
    request.add_id(OcspCertId::from_cert(MessageDigest::sha1(), certificate, issuer)?)?;
    request.to_der()
}

/// Judges an answer about the first certificate of a chain, at this moment.
///
/// # Errors
/// Why it cannot be shown to clients.
pub fn judge(der: &[u8], chain: &[X509], now: UnixTime) -> Result<Staple, Rejected> {
    let [certificate, issuer, ..] = chain else {
        return Err(Rejected::Signature);
    };
    let response = OcspResponse::from_der(der).map_err(|_| Rejected::Malformed)?;
    match response.status() {
        OcspResponseStatus::SUCCESSFUL => {}
        OcspResponseStatus::TRY_LATER => return Err(Rejected::Refused("tryLater")),
        OcspResponseStatus::INTERNAL_ERROR => return Err(Rejected::Refused("internalError")),
        OcspResponseStatus::UNAUTHORIZED => return Err(Rejected::Refused("unauthorized")),
        OcspResponseStatus::SIG_REQUIRED => return Err(Rejected::Refused("sigRequired")),
        _ => return Err(Rejected::Refused("malformedRequest")),
    }
    let basic = response.basic().map_err(|_| Rejected::Malformed)?;
    signed(&basic, chain, issuer).map_err(|_| Rejected::Signature)?;
    let id = OcspCertId::from_cert(MessageDigest::sha1(), certificate, issuer)
        .map_err(|_| Rejected::OtherCertificate)?;
    let status = basic.find_status(&id).ok_or(Rejected::OtherCertificate)?;
    match status.status {
        OcspCertStatus::GOOD => {}
        OcspCertStatus::REVOKED => return Err(Rejected::Revoked),
        _ => return Err(Rejected::Unknown),
    }
    let this_update = moment(status.this_update).ok_or(Rejected::Malformed)?;
    let next_update = status.next_update().and_then(moment).ok_or(Rejected::Endless)?;
    let begun = now.saturating_add(std::time::Duration::from_secs(SKEW)) >= this_update;
    if !begun || now >= next_update {
        return Err(Rejected::Stale);
    }
    Ok(Staple {
        der: der.to_vec(),
        this_update,
        next_update,
    })
}

/// By the issuer itself, or by a certificate that it has issued for this purpose (RFC 6960 section 4.2.2.2): both are
/// what OpenSSL checks, once only the issuer is trusted.
fn signed(basic: &OcspBasicResponse, chain: &[X509], issuer: &X509) -> Result<(), ErrorStack> {
    let mut store = X509StoreBuilder::new()?;
    store.add_cert(issuer.clone())?;
    store.set_flags(X509VerifyFlags::PARTIAL_CHAIN)?;
    let mut untrusted = Stack::new()?;
    for certificate in chain.iter().skip(1) {
        untrusted.push(certificate.clone())?;
    }
    basic.verify(&untrusted, &store.build(), OcspFlag::empty())
}

/// Reads what OpenSSL prints, `Nov  2 12:00:00 2026 GMT`: its binding offers nothing else.
fn moment(time: &Asn1GeneralizedTimeRef) -> Option<UnixTime> {
    const MONTHS: [&str; 12] = [
        "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
    ];
    let text = time.to_string();
    let mut words = text.split_whitespace();
    let month = words.next()?;
    let month = MONTHS.iter().position(|name| *name == month)? + 1;
    let day: u8 = words.next()?.parse().ok()?;
    // fractions of a second are cut off
    let clock = words.next()?.split('.').next()?.replace(':', "");
    let year = words.next()?;
    let time = Asn1Time::from_str(&format!("{year}{month:02}{day:02}{clock}Z")).ok()?;
    let seconds = u64::try_from(facts::seconds(&time)?).ok()?;
    Some(UnixTime::from_seconds(seconds))
}
