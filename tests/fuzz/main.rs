//! What is read from strangers, and from files, held to what is promised of it, on inputs drawn at random.
//!
//! Each target runs a few hundred cases with all other tests, and as long as `DURWARD_FUZZ_SECONDS` says: `make fuzz`.
//! Not to panic is the least of it.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "clippy allows these in test functions, not in what they call"
)]

mod config;
mod head;
mod path;
mod proxy_protocol;
mod token;

use std::time::{Duration, Instant};

use proptest::prelude::*;
use proptest::test_runner::{TestCaseError, TestRunner};

/// Cases of one round.
const ROUND: u32 = 400;

/// Draws rounds of cases until the time is up; one at least.
fn hold<S: Strategy>(name: &str, strategy: S, property: impl Fn(S::Value) -> Result<(), TestCaseError>) {
    let seconds = std::env::var("DURWARD_FUZZ_SECONDS").map_or(0, |seconds| {
        seconds.parse().expect("DURWARD_FUZZ_SECONDS is a number")
    });
    let end = Instant::now() + Duration::from_secs(seconds);
    let mut cases = 0_u64;
    loop {
        let config = ProptestConfig {
            cases: ROUND,
            failure_persistence: None,
            ..ProptestConfig::default()
        };
        if let Err(why) = TestRunner::new(config).run(&strategy, &property) {
            panic!("{name}, after {cases} cases: {why}");
        }
        cases += u64::from(ROUND);
        if Instant::now() >= end {
            break;
        }
    }
    println!("{name}: {cases} cases");
}

/// What came of each case, for those that must come to pass often enough to mean something.
fn is_often(name: &str, happened: &std::cell::Cell<u32>) {
    assert!(
        happened.get() > ROUND / 50,
        "{name} only {} times",
        happened.get()
    );
}
