//! The types that parts of an expression have.

use std::fmt;

use crate::gates::authz::Kind;

/// What is known of a part before there is a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Type {
    Bool,
    Int,
    Text,
    Address,
    /// Of elements of this kind.
    List(Kind),
    /// `claims`
    Claims,
    /// `request.params`
    Parameters,
    /// A claim: only the token tells what it is, so it is used as what it is needed for, and has no value where it is not.
    Claim,
}

impl Type {
    /// What a claim has to be to be used as one of these; `None`: it never is.
    pub(super) fn kind(self) -> Option<Kind> {
        match self {
            Type::Bool => Some(Kind::Bool),
            Type::Int => Some(Kind::Int),
            Type::Text => Some(Kind::Text),
            Type::List(_) => Some(Kind::List),
            Type::Address | Type::Claims | Type::Parameters | Type::Claim => None,
        }
    }

    /// What an element of this kind is.
    pub(super) fn of(kind: Kind) -> Type {
        match kind {
            Kind::Bool => Type::Bool,
            Kind::Int => Type::Int,
            Kind::Text => Type::Text,
            Kind::List => Type::Claim,
        }
    }
}

impl fmt::Display for Type {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Type::Bool => "a bool",
            Type::Int => "an int",
            Type::Text => "a string",
            Type::Address => "an address",
            Type::List(Kind::Bool) => "a list of bool",
            Type::List(Kind::Int) => "a list of int",
            Type::List(Kind::Text) => "a list of string",
            Type::List(Kind::List) => "a list",
            Type::Claims => "all claims",
            Type::Parameters => "all parameters",
            Type::Claim => "a claim of any type",
        })
    }
}
