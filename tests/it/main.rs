//! Black-box tests: the real binary over real sockets. One file a gate; `support` holds what they stand on.
//!
//! Each test cites the requirements that it proves (`// S49`).

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
