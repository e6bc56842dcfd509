//! What leaves: upstreams' answers without what they give away (S39).

use bytes::Bytes;
use http::header::{self, HeaderName};
use http::{HeaderValue, Method, StatusCode};
use pingora::http::ResponseHeader;
use pingora_core::{Error, ErrorType, Result};
use pingora_proxy::Session;
use tokio::time::Instant;

use super::context::RequestCtx;
use super::reply;
use super::stand_in;
use super::tether::{ENDED, End, Kind, Tether};
use super::upstream::{DEADLINE, is_expired, is_late};
use crate::denial::{Denial, UpstreamError};
use crate::gates::upgrade;
use crate::pipeline::Admitted;
use crate::upstream::Upstream;

/// What services run on is nobody's business.
const FINGERPRINTS: [&str; 9] = [
    "server",
    "via",
    "x-powered-by",
    "x-aspnet-version",
    "x-aspnetmvc-version",
    "x-runtime",
    "x-generator",
    "x-debug-token",
    "x-backend-server",
];

/// A media type without end.
const EVENTS: &[u8] = b"text/event-stream";

/// Meant for us alone (RFC 9110 section 7.6.1), beside what `Connection` names. Pingora writes `Connection` itself.
const HOP_BY_HOP: [&str; 6] = [
    "keep-alive",
    "proxy-connection",
    "proxy-authenticate",
    "proxy-authentication-info",
    "te",
    "upgrade",
];

/// Cleans the head of an answer.
pub(super) fn clean(
    session: &mut Session,
    response: &mut ResponseHeader,
    ctx: &mut RequestCtx,
) -> Result<()> {
    if is_late(ctx) {
        return Err(Error::explain(DEADLINE, "the answer came too late").into_up());
    }
    if response.status == StatusCode::SWITCHING_PROTOCOLS {
        return switch(session, response, ctx);
    }
    end_hop(response);
    // an informational response is followed by the real one
    if response.status.is_informational() {
        return Ok(());
    }
    // no attempt follows an answer
    ctx.body = None;
    if is_expired(ctx) {
        return Err(Error::explain(ENDED, "the token expired before there was an answer").into_down());
    }
    if ctx.is_draining() {
        session.set_keepalive(None);
        ctx.place.leave();
    }
    for name in [header::LOCATION, header::CONTENT_LOCATION] {
        hide_address(response, &name, ctx)?;
    }
    let replace = response.status.is_server_error()
        && ctx
            .upstream()
            .is_some_and(|upstream| upstream.replace_error_bodies)
        && !is_empty(response);
    if replace {
        let body = reply::problem(
            &Denial::Upstream(UpstreamError::Failed(response.status.as_u16())),
            ctx.id,
        );
        for name in [
            header::TRANSFER_ENCODING,
            header::CONTENT_ENCODING,
            header::ETAG,
            header::LAST_MODIFIED,
        ] {
            response.remove_header(&name);
        }
        response.insert_header(header::CONTENT_TYPE, "application/problem+json")?;
        response.insert_header(header::CONTENT_LENGTH, body.len().to_string())?;
        response.insert_header(header::CACHE_CONTROL, "no-store")?;
        // HEAD tells of the body that GET would have had
        ctx.replaces = session.req_header().method != Method::HEAD;
        ctx.replacement = Some(body);
    }
    if let Some(standing) = ctx.admitted().and_then(Admitted::standing) {
        reply::rate_limit(response, ctx, &standing)?;
    }
    reply::seal(response, ctx)?;
    hold(session, response, ctx);
    Ok(())
}

/// Holds an answer that has no end in sight.
fn hold(session: &mut Session, response: &ResponseHeader, ctx: &mut RequestCtx) {
    let is_events = response
        .headers
        .get(header::CONTENT_TYPE)
        .and_then(|value| value.as_bytes().get(..EVENTS.len()))
        .is_some_and(|start| start.eq_ignore_ascii_case(EVENTS));
    let ends = response.headers.contains_key(header::CONTENT_LENGTH)
        || matches!(response.status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED)
        || session.req_header().method == Method::HEAD;
    let kind = match (ends, is_events, ctx.leave_until) {
        (false, true, _) => Kind::Events,
        (false, false, Some(_)) => Kind::Open,
        _ => return,
    };
    let total = ctx.upstream().map(|upstream| upstream.timeouts.total);
    let latest = ctx
        .forwarded
        .zip(total)
        .and_then(|(begun, total)| begun.checked_add(total));
    let mut tether = Tether::new(kind)
        .until(latest.map(Into::into), End::Total)
        .until(ctx.leave_until.map(Into::into), End::TokenExpired);
    if is_events {
        tether = tether.ending(ctx.ending());
        ctx.opened(kind);
    }
    stand_in::hold(session, ctx, tether);
}

