//! Finding the bearer token of a request (RFC 6750 section 2.1): in `Authorization`, and only there.

use http::header::{AUTHORIZATION, HeaderMap};

use super::AuthnError;

/// What was sent as the token, not looked at: a verdict on these very bytes may be known.
///
/// # Errors
/// There is none, more than one, one in the query (which ends up in logs), or a credential of another kind.
pub fn sent<'a>(headers: &'a HeaderMap, query: Option<&str>) -> Result<&'a [u8], AuthnError> {
    let mut values = headers.get_all(AUTHORIZATION).iter();
    let value = match (values.next(), values.next()) {
        (value, None) => value,
        _ => return Err(AuthnError::CredentialsRepeated),
    };
    if query.is_some_and(names_a_token) {
        return Err(AuthnError::CredentialsInQuery);
    }
    let value = value.ok_or(AuthnError::CredentialsMissing)?.as_bytes();
    let (scheme, token) = match value.iter().position(|byte| *byte == b' ') {
        Some(end) => (value.get(..end), value.get(end + 1..)),
        None => (Some(value), None),
    };
    if scheme.is_some_and(|scheme| scheme.eq_ignore_ascii_case(b"bearer")) {
        Ok(token.unwrap_or_default())
    } else {
        // of another kind: none of ours
        Err(AuthnError::CredentialsMissing)
    }
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
    let is_b64token = !body.is_empty()
        && body
            .iter()
            .all(|b| B64TOKEN.get(usize::from(*b)).copied().unwrap_or(false));
    std::str::from_utf8(sent)
        .ok()
        .filter(|_| is_b64token)
        .ok_or(AuthnError::CredentialsMalformed)
}

fn names_a_token(query: &str) -> bool {
    query.split(['&', ';']).any(|pair| {
        let name = pair.split_once('=').map_or(pair, |(name, _)| name);
        // an encoded letter is still that letter to whoever decodes the query
        name.eq_ignore_ascii_case("access_token") || (name.contains('%') && decodes_to_access_token(name))
    })
}

fn decodes_to_access_token(name: &str) -> bool {
    let mut bytes = name.bytes();
    let mut decoded = Vec::with_capacity(name.len());
    while let Some(byte) = bytes.next() {
        if byte != b'%' {
            decoded.push(byte);
            continue;
        }
        let digit = |b: Option<u8>| b.and_then(|b| char::from(b).to_digit(16));
        let (Some(high), Some(low)) = (digit(bytes.next()), digit(bytes.next())) else {
            return false;
        };
        decoded.extend(u8::try_from(high << 4 | low));
    }
    decoded.eq_ignore_ascii_case(b"access_token")
}

/// By byte: tokens are long.
const B64TOKEN: [bool; 256] = {
    let mut table = [false; 256];
    let mut byte = 0;
    while byte < 256 {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::indexing_slicing,
            reason = "below 256, and constant"
        )]
        {
            let b = byte as u8;
            table[byte] = b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_' | b'~' | b'+' | b'/');
        }
        byte += 1;
    }
    table
};

#[cfg(test)]
mod tests {
    use super::*;

    fn find(values: &[&str], query: Option<&str>) -> Result<String, AuthnError> {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(AUTHORIZATION, value.parse().unwrap());
        }
        sent(&headers, query).and_then(token).map(str::to_owned)
    }

    #[test]
    fn exactly_one_bearer_token_is_found() {
        assert_eq!(find(&["Bearer a.b.c"], None), Ok("a.b.c".to_owned()));
        assert_eq!(find(&["bearer a.b.c"], Some("x=1")), Ok("a.b.c".to_owned()));
        assert_eq!(find(&[], None), Err(AuthnError::CredentialsMissing));
        assert_eq!(find(&["Basic YTpi"], None), Err(AuthnError::CredentialsMissing));
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
