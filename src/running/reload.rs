//! A changed configuration, while it runs.
//!
//! The new file is compiled as a whole before anything changes. If it is not good, or changes what a running process
//! cannot change, the old one keeps running and says so.

use std::path::{Path, PathBuf};

use super::live::{Live, Reload};
use crate::clock::UnixTime;
use crate::config::fault::Severity;
use crate::gateway::compile::load;
use crate::gateway::{Gateway, Purpose};

/// A configuration file and what came of it.
#[derive(Debug)]
pub struct Watched {
    file: PathBuf,
    /// Of everything that was read when it was last compiled.
    fingerprint: Fingerprint,
}

/// Identifies the contents of some files.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Fingerprint(Vec<(PathBuf, Option<[u8; 32]>)>);

impl Fingerprint {
    fn of<'a>(files: impl Iterator<Item = &'a Path>) -> Fingerprint {
        // contents, not times: Kubernetes swaps a symlink, and an editor may write the same again
        let digest = |file: &Path| std::fs::read(file).ok().map(|bytes| openssl::sha::sha256(&bytes));
        Fingerprint(files.map(|file| (file.to_owned(), digest(file))).collect())
    }

    fn is_current(&self) -> bool {
        *self == Fingerprint::of(self.0.iter().map(|(file, _)| file.as_path()))
    }
}

impl Watched {
    /// A file that was compiled just now, with the files that it names.
    #[must_use]
    pub fn new(file: PathBuf, read: &[PathBuf]) -> Watched {
        let fingerprint = Fingerprint::of(
            [file.as_path()]
                .into_iter()
                .chain(read.iter().map(PathBuf::as_path)),
        );
        Watched { file, fingerprint }
    }

    /// Whether the file, or one that it names, holds something else than when it was last compiled.
    #[must_use]
    pub fn has_changed(&self) -> bool {
        !self.fingerprint.is_current()
    }

    /// Compiles the file anew and runs it from now on, if it is good. Says in the log and in the status what came of it.
    pub fn reload(&mut self, live: &Live) {
        let at = UnixTime::of_system();
        let compiled = match load(&self.file, Vec::new()) {
            Ok(compiled) => compiled,
            Err(why) => {
                let fault = format!("{}: {why}", self.file.display());
                log::error!(target: "durward::reload", "the running configuration stays: {fault}");
                self.fingerprint = Fingerprint::of([self.file.as_path()].into_iter());
                return live.note(Reload {
                    at,
                    file: None,
                    faults: vec![fault],
                });
            }
        };
        let mut watched: Vec<PathBuf> = self.fingerprint.0.iter().map(|(file, _)| file.clone()).collect();
        watched.extend(compiled.read);
        watched.sort();
        watched.dedup();
        self.fingerprint = Fingerprint::of(watched.iter().map(PathBuf::as_path));
        let mut faults: Vec<String> = compiled
            .faults
            .iter()
            .filter(|fault| fault.severity == Severity::Error)
            .map(crate::config::fault::Fault::one_line)
            .collect();
        match compiled.gateway {
            Some(gateway) => {
                let fixed = differences(&live.current().gateway, &gateway);
                if fixed.is_empty() {
                    // noted first: whoever sees the new configuration run also sees that the file is current
                    live.note(Reload {
                        at,
                        file: Some(compiled.hash),
                        faults,
                    });
                    log::info!(target: "durward::reload", "runs {} from now on", gateway.hash);
                    return live.exchange(gateway);
                } else {
                    let file = self.file.display();
                    faults.extend(fixed.iter().map(|what| format!("{file}: needs upgrade: {what}")));
                }
            }
            None if faults.is_empty() => faults.push(format!("{}: not good", self.file.display())),
            None => {}
        }
        for fault in &faults {
            log::error!(target: "durward::reload", "the running configuration stays: {fault}");
        }
        live.note(Reload {
            at,
            file: Some(compiled.hash),
            faults,
        });
    }
}

/// What differs of all that a running process cannot change.
fn differences(running: &Gateway, new: &Gateway) -> Vec<&'static str> {
    let mut differences = Vec::new();
    let fixed = |gateway: &Gateway| {
        let listeners = gateway.listeners.iter().map(|listener| {
            let purpose = match &listener.purpose {
                // certificates, HSTS, and which certificates clients need, are looked up for each handshake
                Purpose::Tls(tls) => {
                    let asks = tls.client_certificates.is_some();
                    format!(
                        "{} {} {} {} {asks}",
                        tls.tls12, tls.ciphers, tls.ciphersuites, tls.http2
                    )
                }
                Purpose::Plaintext(_) => "plaintext".to_owned(),
                Purpose::Redirect(port) => format!("redirect {port}"),
            };
            (listener.address, purpose)
        });
        listeners.collect::<Vec<_>>()
    };
    if fixed(running) != fixed(new) {
        differences.push("`listeners` differ in address, purpose, TLS versions, suites, HTTP/2 or whether they ask for client certificates");
    }
    if running.connections.of_http2() != new.connections.of_http2() {
        differences.push("`connections.max_head` or `connections.http2.max_concurrent_streams` differ");
    }
    if running.admin != new.admin {
        differences.push("`admin.address` differs");
    }
    if running.records != new.records {
        differences.push("`records` differ");
    }
    if running.server != new.server {
        differences.push("`server` differs");
    }
    differences
}
