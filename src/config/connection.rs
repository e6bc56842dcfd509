//! `connections:`

use schemars::JsonSchema;
use serde::Deserialize;

use super::scalar::{Rate, Size, Span};

/// What clients' connections may cost: how many, for how long, and how large a head. Whatever is over is closed and counted.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Connections {
    /// Connections at once, over all listeners. Default: 20000.
    #[serde(default)]
    pub max: Option<u32>,
    /// Connections at once of one address; of one /64 with IPv6. Those of `trusted_proxies` are not counted so. Default: 2000.
    #[serde(default)]
    pub max_per_address: Option<u32>,
    /// From accepting a connection to the end of its TLS handshake, 100ms to 50s. Default: 10s.
    #[serde(default)]
    pub handshake_timeout: Option<Span>,
    /// For the first byte of a connection, and then for the whole head of each request, 100ms to 10m. Default: 10s.
    #[serde(default)]
    pub head_timeout: Option<Span>,
    /// Between requests, 100ms to 1d. Default: 60s.
    #[serde(default)]
    pub idle_timeout: Option<Span>,
    /// Bytes a second that a body comes at, at least; 0: any rate will do. Default: 1k.
    #[serde(default)]
    pub body_min_rate: Option<Size>,
    /// How long a body may be waited for before its rate counts, 100ms to 10m. Default: 10s.
    #[serde(default)]
    pub body_grace: Option<Span>,
    /// How long a client may take nothing of what it is sent, 100ms to 1d. Default: 30s.
    #[serde(default)]
    pub write_timeout: Option<Span>,
    /// Requests on one connection, at least 1. Default: 10000.
    #[serde(default)]
    pub max_requests: Option<u32>,
    /// Bytes of a request's head, 1k to 60k. Default: 32k.
    #[serde(default)]
    pub max_head: Option<Size>,
    /// Fields of a request's head, 1 to 250. Default: 100.
    #[serde(default)]
    pub max_fields: Option<u16>,
    /// Of HTTP/2.
    #[serde(default)]
    pub http2: Http2,
}

/// What an HTTP/2 connection may cost.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Http2 {
    /// Requests at once on one connection, 1 to 1000. Default: 100.
    #[serde(default)]
    pub max_concurrent_streams: Option<u32>,
    /// Frames that carry nothing of a request (SETTINGS, PING, WINDOW_UPDATE, empty DATA…), beyond those that answer what was
    /// sent. Default: 1000/10s.
    #[serde(default)]
    pub control_frames: Option<Rate>,
    /// Streams that are reset, by either side. Default: 100/10s.
    #[serde(default)]
    pub resets: Option<Rate>,
}
