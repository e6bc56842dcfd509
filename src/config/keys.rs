//! `keys:`, and the files that it names.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::scalar::Text;

/// A ring of API keys, and how they are sent.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct KeyRing {
    /// The file that `durward keys` keeps: digests, never keys.
    pub file: Text,
    /// The header that carries a key. Default: `x-api-key`.
    #[serde(default)]
    pub header: Option<String>,
    /// What a key is good for. Default: authentication.
    #[serde(default)]
    pub purpose: KeyPurpose,
}

/// What an API key is good for.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum KeyPurpose {
    /// It says who the caller is.
    #[default]
    Authentication,
    /// It says which application calls, and may be known to everybody who has the application: a route asks for something
    /// else beside it.
    Identification,
}

/// A file of keys, as `durward keys` writes it: JSON.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeyFile {
    /// Version of this format: `1`.
    pub version: u32,
    /// Part of each key: a key of another environment is refused.
    pub environment: String,
    /// The keys, the oldest first.
    pub keys: Vec<KeyEntry>,
}

/// A key that was made.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeyEntry {
    /// SHA-256 of the key, in hexadecimal.
    pub sha256: String,
    /// Whose it is.
    pub client: String,
    /// What it grants.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub scopes: Vec<String>,
    /// What it grants: values as a token would have them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub roles: Vec<String>,
    /// When it was made, RFC 3339.
    pub created: String,
    /// When it ends, RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires: Option<String>,
    /// When it was taken back, RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revoked: Option<String>,
}
