//! The value of an expression, for one request. Borrows everything; only texts that are put together need memory.

use std::borrow::Cow;
use std::net::IpAddr;

use memchr::memmem;
use serde_json::Value as Json;

use super::super::claim_matches::decoded;
use super::budget::Budget;
use super::{Arithmetic, Comparison, Fact, Kind, Node, Quantifier};
use crate::gates::authn::claims::Claims;
use crate::gates::authz::Facts;
use crate::identity::{self, Client};

/// Why an expression has no value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// There is no such claim or element, or nobody knows that.
    Missing,
    /// A claim is of another kind than the expression takes it for.
    Kind,
    /// A number does not fit into 64 bits.
    Overflow,
    /// Divided by zero.
    Division,
    /// It would take too long.
    TooMuch,
}

/// Whether an expression is true. `parameters`: which segments of the path it names.
pub(super) fn holds(
    node: &Node,
    parameters: &[(Box<str>, usize)],
    facts: &Facts<'_>,
    client: Option<&Client>,
) -> Result<bool, Fault> {
    let evaluation = Evaluation {
        facts,
        client,
        parameters,
        budget: Budget::new(),
    };
    evaluation.bool(node, None)
}

struct Evaluation<'a> {
    facts: &'a Facts<'a>,
    client: Option<&'a Client>,
    parameters: &'a [(Box<str>, usize)],
    budget: Budget,
}

