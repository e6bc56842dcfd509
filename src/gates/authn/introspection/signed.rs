//! Answers that their issuer has signed (RFC 9701).
//!
//! Such an answer says who gave it, to whom, and when. One for somebody else, one of earlier, and what was signed with the
//! same keys for another purpose is none: TLS tells who is asked, and this tells who has answered, whatever stands between.

use std::fmt;

use super::Said;
use crate::clock::UnixTime;
use crate::gates::authn::AuthnError;
use crate::gates::authn::claims::ClaimPath;
use crate::gates::authn::jwk::KeySet;
use crate::gates::authn::jws::Unverified;
use crate::gates::authn::jwt::{self, Issuer};

/// The media type that is asked for, and that the answer has to have.
pub const MEDIA_TYPE: &str = "application/token-introspection+jwt";
/// The only `typ` (section 5).
const TYPE: &str = "token-introspection+jwt";
/// Where the answer of RFC 7662 is.
const SAID: &str = "token_introspection";

/// Why an answer that came is not believed. Never the client's fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Untrusted {
    /// It is plain JSON: somebody has taken the signature away, or the issuer does not sign.
    Unsigned,
    /// It is encrypted, which is not asked for here.
    Encrypted,
    /// It is not a signed answer of this issuer to us, of now.
    Refused(AuthnError),
}

impl Untrusted {
    /// Stable, snake_case.
    #[must_use]
    pub const fn reason(self) -> &'static str {
        match self {
            Untrusted::Unsigned => "introspection_unsigned",
            Untrusted::Encrypted => "introspection_encrypted",
            Untrusted::Refused(_) => "introspection_untrusted",
        }
    }
}

impl fmt::Display for Untrusted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Untrusted::Unsigned => {
                f.write_str("plain JSON, where a signed one was asked for (`response: jwt`)")
            }
            Untrusted::Encrypted => {
                f.write_str("encrypted, which is not supported: have the issuer sign answers to us only")
            }
            Untrusted::Refused(why) => write!(f, "not a signed one to us, of now: {why}"),
        }
    }
}

impl From<AuthnError> for Untrusted {
    fn from(why: AuthnError) -> Untrusted {
        match why {
            AuthnError::TokenEncrypted => Untrusted::Encrypted,
            why => Untrusted::Refused(why),
        }
    }
}

/// Who asks, and when that was.
#[derive(Debug, Clone, Copy)]
pub struct Question<'a> {
    /// Who we are at the issuer.
    pub client_id: &'a str,
    /// No answer is older.
    pub asked: UnixTime,
}

/// What an issuer says in a signed answer, at the moment `now`. `keys` must be that issuer's and nobody else's.
///
/// # Errors
/// Why it is not believed. [`AuthnError::KeyUnknown`] is the one after which keys may be fetched and it may be tried again.
pub fn verify(
    issuer: &Issuer,
    keys: &KeySet,
    answer: &Unverified<'_>,
    question: Question<'_>,
    now: UnixTime,
) -> Result<Said, AuthnError> {
    if !issuer.algorithms.contains(&answer.algorithm()) {
        return Err(AuthnError::AlgorithmNotAllowed);
    }
    // section 8.1: or an access token would be an answer, and an answer an access token
    if !answer
        .token_type()
        .is_some_and(|kind| jwt::subtype(kind).eq_ignore_ascii_case(TYPE))
    {
        return Err(AuthnError::TokenType);
    }
    let (claims, _) = jwt::verify_signature(keys, answer, |key| issuer.may_use(key))?;
    if claims.issuer() != Some(&*issuer.issuer) {
        return Err(AuthnError::IssuerMismatch);
    }
    // we are known to the issuer by our client id, or as what tokens are for
    let is_us = |name: &str| name == question.client_id || issuer.audiences.iter().any(|us| us == name);
    if !claims.audiences().ok_or(AuthnError::AudienceMissing)?.any(is_us) {
        return Err(AuthnError::AudienceMismatch);
    }
    let issued = claims.issued_at().ok_or(AuthnError::ClaimMissing)?;
    // `iat` is in whole seconds
    let asked = UnixTime::from_seconds(question.asked.seconds());
    if issued.saturating_add(issuer.clock_skew) < asked {
        return Err(AuthnError::TokenExpired);
    }
    if issued > now.saturating_add(issuer.clock_skew) {
        return Err(AuthnError::TokenNotYetValid);
    }
    let said = claims
        .value(&ClaimPath::of(SAID))?
        .ok_or(AuthnError::ClaimMissing)?;
    Said::read(said.clone())
}
