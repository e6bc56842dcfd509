//! Proof that a request came through the gateway: HTTP Message Signatures (RFC 9421) on what is sent to an upstream.
//!
//! Covered are method, authority, path, query and the fields that the gateway vouches for; each signature is of one moment and
//! has a nonce, so that it cannot be used again or for anything else. See `docs/proof-of-gateway.md` for what a service checks.

use std::fmt;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use http::header::{HeaderMap, HeaderName, HeaderValue, InvalidHeaderValue};
use openssl::ecdsa::EcdsaSig;
use openssl::error::ErrorStack;
use openssl::hash::MessageDigest;
use openssl::pkey::{PKey, Private};
use openssl::rand::rand_bytes;
use openssl::sign::Signer as Signing;

use crate::clock::UnixTime;

/// The label of our signature among others.
pub const LABEL: &str = "durward";
/// Half a coordinate pair of P-256, in bytes.
const COORDINATE: i32 = 32;

/// What requests are signed with.
pub struct Signer {
    /// The key.
    pub key: Key,
    /// How services know it. Visible characters that need no escape.
    pub keyid: String,
    /// How long a signature is good.
    pub expires: Duration,
}

/// A key, and so the algorithm (RFC 9421 section 3.3).
pub enum Key {
    /// `hmac-sha256`
    HmacSha256(PKey<Private>),
    /// `ed25519`
    Ed25519(PKey<Private>),
    /// `ecdsa-p256-sha256`
    EcdsaP256(PKey<Private>),
}

impl fmt::Debug for Signer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Signer({} {})", self.key.algorithm(), self.keyid)
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.algorithm())
    }
}

/// Why a request could not be signed. It is not sent then.
#[derive(Debug)]
pub enum SignError {
    /// OpenSSL failed.
    Library(ErrorStack),
    /// What was made is no header. Cannot happen with a `keyid` that was checked.
    Header(InvalidHeaderValue),
}

impl fmt::Display for SignError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SignError::Library(why) => why.fmt(f),
            SignError::Header(why) => why.fmt(f),
        }
    }
}

impl std::error::Error for SignError {}

impl From<ErrorStack> for SignError {
    fn from(why: ErrorStack) -> SignError {
        SignError::Library(why)
    }
}

/// What is signed, as it will be sent.
#[derive(Debug)]
pub struct Covered<'a> {
    /// Method.
    pub method: &'a str,
    /// Host in lower case, with its port unless that is the scheme's own (section 2.2.3).
    pub authority: &'a str,
    /// Path, never empty.
    pub path: &'a str,
    /// Query without `?`; none where there is none.
    pub query: Option<&'a str>,
    /// Fields in the order in which they are covered, each once and present in `headers`.
    pub fields: &'a [HeaderName],
    /// All fields.
    pub headers: &'a HeaderMap,
}

/// The fields that carry a signature.
#[derive(Debug)]
pub struct Signed {
    /// `Signature-Input`
    pub input: HeaderValue,
    /// `Signature`
    pub signature: HeaderValue,
}

impl Key {
    /// As it is registered (RFC 9421 section 6.2).
    #[must_use]
    pub fn algorithm(&self) -> &'static str {
        match self {
            Key::HmacSha256(_) => "hmac-sha256",
            Key::Ed25519(_) => "ed25519",
            Key::EcdsaP256(_) => "ecdsa-p256-sha256",
        }
    }

    fn sign(&self, base: &[u8]) -> Result<Vec<u8>, ErrorStack> {
        match self {
            Key::HmacSha256(key) => Signing::new(MessageDigest::sha256(), key)?.sign_oneshot_to_vec(base),
            Key::Ed25519(key) => Signing::new_without_digest(key)?.sign_oneshot_to_vec(base),
            Key::EcdsaP256(key) => {
                let der = Signing::new(MessageDigest::sha256(), key)?.sign_oneshot_to_vec(base)?;
                // section 3.3.4: both numbers one after the other, not in DER
                let pair = EcdsaSig::from_der(&der)?;
                let (r, s) = (
                    pair.r().to_vec_padded(COORDINATE)?,
                    pair.s().to_vec_padded(COORDINATE)?,
                );
                Ok([r, s].concat())
            }
        }
    }
}