#[derive(Debug, Clone)]
enum Value<'a> {
    Bool(bool),
    Int(i64),
    Text(Cow<'a, str>),
    Address(IpAddr),
    Claims(&'a Claims),
    /// A claim, of which nobody has said yet what it has to be.
    Claim(&'a Json),
    List(List<'a>),
}

#[derive(Debug, Clone, Copy)]
enum List<'a> {
    Texts(&'a [Box<str>]),
    Claim(&'a [Json]),
    Written(&'a [Node]),
}

impl List<'_> {
    fn len(self) -> usize {
        match self {
            List::Texts(texts) => texts.len(),
            List::Claim(claims) => claims.len(),
            List::Written(nodes) => nodes.len(),
        }
    }
}

type Element<'e, 'a> = Option<&'e Value<'a>>;

impl<'a> Evaluation<'a> {
    fn value(&self, node: &'a Node, element: Element<'_, 'a>) -> Result<Value<'a>, Fault> {
        self.budget.step()?;
        Ok(match node {
            Node::Bool(value) => Value::Bool(*value),
            Node::Int(value) => Value::Int(*value),
            Node::Text(text) => Value::Text(Cow::Borrowed(text)),
            Node::List(nodes) => {
                // a list has a value where all its elements have; they are looked at again when they are needed
                for node in nodes {
                    self.value(node, element)?;
                }
                Value::List(List::Written(nodes))
            }
            Node::Fact(fact) => self.fact(*fact)?,
            Node::Parameter(index) => self.parameter(*index)?,
            Node::Claims => Value::Claims(&self.client.ok_or(Fault::Missing)?.claims),
            Node::Element => element.cloned().ok_or(Fault::Missing)?,
            Node::Member(object, name) => {
                Value::Claim(self.member(object, name, element)?.ok_or(Fault::Missing)?)
            }
            Node::Has(object, name) => Value::Bool(self.member(object, name, element)?.is_some()),
            Node::Known(fact) => Value::Bool(self.fact(*fact).is_ok()),
            Node::Index(list, index) => {
                let (list, index) = (self.list(list, element)?, self.int(index, element)?);
                let index = usize::try_from(index).map_err(|_| Fault::Missing)?;
                self.element(list, index, element)?.ok_or(Fault::Missing)?
            }
            Node::As(kind, node) => self.kind(self.value(node, element)?, *kind)?,
            Node::Not(node) => Value::Bool(!self.bool(node, element)?),
            Node::And(nodes) => Value::Bool(first(nodes, false, |node| self.bool(node, element))?),
            Node::Or(nodes) => Value::Bool(first(nodes, true, |node| self.bool(node, element))?),
            Node::If(nodes) => {
                let [condition, then, otherwise] = &**nodes;
                let taken = if self.bool(condition, element)? {
                    then
                } else {
                    otherwise
                };
                self.value(taken, element)?
            }
            Node::Equal(nodes) => {
                let [left, right] = self.both(nodes, element)?;
                Value::Bool(self.are_equal(&left, &right)?)
            }
            Node::Compare(comparison, nodes) => Value::Bool(self.compare(*comparison, nodes, element)?),
            Node::Arithmetic(operation, nodes) => {
                let [left, right] = &**nodes;
                let (left, right) = (self.int(left, element)?, self.int(right, element)?);
                Value::Int(calculate(*operation, left, right)?)
            }
            Node::Negate(node) => {
                let value = self.int(node, element)?;
                Value::Int(value.checked_neg().ok_or(Fault::Overflow)?)
            }
            Node::Concat(nodes) => {
                let [mut left, right] = self.texts(nodes, element)?;
                left.to_mut().push_str(&right);
                Value::Text(left)
            }
            Node::In(kind, nodes) => Value::Bool(self.is_in(*kind, nodes, element)?),
            Node::Size(node) => Value::Int(self.size(node, element)?),
            Node::StartsWith(nodes) => {
                let [text, part] = self.texts(nodes, element)?;
                Value::Bool(text.starts_with(&*part))
            }
            Node::EndsWith(nodes) => {
                let [text, part] = self.texts(nodes, element)?;
                Value::Bool(text.ends_with(&*part))
            }
            Node::Contains(nodes) => {
                let [text, part] = self.texts(nodes, element)?;
                // linear in both, unlike a search that begins again at each byte
                Value::Bool(memmem::find(text.as_bytes(), part.as_bytes()).is_some())
            }
            Node::ToText(node) => Value::Text(self.to_text(node, element)?),
            Node::ToInt(node) => Value::Int(self.to_int(node, element)?),
            Node::InNetwork(network, node) => match self.value(node, element)? {
                Value::Address(address) => Value::Bool(network.contains(&address)),
                _ => return Err(Fault::Kind),
            },
            Node::Quantified(quantifier, nodes) => {
                let [list, predicate] = &**nodes;
                let list = self.list(list, element)?;
                let settles = *quantifier == Quantifier::Exists;
                Value::Bool(first(0..list.len(), settles, |index| {
                    let one = self.element(list, index, None)?;
                    self.bool(predicate, one.as_ref())
                })?)
            }
        })
    }

    fn fact(&self, fact: Fact) -> Result<Value<'a>, Fault> {
        let facts = self.facts;
        let text = |text: &'a str| Value::Text(Cow::Borrowed(text));
        let client = || self.client.ok_or(Fault::Missing);
        Ok(match fact {
            Fact::Method => text(facts.head.method().as_str()),
            Fact::Host => text(facts.head.host()),
            Fact::Path => text(facts.head.path()),
            Fact::Address => Value::Address(facts.address.ok_or(Fault::Missing)?.to_canonical()),
            Fact::Now => Value::Int(i64::try_from(facts.now.seconds()).map_err(|_| Fault::Overflow)?),
            Fact::Subject => text(&client()?.subject),
            Fact::ClientId => text(client()?.client_id.as_deref().ok_or(Fault::Missing)?),
            Fact::Issuer => text(&client()?.authority),
            Fact::Credential => text(credential(client()?.kind)),
            Fact::Scopes => Value::List(List::Texts(&client()?.scopes)),
            Fact::Roles => Value::List(List::Texts(&client()?.roles)),
        })
    }

    fn parameter(&self, index: usize) -> Result<Value<'a>, Fault> {
        let (_, segment) = self.parameters.get(index).ok_or(Fault::Missing)?;
        let segment = self.facts.head.path().split('/').skip(1).nth(*segment);
        let segment = segment.ok_or(Fault::Missing)?;
        self.budget.bytes(segment.len())?;
        decoded(segment).map(Value::Text).ok_or(Fault::Kind)
    }

    fn member(
        &self,
        object: &'a Node,
        name: &str,
        element: Element<'_, 'a>,
    ) -> Result<Option<&'a Json>, Fault> {
        match self.value(object, element)? {
            Value::Claims(claims) => Ok(claims.member(name)),
            Value::Claim(Json::Object(members)) => Ok(members.get(name)),
            _ => Err(Fault::Kind),
        }
    }

    /// A claim as what it has to be; everything else already is.
    fn kind(&self, value: Value<'a>, kind: Kind) -> Result<Value<'a>, Fault> {
        let Value::Claim(claim) = value else {
            return Ok(value);
        };
        match (kind, claim) {
            (Kind::Bool, Json::Bool(value)) => Ok(Value::Bool(*value)),
            (Kind::Int, Json::Number(number)) => number.as_i64().map(Value::Int).ok_or(Fault::Kind),
            (Kind::Text, Json::String(text)) => Ok(Value::Text(Cow::Borrowed(text))),
            (Kind::List, Json::Array(list)) => Ok(Value::List(List::Claim(list))),
            _ => Err(Fault::Kind),
        }
    }

    fn bool(&self, node: &'a Node, element: Element<'_, 'a>) -> Result<bool, Fault> {
        match self.value(node, element)? {
            Value::Bool(value) => Ok(value),
            _ => Err(Fault::Kind),
        }
    }

    fn int(&self, node: &'a Node, element: Element<'_, 'a>) -> Result<i64, Fault> {
        match self.value(node, element)? {
            Value::Int(value) => Ok(value),
            _ => Err(Fault::Kind),
        }
    }

    fn list(&self, node: &'a Node, element: Element<'_, 'a>) -> Result<List<'a>, Fault> {
        match self.value(node, element)? {
            Value::List(list) => Ok(list),
            _ => Err(Fault::Kind),
        }
    }

    fn both(&self, nodes: &'a [Node; 2], element: Element<'_, 'a>) -> Result<[Value<'a>; 2], Fault> {
        let [left, right] = nodes;
        Ok([self.value(left, element)?, self.value(right, element)?])
    }

    fn texts(&self, nodes: &'a [Node; 2], element: Element<'_, 'a>) -> Result<[Cow<'a, str>; 2], Fault> {
        match self.both(nodes, element)? {
            [Value::Text(left), Value::Text(right)] => {
                self.budget.bytes(left.len().saturating_add(right.len()))?;
                Ok([left, right])
            }
            _ => Err(Fault::Kind),
        }
    }

    fn are_equal(&self, left: &Value<'a>, right: &Value<'a>) -> Result<bool, Fault> {
        match (left, right) {
            (Value::Bool(left), Value::Bool(right)) => Ok(left == right),
            (Value::Int(left), Value::Int(right)) => Ok(left == right),
            (Value::Text(left), Value::Text(right)) => {
                self.budget.bytes(left.len().min(right.len()))?;
                Ok(left == right)
            }
            _ => Err(Fault::Kind),
        }
    }

    fn compare(
        &self,
        comparison: Comparison,
        nodes: &'a [Node; 2],
        element: Element<'_, 'a>,
    ) -> Result<bool, Fault> {
        let order = match self.both(nodes, element)? {
            [Value::Int(left), Value::Int(right)] => left.cmp(&right),
            [Value::Text(left), Value::Text(right)] => {
                self.budget.bytes(left.len().min(right.len()))?;
                left.cmp(&right)
            }
            _ => return Err(Fault::Kind),
        };
        Ok(match comparison {
            Comparison::Less => order.is_lt(),
            Comparison::LessOrEqual => order.is_le(),
            Comparison::Greater => order.is_gt(),
            Comparison::GreaterOrEqual => order.is_ge(),
        })
    }

    /// An element of a list that is written down is an expression of its own, and may name the element of another list.
    fn element(
        &self,
        list: List<'a>,
        index: usize,
        outer: Element<'_, 'a>,
    ) -> Result<Option<Value<'a>>, Fault> {
        self.budget.step()?;
        Ok(match list {
            List::Texts(texts) => texts.get(index).map(|text| Value::Text(Cow::Borrowed(text))),
            List::Claim(claims) => claims.get(index).map(Value::Claim),
            List::Written(nodes) => match nodes.get(index) {
                Some(node) => Some(self.value(node, outer)?),
                None => None,
            },
        })
    }

    /// All elements are looked at: a list with something else in it is not one that we can read (U18).
    fn is_in(&self, kind: Kind, nodes: &'a [Node; 2], element: Element<'_, 'a>) -> Result<bool, Fault> {
        let [wanted, list] = nodes;
        let (wanted, list) = (self.value(wanted, element)?, self.list(list, element)?);
        let mut found = false;
        for index in 0..list.len() {
            let one = self.element(list, index, element)?.ok_or(Fault::Missing)?;
            let one = self.kind(one, kind)?;
            found |= self.are_equal(&wanted, &one)?;
        }
        Ok(found)
    }

    fn size(&self, node: &'a Node, element: Element<'_, 'a>) -> Result<i64, Fault> {
        let size = match self.value(node, element)? {
            Value::Text(text) => self.characters(&text)?,
            Value::Claim(Json::String(text)) => self.characters(text)?,
            Value::List(list) => list.len(),
            Value::Claim(Json::Array(list)) => list.len(),
            _ => return Err(Fault::Kind),
        };
        i64::try_from(size).map_err(|_| Fault::Overflow)
    }

    fn characters(&self, text: &str) -> Result<usize, Fault> {
        self.budget.bytes(text.len())?;
        Ok(text.chars().count())
    }

    fn to_text(&self, node: &'a Node, element: Element<'_, 'a>) -> Result<Cow<'a, str>, Fault> {
        let number = |number: i64| Cow::Owned(itoa::Buffer::new().format(number).to_owned());
        let truth = |value: bool| Cow::Borrowed(if value { "true" } else { "false" });
        match self.value(node, element)? {
            Value::Text(text) => Ok(text),
            Value::Int(value) => Ok(number(value)),
            Value::Bool(value) => Ok(truth(value)),
            Value::Claim(Json::String(text)) => Ok(Cow::Borrowed(text)),
            Value::Claim(Json::Number(value)) => value.as_i64().map(number).ok_or(Fault::Kind),
            Value::Claim(Json::Bool(value)) => Ok(truth(*value)),
            _ => Err(Fault::Kind),
        }
    }

    fn to_int(&self, node: &'a Node, element: Element<'_, 'a>) -> Result<i64, Fault> {
        let read = |text: &str| text.parse::<i64>().map_err(|_| Fault::Kind);
        match self.value(node, element)? {
            Value::Int(value) => Ok(value),
            Value::Text(text) => read(&text),
            Value::Claim(Json::Number(value)) => value.as_i64().ok_or(Fault::Kind),
            Value::Claim(Json::String(text)) => read(text),
            _ => Err(Fault::Kind),
        }
    }
}

/// `||` where `settles` is true, `&&` where it is false, in any number: the first that settles it does, whatever the others
/// are; only then a fault counts.
fn first<T>(
    items: impl IntoIterator<Item = T>,
    settles: bool,
    mut value: impl FnMut(T) -> Result<bool, Fault>,
) -> Result<bool, Fault> {
    let mut fault = None;
    for item in items {
        match value(item) {
            Ok(value) if value == settles => return Ok(settles),
            Ok(_) => {}
            // what costs too much now does not cost less later
            Err(Fault::TooMuch) => return Err(Fault::TooMuch),
            Err(why) => fault = fault.or(Some(why)),
        }
    }
    fault.map_or(Ok(!settles), Err)
}

fn calculate(operation: Arithmetic, left: i64, right: i64) -> Result<i64, Fault> {
    let result = match operation {
        Arithmetic::Add => left.checked_add(right),
        Arithmetic::Subtract => left.checked_sub(right),
        Arithmetic::Multiply => left.checked_mul(right),
        Arithmetic::Divide | Arithmetic::Remainder if right == 0 => return Err(Fault::Division),
        Arithmetic::Divide => left.checked_div(right),
        Arithmetic::Remainder => left.checked_rem(right),
    };
    result.ok_or(Fault::Overflow)
}

/// As routes name what they take.
pub(super) fn credential(kind: identity::Kind) -> &'static str {
    match kind {
        identity::Kind::Jwt => "jwt",
        identity::Kind::Introspection => "introspection",
        identity::Kind::ApiKey => "api_key",
        identity::Kind::Certificate => "client_certificate",
    }
}
