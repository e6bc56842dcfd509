//! From bytes to requests: sockets, TLS, and what is known of a connection before the first request on it.

pub mod door;
pub mod tls;
