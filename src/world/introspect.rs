//! Asking an issuer about tokens (RFC 7662): one question for each token at a time, however many wait for its answer.
//!
//! What is asked for runs on a task of its own: whoever goes away does not take the answer with them. While the issuer
//! fails again and again, it is left alone for a moment, and nobody waits for a deadline that is known to pass.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_TYPE, HeaderValue};
use http::{Method, Request};
use http_body_util::Full;
use parking_lot::Mutex;
use tokio::sync::{Semaphore, mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::Introspected;
use super::http::{Asker, FetchError};
use crate::gates::authn::introspection::{Introspection, Said};
use crate::gates::authn::verdicts::Digest;

/// Largest answer that is read, in bytes.
const MAX_BYTES: usize = 64 * 1024;
/// Questions under way at most; further ones wait, within their deadline.
const AT_ONCE: usize = 64;
/// Questions that wait at most; beyond it the answer is that there is none.
const WAITING: usize = 4096;
/// Failures in a row after which the issuer is left alone.
const PATIENCE: u64 = 3;
/// For how long.
const REST: Duration = Duration::from_secs(1);

/// Asks one issuer.
#[derive(Debug)]
pub struct Introspector {
    name: Arc<str>,
    settings: Introspection,
    /// The answers that are on their way.
    flights: Mutex<HashMap<Digest, watch::Receiver<Option<Introspected>>>>,
    questions: mpsc::Sender<Question>,
    /// Taken by whoever answers.
    inbox: Mutex<Option<mpsc::Receiver<Question>>>,
    failures: AtomicU64,
    /// Milliseconds after `epoch`: nobody asks before.
    quiet_until: AtomicU64,
    /// Questions so far, by what came of them.
    outcomes: [AtomicU64; 3],
    epoch: Instant,
}

/// A question that somebody waits for.
#[derive(Debug)]
struct Question {
    digest: Digest,
    token: String,
    answer: watch::Sender<Option<Introspected>>,
    until: Instant,
}

/// What became of an issuer's questions, for metrics.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IntrospectionState {
    /// Name of the issuer.
    pub issuer: Arc<str>,
    /// Failures since the last answer.
    pub failures: u64,
    /// Questions so far: `active`, `inactive` and `failed`.
    pub asked: [(&'static str, u64); 3],
}

/// Puts one question, within no deadline of its own.
pub trait Introspect: Send + Sync + 'static {
    /// What the issuer says of the token.
    ///
    /// # Errors
    /// It says nothing that can be used.
    fn introspect(
        &self,
        settings: &Introspection,
        token: &str,
    ) -> impl Future<Output = Result<Said, FetchError>> + Send;
}

impl Introspector {
    /// One that nobody has asked yet.
    #[must_use]
    pub fn new(name: Arc<str>, settings: Introspection) -> Introspector {
        let (questions, inbox) = mpsc::channel(WAITING);
        Introspector {
            name,
            settings,
            flights: Mutex::default(),
            questions,
            inbox: Mutex::new(Some(inbox)),
            failures: AtomicU64::new(0),
            quiet_until: AtomicU64::new(0),
            outcomes: [const { AtomicU64::new(0) }; 3],
            epoch: Instant::now(),
        }
    }

    /// Name of the issuer.
    #[must_use]
    pub fn name(&self) -> &Arc<str> {
        &self.name
    }

    /// How it is asked.
    #[must_use]
    pub fn settings(&self) -> &Introspection {
        &self.settings
    }

    /// For metrics.
    #[must_use]
    pub fn state(&self) -> IntrospectionState {
        let [active, inactive, failed] = &self.outcomes;
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        IntrospectionState {
            issuer: self.name.clone(),
            failures: count(&self.failures),
            asked: [
                ("active", count(active)),
                ("inactive", count(inactive)),
                ("failed", count(failed)),
            ],
        }
    }

    /// What the issuer says of the token with this digest, within the deadline.
    pub async fn ask(&self, digest: &Digest, token: &str) -> Introspected {
        let unavailable = Introspected::Unavailable(REST);
        let flight = {
            let mut flights = self.flights.lock();
            match flights.get(digest) {
                Some(flight) => Some(flight.clone()),
                None if self.millis() < self.quiet_until.load(Ordering::Acquire) => None,
                None => {
                    let (answer, flight) = watch::channel(None);
                    let question = Question {
                        digest: *digest,
                        token: token.to_owned(),
                        answer,
                        until: Instant::now() + self.settings.timeout,
                    };
                    let sent = self.questions.try_send(question).is_ok();
                    sent.then(|| {
                        flights.insert(*digest, flight.clone());
                        flight
                    })
                }
            }
        };
        let Some(mut flight) = flight else {
            return unavailable;
        };
        // the deadline of the question itself ends it; this one only guards against an answerer that is gone
        let patience = self.settings.timeout + Duration::from_millis(250);
        match tokio::time::timeout(patience, flight.wait_for(Option::is_some)).await {
            Ok(Ok(answer)) => answer.clone().unwrap_or(unavailable),
            Ok(Err(_)) | Err(_) => {
                self.forget_dead(digest);
                unavailable
            }
        }
    }

    /// A flight whose answerer is gone would never land.
    fn forget_dead(&self, digest: &Digest) {
        let mut flights = self.flights.lock();
        if flights
            .get(digest)
            .is_some_and(|flight| flight.has_changed().is_err())
        {
            flights.remove(digest);
        }
    }

    /// Answers questions; never ends. Only the first to call it does.
    pub async fn answer(self: Arc<Self>, asker: Arc<impl Introspect>) {
        let Some(mut inbox) = self.inbox.lock().take() else {
            return;
        };
        let room = Arc::new(Semaphore::new(AT_ONCE));
        // dropped with this task, and all questions with it
        let mut under_way = JoinSet::new();
        while let Some(question) = inbox.recv().await {
            while under_way.try_join_next().is_some() {}
            let (this, asker, room) = (self.clone(), asker.clone(), room.clone());
            under_way.spawn(async move {
                let asked = async {
                    let _room = room.acquire().await;
                    asker.introspect(&this.settings, &question.token).await
                };
                let outcome = tokio::time::timeout_at(question.until, asked)
                    .await
                    .unwrap_or(Err(FetchError::Timeout));
                let answer = this.note(outcome);
                // in this order: whoever asks from now on finds the verdict, or begins anew
                question.answer.send_replace(Some(answer));
                this.flights.lock().remove(&question.digest);
            });
        }
    }

    fn note(&self, outcome: Result<Said, FetchError>) -> Introspected {
        let [active, inactive, failed] = &self.outcomes;
        match outcome {
            Ok(said) => {
                let counter = match said {
                    Said::Active(_) => active,
                    Said::Inactive => inactive,
                };
                counter.fetch_add(1, Ordering::Relaxed);
                self.failures.store(0, Ordering::Relaxed);
                Introspected::Said(Arc::new(said))
            }
            Err(why) => {
                failed.fetch_add(1, Ordering::Relaxed);
                let failures = self.failures.fetch_add(1, Ordering::Relaxed) + 1;
                if failures >= PATIENCE {
                    let until = self.millis() + millis(REST);
                    self.quiet_until.store(until, Ordering::Release);
                }
                log::warn!(target: "durward::introspection", "issuer {}: {why}", self.name);
                Introspected::Unavailable(REST)
            }
        }
    }

    fn millis(&self) -> u64 {
        millis(self.epoch.elapsed())
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

impl Introspect for Asker {
    async fn introspect(&self, settings: &Introspection, token: &str) -> Result<Said, FetchError> {
        // a token is of characters that a form carries as they are, but for these (RFC 6750 section 2.1)
        let token = token.replace('+', "%2B").replace('/', "%2F").replace('=', "%3D");
        let form = format!("token={token}&token_type_hint=access_token");
        let mut request = Request::new(Full::new(Bytes::from(form)));
        *request.method_mut() = Method::POST;
        *request.uri_mut() = settings.url.clone();
        let headers = request.headers_mut();
        headers.insert(
            CONTENT_TYPE,
            HeaderValue::from_static("application/x-www-form-urlencoded"),
        );
        headers.insert(AUTHORIZATION, basic(settings)?);
        let answer = self.ask(request, MAX_BYTES).await?;
        Said::parse(&answer).map_err(|_| FetchError::Content("not one of RFC 7662".to_owned()))
    }
}

/// RFC 6749 section 2.3.1: both parts encoded as in a form, and only then in base64.
fn basic(settings: &Introspection) -> Result<HeaderValue, FetchError> {
    let pair = format!(
        "{}:{}",
        encoded(&settings.client_id),
        encoded(&settings.client_secret)
    );
    let mut value = HeaderValue::from_str(&format!("Basic {}", STANDARD.encode(pair)))
        .map_err(|_| FetchError::Content("not asked for: the credentials are no header".to_owned()))?;
    value.set_sensitive(true);
    Ok(value)
}

fn encoded(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'*' => {
                encoded.push(char::from(byte))
            }
            b' ' => encoded.push('+'),
            _ => encoded.push_str(&format!("%{byte:02X}")),
        }
    }
    encoded
}
