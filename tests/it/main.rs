//! Black-box tests: the real binary over real sockets. One file a gate; `support` holds what they stand on.
//!
//! Each test cites the requirements that it proves (`// S49`).

mod support;

mod authn;
mod forged;
mod identity;
mod keys;
mod lifecycle;
mod limits;
mod oidc;
mod reload;
mod smoke;
