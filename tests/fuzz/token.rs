//! The parts of a token, before any of it is trusted (S46).

use std::cell::Cell;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as B64;
use durward::gates::authn::jws::{MAX_KID_BYTES, MAX_TOKEN_BYTES, Unverified};
use proptest::prelude::*;

use crate::{hold, is_often};

fn tokens() -> impl Strategy<Value = String> {
    let header = prop_oneof![
        4 => prop::sample::select(vec![
            r#"{"alg":"RS256","kid":"a"}"#, r#"{"alg":"EdDSA","typ":"at+jwt","kid":"b"}"#, r#"{"alg":"ES256"}"#,
        ]).prop_map(str::to_owned),
        1 => prop::sample::select(vec![
            r#"{"alg":"none"}"#, r#"{"alg":"HS256"}"#, r#"{"alg":"RS256","alg":"none"}"#, r#"{"alg":"RS256","jwk":{}}"#,
            r#"{"alg":"RS256","crit":["b64"],"b64":false}"#, r#"{"alg":"RS256"} "#, r#" {"alg":"RS256"}"#, "[]", "", r#"{"alg":null}"#,
        ]).prop_map(str::to_owned),
        1 => r#"\{"alg":"RS256","[a-z]{1,4}":[ -~]{0,10}\}"#.prop_map(|text| text),
    ];
    let payload = prop_oneof![
        4 => prop::sample::select(vec![r#"{"iss":"https://a/","exp":1}"#, r#"{"iss":"x","sub":"é"}"#]).prop_map(str::to_owned),
        1 => prop::sample::select(vec!["{}", r#"{"iss":1}"#, r#"{"iss":"a","iss":"b"}"#, "null", "", r#"{"iss":"a"}x"#]).prop_map(str::to_owned),
    ];
    let signature = prop::collection::vec(any::<u8>(), 0..70);
    let flaw = prop_oneof![
        6 => Just(None),
        1 => ("[A-Za-z0-9_.=+/ -]", any::<prop::sample::Index>()).prop_map(Some),
    ];
    (header, payload, signature, flaw).prop_map(|(header, payload, signature, flaw)| {
        let mut token = format!(
            "{}.{}.{}",
            B64.encode(header),
            B64.encode(payload),
            B64.encode(signature)
        );
        if let Some((text, at)) = flaw {
            token.insert_str(at.index(token.len() + 1), &text);
        }
        token
    })
}

#[test]
fn a_token_that_is_read_is_three_parts_in_their_only_spelling() {
    let taken = Cell::new(0);
    hold("tokens", tokens(), |token| {
        let Ok(read) = Unverified::parse(&token) else {
            return Ok(());
        };
        taken.set(taken.get() + 1);
        prop_assert_eq!(read.token(), &token);
        prop_assert!(token.len() <= MAX_TOKEN_BYTES);
        let parts: Vec<&str> = token.split('.').collect();
        prop_assert_eq!(parts.len(), 3);
        // no other text decodes to the same, so that what is remembered of a token is of this one
        for part in &parts {
            let bytes = B64.decode(part).expect("base64url without padding");
            prop_assert_eq!(B64.encode(bytes), *part);
        }
        prop_assert!(!parts[2].is_empty());
        let header: serde_json::Value = serde_json::from_slice(&B64.decode(parts[0]).unwrap()).unwrap();
        let payload: serde_json::Value = serde_json::from_slice(&B64.decode(parts[1]).unwrap()).unwrap();
        let algorithm = format!("{:?}", read.algorithm());
        prop_assert_eq!(header["alg"].as_str(), Some(algorithm.as_str()));
        prop_assert_eq!(header["kid"].as_str(), read.key_id());
        prop_assert_eq!(payload["iss"].as_str(), Some(read.issuer()));
        let is_symmetric = algorithm.starts_with("HS");
        prop_assert!(!is_symmetric);
        prop_assert!(
            ["jwk", "jku", "x5u", "x5c", "crit", "b64", "zip"]
                .iter()
                .all(|name| header.get(name).is_none()),
            "{}",
            header
        );
        prop_assert!(read.key_id().is_none_or(|kid| kid.len() <= MAX_KID_BYTES));
        Ok(())
    });
    is_often("a token was read", &taken);
}

#[test]
fn arbitrary_text_is_no_token() {
    hold("arbitrary tokens", ".{0,200}", |text| {
        prop_assert!(Unverified::parse(&text).is_err());
        Ok(())
    });
}
