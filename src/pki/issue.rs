//! Making certificates and requests for them: for development, for a private CA, and for whoever signs requests.

use std::net::IpAddr;

use openssl::asn1::{Asn1Integer, Asn1Object, Asn1OctetString, Asn1Time};
use openssl::bn::{BigNum, MsbOption};
use openssl::ec::{EcGroup, EcKey};
use openssl::error::ErrorStack;
use openssl::hash::MessageDigest;
use openssl::nid::Nid;
use openssl::pkey::{PKey, Private};
use openssl::rsa::Rsa;
use openssl::stack::Stack;
use openssl::x509::extension::{
    AuthorityKeyIdentifier, BasicConstraints, ExtendedKeyUsage, KeyUsage, SubjectAlternativeName,
    SubjectKeyIdentifier,
};
use openssl::x509::{X509, X509Builder, X509Extension, X509Name, X509NameRef, X509Ref, X509Req};

use crate::clock::UnixTime;

/// The organisation in what is made for development.
pub const DEVELOPMENT: &str = "Durward development, not for production";

const DAY: i64 = 86_400;

/// Kinds of keys that are made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Key {
    /// EC on P-256: small, fast, and known to every client of today.
    P256,
    /// RSA of 2048 bits, for clients that know nothing else.
    Rsa2048,
}

impl Key {
    /// A new one.
    ///
    /// # Errors
    /// There is no randomness.
    pub fn generate(self) -> Result<PKey<Private>, ErrorStack> {
        match self {
            Key::P256 => {
                let group = EcGroup::from_curve_name(Nid::X9_62_PRIME256V1)?;
                PKey::from_ec_key(EcKey::generate(&group)?)
            }
            Key::Rsa2048 => PKey::from_rsa(Rsa::generate(2048)?),
        }
    }
}

/// A CA for development: its certificate and its key.
#[derive(Debug)]
pub struct Authority {
    /// Signed by itself.
    pub certificate: X509,
    /// Signs what it issues.
    pub key: PKey<Private>,
}

impl Authority {
    /// A new one, good for `days`.
    ///
    /// # Errors
    /// Those of OpenSSL.
    pub fn new(common: &str, days: u32, now: UnixTime) -> Result<Authority, ErrorStack> {
        let key = Key::P256.generate()?;
        let name = development(common)?;
        let mut builder = begin(&key, &name, &name, days, now)?;
        builder.append_extension(BasicConstraints::new().critical().ca().pathlen(0).build()?)?;
        builder.append_extension(KeyUsage::new().critical().key_cert_sign().crl_sign().build()?)?;
        let subject = SubjectKeyIdentifier::new().build(&builder.x509v3_context(None, None))?;
        builder.append_extension(subject)?;
        builder.sign(&key, MessageDigest::sha256())?;
        Ok(Authority {
            certificate: builder.build(),
            key,
        })
    }

    /// A server's certificate for these names and addresses, good for `days`.
    ///
    /// # Errors
    /// Those of OpenSSL.
    pub fn server(
        &self,
        key: &PKey<Private>,
        common: &str,
        names: &[String],
        days: u32,
        now: UnixTime,
    ) -> Result<X509, ErrorStack> {
        let issuer: &X509Ref = &self.certificate;
        let name = development(common)?;
        let mut builder = begin(key, &name, issuer.subject_name(), days, now)?;
        builder.append_extension(BasicConstraints::new().critical().build()?)?;
        builder.append_extension(KeyUsage::new().critical().digital_signature().build()?)?;
        builder.append_extension(ExtendedKeyUsage::new().server_auth().build()?)?;
        let context = builder.x509v3_context(Some(issuer), None);
        let names = alternative(names).build(&context)?;
        let subject = SubjectKeyIdentifier::new().build(&context)?;
        let authority = AuthorityKeyIdentifier::new().keyid(true).build(&context)?;
        for extension in [names, subject, authority] {
            builder.append_extension(extension)?;
        }
        builder.sign(&self.key, MessageDigest::sha256())?;
        Ok(builder.build())
    }
}

