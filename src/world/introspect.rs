//! Asking an issuer about tokens (RFC 7662, RFC 9701): one question for each token at a time, however many wait for its answer.
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
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderValue};
use http::{Method, Request, StatusCode};
use http_body_util::Full;
use parking_lot::Mutex;
use tokio::sync::{Semaphore, mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::http::{Asker, FetchError, essence_of, is_json};
use super::keys::KeySource;
use super::{Introspected, Keys};
use crate::clock::UnixTime;
use crate::gates::authn::introspection::signed::{self, Untrusted};
use crate::gates::authn::introspection::{Form, Introspection, Said};
use crate::gates::authn::jwk::KeySet;
use crate::gates::authn::jws::Unverified;
use crate::gates::authn::jwt::Issuer;
use crate::gates::authn::verdicts::Digest;
use crate::gates::authn::{AuthnError, IssuerPolicy};

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
    /// Who signs its answers, where they are to be signed.
    signer: Option<Signer>,
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

/// Whose signatures answers have.
#[derive(Debug)]
struct Signer {
    issuer: Issuer,
    keys: Arc<KeySource>,
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
    /// What the issuer answers, in the form that it is to answer in, and not read yet.
    ///
    /// # Errors
    /// It says nothing that can be used.
    fn introspect(
        &self,
        settings: &Introspection,
        token: &str,
    ) -> impl Future<Output = Result<Bytes, FetchError>> + Send;
}

impl Introspector {
    /// One that nobody has asked yet. `keys`: the issuer's.
    #[must_use]
    pub fn new(policy: &IssuerPolicy, settings: Introspection, keys: &Arc<KeySource>) -> Introspector {
        let signer = (settings.form == Form::Jwt).then(|| Signer {
            issuer: policy.jwt.clone(),
            keys: keys.clone(),
        });
        let (questions, inbox) = mpsc::channel(WAITING);
        Introspector {
            name: policy.name.clone(),
            settings,
            signer,
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

    /// Whether one for this issuer would do the same.
    #[must_use]
    pub fn is_for(&self, policy: &IssuerPolicy, settings: &Introspection, keys: &Arc<KeySource>) -> bool {
        // settings that nobody sees but in what they do: compared as they are printed, as in `is_same`
        let trusts_same = self.signer.as_ref().is_none_or(|signer| {
            Arc::ptr_eq(&signer.keys, keys) && format!("{:?}", signer.issuer) == format!("{:?}", policy.jwt)
        });
        self.name == policy.name && self.settings.is_same(settings) && trusts_same
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
                    let begun = UnixTime::of_system();
                    let answer = asker.introspect(&this.settings, &question.token).await?;
                    this.said(&answer, begun).await
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

    /// Reads an answer to a question that was put then.
    async fn said(&self, answer: &[u8], asked: UnixTime) -> Result<Said, FetchError> {
        let Some(signer) = &self.signer else {
            return Said::parse(answer).map_err(|_| FetchError::Content("not one of RFC 7662".to_owned()));
        };
        let question = signed::Question {
            client_id: &self.settings.client_id,
            asked,
        };
        signer.said(answer, question).await
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
                match why {
                    FetchError::Untrusted(why) => Introspected::Untrusted(why, REST),
                    _ => Introspected::Unavailable(REST),
                }
            }
        }
    }

    fn millis(&self) -> u64 {
        millis(self.epoch.elapsed())
    }
}

impl Signer {
    /// What a signed answer says. Keys are fetched once more where it names one that is not there: the issuer may have
    /// rotated them since (S51).
    async fn said(&self, answer: &[u8], question: signed::Question<'_>) -> Result<Said, FetchError> {
        let untrusted = |why: AuthnError| FetchError::Untrusted(why.into());
        let text = std::str::from_utf8(answer).map_err(|_| untrusted(AuthnError::TokenMalformed))?;
        let signed = Unverified::parse_up_to(text.trim_ascii(), MAX_BYTES).map_err(untrusted)?;
        let known = |keys| match keys {
            Keys::Known(keys) => Ok(keys),
            Keys::Unavailable(_) => Err(FetchError::Content(
                "signed, and the issuer's keys cannot be had".to_owned(),
            )),
        };
        let verify =
            |keys: &KeySet| signed::verify(&self.issuer, keys, &signed, question, UnixTime::of_system());
        let keys = match self.keys.keys() {
            Keys::Known(keys) => keys,
            Keys::Unavailable(_) => known(self.keys.newer(signed.key_id()).await)?,
        };
        match verify(&keys) {
            Err(AuthnError::KeyUnknown) => {
                verify(&*known(self.keys.newer(signed.key_id()).await)?).map_err(untrusted)
            }
            judged => judged.map_err(untrusted),
        }
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

impl Introspect for Asker {
    async fn introspect(&self, settings: &Introspection, token: &str) -> Result<Bytes, FetchError> {
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
        if settings.form == Form::Json {
            return self.ask(request, MAX_BYTES).await;
        }
        let accept = HeaderValue::from_static(signed::MEDIA_TYPE);
        request.headers_mut().insert(ACCEPT, accept);
        let (head, answer) = self.exchange(request, MAX_BYTES).await?.into_parts();
        if head.status != StatusCode::OK {
            return Err(FetchError::Status(head.status));
        }
        match essence_of(&head.headers) {
            Some(kind) if kind.eq_ignore_ascii_case(signed::MEDIA_TYPE) => Ok(answer),
            Some(kind) if is_json(kind) => Err(FetchError::Untrusted(Untrusted::Unsigned)),
            _ => Err(FetchError::Content(format!("not {}", signed::MEDIA_TYPE))),
        }
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
