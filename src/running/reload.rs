//! A changed configuration, while it runs.
//!
//! The new file is compiled as a whole before anything changes. If it is not good, or changes what a running process
//! cannot change, the old one keeps running and says so.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::live::{Live, Reload};
use crate::clock::UnixTime;
use crate::config::fault::Severity;
use crate::gateway::compile::load;
use crate::gateway::{Gateway, Purpose};
use crate::secrets::keeper::Keeper;

/// A configuration file and what came of it.
#[derive(Debug)]
pub struct Watched {
    file: PathBuf,
    /// Of everything that was read when it was last compiled.
    fingerprint: Fingerprint,
    /// As the files were at the last glance, and when their contents were last looked at.
    seen: Stamps,
    looked: Stamps,
    /// Glances since then.
    glances: u32,
    keeper: Arc<Keeper>,
}

/// What changes as soon as somebody writes to one of some files, or puts another in its place.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
struct Stamps(Vec<Option<Stamp>>);

/// Device, inode, when it was written to (seconds and nanoseconds), bytes.
type Stamp = (u64, u64, i64, i64, u64);

impl Stamps {
    fn of(fingerprint: &Fingerprint) -> Stamps {
        let stamp = |file: &Path| {
            let meta = std::fs::metadata(file).ok()?;
            Some((
                meta.dev(),
                meta.ino(),
                meta.mtime(),
                meta.mtime_nsec(),
                meta.size(),
            ))
        };
        Stamps(fingerprint.0.iter().map(|(file, _)| stamp(file)).collect())
    }
}

/// Glances after which contents are looked at in any case: clocks of file systems are coarse, and secrets are no files.
const MOST_GLANCES: u32 = 8;

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
    pub fn new(file: PathBuf, read: &[PathBuf], keeper: Arc<Keeper>) -> Watched {
        let fingerprint = Fingerprint::of(
            [file.as_path()]
                .into_iter()
                .chain(read.iter().map(PathBuf::as_path)),
        );
        Watched {
            file,
            looked: Stamps::of(&fingerprint),
            fingerprint,
            seen: Stamps::default(),
            glances: 0,
            keeper,
        }
    }

    /// To be asked several times a second: whether it is time for [`has_changed`](Self::has_changed). It is when a file was
    /// touched, and no longer is: several that are replaced one after the other are taken over together.
    pub fn is_due(&mut self) -> bool {
        let now = Stamps::of(&self.fingerprint);
        let is_touched = now != self.looked && now == self.seen;
        self.glances += 1;
        self.seen = now;
        if is_touched || self.glances >= MOST_GLANCES {
            self.glances = 0;
            self.looked = self.seen.clone();
            return true;
        }
        false
    }

    /// Who keeps its secrets.
    #[must_use]
    pub fn keeper(&self) -> &Arc<Keeper> {
        &self.keeper
    }

    /// Whether the file, one that it names, or a secret in a store is something else than when it was last compiled.
    #[must_use]
    pub fn has_changed(&self) -> bool {
        self.keeper.take_changed() || !self.fingerprint.is_current()
    }

    /// Compiles the file anew and runs it from now on, if it is good. Says in the log and in the status what came of it.
    pub fn reload(&mut self, live: &Live) {
        let at = UnixTime::of_system();
        let compiled = match load(&self.file, Some(&self.keeper)) {
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
                    self.keeper.adopt(compiled.secrets);
                    let hash = gateway.hash.clone();
                    live.exchange(gateway);
                    // said last: it does
                    return log::info!(target: "durward::reload", "runs {hash} from now on");
                } else {
                    let file = self.file.display();
                    faults.extend(fixed.iter().map(|what| format!("{file}: needs upgrade: {what}")));
                }
            }
            None if faults.is_empty() => faults.push(format!("{}: not good", self.file.display())),
            None => {}
        }
        self.keeper.decline(&compiled.secrets);
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
