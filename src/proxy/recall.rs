//! Whether the credential that admitted a stream has been taken back (M11).

use std::sync::Arc;

use tokio::sync::watch;

use super::context::RequestCtx;
use crate::gates::authn::revocation::Revocations;
use crate::identity::{Client, Identity};
use crate::pipeline::Admitted;

/// Looks whenever the deny list changes.
#[derive(Debug)]
pub(super) struct Recall {
    client: Arc<Client>,
    revocations: Arc<Revocations>,
    changes: watch::Receiver<u64>,
}

impl Recall {
    /// Of a request that a credential admitted, where there is a deny list.
    pub(super) fn of(ctx: &RequestCtx) -> Option<Recall> {
        ctx.gateway().revocation.as_ref()?;
        let Identity::Client(client) = ctx.admitted().map(Admitted::identity)? else {
            return None;
        };
        let revocations = ctx.running.memory.revocations();
        Some(Recall {
            client: client.clone(),
            changes: revocations.changes(),
            revocations: revocations.clone(),
        })
    }

    /// Whether it has been.
    pub(super) fn is_over(&self) -> bool {
        self.revocations.denies(&self.client)
    }

    /// Returns once it has been. May be dropped and called again.
    pub(super) async fn over(&mut self) {
        while !self.is_over() {
            if self.changes.changed().await.is_err() {
                std::future::pending().await
            }
        }
    }
}
