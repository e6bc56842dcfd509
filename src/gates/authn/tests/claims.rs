//! Claims: whose, for whom, and in which shapes (S47, U18).

use super::*;
use crate::gates::authn::claims::{ClaimPath, Claims};
use crate::gates::authn::jwt::TokenTypes;

#[test]
fn a_good_token_says_who_and_what() {
    let verified = verdict(&RSA.token(Algorithm::RS256, &claims())).unwrap();
    assert_eq!(verified.subject, "alice");
    assert_eq!(verified.client_id.as_deref(), Some("app"));
    assert_eq!(verified.scopes, ["vin:read", "vin:write"]);
    assert_eq!(verified.roles, ["clerk"]);
    assert_eq!(verified.expires.seconds(), NOW_SECONDS + 600);
    assert_eq!(
        verified.not_before,
        Some(UnixTime::from_seconds(NOW_SECONDS - 60))
    );
    assert_eq!(verified.key_id.as_deref(), Some("rsa"));
    assert_eq!(verified.generation, KEYS.generation());
    assert_eq!(verified.claims.token_id(), None);
    let printed = format!("{verified:?} {:?}", Unverified::parse("a.b.c"));
    assert!(!printed.contains("realm_access"), "{printed}");
}

#[test]
fn issuer_and_audience_must_match_exactly() {
    // S47
    for iss in [
        "https://id.example.com",
        "https://ID.example.com/",
        "https://evil.example/",
        "",
    ] {
        claims_refused(&claims_with("iss", json!(iss)), AuthnError::IssuerMismatch);
    }
    claims_refused(&claims_with("iss", Value::Null), AuthnError::IssuerMissing);
    claims_refused(&claims_with("aud", Value::Null), AuthnError::AudienceMissing);
    for aud in [
        json!("vin"),
        json!("vin-api "),
        json!(""),
        json!([]),
        json!(["other", "VIN-API"]),
    ] {
        claims_refused(&claims_with("aud", aud), AuthnError::AudienceMismatch);
    }
    for aud in [json!("lien-api"), json!(["other", "vin-api"])] {
        verdict(&ED.token(Algorithm::EdDSA, &claims_with("aud", aud))).unwrap();
    }
    let mut nobody = issuer();
    nobody.audiences.clear();
    let token = ED.token(Algorithm::EdDSA, &claims());
    assert_eq!(
        authenticate(&nobody, &KEYS, &token).map(|_| ()),
        Err(AuthnError::AudienceMismatch)
    );
}

#[test]
fn registered_claims_of_another_type_are_refused() {
    for name in ["iss", "sub", "jti"] {
        for value in [json!(1), json!(true), json!(["a"]), json!({"a": "b"})] {
            claims_refused(&claims_with(name, value), AuthnError::ClaimShape);
        }
    }
    for aud in [
        json!(1),
        json!({"vin-api": true}),
        json!(["vin-api", 1]),
        json!(["vin-api", null]),
        json!([["vin-api"]]),
    ] {
        claims_refused(&claims_with("aud", aud), AuthnError::ClaimShape);
    }
    for payload in ["[]", "7", "\"vin-api\"", "null", "{} {}", "", "{\"iss\":null}"] {
        let head = header(Algorithm::EdDSA, &ED.jwk["kid"]).to_string();
        assert!(
            verdict(&ED.sign(Algorithm::EdDSA, &head, payload)).is_err(),
            "{payload}"
        );
    }
}

#[test]
fn a_subject_must_survive_the_way_through_a_header() {
    claims_refused(&claims_with("sub", Value::Null), AuthnError::SubjectMissing);
    for sub in [
        "",
        " ",
        " alice",
        "alice ",
        "alice\r\nx-admin: 1",
        "a\0b",
        "a\tb",
        "a\u{85}b",
        "\u{a0}alice",
        "a\u{7f}",
    ] {
        claims_refused(&claims_with("sub", json!(sub)), AuthnError::ClaimNotAHeaderValue);
        claims_refused(
            &claims_with("client_id", json!(sub)),
            AuthnError::ClaimNotAHeaderValue,
        );
    }
    claims_refused(
        &claims_with("scope", json!("a\nb")),
        AuthnError::ClaimNotAHeaderValue,
    );
    claims_refused(
        &claims_with("roles", json!(["a\nb"])),
        AuthnError::ClaimNotAHeaderValue,
    );
    for sub in ["Zoë", "auth0|1", "a b"] {
        let token = ED.token(Algorithm::EdDSA, &claims_with("sub", json!(sub)));
        assert_eq!(verdict(&token).unwrap().subject, sub);
    }
}

