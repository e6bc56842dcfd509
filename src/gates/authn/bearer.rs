//! Finding the bearer token of a request (RFC 6750 section 2.1): in `Authorization`, and only there.

use http::header::{AUTHORIZATION, HeaderMap};

use super::AuthnError;

/// The token, unverified.
///
/// # Errors
/// There is none, more than one, one in the query (which ends up in logs), or one that is not of the form
/// `Bearer b64token`.
pub fn token<'a>(headers: &'a HeaderMap, query: Option<&str>) -> Result<&'a str, AuthnError> {
    let mut values = headers.get_all(AUTHORIZATION).iter();
    let value = match (values.next(), values.next()) {
        (value, None) => value,
        _ => return Err(AuthnError::CredentialsRepeated),
    };
    if query.is_some_and(names_a_token) {
        return Err(AuthnError::CredentialsInQuery);
    }
    let value = value.ok_or(AuthnError::CredentialsMissing)?;
    let value = value.to_str().map_err(|_| AuthnError::CredentialsMalformed)?;
    let (scheme, token) = value.split_once(' ').unwrap_or((value, ""));
    if !scheme.eq_ignore_ascii_case("bearer") {
        // of another kind: none of ours
        return Err(AuthnError::CredentialsMissing);
    }
    if is_b64token(token) {
        Ok(token)
    } else {
        Err(AuthnError::CredentialsMalformed)
    }
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

/// `b64token` of RFC 6750 section 2.1.
fn is_b64token(token: &str) -> bool {
    let body = token.trim_end_matches('=');
    !body.is_empty()
        && body
            .bytes()
            .all(|b| B64TOKEN.get(usize::from(b)).copied().unwrap_or(false))
}

/// By byte: tokens are long, and this is done for each request.
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
        token(&headers, query).map(str::to_owned)
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
