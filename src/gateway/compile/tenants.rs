//! `issuers.*.tenants`: one entry that stands for several tenants of one provider (S57, U4).
//!
//! Which tenants those are is always a list. Whoever can have a tenant of their own at the provider, as anybody can at the
//! large ones, signs tokens there that say what they like: a pattern would let them in.

use super::findings::Findings;
use crate::config;
use crate::config::path::ConfigPath;
use crate::config::scalar::Text;
use crate::gates::authn::jwk::is_tenant;

/// What stands for the tenant.
const TENANT: &str = "{tenant}";
/// Tenants of one entry at most: each has its own keys, which are kept fresh.
const MOST: usize = 256;
/// Longest name of a tenant, in bytes.
const LONGEST: usize = 128;

/// Each tenant of an issuer; of one without tenants, `None`.
pub(super) fn of(
    at: &ConfigPath,
    issuer: &config::Issuer,
    findings: &mut Findings<'_>,
) -> Vec<Option<String>> {
    let Some(tenants) = &issuer.tenants else {
        return vec![None];
    };
    let at_issuer = at.key("issuer");
    if !differ(&issuer.issuer, findings) {
        findings.error(
            &at_issuer,
            "is the same for all tenants",
            "write `{tenant}` where its tenant stands in `iss`: \"https://id.example/{tenant}/\"",
        );
        return Vec::new();
    }
    let at = at.key("tenants");
    if tenants.is_empty() {
        findings.incomplete(
            &at,
            "there is no tenant",
            "list those whose tokens are taken: there is no way to take all, for anybody can have one",
        );
    }
    if tenants.len() > MOST {
        findings.error(&at, format!("more than {MOST} tenants"), "");
    }
    let mut found: Vec<Option<String>> = Vec::new();
    for (index, tenant) in tenants.iter().take(MOST).enumerate() {
        let at = at.index(index);
        let Some(tenant) = findings.text(&at, tenant) else {
            continue;
        };
        if !is_tenant(&tenant) || tenant.len() > LONGEST {
            findings.error(
                &at,
                format!("`{tenant}` cannot be a tenant"),
                format!("1 to {LONGEST} letters, digits, `-`, `.`, `_` and `~`; there are no patterns"),
            );
        } else if found.iter().flatten().any(|other| *other == tenant) {
            findings.error(&at, format!("`{tenant}` is listed twice"), "");
        } else {
            found.push(Some(tenant));
        }
    }
    found
}

/// The text for this tenant; a fault where one is meant and there is none.
pub(super) fn fill(
    at: &ConfigPath,
    text: &Text,
    tenant: Option<&str>,
    findings: &mut Findings<'_>,
) -> Option<String> {
    let text = findings.text(at, text)?;
    match tenant {
        Some(tenant) => Some(text.replace(TENANT, tenant)),
        None if text.contains(TENANT) => {
            findings.error(
                at,
                "`{tenant}` stands for nothing, for the issuer has no `tenants`",
                "list those whose tokens are taken: `tenants: [ … ]`",
            );
            None
        }
        None => Some(text),
    }
}

/// Whether a text is another one for each tenant. One that cannot be looked up is at fault elsewhere.
pub(super) fn differ(text: &Text, findings: &Findings<'_>) -> bool {
    text.resolve(findings.sources())
        .map_or(true, |text| text.contains(TENANT))
}
