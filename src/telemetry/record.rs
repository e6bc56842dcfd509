//! The record of a request: one JSON line, from an explicit list of fields (S83 to S85).
//!
//! Field names are those of OpenTelemetry's semantic conventions where it has one, `durward.*` where not. Headers, query
//! values and tokens have no field here, so they cannot appear.

use std::cell::RefCell;
use std::net::IpAddr;
use std::time::Duration;

use serde::Serialize;

use crate::clock::UnixTime;

/// One line. Borrowed: it lives only while it is written.
#[derive(Debug, Default, Serialize)]
pub struct Record<'a> {
    /// RFC 3339, UTC, milliseconds.
    pub timestamp: String,
    /// Decision id: the same as `X-Request-Id` and the problem document's `instance`.
    #[serde(rename = "durward.decision.id")]
    pub id: &'a str,
    /// W3C trace id.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trace_id: Option<&'a str>,
    /// W3C span id of the gateway's part.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub span_id: Option<&'a str>,
    /// Method, as sent.
    #[serde(rename = "http.request.method", skip_serializing_if = "Option::is_none")]
    pub method: Option<&'a str>,
    /// `http` or `https`.
    #[serde(rename = "url.scheme")]
    pub scheme: &'static str,
    /// Host that was asked.
    #[serde(rename = "server.address", skip_serializing_if = "Option::is_none")]
    pub host: Option<&'a str>,
    /// Canonical path without query; absent where the head was refused.
    #[serde(rename = "url.path", skip_serializing_if = "Option::is_none")]
    pub path: Option<&'a str>,
    /// Path template of the route.
    #[serde(rename = "http.route", skip_serializing_if = "Option::is_none")]
    pub route: Option<&'a str>,
    /// Name of the route.
    #[serde(rename = "durward.route.id", skip_serializing_if = "Option::is_none")]
    pub route_id: Option<&'a str>,
    /// Status that the client got; absent where it got none.
    #[serde(rename = "http.response.status_code", skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    /// Bytes of body sent to the client.
    #[serde(rename = "http.response.body.size")]
    pub sent: u64,
    /// Bytes of body read from the client.
    #[serde(rename = "http.request.body.size")]
    pub received: u64,
    /// Seconds from the head to the last byte.
    #[serde(rename = "durward.duration")]
    pub duration: f64,
    /// The client, through declared proxies.
    #[serde(rename = "client.address", skip_serializing_if = "Option::is_none")]
    pub client: Option<IpAddr>,
    /// The socket's other end.
    #[serde(rename = "network.peer.address", skip_serializing_if = "Option::is_none")]
    pub peer: Option<IpAddr>,
    /// `1.0`, `1.1`, `2`
    #[serde(rename = "network.protocol.version", skip_serializing_if = "Option::is_none")]
    pub protocol: Option<&'static str>,
    /// `TLSv1.3`
    #[serde(rename = "tls.protocol.version", skip_serializing_if = "Option::is_none")]
    pub tls_version: Option<&'a str>,
    /// Suite.
    #[serde(rename = "tls.cipher", skip_serializing_if = "Option::is_none")]
    pub tls_cipher: Option<&'a str>,
    /// Name that the client asked for in TLS.
    #[serde(rename = "tls.client.server_name", skip_serializing_if = "Option::is_none")]
    pub sni: Option<&'a str>,
    /// Verified subject.
    #[serde(rename = "user.id", skip_serializing_if = "Option::is_none")]
    pub user: Option<&'a str>,
    /// Verified role values.
    #[serde(rename = "user.roles", skip_serializing_if = "<[_]>::is_empty")]
    pub roles: &'a [Box<str>],
    /// Verified OAuth client.
    #[serde(rename = "durward.client.id", skip_serializing_if = "Option::is_none")]
    pub client_id: Option<&'a str>,
    /// Name of the issuer.
    #[serde(rename = "durward.issuer", skip_serializing_if = "Option::is_none")]
    pub issuer: Option<&'a str>,
    /// The route needs no credential (S36).
    #[serde(rename = "auth.public", skip_serializing_if = "Option::is_none")]
    pub public: Option<bool>,
    /// For this reason.
    #[serde(rename = "auth.public.reason", skip_serializing_if = "Option::is_none")]
    pub public_reason: Option<&'a str>,
    /// And this is who answers for it.
    #[serde(rename = "auth.public.owner", skip_serializing_if = "Option::is_none")]
    pub public_owner: Option<&'a str>,
    /// `allow`, `deny` or `abort`.
    #[serde(rename = "durward.outcome")]
    pub outcome: &'static str,
    /// Gate that refused.
    #[serde(rename = "security_rule.name", skip_serializing_if = "Option::is_none")]
    pub gate: Option<&'static str>,
    /// Why.
    #[serde(rename = "error.type", skip_serializing_if = "Option::is_none")]
    pub reason: Option<&'static str>,
    /// Name of the upstream.
    #[serde(rename = "durward.upstream", skip_serializing_if = "Option::is_none")]
    pub upstream: Option<&'a str>,
    /// Why a WebSocket, an event stream or an answer without length ended.
    #[serde(rename = "durward.closed", skip_serializing_if = "Option::is_none")]
    pub closed: Option<&'static str>,
    /// Configuration that decided, abbreviated.
    #[serde(rename = "durward.config.hash")]
    pub config: &'a str,
}

impl Record<'_> {
    /// Hands the line, with its end, to `then`.
    pub fn with_line(&self, then: impl FnOnce(&[u8])) {
        thread_local!(static LINE: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) });
        LINE.with_borrow_mut(|line| {
            line.clear();
            // writing to memory does not fail, and every field can be written
            if serde_json::to_writer(&mut *line, self).is_ok() {
                line.push(b'\n');
                then(line);
            }
        });
    }
}

/// RFC 3339 in UTC with milliseconds.
#[must_use]
pub fn timestamp(time: UnixTime) -> String {
    // the calendar is worked out once a second
    thread_local!(static SECOND: RefCell<(u64, String)> = const { RefCell::new((u64::MAX, String::new())) });
    SECOND.with_borrow_mut(|(second, text)| {
        if *second != time.seconds() {
            *second = time.seconds();
            let seconds = i64::try_from(*second).unwrap_or(i64::MAX);
            let known = jiff::Timestamp::from_second(seconds).ok();
            *text = known
                .map(|time| time.strftime("%Y-%m-%dT%H:%M:%S").to_string())
                .unwrap_or_default();
        }
        format!("{text}.{:03}Z", time.millis() % 1000)
    })
}

/// Seconds with microseconds.
#[must_use]
pub fn seconds(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 1e6).round() / 1e6
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_written_with_their_milliseconds() {
        for (millis, text) in [
            (0, "1970-01-01T00:00:00.000Z"),
            (1_795_329_267_005, "2026-11-22T06:34:27.005Z"),
            (1_795_329_267_999, "2026-11-22T06:34:27.999Z"),
            (951_782_400_000, "2000-02-29T00:00:00.000Z"),
        ] {
            assert_eq!(timestamp(UnixTime::from_millis(millis)), text);
        }
    }
}
