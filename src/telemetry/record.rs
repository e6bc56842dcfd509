//! The record of a request: one JSON line, from an explicit list of fields (S83 to S85).
//!
//! Field names are those of OpenTelemetry's semantic conventions where it has one, `durward.*` where not. Headers, query
//! values and tokens have no field here, so they cannot appear.

use std::cell::RefCell;
use std::net::IpAddr;
use std::time::Duration;

use super::line::{self, Object, field};
use crate::clock::UnixTime;
use crate::gates::authn::certificate::{Says, text};
use crate::identity::Client;
use crate::request::TlsFacts;

/// One line. Borrowed: it lives only while it is written.
#[derive(Debug, Default)]
pub struct Record<'a> {
    /// When the head had been read.
    pub timestamp: UnixTime,
    /// Decision id: the same as `X-Request-Id` and the problem document's `instance`.
    pub id: &'a str,
    /// W3C trace id.
    pub trace_id: Option<&'a str>,
    /// W3C span id of the gateway's part.
    pub span_id: Option<&'a str>,
    /// Method, as sent.
    pub method: Option<&'a str>,
    /// `http` or `https`.
    pub scheme: &'static str,
    /// Host that was asked.
    pub host: Option<&'a str>,
    /// Canonical path without query; absent where the head was refused.
    pub path: Option<&'a str>,
    /// What [`route_fields`] wrote; empty where none matched.
    pub route: &'a str,
    /// Status that the client got; absent where it got none.
    pub status: Option<u16>,
    /// Bytes of body sent to the client.
    pub sent: u64,
    /// Bytes of body read from the client.
    pub received: u64,
    /// From the head to the last byte.
    pub duration: Duration,
    /// The client, through declared proxies.
    pub client: Option<IpAddr>,
    /// The socket's other end.
    pub peer: Option<IpAddr>,
    /// `1.0`, `1.1`, `2`
    pub protocol: Option<&'static str>,
    /// What [`tls_fields`] wrote; empty on plain HTTP.
    pub tls: &'a str,
    /// What [`caller_fields`] wrote; empty where nobody was verified.
    pub caller: &'a str,
    /// Networks that the caller's token was seen from lately, where they are many.
    pub networks: Option<usize>,
    /// Keyed digest of a credential that was refused.
    pub credential: Option<&'a str>,
    /// The route needs no credential (S36).
    pub public: Option<bool>,
    /// For this reason.
    pub public_reason: Option<&'a str>,
    /// And this is who answers for it.
    pub public_owner: Option<&'a str>,
    /// `allow`, `deny` or `abort`.
    pub outcome: &'static str,
    /// Gate that refused.
    pub gate: Option<&'static str>,
    /// Why.
    pub reason: Option<&'static str>,
    /// Gates in shadow that would have refused.
    pub shadow_gates: &'a [Box<str>],
    /// Why; one for each of those gates.
    pub shadow_reasons: &'a [Box<str>],
    /// Name of the upstream.
    pub upstream: Option<&'a str>,
    /// Why a WebSocket, an event stream or an answer without length ended.
    pub closed: Option<&'static str>,
    /// Configuration that decided, abbreviated.
    pub config: &'a str,
}

impl Record<'_> {
    /// Hands the line, with its end, to `then`.
    pub fn with_line(&self, then: impl FnOnce(&[u8])) {
        thread_local!(static LINE: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) });
        LINE.with_borrow_mut(|line| {
            line.clear();
            self.write(line);
            then(line);
        });
    }

    fn write(&self, line: &mut Vec<u8>) {
        let mut object = Object::new(line);
        object.plain(field!("timestamp"), |line| write_timestamp(line, self.timestamp));
        object.text(field!("durward.decision.id"), self.id);
        object.text_if(field!("trace_id"), self.trace_id);
        object.text_if(field!("span_id"), self.span_id);
        object.text_if(field!("http.request.method"), self.method);
        object.text(field!("url.scheme"), self.scheme);
        object.text_if(field!("server.address"), self.host);
        object.text_if(field!("url.path"), self.path);
        object.written(self.route);
        if let Some(status) = self.status {
            object.number(field!("http.response.status_code"), status.into());
        }
        object.number(field!("http.response.body.size"), self.sent);
        object.number(field!("http.request.body.size"), self.received);
        object.seconds(field!("durward.duration"), self.duration);
        if let Some(client) = self.client {
            object.address(field!("client.address"), client);
        }
        if let Some(peer) = self.peer {
            object.address(field!("network.peer.address"), peer);
        }
        object.text_if(field!("network.protocol.version"), self.protocol);
        object.written(self.tls);
        object.written(self.caller);
        if let Some(networks) = self.networks {
            let networks = u64::try_from(networks).unwrap_or(u64::MAX);
            object.number(field!("durward.token.networks"), networks);
        }
        object.text_if(field!("durward.credential.id"), self.credential);
        if let Some(public) = self.public {
            object.truth(field!("auth.public"), public);
        }
        object.text_if(field!("auth.public.reason"), self.public_reason);
        object.text_if(field!("auth.public.owner"), self.public_owner);
        object.text(field!("durward.outcome"), self.outcome);
        object.text_if(field!("security_rule.name"), self.gate);
        object.text_if(field!("error.type"), self.reason);
        if !self.shadow_gates.is_empty() {
            object.texts(field!("durward.shadow.gates"), self.shadow_gates);
            object.texts(field!("durward.shadow.reasons"), self.shadow_reasons);
        }
        object.text_if(field!("durward.upstream"), self.upstream);
        object.text_if(field!("durward.closed"), self.closed);
        object.text(field!("durward.config.hash"), self.config);
        object.end();
        line.push(b'\n');
    }
}

