//! Proofs that our certificates are not revoked, fetched from their CAs' responders and kept fresh (S18).
//!
//! A handshake takes what is there and never waits. A responder that is away costs nothing while the last proof is good;
//! once that is over nothing is shown, and clients do what they do without.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use arc_swap::{ArcSwap, ArcSwapOption};
use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderValue};
use http::{Method, Request, StatusCode, Uri};
use http_body_util::Full;

use super::http::{Asker, essence_of};
use super::jitter;
use crate::clock::UnixTime;
use crate::gateway::CertifiedKey;
use crate::pki::facts::Fingerprint;
use crate::pki::ocsp::{self, Rejected, Staple};

#[cfg(test)]
mod tests;

/// Least and greatest wait after a failure.
const BACKOFF: (Duration, Duration) = (Duration::from_secs(10), Duration::from_secs(3600));
/// Least wait between two questions.
const REST: Duration = Duration::from_secs(5);
/// The longest wait, whatever an answer says of its own life.
const LONGEST: Duration = Duration::from_secs(86_400);
/// Deadline of a question.
const PATIENCE: Duration = Duration::from_secs(10);
/// A longer answer is none.
const MAX_BYTES: usize = 64 << 10;
/// Waits are shortened by at most this part.
const JITTER: f64 = 0.1;

/// All proofs, by certificate.
#[derive(Debug, Default)]
pub struct Staples {
    held: ArcSwap<HashMap<Fingerprint, Arc<Held>>>,
}

/// What is known of one certificate.
#[derive(Debug)]
pub struct Held {
    name: String,
    staple: ArcSwapOption<Staple>,
    failures: AtomicU64,
    /// Questions that brought a proof, and that did not.
    asked: [AtomicU64; 2],
}

/// What became of questions about a certificate, for metrics.
#[derive(Debug, PartialEq, Eq)]
pub struct StapleState {
    /// First name of the certificate.
    pub name: String,
    /// Until when the proof can be shown; `None` where there is none.
    pub next_update: Option<UnixTime>,
    /// Failed questions since the last good one.
    pub failures: u64,
    /// Questions by outcome: `good` and `failed`.
    pub asked: [(&'static str, u64); 2],
}

impl Staples {
    /// The proof to show with a certificate now.
    #[must_use]
    pub fn of(&self, certificate: &Fingerprint, now: UnixTime) -> Option<Arc<Staple>> {
        let staple = self.held.load().get(certificate)?.staple.load_full()?;
        (now < staple.next_update).then_some(staple)
    }

    /// Holds proofs for these certificates and for no others; those that are there stay.
    pub fn hold<'a>(&self, certificates: impl Iterator<Item = &'a CertifiedKey>) {
        let before = self.held.load_full();
        let held = certificates.map(|certificate| {
            let id = certificate.fingerprint;
            let held = before.get(&id).cloned();
            (id, held.unwrap_or_else(|| Arc::new(Held::new(certificate))))
        });
        self.held.store(Arc::new(held.collect()));
    }

    /// What is known of a certificate.
    #[must_use]
    pub fn held(&self, certificate: &Fingerprint) -> Option<Arc<Held>> {
        self.held.load().get(certificate).cloned()
    }

    /// For metrics.
    #[must_use]
    pub fn states(&self) -> Vec<StapleState> {
        let held = self.held.load();
        held.values().map(|held| held.state()).collect()
    }
}

/// Asks a responder.
pub trait Responder {
    /// The answer to a question, in DER.
    ///
    /// # Errors
    /// Why there is none.
    fn answer(&self, url: &Uri, question: Vec<u8>) -> impl Future<Output = Result<Vec<u8>, String>> + Send;
}

impl Responder for Asker {
    async fn answer(&self, url: &Uri, question: Vec<u8>) -> Result<Vec<u8>, String> {
        let mut request = Request::new(Full::new(Bytes::from(question)));
        *request.method_mut() = Method::POST;
        *request.uri_mut() = url.clone();
        let kind = HeaderValue::from_static("application/ocsp-request");
        request.headers_mut().insert(CONTENT_TYPE, kind);
        let answer = tokio::time::timeout(PATIENCE, self.exchange(request, MAX_BYTES))
            .await
            .map_err(|_| "no answer within 10s".to_owned())?
            .map_err(|why| why.to_string())?;
        if answer.status() != StatusCode::OK {
            return Err(format!("answered {}", answer.status()));
        }
        if essence_of(answer.headers()) != Some("application/ocsp-response") {
            return Err("the answer is not an OCSP response by its Content-Type".to_owned());
        }
        Ok(answer.into_body().to_vec())
    }
}

impl Held {
    fn new(certificate: &CertifiedKey) -> Held {
        Held {
            name: certificate.names.first().cloned().unwrap_or_default(),
            staple: ArcSwapOption::empty(),
            failures: AtomicU64::new(0),
            asked: [const { AtomicU64::new(0) }; 2],
        }
    }

    /// Keeps the proof for a certificate fresh; never ends. `now`: the clock.
    pub async fn keep_fresh(
        &self,
        certificate: &CertifiedKey,
        url: &Uri,
        responder: &impl Responder,
        now: impl Fn() -> UnixTime + Send,
    ) {
        loop {
            let asked = self.ask(certificate, url, responder, &now).await;
            let [good, failed] = &self.asked;
            let pause = match asked {
                Ok(staple) => {
                    let pause = staple.refresh_at().saturating_since(now());
                    self.failures.store(0, Ordering::Relaxed);
                    self.staple.store(Some(Arc::new(staple)));
                    good.fetch_add(1, Ordering::Relaxed);
                    pause.min(LONGEST)
                }
                Err(why) => {
                    let failures = self.failures.fetch_add(1, Ordering::Relaxed);
                    failed.fetch_add(1, Ordering::Relaxed);
                    log::warn!(target: "durward::ocsp", "certificate for {}: nothing new to staple: {why}", self.name);
                    (BACKOFF.0 * (1 << failures.min(9))).min(BACKOFF.1)
                }
            };
            tokio::time::sleep(jitter::earlier(pause, JITTER).max(REST)).await;
        }
    }

    async fn ask(
        &self,
        certificate: &CertifiedKey,
        url: &Uri,
        responder: &impl Responder,
        now: impl Fn() -> UnixTime,
    ) -> Result<Staple, String> {
        let [leaf, issuer, ..] = &*certificate.chain else {
            return Err("the issuer's certificate is not in the chain".to_owned());
        };
        let question = ocsp::question(leaf, issuer).map_err(|why| why.to_string())?;
        let answer = responder.answer(url, question).await?;
        ocsp::judge(&answer, &certificate.chain, now()).map_err(|why| {
            if why == Rejected::Revoked {
                // what was good until now is known to be false
                self.staple.store(None);
                log::error!(target: "durward::ocsp", "certificate for {}: {why}", self.name);
            }
            why.to_string()
        })
    }

    fn state(&self) -> StapleState {
        let [good, failed] = &self.asked;
        StapleState {
            name: self.name.clone(),
            next_update: self.staple.load().as_deref().map(|staple| staple.next_update),
            failures: self.failures.load(Ordering::Relaxed),
            asked: [
                ("good", good.load(Ordering::Relaxed)),
                ("failed", failed.load(Ordering::Relaxed)),
            ],
        }
    }
}
