//! What a token says (RFC 7519 section 4): registered claims by type, all others by path.
//!
//! It decides only whether a claim has the shape its definition gives it. Whether the values are
//! acceptable is [`super::jwt`]'s. A claim of another shape is refused, never converted or
//! skipped: a role list we cannot read must not become an empty one (U18).

mod path;

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::de::{Deserialize, Deserializer, Error};
use serde_json::{Map, Value};

use super::error::AuthnError;
use super::json::{self, Fault};
use super::verdicts::Digest;
use crate::clock::UnixTime;

pub use path::{ClaimPath, ClaimPathError};

/// Deepest nesting of the claims, the object itself included.
pub const MAX_DEPTH: usize = 32;
/// The end of the year 9999, in seconds: later dates are mistakes (often milliseconds).
const MAX_SECONDS: u64 = 253_402_300_799;

/// The claims of a token: an object without repeated members whose registered claims have
/// their registered types.
#[derive(Clone, PartialEq)]
pub struct Claims {
    members: Map<String, Value>,
    expires: Option<UnixTime>,
    not_before: Option<UnixTime>,
    issued_at: Option<UnixTime>,
}

impl Claims {
    /// Reads the payload of a token. Errors: [`AuthnError::TokenMalformed`] (not JSON, too deep),
    /// [`AuthnError::ClaimDuplicate`], [`AuthnError::ClaimShape`].
    pub fn parse(payload: &[u8]) -> Result<Self, AuthnError> {
        json::parse(payload, MAX_DEPTH)
            .map_err(refusal)
            .and_then(Self::from_value)
    }

    /// The same of what is parsed already.
    pub(super) fn from_value(value: Value) -> Result<Self, AuthnError> {
        let Value::Object(members) = value else {
            return Err(AuthnError::ClaimShape);
        };
        for name in ["iss", "sub", "jti"] {
            if members.get(name).is_some_and(|claim| !claim.is_string()) {
                return Err(AuthnError::ClaimShape);
            }
        }
        match members.get("aud") {
            None | Some(Value::String(_)) => (),
            Some(Value::Array(audiences)) if audiences.iter().all(Value::is_string) => (),
            Some(_) => return Err(AuthnError::ClaimShape),
        }
        let expires = numeric_date(members.get("exp"))?;
        let not_before = numeric_date(members.get("nbf"))?;
        let issued_at = numeric_date(members.get("iat"))?;
        Ok(Self {
            members,
            expires,
            not_before,
            issued_at,
        })
    }

    /// `iss` (section 4.1.1).
    pub fn issuer(&self) -> Option<&str> {
        self.registered("iss")
    }

    /// `sub` (section 4.1.2).
    pub fn subject(&self) -> Option<&str> {
        self.registered("sub")
    }

    /// `aud` (section 4.1.3): `None` if absent, else one or any number of audiences.
    pub fn audiences(&self) -> Option<impl Iterator<Item = &str>> {
        let audiences = match self.members.get("aud")? {
            Value::Array(audiences) => audiences.as_slice(),
            audience => std::slice::from_ref(audience),
        };
        Some(audiences.iter().filter_map(Value::as_str))
    }

    /// `exp` (section 4.1.4), rounded down to a millisecond like the other two.
    pub fn expires(&self) -> Option<UnixTime> {
        self.expires
    }

    /// `nbf` (section 4.1.5).
    pub fn not_before(&self) -> Option<UnixTime> {
        self.not_before
    }

    /// `iat` (section 4.1.6).
    pub fn issued_at(&self) -> Option<UnixTime> {
        self.issued_at
    }

    /// `jti` (section 4.1.7).
    pub fn token_id(&self) -> Option<&str> {
        self.registered("jti")
    }

    /// A `NumericDate` by its name. [`AuthnError::ClaimShape`] if it is none.
    pub fn date(&self, name: &str) -> Result<Option<UnixTime>, AuthnError> {
        numeric_date(self.members.get(name))
    }

    /// `cnf.x5t#S256` (RFC 8705 section 3.1): SHA-256 of the certificate that the token is bound to, in base64url.
    pub fn certificate_thumbprint(&self) -> Result<Option<&str>, AuthnError> {
        self.confirmation("x5t#S256")
    }

    /// `cnf.jkt` (RFC 9449 section 6): thumbprint of the key that the token is bound to (RFC 7638, SHA-256). One that is none
    /// is refused, because no key could be meant by it.
    pub fn key_thumbprint(&self) -> Result<Option<Digest>, AuthnError> {
        let Some(text) = self.confirmation("jkt")? else {
            return Ok(None);
        };
        let bytes = URL_SAFE_NO_PAD.decode(text).map_err(|_| AuthnError::ClaimShape)?;
        bytes.try_into().map(Some).map_err(|_| AuthnError::ClaimShape)
    }

