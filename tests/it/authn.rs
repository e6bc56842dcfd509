//! Who is let in: tokens of every algorithm, and every known way to cheat with one.

use openssl::nid::Nid;
use openssl::pkey::PKey;
use serde_json::{Value, json};

use crate::support::issuer::{AUDIENCE, ISSUER, now};
use crate::support::jose::{self, base64, jwk, jwks, signed_part, token};
use crate::support::{Answer, Gateway, Issuer, Keys, Origin};

const PATH: &str = "/v1/vehicles/1HG";

/// A route for tokens of `issuers` (flow YAML), without scopes or roles.
fn route(origin: &Origin, issuers: &str) -> String {
    format!(
        "upstreams:\n  vehicles: {{ targets: [\"{}\"] }}\n\
         routes:\n\
         \x20 - match: {{ methods: [GET], path: \"/v1/vehicles/{{vin}}\" }}\n\
         \x20   auth: {{ jwt: {issuers} }}\n\
         \x20   upstream: vehicles\n",
        origin.address
    )
}

/// An issuer with these keys; `more` is added to it as flow YAML.
fn issuer(name: &str, iss: &str, jwks: &str, more: &str) -> String {
    format!(
        "  {name}: {{ issuer: \"{iss}\", audiences: [{AUDIENCE}], jwks: {{ inline: '{jwks}' }}{more} }}\n"
    )
}

/// Asserts that an answer is a 401 with this code, and that the record says precisely why.
fn refused(gateway: &Gateway, what: &str, answer: &Answer, code: &str, reason: &str) {
    assert_eq!((answer.status, answer.code().as_str()), (401, code), "{what}");
    let challenge = answer.header("www-authenticate").unwrap();
    assert!(challenge.starts_with("Bearer "), "{what}: {challenge}");
    assert!(
        !answer.text().contains(reason) || reason == code,
        "{what}: the client learned why"
    );
    let record = gateway.record(answer.header("x-request-id").unwrap());
    assert_eq!(record["error.type"], reason, "{what}");
    assert_eq!(record["durward.outcome"], "deny", "{what}");
    assert!(
        record.get("user.id").is_none(),
        "{what}: an unverified subject was recorded"
    );
}

/// A gateway with an RSA, an EC and an EdDSA key, and what the attacker has.
struct Stage {
    origin: Origin,
    gateway: Gateway,
    main: Keys,
    attacker: Keys,
    ec: PKey<openssl::pkey::Private>,
    ec384: PKey<openssl::pkey::Private>,
    ed: PKey<openssl::pkey::Private>,
    p521: PKey<openssl::pkey::Private>,
    weak: PKey<openssl::pkey::Private>,
}

impl Stage {
    fn new() -> Stage {
        let (main, attacker) = (Keys::new("k1"), Keys::new("k1"));
        let (ec, ec384, ed) = (
            jose::key_for("ES256"),
            jose::key_for("ES384"),
            jose::key_for("EdDSA"),
        );
        let (p521, weak) = (jose::ec_key(Nid::SECP521R1), jose::rsa_key(1024));
        let set = jwks(&[
            main.jwk(),
            jwk("ec", &ec),
            jwk("ec384", &ec384),
            jwk("ed", &ed),
            jwk("p521", &p521),
            jwk("weak", &weak),
        ]);
        let origin = Origin::start();
        let gateway = Gateway::start(&format!(
            "issuers:\n{}{}",
            issuer("main", ISSUER, &set, ", algorithms: [RS256, ES256, EdDSA, PS256]"),
            route(&origin, "main"),
        ));
        Stage {
            origin,
            gateway,
            main,
            attacker,
            ec,
            ec384,
            ed,
            p521,
            weak,
        }
    }

    /// Sends each token, expects each reason, and expects the gateway to be as good as before.
    fn refuses(&self, attempts: Vec<(String, String, &str)>) {
        for (what, token, reason) in attempts {
            let answer = self.gateway.client().get_with(PATH, &token);
            let code = match reason {
                "token_expired" | "token_not_yet_valid" => reason,
                _ => "invalid_token",
            };
            refused(&self.gateway, &what, &answer, code, reason);
        }
        assert_eq!(
            self.origin.connections(),
            0,
            "a refused request opened a connection to the origin"
        );
        let answer = self.gateway.client().get_with(PATH, &self.main.token(json!({})));
        assert_eq!(answer.status, 200, "{}", answer.text());
    }
}

fn header(changes: Value) -> Value {
    let mut header = json!({ "alg": "RS256", "kid": "k1" });
    for (name, value) in changes.as_object().unwrap() {
        header[name] = value.clone();
    }
    header
}

fn good() -> Value {
    Keys::claims(json!({}))
}

