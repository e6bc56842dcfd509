//! `revocation:`

use std::path::Path;
use std::time::Duration;

use super::findings::Findings;
use crate::config::path::ConfigPath;
use crate::config::{self, OnListFailure};
use crate::gates::authn::revocation::{RedisList, Revocation};

const SECOND: Duration = Duration::from_secs(1);
const HOUR: Duration = Duration::from_secs(3600);
/// Name of the sorted set, and of the channel.
const DEFAULT: &str = "durward:revoked";

pub(super) fn compile(revocation: &config::Revocation, findings: &mut Findings<'_>) -> Option<Revocation> {
    let at = ConfigPath::root().key("revocation");
    let config::Revocation { file, redis } = revocation;
    if file.is_none() && redis.is_none() {
        findings.incomplete(
            &at,
            "no list is named",
            "write `file: revoked.txt`, or `redis: { url: … }`",
        );
    }
    let file = file.as_ref().map(|file| {
        let name = findings.text(&at.key("file"), file)?;
        Some(findings.sources().path(Path::new(&name)))
    });
    let redis = redis
        .as_ref()
        .map(|list| self::redis(&at.key("redis"), list, findings));
    Some(Revocation {
        file: file.map_or(Some(None), |file| file.map(Some))?,
        redis: redis.map_or(Some(None), |redis| redis.map(Some))?,
        line: findings.line(&at),
    })
}

fn redis(at: &ConfigPath, list: &config::RedisList, findings: &mut Findings<'_>) -> Option<RedisList> {
    let config::RedisList {
        url,
        ca,
        key,
        channel,
        refresh,
        timeout,
        max_stale,
        on_failure,
    } = list;
    let at_url = at.key("url");
    let url = findings.secret(&at_url, url);
    if let Some(url) = &url
        && let Err(why) = crate::world::revocations::check_url(url)
    {
        findings.error(
            &at_url,
            why,
            "write `redis://HOST:PORT/0`, or `rediss://` with TLS",
        );
    }
    let ca = ca.as_ref().map(|ca| {
        let at = at.key("ca");
        let pem = findings.file(&at, ca)?;
        super::certificates::certificates(&at, &pem, findings)?;
        Some(pem)
    });
    let refresh = findings.duration(&at.key("refresh"), *refresh, SECOND * 10, SECOND..=HOUR);
    let at_stale = at.key("max_stale");
    let default = (SECOND * 30).max(refresh * 2);
    Some(RedisList {
        url: url?,
        ca: ca.map_or(Some(None), |ca| ca.map(Some))?,
        key: key.clone().unwrap_or_else(|| DEFAULT.to_owned()),
        channel: channel.clone().unwrap_or_else(|| DEFAULT.to_owned()),
        max_stale: findings.duration(&at_stale, *max_stale, default, refresh..=HOUR * 24),
        refresh,
        timeout: findings.duration(
            &at.key("timeout"),
            *timeout,
            SECOND,
            Duration::from_millis(10)..=SECOND * 30,
        ),
        keeps: *on_failure == OnListFailure::Keep,
    })
}
