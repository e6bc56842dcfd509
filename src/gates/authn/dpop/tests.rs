//! Proofs against everything that they have to say.

use std::net::SocketAddr;
use std::sync::Arc;

use http::header::{AUTHORIZATION, HeaderMap, HeaderValue};
use http::{Method, Uri, Version};
use jsonwebtoken::Algorithm;
use serde_json::{Value, json};

use super::*;
use crate::gates::authn::crypto::ALGORITHMS;
use crate::gates::authn::jwk::thumbprint;
use crate::gates::authn::tests::{ED, NOW, NOW_SECONDS, P256, P384, RSA, TestKey, b64};
use crate::gateway::compile::compile;
use crate::head::{Head, RawHead};
use crate::request::{Peer, TlsFacts};
use crate::secrets::Sources;
use crate::world::recorded::Recorded;

const TOKEN: &[u8] = b"the.token.itself";

/// A request to decide about.
struct Facts {
    head: Head,
    headers: HeaderMap,
    peer: Peer,
}

impl Request for Facts {
    fn head(&self) -> &Head {
        &self.head
    }

    fn headers(&self) -> &HeaderMap {
        &self.headers
    }

    fn peer(&self) -> &Peer {
        &self.peer
    }
}

fn tls() -> Option<Arc<TlsFacts>> {
    Some(Arc::new(TlsFacts {
        version: String::new(),
        cipher: String::new(),
        sni: None,
        names: [].into(),
        group: None,
        certificate: None,
        listener: None,
    }))
}

/// GET of this target, over TLS.
fn request(host: &str, target: &str, proofs: &[&str]) -> Facts {
    let mut headers = HeaderMap::new();
    headers.insert("host", host.parse().unwrap());
    headers.insert(AUTHORIZATION, HeaderValue::from_static("DPoP the.token.itself"));
    for proof in proofs {
        headers.append(PROOF, proof.parse().unwrap());
    }
    let uri: Uri = target.parse().unwrap();
    let raw = RawHead {
        method: &Method::GET,
        uri: &uri,
        version: Version::HTTP_11,
        headers: &headers,
        ended: true,
    };
    let head = Head::parse(raw).or_else(|_| Head::repair(raw).map(|(head, _)| head));
    Facts {
        head: head.unwrap(),
        headers,
        peer: Peer {
            address: Some(SocketAddr::from(([10, 0, 0, 1], 50_000))),
            client: None,
            tls: tls(),
        },
    }
}

fn gateway(dpop: &str) -> Gateway {
    let yaml = format!(
        "version: 1\ntrusted_proxies: [\"10.0.0.0/8\"]\ndpop: {{ {dpop} }}\n\
         listeners: [{{ address: \"127.0.0.1:1\", plaintext: {{ reason: test }} }}]\n\
         routes: [{{ match: {{ methods: [GET], path: / }}, public: {{ reason: a, owner: b }}, respond: 200 }}]\n"
    );
    let compiled = compile("test.yaml", &yaml, &Sources::default());
    compiled
        .gateway
        .unwrap_or_else(|| panic!("{:?}", compiled.faults))
}

fn world(gateway: &Gateway) -> Recorded {
    Recorded::new(gateway, NOW, Vec::new(), 16)
}

fn public(key: &TestKey) -> Value {
    let mut jwk = key.jwk.clone();
    jwk.as_object_mut().unwrap().remove("kid");
    jwk
}

fn claims() -> Value {
    json!({
        "htm": "GET", "htu": "https://api.example/v1/a", "iat": NOW_SECONDS, "jti": "one",
        "ath": b64(verdicts::digest(TOKEN)),
    })
}

fn changed(mut value: Value, changes: Value) -> Value {
    for (name, change) in changes.as_object().unwrap() {
        if change.is_null() {
            value.as_object_mut().unwrap().remove(name);
        } else {
            value[name] = change.clone();
        }
    }
    value
}

fn header(algorithm: Algorithm, key: &TestKey) -> Value {
    json!({ "typ": "dpop+jwt", "alg": format!("{algorithm:?}"), "jwk": public(key) })
}

