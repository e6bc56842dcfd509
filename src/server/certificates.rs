//! Certificates that look after themselves: warned of, stapled, renewed. All of it in the background.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use http::Uri;
use pingora_core::server::{Server, ShutdownWatch};
use pingora_core::services::background::{BackgroundService, background_service};
use tokio::task::JoinHandle;

use crate::clock::UnixTime;
use crate::gateway::CertifiedKey;
use crate::pki::facts::Fingerprint;
use crate::pki::ocsp;
use crate::running::live::{Live, Running};
use crate::telemetry::expiry::Expiry;
use crate::world::http::Asker;

/// Time between two looks at the ends of certificates.
const LOOK: Duration = Duration::from_secs(60);

/// Adds what looks after certificates.
pub(super) fn add(server: &mut Server, live: &Arc<Live>) {
    server.add_service(background_service("expiry", WarnOfEnds { live: live.clone() }));
    server.add_service(background_service("staples", KeepStaples { live: live.clone() }));
    server.add_service(background_service("acme", super::acme::KeepOrders::new(live)));
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

/// Keeps the proofs fresh that certificates are not revoked.
struct KeepStaples {
    live: Arc<Live>,
}

#[async_trait]
impl BackgroundService for KeepStaples {
    async fn start(&self, mut shutdown: ShutdownWatch) {
        let mut exchanges = self.live.exchanges();
        let asker = match Asker::new(&[]) {
            Ok(asker) => Arc::new(asker),
            Err(why) => {
                log::error!(target: "durward::ocsp", "responders cannot be asked: {why}");
                return;
            }
        };
        let mut tasks: HashMap<Fingerprint, Option<JoinHandle<()>>> = HashMap::new();
        loop {
            let held = certificates(&self.live.current());
            tasks.retain(|id, task| {
                let stays = held.iter().any(|one| one.fingerprint == *id);
                if let (false, Some(task)) = (stays, task) {
                    task.abort();
                }
                stays
            });
            let asked = held.iter().filter(|one| responder(one).is_some());
            self.live.staples().hold(asked.map(|one| &**one));
            for certificate in &held {
                tasks
                    .entry(certificate.fingerprint)
                    .or_insert_with(|| self.keep(certificate, &asker));
            }
            tokio::select! {
                _ = exchanges.changed() => {}
                _ = shutdown.changed() => return,
            }
        }
    }
}

impl KeepStaples {
    fn keep(&self, certificate: &Arc<CertifiedKey>, asker: &Arc<Asker>) -> Option<JoinHandle<()>> {
        let Some(url) = responder(certificate) else {
            let name = certificate.names.first().map_or("", String::as_str);
            log::info!(target: "durward::ocsp", "certificate for {name}: it names no responder, nothing is stapled");
            return None;
        };
        let held = self.live.staples().held(&certificate.fingerprint)?;
        let (certificate, asker) = (certificate.clone(), asker.clone());
        Some(tokio::spawn(async move {
            held.keep_fresh(&certificate, &url, &*asker, UnixTime::of_system)
                .await;
        }))
    }
}

/// Where a certificate can be asked about.
fn responder(certificate: &CertifiedKey) -> Option<Uri> {
    ocsp::responder(certificate.chain.first()?)?.parse().ok()
}
