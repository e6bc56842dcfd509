//! A compact JWS (RFC 7515 section 7.1) read strictly, before any cryptography and trusting
//! nothing in it.
//!
//! What it decides: whether these bytes are a token we could verify at all, and which key, issuer
//! and algorithm it *claims*. Members of the header that bring keys or change what is signed are
//! refused rather than ignored (RFC 8725 section 3): someone is trying something.

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::Algorithm;
use serde::Deserializer;
use serde::de::{IgnoredAny, MapAccess, Visitor};
use serde_json::error::Category;
use serde_json::{Map, Value};

use super::crypto::asymmetric;
use super::error::AuthnError;
use super::json::{self, Fault};

/// Longest token that is read, in bytes.
pub const MAX_TOKEN_BYTES: usize = 8 * 1024;
/// Longest `kid`, in bytes.
pub const MAX_KID_BYTES: usize = 256;
/// The longest signature there is: that of an RSA key of 8192 bits, in bytes. Two more, because
/// the decoder sizes its output in groups of three.
const MAX_SIGNATURE_BYTES: usize = 1024 + 2;
/// A header that uses none of the refused members is flat; extensions get a few levels.
const MAX_HEADER_DEPTH: usize = 8;

/// A token that is well-formed. Nothing it says has been verified.
pub struct Unverified<'a> {
    token: &'a str,
    payload: Vec<u8>,
    algorithm: Algorithm,
    key_id: Option<String>,
    token_type: Option<String>,
    issuer: String,
    subject: Option<String>,
}

impl<'a> Unverified<'a> {
    /// Reads a token. Costs no cryptography, and time linear in at most [`MAX_TOKEN_BYTES`].
    pub fn parse(token: &'a str) -> Result<Self, AuthnError> {
        if token.len() > MAX_TOKEN_BYTES {
            return Err(AuthnError::TokenTooLarge);
        }
        let (header, payload, signature) = parts(token)?;
        let header = read_header(header)?;
        let algorithm = read_algorithm(&header)?;
        refuse_extensions(&header)?;
        let key_id = read_key_id(&header)?;
        let token_type = optional_text(&header, "typ")?;
        if signature.is_empty() {
            return Err(AuthnError::SignatureMissing);
        }
        URL_SAFE_NO_PAD
            .decode_slice(signature, &mut [0; MAX_SIGNATURE_BYTES])
            .map_err(|_| AuthnError::TokenMalformed)?;
        let payload = decode(payload)?;
        let Peeked { issuer, subject } = peek(&payload)?;
        Ok(Self {
            token,
            payload,
            algorithm,
            key_id,
            token_type,
            issuer,
            subject,
        })
    }

    /// The token as it came.
    pub fn token(&self) -> &'a str {
        self.token
    }

    /// The bytes of the claims.
    pub(super) fn payload(&self) -> &[u8] {
        &self.payload
    }

    /// `alg`: one of [`super::crypto::ALGORITHMS`]. Which are allowed, the issuer's settings say.
    pub fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// `kid`: 1 to [`MAX_KID_BYTES`] bytes of anything but control characters. Only ever
    /// compared with the key set's; it is not a path, a URL or a query.
    pub fn key_id(&self) -> Option<&str> {
        self.key_id.as_deref()
    }

    /// `typ`, as written.
    pub fn token_type(&self) -> Option<&str> {
        self.token_type.as_deref()
    }

    /// The `iss` it claims: only good for choosing, by exact match, whose keys to verify with.
    pub fn issuer(&self) -> &str {
        &self.issuer
    }

    /// The `sub` it claims, if that is a text: only good for counting who is claimed to be whom.
    pub fn subject(&self) -> Option<&str> {
        self.subject.as_deref()
    }
}

/// A token is a secret: whoever prints one sees its shape only.
impl fmt::Debug for Unverified<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Unverified")
            .field("bytes", &self.token.len())
            .field("algorithm", &self.algorithm)
            .field("key_id", &self.key_id)
            .finish_non_exhaustive()
    }
}

/// Whether a `kid`, of a token or of a key, is one we deal with.
pub(super) fn is_usable_kid(kid: &str) -> bool {
    (1..=MAX_KID_BYTES).contains(&kid.len()) && !kid.chars().any(char::is_control)
}

pub(super) fn parts(token: &str) -> Result<(&str, &str, &str), AuthnError> {
    let mut parts = token.split('.');
    match (
        parts.next(),
        parts.next(),
        parts.next(),
        parts.next(),
        parts.next(),
        parts.next(),
    ) {
        // An empty signature is looked at after the header: `alg: none` is the better reason.
        (Some(header), Some(payload), Some(signature), None, ..)
            if !header.is_empty() && !payload.is_empty() =>
        {
            Ok((header, payload, signature))
        }
        (Some(_), Some(_), Some(_), Some(_), Some(_), None) => Err(AuthnError::TokenEncrypted),
        _ => Err(AuthnError::TokenMalformed),
    }
}

