//! Access tokens of the demo's issuer, in the profile of RFC 9068.

use std::io::{self, ErrorKind};
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};
use uuid::Uuid;

use super::keys::{Algorithm, Keys};
use crate::pki::store::State;

/// `iss` of every token. A name, not an address: the issuer's port changes from run to run, this never does, and the
/// gateway fetches the keys from where its configuration says.
pub const ISSUER: &str = "https://issuer.durward.localhost/";
/// `aud` of tokens, unless asked otherwise.
pub const AUDIENCE: &str = "vehicle-api";
/// The one client that the token endpoint knows, and `client_id` of every token.
pub const CLIENT: &str = "demo-app";
/// Longest lifetime, in seconds: a day.
pub const MAX_TTL: u32 = 86_400;

/// What a token should say.
#[derive(Debug, Clone)]
pub struct TokenRequest {
    /// Scopes, separated by single spaces (RFC 6749 section 3.3); may be empty. Not limited to those that the token
    /// endpoint knows.
    pub scope: String,
    /// `sub`. Any text, so that the gateway can be shown subjects that it must refuse.
    pub subject: String,
    /// `roles`.
    pub roles: Vec<String>,
    /// Seconds until it expires, 1 to [`MAX_TTL`].
    pub ttl_seconds: u32,
    /// `aud`.
    pub audience: String,
    /// How it is signed.
    pub algorithm: Algorithm,
}

impl Default for TokenRequest {
    fn default() -> TokenRequest {
        TokenRequest {
            scope: String::new(),
            subject: "demo-user".to_owned(),
            roles: Vec::new(),
            ttl_seconds: 300,
            audience: AUDIENCE.to_owned(),
            algorithm: Algorithm::default(),
        }
    }
}

/// Signs a token with the keys in the state directory `dir`. No demo needs to be running.
///
/// # Errors
/// `NotFound` if no demo has used `dir` yet; `InvalidInput` if the scope or the lifetime cannot be; those of the file
/// system and of OpenSSL.
pub fn token(dir: &Path, request: &TokenRequest) -> io::Result<String> {
    let keys = State::existing(dir)
        .and_then(|state| Keys::load(&state))
        .map_err(|error| {
            if error.kind() != ErrorKind::NotFound {
                return error;
            }
            let text = format!(
                "no keys in {}: start the demo once first: durward demo",
                dir.display()
            );
            io::Error::new(ErrorKind::NotFound, text)
        })?;
    issue(&keys, request)
}

/// Signs a token with `keys`.
pub(super) fn issue(keys: &Keys, request: &TokenRequest) -> io::Result<String> {
    let invalid = |text: String| io::Error::new(ErrorKind::InvalidInput, text);
    if !(1..=MAX_TTL).contains(&request.ttl_seconds) {
        return Err(invalid(format!(
            "a token lives 1 to {MAX_TTL} seconds, not {}",
            request.ttl_seconds
        )));
    }
    if !request.scope.is_empty() && !request.scope.split(' ').all(is_scope) {
        return Err(invalid(format!("{:?} is not a list of scopes", request.scope)));
    }
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_err(io::Error::other)?
        .as_secs();
    Ok(keys.sign(request.algorithm, &claims(request, now))?)
}

/// The claims of a token issued at `now`, in seconds since 1970.
fn claims(request: &TokenRequest, now: u64) -> Value {
    let mut claims = json!({
        "iss": ISSUER,
        "sub": request.subject,
        "aud": request.audience,
        "iat": now,
        "nbf": now,
        "exp": now + u64::from(request.ttl_seconds),
        "jti": Uuid::now_v7().to_string(),
        "client_id": CLIENT,
        "roles": request.roles,
    });
    // An empty `scope` would break the grammar; to grant nothing is to say nothing.
    if let (false, Some(object)) = (request.scope.is_empty(), claims.as_object_mut()) {
        object.insert("scope".to_owned(), request.scope.clone().into());
    }
    claims
}

/// Whether `text` is a scope-token (RFC 6749 section 3.3).
pub(super) fn is_scope(text: &str) -> bool {
    !text.is_empty()
        && text
            .bytes()
            .all(|byte| matches!(byte, 0x21 | 0x23..=0x5B | 0x5D..=0x7E))
}

#[cfg(test)]
mod tests {
    use base64::Engine as _;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;
    use openssl::bn::BigNum;
    use openssl::ec::{EcGroup, EcKey};
    use openssl::ecdsa::EcdsaSig;
    use openssl::hash::MessageDigest;
    use openssl::nid::Nid;
    use openssl::pkey::{PKey, Public};
    use openssl::rsa::Rsa;
    use openssl::sign::Verifier;

    use super::*;
    use crate::demo::keys;
    use crate::pki::store::Scratch;

    fn decode(text: &str) -> Vec<u8> {
        URL_SAFE_NO_PAD.decode(text).unwrap()
    }

