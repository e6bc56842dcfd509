//! Text to a typed configuration, with every fault at once.
//!
//! Serde stops at the first mismatch. So: report it, hide the entry at fault, and decode again, until nothing is wrong
//! or nothing is left. What is missing only because something in it was hidden is hidden in turn, without a word.
//! One thing stays for the next run: of several keys missing in the same map, the first is named.

use std::collections::HashSet;
use std::ops::Range;
use std::sync::Arc;

use serde::de::DeserializeOwned;

use super::decode::{self, Mask};
use super::document::{Document, Flaw, NodeId, ROOT};
use super::excerpt::{Mark, Source};
use super::fault::{Fault, Severity};
use super::mismatch::{Mismatch, Parts, Place, Problem};
use super::positions::Positions;
use super::secrecy;
use super::yaml::Unreadable;

/// Faults reported in one run. A file with more is reported on in part.
pub const MAX_FAULTS: usize = 100;

/// What was read of a file.
#[derive(Debug)]
pub struct Parsed<T> {
    /// What is left of the configuration without the entries at fault, for the sake of finding more faults in it.
    /// Never to be run with while `faults` holds an error: an entry with a default may have been reset to it.
    pub value: Option<T>,
    /// In the order of the file.
    pub faults: Vec<Fault>,
    /// For faults found later in `value`.
    pub positions: Positions,
    /// The paths of the entries that were left out, by the indices of the file, in its order. Ask
    /// [`Positions::removed`] before reporting something as missing.
    pub removed: Vec<String>,
}

impl<T> Parsed<T> {
    /// The configuration if nothing is wrong with it, else the faults.
    pub fn accept(self) -> Result<(T, Positions), Vec<Fault>> {
        match self.value {
            Some(value) if self.faults.iter().all(|fault| fault.severity != Severity::Error) => {
                Ok((value, self.positions))
            }
            _ => Err(self.faults),
        }
    }
}

/// Reads `text` as a `T`; `name` is the file's name in faults. Never panics, whatever the text.
pub fn parse<T: DeserializeOwned>(name: &str, text: &str) -> Parsed<T> {
    match Document::read(text) {
        Ok(document) => Recovery::new(name, text, document).run(),
        Err(Unreadable { mark, message }) => {
            let source = Source::new(name, text, secrecy::guess(text));
            let fault = Finding {
                mark,
                path: String::new(),
                message,
                help: None,
            }
            .into_fault(&source);
            let positions = Positions::new(Arc::new(source), Arc::default(), Arc::default());
            Parsed {
                value: None,
                faults: vec![fault],
                positions,
                removed: Vec::new(),
            }
        }
    }
}

/// An error at a place in the text. Made into a [`Fault`] when it is known which parts of the text are secret.
struct Finding {
    mark: Mark,
    path: String,
    message: String,
    help: Option<String>,
}

impl Finding {
    fn into_fault(self, source: &Source) -> Fault {
        let Self {
            mark,
            path,
            message,
            help,
        } = self;
        let excerpt = source.excerpt(&mark);
        let (line, column) = (mark.line, mark.column);
        Fault {
            source: source.name.clone(),
            line,
            column,
            path,
            message,
            help,
            severity: Severity::Error,
            excerpt,
        }
    }
}

/// The state between two attempts at decoding.
struct Recovery<'t> {
    name: &'t str,
    text: &'t str,
    document: Document,
    mask: Mask,
    findings: Vec<Finding>,
    /// Byte ranges that no excerpt may show.
    secrets: Vec<Range<usize>>,
    removed: Vec<NodeId>,
    /// Keys that a misspelt one stood for, and the map they belong to: those are not missing.
    meant: HashSet<(NodeId, &'static str)>,
}

impl<'t> Recovery<'t> {
    fn new(name: &'t str, text: &'t str, document: Document) -> Self {
        let secrets = document.secrets();
        let (mask, findings, removed, meant) = (Mask::default(), Vec::new(), Vec::new(), HashSet::new());
        Self {
            name,
            text,
            document,
            mask,
            findings,
            secrets,
            removed,
            meant,
        }
    }

