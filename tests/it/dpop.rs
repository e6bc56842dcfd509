//! Tokens that are bound to a key of the caller's, and the proof of it (DPoP, RFC 9449; M14).

use std::sync::atomic::{AtomicU64, Ordering};

use openssl::pkey::{PKey, Private};
use serde_json::{Value, json};

use crate::config_keys::attestations::SECRET;
use crate::support::client::request;
use crate::support::gateway::{Start, binary};
use crate::support::issuer::{AUDIENCE, ISSUER, now};
use crate::support::jose::{base64, jwk, key_for, signature, signed_part};
use crate::support::pki::{Held, authority, client};
use crate::support::{Answer, Folder, Gateway, Keys, Origin, Reply, eventually, h2};

/// Who holds a key, and signs proofs with it.
pub struct Holder {
    key: PKey<Private>,
    algorithm: &'static str,
}

impl Holder {
    pub fn new() -> Holder {
        Holder::with("ES256")
    }

    pub fn with(algorithm: &'static str) -> Holder {
        Holder {
            key: key_for(algorithm),
            algorithm,
        }
    }

    fn public(&self) -> Value {
        let mut jwk = jwk("", &self.key);
        for name in ["kid", "use"] {
            jwk.as_object_mut().unwrap().remove(name);
        }
        jwk
    }

    /// RFC 7638; the members of these JWKs are in the order of the alphabet already.
    pub fn thumbprint(&self) -> String {
        base64(openssl::sha::sha256(self.public().to_string().as_bytes()))
    }

    /// `cnf` of a token that is bound to the key.
    pub fn bound(&self) -> Value {
        json!({ "cnf": { "jkt": self.thumbprint() } })
    }

    /// A proof for GET of this path with this token, with changes to what it says; `null` removes one.
    pub fn proof(&self, path: &str, token: &str, changes: Value) -> String {
        self.proof_for(&format!("https://api.example{path}"), token, changes)
    }

    pub fn proof_for(&self, url: &str, token: &str, changes: Value) -> String {
        self.signed(json!({}), self.claims(url, token, changes))
    }

    fn claims(&self, url: &str, token: &str, changes: Value) -> Value {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let mut claims = json!({
            "htm": "GET", "htu": url, "iat": now(), "ath": base64(openssl::sha::sha256(token.as_bytes())),
            "jti": format!("proof {}", NEXT.fetch_add(1, Ordering::Relaxed)),
        });
        apply(&mut claims, changes);
        claims
    }

    fn signed(&self, changes: Value, claims: Value) -> String {
        let mut header = json!({ "typ": "dpop+jwt", "alg": self.algorithm, "jwk": self.public() });
        apply(&mut header, changes);
        let signed = signed_part(header, claims);
        format!(
            "{signed}.{}",
            base64(signature(self.algorithm, &self.key, &signed))
        )
    }
}

fn apply(value: &mut Value, changes: Value) {
    for (name, change) in changes.as_object().unwrap() {
        if change.is_null() {
            value.as_object_mut().unwrap().remove(name);
        } else {
            value[name] = change.clone();
        }
    }
}

/// `/off`, `/optional` and `/required` ask for that of a token; `/public` asks for nothing, and `/passed` passes proofs on.
fn start(keys: &Keys, origin: &Origin, dpop: &str) -> Start {
    let route = |path: &str, auth: &str, upstream: &str| {
        format!("- {{ match: {{ methods: [GET, POST], path: /{path} }}, {auth}, upstream: {upstream} }}\n")
    };
    let asking = |path: &str, demand: &str, upstream: &str| {
        route(path, &format!("auth: {{ jwt: main, dpop: {demand} }}"), upstream)
    };
    let routes = [
        route("plain", "auth: { jwt: main }", "o"),
        asking("off", "off", "o"),
        asking("optional", "optional", "o"),
        asking("required", "required", "o"),
        asking("passed", "required", "p"),
        route("public", "public: { reason: test, owner: us }", "o"),
    ];
    Gateway::with(&format!(
        "{}dpop: {{ {dpop} }}\n\
         upstreams: {{ o: {{ targets: [\"{1}\"] }}, p: {{ targets: [\"{1}\"], forward_dpop: true }} }}\nroutes:\n{2}",
        keys.inline(),
        origin.address,
        routes.concat()
    ))
    .records("summary_interval: 0s")
}

fn reason(gateway: &Gateway, answer: &Answer) -> String {
    let record = gateway.record(answer.header("x-request-id").unwrap());
    record["error.type"].as_str().unwrap_or("none").to_owned()
}

/// GET with a token in this scheme, and this proof.
fn get(gateway: &Gateway, path: &str, authorization: &str, proof: Option<&str>) -> Answer {
    let headers = [("Authorization", Some(authorization)), ("DPoP", proof)];
    let sent: Vec<(&str, &str)> = headers
        .iter()
        .filter_map(|(name, value)| Some((*name, (*value)?)))
        .collect();
    gateway.client().get(path, &sent)
}

