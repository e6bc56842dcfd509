//! The scalar types of the configuration: each reads one YAML scalar, prints back what would read the same, and
//! describes itself in the schema.

mod rate;
mod secret;
mod size;
mod span;
mod stored;
mod text;
mod token_object;

pub use rate::Rate;
pub use secret::Secret;
pub(super) use secret::TYPE as SECRET_TYPE;
pub use size::Size;
pub use span::Span;
pub use stored::Stored;
pub use text::{Lookup, Malformed, Text, Unresolved};
pub use token_object::{ObjectType, TokenObject, encoded};
