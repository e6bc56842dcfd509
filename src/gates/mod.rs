//! The gates a request passes, one noun each. A gate decides; it never talks to a socket.

pub mod authn;
pub mod authz;
pub mod content;
pub mod flood;
pub mod limits;
pub mod network;
pub mod upgrade;