/// A proof that is good but for these changes.
fn proof(header_changes: Value, claim_changes: Value) -> String {
    let header = changed(header(Algorithm::ES256, &P256), header_changes);
    let claims = changed(claims(), claim_changes);
    P256.sign(Algorithm::ES256, &header.to_string(), &claims.to_string())
}

fn thumbprint_of(key: &TestKey) -> Digest {
    thumbprint(public(key).as_object().unwrap()).unwrap()
}

fn prove(
    gateway: &Gateway,
    world: &Recorded,
    request: &Facts,
    key: &TestKey,
) -> Result<Option<HeaderValue>, Refusal> {
    let mut trace = Trace::default();
    let dpop = &gateway.dpop;
    dpop.prove(gateway, request, world, TOKEN, &thumbprint_of(key), &mut trace)
        .map(|()| trace.nonce)
}

fn judged(proofs: &[&str]) -> Result<(), Refusal> {
    let gateway = gateway("algorithms: [ES256, ES384, EdDSA, PS256, RS256, RS384]");
    let request = request("api.example", "/v1/a?q=1", proofs);
    prove(&gateway, &world(&gateway), &request, &P256).map(|_| ())
}

fn bad(why: AuthnError) -> Result<(), Refusal> {
    Err(Refusal::Bad(why))
}

// RFC 9449 section 4.3, in its order
#[test]
fn each_check_has_its_reason() {
    use AuthnError::*;
    let good = proof(json!({}), json!({}));
    assert_eq!(judged(&[&good]), Ok(()));
    assert_eq!(judged(&[]), bad(ProofMissing));
    assert_eq!(judged(&[&good, &good]), bad(ProofRepeated));
    let (signed, signature) = good.rsplit_once('.').unwrap();
    let long = "A".repeat(proof::MAX_PROOF_BYTES);
    for malformed in [
        "",
        "x",
        "a.b.c",
        signed,
        &format!("{good}.x"),
        &format!("{signed}.{signature}="),
        &format!("{good}, {good}"),
        &format!("{signed}.{long}"),
    ] {
        assert_eq!(judged(&[malformed]), bad(ProofMalformed), "{malformed}");
    }
    assert_eq!(judged(&[&format!("{signed}.")]), bad(ProofSignature));
    for (changes, why) in [
        (json!({ "typ": "JWT" }), ProofType),
        (json!({ "typ": null }), ProofType),
        (json!({ "typ": ["dpop+jwt"] }), ProofType),
        (json!({ "alg": "none" }), ProofAlgorithm),
        (json!({ "alg": "HS256" }), ProofAlgorithm),
        (json!({ "alg": "PS512" }), ProofAlgorithm),
        (json!({ "alg": "es256" }), ProofAlgorithm),
        (json!({ "alg": null }), ProofAlgorithm),
        (json!({ "alg": "ES384" }), ProofSignature),
        (json!({ "jwk": null }), ProofKey),
        (json!({ "jwk": "x" }), ProofKey),
        (json!({ "jwk": { "kty": "oct", "k": "AAAA" } }), ProofKey),
        (json!({ "jwk": public(&ED) }), ProofKeyMismatch),
        (json!({ "crit": ["x"] }), ProofMalformed),
        (json!({ "b64": false }), ProofMalformed),
        (json!({ "zip": "DEF" }), ProofMalformed),
        (json!({ "jku": "https://evil.example/" }), ProofMalformed),
        (json!({ "x5c": [] }), ProofMalformed),
    ] {
        assert_eq!(
            judged(&[&proof(changes.clone(), json!({}))]),
            bad(why),
            "{changes}"
        );
    }
    for extra in [
        json!({ "d": "AAAA" }),
        json!({ "use": "enc" }),
        json!({ "key_ops": ["sign"] }),
    ] {
        let jwk = changed(public(&P256), extra.clone());
        assert_eq!(
            judged(&[&proof(json!({ "jwk": jwk }), json!({}))]),
            bad(ProofKey),
            "{extra}"
        );
    }
    for (changes, why) in [
        (json!({ "htm": "POST" }), ProofMethod),
        (json!({ "htm": "get" }), ProofMethod),
        (json!({ "htm": null }), ProofMethod),
        (json!({ "htm": 1 }), ProofMalformed),
        (json!({ "htu": "https://api.example/v1/b" }), ProofTarget),
        (json!({ "htu": null }), ProofTarget),
        (json!({ "htu": ["https://api.example/v1/a"] }), ProofMalformed),
        (json!({ "ath": null }), ProofToken),
        (json!({ "ath": b64([0; 32]) }), ProofToken),
        (json!({ "ath": b64(verdicts::digest(TOKEN)) + "=" }), ProofToken),
        (json!({ "iat": null }), ProofMalformed),
        (json!({ "iat": "now" }), ProofMalformed),
        (json!({ "jti": null }), ProofId),
        (json!({ "jti": "" }), ProofId),
        (json!({ "jti": "x".repeat(257) }), ProofId),
        (json!({ "jti": 1 }), ProofMalformed),
    ] {
        assert_eq!(
            judged(&[&proof(json!({}), changes.clone())]),
            bad(why),
            "{changes}"
        );
    }
    let longest = proof(json!({}), json!({ "jti": "x".repeat(256) }));
    assert_eq!(judged(&[&longest]), Ok(()));
    let twice = format!("{{\"jti\":\"a\",{}", &claims().to_string()[1..]);
    let twice = P256.sign(
        Algorithm::ES256,
        &header(Algorithm::ES256, &P256).to_string(),
        &twice,
    );
    assert_eq!(judged(&[&twice]), bad(ProofMalformed));
    // of another key, in whose name it says that it is
    let forged = header(Algorithm::ES256, &P256).to_string();
    let other = TestKey::ec("P-256", "other");
    let forged = other.sign(Algorithm::ES256, &forged, &claims().to_string());
    assert_eq!(judged(&[&forged]), bad(ProofSignature));
}

