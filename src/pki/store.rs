//! A directory that only its owner can change, for certificates and keys that are made here.
//!
//! Files appear whole or not at all, and private ones are readable by their owner only. Several processes may share a
//! directory: whoever makes something holds the lock, and whoever comes second finds it made.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use uuid::Uuid;

/// A directory that only its owner can change.
#[derive(Debug, Clone)]
pub struct State {
    path: PathBuf,
}

/// Who may read a file of the directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Readers {
    /// Mode 0600: keys and secrets.
    Owner,
    /// Mode 0644: certificates.
    Everybody,
}

impl State {
    /// Opens the directory, made with mode 0700 if it is missing.
    ///
    /// # Errors
    /// `PermissionDenied` if somebody else owns the directory or may write to it: they could have left keys of their own
    /// there. Anything the file system says.
    pub fn open(path: &Path) -> io::Result<State> {
        let path = std::path::absolute(path)?;
        DirBuilder::new().recursive(true).mode(0o700).create(&path)?;
        let state = State { path };
        state.require_sole_owner()?;
        Ok(state)
    }

    /// Opens a directory that an earlier run has made.
    ///
    /// # Errors
    /// `NotFound` if there is none; otherwise as [`State::open`].
    pub fn existing(path: &Path) -> io::Result<State> {
        let state = State {
            path: fs::canonicalize(path)?,
        };
        state.require_sole_owner()?;
        Ok(state)
    }

    /// Where the directory is, as an absolute path.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Waits for the directory's lock; dropping the file releases it.
    ///
    /// # Errors
    /// Anything the file system says.
    pub fn lock(&self) -> io::Result<File> {
        let file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .mode(0o600)
            .open(self.path.join(".lock"))?;
        file.lock()?;
        Ok(file)
    }

    /// Reads a file; `None` if there is none.
    ///
    /// # Errors
    /// `PermissionDenied` if a file meant for its owner is open to others. Anything the file system says.
    pub fn read(&self, name: &str, readers: Readers) -> io::Result<Option<Vec<u8>>> {
        let path = self.path.join(name);
        let mode = match fs::metadata(&path) {
            Ok(found) => found.permissions().mode(),
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        if readers == Readers::Owner && mode & 0o077 != 0 {
            let text = format!(
                "{} is open to other users: remove it, or chmod 600",
                path.display()
            );
            return Err(io::Error::new(ErrorKind::PermissionDenied, text));
        }
        fs::read(path).map(Some)
    }

    /// Writes a file so that readers see the old content or the new, never a part.
    ///
    /// # Errors
    /// Anything the file system says; the old content then stays.
    pub fn write(&self, name: &str, content: &[u8], readers: Readers) -> io::Result<()> {
        let mode = match readers {
            Readers::Owner => 0o600,
            Readers::Everybody => 0o644,
        };
        let draft = self.path.join(format!(".{name}.{}", Uuid::now_v7()));
        let written = OpenOptions::new()
            .create_new(true)
            .write(true)
            .mode(mode)
            .open(&draft)
            .and_then(|mut file| file.write_all(content).and_then(|()| file.sync_all()))
            .and_then(|()| fs::rename(&draft, self.path.join(name)));
        if written.is_err() {
            // The first error is the one worth telling.
            let _ = fs::remove_file(&draft);
        }
        written
    }

    /// Without `unsafe` nobody tells us our own user id, but a file that we make bears it.
    fn require_sole_owner(&self) -> io::Result<()> {
        let probe = self.path.join(format!(".probe.{}", Uuid::now_v7()));
        let made = OpenOptions::new()
            .create_new(true)
            .write(true)
            .mode(0o600)
            .open(&probe)?
            .metadata()?;
        fs::remove_file(&probe)?;
        let directory = fs::metadata(&self.path)?;
        if directory.uid() == made.uid() && directory.mode() & 0o022 == 0 {
            return Ok(());
        }
        let text = format!(
            "{} belongs to, or may be written by, other users",
            self.path.display()
        );
        Err(io::Error::new(ErrorKind::PermissionDenied, text))
    }
}

/// A directory for one test, removed with it.
#[cfg(test)]
#[derive(Debug)]
pub(crate) struct Scratch(pub(crate) PathBuf);

#[cfg(test)]
impl Scratch {
    pub(crate) fn new() -> Scratch {
        Scratch(std::env::temp_dir().join(format!("durward-store-test-{}", Uuid::now_v7())))
    }
}

#[cfg(test)]
impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_directory_is_for_its_owner_only() {
        let scratch = Scratch::new();
        let state = State::open(&scratch.0.join("a/b")).unwrap();
        assert_eq!(fs::metadata(state.path()).unwrap().mode() & 0o777, 0o700);
    }

    #[test]
    fn a_directory_that_others_may_write_is_refused() {
        let scratch = Scratch::new();
        State::open(&scratch.0).unwrap();
        fs::set_permissions(&scratch.0, fs::Permissions::from_mode(0o777)).unwrap();
        assert_eq!(
            State::open(&scratch.0).unwrap_err().kind(),
            ErrorKind::PermissionDenied
        );
    }

    #[test]
    fn a_key_that_others_may_read_is_refused() {
        let scratch = Scratch::new();
        let state = State::open(&scratch.0).unwrap();
        state.write("key", b"secret", Readers::Owner).unwrap();
        assert_eq!(state.read("key", Readers::Owner).unwrap().unwrap(), b"secret");
        fs::set_permissions(scratch.0.join("key"), fs::Permissions::from_mode(0o640)).unwrap();
        assert_eq!(
            state.read("key", Readers::Owner).unwrap_err().kind(),
            ErrorKind::PermissionDenied
        );
    }

    #[test]
    fn writing_replaces_and_leaves_nothing_else_behind() {
        let scratch = Scratch::new();
        let state = State::open(&scratch.0).unwrap();
        state.write("file", b"old", Readers::Everybody).unwrap();
        state.write("file", b"new", Readers::Everybody).unwrap();
        assert_eq!(state.read("file", Readers::Everybody).unwrap().unwrap(), b"new");
        assert_eq!(fs::read_dir(&scratch.0).unwrap().count(), 1);
        assert!(state.read("absent", Readers::Everybody).unwrap().is_none());
    }
}
