//! Signatures: every algorithm, its edges, and the state it leaves behind.

use jsonwebtoken::crypto::{sign, verify};
use jsonwebtoken::errors::ErrorKind;
use jsonwebtoken::{EncodingKey, Header, encode};
use openssl::error::{Error, ErrorStack};
use openssl::hash::MessageDigest;
use openssl::rsa::Padding;
use openssl::sign::{RsaPssSaltlen, Signer};

use super::*;
use crate::gates::authn::crypto::{ALGORITHMS, install};

#[test]
fn every_algorithm_signs_and_verifies_and_only_its_own_message() {
    for &algorithm in ALGORITHMS {
        let key = key_for(algorithm);
        // The public interface of `jsonwebtoken`, as the demo's issuer uses it.
        install();
        let mut header = Header::new(algorithm);
        header.kid = Some(key.jwk["kid"].as_str().unwrap().to_owned());
        let token = encode(&header, &claims(), &key.encoding()).unwrap();
        assert_eq!(verdict(&token).unwrap().subject, "alice", "{algorithm:?}");

        let (message, signature) = token.rsplit_once('.').unwrap();
        let changed = format!("{}x.{signature}", message.strip_suffix('Q').unwrap_or(message));
        assert!(verdict(&changed).is_err(), "{algorithm:?}");
        let (other, _) = key
            .token(algorithm, &claims_with("sub", json!("mallory")))
            .rsplit_once('.')
            .map(|(m, s)| (m.to_owned(), s.to_owned()))
            .unwrap();
        refused(&format!("{other}.{signature}"), AuthnError::SignatureInvalid);
    }
}

#[test]
fn private_keys_are_read_from_pem_in_every_form() {
    install();
    let rsa = RSA.private.rsa().unwrap().private_key_to_pem().unwrap();
    let pkcs8 = |key: &TestKey| key.private.private_key_to_pem_pkcs8().unwrap();
    for (algorithm, key) in [
        (Algorithm::RS256, EncodingKey::from_rsa_pem(&rsa).unwrap()),
        (Algorithm::PS512, EncodingKey::from_rsa_pem(&pkcs8(&RSA)).unwrap()),
        (Algorithm::ES256, EncodingKey::from_ec_pem(&pkcs8(&P256)).unwrap()),
        (
            Algorithm::ES384,
            EncodingKey::from_ec_der(&P384.private.ec_key().unwrap().private_key_to_der().unwrap()),
        ),
        (Algorithm::EdDSA, EncodingKey::from_ed_pem(&pkcs8(&ED)).unwrap()),
    ] {
        let mut header = Header::new(algorithm);
        header.kid = Some(key_for(algorithm).jwk["kid"].as_str().unwrap().to_owned());
        verdict(&encode(&header, &claims(), &key).unwrap()).unwrap();
    }
}

/// Keys and tokens of RFC 7515 appendices A.2 and A.3: issued by "joe", without an audience.
const RFC7515: &[(&str, &str)] = &[
    (
        r#"{"keys":[{"kty":"RSA","e":"AQAB","n":"ofgWCuLjybRlzo0tZWJjNiuSfb4p4fAkd_wWJcyQoTbji9k0l8W26mPddxHmfHQp-Vaw-4qPCJrcS2mJPMEzP1Pt0Bm4d4QlL-yRT-SFd2lZS-pCgNMsD1W_YpRPEwOWvG6b32690r2jZ47soMZo9wGzjb_7OMg0LOL-bSf63kpaSHSXndS5z5rexMdbBYUsLA9e-KXBdQOS-UTo7WTBEMa2R2CapHg665xsmtdVMTBQY4uDZlxvb3qCo5ZwKh9kG4LT6_I5IhlJH7aGhyxXFvUK-DWNmoudF8NAco9_h9iaGNj8q2ethFkMLs91kzk2PAcDTW9gb54h4FRWyuXpoQ"}]}"#,
        "eyJhbGciOiJSUzI1NiJ9.eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ.cC4hiUPoj9Eetdgtv3hF80EGrhuB__dzERat0XF9g2VtQgr9PJbu3XOiZj5RZmh7AAuHIm4Bh-0Qc_lF5YKt_O8W2Fp5jujGbds9uJdbF9CUAr7t1dnZcAcQjbKBYNX4BAynRFdiuB--f_nZLgrnbyTyWzO75vRK5h6xBArLIARNPvkSjtQBMHlb1L07Qe7K0GarZRmB_eSN9383LcOLn6_dO--xi12jzDwusC-eOkHWEsqtFZESc6BfI7noOPqvhJ1phCnvWh6IeYI2w9QOYEUipUTI8np6LbgGY9Fs98rqVt5AXLIhWkWywlVmtVrBp0igcN_IoypGlUPQGe77Rw",
    ),
    (
        r#"{"keys":[{"kty":"EC","crv":"P-256","x":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU","y":"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"}]}"#,
        "eyJhbGciOiJFUzI1NiJ9.eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ.DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q",
    ),
];

