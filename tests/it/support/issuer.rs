//! Issuers of tokens: keys, signatures made with OpenSSL directly, and a server of key sets that can misbehave.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as B64;
use openssl::hash::MessageDigest;
use openssl::pkey::{PKey, Private};
use openssl::rsa::Rsa;
use openssl::sign::Signer;
use serde_json::{Value, json};

use super::origin::{Origin, Reply};

pub const ISSUER: &str = "https://issuer.example/";
pub const AUDIENCE: &str = "vehicle-api";

/// Seconds since 1970.
pub fn now() -> u64 {
    std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap()
        .as_secs()
}

/// An RSA key under a name.
#[derive(Clone)]
pub struct Keys {
    pub kid: String,
    pub key: PKey<Private>,
}

impl Keys {
    pub fn new(kid: &str) -> Keys {
        Keys {
            kid: kid.to_owned(),
            key: PKey::from_rsa(Rsa::generate(2048).unwrap()).unwrap(),
        }
    }

    /// The public half, as a JWK.
    pub fn jwk(&self) -> Value {
        let rsa = self.key.rsa().unwrap();
        json!({
            "kty": "RSA", "use": "sig", "alg": "RS256", "kid": self.kid,
            "n": B64.encode(rsa.n().to_vec()), "e": B64.encode(rsa.e().to_vec()),
        })
    }

    /// A key set of only this key.
    pub fn jwks(&self) -> String {
        json!({ "keys": [self.jwk()] }).to_string()
    }

    /// Claims that every test's gateway takes, with changes; `null` removes one.
    pub fn claims(changes: Value) -> Value {
        let mut claims = json!({
            "iss": ISSUER, "aud": AUDIENCE, "sub": "ada", "iat": now(), "exp": now() + 300,
            "client_id": "tests", "scope": "read:lien_info read:vehicle", "roles": ["clerk"],
        });
        for (name, value) in changes.as_object().unwrap() {
            if value.is_null() {
                claims.as_object_mut().unwrap().remove(name);
            } else {
                claims[name] = value.clone();
            }
        }
        claims
    }

    /// A token with these changes to the claims.
    pub fn token(&self, changes: Value) -> String {
        self.sign(
            &json!({ "alg": "RS256", "typ": "at+jwt", "kid": self.kid }),
            &Keys::claims(changes),
        )
    }

    /// A token with this header and these claims, signed with RS256 whatever the header says.
    pub fn sign(&self, header: &Value, claims: &Value) -> String {
        let signed = format!(
            "{}.{}",
            B64.encode(header.to_string()),
            B64.encode(claims.to_string())
        );
        let mut signer = Signer::new(MessageDigest::sha256(), &self.key).unwrap();
        let signature = signer.sign_oneshot_to_vec(signed.as_bytes()).unwrap();
        format!("{signed}.{}", B64.encode(signature))
    }

    /// The configuration of an issuer `main` with these keys inline.
    pub fn inline(&self) -> String {
        format!(
            "issuers:\n  main: {{ issuer: \"{ISSUER}\", audiences: [{AUDIENCE}], jwks: {{ inline: '{}' }} }}\n",
            self.jwks()
        )
    }
}

/// A server of a key set. What it answers can be changed while it runs.
pub struct Issuer {
    pub address: SocketAddr,
    answer: Arc<Mutex<Box<dyn Fn() -> Reply + Send>>>,
    fetches: Arc<AtomicUsize>,
}

impl Issuer {
    pub fn start(jwks: &str) -> Issuer {
        let answer: Arc<Mutex<Box<dyn Fn() -> Reply + Send>>> = Arc::new(Mutex::new(Box::new(Reply::ok)));
        let fetches = Arc::new(AtomicUsize::new(0));
        let (current, count) = (answer.clone(), fetches.clone());
        let origin = Origin::answering(move |_| {
            count.fetch_add(1, Ordering::SeqCst);
            (current.lock().unwrap())()
        });
        let issuer = Issuer {
            address: origin.address,
            answer,
            fetches,
        };
        issuer.publish(jwks);
        issuer
    }

    /// Publishes this key set from now on.
    pub fn publish(&self, jwks: &str) {
        let jwks = jwks.to_owned();
        self.answer(move || Reply::new(200, &[("Content-Type", "application/jwk-set+json")], &jwks));
    }

    /// Answers so from now on.
    pub fn answer(&self, reply: impl Fn() -> Reply + Send + 'static) {
        *self.answer.lock().unwrap() = Box::new(reply);
    }

    /// Times that it was asked.
    pub fn fetches(&self) -> usize {
        self.fetches.load(Ordering::SeqCst)
    }

    /// The configuration of an issuer `main` that fetches here; `more` is added to `jwks`, as flow YAML.
    pub fn config(&self, more: &str) -> String {
        let more = if more.is_empty() {
            String::new()
        } else {
            format!(", {more}")
        };
        format!(
            "issuers:\n  main: {{ issuer: \"{ISSUER}\", audiences: [{AUDIENCE}], \
             jwks: {{ url: \"http://{}/jwks.json\"{more} }} }}\n",
            self.address
        )
    }
}
