//! When a certificate is renewed: after a part of its lifetime, or when its CA suggests it (ARI, RFC 9773).

use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as B64;
use http::Uri;
use serde_json::Value;

use super::challenge::Challenges;
use super::client::{self, Answer};
use super::{Account, Failure, Managed, order};
use crate::clock::UnixTime;
use crate::gateway::CertifiedKey;
use crate::pki::facts;
use crate::world::http::Asker;
use crate::world::jitter;

/// Least and greatest wait after a failure: CAs count the failures of an hour.
const BACKOFF: (Duration, Duration) = (Duration::from_secs(60), Duration::from_secs(6 * 3600));
/// Waits after failures are shortened by at most this part.
const JITTER: f64 = 0.1;
/// Renewals are earlier by at most this part of the lifetime, each certificate by another.
const SPREAD: f64 = 0.05;
/// The last moment, as a part of the lifetime, whatever the CA suggests.
const LAST: f64 = 0.95;
/// How often the CA is asked what it suggests, if it does not say itself (RFC 9773 section 4.3.3).
const ASK: Duration = Duration::from_secs(6 * 3600);
/// And how often at most, and at least.
const BOUNDS: (Duration, Duration) = (Duration::from_secs(60), Duration::from_secs(86_400));

/// Where a certificate serves.
pub trait Serving {
    /// The one that serves now.
    fn current(&self) -> Option<Arc<CertifiedKey>>;
    /// Takes what is stored, if that is another one than the one that serves, and whether it did.
    fn reload(&self) -> bool;
    /// Another one from now on.
    fn install(&self, certificate: CertifiedKey);
    /// When the next one is ordered, for metrics.
    fn planned(&self, at: UnixTime);
    /// What became of an order, for metrics.
    fn ordered(&self, failed: bool);
}

/// Keeps a certificate from its CA: ordered at once where there is none, renewed in time. Never ends.
pub async fn keep(
    asker: &Asker,
    managed: &Managed,
    challenges: &Challenges,
    serving: &impl Serving,
    now: impl Fn() -> UnixTime + Send,
) {
    let name = managed.names.first().map_or("", String::as_str);
    let mut failures = 0;
    loop {
        let current = serving.current();
        let (due, look) = match &current {
            None => (now(), ASK),
            Some(current) => due(asker, &managed.account, current).await,
        };
        serving.planned(due);
        let left = due.saturating_since(now());
        if !left.is_zero() {
            tokio::time::sleep(left.min(look)).await;
            continue;
        }
        // a predecessor or a neighbour may have been here
        if serving.reload() {
            continue;
        }
        log::info!(target: "durward::acme", "certificate for {name}: ordered from {}", managed.account.name);
        let replaces = current.as_deref().and_then(identifier);
        let pause = match order::fulfil(asker, managed, challenges, replaces.as_deref()).await {
            Ok(certificate) => {
                failures = 0;
                let until = certificate.chain.first().map(|leaf| leaf.not_after().to_string());
                let until = until.unwrap_or_default();
                log::info!(target: "durward::acme", "certificate for {name}: issued, good until {until}");
                // were it due at once, a CA with odd dates would be asked without an end
                let rest = lifetime(&certificate).map_or(BACKOFF.0, |(_, life)| life.mul_f64(SPREAD));
                serving.install(certificate);
                serving.ordered(false);
                rest
            }
            Err(why) => {
                let serves = if current.is_some() {
                    "the present one goes on"
                } else {
                    "there is none to serve with"
                };
                log::error!(target: "durward::acme", "certificate for {name}: not issued, {serves}: {why}");
                serving.ordered(true);
                let pause = (BACKOFF.0 * (1 << failures)).min(BACKOFF.1);
                failures = (failures + 1).min(10);
                serving.planned(now().saturating_add(pause));
                jitter::earlier(pause, JITTER)
            }
        };
        tokio::time::sleep(pause).await;
    }
}

