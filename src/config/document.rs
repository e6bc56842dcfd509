//! YAML text as a tree in which every key and value knows its place.
//!
//! Repeated keys are kept, so that each can be reported, and so are merge keys (`<<`), which are refused: a route that
//! takes its access rules from elsewhere in the file is a route that is misread.

use std::collections::HashMap;
use std::ops::Range;

use serde_saphyr::Spanned;

use super::excerpt::Mark;
use super::path::{ConfigPath, Step};
use super::secrecy;
use super::yaml::{self, Raw, Unreadable, mark_of};

/// Names a node of the [`Document`] that handed it out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct NodeId(usize);

pub(super) const ROOT: NodeId = NodeId(0);

/// What stands at a node.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Kind {
    Null,
    Bool(bool),
    /// Every integer from -2⁶³ to 2⁶⁴-1; beyond that YAML has floats.
    Int(i128),
    Float(f64),
    Text(String),
    List(Vec<NodeId>),
    /// The entries' values, as written; repeated keys included.
    Map(Vec<NodeId>),
}

/// A value with its place in the tree and in the text.
#[derive(Debug)]
pub(super) struct Node {
    /// The list or map around it and the step from there; `None` at the top.
    pub parent: Option<(NodeId, Step)>,
    /// Where its key stands, for an entry of a map.
    pub key_mark: Option<Mark>,
    pub value_mark: Mark,
    /// Whether it stands below a key that looks like a secret's.
    pub secret: bool,
    pub kind: Kind,
}

/// Stands for a node that does not exist. Ids come from the document itself, so nobody gets to see it.
static NOTHING: Node = Node {
    parent: None,
    key_mark: None,
    value_mark: Mark::TOP,
    secret: true,
    kind: Kind::Null,
};

/// Something wrong with an entry that the tree itself shows.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Flaw {
    /// The entry at fault.
    pub node: NodeId,
    pub message: String,
    pub help: &'static str,
}

/// The tree, flat: children are named by id, the top is [`ROOT`].
#[derive(Debug, Default)]
pub(super) struct Document {
    nodes: Vec<Node>,
    /// Repeated keys and merge keys, in the order of the file.
    pub flaws: Vec<Flaw>,
}

impl Document {
    /// Reads one YAML document with a map at its top.
    pub fn read(text: &str) -> Result<Self, Unreadable> {
        let raw = yaml::read(text)?;
        let found = match raw.value {
            Raw::Map(_) => None,
            Raw::Null => Some("the file is empty"),
            Raw::List(_) => Some("expected a map of keys at the top of the file, found a list"),
            _ => Some("expected a map of keys at the top of the file, found a single value"),
        };
        if let Some(message) = found {
            return Err(Unreadable::at_top(message));
        }
        let mut document = Self::default();
        document.plant(None, None, false, raw);
        Ok(document)
    }

    pub fn node(&self, id: NodeId) -> &Node {
        self.nodes.get(id.0).unwrap_or(&NOTHING)
    }

    /// The elements or entries of a node, none for a scalar.
    pub fn children(&self, id: NodeId) -> &[NodeId] {
        match &self.node(id).kind {
            Kind::List(children) | Kind::Map(children) => children,
            _ => &[],
        }
    }

    /// The key of a map's entry, the empty text for anything else.
    pub fn key(&self, id: NodeId) -> &str {
        match &self.node(id).parent {
            Some((_, Step::Key(key))) => key,
            _ => "",
        }
    }

    /// The node and all around it, innermost first.
    pub fn upwards(&self, id: NodeId) -> impl Iterator<Item = NodeId> {
        std::iter::successors(Some(id), |id| {
            self.node(*id).parent.as_ref().map(|(parent, _)| *parent)
        })
    }

    /// The path of a node by the indices of the file.
    pub fn path(&self, id: NodeId) -> ConfigPath {
        let mut steps: Vec<&Step> = self
            .upwards(id)
            .filter_map(|id| self.node(id).parent.as_ref().map(|(_, step)| step))
            .collect();
        steps.reverse();
        let mut path = ConfigPath::root();
        for step in steps {
            path.push(step);
        }
        path
    }

