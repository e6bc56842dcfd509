//! What attackers send (S48), each with the reason it is refused for.

use openssl::hash::MessageDigest;
use openssl::sign::Signer;

use super::*;
use crate::gates::authn::jws::MAX_TOKEN_BYTES;

/// A token with this header, whose signature would be good: EdDSA over these very bytes.
fn with_header(header: &str) -> String {
    ED.sign(Algorithm::EdDSA, header, &claims().to_string())
}

/// A good header with one more member.
fn with_member(name: &str, value: Value) -> String {
    let mut head = header(Algorithm::EdDSA, &ED.jwk["kid"]);
    head[name] = value;
    with_header(&head.to_string())
}

#[test]
fn none_is_refused_in_every_casing_with_and_without_a_signature() {
    // S48
    for bits in 0..16_u32 {
        let name: String = "none"
            .char_indices()
            .map(|(i, c)| {
                if bits >> i & 1 == 1 {
                    c.to_ascii_uppercase()
                } else {
                    c
                }
            })
            .collect();
        let token = with_header(&json!({"alg": name, "kid": "ed"}).to_string());
        refused(&token, AuthnError::AlgorithmNone);
        let (message, _) = token.rsplit_once('.').unwrap();
        refused(&format!("{message}."), AuthnError::AlgorithmNone);
    }
    for name in [
        " none", "none ", "nonе", "", "RS256 ", "rs256", "ES256K", "ES512", "RSA1_5", "dir",
    ] {
        refused(
            &with_header(&json!({"alg": name}).to_string()),
            AuthnError::AlgorithmNotAllowed,
        );
    }
    for head in [
        "{}",
        r#"{"alg":null}"#,
        r#"{"alg":256}"#,
        r#"{"alg":["EdDSA"]}"#,
        r#"{"Alg":"EdDSA"}"#,
    ] {
        refused(&with_header(head), AuthnError::TokenMalformed);
    }
}

#[test]
fn hmac_over_a_public_key_is_refused() {
    // S48: the public key, in every form an attacker can have it, as the secret.
    let rsa = RSA.private.rsa().unwrap();
    let secrets = [
        RSA.private.public_key_to_pem().unwrap(),
        RSA.private.public_key_to_der().unwrap(),
        rsa.public_key_to_pem_pkcs1().unwrap(),
        rsa.public_key_to_der_pkcs1().unwrap(),
        RSA.jwk["n"].as_str().unwrap().as_bytes().to_vec(),
        0_u64.to_be_bytes().to_vec(),
    ];
    for secret in secrets {
        let hmac = PKey::hmac(&secret).unwrap();
        for (name, digest, expected) in [
            ("HS256", MessageDigest::sha256(), AuthnError::AlgorithmSymmetric),
            ("HS384", MessageDigest::sha384(), AuthnError::AlgorithmSymmetric),
            ("HS512", MessageDigest::sha512(), AuthnError::AlgorithmSymmetric),
            ("hs256", MessageDigest::sha256(), AuthnError::AlgorithmSymmetric),
            ("RS256", MessageDigest::sha256(), AuthnError::SignatureInvalid),
        ] {
            let head = json!({"alg": name, "kid": "rsa"}).to_string();
            let message = format!("{}.{}", b64(head), b64(claims().to_string()));
            let mut signer = Signer::new(digest, &hmac).unwrap();
            let signature = signer.sign_oneshot_to_vec(message.as_bytes()).unwrap();
            refused(&format!("{message}.{}", b64(signature)), expected);
        }
    }
}

#[test]
fn keys_and_extensions_in_the_header_are_refused() {
    // S48
    let evil = TestKey::ed25519("ed");
    for (name, value) in [
        ("jwk", evil.jwk.clone()),
        ("jwk", Value::Null),
        ("jku", json!("https://evil.example/jwks")),
        ("jku", json!(ISSUER)),
        ("x5u", json!("https://evil.example/cert")),
        ("x5c", json!(["MIIB"])),
        ("x5c", json!([])),
    ] {
        refused(&with_member(name, value), AuthnError::HeaderEmbeddedKey);
    }
    let mut head = header(Algorithm::EdDSA, &json!("ed"));
    head["jwk"] = evil.jwk.clone();
    refused(
        &evil.sign(Algorithm::EdDSA, &head.to_string(), &claims().to_string()),
        AuthnError::HeaderEmbeddedKey,
    );

    for value in [
        json!(["exp"]),
        json!(["b64"]),
        json!([]),
        json!("b64"),
        Value::Null,
    ] {
        refused(&with_member("crit", value), AuthnError::HeaderCrit);
    }
    refused(&with_member("b64", json!(false)), AuthnError::HeaderB64);
    refused(&with_member("b64", json!(true)), AuthnError::HeaderB64);
    refused(&with_member("zip", json!("DEF")), AuthnError::HeaderZip);
    refused(&with_member("enc", json!("A256GCM")), AuthnError::TokenEncrypted);
    for name in ["x5t", "x5t#S256", "cty", "url", "nonce", "typ"] {
        refused(&with_member(name, json!(1)), AuthnError::TokenMalformed);
    }
    verdict(&with_member("x5t", json!("AAAA"))).unwrap();
    verdict(&with_member("custom", json!({"nested": [1, {}]}))).unwrap();
}

