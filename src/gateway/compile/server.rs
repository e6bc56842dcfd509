//! `server:`

use std::path::Path;
use std::time::Duration;

use serde::Serialize;

use super::findings::Findings;
use crate::config;
use crate::config::path::ConfigPath;
use crate::gateway::Server;

/// Of all buffered bodies together, in bytes.
const BODY_MEMORY: u64 = 128 << 20;

/// What Pingora's own reader is given.
#[derive(Serialize)]
struct ForPingora {
    version: u32,
    threads: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    work_stealing: Option<bool>,
    grace_period_seconds: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    upstream_keepalive_pool_size: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    upgrade_sock: Option<String>,
}

pub(super) fn compile(server: &config::Server, findings: &mut Findings<'_>) -> Server {
    let at = ConfigPath::root().key("server");
    let config::Server {
        threads,
        work_stealing,
        grace_period_seconds,
        drain_seconds,
        state_dir,
        upstream_keepalive_pool_size,
        user,
        body_memory,
    } = server;
    let mut range = |key: &str, value: Option<u64>, least: u64, most: u64| {
        if value.is_some_and(|value| !(least..=most).contains(&value)) {
            findings.error(&at.key(key), format!("must be {least} to {most}"), "");
        }
    };
    let wide = |n: Option<usize>| n.and_then(|n| u64::try_from(n).ok());
    range("threads", wide(*threads), 1, 1024);
    range("grace_period_seconds", *grace_period_seconds, 0, 3600);
    range("drain_seconds", *drain_seconds, 0, 600);
    // Pingora makes room before it puts a connection in, so that 0 would keep one all the same
    range(
        "upstream_keepalive_pool_size",
        wide(*upstream_keepalive_pool_size),
        1,
        100_000,
    );

    if user
        .as_ref()
        .is_some_and(|user| user.is_empty() || user.contains('\0'))
    {
        findings.error(&at.key("user"), "not the name of a user", "");
    }
    let body_memory = body_memory.map_or(BODY_MEMORY, |size| size.bytes());
    if !(1 << 20..=64 << 30).contains(&body_memory) {
        findings.error(&at.key("body_memory"), "must be 1mb to 64g", "");
    }
    let state_dir = state_dir
        .as_ref()
        .and_then(|dir| findings.text(&at.key("state_dir"), dir));
    let state_dir = state_dir.map(|dir| findings.sources().path(Path::new(&dir)));
    let upgrade_sock = state_dir
        .as_ref()
        .map(|dir| dir.join("upgrade.sock").display().to_string());
    // sun_path holds 108 bytes with its end, and Pingora separates paths by spaces
    if upgrade_sock
        .as_ref()
        .is_some_and(|path| path.len() > 107 || path.contains(' '))
    {
        findings.error(
            &at.key("state_dir"),
            "the path is too long for a socket, or has a space",
            "",
        );
    }
    let cores = || std::thread::available_parallelism().map_or(1, usize::from);
    let pingora = ForPingora {
        version: 1,
        threads: threads.unwrap_or_else(cores),
        work_stealing: *work_stealing,
        grace_period_seconds: grace_period_seconds.unwrap_or(30),
        upstream_keepalive_pool_size: *upstream_keepalive_pool_size,
        upgrade_sock,
    };
    let pingora = serde_yaml::to_string(&pingora).unwrap_or_else(|why| {
        findings.error(&at, format!("cannot be handed on: {why}"), "");
        String::new()
    });
    Server {
        pingora,
        drain: Duration::from_secs(drain_seconds.unwrap_or(5)),
        state_dir,
        user: user.clone(),
        body_memory,
    }
}
