//! From bytes to requests: sockets, TLS, and what is known of a connection before the first request on it.

mod chunked;
mod client_certificate;
mod connection;
pub mod door;
mod flooded;
mod guard;
mod http1;
mod http2;
mod outgoing;
pub mod proxy_protocol;
mod refusal;
pub mod registry;
pub mod tls;

pub(crate) use connection::Connection;
pub(crate) use guard::Fault;
