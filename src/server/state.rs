//! The folder in which a running gateway and its successor find each other.
//!
//! It belongs to the gateway's user alone: whoever can write here could take over the listening sockets. Holds `pid`, the
//! upgrade socket while descriptors are handed over, and `successor`, locked by a process that waits for them.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// A state folder.
#[derive(Debug, Clone)]
pub struct StateDir(PathBuf);

/// Held by a successor while it waits.
#[derive(Debug)]
pub struct Waiting {
    _lock: File,
}

impl StateDir {
    /// Makes the folder if need be.
    ///
    /// # Errors
    /// It cannot be made, or others may write to it.
    pub fn open(path: &Path) -> io::Result<StateDir> {
        DirBuilder::new().recursive(true).mode(0o700).create(path)?;
        let mode = std::fs::metadata(path)?.mode();
        if mode & 0o077 != 0 {
            let why = format!("{} must belong to its owner alone: chmod 700 it", path.display());
            return Err(io::Error::new(io::ErrorKind::PermissionDenied, why));
        }
        Ok(StateDir(path.to_owned()))
    }

    /// Over which the descriptors go.
    #[must_use]
    pub fn socket(&self) -> PathBuf {
        self.0.join("upgrade.sock")
    }

    /// The process that serves; `None` where there is none.
    #[must_use]
    pub fn pid(&self) -> Option<u32> {
        let text = std::fs::read_to_string(self.0.join("pid")).ok()?;
        let pid: u32 = text.trim().parse().ok()?;
        Path::new(&format!("/proc/{pid}")).exists().then_some(pid)
    }

    /// This process serves from now on.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn serve(&self) -> io::Result<()> {
        let new = self.0.join(format!("pid.{}", std::process::id()));
        let mut file = OpenOptions::new()
            .create(true)
            .write(true)
            .truncate(true)
            .mode(0o600)
            .open(&new)?;
        writeln!(file, "{}", std::process::id())?;
        std::fs::rename(new, self.0.join("pid"))
    }

    /// This process no longer serves.
    pub fn leave(&self) {
        if self.pid() == Some(std::process::id()) {
            let _ = std::fs::remove_file(self.0.join("pid"));
        }
    }

    /// This process waits for descriptors until the value is dropped, or it ends.
    ///
    /// # Errors
    /// Another one waits already.
    pub fn wait(&self) -> io::Result<Waiting> {
        let file = self.successor()?;
        file.try_lock()
            .map_err(|_| io::Error::new(io::ErrorKind::WouldBlock, "another successor waits already"))?;
        Ok(Waiting { _lock: file })
    }

    /// Whether a process waits for descriptors.
    #[must_use]
    pub fn has_successor(&self) -> bool {
        self.successor().is_ok_and(|file| file.try_lock().is_err())
    }

    fn successor(&self) -> io::Result<File> {
        OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .mode(0o600)
            .open(self.0.join("successor"))
    }
}
