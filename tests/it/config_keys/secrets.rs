//! `secrets:`

use serde_json::json;

use super::Row;
use super::observe::{check_in, offline};
use crate::secrets::aws_of_the_tests;
use crate::support::gateway::binary;
#[cfg(feature = "pkcs11")]
use crate::support::token::{LABEL, Token};
use crate::support::vault::{ROLE, ROOT, SECRET_ID, SERVICE_ACCOUNT, Vault};
use crate::support::{Folder, eventually};

const REFUSED: &str = "error: cannot read `${vault:a#b}`: the login was refused: 400";
const FORBIDDEN: &str = "error: cannot read `${vault:a#b}`: refused: 403 ";
const MISSING: &str = "error: cannot read `${vault:a#b}`: there is no such secret";
const STRANGER: &str = "error: cannot read `${vault:a#b}`: no connection";
const AWS_REFUSED: &str = "error: cannot read `${aws-sm:a}`: refused: 400 InvalidSignatureException";

pub fn rows() -> Vec<Row> {
    let mut rows = vault();
    rows.extend(aws());
    rows.extend(pkcs11());
    rows.extend([
        Row {
            key: "secrets.sealing_keys",
            settings: [
                ("HERS", "good"),
                (
                    "ANOTHER",
                    "error: cannot read `${sealed:sealed}`: sealed with another key",
                ),
            ],
            observe: |key| {
                let folder = Folder::new();
                let (hers, another) = ("A".repeat(43) + "=", "E".repeat(43) + "=");
                let seal = durward::secrets::seal::SealingKey::parse(&hers).unwrap();
                folder.write("sealed", seal.seal(b"s", "secret/sealed").unwrap());
                let key = if key == "HERS" { hers } else { another };
                let yaml = using("${sealed:sealed}", "sealing_keys: [\"${env:KEY}\"]");
                check_in(&folder, &yaml, &[("KEY", &key)])
            },
        },
        Row {
            key: "secrets.refresh",
            settings: [("1s", "asked again"), ("1d", "asked once")],
            observe: |span| {
                let vault = Vault::start();
                vault.put("secret/a", json!({ "b": "c" }));
                let block = format!("refresh: {span}, {}", vault_block(&vault, &token_login()));
                let body = crate::secrets::config("127.0.0.1:9".parse().unwrap(), "${vault:a#b}", &block);
                let _gateway = crate::support::Gateway::with(&body)
                    .file("vault.pem", vault.authority.pem())
                    .env("TOKEN", ROOT)
                    .start();
                if span == "1d" {
                    std::thread::sleep(std::time::Duration::from_millis(2500));
                    assert_eq!(vault.asked("secret/data/a"), 1);
                    return "asked once".to_owned();
                }
                eventually("asked again", || (vault.asked("secret/data/a") > 2).then_some(()));
                "asked again".to_owned()
            },
        },
        Row {
            key: "secrets.timeout",
            settings: [
                ("5s", "good"),
                (
                    "100ms",
                    "error: cannot read `${vault:a#b}`: no answer within the deadline",
                ),
            ],
            observe: |span| {
                let vault = Vault::start();
                vault.put("secret/a", json!({ "b": "c" }));
                vault.slow(std::time::Duration::from_millis(400));
                asked(
                    &vault,
                    &format!("timeout: {span}, {}", vault_block(&vault, &token_login())),
                )
            },
        },
    ]);
    rows
}

fn vault() -> Vec<Row> {
    vec![
        Row {
            key: "secrets.vault.address",
            settings: [("ITS", "good"), ("https://localhost:1", STRANGER)],
            observe: |address| {
                let vault = stocked();
                let block = vault_block(&vault, &token_login());
                let block = match address {
                    "ITS" => block,
                    address => block.replace(&vault.address, address),
                };
                asked(&vault, &block)
            },
        },
        Row {
            key: "secrets.vault.ca",
            settings: [("vault.pem", "good"), ("other.pem", STRANGER)],
            observe: |ca| {
                let vault = stocked();
                asked(
                    &vault,
                    &vault_block(&vault, &token_login()).replace("vault.pem", ca),
                )
            },
        },
        Row {
            key: "secrets.vault.namespace",
            settings: [("ours", "good"), ("theirs", MISSING)],
            observe: |namespace| {
                let vault = Vault::start();
                vault.put("ours/secret/a", json!({ "b": "c" }));
                asked(
                    &vault,
                    &vault_block(&vault, &format!("namespace: {namespace}, {}", token_login())),
                )
            },
        },
        Row {
            key: "secrets.vault.mount",
            settings: [("kv", "good"), ("secret", MISSING)],
            observe: |mount| {
                let vault = Vault::start();
                vault.put("kv/a", json!({ "b": "c" }));
                asked(
                    &vault,
                    &vault_block(&vault, &format!("mount: {mount}, {}", token_login())),
                )
            },
        },
        Row {
            key: "secrets.vault.auth.mount",
            settings: [
                ("roles", "good"),
                (
                    "elsewhere",
                    "error: cannot read `${vault:a#b}`: the login was refused: 403",
                ),
            ],
            observe: |mount| login(&format!("auth: {{ mount: {mount}, {} }}", approle(ROLE, "GOOD"))),
        },
        Row {
            key: "secrets.vault.auth.token",
            settings: [("TOKEN", "good"), ("WRONG", FORBIDDEN)],
            observe: |variable| login(&token_login().replace("TOKEN", variable)),
        },
        Row {
            key: "secrets.vault.auth.approle.role_id",
            settings: [(ROLE, "good"), ("another", REFUSED)],
            observe: |role| login(&format!("auth: {{ {} }}", approle(role, "GOOD"))),
        },
        Row {
            key: "secrets.vault.auth.approle.secret_id",
            settings: [("GOOD", "good"), ("WRONG", REFUSED)],
            observe: |variable| login(&format!("auth: {{ {} }}", approle(ROLE, variable))),
        },
        Row {
            key: "secrets.vault.auth.kubernetes.role",
            settings: [(ROLE, "good"), ("another", REFUSED)],
            observe: |role| {
                login(&format!(
                    "auth: {{ kubernetes: {{ role: {role}, token_file: account }} }}"
                ))
            },
        },
        Row {
            key: "secrets.vault.auth.kubernetes.token_file",
            settings: [("account", "good"), ("another", REFUSED)],
            observe: |file| {
                login(&format!(
                    "auth: {{ kubernetes: {{ role: {ROLE}, token_file: {file} }} }}"
                ))
            },
        },
    ]
}

