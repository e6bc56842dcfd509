//! `issuers.*.introspection`

use std::time::Duration;

use super::findings::Findings;
use super::key_sets::{authorities, url_of};
use crate::config::path::ConfigPath;
use crate::config::{self, IntrospectionResponse};
use crate::gates::authn::introspection::{Form, Introspection};

const SECOND: Duration = Duration::from_secs(1);

/// Spans within which a token that was revoked is refused soon, and its issuer is not asked all the time (S53).
const USUAL: std::ops::RangeInclusive<u64> = 30..=60;

pub(super) fn compile(
    at: &ConfigPath,
    introspection: &config::Introspection,
    findings: &mut Findings<'_>,
) -> Option<Introspection> {
    let config::Introspection {
        url,
        client_id,
        client_secret,
        ca,
        cache,
        negative_cache,
        timeout,
        audience_optional,
        response,
    } = introspection;
    let at_url = at.key("url");
    let url = findings
        .text(&at_url, url)
        .and_then(|url| url_of(&at_url, &url, findings));
    let at_client = at.key("client_id");
    let client_id = findings.text(&at_client, client_id);
    if client_id.as_deref() == Some("") {
        findings.error(&at_client, "the client id is empty", "");
    }
    let client_secret = findings.secret(&at.key("client_secret"), client_secret);
    let ca = authorities(&at.key("ca"), ca.as_ref(), findings);
    let at_cache = at.key("cache");
    let cache = findings.duration(&at_cache, *cache, SECOND * 45, SECOND..=SECOND * 300);
    if !USUAL.contains(&cache.as_secs()) {
        findings.warning(
            &at_cache,
            "answers are usually kept for 30s to 60s",
            "shorter asks the issuer more often; longer lets a revoked token in for so long",
        );
    }
    let at_negative = at.key("negative_cache");
    let negative_cache = findings.duration(
        &at_negative,
        *negative_cache,
        (SECOND * 5).min(cache),
        SECOND..=SECOND * 60,
    );
    if negative_cache > cache {
        findings.error(
            &at_negative,
            "longer than `cache`",
            "a token can become active, and what says that it is not is forgotten sooner",
        );
    }
    let timeout = findings.duration(
        &at.key("timeout"),
        *timeout,
        SECOND * 3,
        Duration::from_millis(100)..=SECOND * 30,
    );
    Some(Introspection {
        url: url?,
        client_id: client_id?,
        client_secret: client_secret?,
        ca: ca?,
        cache,
        negative_cache,
        timeout,
        audience_optional: *audience_optional,
        form: match response {
            IntrospectionResponse::Json => Form::Json,
            IntrospectionResponse::Jwt => Form::Jwt,
        },
    })
}
