//! Bodies that clients have encrypted for us (S34): a JWE in compact serialization (RFC 7516), opened before the service gets it.
//!
//! What is taken is the configuration's to say, never the message's: a key is of one algorithm, content is encrypted with
//! A256GCM, and nothing is decompressed. What is wrong with a message is in the record; the client hears one thing only, so
//! that it learns nothing of a key by trying (section 11.4 and 11.5).

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::header::HeaderValue;
use openssl::aes::{AesKey, unwrap_key};
use openssl::bn::BigNum;
use openssl::derive::Deriver;
use openssl::ec::EcKey;
use openssl::encrypt::Decrypter;
use openssl::error::ErrorStack;
use openssl::hash::MessageDigest;
use openssl::nid::Nid;
use openssl::pkey::{PKey, Private, Public};
use openssl::rand::rand_bytes;
use openssl::rsa::Padding;
use openssl::sha::Sha256;
use openssl::symm::{Cipher, decrypt_aead};
use serde_json::Value;

use crate::gates::authn::json;

/// The type of an encrypted body.
pub const MEDIA_TYPE: &str = "application/jose";
/// How content is encrypted.
const ENCRYPTION: &str = "A256GCM";
/// Longest header, as it is sent.
const MAX_HEADER: usize = 4096;
/// Deepest: `epk` is an object.
const MAX_DEPTH: usize = 3;
const KEY: usize = 32;
const IV: usize = 12;
const TAG: usize = 16;

/// How the key of a message is had from ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Algorithm {
    /// RSAES-OAEP with SHA-256 (RFC 7518 section 4.3).
    RsaOaep256,
    /// ECDH, whose result is the key (section 4.6).
    EcdhEs,
    /// ECDH, whose result wraps the key (section 4.6).
    EcdhEsA256Kw,
}

impl Algorithm {
    /// As `alg` says it.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Algorithm::RsaOaep256 => "RSA-OAEP-256",
            Algorithm::EcdhEs => "ECDH-ES",
            Algorithm::EcdhEsA256Kw => "ECDH-ES+A256KW",
        }
    }
}

/// A key of ours.
pub struct Key {
    /// How clients name it; `None`: it is the only one, and they need not.
    pub kid: Option<String>,
    /// What it is for.
    pub algorithm: Algorithm,
    /// RSA, or EC on P-256 or P-384.
    pub key: PKey<Private>,
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Key({:?}, {})", self.kid, self.algorithm.word())
    }
}

/// What a route opens, and with which keys.
#[derive(Debug)]
pub struct Jwe {
    /// The current ones and those before.
    pub keys: Vec<Key>,
    /// What may be inside, by the names that `cty` has for it; the first where it says nothing.
    pub content_types: Vec<(String, HeaderValue)>,
}

/// Why a body could not be opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum JweError {
    /// Not a JWE in compact serialization, or with nothing inside.
    Malformed,
    /// `alg` is not the key's, or `enc` not A256GCM.
    Algorithm,
    /// It is compressed: what it becomes is not known before.
    Compressed,
    /// It demands what is not known here (`crit`).
    Critical,
    /// No key of ours is called so, or none is named among several.
    Key,
    /// Our key does not give the message's.
    Unwrap,
    /// Altered, or encrypted with another key.
    Tag,
    /// `cty` is not a type that is taken.
    ContentType,
}

impl JweError {
    /// Every error.
    pub const ALL: &'static [JweError] = &[
        JweError::Malformed,
        JweError::Algorithm,
        JweError::Compressed,
        JweError::Critical,
        JweError::Key,
        JweError::Unwrap,
        JweError::Tag,
        JweError::ContentType,
    ];

    /// The operator's name for it.
    #[must_use]
    pub const fn reason(self) -> &'static str {
        match self {
            JweError::Malformed => "jwe_malformed",
            JweError::Algorithm => "jwe_algorithm",
            JweError::Compressed => "jwe_compressed",
            JweError::Critical => "jwe_critical",
            JweError::Key => "jwe_key_unknown",
            JweError::Unwrap => "jwe_key_unusable",
            JweError::Tag => "jwe_altered",
            JweError::ContentType => "jwe_content_type",
        }
    }
}

/// What was inside.
#[derive(Debug)]
pub struct Opened {
    /// In the clear. Always shorter than it was encrypted.
    pub body: Vec<u8>,
    /// Its type.
    pub content_type: HeaderValue,
}

