//! A proof: a JWT that its sender signed with the key that it brings (RFC 9449 section 4.2).
//!
//! Read as strictly as a token. Here alone a key is taken from what it has signed, so here it counts for nothing by itself:
//! whoever asks compares its thumbprint with the one of a good token first.

use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::Algorithm;
use serde_json::{Map, Value};

use super::replays::Proofs;
use crate::clock::UnixTime;
use crate::gates::authn::AuthnError;
use crate::gates::authn::claims::Claims;
use crate::gates::authn::crypto::{AlgorithmSet, asymmetric};
use crate::gates::authn::verdicts::Digest;
use crate::gates::authn::{jwk, jws, jwt};

/// Longest proof that is read, in bytes: one with an RSA key of 8192 bits has some 3,500.
pub(super) const MAX_PROOF_BYTES: usize = 8 * 1024;
/// Longest `jti`, in bytes.
pub(super) const MAX_ID_BYTES: usize = 256;
/// `typ` (RFC 9449 section 4.2).
const TYPE: &str = "dpop+jwt";

/// A proof that is well-formed. Nothing it says has been verified.
pub(super) struct Proof<'a> {
    signed: &'a str,
    payload: &'a str,
    signature: Vec<u8>,
    algorithm: Algorithm,
    key: Map<String, Value>,
    thumbprint: Digest,
}

/// What a proof says that its key has signed.
pub(super) struct Said(Claims);

impl<'a> Proof<'a> {
    /// Reads one, with one of these algorithms.
    pub(super) fn read(sent: &'a [u8], algorithms: AlgorithmSet) -> Result<Proof<'a>, AuthnError> {
        let malformed = AuthnError::ProofMalformed;
        if sent.len() > MAX_PROOF_BYTES {
            return Err(malformed);
        }
        let text = std::str::from_utf8(sent).map_err(|_| malformed)?;
        let (header, payload, signature) = jws::parts(text).map_err(|_| malformed)?;
        let (signed, _) = text.rsplit_once('.').ok_or(malformed)?;
        let mut header = jws::read_header(header).map_err(|_| malformed)?;
        // what must be understood, what changes what was signed, and other places for keys
        let others = ["crit", "b64", "zip", "enc", "jku", "x5u", "x5c"];
        if others.iter().any(|name| header.contains_key(*name)) {
            return Err(malformed);
        }
        let kind = header.get("typ").and_then(Value::as_str).map(jwt::subtype);
        if !kind.is_some_and(|kind| kind.eq_ignore_ascii_case(TYPE)) {
            return Err(AuthnError::ProofType);
        }
        let algorithm = header
            .get("alg")
            .and_then(Value::as_str)
            .and_then(asymmetric)
            .filter(|algorithm| algorithms.contains(*algorithm))
            .ok_or(AuthnError::ProofAlgorithm)?;
        let Some(Value::Object(key)) = header.remove("jwk") else {
            return Err(AuthnError::ProofKey);
        };
        let thumbprint = jwk::thumbprint(&key).ok_or(AuthnError::ProofKey)?;
        Ok(Proof {
            signed,
            payload,
            signature: jws::decode(signature).map_err(|_| malformed)?,
            algorithm,
            key,
            thumbprint,
        })
    }

    /// Thumbprint of the key that it brings (RFC 7638).
    pub(super) fn thumbprint(&self) -> &Digest {
        &self.thumbprint
    }

    /// What it says, if its key has signed it.
    pub(super) fn verify(&self, proofs: &Proofs) -> Result<Said, AuthnError> {
        // each time: what the thumbprint is made of does not tell
        jwk::check_embedded(&self.key).map_err(|_| AuthnError::ProofKey)?;
        let key = match proofs.key(&self.thumbprint) {
            Some(key) => key,
            None => {
                let key = jwk::embedded(&self.key).map_err(|_| AuthnError::ProofKey)?;
                let key = Arc::new(key);
                proofs.remember_key(self.thumbprint, key.clone());
                key
            }
        };
        if !key.has_signed(self.algorithm, self.signed.as_bytes(), &self.signature) {
            return Err(AuthnError::ProofSignature);
        }
        let payload = jws::decode(self.payload).map_err(|_| AuthnError::ProofMalformed)?;
        Claims::parse(&payload)
            .map(Said)
            .map_err(|_| AuthnError::ProofMalformed)
    }
}

impl Said {
    /// `htm`: the method that it is for.
    pub(super) fn method(&self) -> Result<&str, AuthnError> {
        self.text("htm")?.ok_or(AuthnError::ProofMethod)
    }

    /// `htu`: the URL that it is for.
    pub(super) fn target(&self) -> Result<&str, AuthnError> {
        self.text("htu")?.ok_or(AuthnError::ProofTarget)
    }

    /// Whether `ath` names the token with this digest.
    pub(super) fn is_for(&self, token: &Digest) -> Result<bool, AuthnError> {
        Ok(self.text("ath")? == Some(URL_SAFE_NO_PAD.encode(token).as_str()))
    }

    /// `jti`, of 1 to [`MAX_ID_BYTES`] bytes.
    pub(super) fn id(&self) -> Result<&str, AuthnError> {
        let id = self.0.token_id();
        id.filter(|id| (1..=MAX_ID_BYTES).contains(&id.len()))
            .ok_or(AuthnError::ProofId)
    }

    /// `nonce`, if it has one.
    pub(super) fn nonce(&self) -> Result<Option<&str>, AuthnError> {
        self.text("nonce")
    }

    /// `iat`.
    pub(super) fn issued(&self) -> Result<UnixTime, AuthnError> {
        self.0.issued_at().ok_or(AuthnError::ProofMalformed)
    }

    /// `nbf`, if it has one.
    pub(super) fn not_before(&self) -> Option<UnixTime> {
        self.0.not_before()
    }

    /// `exp`, if it has one.
    pub(super) fn expires(&self) -> Option<UnixTime> {
        self.0.expires()
    }

    fn text(&self, name: &str) -> Result<Option<&str>, AuthnError> {
        self.0.text_of(name).map_err(|_| AuthnError::ProofMalformed)
    }
}
