//! Credentials in the query, where they end up in logs and histories (RFC 9700 section 4.3.2): found, to be refused.

/// Whether the query has a parameter of such a name, however it is encoded.
pub(super) fn names(query: &str, is_name: impl Fn(&[u8]) -> bool) -> bool {
    query.split(['&', ';']).any(|pair| {
        let name = pair.split_once('=').map_or(pair, |(name, _)| name);
        // an encoded letter is still that letter to whoever decodes the query
        is_name(name.as_bytes()) || (name.contains('%') && decoded(name).is_some_and(|name| is_name(&name)))
    })
}

fn decoded(name: &str) -> Option<Vec<u8>> {
    let mut bytes = name.bytes();
    let mut decoded = Vec::with_capacity(name.len());
    while let Some(byte) = bytes.next() {
        if byte != b'%' {
            decoded.push(byte);
            continue;
        }
        let digit = |b: Option<u8>| b.and_then(|b| char::from(b).to_digit(16));
        let (high, low) = (digit(bytes.next())?, digit(bytes.next())?);
        decoded.extend(u8::try_from(high << 4 | low));
    }
    Some(decoded)
}
