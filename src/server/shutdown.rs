//! How the gateway ends: at once, after its clients have left, or by handing its sockets to a successor.
//!
//! - SIGINT: at once.
//! - SIGTERM: readiness goes off and clients are told to connect anew; after `drain_seconds` nothing is accepted any
//!   more, and requests under way get `grace_period_seconds`. The process is gone as soon as it is idle.
//! - SIGQUIT: the same, with the sockets handed over first. Without a successor that waits for them it does nothing: a
//!   signal too many must not end the service.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use pingora_core::server::{ShutdownSignal, ShutdownSignalWatch, ShutdownWatch};
use pingora_core::services::background::BackgroundService;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::sleep;

use super::state::StateDir;
use crate::lifecycle::Lifecycle;
use crate::listener::door::MOMENT;
use crate::telemetry::Telemetry;

/// How often an ending process looks whether it is idle, and how often it must be so in a row: together longer than
/// [`MOMENT`], in which the last connections may still send their first request.
const IDLE: (Duration, u32) = (Duration::from_millis(50), 30);
const _: () = assert!(IDLE.0.as_millis() * IDLE.1 as u128 > MOMENT.as_millis());

/// Listens for signals.
pub(super) struct Signals {
    pub(super) lifecycle: Arc<Lifecycle>,
    pub(super) state: Option<StateDir>,
    pub(super) drain: Duration,
}

#[async_trait]
impl ShutdownSignalWatch for Signals {
    async fn recv(&self) -> ShutdownSignal {
        let (mut quit, mut terminate, mut interrupt) = (
            hear(SignalKind::quit()),
            hear(SignalKind::terminate()),
            hear(SignalKind::interrupt()),
        );
        loop {
            tokio::select! {
                () = next(&mut interrupt) => return ShutdownSignal::FastShutdown,
                () = next(&mut terminate) => {
                    log::info!(target: "durward", "SIGTERM: clients are told to leave");
                    self.lifecycle.drain();
                    tokio::select! {
                        () = sleep(self.drain) => {}
                        () = next(&mut interrupt) => return ShutdownSignal::FastShutdown,
                        () = next(&mut terminate) => {}
                    }
                    return ShutdownSignal::GracefulTerminate;
                }
                () = next(&mut quit) => match &self.state {
                    Some(state) if state.has_successor() => {
                        log::info!(target: "durward", "SIGQUIT: the sockets go to the successor");
                        self.lifecycle.drain();
                        return ShutdownSignal::GracefulUpgrade;
                    }
                    Some(_) => log::error!(
                        target: "durward",
                        "SIGQUIT: no successor waits, so this process keeps serving; `durward upgrade` starts one"
                    ),
                    None => log::error!(
                        target: "durward",
                        "SIGQUIT: `server.state_dir` is not configured, so there is no upgrade; keeps serving"
                    ),
                },
            }
        }
    }
}

fn hear(kind: SignalKind) -> Option<Signal> {
    let heard = signal(kind);
    if let Err(why) = &heard {
        log::error!(target: "durward", "signal {kind:?} cannot be heard: {why}");
    }
    heard.ok()
}

async fn next(signal: &mut Option<Signal>) {
    match signal {
        Some(signal) => _ = signal.recv().await,
        None => std::future::pending().await,
    }
}

/// Ends the process once nothing is left to do: Pingora itself would wait for the whole grace period.
pub(super) struct LeaveWhenIdle {
    pub(super) lifecycle: Arc<Lifecycle>,
    pub(super) telemetry: Arc<Telemetry>,
    pub(super) state: Option<StateDir>,
}

#[async_trait]
impl BackgroundService for LeaveWhenIdle {
    async fn start(&self, mut shutdown: ShutdownWatch) {
        let _ = shutdown.changed().await;
        self.lifecycle.end_streams();
        let mut idle = 0;
        while idle < IDLE.1 {
            sleep(IDLE.0).await;
            idle = if self.lifecycle.in_flight() == 0 {
                idle + 1
            } else {
                0
            };
        }
        self.telemetry.finish();
        if let Some(state) = &self.state {
            state.leave();
        }
        log::info!(target: "durward", "idle: gone");
        std::process::exit(0);
    }
}
