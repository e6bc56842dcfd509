//! Puts the parts together under Pingora. The only place that starts services.

mod acme;
mod background;
mod certificates;
mod issuers;
mod process;
mod revocations;
mod secrets;
mod shutdown;
pub mod state;

use std::io;
use std::net::TcpListener;
use std::path::PathBuf;
use std::sync::Arc;

use pingora_core::apps::HttpServerOptions;
use pingora_core::listeners::{L4BufferSettings, ListenerConfig};
use pingora_core::protocols::http::v2::server::{H2Options, default_h2_options};
use pingora_core::server::configuration::{Opt, ServerConf};
use pingora_core::server::{RunArgs, Server};
use pingora_core::services::background::background_service;
use pingora_core::services::listening::Service;
use pingora_core::{Error, ErrorType};
use pingora_proxy::http_proxy;

use parking_lot::Mutex;

use background::{KeepNames, Reloads, Rotation, Succession, Summaries};
use issuers::{AskIssuers, KeepKeys};
use revocations::FollowRevocations;
use shutdown::{LeaveWhenIdle, Signals};
use state::StateDir;

use crate::admin::Admin;
use crate::gates::authn::crypto;
use crate::gateway::{Gateway, Purpose};
use crate::listener::door::Door;
use crate::listener::registry::{Registry, Watchdog};
use crate::listener::tls;
use crate::proxy::Durward;
use crate::proxy::redirect::Redirect;
use crate::running::live::Live;
use crate::running::reload::Watched;
use crate::telemetry::Telemetry;

/// Read buffer of a connection in bytes: a quarter of the memory that Pingora's default takes for each idle one, at no
/// measurable cost.
const READ_BUFFER: usize = 4096;

/// How the gateway is to run.
#[derive(Debug, Default)]
pub struct Options {
    /// The file to reload from.
    pub watched: Option<Watched>,
    /// The file that a successor runs.
    pub file: Option<PathBuf>,
    /// Take the sockets over from the process that serves now.
    pub upgrade: bool,
}

