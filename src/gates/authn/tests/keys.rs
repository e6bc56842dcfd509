//! Key sets: what is left out and why, what is found, and when two sets are the same.

use super::*;
use crate::gates::authn::jwk::{KeySetError, MAX_SET_BYTES, NoKey};

fn with(jwk: &Value, name: &str, value: Value) -> Value {
    let mut jwk = jwk.clone();
    jwk[name] = value;
    jwk
}

#[test]
fn one_unusable_key_does_not_fail_the_others() {
    let weak = TestKey::rsa(1024, "weak");
    let (n, zero) = (RSA.jwk["n"].clone(), b64([0; 32]));
    let even = {
        let mut n = URL_SAFE_NO_PAD.decode(n.as_str().unwrap()).unwrap();
        *n.last_mut().unwrap() &= 0xfe;
        b64(n)
    };
    let short_y = b64(&URL_SAFE_NO_PAD.decode(P256.jwk["y"].as_str().unwrap()).unwrap()[1..]);
    let cases = [
        (json!(7), "not_an_object"),
        (json!({}), "key_malformed"),
        (with(&RSA.jwk, "kty", json!("AKP")), "kty_unsupported"),
        (json!({"kty": "oct", "k": "c2VjcmV0"}), "symmetric_key"),
        (weak.jwk.clone(), "rsa_too_small"),
        (with(&RSA.jwk, "n", json!(b64([0xff; 1025]))), "rsa_too_large"),
        (with(&RSA.jwk, "n", json!("")), "rsa_too_small"),
        (with(&RSA.jwk, "n", json!(even)), "rsa_modulus_even"),
        (
            with(&RSA.jwk, "n", json!(format!("{}==", n.as_str().unwrap()))),
            "key_malformed",
        ),
        (with(&RSA.jwk, "e", json!("AQ")), "rsa_exponent"),
        (with(&RSA.jwk, "e", json!("")), "rsa_exponent"),
        (with(&RSA.jwk, "e", json!("AQAC")), "rsa_exponent"),
        (with(&RSA.jwk, "e", json!(b64([0xff; 9]))), "rsa_exponent"),
        (with(&RSA.jwk, "d", json!("AQ")), "private_key_published"),
        (with(&ED.jwk, "d", json!(zero)), "private_key_published"),
        (with(&P256.jwk, "use", json!("enc")), "use_not_sig"),
        (with(&P256.jwk, "use", json!(["sig"])), "key_malformed"),
        (
            with(&P256.jwk, "key_ops", json!(["sign"])),
            "key_ops_without_verify",
        ),
        (with(&P256.jwk, "key_ops", json!("verify")), "key_malformed"),
        (with(&P256.jwk, "alg", json!("RS256")), "alg_mismatch"),
        (with(&P256.jwk, "alg", json!("ES384")), "alg_mismatch"),
        (with(&RSA.jwk, "alg", json!("RSA-OAEP")), "alg_unsupported"),
        (with(&RSA.jwk, "alg", json!("HS256")), "alg_unsupported"),
        (with(&P256.jwk, "crv", json!("secp256k1")), "crv_unsupported"),
        (with(&P256.jwk, "crv", json!("P-384")), "key_malformed"),
        (with(&P256.jwk, "y", json!(short_y)), "key_malformed"),
        (with(&P256.jwk, "x", P256.jwk["y"].clone()), "point_not_on_curve"),
        (with(&P256.jwk, "x", json!(zero)), "point_not_on_curve"),
        (with(&ED.jwk, "crv", json!("Ed448")), "crv_unsupported"),
        (with(&ED.jwk, "crv", json!("X25519")), "crv_unsupported"),
        (with(&ED.jwk, "x", json!("AAAA")), "key_malformed"),
        (with(&ED.jwk, "kid", json!(5)), "kid_malformed"),
        (with(&ED.jwk, "kid", json!("a\nb")), "kid_malformed"),
    ];
    for (jwk, reason) in cases {
        let set = key_set(&[&jwk, &P384.jwk]);
        assert_eq!(
            set.skipped.iter().map(|(_, reason)| *reason).collect::<Vec<_>>(),
            [reason],
            "{jwk}"
        );
        assert_eq!(set.keys().len(), 1, "{jwk}");
        assert_eq!(set.keys()[0].kid(), Some("p384"));
    }
}

