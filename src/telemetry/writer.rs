//! The way from a request to the sink: a bounded buffer and one thread that empties it every few milliseconds.
//!
//! A request never waits for a disk, and does not even wake the thread, but for the first record of a batch: it copies its
//! line into the buffer. When the buffer is full, the record is dropped and counted.
//!
//! Where that must not be, each request takes a [`Room`] before it goes on, and is refused if there is none: what has one
//! is written, however long the sink takes, and until then the places run out. Nobody waits for that either.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::thread::{JoinHandle, Thread};
use std::time::{Duration, Instant};

use parking_lot::{Mutex, MutexGuard};

use super::sink::Sink;
use crate::gateway::{Records, RecordsTo};

/// How long records are gathered before they are written.
const BATCH: Duration = Duration::from_millis(10);
/// Between two attempts to write what must not be lost.
const RETRY: Duration = Duration::from_millis(100);
/// How long the end of the process waits for a sink that does not take what is left.
const LAST: Duration = Duration::from_secs(2);

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
    /// Whether a request without a place is refused.
    refuses: bool,
    /// Places taken: by requests under way, and by lines that are not written yet.
    taken: AtomicUsize,
    failing: AtomicBool,
    dropped: AtomicU64,
    reopen: AtomicBool,
    ended: AtomicBool,
}

#[derive(Debug, Default)]
struct Batch {
    lines: usize,
    /// Of these, how many have places.
    placed: usize,
    bytes: Vec<u8>,
}

/// Room for the record of one request. Given up with the value.
#[derive(Debug)]
pub struct Room(Option<Arc<Shared>>);

impl Drop for Room {
    fn drop(&mut self) {
        if let Some(shared) = &self.0 {
            shared.taken.fetch_sub(1, Ordering::AcqRel);
        }
    }
}

/// There is no room for another record, and nothing is to happen without one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Full;

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
        let sink = Sink::open(path)?;
        let shared = Arc::new(Shared {
            most: records.queue,
            refuses: records.refuses_when_full,
            ..Shared::default()
        });
        let theirs = shared.clone();
        let thread = std::thread::Builder::new()
            .name("records".to_owned())
            .spawn(move || theirs.write(sink))?;
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

    /// Takes room for the record of a request that is about to begin; `None` where records may be dropped.
    ///
    /// # Errors
    /// There is no room: the request is to be refused.
    pub fn room(&self) -> Result<Option<Room>, Full> {
        let Some(shared) = self.shared.as_ref().filter(|shared| shared.refuses) else {
            return Ok(None);
        };
        if shared.taken.fetch_add(1, Ordering::AcqRel) >= shared.most {
            shared.taken.fetch_sub(1, Ordering::AcqRel);
            return Err(Full);
        }
        Ok(Some(Room(Some(shared.clone()))))
    }

    /// Whether requests are being refused for want of room.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.shared
            .as_ref()
            .is_some_and(|shared| shared.refuses && shared.taken.load(Ordering::Acquire) >= shared.most)
    }

    /// Whether the sink did not take the last records.
    #[must_use]
    pub fn is_failing(&self) -> bool {
        self.shared
            .as_ref()
            .is_some_and(|shared| shared.failing.load(Ordering::Relaxed))
    }

    /// Hands a line on in the place that was taken for it; without one, as [`write`](Self::write) does.
    pub fn write_in(&self, place: Option<Room>, line: &[u8]) {
        let Some(shared) = place.and_then(|mut place| place.0.take()) else {
            return self.write(line);
        };
        let mut waiting = shared.waiting.lock();
        waiting.placed += 1;
        self.push(waiting, line);
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
        let waiting = shared.waiting.lock();
        if waiting.lines >= shared.most {
            return false;
        }
        self.push(waiting, line);
        true
    }

    fn push(&self, mut waiting: MutexGuard<'_, Batch>, line: &[u8]) {
        let is_first = waiting.lines == 0;
        waiting.lines += 1;
        waiting.bytes.extend_from_slice(line);
        drop(waiting);
        if is_first && let Some(writing) = &self.writing {
            writing.unpark();
        }
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
        let Some(thread) = self.thread.lock().take() else {
            return;
        };
        // a sink that blocks, such as a pipe that nobody reads, must not keep the process
        let end = Instant::now() + 2 * LAST;
        while !thread.is_finished() && Instant::now() < end {
            std::thread::sleep(BATCH);
        }
        if !thread.is_finished() {
            log::error!(target: "durward::records", "the sink does not take the last records: they are lost");
        } else if thread.join().is_err() {
            log::error!(target: "durward::records", "the writer of records ended early");
        }
    }
}

