//! An expression after it was checked: what it takes is known, only its values are not.

use ipnet::IpNet;

/// A part of an expression. Where the type of an operand is only known once there is a token, it is in an
/// [`Node::As`], which says what it has to be.
#[derive(Debug, Clone, PartialEq)]
pub enum Node {
    /// `true`
    Bool(bool),
    /// `5`
    Int(i64),
    /// `"a"`
    Text(Box<str>),
    /// `["a", "b"]`
    List(Box<[Node]>),
    /// `request.method`
    Fact(Fact),
    /// `request.params.vin`, by index among the parameters of the expression.
    Parameter(usize),
    /// `claims`
    Claims,
    /// What a [`Quantifier`] is looking at.
    Element,
    /// `claims.a`: a member of an object.
    Member(Box<Node>, Box<str>),
    /// `has(claims.a)`
    Has(Box<Node>, Box<str>),
    /// `has(client.client_id)`
    Known(Fact),
    /// `client.roles[0]`
    Index(Box<Node>, Box<Node>),
    /// A claim that has to be of this kind.
    As(Kind, Box<Node>),
    /// `!a`
    Not(Box<Node>),
    /// `a && b`; two or more.
    And(Box<[Node]>),
    /// `a || b`; two or more.
    Or(Box<[Node]>),
    /// `a ? b : c`
    If(Box<[Node; 3]>),
    /// `a == b`, of one kind.
    Equal(Box<[Node; 2]>),
    /// `a < b`, of whole numbers or of texts.
    Compare(Comparison, Box<[Node; 2]>),
    /// `a + b`, of whole numbers.
    Arithmetic(Arithmetic, Box<[Node; 2]>),
    /// `-a`
    Negate(Box<Node>),
    /// `a + b`, of texts.
    Concat(Box<[Node; 2]>),
    /// `a in b`; all elements have to be of this kind.
    In(Kind, Box<[Node; 2]>),
    /// `size(a)`: characters of a text, elements of a list.
    Size(Box<Node>),
    /// `a.startsWith(b)`
    StartsWith(Box<[Node; 2]>),
    /// `a.endsWith(b)`
    EndsWith(Box<[Node; 2]>),
    /// `a.contains(b)`
    Contains(Box<[Node; 2]>),
    /// `string(a)`
    ToText(Box<Node>),
    /// `int(a)`
    ToInt(Box<Node>),
    /// `cidr("10.0.0.0/8").containsIP(a)`
    InNetwork(IpNet, Box<Node>),
    /// `a.exists(x, p)`
    Quantified(Quantifier, Box<[Node; 2]>),
}

/// What is known of a request or its client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fact {
    /// As sent: `GET`.
    Method,
    /// Without its port, in lower case.
    Host,
    /// Canonical, still percent-encoded.
    Path,
    /// The client's, through declared proxies.
    Address,
    /// Whole seconds since 1970, UTC.
    Now,
    /// `sub`.
    Subject,
    /// The OAuth client that acts.
    ClientId,
    /// Name of the issuer, the ring of keys or the truststore in the configuration.
    Issuer,
    /// `jwt`, `introspection`, `api_key` or `client_certificate`.
    Credential,
    /// OAuth scopes.
    Scopes,
    /// Role values, as the issuer spells them.
    Roles,
}

/// What a claim has to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// `true` or `false`.
    Bool,
    /// A whole number of 64 bits.
    Int,
    /// A text.
    Text,
    /// A list.
    List,
}

/// How values are ordered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Comparison {
    /// `<`
    Less,
    /// `<=`
    LessOrEqual,
    /// `>`
    Greater,
    /// `>=`
    GreaterOrEqual,
}

/// What is done with whole numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Arithmetic {
    /// `+`
    Add,
    /// `-`
    Subtract,
    /// `*`
    Multiply,
    /// `/`
    Divide,
    /// `%`
    Remainder,
}

/// Of how many elements something has to be true.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Quantifier {
    /// `all`: of each; true of no elements.
    All,
    /// `exists`: of at least one.
    Exists,
}
