//! What a decision costs: each gate, the whole of `admit`, and what it allocates. `cargo bench` prints both.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a bench that cannot be set up is to end"
)]

use std::hash::{BuildHasher, BuildHasherDefault, DefaultHasher};
use std::hint::black_box;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as B64;
use criterion::{Criterion, criterion_group, criterion_main};
use durward::clock::UnixTime;
use durward::gates::authn::introspection::Said;
use durward::gates::authn::{KeysFrom, api_key, crypto, verdicts};
use durward::gates::limits::window::{KEY, Windows};
use durward::gateway::Gateway;
use durward::gateway::compile::compile;
use durward::head::{Head, HeadReader, RawHead, WireLimits};
use durward::request::{Peer, Request};
use durward::secrets::Sources;
use durward::trace::Trace;
use durward::world::recorded::Recorded;
use http::{HeaderMap, Method, Uri, Version};
use openssl::hash::MessageDigest;
use openssl::pkey::{PKey, Private};
use openssl::rsa::Rsa;
use openssl::sign::Signer;
use serde_json::json;

const NOW: u64 = 1_800_000_000;

struct Asked {
    head: Head,
    headers: HeaderMap,
    peer: Peer,
}

impl Request for Asked {
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

fn token(key: &PKey<Private>, subject: &str) -> String {
    let header = json!({ "alg": "RS256", "typ": "at+jwt", "kid": "k" });
    let claims = json!({
        "iss": "https://issuer.example/", "aud": "api", "sub": subject, "iat": NOW, "exp": NOW + 300,
        "jti": format!("{subject}-4f6b-4c5e-9b1d-0123456789ab"), "scope": "openid profile read:lien_info",
        "roles": ["clerk", "auditor"],
    });
    let signed = format!(
        "{}.{}",
        B64.encode(header.to_string()),
        B64.encode(claims.to_string())
    );
    let mut signer = Signer::new(MessageDigest::sha256(), key).unwrap();
    let signature = signer.sign_oneshot_to_vec(signed.as_bytes()).unwrap();
    format!("{signed}.{}", B64.encode(signature))
}

fn gateway(key: &PKey<Private>) -> Gateway {
    let rsa = key.rsa().unwrap();
    let jwk = json!({ "kty": "RSA", "kid": "k", "n": B64.encode(rsa.n().to_vec()), "e": B64.encode(rsa.e().to_vec()) });
    let jwks = json!({ "keys": [jwk] });
    let yaml = format!(
        r#"
version: 1
listeners: [{{ address: "127.0.0.1:8443", plaintext: {{ reason: bench }} }}]
issuers:
  main:
    issuer: "https://issuer.example/"
    audiences: [api]
    jwks: {{ inline: '{jwks}' }}
    introspection: {{ url: "https://issuer.example/asked", client_id: us, client_secret: "${{env:PATH}}" }}
keys: {{ partners: {{ file: partners.json }} }}
flood: {{ per_address: 4000000000 }}
revocation: {{ file: revoked.txt }}
conditions:
  reader:
    when: '"clerk" in client.roles && claims.iat + 600 > now && request.params.vin.startsWith("1HG")'
limits:
  address: {{ rate: "65535/100ms", key: address }}
  client: {{ rate: "65535/100ms", key: subject }}
upstreams: {{ vehicles: {{ targets: ["127.0.0.1:1"] }} }}
routes:
  - match: {{ methods: [GET], path: "/v1/vehicles/{{vin}}/liens" }}
    auth: {{ jwt: main, scopes: ["read:lien_info"] }}
    limits: [address, client]
    upstream: vehicles
  - match: {{ methods: [GET], path: "/v1/vehicles/{{vin}}/owners" }}
    auth: {{ jwt: main, scopes: ["read:lien_info"] }}
    conditions: [reader]
    limits: [address, client]
    upstream: vehicles
  - match: {{ methods: [GET], path: "/v1/vehicles/{{vin}}" }}
    auth: {{ jwt: main }}
    upstream: vehicles
  - match: {{ methods: [GET], path: /key }}
    auth: {{ api_key: partners, scopes: ["read:lien_info"] }}
    limits: [address, client]
    upstream: vehicles
  - match: {{ methods: [GET], path: /asked }}
    auth: {{ introspection: main, scopes: ["read:lien_info"] }}
    limits: [address, client]
    upstream: vehicles
  - match: {{ methods: [GET], path: /both }}
    auth: {{ all_of: [{{ jwt: main }}, {{ api_key: partners }}], scopes: ["read:lien_info"] }}
    limits: [address, client]
    upstream: vehicles
"#
    );
    let folder = std::env::temp_dir().join(format!("durward-bench-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let digest: String = api_key::digest(api_key().as_bytes())
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    let entry = json!({ "sha256": digest, "client": "acme", "scopes": ["read:lien_info"], "created": "2026-01-01T00:00:00Z" });
    let file = json!({ "version": 1, "environment": "live", "keys": [entry] });
    std::fs::write(folder.join("partners.json"), file.to_string()).unwrap();
    let compiled = compile("bench.yaml", &yaml, &Sources::beside(&folder.join("bench.yaml")));
    std::fs::remove_dir_all(&folder).unwrap();
    compiled
        .gateway
        .unwrap_or_else(|| panic!("{:?}", compiled.faults))
}

fn api_key() -> String {
    api_key::compose("live", "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefg")
}

fn ask(token: &str) -> Asked {
    let bearer = format!("Bearer {token}");
    ask_with(
        "/v1/vehicles/1HGCM82633A004352/liens?full=yes",
        &[("authorization", &bearer)],
    )
}

fn ask_with(target: &str, credentials: &[(&'static str, &str)]) -> Asked {
    let uri: Uri = target.parse().unwrap();
    let mut headers = HeaderMap::new();
    headers.insert("host", "api.example".parse().unwrap());
    headers.insert("user-agent", "bench/1.0".parse().unwrap());
    headers.insert("accept", "application/json".parse().unwrap());
    for (name, value) in credentials {
        headers.insert(*name, value.parse().unwrap());
    }
    let address = "203.0.113.9:4711".parse().unwrap();
    let peer = Peer {
        address: Some(address),
        client: Some(address.ip()),
        tls: None,
    };
    Asked {
        head: parse(&uri, &headers),
        headers,
        peer,
    }
}

fn parse(uri: &Uri, headers: &HeaderMap) -> Head {
    let raw = RawHead {
        method: &Method::GET,
        uri,
        version: Version::HTTP_11,
        headers,
        ended: false,
    };
    Head::parse(raw).unwrap()
}

fn decisions(c: &mut Criterion) {
    crypto::install();
    let key = PKey::from_rsa(Rsa::generate(2048).unwrap()).unwrap();
    let gateway = gateway(&key);
    let keys = match &gateway.issuers[0].keys {
        KeysFrom::Given(keys) => Some(Arc::clone(keys)),
        KeysFrom::Url(_) | KeysFrom::Nowhere => None,
    };
    let said = json!({
        "active": true, "aud": "api", "sub": "ada", "exp": NOW + 300, "scope": "openid profile read:lien_info",
        "roles": ["clerk", "auditor"],
    });
    let said = Said::parse(said.to_string().as_bytes()).unwrap();
    let mut world = Recorded::new(&gateway, UnixTime::from_seconds(NOW + 1), vec![keys], 1);
    world.said = vec![Some(Arc::new(said))];
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let admit = |asked: &Asked| runtime.block_on(gateway.admit(asked, &world, &mut Trace::default()));

    let request = ask(&token(&key, "ada"));
    assert!(admit(&request).is_ok());
    let allocated = allocation_counter::measure(|| {
        let _ = black_box(admit(black_box(&request)));
    });
    println!(
        "admit, warm, allowed: {} heap allocations, {} bytes",
        allocated.count_total, allocated.bytes_total
    );
    assert!(allocated.count_total <= 2, "design.md section 8");

    let good = format!("Bearer {}", token(&key, "ada"));
    let by_key = ask_with("/key", &[("x-api-key", &api_key())]);
    let asked_about = ask_with(
        "/asked",
        &[("authorization", "Bearer 4f6b4c5e9b1d0123456789abcdef")],
    );
    let expression = ask_with(
        "/v1/vehicles/1HGCM82633A004352/owners?full=yes",
        &[("authorization", &good)],
    );
    let by_both = ask_with("/both", &[("authorization", &good), ("x-api-key", &api_key())]);
    for (what, asked) in [
        ("a token and an expression", &expression),
        ("API key", &by_key),
        ("introspection", &asked_about),
        ("all_of token and API key", &by_both),
    ] {
        assert!(admit(asked).is_ok(), "{what}");
        let allocated = allocation_counter::measure(|| {
            let _ = black_box(admit(black_box(asked)));
        });
        println!(
            "admit, {what}, allowed: {} heap allocations",
            allocated.count_total
        );
        assert!(allocated.count_total <= 2, "design.md section 8");
    }

    let mut group = c.benchmark_group("admit");
    group.bench_function("warm token", |b| b.iter(|| admit(black_box(&request))));
    group.bench_function("warm token, and an expression", |b| {
        b.iter(|| admit(black_box(&expression)))
    });
    group.bench_function("API key", |b| b.iter(|| admit(black_box(&by_key))));
    group.bench_function("introspected token", |b| {
        b.iter(|| admit(black_box(&asked_about)))
    });
    group.bench_function("token and API key", |b| b.iter(|| admit(black_box(&by_both))));
    let many: Vec<Asked> = (0..1000)
        .map(|n| ask(&token(&key, &format!("user-{n}"))))
        .collect();
    let mut turn = 0;
    group.bench_function("1,000 warm tokens in turn", |b| {
        b.iter(|| {
            turn = (turn + 1) % many.len();
            admit(black_box(&many[turn]))
        });
    });
    let good = token(&key, "eve");
    let forged = format!("{}AAAA", &good[..good.len() - 4]);
    let forged = ask(&forged);
    group.bench_function("the same forged token", |b| b.iter(|| admit(black_box(&forged))));
    group.finish();

    let mut group = c.benchmark_group("gates");
    let uri: Uri = "/v1/vehicles/1HGCM82633A004352/liens?full=yes".parse().unwrap();
    group.bench_function("head", |b| b.iter(|| parse(black_box(&uri), &request.headers)));
    let wire = format!(
        "GET /v1/vehicles/1HGCM82633A004352/liens?full=yes HTTP/1.1\r\nHost: api.example\r\nUser-Agent: bench/1\r\n\
         Accept: application/json\r\nAccept-Encoding: gzip\r\nAuthorization: Bearer {good}\r\n\r\n"
    );
    let limits = WireLimits {
        bytes: 32 << 10,
        fields: 100,
    };
    group.bench_function("bytes of a head", |b| {
        b.iter(|| HeadReader::default().read(black_box(wire.as_bytes()), limits))
    });
    let encoded: Uri = "/v1/vehicles/1HGCM82633A00435%32/liens".parse().unwrap();
    group.bench_function("head, to be decoded", |b| {
        b.iter(|| parse(black_box(&encoded), &request.headers))
    });
    group.bench_function("digest of a token", |b| {
        b.iter(|| verdicts::digest(black_box(good.as_bytes())))
    });
    group.finish();
}

fn windows(c: &mut Criterion) {
    const KEYS: u64 = 1_000_000;
    let windows = Windows::new(20, Duration::from_secs(60), 1 << 20);
    let now = UnixTime::from_seconds(NOW);
    // as uneven as real hashes, and worked out before: most sets get more keys or fewer than there are places
    let hashes = BuildHasherDefault::<DefaultHasher>::default();
    let keys: Vec<u64> = (0..KEYS).map(|n| hashes.hash_one(n)).collect();
    let refused = keys
        .iter()
        .filter(|key| windows.admit(**key, now).is_err())
        .count();
    println!(
        "limiter: {} keys live, {} MiB at most, {refused} of {KEYS} well-behaved first requests refused",
        windows.live(now),
        windows.memory() >> 20,
    );
    assert!(refused * 10_000 < KEYS as usize);
    assert!(windows.memory() <= (1 << 20) * KEY, "the stated bound");
    let mut asked = keys.iter().cycle();
    c.bench_function("limiter, 1,000,000 live keys", |b| {
        b.iter(|| windows.admit(black_box(*asked.next().unwrap_or(&0)), now));
    });
}

criterion_group!(benches, decisions, windows);
criterion_main!(benches);