#[test]
fn scopes_and_roles_come_in_every_common_shape() {
    // U18
    let scopes = |name: &str, value: Value| {
        let mut claims = claims_with("scope", Value::Null);
        claims[name] = value;
        verdict(&ED.token(Algorithm::EdDSA, &claims)).map(|verified| verified.scopes)
    };
    for name in ["scope", "scp", "permissions"] {
        assert_eq!(scopes(name, json!("a b")).unwrap(), ["a", "b"]);
        assert_eq!(scopes(name, json!(["a", "b"])).unwrap(), ["a", "b"]);
        assert_eq!(scopes(name, json!(["a b"])).unwrap(), ["a b"]);
        assert_eq!(scopes(name, json!("")).unwrap(), [""; 0]);
        for wrong in [
            json!(1),
            json!(true),
            json!({"a": 1}),
            json!(["a", 1]),
            json!(["a", null]),
            json!([["a"]]),
        ] {
            assert_eq!(scopes(name, wrong), Err(AuthnError::ClaimShape));
        }
    }
    let mut both = claims();
    both["scp"] = json!(["vin:read", "vin:audit"]);
    both["roles"] = json!("not admin");
    let verified = verdict(&ED.token(Algorithm::EdDSA, &both)).unwrap();
    assert_eq!(verified.scopes, ["vin:read", "vin:write", "vin:audit"]);
    // A role is never split.
    assert_eq!(verified.roles, ["not admin", "clerk"]);
    claims_refused(
        &claims_with("realm_access", json!(["clerk"])),
        AuthnError::ClaimShape,
    );
    claims_refused(
        &claims_with("realm_access", json!({"roles": [1]})),
        AuthnError::ClaimShape,
    );
}

#[test]
fn paths_reach_nested_and_namespaced_claims() {
    let claims = Claims::parse(
        br#"{"realm_access":{"roles":["a"]},"https://example.com/roles":["b"],"a.b":"c","n":1}"#,
    )
    .unwrap();
    let strings = |path: &str| claims.strings(&ClaimPath::parse(path).unwrap());
    assert_eq!(strings("realm_access.roles"), Ok(Some(vec!["a"])));
    assert_eq!(strings("/https:~1~1example.com~1roles"), Ok(Some(vec!["b"])));
    assert_eq!(strings("/a.b"), Ok(Some(vec!["c"])));
    assert_eq!(strings("a.b"), Ok(None));
    assert_eq!(strings("realm_access.groups"), Ok(None));
    assert_eq!(strings("n.x"), Err(AuthnError::ClaimShape));
    assert_eq!(strings("n"), Err(AuthnError::ClaimShape));
    assert_eq!(
        claims.text(&ClaimPath::parse("realm_access").unwrap()),
        Err(AuthnError::ClaimShape)
    );
}

#[test]
fn required_claims_must_be_there_and_not_null() {
    let mut issuer = issuer();
    issuer.required_claims = vec![ClaimPath::of("jti")];
    let verdict =
        |claims: &Value| authenticate(&issuer, &KEYS, &ED.token(Algorithm::EdDSA, claims)).map(|_| ());
    assert_eq!(verdict(&claims()), Err(AuthnError::ClaimMissing));
    assert_eq!(verdict(&claims_with("jti", json!("1"))), Ok(()));
    issuer.required_claims = vec![ClaimPath::of("tenant")];
    let null = serde_json::from_str(r#"{"tenant":null}"#).unwrap();
    let mut claims = claims();
    claims
        .as_object_mut()
        .unwrap()
        .append(Value::as_object_mut(&mut { null }).unwrap());
    let token = ED.token(Algorithm::EdDSA, &claims);
    assert_eq!(
        authenticate(&issuer, &KEYS, &token).map(|_| ()),
        Err(AuthnError::ClaimMissing)
    );
}

#[test]
fn the_type_of_a_token_is_checked_without_regard_to_case_or_tree() {
    let verdict = |typ: Value, types: TokenTypes| {
        let mut head = header(Algorithm::EdDSA, &ED.jwk["kid"]);
        match typ {
            Value::Null => drop(head.as_object_mut().unwrap().remove("typ")),
            typ => head["typ"] = typ,
        }
        let mut issuer = issuer();
        issuer.token_types = types;
        let token = ED.sign(Algorithm::EdDSA, &head.to_string(), &claims().to_string());
        authenticate(&issuer, &KEYS, &token).map(|_| ())
    };
    for typ in [
        json!(null),
        json!("JWT"),
        json!("jwt"),
        json!("at+jwt"),
        json!("AT+JWT"),
        json!("application/at+jwt"),
        json!("Application/JWT"),
    ] {
        assert_eq!(verdict(typ, TokenTypes::default()), Ok(()));
    }
    for typ in [
        "logout+jwt",
        "dpop+jwt",
        "secevent+jwt",
        "",
        "text/jwt",
        "JWT ",
        "application/",
    ] {
        assert_eq!(
            verdict(json!(typ), TokenTypes::default()),
            Err(AuthnError::TokenType),
            "{typ}"
        );
    }
    assert_eq!(
        verdict(json!(7), TokenTypes::default()),
        Err(AuthnError::TokenMalformed)
    );
    let strict = || TokenTypes::new(false, &["application/at+jwt"]);
    assert_eq!(verdict(json!("at+jwt"), strict()), Ok(()));
    assert_eq!(verdict(json!("JWT"), strict()), Err(AuthnError::TokenType));
    assert_eq!(verdict(json!(null), strict()), Err(AuthnError::TokenType));
}
