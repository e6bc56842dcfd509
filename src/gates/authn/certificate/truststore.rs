//! Who may have issued a client's certificate, and whether it is good now (RFC 5280 section 6).
//!
//! OpenSSL builds and validates the path, in the handshake and again wherever the truststore has changed since; what it does
//! not ask for is asked here: a purpose that is written down, SHA-256 or stronger, keys that are not weak, revocation lists
//! and the deny list. There is one function for both, so that a request is never judged by less than a handshake.

use std::collections::HashSet;
use std::fmt;
use std::sync::Arc;

use openssl::nid::Nid;
use openssl::pkey::Id;
use openssl::stack::{Stack, StackRef};
use openssl::x509::store::{X509Store, X509StoreRef};
use openssl::x509::verify::{X509VerifyParam, X509VerifyParamRef};
use openssl::x509::{
    CrlStatus, X509, X509Crl, X509ExtendedKeyUsage, X509Name, X509NameRef, X509PurposeId, X509Ref,
    X509StoreContext,
};

use super::text::{self, fingerprint, key_fingerprint};
use crate::clock::UnixTime;
use crate::gates::authn::AuthnError;
use crate::gates::authn::verdicts::Digest;

/// Certificates between a client's own and a self-signed CA, at most.
const MOST_INTERMEDIATES: i32 = 4;
/// OpenSSL's level of 112 bits: no SHA-1, no RSA below 2048 bits, no curve below 224.
const LEVEL: i32 = 2;
/// Least size of an RSA key, in bits.
const LEAST_RSA: u32 = 2048;

/// CAs, with what they have taken back.
pub struct Truststore {
    /// Its name in the configuration.
    pub name: Arc<str>,
    /// Identifies everything that a verdict depends on.
    pub generation: u64,
    /// The CAs.
    pub authorities: Box<[Authority]>,
    /// Line of the configuration.
    pub line: u32,
    store: X509Store,
    lists: Box<[RevocationList]>,
    accepts_stale: bool,
    denied: HashSet<Digest>,
}

/// A CA.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Authority {
    /// Its subject, as RFC 4514 writes it.
    pub subject: Box<str>,
    /// SHA-256 of its certificate.
    pub sha256: Digest,
}

/// What one CA has taken back.
pub struct RevocationList {
    /// SHA-256 of the CA's public key, which its signature was checked with.
    pub key: Digest,
    /// The list.
    pub crl: X509Crl,
    /// From when,
    pub since: UnixTime,
    /// and until when it is current.
    pub until: UnixTime,
}

/// What a truststore is made of.
#[derive(Debug)]
pub struct Parts {
    /// Its name in the configuration.
    pub name: Arc<str>,
    /// Identifies everything below.
    pub generation: u64,
    /// The CAs.
    pub certificates: Vec<X509>,
    /// Their lists.
    pub lists: Vec<RevocationList>,
    /// Whether lists count that are out of date.
    pub accepts_stale: bool,
    /// SHA-256 of certificates that are refused.
    pub denied: HashSet<Digest>,
    /// Line of the configuration.
    pub line: u32,
}

/// What follows from a certificate's being good.
#[derive(Debug, Clone)]
pub struct Verified {
    /// The CAs above it, its own issuer first.
    pub authorities: Box<[Authority]>,
    /// From then on it has to be judged anew: a certificate of the path ends, or a list does.
    pub until: UnixTime,
}

impl RevocationList {
    /// Whether it speaks of the certificates of a CA: a name with two keys, or a key with two names, counts twice.
    #[must_use]
    pub fn is_of(&self, name: &X509NameRef, key: &Digest) -> bool {
        self.key == *key
            && matches!(
                self.crl.issuer_name().try_cmp(name),
                Ok(std::cmp::Ordering::Equal)
            )
    }
}

impl Truststore {
    /// # Errors
    /// OpenSSL's.
    pub fn new(parts: Parts) -> Result<Truststore, openssl::error::ErrorStack> {
        let Parts {
            name,
            generation,
            certificates,
            lists,
            accepts_stale,
            denied,
            line,
        } = parts;
        let mut builder = openssl::x509::store::X509StoreBuilder::new()?;
        let mut param = X509VerifyParam::new()?;
        demand(&mut param)?;
        builder.set_param(&param)?;
        let mut authorities: Vec<Authority> = Vec::new();
        for certificate in certificates {
            let authority = authority(&certificate).filter(|this| !authorities.contains(this));
            if let Some(authority) = authority {
                authorities.push(authority);
                builder.add_cert(certificate)?;
            }
        }
        Ok(Truststore {
            name,
            generation,
            authorities: authorities.into(),
            line,
            store: builder.build(),
            lists: lists.into(),
            accepts_stale,
            denied,
        })
    }

