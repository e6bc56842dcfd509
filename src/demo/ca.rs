//! A development CA and one server certificate, made on the spot.
//!
//! The CA's key signs once and is forgotten: nobody who later reads the directory can issue certificates that a browser,
//! told to trust `ca.pem`, would believe. When the certificate nears its end, a new CA takes the place of the old one.

use std::io;
use std::net::IpAddr;

use openssl::asn1::{Asn1Integer, Asn1Time};
use openssl::bn::{BigNum, MsbOption};
use openssl::ec::{EcGroup, EcKey};
use openssl::error::ErrorStack;
use openssl::hash::MessageDigest;
use openssl::nid::Nid;
use openssl::pkey::{PKey, Private};
use openssl::stack::Stack;
use openssl::x509::extension::{
    AuthorityKeyIdentifier, BasicConstraints, ExtendedKeyUsage, KeyUsage, SubjectAlternativeName,
    SubjectKeyIdentifier,
};
use openssl::x509::store::X509StoreBuilder;
use openssl::x509::{X509, X509Builder, X509Name, X509PurposeId, X509Ref, X509StoreContext};

use super::state::{Readers, State};

/// The CA certificate, for `curl --cacert`.
pub const CA: &str = "ca.pem";
/// The server certificate, followed by the CA that issued it.
pub const CERTIFICATE: &str = "tls.crt";
/// The server's private key (PKCS #8).
pub const KEY: &str = "tls.key";

const CA_DAYS: u32 = 30;
const CERTIFICATE_DAYS: u32 = 7;
/// Renewed when less than this is left.
const SPARE_DAYS: u32 = 1;

const NAMES: [&str; 2] = ["localhost", "api.localhost"];
const ADDRESSES: [&str; 2] = ["127.0.0.1", "::1"];

/// Makes [`CA`], [`CERTIFICATE`] and [`KEY`], unless those of an earlier run still serve. The caller holds the lock.
///
/// # Errors
/// Those of the file system and of OpenSSL.
pub fn ensure(state: &State) -> io::Result<()> {
    if is_current(state)? {
        return Ok(());
    }
    let issued = issue()?;
    // In this order a crash in between leaves files that do not match, and `is_current` says so next time.
    state.write(KEY, &issued.key, Readers::Owner)?;
    state.write(CERTIFICATE, &issued.chain, Readers::Everybody)?;
    state.write(CA, &issued.ca, Readers::Everybody)
}

/// PEM texts.
struct Issued {
    ca: Vec<u8>,
    chain: Vec<u8>,
    key: Vec<u8>,
}

fn issue() -> Result<Issued, ErrorStack> {
    let group = EcGroup::from_curve_name(Nid::X9_62_PRIME256V1)?;
    let ca_key = PKey::from_ec_key(EcKey::generate(&group)?)?;
    let ca = authority(&ca_key)?;
    let key = PKey::from_ec_key(EcKey::generate(&group)?)?;
    let mut chain = certificate(&key, &ca, &ca_key)?.to_pem()?;
    let ca = ca.to_pem()?;
    chain.extend_from_slice(&ca);
    Ok(Issued {
        ca,
        chain,
        key: key.private_key_to_pem_pkcs8()?,
    })
}

fn authority(key: &PKey<Private>) -> Result<X509, ErrorStack> {
    let name = name("Durward demo CA")?;
    let mut builder = begin(key, &name, &name, CA_DAYS)?;
    builder.append_extension(BasicConstraints::new().critical().ca().pathlen(0).build()?)?;
    builder.append_extension(KeyUsage::new().critical().key_cert_sign().crl_sign().build()?)?;
    let subject = SubjectKeyIdentifier::new().build(&builder.x509v3_context(None, None))?;
    builder.append_extension(subject)?;
    builder.sign(key, MessageDigest::sha256())?;
    Ok(builder.build())
}

fn certificate(key: &PKey<Private>, ca: &X509Ref, ca_key: &PKey<Private>) -> Result<X509, ErrorStack> {
    let mut builder = begin(
        key,
        &name("Durward demo")?,
        &name("Durward demo CA")?,
        CERTIFICATE_DAYS,
    )?;
    builder.append_extension(BasicConstraints::new().critical().build()?)?;
    builder.append_extension(KeyUsage::new().critical().digital_signature().build()?)?;
    builder.append_extension(ExtendedKeyUsage::new().server_auth().build()?)?;
    let mut names = SubjectAlternativeName::new();
    for name in NAMES {
        names.dns(name);
    }
    for address in ADDRESSES {
        names.ip(address);
    }
    let context = builder.x509v3_context(Some(ca), None);
    let names = names.build(&context)?;
    let subject = SubjectKeyIdentifier::new().build(&context)?;
    let issuer = AuthorityKeyIdentifier::new().keyid(true).build(&context)?;
    for extension in [names, subject, issuer] {
        builder.append_extension(extension)?;
    }
    builder.sign(ca_key, MessageDigest::sha256())?;
    Ok(builder.build())
}

/// What both certificates have: version 3, a random serial number of 127 bits (RFC 5280 wants it positive and at most
/// 20 bytes), names, key and `days` from now.
fn begin(
    key: &PKey<Private>,
    subject: &X509Name,
    issuer: &X509Name,
    days: u32,
) -> Result<X509Builder, ErrorStack> {
    let mut serial = BigNum::new()?;
    serial.rand(127, MsbOption::ONE, false)?;
    let (serial, from) = (Asn1Integer::from_bn(&serial)?, Asn1Time::days_from_now(0)?);
    let mut builder = X509::builder()?;
    builder.set_version(2)?;
    builder.set_serial_number(&serial)?;
    builder.set_subject_name(subject)?;
    builder.set_issuer_name(issuer)?;
    builder.set_pubkey(key)?;
    builder.set_not_before(&from)?;
    builder.set_not_after(Asn1Time::days_from_now(days)?.as_ref())?;
    Ok(builder)
}

