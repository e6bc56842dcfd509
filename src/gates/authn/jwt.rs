//! Whether a token is acceptable (RFC 7519, RFC 8725, RFC 9068): from this issuer, for us, now.
//!
//! The order: what the issuer's settings rule out costs nothing, then the key, then the signature,
//! and only what was signed is read as claims.

use std::collections::HashSet;
use std::time::Duration;

use jsonwebtoken::errors::ErrorKind;
use jsonwebtoken::{Algorithm, Validation};

use super::claims::{ClaimPath, Claims};
use super::error::AuthnError;
use super::jwk::{Key, KeySet, NoKey};
use super::jws::Unverified;
use crate::clock::UnixTime;

/// How far clocks may differ unless configured otherwise (S49).
pub const DEFAULT_CLOCK_SKEW: Duration = Duration::from_secs(30);

/// The algorithms of an issuer that is configured without any: one of each kind, as documented. The longer hashes are
/// no safer with the same key, so an issuer that uses them is one that somebody has thought about.
pub const DEFAULT_ALGORITHMS: [Algorithm; 4] = [
    Algorithm::RS256,
    Algorithm::PS256,
    Algorithm::ES256,
    Algorithm::EdDSA,
];

/// What tokens of one issuer must be like: settings, compiled.
#[derive(Clone, Debug)]
pub struct Issuer {
    /// What the configuration calls it; for logs and metrics.
    pub name: String,
    /// The exact `iss` of its tokens: compared byte by byte, never normalised.
    pub issuer: String,
    /// Who we are: `aud` must name at least one. With none, no token is accepted.
    pub audiences: Vec<String>,
    /// The algorithms its tokens may use.
    pub algorithms: Vec<Algorithm>,
    /// How far its clock and ours may differ.
    pub clock_skew: Duration,
    /// The `typ` its tokens may have.
    pub token_types: TokenTypes,
    /// The longest a token may be valid, `exp` minus `iat`; `iat` is then required.
    pub max_lifetime: Option<Duration>,
    /// Claims that must be there, beyond `iss`, `aud`, `exp` and the subject.
    pub required_claims: Vec<ClaimPath>,
    /// Where the subject is.
    pub subject: ClaimPath,
    /// Where the client id is: the first that is present.
    pub client_id: Vec<ClaimPath>,
    /// Where scopes are: the union of those present.
    pub scopes: Vec<ClaimPath>,
    /// Where roles are: the union of those present.
    pub roles: Vec<ClaimPath>,
}

impl Issuer {
    /// An issuer with the defaults for everything that has one.
    pub fn new(name: &str, issuer: &str, audiences: &[&str]) -> Self {
        Self {
            name: name.to_owned(),
            issuer: issuer.to_owned(),
            audiences: audiences.iter().map(|audience| (*audience).to_owned()).collect(),
            algorithms: DEFAULT_ALGORITHMS.to_vec(),
            clock_skew: DEFAULT_CLOCK_SKEW,
            token_types: TokenTypes::default(),
            max_lifetime: None,
            required_claims: Vec::new(),
            subject: ClaimPath::of("sub"),
            client_id: vec![ClaimPath::of("client_id"), ClaimPath::of("azp")],
            scopes: vec![
                ClaimPath::of("scope"),
                ClaimPath::of("scp"),
                ClaimPath::of("permissions"),
            ],
            roles: vec![
                ClaimPath::of("roles"),
                ClaimPath::nested(&["realm_access", "roles"]),
            ],
        }
    }
}

/// The `typ` values that are accepted (RFC 7515 section 4.1.9): compared without regard to case and
/// with `application/` as good as left out. The default is none, `JWT` and `at+jwt` (RFC 9068
/// section 2.1), which keeps out what is signed with the same keys for other purposes, such as
/// logout tokens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenTypes {
    absent: bool,
    names: Vec<String>,
}

impl TokenTypes {
    /// `absent`: whether a token may have no `typ`.
    pub fn new(absent: bool, names: &[&str]) -> Self {
        let names = names.iter().map(|name| subtype(name).to_owned()).collect();
        Self { absent, names }
    }

    /// One that is accepted; `None` where it may be absent.
    #[must_use]
    pub fn example(&self) -> Option<&str> {
        self.names.first().filter(|_| !self.absent).map(String::as_str)
    }

    pub(super) fn accept(&self, token_type: Option<&str>) -> bool {
        match token_type.map(subtype) {
            None => self.absent,
            Some(name) => self
                .names
                .iter()
                .any(|accepted| accepted.eq_ignore_ascii_case(name)),
        }
    }
}