#[test]
fn the_vectors_of_rfc_7515_and_rfc_8037_verify() {
    // S46
    for (keys, token) in RFC7515 {
        let keys = KeySet::parse(keys.as_bytes()).unwrap();
        let joe = Issuer::new("joe", "joe", &["vin-api"]);
        // What is missing is noticed only once the signature is good.
        assert_eq!(
            authenticate(&joe, &keys, token).map(|_| ()),
            Err(AuthnError::AudienceMissing)
        );
    }
    // RFC 8037 appendix A.4 signs text, not claims.
    let jwk = json!({"kty": "OKP", "crv": "Ed25519", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"});
    let keys = key_set(&[&jwk]);
    let signature = "hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR4ki4iylGjg5BhVsPt9g7sVvpAr_MuM0KAg";
    let message = b"eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc";
    assert_eq!(
        verify(signature, message, keys.keys()[0].decoding(), Algorithm::EdDSA),
        Ok(true)
    );
}

/// The signature of a PS256 token, with a salt of `length` instead of the hash's 32 bytes.
fn pss_token(length: RsaPssSaltlen, mgf: MessageDigest) -> String {
    let head = header(Algorithm::PS256, &RSA.jwk["kid"]).to_string();
    let message = format!("{}.{}", b64(head), b64(claims().to_string()));
    let mut signer = Signer::new(MessageDigest::sha256(), &RSA.private).unwrap();
    signer.set_rsa_padding(Padding::PKCS1_PSS).unwrap();
    signer.set_rsa_mgf1_md(mgf).unwrap();
    signer.set_rsa_pss_saltlen(length).unwrap();
    format!(
        "{message}.{}",
        b64(signer.sign_oneshot_to_vec(message.as_bytes()).unwrap())
    )
}

#[test]
fn pss_needs_a_salt_as_long_as_the_hash_and_the_same_hash_in_mgf1() {
    let sha256 = MessageDigest::sha256();
    verdict(&pss_token(RsaPssSaltlen::DIGEST_LENGTH, sha256)).unwrap();
    for length in [0, 20, 31, 33, 64] {
        refused(
            &pss_token(RsaPssSaltlen::custom(length), sha256),
            AuthnError::SignatureInvalid,
        );
    }
    refused(
        &pss_token(RsaPssSaltlen::MAXIMUM_LENGTH, sha256),
        AuthnError::SignatureInvalid,
    );
    refused(
        &pss_token(RsaPssSaltlen::DIGEST_LENGTH, MessageDigest::sha1()),
        AuthnError::SignatureInvalid,
    );
}

#[test]
fn ecdsa_signatures_of_another_length_or_encoding_are_refused() {
    for algorithm in [Algorithm::ES256, Algorithm::ES384] {
        let key = key_for(algorithm);
        let token = key.token(algorithm, &claims());
        let (message, signature) = token.rsplit_once('.').unwrap();
        let signature = URL_SAFE_NO_PAD.decode(signature).unwrap();
        let half = signature.len() / 2;
        let zero = vec![0; half];
        let der = openssl::ecdsa::EcdsaSig::from_private_components(
            BigNum::from_slice(&signature[..half]).unwrap(),
            BigNum::from_slice(&signature[half..]).unwrap(),
        )
        .unwrap()
        .to_der()
        .unwrap();
        let wrong = [
            signature[1..].to_vec(),
            signature[..half].to_vec(),
            [&signature[..], &[0]].concat(),
            [&[0], &signature[..]].concat(),
            [&zero[..], &signature[half..]].concat(),
            [&signature[..half], &zero[..]].concat(),
            vec![0; 2 * half],
            vec![0xff; 2 * half],
            der,
        ];
        for wrong in wrong {
            refused(&format!("{message}.{}", b64(wrong)), AuthnError::SignatureInvalid);
        }
    }
}

#[test]
fn hmac_neither_signs_nor_verifies() {
    install();
    let key = EncodingKey::from_secret(b"secret");
    let error = sign(b"message", &key, Algorithm::HS256).unwrap_err();
    assert_eq!(*error.kind(), ErrorKind::UnsupportedAlgorithm);
    let keys = KEYS.keys();
    let error = verify("AA", b"message", keys[0].decoding(), Algorithm::HS256).unwrap_err();
    assert_eq!(*error.kind(), ErrorKind::UnsupportedAlgorithm);
    let secret = jsonwebtoken::DecodingKey::from_secret(b"secret");
    assert!(verify("AA", b"message", &secret, Algorithm::RS256).is_err());
}

#[test]
fn a_key_of_another_kind_neither_signs_nor_verifies() {
    install();
    let error = sign(b"message", &P384.encoding(), Algorithm::ES256).unwrap_err();
    assert_eq!(*error.kind(), ErrorKind::InvalidAlgorithm);
    let junk = EncodingKey::from_rsa_der(b"junk");
    assert_eq!(
        *sign(b"message", &junk, Algorithm::RS256).unwrap_err().kind(),
        ErrorKind::InvalidKeyFormat
    );
    let p256 = key_set(&[&P256.jwk]);
    let decoding = p256.keys()[0].decoding();
    assert_eq!(
        *verify("AA", b"message", decoding, Algorithm::ES384)
            .unwrap_err()
            .kind(),
        ErrorKind::InvalidAlgorithm
    );
}

#[test]
fn public_parts_are_derived_for_thumbprints() {
    install();
    for &algorithm in &[
        Algorithm::RS256,
        Algorithm::ES256,
        Algorithm::ES384,
        Algorithm::EdDSA,
    ] {
        let key = key_for(algorithm);
        let jwk = jsonwebtoken::jwk::Jwk::from_encoding_key(&key.encoding(), algorithm).unwrap();
        let written = serde_json::to_value(&jwk).unwrap();
        for member in ["kty", "n", "e", "x", "y", "crv"] {
            assert_eq!(written.get(member), key.jwk.get(member), "{algorithm:?} {member}");
        }
        assert_eq!(
            jwk.thumbprint(jsonwebtoken::jwk::ThumbprintHash::SHA256)
                .unwrap()
                .len(),
            43
        );
    }
}

/// Puts an entry into this thread's queue, as a careless caller would leave it.
fn soil_queue() {
    let error = PKey::public_key_from_der(b"not a key").unwrap_err();
    assert!(!error.errors().is_empty());
    error.put();
    // `peek` would be the honest check, but the binding has none: take one entry of several.
    error.put();
    assert!(Error::get().is_some());
}

/// The one place that reads the queue in this test: an entry left by the call before is found here,
/// and nothing in between could have removed it.
#[track_caller]
fn assert_queue_clean(after: &str) {
    let left = ErrorStack::get();
    assert!(left.errors().is_empty(), "left behind by {after}: {left}");
}

#[test]
fn no_outcome_leaves_anything_in_the_error_queue() {
    // The queue is the thread's, so tests running beside this one cannot clean it for us.
    install();
    let good: Vec<_> = ALGORITHMS
        .iter()
        .map(|alg| key_for(*alg).token(*alg, &claims()))
        .collect();
    LazyLock::force(&KEYS);
    for (token, algorithm) in good.iter().zip(ALGORITHMS) {
        let (message, signature) = token.rsplit_once('.').unwrap();
        let key = KEYS
            .candidates(key_for(*algorithm).jwk["kid"].as_str(), *algorithm)
            .unwrap()
            .next()
            .unwrap();
        let length = URL_SAFE_NO_PAD.decode(signature).unwrap().len();
        let mut cases = vec![("a good signature", signature.to_owned(), true)];
        for (name, bytes) in [
            ("zeros", vec![0; length]),
            ("ones", vec![0xff; length]),
            ("a counted signature", (0..length).map(|i| i as u8).collect()),
            ("a short one", vec![1; length - 1]),
            ("nothing", vec![]),
        ] {
            cases.push((name, b64(bytes), false));
        }
        for (name, signature, expected) in cases {
            let verdict = verify(&signature, message.as_bytes(), key.decoding(), *algorithm);
            assert_queue_clean(&format!("{algorithm:?} with {name}"));
            assert_eq!(verdict, Ok(expected), "{algorithm:?} with {name}");

            soil_queue();
            let verdict = verify(&signature, message.as_bytes(), key.decoding(), *algorithm);
            assert_queue_clean(&format!("{algorithm:?} with {name} on a soiled queue"));
            assert_eq!(
                verdict,
                Ok(expected),
                "{algorithm:?} with {name} on a soiled queue"
            );
        }
    }
    for bad in [
        EncodingKey::from_rsa_der(b"junk"),
        EncodingKey::from_ed_der(&[0x30, 0x80]),
    ] {
        let _ = sign(b"message", &bad, Algorithm::RS256);
        assert_queue_clean("a private key that is none");
    }
    let mut off_curve = P256.jwk.clone();
    off_curve["x"] = P256.jwk["y"].clone();
    soil_queue();
    let set = key_set(&[&off_curve]);
    assert_queue_clean("a key set with a point off the curve");
    assert_eq!(set.skipped[0].1, "point_not_on_curve");
    soil_queue();
    let _ = sign(b"message", &ED.encoding(), Algorithm::EdDSA);
    assert_queue_clean("a signature made");
}