/// base64url without padding; the decoder refuses bits after the last byte, so that there is one
/// way to write a token and a cache or deny list cannot be sidestepped with another.
pub(super) fn decode(part: &str) -> Result<Vec<u8>, AuthnError> {
    URL_SAFE_NO_PAD
        .decode(part)
        .map_err(|_| AuthnError::TokenMalformed)
}

pub(super) fn read_header(part: &str) -> Result<Map<String, Value>, AuthnError> {
    match json::parse(&decode(part)?, MAX_HEADER_DEPTH) {
        Ok(Value::Object(header)) => Ok(header),
        Err(Fault::Duplicate) => Err(AuthnError::HeaderDuplicate),
        Ok(_) | Err(Fault::Syntax | Fault::Depth) => Err(AuthnError::TokenMalformed),
    }
}

/// S48. The name is compared exactly; only the reason for refusing looks past the casing.
fn read_algorithm(header: &Map<String, Value>) -> Result<Algorithm, AuthnError> {
    let name = header
        .get("alg")
        .and_then(Value::as_str)
        .ok_or(AuthnError::TokenMalformed)?;
    asymmetric(name).ok_or_else(|| {
        if name.eq_ignore_ascii_case("none") {
            AuthnError::AlgorithmNone
        } else if name
            .get(..2)
            .is_some_and(|family| family.eq_ignore_ascii_case("HS"))
        {
            AuthnError::AlgorithmSymmetric
        } else {
            AuthnError::AlgorithmNotAllowed
        }
    })
}

fn refuse_extensions(header: &Map<String, Value>) -> Result<(), AuthnError> {
    for (names, error) in [
        (&["jwk", "jku", "x5u", "x5c"][..], AuthnError::HeaderEmbeddedKey),
        (&["crit"], AuthnError::HeaderCrit),
        (&["b64"], AuthnError::HeaderB64),
        (&["enc"], AuthnError::TokenEncrypted),
        (&["zip"], AuthnError::HeaderZip),
    ] {
        if names.iter().any(|name| header.contains_key(*name)) {
            return Err(error);
        }
    }
    // Not used here, but registered as strings, and read as such by `jsonwebtoken`.
    for name in ["cty", "x5t", "x5t#S256", "url", "nonce"] {
        optional_text(header, name)?;
    }
    Ok(())
}

fn optional_text(header: &Map<String, Value>, name: &str) -> Result<Option<String>, AuthnError> {
    match header.get(name) {
        None => Ok(None),
        Some(Value::String(text)) => Ok(Some(text.clone())),
        Some(_) => Err(AuthnError::TokenMalformed),
    }
}

fn read_key_id(header: &Map<String, Value>) -> Result<Option<String>, AuthnError> {
    match header.get("kid") {
        None => Ok(None),
        Some(Value::String(kid)) if is_usable_kid(kid) => Ok(Some(kid.clone())),
        Some(_) => Err(AuthnError::KidMalformed),
    }
}

/// What a token claims about its parties.
struct Peeked {
    issuer: String,
    subject: Option<String>,
}

/// Finds `iss` and `sub` without building anything else: most of a forged token is never looked at.
fn peek(payload: &[u8]) -> Result<Peeked, AuthnError> {
    let mut deserializer = serde_json::Deserializer::from_slice(payload);
    let found = deserializer.deserialize_map(PeekVisitor).and_then(|found| {
        deserializer.end()?;
        Ok(found)
    });
    match found {
        Ok(found) => found,
        // JSON, but not an object.
        Err(error) if error.classify() == Category::Data => Err(AuthnError::ClaimShape),
        Err(_) => Err(AuthnError::TokenMalformed),
    }
}

struct PeekVisitor;

impl<'de> Visitor<'de> for PeekVisitor {
    type Value = Result<Peeked, AuthnError>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON object of claims")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut claims: A) -> Result<Self::Value, A::Error> {
        let (mut found, mut subject) = (Err(AuthnError::IssuerMissing), None);
        while let Some(name) = claims.next_key::<String>()? {
            match &*name {
                "iss" => {}
                "sub" => {
                    subject = claims.next_value::<Value>()?.as_str().map(str::to_owned);
                    continue;
                }
                _ => {
                    claims.next_value::<IgnoredAny>()?;
                    continue;
                }
            }
            let repeated = found != Err(AuthnError::IssuerMissing);
            found = match claims.next_value::<Value>()? {
                _ if repeated => Err(AuthnError::ClaimDuplicate),
                Value::String(issuer) => Ok(issuer),
                _ => Err(AuthnError::ClaimShape),
            };
        }
        Ok(found.map(|issuer| Peeked { issuer, subject }))
    }
}
