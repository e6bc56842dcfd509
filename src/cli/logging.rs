//! The program's own messages, on the standard error.
//!
//! What the libraries say of requests can quote them, credentials included: `Content-Length` as it came, the bytes of a
//! head that could not be read. So nothing below a warning of theirs is ever printed, whatever was asked for, and of a
//! warning that is put together from parts only where it comes from, unless its author never sees a request (S85). The
//! record of the request says what became of it. The same goes for panics, whose messages quote what they stumbled over.

use std::backtrace::{Backtrace, BacktraceStatus};
use std::io::Write;
use std::panic::PanicHookInfo;
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
            let text = match (may_be_told(target), record.args().as_str()) {
                (true, _) => record.args().to_string().replace(char::is_control, " "),
                // always the same words
                (false, Some(words)) => words.to_owned(),
                (false, None) => format!(
                    "withheld, may quote a request: line {}",
                    record.line().unwrap_or(0)
                ),
            };
            let _ = writeln!(std::io::stderr(), "{time} {level:<5} {target}: {text}");
        }
    }

    fn flush(&self) {}
}

/// What Pingora says of each connection that is not taken, or whose handshake fails: those are counted by reason, and
/// anybody can make as many as they like.
fn is_counted(record: &Record<'_>) -> bool {
    // HTTP/2 that does not begin
    if record.target() == "pingora_core::apps" {
        return true;
    }
    record.target() == "pingora_core::services::listening"
        && record.args().as_str().map_or_else(
            || record.args().to_string().starts_with("Downstream handshake"),
            |text| text.starts_with("Downstream handshake"),
        )
}

/// Parts of Pingora that see sockets, handshakes and signals, and no request.
const WITHOUT_REQUESTS: [&str; 4] = [
    "pingora_core::connectors",
    "pingora_core::listeners",
    "pingora_core::server",
    "pingora_core::services",
];

fn may_be_told(target: &str) -> bool {
    let is_in = |part: &&str| {
        target
            .strip_prefix(*part)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
    };
    is_in(&"durward") || WITHOUT_REQUESTS.iter().any(is_in)
}

/// Says where, and in which words if they are always the same.
fn tell_panic(panic: &PanicHookInfo<'_>) {
    let place = panic.location().map(ToString::to_string).unwrap_or_default();
    let words = panic
        .payload()
        .downcast_ref::<&str>()
        .copied()
        .unwrap_or("withheld, may quote a request");
    log::error!(target: "durward::panic", "{place}: {words}");
    let trace = Backtrace::capture();
    if trace.status() == BacktraceStatus::Captured {
        let _ = writeln!(std::io::stderr(), "{trace}");
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
        std::panic::set_hook(Box::new(tell_panic));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // S85
    #[test]
    fn who_sees_requests_is_not_quoted() {
        for (target, told) in [
            ("durward", true),
            ("durward::upstream", true),
            ("pingora_core::services::listening", true),
            ("pingora_core::server", true),
            ("pingora_core::server_side", false),
            ("pingora_core::protocols::http::v1::common", false),
            ("pingora_core::apps::http_app", false),
            ("pingora_proxy", false),
            ("h2::server", false),
            ("durwardian", false),
        ] {
            assert_eq!(may_be_told(target), told, "{target}");
        }
    }
}
