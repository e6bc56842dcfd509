//! `connections:`

use std::ops::RangeInclusive;
use std::time::Duration;

use super::findings::Findings;
use crate::config::path::ConfigPath;
use crate::config::scalar::Rate;
use crate::config::{self, Http2};
use crate::gateway::connections::{ConnectionLimits, FrameRate};
use crate::head::WireLimits;

const LEAST: Duration = Duration::from_millis(100);
const MINUTE: Duration = Duration::from_secs(60);
const DAY: Duration = Duration::from_secs(86_400);

pub(super) fn compile(connections: &config::Connections, findings: &mut Findings<'_>) -> ConnectionLimits {
    let at = ConfigPath::root().key("connections");
    let config::Connections {
        max,
        max_per_address,
        handshake_timeout,
        head_timeout,
        idle_timeout,
        body_min_rate,
        body_grace,
        write_timeout,
        max_requests,
        max_head,
        max_fields,
        http2,
    } = connections;
    let Http2 {
        max_concurrent_streams,
        control_frames,
        resets,
    } = http2;
    let mut number = |at: ConfigPath, value: Option<u64>, default: u64, range: RangeInclusive<u64>| {
        let value = value.unwrap_or(default);
        if !range.contains(&value) {
            findings.error(&at, format!("must be {} to {}", range.start(), range.end()), "");
        }
        value
    };
    let many = 1..=u64::from(u32::MAX);
    let max = number(at.key("max"), max.map(u64::from), 20_000, 1..=10_000_000);
    let max_per_address = number(
        at.key("max_per_address"),
        max_per_address.map(u64::from),
        2000,
        many.clone(),
    );
    let max_requests = number(at.key("max_requests"), max_requests.map(u64::from), 10_000, many);
    let max_head = number(
        at.key("max_head"),
        max_head.map(|size| size.bytes()),
        32 << 10,
        1 << 10..=60 << 10,
    );
    // Pingora's own parser takes 256
    let max_fields = number(at.key("max_fields"), max_fields.map(u64::from), 100, 1..=250);
    let streams = number(
        at.key("http2").key("max_concurrent_streams"),
        max_concurrent_streams.map(u64::from),
        100,
        1..=1000,
    );
    let mut time = |key: &str, value, default: u64, most| {
        findings.duration(&at.key(key), value, Duration::from_secs(default), LEAST..=most)
    };
    // after a minute Pingora gives up by itself, without saying why
    let handshake_timeout = time(
        "handshake_timeout",
        *handshake_timeout,
        10,
        Duration::from_secs(50),
    );
    let head_timeout = time("head_timeout", *head_timeout, 10, 10 * MINUTE);
    let idle_timeout = time("idle_timeout", *idle_timeout, 60, DAY);
    let body_grace = time("body_grace", *body_grace, 10, 10 * MINUTE);
    let write_timeout = time("write_timeout", *write_timeout, 30, DAY);
    let at = at.key("http2");
    let mut frames = |key: &str, rate: Option<Rate>, default: u32| {
        let per = rate.map_or(Duration::from_secs(10), |rate| rate.per.duration());
        if !(Duration::from_secs(1)..=60 * MINUTE).contains(&per) {
            findings.error(&at.key(key), "the window must be 1s to 1h", "");
        }
        FrameRate {
            frames: rate.map_or(default, |rate| rate.requests),
            per,
        }
    };
    let narrow = |n: u64| u32::try_from(n).unwrap_or(u32::MAX);
    ConnectionLimits {
        max: usize::try_from(max).unwrap_or(usize::MAX),
        max_per_address: narrow(max_per_address),
        handshake_timeout,
        head_timeout,
        idle_timeout,
        body_min_rate: body_min_rate.map_or(1 << 10, |size| size.bytes()),
        body_grace,
        write_timeout,
        max_requests: narrow(max_requests),
        head: WireLimits {
            bytes: usize::try_from(max_head).unwrap_or(usize::MAX),
            fields: u16::try_from(max_fields).unwrap_or(u16::MAX),
        },
        max_concurrent_streams: narrow(streams),
        control_frames: frames("control_frames", *control_frames, 1000),
        resets: frames("resets", *resets, 100),
    }
}