// S46, S48
#[test]
fn tokens_without_a_real_signature_are_refused() {
    let stage = Stage::new();
    let mut attempts = Vec::new();
    for alg in ["none", "None", "NONE", "nOnE"] {
        let signed = signed_part(header(json!({ "alg": alg })), good());
        attempts.push((
            format!("{alg}, no signature"),
            format!("{signed}."),
            "algorithm_none",
        ));
        let signed = stage.main.sign(&header(json!({ "alg": alg })), &good());
        attempts.push((format!("{alg}, good signature"), signed, "algorithm_none"));
    }
    for (alg, kid, bytes) in [("RS256", "k1", 256), ("ES256", "ec", 64), ("EdDSA", "ed", 64)] {
        let signed = signed_part(json!({ "alg": alg, "kid": kid }), good());
        let zeros = vec![0; bytes];
        attempts.push((format!("{alg}, empty"), format!("{signed}."), "signature_missing"));
        attempts.push((
            format!("{alg}, zeros"),
            format!("{signed}.{}", base64(&zeros)),
            "signature_invalid",
        ));
        attempts.push((
            format!("{alg}, one byte"),
            format!("{signed}.AA"),
            "signature_invalid",
        ));
        let long = vec![1; bytes + 1];
        attempts.push((
            format!("{alg}, too long"),
            format!("{signed}.{}", base64(long)),
            "signature_invalid",
        ));
    }
    attempts.push((
        "another key with the same kid".to_owned(),
        stage.attacker.token(json!({})),
        "signature_invalid",
    ));
    // a signature over other claims
    let (good_token, other) = (
        stage.main.token(json!({})),
        stage.main.token(json!({ "sub": "eve" })),
    );
    let mixed = format!(
        "{}.{}",
        other.rsplit_once('.').unwrap().0,
        good_token.rsplit_once('.').unwrap().1
    );
    attempts.push(("claims changed".to_owned(), mixed, "signature_invalid"));
    // ECDSA as X.509 has it, not as JWS has it
    let signed = signed_part(json!({ "alg": "ES256", "kid": "ec" }), good());
    let hash = openssl::sha::sha256(signed.as_bytes());
    let der = openssl::ecdsa::EcdsaSig::sign(&hash, &stage.ec.ec_key().unwrap()).unwrap();
    let der = format!("{signed}.{}", base64(der.to_der().unwrap()));
    attempts.push(("ES256 in DER".to_owned(), der, "signature_invalid"));
    stage.refuses(attempts);
}

// S46, S48
#[test]
fn a_public_key_is_no_shared_secret() {
    let stage = Stage::new();
    let public = stage.main.key.rsa().unwrap();
    let secrets = [
        ("PEM", stage.main.key.public_key_to_pem().unwrap()),
        ("PKCS#1 PEM", public.public_key_to_pem_pkcs1().unwrap()),
        ("DER", stage.main.key.public_key_to_der().unwrap()),
        ("n", public.n().to_vec()),
        ("n as text", base64(public.n().to_vec()).into_bytes()),
        ("JWK", stage.main.jwk().to_string().into_bytes()),
        ("JWKS", stage.main.jwks().into_bytes()),
        ("one zero byte", vec![0]),
    ];
    let mut attempts = Vec::new();
    for (what, secret) in secrets {
        for alg in ["HS256", "HS384", "HS512", "hs256"] {
            let key = PKey::hmac(&secret).unwrap();
            let forged = token(alg, &key, header(json!({ "alg": alg })), good());
            attempts.push((format!("{alg} with {what}"), forged, "algorithm_symmetric"));
        }
    }
    stage.refuses(attempts);
}

// S48
#[test]
fn a_token_that_brings_or_points_to_its_own_key_is_refused_and_nothing_is_fetched() {
    let stage = Stage::new();
    let bait = Issuer::start(&stage.attacker.jwks());
    let url = format!("http://{}/jwks.json", bait.address);
    let mut attempts = Vec::new();
    for (name, value) in [
        ("jwk", stage.attacker.jwk()),
        ("jku", json!(url)),
        ("x5u", json!(url)),
        ("x5c", json!(["MIIB"])),
    ] {
        let header = header(json!({ name: value }));
        let forged = stage.attacker.sign(&header, &good());
        attempts.push((format!("{name}, own key"), forged, "header_embedded_key"));
        // not even when it is signed well: nobody who is honest does that
        attempts.push((
            format!("{name}, good key"),
            stage.main.sign(&header, &good()),
            "header_embedded_key",
        ));
    }
    for kid in [
        url.as_str(),
        "../../../../dev/null",
        "/dev/null",
        "k1' OR '1'='1",
        "k1\" UNION SELECT 'AA",
        "K1",
        "k1 ",
        "${env:HOME}",
    ] {
        let forged = stage.attacker.sign(&header(json!({ "kid": kid })), &good());
        attempts.push((format!("kid {kid}"), forged, "key_unknown"));
    }
    for kid in [
        json!(""),
        json!("k".repeat(257)),
        json!("k1\u{0}"),
        json!("k1\n"),
        json!(1),
        json!(null),
    ] {
        let forged = stage.main.sign(&header(json!({ "kid": kid })), &good());
        attempts.push((format!("kid {kid}"), forged, "kid_malformed"));
    }
    stage.refuses(attempts);
    assert_eq!(bait.fetches(), 0, "what a token pointed to was fetched");
}

