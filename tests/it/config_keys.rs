//! Every key of the configuration changes what the gateway does.
//!
//! A row names a key, two settings of it, and what is observed with each; the observations are stated, so they cannot be
//! the same by accident. The keys are those of the JSON Schema: one without a row fails, and so does a row without a key.

pub mod acme;
pub mod attestations;
mod callers;
mod certificates;
mod conditions;
mod connections;
pub mod credentials;
mod dpop;
mod limits;
mod observe;
mod policy_tests;
mod process;
mod revocation;
mod routes;
pub mod schema;
mod secrets;
mod sockets;
mod upstreams;

use std::collections::BTreeSet;

/// The proof that a key matters.
pub struct Row {
    pub key: &'static str,
    /// What is written for the key, and what is then observed.
    pub settings: [(&'static str, &'static str); 2],
    /// Observes a gateway with this setting.
    pub observe: fn(&str) -> String,
}

/// Observes both settings of every row.
fn hold(rows: &[Row]) {
    let mut wrong = Vec::new();
    for Row {
        key,
        settings,
        observe,
    } in rows
    {
        let [(_, first), (_, second)] = settings;
        assert_ne!(first, second, "{key}: the row expects no difference");
        for (written, expected) in settings {
            let observed = observe(written);
            if observed != *expected {
                wrong.push(format!(
                    "{key}: {written}: expected {expected:?}, observed {observed:?}"
                ));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

fn groups() -> [fn() -> Vec<Row>; 16] {
    [
        process::rows,
        secrets::rows,
        sockets::rows,
        acme::rows,
        connections::rows,
        callers::rows,
        attestations::rows,
        dpop::rows,
        certificates::rows,
        credentials::rows,
        conditions::rows,
        limits::rows,
        revocation::rows,
        policy_tests::rows,
        upstreams::rows,
        routes::rows,
    ]
}

#[test]
fn every_key_of_the_schema_has_a_row_and_every_row_a_key() {
    let mut keys: BTreeSet<String> = schema::keys();
    if cfg!(not(feature = "pkcs11")) {
        // a build without it refuses them, and there is nothing more to see
        keys.retain(|key| !key.starts_with("secrets.pkcs11."));
    }
    let rows: Vec<&str> = groups()
        .iter()
        .flat_map(|rows| rows())
        .map(|row| row.key)
        .collect();
    let proven: BTreeSet<String> = rows.iter().map(|key| (*key).to_owned()).collect();
    assert_eq!(proven.len(), rows.len(), "a key has two rows");
    let missing: Vec<_> = keys.difference(&proven).collect();
    let unknown: Vec<_> = proven.difference(&keys).collect();
    assert!(
        missing.is_empty() && unknown.is_empty(),
        "without a row: {missing:?}\nwithout a key: {unknown:?}"
    );
    assert!(keys.len() > 60, "the schema was not read: {keys:?}");
}

#[test]
fn keys_of_the_process_matter() {
    hold(&process::rows());
}

#[test]
fn keys_of_secrets_matter() {
    hold(&secrets::rows());
}

#[test]
fn keys_of_listeners_matter() {
    hold(&sockets::rows());
}

#[test]
fn keys_of_accounts_with_cas_matter() {
    hold(&acme::rows());
}

#[test]
fn keys_of_connections_matter() {
    hold(&connections::rows());
}

#[test]
fn keys_of_issuers_roles_and_identities_matter() {
    hold(&callers::rows());
}

#[test]
fn keys_of_client_certificates_matter() {
    hold(&certificates::rows());
}

#[test]
fn keys_of_credentials_matter() {
    hold(&credentials::rows());
}

#[test]
fn keys_of_attestations_matter() {
    hold(&attestations::rows());
}

#[test]
fn keys_of_proofs_matter() {
    hold(&dpop::rows());
}

#[test]
fn keys_of_revocation_matter() {
    hold(&revocation::rows());
}

#[test]
fn keys_of_conditions_and_shadows_matter() {
    hold(&conditions::rows());
}

#[test]
fn keys_of_policy_tests_matter() {
    hold(&policy_tests::rows());
}

#[test]
fn keys_of_limits_matter() {
    hold(&limits::rows());
}

#[test]
fn keys_of_upstreams_matter() {
    hold(&upstreams::rows());
}

#[test]
fn keys_of_routes_matter() {
    hold(&routes::rows());
}
