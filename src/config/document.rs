//! YAML text as a tree in which every key and value knows its place.
//!
//! Scalars are typed by YAML 1.2's core schema (<https://yaml.org/spec/1.2.2/#103-core-schema>) and stricter where
//! its spellings surprise: `0755` and `1_000` stay text, and merge keys (`<<`) are refused. Nesting, size and the
//! expansion of aliases are bounded. Repeated keys are kept, so that each can be reported.

use std::collections::HashMap;
use std::fmt;
use std::ops::Range;

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_saphyr::options::{DuplicateKeyPolicy, MergeKeyPolicy, NonFiniteFloatPolicy};
use serde_saphyr::{Error, Location, Options, Spanned};

use super::excerpt::Mark;
use super::path::{ConfigPath, Step};
use super::secrecy;

/// The largest text read, in bytes.
const MAX_BYTES: usize = 16 * 1024 * 1024;
/// Levels of lists and maps.
const MAX_DEPTH: usize = 32;
/// The YAML library recurses, and unoptimised it takes some 50 KiB of stack for each level: too much for a thread whose
/// stack is 2 MiB, and no business of the caller's. In bytes; only what is used is ever touched.
const STACK: usize = 16 * 1024 * 1024;
/// Values in a file, those repeated by aliases included.
const MAX_NODES: usize = 1_000_000;
/// Parser events that aliases may repeat in total.
const MAX_REPEATED: usize = 100_000;

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
    value_mark: Mark {
        line: 1,
        column: 1,
        bytes: 0..0,
    },
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

/// Why there is no tree at all.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Unreadable {
    pub mark: Mark,
    pub message: String,
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
        let refuse = |mark, message: &str| {
            Err(Unreadable {
                mark,
                message: message.to_owned(),
            })
        };
        let top = Mark {
            line: 1,
            column: 1,
            bytes: 0..0,
        };
        if text.len() > MAX_BYTES {
            return refuse(top, "the file is larger than 16 MiB");
        }
        let raw = read_apart(text)?;
        let mark = mark_of(raw.defined);
        match raw.value {
            Raw::Map(_) => {}
            Raw::Scalar(Kind::Null) => return refuse(top, "the file is empty"),
            Raw::List(_) => {
                return refuse(
                    mark,
                    "expected a map of keys at the top of the file, found a list",
                );
            }
            Raw::Scalar(_) => {
                return refuse(
                    mark,
                    "expected a map of keys at the top of the file, found a single value",
                );
            }
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

    /// Adds a value and all below it; the depth of this recursion is bounded by [`MAX_DEPTH`].
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
            Raw::Scalar(kind) => kind,
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

/// Runs the YAML library on a stack of its own. A panic in it, however unlikely, refuses the file and nothing else.
fn read_apart(text: &str) -> Result<Spanned<Raw>, Unreadable> {
    let failed = |message: String| Unreadable {
        mark: Mark {
            line: 1,
            column: 1,
            bytes: 0..0,
        },
        message,
    };
    let read = || {
        serde_saphyr::from_str_with_options(text, options()).map_err(|error| Unreadable {
            mark: mark_of_error(&error),
            message: explain(&error),
        })
    };
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new()
            .name("read-yaml".to_owned())
            .stack_size(STACK);
        let thread = thread
            .spawn_scoped(scope, read)
            .map_err(|error| failed(format!("cannot start a thread to read the file: {error}")))?;
        thread
            .join()
            .unwrap_or_else(|_| Err(failed("the YAML library failed on this file".to_owned())))
    })
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

/// A value as the parser hands it over.
enum Raw {
    Scalar(Kind),
    List(Vec<Spanned<Raw>>),
    Map(Vec<(Spanned<String>, Spanned<Raw>)>),
}

impl<'de> Deserialize<'de> for Raw {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(RawVisitor)
    }
}

struct RawVisitor;