/// The five parts of a compact serialization (section 7.1).
struct Parts<'a> {
    /// As it was sent, which is what is authenticated.
    header: &'a [u8],
    wrapped: Vec<u8>,
    iv: Vec<u8>,
    ciphertext: Vec<u8>,
    tag: Vec<u8>,
}

impl Jwe {
    /// What becomes of bodies, in words.
    #[must_use]
    pub fn describe(&self) -> String {
        let types: Vec<&str> = self.content_types.iter().map(|(name, _)| name.as_str()).collect();
        format!(", opened here to {}", types.join(", "))
    }

    /// Opens a body.
    ///
    /// # Errors
    /// See [`JweError`].
    pub fn open(&self, body: &[u8]) -> Result<Opened, JweError> {
        let opened = self.opened(body);
        // as elsewhere: nothing stays in the thread's queue for TLS to stumble over
        drop(ErrorStack::get());
        opened
    }

    fn opened(&self, body: &[u8]) -> Result<Opened, JweError> {
        let parts = Parts::read(body)?;
        let header = URL_SAFE_NO_PAD
            .decode(parts.header)
            .map_err(|_| JweError::Malformed)?;
        let header = json::parse(&header, MAX_DEPTH).map_err(|_| JweError::Malformed)?;
        let header = header.as_object().ok_or(JweError::Malformed)?;
        let text = |name: &str| match header.get(name) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text.as_str())),
            Some(_) => Err(JweError::Malformed),
        };
        if header.contains_key("crit") {
            return Err(JweError::Critical);
        }
        if header.contains_key("zip") {
            return Err(JweError::Compressed);
        }
        let key = self.key(text("kid")?)?;
        if text("alg")? != Some(key.algorithm.word()) || text("enc")? != Some(ENCRYPTION) {
            return Err(JweError::Algorithm);
        }
        let content_type = self.content_type(text("cty")?)?;
        let (secret, is_known) = match key.content_key(header, &parts.wrapped) {
            Some(secret) => (secret, true),
            // it takes as long as one that fits, and fails where that would (section 11.5)
            None => {
                let mut secret = [0; KEY];
                rand_bytes(&mut secret).map_err(|_| JweError::Unwrap)?;
                (secret, false)
            }
        };
        let body = decrypt_aead(
            Cipher::aes_256_gcm(),
            &secret,
            Some(&parts.iv),
            parts.header,
            &parts.ciphertext,
            &parts.tag,
        );
        match body {
            // nothing is nothing that a service could be sent as a body
            Ok(body) if is_known && body.is_empty() => Err(JweError::Malformed),
            Ok(body) if is_known => Ok(Opened { body, content_type }),
            _ if is_known => Err(JweError::Tag),
            _ => Err(JweError::Unwrap),
        }
    }

    fn key(&self, kid: Option<&str>) -> Result<&Key, JweError> {
        match (kid, self.keys.as_slice()) {
            (None, [only]) => Ok(only),
            (None, _) => Err(JweError::Key),
            (Some(kid), [only]) if only.kid.as_deref().is_none_or(|name| name == kid) => Ok(only),
            (Some(kid), keys) => {
                let named = |key: &&Key| key.kid.as_deref() == Some(kid);
                keys.iter().find(named).ok_or(JweError::Key)
            }
        }
    }

    /// `cty` may leave `application/` out (section 4.1.12).
    fn content_type(&self, cty: Option<&str>) -> Result<HeaderValue, JweError> {
        let found = match cty {
            None => self.content_types.first(),
            Some(cty) => self.content_types.iter().find(|(name, _)| {
                name.eq_ignore_ascii_case(cty)
                    || !cty.contains('/')
                        && name
                            .strip_prefix("application/")
                            .is_some_and(|short| short.eq_ignore_ascii_case(cty))
            }),
        };
        found.map(|(_, value)| value.clone()).ok_or(JweError::ContentType)
    }
}