#[test]
fn the_media_type_may_be_spelled_in_full() {
    for kind in ["DPoP+JWT", "application/dpop+jwt"] {
        assert_eq!(
            judged(&[&proof(json!({ "typ": kind }), json!({}))]),
            Ok(()),
            "{kind}"
        );
    }
}

#[test]
fn a_proof_is_good_from_a_little_before_its_time_until_it_is_too_old() {
    for (changes, why) in [
        (json!({ "iat": NOW_SECONDS - 60 }), None),
        (json!({ "iat": NOW_SECONDS - 61 }), Some(AuthnError::ProofExpired)),
        (json!({ "iat": NOW_SECONDS + 30 }), None),
        (
            json!({ "iat": NOW_SECONDS + 31 }),
            Some(AuthnError::ProofNotYetValid),
        ),
        (
            json!({ "nbf": NOW_SECONDS + 31 }),
            Some(AuthnError::ProofNotYetValid),
        ),
        (json!({ "exp": NOW_SECONDS - 29 }), None),
        (json!({ "exp": NOW_SECONDS - 30 }), Some(AuthnError::ProofExpired)),
    ] {
        let found = judged(&[&proof(json!({}), changes.clone())]);
        assert_eq!(found, why.map_or(Ok(()), bad), "{changes}");
    }
}

#[test]
fn keys_of_each_kind_sign_proofs_with_the_algorithms_that_are_allowed() {
    for (allowed, key, algorithm) in [
        ("ES256", &*P256, Algorithm::ES256),
        ("ES384", &P384, Algorithm::ES384),
        ("EdDSA", &ED, Algorithm::EdDSA),
        ("PS256", &RSA, Algorithm::PS256),
        ("RS512", &RSA, Algorithm::RS512),
    ] {
        let proof = key.sign(
            algorithm,
            &header(algorithm, key).to_string(),
            &claims().to_string(),
        );
        let request = request("api.example", "/v1/a", &[&proof]);
        for other in ALGORITHMS.iter().map(|algorithm| format!("{algorithm:?}")) {
            let gateway = gateway(&format!("algorithms: [{other}]"));
            let expected = if other == allowed {
                Ok(None)
            } else {
                Err(Refusal::Bad(AuthnError::ProofAlgorithm))
            };
            assert_eq!(
                prove(&gateway, &world(&gateway), &request, key),
                expected,
                "{allowed} {other}"
            );
        }
    }
}

