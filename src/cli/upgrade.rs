//! `durward upgrade`: a new process takes over the sockets of the running one, and no request is lost.

use std::fs::{File as Stream, OpenOptions};
use std::io::{self, Write};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::{File, gateway};
use crate::server::state::StateDir;

/// For the successor to compile its configuration.
const START: Duration = Duration::from_secs(30);
/// For the sockets to go over.
const HAND_OVER: Duration = Duration::from_secs(15);
/// Between two looks.
const LOOK: Duration = Duration::from_millis(20);

pub(super) fn upgrade(file: &File) -> io::Result<ExitCode> {
    let mut out = io::stdout();
    let Some(gateway) = gateway(file)? else {
        return Ok(ExitCode::FAILURE);
    };
    let Some(dir) = gateway.server.state_dir else {
        return Err(io::Error::other(
            "`server.state_dir` is not configured: the running process cannot be found",
        ));
    };
    let state = StateDir::open(&dir)?;
    let Some(old) = state.pid() else {
        return Err(io::Error::other(format!("no gateway runs in {}", dir.display())));
    };
    writeln!(out, "process {old} serves; starting its successor")?;
    let mut successor = start(file, old)?;
    let new = successor.id();
    wait(
        "the successor did not become ready",
        START,
        &mut successor,
        || state.has_successor(),
    )?;

    let target = i32::try_from(old).map_err(io::Error::other)?;
    kill(Pid::from_raw(target), Signal::SIGQUIT).map_err(io::Error::other)?;
    wait(
        "the sockets were not handed over",
        HAND_OVER,
        &mut successor,
        || state.pid() == Some(new),
    )?;
    writeln!(
        out,
        "process {new} serves from now on; {old} finishes what it has begun"
    )?;
    Ok(ExitCode::SUCCESS)
}

/// Starts the new process, apart from this one, with the old one's output.
fn start(file: &File, old: u32) -> io::Result<Child> {
    let inherited = |descriptor: u8| -> io::Result<Stdio> {
        let stream: Stream = OpenOptions::new()
            .append(true)
            .open(format!("/proc/{old}/fd/{descriptor}"))?;
        Ok(stream.into())
    };
    // a terminal or a pipe that is gone is no reason not to upgrade
    let stream = |descriptor| inherited(descriptor).unwrap_or_else(|_| Stdio::null());
    Command::new(std::env::current_exe()?)
        .args(["run", "--upgrade", "--config"])
        .arg(&file.config)
        .stdin(Stdio::null())
        .stdout(stream(1))
        .stderr(stream(2))
        .process_group(0)
        .spawn()
}

fn wait(otherwise: &str, patience: Duration, successor: &mut Child, so: impl Fn() -> bool) -> io::Result<()> {
    let end = Instant::now() + patience;
    while !so() {
        if let Some(status) = successor.try_wait()? {
            let why = format!(
                "{otherwise}: it ended with {status}; its messages say why. The old process keeps serving"
            );
            return Err(io::Error::other(why));
        }
        if Instant::now() > end {
            let _ = successor.kill();
            return Err(io::Error::new(io::ErrorKind::TimedOut, otherwise.to_owned()));
        }
        std::thread::sleep(LOOK);
    }
    Ok(())
}
