//! What goes on in the background with issuers: their keys are kept, and they are asked about tokens.

use std::sync::{Arc, Weak};

use async_trait::async_trait;
use openssl::error::ErrorStack;
use openssl::x509::X509;
use pingora_core::server::ShutdownWatch;
use pingora_core::services::background::BackgroundService;
use tokio::task::JoinHandle;

use crate::gates::authn::KeysFrom;
use crate::running::live::Live;
use crate::world::http::Asker;
use crate::world::introspect::Introspector;
use crate::world::keys::KeySource;

/// Asks issuers about tokens.
pub(super) struct AskIssuers {
    pub(super) live: Arc<Live>,
}

#[async_trait]
impl BackgroundService for AskIssuers {
    async fn start(&self, mut shutdown: ShutdownWatch) {
        let mut exchanges = self.live.exchanges();
        let mut tasks: Vec<(Arc<Introspector>, JoinHandle<()>)> = Vec::new();
        loop {
            let running = self.live.current();
            // requests that began with an earlier snapshot end with it: an introspector goes when nobody holds it
            tasks.retain(|(kept, task)| {
                let stays = running.memory.introspectors().any(|now| Arc::ptr_eq(now, kept));
                let is_asked = Arc::strong_count(kept) > ITS_TASKS;
                if !stays && !is_asked {
                    task.abort();
                }
                stays || is_asked
            });
            for introspector in running.memory.introspectors() {
                if !tasks.iter().any(|(kept, _)| Arc::ptr_eq(introspector, kept)) {
                    tasks.extend(answer(introspector).map(|task| (introspector.clone(), task)));
                }
            }
            drop(running);
            tokio::select! {
                _ = exchanges.changed() => {}
                _ = shutdown.changed() => return,
            }
        }
    }
}

/// Who holds an introspector beside snapshots: the list above, and its task.
const ITS_TASKS: usize = 2;

fn answer(introspector: &Arc<Introspector>) -> Option<JoinHandle<()>> {
    match Asker::new(&introspector.settings().ca) {
        Ok(asker) => Some(tokio::spawn(introspector.clone().answer(Arc::new(asker)))),
        Err(why) => {
            let name = introspector.name();
            log::error!(target: "durward::introspection", "issuer {name}: cannot be asked: {why}");
            None
        }
    }
}

/// Keeps the issuers' keys fresh.
pub(super) struct KeepKeys {
    pub(super) live: Arc<Live>,
}

#[async_trait]
impl BackgroundService for KeepKeys {
    async fn start(&self, mut shutdown: ShutdownWatch) {
        let mut exchanges = self.live.exchanges();
        let mut tasks: Vec<(Arc<KeySource>, JoinHandle<()>)> = Vec::new();
        let mut askers = Askers::default();
        loop {
            let running = self.live.current();
            let sources = running.memory.sources();
            // what was carried over from the last snapshot goes on as it is
            tasks.retain(|(kept, task)| {
                let stays = sources.iter().any(|source| Arc::ptr_eq(source, kept));
                if !stays {
                    task.abort();
                }
                stays
            });
            for source in sources {
                if !tasks.iter().any(|(kept, _)| Arc::ptr_eq(source, kept)) {
                    tasks.extend(keep(source, &mut askers).map(|task| (source.clone(), task)));
                }
            }
            tokio::select! {
                _ = exchanges.changed() => {}
                _ = shutdown.changed() => return,
            }
        }
    }
}

fn keep(source: &Arc<KeySource>, askers: &mut Askers) -> Option<JoinHandle<()>> {
    let KeysFrom::Url(url) = source.from() else {
        return None;
    };
    match askers.trusting(&url.ca) {
        Ok(asker) => {
            let source = source.clone();
            Some(tokio::spawn(async move { source.keep_fresh(&*asker).await }))
        }
        Err(why) => {
            log::error!(target: "durward::keys", "issuer {}: cannot fetch: {why}", source.name());
            None
        }
    }
}

/// Those who ask, one for each choice of CAs: the tenants of a provider trust the same, and the system's CAs take a
/// megabyte.
#[derive(Default)]
struct Askers(Vec<(Vec<Vec<u8>>, Weak<Asker>)>);

impl Askers {
    fn trusting(&mut self, ca: &[X509]) -> Result<Arc<Asker>, ErrorStack> {
        let ders: Vec<Vec<u8>> = ca.iter().map(|ca| ca.to_der()).collect::<Result<_, _>>()?;
        self.0.retain(|(_, asker)| asker.strong_count() > 0);
        let known = self.0.iter().find(|(others, _)| *others == ders);
        if let Some(asker) = known.and_then(|(_, asker)| asker.upgrade()) {
            return Ok(asker);
        }
        let asker = Arc::new(Asker::new(ca)?);
        self.0.push((ders, Arc::downgrade(&asker)));
        Ok(asker)
    }
}