// M14: a stolen token is of no use without its key, wherever it is shown and however
#[test]
fn a_stolen_token_is_refused_without_its_key() {
    let (keys, origin) = (Keys::new("k1"), Origin::start());
    let gateway = start(&keys, &origin, "").start();
    let (holder, thief) = (Holder::new(), Holder::new());
    let token = keys.token(holder.bound());
    let (bearer, dpop) = (format!("Bearer {token}"), format!("DPoP {token}"));
    let mut admitted = 0;
    for path in ["/plain", "/off", "/optional", "/required"] {
        let good = || holder.proof(path, &token, json!({}));
        let seen_elsewhere = holder.proof("/elsewhere", &token, json!({}));
        let of_thief = thief.proof(path, &token, json!({}));
        // the thief writes the holder's public key into a proof of its own
        let pretended = thief.signed(
            json!({ "jwk": holder.public() }),
            thief.claims(&format!("https://api.example{path}"), &token, json!({})),
        );
        for (authorization, proof, expected) in [
            (&bearer, None, "token_dpop_scheme"),
            (&bearer, Some(good()), "token_dpop_scheme"),
            (&dpop, None, "dpop_proof_missing"),
            (&dpop, Some(of_thief), "dpop_key_mismatch"),
            (&dpop, Some(pretended), "dpop_proof_signature"),
            (&dpop, Some(seen_elsewhere), "dpop_proof_target"),
            (&dpop, Some(good()), "none"),
        ] {
            let answer = get(&gateway, path, authorization, proof.as_deref());
            assert_eq!(reason(&gateway, &answer), expected, "{path} {authorization:.6}");
            admitted += usize::from(answer.status == 200);
            if answer.status != 200 {
                assert_eq!(answer.status, 401);
                let challenge = answer.header("www-authenticate").unwrap();
                assert!(
                    challenge.contains("DPoP realm=\"durward\", error=\""),
                    "{challenge}"
                );
                assert!(
                    challenge.ends_with("algs=\"RS256 PS256 ES256 EdDSA\""),
                    "{challenge}"
                );
            }
        }
    }
    assert_eq!((admitted, origin.seen().len()), (4, 4), "nothing else arrived");
}

// RFC 9449 section 4.3, on HTTP/1.1 and HTTP/2
#[test]
fn each_check_of_a_proof_has_its_reason_in_both_versions_of_http() {
    let (keys, origin) = (Keys::new("k1"), Origin::start());
    let gateway = start(&keys, &origin, "").start();
    let holder = Holder::new();
    let token = keys.token(holder.bound());
    let dpop = format!("DPoP {token}");
    let says = |changes: Value| holder.proof("/required", &token, changes);
    let heads = |changes: Value| {
        let claims = holder.claims("https://api.example/required", &token, json!({}));
        holder.signed(changes, claims)
    };
    let private = {
        let mut jwk = holder.public();
        jwk["d"] = json!("AAAA");
        jwk
    };
    let rows: Vec<(Vec<String>, &str, &str)> = vec![
        (vec![], "invalid_dpop_proof", "dpop_proof_missing"),
        (
            vec![says(json!({})), says(json!({}))],
            "invalid_dpop_proof",
            "dpop_proof_repeated",
        ),
        (vec!["x".to_owned()], "invalid_dpop_proof", "dpop_proof_malformed"),
        (
            vec![heads(json!({ "crit": ["x"] }))],
            "invalid_dpop_proof",
            "dpop_proof_malformed",
        ),
        (
            vec![heads(json!({ "typ": "JWT" }))],
            "invalid_dpop_proof",
            "dpop_proof_type",
        ),
        (
            vec![heads(json!({ "alg": "HS256" }))],
            "invalid_dpop_proof",
            "dpop_proof_algorithm",
        ),
        (
            vec![heads(json!({ "jwk": null }))],
            "invalid_dpop_proof",
            "dpop_proof_key",
        ),
        (
            vec![heads(json!({ "jwk": private }))],
            "invalid_dpop_proof",
            "dpop_proof_key",
        ),
        (
            vec![says(json!({ "htm": "POST" }))],
            "invalid_dpop_proof",
            "dpop_proof_method",
        ),
        (
            vec![says(json!({ "htu": "https://api.example/other" }))],
            "invalid_dpop_proof",
            "dpop_proof_target",
        ),
        (
            vec![says(json!({ "ath": base64([0; 32]) }))],
            "invalid_dpop_proof",
            "dpop_proof_token",
        ),
        (
            vec![says(json!({ "iat": now() - 120 }))],
            "invalid_dpop_proof",
            "dpop_proof_expired",
        ),
        (
            vec![says(json!({ "iat": now() + 120 }))],
            "invalid_dpop_proof",
            "dpop_proof_not_yet_valid",
        ),
        (
            vec![says(json!({ "jti": null }))],
            "invalid_dpop_proof",
            "dpop_proof_id",
        ),
    ];
    for (proofs, code, expected) in &rows {
        let mut headers = vec![("Authorization", dpop.as_str())];
        headers.extend(proofs.iter().map(|proof| ("DPoP", proof.as_str())));
        let old = gateway.client().get("/required", &headers);
        let new = h2::get(gateway.https, &gateway.authority, "/required", &headers);
        for answer in [old, new] {
            assert_eq!(
                (answer.status, answer.code().as_str()),
                (401, *code),
                "{expected}"
            );
            assert_eq!(reason(&gateway, &answer), *expected);
        }
    }
    assert!(origin.seen().is_empty());
    // and a good one passes in both, once
    let [one, two] = [says(json!({})), says(json!({}))];
    let over_h2 = |proof: &str| {
        let headers = [("Authorization", dpop.as_str()), ("DPoP", proof)];
        h2::get(gateway.https, &gateway.authority, "/required", &headers)
    };
    assert_eq!(get(&gateway, "/required", &dpop, Some(&one)).status, 200);
    assert_eq!(over_h2(&two).status, 200);
    for answer in [
        over_h2(&one),
        get(&gateway, "/required", &dpop, Some(&two)),
        get(&gateway, "/required", &dpop, Some(&one)),
    ] {
        assert_eq!(answer.code(), "invalid_dpop_proof");
        assert_eq!(reason(&gateway, &answer), "dpop_proof_replayed");
    }
    // for another method than the one that is used
    let post = says(json!({}));
    let headers = [("Authorization", dpop.as_str()), ("DPoP", post.as_str())];
    let answer = gateway.client().request("POST", "/required", &headers, "");
    assert_eq!(reason(&gateway, &answer), "dpop_proof_method");
}

