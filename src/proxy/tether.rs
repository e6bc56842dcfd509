//! Ends what would outlive its leave: WebSockets, event streams, and other answers without an end in sight.
//!
//! A token admits until it expires or is taken back, and what it admitted ends then (U25, M11); so it is with the client
//! certificate of a connection (U20). WebSockets also end when nothing is said for too long, or after the longest time that their route grants; they and event streams end when the process does.

use std::time::Duration;

use bytes::Bytes;
use pingora_core::protocols::http::{HttpTask, ServerSession};
use pingora_core::{Error, ErrorType, Result};
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until, timeout, timeout_at};

use super::frames::{Frames, close};
use super::recall::Recall;
use super::upstream::DEADLINE;
use crate::gates::authn::AuthnError;

/// What has been ended on purpose.
pub(super) const ENDED: ErrorType = ErrorType::Custom("Ended");
/// For the other side to take, and to answer, a goodbye.
const GOODBYE: Duration = Duration::from_secs(1);

/// What is held.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// An upgrade that the upstream has not answered.
    Handshake,
    /// A WebSocket.
    WebSocket,
    /// `text/event-stream`: a clean end is no lie, and makes clients connect anew.
    Events,
    /// Any other answer: what is not whole is cut off, so that it cannot be taken for whole.
    Open,
}

impl Kind {
    /// Stable word for metrics.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Kind::Handshake | Kind::WebSocket => "websocket",
            Kind::Events => "events",
            Kind::Open => "open",
        }
    }
}

/// Why it ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    /// The client left.
    Client,
    /// The upstream was done.
    Upstream,
    /// The token that admitted it is no longer good.
    TokenExpired,
    /// The credential that admitted it was taken back.
    Revoked,
    /// The client certificate of the connection is no longer good.
    Certificate(AuthnError),
    /// Nobody said anything.
    Idle,
    /// It lasted as long as it may.
    Total,
    /// The process ends.
    Draining,
}

impl End {
    /// Stable word for records and metrics.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            End::Client => "client",
            End::Upstream => "upstream",
            End::TokenExpired => "token_expired",
            End::Revoked => "revoked",
            End::Certificate(why) => why.reason(),
            End::Idle => "idle",
            End::Total => "total",
            End::Draining => "draining",
        }
    }

    /// What the client is told: no more than the answer to a request would say.
    fn told(self) -> &'static str {
        match self {
            End::Certificate(why) => why.public_code(),
            other => other.as_str(),
        }
    }

    /// Code of the Close frame (RFC 6455 section 7.4.1): 1008 for a policy, 1001 for going away.
    fn code(self) -> u16 {
        match self {
            End::TokenExpired | End::Revoked | End::Certificate(_) => 1008,
            _ => 1001,
        }
    }
}

/// Limits of one request, and how far its end has come.
#[derive(Debug)]
pub(super) struct Tether {
    kind: Kind,
    /// When it ends in any case, and why.
    until: Option<(Instant, End)>,
    idle: Option<Duration>,
    /// When somebody said something last.
    heard: Instant,
    /// Whether the process ends; `None` where that is no reason.
    ending: Option<watch::Receiver<bool>>,
    recall: Option<Recall>,
    from_client: Frames,
    from_upstream: Frames,
    step: Step,
    end: Option<End>,
}

/// How far the end of a WebSocket has come. Pingora drops a future for something faster, so each step can be taken up
/// again.
#[derive(Debug, Clone, Copy)]
enum Step {
    TellClient,
    HearClient(Instant),
    TellUpstream,
    Done,
}

impl Tether {
    pub(super) fn new(kind: Kind) -> Tether {
        Tether {
            kind,
            until: None,
            idle: None,
            heard: Instant::now(),
            ending: None,
            recall: None,
            from_client: Frames::default(),
            from_upstream: Frames::default(),
            step: Step::TellClient,
            end: None,
        }
    }

    /// Ends it at this moment, unless something else does before.
    pub(super) fn until(mut self, at: Option<std::time::Instant>, why: End) -> Tether {
        let at = at.map(Instant::from);
        let sooner = at.filter(|at| self.until.is_none_or(|(until, _)| *at < until));
        self.until = sooner.map(|at| (at, why)).or(self.until);
        self
    }

    /// Ends it after silence.
    pub(super) fn idle(mut self, idle: Duration) -> Tether {
        self.idle = Some(idle);
        self
    }

    /// Ends it with the process.
    pub(super) fn ending(mut self, ending: watch::Receiver<bool>) -> Tether {
        self.ending = Some(ending);
        self
    }

    /// Ends it when what admitted it is taken back.
    pub(super) fn recall(mut self, recall: Option<Recall>) -> Tether {
        self.recall = recall;
        self
    }

    pub(super) fn kind(&self) -> Kind {
        self.kind
    }

    /// Why it ended, once it has.
    pub(super) fn ended(&self) -> Option<End> {
        self.end
    }

