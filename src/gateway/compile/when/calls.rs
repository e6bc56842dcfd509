//! Functions, and what they take.

use cel::common::ast::{CallExpr, Expr, IdedExpr, LiteralValue};
use ipnet::IpNet;

use super::Flaw;
use super::check::{Checker, Typed};
use super::types::Type;
use crate::gates::authz::Node;

const KNOWN: &str =
    "there are size, startsWith, endsWith, contains, string, int, has, all, exists and cidr(…).containsIP";

impl Checker<'_> {
    pub(super) fn function(&mut self, part: &IdedExpr, call: &CallExpr) -> Result<Typed, Flaw> {
        let name = call.func_name.as_str();
        match (name, call.target.as_deref(), &*call.args) {
            ("size", Some(of), []) | ("size", None, [of]) => self.size(part, of),
            ("startsWith", Some(text), [start]) => {
                let pair = self.texts(name, text, start)?;
                Ok((Node::StartsWith(pair), Type::Bool))
            }
            ("endsWith", Some(text), [end]) => {
                let pair = self.texts(name, text, end)?;
                Ok((Node::EndsWith(pair), Type::Bool))
            }
            ("contains", Some(text), [within]) => {
                let pair = self.texts(name, text, within)?;
                Ok((Node::Contains(pair), Type::Bool))
            }
            ("string", None, [of]) => match self.part(of)? {
                (node, Type::Text) => Ok((node, Type::Text)),
                (node, Type::Bool | Type::Int | Type::Claim) => {
                    Ok((Node::ToText(Box::new(node)), Type::Text))
                }
                (_, of) => Err(self.flaw(part, format!("{of} cannot be made a string"), "")),
            },
            ("int", None, [of]) => match self.part(of)? {
                (node, Type::Int) => Ok((node, Type::Int)),
                (node, Type::Text | Type::Claim) => Ok((Node::ToInt(Box::new(node)), Type::Int)),
                (_, of) => Err(self.flaw(part, format!("{of} cannot be made an int"), "")),
            },
            ("containsIP", Some(network), [address]) => {
                let network = self.network(network)?;
                let address = self.a(address, Type::Address, "`containsIP` takes an address")?;
                Ok((Node::InNetwork(network, Box::new(address)), Type::Bool))
            }
            ("cidr", None, [_]) => {
                let help = "`cidr(\"192.0.2.0/24\").containsIP(client.address)`";
                Err(self.flaw(part, "a network can only be asked what it contains", help))
            }
            ("matches", ..) => {
                let help = "startsWith, endsWith and contains are; patterns can take long";
                Err(self.flaw(part, "regular expressions are not known here", help))
            }
            (known, ..) if KNOWN.split([' ', ',', '(', '.']).any(|word| word == known) => {
                let message = format!("`{name}` does not take these arguments");
                Err(self.flaw(part, message, KNOWN))
            }
            _ => Err(self.flaw(part, format!("the function `{name}` is not known"), KNOWN)),
        }
    }

    fn size(&mut self, part: &IdedExpr, of: &IdedExpr) -> Result<Typed, Flaw> {
        match self.part(of)? {
            (node, Type::Text | Type::List(_) | Type::Claim) => Ok((Node::Size(Box::new(node)), Type::Int)),
            (_, of) => Err(self.flaw(
                part,
                format!("`size` is for strings and lists, and this is {of}"),
                "",
            )),
        }
    }

    fn texts(&mut self, name: &str, text: &IdedExpr, other: &IdedExpr) -> Result<Box<[Node; 2]>, Flaw> {
        let why = format!("`{name}` is for strings");
        let pair = [self.a(text, Type::Text, &why)?, self.a(other, Type::Text, &why)?];
        Ok(Box::new(pair))
    }

    /// `cidr("192.0.2.0/24")`, with no bits set beyond its length.
    fn network(&self, part: &IdedExpr) -> Result<IpNet, Flaw> {
        let written = match &part.expr {
            Expr::Call(call) if call.func_name == "cidr" && call.target.is_none() => match &*call.args {
                [one] => match &one.expr {
                    Expr::Literal(LiteralValue::String(text)) => Some(text.inner()),
                    _ => None,
                },
                _ => None,
            },
            _ => None,
        };
        let Some(written) = written else {
            let message = "`containsIP` is asked of a network that is written here";
            return Err(self.flaw(part, message, "`cidr(\"192.0.2.0/24\")`"));
        };
        match written.parse::<IpNet>() {
            // addresses are held against this as what they map
            Ok(IpNet::V6(network)) if network.addr().to_ipv4_mapped().is_some() => {
                Err(self.flaw(part, "this is an IPv4 network", "write it as one: `10.0.0.0/8`"))
            }
            Ok(network) if network.trunc() == network => Ok(network),
            Ok(network) => {
                let help = format!("did you mean `{}`?", network.trunc());
                Err(self.flaw(part, format!("`{written}` is not a network"), help))
            }
            Err(_) => Err(self.flaw(part, format!("`{written}` is not a network"), "`192.0.2.0/24`")),
        }
    }
}