// RFC 9449 section 7.1 and 7.2: what a route is asked with, and what it takes
#[test]
fn routes_offer_and_take_what_they_ask_for() {
    let (keys, origin) = (Keys::new("k1"), Origin::start());
    let gateway = start(&keys, &origin, "algorithms: [ES256]").start();
    let (bearer, offer) = (
        "Bearer realm=\"durward\"",
        "DPoP realm=\"durward\", algs=\"ES256\"",
    );
    for (path, challenge) in [
        ("/off", bearer.to_owned()),
        ("/optional", format!("{bearer}, {offer}")),
        ("/required", offer.to_owned()),
    ] {
        let answer = gateway.client().get(path, &[]);
        assert_eq!(answer.code(), "credentials_missing");
        assert_eq!(answer.header("www-authenticate"), Some(&*challenge), "{path}");
    }
    let free = keys.token(json!({}));
    for (path, scheme, expected) in [
        ("/off", "Bearer", "none"),
        ("/optional", "Bearer", "none"),
        ("/required", "Bearer", "token_dpop_unbound"),
        // sent as if it were bound
        ("/off", "DPoP", "token_dpop_unbound"),
        ("/optional", "DPoP", "token_dpop_unbound"),
        ("/required", "DPoP", "token_dpop_unbound"),
    ] {
        let proof = Holder::new().proof(path, &free, json!({}));
        let answer = get(&gateway, path, &format!("{scheme} {free}"), Some(&proof));
        assert_eq!(reason(&gateway, &answer), expected, "{path} {scheme}");
    }
    // what is wrong with the token is told in the scheme that it was sent with
    let holder = Holder::new();
    let mut claims = holder.bound();
    claims["exp"] = json!(now() - 100);
    let expired = keys.token(claims);
    let proof = holder.proof("/optional", &expired, json!({}));
    let answer = get(&gateway, "/optional", &format!("DPoP {expired}"), Some(&proof));
    let error = "error=\"invalid_token\", error_description=\"The access token has expired\"";
    assert_eq!(
        answer.header("www-authenticate"),
        Some(&*format!(
            "{bearer}, DPoP realm=\"durward\", {error}, algs=\"ES256\""
        ))
    );
    // of another algorithm than those that are offered
    let holder = Holder::with("EdDSA");
    let token = keys.token(holder.bound());
    let proof = holder.proof("/required", &token, json!({}));
    let answer = get(&gateway, "/required", &format!("DPoP {token}"), Some(&proof));
    assert_eq!(reason(&gateway, &answer), "dpop_proof_algorithm");
}

