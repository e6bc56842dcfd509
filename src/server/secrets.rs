//! Looks after the secrets that are in use.

use std::sync::Arc;

use async_trait::async_trait;
use pingora_core::server::ShutdownWatch;
use pingora_core::services::background::BackgroundService;

use crate::secrets::keeper::{Keeper, LOOK};
use crate::telemetry::Telemetry;

/// Asks the stores from time to time. What has changed is compiled anew as a changed file is.
pub(super) struct KeepSecrets {
    pub(super) keeper: Arc<Keeper>,
    pub(super) telemetry: Arc<Telemetry>,
}

#[async_trait]
impl BackgroundService for KeepSecrets {
    async fn start(&self, mut shutdown: ShutdownWatch) {
        loop {
            tokio::select! {
                () = tokio::time::sleep(LOOK) => {
                    self.keeper.tend().await;
                    self.telemetry.metrics.secrets_failing(self.keeper.failing());
                }
                _ = shutdown.changed() => return,
            }
        }
    }
}
