//! Finding the token of a request (RFC 6750 section 2.1, RFC 9449 section 7.1): in `Authorization`, and only there.

use std::fmt;

use http::header::{AUTHORIZATION, HeaderMap, HeaderValue};

use super::{AuthnError, query};
use crate::octets::Octets;

/// How a token is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scheme {
    /// Whoever bears it may use it (RFC 6750).
    Bearer,
    /// With a proof of the key that it is bound to (RFC 9449).
    Dpop,
}

impl Scheme {
    /// Its name in `Authorization` and `WWW-Authenticate`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Scheme::Bearer => "Bearer",
            Scheme::Dpop => "DPoP",
        }
    }
}

/// A token as it was sent.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Sent<'a> {
    /// In which way.
    pub scheme: Scheme,
    /// Not looked at: a verdict on these very bytes may be known.
    pub token: &'a [u8],
}

/// A token is a secret: whoever prints one sees its length only.
impl fmt::Debug for Sent<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sent")
            .field("scheme", &self.scheme)
            .field("bytes", &self.token.len())
            .finish()
    }
}

/// What was sent as the token. `None`: nothing, or a credential of another kind.
///
/// # Errors
/// There is more than one, or one in the query, which ends up in logs.
pub fn sent<'a>(headers: &'a HeaderMap, query: Option<&str>) -> Result<Option<Sent<'a>>, AuthnError> {
    let mut values = headers.get_all(AUTHORIZATION).iter();
    let value = match (values.next(), values.next()) {
        (value, None) => value,
        _ => return Err(AuthnError::CredentialsRepeated),
    };
    if query.is_some_and(|query| query::names(query, |name| name.eq_ignore_ascii_case(b"access_token"))) {
        return Err(AuthnError::CredentialsInQuery);
    }
    let Some(value) = value.map(HeaderValue::as_bytes) else {
        return Ok(None);
    };
    let (scheme, token) = match value.iter().position(|byte| *byte == b' ') {
        Some(end) => (value.get(..end), value.get(end + 1..)),
        None => (Some(value), None),
    };
    let is_it =
        |name: &Scheme| scheme.is_some_and(|scheme| scheme.eq_ignore_ascii_case(name.as_str().as_bytes()));
    // of another kind: none of ours
    let scheme = [Scheme::Bearer, Scheme::Dpop].into_iter().find(is_it);
    Ok(scheme.map(|scheme| Sent {
        scheme,
        token: token.unwrap_or_default(),
    }))
}

/// The token as text, unverified.
///
/// # Errors
/// It is not of the form `b64token` of RFC 6750 section 2.1.
pub fn token(sent: &[u8]) -> Result<&str, AuthnError> {
    let end = sent
        .iter()
        .rposition(|byte| *byte != b'=')
        .map_or(0, |last| last + 1);
    let body = sent.get(..end).unwrap_or_default();
    let is_b64token = !body.is_empty() && body.iter().all(|byte| B64TOKEN.has(*byte));
    std::str::from_utf8(sent)
        .ok()
        .filter(|_| is_b64token)
        .ok_or(AuthnError::CredentialsMalformed)
}

/// RFC 6750 section 2.1, without the padding.
const B64TOKEN: Octets = Octets::alphanumeric_and(b"-._~+/");

#[cfg(test)]
mod tests {
    use super::*;

    fn find(values: &[&str], query: Option<&str>) -> Result<Option<String>, AuthnError> {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(AUTHORIZATION, value.parse().unwrap());
        }
        sent(&headers, query)?
            .map(|sent| token(sent.token).map(str::to_owned))
            .transpose()
    }

    #[test]
    fn exactly_one_bearer_token_is_found() {
        assert_eq!(find(&["Bearer a.b.c"], None), Ok(Some("a.b.c".to_owned())));
        assert_eq!(find(&["bearer a.b.c"], Some("x=1")), Ok(Some("a.b.c".to_owned())));
        assert_eq!(find(&[], None), Ok(None));
        assert_eq!(find(&["DPoP a.b.c"], None), Ok(Some("a.b.c".to_owned())));
        assert_eq!(find(&["Basic YTpi"], None), Ok(None));
        assert_eq!(find(&["DPoPs a"], None), Ok(None));
        assert_eq!(
            find(&["Bearer a", "Bearer a"], None),
            Err(AuthnError::CredentialsRepeated)
        );
        for bad in [
            "Bearer",
            "Bearer ",
            "Bearer  a",
            "Bearer a b",
            "Bearer a,b",
            "Bearer =",
            "Bearer a=b",
        ] {
            assert_eq!(find(&[bad], None), Err(AuthnError::CredentialsMalformed), "{bad}");
        }
    }

    // RFC 9110 section 11.1: the name of a scheme has no case
    #[test]
    fn the_scheme_is_told() {
        for (value, scheme) in [
            ("Bearer a", Scheme::Bearer),
            ("BEARER a", Scheme::Bearer),
            ("DPoP a", Scheme::Dpop),
            ("dpop a", Scheme::Dpop),
        ] {
            let mut headers = HeaderMap::new();
            headers.append(AUTHORIZATION, value.parse().unwrap());
            let expected = Sent { scheme, token: b"a" };
            assert_eq!(sent(&headers, None), Ok(Some(expected)), "{value}");
        }
    }

    #[test]
    fn tokens_in_the_query_are_refused() {
        for query in [
            "access_token=a",
            "x=1&access_token=a",
            "%61ccess_token=a",
            "ACCESS_TOKEN",
        ] {
            assert_eq!(
                find(&[], Some(query)),
                Err(AuthnError::CredentialsInQuery),
                "{query}"
            );
            assert_eq!(
                find(&["Bearer a"], Some(query)),
                Err(AuthnError::CredentialsInQuery),
                "{query}"
            );
        }
    }
}
