//! What is wrong with a chain of certificates that a server shows.

use std::fmt;

use openssl::nid::Nid;
use openssl::pkey::Id;
use openssl::stack::Stack;
use openssl::x509::store::X509StoreBuilder;
use openssl::x509::{X509, X509PurposeId, X509Ref, X509StoreContext, X509VerifyResult};

use super::facts;
use crate::clock::UnixTime;

/// Something wrong with a chain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Flaw {
    /// A certificate has ended; its place in the chain, from 1.
    Expired(usize, String),
    /// A certificate does not count yet.
    NotYetValid(usize, String),
    /// The TLS library does not serve with a key that is so short.
    WeakKey(usize, String),
    /// Signed with a digest that is broken; the TLS library refuses it.
    WeakDigest(usize, String),
    /// The one at this place was not issued by the next.
    Order(usize),
    /// The issuer's own certificate is missing, and this is what it is called.
    Incomplete(String),
    /// The chain does not lead to the CA that was named with it.
    NotOfThisCa(String),
    /// No name at all; nobody looks at the common name any more.
    Nameless,
}

impl Flaw {
    /// Whether a server with this chain cannot be reached by anybody.
    #[must_use]
    pub fn is_fatal(&self) -> bool {
        match self {
            Flaw::WeakKey(..) | Flaw::WeakDigest(..) => true,
            Flaw::Expired(..)
            | Flaw::NotYetValid(..)
            | Flaw::Order(_)
            | Flaw::Incomplete(_)
            | Flaw::NotOfThisCa(_)
            | Flaw::Nameless => false,
        }
    }

    /// What to do about it.
    #[must_use]
    pub fn help(&self) -> &'static str {
        match self {
            Flaw::Expired(1, _) => "clients will refuse it; renew it",
            Flaw::Expired(..) => "clients will refuse it; ask the CA for the current one",
            Flaw::NotYetValid(..) => "clients will refuse it; is the clock of this machine right?",
            Flaw::WeakKey(..) => "make a new key: `durward tls csr` makes an EC key of 256 bits",
            Flaw::WeakDigest(..) => "ask the CA for a certificate that is signed with SHA-256",
            Flaw::Order(_) => {
                "the server's own comes first, then each one's issuer; the root may be left out"
            }
            Flaw::Incomplete(_) => {
                "append the CA's intermediate certificate: most programs do not fetch it by themselves"
            }
            Flaw::NotOfThisCa(_) => "it belongs to another CA, or an intermediate certificate is missing",
            Flaw::Nameless => "clients look at subjectAltName only (RFC 9525)",
        }
    }
}

impl fmt::Display for Flaw {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let which = |place: &usize| match place {
            1 => "the certificate".to_owned(),
            place => format!("certificate {place} of the chain"),
        };
        match self {
            Flaw::Expired(place, when) => write!(f, "{} expired at {when}", which(place)),
            Flaw::NotYetValid(place, when) => write!(f, "{} is not valid before {when}", which(place)),
            Flaw::WeakKey(place, key) => write!(f, "{} has a weak key: {key}", which(place)),
            Flaw::WeakDigest(place, digest) => write!(f, "{} is signed with {digest}", which(place)),
            Flaw::Order(place) => write!(
                f,
                "the chain is out of order: certificate {} did not issue certificate {place}",
                place + 1
            ),
            Flaw::Incomplete(issuer) => write!(f, "the chain is incomplete: `{issuer}` is missing"),
            Flaw::NotOfThisCa(why) => write!(f, "the chain does not lead to ca.crt: {why}"),
            Flaw::Nameless => f.write_str("the certificate has no name in subjectAltName"),
        }
    }
}

