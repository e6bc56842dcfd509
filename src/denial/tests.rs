//! Every denial says everything that is asked of it.

use super::*;
use crate::gates::authn::{Scheme, Schemes};
use crate::gates::limits::window::Quota;

fn every_denial() -> Vec<Denial> {
    let mut all: Vec<Denial> = Malformed::ALL.iter().map(|m| Denial::Malformed(*m)).collect();
    all.extend(
        AuthnError::ALL
            .iter()
            .map(|e| Denial::Unauthenticated(*e, Schemes::BEARER)),
    );
    all.extend(AttestationError::ALL.iter().map(|e| Denial::Attestation(*e)));
    all.extend([
        Denial::HeadTooSlow,
        Denial::PlainHttp(PlainHttp::Credential),
        Denial::PlainHttp(PlainHttp::Body),
        Denial::Misdirected,
        Denial::NoRoute,
        Denial::MethodNotAllowed("GET".into()),
        Denial::Forbidden(Forbidden::Scope("a b".into(), Scheme::Bearer)),
        Denial::Forbidden(Forbidden::Role),
        Denial::Forbidden(Forbidden::Permission),
        Denial::Forbidden(Forbidden::Claim),
        Denial::Forbidden(Forbidden::Network),
        Denial::Forbidden(Forbidden::Country),
        Denial::Forbidden(Forbidden::CountryUnknown),
        Denial::Forbidden(Forbidden::Time),
        Denial::Forbidden(Forbidden::Condition),
        Denial::Forbidden(Forbidden::ConditionError),
        Denial::Unavailable(Dependency::IdentityProvider, Duration::from_millis(1)),
        Denial::Unavailable(
            Dependency::Introspection(Untrusted::Unsigned),
            Duration::from_millis(1),
        ),
        Denial::Unavailable(
            Dependency::Introspection(Untrusted::Encrypted),
            Duration::from_millis(1),
        ),
        Denial::Unavailable(
            Dependency::Introspection(Untrusted::Refused(AuthnError::TokenType)),
            Duration::from_millis(1),
        ),
        Denial::Unavailable(Dependency::Revocations, Duration::from_millis(1)),
        Denial::Unavailable(Dependency::ProofMemory, Duration::from_millis(1)),
        Denial::ProofsOfKey(Duration::from_millis(1)),
        Denial::Unavailable(Dependency::Records, Duration::from_millis(1)),
        Denial::Internal,
        Denial::StepUp(Short::Class, "".into(), Scheme::Bearer),
        Denial::StepUp(Short::Methods, "".into(), Scheme::Bearer),
        Denial::StepUp(Short::Age, "".into(), Scheme::Bearer),
        Denial::Flooded,
        Denial::Attempts(Whose::Address, Duration::from_millis(1001)),
        Denial::Attempts(Whose::Account, Duration::from_millis(1001)),
        Denial::RateLimited(Standing {
            limit: 0,
            quota: Quota {
                remaining: 0,
                reset: Duration::from_millis(1001),
            },
        }),
    ]);
    all.extend(
        [
            ContentError::TooLarge,
            ContentError::TypeMissing,
            ContentError::TypeRepeated,
            ContentError::TypeMalformed,
            ContentError::TypeNotAllowed,
            ContentError::Encoded,
            ContentError::Incomplete,
            ContentError::Chunks,
            ContentError::TooSlow,
            ContentError::Trailers,
            ContentError::MemoryExhausted,
            ContentError::Encrypted(JweError::Malformed),
            ContentError::Encrypted(JweError::Algorithm),
            ContentError::Encrypted(JweError::Compressed),
            ContentError::Encrypted(JweError::Critical),
            ContentError::Encrypted(JweError::Key),
            ContentError::Encrypted(JweError::Unwrap),
            ContentError::Encrypted(JweError::Tag),
            ContentError::Encrypted(JweError::ContentType),
        ]
        .map(Denial::Content),
    );
    all.extend(
        [
            UpgradeError::NotTaken,
            UpgradeError::Handshake,
            UpgradeError::Version,
            UpgradeError::Origin,
        ]
        .map(Denial::Upgrade),
    );
    all.extend(
        [
            UpstreamError::Unresolved,
            UpstreamError::ConnectTimeout,
            UpstreamError::ConnectFailed,
            UpstreamError::Tls,
            UpstreamError::Untrusted,
            UpstreamError::Name,
            UpstreamError::Expired,
            UpstreamError::Pin,
            UpstreamError::Weak,
            UpstreamError::Timeout,
            UpstreamError::Broken,
            UpstreamError::Malformed,
            UpstreamError::Failed(500),
        ]
        .map(Denial::Upstream),
    );
    all
}

