//! `acme:`, and the certificates that are had from there.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;

use base64::Engine;
use base64::alphabet::URL_SAFE;
use base64::engine::DecodePaddingMode;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig};
use http::Uri;

use super::findings::Findings;
use super::key_sets::{authorities, url_of};
use crate::acme::store::Store;
use crate::acme::{Account, Challenge, ExternalAccount};
use crate::config::path::ConfigPath;
use crate::config::scalar::Text;
use crate::config::{self, AcmeChallenge};
use crate::gateway::certificates::Slot;
use crate::gateway::{Listener, Purpose};
use crate::pki::facts;

/// Usual for certificates of 90 days: a month is left for whatever goes wrong.
const RENEW_AFTER_PERCENT: u8 = 67;

/// Some CAs pad what others do not.
const B64: GeneralPurpose = GeneralPurpose::new(
    &URL_SAFE,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// The accounts by name; `None` for one with faults.
pub(super) type Accounts = BTreeMap<String, Option<Arc<Account>>>;

pub(super) fn compile(accounts: &BTreeMap<String, config::Acme>, findings: &mut Findings<'_>) -> Accounts {
    let root = ConfigPath::root().key("acme");
    let compiled = accounts.iter().map(|(name, account)| {
        let compiled = self::account(&root.key(name), name, account, findings);
        (name.clone(), compiled.map(Arc::new))
    });
    compiled.collect()
}

fn account(
    at: &ConfigPath,
    name: &str,
    account: &config::Acme,
    findings: &mut Findings<'_>,
) -> Option<Account> {
    let config::Acme {
        directory,
        ca,
        contact,
        terms_agreed,
        storage,
        plain_storage,
        challenge,
        external_account,
        renew_after_percent,
    } = account;
    let is_plain = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    if !name.chars().all(is_plain) {
        findings.error(
            at,
            "the name is one of files: letters, digits, `-` and `_` only",
            "",
        );
    }
    let at_directory = at.key("directory");
    let directory = findings
        .text(&at_directory, directory)
        .and_then(|url| url_of(&at_directory, &url, findings));
    if let Some(directory) = &directory
        && is_staging(directory)
    {
        findings.unfit(
            &at_directory,
            "certificates of this directory are for tests: no client believes them",
            "name the CA's directory for real certificates",
        );
    }
    let ca = authorities(&at.key("ca"), ca.as_ref(), findings);
    let at_contact = at.key("contact");
    let mut contacts = Vec::new();
    for (index, contact) in contact.iter().enumerate() {
        let at = at_contact.index(index);
        let Some(contact) = findings.text(&at, contact) else {
            continue;
        };
        if !contact.starts_with("mailto:") {
            findings.error(&at, format!("`{contact}` is not a URL with `mailto:`"), "");
        }
        contacts.push(contact);
    }
    if !terms_agreed {
        findings.error(
            &at.key("terms_agreed"),
            "the CA makes no account for who does not agree to its terms of service",
            "read them, and write `terms_agreed: true`",
        );
    }
    let at_storage = at.key("storage");
    let storage = findings.text(&at_storage, storage);
    let keys = match plain_storage {
        true => Vec::new(),
        false => findings.sources().sealing_keys(),
    };
    if *plain_storage {
        findings.unfit(
            &at.key("plain_storage"),
            "private keys are kept in the clear",
            "name a key in `secrets.sealing_keys` (`durward seal --new-key` makes one), and leave `plain_storage` out",
        );
    }
    if keys.is_empty() && !plain_storage {
        findings.incomplete(
            &at_storage,
            "nothing says what keys are sealed with at rest",
            "name a key in `secrets.sealing_keys` (`durward seal --new-key` makes one), or write `plain_storage: true` to keep \
             private keys as plain files",
        );
    }
    let external = match external_account {
        Some(external) => Some(self::external(&at.key("external_account"), external, findings)?),
        None => None,
    };
    let percent = renew_after_percent.unwrap_or(RENEW_AFTER_PERCENT);
    if !(10..=90).contains(&percent) {
        findings.error(&at.key("renew_after_percent"), "must be 10 to 90", "");
    }
    Some(Account {
        name: name.into(),
        directory: directory?,
        ca: ca?,
        contact: contacts,
        external,
        storage: Store {
            folder: findings.sources().path(Path::new(&storage?)),
            keys,
        },
        challenge: match challenge {
            AcmeChallenge::Http01 => Challenge::Http01,
            AcmeChallenge::TlsAlpn01 => Challenge::TlsAlpn01,
        },
        renew_after: f64::from(percent) / 100.0,
    })
}

fn external(
    at: &ConfigPath,
    external: &config::ExternalAccount,
    findings: &mut Findings<'_>,
) -> Option<ExternalAccount> {
    let config::ExternalAccount { kid, hmac_key } = external;
    let kid = findings.text(&at.key("kid"), kid);
    let at_key = at.key("hmac_key");
    let key = findings.secret(&at_key, hmac_key).and_then(|key| {
        let key = B64.decode(key.trim()).ok().filter(|key| !key.is_empty());
        if key.is_none() {
            findings.error(&at_key, "the key is not in base64url", "");
        }
        key
    });
    Some(ExternalAccount { kid: kid?, key: key? })
}

/// A certificate from an account, as far as there is one already.
pub(super) fn slot(
    at: &ConfigPath,
    account: &Text,
    names: Option<&[Text]>,
    accounts: &Accounts,
    findings: &mut Findings<'_>,
) -> Option<Arc<Slot>> {
    let at_account = at.key("acme");
    let account = findings.text(&at_account, account)?;
    let Some(account) = accounts.get(&account) else {
        findings.unknown(
            &at_account,
            "account",
            "acme",
            &account,
            accounts.keys().map(String::as_str),
        );
        return None;
    };
    let at_names = at.key("names");
    let mut written = Vec::new();
    for (index, name) in names.unwrap_or_default().iter().enumerate() {
        let at = at_names.index(index);
        let name = findings.text(&at, name)?.to_ascii_lowercase();
        if name.starts_with("*.") {
            findings.error(
                &at,
                format!("`{name}` cannot be proven: a wildcard needs a challenge by DNS"),
                "name the hosts one by one",
            );
        } else if name.parse::<IpAddr>().is_ok() || !is_host(&name) {
            findings.error(&at, format!("`{name}` is not a DNS name"), "");
        }
        if written.contains(&name) {
            findings.error(&at, format!("`{name}` is there twice"), "");
        }
        written.push(name);
    }
    if written.is_empty() {
        findings.incomplete(
            &at_names,
            "there is no name",
            "name the hosts that the certificate is to be for",
        );
        return None;
    }
    let account = account.as_ref()?;
    let stored = match account.storage.load(&written) {
        Ok(stored) => {
            let chain = stored.iter().flat_map(|stored| &stored.chain);
            if chain.clone().any(|one| facts::is_for_development(one)) {
                findings.unfit(
                    at,
                    "the certificate that was issued before is one for tests",
                    "remove it from `storage`: another one is issued",
                );
            }
            stored
        }
        Err(why) => {
            findings.error(
                at,
                format!("the certificate that was issued cannot be read: {why}"),
                "",
            );
            return None;
        }
    };
    Some(Arc::new(Slot::managed(written.into(), account.clone(), stored)))
}

/// Whether it is one of the directories that large CAs have for tests: of Let's Encrypt, Google Trust Services, Buypass.
fn is_staging(directory: &Uri) -> bool {
    let host = directory.host().unwrap_or_default();
    let has_word = |asked: &str| host.split(['.', '-']).any(|word| word == asked);
    has_word("staging") || host.ends_with(".test-api.pki.goog") || host.starts_with("api.test4.buypass.")
}

fn is_host(name: &str) -> bool {
    let is_label = |label: &str| {
        let is_plain = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
        (1..=63).contains(&label.len()) && label.bytes().all(is_plain)
    };
    name.len() <= 253 && name.split('.').all(is_label)
}

/// A proof on plain HTTP needs a port for it.
pub(super) fn check_ports(listeners: &[Listener], accounts: &Accounts, findings: &mut Findings<'_>) {
    let redirects = |listener: &Listener| matches!(listener.purpose, Purpose::Redirect(_));
    if listeners.iter().any(redirects) {
        return;
    }
    for (name, account) in accounts {
        if account
            .as_ref()
            .is_some_and(|account| account.challenge == Challenge::Http01)
        {
            findings.incomplete(
                &ConfigPath::root().key("acme").key(name),
                "`http-01` is answered on a listener with `redirect_https`, and there is none",
                "add one that is reached at port 80, or write `challenge: tls-alpn-01`",
            );
        }
    }
}