// RFC 9449 section 9: given with the refusal, taken with the next proof, and renewed in time
#[test]
fn a_client_that_has_no_nonce_gets_one_and_is_let_in_with_it() {
    let (keys, origin) = (
        Keys::new("k1"),
        Origin::answering(|_| {
            Reply::new(
                200,
                &[
                    ("DPoP-Nonce", "the service's own"),
                    ("Cache-Control", "max-age=60"),
                ],
                "ok",
            )
        }),
    );
    let settings = "nonce: { lifetime: 10m, secret: \"${env:NONCES}\" }";
    let gateway = start(&keys, &origin, settings).env("NONCES", SECRET.0).start();
    let holder = Holder::new();
    let token = keys.token(holder.bound());
    let ask = |gateway: &Gateway, nonce: Option<&str>| {
        let proof = holder.proof("/required", &token, json!({ "nonce": nonce }));
        get(gateway, "/required", &format!("DPoP {token}"), Some(&proof))
    };
    let refused = ask(&gateway, None);
    assert_eq!((refused.status, refused.code().as_str()), (401, "use_dpop_nonce"));
    assert_eq!(reason(&gateway, &refused), "dpop_nonce_missing");
    let challenge = refused.header("www-authenticate").unwrap();
    assert!(
        challenge.starts_with("DPoP realm=\"durward\", error=\"use_dpop_nonce\""),
        "{challenge}"
    );
    assert_eq!(refused.header("cache-control"), Some("no-store"));
    let nonce = refused.header("dpop-nonce").unwrap().to_owned();
    let admitted = ask(&gateway, Some(&nonce));
    assert_eq!(
        (admitted.status, admitted.header("dpop-nonce")),
        (200, None),
        "its own is not the client's"
    );
    assert_eq!(admitted.header("cache-control"), Some("max-age=60"));
    // another gateway with the same secret, as behind one load balancer; and one with another
    let second = start(&keys, &origin, settings).env("NONCES", SECRET.0).start();
    assert_eq!(ask(&second, Some(&nonce)).status, 200);
    let stranger = start(&keys, &origin, "nonce: { }").start();
    let answer = ask(&stranger, Some(&nonce));
    assert_eq!(reason(&stranger, &answer), "dpop_nonce_unknown");
    assert_eq!(ask(&stranger, answer.header("dpop-nonce")).status, 200);
    // in the second half of its life, each answer brings the next
    let made = |ago: u64| {
        let time = (now() - ago).to_be_bytes();
        let key = PKey::hmac(SECRET.1).unwrap();
        let mut signer = openssl::sign::Signer::new(openssl::hash::MessageDigest::sha256(), &key).unwrap();
        let mac = signer
            .sign_oneshot_to_vec(&[&b"durward dpop nonce"[..], &time].concat())
            .unwrap();
        base64([&time[..], &mac[..16]].concat())
    };
    let aging = ask(&gateway, Some(&made(400)));
    assert_eq!(
        (aging.status, aging.header("cache-control")),
        (200, Some("no-store"))
    );
    let next = aging.header("dpop-nonce").unwrap().to_owned();
    assert_eq!(ask(&gateway, Some(&next)).header("dpop-nonce"), None);
    let too_old = ask(&gateway, Some(&made(700)));
    assert_eq!(reason(&gateway, &too_old), "dpop_nonce_unknown");
    assert!(too_old.header("dpop-nonce").is_some());
    // nobody asks for proofs there, so nobody is told a nonce
    let free = keys.token(json!({}));
    let plain = get(&gateway, "/plain", &format!("Bearer {free}"), None);
    assert_eq!((plain.status, plain.header("dpop-nonce")), (200, None));
    // without nonces of ours, a service may have its own
    let without = start(&keys, &origin, "").start();
    assert_eq!(
        ask(&without, None).header("dpop-nonce"),
        Some("the service's own")
    );
}

// S56, S84: the proof stays here, and the record says that there was one and not what
#[test]
fn proofs_are_neither_passed_on_nor_recorded() {
    let (keys, origin) = (Keys::new("k1"), Origin::start());
    let gateway = start(&keys, &origin, "nonce: { }").start();
    let holder = Holder::new();
    let token = keys.token(holder.bound());
    let dpop = format!("DPoP {token}");
    let nonce = {
        let proof = holder.proof("/required", &token, json!({}));
        let answer = get(&gateway, "/required", &dpop, Some(&proof));
        answer.header("dpop-nonce").unwrap().to_owned()
    };
    let mut proofs = Vec::new();
    for (path, is_passed) in [
        ("/required", false),
        ("/off", false),
        ("/passed", true),
        ("/public", true),
    ] {
        let proof = holder.proof(path, &token, json!({ "nonce": nonce }));
        let answer = get(&gateway, path, &dpop, Some(&proof));
        assert_eq!(answer.status, 200, "{path}: {}", answer.text());
        let seen = origin.seen().pop().unwrap();
        assert_eq!(seen.header("authorization"), Some(&*dpop));
        assert_eq!(seen.header("dpop"), is_passed.then_some(&*proof), "{path}");
        let record = gateway.record(answer.header("x-request-id").unwrap());
        let bound = if path == "/public" {
            Value::Null
        } else {
            json!(["dpop"])
        };
        assert_eq!(record["durward.token.bound_to"], bound, "{path}");
        proofs.push(proof);
    }
    // another one's, unasked
    let free = keys.token(json!({}));
    let answer = get(&gateway, "/plain", &format!("Bearer {free}"), Some("anything"));
    assert_eq!(
        (answer.status, origin.seen().pop().unwrap().header("dpop")),
        (200, None)
    );
    let record = gateway.record(answer.header("x-request-id").unwrap());
    assert_eq!(record["durward.token.bound_to"], Value::Null);
    let told = std::fs::read_to_string(gateway.folder.0.join("records.jsonl")).unwrap()
        + &gateway.messages()
        + &gateway.output();
    for proof in &proofs {
        let parts: Vec<&str> = proof.split('.').collect();
        for secret in [proof, parts[1], parts[2], &*nonce, &*token] {
            assert!(!told.contains(secret), "{secret}");
        }
    }
}

