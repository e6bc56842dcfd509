//! From what was written to what was meant. All faults at once, each at its place in the file.
//!
//! The only reader of [`crate::config`]. Every struct is taken apart field by field, without `..`: a key that is accepted
//! is used here, or this does not build.

mod acme;
mod attempts;
mod attestations;
mod certificates;
mod client_certificates;
mod conditions;
mod connections;
mod content;
mod credentials;
mod dpop;
mod findings;
mod inheritance;
mod introspection;
mod issuers;
mod key_sets;
mod keys;
mod limits;
mod listeners;
mod matching;
mod networks;
mod observe;
mod resources;
mod revocation;
mod routes;
mod secrets;
mod server;
mod shared_tokens;
mod step_up;
mod tenants;
mod tests;
mod truststores;
mod unused;
mod upgrades;
mod upstream_sign;
mod upstream_tls;
mod upstreams;
mod when;

use std::hash::{DefaultHasher, Hash, Hasher};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::Gateway;
use super::router::Router;
use crate::config::Config;
use crate::config::fault::{Fault, Severity};
use crate::config::parse::parse;
use crate::config::path::ConfigPath;
use crate::secrets::Sources;
use crate::secrets::keeper::{Keeper, Reading};
use findings::Findings;

/// A configuration that was read: the snapshot, unless there were errors, and everything found.
#[derive(Debug)]
pub struct Compiled {
    /// Present if and only if no fault is an error.
    pub gateway: Option<Gateway>,
    /// In the order of the file.
    pub faults: Vec<Fault>,
    /// Identifies the text: hexadecimal SHA-256.
    pub hash: String,
    /// Files that were read for it.
    pub read: Vec<PathBuf>,
    /// What was had of the stores that secrets are in.
    pub secrets: Reading,
    /// Secrets that stores were not asked for.
    pub not_asked: Vec<String>,
}

/// Reads and compiles a file. Relative paths in it start in its folder. Stores are asked for secrets only where there is
/// somebody to keep what they say; otherwise something stands in for what they hold, and the result is good for questions
/// and not to run.
///
/// # Errors
/// The file itself cannot be read.
pub fn load(file: &Path, keeper: Option<&Arc<Keeper>>) -> std::io::Result<Compiled> {
    let text = std::fs::read_to_string(file)?;
    let mut sources = Sources::beside(file);
    if let Some(keeper) = keeper {
        sources = sources.asking(keeper.clone());
    }
    Ok(compile(&file.display().to_string(), &text, &sources))
}

/// Compiles a configuration.
#[must_use]
pub fn compile(name: &str, text: &str, sources: &Sources) -> Compiled {
    let parsed = parse::<Config>(name, text);
    let mut findings = Findings::new(&parsed.positions, &parsed.removed, sources);
    let hash = hash(text);
    let gateway = parsed
        .value
        .and_then(|config| gateway(config, hash.clone(), &mut findings));
    let mut faults = parsed.faults;
    faults.extend(findings.into_faults());
    faults.sort_by(Fault::by_position);
    let clean = !faults.iter().any(|fault| fault.severity == Severity::Error);
    Compiled {
        gateway: gateway.filter(|_| clean),
        faults,
        hash,
        read: sources.read(),
        secrets: sources.reading(),
        not_asked: sources.not_asked(),
    }
}

