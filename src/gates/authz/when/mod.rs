//! What an expression says, in a part of the Common Expression Language (CEL) that can be proven before it is used.
//!
//! An expression comes here checked ([`crate::gateway::compile`]): every name in it is a known fact, every operator has
//! operands of its types, and there is no way to say something that takes long. What is left to the moment of the decision
//! is what only the credential tells: whether a claim is there, and whether it is what the expression takes it for. Where it
//! is not, the expression has no value, and the request is refused: with a reason other than that of one that says no.
//!
//! One thing is stricter than the language: a claim that is compared with a text must be a text. By the language, a number
//! would be "not equal", so `claims.role != "guest"` would let in whoever has an odd token.

mod budget;
mod eval;
mod node;

use std::fmt;
use std::sync::Arc;

pub use eval::Fault;
pub use node::{Arithmetic, Comparison, Fact, Kind, Node, Quantifier};

use super::Facts;
use crate::denial::{Denial, Forbidden, Verdict};
use crate::identity::Client;

/// An expression that must be true.
#[derive(Debug, Clone)]
pub struct When {
    /// What it says.
    pub node: Arc<Node>,
    /// Parameters of the path that it names, and which segment each is; the one behind the first slash is 0.
    pub parameters: Box<[(Box<str>, usize)]>,
    /// Whether it can be asked of verified clients only.
    pub asks_client: bool,
    /// As written, in one line.
    pub written: Arc<str>,
}

impl When {
    /// Asks of a request and, where it has one, its client.
    ///
    /// # Errors
    /// [`Forbidden::Condition`] where it is false, [`Forbidden::ConditionError`] where it has no value.
    pub fn check(&self, facts: &Facts<'_>, client: Option<&Client>) -> Verdict {
        match self.holds(facts, client) {
            Ok(true) => Ok(()),
            Ok(false) => Err(Denial::Forbidden(Forbidden::Condition)),
            Err(_) => Err(Denial::Forbidden(Forbidden::ConditionError)),
        }
    }

    /// Whether it is true.
    ///
    /// # Errors
    /// A [`Fault`] where it has no value.
    pub fn holds(&self, facts: &Facts<'_>, client: Option<&Client>) -> Result<bool, Fault> {
        eval::holds(&self.node, &self.parameters, facts, client)
    }

    /// Where all of several must be true: each with one of them less, and which.
    #[must_use]
    pub fn looser(&self) -> Vec<(String, When)> {
        let Node::And(all) = &*self.node else {
            return Vec::new();
        };
        let each = (0..all.len()).map(|position| {
            let kept = all.iter().enumerate().filter(|(index, _)| *index != position);
            let mut rest: Vec<Node> = kept.map(|(_, node)| node.clone()).collect();
            let node = match (rest.pop(), rest.is_empty()) {
                (Some(only), true) => only,
                (last, _) => Node::And(rest.into_iter().chain(last).collect()),
            };
            let less = format!("part {} of \"{self}\"", position + 1);
            let node = Arc::new(node);
            (less, When { node, ..self.clone() })
        });
        each.collect()
    }
}

impl fmt::Display for When {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "asks that {}", self.written)
    }
}