    /// For OpenSSL, in a handshake.
    #[must_use]
    pub fn store(&self) -> &X509StoreRef {
        &self.store
    }

    /// The names of the CAs, to tell clients which of their certificates would do.
    ///
    /// # Errors
    /// OpenSSL's.
    pub fn names(&self) -> Result<Stack<X509Name>, openssl::error::ErrorStack> {
        let mut names = Stack::new()?;
        for certificate in self.store.all_certificates() {
            names.push(certificate.subject_name().to_owned()?)?;
        }
        Ok(names)
    }

    /// When each of the lists ends, by the subject of its CA.
    pub fn lists(&self) -> impl Iterator<Item = (String, UnixTime)> {
        self.lists
            .iter()
            .map(|list| (text::name(list.crl.issuer_name()), list.until))
    }

    /// Judges a certificate with what the client sent beside it.
    ///
    /// # Errors
    /// Why it is not good.
    pub fn verify(
        &self,
        leaf: &X509Ref,
        sent: &StackRef<X509>,
        now: UnixTime,
    ) -> Result<Verified, AuthnError> {
        let mut context = X509StoreContext::new().map_err(|_| AuthnError::CertificateInvalid)?;
        let verdict = context.init(&self.store, leaf, sent, |context| {
            if !context.verify_cert()? {
                return Ok(Err(fault(context.error().as_raw())));
            }
            Ok(match context.chain() {
                Some(chain) => self.examine(chain, now),
                None => Err(AuthnError::CertificateInvalid),
            })
        });
        verdict.unwrap_or(Err(AuthnError::CertificateInvalid))
    }

    /// What OpenSSL has not looked at, of a path that it has found good: the leaf first, a CA of ours last.
    ///
    /// # Errors
    /// Why the certificate is not good.
    pub fn examine(&self, path: &StackRef<X509>, now: UnixTime) -> Result<Verified, AuthnError> {
        let leaf = path.get(0).ok_or(AuthnError::CertificateInvalid)?;
        let mut until = UnixTime::MAX;
        let mut authorities = Vec::new();
        // from above: what a CA says that was taken back counts for nothing
        for (depth, certificate) in path.iter().enumerate().rev() {
            let issuer = path.get(depth + 1);
            self.is_not_denied(&fingerprint(certificate).ok_or(AuthnError::CertificateInvalid)?)?;
            until = until.min(text::time(certificate.not_after()).ok_or(AuthnError::CertificateInvalid)?);
            is_strong(certificate, issuer.is_some())?;
            if let Some(issuer) = issuer {
                until = until.min(self.is_not_revoked(certificate, issuer, now)?);
            }
            if depth > 0 {
                authorities.insert(0, authority(certificate).ok_or(AuthnError::CertificateInvalid)?);
            }
        }
        // what is not said is everything: a certificate of a server must not do for a client
        let purpose = leaf.extended_key_usage();
        if !purpose.is_some_and(|purpose| purpose.contains(X509ExtendedKeyUsage::SSL_CLIENT)) {
            return Err(AuthnError::CertificatePurpose);
        }
        Ok(Verified {
            authorities: authorities.into(),
            until,
        })
    }

    /// # Errors
    /// A certificate with this SHA-256 is on the deny list.
    pub fn is_not_denied(&self, sha256: &Digest) -> Result<(), AuthnError> {
        if self.denied.contains(sha256) {
            return Err(AuthnError::CertificateDenied);
        }
        Ok(())
    }

    /// Until when that is known.
    fn is_not_revoked(
        &self,
        certificate: &X509Ref,
        issuer: &X509Ref,
        now: UnixTime,
    ) -> Result<UnixTime, AuthnError> {
        if self.lists.is_empty() {
            return Ok(UnixTime::MAX);
        }
        let key = key_fingerprint(issuer).ok_or(AuthnError::CertificateInvalid)?;
        let lists = || {
            let all = self.lists.iter();
            all.filter(|list| list.is_of(certificate.issuer_name(), &key))
        };
        let serial = certificate.serial_number();
        if lists().any(|list| matches!(list.crl.get_by_serial(serial), CrlStatus::Revoked(_))) {
            return Err(AuthnError::CertificateRevoked);
        }
        let until = lists()
            .filter(|list| list.since <= now)
            .map(|list| list.until)
            .max();
        match until {
            None if lists().next().is_none() => Err(AuthnError::CertificateListMissing),
            _ if self.accepts_stale => Ok(UnixTime::MAX),
            Some(until) if now < until => Ok(until),
            _ => Err(AuthnError::CertificateListStale),
        }
    }
}