/// Identifies a configuration's text: hexadecimal SHA-256.
#[must_use]
pub fn hash(text: &str) -> String {
    let digest = openssl::sha::sha256(text.as_bytes());
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The admin port of a configuration, whatever is wrong with the rest of it; `None` where its own entry is at fault.
#[must_use]
pub fn admin_address(text: &str, sources: &Sources) -> Option<SocketAddr> {
    #[derive(serde::Deserialize)]
    struct Only {
        #[serde(default)]
        admin: crate::config::Admin,
    }
    // of a text that is not YAML any more, only its own entry
    let is_of_entry = |line: &&str| line.starts_with([' ', '\t', '#']) || line.trim().is_empty();
    let mut lines = text.lines().skip_while(|line| !line.starts_with("admin:"));
    let first = lines.next().unwrap_or_default();
    let entry: Vec<&str> = [first].into_iter().chain(lines.take_while(is_of_entry)).collect();
    let whole = parse::<Config>("", text);
    let (admin, positions, removed) = match whole.value {
        Some(config) => (config.admin, whole.positions, whole.removed),
        None => {
            let only = parse::<Only>("", &entry.join("\n"));
            (only.value?.admin, only.positions, only.removed)
        }
    };
    if removed.iter().any(|path| path.starts_with("admin")) {
        return None;
    }
    observe::admin(&admin, &mut Findings::new(&positions, &removed, sources))
}

fn gateway(config: Config, hash: String, findings: &mut Findings<'_>) -> Option<Gateway> {
    let Config {
        version,
        profile,
        server,
        secrets,
        admin,
        records,
        listeners,
        acme,
        connections,
        trusted_proxies,
        issuers,
        keys,
        dpop,
        attestations,
        truststores,
        client_certificates,
        roles,
        identity_headers,
        flood,
        failed_authentication,
        shared_tokens,
        revocation,
        limits,
        upstreams,
        upstream_pins,
        conditions,
        countries,
        defaults,
        groups,
        routes,
        resources,
        tests,
    } = config;
    let root = ConfigPath::root();
    findings.judge_by(profile);
    if version != 1 {
        findings.error(
            &root.key("version"),
            format!("version {version} is unknown"),
            "write `version: 1`",
        );
    }
    secrets::compile(&secrets, findings);
    let server = server::compile(&server, findings);
    let admin = observe::admin(&admin, findings);
    let records = observe::records(&records, findings);
    let connections = connections::compile(&connections, findings);
    let trusted_proxies = listeners::networks(&root.key("trusted_proxies"), &trusted_proxies, findings);
    let declared_truststores: Vec<&str> = truststores.keys().map(String::as_str).collect();
    let compiled_issuers = issuers::compile(&issuers, findings);
    // names that were written, whether or not what they stand for could be compiled; and those of tenants
    let tenants = compiled_issuers.iter().filter(|issuer| issuer.tenant.is_some());
    let tenants = tenants.map(|issuer| &*issuer.name);
    let declared_issuers: Vec<&str> = issuers.keys().map(String::as_str).chain(tenants).collect();
    let rings = keys.keys().map(String::as_str);
    let authorities: Vec<&str> = declared_issuers.iter().copied().chain(rings).collect();
    let truststores = truststores::compile(&truststores, &authorities, findings);
    let accounts = self::acme::compile(&acme, findings);
    let listeners = listeners::compile(
        &listeners,
        &accounts,
        &truststores,
        &declared_truststores,
        findings,
    );
    self::acme::check_ports(&listeners, &accounts, findings);
    let compiled_certificates = client_certificates::compile(
        &client_certificates,
        &truststores,
        &declared_truststores,
        &listeners::truststores(&listeners),
        findings,
    );
    let declared = routes::Declared {
        issuers: declared_issuers,
        keys: keys.keys().map(String::as_str).collect(),
        attestations: attestations.keys().map(String::as_str).collect(),
        client_certificates: client_certificates.keys().map(String::as_str).collect(),
        upstreams: upstreams.keys().map(String::as_str).collect(),
        limits: limits.keys().map(String::as_str).collect(),
    };
    let roles = routes::roles(&roles, findings);
    let identity_headers = observe::identity_headers(&identity_headers, findings);
    let compiled_keys = keys::compile(&keys, &declared.issuers, &identity_headers, findings);
    let dpop = self::dpop::compile(&dpop, findings);
    let compiled_attestations = attestations::compile(&attestations, &compiled_keys, findings);
    let theirs = compiled_attestations
        .iter()
        .map(|attestation| &attestation.header);
    let identity_headers =
        identity_headers.reserving(compiled_keys.iter().map(|ring| &ring.header).chain(theirs));
    let flood = limits::flood(&flood, findings);
    let attempts = attempts::compile(failed_authentication.as_ref(), findings);
    let shared_tokens = shared_tokens
        .as_ref()
        .map(|asked| self::shared_tokens::compile(asked, findings));
    let revocation = revocation
        .as_ref()
        .map(|revocation| revocation::compile(revocation, findings));
    let compiled_limits = limits::compile(&limits, findings);
    let compiled_upstreams = upstreams::compile(&upstreams, &upstream_pins, findings);
    let database = conditions::database(countries.as_ref(), findings);
    let conditions = conditions::compile(
        &conditions,
        &roles,
        database.as_ref(),
        countries.is_some(),
        findings,
    );
    let inheritance =
        inheritance::Inheritance::new(&defaults, &groups, &conditions, &declared.limits, findings);
    let names = routes::Names {
        declared: &declared,
        issuers: &compiled_issuers,
        keys: &compiled_keys,
        attestations: &compiled_attestations,
        client_certificates: &compiled_certificates,
        roles: &roles,
        conditions: &conditions,
        inheritance: &inheritance,
        limits: &compiled_limits,
        upstreams: &compiled_upstreams,
        body_memory: server.body_memory,
        dpop: &dpop,
    };
    let unused = unused::Declared {
        roles: roles.keys().map(String::as_str).collect(),
        conditions: conditions.keys().map(String::as_str).collect(),
        groups: groups.keys().map(String::as_str).collect(),
        grouped: routes
            .iter()
            .flat_map(|route| &route.groups)
            .map(String::as_str)
            .collect(),
        issuers: &compiled_issuers,
        keys: &compiled_keys,
        client_certificates: &compiled_certificates,
        limits: &compiled_limits,
    };
    let (mut routes, mut claims) = routes::compile(&routes, &names, findings);
    let unused = unused::report(&unused, &routes, findings);
    let declared_resources = resources::declared(&resources, findings);
    let resources = resources::compile(
        &declared_resources,
        &listeners,
        &names,
        &mut routes,
        &mut claims,
        findings,
    );
    let tests = tests::compile(
        &tests,
        &compiled_issuers,
        &declared.issuers,
        &compiled_keys,
        &truststores,
        &routes,
        findings,
    );
    let (issuers, keys) = (compiled_issuers, compiled_keys);
    let (upstreams, limits) = (compiled_upstreams, compiled_limits);
    let router = Router::new(&claims)
        .map_err(|conflicts| routes::report(conflicts, &routes, findings))
        .unwrap_or_default();
    listeners::check_admin(&listeners, admin, findings);
    listeners::check_names(&listeners, &routes, findings);

    let mut policy = DefaultHasher::new();
    let limit_keys: Vec<_> = limits.iter().map(|limit| &limit.key).collect();
    format!("{issuers:?}{identity_headers:?}{limit_keys:?}").hash(&mut policy);
    Some(Gateway {
        hash,
        authn_policy: policy.finish(),
        router,
        repairs: routes.iter().any(|route| !route.repairs.is_empty()),
        routes: routes.into(),
        resources: resources.into(),
        issuers: issuers.into(),
        keys: keys.into(),
        dpop,
        attestations: compiled_attestations.into(),
        truststores: truststores.into(),
        client_certificates: compiled_certificates.into(),
        identity_headers,
        flood,
        attempts,
        shared_tokens,
        revocation: revocation.map_or(Some(None), |found| found.map(Some))?,
        limits: limits.into(),
        upstreams: upstreams.into(),
        trusted_proxies: trusted_proxies.into(),
        connections: connections.into(),
        listeners: listeners.into(),
        admin: admin?,
        records: records?,
        server,
        tests: tests.into(),
        unused: unused.into(),
    })
}
