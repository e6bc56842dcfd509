//! The way from a request to the sink: a bounded queue and one thread that writes. A request never waits for a disk:
//! when the queue is full, the record is dropped and counted.

use std::fs::OpenOptions;
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::gateway::{Records, RecordsTo};

/// Hands records to the writing thread.
#[derive(Debug)]
pub struct Writer {
    queue: Option<SyncSender<Message>>,
    dropped: Arc<AtomicU64>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

#[derive(Debug)]
enum Message {
    Line(Vec<u8>),
    End,
}

impl Writer {
    /// Opens the sink and starts the thread.
    ///
    /// # Errors
    /// The file cannot be opened or the thread not started.
    pub fn start(records: &Records) -> io::Result<Writer> {
        let dropped = Arc::new(AtomicU64::new(0));
        let sink: Box<dyn Write + Send> = match &records.to {
            RecordsTo::Off => {
                return Ok(Writer {
                    queue: None,
                    dropped,
                    thread: Mutex::new(None),
                });
            }
            RecordsTo::Stdout => Box::new(io::stdout()),
            RecordsTo::File(path) => Box::new(
                OpenOptions::new()
                    .create(true)
                    .append(true)
                    .mode(0o640)
                    .open(path)?,
            ),
        };
        let (queue, lines) = sync_channel(records.queue);
        let lost = dropped.clone();
        let thread = std::thread::Builder::new()
            .name("records".to_owned())
            .spawn(move || write(&lines, sink, &lost))?;
        Ok(Writer {
            queue: Some(queue),
            dropped,
            thread: Mutex::new(Some(thread)),
        })
    }

    /// Whether records are wanted at all.
    #[must_use]
    pub fn is_on(&self) -> bool {
        self.queue.is_some()
    }

    /// Hands a line on, or drops it. Never waits.
    pub fn write(&self, line: Vec<u8>) {
        if let Some(queue) = &self.queue
            && queue.try_send(Message::Line(line)).is_err()
        {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Records lost so far: the queue was full, or the sink failed.
    #[must_use]
    pub fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }

    /// Writes what waits and ends the thread; for the end of the process.
    pub fn finish(&self) {
        let Some(queue) = &self.queue else { return };
        // a full queue empties itself; give it a moment rather than lose the last lines
        for _ in 0..100 {
            if queue.try_send(Message::End).is_ok() {
                break;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        let thread = self.thread.lock().ok().and_then(|mut thread| thread.take());
        if thread.is_some_and(|thread| thread.join().is_err()) {
            log::error!(target: "durward::records", "the writer of records ended early");
        }
    }
}

fn write(lines: &Receiver<Message>, sink: Box<dyn Write + Send>, dropped: &AtomicU64) {
    let mut sink = BufWriter::with_capacity(64 * 1024, sink);
    while let Ok(first) = lines.recv() {
        // everything that waits goes out in one write
        let mut next = Some(first);
        while let Some(message) = next {
            match message {
                Message::Line(line) => count(sink.write_all(&line), dropped),
                Message::End => {
                    count(sink.flush(), dropped);
                    return;
                }
            }
            next = lines.try_recv().ok();
        }
        count(sink.flush(), dropped);
    }
}

fn count(written: io::Result<()>, dropped: &AtomicU64) {
    if let Err(why) = written
        && dropped.fetch_add(1, Ordering::Relaxed) == 0
    {
        log::error!(target: "durward::records", "records cannot be written: {why}");
    }
}
