//! Keeps the deny list up to date while the gateway runs.

use std::sync::Arc;

use async_trait::async_trait;
use pingora_core::server::ShutdownWatch;
use pingora_core::services::background::BackgroundService;

use crate::running::live::Live;
use crate::world::revocations::{authorities, follow};

/// Follows the sources that the running snapshot names.
pub(super) struct FollowRevocations {
    pub live: Arc<Live>,
}

#[async_trait]
impl BackgroundService for FollowRevocations {
    async fn start(&self, mut shutdown: ShutdownWatch) {
        let mut exchanges = self.live.exchanges();
        loop {
            let running = self.live.current();
            let names = authorities(&running.gateway);
            let names = names.into_iter().map(str::to_owned).collect();
            let revocations = running.memory.revocations().clone();
            let settings = running.gateway.revocation.clone();
            drop(running);
            let following = async {
                match settings {
                    Some(settings) => follow(revocations, settings, names).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = following => return,
                _ = exchanges.changed() => {}
                _ = shutdown.changed() => return,
            }
        }
    }
}