fn aws() -> Vec<Row> {
    vec![
        Row {
            key: "secrets.aws_sm.region",
            settings: [("eu-central-1", "good"), ("eu-west-1", AWS_REFUSED)],
            observe: |region| at_aws(region, "ITS", "AKID", "GOOD"),
        },
        Row {
            key: "secrets.aws_sm.endpoint",
            settings: [
                ("ITS", "good"),
                (
                    "http://127.0.0.1:1",
                    "error: cannot read `${aws-sm:a}`: no connection",
                ),
            ],
            observe: |endpoint| at_aws("eu-central-1", endpoint, "AKID", "GOOD"),
        },
        Row {
            key: "secrets.aws_sm.access_key_id",
            settings: [("AKID", "good"), ("ANOTHER", AWS_REFUSED)],
            observe: |id| at_aws("eu-central-1", "ITS", id, "GOOD"),
        },
        Row {
            key: "secrets.aws_sm.secret_access_key",
            settings: [("GOOD", "good"), ("WRONG", AWS_REFUSED)],
            observe: |secret| at_aws("eu-central-1", "ITS", "AKID", secret),
        },
        Row {
            // signed with the rest: one that the service is not told of does not fit
            key: "secrets.aws_sm.session_token",
            settings: [("TOKEN", "good"), ("WRONG", AWS_REFUSED)],
            observe: |variable| {
                let aws = aws_of_the_tests("eu-central-1", "AKID", "good-secret", Some(ROOT));
                let block = aws_block(&format!("http://{}", aws.address), "eu-central-1", "AKID", "GOOD");
                let token = format!(", session_token: \"${{env:{variable}}}\" }}");
                let block = format!("{}{token}", block.strip_suffix(" }").unwrap());
                check_network(&Folder::new(), &using("${aws-sm:a}", &block))
            },
        },
    ]
}

/// Builds without PKCS#11 know these keys, and refuse them: see `crate::pkcs11`.
#[cfg(not(feature = "pkcs11"))]
fn pkcs11() -> Vec<Row> {
    Vec::new()
}

#[cfg(feature = "pkcs11")]
fn pkcs11() -> Vec<Row> {
    vec![
        Row {
            key: "secrets.pkcs11.module",
            settings: [
                ("its", "good"),
                (
                    "/etc/hostname",
                    "error: cannot read `${pkcs11:object=a;type=data}`: token `durward tests`: the module cannot be loaded",
                ),
            ],
            observe: |module| in_token(Some(module).filter(|module| *module != "its"), LABEL, "PIN"),
        },
        Row {
            key: "secrets.pkcs11.token",
            settings: [
                (LABEL, "good"),
                (
                    "another",
                    "error: cannot read `${pkcs11:object=a;type=data}`: token `another`: there is no such token",
                ),
            ],
            observe: |label| in_token(None, label, "PIN"),
        },
        Row {
            key: "secrets.pkcs11.pin",
            settings: [
                ("PIN", "good"),
                (
                    "WRONG",
                    "error: cannot read `${pkcs11:object=a;type=data}`: token `durward tests`: the PIN is refused",
                ),
            ],
            observe: |variable| in_token(None, LABEL, variable),
        },
        Row {
            key: "secrets.pkcs11.provider",
            settings: [
                ("its", "good"),
                ("/etc/hostname", "the provider /etc/hostname cannot be loaded"),
            ],
            observe: |provider| {
                let (token, key) = (Token::new(), crate::support::certs::ec_key());
                token.import("key", "01", &key);
                let folder = Folder::new();
                let leaf = crate::support::Authority::new().leaf_of(&key, &["localhost"]);
                let certificate = folder.write("tls.crt", leaf.certificate);
                let its = crate::support::token::provider();
                let provider = if provider == "its" { its.as_str() } else { provider };
                let yaml = format!(
                    "version: 1\nsecrets: {{ {}, provider: \"{provider}\" }} }}\n\
                     listeners: [{{ address: \"127.0.0.1:1\", tls: {{ certificates: [\
                     {{ cert: \"{certificate}\", key_pem: \"${{pkcs11:object=key;type=private}}\" }}] }} }}]\n\
                     routes: [{{ match: {{ methods: [GET], path: / }}, public: {{ reason: test, owner: us }}, respond: 200 }}]\n",
                    token_block(None, LABEL, "PIN")
                );
                let said = check_token(&token, &folder, &yaml);
                let words = "the provider /etc/hostname cannot be loaded";
                (if said.contains(words) { words } else { &said }).to_owned()
            },
        },
    ]
}

