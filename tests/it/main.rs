//! Black-box tests: the real binary over real sockets. One file a gate; `support` holds what they stand on.
//!
//! Each test cites the requirements that it proves (`// S49`).

mod support;

mod content;
mod denials;
mod head;
mod lifecycle;
mod limits;
mod reload;
mod routing;
mod smoke;
mod transport;
