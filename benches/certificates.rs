//! What it costs to find a certificate by name among those of 10,000 names.

#![expect(clippy::unwrap_used, reason = "a bench that cannot be set up is to end")]

use std::hint::black_box;
use std::sync::Arc;

use criterion::{Criterion, criterion_group, criterion_main};
use durward::clock::UnixTime;
use durward::gateway::CertifiedKey;
use durward::gateway::certificates::{Certificates, Fallback, Slot};
use durward::pki::issue::{Authority, Key};

const NAMES: usize = 10_000;

fn certificates() -> Certificates {
    let now = UnixTime::of_system();
    let authority = Authority::new("bench", 30, now).unwrap();
    let key = Key::P256.generate().unwrap();
    let slots = (0..NAMES).map(|index| {
        let name = if index % 2 == 0 {
            format!("api-{index}.tenants.example")
        } else {
            format!("*.tenant-{index}.example")
        };
        let leaf = authority.server(&key, "bench", &[name], 30, now).unwrap();
        Arc::new(Slot::of(CertifiedKey::new(vec![leaf], key.clone()).unwrap()))
    });
    Certificates::new(slots.collect(), &Fallback::First)
}

fn look_up(criterion: &mut Criterion) {
    let certificates = certificates();
    for (what, name) in [
        ("exact", "api-5000.tenants.example"),
        ("wildcard", "api.tenant-5001.example"),
        ("unknown", "api.nobody.example"),
    ] {
        criterion.bench_function(&format!("certificate by name, {what}"), |bencher| {
            bencher.iter(|| black_box(certificates.choose(Some(black_box(name)))));
        });
        criterion.bench_function(&format!("certificate by name and taken, {what}"), |bencher| {
            bencher.iter(|| {
                certificates
                    .choose(Some(black_box(name)))
                    .map(|group| black_box(group.certificates()))
            });
        });
    }
}

criterion_group!(benches, look_up);
criterion_main!(benches);
