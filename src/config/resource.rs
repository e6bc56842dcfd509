//! `resources:`

use schemars::JsonSchema;
use serde::Deserialize;

use super::scalar::Text;

/// A protected resource of OAuth (RFC 9728): the routes below a URL. The gateway itself answers where its metadata are, and
/// refusals of its routes name that place.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Resource {
    /// Its identifier: `https://` with a host and, where only a part of the host is meant, a path.
    pub resource: Text,
    /// What people are shown as its name. Default: none.
    #[serde(default)]
    pub name: Option<String>,
    /// Where developers read about it. Default: nowhere.
    #[serde(default)]
    pub documentation: Option<Text>,
    /// Issuers that clients get tokens of. Default: those whose tokens its routes take.
    #[serde(default)]
    pub authorization_servers: Option<Vec<Text>>,
    /// Scopes that clients may ask for. Default: all that its routes ask for.
    #[serde(default)]
    pub scopes: Option<Vec<String>>,
}
