//! Durward: the door-ward of your APIs. Who says who enters.
//!
//! # The life of a request
//!
//! A socket is accepted and TLS is spoken ([`listener`]). Pingora reads a request and calls [`proxy`], the only part that
//! knows it. There, the request is first put into one canonical form ([`head`]): whatever two readers could understand
//! differently ends here. Then [`pipeline`] asks the [`gates`], in order, and they answer from one immutable snapshot of
//! the configuration ([`gateway`]) and from evidence of the outside ([`world`]: time, keys). The answer is a
//! [`denial`], or the one ticket with which a request reaches an [`upstream`]. Whatever happened, [`telemetry`] tells it.
//!
//! The decision itself is a pure function. The proxy hands it live facts; [`cli::explain`] hands it described ones.
//!
//! # Three tenses
//!
//! [`config`] is what was written, [`gateway`] is what was meant, [`proxy`] is what is running: it holds the snapshot of
//! [`running`], where what was meant meets memory, counters and a changed file. Dependencies point one way:
//! `cli → server → proxy, listener, admin → running → telemetry, pipeline → gates → gateway`. Gates never name Pingora, and
//! only [`gateway::compile`] reads `config`.

pub mod cli;
pub mod server;

pub mod admin;
pub mod listener;
pub mod proxy;
pub mod running;

pub mod pipeline;
pub mod policy_test;
pub mod question;

pub mod denial;
pub mod explanation;
pub mod head;
pub mod identity;
mod problem;
pub mod request;
pub mod trace;
pub mod world;

pub mod gates;

pub mod config;
pub mod gateway;
pub mod lifecycle;
mod octets;
pub mod secrets;
pub mod upstream;

pub mod clock;
pub mod telemetry;

pub mod demo;
