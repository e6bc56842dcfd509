//! Protected resources (RFC 9728): what clients are told of where they get tokens for what is behind the gateway.

use bytes::Bytes;
use http::Uri;

/// Between host and path of a resource's identifier (section 3.1).
pub const WELL_KNOWN: &str = "/.well-known/oauth-protected-resource";

/// A protected resource: everything below its identifier.
#[derive(Debug)]
pub struct Resource {
    /// Where it is.
    pub identifier: Identifier,
    /// What the gateway answers there.
    pub document: Bytes,
}

/// The URL of a resource, taken apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identifier {
    /// As it was written.
    pub text: String,
    /// In lower case, without port.
    pub host: Box<str>,
    /// Without a slash at its end; empty: the whole host.
    pub path: Box<str>,
    /// Where its metadata are.
    pub metadata: String,
}

impl Identifier {
    /// Takes a URL apart; `None` where it is not `https`, or has a query, a fragment, user information or a slash at the end
    /// of its path (sections 1.2 and 3.1).
    #[must_use]
    pub fn parse(text: &str) -> Option<Identifier> {
        if text.contains(['#', '@', '?']) {
            return None;
        }
        let url: Uri = text.parse().ok()?;
        let authority = url.authority().filter(|_| url.scheme_str() == Some("https"))?;
        let path = match url.path() {
            "/" => "",
            path if path.ends_with('/') => return None,
            path => path,
        };
        let host = authority.host().trim_matches(['[', ']']).to_ascii_lowercase();
        Some(Identifier {
            text: text.to_owned(),
            host: host.into(),
            path: path.into(),
            metadata: format!("https://{authority}{WELL_KNOWN}{path}"),
        })
    }

    /// The path of its metadata.
    #[must_use]
    pub fn metadata_path(&self) -> String {
        format!("{WELL_KNOWN}{}", self.path)
    }

    /// Whether a path, or the template of one, is below it.
    #[must_use]
    pub fn holds(&self, path: &str) -> bool {
        path.strip_prefix(&*self.path)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    }
}

/// Of several resources, the closest that this is below.
#[must_use]
pub fn of<'r>(
    resources: impl IntoIterator<Item = &'r Identifier>,
    host: &str,
    path: &str,
) -> Option<&'r Identifier> {
    resources
        .into_iter()
        .filter(|resource| *resource.host == *host && resource.holds(path))
        .max_by_key(|resource| resource.path.len())
}

/// A value of `WWW-Authenticate` in which each scheme that takes tokens also says where the metadata are (section 5.1).
#[must_use]
pub fn challenge(challenge: &str, metadata: &str) -> String {
    let mut said = challenge.to_owned();
    for scheme in ["Bearer", "DPoP"] {
        let bare = format!("{scheme} realm=\"durward\"");
        said = said.replacen(&bare, &format!("{bare}, resource_metadata=\"{metadata}\""), 1);
    }
    said
}

#[cfg(test)]
mod tests {
    use super::*;

    // RFC 9728 section 3.1
    #[test]
    fn metadata_are_between_host_and_path() {
        for (text, host, path, metadata) in [
            (
                "https://api.example",
                "api.example",
                "",
                "https://api.example/.well-known/oauth-protected-resource",
            ),
            (
                "https://api.example/",
                "api.example",
                "",
                "https://api.example/.well-known/oauth-protected-resource",
            ),
            (
                "https://API.example:8443/v1/cars",
                "api.example",
                "/v1/cars",
                "https://API.example:8443/.well-known/oauth-protected-resource/v1/cars",
            ),
            (
                "https://[::1]/v1",
                "::1",
                "/v1",
                "https://[::1]/.well-known/oauth-protected-resource/v1",
            ),
        ] {
            let found = Identifier::parse(text).unwrap();
            assert_eq!(
                (&*found.host, &*found.path, &*found.metadata),
                (host, path, metadata),
                "{text}"
            );
            assert!(metadata.ends_with(&found.metadata_path()));
        }
        for text in [
            "",
            "api.example",
            "/v1",
            "http://api.example",
            "urn:vehicles",
            "https://api.example/v1/",
            "https://api.example/?v=1",
            "https://api.example/#v1",
            "https://us@api.example/",
        ] {
            assert_eq!(Identifier::parse(text), None, "{text}");
        }
    }

    #[test]
    fn a_path_is_of_the_closest_resource_that_it_is_below() {
        let all = [
            "https://a.example",
            "https://a.example/v1",
            "https://a.example/v1/x",
            "https://b.example/v1",
        ]
        .map(|text| Identifier::parse(text).unwrap());
        for (host, path, expected) in [
            ("a.example", "/", Some("https://a.example")),
            ("a.example", "/v1", Some("https://a.example/v1")),
            ("a.example", "/v1/y", Some("https://a.example/v1")),
            ("a.example", "/v1/x/y", Some("https://a.example/v1/x")),
            ("a.example", "/v10", Some("https://a.example")),
            ("b.example", "/v2", None),
            ("c.example", "/v1", None),
        ] {
            assert_eq!(
                of(&all, host, path).map(|found| &*found.text),
                expected,
                "{host}{path}"
            );
        }
    }

    // RFC 9728 section 5.1
    #[test]
    fn schemes_that_take_tokens_say_where_the_metadata_are() {
        let both = "Bearer realm=\"durward\", error=\"invalid_token\", ApiKey realm=\"durward\"";
        assert_eq!(
            challenge(both, "https://m"),
            "Bearer realm=\"durward\", resource_metadata=\"https://m\", error=\"invalid_token\", ApiKey realm=\"durward\""
        );
        assert_eq!(
            challenge("ApiKey realm=\"durward\"", "https://m"),
            "ApiKey realm=\"durward\""
        );
    }
}
