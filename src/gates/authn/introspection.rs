//! Tokens that say nothing themselves: their issuer is asked (RFC 7662).
//!
//! Here is decided what may be asked and whether the answer is acceptable; asking is the world's. The issuer's word that a
//! token is active is not enough: it has to be one of this issuer, for us, now, just as if the token said so itself.

use std::fmt;
use std::time::Duration;

use http::Uri;
use openssl::x509::X509;
use serde_json::Value;

use super::AuthnError;
use super::claims::{ClaimPath, Claims};
use super::jwt::{self, Issuer, Verified};
use crate::clock::UnixTime;

/// How an issuer is asked about tokens.
#[derive(Clone)]
pub struct Introspection {
    /// `https`, or `http` to a loopback address.
    pub url: Uri,
    /// Who we are at the issuer.
    pub client_id: String,
    /// How we prove it. Never printed.
    pub client_secret: String,
    /// CAs that may have issued the server's certificate; none: the system's.
    pub ca: Vec<X509>,
    /// How long an answer is good for a token that is active: at most until its `exp`.
    pub cache: Duration,
    /// And for one that is not.
    pub negative_cache: Duration,
    /// Deadline of one question.
    pub timeout: Duration,
    /// Whether an answer may leave out whom the token is for.
    pub audience_optional: bool,
}

impl Introspection {
    /// Whether both ask the same in the same way, so that what one is doing is good for the other.
    #[must_use]
    pub fn is_same(&self, other: &Introspection) -> bool {
        let der = |certificates: &[X509]| certificates.iter().map(|c| c.to_der().ok()).collect::<Vec<_>>();
        self.client_secret == other.client_secret
            && der(&self.ca) == der(&other.ca)
            && format!("{self:?}") == format!("{other:?}")
    }
}

impl fmt::Debug for Introspection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Introspection {
            url,
            client_id,
            client_secret: _,
            ca,
            cache,
            negative_cache,
            timeout,
            audience_optional,
        } = self;
        f.debug_struct("Introspection")
            .field("url", url)
            .field("client_id", client_id)
            .field("ca", &ca.len())
            .field("spans", &[cache, negative_cache, timeout])
            .field("audience_optional", audience_optional)
            .finish_non_exhaustive()
    }
}

/// What an issuer said of a token: well-formed, and not judged yet.
#[derive(Debug, Clone, PartialEq)]
pub enum Said {
    /// It is good, and this is what it stands for.
    Active(Claims),
    /// It is not, for whatever reason.
    Inactive,
}

impl Said {
    /// Reads an answer (RFC 7662 section 2.2).
    ///
    /// # Errors
    /// It is not such an answer. That is the issuer's fault and not the token's.
    pub fn parse(json: &[u8]) -> Result<Said, AuthnError> {
        let claims = Claims::parse(json)?;
        match claims.value(&ClaimPath::of("active"))? {
            Some(Value::Bool(true)) => Ok(Said::Active(claims)),
            Some(Value::Bool(false)) => Ok(Said::Inactive),
            _ => Err(AuthnError::ClaimShape),
        }
    }
}

/// Decides about a token of which its issuer said this, for the moment `now`.
///
/// # Errors
/// Why it is not acceptable.
pub fn verify(
    issuer: &Issuer,
    policy: &Introspection,
    said: &Said,
    now: UnixTime,
) -> Result<Verified, AuthnError> {
    let Said::Active(claims) = said else {
        return Err(AuthnError::TokenInactive);
    };
    // S47, U4: what the answer says of its parties must be right; the issuer itself is known by whom was asked
    if claims.issuer().is_some_and(|named| named != issuer.issuer) {
        return Err(AuthnError::IssuerMismatch);
    }
    if claims.audiences().is_some() || !policy.audience_optional {
        jwt::check_audience(issuer, claims)?;
    }
    // a refresh token is active, too; and a token of DPoP is only good with the key that is told (RFC 9449 section 6.2)
    let type_of = |name: &str| claims.text(&ClaimPath::of(name));
    let is_bound = claims.key_thumbprint()?.is_some();
    let is_presented =
        |kind: &str| kind.eq_ignore_ascii_case("Bearer") || is_bound && kind.eq_ignore_ascii_case("DPoP");
    let is_access_token = type_of("token_type")?.is_none_or(is_presented)
        && type_of("typ")?
            .is_none_or(|kind| kind.eq_ignore_ascii_case("Bearer") || issuer.token_types.accept(Some(kind)));
    if !is_access_token {
        return Err(AuthnError::TokenType);
    }
    jwt::check_times(issuer, claims, now)?;
    let expires = claims.expires().unwrap_or(UnixTime::MAX);
    // tokens of a client's own are about that client (RFC 9068 section 2.2), and often say so only here
    jwt::accept(issuer, claims.clone(), expires, jwt::Subject::OrClient)
}