    /// The key of `jwks` with this `kid`, built from its JWK members alone.
    fn public_key(jwks: &Value, kid: &Value) -> PKey<Public> {
        let jwk = jwks["keys"]
            .as_array()
            .unwrap()
            .iter()
            .find(|jwk| &jwk["kid"] == kid)
            .unwrap();
        let number = |name: &str| BigNum::from_slice(&decode(jwk[name].as_str().unwrap())).unwrap();
        if jwk["kty"] == "RSA" {
            PKey::from_rsa(Rsa::from_public_components(number("n"), number("e")).unwrap()).unwrap()
        } else {
            let group = EcGroup::from_curve_name(Nid::X9_62_PRIME256V1).unwrap();
            let key = EcKey::from_public_key_affine_coordinates(&group, &number("x"), &number("y")).unwrap();
            PKey::from_ec_key(key).unwrap()
        }
    }

    /// Header and claims of a token whose signature the published keys verify.
    fn verified(jwks: &Value, token: &str) -> (Value, Value) {
        let parts: Vec<&str> = token.split('.').collect();
        assert_eq!(parts.len(), 3);
        let header: Value = serde_json::from_slice(&decode(parts[0])).unwrap();
        let mut signature = decode(parts[2]);
        if header["alg"] == "ES256" {
            let (r, s) = signature.split_at(32);
            let (r, s) = (BigNum::from_slice(r).unwrap(), BigNum::from_slice(s).unwrap());
            signature = EcdsaSig::from_private_components(r, s).unwrap().to_der().unwrap();
        }
        let key = public_key(jwks, &header["kid"]);
        let mut verifier = Verifier::new(MessageDigest::sha256(), &key).unwrap();
        let input = format!("{}.{}", parts[0], parts[1]);
        assert!(verifier.verify_oneshot(&signature, input.as_bytes()).unwrap());
        (header, serde_json::from_slice(&decode(parts[1])).unwrap())
    }

    #[test]
    fn tokens_of_both_algorithms_verify_with_the_published_keys_and_say_what_was_asked() {
        let scratch = Scratch::new();
        let state = State::open(&scratch.0).unwrap();
        keys::ensure(&state).unwrap();
        let jwks = Keys::load(&state).unwrap().jwks();
        for algorithm in [Algorithm::Rs256, Algorithm::Es256] {
            let request = TokenRequest {
                scope: "read:vehicle read:lien_info".to_owned(),
                roles: vec!["vehicle-analyst".to_owned()],
                algorithm,
                ..TokenRequest::default()
            };
            let (header, claims) = verified(&jwks, &token(&scratch.0, &request).unwrap());
            assert_eq!(header["alg"], algorithm.name());
            assert_eq!(header["typ"], "at+jwt");
            assert_eq!(claims["iss"], ISSUER);
            assert_eq!(claims["sub"], "demo-user");
            assert_eq!(claims["aud"], AUDIENCE);
            assert_eq!(claims["client_id"], CLIENT);
            assert_eq!(claims["scope"], "read:vehicle read:lien_info");
            assert_eq!(claims["roles"], json!(["vehicle-analyst"]));
            assert_eq!(
                claims["exp"].as_u64().unwrap() - claims["iat"].as_u64().unwrap(),
                300
            );
            assert_eq!(claims["nbf"], claims["iat"]);
            assert!(claims["jti"].is_string());
        }
    }

    #[test]
    fn without_keys_the_error_says_how_to_get_them() {
        let scratch = Scratch::new();
        for _ in 0..2 {
            let error = token(&scratch.0, &TokenRequest::default()).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::NotFound);
            assert!(
                error
                    .to_string()
                    .contains("start the demo once first: durward demo"),
                "{error}"
            );
            // The second time the directory is there, but empty.
            State::open(&scratch.0).unwrap();
        }
    }

    #[test]
    fn impossible_lifetimes_and_scopes_are_refused() {
        let scratch = Scratch::new();
        keys::ensure(&State::open(&scratch.0).unwrap()).unwrap();
        let kind = |request: TokenRequest| token(&scratch.0, &request).map_err(|error| error.kind());
        for ttl_seconds in [0, MAX_TTL + 1] {
            let request = TokenRequest {
                ttl_seconds,
                ..TokenRequest::default()
            };
            assert_eq!(kind(request).unwrap_err(), ErrorKind::InvalidInput);
        }
        for scope in [" ", "a  b", "a ", "a\"b", "a\\b", "é", "a\tb"] {
            let request = TokenRequest {
                scope: scope.to_owned(),
                ..TokenRequest::default()
            };
            assert_eq!(kind(request).unwrap_err(), ErrorKind::InvalidInput, "{scope:?}");
        }
        assert!(
            kind(TokenRequest {
                ttl_seconds: MAX_TTL,
                ..TokenRequest::default()
            })
            .is_ok()
        );
    }
}