#[test]
fn a_kid_is_only_ever_compared() {
    for kid in [
        "../../etc/passwd",
        "/dev/null",
        "' OR '1'='1",
        "1; DROP TABLE keys",
        "https://evil.example/key",
        "ed/../rsa",
        "${jndi:ldap://evil.example}",
        "ED",
        " ed",
        "0",
    ] {
        refused(&with_member("kid", json!(kid)), AuthnError::KeyUnknown);
    }
    let long = "k".repeat(257);
    for kid in [
        json!(""),
        json!("ed\0"),
        json!("ed\r\nx: y"),
        json!(long),
        json!(7),
        Value::Null,
        json!(["ed"]),
    ] {
        refused(&with_member("kid", kid), AuthnError::KidMalformed);
    }
    refused(
        &with_member("kid", json!("k".repeat(256))),
        AuthnError::KeyUnknown,
    );
}

#[test]
fn a_key_of_another_kind_than_the_algorithm_is_refused() {
    for (algorithm, kid) in [
        ("ES256", "p384"),
        ("ES384", "p256"),
        ("ES256", "rsa"),
        ("RS256", "ed"),
        ("EdDSA", "p256"),
    ] {
        for signer in [
            Algorithm::ES256,
            Algorithm::ES384,
            Algorithm::RS256,
            Algorithm::EdDSA,
        ] {
            let head = json!({"alg": algorithm, "kid": kid}).to_string();
            let token = key_for(signer).sign(signer, &head, &claims().to_string());
            refused(&token, AuthnError::KeyUnsuited);
        }
    }
    // The other hash or padding of the same key.
    for (claimed, signed) in [
        (Algorithm::RS256, Algorithm::PS256),
        (Algorithm::PS256, Algorithm::RS256),
        (Algorithm::RS512, Algorithm::RS256),
    ] {
        let head = header(claimed, &json!("rsa")).to_string();
        refused(
            &RSA.sign(signed, &head, &claims().to_string()),
            AuthnError::SignatureInvalid,
        );
    }
    // S46: the issuer's list, whatever the keys can do.
    let mut only_es256 = issuer();
    only_es256.algorithms = vec![Algorithm::ES256];
    let token = RSA.token(Algorithm::RS256, &claims());
    assert_eq!(
        authenticate(&only_es256, &KEYS, &token).map(|_| ()),
        Err(AuthnError::AlgorithmNotAllowed)
    );
}

#[test]
fn a_weak_rsa_key_verifies_nothing_even_if_published() {
    let weak = TestKey::rsa(1024, "weak");
    let token = weak.token(Algorithm::RS256, &claims());
    let keys = key_set(&[&weak.jwk, &ED.jwk]);
    assert_eq!(
        authenticate(&issuer(), &keys, &token).map(|_| ()),
        Err(AuthnError::KeyUnsuited)
    );
}

#[test]
fn signatures_that_are_none_are_refused() {
    use crate::gates::authn::crypto::ALGORITHMS;
    for &algorithm in ALGORITHMS {
        let token = key_for(algorithm).token(algorithm, &claims());
        let (message, signature) = token.rsplit_once('.').unwrap();
        let length = URL_SAFE_NO_PAD.decode(signature).unwrap().len();
        refused(&format!("{message}."), AuthnError::SignatureMissing);
        refused(message, AuthnError::TokenMalformed);
        for bytes in [
            vec![0; length],
            vec![0; 1],
            vec![0xff; length],
            vec![0; 64],
            vec![0; 1024],
        ] {
            refused(&format!("{message}.{}", b64(bytes)), AuthnError::SignatureInvalid);
        }
        refused(
            &format!("{message}.{}", b64(vec![0; 1100])),
            AuthnError::TokenMalformed,
        );
        for cut in 1..8 {
            assert!(verdict(&token[..token.len() - cut]).is_err());
        }
    }
}

#[test]
fn there_is_one_way_to_write_a_token() {
    // 64 bytes are 86 characters of which the last has four bits to spare.
    let token = ED.token(Algorithm::EdDSA, &claims());
    let (front, last) = token.split_at(token.len() - 1);
    const ALPHABET: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let value = ALPHABET.iter().position(|c| [*c] == last.as_bytes()).unwrap();
    assert_eq!(value % 16, 0);
    for spare in 1..16 {
        refused(
            &format!("{front}{}", ALPHABET[value + spare] as char),
            AuthnError::TokenMalformed,
        );
    }
    let (head, rest) = token.split_once('.').unwrap();
    let (payload, signature) = rest.split_once('.').unwrap();
    for mark in ["=", "==", " ", "\n", "\t", "+", "/", "%3D", "\u{0}", "é"] {
        refused(
            &format!("{head}{mark}.{payload}.{signature}"),
            AuthnError::TokenMalformed,
        );
        refused(
            &format!("{head}.{payload}{mark}.{signature}"),
            AuthnError::TokenMalformed,
        );
        refused(&format!("{token}{mark}"), AuthnError::TokenMalformed);
        refused(&format!("{mark}{token}"), AuthnError::TokenMalformed);
    }
    let standard = base64::engine::general_purpose::STANDARD_NO_PAD.encode([0xfb, 0xff, 0xfe]);
    refused(
        &format!("{head}.{payload}.{standard}"),
        AuthnError::TokenMalformed,
    );
}

