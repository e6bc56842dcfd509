//! What a client may declare to be meant for this hop only (RFC 9110 section 7.6.1).
//!
//! Whoever nominates a field in `Connection` makes the next hop remove it: a body's type after we judged it, the host
//! after we routed by it. Such fields are for every recipient, and nominating them is a fault (same section). Names of our
//! own headers may be nominated as long as that has no effect: they are written afterwards.

use http::header::{CONNECTION, HeaderMap};

use super::{Malformed, is_tchar};

/// Options taken at most. Pingora refuses more, but only once it has a connection to the upstream.
const MAX_OPTIONS: usize = 9;

/// Never for one hop only.
const END_TO_END: [&str; 11] = [
    "host",
    "authorization",
    "cookie",
    "content-length",
    "content-type",
    "content-encoding",
    "content-range",
    "forwarded",
    "via",
    "expect",
    "x-request-id",
];

/// Judges all `Connection` fields of a head.
pub(super) fn check(headers: &HeaderMap) -> Result<(), Malformed> {
    let options = headers
        .get_all(CONNECTION)
        .iter()
        .flat_map(|value| value.as_bytes().split(|byte| *byte == b','))
        .map(<[u8]>::trim_ascii)
        .filter(|option| !option.is_empty());
    for (index, option) in options.enumerate() {
        let known = END_TO_END
            .iter()
            .any(|name| option.eq_ignore_ascii_case(name.as_bytes()));
        let forwarded = option
            .get(..12)
            .is_some_and(|start| start.eq_ignore_ascii_case(b"x-forwarded-"));
        if index >= MAX_OPTIONS || known || forwarded || !option.iter().all(|byte| is_tchar(*byte)) {
            return Err(Malformed::Connection);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checked(values: &[&str]) -> Result<(), Malformed> {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(CONNECTION, value.parse().unwrap());
        }
        check(&headers)
    }

    // S56
    #[test]
    fn options_and_fields_of_this_hop_may_be_named_and_no_others() {
        for good in [
            &[][..],
            &["close"],
            &["Keep-Alive, , TE"],
            &["upgrade", "x-user-id"],
            &["a,b,c", "d,e,f,g,h,i"],
        ] {
            assert_eq!(checked(good), Ok(()), "{good:?}");
        }
        for bad in [
            &["Host"][..],
            &["close", "Content-Type"],
            &["x-a,content-length"],
            &["X-Forwarded-For"],
            &["x-forwarded-anything"],
            &["\"x-user-id\""],
            &[":authority"],
            &["two words"],
            &["a,b,c", "d,e,f,g,h,i,j"],
        ] {
            assert_eq!(checked(bad), Err(Malformed::Connection), "{bad:?}");
        }
    }
}