/// Without the bracket that closes it.
#[cfg(feature = "pkcs11")]
fn token_block(module: Option<&str>, label: &str, variable: &str) -> String {
    let its = crate::support::token::module();
    let module = module.unwrap_or(&its);
    format!("pkcs11: {{ module: \"{module}\", token: \"{label}\", pin: \"${{env:{variable}}}\"")
}

#[cfg(feature = "pkcs11")]
fn in_token(module: Option<&str>, label: &str, variable: &str) -> String {
    let token = Token::new();
    token.put("a", "b");
    let block = token_block(module, label, variable) + " }";
    let said = check_token(&token, &Folder::new(), &using("${pkcs11:object=a}", &block));
    // the slot is the token's to choose, and what loading failed of the system's to say
    let (before, after) = said.split_once(" (slot ").unwrap_or((&said, ""));
    let after = after.split_once(')').map_or("", |(_, after)| after);
    let said = format!("{before}{after}");
    match said.split_once("cannot be loaded") {
        Some((before, _)) => format!("{before}cannot be loaded"),
        None => said,
    }
}

#[cfg(feature = "pkcs11")]
fn check_token(token: &Token, folder: &Folder, yaml: &str) -> String {
    let file = folder.write("durward.yaml", yaml);
    let output = binary()
        .args(["check", "--network", "-c", &file])
        .envs(token.environment())
        .envs([("PIN", crate::support::token::PIN), ("WRONG", "0000")])
        .output()
        .unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    said.lines().next().unwrap_or("good").to_owned()
}

/// A configuration that needs this secret.
fn using(reference: &str, secrets: &str) -> String {
    offline(&crate::secrets::config(
        "127.0.0.1:9".parse().unwrap(),
        reference,
        secrets,
    ))
}

fn stocked() -> Vault {
    let vault = Vault::start();
    vault.put("secret/a", json!({ "b": "c" }));
    vault
}

fn vault_block(vault: &Vault, more: &str) -> String {
    format!(
        "vault: {{ address: \"{}\", ca: vault.pem, {more} }}",
        vault.address
    )
}

fn token_login() -> String {
    "auth: { token: \"${env:TOKEN}\" }".to_owned()
}

fn approle(role: &str, variable: &str) -> String {
    format!("approle: {{ role_id: {role}, secret_id: \"${{env:{variable}}}\" }}")
}

fn login(more: &str) -> String {
    let vault = stocked();
    asked(&vault, &vault_block(&vault, more))
}

/// The first fault that `check --network` finds with this block, or `good`.
fn asked(vault: &Vault, block: &str) -> String {
    let folder = Folder::new();
    folder.write("vault.pem", vault.authority.pem());
    folder.write("other.pem", crate::support::Authority::new().pem());
    folder.write("account", SERVICE_ACCOUNT);
    folder.write("another", "another.account");
    check_network(&folder, &using("${vault:a#b}", block))
}

fn at_aws(region: &str, endpoint: &str, id: &str, variable: &str) -> String {
    let aws = aws_of_the_tests("eu-central-1", "AKID", "good-secret", None);
    let its = format!("http://{}", aws.address);
    let endpoint = if endpoint == "ITS" { its.as_str() } else { endpoint };
    let block = aws_block(endpoint, region, id, variable);
    check_network(&Folder::new(), &using("${aws-sm:a}", &block))
}

fn aws_block(endpoint: &str, region: &str, id: &str, variable: &str) -> String {
    format!(
        "aws_sm: {{ region: {region}, endpoint: \"{endpoint}\", access_key_id: {id}, secret_access_key: \"${{env:{variable}_AWS}}\" }}"
    )
}

fn check_network(folder: &Folder, yaml: &str) -> String {
    let file = folder.write("durward.yaml", yaml);
    let output = binary()
        .args(["check", "--network", "-c", &file])
        .envs([("TOKEN", ROOT), ("GOOD", SECRET_ID), ("WRONG", "wrong")])
        .envs([("GOOD_AWS", "good-secret"), ("WRONG_AWS", "wrong")])
        .output()
        .unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    let first = said.lines().next().unwrap_or("good");
    // what a connection failed of is the system's to say
    match first.split_once("no connection") {
        Some((before, _)) => format!("{before}no connection"),
        None => first.to_owned(),
    }
}
