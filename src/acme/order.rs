//! From an order to a certificate (RFC 8555 section 7.4).

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as B64;
use openssl::x509::X509;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::challenge::{Challenges, Shown};
use super::client::{Answer, Client};
use super::jws::AccountKey;
use super::{Failure, Managed};
use crate::gateway::CertifiedKey;
use crate::pki::issue::{self, Key};
use crate::world::http::Asker;

/// How long a CA may take to check a name, or to issue.
const PATIENCE: Duration = Duration::from_secs(180);
/// Least and greatest wait between two looks at what it is doing.
const LOOK: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(15));

/// Orders a certificate, proves control over its names, and keeps it. `replaces`: which one it is to replace, by the
/// identifier of RFC 9773.
///
/// # Errors
/// What the CA has against it. The certificate that serves goes on doing so.
pub async fn fulfil(
    asker: &Asker,
    managed: &Managed,
    challenges: &Challenges,
    replaces: Option<&str>,
) -> Result<CertifiedKey, Failure> {
    let Managed { account, names, .. } = managed;
    let key = AccountKey::new(account.storage.account_key(&account.name)?)?;
    let client = Client::open(asker, account, key).await?;
    let order = new_order(&client, names, replaces).await?;
    let url = order
        .location
        .clone()
        .ok_or_else(|| Failure("the CA gave the order no URL".to_owned()))?;
    let order = order.json()?;
    let mut proofs = Vec::new();
    for authorization in texts(&order, "authorizations") {
        proofs.extend(begin(&client, managed, challenges, &authorization).await?);
    }
    for authorization in texts(&order, "authorizations") {
        until(&client, &authorization, &["valid"]).await?;
    }
    drop(proofs);
    let order = until(&client, &url, &["ready", "valid"]).await?;

    let key = Key::P256.generate()?;
    let request = issue::request(&key, names, None)?.to_der()?;
    let finalize = text(&order, "finalize")?;
    client
        .post(&finalize, &json!({ "csr": B64.encode(request) }))
        .await?;
    let order = until(&client, &url, &["valid"]).await?;
    let chain = client.read(&text(&order, "certificate")?).await?.body;
    let certificates = X509::stack_from_pem(&chain)?;
    let certificate = CertifiedKey::new(certificates, key.clone())
        .filter(|issued| names.iter().all(|name| issued.names.contains(name)))
        .ok_or_else(|| {
            Failure("the CA issued a certificate for another key, or for other names".to_owned())
        })?;
    account.storage.keep(names, &chain, &key)?;
    Ok(certificate)
}

async fn new_order(client: &Client<'_>, names: &[String], replaces: Option<&str>) -> Result<Answer, Failure> {
    let url = client.url("newOrder")?;
    let identifiers: Vec<Value> = names
        .iter()
        .map(|name| json!({ "type": "dns", "value": name }))
        .collect();
    let plain = json!({ "identifiers": identifiers });
    let Some(replaces) = replaces else {
        return client.post(&url, &plain).await;
    };
    let wanted = json!({ "identifiers": identifiers, "replaces": replaces });
    match client.post(&url, &wanted).await {
        // replaced already, or forgotten by the CA: an ordinary order then (RFC 9773 section 5)
        Err(_) => client.post(&url, &plain).await,
        answer => answer,
    }
}

/// Shows the proof for a name and tells the CA to look. `None`: it knows already.
async fn begin<'a>(
    client: &Client<'_>,
    managed: &Managed,
    challenges: &'a Challenges,
    authorization: &str,
) -> Result<Option<Shown<'a>>, Failure> {
    let authorization = client.read(authorization).await?.json()?;
    if authorization.get("status").and_then(Value::as_str) == Some("valid") {
        return Ok(None);
    }
    let name = authorization
        .pointer("/identifier/value")
        .and_then(Value::as_str)
        .unwrap_or_default();
    // a CA that asks about what was not ordered gets no proof of it
    if !managed.names.iter().any(|ours| ours == name) {
        return Err(Failure(format!(
            "the CA asks about `{name}`, which was not ordered"
        )));
    }
    let kind = managed.account.challenge;
    let offered = authorization.get("challenges").and_then(Value::as_array);
    let challenge = offered
        .into_iter()
        .flatten()
        .find(|challenge| challenge.get("type").and_then(Value::as_str) == Some(kind.as_str()))
        .ok_or_else(|| Failure(format!("the CA does not offer {} for {name}", kind.as_str())))?;
    let token = text(challenge, "token")?;
    let is_token = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
    if !token.bytes().all(is_token) {
        return Err(Failure("the CA's token is not one".to_owned()));
    }
    let shown = challenges.show(kind, name, &token, &client.thumbprint())?;
    client.post(&text(challenge, "url")?, &json!({})).await?;
    Ok(Some(shown))
}

/// Waits until something has one of these states.
async fn until(client: &Client<'_>, url: &str, wanted: &[&str]) -> Result<Value, Failure> {
    let end = Instant::now() + PATIENCE;
    let mut pause = LOOK.0;
    loop {
        let answer = client.read(url).await?;
        let found = answer.json()?;
        match found.get("status").and_then(Value::as_str).unwrap_or_default() {
            status if wanted.contains(&status) => return Ok(found),
            "invalid" | "deactivated" | "expired" | "revoked" => {
                return Err(Failure(format!("the CA says no: {}", reasons(&found))));
            }
            status if Instant::now() > end => {
                return Err(Failure(format!("the CA is not done in time: {status}")));
            }
            _ => {}
        }
        let asked = answer.retry_after.unwrap_or(pause);
        tokio::time::sleep(asked.clamp(LOOK.0, LOOK.1)).await;
        pause = (pause * 2).min(LOOK.1);
    }
}

/// The details of all problems in an order or an authorization.
fn reasons(found: &Value) -> String {
    let challenges = found.get("challenges").and_then(Value::as_array);
    let problems = challenges.into_iter().flatten().chain([found]);
    let details = problems.filter_map(|one| one.pointer("/error/detail")?.as_str());
    let details: Vec<&str> = details.collect();
    if details.is_empty() {
        "without a reason".to_owned()
    } else {
        details.join("; ")
    }
}

fn text(value: &Value, name: &str) -> Result<String, Failure> {
    let text = value.get(name).and_then(Value::as_str);
    text.map(str::to_owned)
        .ok_or_else(|| Failure(format!("the CA's answer has no `{name}`")))
}

fn texts(value: &Value, name: &str) -> Vec<String> {
    let texts = value.get(name).and_then(Value::as_array);
    let texts = texts.into_iter().flatten().filter_map(Value::as_str);
    texts.map(str::to_owned).collect()
}
