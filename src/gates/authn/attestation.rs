//! A second signal in a header of its own: a short-lived token by which an application shows that it is the genuine one, on a
//! device that is sound (S60). A service of the application's maker issues it, and the answer is yes or no.
//!
//! It says nothing about who calls, so it never makes a client: it is asked for in addition to a credential. Bound to
//! `Authorization`, it is of no use with a token that was stolen elsewhere.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::{GeneralPurpose, STANDARD, STANDARD_NO_PAD, URL_SAFE, URL_SAFE_NO_PAD};
use http::header::{AUTHORIZATION, HeaderMap, HeaderName};
use openssl::hash::MessageDigest;
use openssl::memcmp;
use openssl::pkey::{PKey, Private};
use openssl::sign::Signer;
use quick_cache::sync::Cache;

use super::claims::{ClaimPath, Claims};
use super::jwk::KeySet;
use super::jws::{MAX_TOKEN_BYTES, Unverified};
use super::jwt::{self, DEFAULT_CLOCK_SKEW};
use super::verdicts::{self, Digest};
use super::{bearer, json};
use crate::clock::UnixTime;
use crate::denial::{Denial, Verdict};
use crate::gates::Mode;

/// Least length of a shared secret, in bytes (RFC 7518 section 3.2).
pub const MIN_SECRET: usize = 32;
/// Services write base64 in all of these ways.
const READINGS: [GeneralPurpose; 4] = [STANDARD, STANDARD_NO_PAD, URL_SAFE, URL_SAFE_NO_PAD];
/// Tokens that are remembered to be signed well, at most: some 8 MiB.
const SIGNED: usize = 16_384;

/// What tokens of one service have to be like.
pub struct Attestation {
    /// Its name in the configuration.
    pub name: Arc<str>,
    /// Which header carries a token.
    pub header: HeaderName,
    /// What tokens are verified with: one of these.
    pub verifiers: Vec<Verifier>,
    /// The exact `iss`; `None`: any.
    pub issuer: Option<String>,
    /// What `aud` must name; `None`: nothing.
    pub audience: Option<String>,
    /// How long before its end a token may be shown.
    pub max_lifetime: Duration,
    /// The claim with the digest of `Authorization`; `None`: not bound.
    pub binding: Option<Binding>,
    /// Whether it counts.
    pub mode: Mode,
    signed: Cache<Digest, Arc<Claims>>,
    /// Line of the configuration.
    pub line: u32,
}

/// Where a token says which `Authorization` it is for.
#[derive(Debug, Clone)]
pub struct Binding {
    /// As it was written.
    pub written: Box<str>,
    /// The claim: SHA-256 of the header's value, in base64.
    pub claim: ClaimPath,
}

/// How a signature is verified. The algorithm is the configuration's, never the token's.
pub enum Verifier {
    /// HS256 with a secret that the service shares with us.
    Secret(PKey<Private>),
    /// The service's public keys.
    Keys(Arc<KeySet>),
}

impl fmt::Debug for Attestation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Attestation")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for Verifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Verifier::Secret(_) => "Secret",
            Verifier::Keys(_) => "Keys",
        })
    }
}

