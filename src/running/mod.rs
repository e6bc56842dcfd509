//! What is running: the snapshot in use with what goes with it, and how it is exchanged for another.
//!
//! [`gateway`](crate::gateway) is what was meant and never changes; here it meets memory, counters and the file that it
//! came from. Whoever serves a request holds one [`Running`](live::Running) until it is over.

pub mod explanations;
pub mod live;
pub mod reload;
