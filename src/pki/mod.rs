//! X.509: what certificates say, what is wrong with them, and making some of our own; and what TLS handshakes say.
//!
//! Knows nothing of listeners, of the network and of the configuration. Moments are given, never read.

pub mod client_hello;
pub mod facts;
pub mod flaws;
pub mod handshake;
pub(crate) mod iana;
pub mod issue;
pub mod ocsp;
pub mod store;
