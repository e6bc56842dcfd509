//! `durward run` and the gateway of `durward demo`.

use std::io::{self, Write};
use std::net::TcpStream;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;

use super::{File, compiled, report};
use crate::demo::Demo;
use crate::gateway::compile::compile;
use crate::running::reload::Watched;
use crate::secrets::Sources;
use crate::secrets::keeper::Keeper;
use crate::server;

/// The gateway.
#[derive(Debug, Args)]
pub(super) struct Run {
    #[command(flatten)]
    file: File,
    /// Take the sockets over from the running process; `durward upgrade` does that and more
    #[arg(long)]
    upgrade: bool,
}

pub(super) fn run(run: &Run) -> io::Result<ExitCode> {
    let Run { file, upgrade } = run;
    let keeper = Arc::new(Keeper::default());
    let compiled = compiled(file, Some(&keeper))?;
    let Some(gateway) = compiled.gateway else {
        return Ok(ExitCode::FAILURE);
    };
    log::info!(target: "durward", "runs {} ({})", file.config.display(), gateway.hash);
    keeper.adopt(compiled.secrets);
    let watched = Watched::new(file.config.clone(), &compiled.read, keeper);
    server::run(
        gateway,
        server::Options {
            watched: Some(watched),
            file: Some(file.config.clone()),
            upgrade: *upgrade,
        },
    )?;
    Ok(ExitCode::SUCCESS)
}

/// Runs the demo's gateway; says what to try once it listens.
pub(super) fn demo(demo: Demo) -> io::Result<()> {
    let variables = demo
        .variables()
        .into_iter()
        .map(|(name, value)| (name.to_owned(), value));
    let sources = Sources::default().with(variables);
    let compiled = compile("conf/demo.yaml", &demo.configuration(), &sources);
    report(&compiled.faults)?;
    let Some(gateway) = compiled.gateway else {
        return Err(io::Error::other("the demo's configuration is not good"));
    };
    let addresses: Vec<_> = gateway
        .listeners
        .iter()
        .map(|listener| listener.address)
        .chain([gateway.admin])
        .collect();
    let lines = demo.lines();
    std::thread::spawn(move || {
        // each service starts to listen on a thread of its own, in no order
        for address in addresses {
            while TcpStream::connect_timeout(&address, Duration::from_millis(200)).is_err() {
                std::thread::sleep(Duration::from_millis(20));
            }
        }
        let _ = writeln!(io::stdout(), "{lines}");
    });
    let outcome = server::run(gateway, server::Options::default());
    drop(demo);
    outcome
}
