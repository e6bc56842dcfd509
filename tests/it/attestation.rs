//! Applications that show that they are the genuine ones, in addition to a credential (S60, M14).

use serde_json::{Value, json};

use crate::config_keys::attestations::SECRET;
use crate::support::issuer::now;
use crate::support::jose::{base64, signature, signed_part};
use crate::support::{Answer, Gateway, Keys, Origin};

struct House {
    keys: Keys,
    origin: Origin,
    gateway: Gateway,
}

impl House {
    fn new(more: &str) -> House {
        let (keys, origin) = (Keys::new("k1"), Origin::start());
        let gateway = Gateway::with(&format!(
            "{}attestations: {{ mobile: {{ secret: \"${{env:SECRET}}\", {more} }} }}\n\
             upstreams: {{ o: {{ targets: [\"{}\"] }} }}\nroutes:\n\
             - {{ match: {{ methods: [GET], path: /app }}, auth: {{ jwt: main, attestation: mobile }}, upstream: o }}\n\
             - {{ match: {{ methods: [GET], path: /web }}, auth: {{ jwt: main }}, upstream: o }}\n",
            keys.inline(),
            origin.address
        ))
        .env("SECRET", SECRET.0)
        // each with a record of its own
        .records("summary_interval: 0s")
        .start();
        House {
            keys,
            origin,
            gateway,
        }
    }

    fn get(&self, path: &str, bearer: Option<&str>, attestation: Option<&str>) -> Answer {
        let headers = [("Authorization", bearer), ("X-Attestation", attestation)];
        let sent: Vec<(&str, &str)> = headers
            .iter()
            .filter_map(|(name, value)| Some((*name, (*value)?)))
            .collect();
        self.gateway.client().get(path, &sent)
    }

    fn reason(&self, answer: &Answer) -> String {
        let record = self.gateway.record(answer.header("x-request-id").unwrap());
        record["error.type"].as_str().unwrap_or("none").to_owned()
    }
}

fn attestation(secret: &[u8], changes: Value) -> String {
    let mut claims = json!({ "exp": now() + 100 });
    for (name, value) in changes.as_object().unwrap() {
        claims[name] = value.clone();
    }
    let signed = signed_part(json!({ "alg": "HS256", "typ": "JWT" }), claims);
    let key = openssl::pkey::PKey::hmac(secret).unwrap();
    format!("{signed}.{}", base64(signature("HS256", &key, &signed)))
}

fn for_bearer(bearer: &str) -> Value {
    json!({ "pay": base64(openssl::sha::sha256(bearer.as_bytes())) })
}

// S60, M14: every combination of a credential and an attestation; yes only where both are good, and for each other
#[test]
fn a_credential_and_an_attestation_let_in_only_together() {
    let house = House::new("binding: pay");
    let mine = format!("Bearer {}", house.keys.token(json!({ "jti": "mine" })));
    let stolen = format!("Bearer {}", house.keys.token(json!({ "jti": "stolen" })));
    let forged = format!("{}.AAAA", mine.rsplit_once('.').unwrap().0);
    let good = attestation(SECRET.1, for_bearer(&mine));
    let expired = attestation(
        SECRET.1,
        json!({ "pay": for_bearer(&mine)["pay"], "exp": now() - 60 }),
    );
    let fake = attestation(&[7; 32], for_bearer(&mine));
    let unbound = attestation(SECRET.1, json!({}));
    let bearers = [None, Some(&*mine), Some(&*stolen), Some(&*forged)];
    let attestations = [None, Some(&*good), Some(&*expired), Some(&*fake), Some(&*unbound)];
    let mut admitted = 0;
    for (b, bearer) in bearers.iter().enumerate() {
        for (a, attestation) in attestations.iter().enumerate() {
            let expected = match (b, a) {
                (0, _) => (401, "credentials_missing"),
                (3, _) => (401, "signature_invalid"),
                (1, 1) => (200, "none"),
                (_, 0) => (401, "attestation_missing"),
                (_, 2) => (401, "attestation_expired"),
                (_, 3) => (401, "attestation_signature"),
                _ => (401, "attestation_binding"),
            };
            let answer = house.get("/app", *bearer, *attestation);
            assert_eq!((answer.status, &*house.reason(&answer)), expected, "{b} {a}");
            if answer.status == 200 {
                admitted += 1;
            } else {
                assert!(answer.header("www-authenticate").is_some());
            }
        }
    }
    let seen = house.origin.seen();
    assert_eq!((admitted, seen.len()), (1, 1), "nothing else reached the service");
    assert_eq!(seen[0].header("x-attestation"), None, "ours alone");
    // where it is not asked for, it is not looked at, and does not arrive either
    assert_eq!(house.get("/web", Some(&mine), Some(&fake)).status, 200);
    assert_eq!(house.origin.seen()[1].header("x-attestation"), None);
    let challenge = house.get("/app", Some(&mine), None);
    assert_eq!(
        (challenge.code().as_str(), challenge.header("www-authenticate")),
        ("attestation_missing", Some("Attestation realm=\"durward\""))
    );
    let challenge = house.get("/app", Some(&mine), Some(&fake));
    assert_eq!(
        (challenge.code().as_str(), challenge.header("www-authenticate")),
        (
            "invalid_attestation",
            Some("Attestation realm=\"durward\", error=\"invalid_attestation\"")
        )
    );
}

// S60, U6: a fleet of applications is brought to it step by step
#[test]
fn in_shadow_what_is_missing_is_recorded_and_passes() {
    let house = House::new("mode: shadow");
    let bearer = format!("Bearer {}", house.keys.token(json!({})));
    let answer = house.get("/app", Some(&bearer), None);
    assert_eq!(answer.status, 200);
    let record = house.gateway.record(answer.header("x-request-id").unwrap());
    assert!(record.to_string().contains("attestation_missing"), "{record}");
}
