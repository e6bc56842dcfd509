//! What goes on in the background with the process itself: signals, files that change, names, summaries.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use parking_lot::Mutex;
use pingora_core::server::ShutdownWatch;
use pingora_core::services::background::BackgroundService;
use tokio::signal::unix::{SignalKind, signal};

use crate::clock::UnixTime;
use crate::running::live::Live;
use crate::running::reload::Watched;
use crate::telemetry::Telemetry;
use crate::upstream::{Target, resolve};

/// Starts `durward upgrade` on SIGUSR2: a service manager that watches this process has a successor in its sight so.
pub(super) struct Succession {
    pub(super) file: PathBuf,
}

#[async_trait]
impl BackgroundService for Succession {
    async fn start(&self, mut shutdown: ShutdownWatch) {
        let mut asked = match signal(SignalKind::user_defined2()) {
            Ok(asked) => asked,
            Err(why) => {
                log::error!(target: "durward", "SIGUSR2 cannot be heard: {why}");
                return;
            }
        };
        let mut upgrade: Option<std::process::Child> = None;
        loop {
            tokio::select! {
                _ = asked.recv() => {
                    log::info!(target: "durward", "SIGUSR2: starts a successor");
                    let started = std::env::current_exe().and_then(|program| {
                        let mut command = std::process::Command::new(program);
                        command.args(["upgrade", "--config"]).arg(&self.file).stdin(std::process::Stdio::null());
                        command.spawn()
                    });
                    match started {
                        Ok(child) => upgrade = Some(child),
                        Err(why) => log::error!(target: "durward", "a successor cannot be started: {why}"),
                    }
                }
                () = tokio::time::sleep(Duration::from_secs(1)), if upgrade.is_some() => {
                    // it says by itself what becomes of it
                    if upgrade.as_mut().is_some_and(|child| !matches!(child.try_wait(), Ok(None))) {
                        upgrade = None;
                    }
                }
                _ = shutdown.changed() => return,
            }
        }
    }
}

/// Opens the file of records anew on SIGUSR1, for rotation.
pub(super) struct Rotation {
    pub(super) telemetry: Arc<Telemetry>,
}

#[async_trait]
impl BackgroundService for Rotation {
    async fn start(&self, mut shutdown: ShutdownWatch) {
        let mut rotated = match signal(SignalKind::user_defined1()) {
            Ok(rotated) => rotated,
            Err(why) => {
                log::error!(target: "durward::records", "SIGUSR1 cannot be heard: {why}");
                return;
            }
        };
        loop {
            tokio::select! {
                _ = rotated.recv() => self.telemetry.records.reopen(),
                _ = shutdown.changed() => return,
            }
        }
    }
}

/// Tells of repeated refusals, and of handshakes that fail again and again.
pub(super) struct Summaries {
    pub(super) telemetry: Arc<Telemetry>,
}

/// Time between two looks for summaries that are due.
const SUMMARIES: Duration = Duration::from_millis(500);

#[async_trait]
impl BackgroundService for Summaries {
    async fn start(&self, mut shutdown: ShutdownWatch) {
        let Telemetry {
            refusals,
            handshakes,
            records,
            ..
        } = &*self.telemetry;
        if refusals.interval().is_none() {
            return;
        }
        // the end of the process tells what is left
        loop {
            tokio::select! {
                () = tokio::time::sleep(SUMMARIES) => {
                    let now = UnixTime::of_system();
                    refusals.tell(now, records);
                    handshakes.tell(now, records);
                }
                _ = shutdown.changed() => return,
            }
        }
    }
}

/// Reloads the configuration on SIGHUP, and when it changes on disk.
pub(super) struct Reloads {
    pub(super) live: Arc<Live>,
    pub(super) watched: Mutex<Watched>,
}

/// Time between two glances at the files: what is taken back in one of them is to count within a second.
const GLANCE: Duration = Duration::from_millis(250);

#[async_trait]
impl BackgroundService for Reloads {
    async fn start(&self, mut shutdown: ShutdownWatch) {
        let mut hangup = match signal(SignalKind::hangup()) {
            Ok(hangup) => hangup,
            Err(why) => {
                log::error!(target: "durward::reload", "SIGHUP cannot be heard: {why}");
                return;
            }
        };
        loop {
            tokio::select! {
                _ = hangup.recv() => self.watched.lock().reload(&self.live),
                () = tokio::time::sleep(GLANCE) => {
                    let mut watched = self.watched.lock();
                    if watched.is_due() && watched.has_changed() {
                        watched.reload(&self.live);
                    }
                }
                _ = shutdown.changed() => return,
            }
        }
    }
}

/// Looks up the names of targets.
pub(super) struct KeepNames {
    pub(super) live: Arc<Live>,
}

#[async_trait]
impl BackgroundService for KeepNames {
    async fn start(&self, mut shutdown: ShutdownWatch) {
        let mut exchanges = self.live.exchanges();
        loop {
            let running = self.live.current();
            for target in running
                .gateway
                .upstreams
                .iter()
                .flat_map(|upstream| &upstream.targets)
            {
                if let Target::Named(named) = target {
                    named.resolve().await;
                }
            }
            tokio::select! {
                () = tokio::time::sleep(resolve::INTERVAL) => {}
                _ = exchanges.changed() => {}
                _ = shutdown.changed() => return,
            }
        }
    }
}
