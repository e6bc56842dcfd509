//! `match:` of a route: which requests are meant.

use std::collections::BTreeSet;

use http::Method;

use super::findings::Findings;
use crate::config::Normalise;
use crate::config::path::ConfigPath;
use crate::gateway::router::HostPattern;
use crate::head::{Repair, canonical_path, is_host_name};

pub(super) fn host(at: &ConfigPath, host: Option<&str>, findings: &mut Findings<'_>) -> Option<HostPattern> {
    let Some(host) = host else {
        return Some(HostPattern::Any);
    };
    let (name, pattern): (&str, fn(Box<str>) -> HostPattern) = match host.strip_prefix("*.") {
        Some(suffix) => (suffix, HostPattern::Wildcard),
        None => (host, HostPattern::Exact),
    };
    if !is_host_name(name) {
        let help =
            "write `api.example` or `*.example`, in lower case and without port; leave it out for any host";
        findings.error(at, format!("`{host}` is not a host"), help);
        return None;
    }
    Some(pattern(name.to_ascii_lowercase().into()))
}

pub(super) fn methods(at: &ConfigPath, methods: &[String], findings: &mut Findings<'_>) -> Vec<Method> {
    if methods.is_empty() {
        findings.incomplete(at, "no method is allowed", "");
    }
    let mut compiled = Vec::new();
    for (index, name) in methods.iter().enumerate() {
        let at = at.index(index);
        let upper = name.to_ascii_uppercase();
        match name.parse::<Method>() {
            Ok(Method::CONNECT | Method::TRACE) | Err(_) => {
                findings.error(&at, format!("method `{name}` cannot be allowed"), "");
            }
            Ok(_) if upper != *name => {
                findings.error(
                    &at,
                    format!("methods are case-sensitive: `{name}`"),
                    format!("did you mean `{upper}`?"),
                );
            }
            Ok(method) if compiled.contains(&method) => {
                findings.error(&at, format!("`{method}` is listed twice"), "");
            }
            Ok(method) => compiled.push(method),
        }
    }
    compiled
}

pub(super) fn repair(written: Normalise) -> Repair {
    match written {
        Normalise::DotSegments => Repair::DotSegments,
        Normalise::EmptySegments => Repair::EmptySegments,
        Normalise::Parameters => Repair::Parameters,
        Normalise::EncodedSlashes => Repair::EncodedSlashes,
    }
}

/// Checks a path template; its literal parts must be as a canonical path spells them, or nothing would ever match.
pub(super) fn template(at: &ConfigPath, path: &str, findings: &mut Findings<'_>) -> bool {
    let mut names = BTreeSet::new();
    let mut literal = String::new();
    let segments: Vec<&str> = path.split('/').collect();
    for (index, segment) in segments.iter().enumerate().skip(1) {
        literal.push('/');
        match segment.strip_prefix('{').and_then(|s| s.strip_suffix('}')) {
            None if segment.contains(['{', '}']) => {
                findings.error(
                    at,
                    format!("`{segment}` mixes text and a parameter"),
                    "a parameter is a whole segment: `/{name}/`",
                );
                return false;
            }
            None => literal.push_str(segment),
            Some(name) => {
                let (name, rest) = name.strip_suffix('*').map_or((name, false), |name| (name, true));
                let is_identifier =
                    !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
                if !is_identifier || !names.insert(name) {
                    findings.error(
                        at,
                        format!("`{segment}` is not a parameter, or its name is taken"),
                        "",
                    );
                    return false;
                }
                if rest && index + 1 != segments.len() {
                    findings.error(at, format!("`{segment}` must be the last segment"), "");
                    return false;
                }
                literal.push('x');
            }
        }
    }
    match canonical_path(&literal) {
        Ok(None) if path.starts_with('/') => true,
        Ok(Some(canonical)) => {
            findings.error(
                at,
                "the path is not written in its canonical form",
                format!("write `{canonical}`"),
            );
            false
        }
        _ => {
            findings.error(
                at,
                "not a path that a request could have",
                "it starts with `/` and has no empty, `.` or `..` segments",
            );
            false
        }
    }
}
