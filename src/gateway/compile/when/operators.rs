//! Operators, and what their operands have to be.

use cel::common::ast::{CallExpr, IdedExpr, operators as of};

use super::check::{Checker, Typed, used_as};
use super::types::Type;
use super::{Flaw, names};
use crate::gates::authz::{Arithmetic, Comparison, Fact, Kind, Node};

impl Checker<'_> {
    /// An operator or a function.
    pub(super) fn call(&mut self, part: &IdedExpr, call: &CallExpr) -> Result<Typed, Flaw> {
        let name = call.func_name.as_str();
        match (name, &*call.args) {
            (of::LOGICAL_NOT, [one]) => {
                let node = self.a(one, Type::Bool, "`!` turns a truth around")?;
                Ok((Node::Not(Box::new(node)), Type::Bool))
            }
            (of::NEGATE, [one]) => {
                let node = self.a(one, Type::Int, "`-` is for numbers")?;
                Ok((Node::Negate(Box::new(node)), Type::Int))
            }
            (of::LOGICAL_AND | of::LOGICAL_OR, args) => {
                let mut nodes = Vec::new();
                for arg in args {
                    self.operands(name, arg, &mut nodes)?;
                }
                let nodes = nodes.into();
                let is_and = name == of::LOGICAL_AND;
                let node = if is_and { Node::And(nodes) } else { Node::Or(nodes) };
                Ok((node, Type::Bool))
            }
            (of::CONDITIONAL, [condition, then, otherwise]) => {
                let condition = self.a(
                    condition,
                    Type::Bool,
                    "what is before `?` has to be true or false",
                )?;
                let (pair, of) = self.alike(part, "`? :`", then, otherwise)?;
                if matches!(of, Type::Claims | Type::Parameters) {
                    return Err(self.flaw(part, format!("`? :` cannot choose {of}"), "choose one of them"));
                }
                let [then, otherwise] = pair;
                Ok((Node::If(Box::new([condition, then, otherwise])), of))
            }
            (of::EQUALS | of::NOT_EQUALS, [left, right]) => {
                let equal = self.equal(part, name, left, right)?;
                let is_equal = name == of::EQUALS;
                let node = if is_equal {
                    equal
                } else {
                    Node::Not(Box::new(equal))
                };
                Ok((node, Type::Bool))
            }
            (of::IN, [element, list]) => self.is_in(part, element, list),
            (of::INDEX, [list, index]) => self.index(part, list, index),
            (of::ADD, [left, right]) => {
                let (pair, of) = self.known_alike(part, "`+`", left, right)?;
                match of {
                    Type::Int => Ok((Node::Arithmetic(Arithmetic::Add, pair), of)),
                    Type::Text => Ok((Node::Concat(pair), of)),
                    _ => Err(self.flaw(
                        part,
                        format!("`+` is for numbers and strings, and this is {of}"),
                        "",
                    )),
                }
            }
            (_, [left, right]) if call.target.is_none() => match (comparison(name), arithmetic(name)) {
                (Some((comparison, shown)), _) => {
                    let (pair, of) = self.known_alike(part, shown, left, right)?;
                    match of {
                        Type::Int | Type::Text => Ok((Node::Compare(comparison, pair), Type::Bool)),
                        _ => {
                            let message = format!("{shown} is for numbers and strings, and this is {of}");
                            Err(self.flaw(part, message, ""))
                        }
                    }
                }
                (None, Some((operation, shown))) => {
                    let why = format!("{shown} is for numbers");
                    let pair = [self.a(left, Type::Int, &why)?, self.a(right, Type::Int, &why)?];
                    Ok((Node::Arithmetic(operation, Box::new(pair)), Type::Int))
                }
                (None, None) => self.function(part, call),
            },
            _ => self.function(part, call),
        }
    }

    /// Operands of `&&` or `||` in a row, whatever way the parser has grouped them.
    fn operands(&mut self, operator: &str, part: &IdedExpr, nodes: &mut Vec<Node>) -> Result<(), Flaw> {
        let shown = if operator == of::LOGICAL_AND { "&&" } else { "||" };
        let why = format!("both sides of `{shown}` have to be true or false");
        let node = self.a(part, Type::Bool, &why)?;
        match (operator, node) {
            (of::LOGICAL_AND, Node::And(inner)) | (of::LOGICAL_OR, Node::Or(inner)) => nodes.extend(inner),
            (_, node) => nodes.push(node),
        }
        Ok(())
    }

    /// Two parts of one type, or two claims.
    fn alike(
        &mut self,
        part: &IdedExpr,
        operator: &str,
        left: &IdedExpr,
        right: &IdedExpr,
    ) -> Result<([Node; 2], Type), Flaw> {
        let ((left, left_is), (right, right_is)) = (self.part(left)?, self.part(right)?);
        let of = if left_is == Type::Claim { right_is } else { left_is };
        match (used_as(left, left_is, of), used_as(right, right_is, of)) {
            (Some(left), Some(right)) => Ok(([left, right], of)),
            _ => {
                let message = format!("{operator} has {left_is} on one side and {right_is} on the other");
                let help = "both have to be of one type; `string(…)` and `int(…)` make one of the other";
                Err(self.flaw(part, message, help))
            }
        }
    }

    /// Two parts of one type that is known before.
    fn known_alike(
        &mut self,
        part: &IdedExpr,
        operator: &str,
        left: &IdedExpr,
        right: &IdedExpr,
    ) -> Result<(Box<[Node; 2]>, Type), Flaw> {
        match self.alike(part, operator, left, right)? {
            (_, Type::Claim) => {
                let message =
                    format!("{operator} has claims on both sides, and nothing tells what they have to be");
                Err(self.flaw(
                    part,
                    message,
                    "say it of one: `string(claims.a)` or `int(claims.a)`",
                ))
            }
            (pair, of) => Ok((Box::new(pair), of)),
        }
    }

    fn equal(
        &mut self,
        part: &IdedExpr,
        operator: &str,
        left: &IdedExpr,
        right: &IdedExpr,
    ) -> Result<Node, Flaw> {
        let shown = if operator == of::EQUALS { "`==`" } else { "`!=`" };
        let (pair, of) = self.known_alike(part, shown, left, right)?;
        match (of, &*pair) {
            (Type::Bool | Type::Int | Type::Text, [one, other]) => {
                self.known_credential(part, one, other)?;
                self.known_credential(part, other, one)?;
                Ok(Node::Equal(pair))
            }
            (Type::Address, _) => {
                let help = "`cidr(\"192.0.2.0/24\").containsIP(client.address)`";
                Err(self.flaw(part, "addresses are not compared: one has many spellings", help))
            }
            (of, _) => {
                let message = format!("{shown} cannot compare {of} with another");
                Err(self.flaw(part, message, "use `in`, `all` or `exists`"))
            }
        }
    }

    /// A credential of a kind that there is not: such a condition would never hold, or always.
    fn known_credential(&self, part: &IdedExpr, fact: &Node, text: &Node) -> Result<(), Flaw> {
        match (fact, text) {
            (Node::Fact(Fact::Credential), Node::Text(text)) if !names::CREDENTIALS.contains(&&**text) => {
                let help = format!("one of {}", names::CREDENTIALS.join(", "));
                Err(self.flaw(part, format!("`{text}` is not a kind of credential"), help))
            }
            _ => Ok(()),
        }
    }

    fn is_in(&mut self, part: &IdedExpr, element: &IdedExpr, list: &IdedExpr) -> Result<Typed, Flaw> {
        let ((element_node, element_is), (list_node, list_is)) = (self.part(element)?, self.part(list)?);
        let refused = |message: String, help: &str| Err(self.flaw(part, message, help));
        let (element_node, list_node, kind) = match (element_is, list_is) {
            (Type::Text, Type::Claims) => {
                let Node::Text(name) = element_node else {
                    return refused("the name of a claim has to be written here".to_owned(), "");
                };
                return Ok((Node::Has(Box::new(list_node), name), Type::Bool));
            }
            (_, Type::List(kind)) => match used_as(element_node, element_is, Type::of(kind)) {
                Some(node) => (node, list_node, kind),
                None => return refused(format!("`in` looks for {element_is} in {list_is}"), ""),
            },
            (Type::Bool | Type::Int | Type::Text, Type::Claim) => {
                let kind = element_is.kind().unwrap_or(Kind::Text);
                (element_node, Node::As(Kind::List, Box::new(list_node)), kind)
            }
            (Type::Claim, Type::Claim) => {
                let help = "say what is looked for: `string(claims.a) in claims.b`";
                return refused("`in` has claims on both sides".to_owned(), help);
            }
            _ => {
                return refused(
                    format!("`in` looks for {element_is} in {list_is}"),
                    "it looks in lists",
                );
            }
        };
        if let Node::List(nodes) = &list_node {
            for node in nodes {
                self.known_credential(part, &element_node, node)?;
            }
        }
        Ok((Node::In(kind, Box::new([element_node, list_node])), Type::Bool))
    }

    /// `claims["a"]` as `claims.a`; `client.roles[0]`.
    fn index(&mut self, part: &IdedExpr, list: &IdedExpr, index: &IdedExpr) -> Result<Typed, Flaw> {
        let nodes = match self.part(index)? {
            (Node::Text(name), _) => return self.member(part, list, &name),
            (_, Type::Text) => {
                return Err(self.flaw(index, "the name of a member has to be written here", ""));
            }
            (node, of) => used_as(node, of, Type::Int),
        };
        let Some(index_node) = nodes else {
            return Err(self.flaw(
                index,
                "elements are counted, members have names: an int or a string is needed",
                "",
            ));
        };
        let (list_node, of) = match self.part(list)? {
            (node, Type::List(kind)) => (node, Type::of(kind)),
            (node, Type::Claim) => (Node::As(Kind::List, Box::new(node)), Type::Claim),
            (_, of) => return Err(self.flaw(part, format!("{of} has no elements to count"), "")),
        };
        Ok((Node::Index(Box::new(list_node), Box::new(index_node)), of))
    }
}

fn comparison(name: &str) -> Option<(Comparison, &'static str)> {
    match name {
        of::LESS => Some((Comparison::Less, "`<`")),
        of::LESS_EQUALS => Some((Comparison::LessOrEqual, "`<=`")),
        of::GREATER => Some((Comparison::Greater, "`>`")),
        of::GREATER_EQUALS => Some((Comparison::GreaterOrEqual, "`>=`")),
        _ => None,
    }
}

fn arithmetic(name: &str) -> Option<(Arithmetic, &'static str)> {
    match name {
        of::SUBSTRACT => Some((Arithmetic::Subtract, "`-`")),
        of::MULTIPLY => Some((Arithmetic::Multiply, "`*`")),
        of::DIVIDE => Some((Arithmetic::Divide, "`/`")),
        of::MODULO => Some((Arithmetic::Remainder, "`%`")),
        _ => None,
    }
}