fn name(common: &str) -> Result<X509Name, ErrorStack> {
    let mut name = X509Name::builder()?;
    name.append_entry_by_text("O", "Durward development, not for production")?;
    name.append_entry_by_text("CN", common)?;
    Ok(name.build())
}

/// Whether the files are there, belong together, name everything they should and last a day longer.
fn is_current(state: &State) -> io::Result<bool> {
    let (Some(ca), Some(chain), Some(key)) = (
        state.read(CA, Readers::Everybody)?,
        state.read(CERTIFICATE, Readers::Everybody)?,
        state.read(KEY, Readers::Owner)?,
    ) else {
        return Ok(false);
    };
    // A file that does not parse is as good as none: it is made again.
    Ok(belong_together(&ca, &chain, &key).unwrap_or(false))
}

fn belong_together(ca: &[u8], chain: &[u8], key: &[u8]) -> Result<bool, ErrorStack> {
    let ca = X509::from_pem(ca)?;
    let chain = X509::stack_from_pem(chain)?;
    let key = PKey::private_key_from_pem(key)?;
    let Some(leaf) = chain.first() else {
        return Ok(false);
    };
    let lasts = leaf.not_after() > Asn1Time::days_from_now(SPARE_DAYS)?.as_ref();
    Ok(lasts
        && leaf.public_key()?.public_eq(&key)
        && names_all(leaf)
        && verifies(leaf, ca, X509StoreBuilder::new()?)?)
}

/// Path validation as a TLS client does it, at today's date.
fn verifies(leaf: &X509Ref, ca: X509, mut store: X509StoreBuilder) -> Result<bool, ErrorStack> {
    store.add_cert(ca)?;
    store.set_purpose(X509PurposeId::SSL_SERVER)?;
    X509StoreContext::new()?.init(&store.build(), leaf, Stack::new()?.as_ref(), |context| {
        context.verify_cert()
    })
}

fn names_all(leaf: &X509Ref) -> bool {
    let Some(present) = leaf.subject_alt_names() else {
        return false;
    };
    let has_name = |name: &&str| present.iter().any(|one| one.dnsname() == Some(name));
    let has_address = |text: &&str| {
        let bytes = match text.parse() {
            Ok(IpAddr::V4(address)) => address.octets().to_vec(),
            Ok(IpAddr::V6(address)) => address.octets().to_vec(),
            Err(_) => return false,
        };
        present
            .iter()
            .any(|one| one.ipaddress() == Some(bytes.as_slice()))
    };
    NAMES.iter().all(has_name) && ADDRESSES.iter().all(has_address)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    use openssl::x509::verify::{X509CheckFlags, X509VerifyParam};

    use super::*;
    use crate::demo::state::Scratch;

    fn made() -> (Scratch, State) {
        let scratch = Scratch::new();
        let state = State::open(&scratch.0).unwrap();
        ensure(&state).unwrap();
        (scratch, state)
    }

    fn files(state: &State) -> [Vec<u8>; 3] {
        [CA, CERTIFICATE, KEY].map(|name| fs::read(state.path().join(name)).unwrap())
    }

    #[test]
    fn the_chain_verifies_for_every_name_and_for_no_other() {
        let (_scratch, state) = made();
        let [ca, chain, _] = files(&state);
        let ca = X509::from_pem(&ca).unwrap();
        let chain = X509::stack_from_pem(&chain).unwrap();
        assert_eq!(chain.len(), 2);
        assert_eq!(chain[1].to_der().unwrap(), ca.to_der().unwrap());
        let verifies_as = |host: &str| {
            let mut wanted = X509VerifyParam::new().unwrap();
            wanted.set_hostflags(X509CheckFlags::NO_PARTIAL_WILDCARDS);
            match host.parse() {
                Ok(address) => wanted.set_ip(address).unwrap(),
                Err(_) => wanted.set_host(host).unwrap(),
            }
            let mut store = X509StoreBuilder::new().unwrap();
            store.set_param(&wanted).unwrap();
            verifies(&chain[0], ca.clone(), store).unwrap()
        };
        for host in NAMES.iter().chain(&ADDRESSES) {
            assert!(verifies_as(host), "{host}");
        }
        assert!(!verifies_as("example.com"));
        assert!(!verifies_as("127.0.0.2"));
    }

    #[test]
    fn only_the_owner_reads_the_key_and_the_key_of_the_ca_is_nowhere() {
        let (_scratch, state) = made();
        let mode = fs::metadata(state.path().join(KEY)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let [ca, _, key] = files(&state);
        let ca = X509::from_pem(&ca).unwrap();
        let key = PKey::private_key_from_pem(&key).unwrap();
        assert!(!ca.public_key().unwrap().public_eq(&key));
    }

    #[test]
    fn files_are_kept_while_they_are_valid_and_made_again_when_they_do_not_match() {
        let (_scratch, state) = made();
        let first = files(&state);
        ensure(&state).unwrap();
        assert_eq!(files(&state), first);
        state.write(KEY, &issue().unwrap().key, Readers::Owner).unwrap();
        ensure(&state).unwrap();
        let second = files(&state);
        assert_ne!(second[0], first[0]);
        state
            .write(CERTIFICATE, b"not a certificate", Readers::Everybody)
            .unwrap();
        ensure(&state).unwrap();
        assert_ne!(files(&state)[0], second[0]);
    }
}