/// Lets a WebSocket begin, if the upstream has accepted the very handshake that was sent.
fn switch(session: &mut Session, response: &mut ResponseHeader, ctx: &mut RequestCtx) -> Result<()> {
    let tunnel = ctx.admitted().and_then(Admitted::tunnel);
    let key = session.req_header().headers.get(header::SEC_WEBSOCKET_KEY);
    let (Some(tunnel), true) = (
        tunnel,
        key.is_some_and(|key| upgrade::is_accepted(key, &response.headers)),
    ) else {
        return Err(
            Error::explain(ErrorType::InvalidHTTPHeader, "not the handshake that was sent").into_up(),
        );
    };
    end_hop(response);
    response.insert_header(header::CONNECTION, "Upgrade")?;
    response.insert_header(header::UPGRADE, "websocket")?;
    reply::seal(response, ctx)?;
    let tether = Tether::new(Kind::WebSocket)
        .until(Instant::now().checked_add(tunnel.total), End::Total)
        .until(ctx.leave_until.map(Into::into), End::TokenExpired)
        .idle(tunnel.idle)
        .ending(ctx.ending());
    ctx.opened(Kind::WebSocket);
    stand_in::hold(session, ctx, tether);
    // its silence is not for the session to judge
    session.set_read_timeout(None);
    Ok(())
}

/// Puts our own body in the place of the upstream's, and keeps the deadline.
pub(super) fn body(
    body: &mut Option<Bytes>,
    _end: bool,
    ctx: &mut RequestCtx,
) -> Result<Option<std::time::Duration>> {
    // what is held is ended by who holds it
    if ctx.place.held.is_none() {
        if is_late(ctx) {
            return Err(Error::explain(DEADLINE, "the answer takes too long").into_up());
        }
        if is_expired(ctx) {
            return Err(Error::explain(ENDED, "the token expired").into_down());
        }
    }
    if ctx.replaces {
        *body = Some(ctx.replacement.take().unwrap_or_default());
    }
    Ok(None)
}

/// Without a body there is nothing to hide, and nowhere to put another: Pingora has ended the answer with its head.
fn is_empty(response: &ResponseHeader) -> bool {
    response
        .headers
        .get(header::CONTENT_LENGTH)
        .is_some_and(|length| length.as_bytes() == b"0")
}

/// Removes what the upstream said to its next hop only, and what it runs on.
fn end_hop(response: &mut ResponseHeader) {
    let nominated: Vec<HeaderName> = response
        .headers
        .get_all(header::CONNECTION)
        .iter()
        .flat_map(|value| value.as_bytes().split(|byte| *byte == b','))
        .filter_map(|name| HeaderName::from_bytes(name.trim_ascii()).ok())
        // how long the body is, is not for it to take back
        .filter(|name| *name != header::CONTENT_LENGTH && *name != header::TRANSFER_ENCODING)
        .collect();
    for name in &nominated {
        response.remove_header(name);
    }
    // one look at the few fields there are, rather than one for each that could be
    let named =
        |name: &&HeaderName| FINGERPRINTS.contains(&name.as_str()) || HOP_BY_HOP.contains(&name.as_str());
    let known: Vec<HeaderName> = response.headers.keys().filter(named).cloned().collect();
    for name in &known {
        response.remove_header(name);
    }
}