/// When a certificate is to be renewed, and when to think about it again.
async fn due(asker: &Asker, account: &Account, certificate: &CertifiedKey) -> (UnixTime, Duration) {
    let planned = planned(certificate, account.renew_after);
    match suggestion(asker, account, certificate).await {
        Ok(Some((window, again))) => (chosen(certificate, window).unwrap_or(planned), again),
        Ok(None) => (planned, ASK),
        Err(why) => {
            log::warn!(target: "durward::acme", "{}: when to renew cannot be asked: {why}", account.name);
            (planned, ASK)
        }
    }
}

/// By its lifetime alone.
fn planned(certificate: &CertifiedKey, renew_after: f64) -> UnixTime {
    let Some((begin, life)) = lifetime(certificate) else {
        // what cannot be read cannot be trusted either
        return UnixTime::EPOCH;
    };
    begin.saturating_add(life.mul_f64(renew_after - SPREAD * chance(certificate)))
}

/// A moment in the window that the CA suggests, the same one whenever it is asked (RFC 9773 section 4.2).
fn chosen(certificate: &CertifiedKey, (start, end): (UnixTime, UnixTime)) -> Option<UnixTime> {
    let (begin, life) = lifetime(certificate)?;
    let chosen = start.saturating_add(end.saturating_since(start).mul_f64(chance(certificate)));
    Some(chosen.min(begin.saturating_add(life.mul_f64(LAST))))
}

/// From when, and how long.
fn lifetime(certificate: &CertifiedKey) -> Option<(UnixTime, Duration)> {
    let leaf = certificate.chain.first()?;
    let moment = |time| {
        let seconds = u64::try_from(facts::seconds(time)?).ok()?;
        Some(UnixTime::from_seconds(seconds))
    };
    let (begin, end) = (moment(leaf.not_before())?, moment(leaf.not_after())?);
    Some((begin, end.saturating_since(begin)))
}

/// 0 to 1: random, and the same for one certificate at all times.
fn chance(certificate: &CertifiedKey) -> f64 {
    let [first, second, ..] = certificate.fingerprint;
    f64::from(u16::from_be_bytes([first, second])) / f64::from(u16::MAX)
}

/// What a certificate is called where renewal is asked about (RFC 9773 section 4.1); `None` where it has no such name.
fn identifier(certificate: &CertifiedKey) -> Option<String> {
    let leaf = certificate.chain.first()?;
    let authority = leaf.authority_key_id()?.as_slice();
    let mut serial = leaf.serial_number().to_bn().ok()?.to_vec();
    // the contents of a DER integer: positive
    if serial.first().is_none_or(|byte| byte & 0x80 != 0) {
        serial.insert(0, 0);
    }
    Some(format!("{}.{}", B64.encode(authority), B64.encode(serial)))
}

type Window = (UnixTime, UnixTime);

/// When the CA suggests to renew, and how long that is good. `None`: it suggests nothing.
async fn suggestion(
    asker: &Asker,
    account: &Account,
    certificate: &CertifiedKey,
) -> Result<Option<(Window, Duration)>, Failure> {
    let Some(identifier) = identifier(certificate) else {
        return Ok(None);
    };
    let directory = client::get(asker, &account.directory).await?.json()?;
    let Some(url) = directory.get("renewalInfo").and_then(Value::as_str) else {
        return Ok(None);
    };
    let url = format!("{}/{identifier}", url.trim_end_matches('/'));
    let url: Uri = url
        .parse()
        .map_err(|_| Failure(format!("the CA names `{url}`, which is no URL")))?;
    let answer = client::get(asker, &url).await?;
    window(&answer).map(Some)
}