// RFC 9449 section 6.2: bound by what the issuer says of it
#[test]
fn an_opaque_token_is_bound_to_the_key_that_its_issuer_tells() {
    let holder = Holder::new();
    let said = |changes: Value| {
        let mut said = json!({
            "active": true, "iss": ISSUER, "aud": AUDIENCE, "sub": "ada", "exp": now() + 300,
            "token_type": "DPoP", "cnf": { "jkt": holder.thumbprint() },
        });
        apply(&mut said, changes);
        said.to_string()
    };
    let answers = [
        ("bound", said(json!({}))),
        ("free", said(json!({ "cnf": null, "token_type": "Bearer" }))),
        // a token of that type whose key is not told could be anybody's
        ("keyless", said(json!({ "cnf": null }))),
    ];
    let issuer = Origin::answering(move |seen| {
        let body = String::from_utf8_lossy(&seen.body).into_owned();
        let known = answers
            .iter()
            .find(|(name, _)| body.contains(&format!("token={name}")));
        let text = known.map_or("{\"active\":false}", |(_, text)| text);
        Reply::new(200, &[("Content-Type", "application/json")], text)
    });
    let gateway = Gateway::with(&format!(
        "issuers: {{ main: {{ issuer: \"{ISSUER}\", audiences: [{AUDIENCE}], introspection: {{ \
         url: \"http://{}/\", client_id: us, client_secret: \"${{env:SECRET}}\" }} }} }}\nroutes:\n\
         - {{ match: {{ methods: [GET], path: /off }}, auth: {{ introspection: main }}, respond: 200 }}\n\
         - {{ match: {{ methods: [GET], path: /required }}, auth: {{ introspection: main, dpop: required }}, respond: 200 }}\n",
        issuer.address
    ))
    .env("SECRET", "s3cret")
    .records("summary_interval: 0s")
    .start();
    for path in ["/off", "/required"] {
        for (scheme, token, by, expected) in [
            ("DPoP", "bound", Some(&holder), "none"),
            ("DPoP", "bound", Some(&Holder::new()), "dpop_key_mismatch"),
            ("DPoP", "bound", None, "dpop_proof_missing"),
            ("Bearer", "bound", Some(&holder), "token_dpop_scheme"),
            (
                "Bearer",
                "free",
                None,
                if path == "/off" {
                    "none"
                } else {
                    "token_dpop_unbound"
                },
            ),
            ("Bearer", "keyless", None, "token_type"),
            ("DPoP", "keyless", Some(&holder), "token_type"),
        ] {
            let proof = by.map(|by| by.proof(path, token, json!({})));
            let answer = get(&gateway, path, &format!("{scheme} {token}"), proof.as_deref());
            assert_eq!(reason(&gateway, &answer), expected, "{path} {scheme} {token}");
        }
    }
}

/// Attestations that are sent with a request.
fn attestations() -> [Option<String>; 3] {
    let made = |secret: &[u8]| {
        let signed = signed_part(json!({ "alg": "HS256" }), json!({ "exp": now() + 200 }));
        let key = PKey::hmac(secret).unwrap();
        format!("{signed}.{}", base64(signature("HS256", &key, &signed)))
    };
    [None, Some(made(SECRET.1)), Some(made(&[7; 32]))]
}

