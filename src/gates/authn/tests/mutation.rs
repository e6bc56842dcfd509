//! Nothing but the issuer's own tokens verifies, and nothing panics.

use proptest::prelude::*;

use super::*;
use crate::gates::authn::claims::Claims;
use crate::gates::authn::jwk::KeySet;

static TOKENS: LazyLock<Vec<String>> = LazyLock::new(|| {
    [
        Algorithm::RS256,
        Algorithm::PS384,
        Algorithm::ES256,
        Algorithm::ES384,
        Algorithm::EdDSA,
    ]
    .iter()
    .map(|algorithm| key_for(*algorithm).token(*algorithm, &claims()))
    .collect()
});

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn arbitrary_text_is_refused(text in any::<String>()) {
        prop_assert!(verdict(&text).is_err());
    }

    #[test]
    fn arbitrary_parts_are_refused(parts in prop::collection::vec("[A-Za-z0-9_-]{0,60}", 3)) {
        prop_assert!(verdict(&parts.join(".")).is_err());
    }

    #[test]
    fn arbitrary_json_in_a_header_is_refused(value in "[ -~]{0,80}", kid in any::<String>()) {
        let head = format!(r#"{{"alg":"EdDSA","kid":{},{value}}}"#, json!(kid));
        let token = format!("{}.{}.{}", b64(head), b64(claims().to_string()), b64([7; 64]));
        prop_assert!(verdict(&token).is_err());
    }

    #[test]
    fn a_token_with_one_character_changed_is_refused(which in 0..5_usize, at in any::<prop::sample::Index>(), to in "[A-Za-z0-9_.-]") {
        let token = &TOKENS[which];
        let at = at.index(token.len());
        prop_assume!(token[at..=at] != to);
        let changed = format!("{}{to}{}", &token[..at], &token[at + 1..]);
        prop_assert!(verdict(&changed).is_err());
    }

    #[test]
    fn a_token_cut_or_grown_is_refused(which in 0..5_usize, at in any::<prop::sample::Index>(), more in "[A-Za-z0-9_.=-]{1,4}") {
        let token = &TOKENS[which];
        let at = at.index(token.len());
        prop_assert!(verdict(&token[..at]).is_err());
        let grown = format!("{}{more}{}", &token[..at], &token[at..]);
        prop_assert!(verdict(&grown).is_err());
    }

    #[test]
    fn parts_of_different_tokens_do_not_combine(a in 0..5_usize, b in 0..5_usize, c in 0..5_usize) {
        prop_assume!(!(a == b && b == c));
        let part = |which: usize, n: usize| TOKENS[which].split('.').nth(n).unwrap();
        // The claims of all five are the same, so only the header and the signature must belong together.
        let token = format!("{}.{}.{}", part(a, 0), part(b, 1), part(c, 2));
        prop_assert_eq!(verdict(&token).is_ok(), a == c);
    }

    #[test]
    fn arbitrary_bytes_are_no_claims_and_no_key_set(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = Claims::parse(&bytes);
        prop_assert!(KeySet::parse(&bytes).is_err());
    }

    #[test]
    fn arbitrary_members_never_panic_a_key(name in "[a-z]{1,3}", text in any::<String>(), kind in 0..4_usize) {
        let mut jwk = [&RSA.jwk, &P256.jwk, &P384.jwk, &ED.jwk][kind].clone();
        jwk[name] = json!(text);
        let set = key_set(&[&jwk]);
        prop_assert_eq!(set.keys().len() + set.skipped.len(), 1);
    }
}
