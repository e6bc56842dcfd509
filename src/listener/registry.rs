//! All connections of clients: how many there are, of whom, and which of them are late.

use std::collections::HashMap;
use std::net::IpAddr;
use std::os::fd::{AsRawFd, RawFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use parking_lot::Mutex;
use pingora_core::protocols::GetSocketDigest;
use pingora_core::protocols::l4::stream::Stream as L4Stream;
use pingora_core::server::ShutdownWatch;
use pingora_core::services::background::BackgroundService;
use pingora_core::upstreams::peer::Tracer;
use prometheus::IntGauge;

use super::connection::{Connection, Ended, Ticket};
use super::refusal;
use crate::gates::authn::AuthnError;
use crate::gates::flood::network;
use crate::gates::network::is_trusted;
use crate::gateway::Purpose;
use crate::running::live::Live;
use crate::telemetry::Telemetry;

/// Locks that connections are spread over.
const SHARDS: usize = 16;

/// Every connection, from accepting it to its end.
pub struct Registry {
    pub(super) live: Arc<Live>,
    pub(super) telemetry: Arc<Telemetry>,
    /// By listener: its label, and how many connections it has.
    listeners: Box<[(String, IntGauge)]>,
    connections: [Mutex<HashMap<RawFd, Arc<Connection>>>; SHARDS],
    networks: [Mutex<HashMap<u128, u32>>; SHARDS],
    total: AtomicUsize,
    started: Instant,
    now: AtomicU64,
    leaving: AtomicBool,
}

impl std::fmt::Debug for Registry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Registry")
            .field("total", &self.total)
            .finish_non_exhaustive()
    }
}

/// Why a connection is not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refused {
    /// There are as many as there may be.
    Max,
    /// The client has as many as one may have.
    MaxPerAddress,
    /// A PROXY protocol header was due, and did not come or is none.
    ProxyHeader,
    /// It came to an address that is no listener's: has no place in the metrics, which are by listener.
    NoListener,
}

impl Refused {
    const ALL: [Refused; 3] = [Refused::Max, Refused::MaxPerAddress, Refused::ProxyHeader];

    /// Stable word for metrics.
    fn reason(self) -> &'static str {
        match self {
            Refused::Max => "max",
            Refused::MaxPerAddress => "max_per_address",
            Refused::ProxyHeader => "proxy_header",
            Refused::NoListener => "no_listener",
        }
    }
}

impl Registry {
    /// Milliseconds between two looks of the watchdog.
    pub(super) const TICK: u64 = 100;

    /// For the listeners of what runs.
    #[must_use]
    pub fn new(live: Arc<Live>, telemetry: Arc<Telemetry>) -> Registry {
        let metrics = &telemetry.metrics.connections;
        let (before, after): (Vec<Ended>, Vec<Ended>) =
            Ended::ALL.into_iter().partition(|why| why.is_refusal());
        let mut refused = Refused::ALL.map(Refused::reason).to_vec();
        refused.extend(before.into_iter().map(Ended::reason));
        let certificates = AuthnError::ALL.iter().filter(|why| why.is_of_handshake());
        refused.extend(certificates.map(AuthnError::reason));
        let closed: Vec<&str> = after.into_iter().map(Ended::reason).collect();
        let running = live.current();
        let listeners = running.gateway.listeners.iter().map(|listener| {
            let label = listener.address.to_string();
            let open = metrics.open(&label, &refused, &closed);
            if let Purpose::Tls(_) = listener.purpose {
                metrics.expect_handshakes(&label);
            }
            (label, open)
        });
        let listeners = listeners.collect();
        Registry {
            live,
            telemetry,
            listeners,
            connections: Default::default(),
            networks: Default::default(),
            total: AtomicUsize::new(0),
            started: Instant::now(),
            now: AtomicU64::new(0),
            leaving: AtomicBool::new(false),
        }
    }

    pub(super) fn now(&self) -> u64 {
        self.now.load(Ordering::Relaxed)
    }

    /// Whether connections that wait for a request are to be closed.
    pub(super) fn is_leaving(&self) -> bool {
        self.leaving.load(Ordering::Acquire)
    }

    /// From now on nothing waits for a request any more.
    pub fn leave(&self) {
        self.leaving.store(true, Ordering::Release);
        for shard in &self.connections {
            for connection in shard.lock().values() {
                connection.leave();
            }
        }
    }

