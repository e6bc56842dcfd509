//! Black-box tests: the real binary over real sockets. One file a gate; `support` holds what they stand on.
//!
//! Each test cites the requirements that it proves (`// S49`).

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test ends where what it stands on does not hold"
)]

#[allow(dead_code, reason = "not every tool is in use at every time")]
mod support;

mod cli;
mod conf;
mod config_keys;
mod demo;
mod golden;
mod lifecycle;
mod limits;
mod prove;
mod readme;
mod reload;
mod smoke;
