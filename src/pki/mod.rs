//! X.509: what certificates say, what is wrong with them, and making some of our own.
//!
//! Knows nothing of listeners, of the network and of the configuration. Moments are given, never read.

pub mod facts;
pub mod flaws;
pub mod issue;
pub mod ocsp;
pub mod store;
