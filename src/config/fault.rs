//! One thing that is wrong with a configuration file, and how it is shown.

use std::cmp::Ordering;
use std::fmt;
use std::sync::Arc;

pub use super::excerpt::Excerpt;

/// Whether a fault refuses the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Severity {
    /// The file is refused.
    Error,
    /// The file is taken; somebody should look.
    Warning,
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Error => "error",
            Self::Warning => "warning",
        })
    }
}

/// A fault at its place in the file. Display prints several lines without a trailing line end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// The name of the file, as the operator gave it.
    pub source: Arc<str>,
    /// From 1.
    pub line: u32,
    /// From 1, in characters.
    pub column: u32,
    /// The place in the configuration, by the indices of the file; empty for the whole file.
    pub path: String,
    /// What is wrong: one line, lower case, no full stop.
    pub message: String,
    /// What to do about it.
    pub help: Option<String>,
    pub severity: Severity,
    /// The line, secrets hidden; `None` where the file has no such line.
    pub excerpt: Option<Excerpt>,
}

impl Fault {
    /// The fault in one line, for logs and editors: `durward.yaml:12:5: error: routes[0].mathc: unknown key …`.
    pub fn one_line(&self) -> String {
        let Self {
            source,
            line,
            column,
            path,
            message,
            help,
            severity,
            excerpt: _,
        } = self;
        let path = if path.is_empty() {
            String::new()
        } else {
            format!("{path}: ")
        };
        let help = help.as_ref().map(|help| format!(" ({help})")).unwrap_or_default();
        format!("{source}:{line}:{column}: {severity}: {path}{message}{help}")
    }

    /// The order in which faults are reported: as they stand in the file.
    pub fn by_position(&self, other: &Self) -> Ordering {
        let key = |fault: &Self| (fault.line, fault.column, fault.severity);
        (&self.source, key(self), &self.path, &self.message).cmp(&(
            &other.source,
            key(other),
            &other.path,
            &other.message,
        ))
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            source,
            line,
            column,
            path,
            message,
            help,
            severity,
            excerpt,
        } = self;
        let gutter = line.to_string().len();
        writeln!(f, "{severity}: {message}")?;
        write!(f, "{:gutter$}--> {source}:{line}:{column}", "")?;
        if !path.is_empty() {
            write!(f, "  ({path})")?;
        }
        if let Some(Excerpt { text, offset, width }) = excerpt {
            write!(f, "\n{:gutter$} |", "")?;
            write!(f, "\n{line} | {text}")?;
            write!(f, "\n{:gutter$} | {:offset$}{:^<width$}", "", "", "")?;
        }
        if let Some(help) = help {
            write!(f, "\n{:gutter$} = help: {help}", "")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fault() -> Fault {
        Fault {
            source: "durward.yaml".into(),
            line: 12,
            column: 5,
            path: "routes[0].mathc".to_owned(),
            message: "unknown key `mathc`".to_owned(),
            help: Some("did you mean `match`?".to_owned()),
            severity: Severity::Error,
            excerpt: Some(Excerpt {
                text: "    mathc: { path: /x }".to_owned(),
                offset: 4,
                width: 5,
            }),
        }
    }

    #[test]
    fn a_fault_is_shown_with_its_line() {
        let expected = "\
error: unknown key `mathc`
  --> durward.yaml:12:5  (routes[0].mathc)
   |
12 |     mathc: { path: /x }
   |     ^^^^^
   = help: did you mean `match`?";
        assert_eq!(fault().to_string(), expected);
    }

    #[test]
    fn a_fault_fits_in_one_line() {
        let line = "durward.yaml:12:5: error: routes[0].mathc: unknown key `mathc` (did you mean `match`?)";
        assert_eq!(fault().one_line(), line);
        let bare = Fault {
            path: String::new(),
            help: None,
            severity: Severity::Warning,
            ..fault()
        };
        assert_eq!(bare.one_line(), "durward.yaml:12:5: warning: unknown key `mathc`");
    }

    #[test]
    fn faults_sort_by_line_then_column() {
        let mut faults = [(3, 1), (2, 9), (2, 10)].map(|(line, column)| Fault {
            line,
            column,
            ..fault()
        });
        faults.sort_by(Fault::by_position);
        assert_eq!(
            faults.map(|fault| (fault.line, fault.column)),
            [(2, 9), (2, 10), (3, 1)]
        );
    }
}