// S46: the algorithm is taken from the configuration and the key
#[test]
fn a_key_is_used_for_nothing_but_its_own_algorithm() {
    let stage = Stage::new();
    let rs = &stage.main.key;
    let attempts = [
        (
            "alg of the header only",
            "RS256",
            "RS384",
            "k1",
            rs,
            "algorithm_not_allowed",
        ),
        (
            "not configured",
            "RS512",
            "RS512",
            "k1",
            rs,
            "algorithm_not_allowed",
        ),
        (
            "alg of the JWK is another",
            "PS256",
            "PS256",
            "k1",
            rs,
            "key_unsuited",
        ),
        (
            "not configured",
            "ES384",
            "ES384",
            "ec384",
            &stage.ec384,
            "algorithm_not_allowed",
        ),
        (
            "P-384 for ES256",
            "ES384",
            "ES256",
            "ec384",
            &stage.ec384,
            "key_unsuited",
        ),
        (
            "P-521 for ES256",
            "ES512",
            "ES256",
            "p521",
            &stage.p521,
            "key_unsuited",
        ),
        (
            "P-521",
            "ES512",
            "ES512",
            "p521",
            &stage.p521,
            "algorithm_not_allowed",
        ),
        (
            "RSA of 1024 bits",
            "RS256",
            "RS256",
            "weak",
            &stage.weak,
            "key_unsuited",
        ),
        ("RSA key for EC", "RS256", "ES256", "k1", rs, "key_unsuited"),
        (
            "EC key for RSA",
            "ES256",
            "RS256",
            "ec",
            &stage.ec,
            "key_unsuited",
        ),
        (
            "Ed25519 key for EC",
            "EdDSA",
            "ES256",
            "ed",
            &stage.ed,
            "key_unsuited",
        ),
        ("unheard of", "RS256", "RS257", "k1", rs, "algorithm_not_allowed"),
        (
            "secp256k1",
            "ES256",
            "ES256K",
            "ec",
            &stage.ec,
            "algorithm_not_allowed",
        ),
        (
            "other casing",
            "RS256",
            "rs256",
            "k1",
            rs,
            "algorithm_not_allowed",
        ),
        (
            "EC, no alg",
            "ES256",
            "",
            "ec",
            &stage.ec,
            "algorithm_not_allowed",
        ),
    ];
    let attempts = attempts.map(|(what, really, says, kid, key, reason)| {
        let token = token(really, key, json!({ "alg": says, "kid": kid }), good());
        (format!("{what}: {says} with {kid}"), token, reason)
    });
    stage.refuses(attempts.into());
}

