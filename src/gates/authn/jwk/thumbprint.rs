//! What a key is called by itself (RFC 7638).

use serde_json::{Map, Value};

use crate::gates::authn::verdicts::{Digest, digest};

/// SHA-256 of the members that make the key, in the order of the alphabet (section 3.2, and RFC 8037 section 2). `None`: not
/// a public key of a known kind.
#[must_use]
pub fn thumbprint(jwk: &Map<String, Value>) -> Option<Digest> {
    let names: &[&str] = match jwk.get("kty")?.as_str()? {
        "EC" => &["crv", "kty", "x", "y"],
        "OKP" => &["crv", "kty", "x"],
        "RSA" => &["e", "kty", "n"],
        _ => return None,
    };
    let mut text = String::with_capacity(512);
    for name in names {
        let value = jwk.get(*name)?.as_str()?;
        text.push(if text.is_empty() { '{' } else { ',' });
        // of what a key has, base64url and names of curves, nothing has to be escaped
        if value.contains(['"', '\\']) || value.contains(char::is_control) {
            return None;
        }
        for part in ["\"", name, "\":\"", value, "\""] {
            text.push_str(part);
        }
    }
    text.push('}');
    Some(digest(text.as_bytes()))
}

#[cfg(test)]
mod tests {
    use base64::Engine;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;
    use serde_json::json;

    use super::*;

    fn text(jwk: Value) -> Option<String> {
        thumbprint(jwk.as_object().unwrap()).map(|digest| URL_SAFE_NO_PAD.encode(digest))
    }

    // RFC 7638 section 3.1, RFC 8037 appendix A.3, RFC 9449 section 6.1
    #[test]
    fn the_standards_examples_have_their_thumbprints() {
        let rsa = json!({
            "kty": "RSA", "e": "AQAB", "alg": "RS256", "kid": "2011-04-29",
            "n": "0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJECPebWKRXjBZCiFV4n3oknjhMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY368QQMicAtaSqzs8KJZgnYb9c7d0zgdAZHzu6qMQvRL5hajrn1n91CbOpbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF44-csFCur-kEgU8awapJzKnqDKgw",
        });
        let okp = json!({
            "kty": "OKP", "crv": "Ed25519", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo",
        });
        let ec = json!({
            "kty": "EC", "crv": "P-256",
            "x": "l8tFrhx-34tV3hRICRDY9zCkDlpBhF42UQUfWVAWBFs", "y": "9VE4jf_Ok_o64zbTTlcuNJajHmt6v9TDVrU0CdvGRDA",
        });
        for (jwk, expected) in [
            (rsa, "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs"),
            (okp, "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k"),
            (ec, "0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I"),
        ] {
            assert_eq!(text(jwk).as_deref(), Some(expected));
        }
    }

    #[test]
    fn what_is_no_key_has_none() {
        for jwk in [
            json!({}),
            json!({ "kty": "oct", "k": "AAAA" }),
            json!({ "kty": "EC", "crv": "P-256", "x": "AA" }),
            json!({ "kty": "OKP", "crv": "Ed25519", "x": 1 }),
            json!({ "kty": "OKP", "crv": "Ed25519", "x": "A\",\"y\":\"A" }),
        ] {
            assert_eq!(text(jwk.clone()), None, "{jwk}");
        }
    }
}
