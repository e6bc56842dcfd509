//! `secrets:`. Before everything else: what other nouns refer to is looked up in what is opened here.

use std::path::PathBuf;
use std::time::Duration;

use http::Uri;

use super::findings::{Findings, NOT_ASKED};
use super::key_sets::{authorities, url_of};
use crate::config;
use crate::config::path::ConfigPath;
use crate::secrets::seal::SealingKey;
use crate::secrets::sigv4::Credentials;
use crate::secrets::store::Settings;
use crate::secrets::vault::Login;
use crate::secrets::{aws, pkcs11, vault};

const SECOND: Duration = Duration::from_secs(1);
const DAY: Duration = Duration::from_secs(86_400);
const TOKEN_FILE: &str = "/var/run/secrets/kubernetes.io/serviceaccount/token";

pub(super) fn compile(secrets: &config::Secrets, findings: &mut Findings<'_>) {
    let config::Secrets {
        sealing_keys,
        refresh,
        timeout,
        vault,
        aws_sm,
        pkcs11,
    } = secrets;
    let at = ConfigPath::root().key("secrets");
    let list = at.key("sealing_keys");
    let mut keys: Vec<Option<SealingKey>> = vec![None; sealing_keys.len()];
    let mut are_all = true;
    let mut unlock = |are_in_a_store: bool, findings: &mut Findings<'_>| {
        for (index, (key, opened)) in sealing_keys.iter().zip(&mut keys).enumerate() {
            if key.is_in_a_store() != are_in_a_store {
                continue;
            }
            let at = list.index(index);
            match findings.secret(&at, key).as_deref() {
                None => {}
                Some(NOT_ASKED) => are_all = false,
                Some(text) => *opened = sealing_key(&at, text, findings),
            }
        }
        let opened = keys.iter().flatten().cloned().collect();
        findings.sources().unlock(opened, are_all);
    };
    // what opens the token may be sealed, and a key that seals may be in the token
    unlock(false, findings);
    let refresh = findings.duration(&at.key("refresh"), *refresh, SECOND * 300, SECOND..=DAY);
    let timeout = findings.duration(
        &at.key("timeout"),
        *timeout,
        SECOND * 5,
        Duration::from_millis(100)..=SECOND * 30,
    );
    let pkcs11 = pkcs11
        .as_ref()
        .and_then(|pkcs11| self::pkcs11(&at.key("pkcs11"), pkcs11, findings));
    let token_alone = Settings {
        refresh,
        timeout,
        vault: None,
        aws: None,
        pkcs11,
    };
    findings.sources().open(token_alone.clone());
    unlock(true, findings);
    let vault = vault
        .as_ref()
        .and_then(|vault| self::vault(&at.key("vault"), vault, findings));
    let aws = aws_sm
        .as_ref()
        .and_then(|aws_sm| self::aws_sm(&at.key("aws_sm"), aws_sm, findings));
    findings.sources().open(Settings {
        vault,
        aws,
        ..token_alone
    });
}

fn sealing_key(at: &ConfigPath, text: &str, findings: &mut Findings<'_>) -> Option<SealingKey> {
    let key = SealingKey::parse(text);
    if key.is_none() {
        findings.error(at, "not a sealing key", "make one with `durward seal --new-key`");
    }
    key
}

fn pkcs11(at: &ConfigPath, pkcs11: &config::Pkcs11, findings: &mut Findings<'_>) -> Option<pkcs11::Settings> {
    let config::Pkcs11 {
        module,
        token,
        pin,
        provider,
    } = pkcs11;
    if !pkcs11::IS_BUILT {
        findings.error(at, "this build has no PKCS#11", "build with `--features pkcs11`");
        return None;
    }
    let module = path(&at.key("module"), module, findings);
    let at_token = at.key("token");
    let token = findings.text(&at_token, token);
    // CK_TOKEN_INFO has so much room for it
    let token = token.filter(|token| (1..=32).contains(&token.len()));
    if token.is_none() {
        findings.incomplete(&at_token, "a token's label is 1 to 32 bytes", "");
    }
    let pin = findings.secret(&at.key("pin"), pin);
    let provider = match provider {
        None => None,
        Some(provider) => Some(path(&at.key("provider"), provider, findings)?),
    };
    Some(pkcs11::Settings {
        module: module?,
        token: token?,
        pin: pin?,
        provider,
    })
}

/// Where a library is. Never searched for: what is loaded runs with all our rights.
fn path(at: &ConfigPath, path: &config::scalar::Text, findings: &mut Findings<'_>) -> Option<PathBuf> {
    let path = PathBuf::from(findings.text(at, path)?);
    if !path.is_absolute() {
        findings.error(at, "not an absolute path", "/usr/lib/softhsm/libsofthsm2.so");
        return None;
    }
    if !path.is_file() {
        findings.error(at, format!("there is no file {}", path.display()), "");
        return None;
    }
    Some(path)
}