/// Runs the gateway until it is told to stop.
///
/// # Errors
/// An address is in use or a sink cannot be opened. Nothing has been served then, and no socket taken.
pub fn run(gateway: Gateway, options: Options) -> io::Result<()> {
    crypto::install();
    let other = |why: pingora_core::BError| io::Error::other(why.to_string());
    let conf = ServerConf::from_yaml(&gateway.server.pingora).map_err(other)?;
    process::settle(gateway.server.user.as_deref())?;
    let state = gateway
        .server
        .state_dir
        .as_deref()
        .map(StateDir::open)
        .transpose()?;
    if options.upgrade && state.is_none() {
        // Pingora's own place for the sockets is one that anybody can write to
        return Err(io::Error::other(
            "--upgrade needs `server.state_dir`, where the running process is found",
        ));
    }
    let drain = gateway.server.drain;
    let telemetry = Arc::new(Telemetry::start(&gateway.records)?);
    if !options.upgrade {
        check_addresses(&gateway)?;
    }
    let live = Arc::new(Live::new(gateway));
    let lifecycle = live.lifecycle().clone();

    let opt = Opt {
        upgrade: options.upgrade,
        ..Opt::default()
    };
    let mut server = Server::new_with_opt_and_conf(opt, conf);
    add_listeners(&mut server, &live, &telemetry).map_err(other)?;
    server.add_service(background_service("keys", KeepKeys { live: live.clone() }));
    server.add_service(background_service(
        "introspection",
        AskIssuers { live: live.clone() },
    ));
    let revocations = FollowRevocations { live: live.clone() };
    server.add_service(background_service("revocations", revocations));
    server.add_service(background_service("names", KeepNames { live: live.clone() }));
    certificates::add(&mut server, &live);
    if let Some(watched) = options.watched {
        let keeper = watched.keeper().clone();
        server.add_service(background_service(
            "secrets",
            secrets::KeepSecrets {
                keeper,
                telemetry: telemetry.clone(),
            },
        ));
        let reloads = Reloads {
            live,
            watched: Mutex::new(watched),
        };
        server.add_service(background_service("reload", reloads));
    }
    if let (Some(file), Some(_)) = (options.file, &state) {
        server.add_service(background_service("succession", Succession { file }));
    }
    server.add_service(background_service(
        "rotation",
        Rotation {
            telemetry: telemetry.clone(),
        },
    ));
    server.add_service(background_service(
        "summaries",
        Summaries {
            telemetry: telemetry.clone(),
        },
    ));
    let leave = LeaveWhenIdle {
        lifecycle: lifecycle.clone(),
        telemetry: telemetry.clone(),
        state: state.clone(),
    };
    server.add_service(background_service("leave", leave));

    // everything above can fail without harm; from here on the sockets may be ours
    let waiting = match &state {
        Some(state) if options.upgrade => Some(state.wait()?),
        _ => None,
    };
    server.bootstrap();
    drop(waiting);
    if let Some(state) = &state {
        state.serve()?;
    }
    process::tell_manager();
    server.run(RunArgs {
        shutdown_signal: Box::new(Signals {
            lifecycle,
            state: state.clone(),
            drain,
        }),
    });
    telemetry.finish();
    if let Some(state) = state {
        state.leave();
    }
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
    let mut http = http_proxy(&server.configuration, durward);
    let mut options = HttpServerOptions::default();
    // never passed on: left to Pingora, it would be refused without a record and with its name
    options.allow_connect_method_proxying = true;
    http.server_options = Some(options);
    http.h2_options = Some(http2_options(&running.gateway));
    let registry = Arc::new(Registry::new(live.clone(), telemetry.clone()));
    let acceptors = running.gateway.listeners.iter().enumerate();
    let acceptors = acceptors.map(|(index, listener)| match &listener.purpose {
        Purpose::Tls(policy) => tls::acceptor(live, index, policy).map(Some),
        Purpose::Plaintext(_) | Purpose::Redirect(_) => Ok(None),
    });
    let acceptors = acceptors
        .collect::<Result<_, _>>()
        .map_err(|why| Error::because(ErrorType::InternalError, "TLS settings", why))?;
    let mut proxy = Service::new("proxy".to_owned(), Door::new(http, registry.clone(), acceptors));
    let mut proxies = false;
    for listener in &running.gateway.listeners {
        let address = listener.address.to_string();
        let socket = ListenerConfig::tcp(&address).l4_buffer(L4BufferSettings::default().read(READ_BUFFER));
        match &listener.purpose {
            // the door does the handshake
            Purpose::Tls(_) | Purpose::Plaintext(_) => {
                proxy.add_listener(socket);
                proxies = true;
            }
            Purpose::Redirect(port) => {
                let redirect = Redirect {
                    port: *port,
                    live: live.clone(),
                    telemetry: telemetry.clone(),
                };
                let mut service = Service::new(
                    format!("redirect {address}"),
                    Door::new(redirect, registry.clone(), Box::default()),
                );
                service.threads = Some(1);
                service.add_listener(socket);
                server.add_service(service);
            }
        }
    }
    if proxies {
        server.add_service(proxy);
    }
    server.add_service(background_service("watchdog", Watchdog(registry)));
    let mut admin = Service::new(
        "admin".to_owned(),
        Admin::new(live.clone(), telemetry.clone())
            .map_err(|why| Error::because(ErrorType::InternalError, "metrics", why))?,
    );
    admin.threads = Some(1);
    admin.add_tcp(&running.gateway.admin.to_string());
    server.add_service(admin);
    Ok(())
}

/// What the library behind HTTP/2 bounds by itself.
fn http2_options(gateway: &Gateway) -> H2Options {
    let limits = &gateway.connections;
    let narrow = |bytes: usize| u32::try_from(bytes).unwrap_or(u32::MAX);
    let mut options = default_h2_options();
    options.max_header_list_size(narrow(limits.head.bytes));
    options.max_concurrent_streams(limits.max_concurrent_streams);
    // streams that we reset for what the client did on them (MadeYouReset), beyond those that it resets itself
    options.max_local_error_reset_streams(Some(64));
    options
}