// M14: the truth table of a token, its proof, a certificate and an attestation, as `all_of` and `any_of`. A row has what is
// sent, and what comes of it without an attestation, with a good one, and with a forged one.
#[test]
fn signals_combine_as_the_table_says() {
    let (keys, ca) = (Keys::new("k1"), authority("ca").root());
    let held: Held = ca.issue(&client("partner"));
    let route = |path: &str, auth: &str| {
        format!("- {{ match: {{ methods: [GET], path: /{path} }}, auth: {{ {auth} }}, respond: 200 }}\n")
    };
    let parts = "[{ jwt: main, dpop: required }, { client_certificate: partners }]";
    let gateway = Gateway::with(&format!(
        "{}attestations: {{ mobile: {{ secret: \"${{env:SECRET}}\" }} }}\n\
         truststores: {{ partners: {{ ca: [ca.pem] }} }}\nclient_certificates: {{ partners: {{ trust: partners }} }}\nroutes:\n{}{}",
        keys.inline(),
        route("all", &format!("all_of: {parts}, attestation: mobile")),
        route("any", &format!("any_of: {parts}, attestation: mobile")),
    ))
    .tls("client_certificates: { mode: optional, trust: partners }")
    .records("summary_interval: 0s")
    .env("SECRET", SECRET.0)
    .file("ca.pem", ca.pem())
    .start();
    const ALLOW: [&str; 3] = ["attestation_missing", "none", "attestation_signature"];
    const UNBOUND: [&str; 3] = ["token_dpop_unbound"; 3];
    const SCHEME: [&str; 3] = ["token_dpop_scheme"; 3];
    const PROOF: [&str; 3] = ["dpop_proof_missing"; 3];
    const OTHER: [&str; 3] = ["dpop_key_mismatch"; 3];
    const MISSING: [&str; 3] = ["credentials_missing"; 3];
    const CERTIFICATE: [&str; 3] = ["client_certificate_missing"; 3];
    // token, certificate; all of them; any of them
    let table = [
        ("none", false, CERTIFICATE, MISSING),
        ("none", true, MISSING, ALLOW),
        ("free", false, CERTIFICATE, UNBOUND),
        ("free", true, UNBOUND, UNBOUND),
        ("bound as bearer", false, CERTIFICATE, SCHEME),
        ("bound as bearer", true, SCHEME, SCHEME),
        ("bound without proof", false, CERTIFICATE, PROOF),
        ("bound without proof", true, PROOF, PROOF),
        ("bound, another's proof", false, CERTIFICATE, OTHER),
        ("bound, another's proof", true, OTHER, OTHER),
        ("bound and proven", false, CERTIFICATE, ALLOW),
        ("bound and proven", true, ALLOW, ALLOW),
    ];
    let (holder, other) = (Holder::new(), Holder::new());
    let (free, bound) = (keys.token(json!({})), keys.token(holder.bound()));
    let attestations = attestations();
    let mut rows = 0;
    for (token, with_certificate, all, any) in table {
        for (path, expected) in [("/all", all), ("/any", any)] {
            for (attestation, expected) in attestations.iter().zip(expected) {
                let by = |by: &Holder| Some(by.proof(path, &bound, json!({})));
                let (authorization, proof) = match token {
                    "free" => (Some(format!("Bearer {free}")), None),
                    "bound as bearer" => (Some(format!("Bearer {bound}")), None),
                    "bound without proof" => (Some(format!("DPoP {bound}")), None),
                    "bound, another's proof" => (Some(format!("DPoP {bound}")), by(&other)),
                    "bound and proven" => (Some(format!("DPoP {bound}")), by(&holder)),
                    _ => (None, None),
                };
                let sent = [
                    ("Authorization", &authorization),
                    ("DPoP", &proof),
                    ("X-Attestation", attestation),
                ];
                let sent: Vec<(&str, &str)> = sent
                    .iter()
                    .filter_map(|(name, value)| Some((*name, value.as_deref()?)))
                    .collect();
                let client = if with_certificate {
                    held.client(&gateway)
                } else {
                    gateway.client()
                };
                let answer = client.get(path, &sent);
                assert_eq!(
                    reason(&gateway, &answer),
                    expected,
                    "{path}: {token}, certificate {with_certificate}, {attestation:?}"
                );
                rows += 1;
            }
        }
    }
    assert_eq!(rows, 72);
}

