//! From what was written to what was meant. All faults at once, each at its place in the file.
//!
//! The only reader of [`crate::config`]. Every struct is taken apart field by field, without `..`: a key that is accepted
//! is used here, or this does not build.

mod certificates;
mod findings;
mod issuers;
mod listeners;
mod observe;
mod routes;
mod upstreams;

use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::Path;

use super::Gateway;
use super::router::Router;
use crate::config::fault::{Fault, Severity};
use crate::config::parse::parse;
use crate::config::path::ConfigPath;
use crate::config::{Config, Server};
use crate::secrets::Sources;
use findings::Findings;

/// A configuration that was read: the snapshot, unless there were errors, and everything found.
#[derive(Debug)]
pub struct Compiled {
    /// Present if and only if no fault is an error.
    pub gateway: Option<Gateway>,
    /// In the order of the file.
    pub faults: Vec<Fault>,
}

/// Reads and compiles a file. Relative paths in it start in its folder.
///
/// # Errors
/// The file itself cannot be read.
pub fn load(file: &Path, overrides: Vec<(String, String)>) -> std::io::Result<Compiled> {
    let text = std::fs::read_to_string(file)?;
    let sources = Sources::beside(file).with(overrides);
    Ok(compile(&file.display().to_string(), &text, &sources))
}

/// Compiles a configuration.
#[must_use]
pub fn compile(name: &str, text: &str, sources: &Sources) -> Compiled {
    let parsed = parse::<Config>(name, text);
    let mut findings = Findings::new(&parsed.positions, &parsed.removed, sources);
    let gateway = parsed.value.and_then(|config| gateway(config, text, &mut findings));
    let mut faults = parsed.faults;
    faults.extend(findings.into_faults());
    faults.sort_by(Fault::by_position);
    let clean = !faults.iter().any(|fault| fault.severity == Severity::Error);
    Compiled { gateway: gateway.filter(|_| clean), faults }
}

fn gateway(config: Config, text: &str, findings: &mut Findings<'_>) -> Option<Gateway> {
    let Config {
        version,
        server,
        admin,
        records,
        listeners,
        trusted_proxies,
        issuers,
        roles,
        identity_headers,
        upstreams,
        routes,
    } = config;
    let root = ConfigPath::root();
    if version != 1 {
        findings.error(&root.key("version"), format!("version {version} is unknown"), "write `version: 1`");
    }
    let server = self::server(&server, findings);
    let admin = observe::admin(&admin, findings);
    let records = observe::records(&records, findings);
    let listeners = listeners::compile(&listeners, findings);
    let trusted_proxies = listeners::networks(&trusted_proxies, findings);
    // names that were written, whether or not what they stand for could be compiled
    let declared = routes::Declared {
        issuers: issuers.keys().map(String::as_str).collect(),
        upstreams: upstreams.keys().map(String::as_str).collect(),
    };
    let compiled_issuers = issuers::compile(&issuers, findings);
    let roles = routes::roles(&roles, findings);
    let identity_headers = observe::identity_headers(&identity_headers, findings);
    let compiled_upstreams = upstreams::compile(&upstreams, findings);
    let (routes, claims) =
        routes::compile(&routes, &declared, &compiled_issuers, &roles, &compiled_upstreams, findings);
    let (issuers, upstreams) = (compiled_issuers, compiled_upstreams);
    let router = Router::new(&claims)
        .map_err(|conflicts| routes::report(conflicts, &routes, findings))
        .unwrap_or_default();
    listeners::check_admin(&listeners, admin, findings);
    listeners::check_names(&listeners, &routes, findings);

    let mut policy = DefaultHasher::new();
    format!("{issuers:?}{identity_headers:?}").hash(&mut policy);
    Some(Gateway {
        hash: openssl::sha::sha256(text.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect(),
        authn_policy: policy.finish(),
        router,
        routes: routes.into(),
        issuers: issuers.into(),
        identity_headers,
        upstreams: upstreams.into(),
        trusted_proxies: trusted_proxies.into(),
        listeners: listeners.into(),
        admin: admin?,
        records: records?,
        server,
    })
}

/// Pingora's own settings, as the YAML that its own reader takes.
fn server(server: &Server, findings: &mut Findings<'_>) -> String {
    let at = ConfigPath::root().key("server");
    let Server { threads, work_stealing: _, grace_period_seconds, upstream_keepalive_pool_size } = server;
    let mut range = |key: &str, value: Option<u64>, least: u64, most: u64| {
        if value.is_some_and(|value| !(least..=most).contains(&value)) {
            findings.error(&at.key(key), format!("must be {least} to {most}"), "");
        }
    };
    let wide = |n: Option<usize>| n.and_then(|n| u64::try_from(n).ok());
    range("threads", wide(*threads), 1, 1024);
    range("grace_period_seconds", *grace_period_seconds, 0, 3600);
    // Pingora makes room before it puts a connection in, so that 0 would keep one all the same
    range("upstream_keepalive_pool_size", wide(*upstream_keepalive_pool_size), 1, 100_000);

    let server = Server {
        threads: threads.or_else(|| std::thread::available_parallelism().ok().map(usize::from)),
        grace_period_seconds: grace_period_seconds.or(Some(30)),
        work_stealing: server.work_stealing,
        upstream_keepalive_pool_size: *upstream_keepalive_pool_size,
    };
    match serde_yaml::to_string(&server) {
        Ok(yaml) => format!("version: 1\n{yaml}"),
        Err(why) => {
            findings.error(&at, format!("cannot be handed on: {why}"), "");
            String::new()
        }
    }
}

