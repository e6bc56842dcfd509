//! Where lines end up: the standard output, or a file that is appended to and can be opened anew.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// An open sink.
#[derive(Debug)]
pub(super) struct Sink {
    file: File,
    path: Option<PathBuf>,
    is_failing: bool,
    /// The last line was broken off, and what follows it must not be taken for its rest.
    is_torn: bool,
}

impl Sink {
    /// A file, or the standard output.
    pub(super) fn open(path: Option<PathBuf>) -> io::Result<Sink> {
        Ok(Sink {
            file: open(path.as_deref())?,
            path,
            is_failing: false,
            is_torn: false,
        })
    }

    /// Opens the file anew: somebody has moved it away. The old one stays where that fails.
    pub(super) fn reopen(&mut self) {
        match open(self.path.as_deref()) {
            Ok(file) => {
                self.file = file;
                self.is_torn = false;
            }
            Err(why) => {
                log::error!(target: "durward::records", "the file cannot be opened anew, the old one stays: {why}");
            }
        }
    }

    /// Writes whole lines.
    ///
    /// # Errors
    /// Says once that it fails; holds how many bytes were written before.
    pub(super) fn write(&mut self, lines: &[u8]) -> Result<(), usize> {
        let mut left = lines;
        let outcome = loop {
            if left.is_empty() {
                break Ok(());
            }
            let outcome = if self.is_torn {
                self.file.write_all(b"\n").map(|()| 0)
            } else {
                self.file.write(left)
            };
            match outcome {
                Ok(0) if !self.is_torn => break Err(io::Error::from(io::ErrorKind::WriteZero)),
                Ok(written) => left = left.get(written..).unwrap_or_default(),
                Err(why) if why.kind() == io::ErrorKind::Interrupted => continue,
                Err(why) => break Err(why),
            }
            self.is_torn = false;
        };
        let was_failing = std::mem::replace(&mut self.is_failing, outcome.is_err());
        outcome.map_err(|why| {
            if !was_failing {
                log::error!(target: "durward::records", "records cannot be written: {why}");
            }
            lines.len() - left.len()
        })
    }

    /// The line that was broken off will not be gone on with.
    pub(super) fn tear(&mut self) {
        self.is_torn = true;
    }
}

fn open(path: Option<&Path>) -> io::Result<File> {
    match path {
        // unbuffered: what was written is known
        None => io::stdout().as_fd().try_clone_to_owned().map(File::from),
        Some(path) => OpenOptions::new()
            .create(true)
            .append(true)
            .mode(0o640)
            .open(path),
    }
}
