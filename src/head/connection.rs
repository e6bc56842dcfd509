//! What `Connection` names ends at the next hop (RFC 9110 section 7.6.1). A client may take away so what is its own, but
//! nothing that was judged or is written here: the upstream would get another request than the one that was admitted.

use http::header::{CONNECTION, HeaderMap, HeaderName};

use super::Malformed;

/// Fields that are part of what is judged, by their beginnings.
const JUDGED: [&str; 9] = [
    "host",
    "authorization",
    "cookie",
    "content-",
    "expect",
    "forwarded",
    "via",
    "x-forwarded-",
    "x-request-id",
];

pub(super) fn check(headers: &HeaderMap) -> Result<(), Malformed> {
    let values = headers.get_all(CONNECTION).iter();
    for option in values.flat_map(|value| value.as_bytes().split(|byte| *byte == b',')) {
        let option = option.trim_ascii();
        if option.is_empty() {
            continue;
        }
        let name = HeaderName::from_bytes(option).map_err(|_| Malformed::Connection)?;
        if JUDGED.iter().any(|judged| name.as_str().starts_with(judged)) {
            return Err(Malformed::Connection);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    // U17
    #[test]
    fn only_what_is_the_clients_own_can_be_nominated() {
        let check = |value: &str| {
            let mut headers = HeaderMap::new();
            headers.append(CONNECTION, "keep-alive".parse().unwrap());
            headers.append(CONNECTION, value.parse().unwrap());
            check(&headers)
        };
        for good in [
            "close",
            "keep-alive, TE",
            "Upgrade, HTTP2-Settings",
            "X-Mine",
            "",
            ", close,",
        ] {
            assert_eq!(check(good), Ok(()), "{good}");
        }
        for bad in [
            "Host",
            "close, Content-Type",
            "content-length",
            "AUTHORIZATION",
            "x-forwarded-for",
            "cookie",
            "a b",
            "\"x\"",
            ":path",
        ] {
            assert_eq!(check(bad), Err(Malformed::Connection), "{bad}");
        }
    }
}
