//! Certificates that look after themselves: warned of, stapled, renewed. All of it in the background.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use pingora_core::server::{Server, ShutdownWatch};
use pingora_core::services::background::{BackgroundService, background_service};

use crate::clock::UnixTime;
use crate::gateway::CertifiedKey;
use crate::running::live::{Live, Running};
use crate::telemetry::expiry::Expiry;

/// Time between two looks at the ends of certificates.
const LOOK: Duration = Duration::from_secs(60);

/// Adds what looks after certificates.
pub(super) fn add(server: &mut Server, live: &Arc<Live>) {
    server.add_service(background_service("expiry", WarnOfEnds { live: live.clone() }));
}

/// The certificates of all listeners that are there now.
fn certificates(running: &Running) -> Vec<Arc<CertifiedKey>> {
    let slots = running.gateway.slots();
    slots.filter_map(|slot| slot.current()).collect()
}

/// Warns of certificates that end soon.
struct WarnOfEnds {
    live: Arc<Live>,
}

#[async_trait]
impl BackgroundService for WarnOfEnds {
    async fn start(&self, mut shutdown: ShutdownWatch) {
        let mut exchanges = self.live.exchanges();
        let mut expiry = Expiry::default();
        loop {
            let held = certificates(&self.live.current());
            for soon in expiry.due(UnixTime::of_system(), held.iter().map(|one| &**one)) {
                log::warn!(target: "durward::tls", "{soon}");
            }
            tokio::select! {
                () = tokio::time::sleep(LOOK) => {}
                _ = exchanges.changed() => {}
                _ = shutdown.changed() => return,
            }
        }
    }
}
