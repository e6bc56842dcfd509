//! Where an issuer says that its keys are: OpenID Connect Discovery 1.0 and RFC 8414.

use std::net::IpAddr;

use http::Uri;
use serde_json::Value;

/// Largest document that is read, in bytes.
pub const MAX_BYTES: usize = 64 * 1024;

/// A document that says where things are, and whose it must be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Discovery {
    /// The exact issuer that it must name.
    pub issuer: String,
    /// Where it may be: the first that there is counts.
    pub documents: Vec<Uri>,
}

impl Discovery {
    /// At the places of both standards; `None` where the issuer is no URL that may be asked.
    #[must_use]
    pub fn of(issuer: &str) -> Option<Discovery> {
        let url: Uri = issuer.parse().ok()?;
        if !is_safe(&url) || url.query().is_some() {
            return None;
        }
        let bare = issuer.strip_suffix('/').unwrap_or(issuer);
        let openid = format!("{bare}/.well-known/openid-configuration");
        // RFC 8414 section 3.1: between host and path
        let path = url.path().trim_end_matches('/');
        let origin = format!("{}://{}", url.scheme_str()?, url.authority()?);
        let oauth = format!("{origin}/.well-known/oauth-authorization-server{path}");
        Some(Discovery {
            issuer: issuer.to_owned(),
            documents: vec![openid.parse().ok()?, oauth.parse().ok()?],
        })
    }

    /// Where the keys are, by this document.
    ///
    /// # Errors
    /// It is another issuer's (mix-up), or does not say it in a way that may be followed.
    pub fn keys(&self, document: &[u8]) -> Result<Uri, String> {
        let document: Value =
            serde_json::from_slice(document).map_err(|why| format!("not a JSON document: {why}"))?;
        // RFC 8414 section 3.3: identical, and no metadata used otherwise
        match document.get("issuer").and_then(Value::as_str) {
            Some(issuer) if issuer == self.issuer => {}
            Some(issuer) => return Err(format!("of another issuer, {issuer:?}")),
            None => return Err("metadata without an issuer".to_owned()),
        }
        let keys = document.get("jwks_uri").and_then(Value::as_str);
        // metadata of elsewhere have nothing to say about services of this machine
        let is_local = self.documents.iter().all(|url| url.scheme_str() == Some("http"));
        keys.and_then(|keys| keys.parse::<Uri>().ok())
            .filter(|url| is_safe(url) && (is_local || url.scheme_str() == Some("https")))
            .ok_or_else(|| format!("metadata whose jwks_uri is not an https URL: {keys:?}"))
    }
}

/// `https`; `http` only where nobody stands on the way: whoever can change an answer can sign any token.
#[must_use]
pub fn is_safe(url: &Uri) -> bool {
    let host = url.host().unwrap_or_default();
    let is_loopback = || {
        host == "localhost"
            || host
                .trim_matches(['[', ']'])
                .parse::<IpAddr>()
                .is_ok_and(|ip| ip.is_loopback())
    };
    match url.scheme_str() {
        Some("https") => !host.is_empty(),
        Some("http") => is_loopback(),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // S52
    #[test]
    fn documents_are_where_the_standards_put_them() {
        for (issuer, openid, oauth) in [
            (
                "https://id.example",
                "https://id.example/.well-known/openid-configuration",
                "https://id.example/.well-known/oauth-authorization-server",
            ),
            (
                "https://id.example/",
                "https://id.example/.well-known/openid-configuration",
                "https://id.example/.well-known/oauth-authorization-server",
            ),
            (
                "https://id.example:8443/realms/one",
                "https://id.example:8443/realms/one/.well-known/openid-configuration",
                "https://id.example:8443/.well-known/oauth-authorization-server/realms/one",
            ),
        ] {
            let found = Discovery::of(issuer).unwrap();
            assert_eq!(
                found.documents,
                [openid, oauth].map(|url| url.parse::<Uri>().unwrap())
            );
        }
        for issuer in [
            "",
            "id.example",
            "http://id.example",
            "https://id.example/?a=b",
            "urn:x",
        ] {
            assert_eq!(Discovery::of(issuer), None, "{issuer}");
        }
    }

    // S52, U4
    #[test]
    fn only_the_issuers_own_word_is_followed_and_only_to_https() {
        let discovery = Discovery::of("https://id.example/").unwrap();
        let keys = |document: &str| discovery.keys(document.as_bytes()).map(|url| url.to_string());
        assert_eq!(
            keys(r#"{"issuer":"https://id.example/","jwks_uri":"https://keys.example/set"}"#),
            Ok("https://keys.example/set".to_owned())
        );
        for bad in [
            r#"{"issuer":"https://id.example","jwks_uri":"https://keys.example/set"}"#,
            r#"{"issuer":"https://evil.example/","jwks_uri":"https://keys.example/set"}"#,
            r#"{"jwks_uri":"https://keys.example/set"}"#,
            r#"{"issuer":"https://id.example/"}"#,
            r#"{"issuer":"https://id.example/","jwks_uri":"http://169.254.169.254/latest"}"#,
            r#"{"issuer":"https://id.example/","jwks_uri":"http://127.0.0.1:9100/metrics"}"#,
            r#"{"issuer":"https://id.example/","jwks_uri":"file:///etc/passwd"}"#,
            r#"{"issuer":"https://id.example/","jwks_uri":"/set"}"#,
            "<html>",
        ] {
            assert!(keys(bad).is_err(), "{bad}");
        }
    }
}
