//! How often: limits over verified facts.

pub mod window;
