//! Looks after the secrets that are in use.

use std::sync::Arc;

use async_trait::async_trait;
use pingora_core::server::ShutdownWatch;
use pingora_core::services::background::BackgroundService;

use crate::secrets::keeper::{Keeper, LOOK};

/// Asks the stores from time to time. What has changed is compiled anew as a changed file is.
pub(super) struct KeepSecrets(pub(super) Arc<Keeper>);

#[async_trait]
impl BackgroundService for KeepSecrets {
    async fn start(&self, mut shutdown: ShutdownWatch) {
        loop {
            tokio::select! {
                () = tokio::time::sleep(LOOK) => self.0.tend().await,
                _ = shutdown.changed() => return,
            }
        }
    }
}
