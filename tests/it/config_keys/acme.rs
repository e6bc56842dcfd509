//! `acme:`, and certificates that are had from there.

use super::Row;
use super::observe::{PUBLIC, check_in};
use crate::support::ca::{Ca, file, is_signed, part};
use crate::support::gateway::Start;
use crate::support::{Authority, Gateway, eventually, issuer};

const ONE: &str = "b25lIGtleSB0aGF0IGlzIGxvbmcgZW5vdWdoISEhISE";
const TWO: &str = "dHdvIGtleXMgdGhhdCBhcmUgbG9uZyBlbm91Z2ghISE";

pub fn rows() -> Vec<Row> {
    vec![
        Row {
            key: "acme.*.directory",
            settings: [("one", "/one"), ("two", "/two")],
            observe: |path| {
                let ca = Ca::start();
                let _gateway = ordering(&ca, path, "", "names: [api.example]").start();
                ca.first()
            },
        },
        Row {
            key: "acme.*.ca",
            settings: [("ca.crt", "good"), ("none.crt", "error: cannot read")],
            observe: |ca| checked(&format!("ca: {ca}, terms_agreed: true")),
        },
        Row {
            key: "acme.*.contact",
            settings: [
                ("[\"mailto:a@example.com\"]", "[\"mailto:a@example.com\"]"),
                ("[]", "[]"),
            ],
            observe: |contact| account(&format!("contact: {contact}"))["contact"].to_string(),
        },
        Row {
            key: "acme.*.terms_agreed",
            settings: [
                ("true", "good"),
                (
                    "false",
                    "error: the CA makes no account for who does not agree to its terms of service",
                ),
            ],
            observe: |agreed| checked(&format!("terms_agreed: {agreed}")),
        },
        Row {
            key: "acme.*.storage",
            settings: [("one", "one"), ("two", "two")],
            observe: |storage| {
                let ca = Ca::start();
                let gateway = ordering(&ca, "dir", "", "names: [api.example]")
                    .replacing("storage: acme", &format!("storage: {storage}"))
                    .start();
                ca.payload("/account");
                let kept = |folder: &&str| gateway.folder.0.join(folder).join("account-ca.key").exists();
                ["one", "two"].into_iter().filter(kept).collect()
            },
        },
        Row {
            key: "acme.*.plain_storage",
            settings: [("true", "plain"), ("false", "sealed")],
            observe: |plain| {
                let ca = Ca::start();
                let more = format!("plain_storage: {plain}");
                let gateway = ordering(&ca, "dir", &more, "names: [api.example]").start();
                ca.payload("/account");
                let key = gateway.folder.0.join("acme/account-ca.key");
                match std::fs::read_to_string(key).unwrap() {
                    key if key.contains("PRIVATE KEY") => "plain".to_owned(),
                    key if key.starts_with("durward-sealed:v1:") => "sealed".to_owned(),
                    key => key,
                }
            },
        },
        Row {
            key: "acme.*.challenge",
            settings: [
                (
                    "http-01",
                    "error: `http-01` is answered on a listener with `redirect_https`, and there is none",
                ),
                ("tls-alpn-01", "good"),
            ],
            observe: |challenge| {
                check_in(
                    &crate::support::Folder::new(),
                    &format!(
                        "version: 1\nlisteners: [{{ address: \"127.0.0.1:1\", tls: {{ certificates: [{{ acme: ca, names: [api.example] }}] }} }}]\n\
                     acme: {{ ca: {{ directory: \"https://ca.example/\", storage: acme, terms_agreed: true, plain_storage: true, challenge: {challenge} }} }}\n{PUBLIC}"
                    ),
                    &[],
                )
            },
        },
        Row {
            key: "acme.*.external_account.kid",
            settings: [("one", "\"one\""), ("two", "\"two\"")],
            observe: |kid| {
                let account = account(&format!(
                    "external_account: {{ kid: {kid}, hmac_key: \"${{env:ONE}}\" }}"
                ));
                part(&account["externalAccountBinding"], "protected")["kid"].to_string()
            },
        },
        Row {
            key: "acme.*.external_account.hmac_key",
            settings: [("${env:ONE}", "one"), ("${env:TWO}", "two")],
            observe: |key| {
                let account = account(&format!("external_account: {{ kid: k, hmac_key: \"{key}\" }}"));
                let keys = [("one", ONE), ("two", TWO)].into_iter();
                let binding = &account["externalAccountBinding"];
                keys.filter(|(_, key)| is_signed(binding, key))
                    .map(|(name, _)| name)
                    .collect()
            },
        },
        Row {
            key: "acme.*.renew_after_percent",
            settings: [("10", "early"), ("90", "late")],
            observe: |percent| {
                let ca = Ca::start();
                let gateway = stored(ordering(
                    &ca,
                    "dir",
                    &format!("renew_after_percent: {percent}"),
                    "names: [api.example]",
                ))
                .start();
                // of two days and the hour before
                let begun = issuer::now() - 3600;
                let planned = eventually("the plan", || {
                    let metrics = gateway.admin("/metrics").text();
                    let mut lines = metrics.lines();
                    let line =
                        lines.find(|line| line.starts_with("durward_acme_next_order_timestamp_seconds{"))?;
                    line.rsplit(' ').next()?.parse::<u64>().ok()
                });
                match (planned - begun) * 100 / (49 * 3600) {
                    4..=10 => "early".to_owned(),
                    84..=90 => "late".to_owned(),
                    other => format!("after {other} per cent"),
                }
            },
        },
        Row {
            key: "listeners[].tls.certificates[].acme",
            settings: [("ca", "/dir"), ("cb", "/other")],
            observe: |account| {
                let ca = Ca::start();
                let other = format!(
                    "  cb: {{ directory: \"http://{}/other\", terms_agreed: true, storage: acme }}\n",
                    ca.origin.address
                );
                let _gateway = ordering(&ca, "dir", "", "names: [api.example]")
                    .replacing("acme: ca", &format!("acme: {account}"))
                    .replacing("acme:\n", &format!("acme:\n{other}"))
                    .start();
                ca.first()
            },
        },
        Row {
            key: "listeners[].tls.certificates[].names",
            settings: [
                ("[a.example]", "[{\"type\":\"dns\",\"value\":\"a.example\"}]"),
                (
                    "[b.example, A.example]",
                    "[{\"type\":\"dns\",\"value\":\"b.example\"},{\"type\":\"dns\",\"value\":\"a.example\"}]",
                ),
            ],
            observe: |names| {
                let ca = Ca::start();
                let _gateway = ordering(&ca, "dir", "", &format!("names: {names}")).start();
                ca.payload("/order")["identifiers"].to_string()
            },
        },
    ]
}