fn window(answer: &Answer) -> Result<(Window, Duration), Failure> {
    let told = answer.json()?;
    let moment = |name: &str| {
        let text = told.pointer(&format!("/suggestedWindow/{name}"))?.as_str()?;
        let moment: jiff::Timestamp = text.parse().ok()?;
        Some(UnixTime::from_seconds(u64::try_from(moment.as_second()).ok()?))
    };
    match (moment("start"), moment("end")) {
        (Some(start), Some(end)) if start < end => {
            let again = answer.retry_after.unwrap_or(ASK).clamp(BOUNDS.0, BOUNDS.1);
            Ok(((start, end), again))
        }
        _ => Err(Failure("the CA's window of time is not one".to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use openssl::bn::BigNum;
    use openssl::x509::X509;

    use super::*;
    use crate::pki::issue::{Authority, Key};

    const DAY: u64 = 86_400;

    /// From an hour before day 100, for 90 days.
    fn certificate() -> CertifiedKey {
        let now = UnixTime::from_seconds(100 * DAY);
        let authority = Authority::new("test", 300, now).unwrap();
        let key = Key::P256.generate().unwrap();
        let leaf = authority
            .server(&key, "test", &["a.example".to_owned()], 90, now)
            .unwrap();
        CertifiedKey::new(vec![leaf, authority.certificate], key).unwrap()
    }

    // S15
    #[test]
    fn renewal_is_planned_by_the_lifetime_and_not_for_all_at_once() {
        let certificates: Vec<CertifiedKey> = (0..8).map(|_| certificate()).collect();
        let planned: Vec<u64> = certificates
            .iter()
            .map(|one| planned(one, 0.67).seconds())
            .collect();
        let (early, late) = (100 * DAY + 55 * DAY, 100 * DAY + 61 * DAY);
        assert!(planned.iter().all(|at| (early..late).contains(at)), "{planned:?}");
        assert!(
            planned.iter().any(|at| at.abs_diff(planned[0]) > 60),
            "{planned:?}"
        );
        assert_eq!(planned[0], super::planned(&certificates[0], 0.67).seconds());
    }

    // S15: RFC 9773 section 4.2
    #[test]
    fn the_window_that_the_ca_suggests_decides_within_the_lifetime() {
        let answer = |body: &str, retry_after: Option<u64>| Answer {
            location: None,
            retry_after: retry_after.map(Duration::from_secs),
            body: Bytes::copy_from_slice(body.as_bytes()),
        };
        let told = r#"{"suggestedWindow":{"start":"1970-05-01T00:00:00Z","end":"1970-05-03T00:00:00Z"}}"#;
        let (found, again) = window(&answer(told, Some(7200))).unwrap();
        assert_eq!(
            found,
            (
                UnixTime::from_seconds(120 * DAY),
                UnixTime::from_seconds(122 * DAY)
            )
        );
        assert_eq!(again, Duration::from_secs(7200));
        assert_eq!(window(&answer(told, Some(1))).unwrap().1, BOUNDS.0);
        assert_eq!(window(&answer(told, None)).unwrap().1, ASK);
        let one = certificate();
        let at = chosen(&one, found).unwrap();
        assert!(found.0 <= at && at <= found.1);
        // a window after the end is not waited for
        let late = (
            UnixTime::from_seconds(500 * DAY),
            UnixTime::from_seconds(501 * DAY),
        );
        assert!(chosen(&one, late).unwrap() < UnixTime::from_seconds(190 * DAY));
        for wrong in [
            "{}",
            "no JSON",
            r#"{"suggestedWindow":{"start":"1970-05-03T00:00:00Z","end":"1970-05-01T00:00:00Z"}}"#,
        ] {
            assert!(window(&answer(wrong, None)).is_err(), "{wrong}");
        }
    }

    // RFC 9773 section 4.1
    #[test]
    fn certificates_are_identified_by_their_issuers_key_and_their_serial() {
        let one = certificate();
        let leaf: &X509 = &one.chain[0];
        let id = identifier(&one).unwrap();
        let (authority, serial) = id.split_once('.').unwrap();
        let key = one.chain[1].subject_key_id().unwrap().as_slice();
        assert_eq!(B64.decode(authority).unwrap(), key);
        let bytes = B64.decode(serial).unwrap();
        assert_eq!(
            BigNum::from_slice(&bytes).unwrap(),
            leaf.serial_number().to_bn().unwrap()
        );
        assert!(bytes[0] & 0x80 == 0);
    }
}