    /// A member of `cnf` (RFC 7800 section 3.1).
    fn confirmation(&self, name: &str) -> Result<Option<&str>, AuthnError> {
        let confirmation = match self.members.get("cnf") {
            None => return Ok(None),
            Some(confirmation) => confirmation.as_object().ok_or(AuthnError::ClaimShape)?,
        };
        confirmation
            .get(name)
            .map(|text| text.as_str().ok_or(AuthnError::ClaimShape))
            .transpose()
    }

    fn registered(&self, name: &str) -> Option<&str> {
        self.members.get(name).and_then(Value::as_str)
    }

    /// The claim of this name, whatever it is.
    pub fn member(&self, name: &str) -> Option<&Value> {
        self.members.get(name)
    }

    /// The claim at `path`, whatever it is. `Ok(None)`: absent. [`AuthnError::ClaimShape`]: a
    /// claim on the way there is not an object.
    pub fn value(&self, path: &ClaimPath) -> Result<Option<&Value>, AuthnError> {
        let mut names = path.names();
        let mut found = names.next().and_then(|name| self.members.get(name));
        for name in names {
            found = match found {
                None => return Ok(None),
                Some(Value::Object(members)) => members.get(name),
                Some(_) => return Err(AuthnError::ClaimShape),
            };
        }
        Ok(found)
    }

    /// The single text at `path`. [`AuthnError::ClaimShape`] if it is anything but a string.
    pub fn text(&self, path: &ClaimPath) -> Result<Option<&str>, AuthnError> {
        self.value(path)?
            .map(|claim| claim.as_str().ok_or(AuthnError::ClaimShape))
            .transpose()
    }

    /// The single text of this top-level name. [`AuthnError::ClaimShape`] if it is anything but a string.
    pub fn text_of(&self, name: &str) -> Result<Option<&str>, AuthnError> {
        let claim = self.members.get(name);
        claim
            .map(|claim| claim.as_str().ok_or(AuthnError::ClaimShape))
            .transpose()
    }

    /// The list at `path`: an array of strings, or a string as a list of one, spaces and all
    /// (split, the role `not admin` would become `admin`). [`AuthnError::ClaimShape`] otherwise.
    pub fn strings(&self, path: &ClaimPath) -> Result<Option<Vec<&str>>, AuthnError> {
        match self.value(path)? {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(vec![text])),
            Some(Value::Array(items)) => items
                .iter()
                .map(|item| item.as_str().ok_or(AuthnError::ClaimShape))
                .collect::<Result<_, _>>()
                .map(Some),
            Some(_) => Err(AuthnError::ClaimShape),
        }
    }

    /// Like [`Self::strings`], but a string is a list separated by single spaces, as `scope` is
    /// (RFC 8693 section 4.2). The empty string is the empty list; what leading, trailing and
    /// double spaces delimit is dropped. Members of an array are not split.
    pub fn scopes(&self, path: &ClaimPath) -> Result<Option<Vec<&str>>, AuthnError> {
        match self.value(path)? {
            Some(Value::String(text)) => Ok(Some(text.split(' ').filter(|s| !s.is_empty()).collect())),
            _ => self.strings(path),
        }
    }
}

/// For `jsonwebtoken`, which reads the claims once the signature is good. An error of its is only
/// text: whoever needs the reason calls [`Claims::parse`] on the same bytes.
impl<'de> Deserialize<'de> for Claims {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        json::read(deserializer, MAX_DEPTH)
            .map_err(refusal)
            .and_then(Self::from_value)
            .map_err(D::Error::custom)
    }
}

/// Claims are personal data: printed, they show their number only.
impl fmt::Debug for Claims {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Claims({} members)", self.members.len())
    }
}

fn refusal(fault: Fault) -> AuthnError {
    match fault {
        Fault::Duplicate => AuthnError::ClaimDuplicate,
        Fault::Syntax | Fault::Depth => AuthnError::TokenMalformed,
    }
}

/// `NumericDate` (RFC 7519 section 2): a JSON number of seconds, fractions allowed, from 0 to
/// [`MAX_SECONDS`]. A string of digits is not one.
fn numeric_date(claim: Option<&Value>) -> Result<Option<UnixTime>, AuthnError> {
    let Some(claim) = claim else { return Ok(None) };
    if let Some(seconds) = claim.as_u64() {
        return if seconds <= MAX_SECONDS {
            Ok(Some(UnixTime::from_seconds(seconds)))
        } else {
            Err(AuthnError::ClaimShape)
        };
    }
    let seconds = claim.as_f64().ok_or(AuthnError::ClaimShape)?;
    if !(0.0..=MAX_SECONDS as f64).contains(&seconds) {
        return Err(AuthnError::ClaimShape);
    }
    // In range, so the cast only drops the fraction of a millisecond.
    Ok(Some(UnixTime::from_millis((seconds * 1000.0) as u64)))
}