/// What a CA is sent for a new account.
fn account(more: &str) -> serde_json::Value {
    let ca = Ca::start();
    let _gateway = ordering(&ca, "dir", more, "names: [api.example]").start();
    ca.payload("/account")
}

/// A sealing key: 32 bytes in base64.
pub const SEAL: &str = "MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE=";

/// A gateway that orders a certificate; more keys of the account, and the names.
pub fn ordering(ca: &Ca, directory: &str, more: &str, names: &str) -> Start {
    let comma = if more.is_empty() { "" } else { ", " };
    Gateway::whole(&format!(
        "version: 1\nadmin: {{ address: \"{{admin}}\" }}\nlisteners:\n\
         \x20 - {{ address: \"{{https}}\", tls: {{ certificates: [{{ acme: ca, {names} }}] }} }}\n\
         \x20 - {{ address: \"{{http}}\", redirect_https: true }}\n\
         acme:\n  ca: {{ directory: \"http://{}/{directory}\", terms_agreed: true, storage: acme{comma}{more} }}\n\
         secrets: {{ sealing_keys: [\"${{env:SEAL}}\"] }}\n{PUBLIC}",
        ca.origin.address
    ))
    .env("ONE", ONE)
    .env("TWO", TWO)
    .env("SEAL", SEAL)
}

/// With a certificate for `api.example` that was issued an hour ago.
pub fn stored(start: Start) -> Start {
    let leaf = start.authority().identified_leaf(&["api.example"]);
    std::fs::create_dir_all(start.path("acme")).unwrap();
    let pem = [leaf.key, leaf.certificate].concat();
    start.file(&format!("acme/{}", file("api.example")), pem)
}

/// What `durward check` says to an account of these keys, beside `ca.crt`.
fn checked(keys: &str) -> String {
    let folder = crate::support::Folder::new();
    folder.write("ca.crt", Authority::new().pem());
    let config = format!(
        "version: 1\nlisteners:\n  - {{ address: \"127.0.0.1:1\", tls: {{ certificates: [{{ acme: ca, names: [api.example] }}] }} }}\n\
         \x20 - {{ address: \"127.0.0.1:2\", redirect_https: true }}\n\
         acme: {{ ca: {{ directory: \"https://ca.example/\", storage: acme, plain_storage: true, {keys} }} }}\n{PUBLIC}"
    );
    let said = check_in(&folder, &config, &[]);
    // the file's name has the folder in it
    said.split(" /").next().unwrap_or_default().to_owned()
}