impl<'a> Parts<'a> {
    fn read(body: &'a [u8]) -> Result<Parts<'a>, JweError> {
        let mut parts = body.split(|byte| *byte == b'.');
        let mut next = || parts.next().ok_or(JweError::Malformed);
        let (header, wrapped, iv, ciphertext, tag) = (next()?, next()?, next()?, next()?, next()?);
        if parts.next().is_some() || header.len() > MAX_HEADER {
            return Err(JweError::Malformed);
        }
        let decoded = |part: &[u8]| URL_SAFE_NO_PAD.decode(part).map_err(|_| JweError::Malformed);
        let parts = Parts {
            header,
            wrapped: decoded(wrapped)?,
            iv: decoded(iv)?,
            ciphertext: decoded(ciphertext)?,
            tag: decoded(tag)?,
        };
        if parts.iv.len() != IV || parts.tag.len() != TAG {
            return Err(JweError::Malformed);
        }
        Ok(parts)
    }
}

impl Key {
    /// The key that the content was encrypted with.
    fn content_key(&self, header: &serde_json::Map<String, Value>, wrapped: &[u8]) -> Option<[u8; KEY]> {
        match self.algorithm {
            Algorithm::RsaOaep256 => self.by_rsa(wrapped),
            Algorithm::EcdhEs if wrapped.is_empty() => self.agreed(header, ENCRYPTION),
            Algorithm::EcdhEs => None,
            Algorithm::EcdhEsA256Kw => {
                let wrapping = AesKey::new_decrypt(&self.agreed(header, self.algorithm.word())?).ok()?;
                let mut key = [0; KEY];
                if wrapped.len() != KEY + 8 {
                    return None;
                }
                let length = unwrap_key(&wrapping, None, &mut key, wrapped).ok()?;
                (length == KEY).then_some(key)
            }
        }
    }

    fn by_rsa(&self, wrapped: &[u8]) -> Option<[u8; KEY]> {
        let mut decrypter = Decrypter::new(&self.key).ok()?;
        decrypter.set_rsa_padding(Padding::PKCS1_OAEP).ok()?;
        decrypter.set_rsa_oaep_md(MessageDigest::sha256()).ok()?;
        decrypter.set_rsa_mgf1_md(MessageDigest::sha256()).ok()?;
        let mut key = vec![0; decrypter.decrypt_len(wrapped).ok()?];
        let length = decrypter.decrypt(wrapped, &mut key).ok()?;
        key.get(..length)?.try_into().ok()
    }

    /// The key that was agreed on with the client's (RFC 7518 section 4.6.2), for what it is used as.
    fn agreed(&self, header: &serde_json::Map<String, Value>, used_as: &str) -> Option<[u8; KEY]> {
        let theirs = self.theirs(header.get("epk")?)?;
        let mut deriver = Deriver::new(&self.key).ok()?;
        deriver.set_peer(&theirs).ok()?;
        let shared = deriver.derive_to_vec().ok()?;
        let about = |name: &str| match header.get(name) {
            None => Some(Vec::new()),
            Some(text) => URL_SAFE_NO_PAD.decode(text.as_str()?).ok(),
        };
        let (apu, apv) = (about("apu")?, about("apv")?);
        let mut digest = Sha256::new();
        digest.update(&1_u32.to_be_bytes());
        digest.update(&shared);
        for part in [used_as.as_bytes(), &apu, &apv] {
            digest.update(&u32::try_from(part.len()).ok()?.to_be_bytes());
            digest.update(part);
        }
        digest.update(&256_u32.to_be_bytes());
        Some(digest.finish())
    }

    /// The client's key for this message: a point on the curve of ours.
    fn theirs(&self, epk: &Value) -> Option<PKey<Public>> {
        let public = PKey::public_key_from_der(&self.key.public_key_to_der().ok()?).ok()?;
        let ours = public.ec_key().ok()?;
        let (name, size) = match ours.group().curve_name()? {
            Nid::X9_62_PRIME256V1 => ("P-256", 32),
            Nid::SECP384R1 => ("P-384", 48),
            _ => return None,
        };
        let text = |name: &str| epk.get(name).and_then(Value::as_str);
        if text("kty") != Some("EC") || text("crv") != Some(name) {
            return None;
        }
        let coordinate = |name: &str| {
            let bytes = URL_SAFE_NO_PAD.decode(text(name)?).ok()?;
            (bytes.len() == size)
                .then(|| BigNum::from_slice(&bytes).ok())
                .flatten()
        };
        let (x, y) = (coordinate("x")?, coordinate("y")?);
        // which checks that the point is on the curve
        PKey::from_ec_key(EcKey::from_public_key_affine_coordinates(ours.group(), &x, &y).ok()?).ok()
    }
}
