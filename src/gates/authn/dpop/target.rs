//! What a proof is for: `htu` against the URL that was asked (RFC 9449 section 4.3), both in normal form (RFC 3986 section
//! 6.2), without query and fragment.

use std::borrow::Cow;

use http::header::HeaderMap;
use ipnet::IpNet;

use crate::gates::network::is_trusted;
use crate::head::{canonical_path, name_length};
use crate::request::Request;

/// Whether this is the URL that was asked, as the client sees it: by the host and port that it named, over TLS or not.
pub(super) fn is_of<R: Request>(url: &str, request: &R, trusted: &[IpNet]) -> bool {
    let head = request.head();
    let is_https = is_https(request, trusted);
    let Some(named) = Url::parse(url) else {
        return false;
    };
    let asked = Url {
        is_https,
        host: head.host().into(),
        port: port(head.authority(), head.host().len(), is_https),
        path: head.path().into(),
    };
    let is_same_place =
        (named.is_https, &named.host, named.port) == (asked.is_https, &asked.host, asked.port);
    // to the letter, or written in another way; where a path was repaired, also as it was sent
    is_same_place
        && (named.path == asked.path
            || named.path == head.path_as_sent()
            || canonical_path(&named.path)
                .ok()
                .flatten()
                .is_some_and(|path| *path == *asked.path))
}

/// Whether the client speaks TLS: with us, or with a declared proxy that says so.
fn is_https<R: Request>(request: &R, trusted: &[IpNet]) -> bool {
    let peer = request.peer();
    let by_proxy = peer
        .address
        .is_some_and(|address| is_trusted(address.ip(), trusted));
    peer.tls.is_some() || by_proxy && forwarded_proto(request.headers()) == Some(&b"https"[..])
}

fn forwarded_proto(headers: &HeaderMap) -> Option<&[u8]> {
    let mut values = headers.get_all("x-forwarded-proto").iter();
    match (values.next(), values.next()) {
        (Some(value), None) => Some(value.as_bytes()),
        _ => None,
    }
}

/// The parts of a URL that count, in normal form but for the path.
struct Url<'a> {
    is_https: bool,
    host: Cow<'a, str>,
    port: u16,
    path: Cow<'a, str>,
}

impl<'a> Url<'a> {
    /// An absolute URL of `http` or `https`; `None`: something else, or with a user.
    fn parse(text: &'a str) -> Option<Url<'a>> {
        let (scheme, rest) = text.split_once("://")?;
        let is_https = scheme.eq_ignore_ascii_case("https");
        if !is_https && !scheme.eq_ignore_ascii_case("http") {
            return None;
        }
        let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
        let (authority, rest) = rest.split_at_checked(end)?;
        let path = rest.split(['?', '#']).next().unwrap_or_default();
        let name = name_length(authority)?;
        let host = authority.get(..name)?;
        Some(Url {
            is_https,
            host: if host.bytes().any(|byte| byte.is_ascii_uppercase()) {
                host.to_ascii_lowercase().into()
            } else {
                host.into()
            },
            port: port(authority, name, is_https),
            path: if path.is_empty() { "/".into() } else { path.into() },
        })
    }
}

/// The port of an authority whose name has this length, or the scheme's own.
fn port(authority: &str, name: usize, is_https: bool) -> u16 {
    let usual = if is_https { 443 } else { 80 };
    let written = authority.get(name..).and_then(|rest| rest.strip_prefix(':'));
    written.and_then(|port| port.parse().ok()).unwrap_or(usual)
}
