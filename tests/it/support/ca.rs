//! A CA by ACME that writes down what it is asked, and issues nothing.

use std::sync::{Arc, Mutex};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as B64;
use openssl::pkey::PKey;
use openssl::sign::Signer;
use serde_json::{Value, json};

use super::{Origin, Reply, eventually};

pub struct Ca {
    pub origin: Origin,
}

impl Ca {
    /// Its directory is wherever it is looked for: `/one`, `/two`.
    pub fn start() -> Ca {
        Ca::suggesting(None)
    }

    /// The same, which suggests this window for renewals (RFC 9773).
    pub fn suggesting(window: Option<(&'static str, &'static str)>) -> Ca {
        Ca::answering(window, false)
    }

    /// The same, which takes orders of `api.example`, asks for a proof in TLS, and never makes up its mind.
    pub fn undecided() -> Ca {
        Ca::answering(None, true)
    }

    fn answering(window: Option<(&'static str, &'static str)>, takes_orders: bool) -> Ca {
        let own = Arc::new(Mutex::new(String::new()));
        let base = own.clone();
        let origin = Origin::answering(move |seen| {
            let base = base.lock().unwrap().clone();
            let nonce = ("Replay-Nonce", "n");
            let json = ("Content-Type", "application/json");
            match seen.target.as_str() {
                "/nonce" => Reply::new(200, &[nonce], ""),
                "/account" => Reply::new(
                    201,
                    &[nonce, json, ("Location", &format!("{base}/account/1"))],
                    "{}",
                ),
                "/order" if takes_orders => {
                    let order = json!({
                        "status": "pending", "authorizations": [format!("{base}/authorization")],
                        "finalize": format!("{base}/finalize"),
                    });
                    let at = format!("{base}/order/1");
                    Reply::new(201, &[nonce, json, ("Location", &at)], &order.to_string())
                }
                "/authorization" => {
                    let authorization = json!({
                        "status": "pending", "identifier": { "type": "dns", "value": "api.example" },
                        "challenges": [{
                            "type": "tls-alpn-01", "token": "t0ken", "url": format!("{base}/challenge"),
                        }],
                    });
                    Reply::new(200, &[nonce, json], &authorization.to_string())
                }
                "/challenge" => Reply::new(200, &[nonce, json], "{}"),
                "/order" => Reply::new(
                    403,
                    &[nonce, json],
                    "{\"type\": \"urn:x:rejected\", \"detail\": \"nothing is issued\"}",
                ),
                target if target.starts_with("/info/") => {
                    let (start, end) = window.unwrap();
                    let told = json!({ "suggestedWindow": { "start": start, "end": end } });
                    Reply::new(200, &[json, ("Retry-After", "21600")], &told.to_string())
                }
                _ => {
                    let mut directory = json!({
                        "newNonce": format!("{base}/nonce"), "newAccount": format!("{base}/account"),
                        "newOrder": format!("{base}/order"),
                    });
                    if window.is_some() {
                        directory["renewalInfo"] = format!("{base}/info").into();
                    }
                    Reply::new(200, &[json], &directory.to_string())
                }
            }
        });
        *own.lock().unwrap() = format!("http://{}", origin.address);
        Ca { origin }
    }

    /// The payload of the first request to a path.
    pub fn payload(&self, path: &str) -> Value {
        eventually("the CA is asked", || {
            let seen = self.origin.seen();
            let seen = seen.iter().find(|seen| seen.target == path)?;
            let jws: Value = serde_json::from_slice(&seen.body).unwrap();
            Some(part(&jws, "payload"))
        })
    }

    /// The first path that was asked for.
    pub fn first(&self) -> String {
        eventually("the CA is asked", || {
            self.origin.seen().first().map(|seen| seen.target.clone())
        })
    }
}

/// A part of a flattened JWS, decoded.
pub fn part(jws: &Value, name: &str) -> Value {
    serde_json::from_slice(&B64.decode(jws[name].as_str().unwrap()).unwrap()).unwrap()
}

/// Whether a flattened JWS was signed with this key, HS256.
pub fn is_signed(jws: &Value, key: &str) -> bool {
    let key = PKey::hmac(&B64.decode(key).unwrap()).unwrap();
    let mut signer = Signer::new(openssl::hash::MessageDigest::sha256(), &key).unwrap();
    let signed = format!(
        "{}.{}",
        jws["protected"].as_str().unwrap(),
        jws["payload"].as_str().unwrap()
    );
    let expected = signer.sign_oneshot_to_vec(signed.as_bytes()).unwrap();
    jws["signature"] == B64.encode(expected)
}

/// The name of the file in which an account keeps the certificate for these names.
pub fn file(names: &str) -> String {
    let digest = openssl::sha::sha256(names.as_bytes());
    let short: String = digest[..4].iter().map(|byte| format!("{byte:02x}")).collect();
    format!("{}-{short}.pem", names.split(',').next().unwrap())
}
