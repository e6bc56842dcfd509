//! From the tree to a typed value, through serde.
//!
//! Stops at the first mismatch and says where it is. Entries that the [`Mask`] hides are passed over as if they had
//! not been written. Stricter than serde's own habits: a struct is never read from a list, and only text is text.

use std::collections::HashSet;

use serde::de::{
    DeserializeOwned, DeserializeSeed, Deserializer, Error as _, Expected, MapAccess, SeqAccess, Unexpected,
    Visitor,
};
use serde::forward_to_deserialize_any;

use super::choice::{Choice, Key};
use super::document::{Document, Kind, NodeId, ROOT};
use super::mismatch::{Mismatch, Place};
use super::scalar::SECRET_TYPE;

/// The nodes to be passed over, and what is known about the gaps they leave.
#[derive(Debug, Default)]
pub(super) struct Mask {
    hidden: HashSet<NodeId>,
    /// Nodes with something hidden somewhere below them.
    incomplete: HashSet<NodeId>,
}

impl Mask {
    pub fn hide(&mut self, document: &Document, node: NodeId) {
        self.hidden.insert(node);
        self.incomplete.extend(document.upwards(node).skip(1));
    }

    pub fn hides(&self, node: NodeId) -> bool {
        self.hidden.contains(&node)
    }

    pub fn is_incomplete(&self, node: NodeId) -> bool {
        self.incomplete.contains(&node)
    }

    /// The elements or entries of a node that are left.
    pub fn children<'a>(&'a self, document: &'a Document, node: NodeId) -> impl Iterator<Item = NodeId> + 'a {
        document
            .children(node)
            .iter()
            .copied()
            .filter(|child| !self.hides(*child))
    }
}

/// Reads the whole document as a `T`.
pub(super) fn decode<T: DeserializeOwned>(document: &Document, mask: &Mask) -> Result<T, Mismatch> {
    let top = Decoder {
        document,
        mask,
        node: ROOT,
    };
    T::deserialize(top).map_err(|mismatch| mismatch.at(Place::Value(ROOT)))
}

/// Stands at one node.
#[derive(Clone, Copy)]
pub(super) struct Decoder<'d> {
    document: &'d Document,
    mask: &'d Mask,
    pub node: NodeId,
}

impl<'d> Decoder<'d> {
    pub fn kind(&self) -> &'d Kind {
        &self.document.node(self.node).kind
    }

    fn child(&self, node: NodeId) -> Self {
        Self { node, ..*self }
    }

    fn children(&self) -> std::vec::IntoIter<NodeId> {
        self.mask
            .children(self.document, self.node)
            .collect::<Vec<_>>()
            .into_iter()
    }

    /// Deserializes what stands here; a mismatch that does not know its place yet is here.
    pub fn seed<'de, S: DeserializeSeed<'de>>(self, seed: S) -> Result<S::Value, Mismatch> {
        seed.deserialize(self)
            .map_err(|mismatch| mismatch.at(Place::Value(self.node)))
    }

    fn unfit(&self, expected: &dyn Expected) -> Mismatch {
        let found = match self.kind() {
            Kind::List(_) => Unexpected::Seq,
            Kind::Map(_) => Unexpected::Map,
            _ => Unexpected::Unit,
        };
        Mismatch::invalid_type(found, expected)
    }

    pub fn visit_map<'de, V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Mismatch> {
        match self.kind() {
            Kind::Map(_) => visitor.visit_map(Entries {
                map: self,
                left: self.children(),
                value: None,
            }),
            _ => Err(self.unfit(&visitor)),
        }
    }

    pub fn visit_list<'de, V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Mismatch> {
        if !matches!(self.kind(), Kind::List(_)) {
            return Err(self.unfit(&visitor));
        }
        let mut elements = Elements {
            list: self,
            left: self.children(),
        };
        let length = elements.left.len();
        let value = visitor.visit_seq(&mut elements)?;
        match elements.left.len() {
            0 => Ok(value),
            left => Err(Mismatch::invalid_length(
                length,
                &format!("{} elements", length - left).as_str(),
            )),
        }
    }
}

