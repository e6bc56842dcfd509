//! `tests:`

use std::sync::Arc;

use super::findings::Findings;
use crate::config;
use crate::config::path::ConfigPath;
use crate::gates::authn::IssuerPolicy;
use crate::gates::authn::api_key::KeyRing;
use crate::gates::authn::certificate::Truststore;
use crate::gateway::Route;
use crate::policy_test::PolicyTest;

/// Most requests of one test.
const MOST: u32 = 100_000;

pub(super) fn compile(
    tests: &[config::PolicyTest],
    issuers: &[IssuerPolicy],
    declared: &[&str],
    rings: &[KeyRing],
    truststores: &[Arc<Truststore>],
    routes: &[Route],
    findings: &mut Findings<'_>,
) -> Vec<PolicyTest> {
    let root = ConfigPath::root().key("tests");
    let compiled = tests.iter().enumerate().map(|(index, test)| {
        let at = root.index(index);
        let config::PolicyTest {
            name,
            request,
            times,
            expect,
            route,
        } = test;
        if name.trim().is_empty() {
            findings.error(&at.key("name"), "the test says not what it claims", "");
        }
        let at_request = at.key("request");
        if let Err(why) = request.numbered(1).facts() {
            findings.error(&at_request, format!("not a request: {why}"), "");
        }
        let named = request
            .token
            .iter()
            .map(|token| (at_request.key("token").key("issuer"), &token.issuer));
        let given = request
            .keys
            .keys()
            .map(|name| (at_request.key("keys").key(name), name));
        let asked = request.introspection.keys();
        let asked = asked.map(|name| (at_request.key("introspection").key(name), name));
        for (at, name) in named.chain(given).chain(asked) {
            if !declared.contains(&name.as_str()) {
                findings.unknown(&at, "issuer", "issuers", name, declared.iter().copied());
            }
        }
        if let Some(token) = &request.token
            && let Some(one) = issuers
                .iter()
                .find(|issuer| issuer.tenant.is_some() && *issuer.entry == *token.issuer)
        {
            findings.error(
                &at_request.key("token").key("issuer"),
                format!("`{}` has tenants, and a token is of one", token.issuer),
                format!("name the tenant, too: `{}`", one.name),
            );
        }
        if let Some(granted) = &request.api_key
            && !rings.iter().any(|ring| *ring.name == *granted.keys)
        {
            let at = at_request.key("api_key").key("keys");
            let known = rings.iter().map(|ring| &*ring.name);
            findings.unknown(&at, "ring of keys", "keys", &granted.keys, known);
        }
        if let Some(certified) = &request.client_certificate
            && !truststores.iter().any(|store| *store.name == *certified.trust)
        {
            let at = at_request.key("client_certificate").key("trust");
            let known = truststores.iter().map(|store| &*store.name);
            findings.unknown(&at, "truststore", "truststores", &certified.trust, known);
        }
        let times = times.unwrap_or(1);
        if !(1..=MOST).contains(&times) {
            findings.error(&at.key("times"), format!("must be 1 to {MOST}"), "");
        }
        if let Some(route) = route
            && !routes.iter().any(|known| *known.id == **route)
        {
            let known = routes.iter().map(|route| &*route.id);
            findings.unknown(&at.key("route"), "route", "routes", route, known);
        }
        PolicyTest {
            name: name.as_str().into(),
            request: request.clone(),
            times,
            expect: expect.as_str().into(),
            route: route.as_deref().map(Into::into),
            line: findings.line(&at),
        }
    });
    compiled.collect()
}