// RFC 9449 section 4.3 no. 9, RFC 3986 section 6.2
#[test]
fn the_target_is_compared_in_normal_form() {
    let gateway = gateway("");
    let found = |host: &str, target: &str, is_tls: bool, forwarded: &[&str], url: &str| {
        let mut request = request(host, target, &[]);
        if !is_tls {
            request.peer.tls = None;
        }
        for proto in forwarded {
            request
                .headers
                .append("x-forwarded-proto", proto.parse().unwrap());
        }
        target::is_of(url, &request, &gateway.trusted_proxies)
    };
    for (host, asked, url, expected) in [
        ("api.example", "/v1/a?q=1", "https://api.example/v1/a", true),
        ("api.example", "/v1/a", "https://api.example/v1/a?q=2#x", true),
        ("API.example", "/v1/a", "HTTPS://Api.Example/v1/a", true),
        ("api.example", "/v1/a", "https://api.example:443/v1/a", true),
        ("api.example:443", "/v1/a", "https://api.example/v1/a", true),
        ("api.example:8443", "/v1/a", "https://api.example:8443/v1/a", true),
        ("api.example:8443", "/v1/a", "https://api.example/v1/a", false),
        ("api.example", "/v1/a", "https://api.example:8443/v1/a", false),
        ("[::1]:8443", "/v1/a", "https://[::1]:8443/v1/a", true),
        ("api.example", "/", "https://api.example", true),
        ("api.example", "/", "https://api.example?q", true),
        ("api.example", "/%41%c3%a4", "https://api.example/A%C3%A4", true),
        ("api.example", "/A%C3%A4", "https://api.example/%41%c3%a4", true),
        ("api.example", "/v1/../a", "https://api.example/a", true),
        ("api.example", "/v1/../a", "https://api.example/v1/../a", true),
        ("api.example", "/a", "https://api.example/v1/../a", false),
        ("api.example", "/v1/a", "https://api.example/v1/A", false),
        ("api.example", "/v1/a", "https://api.example/v1/a/", false),
        ("api.example", "/v1/a", "https://evil.example/v1/a", false),
        (
            "api.example",
            "/v1/a",
            "https://api.example.evil.example/v1/a",
            false,
        ),
        ("api.example", "/v1/a", "https://user@api.example/v1/a", false),
        ("api.example", "/v1/a", "http://api.example/v1/a", false),
        ("api.example", "/v1/a", "http://api.example:443/v1/a", false),
        ("api.example", "/v1/a", "wss://api.example/v1/a", false),
        ("api.example", "/v1/a", "//api.example/v1/a", false),
        ("api.example", "/v1/a", "/v1/a", false),
        ("api.example", "/v1/a", "https:///v1/a", false),
        ("api.example", "/v1/a", "", false),
    ] {
        assert_eq!(
            found(host, asked, true, &[], url),
            expected,
            "{host} {asked} {url}"
        );
    }
    // TLS ends at a declared proxy, which says so
    let (https, http) = ("https://api.example/v1/a", "http://api.example/v1/a");
    for (forwarded, url, expected) in [
        (&[][..], http, true),
        (&[][..], https, false),
        (&["https"][..], https, true),
        (&["https"][..], http, false),
        (&["http"][..], http, true),
        (&["https", "https"][..], https, false),
    ] {
        assert_eq!(
            found("api.example", "/v1/a", false, forwarded, url),
            expected,
            "{forwarded:?} {url}"
        );
    }
    let mut stranger = request("api.example", "/v1/a", &[]);
    stranger.peer.tls = None;
    stranger.peer.address = Some(SocketAddr::from(([192, 0, 2, 1], 1)));
    stranger
        .headers
        .insert("x-forwarded-proto", HeaderValue::from_static("https"));
    assert!(!target::is_of(https, &stranger, &gateway.trusted_proxies));
}

