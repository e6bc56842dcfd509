//! From a path in the typed configuration back to its place in the file.
//!
//! The typed value may be the file minus what was at fault: when `routes[1]` could not be read, the file's `routes[2]`
//! is element 1 of the decoded list. Paths given to [`Positions`] use the indices of the *decoded* value; the faults
//! it makes speak of the *file*. Both are the same in a file without faults.

use std::fmt;
use std::sync::Arc;

use super::decode::Mask;
use super::document::{Document, Kind, NodeId, ROOT};
use super::excerpt::Source;
use super::fault::{Fault, Severity};
use super::path::{self, ConfigPath, Step};

/// Where everything in a configuration file stands. Cheap to clone.
#[derive(Clone)]
pub struct Positions {
    source: Arc<Source>,
    document: Arc<Document>,
    mask: Arc<Mask>,
}

/// A path followed as far as the file goes.
struct Found {
    /// The last node that exists.
    node: NodeId,
    /// The whole path by the indices of the file, with what does not exist.
    path: ConfigPath,
    /// Whether the path ends at, or below, something that was left out of the typed value.
    removed: bool,
}

impl Positions {
    pub(super) fn new(source: Arc<Source>, document: Arc<Document>, mask: Arc<Mask>) -> Self {
        Self {
            source,
            document,
            mask,
        }
    }

    /// The file's name.
    pub fn source(&self) -> &Arc<str> {
        &self.source.name
    }

    /// An error at a path. Where nothing stands there (a key that should), the fault points at what is around it.
    ///
    /// The message must not repeat a secret; the excerpt hides those by itself.
    pub fn fault(&self, path: impl AsRef<str>, message: impl Into<String>, help: Option<String>) -> Fault {
        self.report(Severity::Error, path.as_ref(), message.into(), help)
    }

    /// A warning at a path, otherwise as [`Positions::fault`].
    pub fn warning(&self, path: impl AsRef<str>, message: impl Into<String>, help: Option<String>) -> Fault {
        self.report(Severity::Warning, path.as_ref(), message.into(), help)
    }

    /// The line of a path in the file, from 1; that of the nearest thing around it where nothing stands there.
    pub fn line(&self, path: impl AsRef<str>) -> u32 {
        self.document.mark(self.find(path.as_ref()).node).line
    }

    /// The same path by the indices of the file.
    pub fn original(&self, path: impl AsRef<str>) -> String {
        self.find(path.as_ref()).path.to_string()
    }

    /// Whether the file has something at this path that was left out because of a fault in it. That something is
    /// absent from the typed value then deserves no further complaint.
    pub fn removed(&self, path: impl AsRef<str>) -> bool {
        self.find(path.as_ref()).removed
    }

    fn report(&self, severity: Severity, path: &str, message: String, help: Option<String>) -> Fault {
        let found = self.find(path);
        let mark = self.document.mark(found.node);
        let (line, column) = (mark.line, mark.column);
        let (source, excerpt) = (self.source.name.clone(), self.source.excerpt(mark));
        Fault {
            source,
            line,
            column,
            path: found.path.to_string(),
            message,
            help,
            severity,
            excerpt,
        }
    }

    fn find(&self, path: &str) -> Found {
        let mut found = Found {
            node: ROOT,
            path: ConfigPath::root(),
            removed: false,
        };
        let mut lost = false;
        for step in path::steps(path).unwrap_or_default() {
            let next = if lost { None } else { self.child(found.node, &step) };
            match next {
                Some((node, step)) => {
                    found.removed |= self.mask.hides(node);
                    found.path.push(step);
                    found.node = node;
                }
                None => {
                    lost = true;
                    found.path.push(&step);
                }
            }
        }
        found
    }

    /// The node one step further, and the step by the indices of the file.
    fn child(&self, node: NodeId, step: &Step) -> Option<(NodeId, &Step)> {
        let next = match (step, &self.document.node(node).kind) {
            (Step::Index(index), Kind::List(_)) => self.mask.children(&self.document, node).nth(*index),
            (Step::Key(key), Kind::Map(entries)) => {
                let same = |entry: &NodeId| self.document.key(*entry) == key;
                // Of a key set twice the first one counts. One that was left out still has its place.
                let left = self.mask.children(&self.document, node).find(same);
                left.or_else(|| entries.iter().copied().find(same))
            }
            _ => None,
        }?;
        let (_, step) = self.document.node(next).parent.as_ref()?;
        Some((next, step))
    }
}

impl fmt::Debug for Positions {
    /// The file's name only: the tree holds what was written, secrets included.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Positions")
            .field("source", &self.source.name)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde::Deserialize;

    use super::*;
    use crate::config::parse::parse;

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct File {
        #[serde(default)]
        routes: Vec<Route>,
        #[serde(default)]
        #[expect(dead_code, reason = "only read")]
        upstreams: BTreeMap<String, Route>,
    }

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Route {
        path: String,
        #[serde(default)]
        limit: Option<u32>,
    }

    const TEXT: &str = "\
routes:
  - path: /0
  - path: 1
  - path: /2
    limit: many
  - { path: /3, limit: 3 }
upstreams:
  a.b: { path: /x }
  broken: { path: [] }
";

    #[test]
    fn decoded_indices_are_translated_to_those_of_the_file() {
        let parsed = parse::<File>("f.yaml", TEXT);
        let value = parsed.value.unwrap();
        let paths: Vec<_> = value.routes.iter().map(|route| route.path.as_str()).collect();
        assert_eq!(paths, ["/0", "/2", "/3"]);
        assert_eq!((value.routes[1].limit, value.routes[2].limit), (None, Some(3)));
        let routes = ConfigPath::root().key("routes");
        let positions = parsed.positions;
        assert_eq!(
            positions.original(routes.index(1).key("limit")),
            "routes[2].limit"
        );
        assert_eq!(positions.line(routes.index(2).key("path")), 6);
        let fault = positions.fault(routes.index(2).key("limit"), "too low", None);
        assert_eq!(fault.one_line(), "f.yaml:6:24: error: routes[3].limit: too low");
        assert_eq!(
            parsed.removed,
            [
                "routes[1]",
                "routes[1].path",
                "routes[2].limit",
                "upstreams.broken",
                "upstreams.broken.path"
            ]
        );
    }

    #[test]
    fn a_path_that_is_absent_is_reported_at_what_is_around_it() {
        let positions = parse::<File>("f.yaml", TEXT).positions;
        let fault = positions.fault("routes[0].limit.burst", "missing key `burst`", None);
        assert_eq!((fault.line, fault.column), (2, 5));
        assert_eq!(fault.path, "routes[0].limit.burst");
        assert_eq!(positions.line("routes[9]"), 1);
        assert_eq!(positions.line("upstreams[\"a.b\"].path"), 8);
        assert_eq!(positions.line("no [ path"), 1);
        assert_eq!(
            positions.warning("", "old", None).one_line(),
            "f.yaml:1:1: warning: old"
        );
    }

    #[test]
    fn what_was_left_out_is_known() {
        let positions = parse::<File>("f.yaml", TEXT).positions;
        assert!(positions.removed("upstreams.broken") && positions.removed("upstreams.broken.path.x"));
        assert!(positions.removed("routes[1].limit"));
        assert!(!positions.removed("upstreams.other") && !positions.removed("routes[2].limit"));
    }
}
