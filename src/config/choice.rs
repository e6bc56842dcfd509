//! Keys and the names of variants, as serde asks for them.
//!
//! A variant is written as its name alone (`access: closed`) or as a map of one key (`access: { jwt: main }`).

use serde::de::value::StrDeserializer;
use serde::de::{
    DeserializeSeed, Deserializer, EnumAccess, Error as _, IntoDeserializer, VariantAccess, Visitor,
};
use serde::forward_to_deserialize_any;

use super::decode::Decoder;
use super::document::Kind;
use super::mismatch::{Mismatch, Place};

/// A key as text, or as the integer or the enum that the map's key type asks for.
pub(super) struct Key<'d>(pub &'d str);

macro_rules! integer_keys {
    ($($deserialize:ident $visit:ident)*) => {$(
        fn $deserialize<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Mismatch> {
            match self.0.parse() {
                Ok(value) => visitor.$visit(value),
                Err(_) => visitor.visit_str(self.0),
            }
        }
    )*};
}

impl<'de> Deserializer<'de> for Key<'_> {
    type Error = Mismatch;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Mismatch> {
        visitor.visit_str(self.0)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, Mismatch> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Mismatch> {
        visitor.visit_some(self)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Mismatch> {
        let name: StrDeserializer<'_, Mismatch> = self.0.into_deserializer();
        visitor.visit_enum(name)
    }

    integer_keys! {
        deserialize_u8 visit_u8 deserialize_u16 visit_u16 deserialize_u32 visit_u32 deserialize_u64 visit_u64
        deserialize_i8 visit_i8 deserialize_i16 visit_i16 deserialize_i32 visit_i32 deserialize_i64 visit_i64
    }

    forward_to_deserialize_any! {
        bool i128 u128 f32 f64 char str string bytes byte_buf unit unit_struct seq tuple tuple_struct map struct
        identifier ignored_any
    }
}

/// A variant by its name, alone or as the one key of a map with the variant's content.
pub(super) struct Choice<'d> {
    pub name: &'d str,
    /// Where the name stands.
    pub place: Place,
    pub content: Option<Decoder<'d>>,
    pub at: Decoder<'d>,
}

impl<'de> EnumAccess<'de> for Choice<'_> {
    type Error = Mismatch;
    type Variant = Self;

    fn variant_seed<S: DeserializeSeed<'de>>(self, seed: S) -> Result<(S::Value, Self), Mismatch> {
        let variant = seed
            .deserialize(Key(self.name))
            .map_err(|mismatch| mismatch.at(self.place))?;
        Ok((variant, self))
    }
}

impl<'d> Choice<'d> {
    fn content(&self) -> Result<Decoder<'d>, Mismatch> {
        let lacking = || {
            Mismatch::custom(format!(
                "`{0}` needs settings of its own: write a map `{0}: …`",
                self.name
            ))
            .at(Place::Value(self.at.node))
        };
        self.content.ok_or_else(lacking)
    }
}

impl<'de> VariantAccess<'de> for Choice<'_> {
    type Error = Mismatch;

    fn unit_variant(self) -> Result<(), Mismatch> {
        match self.content {
            Some(content) if *content.kind() != Kind::Null => {
                Err(Mismatch::custom(format!("`{}` takes no settings", self.name))
                    .at(Place::Value(content.node)))
            }
            _ => Ok(()),
        }
    }

    fn newtype_variant_seed<S: DeserializeSeed<'de>>(self, seed: S) -> Result<S::Value, Mismatch> {
        self.content()?.seed(seed)
    }

    fn tuple_variant<V: Visitor<'de>>(self, _: usize, visitor: V) -> Result<V::Value, Mismatch> {
        let content = self.content()?;
        content
            .visit_list(visitor)
            .map_err(|mismatch| mismatch.at(Place::Value(content.node)))
    }

    fn struct_variant<V: Visitor<'de>>(
        self,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Mismatch> {
        let content = self.content()?;
        content
            .visit_map(visitor)
            .map_err(|mismatch| mismatch.at(Place::Value(content.node)))
    }
}
