//! The type of every part of an expression.

use cel::common::ast::{ComprehensionExpr, Expr, IdedExpr, LiteralValue, SelectExpr, SourceInfo, operators};

use super::types::Type;
use super::{Flaw, MAX_DEPTH, MAX_NODES, names};
use crate::gates::authz::{Fact, Kind, Node, Quantifier};

/// A part, and what it is.
pub(super) type Typed = (Node, Type);

/// What was found out so far.
pub(super) struct Checker<'s> {
    source: &'s SourceInfo,
    nodes: usize,
    depth: u16,
    /// What `all` or `exists` is looking at, by its name.
    element: Option<(String, Type)>,
    /// Parameters of the path that are named.
    pub(super) parameters: Vec<String>,
    pub(super) names_facts: bool,
    pub(super) asks_client: bool,
}

impl<'s> Checker<'s> {
    pub(super) fn new(source: &'s SourceInfo) -> Checker<'s> {
        Checker {
            source,
            nodes: 0,
            depth: 0,
            element: None,
            parameters: Vec::new(),
            names_facts: false,
            asks_client: false,
        }
    }

    /// The whole expression, which must be true or false.
    pub(super) fn truth(&mut self, expression: &IdedExpr) -> Result<Node, Flaw> {
        self.a(expression, Type::Bool, "the expression has to be true or false")
    }

    /// A part that has to be of one type. A claim will have to be that.
    pub(super) fn a(&mut self, part: &IdedExpr, wanted: Type, why: &str) -> Result<Node, Flaw> {
        let (node, found) = self.part(part)?;
        match used_as(node, found, wanted) {
            Some(node) => Ok(node),
            None => Err(self.flaw(
                part,
                format!("{why}: {wanted} is needed, and this is {found}"),
                "",
            )),
        }
    }

    pub(super) fn flaw(&self, part: &IdedExpr, message: impl Into<String>, help: impl Into<String>) -> Flaw {
        let offset = self.source.offset_for(part.id).map_or(0, |(start, _)| start);
        Flaw {
            offset: offset as usize,
            message: message.into(),
            help: help.into(),
        }
    }

    pub(super) fn part(&mut self, part: &IdedExpr) -> Result<Typed, Flaw> {
        self.nodes += 1;
        if self.nodes > MAX_NODES {
            let help = "make several conditions of it: all have to hold";
            return Err(self.flaw(part, format!("more than {MAX_NODES} parts"), help));
        }
        if self.depth == MAX_DEPTH {
            return Err(self.flaw(part, format!("parts within parts, deeper than {MAX_DEPTH}"), ""));
        }
        self.depth += 1;
        let typed = match &part.expr {
            Expr::Literal(literal) => self.literal(part, literal),
            Expr::Ident(name) => self.name(part, name),
            Expr::Select(select) if select.test => self.has(part, select),
            Expr::Select(select) => self.select(part, select),
            Expr::Call(call) => self.call(part, call),
            Expr::List(list) => self.list(part, &list.elements),
            Expr::Comprehension(comprehension) => self.quantified(part, comprehension),
            Expr::Map(_) | Expr::Struct(_) | Expr::Unspecified => {
                Err(self.flaw(part, "maps and structures cannot be written here", ""))
            }
        }?;
        self.depth -= 1;
        Ok(typed)
    }

    fn literal(&self, part: &IdedExpr, literal: &LiteralValue) -> Result<Typed, Flaw> {
        let refused = |what: &str, help: &str| Err(self.flaw(part, what, help));
        match literal {
            LiteralValue::Boolean(value) => Ok((Node::Bool(*value.inner()), Type::Bool)),
            LiteralValue::Int(value) => Ok((Node::Int(*value.inner()), Type::Int)),
            LiteralValue::String(text) => Ok((Node::Text(text.inner().into()), Type::Text)),
            LiteralValue::UInt(_) => refused("there are no unsigned numbers here", "leave the `u` out"),
            LiteralValue::Double(_) => refused("there are only whole numbers here", ""),
            LiteralValue::Bytes(_) => refused("there are no bytes here", "write a string: leave the `b` out"),
            LiteralValue::Null => refused(
                "nothing is compared with null here",
                "whether there is a claim: `has(claims.name)`",
            ),
        }
    }

    fn name(&mut self, part: &IdedExpr, name: &str) -> Result<Typed, Flaw> {
        if let Some((element, of)) = &self.element
            && element == name
        {
            return Ok((Node::Element, *of));
        }
        if name == names::CLAIMS {
            self.names_facts = true;
            self.asks_client = true;
            return Ok((Node::Claims, Type::Claims));
        }
        self.fact(part, name)
    }

    fn fact(&mut self, part: &IdedExpr, name: &str) -> Result<Typed, Flaw> {
        if name == names::PARAMETERS {
            return Ok((Node::Claims, Type::Parameters));
        }
        let Some((fact, of, is_clients)) = names::fact(name) else {
            return Err(self.flaw(part, format!("`{name}` is not known"), names::meant(name)));
        };
        self.names_facts = true;
        self.asks_client |= is_clients;
        Ok((Node::Fact(fact), of))
    }

    /// The name that a part spells, if it is one of the facts' or looks like it.
    fn spelled(&self, part: &IdedExpr, field: &str) -> Option<String> {
        match &part.expr {
            Expr::Ident(root) if root == "request" || root == "client" => {
                let is_element = self.element.as_ref().is_some_and(|(name, _)| name == root);
                (!is_element).then(|| format!("{root}.{field}"))
            }
            _ => None,
        }
    }

    fn select(&mut self, part: &IdedExpr, select: &SelectExpr) -> Result<Typed, Flaw> {
        if let Some(name) = self.spelled(&select.operand, &select.field) {
            return self.fact(&select.operand, &name);
        }
        self.member(part, &select.operand, &select.field)
    }

    /// A member of the claims, of one of them, or of the parameters.
    pub(super) fn member(&mut self, part: &IdedExpr, operand: &IdedExpr, field: &str) -> Result<Typed, Flaw> {
        let (object, of) = self.part(operand)?;
        match of {
            Type::Claims | Type::Claim => Ok((Node::Member(Box::new(object), field.into()), Type::Claim)),
            Type::Parameters => {
                self.names_facts = true;
                let known = self.parameters.iter().position(|name| name == field);
                let index = known.unwrap_or_else(|| {
                    self.parameters.push(field.to_owned());
                    self.parameters.len() - 1
                });
                Ok((Node::Parameter(index), Type::Text))
            }
            _ => Err(self.flaw(part, format!("{of} has no member `{field}`"), "")),
        }
    }

    fn has(&mut self, part: &IdedExpr, select: &SelectExpr) -> Result<Typed, Flaw> {
        if let Some(name) = self.spelled(&select.operand, &select.field) {
            return match self.fact(&select.operand, &name)? {
                (Node::Fact(fact @ Fact::ClientId), _) => Ok((Node::Known(fact), Type::Bool)),
                _ => Err(self.flaw(part, format!("`{name}` is always there"), "")),
            };
        }
        let (object, of) = self.part(&select.operand)?;
        match of {
            Type::Claims | Type::Claim => {
                let has = Node::Has(Box::new(object), select.field.as_str().into());
                Ok((has, Type::Bool))
            }
            Type::Parameters => Err(self.flaw(part, "parameters of the path are always there", "")),
            _ => Err(self.flaw(part, format!("{of} has no member `{}`", select.field), "")),
        }
    }

    /// Elements of one kind; that of the first whose type is known before.
    fn list(&mut self, part: &IdedExpr, elements: &[IdedExpr]) -> Result<Typed, Flaw> {
        let mut typed = Vec::with_capacity(elements.len());
        for element in elements {
            typed.push(self.part(element)?);
        }
        let known = typed.iter().find(|(_, of)| *of != Type::Claim);
        let kind = known
            .and_then(|(_, of)| of.kind())
            .filter(|kind| *kind != Kind::List);
        let Some(kind) = kind else {
            let help = "at least one element has to be a string, an int or a bool: `string(claims.a)`";
            return Err(self.flaw(part, "a list of nothing, or of what has no type", help));
        };
        let mut nodes = Vec::with_capacity(typed.len());
        for (element, (node, of)) in elements.iter().zip(typed) {
            let wanted = Type::of(kind);
            let Some(node) = used_as(node, of, wanted) else {
                let message =
                    format!("the elements of a list are of one type: {wanted} is needed, and this is {of}");
                return Err(self.flaw(element, message, ""));
            };
            nodes.push(node);
        }
        Ok((Node::List(nodes.into()), Type::List(kind)))
    }

    /// `all` and `exists`, as the parser has expanded them.
    fn quantified(&mut self, part: &IdedExpr, expanded: &ComprehensionExpr) -> Result<Typed, Flaw> {
        let step = match &expanded.loop_step.expr {
            Expr::Call(call) => Some((call.func_name.as_str(), &*call.args)),
            _ => None,
        };
        let starts = match &expanded.accu_init.expr {
            Expr::Literal(LiteralValue::Boolean(value)) => Some(*value.inner()),
            _ => None,
        };
        let (quantifier, predicate) = match (starts, step) {
            (Some(true), Some((operators::LOGICAL_AND, [_, predicate]))) => (Quantifier::All, predicate),
            (Some(false), Some((operators::LOGICAL_OR, [_, predicate]))) => (Quantifier::Exists, predicate),
            _ => {
                let help = "there are `all` and `exists`";
                return Err(self.flaw(part, "`exists_one`, `map` and `filter` are not known", help));
            }
        };
        if expanded.iter_var2.is_some() {
            return Err(self.flaw(
                part,
                "`all` and `exists` take one name and what is asked of it",
                "",
            ));
        }
        if self.element.is_some() {
            let message = "one `all` or `exists` within another would take too long";
            return Err(self.flaw(
                part,
                message,
                "look whether an element is in a list: `x in claims.a`",
            ));
        }
        let name = &expanded.iter_var;
        if names::ROOTS.contains(&name.as_str()) {
            return Err(self.flaw(
                part,
                format!("`{name}` has a meaning of its own"),
                "use another name",
            ));
        }
        let (list, of) = self.part(&expanded.iter_range)?;
        let (list, element) = match of {
            Type::List(kind) => (list, Type::of(kind)),
            Type::Claim => (Node::As(Kind::List, Box::new(list)), Type::Claim),
            _ => {
                let message = format!("`all` and `exists` look at a list, and this is {of}");
                return Err(self.flaw(&expanded.iter_range, message, ""));
            }
        };
        self.element = Some((name.clone(), element));
        let predicate = self.a(
            predicate,
            Type::Bool,
            "what is asked of an element has to be true or false",
        );
        self.element = None;
        Ok((
            Node::Quantified(quantifier, Box::new([list, predicate?])),
            Type::Bool,
        ))
    }
}

/// A part of one type where another is needed; `None` where it never is that.
pub(super) fn used_as(node: Node, found: Type, wanted: Type) -> Option<Node> {
    match (found, wanted.kind()) {
        _ if found == wanted => Some(node),
        (Type::Claim, Some(kind)) => Some(Node::As(kind, Box::new(node))),
        _ => None,
    }
}
