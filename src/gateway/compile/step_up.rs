//! `step_up:` of a route's `auth`, and of conditions.

use std::time::Duration;

use super::findings::Findings;
use super::routes::check_scopes;
use crate::config;
use crate::config::path::ConfigPath;
use crate::gates::authz::StepUp;

pub(super) fn compile(at: &ConfigPath, step_up: &config::StepUp, findings: &mut Findings<'_>) -> StepUp {
    let config::StepUp { acr, amr, max_age } = step_up;
    if acr.is_empty() && amr.is_empty() && max_age.is_none() {
        findings.incomplete(at, "`step_up` asks for nothing", "name `acr`, `amr` or `max_age`");
    }
    // both are written into lists apart by spaces, as scopes are
    check_scopes(&at.key("acr"), acr, findings);
    check_scopes(&at.key("amr"), amr, findings);
    let max_age = max_age.map(|span| {
        let range = Duration::from_secs(1)..=Duration::from_secs(86_400 * 30);
        findings.duration(&at.key("max_age"), Some(span), Duration::from_secs(1), range)
    });
    StepUp::new(acr, amr, max_age)
}
