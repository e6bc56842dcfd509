//! When a token is acceptable (S47, S49).

use std::time::Duration;

use super::*;

/// The verdict for a token whose claim `name` is `offset` seconds from now.
fn at(name: &str, offset: i64) -> Result<(), AuthnError> {
    let claims = claims_with(name, json!(NOW_SECONDS.saturating_add_signed(offset)));
    verdict(&ED.token(Algorithm::EdDSA, &claims)).map(|_| ())
}

#[test]
fn thirty_seconds_of_skew_either_way() {
    // S49
    assert_eq!(at("exp", -29), Ok(()));
    assert_eq!(at("exp", -30), Err(AuthnError::TokenExpired));
    assert_eq!(at("exp", -31), Err(AuthnError::TokenExpired));
    assert_eq!(at("nbf", 29), Ok(()));
    assert_eq!(at("nbf", 30), Ok(()));
    assert_eq!(at("nbf", 31), Err(AuthnError::TokenNotYetValid));
    assert_eq!(at("iat", 30), Ok(()));
    assert_eq!(at("iat", 31), Err(AuthnError::TokenNotYetValid));
}

#[test]
fn the_boundary_is_exact_to_the_millisecond() {
    let token = ED.token(Algorithm::EdDSA, &claims());
    let token = Unverified::parse(&token).unwrap();
    let end = UnixTime::from_seconds(NOW_SECONDS + 600 + 30);
    let at = |now| verify(&issuer(), &KEYS, &token, now).map(|_| ());
    assert_eq!(at(UnixTime::from_millis(end.millis() - 1)), Ok(()));
    assert_eq!(at(end), Err(AuthnError::TokenExpired));
    let start = UnixTime::from_seconds(NOW_SECONDS - 60 - 30);
    assert_eq!(at(start), Ok(()));
    assert_eq!(
        at(UnixTime::from_millis(start.millis() - 1)),
        Err(AuthnError::TokenNotYetValid)
    );
    assert_eq!(at(UnixTime::EPOCH), Err(AuthnError::TokenNotYetValid));
    assert_eq!(at(UnixTime::from_millis(u64::MAX)), Err(AuthnError::TokenExpired));
}

#[test]
fn fractions_of_seconds_count() {
    let with_exp = |exp: f64| {
        let claims = claims_with("exp", json!(exp));
        verdict(&ED.token(Algorithm::EdDSA, &claims)).map(|verified| verified.expires.millis())
    };
    assert_eq!(
        with_exp(NOW_SECONDS as f64 - 29.5),
        Ok(NOW_SECONDS * 1000 - 29_500)
    );
    assert_eq!(with_exp(NOW_SECONDS as f64 - 30.5), Err(AuthnError::TokenExpired));
}

#[test]
fn a_token_without_an_end_is_refused_and_one_without_a_start_is_not() {
    claims_refused(&claims_with("exp", Value::Null), AuthnError::ExpiryMissing);
    verdict(&ED.token(Algorithm::EdDSA, &claims_with("nbf", Value::Null))).unwrap();
    verdict(&ED.token(Algorithm::EdDSA, &claims_with("iat", Value::Null))).unwrap();
}

#[test]
fn times_that_are_no_numeric_dates_are_refused() {
    for name in ["exp", "nbf", "iat"] {
        for value in [
            json!("1800000000"),
            json!(-1),
            json!(-0.5),
            json!(1e300),
            json!(u64::MAX),
            json!(253_402_300_800_u64),
            json!(NOW_SECONDS * 1000),
            json!([NOW_SECONDS]),
            json!({}),
            json!(true),
        ] {
            claims_refused(&claims_with(name, value), AuthnError::ClaimShape);
        }
        // Numbers and words that JSON has no value for.
        for text in ["NaN", "Infinity", "1e999", "null"] {
            let mut claims = claims();
            claims[name] = json!("@");
            let claims = claims.to_string().replace("\"@\"", text);
            let head = header(Algorithm::EdDSA, &ED.jwk["kid"]).to_string();
            let token = ED.sign(Algorithm::EdDSA, &head, &claims);
            assert!(
                matches!(
                    verdict(&token),
                    Err(AuthnError::ClaimShape | AuthnError::TokenMalformed)
                ),
                "{claims}"
            );
        }
    }
}

#[test]
fn a_lifetime_limit_counts_from_iat() {
    let mut issuer = issuer();
    issuer.max_lifetime = Some(Duration::from_secs(660));
    let verdict =
        |claims: Value| authenticate(&issuer, &KEYS, &ED.token(Algorithm::EdDSA, &claims)).map(|_| ());
    assert_eq!(verdict(claims()), Ok(()));
    assert_eq!(
        verdict(claims_with("exp", json!(NOW_SECONDS + 601))),
        Err(AuthnError::TokenLifetime)
    );
    assert_eq!(
        verdict(claims_with("iat", Value::Null)),
        Err(AuthnError::ClaimMissing)
    );
}
