//! Black-box tests: the real binary over real sockets. One file a gate; `support` holds what they stand on.
//!
//! Each test cites the requirements that it proves (`// S49`).

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "clippy allows these in test functions, not in what they call"
)]

mod support;

mod abuse;
mod acme;
mod attempts;
mod attestation;
mod authn;
mod authz;
mod bodies;
mod canary;
mod certificates;
mod cli;
mod client_certificates;
mod conf;
mod config_keys;
mod connections;
mod content;
mod credentials;
mod demo;
mod denials;
mod discovery;
mod dpop;
mod encrypted;
mod explained;
mod forged;
mod framing;
mod golden;
mod handshakes;
mod head;
mod identity;
mod introspection;
mod keys;
mod lifecycle;
mod limits;
mod metrics;
mod ocsp;
mod oidc;
mod packaging;
mod pkcs11;
mod policy_tests;
mod process;
mod profile;
mod proof;
mod prove;
mod readme;
mod records;
mod reload;
mod resources;
mod revocation;
mod rotation;
mod routing;
mod secrets;
mod shadow;
mod signed_introspection;
mod slow;
mod smoke;
mod status;
mod streams;
mod tenants;
mod testssl;
mod tls_cli;
mod transport;
mod upstream;
mod upstream_tls;
