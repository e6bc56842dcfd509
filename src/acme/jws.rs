//! Signed requests (RFC 8555 section 6.2): flattened JWS with ES256, and the binding of an account that exists elsewhere.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as B64;
use openssl::bn::BigNumContext;
use openssl::ecdsa::EcdsaSig;
use openssl::error::ErrorStack;
use openssl::hash::MessageDigest;
use openssl::pkey::{PKey, Private};
use openssl::sign::Signer;
use serde_json::{Value, json};

use super::ExternalAccount;

/// The key of an account: EC on P-256.
#[derive(Debug)]
pub struct AccountKey {
    key: PKey<Private>,
    /// Coordinates of the public half, 32 bytes each, in base64url.
    x: String,
    y: String,
}

/// How a request says whose it is.
#[derive(Debug, Clone, Copy)]
pub enum Signed<'a> {
    /// By the key itself: there is no account yet.
    Jwk,
    /// By the account's URL.
    Account(&'a str),
}

impl AccountKey {
    /// # Errors
    /// The key is not one on P-256.
    pub fn new(key: PKey<Private>) -> Result<AccountKey, ErrorStack> {
        let ec = key.ec_key()?;
        let (mut x, mut y) = (openssl::bn::BigNum::new()?, openssl::bn::BigNum::new()?);
        let mut context = BigNumContext::new()?;
        ec.public_key()
            .affine_coordinates(ec.group(), &mut x, &mut y, &mut context)?;
        let (x, y) = (x.to_vec_padded(32)?, y.to_vec_padded(32)?);
        Ok(AccountKey {
            key,
            x: B64.encode(x),
            y: B64.encode(y),
        })
    }

    /// The public half (RFC 7517).
    #[must_use]
    pub fn jwk(&self) -> Value {
        json!({ "kty": "EC", "crv": "P-256", "x": self.x, "y": self.y })
    }

    /// Identifies the key (RFC 7638): members in this order, without spaces.
    #[must_use]
    pub fn thumbprint(&self) -> String {
        let (x, y) = (&self.x, &self.y);
        let canonical = format!(r#"{{"crv":"P-256","kty":"EC","x":"{x}","y":"{y}"}}"#);
        B64.encode(openssl::sha::sha256(canonical.as_bytes()))
    }

    /// The body of a request to `url`. Without a payload it only asks (POST-as-GET, RFC 8555 section 6.3).
    ///
    /// # Errors
    /// Those of OpenSSL.
    pub fn sign(
        &self,
        signed: Signed<'_>,
        nonce: &str,
        url: &str,
        payload: Option<&Value>,
    ) -> Result<Vec<u8>, ErrorStack> {
        let mut protected = json!({ "alg": "ES256", "nonce": nonce, "url": url });
        if let Some(members) = protected.as_object_mut() {
            match signed {
                Signed::Jwk => members.insert("jwk".to_owned(), self.jwk()),
                Signed::Account(kid) => members.insert("kid".to_owned(), kid.into()),
            };
        }
        let payload = payload.map(Value::to_string).unwrap_or_default();
        let (protected, payload) = (B64.encode(protected.to_string()), B64.encode(payload));
        let der = Signer::new(MessageDigest::sha256(), &self.key)?
            .sign_oneshot_to_vec(format!("{protected}.{payload}").as_bytes())?;
        let signature = EcdsaSig::from_der(&der)?;
        let mut bytes = signature.r().to_vec_padded(32)?;
        bytes.extend(signature.s().to_vec_padded(32)?);
        Ok(flattened(&protected, &payload, &bytes).to_string().into_bytes())
    }

    /// Binds this key to an account that exists elsewhere (RFC 8555 section 7.3.4).
    ///
    /// # Errors
    /// Those of OpenSSL.
    pub fn bound_to(&self, external: &ExternalAccount, new_account: &str) -> Result<Value, ErrorStack> {
        let protected = json!({ "alg": "HS256", "kid": external.kid, "url": new_account });
        let (protected, payload) = (
            B64.encode(protected.to_string()),
            B64.encode(self.jwk().to_string()),
        );
        let key = PKey::hmac(&external.key)?;
        let signature = Signer::new(MessageDigest::sha256(), &key)?
            .sign_oneshot_to_vec(format!("{protected}.{payload}").as_bytes())?;
        Ok(flattened(&protected, &payload, &signature))
    }
}

fn flattened(protected: &str, payload: &str, signature: &[u8]) -> Value {
    json!({ "protected": protected, "payload": payload, "signature": B64.encode(signature) })
}