    fn run<T: DeserializeOwned>(mut self) -> Parsed<T> {
        for Flaw { node, message, help } in std::mem::take(&mut self.document.flaws) {
            self.report(
                Place::Key(node),
                self.document.path(node).to_string(),
                message,
                Some(help.to_owned()),
            );
            self.hide(node);
        }
        // Every turn hides one more node, so the number of turns is bounded by the size of the file.
        let value = loop {
            if self.findings.len() >= MAX_FAULTS {
                break None;
            }
            match decode::decode(&self.document, &self.mask) {
                Ok(value) => break Some(value),
                Err(mismatch) => {
                    let node = self.judge(mismatch);
                    if node == ROOT || self.mask.hides(node) {
                        break None;
                    }
                    self.hide(node);
                }
            }
        };
        self.finish(value)
    }

    fn finish<T>(mut self, value: Option<T>) -> Parsed<T> {
        let source = Source::new(self.name, self.text, self.secrets);
        self.findings.truncate(MAX_FAULTS);
        let mut faults: Vec<Fault> = self
            .findings
            .into_iter()
            .map(|finding| finding.into_fault(&source))
            .collect();
        faults.sort_by(Fault::by_position);
        self.removed.sort();
        let removed = self
            .removed
            .iter()
            .map(|node| self.document.path(*node).to_string())
            .collect();
        let positions = Positions::new(Arc::new(source), Arc::new(self.document), Arc::new(self.mask));
        Parsed {
            value,
            faults,
            positions,
            removed,
        }
    }

    /// Reports a mismatch unless it follows from an earlier one; returns the node to go on without.
    fn judge(&mut self, mismatch: Mismatch) -> NodeId {
        let Parts {
            place,
            problem,
            secret,
        } = mismatch.into_parts();
        let place = self.pinpoint(place.unwrap_or(Place::Value(ROOT)), &problem);
        let node = place.node();
        if secret {
            self.secrets.extend(self.document.scalars(node));
        }
        let path = self.document.path(node);
        let path = match &problem {
            Problem::MissingKey(key) => {
                if self.is_consequence(node, key) {
                    return node;
                }
                path.key(key)
            }
            Problem::UnknownKey { .. } => {
                let around = self
                    .document
                    .node(node)
                    .parent
                    .as_ref()
                    .map(|(around, _)| *around);
                let meant = problem.meant(&self.document, place);
                if meant.is_some_and(secrecy::looks_secret) {
                    // `keypem` holds what `key_pem` would
                    self.secrets.extend(self.document.scalars(node));
                }
                self.meant.extend(around.zip(meant));
                path
            }
            Problem::UnknownVariant { .. } => path,
            // A rule about the whole of something that lost a part.
            Problem::Other(_) | Problem::Unfit { .. } if self.mask.is_incomplete(node) => return node,
            Problem::Other(_) | Problem::Unfit { .. } => path,
        };
        let (message, help) = problem.say(&self.document, place);
        self.report(place, path.to_string(), message, help);
        node
    }

    /// Whether `key` is missing because it was hidden, or because it was misspelt.
    fn is_consequence(&self, map: NodeId, key: &'static str) -> bool {
        let hidden = |child: &&NodeId| self.mask.hides(**child);
        self.meant.contains(&(map, key))
            || self
                .document
                .children(map)
                .iter()
                .filter(hidden)
                .any(|child| self.document.key(*child) == key)
    }

    /// Serde reads some enums through a buffer that forgets places; the entry of an unknown key can be found again.
    fn pinpoint(&self, place: Place, problem: &Problem) -> Place {
        match (place, problem) {
            (Place::Value(map), Problem::UnknownKey { key, .. }) => {
                let entry = self
                    .mask
                    .children(&self.document, map)
                    .find(|child| self.document.key(*child) == key);
                entry.map_or(place, Place::Key)
            }
            _ => place,
        }
    }

    fn report(&mut self, place: Place, path: String, message: String, help: Option<String>) {
        let mark = match place {
            Place::Key(node) => self.document.key_mark(node),
            Place::Value(node) => self.document.mark(node),
        };
        self.findings.push(Finding {
            mark: mark.clone(),
            path,
            message,
            help,
        });
    }

    fn hide(&mut self, node: NodeId) {
        self.mask.hide(&self.document, node);
        self.removed.push(node);
    }
}

#[cfg(test)]
#[path = "parse_tests.rs"]
mod tests;
