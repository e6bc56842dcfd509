//! What leaves: upstreams' answers without what they give away (S39).

use std::time::Instant;

use bytes::Bytes;
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::response::Parts;
use http::{Method, StatusCode};
use pingora::http::ResponseHeader;
use pingora_core::{Error, Result};
use pingora_proxy::Session;

use super::context::RequestCtx;
use super::tether::ENDED;
use super::upstream::{DEADLINE, answered, is_expired, is_late};
use super::{reply, streams};
use crate::denial::{Denial, UpstreamError};
use crate::pipeline::Admitted;
use crate::problem;
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

/// Fields that we, and Pingora, add to an answer.
const ADDED: usize = 6;

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
    let now = Instant::now();
    if is_late(now, ctx) {
        return Err(Error::explain(DEADLINE, "the answer came too late").into_up());
    }
    let switches = response.status == StatusCode::SWITCHING_PROTOCOLS;
    if switches {
        streams::check_switch(session, &response.headers, ctx)?;
    }
    // an informational response is followed by the real one; a switch of protocols is the last
    let is_final = switches || !response.status.is_informational();
    if is_final {
        answered(response.status, now, ctx);
        // no attempt follows an answer
        ctx.body = None;
        if is_expired(now, ctx) {
            return Err(Error::explain(ENDED, "the token expired before there was an answer").into_down());
        }
        if ctx.is_draining() {
            session.set_keepalive(None);
            ctx.place.leave();
        }
    }
    // without the map of how the upstream spelled its names, which would have to be kept in step
    let placeholder = ResponseHeader::build_no_case(response.status, Some(0))?;
    let mut parts = Parts::from(std::mem::replace(response, placeholder));
    // once, rather than at each doubling
    parts.headers.reserve(ADDED);
    end_hop(&mut parts.headers);
    if switches {
        parts
            .headers
            .insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
        parts
            .headers
            .insert(header::UPGRADE, HeaderValue::from_static("websocket"));
        reply::seal(&mut parts.headers, ctx);
    } else if is_final {
        clean_final(&mut parts, session.req_header().method == Method::HEAD, ctx);
    }
    if is_final {
        streams::hold(session, &parts, ctx);
    }
    *response = ResponseHeader::from(parts);
    Ok(())
}

fn clean_final(response: &mut Parts, to_head: bool, ctx: &mut RequestCtx) {
    let headers = &mut response.headers;
    for name in [header::LOCATION, header::CONTENT_LOCATION] {
        hide_address(headers, &name, ctx);
    }
    let replace = response.status.is_server_error()
        && ctx
            .upstream()
            .is_some_and(|upstream| upstream.replace_error_bodies)
        && !is_empty(headers);
    if replace {
        let body = problem::document(
            &Denial::Upstream(UpstreamError::Failed(response.status.as_u16())),
            ctx.id,
        );
        for name in [
            header::TRANSFER_ENCODING,
            header::CONTENT_ENCODING,
            header::ETAG,
            header::LAST_MODIFIED,
        ] {
            headers.remove(&name);
        }
        headers.insert(header::CONTENT_TYPE, reply::PROBLEM);
        headers.insert(header::CONTENT_LENGTH, HeaderValue::from(body.len()));
        headers.insert(header::CACHE_CONTROL, reply::NO_STORE);
        // HEAD tells of the body that GET would have had
        ctx.replaces = !to_head;
        ctx.replacement = Some(body);
    }
    if let Some(standing) = ctx.admitted().and_then(Admitted::standing) {
        reply::rate_limit(headers, ctx, &standing);
    }
    reply::seal(headers, ctx);
}

/// Puts our own body in the place of the upstream's, and keeps the deadline.
pub(super) fn body(
    body: &mut Option<Bytes>,
    _end: bool,
    ctx: &mut RequestCtx,
) -> Result<Option<std::time::Duration>> {
    // what is held is ended by who holds it
    if ctx.place.held.is_none() {
        let now = Instant::now();
        if is_late(now, ctx) {
            return Err(Error::explain(DEADLINE, "the answer takes too long").into_up());
        }
        if is_expired(now, ctx) {
            return Err(Error::explain(ENDED, "the token expired").into_down());
        }
    }
    if ctx.replaces {
        *body = Some(ctx.replacement.take().unwrap_or_default());
    }
    Ok(None)
}

/// Without a body there is nothing to hide, and nowhere to put another: Pingora has ended the answer with its head.
fn is_empty(headers: &HeaderMap) -> bool {
    headers
        .get(header::CONTENT_LENGTH)
        .is_some_and(|length| length.as_bytes() == b"0")
}

/// Removes what the upstream said to its next hop only, and what it runs on.
fn end_hop(headers: &mut HeaderMap) {
    let nominated: Vec<HeaderName> = headers
        .get_all(header::CONNECTION)
        .iter()
        .flat_map(|value| value.as_bytes().split(|byte| *byte == b','))
        .filter_map(|name| HeaderName::from_bytes(name.trim_ascii()).ok())
        // how long the body is, is not for it to take back
        .filter(|name| *name != header::CONTENT_LENGTH && *name != header::TRANSFER_ENCODING)
        .collect();
    for name in &nominated {
        headers.remove(name);
    }
    // one look at the few fields there are, rather than one for each that could be
    let named =
        |name: &&HeaderName| FINGERPRINTS.contains(&name.as_str()) || HOP_BY_HOP.contains(&name.as_str());
    let known: Vec<HeaderName> = headers.keys().filter(named).cloned().collect();
    for name in &known {
        headers.remove(name);
    }
}

/// Takes the upstream's own address out of a reference: the client could not go there, and should not know.
fn hide_address(headers: &mut HeaderMap, name: &HeaderName, ctx: &RequestCtx) {
    let Some(upstream) = ctx.upstream() else { return };
    let values = headers.get_all(name).iter();
    let hidden: Vec<Option<Vec<u8>>> = values.map(|value| relative(value.as_bytes(), upstream)).collect();
    if hidden.iter().all(Option::is_none) {
        return;
    }
    let values: Vec<_> = headers.get_all(name).iter().cloned().collect();
    headers.remove(name);
    for (value, hidden) in values.into_iter().zip(hidden) {
        match hidden.map(|hidden| HeaderValue::from_bytes(&hidden)) {
            None => _ = headers.append(name.clone(), value),
            Some(Ok(hidden)) => _ = headers.append(name.clone(), hidden),
            // a part of a header value is one
            Some(Err(_)) => {}
        }
    }
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
    use crate::upstream::{Diagnosis, Target, Timeouts, Tls};

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
                client: None,
                pins: [].into(),
                tls12: true,
                suites: [].into(),
                group_key: 1,
                diagnosis: Diagnosis::default(),
            }),
            sign: None,
            timeouts: Timeouts {
                connect: second,
                read: second,
                write: second,
                total: second,
            },
            idle: second,
            client_certificate_header: false,
            forwards_proof: false,
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
