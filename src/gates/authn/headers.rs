//! How a verified identity is written into headers, and which headers only we may write (S56, U17).
//!
//! Encoding: a single value goes as it is. A list goes as `a,b,c`; within a member `%` and `,` become `%25` and `%2C`, so
//! that the list reads back unambiguously. What cannot be a header value refuses the credential: never a 5xx.

use http::header::{HeaderName, HeaderValue};

use super::AuthnError;
use super::claims::ClaimPath;
use super::jwt::Verified;

/// Which headers carry the identity, and which ones a client may never send.
#[derive(Debug)]
pub struct IdentityHeaders {
    inject: Box<[(HeaderName, Source)]>,
    reserved: Box<[Box<str>]>,
    reserved_prefixes: Box<[Box<str>]>,
}

/// What a header says.
#[derive(Debug, Clone, PartialEq)]
pub enum Source {
    /// The subject.
    Subject,
    /// The OAuth client; no header where there is none.
    ClientId,
    /// The issuer's name in the configuration.
    Issuer,
    /// The tenant of the provider; no header where the issuer is none.
    Tenant,
    /// Scopes, as a list.
    Scopes,
    /// Role values, as a list.
    Roles,
    /// A claim: a string, or a list of strings; no header where it is absent.
    Claim(ClaimPath),
}

/// Names that services commonly believe: stripped whether or not they are configured.
const ALWAYS_RESERVED: [&str; 6] = [
    "x-user-id",
    "x-roles",
    "x-forwarded-client-cert",
    // RFC 9440
    "client-cert",
    "client-cert-chain",
    "x-real-ip",
];

impl IdentityHeaders {
    /// `reserved_prefixes` in lower case.
    #[must_use]
    pub fn new(inject: Vec<(HeaderName, Source)>, reserved_prefixes: Vec<String>) -> IdentityHeaders {
        let reserved = inject
            .iter()
            .map(|(name, _)| name.as_str())
            .chain(ALWAYS_RESERVED)
            .map(canonical);
        IdentityHeaders {
            reserved: reserved.collect(),
            reserved_prefixes: reserved_prefixes.iter().map(|prefix| canonical(prefix)).collect(),
            inject: inject.into(),
        }
    }

    /// Takes these away from requests too: they carry what is ours alone.
    #[must_use]
    pub fn reserving<'n>(mut self, names: impl Iterator<Item = &'n HeaderName>) -> IdentityHeaders {
        let more = names.map(|name| canonical(name.as_str()));
        self.reserved = self.reserved.into_iter().chain(more).collect();
        self
    }

    /// Whether a client may not send this header: it is one of ours in any spelling. `_` counts as `-`, because many
    /// services cannot tell them apart.
    #[must_use]
    pub fn is_reserved(&self, name: &HeaderName) -> bool {
        let name = name.as_str();
        self.reserved.iter().any(|ours| same(name, ours))
            || self
                .reserved_prefixes
                .iter()
                .any(|prefix| name.get(..prefix.len()).is_some_and(|start| same(start, prefix)))
    }

    /// The headers for a verified credential.
    ///
    /// # Errors
    /// [`AuthnError::ClaimNotAHeaderValue`] and [`AuthnError::ClaimShape`].
    pub fn render(
        &self,
        issuer: &str,
        tenant: Option<&str>,
        verified: &Verified,
    ) -> Result<Box<[(HeaderName, HeaderValue)]>, AuthnError> {
        let mut headers = Vec::with_capacity(self.inject.len());
        for (name, source) in &self.inject {
            let value = match source {
                Source::Subject => Some(single(&verified.subject)?),
                Source::ClientId => verified.client_id.as_deref().map(single).transpose()?,
                Source::Issuer => Some(single(issuer)?),
                Source::Tenant => tenant.map(single).transpose()?,
                Source::Scopes => Some(list(verified.scopes.iter().map(String::as_str))?),
                Source::Roles => Some(list(verified.roles.iter().map(String::as_str))?),
                Source::Claim(path) => match verified.claims.value(path)? {
                    None => None,
                    Some(serde_json::Value::String(text)) => Some(single(text)?),
                    Some(_) => match verified.claims.strings(path)? {
                        Some(members) => Some(list(members.into_iter())?),
                        None => None,
                    },
                },
            };
            headers.extend(value.map(|value| (name.clone(), value)));
        }
        Ok(headers.into())
    }
}

fn canonical(name: &str) -> Box<str> {
    name.to_ascii_lowercase().replace('_', "-").into()
}

/// Compares a header name (lower case) with one of ours, `_` counting as `-`.
fn same(name: &str, ours: &str) -> bool {
    name.len() == ours.len()
        && name
            .bytes()
            .zip(ours.bytes())
            .all(|(a, b)| a == b || (a == b'_' && b == b'-'))
}

fn single(text: &str) -> Result<HeaderValue, AuthnError> {
    // surrounding white space would be trimmed on the way: another identity at the other end
    if text.is_empty() || text.trim() != text {
        return Err(AuthnError::ClaimNotAHeaderValue);
    }
    HeaderValue::from_bytes(text.as_bytes()).map_err(|_| AuthnError::ClaimNotAHeaderValue)
}

fn list<'a>(members: impl Iterator<Item = &'a str>) -> Result<HeaderValue, AuthnError> {
    let mut text = String::new();
    for (index, member) in members.enumerate() {
        if member.is_empty() || member.trim() != member {
            return Err(AuthnError::ClaimNotAHeaderValue);
        }
        if index > 0 {
            text.push(',');
        }
        for c in member.chars() {
            match c {
                '%' => text.push_str("%25"),
                ',' => text.push_str("%2C"),
                c => text.push(c),
            }
        }
    }
    HeaderValue::from_bytes(text.as_bytes()).map_err(|_| AuthnError::ClaimNotAHeaderValue)
}

#[cfg(test)]
mod tests {
    use super::*;

    // S56, U17
    #[test]
    fn every_spelling_of_our_headers_is_ours() {
        let headers = IdentityHeaders::new(
            vec![(HeaderName::from_static("x-tenant"), Source::Issuer)],
            vec!["x-durward-".to_owned()],
        );
        for ours in [
            "X-User-Id",
            "x_user_id",
            "X_User-ID",
            "x-roles",
            "X_Tenant",
            "x-durward-any",
            "X_Durward_Any",
        ] {
            assert!(headers.is_reserved(&ours.parse().unwrap()), "{ours}");
        }
        for other in ["x-user-idx", "x-users", "x-tenant-id", "x-durwar", "accept"] {
            assert!(!headers.is_reserved(&other.parse().unwrap()), "{other}");
        }
    }

    #[test]
    fn lists_read_back_unambiguously() {
        assert_eq!(list(["a", "b,c", "100%"].into_iter()).unwrap(), "a,b%2Cc,100%25");
        assert_eq!(list(std::iter::empty()).unwrap(), "");
        for bad in ["", " a", "a\n", "a\0"] {
            assert_eq!(
                list([bad].into_iter()),
                Err(AuthnError::ClaimNotAHeaderValue),
                "{bad:?}"
            );
            assert_eq!(single(bad), Err(AuthnError::ClaimNotAHeaderValue), "{bad:?}");
        }
    }
}