#[test]
fn a_set_that_cannot_be_trusted_as_a_whole_is_refused() {
    let cases: Vec<(Vec<u8>, _)> = vec![
        (b"".to_vec(), KeySetError::Malformed),
        (b"<html>".to_vec(), KeySetError::Malformed),
        (b"[]".to_vec(), KeySetError::NotASet),
        (b"{}".to_vec(), KeySetError::NotASet),
        (br#"{"keys":{}}"#.to_vec(), KeySetError::NotASet),
        (br#"{"keys":[],"keys":[]}"#.to_vec(), KeySetError::DuplicateMember),
        (
            br#"{"keys":[{"kid":"a","kid":"b"}]}"#.to_vec(),
            KeySetError::DuplicateMember,
        ),
        (vec![b'['; 10_000], KeySetError::Malformed),
        (vec![b' '; MAX_SET_BYTES + 1], KeySetError::TooLarge),
        (
            json!({"keys": vec![json!({}); 101]}).to_string().into_bytes(),
            KeySetError::TooManyKeys,
        ),
    ];
    for (text, expected) in cases {
        assert_eq!(KeySet::parse(&text).map(|_| ()), Err(expected));
    }
    let full = KeySet::parse(json!({"keys": vec![json!({}); 100]}).to_string().as_bytes()).unwrap();
    assert_eq!((full.keys().len(), full.skipped.len()), (0, 100));
}

#[track_caller]
fn found(set: &KeySet, kid: Option<&str>, algorithm: Algorithm) -> Result<usize, NoKey> {
    set.candidates(kid, algorithm).map(Iterator::count)
}

#[test]
fn a_kid_finds_exactly_its_keys_and_tells_unknown_from_unsuited() {
    let bound = with(&with(&RSA.jwk, "alg", json!("PS256")), "kid", json!("bound"));
    let weak = TestKey::rsa(1024, "weak");
    let set = key_set(&[&RSA.jwk, &P256.jwk, &bound, &weak.jwk]);
    assert_eq!(found(&set, Some("rsa"), Algorithm::RS256), Ok(1));
    assert_eq!(found(&set, Some("rsa"), Algorithm::PS512), Ok(1));
    assert_eq!(found(&set, Some("bound"), Algorithm::PS256), Ok(1));
    // S46: a key's own `alg` restricts it.
    assert_eq!(found(&set, Some("bound"), Algorithm::RS256), Err(NoKey::Unsuited));
    assert_eq!(found(&set, Some("p256"), Algorithm::RS256), Err(NoKey::Unsuited));
    assert_eq!(found(&set, Some("p256"), Algorithm::ES384), Err(NoKey::Unsuited));
    // Left out, but there: fetching again would not bring another.
    assert_eq!(found(&set, Some("weak"), Algorithm::RS256), Err(NoKey::Unsuited));
    // S51: only this is worth a fetch.
    for kid in ["", "RSA", "rsa ", "other"] {
        assert_eq!(
            found(&set, Some(kid), Algorithm::RS256),
            Err(NoKey::Unknown),
            "{kid}"
        );
    }
}

#[test]
fn without_a_kid_only_an_unmistakable_key_is_taken() {
    let second = TestKey::ec("P-256", "second");
    let set = key_set(&[&RSA.jwk, &P256.jwk, &second.jwk]);
    assert_eq!(found(&set, None, Algorithm::RS256), Ok(1));
    assert_eq!(found(&set, None, Algorithm::ES256), Err(NoKey::Ambiguous));
    assert_eq!(found(&set, None, Algorithm::EdDSA), Err(NoKey::Unknown));
}

#[test]
fn a_kid_published_twice_offers_both_keys() {
    let twin = TestKey::ec("P-256", "p256");
    let set = key_set(&[&twin.jwk, &P256.jwk]);
    assert_eq!(found(&set, Some("p256"), Algorithm::ES256), Ok(2));
    authenticate(&issuer(), &set, &P256.token(Algorithm::ES256, &claims())).unwrap();
    authenticate(&issuer(), &set, &twin.token(Algorithm::ES256, &claims())).unwrap();
    let stranger = TestKey::ec("P-256", "p256").token(Algorithm::ES256, &claims());
    assert_eq!(
        authenticate(&issuer(), &set, &stranger).map(|_| ()),
        Err(AuthnError::SignatureInvalid)
    );
}

#[test]
fn sets_are_the_same_if_their_keys_are_whatever_their_order_and_generation() {
    let set = key_set(&[&RSA.jwk, &P256.jwk]);
    let again = key_set(&[&P256.jwk, &RSA.jwk]);
    assert!(set.same_keys(&again) && again.same_keys(&set));
    assert_ne!(set.generation(), again.generation());
    for other in [
        key_set(&[&RSA.jwk]),
        key_set(&[&RSA.jwk, &P256.jwk, &ED.jwk]),
        key_set(&[&RSA.jwk, &with(&P256.jwk, "kid", json!("renamed"))]),
        key_set(&[&with(&RSA.jwk, "alg", json!("RS256")), &P256.jwk]),
        key_set(&[&RSA.jwk, &TestKey::ec("P-256", "p256").jwk]),
        key_set(&[&RSA.jwk, &P256.jwk, &json!({"kty": "oct", "kid": "new"})]),
    ] {
        assert!(!set.same_keys(&other) && !other.same_keys(&set));
    }
}

#[test]
fn issuers_sharing_a_kid_do_not_verify_each_others_tokens() {
    // U4
    let (a, b) = (TestKey::rsa(2048, "1"), TestKey::rsa(2048, "1"));
    let (keys_a, keys_b) = (key_set(&[&a.jwk]), key_set(&[&b.jwk]));
    let issuer_b = Issuer::new("b", "https://b.example.com/", &["vin-api"]);
    let token_a = a.token(Algorithm::RS256, &claims());
    authenticate(&issuer(), &keys_a, &token_a).unwrap();
    for (issuer, keys, expected) in [
        (&issuer(), &keys_b, AuthnError::SignatureInvalid),
        (&issuer_b, &keys_b, AuthnError::SignatureInvalid),
        (&issuer_b, &keys_a, AuthnError::IssuerMismatch),
    ] {
        assert_eq!(authenticate(issuer, keys, &token_a).map(|_| ()), Err(expected));
    }
    // B's operator signs in A's name with B's key: the keys that count are those of the claimed `iss`.
    let forged = b.token(Algorithm::RS256, &claims());
    assert_eq!(Unverified::parse(&forged).unwrap().issuer(), ISSUER);
    assert_eq!(
        authenticate(&issuer(), &keys_a, &forged).map(|_| ()),
        Err(AuthnError::SignatureInvalid)
    );
}

#[test]
fn a_key_that_says_whose_it_is_verifies_nobody_elses_tokens() {
    // S57, U4: `issuer` as Microsoft Entra publishes it
    let of = |issuer: serde_json::Value| {
        let set = key_set(&[&with(&RSA.jwk, "issuer", issuer)]);
        set.keys()
            .first()
            .map(|key| key.is_of("https://id.example/acme/v2.0"))
    };
    for (issuer, expected) in [
        ("https://id.example/acme/v2.0", true),
        ("https://id.example/{tenantid}/v2.0", true),
        ("https://id.example/acme/v2.0/", false),
        ("https://id.example/acme/v1.0", false),
        ("https://id.example/{tenantid}", false),
        ("https://id.example/{tenantid}/", false),
        ("https://{tenantid}/v2.0", false),
        ("{tenantid}", false),
        ("https://id.example/acme{tenantid}/v2.0", false),
        ("https://id.example/{tenant}/v2.0", false),
        ("", false),
    ] {
        assert_eq!(of(json!(issuer)), Some(Some(expected)), "{issuer}");
    }
    assert_eq!(of(json!(5)), None, "not a text: the key is left out");
    let set = key_set(&[&RSA.jwk]);
    assert_eq!(set.keys()[0].is_of("https://id.example/acme/v2.0"), None);
    // so a refetch that changes whose it is is news
    let (ours, theirs) = (json!("https://id.example/a"), json!("https://id.example/b"));
    let [ours, theirs] = [ours, theirs].map(|issuer| key_set(&[&with(&RSA.jwk, "issuer", issuer)]));
    assert!(!ours.same_keys(&theirs) && ours.same_keys(&ours));
}

#[test]
fn of_a_set_that_is_shared_only_keys_are_used_that_say_whose_they_are() {
    // S57, U4
    let silent = key_set(&[&RSA.jwk]);
    let ours = key_set(&[&with(&RSA.jwk, "issuer", json!(ISSUER))]);
    let theirs = key_set(&[&with(&RSA.jwk, "issuer", json!("https://b.example.com/"))]);
    let token = RSA.token(Algorithm::RS256, &claims());
    let alone = issuer();
    let shared = Issuer {
        shares_keys: true,
        ..issuer()
    };
    for (issuer, keys, expected) in [
        (&alone, &silent, Ok(())),
        (&alone, &ours, Ok(())),
        (&alone, &theirs, Err(AuthnError::KeyIssuer)),
        (&shared, &silent, Err(AuthnError::KeyIssuer)),
        (&shared, &ours, Ok(())),
        (&shared, &theirs, Err(AuthnError::KeyIssuer)),
    ] {
        assert_eq!(authenticate(issuer, keys, &token).map(|_| ()), expected);
    }
}
