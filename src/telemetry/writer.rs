//! The way from a request to the sink: a bounded buffer and one thread that empties it every few milliseconds.
//!
//! A request never waits for a disk, and does not even wake the thread, but for the first record of a batch: it copies its
//! line into the buffer. When the buffer is full, the record is dropped and counted.

use std::fs::OpenOptions;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{JoinHandle, Thread};
use std::time::Duration;

use parking_lot::Mutex;

use crate::gateway::{Records, RecordsTo};

/// How long records are gathered before they are written.
const BATCH: Duration = Duration::from_millis(10);

/// Hands records to the writing thread.
#[derive(Debug)]
pub struct Writer {
    shared: Option<Arc<Shared>>,
    writing: Option<Thread>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

#[derive(Debug, Default)]
struct Shared {
    waiting: Mutex<Batch>,
    most: usize,
    dropped: AtomicU64,
    reopen: AtomicBool,
    ended: AtomicBool,
}

#[derive(Debug, Default)]
struct Batch {
    lines: usize,
    bytes: Vec<u8>,
}

impl Writer {
    /// Opens the sink and starts the thread.
    ///
    /// # Errors
    /// The file cannot be opened or the thread not started.
    pub fn start(records: &Records) -> io::Result<Writer> {
        let path = match &records.to {
            RecordsTo::Off => {
                return Ok(Writer {
                    shared: None,
                    writing: None,
                    thread: Mutex::new(None),
                });
            }
            RecordsTo::Stdout => None,
            RecordsTo::File(path) => Some(path.clone()),
        };
        let sink = open(path.as_deref())?;
        let shared = Arc::new(Shared {
            most: records.queue,
            ..Shared::default()
        });
        let theirs = shared.clone();
        let thread = std::thread::Builder::new()
            .name("records".to_owned())
            .spawn(move || theirs.write(sink, path.as_deref()))?;
        Ok(Writer {
            shared: Some(shared),
            writing: Some(thread.thread().clone()),
            thread: Mutex::new(Some(thread)),
        })
    }

    /// Whether records are wanted at all.
    #[must_use]
    pub fn is_on(&self) -> bool {
        self.shared.is_some()
    }

    /// Hands a line on, or drops and counts it. Never waits for the sink.
    pub fn write(&self, line: &[u8]) {
        if !self.offer(line) {
            self.lost(1);
        }
    }

    /// Hands a line on; `false` where there is no room.
    #[must_use]
    pub fn offer(&self, line: &[u8]) -> bool {
        let Some(shared) = &self.shared else { return true };
        let mut waiting = shared.waiting.lock();
        if waiting.lines >= shared.most {
            return false;
        }
        let is_first = waiting.lines == 0;
        waiting.lines += 1;
        waiting.bytes.extend_from_slice(line);
        drop(waiting);
        if is_first && let Some(writing) = &self.writing {
            writing.unpark();
        }
        true
    }

    /// Counts requests that nothing tells of.
    pub fn lost(&self, requests: u64) {
        if let Some(shared) = &self.shared {
            shared.dropped.fetch_add(requests, Ordering::Relaxed);
        }
    }

    /// Records lost so far: the buffer was full, or the sink failed.
    #[must_use]
    pub fn dropped(&self) -> u64 {
        self.shared
            .as_ref()
            .map_or(0, |shared| shared.dropped.load(Ordering::Relaxed))
    }

    /// Records that wait to be written.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.shared
            .as_ref()
            .map_or(0, |shared| shared.waiting.lock().lines)
    }

    /// Opens the file anew, after what waits was written: somebody has moved it away.
    pub fn reopen(&self) {
        if let Some(shared) = &self.shared {
            shared.reopen.store(true, Ordering::Release);
        }
        if let Some(writing) = &self.writing {
            writing.unpark();
        }
    }

    /// Writes what waits and ends the thread; for the end of the process.
    pub fn finish(&self) {
        let Some(shared) = &self.shared else { return };
        shared.ended.store(true, Ordering::Release);
        if let Some(writing) = &self.writing {
            writing.unpark();
        }
        let thread = self.thread.lock().take();
        if thread.is_some_and(|thread| thread.join().is_err()) {
            log::error!(target: "durward::records", "the writer of records ended early");
        }
    }
}

impl Shared {
    fn write(&self, mut sink: Box<dyn Write + Send>, path: Option<&Path>) {
        let mut batch = Batch::default();
        let mut failing = false;
        loop {
            let ended = self.ended.load(Ordering::Acquire);
            let reopens = self.reopen.swap(false, Ordering::AcqRel);
            // two buffers change places, so that neither is ever allocated anew
            std::mem::swap(&mut batch, &mut *self.waiting.lock());
            let lines = std::mem::take(&mut batch.lines);
            if lines > 0 {
                failing = !self.wrote(
                    lines,
                    sink.write_all(&batch.bytes).and_then(|()| sink.flush()),
                    failing,
                );
                batch.bytes.clear();
            }
            // what waited when it was asked for is in the old file
            if reopens {
                match open(path) {
                    Ok(opened) => sink = opened,
                    Err(why) => {
                        log::error!(target: "durward::records", "the file cannot be opened anew, the old one stays: {why}");
                    }
                }
            }
            match (lines, ended) {
                (0, true) => return,
                (0, false) if !reopens => std::thread::park(),
                _ => {}
            }
            if !ended {
                std::thread::sleep(BATCH);
            }
        }
    }

    /// Counts what was lost, and says so once.
    fn wrote(&self, lines: usize, outcome: io::Result<()>, was_failing: bool) -> bool {
        if let Err(why) = &outcome {
            self.dropped
                .fetch_add(u64::try_from(lines).unwrap_or(u64::MAX), Ordering::Relaxed);
            if !was_failing {
                log::error!(target: "durward::records", "records cannot be written: {why}");
            }
        }
        outcome.is_ok()
    }
}

/// The standard output, or a file to append to.
fn open(path: Option<&Path>) -> io::Result<Box<dyn Write + Send>> {
    Ok(match path {
        None => Box::new(io::stdout()),
        Some(path) => Box::new(
            OpenOptions::new()
                .create(true)
                .append(true)
                .mode(0o640)
                .open(path)?,
        ),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_waits_is_written_before_the_end_and_what_does_not_fit_is_counted() {
        let path = std::env::temp_dir().join(format!("durward-records-{}", std::process::id()));
        let writer = Writer::start(&Records {
            to: RecordsTo::File(path.clone()),
            queue: 100,
            summary_interval: Duration::ZERO,
        })
        .unwrap();
        let lines = 1000;
        for n in 0..lines {
            writer.write(format!("{n}\n").as_bytes());
        }
        writer.finish();
        let text = std::fs::read_to_string(&path).unwrap();
        std::fs::remove_file(&path).unwrap();
        let written = u64::try_from(text.lines().count()).unwrap();
        assert_eq!(written + writer.dropped(), lines);
        assert!(written >= 100, "{written}");
        assert!(text.starts_with("0\n1\n2\n"));
    }
}