/// A request for a certificate (PKCS #10) for these names and addresses. `organisation`: for CAs that want one.
///
/// # Errors
/// Those of OpenSSL.
pub fn request(
    key: &PKey<Private>,
    names: &[String],
    organisation: Option<&str>,
) -> Result<X509Req, ErrorStack> {
    let mut subject = X509Name::builder()?;
    if let Some(organisation) = organisation {
        subject.append_entry_by_nid(Nid::ORGANIZATIONNAME, organisation)?;
        // only for the reader, and there only where it fits (RFC 5280: 64 characters)
        if let Some(first) = names.first().filter(|name| name.len() <= 64) {
            subject.append_entry_by_nid(Nid::COMMONNAME, first)?;
        }
    }
    let mut builder = X509Req::builder()?;
    builder.set_version(0)?;
    builder.set_subject_name(subject.build().as_ref())?;
    builder.set_pubkey(key)?;
    let names = alternative(names).build(&builder.x509v3_context(None))?;
    let mut extensions = Stack::new()?;
    extensions.push(names)?;
    builder.add_extensions(&extensions)?;
    builder.sign(key, MessageDigest::sha256())?;
    Ok(builder.build())
}

/// The proof of control over a name in TLS (RFC 8737 section 3): signed by itself, with `digest` of the key authorization.
///
/// # Errors
/// Those of OpenSSL.
pub fn proof(key: &PKey<Private>, name: &str, digest: &[u8; 32]) -> Result<X509, ErrorStack> {
    let now = UnixTime::of_system();
    let mut builder = begin(
        key,
        X509Name::builder()?.build().as_ref(),
        X509Name::builder()?.build().as_ref(),
        1,
        now,
    )?;
    let names = alternative(&[name.to_owned()]).build(&builder.x509v3_context(None, None))?;
    builder.append_extension(names)?;
    // id-pe-acmeIdentifier, an OCTET STRING of 32 bytes
    let value = [&[0x04, 0x20], &digest[..]].concat();
    let value = Asn1OctetString::new_from_bytes(&value)?;
    let identifier = Asn1Object::from_str("1.3.6.1.5.5.7.1.31")?;
    builder.append_extension(X509Extension::new_from_der(&identifier, true, &value)?)?;
    builder.sign(key, MessageDigest::sha256())?;
    Ok(builder.build())
}

fn alternative(names: &[String]) -> SubjectAlternativeName {
    let mut alternative = SubjectAlternativeName::new();
    for name in names {
        if name.parse::<IpAddr>().is_ok() {
            alternative.ip(name);
        } else {
            alternative.dns(name);
        }
    }
    alternative
}

/// What all certificates have: version 3, a random serial number of 127 bits (RFC 5280 wants it positive and at most 20
/// bytes), names, key and `days` from now. It begins an hour ago, for clients whose clock is behind.
fn begin(
    key: &PKey<Private>,
    subject: &X509NameRef,
    issuer: &X509NameRef,
    days: u32,
    now: UnixTime,
) -> Result<X509Builder, ErrorStack> {
    let mut serial = BigNum::new()?;
    serial.rand(127, MsbOption::ONE, false)?;
    let now = i64::try_from(now.seconds()).unwrap_or(i64::MAX / 2);
    let (from, until) = (now - DAY / 24, now + i64::from(days) * DAY);
    let mut builder = X509::builder()?;
    builder.set_version(2)?;
    builder.set_serial_number(Asn1Integer::from_bn(&serial)?.as_ref())?;
    builder.set_subject_name(subject)?;
    builder.set_issuer_name(issuer)?;
    builder.set_pubkey(key)?;
    builder.set_not_before(Asn1Time::from_unix(from)?.as_ref())?;
    builder.set_not_after(Asn1Time::from_unix(until)?.as_ref())?;
    Ok(builder)
}

fn development(common: &str) -> Result<X509Name, ErrorStack> {
    let mut name = X509Name::builder()?;
    name.append_entry_by_nid(Nid::ORGANIZATIONNAME, DEVELOPMENT)?;
    name.append_entry_by_nid(Nid::COMMONNAME, common)?;
    Ok(name.build())
}