/// What is wrong with a chain, leaf first, at this moment.
#[must_use]
pub fn of(chain: &[X509], now: UnixTime) -> Vec<Flaw> {
    let mut flaws = Vec::new();
    let now = i64::try_from(now.seconds()).unwrap_or(i64::MAX);
    for (index, certificate) in chain.iter().enumerate() {
        let place = index + 1;
        if facts::seconds(certificate.not_after()).is_none_or(|end| end < now) {
            flaws.push(Flaw::Expired(place, certificate.not_after().to_string()));
        }
        if facts::seconds(certificate.not_before()).is_none_or(|begin| begin > now) {
            flaws.push(Flaw::NotYetValid(place, certificate.not_before().to_string()));
        }
        if let Ok(key) = certificate.public_key() {
            let least = match key.id() {
                Id::RSA | Id::RSA_PSS => 2048,
                Id::EC => 256,
                Id::ED25519 | Id::ED448 => 0,
                _ => u32::MAX,
            };
            if key.bits() < least {
                flaws.push(Flaw::WeakKey(place, facts::key(&key)));
            }
        }
        // nobody checks a root's signature of itself
        if let Some(digest) = weak_digest(certificate).filter(|_| !facts::is_self_issued(certificate)) {
            flaws.push(Flaw::WeakDigest(place, digest));
        }
    }
    for (index, pair) in chain.windows(2).enumerate() {
        if let [issued, issuer] = pair
            && issuer.issued(issued) != X509VerifyResult::OK
        {
            flaws.push(Flaw::Order(index + 1));
            break;
        }
    }
    if let [leaf] = chain
        && !facts::is_self_issued(leaf)
        && !facts::access(leaf, Nid::AD_CA_ISSUERS).is_empty()
    {
        // a certificate that says where its issuer's is to be had has one that clients do not have themselves
        flaws.push(Flaw::Incomplete(facts::name(leaf.issuer_name())));
    }
    if chain.first().is_some_and(|leaf| facts::names(leaf).is_empty()) {
        flaws.push(Flaw::Nameless);
    }
    flaws
}

fn weak_digest(certificate: &X509Ref) -> Option<String> {
    let signed = certificate.signature_algorithm().object().nid();
    let digest = signed.signature_algorithms()?.digest;
    [Nid::MD5, Nid::SHA1]
        .contains(&digest)
        .then(|| digest.long_name().unwrap_or("a broken digest").to_uppercase())
}

/// Why a chain is not believed: OpenSSL's number, X509_V_ERR_*.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Distrust(pub i32);

impl Distrust {
    /// A certificate has not begun.
    pub const NOT_YET_VALID: Distrust = Distrust(9);
    /// A certificate has ended.
    pub const EXPIRED: Distrust = Distrust(10);
    /// Signed by itself, and not trusted.
    pub const SELF_SIGNED: Distrust = Distrust(18);
    /// Its root is there, and not trusted.
    pub const UNTRUSTED_ROOT: Distrust = Distrust(19);
    /// An issuer is not there.
    pub const NO_ISSUER: Distrust = Distrust(20);
    /// The leaf's issuer is not there.
    pub const NO_ISSUER_OF_LEAF: Distrust = Distrust(21);
    /// It is for other names.
    pub const NAME: Distrust = Distrust(62);
    /// It is for other addresses.
    pub const ADDRESS: Distrust = Distrust(64);
    /// OpenSSL could not even begin.
    pub const UNSPECIFIED: Distrust = Distrust(1);
}

impl From<X509VerifyResult> for Distrust {
    fn from(result: X509VerifyResult) -> Distrust {
        Distrust(result.as_raw())
    }
}

/// Whether clients who trust these CAs alone believe a chain for a server, now.
///
/// # Errors
/// Why not, and OpenSSL's words for it.
pub fn leads_to(chain: &[X509], authorities: &[X509]) -> Result<(), (Distrust, &'static str)> {
    let validated = || {
        let mut store = X509StoreBuilder::new()?;
        for authority in authorities {
            store.add_cert(authority.clone())?;
        }
        store.set_purpose(X509PurposeId::SSL_SERVER)?;
        // a CA that was named is trusted, whether or not it is a root
        store.set_flags(openssl::x509::verify::X509VerifyFlags::PARTIAL_CHAIN)?;
        let mut rest = Stack::new()?;
        for certificate in chain.iter().skip(1) {
            rest.push(certificate.clone())?;
        }
        let Some(leaf) = chain.first() else {
            return Ok(None);
        };
        X509StoreContext::new()?.init(&store.build(), leaf, &rest, |context| {
            let good = context.verify_cert()?;
            Ok(Some(if good {
                X509VerifyResult::OK
            } else {
                context.error()
            }))
        })
    };
    let result: Result<_, openssl::error::ErrorStack> = validated();
    match result {
        Ok(Some(X509VerifyResult::OK)) => Ok(()),
        Ok(Some(why)) => Err((why.into(), why.error_string())),
        Ok(None) | Err(_) => Err((Distrust::UNSPECIFIED, "it could not be verified at all")),
    }
}
