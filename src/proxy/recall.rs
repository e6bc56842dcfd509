//! Whether what admitted a stream has been taken back (M11): its credential, or the certificate of its connection.
//!
//! A request on a connection with a client certificate is only let in while that certificate is good, whatever else
//! the route asks for; so is what goes on after it was let in.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::sleep;

use super::context::RequestCtx;
use super::tether::End;
use crate::clock::UnixTime;
use crate::gates::authn::AuthnError;
use crate::gates::authn::certificate::Presented;
use crate::gates::authn::revocation::Revocations;
use crate::identity::{Client, Identity};
use crate::pipeline::Admitted;
use crate::running::live::Live;

/// Looks whenever the deny list or the configuration changes.
#[derive(Debug)]
pub(super) struct Recall {
    listed: Option<Listed>,
    certified: Option<Certified>,
}

/// A credential, where there is a deny list.
#[derive(Debug)]
struct Listed {
    client: Arc<Client>,
    revocations: Arc<Revocations>,
    changes: watch::Receiver<u64>,
}

/// The certificate of a connection.
#[derive(Debug)]
struct Certified {
    presented: Arc<Presented>,
    live: Arc<Live>,
    exchanges: watch::Receiver<u64>,
}

impl Recall {
    /// Of a request that was admitted. `None`: nothing of it can be taken back.
    pub(super) fn of(ctx: &RequestCtx) -> Option<Recall> {
        if !Recall::is_possible(ctx) {
            return None;
        }
        let listed = listed(ctx).map(|client| {
            let revocations = ctx.running.memory.revocations();
            Listed {
                client: client.clone(),
                changes: revocations.changes(),
                revocations: revocations.clone(),
            }
        });
        let certified = presented(ctx).map(|presented| Certified {
            presented: presented.clone(),
            exchanges: ctx.live.exchanges(),
            live: ctx.live.clone(),
        });
        Some(Recall { listed, certified })
    }

    /// Whether there is something that can be taken back.
    pub(super) fn is_possible(ctx: &RequestCtx) -> bool {
        listed(ctx).is_some() || presented(ctx).is_some()
    }

    /// Why it is over, if it is.
    pub(super) fn is_over(&self) -> Option<End> {
        let listed = self.listed.as_ref().filter(|listed| listed.is_denied());
        if listed.is_some() {
            return Some(End::Revoked);
        }
        let refused = self.certified.as_ref()?.check().err()?;
        Some(End::Certificate(refused))
    }

    /// Returns once it is. May be dropped and called again.
    pub(super) async fn over(&mut self) -> End {
        let Recall { listed, certified } = self;
        let listed = async {
            match listed {
                Some(listed) => listed.over().await,
                None => std::future::pending().await,
            }
        };
        let certified = async {
            match certified {
                Some(certified) => certified.over().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = listed => End::Revoked,
            why = certified => End::Certificate(why),
        }
    }
}

/// Whom the deny list could name.
fn listed(ctx: &RequestCtx) -> Option<&Arc<Client>> {
    ctx.gateway().revocation.as_ref()?;
    match ctx.admitted().map(Admitted::identity)? {
        Identity::Client(client) => Some(client),
        Identity::Anonymous => None,
    }
}

fn presented(ctx: &RequestCtx) -> Option<&Arc<Presented>> {
    ctx.admitted()?;
    ctx.peer.tls.as_ref()?.certificate.as_ref()
}

impl Listed {
    fn is_denied(&self) -> bool {
        self.revocations.denies(&self.client)
    }

    async fn over(&mut self) {
        while !self.is_denied() {
            if self.changes.changed().await.is_err() {
                std::future::pending().await
            }
        }
    }
}

impl Certified {
    /// How long it is good in any case, by what runs now.
    fn check(&self) -> Result<Duration, AuthnError> {
        let now = UnixTime::of_system();
        let verified = self.presented.check(&self.live.current().gateway, now)?;
        Ok(verified.until.saturating_since(now))
    }

    async fn over(&mut self) -> AuthnError {
        loop {
            // seen before it is looked at: an exchange after that is not missed
            self.exchanges.mark_unchanged();
            let good = match self.check() {
                Ok(good) => good,
                Err(why) => return why,
            };
            let exchanged = async {
                if self.exchanges.changed().await.is_err() {
                    std::future::pending().await
                }
            };
            tokio::select! {
                () = exchanged => {}
                // by then a list may be out of date, or a CA have come to its end
                () = sleep(good.max(Duration::from_millis(100))) => {}
            }
        }
    }
}
