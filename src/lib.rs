//! Durward: an API security gateway on Pingora.
#![forbid(unsafe_code)]

pub mod config;
