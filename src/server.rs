//! Puts the parts together under Pingora. The only place that starts services.

use std::io;
use std::net::TcpListener;
use std::sync::Arc;

use async_trait::async_trait;
use pingora_core::listeners::{L4BufferSettings, ListenerConfig};
use pingora_core::server::configuration::ServerConf;
use pingora_core::server::{RunArgs, Server, ShutdownWatch};
use pingora_core::services::background::{BackgroundService, background_service};
use pingora_core::services::listening::Service;
use pingora_proxy::http_proxy_service_with_name;

use crate::gates::authn::{KeysFrom, crypto};
use crate::gateway::live::Live;
use crate::gateway::{Gateway, Purpose};
use crate::listener::tls;
use crate::proxy::Durward;
use crate::proxy::redirect::Redirect;
use crate::telemetry::Telemetry;
use crate::telemetry::admin::Admin;
use crate::telemetry::metrics::Metrics;
use crate::telemetry::writer::Writer;
use crate::upstream::{Target, resolve};
use crate::world::fetch::Fetcher;

/// Read buffer of a connection in bytes: a quarter of the memory that Pingora's default takes for each idle one, at no
/// measurable cost.
const READ_BUFFER: usize = 4096;

/// Runs the gateway until it is told to stop.
///
/// # Errors
/// An address is in use or a sink cannot be opened. Nothing has been served then.
pub fn run(gateway: Gateway) -> io::Result<()> {
    crypto::install();
    check_addresses(&gateway)?;
    let conf = ServerConf::from_yaml(&gateway.server).map_err(|why| io::Error::other(why.to_string()))?;
    let telemetry = Arc::new(Telemetry {
        metrics: Metrics::new().map_err(io::Error::other)?,
        records: Writer::start(&gateway.records)
            .map_err(|why| io::Error::new(why.kind(), format!("records cannot be written: {why}")))?,
    });
    let live = Arc::new(Live::new(gateway));

    let mut server = Server::new_with_opt_and_conf(None, conf);
    server.bootstrap();
    add_listeners(&mut server, &live, &telemetry).map_err(|why| io::Error::other(why.to_string()))?;
    server.add_service(background_service("keys", KeepKeys { live: live.clone() }));
    server.add_service(background_service("names", KeepNames { live }));
    server.run(RunArgs::default());
    telemetry.records.finish();
    Ok(())
}

/// Pingora would try for half a minute and then panic. All are held until the end: `0.0.0.0:443` and `127.0.0.1:443` are
/// free one by one, and not together.
fn check_addresses(gateway: &Gateway) -> io::Result<()> {
    let listeners = gateway.listeners.iter().map(|listener| listener.address);
    let sockets = listeners.chain([gateway.admin]).map(|address| {
        TcpListener::bind(address)
            .map_err(|why| io::Error::new(why.kind(), format!("cannot listen on {address}: {why}")))
    });
    sockets.collect::<io::Result<Vec<_>>>().map(drop)
}

fn add_listeners(
    server: &mut Server,
    live: &Arc<Live>,
    telemetry: &Arc<Telemetry>,
) -> pingora_core::Result<()> {
    let running = live.current();
    let durward = Durward::new(live.clone(), telemetry.clone());
    let mut proxy = http_proxy_service_with_name(&server.configuration, durward, "proxy");
    let mut proxies = false;
    for listener in &running.gateway.listeners {
        let address = listener.address.to_string();
        let socket = ListenerConfig::tcp(&address).l4_buffer(L4BufferSettings::default().read(READ_BUFFER));
        match &listener.purpose {
            Purpose::Tls(policy) => {
                proxy.add_listener(socket.tls(tls::settings(policy)?));
                proxies = true;
            }
            Purpose::Plaintext(_) => {
                proxy.add_listener(socket);
                proxies = true;
            }
            Purpose::Redirect(port) => {
                let redirect = Redirect { port: *port, live: live.clone(), telemetry: telemetry.clone() };
                let mut service = Service::new(format!("redirect {address}"), redirect);
                service.threads = Some(1);
                service.add_listener(socket);
                server.add_service(service);
            }
        }
    }
    if proxies {
        server.add_service(proxy);
    }
    let mut admin =
        Service::new("admin".to_owned(), Admin { live: live.clone(), telemetry: telemetry.clone() });
    admin.threads = Some(1);
    admin.add_tcp(&running.gateway.admin.to_string());
    server.add_service(admin);
    Ok(())
}

/// Keeps the issuers' keys fresh.
struct KeepKeys {
    live: Arc<Live>,
}

#[async_trait]
impl BackgroundService for KeepKeys {
    async fn start(&self, mut shutdown: ShutdownWatch) {
        let running = self.live.current();
        let mut tasks = tokio::task::JoinSet::new();
        for source in running.memory.sources() {
            let KeysFrom::Url(url) = source.from() else { continue };
            match Fetcher::new(&url.ca) {
                Ok(fetcher) => {
                    let source = source.clone();
                    tasks.spawn(async move { source.keep_fresh(&fetcher).await });
                }
                Err(why) => {
                    log::error!(target: "durward::keys", "issuer {}: cannot fetch: {why}", source.name());
                }
            }
        }
        let _ = shutdown.changed().await;
    }
}

/// Looks up the names of targets.
struct KeepNames {
    live: Arc<Live>,
}

#[async_trait]
impl BackgroundService for KeepNames {
    async fn start(&self, mut shutdown: ShutdownWatch) {
        loop {
            let running = self.live.current();
            for target in running.gateway.upstreams.iter().flat_map(|upstream| &upstream.targets) {
                if let Target::Named(named) = target {
                    named.resolve().await;
                }
            }
            tokio::select! {
                () = tokio::time::sleep(resolve::INTERVAL) => {}
                _ = shutdown.changed() => return,
            }
        }
    }
}