/// Declares the errors and their reasons from one table.
macro_rules! attestation_errors {
    ($( $(#[$doc:meta])* $variant:ident = $reason:literal, )+) => {
        /// Why an attestation is not good.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum AttestationError {
            $( $(#[$doc])* $variant, )+
        }

        impl AttestationError {
            /// Every error.
            pub const ALL: &'static [Self] = &[ $( Self::$variant, )+ ];

            /// The operator's name for it.
            #[must_use]
            pub const fn reason(self) -> &'static str {
                match self { $( Self::$variant => $reason, )+ }
            }
        }
    };
}

attestation_errors! {
    /// There is none.
    Missing = "attestation_missing",
    /// There is more than one.
    Repeated = "attestation_repeated",
    /// Not a signed token of the kind that is asked for.
    Malformed = "attestation_malformed",
    /// The signature is not the service's.
    Signature = "attestation_signature",
    /// `iss` is another.
    Issuer = "attestation_issuer",
    /// `aud` does not name us.
    Audience = "attestation_audience",
    /// `exp` has passed.
    Expired = "attestation_expired",
    /// `nbf` or `iat` is in the future.
    NotYetValid = "attestation_not_yet_valid",
    /// No `exp`, or one further away than it may be.
    Lifetime = "attestation_lifetime",
    /// Made for another `Authorization`, or for none.
    Binding = "attestation_binding",
}

impl AttestationError {
    /// What the client is told: whether to get one, to get a new one, or nothing more.
    #[must_use]
    pub const fn public_code(self) -> &'static str {
        match self {
            Self::Missing => "attestation_missing",
            Self::Expired => "attestation_expired",
            Self::Repeated
            | Self::Malformed
            | Self::Signature
            | Self::Issuer
            | Self::Audience
            | Self::NotYetValid
            | Self::Lifetime
            | Self::Binding => "invalid_attestation",
        }
    }
}

impl Attestation {
    /// One that has verified nothing yet.
    #[must_use]
    pub fn new(
        name: &str,
        header: HeaderName,
        verifier: Verifier,
        max_lifetime: Duration,
        line: u32,
    ) -> Attestation {
        Attestation {
            name: name.into(),
            header,
            verifiers: vec![verifier],
            issuer: None,
            audience: None,
            max_lifetime,
            binding: None,
            mode: Mode::Enforce,
            signed: Cache::new(SIGNED),
            line,
        }
    }

    /// Looks at the attestation of a request.
    ///
    /// # Errors
    /// [`Denial::Attestation`]
    pub fn check(&self, headers: &HeaderMap, now: UnixTime) -> Verdict {
        self.judge(headers, now).map_err(Denial::Attestation)
    }

    fn judge(&self, headers: &HeaderMap, now: UnixTime) -> Result<(), AttestationError> {
        let mut values = headers.get_all(&self.header).iter();
        let sent = match (values.next(), values.next()) {
            (None, _) => return Err(AttestationError::Missing),
            (Some(value), None) => value.as_bytes(),
            _ => return Err(AttestationError::Repeated),
        };
        if sent.len() > MAX_TOKEN_BYTES {
            return Err(AttestationError::Malformed);
        }
        let digest = verdicts::digest(sent);
        let claims = match self.signed.get(&digest) {
            Some(claims) => claims,
            None => {
                let claims = Arc::new(self.verified(sent)?);
                self.signed.insert(digest, claims.clone());
                claims
            }
        };
        self.accept(&claims, headers, now)
    }

    /// What a token says that is signed as it should be.
    fn verified(&self, sent: &[u8]) -> Result<Claims, AttestationError> {
        let token = bearer::token(sent).map_err(|_| AttestationError::Malformed)?;
        let mut last = AttestationError::Signature;
        for verifier in &self.verifiers {
            let verified = match verifier {
                Verifier::Secret(key) => by_secret(key, token),
                Verifier::Keys(keys) => by_keys(keys, token),
            };
            match verified {
                Ok(claims) => return Ok(claims),
                Err(why) => last = why,
            }
        }
        Err(last)
    }

    fn accept(&self, claims: &Claims, headers: &HeaderMap, now: UnixTime) -> Result<(), AttestationError> {
        if self.issuer.is_some() && claims.issuer() != self.issuer.as_deref() {
            return Err(AttestationError::Issuer);
        }
        if let Some(us) = &self.audience
            && !claims
                .audiences()
                .is_some_and(|mut audiences| audiences.any(|one| one == us))
        {
            return Err(AttestationError::Audience);
        }
        let expires = claims.expires().ok_or(AttestationError::Lifetime)?;
        if now >= expires.saturating_add(DEFAULT_CLOCK_SKEW) {
            return Err(AttestationError::Expired);
        }
        let latest = now.saturating_add(DEFAULT_CLOCK_SKEW);
        if [claims.not_before(), claims.issued_at()]
            .iter()
            .flatten()
            .any(|start| *start > latest)
        {
            return Err(AttestationError::NotYetValid);
        }
        // by its end alone: not all services say when a token was issued
        if expires > latest.saturating_add(self.max_lifetime) {
            return Err(AttestationError::Lifetime);
        }
        match &self.binding {
            Some(binding) => binding.check(claims, headers),
            None => Ok(()),
        }
    }

    /// What is asked for, in words.
    #[must_use]
    pub fn describe(&self) -> String {
        let bound = self.binding.as_ref().map_or("", |_| " bound to Authorization");
        format!("attested by {}{bound}{}", self.name, self.mode.note())
    }
}

impl Binding {
    fn check(&self, claims: &Claims, headers: &HeaderMap) -> Result<(), AttestationError> {
        let said = claims
            .text(&self.claim)
            .ok()
            .flatten()
            .ok_or(AttestationError::Binding)?;
        let digest = digest_of_authorization(headers).ok_or(AttestationError::Binding)?;
        // with room for what a decoder takes beyond 32 bytes
        let mut decoded = [0; 36];
        let is_ours = READINGS.iter().any(|base64| {
            let length = base64.decode_slice(said, &mut decoded);
            length == Ok(digest.len()) && decoded.starts_with(&digest)
        });
        if is_ours {
            Ok(())
        } else {
            Err(AttestationError::Binding)
        }
    }
}

/// SHA-256 of the value of `Authorization`, scheme included; `None` where there is not exactly one.
#[must_use]
pub fn digest_of_authorization(headers: &HeaderMap) -> Option<Digest> {
    let mut values = headers.get_all(AUTHORIZATION).iter();
    match (values.next(), values.next()) {
        (Some(value), None) => Some(verdicts::digest(value.as_bytes())),
        _ => None,
    }
}

/// A secret as services hand it out: base64 of at least [`MIN_SECRET`] bytes.
#[must_use]
pub fn secret(base64: &str) -> Option<PKey<Private>> {
    let bytes = READINGS
        .iter()
        .find_map(|reading| reading.decode(base64.trim()).ok())?;
    (bytes.len() >= MIN_SECRET)
        .then(|| PKey::hmac(&bytes).ok())
        .flatten()
}

/// A token of these claims with HS256, for descriptions and tests.
#[must_use]
pub fn sign(key: &PKey<Private>, claims: &str) -> Option<String> {
    let header = URL_SAFE_NO_PAD.encode(r#"{"alg":"HS256","typ":"JWT"}"#);
    let signed = format!("{header}.{}", URL_SAFE_NO_PAD.encode(claims));
    let mac = mac(key, signed.as_bytes())?;
    Some(format!("{signed}.{}", URL_SAFE_NO_PAD.encode(mac)))
}

fn mac(key: &PKey<Private>, message: &[u8]) -> Option<Vec<u8>> {
    let mut signer = Signer::new(MessageDigest::sha256(), key).ok()?;
    signer.sign_oneshot_to_vec(message).ok()
}

/// RFC 7515 appendix A.1, and nothing but HS256.
fn by_secret(key: &PKey<Private>, token: &str) -> Result<Claims, AttestationError> {
    let malformed = |_| AttestationError::Malformed;
    let (signed, signature) = token.rsplit_once('.').ok_or(AttestationError::Malformed)?;
    let (header, payload) = signed.split_once('.').ok_or(AttestationError::Malformed)?;
    let decode = |part: &str| URL_SAFE_NO_PAD.decode(part).map_err(malformed);
    let header = json::parse(&decode(header)?, 4).map_err(|_| AttestationError::Malformed)?;
    let is_hs256 = header.get("alg").and_then(serde_json::Value::as_str) == Some("HS256");
    // what must be understood, and what changes what was signed
    if !is_hs256
        || ["crit", "b64", "zip"]
            .iter()
            .any(|name| header.get(name).is_some())
    {
        return Err(AttestationError::Malformed);
    }
    let signature = decode(signature)?;
    let ours = mac(key, signed.as_bytes()).ok_or(AttestationError::Signature)?;
    if ours.len() != signature.len() || !memcmp::eq(&ours, &signature) {
        return Err(AttestationError::Signature);
    }
    Claims::parse(&decode(payload)?).map_err(|_| AttestationError::Malformed)
}

fn by_keys(keys: &KeySet, token: &str) -> Result<Claims, AttestationError> {
    let unverified = Unverified::parse(token).map_err(|_| AttestationError::Malformed)?;
    let verified = jwt::verify_signature(keys, &unverified, |_| true);
    verified
        .map(|(claims, _)| claims)
        .map_err(|_| AttestationError::Signature)
}

#[cfg(test)]
mod tests {
    use jsonwebtoken::Algorithm;
    use serde_json::{Value, json};

    use super::*;
    use crate::gates::authn::tests::{ED, NOW, NOW_SECONDS, key_set};

    const SECRET: &str = "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=";

    fn attestation(verifier: Verifier) -> Attestation {
        let header = HeaderName::from_static("x-attestation");
        Attestation::new("mobile", header, verifier, Duration::from_secs(300), 1)
    }

    fn by_secret() -> Attestation {
        attestation(Verifier::Secret(secret(SECRET).unwrap()))
    }

    fn claims(changes: Value) -> String {
        let mut claims = json!({ "iss": "attester", "aud": "us", "exp": NOW_SECONDS + 200 });
        for (name, value) in changes.as_object().unwrap() {
            claims[name] = value.clone();
        }
        claims.to_string()
    }

    fn judge(
        attestation: &Attestation,
        tokens: &[&str],
        authorization: Option<&str>,
    ) -> Result<(), AttestationError> {
        let mut headers = HeaderMap::new();
        for token in tokens {
            headers.append("x-attestation", token.parse().unwrap());
        }
        if let Some(value) = authorization {
            headers.insert(AUTHORIZATION, value.parse().unwrap());
        }
        // twice: what is remembered is judged as it was the first time
        let first = attestation.judge(&headers, NOW);
        assert_eq!(attestation.judge(&headers, NOW), first);
        first
    }

    fn signed(changes: Value) -> String {
        sign(&secret(SECRET).unwrap(), &claims(changes)).unwrap()
    }

    // S60
    #[test]
    fn a_short_lived_token_of_the_service_is_good_and_no_other_is() {
        let mut ours = by_secret();
        ours.issuer = Some("attester".to_owned());
        ours.audience = Some("us".to_owned());
        let good = signed(json!({}));
        assert_eq!(judge(&ours, &[&good], None), Ok(()));
        use AttestationError::*;
        assert_eq!(judge(&ours, &[], None), Err(Missing));
        assert_eq!(judge(&ours, &[&good, &good], None), Err(Repeated));
        for (changes, why) in [
            (json!({ "exp": NOW_SECONDS - 29 }), None),
            (json!({ "exp": NOW_SECONDS - 30 }), Some(Expired)),
            (json!({ "exp": NOW_SECONDS + 330 }), None),
            (json!({ "exp": NOW_SECONDS + 331 }), Some(Lifetime)),
            (json!({ "exp": null }), Some(Malformed)),
            (json!({ "nbf": NOW_SECONDS + 31 }), Some(NotYetValid)),
            (json!({ "iat": NOW_SECONDS + 31 }), Some(NotYetValid)),
            (json!({ "iss": "another" }), Some(Issuer)),
            (json!({ "aud": ["another"] }), Some(Audience)),
            (json!({ "aud": ["another", "us"] }), None),
        ] {
            let expected = why.map_or(Ok(()), Err);
            assert_eq!(
                judge(&ours, &[&signed(changes.clone())], None),
                expected,
                "{changes}"
            );
        }
        let without_end = sign(&secret(SECRET).unwrap(), r#"{"iss":"attester","aud":"us"}"#).unwrap();
        assert_eq!(judge(&ours, &[&without_end], None), Err(Lifetime));
    }

    // S60, S48: the algorithm is not the token's to choose
    #[test]
    fn forged_tokens_are_refused_whatever_they_say_of_themselves() {
        let good = signed(json!({}));
        let (signed_part, signature) = good.rsplit_once('.').unwrap();
        let (_, payload) = signed_part.split_once('.').unwrap();
        let other = secret(&STANDARD.encode([7; 32])).unwrap();
        let header = |text: &str| URL_SAFE_NO_PAD.encode(text);
        let none = format!("{}.{payload}.", header(r#"{"alg":"none"}"#));
        let crit = format!("{}.{payload}", header(r#"{"alg":"HS256","crit":["x"]}"#));
        let crit = format!(
            "{crit}.{}",
            URL_SAFE_NO_PAD.encode(mac(&secret(SECRET).unwrap(), crit.as_bytes()).unwrap())
        );
        for (token, why) in [
            (
                sign(&other, &claims(json!({}))).unwrap(),
                AttestationError::Signature,
            ),
            (format!("{signed_part}."), AttestationError::Signature),
            (
                format!("{signed_part}.{}", &signature[1..]),
                AttestationError::Malformed,
            ),
            (none, AttestationError::Malformed),
            (crit, AttestationError::Malformed),
            ("yes".to_owned(), AttestationError::Malformed),
        ] {
            let found = judge(&by_secret(), &[&token], None).unwrap_err();
            assert!(
                found == why || found == AttestationError::Signature,
                "{token}: {found:?}"
            );
        }
        // a public key is no secret: HS256 with it is not looked at
        let keys = Arc::new(key_set(&[&ED.jwk]));
        let by_keys = attestation(Verifier::Keys(keys));
        let good = ED.sign(
            Algorithm::EdDSA,
            &json!({ "alg": "EdDSA", "kid": "ed" }).to_string(),
            &claims(json!({})),
        );
        assert_eq!(judge(&by_keys, &[&good], None), Ok(()));
        assert_eq!(
            judge(&by_keys, &[&signed(json!({}))], None),
            Err(AttestationError::Malformed)
        );
        assert_eq!(
            judge(&by_secret(), &[&good], None),
            Err(AttestationError::Malformed)
        );
    }

    // S60, M14: a stolen token is of no use with somebody else's attestation
    #[test]
    fn a_bound_token_is_for_one_authorization() {
        let mut bound = by_secret();
        bound.binding = Some(Binding {
            written: "pay".into(),
            claim: ClaimPath::of("pay"),
        });
        let digest = verdicts::digest(b"Bearer mine");
        for pay in [STANDARD.encode(digest), URL_SAFE_NO_PAD.encode(digest)] {
            let token = signed(json!({ "pay": pay }));
            assert_eq!(judge(&bound, &[&token], Some("Bearer mine")), Ok(()));
            for other in [None, Some("Bearer stolen"), Some("bearer mine")] {
                assert_eq!(judge(&bound, &[&token], other), Err(AttestationError::Binding));
            }
        }
        assert_eq!(
            judge(&bound, &[&signed(json!({}))], Some("Bearer mine")),
            Err(AttestationError::Binding)
        );
    }

    #[test]
    fn a_secret_is_base64_of_enough_bytes() {
        assert!(secret(SECRET).is_some());
        for bad in [
            "",
            "short",
            "MDEyMzQ1Njc4OWFiY2RlZg==",
            "not base64 at all, but long enough to be one",
        ] {
            assert!(secret(bad).is_none(), "{bad}");
        }
    }
}
