//! A development CA and one server certificate, made on the spot.
//!
//! The CA's key signs once and is forgotten: nobody who later reads the directory can issue certificates that a browser,
//! told to trust `ca.pem`, would believe. When the certificate nears its end, a new CA takes the place of the old one.

use std::io;
use std::net::IpAddr;

use openssl::asn1::Asn1Time;
use openssl::error::ErrorStack;
use openssl::pkey::PKey;
use openssl::stack::Stack;
use openssl::x509::store::X509StoreBuilder;
use openssl::x509::{X509, X509PurposeId, X509Ref, X509StoreContext};

use crate::clock::UnixTime;
use crate::pki::issue::{Authority, Key};
use crate::pki::store::{Readers, State};

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
    let now = UnixTime::of_system();
    let authority = Authority::new("Durward demo CA", CA_DAYS, now)?;
    let key = Key::P256.generate()?;
    let names: Vec<String> = NAMES
        .iter()
        .chain(&ADDRESSES)
        .map(|name| (*name).to_owned())
        .collect();
    let leaf = authority.server(&key, "Durward demo", &names, CERTIFICATE_DAYS, now)?;
    let (mut chain, ca) = (leaf.to_pem()?, authority.certificate.to_pem()?);
    chain.extend_from_slice(&ca);
    Ok(Issued {
        ca,
        chain,
        key: key.private_key_to_pem_pkcs8()?,
    })
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
    use crate::pki::store::Scratch;

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
