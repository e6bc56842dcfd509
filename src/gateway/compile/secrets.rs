//! `secrets:`. Before everything else: what other nouns refer to is looked up in what is opened here.

use std::time::Duration;

use http::Uri;

use super::findings::Findings;
use super::key_sets::{authorities, url_of};
use crate::config;
use crate::config::path::ConfigPath;
use crate::secrets::seal::SealingKey;
use crate::secrets::sigv4::Credentials;
use crate::secrets::store::Settings;
use crate::secrets::vault::Login;
use crate::secrets::{aws, vault};

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
    } = secrets;
    let at = ConfigPath::root().key("secrets");
    let list = at.key("sealing_keys");
    let mut keys = Vec::new();
    for (index, key) in sealing_keys.iter().enumerate() {
        let at = list.index(index);
        let Some(text) = findings.secret(&at, key) else {
            continue;
        };
        match SealingKey::parse(&text) {
            Some(key) => keys.push(key),
            None => findings.error(&at, "not a sealing key", "make one with `durward seal --new-key`"),
        }
    }
    findings.sources().unlock(keys);
    let refresh = findings.duration(&at.key("refresh"), *refresh, SECOND * 300, SECOND..=DAY);
    let timeout = findings.duration(
        &at.key("timeout"),
        *timeout,
        SECOND * 5,
        Duration::from_millis(100)..=SECOND * 30,
    );
    let vault = vault
        .as_ref()
        .and_then(|vault| self::vault(&at.key("vault"), vault, findings));
    let aws = aws_sm
        .as_ref()
        .and_then(|aws_sm| self::aws_sm(&at.key("aws_sm"), aws_sm, findings));
    findings.sources().open(Settings {
        refresh,
        timeout,
        vault,
        aws,
    });
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