/// Takes the upstream's own address out of a reference: the client could not go there, and should not know.
fn hide_address(response: &mut ResponseHeader, name: &HeaderName, ctx: &RequestCtx) -> Result<()> {
    let Some(upstream) = ctx.upstream() else {
        return Ok(());
    };
    let values = response.headers.get_all(name).iter();
    let hidden: Vec<Option<Vec<u8>>> = values.map(|value| relative(value.as_bytes(), upstream)).collect();
    if hidden.iter().all(Option::is_none) {
        return Ok(());
    }
    let values: Vec<_> = response.headers.get_all(name).iter().cloned().collect();
    response.remove_header(name);
    for (value, hidden) in values.into_iter().zip(hidden) {
        match hidden.map(|hidden| HeaderValue::from_bytes(&hidden)) {
            None => _ = response.append_header(name.clone(), value)?,
            Some(Ok(hidden)) => _ = response.append_header(name.clone(), hidden)?,
            // a part of a header value is one
            Some(Err(_)) => {}
        }
    }
    Ok(())
}

/// What is left of a reference (RFC 3986 section 4) to the upstream itself. Read as browsers read it, not as a strict
/// parser does: what that would refuse would leave as it is.
fn relative(reference: &[u8], upstream: &Upstream) -> Option<Vec<u8>> {
    let scheme = ["http://", "https://", "//"].iter().find(|scheme| {
        reference
            .get(..scheme.len())
            .is_some_and(|start| start.eq_ignore_ascii_case(scheme.as_bytes()))
    })?;
    let rest = reference.get(scheme.len()..)?;
    let end = rest
        .iter()
        .position(|byte| b"/?#\\".contains(byte))
        .unwrap_or(rest.len());
    let (authority, target) = rest.split_at_checked(end)?;
    let authority = authority.rsplit(|byte| *byte == b'@').next()?;
    if !upstream.is_at(std::str::from_utf8(authority).ok()?) {
        return None;
    }
    // what begins with two slashes, or what browsers take for slashes, would name another host
    let lead = match target {
        [b'\\', ..] | [b'/', b'/' | b'\\', ..] => "/.",
        [b'/', ..] => "",
        _ => "/",
    };
    Some([lead.as_bytes(), target].concat())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::upstream::balance::Schedule;
    use crate::upstream::resolve::Named;
    use crate::upstream::{Target, Timeouts, Tls};

    // S39
    #[test]
    fn references_to_the_upstream_itself_lose_its_address_and_no_others() {
        let second = Duration::from_secs(1);
        let upstream = Upstream {
            name: "o".into(),
            targets: [
                Target::Fixed("10.0.0.7:8080".parse().unwrap()),
                Target::Fixed("[fd00::7]:8080".parse().unwrap()),
                Target::Named(Named::new("liens.internal:8080".to_owned())),
            ]
            .into(),
            schedule: Schedule::new(&[1, 1, 1]),
            tls: Some(Tls {
                server_name: "vehicles.internal".to_owned(),
                ca: None,
                group_key: 1,
            }),
            timeouts: Timeouts {
                connect: second,
                read: second,
                write: second,
                total: second,
            },
            idle: second,
            connect_retries: 1,
            replace_error_bodies: true,
        };
        for (reference, expected) in [
            ("http://10.0.0.7:8080/a?b#c", Some("/a?b#c")),
            ("HTTPS://10.0.0.7/a", Some("/a")),
            ("//10.0.0.7:8080", Some("/")),
            ("http://[fd00::7]:8080/a", Some("/a")),
            ("http://[fd00::7]/a", Some("/a")),
            ("http://Liens.Internal/a", Some("/a")),
            ("https://vehicles.internal?q", Some("/?q")),
            ("https://user:pw@vehicles.internal/a b", Some("/a b")),
            ("http://10.0.0.7:8080//evil.example/", Some("/.//evil.example/")),
            ("http://10.0.0.7:8080/\\evil.example/", Some("/./\\evil.example/")),
            ("http://10.0.0.7:8080\\evil.example/", Some("/.\\evil.example/")),
            ("/a", None),
            ("a", None),
            ("https://elsewhere.example/http://10.0.0.7/", None),
            ("https://10.0.0.7.example/", None),
            ("ftp://10.0.0.7/", None),
        ] {
            let found = relative(reference.as_bytes(), &upstream);
            let found = found.map(|found| String::from_utf8(found).unwrap());
            assert_eq!(found.as_deref(), expected, "{reference}");
        }
    }
}
