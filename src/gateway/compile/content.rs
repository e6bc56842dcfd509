//! `request:` of a route

use std::time::Duration;

use super::findings::Findings;
use crate::config::path::ConfigPath;
use crate::config::{BodyHandling, RequestRules};
use crate::gates::content::{self, Content, Reading, memory};

/// S78
const MAX_BODY: u64 = 1 << 20;
/// Nothing in front of a service needs more.
const MAX_MAX_BODY: u64 = 1 << 30;
const BODY_TIMEOUT: Duration = Duration::from_secs(30);
const SHORTEST_BODY_TIMEOUT: Duration = Duration::from_millis(100);
const LONGEST_BODY_TIMEOUT: Duration = Duration::from_secs(600);

pub(super) fn compile(
    at: &ConfigPath,
    rules: &RequestRules,
    body_memory: u64,
    findings: &mut Findings<'_>,
) -> Content {
    let RequestRules {
        mode,
        max_body,
        content_types,
        body,
        body_timeout,
    } = rules;
    let max_body_written = max_body.is_some();
    let max_body = max_body.map_or(MAX_BODY, |size| size.bytes());
    let most = memory::largest(body_memory);
    if max_body > MAX_MAX_BODY {
        findings.error(&at.key("max_body"), "must be at most 1g", "");
    } else if *body == BodyHandling::Buffer && max_body > most {
        findings.error(
            &at.key("max_body"),
            format!(
                "a single buffered body may take at most three quarters of `server.body_memory`: {most} bytes"
            ),
            "raise `server.body_memory`, or write `body: stream`",
        );
    }
    let within = findings.duration(
        &at.key("body_timeout"),
        *body_timeout,
        BODY_TIMEOUT,
        SHORTEST_BODY_TIMEOUT..=LONGEST_BODY_TIMEOUT,
    );
    if *body == BodyHandling::Stream && body_timeout.is_some() {
        findings.error(
            &at.key("body_timeout"),
            "a body that is passed on as it comes has no such deadline",
            "remove it, or `body: stream`",
        );
    }
    let types = content_types
        .clone()
        .unwrap_or_else(|| vec!["application/json".to_owned()]);
    for (index, media_type) in types.iter().enumerate() {
        if media_type != content::ANY && content::essence(media_type) != Some(media_type.as_str()) {
            let at = at.key("content_types").index(index);
            findings.error(
                &at,
                format!("`{media_type}` is not a media type"),
                "write `application/json`, without parameters",
            );
        }
    }
    let types = types.iter().map(|t| t.to_ascii_lowercase().into()).collect();
    Content {
        max_body,
        types,
        reading: match body {
            BodyHandling::Buffer => Reading::Whole { within },
            BodyHandling::Stream => Reading::Stream,
        },
        is_written: max_body_written || content_types.is_some(),
        mode: super::conditions::mode(*mode),
        line: findings.line(at),
    }
}