// RFC 8705 and RFC 9449 together: both bindings of a token hold, or it does not count
#[test]
fn a_token_that_is_bound_to_a_key_and_a_certificate_needs_both() {
    let (keys, ca) = (Keys::new("k1"), authority("ca").root());
    let (held, strange): (Held, Held) = (ca.issue(&client("partner")), ca.issue(&client("other")));
    let gateway = Gateway::with(&format!(
        "{}truststores: {{ partners: {{ ca: [ca.pem] }} }}\nroutes:\n\
         - {{ match: {{ methods: [GET], path: / }}, auth: {{ jwt: main }}, respond: 200 }}\n",
        keys.inline()
    ))
    .tls("client_certificates: { mode: optional, trust: partners }")
    .records("summary_interval: 0s")
    .file("ca.pem", ca.pem())
    .start();
    let (holder, other) = (Holder::new(), Holder::new());
    let digest: Vec<u8> = (0..64)
        .step_by(2)
        .map(|at| u8::from_str_radix(&held.sha256()[at..at + 2], 16).unwrap())
        .collect();
    let cnf = json!({ "cnf": { "jkt": holder.thumbprint(), "x5t#S256": base64(digest) } });
    let token = keys.token(cnf);
    for (by, with, expected) in [
        (Some(&holder), Some(&held), "none"),
        (Some(&other), Some(&held), "dpop_key_mismatch"),
        (None, Some(&held), "dpop_proof_missing"),
        (Some(&holder), Some(&strange), "token_certificate_mismatch"),
        (Some(&holder), None, "token_certificate_missing"),
        (None, None, "token_certificate_missing"),
    ] {
        let proof = by.map(|by| by.proof("/", &token, json!({})));
        let authorization = format!("DPoP {token}");
        let mut sent = vec![("Authorization", authorization.as_str())];
        sent.extend(proof.iter().map(|proof| ("DPoP", proof.as_str())));
        let client = with.map_or_else(|| gateway.client(), |held| held.client(&gateway));
        let answer = client.get("/", &sent);
        assert_eq!(reason(&gateway, &answer), expected, "{}", by.is_some());
        if answer.status == 200 {
            let record = gateway.record(answer.header("x-request-id").unwrap());
            assert_eq!(record["durward.token.bound_to"], json!(["dpop", "certificate"]));
        }
    }
}

// RFC 9449 section 11.1: for as long as it could pass, through a reload, and whoever else asks at the same time
#[test]
fn a_proof_is_used_up_by_one_request_and_stays_so_through_a_reload() {
    let (keys, origin) = (Keys::new("k1"), Origin::start());
    let gateway = start(&keys, &origin, "").start();
    let holder = Holder::new();
    let token = keys.token(holder.bound());
    let dpop = format!("DPoP {token}");
    let proof = holder.proof("/required", &token, json!({}));
    // all at once: exactly one of them is let in
    let statuses: Vec<u16> = std::thread::scope(|scope| {
        let asking: Vec<_> = (0..8)
            .map(|_| scope.spawn(|| get(&gateway, "/required", &dpop, Some(&proof)).status))
            .collect();
        asking.into_iter().map(|asked| asked.join().unwrap()).collect()
    });
    assert_eq!(
        statuses.iter().filter(|status| **status == 200).count(),
        1,
        "{statuses:?}"
    );
    let file = gateway.folder.0.join("durward.yaml");
    let config = std::fs::read_to_string(&file).unwrap();
    let reads = || gateway.messages().matches("from now on").count();
    let before = reads();
    std::fs::write(&file, config.replace("dpop: {  }", "dpop: { max_age: 5m }")).unwrap();
    gateway.signal("HUP");
    eventually("the reload", || (reads() > before).then_some(()));
    let answer = get(&gateway, "/required", &dpop, Some(&proof));
    assert_eq!(reason(&gateway, &answer), "dpop_proof_replayed");
    // the longer age is in force: it is not that nothing was read
    let older = holder.proof("/required", &token, json!({ "iat": now() - 30 }));
    assert_eq!(get(&gateway, "/required", &dpop, Some(&older)).status, 200);
    let metrics = gateway.admin("/metrics").text();
    assert!(metrics.contains("durward_dpop_proofs 2"), "{metrics}");
    assert!(metrics.contains("durward_dpop_proofs_max 524288"), "{metrics}");
}

// closed, and named: what cannot be remembered is not taken
#[test]
fn without_room_to_remember_a_proof_none_is_taken() {
    let (keys, origin) = (Keys::new("k1"), Origin::start());
    // one place in each of the memory's parts; and two, of which one key gets one
    for (room, status, expected) in [(64, 503, "dpop_memory_full"), (128, 429, "dpop_proofs_of_key")] {
        let gateway = start(&keys, &origin, &format!("max_proofs: {room}")).start();
        let holder = Holder::new();
        let token = keys.token(holder.bound());
        let dpop = format!("DPoP {token}");
        let mut connection = gateway.client().connect();
        let refused = (0..200).find_map(|_| {
            let proof = holder.proof("/required", &token, json!({}));
            let headers = [("Authorization", dpop.as_str()), ("DPoP", proof.as_str())];
            connection.write(request("GET", "/required", &headers, ""));
            let answer = connection.answer();
            (answer.status != 200).then_some(answer)
        });
        let refused = refused.expect("64 places took 200 proofs");
        assert_eq!((refused.status, refused.code().as_str()), (status, expected));
        assert_eq!(reason(&gateway, &refused), expected);
        let retry: u64 = refused.header("retry-after").unwrap().parse().unwrap();
        assert!((1..=64).contains(&retry), "{retry}");
        // nobody else is concerned
        let free = keys.token(json!({}));
        assert_eq!(
            get(&gateway, "/optional", &format!("Bearer {free}"), None).status,
            200
        );
    }
}