    /// Takes a connection that was just accepted, unless there are too many. It is given back when the socket is closed.
    pub(super) fn accept(self: &Arc<Self>, stream: &mut L4Stream) -> Result<Arc<Connection>, Refused> {
        let running = self.live.current();
        let gateway = &running.gateway;
        let local = stream
            .get_socket_digest()
            .and_then(|digest| digest.local_addr()?.as_inet().copied());
        let is_it = |address: std::net::SocketAddr| {
            local.is_some_and(|local| {
                local.port() == address.port()
                    && (address.ip().is_unspecified()
                        || local.ip().to_canonical() == address.ip().to_canonical())
            })
        };
        // a listener of this very address comes before one of all addresses
        let listener = gateway
            .listeners
            .iter()
            .position(|listener| local.is_some_and(|local| local == listener.address))
            .or_else(|| {
                gateway
                    .listeners
                    .iter()
                    .position(|listener| is_it(listener.address))
            })
            // by another listener's rules it must not be served
            .ok_or(Refused::NoListener)?;
        if self.total.fetch_add(1, Ordering::Relaxed) >= gateway.connections.max {
            self.total.fetch_sub(1, Ordering::Relaxed);
            self.refused(listener, Refused::Max);
            return Err(Refused::Max);
        }
        let fd = stream.as_raw_fd();
        let limits = gateway.connections.clone();
        let connection = Arc::new(Connection::new(self.clone(), fd, listener, limits));
        let taken = self.shard(fd).lock().insert(fd, connection.clone());
        debug_assert!(taken.is_none(), "a descriptor was closed without a word");
        if let Some((_, open)) = self.listeners.get(listener) {
            open.inc();
        }
        stream.tracer = Some(Tracer(Box::new(Ticket(Some(connection.clone())))));
        Ok(connection)
    }

    /// Counts a connection for its client; the operator's own proxies are not counted.
    pub(super) fn count(
        &self,
        connection: &Connection,
        client: IpAddr,
        is_proxy: bool,
    ) -> Result<(), Refused> {
        let _ = connection.client.set(client);
        if is_proxy || is_trusted(client, &self.live.current().gateway.trusted_proxies) {
            return Ok(());
        }
        let key = network(client);
        let mut counts = self.counts(key).lock();
        let count = counts.entry(key).or_insert(0);
        if *count >= connection.limits.max_per_address {
            drop(counts);
            self.refused(connection.listener, Refused::MaxPerAddress);
            return Err(Refused::MaxPerAddress);
        }
        *count += 1;
        let _ = connection.network.set(key);
        Ok(())
    }

    pub(super) fn refused(&self, listener: usize, why: Refused) {
        self.telemetry
            .metrics
            .connections
            .refused(self.label(listener), why.reason());
    }

    /// The socket is about to be closed.
    pub(super) fn remove(&self, connection: &Connection) {
        self.shard(connection.fd).lock().remove(&connection.fd);
        self.total.fetch_sub(1, Ordering::Relaxed);
        if let Some((_, open)) = self.listeners.get(connection.listener) {
            open.dec();
        }
        if let Some(key) = connection.network.get() {
            let mut counts = self.counts(*key).lock();
            if let Some(count) = counts.get_mut(key) {
                *count -= 1;
                if *count == 0 {
                    counts.remove(key);
                }
            }
        }
        let metrics = &self.telemetry.metrics.connections;
        let label = self.label(connection.listener);
        match connection.ended() {
            // who waits for the handshake tells what became of it
            None | Some(Ended::HandshakeTimeout | Ended::HandshakeFailed) => {}
            Some(why @ Ended::ProxyHeaderTimeout) => {
                metrics.refused(label, why.reason());
                refusal::record_unmade(self, connection, why.reason(), "");
            }
            Some(why) => metrics.closed(label, why.reason()),
        }
    }

    /// What a listener is called in metrics and records: its address.
    pub(super) fn label(&self, listener: usize) -> &str {
        self.listeners.get(listener).map_or("", |(label, _)| label)
    }

    #[expect(clippy::indexing_slicing, reason = "within a power of two")]
    fn shard(&self, fd: RawFd) -> &Mutex<HashMap<RawFd, Arc<Connection>>> {
        &self.connections[fd.unsigned_abs() as usize % SHARDS]
    }

    #[expect(clippy::indexing_slicing, reason = "within a power of two")]
    fn counts(&self, key: u128) -> &Mutex<HashMap<u128, u32>> {
        // of an IPv6 network the lower half says nothing
        &self.networks[((key ^ key >> 64) as usize ^ (key >> 16) as usize) % SHARDS]
    }

    /// Moves the clock and looks at every connection.
    fn tick(&self) {
        let now = u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.now.store(now, Ordering::Relaxed);
        for shard in &self.connections {
            // held while it is looked at: nobody closes a descriptor meanwhile
            for connection in shard.lock().values() {
                connection.watch(now);
            }
        }
    }
}

/// Looks at all connections, several times a second.
#[derive(Debug)]
pub struct Watchdog(pub Arc<Registry>);

#[async_trait]
impl BackgroundService for Watchdog {
    async fn start(&self, _shutdown: ShutdownWatch) {
        // to the very end of the process: connections that drain have deadlines too
        let mut ticks = tokio::time::interval(Duration::from_millis(Registry::TICK));
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
        loop {
            ticks.tick().await;
            self.0.tick();
        }
    }
}