#[test]
fn a_proof_is_taken_once_and_only_where_it_is_good() {
    let gateway = gateway("");
    let world = world(&gateway);
    let ask = |proof: &str| {
        prove(
            &gateway,
            &world,
            &request("api.example", "/v1/a", &[proof]),
            &P256,
        )
    };
    let elsewhere = proof(json!({}), json!({ "htu": "https://api.example/v1/b" }));
    let good = proof(json!({}), json!({}));
    assert_eq!(ask(&elsewhere), Err(Refusal::Bad(AuthnError::ProofTarget)));
    assert_eq!(ask(&good), Ok(None), "what was refused was not used");
    assert_eq!(ask(&good), Err(Refusal::Bad(AuthnError::ProofReplayed)));
    // signed anew, with the same name
    let again = proof(json!({}), json!({ "iat": NOW_SECONDS }));
    assert_eq!(ask(&again), Err(Refusal::Bad(AuthnError::ProofReplayed)));
    assert_eq!(ask(&proof(json!({}), json!({ "jti": "two" }))), Ok(None));
}

#[test]
fn where_nonces_are_asked_for_each_refusal_brings_one_and_so_does_the_second_half_of_its_life() {
    let gateway = gateway("nonce: { lifetime: 100s }");
    let world = world(&gateway);
    let nonces = gateway.dpop.nonces.as_ref().unwrap();
    let issued = |ago: u64| {
        let at = UnixTime::from_seconds(NOW_SECONDS - ago);
        nonces.issue(at).unwrap().to_str().unwrap().to_owned()
    };
    let ask = |nonce: Option<String>, id: &str| {
        let proof = proof(json!({}), json!({ "nonce": nonce, "jti": id }));
        let request = request("api.example", "/v1/a", &[&proof]);
        let mut trace = Trace::default();
        let key = thumbprint_of(&P256);
        let found = gateway
            .dpop
            .prove(&gateway, &request, &world, TOKEN, &key, &mut trace);
        let told = trace
            .nonce
            .map(|nonce| nonces.judge(nonce.to_str().unwrap(), NOW));
        (found, told)
    };
    let fresh = Some(Standing::Fresh);
    assert_eq!(ask(None, "a"), (bad(AuthnError::ProofNonceMissing), fresh));
    assert_eq!(
        ask(Some("made up".to_owned()), "a"),
        (bad(AuthnError::ProofNonce), fresh)
    );
    assert_eq!(ask(Some(issued(100)), "a"), (bad(AuthnError::ProofNonce), fresh));
    assert_eq!(ask(Some(issued(50)), "a"), (Ok(()), fresh));
    assert_eq!(ask(Some(issued(49)), "b"), (Ok(()), None));
    assert_eq!(ask(Some(issued(0)), "b"), (bad(AuthnError::ProofReplayed), None));
}

// RFC 9449 section 7.1: the example of a request to a resource
#[test]
fn the_example_of_the_standard_is_good_at_its_time() {
    let proof = "eyJ0eXAiOiJkcG9wK2p3dCIsImFsZyI6IkVTMjU2IiwiandrIjp7Imt0eSI6Ik\
        VDIiwieCI6Imw4dEZyaHgtMzR0VjNoUklDUkRZOXpDa0RscEJoRjQyVVFVZldWQVdCR\
        nMiLCJ5IjoiOVZFNGpmX09rX282NHpiVFRsY3VOSmFqSG10NnY5VERWclUwQ2R2R1JE\
        QSIsImNydiI6IlAtMjU2In19.eyJqdGkiOiJlMWozVl9iS2ljOC1MQUVCIiwiaHRtIj\
        oiR0VUIiwiaHR1IjoiaHR0cHM6Ly9yZXNvdXJjZS5leGFtcGxlLm9yZy9wcm90ZWN0Z\
        WRyZXNvdXJjZSIsImlhdCI6MTU2MjI2MjYxOCwiYXRoIjoiZlVIeU8ycjJaM0RaNTNF\
        c05yV0JiMHhXWG9hTnk1OUlpS0NBcWtzbVFFbyJ9.2oW9RP35yRqzhrtNP86L-Ey71E\
        OptxRimPPToA1plemAgR6pxHF8y6-yqyVnmcw6Fy1dqd-jfxSYoMxhAJpLjA"
        .replace(' ', "");
    let token = b"Kz~8mXK1EalYznwH-LC-1fBAo.4Ljp~zsPE_NeO.gxU";
    let key = json!({
        "kty": "EC", "crv": "P-256",
        "x": "l8tFrhx-34tV3hRICRDY9zCkDlpBhF42UQUfWVAWBFs", "y": "9VE4jf_Ok_o64zbTTlcuNJajHmt6v9TDVrU0CdvGRDA",
    });
    let key = thumbprint(key.as_object().unwrap()).unwrap();
    let gateway = gateway("");
    let world = Recorded::new(&gateway, UnixTime::from_seconds(1_562_262_620), Vec::new(), 16);
    let request = request("resource.example.org", "/protectedresource", &[&proof]);
    let prove = |token: &[u8]| {
        gateway
            .dpop
            .prove(&gateway, &request, &world, token, &key, &mut Trace::default())
    };
    assert_eq!(prove(b"another token"), bad(AuthnError::ProofToken));
    assert_eq!(prove(token), Ok(()));
    assert_eq!(prove(token), bad(AuthnError::ProofReplayed));
}

