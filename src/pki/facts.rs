//! What a certificate says (RFC 5280).

use std::net::{Ipv4Addr, Ipv6Addr};

use openssl::asn1::{Asn1Time, Asn1TimeRef};
use openssl::hash::MessageDigest;
use openssl::nid::Nid;
use openssl::pkey::{HasPublic, Id, PKeyRef};
use openssl::x509::{X509NameRef, X509Ref};

/// Identifies a certificate: SHA-256 of its DER.
pub type Fingerprint = [u8; 32];

/// The organisation of every development certificate that we make ends so.
pub const NOT_FOR_PRODUCTION: &str = "not for production";
/// That of a CA which issues for tests, and for nothing else, begins so.
const STAGING: &[u8] = b"(STAGING)";

/// Identifies a certificate. All zeros for one that cannot be written as DER, which then equals no other.
#[must_use]
pub fn fingerprint(certificate: &X509Ref) -> Fingerprint {
    certificate
        .digest(MessageDigest::sha256())
        .ok()
        .and_then(|digest| Fingerprint::try_from(&*digest).ok())
        .unwrap_or_default()
}

/// DNS names and addresses that a certificate is for (subjectAltName), in lower case; `*.` kept.
#[must_use]
pub fn names(certificate: &X509Ref) -> Vec<String> {
    let Some(names) = certificate.subject_alt_names() else {
        return Vec::new();
    };
    names
        .iter()
        .filter_map(|name| match (name.dnsname(), name.ipaddress()) {
            (Some(dns), _) => Some(dns.to_ascii_lowercase()),
            (None, Some(bytes)) => match *bytes {
                [a, b, c, d] => Some(Ipv4Addr::new(a, b, c, d).to_string()),
                _ => <[u8; 16]>::try_from(bytes)
                    .ok()
                    .map(|b| Ipv6Addr::from(b).to_string()),
            },
            (None, None) => None,
        })
        .collect()
}

/// Seconds since 1970; `None` for a time that cannot be read.
#[must_use]
pub fn seconds(time: &Asn1TimeRef) -> Option<i64> {
    let since = Asn1Time::from_unix(0).ok()?.diff(time).ok()?;
    Some(i64::from(since.days) * 86_400 + i64::from(since.secs))
}

/// `CN=api.example, O=Example`, in the order of the certificate.
#[must_use]
pub fn name(name: &X509NameRef) -> String {
    let parts = name.entries().map(|entry| {
        let kind = entry.object().nid().short_name().unwrap_or("?");
        format!("{kind}={}", String::from_utf8_lossy(entry.data().as_slice()))
    });
    parts.collect::<Vec<_>>().join(", ")
}

/// Whether a certificate names itself as its issuer, as roots do.
#[must_use]
pub fn is_self_issued(certificate: &X509Ref) -> bool {
    certificate
        .subject_name()
        .try_cmp(certificate.issuer_name())
        .is_ok_and(|order| order.is_eq())
}

/// Whether it, or who issued it, says that it is not for production: it is of `durward tls dev-ca`, of the demo, or of Let's
/// Encrypt's staging environment.
#[must_use]
pub fn is_for_development(certificate: &X509Ref) -> bool {
    [certificate.subject_name(), certificate.issuer_name()]
        .iter()
        .flat_map(|name| name.entries_by_nid(Nid::ORGANIZATIONNAME))
        .any(|organisation| {
            let organisation = organisation.data().as_slice();
            organisation.ends_with(NOT_FOR_PRODUCTION.as_bytes()) || organisation.starts_with(STAGING)
        })
}

/// `EC of 256 bits`
#[must_use]
pub fn key(key: &PKeyRef<impl HasPublic>) -> String {
    let kind = match key.id() {
        Id::RSA => "RSA",
        Id::RSA_PSS => "RSA-PSS",
        Id::EC => "EC",
        Id::ED25519 => "Ed25519",
        Id::ED448 => "Ed448",
        Id::DSA => "DSA",
        _ => "a kind that is not known",
    };
    format!("{kind} of {} bits", key.bits())
}

/// Where more about its issuer is to be had (RFC 5280 section 4.2.2.1): addresses of this method.
#[must_use]
pub fn access(certificate: &X509Ref, method: Nid) -> Vec<String> {
    let Some(descriptions) = certificate.authority_info() else {
        return Vec::new();
    };
    descriptions
        .iter()
        .filter(|description| description.method().nid() == method)
        .filter_map(|description| description.location().uri().map(str::to_owned))
        .collect()
}