impl Default for TokenTypes {
    fn default() -> Self {
        Self::new(true, &["JWT", "at+jwt"])
    }
}

pub(super) fn subtype(media_type: &str) -> &str {
    match media_type.split_once('/') {
        Some((tree, name)) if tree.eq_ignore_ascii_case("application") => name,
        _ => media_type,
    }
}

/// A token that is acceptable, and what it says.
#[derive(Clone, Debug)]
pub struct Verified {
    /// All its claims.
    pub claims: Claims,
    /// Whom it is about: not empty, no control characters, no whitespace around it.
    pub subject: String,
    /// The client it was issued to, as clean as the subject.
    pub client_id: Option<String>,
    /// In the order of the token, each once. No control characters.
    pub scopes: Vec<String>,
    /// In the order of the token, each once. No control characters.
    pub roles: Vec<String>,
    /// `exp`. Acceptable until then plus the issuer's clock skew.
    pub expires: UnixTime,
    /// `nbf`, if it has one.
    pub not_before: Option<UnixTime>,
    /// The `kid` of the key that verified it, if that has one.
    pub key_id: Option<String>,
    /// The [`KeySet::generation`] that key is of.
    pub generation: u64,
}

/// Decides about a token for the moment `now`. `issuer` must have been chosen by exact match of
/// [`Unverified::issuer`], and `keys` must be that issuer's and nobody else's (U4).
///
/// [`AuthnError::KeyUnknown`] is the one error after which the caller may fetch the keys again and
/// retry (S51); every other is final.
pub fn verify(
    issuer: &Issuer,
    keys: &KeySet,
    token: &Unverified<'_>,
    now: UnixTime,
) -> Result<Verified, AuthnError> {
    // S46: what may be used is decided by the settings and the key, never by the token.
    if !issuer.algorithms.contains(&token.algorithm()) {
        return Err(AuthnError::AlgorithmNotAllowed);
    }
    if !issuer.token_types.accept(token.token_type()) {
        return Err(AuthnError::TokenType);
    }
    let (claims, key) = verify_signature(keys, token)?;
    check_parties(issuer, &claims)?;
    let expires = claims.expires().ok_or(AuthnError::ExpiryMissing)?;
    check_times(issuer, &claims, now)?;
    let verified = accept(issuer, claims, expires, Subject::Required)?;
    Ok(Verified {
        key_id: key.kid().map(str::to_owned),
        generation: keys.generation(),
        ..verified
    })
}

/// Whom a token without a subject is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Subject {
    /// Nobody: it is refused.
    Required,
    /// The client that it was issued to.
    OrClient,
}

/// Reads who and what from claims that are known to be true.
pub(super) fn accept(
    issuer: &Issuer,
    claims: Claims,
    expires: UnixTime,
    no_subject: Subject,
) -> Result<Verified, AuthnError> {
    for path in &issuer.required_claims {
        if claims.value(path)?.is_none_or(serde_json::Value::is_null) {
            return Err(AuthnError::ClaimMissing);
        }
    }
    let client_id = client_id(issuer, &claims)?;
    let subject = match (claims.text(&issuer.subject)?, &client_id, no_subject) {
        (Some(subject), ..) => header_value(subject)?,
        (None, Some(client), Subject::OrClient) => client,
        _ => return Err(AuthnError::SubjectMissing),
    };
    Ok(Verified {
        subject: subject.to_owned(),
        client_id,
        scopes: union(&issuer.scopes, |path| claims.scopes(path))?,
        roles: union(&issuer.roles, |path| claims.strings(path))?,
        expires,
        not_before: claims.not_before(),
        key_id: None,
        generation: 0,
        claims,
    })
}