#[test]
fn every_denial_has_an_error_status_and_a_reason_of_its_own() {
    let all = every_denial();
    let mut reasons: Vec<_> = all.iter().map(Denial::reason).collect();
    for denial in &all {
        assert!(denial.status().as_u16() >= 400, "{denial:?}");
        assert!(
            denial
                .reason()
                .bytes()
                .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_')
        );
        assert_eq!(
            denial.status() == StatusCode::UNAUTHORIZED,
            matches!(
                denial,
                Denial::Unauthenticated(..) | Denial::Attestation(_) | Denial::StepUp(..)
            )
        );
        // RFC 9110 sections 15.5.2 and 15.5.6: a 401 has a challenge, a 405 has Allow
        assert!(denial.status() != StatusCode::UNAUTHORIZED || denial.challenge().is_some());
        assert!(denial.status() != StatusCode::METHOD_NOT_ALLOWED || denial.allow().is_some());
        assert!(denial.status() != StatusCode::SERVICE_UNAVAILABLE || denial.retry_after() >= Some(1));
    }
    let count = reasons.len();
    reasons.sort_unstable();
    reasons.dedup();
    assert_eq!(reasons.len(), count, "two denials share a reason");
}

// U22
#[test]
fn every_denial_has_its_place_on_the_page_of_problems_and_nothing_else_has() {
    let page = include_str!("../../docs/problems.md");
    let mut found = Vec::new();
    for section in page.split("\n## ").skip(1) {
        let (heading, text) = section.split_once('\n').unwrap();
        let (code, statuses) = heading.strip_prefix('`').unwrap().split_once("` (").unwrap();
        for row in text.lines().filter_map(|line| line.strip_prefix("| `")) {
            found.push((code, row.split_once('`').unwrap().0, statuses));
        }
    }
    let all = every_denial();
    for denial in &all {
        let place = found
            .iter()
            .find(|(code, reason, _)| (*code, *reason) == (denial.code(), denial.reason()));
        let (_, _, statuses) =
            place.unwrap_or_else(|| panic!("{} is not in docs/problems.md", denial.reason()));
        let status = denial.status();
        assert!(
            statuses.contains(status.as_str()) || *statuses == "5xx)",
            "{statuses}: {status}"
        );
    }
    assert_eq!(found.len(), all.len(), "the page has reasons that are none");
}

#[test]
fn a_denial_is_small() {
    assert!(size_of::<Denial>() <= 40, "{}", size_of::<Denial>());
}

// S63
#[test]
fn a_missing_scope_is_challenged_by_name() {
    for (scheme, name) in [(Scheme::Bearer, "Bearer"), (Scheme::Dpop, "DPoP")] {
        let denial = Denial::Forbidden(Forbidden::Scope("read:lien_info".into(), scheme));
        let challenge = denial.challenge().unwrap();
        let expected =
            format!("{name} realm=\"durward\", error=\"insufficient_scope\", scope=\"read:lien_info\"");
        assert_eq!(challenge, expected);
        let denial = Denial::StepUp(Short::Class, ", acr_values=\"gold\"".into(), scheme);
        assert!(denial.challenge().unwrap().starts_with(&format!("{name} realm=")));
    }
}
