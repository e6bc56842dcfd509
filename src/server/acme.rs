//! Orders certificates, and renews them.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use pingora_core::server::ShutdownWatch;
use pingora_core::services::background::BackgroundService;
use tokio::net::TcpStream;
use tokio::task::JoinHandle;

use crate::acme::renewal::{self, Serving};
use crate::acme::{Account, Challenge, Managed};
use crate::clock::UnixTime;
use crate::gateway::{CertifiedKey, Gateway, Purpose};
use crate::running::live::Live;
use crate::world::http::Asker;

/// A first order waits so long for our own listeners: a proof that nobody answers counts as a failure with the CA.
const LISTENERS: Duration = Duration::from_secs(30);
/// Time between two looks whether they listen.
const LOOK: Duration = Duration::from_millis(100);

/// Keeps the certificates that accounts issue.
pub(super) struct KeepOrders {
    live: Arc<Live>,
}

struct Task {
    account: Arc<Account>,
    task: Option<JoinHandle<()>>,
}

impl KeepOrders {
    pub(super) fn new(live: &Arc<Live>) -> KeepOrders {
        KeepOrders { live: live.clone() }
    }
}

#[async_trait]
impl BackgroundService for KeepOrders {
    async fn start(&self, mut shutdown: ShutdownWatch) {
        let mut exchanges = self.live.exchanges();
        let mut tasks: HashMap<PathBuf, Task> = HashMap::new();
        loop {
            let managed = managed(&self.live.current().gateway);
            // what was issued while this snapshot was compiled
            for one in &managed {
                one.load();
            }
            self.live.orders().retain(&managed);
            tasks.retain(|file, task| {
                let is_same = |one: &Managed| one.file() == *file && one.account.is_same(&task.account);
                let stays = managed.iter().any(is_same);
                if let (false, Some(task)) = (stays, &task.task) {
                    task.abort();
                }
                stays
            });
            for one in managed {
                tasks.entry(one.file()).or_insert_with(|| Task {
                    account: one.account.clone(),
                    task: self.keep(one),
                });
            }
            tokio::select! {
                _ = exchanges.changed() => {}
                _ = shutdown.changed() => break,
            }
        }
        // a successor goes on: a proof that this process holds would be looked for there
        for task in tasks.values().filter_map(|task| task.task.as_ref()) {
            task.abort();
        }
    }
}

impl KeepOrders {
    fn keep(&self, managed: Managed) -> Option<JoinHandle<()>> {
        let asker = match Asker::new(&managed.account.ca) {
            Ok(asker) => asker,
            Err(why) => {
                let name = &managed.account.name;
                log::error!(target: "durward::acme", "account {name}: its CA cannot be asked: {why}");
                return None;
            }
        };
        let live = self.live.clone();
        Some(tokio::spawn(async move {
            listening(&live, managed.account.challenge).await;
            let serving = Everywhere {
                live: &live,
                managed: &managed,
            };
            renewal::keep(&asker, &managed, live.challenges(), &serving, UnixTime::of_system).await;
        }))
    }
}

/// The certificates of a snapshot that accounts issue.
fn managed(gateway: &Gateway) -> Vec<Managed> {
    gateway.slots().filter_map(Managed::of).collect()
}

/// Waits until somebody listens where the CA will look.
async fn listening(live: &Live, challenge: Challenge) {
    let answers = |purpose: &Purpose| match challenge {
        Challenge::Http01 => matches!(purpose, Purpose::Redirect(_)),
        Challenge::TlsAlpn01 => matches!(purpose, Purpose::Tls(_)),
    };
    let running = live.current();
    let listeners = running.gateway.listeners.iter();
    let addresses: Vec<SocketAddr> = listeners
        .filter(|listener| answers(&listener.purpose))
        .map(|listener| reachable(listener.address))
        .collect();
    let all = async {
        for address in addresses {
            while TcpStream::connect(address).await.is_err() {
                tokio::time::sleep(LOOK).await;
            }
        }
    };
    let _ = tokio::time::timeout(LISTENERS, all).await;
}

/// An address of this machine where a listener on `address` is reached.
fn reachable(mut address: SocketAddr) -> SocketAddr {
    if address.ip().is_unspecified() {
        address.set_ip(match address {
            SocketAddr::V4(_) => IpAddr::V4(Ipv4Addr::LOCALHOST),
            SocketAddr::V6(_) => IpAddr::V6(Ipv6Addr::LOCALHOST),
        });
    }
    address
}

/// All places of the present snapshot for a certificate, whichever snapshot that is by then.
struct Everywhere<'a> {
    live: &'a Live,
    managed: &'a Managed,
}

impl Everywhere<'_> {
    fn places(&self) -> Vec<Managed> {
        let file = self.managed.file();
        let mut places = managed(&self.live.current().gateway);
        places.retain(|place| place.file() == file);
        places
    }
}

impl Serving for Everywhere<'_> {
    fn current(&self) -> Option<Arc<CertifiedKey>> {
        self.places().iter().find_map(|place| place.slot.current())
    }

    fn reload(&self) -> bool {
        let places = self.places();
        // all of them, not only the first that is behind
        places.iter().filter(|place| place.load()).count() > 0
    }

    fn install(&self, certificate: CertifiedKey) {
        let certificate = Arc::new(certificate);
        for place in self.places() {
            place.slot.fill(certificate.clone());
        }
        self.live.renewed();
    }

    fn planned(&self, at: UnixTime) {
        self.live.orders().planned(self.managed, at);
    }

    fn ordered(&self, failed: bool) {
        self.live.orders().ended(self.managed, failed);
    }
}