#[test]
fn only_three_parts_make_a_token() {
    let token = ED.token(Algorithm::EdDSA, &claims());
    let (head, rest) = token.split_once('.').unwrap();
    let (payload, signature) = rest.split_once('.').unwrap();
    for text in [
        "",
        ".",
        "..",
        "a",
        "a.b",
        &format!("{token}."),
        &format!("{token}.{signature}"),
        &format!(".{payload}.{signature}"),
        &format!("{head}..{signature}"),
        &format!("{token}.a.b.c"),
    ] {
        refused(text, AuthnError::TokenMalformed);
    }
    refused("a.b.c.d.e", AuthnError::TokenEncrypted);
    refused("a....e", AuthnError::TokenEncrypted);
}

#[test]
fn headers_that_are_no_plain_object_are_refused() {
    for head in [
        "",
        "[]",
        "\"EdDSA\"",
        "null",
        "{",
        "{\"alg\":\"EdDSA\"} x",
        "\u{feff}{\"alg\":\"EdDSA\"}",
    ] {
        refused(&with_header(head), AuthnError::TokenMalformed);
    }
    let deep = format!(r#"{{"alg":"EdDSA","x":{}1{}}}"#, "[".repeat(200), "]".repeat(200));
    refused(&with_header(&deep), AuthnError::TokenMalformed);
    let invalid = format!("{}.{}.AA", b64(b"{\"alg\":\"EdDSA\",\"x\":\"\xff\"}"), b64("{}"));
    refused(&invalid, AuthnError::TokenMalformed);
}

#[test]
fn members_that_occur_twice_are_refused() {
    for head in [
        r#"{"alg":"EdDSA","kid":"ed","alg":"none"}"#,
        r#"{"alg":"EdDSA","kid":"ed","kid":"ed"}"#,
        r#"{"alg":"EdDSA","kid":"ed","\u006bid":"ed"}"#,
        r#"{"alg":"EdDSA","kid":"ed","x":{"y":1,"y":1}}"#,
    ] {
        refused(&with_header(head), AuthnError::HeaderDuplicate);
    }
    let head = header(Algorithm::EdDSA, &ED.jwk["kid"]).to_string();
    let good = claims().to_string();
    let good = good.strip_suffix('}').unwrap();
    for more in [
        r#""sub":"admin""#,
        r#""iss":"https://evil.example/""#,
        r#""exp":9999999999"#,
        r#""x":{"a":1,"a":2}"#,
        r#""x":[[{"a":{"b":1,"b":1}}]]"#,
    ] {
        let token = ED.sign(Algorithm::EdDSA, &head, &format!("{good},{more}}}"));
        refused(&token, AuthnError::ClaimDuplicate);
    }
    // Which issuer's keys to use is decided before the claims are read in full.
    let twice = format!("{}.{}.AA", b64(&head), b64(r#"{"iss":"a","iss":"b"}"#));
    assert_eq!(
        Unverified::parse(&twice).map(|_| ()),
        Err(AuthnError::ClaimDuplicate)
    );
    let deep = format!(r#"{good},"x":{}1{}}}"#, "[".repeat(32), "]".repeat(32));
    refused(
        &ED.sign(Algorithm::EdDSA, &head, &deep),
        AuthnError::TokenMalformed,
    );
}

#[test]
fn what_is_wrong_with_unsigned_claims_is_not_said() {
    // Only the signer of a token may learn that its claims are expired or misshapen.
    let stranger = TestKey::ed25519("ed");
    for claims in [
        claims_with("exp", json!(1)),
        claims_with("aud", json!(7)),
        claims_with("sub", json!("")),
    ] {
        refused(
            &stranger.token(Algorithm::EdDSA, &claims),
            AuthnError::SignatureInvalid,
        );
    }
}

#[test]
fn oversized_tokens_are_refused_before_anything_else() {
    let fill = |bytes: usize| {
        let token = ED.token(Algorithm::EdDSA, &claims_with("x", json!("")));
        let room = (bytes - token.len()) / 4 * 3;
        ED.token(Algorithm::EdDSA, &claims_with("x", json!("a".repeat(room))))
    };
    let large = fill(MAX_TOKEN_BYTES);
    assert!(large.len() <= MAX_TOKEN_BYTES && large.len() > MAX_TOKEN_BYTES - 8);
    verdict(&large).unwrap();
    refused(&fill(MAX_TOKEN_BYTES + 8), AuthnError::TokenTooLarge);
    refused(&"a".repeat(10_000_000), AuthnError::TokenTooLarge);
}
