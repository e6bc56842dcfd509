//! Label values: from enums and configured names only, and no more of the latter than a time series database can bear.

use std::collections::HashSet;
use std::fmt;

use parking_lot::RwLock;

/// What all names beyond the bound share.
const OVERFLOW: &str = "overflow";
/// Different values of one label in the life of a process, reloads included.
const MOST: usize = 2000;

/// The values that one label has had.
#[derive(Default)]
pub struct Names(RwLock<HashSet<Box<str>>>);

impl Names {
    /// The name itself, or `overflow` where there were too many others before.
    #[must_use]
    pub fn of<'a>(&self, name: &'a str) -> &'a str {
        if name.is_empty() || self.0.read().contains(name) {
            return name;
        }
        let mut known = self.0.write();
        if known.len() < MOST {
            known.insert(name.into());
        }
        if known.contains(name) { name } else { OVERFLOW }
    }
}

impl fmt::Debug for Names {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Names").field(&self.0.read().len()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_beyond_the_bound_share_one_label_and_earlier_ones_keep_theirs() {
        let names = Names::default();
        for n in 0..MOST {
            let name = format!("route-{n}");
            assert_eq!(names.of(&name), name);
        }
        assert_eq!(names.of("one-more"), "overflow");
        assert_eq!(names.of("route-0"), "route-0");
        assert_eq!(names.of(""), "");
    }
}
