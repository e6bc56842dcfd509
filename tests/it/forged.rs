//! What forged tokens cost those who send none.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use serde_json::{Value, json};

use crate::support::client::{Connection, request};
use crate::support::issuer::{AUDIENCE, ISSUER};
use crate::support::jose::{self, base64, jwk, jwks, signed_part};
use crate::support::{Gateway, Keys, Origin, eventually};

/// One worker thread for all connections: what it leaves behind in OpenSSL, the next connection finds.
fn start(origin: &Origin, set: &str) -> Gateway {
    let algorithms = jose::ALGORITHMS.join(", ");
    Gateway::start(&format!(
        "server: {{ threads: 1 }}\n\
         issuers:\n  main: {{ issuer: \"{ISSUER}\", audiences: [{AUDIENCE}], algorithms: [{algorithms}], jwks: {{ inline: '{set}' }} }}\n\
         upstreams:\n  o: {{ targets: [\"{}\"] }}\n\
         routes:\n\
         \x20 - {{ match: {{ methods: [GET], path: /protected }}, auth: {{ jwt: main }}, upstream: o }}\n\
         \x20 - {{ match: {{ methods: [GET], path: /public }}, public: {{ reason: probe, owner: us }}, upstream: o }}\n",
        origin.address
    ))
}

fn ask(connection: &mut Connection, path: &str, token: &str) -> Option<u16> {
    connection.write(request(
        "GET",
        path,
        &[("Authorization", &format!("Bearer {token}"))],
        "",
    ));
    connection.try_answer("GET").map(|answer| answer.status)
}

/// Tokens that get as far as OpenSSL, each in its own way and none of them twice.
fn forgeries(from: usize) -> impl Iterator<Item = String> {
    (from..).step_by(1000).map(|n| {
        let algorithm = jose::ALGORITHMS[n % jose::ALGORITHMS.len()];
        let claims = Keys::claims(json!({ "jti": n.to_string() }));
        let signed = signed_part(json!({ "alg": algorithm, "kid": algorithm }), claims);
        // of the right length or not, in range or not
        let length = match algorithm {
            "ES256" | "EdDSA" => 64,
            "ES384" => 96,
            _ => 256,
        };
        let (byte, length) = [(0, length), (0xff, length), (7, length), (7, length - 1), (7, 1)][n / 9 % 5];
        format!("{signed}.{}", base64(vec![byte; length]))
    })
}

// S48: HAProxy 2.6 lost every fourth request of an innocent client so
#[test]
fn a_flood_of_forged_tokens_disturbs_no_other_connection() {
    const REQUESTS: usize = 300;
    let keys: Vec<_> = jose::ALGORITHMS.map(|alg| (alg, jose::key_for(alg))).into();
    let good = Keys::new("good");
    let mut set: Vec<Value> = keys.iter().map(|(alg, key)| jwk(alg, key)).collect();
    set.push(good.jwk());
    let origin = Origin::start();
    let gateway = start(&origin, &jwks(&set));
    let (forged, over) = (AtomicUsize::new(0), AtomicBool::new(false));
    let lost = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for thread in 0..3 {
            let (gateway, forged, over) = (&gateway, &forged, &over);
            scope.spawn(move || {
                let mut connection = gateway.client().connect();
                for token in forgeries(thread) {
                    assert_eq!(ask(&mut connection, "/protected", &token), Some(401), "{token}");
                    forged.fetch_add(1, Ordering::SeqCst);
                    if over.load(Ordering::SeqCst) {
                        return;
                    }
                }
            });
        }
        eventually("the flood has begun", || {
            (forged.load(Ordering::SeqCst) > 10).then_some(())
        });
        let innocents: Vec<_> = (0..3)
            .map(|client| {
                let (gateway, good, lost) = (&gateway, &good, &lost);
                scope.spawn(move || {
                    let mut connection = gateway.client().connect();
                    for n in 0..REQUESTS {
                        let path = if client == 0 { "/public" } else { "/protected" };
                        // one signature in ten is a new one
                        let token = good.token(
                            json!({ "jti": (n / 10).to_string(), "iat": 0, "exp": 4_000_000_000_u64 }),
                        );
                        if ask(&mut connection, path, &token) != Some(200) {
                            lost.fetch_add(1, Ordering::SeqCst);
                            connection = gateway.client().connect();
                        }
                        // and some make a new connection, with a handshake
                        if client == 2 && n % 10 == 0 {
                            connection = gateway.client().connect();
                        }
                    }
                })
            })
            .collect();
        for innocent in innocents {
            innocent.join().unwrap();
        }
        over.store(true, Ordering::SeqCst);
    });
    assert_eq!(lost.into_inner(), 0, "of {} requests", 3 * REQUESTS);
    assert!(forged.into_inner() > REQUESTS / 2, "that was no flood");
    assert_eq!(origin.seen().len(), 3 * REQUESTS);
}

// design 8: verdicts on good and on bad tokens are kept apart
#[test]
fn forged_tokens_take_no_room_from_good_ones() {
    let key = jose::key_for("EdDSA");
    let origin = Origin::start();
    let gateway = start(&origin, &jwks(&[jwk("EdDSA", &key)]));
    let kept = |verdict: &str| {
        let text = gateway.admin("/metrics").text();
        let name = format!("durward_token_verdicts{{verdict=\"{verdict}\"}} ");
        let line = text
            .lines()
            .find_map(|line| line.strip_prefix(&name).map(str::to_owned));
        line.unwrap().parse::<usize>().unwrap()
    };
    let mut connection = gateway.client().connect();
    for n in 0..5 {
        let claims = Keys::claims(json!({ "jti": n.to_string() }));
        let token = jose::token("EdDSA", &key, json!({ "alg": "EdDSA", "kid": "EdDSA" }), claims);
        for _ in 0..2 {
            assert_eq!(ask(&mut connection, "/protected", &token), Some(200));
        }
    }
    assert_eq!((kept("good"), kept("bad")), (5, 0));
    let forged: Vec<String> = (0..200)
        .map(|n| {
            let claims = Keys::claims(json!({ "jti": n.to_string() }));
            let signed = signed_part(json!({ "alg": "EdDSA", "kid": "EdDSA" }), claims);
            format!("{signed}.{}", base64([7; 64]))
        })
        .collect();
    for token in forged.iter().chain(&forged) {
        assert_eq!(ask(&mut connection, "/protected", token), Some(401));
    }
    assert_eq!((kept("good"), kept("bad")), (5, 200), "each is judged once");
    // what is no token at all, or cannot be judged yet, is not remembered
    for token in [
        "a.b.c",
        &signed_part(json!({ "alg": "none" }), Keys::claims(json!({}))),
    ] {
        assert_eq!(ask(&mut connection, "/protected", token), Some(401));
    }
    assert_eq!((kept("good"), kept("bad")), (5, 200));
}