pub(super) fn verify_signature<'k>(
    keys: &'k KeySet,
    token: &Unverified<'_>,
) -> Result<(Claims, &'k Key), AuthnError> {
    let candidates = keys
        .candidates(token.key_id(), token.algorithm())
        .map_err(|none| match none {
            NoKey::Unknown => AuthnError::KeyUnknown,
            NoKey::Unsuited => AuthnError::KeyUnsuited,
            NoKey::Ambiguous => AuthnError::KeyAmbiguous,
        })?;
    // Everything it would check beyond the signature is checked by us: it reads the system clock.
    let validation = Validation {
        required_spec_claims: HashSet::new(),
        leeway: 0,
        reject_tokens_expiring_in_less_than: 0,
        validate_exp: false,
        validate_nbf: false,
        validate_aud: false,
        aud: None,
        iss: None,
        sub: None,
        algorithms: vec![token.algorithm()],
    };
    for key in candidates {
        match jsonwebtoken::decode::<Claims>(token.token(), key.decoding(), &validation) {
            Ok(verified) => return Ok((verified.claims, key)),
            Err(error) => match error.kind() {
                ErrorKind::InvalidSignature => (),
                // Signed, but not claims; the reason is lost on the way through `jsonwebtoken`.
                ErrorKind::Json(_) => {
                    return Err(Claims::parse(token.payload())
                        .err()
                        .unwrap_or(AuthnError::TokenMalformed));
                }
                ErrorKind::InvalidAlgorithm | ErrorKind::UnsupportedAlgorithm => {
                    return Err(AuthnError::KeyUnsuited);
                }
                _ => return Err(AuthnError::TokenMalformed),
            },
        }
    }
    Err(AuthnError::SignatureInvalid)
}

/// S47, U4: who issued it and for whom.
fn check_parties(issuer: &Issuer, claims: &Claims) -> Result<(), AuthnError> {
    if claims.issuer().ok_or(AuthnError::IssuerMissing)? != issuer.issuer {
        return Err(AuthnError::IssuerMismatch);
    }
    check_audience(issuer, claims)
}

/// S47: `aud` names us.
pub(super) fn check_audience(issuer: &Issuer, claims: &Claims) -> Result<(), AuthnError> {
    let mut audiences = claims.audiences().ok_or(AuthnError::AudienceMissing)?;
    if !audiences.any(|audience| issuer.audiences.iter().any(|us| us == audience)) {
        return Err(AuthnError::AudienceMismatch);
    }
    Ok(())
}

/// S47, S49. The boundaries: acceptable while `now < exp + skew` (RFC 7519 section 4.1.4: before,
/// not at) and from `now >= nbf - skew` on (section 4.1.5: at or after); `iat` like `nbf`. With
/// a skew of 30 s, an `exp` of 30.000 s ago is refused and one of 29.999 s ago is not.
pub(super) fn check_times(issuer: &Issuer, claims: &Claims, now: UnixTime) -> Result<(), AuthnError> {
    if claims
        .expires()
        .is_some_and(|expires| now >= expires.saturating_add(issuer.clock_skew))
    {
        return Err(AuthnError::TokenExpired);
    }
    let latest_start = now.saturating_add(issuer.clock_skew);
    if claims.not_before().is_some_and(|start| start > latest_start)
        || claims.issued_at().is_some_and(|issued| issued > latest_start)
    {
        return Err(AuthnError::TokenNotYetValid);
    }
    if let Some(max_lifetime) = issuer.max_lifetime {
        let issued_at = claims.issued_at().ok_or(AuthnError::ClaimMissing)?;
        let expires = claims.expires().ok_or(AuthnError::ExpiryMissing)?;
        if expires.saturating_since(issued_at) > max_lifetime {
            return Err(AuthnError::TokenLifetime);
        }
    }
    Ok(())
}

fn client_id(issuer: &Issuer, claims: &Claims) -> Result<Option<String>, AuthnError> {
    for path in &issuer.client_id {
        if let Some(text) = claims.text(path)? {
            return header_value(text).map(|text| Some(text.to_owned()));
        }
    }
    Ok(None)
}

/// The members at all the paths, each once, in order of appearance.
fn union<'c>(
    paths: &[ClaimPath],
    list: impl Fn(&ClaimPath) -> Result<Option<Vec<&'c str>>, AuthnError>,
) -> Result<Vec<String>, AuthnError> {
    let (mut seen, mut members) = (HashSet::new(), Vec::new());
    for path in paths {
        for text in list(path)?.into_iter().flatten() {
            if text.chars().any(char::is_control) {
                return Err(AuthnError::ClaimNotAHeaderValue);
            }
            if seen.insert(text) {
                members.push(text.to_owned());
            }
        }
    }
    Ok(members)
}

/// Text that a header can carry unchanged: RFC 9110 section 5.5 strips whitespace around a value
/// and forbids control characters in it, so two subjects could else become one on the way.
fn header_value(text: &str) -> Result<&str, AuthnError> {
    let clean = !text.is_empty() && text.trim() == text && !text.chars().any(char::is_control);
    if clean {
        Ok(text)
    } else {
        Err(AuthnError::ClaimNotAHeaderValue)
    }
}