// M6: the tests in a configuration can ask for proofs, and notice where none is asked for
#[test]
fn policy_tests_describe_proofs_and_notice_when_they_are_not_asked_for() {
    let folder = Folder::new();
    let keys = Keys::new("k1");
    let config = |tests: &str| {
        format!(
            "version: 1\nlisteners: [{{ address: \"127.0.0.1:1\", plaintext: {{ reason: test }} }}]\n{}dpop: {{ nonce: {{ }} }}\n\
             failed_authentication: {{ per_address: false, per_account: false }}\n\
             routes: [{{ match: {{ methods: [GET], path: / }}, auth: {{ jwt: main, dpop: required }}, respond: 200 }}]\n\
             tests:\n{tests}",
            keys.inline()
        )
    };
    let test = |name: &str, more: &str, expect: &str| {
        format!(
            "- {{ name: {name}, expect: {expect}, {more} method: GET, url: \"https://api.example/\", token: {{ issuer: main }} }} }}\n"
        )
    };
    let proven = test("proven", "times: 3, request: { dpop: { },", "allow");
    let replayed = test(
        "used",
        "times: 2, request: { dpop: { claims: { jti: same } },",
        "dpop_proof_replayed",
    );
    let old = test(
        "old",
        "request: { dpop: { claims: { iat: 1 } },",
        "dpop_proof_expired",
    );
    let nobody = "- { name: nobody, expect: credentials_missing, request: { method: GET, url: \"https://api.example/\" } }\n";
    let unbound = test("unbound", "request: {", "token_dpop_unbound");
    let without = test(
        "without",
        "request: { dpop: { claims: { nonce: null } },",
        "dpop_nonce_missing",
    );
    let run = |tests: &[&str]| {
        let file = folder.write("durward.yaml", config(&tests.concat()));
        let output = binary().args(["test", "--mutate", "-c", &file]).output().unwrap();
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        (
            output.status.code(),
            said + &String::from_utf8_lossy(&output.stderr),
        )
    };
    let (code, said) = run(&[&proven, &replayed, &old, nobody, &unbound, &without]);
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("6 tests, 0 failed"), "{said}");
    let (code, said) = run(&[&proven, &replayed, nobody, &without]);
    assert_eq!(code, Some(1), "{said}");
    assert!(
        said.contains("takes tokens that are not bound to a key"),
        "{said}"
    );
    let (code, said) = run(&[&proven, nobody, &unbound]);
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("takes proofs without a nonce"), "{said}");
}

// M14: what a copied bearer token looks like is told, once, and nobody is refused; of bound ones a copy is of no use
#[test]
fn a_bearer_token_from_several_networks_raises_an_event() {
    let (keys, origin) = (Keys::new("k1"), Origin::start());
    let settings = "}\ntrusted_proxies: [\"127.0.0.0/8\"]\nshared_tokens: { networks: 3";
    let gateway = start(&keys, &origin, settings).start();
    let holder = Holder::new();
    let (free, bound) = (keys.token(json!({})), keys.token(holder.bound()));
    let ask = |authorization: &str, proof: Option<&str>, from: &str| {
        let mut headers = vec![("Authorization", authorization), ("X-Forwarded-For", from)];
        headers.extend(proof.map(|proof| ("DPoP", proof)));
        let answer = gateway.client().get("/optional", &headers);
        assert_eq!(answer.status, 200, "{}", answer.text());
        gateway.record(answer.header("x-request-id").unwrap())["durward.token.networks"].clone()
    };
    let networks = [
        "192.0.2.1",
        "192.0.2.99",
        "198.51.100.1",
        "2001:db8:1::1",
        "203.0.113.1",
    ];
    let bearer = format!("Bearer {free}");
    let told = networks.map(|from| ask(&bearer, None, from));
    assert_eq!(
        told,
        [json!(null), json!(null), json!(null), json!(3), json!(null)]
    );
    let dpop = format!("DPoP {bound}");
    let told = networks.map(|from| {
        let proof = holder.proof("/optional", &bound, json!({}));
        ask(&dpop, Some(&proof), from)
    });
    assert!(told.iter().all(Value::is_null), "{told:?}");
    let metrics = gateway.admin("/metrics").text();
    let counted = metrics
        .lines()
        .find(|line| line.starts_with("durward_shared_tokens_total{"));
    assert!(counted.is_some_and(|line| line.ends_with(" 1")), "{metrics}");
    let said = gateway.messages() + &gateway.output();
    assert_eq!(said.matches("token_shared").count(), 1, "{said}");
    assert!(!said.contains(&*free));
}