    /// What to underline for a node: a value itself, the key of what spans several lines.
    pub fn mark(&self, id: NodeId) -> &Mark {
        let node = self.node(id);
        if !node.value_mark.bytes.is_empty() && !matches!(node.kind, Kind::List(_) | Kind::Map(_)) {
            return &node.value_mark;
        }
        let first = self
            .children(id)
            .first()
            .and_then(|child| self.node(*child).key_mark.as_ref());
        match (&node.key_mark, first) {
            (Some(key), _) => key,
            (None, Some(first)) if node.value_mark.bytes.is_empty() => first,
            _ => &node.value_mark,
        }
    }

    /// What to underline for the entry as such.
    pub fn key_mark(&self, id: NodeId) -> &Mark {
        self.node(id).key_mark.as_ref().unwrap_or_else(|| self.mark(id))
    }

    /// The byte ranges of values that must not be shown.
    pub fn secrets(&self) -> Vec<Range<usize>> {
        let shows = |kind: &Kind| match kind {
            Kind::Text(text) => secrecy::is_reference(text),
            Kind::Int(_) | Kind::Float(_) => false,
            Kind::Null | Kind::Bool(_) | Kind::List(_) | Kind::Map(_) => true,
        };
        let secret = self.nodes.iter().filter(|node| node.secret && !shows(&node.kind));
        secret.map(|node| node.value_mark.bytes.clone()).collect()
    }

    /// The byte ranges of a scalar, or of all scalars below a list or map.
    pub fn scalars(&self, id: NodeId) -> Vec<Range<usize>> {
        let mut ranges = Vec::new();
        let mut waiting = vec![id];
        while let Some(id) = waiting.pop() {
            match &self.node(id).kind {
                Kind::List(children) | Kind::Map(children) => waiting.extend(children),
                _ => ranges.push(self.node(id).value_mark.bytes.clone()),
            }
        }
        ranges
    }

    /// Adds a value and all below it; the depth of this recursion is bounded by the reader's.
    fn plant(
        &mut self,
        parent: Option<(NodeId, Step)>,
        key: Option<Mark>,
        secret: bool,
        raw: Spanned<Raw>,
    ) -> NodeId {
        let id = NodeId(self.nodes.len());
        let value_mark = mark_of(raw.defined);
        self.nodes.push(Node {
            parent,
            key_mark: key,
            value_mark,
            secret,
            kind: Kind::Null,
        });
        let kind = match raw.value {
            Raw::Null => Kind::Null,
            Raw::Bool(value) => Kind::Bool(value),
            Raw::Int(value) => Kind::Int(value),
            Raw::Float(value) => Kind::Float(value),
            Raw::Text(text) => Kind::Text(text),
            Raw::List(elements) => {
                let step =
                    |(index, element)| self.plant(Some((id, Step::Index(index))), None, secret, element);
                Kind::List(elements.into_iter().enumerate().map(step).collect())
            }
            Raw::Map(entries) => Kind::Map(self.plant_entries(id, secret, entries)),
        };
        if let Some(node) = self.nodes.get_mut(id.0) {
            node.kind = kind;
        }
        id
    }

    fn plant_entries(
        &mut self,
        map: NodeId,
        secret: bool,
        entries: Vec<(Spanned<String>, Spanned<Raw>)>,
    ) -> Vec<NodeId> {
        let mut seen: HashMap<String, (u32, u32)> = HashMap::new();
        let mut children = Vec::with_capacity(entries.len());
        for (key, value) in entries {
            let mark = mark_of(key.defined);
            let place = (mark.line, mark.column);
            let key = key.value;
            let secret = secret || secrecy::looks_secret(&key);
            let node = self.plant(Some((map, Step::Key(key.clone()))), Some(mark), secret, value);
            children.push(node);
            if key == "<<" {
                let message = "merge keys (`<<`) are not supported".to_owned();
                self.flaws.push(Flaw {
                    node,
                    message,
                    help: "an alias (`key: *name`) can repeat a whole value",
                });
            } else if let Some((line, column)) = seen.get(&key) {
                let key = shorten(&key);
                let message = format!("key {key} is set twice: first at line {line}, column {column}");
                self.flaws.push(Flaw {
                    node,
                    message,
                    help: "remove one of the two",
                });
            } else {
                seen.insert(key, place);
            }
        }
        children
    }
}

