//! Authentication: from a credential to an identity.
//!
//! What is here so far is the pure part of JWT authentication: the bytes of a token, the keys of
//! an issuer and a moment go in, and verified claims or one stable reason come out. Nothing here
//! does I/O or reads a clock.
//!
//! The way of a token: [`jws`] reads it strictly and trusts none of it, [`jwk`] offers the keys
//! that may have signed it, [`crypto`] checks the signature, [`claims`] reads what was signed and
//! [`jwt`] decides whether that is acceptable from this issuer now.

pub mod claims;
pub mod crypto;
pub mod error;
mod json;
pub mod jwk;
pub mod jws;
pub mod jwt;

#[cfg(test)]
mod tests;

pub use error::AuthnError;
