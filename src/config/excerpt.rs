//! The line of the file that a fault points at, fit to be printed.
//!
//! Secret values are replaced, control characters and tabs neutralised, long lines cropped around the place.

use std::ops::Range;
use std::sync::Arc;

/// What stands in the place of a hidden value.
const HIDDEN: &str = "[secret]";
/// Characters kept before the marked place, and in the whole line.
const BEFORE: usize = 60;
const WIDTH: usize = 120;

/// A place in the text: line and column count from 1, columns in characters; `bytes` is empty where unknown.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Mark {
    pub line: u32,
    pub column: u32,
    pub bytes: Range<usize>,
}

impl Mark {
    /// The beginning of the file.
    pub const TOP: Self = Self {
        line: 1,
        column: 1,
        bytes: 0..0,
    };
}

/// One line as it is printed, and what to underline in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Excerpt {
    /// The line: no tabs, no control characters, no secret.
    pub text: String,
    /// Characters before the underlined part.
    pub offset: usize,
    /// Characters underlined, at least 1.
    pub width: usize,
}

/// A file's name and text, with what must not be shown of it.
#[derive(Debug)]
pub(super) struct Source {
    pub name: Arc<str>,
    text: Box<str>,
    lines: Vec<Range<usize>>,
    /// In order and not overlapping.
    hidden: Vec<Range<usize>>,
}

impl Source {
    /// `hidden` holds byte ranges, in any order.
    pub fn new(name: &str, text: &str, mut hidden: Vec<Range<usize>>) -> Self {
        hidden.sort_by_key(|range| (range.start, range.end));
        let mut merged: Vec<Range<usize>> = Vec::with_capacity(hidden.len());
        for range in hidden {
            match merged.last_mut() {
                Some(last) if range.start <= last.end => last.end = last.end.max(range.end),
                _ => merged.push(range),
            }
        }
        Self {
            name: name.into(),
            text: text.into(),
            lines: lines(text),
            hidden: merged,
        }
    }

    /// The printable line at a mark; `None` where the text has no such line.
    pub fn excerpt(&self, mark: &Mark) -> Option<Excerpt> {
        let line = self.lines.get((mark.line as usize).checked_sub(1)?)?.clone();
        let start = if line.contains(&mark.bytes.start) && !mark.bytes.is_empty() {
            mark.bytes.start
        } else {
            let column = (mark.column as usize).saturating_sub(1);
            let text = self.text.get(line.clone())?;
            text.char_indices()
                .nth(column)
                .map_or(line.end, |(at, _)| line.start + at)
        };
        let end = mark.bytes.end.clamp(start, line.end);
        let mut head = self.show(line.start..start, true);
        let marked = self.show(start..end, start == line.start);
        let tail = self.show(end..line.end, end == line.start);
        let mut offset = head.chars().count();
        if offset > BEFORE {
            head = std::iter::once('…')
                .chain(head.chars().skip(offset - BEFORE))
                .collect();
            offset = BEFORE + 1;
        }
        let width = marked.chars().count().clamp(1, WIDTH - offset);
        let whole = head + &marked + &tail;
        let text = match whole.char_indices().nth(WIDTH) {
            Some((at, _)) => whole.get(..at).unwrap_or_default().to_owned() + "…",
            None => whole.trim_end().to_owned(),
        };
        Some(Excerpt { text, offset, width })
    }

    /// Prints a part of one line. A hidden range that began in an earlier part was announced there.
    fn show(&self, part: Range<usize>, at_line_start: bool) -> String {
        let mut shown = String::new();
        let mut announced = None;
        for (at, c) in self.text.get(part.clone()).unwrap_or_default().char_indices() {
            let at = part.start + at;
            let next = self.hidden.partition_point(|range| range.end <= at);
            match self.hidden.get(next).filter(|range| range.start <= at) {
                Some(range) => {
                    if announced != Some(next) && (at_line_start || range.start >= part.start) {
                        shown.push_str(HIDDEN);
                    }
                    announced = Some(next);
                }
                None if c == '\t' => shown.push(' '),
                // A file may not drive the terminal of whoever reads the report.
                None if c.is_control() || is_bidi(c) => shown.push('\u{fffd}'),
                None => shown.push(c),
            }
        }
        shown
    }
}

/// Characters that reorder what follows them on the screen.
fn is_bidi(c: char) -> bool {
    matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// The byte ranges of the lines, without their ends; YAML ends a line with `\n`, `\r\n` or `\r`.
fn lines(text: &str) -> Vec<Range<usize>> {
    let mut lines = Vec::new();
    let mut start = if text.starts_with('\u{feff}') {
        '\u{feff}'.len_utf8()
    } else {
        0
    };
    let mut after_return = false;
    for (at, byte) in text.bytes().enumerate() {
        match byte {
            b'\n' if after_return => start = at + 1,
            b'\n' | b'\r' => {
                lines.push(start..at);
                start = at + 1;
            }
            _ => {}
        }
        after_return = byte == b'\r';
    }
    lines.push(start..text.len());
    lines
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn mark(text: &str, line: u32, column: u32, part: &str) -> Mark {
        let start = text.find(part).unwrap();
        Mark {
            line,
            column,
            bytes: start..start + part.len(),
        }
    }

    #[test]
    fn every_kind_of_line_end_counts() {
        let text = "\u{feff}a\r\nb\rc\n";
        let found: Vec<_> = lines(text).into_iter().map(|range| &text[range]).collect();
        assert_eq!(found, ["a", "b", "c", ""]);
    }

    #[test]
    fn a_hidden_value_is_replaced_and_the_underline_moves_with_it() {
        let text = "a: { password: hunter2, mode: x }";
        let hidden = text.find("hunter2").unwrap();
        let source = Source::new("f", text, std::iter::once(hidden..hidden + 7).collect());
        let excerpt = source.excerpt(&mark(text, 1, 25, "mode")).unwrap();
        assert_eq!(excerpt.text, "a: { password: [secret], mode: x }");
        assert_eq!((excerpt.offset, excerpt.width), (25, 4));
        let excerpt = source.excerpt(&mark(text, 1, 16, "hunter2")).unwrap();
        assert_eq!((excerpt.offset, excerpt.width), (15, 8));
        let excerpt = source
            .excerpt(&Mark {
                line: 1,
                column: 18,
                bytes: 0..0,
            })
            .unwrap();
        assert_eq!(excerpt.text, "a: { password: [secret], mode: x }");
    }

    #[test]
    fn a_long_line_is_cropped_and_control_characters_are_not_passed_on() {
        let text = format!("{}\tX\u{1b}[31m{}", "é".repeat(200), "z".repeat(300));
        let excerpt = Source::new("f", &text, vec![])
            .excerpt(&mark(&text, 1, 202, "X"))
            .unwrap();
        assert_eq!(excerpt.text.chars().nth(excerpt.offset), Some('X'));
        assert!(excerpt.text.chars().count() <= WIDTH + 1);
        assert!(excerpt.text.starts_with('…') && excerpt.text.ends_with('…'));
        assert!(!excerpt.text.contains('\u{1b}'));
    }

    proptest! {
        #[test]
        fn no_mark_can_make_it_panic(text in "[a:é\\n\\r\\t ]{0,40}", line in 0u32..9, column in 0u32..20, a in 0usize..60, b in 0usize..60) {
            let source = Source::new("f", &text, vec![a.min(b)..b, b..a.max(b)]);
            let _ = source.excerpt(&Mark { line, column, bytes: a..b });
        }
    }
}