impl Signer {
    /// Signs.
    ///
    /// # Errors
    /// See [`SignError`].
    pub fn sign(&self, covered: &Covered<'_>, now: UnixTime) -> Result<Signed, SignError> {
        let mut nonce = [0; 16];
        rand_bytes(&mut nonce)?;
        let created = now.seconds();
        let parameters = format!(
            "({});created={created};expires={};nonce=\"{}\";alg=\"{}\";keyid=\"{}\"",
            names(covered),
            created.saturating_add(self.expires.as_secs()),
            URL_SAFE_NO_PAD.encode(nonce),
            self.key.algorithm(),
            self.keyid
        );
        let signature = self.key.sign(&base(covered, &parameters))?;
        let header = |text: String| HeaderValue::try_from(text).map_err(SignError::Header);
        Ok(Signed {
            input: header(format!("{LABEL}={parameters}"))?,
            signature: header(format!("{LABEL}=:{}:", STANDARD.encode(signature)))?,
        })
    }
}

/// The components, in their order.
fn names(covered: &Covered<'_>) -> String {
    let mut names = "\"@method\" \"@authority\" \"@path\" \"@query\"".to_owned();
    for field in covered.fields {
        names.push_str(" \"");
        names.push_str(field.as_str());
        names.push('"');
    }
    names
}

/// What is signed: a line for each component, and the parameters (section 2.5).
#[must_use]
pub fn base(covered: &Covered<'_>, parameters: &str) -> Vec<u8> {
    let Covered {
        method,
        authority,
        path,
        query,
        fields,
        headers,
    } = covered;
    let query = query.unwrap_or_default();
    let mut base = format!(
        "\"@method\": {method}\n\"@authority\": {authority}\n\"@path\": {path}\n\"@query\": ?{query}\n"
    )
    .into_bytes();
    for field in *fields {
        base.push(b'"');
        base.extend_from_slice(field.as_str().as_bytes());
        base.extend_from_slice(b"\": ");
        for (index, value) in headers.get_all(field).iter().enumerate() {
            if index > 0 {
                base.extend_from_slice(b", ");
            }
            base.extend_from_slice(value.as_bytes().trim_ascii());
        }
        base.push(b'\n');
    }
    base.extend_from_slice(b"\"@signature-params\": ");
    base.extend_from_slice(parameters.as_bytes());
    base
}

/// `Content-Digest` of a body (RFC 9530 section 2).
///
/// # Errors
/// None in practice: base64 is a header value.
pub fn content_digest(body: &[u8]) -> Result<HeaderValue, SignError> {
    let digest = STANDARD.encode(openssl::sha::sha256(body));
    HeaderValue::try_from(format!("sha-256=:{digest}:")).map_err(SignError::Header)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 9421, appendix B.2.5.
    #[test]
    fn the_rfcs_shared_secret_makes_the_rfcs_signature() {
        let secret =
            "uzvJfB4u3N0Jy4T7NZ75MDVcr8zSTInedJtkgcu46YW4XByzNJjxBdtjUkdJPBtbmHhIDi6pcl8jsasjlTMtDQ==";
        let key = Key::HmacSha256(PKey::hmac(&STANDARD.decode(secret).unwrap()).unwrap());
        let base = "\"date\": Tue, 20 Apr 2021 02:07:55 GMT\n\"@authority\": example.com\n\
                    \"content-type\": application/json\n\"@signature-params\": \
                    (\"date\" \"@authority\" \"content-type\");created=1618884473;keyid=\"test-shared-secret\"";
        assert_eq!(
            STANDARD.encode(key.sign(base.as_bytes()).unwrap()),
            "pxcQw6G3AjtMBQjwo8XzkZf/bws5LelbaMk5rGIGtE8="
        );
    }

    #[test]
    fn the_base_has_a_line_for_each_component() {
        let mut headers = HeaderMap::new();
        headers.append("x-roles", HeaderValue::from_static("a"));
        headers.append("x-roles", HeaderValue::from_static(" b "));
        headers.append("x-other", HeaderValue::from_static("c"));
        let covered = Covered {
            method: "GET",
            authority: "api.example",
            path: "/a",
            query: None,
            fields: &[HeaderName::from_static("x-roles")],
            headers: &headers,
        };
        assert_eq!(
            String::from_utf8(base(&covered, "P")).unwrap(),
            "\"@method\": GET\n\"@authority\": api.example\n\"@path\": /a\n\"@query\": ?\n\"x-roles\": a, b\n\"@signature-params\": P"
        );
    }

    /// RFC 9530, appendix D.
    #[test]
    fn the_digest_is_the_rfcs() {
        let digest = content_digest(b"{\"hello\": \"world\"}\n").unwrap();
        assert_eq!(digest, "sha-256=:RK/0qy18MlBSVnWgjwz6lZEWjP/lF5HF9bvEF8FabDg=:");
    }
}
