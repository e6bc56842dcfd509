//! Where in the configuration: `routes[2].match.path`, `upstreams["a.b"].targets`.
//!
//! Built here and parsed back here, so that both sides agree on the quoting of odd keys.

use std::fmt::{self, Write as _};

/// One step from a place in the configuration to a place inside it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Step {
    /// Into a map, by key.
    Key(String),
    /// Into a list, by position from zero.
    Index(usize),
}

/// A path under construction. Compile code grows it while it walks the typed configuration.
///
/// ```
/// use durward::config::path::ConfigPath;
/// let route = ConfigPath::root().key("routes").index(2);
/// assert_eq!(route.key("match").as_str(), "routes[2].match");
/// assert_eq!(ConfigPath::root().key("upstreams").key("a.b").as_str(), r#"upstreams["a.b"]"#);
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ConfigPath(String);

impl ConfigPath {
    /// The whole file; prints as nothing.
    pub fn root() -> Self {
        Self::default()
    }

    /// The entry `key` of the map at this path.
    #[must_use]
    pub fn key(&self, key: &str) -> Self {
        let mut longer = self.clone();
        longer.push_key(key);
        longer
    }

    /// The element `index` (from zero, as in the typed value) of the list at this path.
    #[must_use]
    pub fn index(&self, index: usize) -> Self {
        let mut longer = self.clone();
        longer.push_index(index);
        longer
    }

    /// The path as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    pub(crate) fn push(&mut self, step: &Step) {
        match step {
            Step::Key(key) => self.push_key(key),
            Step::Index(index) => self.push_index(*index),
        }
    }

    fn push_index(&mut self, index: usize) {
        // Writing to a String cannot fail.
        let _ = write!(self.0, "[{index}]");
    }

    fn push_key(&mut self, key: &str) {
        if !key.is_empty() && key.chars().all(plain) {
            if !self.0.is_empty() {
                self.0.push('.');
            }
            self.0.push_str(key);
            return;
        }
        self.0.push_str("[\"");
        for c in key.chars() {
            match c {
                '"' | '\\' => self.0.extend(['\\', c]),
                // A path is printed to terminals and logs: no control characters from the file.
                c if c.is_control() => self.0.extend(c.escape_unicode()),
                c => self.0.push(c),
            }
        }
        self.0.push_str("\"]");
    }
}

impl fmt::Display for ConfigPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl AsRef<str> for ConfigPath {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

fn plain(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '_' | '-')
}

/// Splits a path into its steps; `None` where the text is not a path.
pub(crate) fn steps(path: &str) -> Option<Vec<Step>> {
    let mut steps = Vec::new();
    let mut rest = path;
    while !rest.is_empty() {
        let step;
        (step, rest) = if let Some(quoted) = rest.strip_prefix("[\"") {
            quoted_key(quoted)?
        } else if let Some(numbered) = rest.strip_prefix('[') {
            let (digits, after) = numbered.split_once(']')?;
            (Step::Index(digits.parse().ok()?), after)
        } else {
            let word = if steps.is_empty() {
                rest
            } else {
                rest.strip_prefix('.')?
            };
            let end = word.find(|c| !plain(c)).unwrap_or(word.len());
            let (key, after) = word.split_at_checked(end)?;
            if key.is_empty() {
                return None;
            }
            (Step::Key(key.to_owned()), after)
        };
        steps.push(step);
    }
    Some(steps)
}

/// Reads a quoted key whose opening `["` is already gone; returns what follows its `"]`.
fn quoted_key(text: &str) -> Option<(Step, &str)> {
    let mut key = String::new();
    let mut chars = text.chars();
    loop {
        match chars.next()? {
            '"' => return Some((Step::Key(key), chars.as_str().strip_prefix(']')?)),
            '\\' => match chars.next()? {
                'u' => {
                    let (hex, after) = chars.as_str().strip_prefix('{')?.split_once('}')?;
                    key.push(char::from_u32(u32::from_str_radix(hex, 16).ok()?)?);
                    chars = after.chars();
                }
                c => key.push(c),
            },
            c => key.push(c),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn plain_keys_are_dotted_and_odd_keys_are_quoted() {
        let path = ConfigPath::root()
            .key("a.b")
            .key("c")
            .index(0)
            .key("")
            .key("x\"y\n");
        assert_eq!(path.as_str(), r#"["a.b"].c[0][""]["x\"y\u{a}"]"#);
    }

    #[test]
    fn text_that_is_not_a_path_has_no_steps() {
        for text in [
            "a..b",
            "a[",
            "a[x]",
            "a[\"x",
            "a[\"x\"",
            ".a",
            "a.",
            "a[99999999999999999999]",
            "[\"\\u{zz}\"]",
        ] {
            assert_eq!(steps(text), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn a_built_path_parses_back(keys in proptest::collection::vec((any::<Option<usize>>(), ".{0,6}"), 0..6)) {
            let mut path = ConfigPath::root();
            let mut expected = Vec::new();
            for (index, key) in keys {
                let step = index.map_or(Step::Key(key), Step::Index);
                path.push(&step);
                expected.push(step);
            }
            prop_assert_eq!(steps(path.as_str()), Some(expected));
        }

        #[test]
        fn any_text_can_be_asked(text in ".*") {
            let _ = steps(&text);
        }
    }
}
