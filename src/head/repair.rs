//! Paths that are refused, read as the reader means who asked for that.
//!
//! A route says which repairs it stands for. What was repaired is then the path: it is what the route was found by, what is
//! authorised, and what the upstream receives. Nothing else may be repaired: controls, backslashes, encoded percent signs
//! and what is not UTF-8 have no second reading that is safe.

use super::path::canonical;

/// Something that a path may be rid of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Repair {
    /// `.` and `..` are resolved (RFC 3986 section 5.2.4), and `%2e` is a dot. Above the root there is nothing.
    DotSegments = 1,
    /// `//` is `/`.
    EmptySegments = 2,
    /// `;` and what follows it in a segment is taken away.
    Parameters = 4,
    /// `%2f` is `/`.
    EncodedSlashes = 8,
}

/// A set of them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Repairs(u8);

impl Repairs {
    /// Whether there are none.
    #[must_use]
    pub fn is_empty(self) -> bool {
        self == Repairs::default()
    }

    /// Whether all of these are among them.
    #[must_use]
    pub fn contain(self, others: Repairs) -> bool {
        self.0 & others.0 == others.0
    }

    fn add(&mut self, repair: Repair) {
        self.0 |= repair as u8;
    }
}

impl FromIterator<Repair> for Repairs {
    fn from_iter<I: IntoIterator<Item = Repair>>(repairs: I) -> Repairs {
        let mut all = Repairs::default();
        repairs.into_iter().for_each(|repair| all.add(repair));
        all
    }
}

/// The path that is left, in canonical form, and what had to be done for that. `None`: nothing makes it one.
pub(super) fn repaired(path: &str) -> Option<(Box<str>, Repairs)> {
    let mut repairs = Repairs::default();
    // parameters first: what is encoded in them is no syntax of the path
    let segments = path.strip_prefix('/')?.split('/').map(|segment| {
        segment.split_once(';').map_or(segment, |(kept, _)| {
            repairs.add(Repair::Parameters);
            kept
        })
    });
    let mut text = segments.collect::<Vec<_>>().join("/");
    for (spelled, meant, repair) in [
        ("%2e", ".", Repair::DotSegments),
        ("%2E", ".", Repair::DotSegments),
        ("%2f", "/", Repair::EncodedSlashes),
        ("%2F", "/", Repair::EncodedSlashes),
    ] {
        if text.contains(spelled) {
            repairs.add(repair);
            text = text.replace(spelled, meant);
        }
    }
    let mut kept: Vec<&str> = Vec::new();
    let mut segments = text.split('/').peekable();
    while let Some(segment) = segments.next() {
        let is_last = segments.peek().is_none();
        match segment {
            "." | ".." => {
                repairs.add(Repair::DotSegments);
                if segment == ".." {
                    kept.pop()?;
                }
                if is_last {
                    kept.push("");
                }
            }
            "" if !is_last => repairs.add(Repair::EmptySegments),
            _ => kept.push(segment),
        }
    }
    let path = format!("/{}", kept.join("/"));
    let canonical = canonical(&path).ok()?;
    Some((canonical.unwrap_or_else(|| path.into()), repairs))
}

#[cfg(test)]
mod tests {
    use super::Repair::{DotSegments, EmptySegments, EncodedSlashes, Parameters};
    use super::*;

    // U15
    #[test]
    fn a_repaired_path_is_canonical_and_says_what_was_done() {
        for (path, expected, repairs) in [
            ("/a/./b", "/a/b", &[DotSegments][..]),
            ("/a/../b", "/b", &[DotSegments]),
            ("/a/b/..", "/a/", &[DotSegments]),
            ("/a/%2e%2E/b", "/b", &[DotSegments]),
            ("/a%2eb", "/a.b", &[DotSegments]),
            ("//a///b", "/a/b", &[EmptySegments]),
            ("/a//", "/a/", &[EmptySegments]),
            ("/a;x=1/b;y", "/a/b", &[Parameters]),
            ("/a;%2f..%2f/b", "/a/b", &[Parameters]),
            ("/a%2Fb%2fc", "/a/b/c", &[EncodedSlashes]),
            ("/a%2f..%2fb", "/b", &[EncodedSlashes, DotSegments]),
            ("/a/;x/b", "/a/b", &[Parameters, EmptySegments]),
            ("/%61/./%c3%a4", "/a/%C3%A4", &[DotSegments]),
        ] {
            let (found, done) = repaired(path).unwrap_or_else(|| panic!("{path}"));
            assert_eq!(
                (&*found, done),
                (expected, repairs.iter().copied().collect()),
                "{path}"
            );
            let again = canonical(&found).unwrap();
            assert!(again.is_none_or(|again| again == found), "{path}");
        }
        for path in [
            "/..",
            "/a/../../b",
            "/%2e%2e/",
            "/a%5cb",
            "/a\\b",
            "/a%00",
            "/a%252e",
            "/a%25",
            "/a%ff",
            "/a%c0%ae",
            "/a%3bx",
            "/a%3fx",
            "/a%2",
            "a",
            "",
        ] {
            assert_eq!(repaired(path), None, "{path}");
        }
    }

    #[test]
    fn a_route_stands_for_all_of_them_or_not() {
        let some: Repairs = [DotSegments, Parameters].into_iter().collect();
        assert!(some.contain(some) && some.contain(Repairs::default()));
        assert!(!some.contain([DotSegments, EmptySegments].into_iter().collect()));
    }
}