impl<'de> Deserializer<'de> for Decoder<'_> {
    type Error = Mismatch;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Mismatch> {
        match self.kind() {
            Kind::Null => visitor.visit_unit(),
            Kind::Bool(value) => visitor.visit_bool(*value),
            // Integers come from 64-bit ones, signed or not.
            Kind::Int(value) => match (u64::try_from(*value), i64::try_from(*value)) {
                (Ok(value), _) => visitor.visit_u64(value),
                (_, Ok(value)) => visitor.visit_i64(value),
                _ => Err(self.unfit(&visitor)),
            },
            Kind::Float(value) => visitor.visit_f64(*value),
            Kind::Text(text) => visitor.visit_str(text),
            Kind::List(_) => self.visit_list(visitor),
            Kind::Map(_) => self.visit_map(visitor),
        }
    }

    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Mismatch> {
        match self.kind() {
            Kind::Text(text) => visitor.visit_str(text),
            Kind::Bool(_) | Kind::Int(_) | Kind::Float(_) => Err(Mismatch::needs_quotes(&visitor)),
            Kind::Null | Kind::List(_) | Kind::Map(_) => Err(self.unfit(&visitor)),
        }
    }

    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Mismatch> {
        self.deserialize_str(visitor)
    }

    fn deserialize_char<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Mismatch> {
        self.deserialize_str(visitor)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Mismatch> {
        match self.kind() {
            Kind::Null => visitor.visit_none(),
            _ => visitor.visit_some(self),
        }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        visitor: V,
    ) -> Result<V::Value, Mismatch> {
        let value = visitor.visit_newtype_struct(self);
        if name == SECRET_TYPE {
            return value.map_err(|mismatch| mismatch.at(Place::Value(self.node)).about_secret());
        }
        value
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Mismatch> {
        self.visit_map(visitor)
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Mismatch> {
        self.visit_map(visitor)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        accepted: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Mismatch> {
        match self.kind() {
            Kind::Text(name) => visitor.visit_enum(Choice {
                name,
                place: Place::Value(self.node),
                content: None,
                at: self,
            }),
            Kind::Map(_) => {
                let mut entries = self.children();
                match (entries.next(), entries.next()) {
                    (Some(entry), None) => {
                        let name = self.document.key(entry);
                        let content = Some(self.child(entry));
                        visitor.visit_enum(Choice {
                            name,
                            place: Place::Key(entry),
                            content,
                            at: self,
                        })
                    }
                    (first, _) => {
                        let count = if first.is_some() { "more than one" } else { "none" };
                        Err(Mismatch::custom(format!(
                            "expected exactly one key of: {}; found {count}",
                            accepted.join(", ")
                        )))
                    }
                }
            }
            _ => Err(self.unfit(&format!("one of ({})", accepted.join(", ")).as_str())),
        }
    }

    fn deserialize_identifier<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Mismatch> {
        self.deserialize_str(visitor)
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Mismatch> {
        visitor.visit_unit()
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 bytes byte_buf unit unit_struct seq tuple tuple_struct
    }
}

/// The elements of a list that are left.
struct Elements<'d> {
    list: Decoder<'d>,
    left: std::vec::IntoIter<NodeId>,
}

impl<'de> SeqAccess<'de> for Elements<'_> {
    type Error = Mismatch;

    fn next_element_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>, Mismatch> {
        self.left
            .next()
            .map(|node| self.list.child(node).seed(seed))
            .transpose()
    }

    fn size_hint(&self) -> Option<usize> {
        Some(self.left.len())
    }
}

/// The entries of a map that are left.
struct Entries<'d> {
    map: Decoder<'d>,
    left: std::vec::IntoIter<NodeId>,
    /// The entry whose key was read last.
    value: Option<NodeId>,
}

impl<'de> MapAccess<'de> for Entries<'_> {
    type Error = Mismatch;

    fn next_key_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>, Mismatch> {
        self.value = self.left.next();
        let Some(node) = self.value else { return Ok(None) };
        let key = Key(self.map.document.key(node));
        seed.deserialize(key)
            .map(Some)
            .map_err(|mismatch| mismatch.at(Place::Key(node)))
    }

    fn next_value_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value, Mismatch> {
        match self.value.take() {
            Some(node) => self.map.child(node).seed(seed),
            None => Err(Mismatch::custom("a value was read before its key")),
        }
    }

    fn size_hint(&self) -> Option<usize> {
        Some(self.left.len())
    }
}
