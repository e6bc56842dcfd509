//! `when:` of a condition: read, checked, and turned into what can be asked.
//!
//! The parser is that of a library, which knows the whole language. What it gives is checked here, by what is known of
//! requests and clients: nothing gets through of which it is not certain that it has a type, that this is a truth in the
//! end, and that it ends soon. The library's evaluator is not used: it finds types out while it runs, and takes claims of
//! the wrong type for unequal ones.

mod calls;
mod check;
mod names;
mod operators;
mod types;

#[cfg(test)]
mod tests;

use std::sync::Arc;

use cel::common::ast::{IdedExpr, SourceInfo};
use cel::parser::Parser;

use self::check::Checker;
use super::findings::Findings;
use crate::config::path::ConfigPath;
use crate::gates::authz::When;

/// Longest expression, in bytes.
const MAX_LENGTH: usize = 2_000;
/// Parts of an expression.
const MAX_NODES: usize = 200;
/// Parts within parts.
const MAX_DEPTH: u16 = 32;
/// The parser takes a tenth of a megabyte for each pair of parentheses within another, and an overflow would end the
/// process. Only what is used of it takes memory.
const PARSER_STACK: usize = 64 << 20;

/// Why an expression is refused.
#[derive(Debug)]
struct Flaw {
    /// Where in the expression, as an offset in bytes.
    offset: usize,
    message: String,
    /// What to do, or nothing.
    help: String,
}

/// The expression of a condition; `None` where it was refused.
pub(super) fn compile(at: &ConfigPath, text: &str, findings: &mut Findings<'_>) -> Option<When> {
    let compiled = read(text);
    let why = match compiled {
        Ok(when) => return Some(when),
        Err(why) => why,
    };
    let Flaw {
        offset,
        message,
        help,
    } = why;
    findings.error(at, format!("{}: {message}", place(text, offset)), help);
    None
}

fn read(text: &str) -> Result<When, Flaw> {
    let whole = |message: String, help: &str| Flaw {
        offset: 0,
        message,
        help: help.to_owned(),
    };
    if text.trim().is_empty() {
        return Err(whole("the expression is empty".to_owned(), ""));
    }
    if text.len() > MAX_LENGTH {
        let message = format!("the expression has {} bytes, of at most {MAX_LENGTH}", text.len());
        return Err(whole(message, "make several conditions of it: all have to hold"));
    }
    let (expression, source) = parse(text)?;
    let mut checker = Checker::new(&source);
    let node = checker.truth(&expression)?;
    if !checker.names_facts {
        let help = "name what it depends on, or leave it out";
        return Err(whole(
            "the expression is the same for every request".to_owned(),
            help,
        ));
    }
    let words: Vec<&str> = text.split_whitespace().collect();
    Ok(When {
        node: Arc::new(node),
        // which segments they are is the route's to say
        parameters: checker
            .parameters
            .into_iter()
            .map(|name| (name.into(), usize::MAX))
            .collect(),
        asks_client: checker.asks_client,
        written: words.join(" ").into(),
    })
}

/// In a thread with a stack of its own: however the parser ends, the process goes on.
fn parse(text: &str) -> Result<(IdedExpr, SourceInfo), Flaw> {
    let flaw = |offset: usize, message: &str, help: String| Flaw {
        offset,
        message: message.to_owned(),
        help,
    };
    let owned = text.to_owned();
    let thread = std::thread::Builder::new().stack_size(PARSER_STACK);
    let parser = thread.spawn(move || {
        let parser = Parser::new().max_recursion_depth(MAX_DEPTH);
        parser.parse_with_source_info(&owned).map_err(|all| {
            let first = all.errors.into_iter().next();
            first.map_or(((1, 1), String::new()), |first| (first.pos, first.msg))
        })
    });
    let Ok(parser) = parser else {
        return Err(flaw(
            0,
            "there is no thread to read the expression in",
            String::new(),
        ));
    };
    match parser.join() {
        Ok(Ok(parsed)) => Ok(parsed),
        Ok(Err((_, why))) if why.contains("Recursion limit") => {
            let message = format!("parts within parts, deeper than {MAX_DEPTH}");
            Err(flaw(0, &message, String::new()))
        }
        Ok(Err((position, why))) => {
            let why = why.strip_prefix("Syntax error: ").unwrap_or(&why).to_owned();
            Err(flaw(
                offset(text, position),
                "this is not an expression of CEL",
                why,
            ))
        }
        Err(_) => Err(flaw(0, "this is not an expression of CEL", String::new())),
    }
}

/// The byte at a line and a column, both from 1, as the parser counts them.
fn offset(text: &str, (line, column): (isize, isize)) -> usize {
    let from_1 = |number: isize| usize::try_from(number).unwrap_or(1).max(1) - 1;
    let before = text.split_inclusive('\n').take(from_1(line)).map(str::len);
    (before.sum::<usize>() + from_1(column)).min(text.len())
}

/// Where an offset is, for people.
fn place(text: &str, offset: usize) -> String {
    let before: String = text
        .char_indices()
        .take_while(|(index, _)| *index < offset)
        .map(|(_, character)| character)
        .collect();
    let line = before.matches('\n').count() + 1;
    let column = before.rsplit('\n').next().unwrap_or("").chars().count() + 1;
    if text.trim_end().contains('\n') {
        format!("line {line}, character {column} of the expression")
    } else {
        format!("character {column} of the expression")
    }
}
