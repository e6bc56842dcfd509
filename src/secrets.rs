//! Where what is not in the configuration comes from: environment and files. Nothing else reads a secret.

use std::collections::HashMap;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use parking_lot::Mutex;

use crate::config::scalar::Lookup;

/// Files larger than this are not read.
const MAX_FILE: u64 = 4 << 20;

/// Environment and files, as the process sees them.
#[derive(Debug, Default)]
pub struct Sources {
    /// Relative paths start here: the folder of the configuration.
    base: PathBuf,
    /// Asked before the environment.
    overrides: HashMap<String, String>,
    /// Files that were asked for, so that a change of theirs is noticed.
    read: Mutex<Vec<PathBuf>>,
}

impl Sources {
    /// Relative paths start in the folder of `configuration`.
    #[must_use]
    pub fn beside(configuration: &Path) -> Sources {
        let base = configuration.parent().unwrap_or(Path::new("")).to_owned();
        Sources {
            base,
            ..Sources::default()
        }
    }

    /// With values that go before the environment's.
    #[must_use]
    pub fn with(mut self, overrides: impl IntoIterator<Item = (String, String)>) -> Sources {
        self.overrides.extend(overrides);
        self
    }

    /// The path as it is opened.
    #[must_use]
    pub fn path(&self, path: &Path) -> PathBuf {
        self.base.join(path)
    }

    /// Files that were asked for so far.
    #[must_use]
    pub fn read(&self) -> Vec<PathBuf> {
        self.read.lock().clone()
    }

    /// A file that need not be text, of at most so many bytes.
    ///
    /// # Errors
    /// It cannot be read, or is larger.
    pub fn bytes(&self, path: &Path, most: u64) -> io::Result<Vec<u8>> {
        std::fs::read(self.admissible(path, most)?)
    }

    /// Where a file is that may be read.
    fn admissible(&self, path: &Path, most: u64) -> io::Result<PathBuf> {
        let path = self.path(path);
        self.read.lock().push(path.clone());
        let meta = std::fs::metadata(&path)?;
        if !meta.is_file() {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a file"));
        }
        if meta.len() > most {
            let why = format!("larger than {} MiB", most >> 20);
            return Err(io::Error::new(io::ErrorKind::FileTooLarge, why));
        }
        Ok(path)
    }

    /// Whether others than its owner can read a file.
    #[must_use]
    pub fn is_readable_by_others(&self, path: &Path) -> bool {
        std::fs::metadata(self.path(path)).is_ok_and(|meta| meta.permissions().mode() & 0o077 != 0)
    }
}

impl Lookup for Sources {
    fn env(&self, name: &str) -> Option<String> {
        self.overrides
            .get(name)
            .cloned()
            .or_else(|| std::env::var(name).ok())
    }

    fn file(&self, path: &Path) -> io::Result<String> {
        std::fs::read_to_string(self.admissible(path, MAX_FILE)?)
    }
}
