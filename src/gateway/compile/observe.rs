//! `admin:`, `records:` and `identity_headers:`

use std::net::SocketAddr;
use std::time::Duration;

use http::HeaderName;

use super::findings::Findings;
use super::issuers::claim_path;
use super::listeners::address_of;
use crate::config::path::ConfigPath;
use crate::config::{self, RecordsTarget, WhenFull};
use crate::gates::authn::IdentityHeaders;
use crate::gates::authn::headers::Source;
use crate::gateway::{Records, RecordsTo};

/// Headers that frame or route a request: writing them would be a hole of its own.
pub(super) const NOT_FOR_IDENTITY: [&str; 12] = [
    "host",
    "connection",
    "content-length",
    "content-type",
    "transfer-encoding",
    "te",
    "upgrade",
    "trailer",
    "authorization",
    "dpop",
    "cookie",
    "forwarded",
];

pub(super) fn admin(admin: &config::Admin, findings: &mut Findings<'_>) -> Option<SocketAddr> {
    let config::Admin { address } = admin;
    let at = ConfigPath::root().key("admin").key("address");
    let Some(address) = address else {
        return Some(SocketAddr::from(([127, 0, 0, 1], 9100)));
    };
    let address = address_of(&at, address, findings)?;
    if !address.ip().is_loopback() {
        findings.warning(
            &at,
            "metrics and health are served beyond this machine",
            "there is no authentication on this port",
        );
    }
    Some(address)
}

pub(super) fn records(records: &config::Records, findings: &mut Findings<'_>) -> Option<Records> {
    let config::Records {
        to,
        queue,
        when_full,
        summary_interval,
    } = records;
    let at = ConfigPath::root().key("records");
    let queue = queue.unwrap_or(8192);
    if !(1..=1_000_000).contains(&queue) {
        findings.error(&at.key("queue"), "must be 1 to 1000000", "");
    }
    let summary_interval = match summary_interval {
        Some(span) if span.duration().is_zero() => Duration::ZERO,
        span => findings.duration(
            &at.key("summary_interval"),
            *span,
            Duration::from_secs(10),
            Duration::from_secs(1)..=Duration::from_secs(3600),
        ),
    };
    let to = match to {
        RecordsTarget::Stdout => RecordsTo::Stdout,
        RecordsTarget::Off => RecordsTo::Off,
        RecordsTarget::File(file) => {
            let at = at.key("to").key("file");
            let file = findings.text(&at, file)?;
            RecordsTo::File(findings.sources().path(std::path::Path::new(&file)))
        }
    };
    let refuses_when_full = matches!(when_full, WhenFull::Refuse);
    if refuses_when_full && to == RecordsTo::Off {
        findings.error(
            &at.key("when_full"),
            "nothing is recorded, so nothing can be full",
            "name a sink in `records.to`, or leave the key out",
        );
    }
    Some(Records {
        to,
        queue,
        refuses_when_full,
        summary_interval,
    })
}

pub(super) fn identity_headers(
    headers: &config::IdentityHeaders,
    findings: &mut Findings<'_>,
) -> IdentityHeaders {
    let config::IdentityHeaders {
        inject,
        reserved_prefixes,
    } = headers;
    let root = ConfigPath::root().key("identity_headers");
    let inject = match inject {
        None => vec![
            (HeaderName::from_static("x-user-id"), Source::Subject),
            (HeaderName::from_static("x-roles"), Source::Roles),
        ],
        Some(inject) => {
            let at = root.key("inject");
            inject
                .iter()
                .filter_map(|(name, source)| {
                    let at = at.key(name);
                    Some((
                        header_name(&at, name, findings)?,
                        self::source(&at, source, findings)?,
                    ))
                })
                .collect()
        }
    };
    let prefixes = reserved_prefixes
        .clone()
        .unwrap_or_else(|| vec!["x-durward-".to_owned()]);
    for (index, prefix) in prefixes.iter().enumerate() {
        if prefix.len() < 3 || HeaderName::from_bytes(prefix.as_bytes()).is_err() {
            let at = root.key("reserved_prefixes").index(index);
            findings.error(
                &at,
                format!("`{prefix}` is no beginning of a header name, or too short"),
                "",
            );
        }
    }
    IdentityHeaders::new(inject, prefixes)
}

fn header_name(at: &ConfigPath, name: &str, findings: &mut Findings<'_>) -> Option<HeaderName> {
    let parsed = HeaderName::from_bytes(name.as_bytes()).ok();
    match &parsed {
        None => findings.error(at, format!("`{name}` is not a header name"), ""),
        Some(parsed) if NOT_FOR_IDENTITY.contains(&parsed.as_str()) => {
            findings.error(
                at,
                format!("`{name}` cannot carry the identity"),
                "it has a meaning of its own",
            );
        }
        Some(_) => {}
    }
    parsed
}

fn source(at: &ConfigPath, source: &str, findings: &mut Findings<'_>) -> Option<Source> {
    match source {
        "subject" => Some(Source::Subject),
        "client_id" => Some(Source::ClientId),
        "issuer" => Some(Source::Issuer),
        "scopes" => Some(Source::Scopes),
        "roles" => Some(Source::Roles),
        other => match other.strip_prefix("claims.") {
            Some(path) => claim_path(at, path, findings).map(Source::Claim),
            None => {
                findings.error(
                    at,
                    format!("`{other}` is nothing that is known of a caller"),
                    "one of subject, client_id, issuer, scopes, roles, or `claims.PATH`",
                );
                None
            }
        },
    }
}
