//! Where compilation writes down what it finds, and the readings that every noun needs.

use std::ops::RangeInclusive;
use std::path::Path;
use std::time::Duration;

use crate::config::Profile;
use crate::config::fault::Fault;
use crate::config::nearest;
use crate::config::path::ConfigPath;
use crate::config::positions::Positions;
use crate::config::scalar::{Lookup, Secret, Span, Text, Unresolved};
use crate::secrets::{Readers, Sources};

/// Stands for a secret that nobody was asked for. What is compiled with it is never run.
pub(super) const NOT_ASKED: &str = "[not asked]";

/// The faults found so far, and what is needed to place and find them.
#[derive(Debug)]
pub(super) struct Findings<'a> {
    positions: &'a Positions,
    removed: &'a [String],
    sources: &'a Sources,
    faults: Vec<Fault>,
    profile: Profile,
}

impl<'a> Findings<'a> {
    pub(super) fn new(positions: &'a Positions, removed: &'a [String], sources: &'a Sources) -> Findings<'a> {
        Findings {
            positions,
            removed,
            sources,
            faults: Vec::new(),
            profile: Profile::default(),
        }
    }

    /// From now on what is found is judged by this profile.
    pub(super) fn judge_by(&mut self, profile: Profile) {
        self.profile = profile;
    }

    /// Something that is only for trying out: an error where the gateway is to serve for real.
    pub(super) fn unfit(&mut self, at: &ConfigPath, message: impl Into<String>, help: impl Into<String>) {
        if self.profile == Profile::Production {
            let message: String = message.into();
            self.error(at, format!("not for profile `production`: {message}"), help);
        }
    }

    /// A file with a secret: only its owner is to read it, in production its group at most.
    pub(super) fn private_file(&mut self, at: &ConfigPath, file: &Path, what: &str) {
        match self.sources.readers(file) {
            Readers::Owner => {}
            Readers::Everybody if self.profile == Profile::Production => self.unfit(
                at,
                format!("{what} can be read by everybody on this machine"),
                "chmod 600 the file; 640 where the gateway reads it by its group",
            ),
            Readers::Group | Readers::Everybody => self.warning(
                at,
                format!("{what} can be read by others than its owner"),
                "chmod 600 the file",
            ),
        }
    }

    pub(super) fn into_faults(self) -> Vec<Fault> {
        self.faults
    }

    pub(super) fn sources(&self) -> &'a Sources {
        self.sources
    }

    /// A fault in what is there and what is not. Not said where a part of it had a fault of its own: that part was
    /// left out, and may be the very one that would be missed.
    pub(super) fn incomplete(
        &mut self,
        at: &ConfigPath,
        message: impl Into<String>,
        help: impl Into<String>,
    ) {
        let original = self.positions.original(at);
        if !self.removed.iter().any(|path| path.starts_with(&original)) {
            self.error(at, message, help);
        }
    }

    /// `help`: what to do, or nothing.
    pub(super) fn error(&mut self, at: &ConfigPath, message: impl Into<String>, help: impl Into<String>) {
        let help = Some(help.into()).filter(|help| !help.is_empty());
        self.say(self.positions.fault(at, message, help));
    }

    pub(super) fn warning(&mut self, at: &ConfigPath, message: impl Into<String>, help: impl Into<String>) {
        let help = Some(help.into()).filter(|help| !help.is_empty());
        self.say(self.positions.warning(at, message, help));
    }

    /// What is read more than once, as for each tenant of an issuer, is at fault once.
    fn say(&mut self, fault: Fault) {
        if !self.faults.contains(&fault) {
            self.faults.push(fault);
        }
    }

    pub(super) fn line(&self, at: &ConfigPath) -> u32 {
        self.positions.line(at)
    }

    /// A name that should be among `known`. Says nothing where the one that was meant had faults of its own.
    pub(super) fn unknown<'n>(
        &mut self,
        at: &ConfigPath,
        noun: &str,
        map: &str,
        name: &str,
        known: impl Iterator<Item = &'n str>,
    ) {
        let root = ConfigPath::root().key(map);
        if self.positions.removed(&root) || self.positions.removed(root.key(name)) {
            return;
        }
        let known: Vec<&str> = known.collect();
        let help = match nearest(name, known.iter().copied()) {
            Some(nearest) => format!("did you mean `{nearest}`?"),
            None if known.is_empty() => format!("there is nothing under `{map}`"),
            None => format!("`{map}` has {}", known.join(", ")),
        };
        self.error(at, format!("unknown {noun} `{name}`"), help);
    }

    /// A text with its references resolved; a fault where one cannot be.
    pub(super) fn text(&mut self, at: &ConfigPath, text: &Text) -> Option<String> {
        match text.resolve(self.sources) {
            Ok(text) => Some(text),
            Err(why) => {
                self.error(at, why.to_string(), "");
                None
            }
        }
    }

    /// A secret; never shown. [`NOT_ASKED`] where it is in a store that is not asked now.
    pub(super) fn secret(&mut self, at: &ConfigPath, secret: &Secret) -> Option<String> {
        for file in secret.files() {
            self.private_file(at, file, &file.display().to_string());
        }
        match secret.resolve(self.sources) {
            Ok(secret) => Some(secret),
            Err(Unresolved::NotAsked) => Some(NOT_ASKED.to_owned()),
            Err(why) => {
                self.error(at, why.to_string(), "");
                None
            }
        }
    }

    /// The contents of the file that a text names.
    pub(super) fn file(&mut self, at: &ConfigPath, name: &Text) -> Option<String> {
        let name = self.text(at, name)?;
        self.read(at, &name)
    }

    /// The contents of a file.
    pub(super) fn read(&mut self, at: &ConfigPath, name: &str) -> Option<String> {
        match self.sources.file(Path::new(name)) {
            Ok(contents) => Some(contents),
            Err(why) => {
                let path = self.sources.path(Path::new(name));
                self.error(at, format!("cannot read {}: {why}", path.display()), "");
                None
            }
        }
    }

    /// A duration within `range`, or the default.
    pub(super) fn duration(
        &mut self,
        at: &ConfigPath,
        span: Option<Span>,
        default: Duration,
        range: RangeInclusive<Duration>,
    ) -> Duration {
        let Some(span) = span else { return default };
        let duration = span.duration();
        if !range.contains(&duration) {
            let shown =
                |bound: &Duration| Span::from_millis(u64::try_from(bound.as_millis()).unwrap_or(u64::MAX));
            self.error(
                at,
                format!("must be {} to {}", shown(range.start()), shown(range.end())),
                "",
            );
            return default;
        }
        duration
    }
}