// RFC 9449 section 7.2, M14: never downgraded
#[test]
fn a_bound_token_needs_its_proof_whatever_the_route_asks_for() {
    use crate::gates::authn::tests::client_with;
    let jkt = |byte: u8| json!({ "cnf": { "jkt": b64([byte; 32]) } });
    let bound = client_with(jkt(1));
    let other = client_with(jkt(2));
    let free = client_with(json!({}));
    for demand in [Demand::Off, Demand::Optional, Demand::Required] {
        for (client, scheme, expected) in [
            (&bound, Scheme::Bearer, Err(AuthnError::TokenProofMissing)),
            (&bound, Scheme::Dpop, Ok(Some([1; 32]))),
            (&free, Scheme::Bearer, Ok(None)),
            (&free, Scheme::Dpop, Ok(None)),
        ] {
            let expected = match demand {
                Demand::Required if expected == Ok(None) => Err(AuthnError::TokenNotBound),
                _ => expected,
            };
            let mut possession = Possession::default();
            let sent = Sent { scheme, token: TOKEN };
            let found = possession.add(client, sent, demand).map(|()| possession.key);
            assert_eq!(found, expected, "{demand:?} {scheme:?}");
        }
    }
    let sent = Sent {
        scheme: Scheme::Dpop,
        token: TOKEN,
    };
    // sent as if it were bound
    let gateway = gateway("");
    let mut possession = Possession::default();
    possession.add(&free, sent, Demand::Off).unwrap();
    let request = request("api.example", "/v1/a", &[&proof(json!({}), json!({}))]);
    let found = possession.prove(&gateway, &request, &world(&gateway), &mut Trace::default());
    assert_eq!(found, bad(AuthnError::TokenNotBound));
    // the token says one key, and its issuer another
    let mut possession = Possession::default();
    possession.add(&bound, sent, Demand::Off).unwrap();
    assert_eq!(possession.add(&bound, sent, Demand::Off), Ok(()));
    assert_eq!(
        possession.add(&free, sent, Demand::Off),
        Ok(()),
        "one of them says it"
    );
    assert_eq!(possession.key, Some([1; 32]));
    assert_eq!(
        possession.add(&other, sent, Demand::Off),
        Err(AuthnError::ProofKeyMismatch)
    );
}

// RFC 9449 section 6.1
#[test]
fn a_binding_that_cannot_be_read_refuses_the_token() {
    for cnf in [
        json!("x"),
        json!({ "jkt": 1 }),
        json!({ "jkt": "AAAA" }),
        json!({ "jkt": "" }),
    ] {
        let client = crate::gates::authn::tests::client_with(json!({ "cnf": cnf }));
        assert_eq!(
            client.claims.key_thumbprint(),
            Err(AuthnError::ClaimShape),
            "{cnf}"
        );
    }
}