/// What OpenSSL is to ask of a path.
///
/// # Errors
/// OpenSSL's.
pub fn demand(param: &mut X509VerifyParamRef) -> Result<(), openssl::error::ErrorStack> {
    param.set_purpose(X509PurposeId::SSL_CLIENT)?;
    param.set_auth_level(LEVEL);
    param.set_depth(MOST_INTERMEDIATES);
    Ok(())
}

/// What a CA is called.
#[must_use]
pub fn authority(certificate: &X509Ref) -> Option<Authority> {
    Some(Authority {
        subject: text::name(certificate.subject_name()).into(),
        sha256: fingerprint(certificate)?,
    })
}

/// S29: whether key and signature are strong enough; of what is trusted by itself, the signature says nothing.
///
/// # Errors
/// Which of them is not.
pub fn is_strong(certificate: &X509Ref, is_issued: bool) -> Result<(), AuthnError> {
    let key = certificate
        .public_key()
        .map_err(|_| AuthnError::CertificateInvalid)?;
    let is_rsa = matches!(key.id(), Id::RSA | Id::RSA_PSS);
    if is_rsa && key.bits() < LEAST_RSA {
        return Err(AuthnError::CertificateKeyWeak);
    }
    if is_issued && !has_strong_signature(certificate) {
        return Err(AuthnError::CertificateSignatureWeak);
    }
    Ok(())
}

fn has_strong_signature(certificate: &X509Ref) -> bool {
    /// Ed25519 and Ed448, by OpenSSL's numbers.
    const EDWARDS: [i32; 2] = [1087, 1088];
    /// The identifiers of SHA-256, SHA-384 and SHA-512 in DER (RFC 4055), but for the last byte.
    const SHA2: [u8; 10] = [0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02];
    match certificate.signature_algorithm().object().nid() {
        Nid::SHA256WITHRSAENCRYPTION
        | Nid::SHA384WITHRSAENCRYPTION
        | Nid::SHA512WITHRSAENCRYPTION
        | Nid::ECDSA_WITH_SHA256
        | Nid::ECDSA_WITH_SHA384
        | Nid::ECDSA_WITH_SHA512 => true,
        // the hash is among the parameters, which stand between the signed part and the signature
        Nid::RSASSAPSS => {
            let der = certificate.to_der().unwrap_or_default();
            let signature = certificate.signature().as_slice();
            let head = der.strip_suffix(signature).unwrap_or_default();
            let parameters = head.get(head.len().saturating_sub(80)..).unwrap_or_default();
            parameters.windows(SHA2.len() + 1).any(|window| {
                window
                    .strip_prefix(&SHA2)
                    .is_some_and(|rest| matches!(rest, [1..=3]))
            })
        }
        other => EDWARDS.contains(&other.as_raw()),
    }
}

/// Why OpenSSL refuses a path, by its number (`X509_V_ERR_…` in `x509_vfy.h`).
#[must_use]
pub fn fault(number: i32) -> AuthnError {
    match number {
        // UNABLE_TO_GET_ISSUER_CERT, …_LOCALLY, UNABLE_TO_VERIFY_LEAF_SIGNATURE, CERT_UNTRUSTED
        2 | 20 | 21 | 27 => AuthnError::CertificateIssuerUnknown,
        // DEPTH_ZERO_SELF_SIGNED_CERT, SELF_SIGNED_CERT_IN_CHAIN
        18 | 19 => AuthnError::CertificateSelfSigned,
        // CERT_NOT_YET_VALID
        9 => AuthnError::CertificateNotYetValid,
        // CERT_HAS_EXPIRED
        10 => AuthnError::CertificateExpired,
        // CERT_CHAIN_TOO_LONG, PATH_LENGTH_EXCEEDED
        22 | 25 => AuthnError::CertificateChainTooLong,
        // INVALID_PURPOSE
        26 => AuthnError::CertificatePurpose,
        // PERMITTED_VIOLATION, EXCLUDED_VIOLATION, SUBTREE_MINMAX, UNSUPPORTED_CONSTRAINT_TYPE, …_SYNTAX, …_NAME_SYNTAX
        47 | 48 | 49 | 51 | 52 | 53 => AuthnError::CertificateNameConstraints,
        // EE_KEY_TOO_SMALL, CA_KEY_TOO_SMALL
        66 | 67 => AuthnError::CertificateKeyWeak,
        // CA_MD_TOO_WEAK
        68 => AuthnError::CertificateSignatureWeak,
        _ => AuthnError::CertificateInvalid,
    }
}

impl fmt::Debug for Truststore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Truststore")
            .field("name", &self.name)
            .field("generation", &self.generation)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for RevocationList {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RevocationList")
            .field("until", &self.until)
            .finish_non_exhaustive()
    }
}