/// A name from the file, quoted for a message; what is too long to be a name is not repeated.
pub(super) fn shorten(name: &str) -> String {
    match name.chars().count() {
        0..=40 => format!(
            "`{}`",
            name.escape_debug()
                .to_string()
                .replace("\\'", "'")
                .replace("\\\"", "\"")
        ),
        count => format!("of {count} characters"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(text: &str) -> (u32, u32, String) {
        let Unreadable { mark, message } = Document::read(text).expect_err("refused");
        (mark.line, mark.column, message)
    }

    fn find(document: &Document, path: &str) -> NodeId {
        (0..document.nodes.len())
            .map(NodeId)
            .find(|id| document.path(*id).as_str() == path)
            .expect("a node")
    }

    #[test]
    fn scalars_follow_the_core_schema() {
        let text =
            "a: true\nb: yes\nc: 0x1F\nd: -5\ne: 1.5\nf:\ng: '1'\nh: 0755\ni: 1_000\nj: 0o17\n200: x\n";
        let document = Document::read(text).unwrap();
        let kind = |path| document.node(find(&document, path)).kind.clone();
        assert_eq!(kind("a"), Kind::Bool(true));
        assert_eq!(kind("b"), Kind::Text("yes".to_owned()));
        assert_eq!(kind("c"), Kind::Int(31));
        assert_eq!(kind("d"), Kind::Int(-5));
        assert_eq!(kind("e"), Kind::Float(1.5));
        assert_eq!(kind("f"), Kind::Null);
        assert_eq!(kind("g"), Kind::Text("1".to_owned()));
        assert_eq!(kind("h"), Kind::Text("0755".to_owned()));
        assert_eq!(kind("i"), Kind::Text("1_000".to_owned()));
        assert_eq!(kind("j"), Kind::Int(15));
        assert_eq!(kind("200"), Kind::Text("x".to_owned()));
    }

    #[test]
    fn every_node_knows_its_place() {
        let document = Document::read("routes:\n  - path: /x\n    tags: [a, b]\n").unwrap();
        let place = |path| {
            let mark = document.mark(find(&document, path));
            (mark.line, mark.column)
        };
        assert_eq!(place("routes[0].path"), (2, 11));
        assert_eq!(place("routes[0].tags[1]"), (3, 15));
        assert_eq!(place("routes[0].tags"), (3, 5), "a list is marked at its key");
        assert_eq!(
            place("routes[0]"),
            (2, 5),
            "an element is marked at its first key"
        );
    }

    #[test]
    fn repeated_and_merge_keys_are_kept_and_reported() {
        let document = Document::read("a: &x {k: 1}\nb: 2\na: 3\n<<: *x\na: 4\n").unwrap();
        let messages: Vec<_> = document.flaws.iter().map(|flaw| flaw.message.as_str()).collect();
        let twice = "key `a` is set twice: first at line 1, column 1";
        assert_eq!(messages, [twice, "merge keys (`<<`) are not supported", twice]);
    }

    #[test]
    fn a_file_without_a_map_is_refused() {
        assert_eq!(refused(""), (1, 1, "the file is empty".to_owned()));
        assert_eq!(refused("# only a remark\n---\n").2, "the file is empty");
        assert_eq!(
            refused("- a\n").2,
            "expected a map of keys at the top of the file, found a list"
        );
        assert_eq!(
            refused("text\n").2,
            "expected a map of keys at the top of the file, found a single value"
        );
        let (line, _, message) = refused("a: 1\n---\nb: 2\n");
        assert_eq!((line, message.contains("several YAML documents")), (3, true));
    }
}
