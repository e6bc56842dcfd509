//! The program's own messages, on the standard error. What Pingora says in detail can hold headers, so nothing below a
//! warning of its is ever printed, whatever was asked for.

use std::io::Write;
use std::sync::OnceLock;

use log::{LevelFilter, Log, Metadata, Record};

use crate::clock::UnixTime;
use crate::telemetry::record::timestamp;

/// `DURWARD_LOG`: off, error, warn, info (the default), debug or trace.
const VARIABLE: &str = "DURWARD_LOG";

struct Messages {
    level: LevelFilter,
}

impl Log for Messages {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        let ours = metadata.target().starts_with("durward");
        let most = if ours {
            self.level
        } else {
            self.level.min(LevelFilter::Warn)
        };
        metadata.level() <= most
    }

    fn log(&self, record: &Record<'_>) {
        if self.enabled(record.metadata()) && !is_counted(record) {
            let time = timestamp(UnixTime::of_system());
            let (level, target) = (record.level(), record.target());
            // one line a message, whatever is in it
            let text = record.args().to_string().replace(char::is_control, " ");
            let text = without_bytes(target, &text);
            let _ = writeln!(std::io::stderr(), "{time} {level:<5} {target}: {text}");
        }
    }

    fn flush(&self) {}
}

/// What Pingora says of each connection that is not taken, or whose handshake fails: those are counted by reason, and
/// anybody can make as many as they like.
fn is_counted(record: &Record<'_>) -> bool {
    record.target() == "pingora_core::services::listening"
        && record.args().as_str().map_or_else(
            || record.args().to_string().starts_with("Downstream handshake"),
            |text| text.starts_with("Downstream handshake"),
        )
}

/// Pingora quotes what it could not read, credentials included, after this word.
fn without_bytes<'a>(target: &str, text: &'a str) -> &'a str {
    match text.split_once("buf: ") {
        Some((before, _)) if !target.starts_with("durward") => before,
        _ => text,
    }
}

/// Starts printing messages.
pub(super) fn start() {
    static MESSAGES: OnceLock<Messages> = OnceLock::new();
    let asked = std::env::var(VARIABLE).ok().and_then(|level| level.parse().ok());
    let messages = MESSAGES.get_or_init(|| Messages {
        level: asked.unwrap_or(LevelFilter::Info),
    });
    if log::set_logger(messages).is_ok() {
        log::set_max_level(messages.level);
    }
}