impl Shared {
    fn write(&self, mut sink: Sink) {
        let mut batch = Batch::default();
        loop {
            let ended = self.ended.load(Ordering::Acquire);
            let reopens = self.reopen.swap(false, Ordering::AcqRel);
            // two buffers change places, so that neither is ever allocated anew
            std::mem::swap(&mut batch, &mut *self.waiting.lock());
            let lines = std::mem::take(&mut batch.lines);
            if lines > 0 {
                self.put(&mut sink, &batch.bytes);
                self.taken
                    .fetch_sub(std::mem::take(&mut batch.placed), Ordering::AcqRel);
                batch.bytes.clear();
            }
            // what waited when it was asked for is in the old file
            if reopens {
                sink.reopen();
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

    /// Writes lines; what the sink does not take is counted, or tried again for as long as it takes.
    fn put(&self, sink: &mut Sink, bytes: &[u8]) {
        let mut left = bytes;
        let mut end = None;
        while let Err(written) = sink.write(left) {
            self.failing.store(true, Ordering::Relaxed);
            left = left.get(written..).unwrap_or_default();
            let ended = self.ended.load(Ordering::Acquire);
            let is_over = ended && Instant::now() > *end.get_or_insert_with(|| Instant::now() + LAST);
            if !self.refuses || is_over {
                let lines = left.iter().filter(|byte| **byte == b'\n').count();
                let lines = u64::try_from(lines).unwrap_or(u64::MAX);
                self.dropped.fetch_add(lines, Ordering::Relaxed);
                if line_start(bytes, left) < bytes.len() - left.len() {
                    sink.tear();
                }
                return;
            }
            std::thread::sleep(RETRY);
            if self.reopen.swap(false, Ordering::AcqRel) {
                sink.reopen();
                // the whole line, not the rest of one
                left = bytes.get(line_start(bytes, left)..).unwrap_or_default();
            }
        }
        self.failing.store(false, Ordering::Relaxed);
    }
}

/// Where the line begins that `left`, the end of `bytes`, is in.
fn line_start(bytes: &[u8], left: &[u8]) -> usize {
    let done = bytes.get(..bytes.len() - left.len()).unwrap_or_default();
    done.iter()
        .rposition(|byte| *byte == b'\n')
        .map_or(0, |end| end + 1)
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
            refuses_when_full: false,
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

    #[test]
    fn what_has_a_place_is_written_however_long_it_takes_and_places_run_out_until_then() {
        let path = std::env::temp_dir().join(format!("durward-places-{}", std::process::id()));
        let writer = Writer::start(&Records {
            to: RecordsTo::File(path.clone()),
            queue: 2,
            refuses_when_full: true,
            summary_interval: Duration::ZERO,
        })
        .unwrap();
        let place = || writer.room().map(Option::unwrap);
        let (first, second) = (place().unwrap(), place().unwrap());
        assert_eq!(place().unwrap_err(), Full);
        assert!(writer.is_full());
        // what is given up is free again
        drop(second);
        let second = place().unwrap();
        writer.write_in(Some(first), b"1\n");
        writer.write_in(Some(second), b"2\n");
        let end = Instant::now() + Duration::from_secs(10);
        while writer.is_full() && Instant::now() < end {
            std::thread::sleep(BATCH);
        }
        assert!(place().is_ok(), "written, and free again");
        writer.finish();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "1\n2\n");
        std::fs::remove_file(path).unwrap();
    }

    #[test]
    fn a_line_that_was_broken_off_is_begun_anew_in_a_new_file() {
        let bytes = b"one\ntwo\nthree\n";
        for (done, start) in [(0, 0), (2, 0), (4, 4), (6, 4), (8, 8), (9, 8)] {
            assert_eq!(line_start(bytes, &bytes[done..]), start, "{done}");
        }
    }
}
