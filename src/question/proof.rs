//! A proof of possession that says what was described (DPoP, RFC 9449), signed with a key of the moment, to which the described
//! token is bound.

use std::collections::BTreeMap;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::Method;
use http::header::{HeaderMap, HeaderValue};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Value, json};
use uuid::Uuid;

use super::token::Signer;
use crate::clock::UnixTime;
use crate::gates::authn::dpop::{Dpop, PROOF};
use crate::gates::authn::{bearer, jwk, verdicts};

/// Claims of a proof that its key has signed.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Proved {
    /// What it says. `htm`, `htu`, `iat`, `jti`, `ath` and, where one is needed, `nonce` are filled in where they are missing;
    /// `null` leaves one out. Where a request is asked several times, each has a `jti` of its own, unless it is written.
    #[serde(default)]
    pub claims: BTreeMap<String, Value>,
}

/// What a proof is for.
pub(super) struct For<'a> {
    pub method: &'a Method,
    /// Without query.
    pub url: String,
    pub now: UnixTime,
}

impl Proved {
    /// `cnf` of a token that is bound to the key of such proofs.
    pub(super) fn confirmation(dpop: &Dpop) -> Result<Value, String> {
        let thumbprint = signer(dpop)?.public.as_object().and_then(jwk::thumbprint);
        let thumbprint = thumbprint.ok_or("dpop: there is no key for it")?;
        Ok(json!({ "jkt": URL_SAFE_NO_PAD.encode(thumbprint) }))
    }

    /// Adds the proof to the headers, whose `Authorization` has the token already.
    pub(super) fn give_to(self, headers: &mut HeaderMap, dpop: &Dpop, what: For<'_>) -> Result<(), String> {
        let Proved { mut claims } = self;
        let For { method, url, now } = what;
        let sent = bearer::sent(headers, None).ok().flatten();
        let token = sent.ok_or("dpop: there is no token that it could be for")?.token;
        let nonce = dpop.nonces.as_ref().and_then(|nonces| nonces.issue(now));
        let defaults = [
            ("htm", Some(json!(method.as_str()))),
            ("htu", Some(json!(url))),
            ("iat", Some(json!(now.seconds()))),
            ("jti", Some(json!(Uuid::new_v4().to_string()))),
            (
                "ath",
                Some(json!(URL_SAFE_NO_PAD.encode(verdicts::digest(token)))),
            ),
            ("nonce", nonce.and_then(|nonce| Some(json!(nonce.to_str().ok()?)))),
        ];
        for (name, value) in defaults {
            if let Some(value) = value {
                claims.entry(name.to_owned()).or_insert(value);
            }
        }
        claims.retain(|_, claim| !claim.is_null());
        let signer = signer(dpop)?;
        let header = json!({
            "typ": "dpop+jwt", "alg": format!("{:?}", signer.algorithm), "jwk": signer.public,
        });
        let claims = serde_json::to_string(&claims).map_err(|why| format!("dpop: {why}"))?;
        let parts = [header.to_string(), claims].map(|part| URL_SAFE_NO_PAD.encode(part));
        let message = parts.join(".");
        let signature = jsonwebtoken::crypto::sign(message.as_bytes(), &signer.key, signer.algorithm)
            .map_err(|why| format!("dpop: {why}"))?;
        let value = HeaderValue::from_str(&format!("{message}.{signature}"));
        headers.insert(PROOF, value.map_err(|why| format!("dpop: {why}"))?);
        Ok(())
    }
}

fn signer(dpop: &Dpop) -> Result<&'static Signer, String> {
    Signer::of(|algorithm| dpop.algorithms.contains(algorithm)).map_err(|why| format!("dpop: {why}"))
}