impl<'de> Visitor<'de> for RawVisitor {
    type Value = Raw;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a YAML value")
    }

    fn visit_unit<E>(self) -> Result<Raw, E> {
        Ok(Raw::Scalar(Kind::Null))
    }

    fn visit_bool<E>(self, value: bool) -> Result<Raw, E> {
        Ok(Raw::Scalar(Kind::Bool(value)))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Raw, E> {
        Ok(Raw::Scalar(Kind::Int(value.into())))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Raw, E> {
        Ok(Raw::Scalar(Kind::Int(value.into())))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Raw, E> {
        Ok(Raw::Scalar(Kind::Float(value)))
    }

    fn visit_str<E>(self, value: &str) -> Result<Raw, E> {
        Ok(Raw::Scalar(Kind::Text(value.to_owned())))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<Raw, A::Error> {
        let mut elements = Vec::new();
        while let Some(element) = access.next_element()? {
            elements.push(element);
        }
        Ok(Raw::List(elements))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Raw, A::Error> {
        let mut entries = Vec::new();
        while let Some(entry) = access.next_entry()? {
            entries.push(entry);
        }
        Ok(Raw::Map(entries))
    }
}

fn options() -> Options {
    serde_saphyr::options! {
        with_snippet: false,
        duplicate_keys: DuplicateKeyPolicy::PassThrough,
        merge_keys: MergeKeyPolicy::AsOrdinary,
        strict_booleans: true,
        leading_zero_numbers_as_strings: true,
        underscored_numbers_as_strings: true,
        reject_unsupported_tags: true,
        non_finite_float_policy: NonFiniteFloatPolicy::PassThrough,
        alias_limits: serde_saphyr::alias_limits! { max_total_replayed_events: MAX_REPEATED },
        budget: serde_saphyr::budget! {
            max_depth: MAX_DEPTH,
            flow_nesting_limit: MAX_DEPTH,
            max_nodes: MAX_NODES,
            max_events: 3 * MAX_NODES,
        },
    }
}

fn mark_of(location: Location) -> Mark {
    let narrow = |wide: u64| u32::try_from(wide).unwrap_or(u32::MAX);
    let bytes = || {
        let start = usize::try_from(location.span().byte_offset()?).ok()?;
        Some(start..start.checked_add(usize::try_from(location.span().byte_len()?).ok()?)?)
    };
    Mark {
        line: narrow(location.line()).max(1),
        column: narrow(location.column()).max(1),
        bytes: bytes().unwrap_or_default(),
    }
}

fn mark_of_error(error: &Error) -> Mark {
    error.location().map_or(
        Mark {
            line: 1,
            column: 1,
            bytes: 0..0,
        },
        mark_of,
    )
}

/// The parser's complaint in our words where its own speak of Rust or could repeat a value.
fn explain(error: &Error) -> String {
    match error.without_snippet() {
        Error::MultipleDocuments { .. } => {
            "the file holds several YAML documents (`---`); one is allowed".to_owned()
        }
        Error::UnsupportedTag { .. } => "this YAML tag (`!…`) is not supported".to_owned(),
        Error::NullIntoString { .. } => "a key may not be empty or null".to_owned(),
        Error::RecursiveReferencesRequireWeakTypes { .. } => {
            "this alias repeats the value that it stands in".to_owned()
        }
        Error::AliasError { .. } | Error::AliasReplayLimitExceeded { .. } => {
            "aliases (`*name`) repeat more than a configuration may hold".to_owned()
        }
        Error::Budget { .. } => {
            "the file is nested too deeply, or holds or repeats too many values".to_owned()
        }
        Error::InvalidScalar { .. } => "this value does not fit its YAML tag".to_owned(),
        Error::Unexpected { .. } => "a key must be a plain word".to_owned(),
        other => {
            let text = other.to_string();
            // The place is told separately.
            let text = text
                .split_once(" at line ")
                .map_or(text.as_str(), |(before, _)| before);
            format!("not valid YAML: {text}")
        }
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

    #[test]
    fn text_that_is_not_yaml_is_refused_at_its_place() {
        assert_eq!(
            refused("a: 1\n b: 2\n"),
            (
                2,
                3,
                "not valid YAML: mapping values are not allowed in this context".to_owned()
            )
        );
        assert_eq!(refused("? [1]\n: x\n").0, 1);
        assert_eq!(
            refused("a: !hunter2 x\n").2,
            "this YAML tag (`!…`) is not supported"
        );
    }

    #[test]
    fn deep_nesting_is_refused_without_using_up_the_stack() {
        for text in [
            "[".repeat(100_000),
            "a: ".to_owned() + &"{a: ".repeat(50_000),
            "- ".repeat(50_000),
            (0..2000).map(|indent| " ".repeat(indent) + "a:\n").collect(),
        ] {
            Document::read(&text).expect_err("too deep");
        }
    }

    #[test]
    fn the_deepest_allowed_nesting_fits_into_the_stack_of_any_thread() {
        let flow = "a: ".to_owned() + &"[".repeat(MAX_DEPTH - 1) + &"]".repeat(MAX_DEPTH - 1);
        let block: String = (0..MAX_DEPTH).map(|indent| " ".repeat(indent) + "a:\n").collect();
        for text in [flow, block] {
            let read = move || Document::read(&text).map(|_| ());
            let thread = std::thread::Builder::new()
                .stack_size(1024 * 1024)
                .spawn(read)
                .unwrap();
            assert_eq!(thread.join().unwrap(), Ok(()));
        }
    }

    #[test]
    fn an_alias_bomb_is_refused() {
        let mut text = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
        for level in 1..10 {
            let below = vec![format!("*a{}", level - 1); 10].join(", ");
            text += &format!("a{level}: &a{level} [{below}]\n");
        }
        assert!(refused(&text).2.starts_with("aliases"), "{:?}", refused(&text));
        assert!(refused("a: &a [*a]\n").2.starts_with("this alias"));
    }
}