    /// Returns when its time is over. May be dropped and called again.
    async fn over(&mut self) -> End {
        let silence = self.idle.map(|idle| (self.heard + idle, End::Idle));
        let first = self.until.into_iter().chain(silence).min_by_key(|(at, _)| *at);
        let time = async {
            match first {
                Some((at, why)) => {
                    sleep_until(at).await;
                    why
                }
                None => std::future::pending().await,
            }
        };
        let process = async {
            if let Some(ending) = &mut self.ending
                && ending.wait_for(|ending| *ending).await.is_ok()
            {
                return End::Draining;
            }
            std::future::pending().await
        };
        let recall = async {
            match &mut self.recall {
                Some(recall) => recall.over().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            why = time => why,
            why = process => why,
            why = recall => why,
        }
    }

    /// Reads what the client says, or ends it.
    pub(super) async fn read(
        &mut self,
        client: &mut ServerSession,
        no_body_expected: bool,
    ) -> Result<Option<Bytes>> {
        if self.end.is_none() {
            let over = tokio::select! {
                biased;
                piece = client.read_body_or_idle(no_body_expected) => {
                    let piece = piece?;
                    self.heard = Instant::now();
                    if self.kind == Kind::WebSocket {
                        match &piece {
                            Some(bytes) => self.from_client.follow(bytes),
                            None => self.end = Some(End::Client),
                        }
                    }
                    return Ok(piece);
                }
                over = self.over() => over,
            };
            self.end = Some(over);
        }
        match self.kind {
            Kind::WebSocket => self.part(client).await,
            Kind::Events => {
                let _ = timeout(GOODBYE, client.finish_body()).await;
                Err(Error::explain(ENDED, "an event stream").into_down())
            }
            Kind::Open | Kind::Handshake => Err(self.cut()),
        }
    }

    /// Says goodbye to both sides of a WebSocket, where it can be heard: between two frames. What is returned goes
    /// upstream; `None` ends it.
    async fn part(&mut self, client: &mut ServerSession) -> Result<Option<Bytes>> {
        let why = self.end.unwrap_or(End::Client);
        if why == End::Client {
            return Ok(None);
        }
        loop {
            match self.step {
                Step::TellClient => {
                    self.step = Step::HearClient(Instant::now() + GOODBYE);
                    if self.from_upstream.is_between() {
                        let goodbye =
                            HttpTask::UpgradedBody(Some(close(why.code(), why.told(), false)), false);
                        let _ = timeout(GOODBYE, client.response_duplex_vec(vec![goodbye])).await;
                    }
                }
                // a connection with unread bytes is reset when it is closed, and the goodbye could be lost by that
                Step::HearClient(until) => {
                    let is_between = self.from_client.is_between();
                    let mut heard = std::mem::take(&mut self.from_client);
                    while !heard.is_closed() {
                        match timeout_at(until, client.read_body_or_idle(false)).await {
                            Ok(Ok(Some(bytes))) => heard.follow(&bytes),
                            _ => break,
                        }
                    }
                    self.step = if is_between {
                        Step::TellUpstream
                    } else {
                        Step::Done
                    };
                }
                Step::TellUpstream => {
                    self.step = Step::Done;
                    return Ok(Some(close(why.code(), why.told(), true)));
                }
                Step::Done => return Ok(None),
            }
        }
    }

    /// Hands a part of the answer to the client, unless its time is over: not a byte goes out after that.
    pub(super) async fn write(&mut self, client: &mut ServerSession, tasks: Vec<HttpTask>) -> Result<bool> {
        if self.kind == Kind::Handshake {
            return client.response_duplex_vec(tasks).await;
        }
        let is_late = self.until.is_some_and(|(until, _)| until <= Instant::now());
        let recalled = self.recall.as_ref().and_then(Recall::is_over);
        if is_late || recalled.is_some() || self.end.is_some() {
            // what is said to the client now, `read` says
            return match self.kind {
                Kind::Open => {
                    self.end = self.end.or(recalled).or(self.until.map(|(_, why)| why));
                    Err(self.cut())
                }
                _ => Ok(tasks.iter().any(HttpTask::is_end)),
            };
        }
        for task in &tasks {
            if let HttpTask::UpgradedBody(Some(bytes), _) = task {
                self.from_upstream.follow(bytes);
            }
        }
        let over = tokio::select! {
            biased;
            done = client.response_duplex_vec(tasks) => {
                let done = done?;
                self.heard = Instant::now();
                if done && self.kind == Kind::WebSocket {
                    self.end = Some(End::Upstream);
                }
                return Ok(done);
            }
            // the client does not take it
            over = self.over() => over,
        };
        self.end = Some(over);
        Err(self.cut())
    }

    /// Ends without a goodbye.
    fn cut(&self) -> Box<Error> {
        match self.end {
            Some(End::Total) if self.kind != Kind::WebSocket => {
                Error::explain(DEADLINE, "the answer takes too long").into_up()
            }
            _ => Error::explain(ENDED, "cut off").into_down(),
        }
    }
}