fn vault(at: &ConfigPath, vault: &config::Vault, findings: &mut Findings<'_>) -> Option<vault::Settings> {
    let config::Vault {
        address,
        namespace,
        mount,
        ca,
        auth,
    } = vault;
    let address = origin(&at.key("address"), address, findings);
    let namespace = match namespace {
        None => None,
        Some(namespace) => Some(findings.text(&at.key("namespace"), namespace)?),
    };
    let mount = self::mount(&at.key("mount"), mount.as_ref(), "secret", findings);
    let ca = authorities(&at.key("ca"), ca.as_ref(), findings);
    let at = at.key("auth");
    let config::VaultAuth {
        mount: login_mount,
        token,
        approle,
        kubernetes,
    } = auth;
    let (login, usual) = match (token, approle, kubernetes) {
        (Some(token), None, None) => (
            findings.secret(&at.key("token"), token).map(Login::Token),
            "token",
        ),
        (None, Some(config::AppRole { role_id, secret_id }), None) => {
            let at = at.key("approle");
            let role_id = findings.text(&at.key("role_id"), role_id);
            let secret_id = findings.secret(&at.key("secret_id"), secret_id);
            let login = role_id
                .zip(secret_id)
                .map(|(role_id, secret_id)| Login::AppRole { role_id, secret_id });
            (login, "approle")
        }
        (None, None, Some(config::Kubernetes { role, token_file })) => {
            let at = at.key("kubernetes");
            let role = findings.text(&at.key("role"), role);
            let token_file = match token_file {
                None => Some(TOKEN_FILE.to_owned()),
                Some(file) => findings.text(&at.key("token_file"), file),
            };
            let login = role.zip(token_file).map(|(role, file)| Login::Kubernetes {
                role,
                token_file: findings.sources().path(std::path::Path::new(&file)),
            });
            (login, "kubernetes")
        }
        _ => {
            findings.incomplete(&at, "must be one of `token`, `approle` and `kubernetes`", "");
            return None;
        }
    };
    let login_mount = self::mount(&at.key("mount"), login_mount.as_ref(), usual, findings);
    Some(vault::Settings {
        address: address?,
        namespace,
        mount: mount?,
        ca: ca?,
        login: login?,
        login_mount: login_mount?,
    })
}

/// A part of a path: no slash at its ends.
fn mount(
    at: &ConfigPath,
    mount: Option<&config::scalar::Text>,
    usual: &str,
    findings: &mut Findings<'_>,
) -> Option<String> {
    let Some(mount) = mount else {
        return Some(usual.to_owned());
    };
    let mount = findings.text(at, mount)?;
    let is_plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.');
    let is_segment = |segment: &str| !segment.is_empty() && segment != ".." && segment.bytes().all(is_plain);
    if !mount.split('/').all(is_segment) {
        findings.error(at, format!("`{mount}` is not where an engine can be mounted"), "");
        return None;
    }
    Some(mount)
}

fn aws_sm(at: &ConfigPath, aws_sm: &config::AwsSm, findings: &mut Findings<'_>) -> Option<aws::Settings> {
    let config::AwsSm {
        region,
        endpoint,
        access_key_id,
        secret_access_key,
        session_token,
    } = aws_sm;
    let at_region = at.key("region");
    let region = findings.text(&at_region, region)?;
    if region.is_empty() || !region.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-') {
        findings.error(&at_region, format!("`{region}` is not a region"), "eu-central-1");
        return None;
    }
    let endpoint = match endpoint {
        Some(endpoint) => origin(&at.key("endpoint"), endpoint, findings),
        None => format!("https://secretsmanager.{region}.amazonaws.com/")
            .parse()
            .ok(),
    };
    let access_key_id = findings.text(&at.key("access_key_id"), access_key_id);
    let secret_access_key = findings.secret(&at.key("secret_access_key"), secret_access_key);
    let session_token = match session_token {
        None => None,
        Some(token) => Some(findings.secret(&at.key("session_token"), token)?),
    };
    Some(aws::Settings {
        endpoint: endpoint?,
        region,
        credentials: Credentials {
            access_key_id: access_key_id?,
            secret_access_key: secret_access_key?,
            session_token,
        },
    })
}

/// A URL that may be asked, without a path.
fn origin(at: &ConfigPath, url: &config::scalar::Text, findings: &mut Findings<'_>) -> Option<Uri> {
    let text = findings.text(at, url)?;
    let url = url_of(at, &text, findings)?;
    if url.path_and_query().is_some_and(|path| path != "/") {
        findings.error(at, format!("`{text}` has a path"), "write `https://HOST:PORT`");
        return None;
    }
    Some(url)
}
