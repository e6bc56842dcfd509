//! `websocket:` of a route

use std::time::Duration;

use http::{Method, Uri};

use super::findings::Findings;
use crate::config;
use crate::config::path::ConfigPath;
use crate::gates::upgrade::WebSocket;

const SECOND: Duration = Duration::from_secs(1);
const HOUR: Duration = Duration::from_secs(3600);

pub(super) fn websocket(
    at: &ConfigPath,
    websocket: &config::WebSocket,
    methods: &[Method],
    upstream: &Option<String>,
    findings: &mut Findings<'_>,
) -> WebSocket {
    let config::WebSocket { idle, total, origins } = websocket;
    if !methods.contains(&Method::GET) {
        findings.error(at, "a WebSocket begins with GET", "add it to `methods`");
    }
    if upstream.is_none() {
        findings.error(at, "a WebSocket needs an upstream", "name one as `upstream`");
    }
    let at_origins = at.key("origins");
    for (index, origin) in origins.iter().enumerate() {
        if !is_origin(origin) {
            findings.error(
                &at_origins.index(index),
                format!("`{origin}` is not an origin"),
                "scheme, host, and port where it is not the usual one: `https://app.example`",
            );
        }
    }
    WebSocket {
        idle: findings.duration(&at.key("idle"), *idle, SECOND * 60, SECOND..=HOUR),
        total: findings.duration(&at.key("total"), *total, HOUR, SECOND..=HOUR * 24),
        origins: origins
            .iter()
            .map(|origin| origin.to_ascii_lowercase().into())
            .collect(),
        line: findings.line(at),
    }
}

/// As browsers write it (RFC 6454 section 6.2), `null` excepted: anybody can be that.
fn is_origin(text: &str) -> bool {
    let Ok(uri) = text.parse::<Uri>() else {
        return false;
    };
    let (Some(scheme), Some(authority)) = (uri.scheme_str(), uri.authority()) else {
        return false;
    };
    matches!(scheme, "http" | "https") && text.eq_ignore_ascii_case(&format!("{scheme}://{authority}"))
}