/// How records name a route: its name, and the template of its path.
#[must_use]
pub fn route_fields(id: &str, path: &str) -> Box<str> {
    fields(|object| {
        object.text(field!("http.route"), path);
        object.text(field!("durward.route.id"), id);
    })
}

/// How records tell of TLS: version, suite, group, the name that the client asked for, and its certificate.
#[must_use]
pub fn tls_fields(facts: &TlsFacts) -> Box<str> {
    fields(|object| {
        object.text(field!("tls.protocol.version"), &facts.version);
        object.text(field!("tls.cipher"), &facts.cipher);
        object.text_if(field!("tls.curve"), facts.group);
        object.text_if(field!("tls.client.server_name"), facts.sni.as_deref());
        if let Some(certificate) = &facts.certificate {
            write_certificate(object, &certificate.says);
        }
    })
}

/// How records tell of a client's certificate that was refused in the handshake.
#[must_use]
pub fn certificate_fields(says: &Says) -> Box<str> {
    fields(|object| write_certificate(object, says))
}

fn write_certificate(object: &mut Object<'_>, says: &Says) {
    object.text(field!("tls.client.subject"), &says.subject);
    object.text(field!("tls.client.issuer"), &says.issuer);
    object.text(field!("tls.client.hash.sha256"), &text::hex(&says.sha256));
    object.text(field!("tls.client.not_after"), &timestamp(says.not_after));
}

/// How records name a verified caller: subject, role values, OAuth client, the name of the issuer or ring of keys, and what
/// the token is bound to, and therefore came with.
#[must_use]
pub fn caller_fields(client: &Client) -> Box<str> {
    fields(|object| {
        object.text(field!("user.id"), &client.subject);
        if !client.roles.is_empty() {
            object.texts(field!("user.roles"), &client.roles);
        }
        object.text_if(field!("durward.client.id"), client.client_id.as_deref());
        object.text(field!("durward.issuer"), &client.authority);
        let bound = [
            (client.is_bound_to_key(), "dpop"),
            (client.is_bound_to_certificate(), "certificate"),
        ];
        let to: Vec<Box<str>> = bound
            .iter()
            .filter(|(is_bound, _)| *is_bound)
            .map(|(_, to)| (*to).into())
            .collect();
        if !to.is_empty() {
            object.texts(field!("durward.token.bound_to"), &to);
        }
    })
}

/// Fields that are the same in many records, written once.
fn fields(write: impl FnOnce(&mut Object<'_>)) -> Box<str> {
    let mut line = Vec::new();
    write(&mut Object::new(&mut line));
    String::from_utf8(line).unwrap_or_default().into()
}

/// RFC 3339 in UTC with milliseconds.
#[must_use]
pub fn timestamp(time: UnixTime) -> String {
    let mut text = Vec::with_capacity(24);
    write_timestamp(&mut text, time);
    String::from_utf8(text).unwrap_or_default()
}

fn write_timestamp(line: &mut Vec<u8>, time: UnixTime) {
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
        line.extend_from_slice(text.as_bytes());
    });
    line.push(b'.');
    line::digits(line, u32::try_from(time.millis() % 1000).unwrap_or(0), 3);
    line.push(b'Z');
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