// S46, S48
#[test]
fn tokens_that_two_readers_could_read_differently_are_refused() {
    let stage = Stage::new();
    let good_token = stage.main.token(json!({}));
    let (signed, signature) = good_token.rsplit_once('.').unwrap();
    let (head, claims) = signed.split_once('.').unwrap();
    // 256 bytes: of the last character two bits count
    let next = |c: char| char::from_u32(c as u32 + 1).unwrap();
    let mut trailing = signature.to_owned();
    let last = trailing.pop().unwrap();
    trailing.push(next(last));
    let raw = |header: &str, claims: &str| token("RS256", &stage.main.key, header, claims);
    let plain = |claims: &str| raw(&header(json!({})).to_string(), claims);
    let text = good().to_string();
    let open = text.strip_suffix('}').unwrap();
    let attempts = vec![
        ("trailing bits", format!("{signed}.{trailing}"), "token_malformed"),
        ("padding", format!("{good_token}=="), "token_malformed"),
        (
            "other alphabet",
            format!("{signed}.{}+/", &signature[..340]),
            "token_malformed",
        ),
        ("two parts", signed.to_owned(), "token_malformed"),
        ("four parts", format!("{good_token}.AA"), "token_malformed"),
        ("five parts", format!("{good_token}.AA.AA"), "token_encrypted"),
        ("no header", format!(".{claims}.{signature}"), "token_malformed"),
        ("no claims", format!("{head}..{signature}"), "token_malformed"),
        ("header is not JSON", raw("nonsense", &text), "token_malformed"),
        ("header is an array", raw("[]", &text), "token_malformed"),
        (
            "more after the header",
            raw(&format!("{}{{}}", header(json!({}))), &text),
            "token_malformed",
        ),
        ("claims are not JSON", plain("nonsense"), "token_malformed"),
        ("claims are an array", plain("[]"), "claim_shape"),
        (
            "alg is a number",
            raw(r#"{"alg":1,"kid":"k1"}"#, &text),
            "token_malformed",
        ),
        ("no alg", raw(r#"{"kid":"k1"}"#, &text), "token_malformed"),
        (
            "alg twice",
            raw(r#"{"alg":"RS256","alg":"none","kid":"k1"}"#, &text),
            "header_duplicate",
        ),
        (
            "kid twice",
            raw(r#"{"alg":"RS256","kid":"k1","\u006bid":"k2"}"#, &text),
            "header_duplicate",
        ),
        (
            "sub twice",
            plain(&format!("{open},\"sub\":\"eve\"}}")),
            "claim_duplicate",
        ),
        (
            "iss twice",
            plain(&format!("{open},\"iss\":\"{ISSUER}\"}}")),
            "claim_duplicate",
        ),
        (
            "deeper member twice",
            plain(&format!("{open},\"x\":{{\"a\":1,\"a\":2}}}}")),
            "claim_duplicate",
        ),
        (
            "deep nesting",
            plain(&format!("{open},\"x\":{}{}}}", "[".repeat(64), "]".repeat(64))),
            "token_malformed",
        ),
        (
            "unknown crit",
            stage
                .main
                .sign(&header(json!({ "crit": ["x"], "x": 1 })), &good()),
            "header_crit",
        ),
        (
            "crit of exp",
            stage.main.sign(&header(json!({ "crit": ["exp"] })), &good()),
            "header_crit",
        ),
        (
            "empty crit",
            stage.main.sign(&header(json!({ "crit": [] })), &good()),
            "header_crit",
        ),
        (
            "b64",
            stage.main.sign(&header(json!({ "b64": false })), &good()),
            "header_b64",
        ),
        (
            "b64 with crit",
            stage
                .main
                .sign(&header(json!({ "b64": false, "crit": ["b64"] })), &good()),
            "header_crit",
        ),
        (
            "zip",
            stage.main.sign(&header(json!({ "zip": "DEF" })), &good()),
            "header_zip",
        ),
        (
            "enc",
            stage.main.sign(&header(json!({ "enc": "A128GCM" })), &good()),
            "token_encrypted",
        ),
        (
            "logout token",
            stage.main.sign(&header(json!({ "typ": "logout+jwt" })), &good()),
            "token_type",
        ),
        (
            "oversized",
            stage.main.token(json!({ "filler": "x".repeat(9000) })),
            "token_too_large",
        ),
    ];
    stage.refuses(
        attempts
            .into_iter()
            .map(|(what, token, reason)| (what.to_owned(), token, reason))
            .collect(),
    );
}

// S47, S49, U18: each claim has its own reason
#[test]
fn claims_that_are_missing_wrong_or_of_another_shape_are_refused() {
    let stage = Stage::new();
    let attempts = [
        (json!({ "iss": "https://other.example/" }), "issuer_unknown"),
        (json!({ "iss": ISSUER.trim_end_matches('/') }), "issuer_unknown"),
        (json!({ "iss": ISSUER.to_uppercase() }), "issuer_unknown"),
        (json!({ "iss": null }), "issuer_missing"),
        (json!({ "iss": [ISSUER] }), "claim_shape"),
        (json!({ "aud": null }), "audience_missing"),
        (json!({ "aud": "other-api" }), "audience_mismatch"),
        (json!({ "aud": [] }), "audience_mismatch"),
        (
            json!({ "aud": ["vehicle-api-2", "Vehicle-Api"] }),
            "audience_mismatch",
        ),
        (json!({ "aud": [AUDIENCE, 1] }), "claim_shape"),
        (json!({ "aud": 7 }), "claim_shape"),
        (json!({ "sub": null }), "subject_missing"),
        (json!({ "sub": 7 }), "claim_shape"),
        (json!({ "sub": ["ada"] }), "claim_shape"),
        (json!({ "exp": null }), "expiry_missing"),
        (json!({ "exp": now().to_string() }), "claim_shape"),
        (json!({ "exp": -1 }), "claim_shape"),
        (json!({ "exp": 1e300 }), "claim_shape"),
        (json!({ "exp": (now() + 300) * 1000 }), "claim_shape"),
        (json!({ "exp": now() - 60 }), "token_expired"),
        (json!({ "nbf": now() + 120 }), "token_not_yet_valid"),
        (json!({ "nbf": "now" }), "claim_shape"),
        (json!({ "iat": now() + 120 }), "token_not_yet_valid"),
        (json!({ "iat": true }), "claim_shape"),
        (json!({ "scope": 7 }), "claim_shape"),
        (json!({ "scope": ["read:vehicle", 7] }), "claim_shape"),
        (json!({ "scp": { "read": true } }), "claim_shape"),
        (json!({ "permissions": [null] }), "claim_shape"),
        (json!({ "roles": { "admin": true } }), "claim_shape"),
        (json!({ "roles": [["admin"]] }), "claim_shape"),
        (json!({ "realm_access": "admin" }), "claim_shape"),
        (json!({ "client_id": 7 }), "claim_shape"),
        // U17: what cannot be a header value is the token's fault, never a 5xx
        (json!({ "sub": "" }), "claim_not_a_header_value"),
        (json!({ "sub": " ada" }), "claim_not_a_header_value"),
        (
            json!({ "sub": "ada\r\nX-Roles: admin" }),
            "claim_not_a_header_value",
        ),
        (json!({ "sub": "ada\u{0}" }), "claim_not_a_header_value"),
        (json!({ "sub": "ada\u{7f}" }), "claim_not_a_header_value"),
        (json!({ "sub": "ada\u{a0}" }), "claim_not_a_header_value"),
        (json!({ "roles": ["clerk\nadmin"] }), "claim_not_a_header_value"),
        (json!({ "roles": [""] }), "claim_not_a_header_value"),
        (json!({ "roles": [" clerk"] }), "claim_not_a_header_value"),
        (
            json!({ "scope": "read:vehicle\tadmin" }),
            "claim_not_a_header_value",
        ),
        (json!({ "client_id": "a\rb" }), "claim_not_a_header_value"),
    ];
    let attempts = attempts.map(|(changes, reason)| (changes.to_string(), stage.main.token(changes), reason));
    stage.refuses(attempts.into());
}

// S47, S49: with 30 s of tolerance; the boundaries themselves are tested where the clock can be set
#[test]
fn clocks_may_differ_a_little() {
    let stage = Stage::new();
    for changes in [
        json!({ "exp": now() - 10 }),
        json!({ "nbf": now() + 10 }),
        json!({ "iat": now() + 10 }),
        json!({ "aud": ["another", AUDIENCE] }),
        json!({ "nbf": null, "iat": null, "client_id": null, "scope": null, "roles": null }),
        json!({ "exp": now() as f64 + 200.5 }),
        json!({ "sub": "Zoë" }),
    ] {
        let answer = stage
            .gateway
            .client()
            .get_with(PATH, &stage.main.token(changes.clone()));
        assert_eq!(answer.status, 200, "{changes}: {}", answer.text());
    }
    let seen = stage.origin.seen();
    assert_eq!(seen.last().unwrap().header("x-user-id"), Some("Zoë"));
}

// S46
#[test]
fn a_credential_is_exactly_one_bearer_token_in_authorization() {
    let stage = Stage::new();
    let client = stage.gateway.client();
    let good = stage.main.token(json!({}));
    let bearer = format!("Bearer {good}");
    let auth = |value: &str| client.get(PATH, &[("Authorization", value)]);
    let twice =
        |first: &str, second: &str| client.get(PATH, &[("Authorization", first), ("authorization", second)]);
    let query = |query: &str, headers: &[(&str, &str)]| client.get(&format!("{PATH}?{query}"), headers);
    let with_token: &[(&str, &str)] = &[("Authorization", &bearer)];
    for (what, answer, code, reason) in [
        (
            "none",
            client.get(PATH, &[]),
            "credentials_missing",
            "credentials_missing",
        ),
        (
            "Basic",
            auth("Basic YWRhOnB3"),
            "credentials_missing",
            "credentials_missing",
        ),
        (
            "in a cookie",
            client.get(PATH, &[("Cookie", &bearer)]),
            "credentials_missing",
            "credentials_missing",
        ),
        (
            "no token",
            auth("Bearer"),
            "invalid_token",
            "credentials_malformed",
        ),
        (
            "two spaces",
            auth(&format!("Bearer  {good}")),
            "invalid_token",
            "credentials_malformed",
        ),
        (
            "two tokens",
            auth(&format!("Bearer {good} {good}")),
            "invalid_token",
            "credentials_malformed",
        ),
        (
            "a list",
            auth(&format!("Bearer {good}, {bearer}")),
            "invalid_token",
            "credentials_malformed",
        ),
        (
            "the same twice",
            twice(&bearer, &bearer),
            "invalid_token",
            "credentials_repeated",
        ),
        (
            "good, then bad",
            twice(&bearer, "Bearer a.b.c"),
            "invalid_token",
            "credentials_repeated",
        ),
        (
            "bad, then good",
            twice("Basic YTpi", &bearer),
            "invalid_token",
            "credentials_repeated",
        ),
        (
            "query",
            query(&format!("access_token={good}"), &[]),
            "invalid_token",
            "credentials_in_query",
        ),
        (
            "query and header",
            query(&format!("access_token={good}"), with_token),
            "invalid_token",
            "credentials_in_query",
        ),
        (
            "query, encoded",
            query(&format!("a=1&access%5Ftoken={good}"), with_token),
            "invalid_token",
            "credentials_in_query",
        ),
    ] {
        refused(&stage.gateway, what, &answer, code, reason);
    }
    assert_eq!(stage.origin.connections(), 0);
    assert!(
        !std::fs::read_to_string(stage.gateway.folder.0.join("records.jsonl"))
            .unwrap()
            .contains(&good)
    );
    assert_eq!(
        auth(&format!("bearer {good}")).status,
        200,
        "the scheme has no case"
    );
    // RFC 6750 section 3.1: who did not even try is told nothing
    let challenge = client.get(PATH, &[]);
    assert!(!challenge.header("www-authenticate").unwrap().contains("error"));
    let challenge = auth("Bearer a.b.c");
    assert!(
        challenge
            .header("www-authenticate")
            .unwrap()
            .contains("error=\"invalid_token\"")
    );
}

// S46
#[test]
fn every_algorithm_is_accepted_where_it_is_configured_and_refused_where_not() {
    let keys: Vec<_> = jose::ALGORITHMS.map(|alg| (alg, jose::key_for(alg))).into();
    let set: Vec<Value> = keys.iter().map(|(alg, key)| jwk(alg, key)).collect();
    let set = jwks(&set);
    let origin = Origin::start();
    let mut issuers = issuer(
        "all",
        "all",
        &set,
        &format!(", algorithms: [{}]", jose::ALGORITHMS.join(", ")),
    );
    for alg in jose::ALGORITHMS {
        issuers += &issuer(
            &format!("only-{alg}"),
            alg,
            &set,
            &format!(", algorithms: [{alg}]"),
        );
    }
    issuers += &issuer("default", "default", &set, "");
    let names: Vec<String> = jose::ALGORITHMS.iter().map(|alg| format!("only-{alg}")).collect();
    let gateway = Gateway::start(&format!(
        "issuers:\n{issuers}{}",
        route(&origin, &format!("[all, default, {}]", names.join(", ")))
    ));
    let client = gateway.client();
    let ask = |iss: &str, alg: &str, key| {
        let header = json!({ "alg": alg, "kid": alg, "typ": "at+jwt" });
        client.get_with(
            PATH,
            &token(alg, key, header, Keys::claims(json!({ "iss": iss }))),
        )
    };
    for (alg, key) in &keys {
        assert_eq!(ask("all", alg, key).status, 200, "{alg}");
        let by_default = matches!(*alg, "RS256" | "PS256" | "ES256" | "EdDSA");
        let answer = ask("default", alg, key);
        assert_eq!(
            answer.status,
            if by_default { 200 } else { 401 },
            "{alg} by default"
        );
        for only in jose::ALGORITHMS {
            let answer = ask(only, alg, key);
            if only == *alg {
                assert_eq!(answer.status, 200, "{alg}");
            } else {
                let what = format!("{alg} where only {only} is taken");
                refused(&gateway, &what, &answer, "invalid_token", "algorithm_not_allowed");
            }
        }
    }
}

// U18
#[test]
fn scopes_and_roles_are_found_in_every_shape_that_issuers_give_them() {
    let keys = Keys::new("k1");
    let configured = [
        ("plain", ""),
        ("cloud", ", claims: { scopes: [scp, permissions], roles: groups }"),
        (
            "realm",
            ", claims: { roles: [realm_access.roles, resource_access.api.roles] }",
        ),
        (
            "pointer",
            ", claims: { roles: \"/https:~1~1example.com~1roles\", subject: email, client_id: app }",
        ),
    ];
    let origin = Origin::start();
    let issuers: String = configured
        .iter()
        .map(|(name, more)| issuer(name, name, &keys.jwks(), more))
        .collect();
    let gateway = Gateway::start(&format!(
        "issuers:\n{issuers}identity_headers:\n  inject: {{ X-Scopes: scopes, X-Roles: roles, X-User-Id: subject, X-Client: client_id, X-Issuer: issuer }}\n{}",
        route(&origin, "[plain, cloud, realm, pointer]")
    ));
    let client = gateway.client();
    let bare = json!({ "scope": null, "roles": null, "client_id": null });
    for (iss, claims, scopes, roles) in [
        ("plain", json!({ "scope": "a b" }), "a,b", ""),
        ("plain", json!({ "scope": ["a", "b"] }), "a,b", ""),
        ("plain", json!({ "scope": "" }), "", ""),
        ("plain", json!({ "scp": "a b" }), "a,b", ""),
        ("plain", json!({ "scp": ["a", "b c"] }), "a,b c", ""),
        ("plain", json!({ "permissions": ["a"] }), "a", ""),
        (
            "plain",
            json!({ "scope": "a b", "scp": ["b", "c"], "permissions": "d" }),
            "a,b,c,d",
            "",
        ),
        ("plain", json!({ "roles": ["x", "y"] }), "", "x,y"),
        ("plain", json!({ "roles": "not admin" }), "", "not admin"),
        (
            "plain",
            json!({ "realm_access": { "roles": ["x"] }, "roles": ["y", "x"] }),
            "",
            "y,x",
        ),
        ("plain", json!({ "groups": ["x"] }), "", ""),
        (
            "cloud",
            json!({ "scope": "ignored", "scp": "a", "groups": ["x"] }),
            "a",
            "x",
        ),
        ("cloud", json!({ "roles": ["ignored"] }), "", ""),
        (
            "realm",
            json!({ "realm_access": { "roles": ["x"] }, "resource_access": { "api": { "roles": ["y"] } } }),
            "",
            "x,y",
        ),
        (
            "realm",
            json!({ "resource_access": { "other": { "roles": ["y"] } } }),
            "",
            "",
        ),
        (
            "pointer",
            json!({ "https://example.com/roles": ["x,y", "100%"], "email": "ada@example.com", "app": "portal" }),
            "",
            "x%2Cy,100%25",
        ),
    ] {
        let mut changes = bare.clone();
        changes["iss"] = json!(iss);
        for (name, value) in claims.as_object().unwrap() {
            changes[name] = value.clone();
        }
        let answer = client.get_with(PATH, &keys.token(changes));
        assert_eq!(answer.status, 200, "{iss} {claims}: {}", answer.text());
        let seen = origin.seen().pop().unwrap();
        assert_eq!(seen.header("x-scopes"), Some(scopes), "{iss} {claims}");
        assert_eq!(seen.header("x-roles"), Some(roles), "{iss} {claims}");
        assert_eq!(seen.header("x-issuer"), Some(iss));
        let (user, app) = if iss == "pointer" {
            ("ada@example.com", Some("portal"))
        } else {
            ("ada", None)
        };
        assert_eq!(
            (seen.header("x-user-id"), seen.header("x-client")),
            (Some(user), app)
        );
    }
}

// S62, S63, S66
#[test]
fn routes_ask_for_predefined_roles_and_for_all_of_their_scopes() {
    let (origin, keys) = (Origin::start(), Keys::new("k1"));
    let route = |path: &str, auth: &str| {
        format!(
            "  - {{ match: {{ methods: [GET], path: {path} }}, auth: {{ jwt: main, {auth} }}, upstream: o }}\n"
        )
    };
    let gateway = Gateway::start(&format!(
        "{}roles:\n  clerk: [clerk, \"realm clerk\"]\n  analyst: [vehicle-analyst]\n\
         upstreams:\n  o: {{ targets: [\"{}\"] }}\nroutes:\n{}{}{}",
        keys.inline(),
        origin.address,
        route("/either", "roles: [clerk, analyst]"),
        route("/analyst", "roles: [analyst]"),
        route("/both", "roles: [clerk], scopes: [read, write]"),
    ));
    let client = gateway.client();
    let mut admitted = 0;
    for (path, claims, wanted) in [
        ("/either", json!({ "roles": ["clerk"] }), None),
        ("/either", json!({ "roles": "realm clerk" }), None),
        (
            "/either",
            json!({ "realm_access": { "roles": ["vehicle-analyst"] } }),
            None,
        ),
        // the name in the configuration is not a value in a token
        (
            "/either",
            json!({ "roles": ["analyst"] }),
            Some(("insufficient_role", "role_missing")),
        ),
        (
            "/either",
            json!({ "roles": ["Clerk", "clerks", "realm"] }),
            Some(("insufficient_role", "role_missing")),
        ),
        (
            "/either",
            json!({ "roles": null }),
            Some(("insufficient_role", "role_missing")),
        ),
        // a scope is no role
        (
            "/analyst",
            json!({ "scope": "vehicle-analyst" }),
            Some(("insufficient_role", "role_missing")),
        ),
        ("/both", json!({ "scope": "write read" }), None),
        (
            "/both",
            json!({ "scope": "read" }),
            Some(("insufficient_scope", "scope_missing")),
        ),
        (
            "/both",
            json!({ "scope": "read writer" }),
            Some(("insufficient_scope", "scope_missing")),
        ),
        (
            "/both",
            json!({ "scope": "read write", "roles": ["x"] }),
            Some(("insufficient_role", "role_missing")),
        ),
    ] {
        let answer = client.get_with(path, &keys.token(claims.clone()));
        let Some((code, reason)) = wanted else {
            assert_eq!(answer.status, 200, "{path} {claims}: {}", answer.text());
            admitted += 1;
            continue;
        };
        assert_eq!(
            (answer.status, answer.code().as_str()),
            (403, code),
            "{path} {claims}"
        );
        let record = gateway.record(answer.header("x-request-id").unwrap());
        assert_eq!(record["error.type"], reason, "{path} {claims}");
        assert_eq!(record["user.id"], "ada", "{path} {claims}");
        let challenge = answer.header("www-authenticate");
        if code == "insufficient_scope" {
            let expected = "Bearer realm=\"durward\", error=\"insufficient_scope\", scope=\"read write\"";
            assert_eq!(challenge, Some(expected));
        }
    }
    assert_eq!(
        origin.seen().len(),
        admitted,
        "a refused request reached the origin"
    );
}

// U4
#[test]
fn the_keys_of_an_issuer_are_good_for_its_own_tokens_only() {
    let (a, b) = (Keys::new("k1"), Keys::new("k1"));
    let origin = Origin::start();
    let issuers = format!(
        "{}  b: {{ issuer: \"https://b.example\", audiences: [b-api], jwks: {{ inline: '{}' }} }}\n",
        issuer("a", "https://a.example", &a.jwks(), ""),
        b.jwks()
    );
    let route = |path: &str, jwt: &str| {
        format!("  - {{ match: {{ methods: [GET], path: {path} }}, auth: {{ jwt: {jwt} }}, upstream: o }}\n")
    };
    let gateway = Gateway::with(&format!(
        "issuers:\n{issuers}upstreams:\n  o: {{ targets: [\"{}\"] }}\nroutes:\n{}{}{}",
        origin.address,
        route("/a", "a"),
        route("/b", "[b]"),
        route("/both", "[a, b]"),
    ))
    .records("summary_interval: 0s")
    .start();
    let client = gateway.client();
    let ours = |iss: &str, aud: &str| json!({ "iss": iss, "aud": aud });
    let of_a = a.token(ours("https://a.example", AUDIENCE));
    let of_b = b.token(ours("https://b.example", "b-api"));
    // twice: the second time from memory
    for _ in 0..2 {
        for (path, token, wanted) in [
            ("/a", &of_a, None),
            ("/b", &of_a, Some("issuer_not_for_route")),
            ("/both", &of_a, None),
            ("/a", &of_b, Some("issuer_not_for_route")),
            ("/b", &of_b, None),
            ("/both", &of_b, None),
            (
                "/both",
                &a.token(ours("https://b.example", "b-api")),
                Some("signature_invalid"),
            ),
            (
                "/both",
                &b.token(ours("https://a.example", AUDIENCE)),
                Some("signature_invalid"),
            ),
            (
                "/both",
                &a.token(ours("https://a.example", "b-api")),
                Some("audience_mismatch"),
            ),
            (
                "/both",
                &b.token(ours("https://b.example", AUDIENCE)),
                Some("audience_mismatch"),
            ),
        ] {
            let answer = client.get_with(path, token);
            match wanted {
                None => assert_eq!(answer.status, 200, "{path}: {}", answer.text()),
                Some(reason) => refused(&gateway, path, &answer, "invalid_token", reason),
            }
        }
    }
}

/// The gateway says at its start which published keys it does not use.
#[test]
fn keys_that_cannot_be_used_are_named_when_the_configuration_is_checked() {
    let stage = Stage::new();
    let file = stage.gateway.folder.0.join("durward.yaml");
    let checked = crate::support::gateway::binary()
        .args(["check", "-c"])
        .arg(file)
        .output()
        .unwrap();
    let said =
        String::from_utf8_lossy(&checked.stdout).into_owned() + &String::from_utf8_lossy(&checked.stderr);
    assert!(checked.status.success(), "{said}");
    for key in ["weak", "p521"] {
        assert!(said.contains(&format!("key {key} is not used")), "{said}");
    }
}
