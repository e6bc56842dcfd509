//! Who was asked: exactly one Host, well-formed, and no other name beside it (RFC 9110 section 7.2, RFC 9112 section 3.2).

use http::header::{HOST, HeaderMap, HeaderValue};
use http::uri::Authority;
use http::{Uri, Version};

use super::Malformed;

/// The host that was asked, in lower case.
#[derive(Debug, Clone)]
pub struct Host {
    value: Value,
    /// Length of the name within the value; the rest is `:port`.
    name: usize,
}

#[derive(Debug, Clone)]
enum Value {
    /// Shared with the header map: nothing was copied.
    Header(HeaderValue),
    Authority(Authority),
    Owned(Box<str>),
}

impl Host {
    /// Reads `Host`, and `:authority` where HTTP/2 sent it; both must say the same.
    pub(super) fn parse(uri: &Uri, headers: &HeaderMap, version: Version) -> Result<Host, Malformed> {
        let mut hosts = headers.get_all(HOST).iter();
        let header = match (hosts.next(), hosts.next()) {
            (host, None) => host,
            _ => return Err(Malformed::HostRepeated),
        };
        let value = match (header, uri.authority()) {
            (None, None) => return Err(Malformed::HostMissing),
            (None, Some(_)) if version < Version::HTTP_2 => return Err(Malformed::HostMissing),
            (None, Some(authority)) => Value::Authority(authority.clone()),
            (Some(host), None) => Value::Header(host.clone()),
            (Some(host), Some(authority)) => {
                // both were sent (absolute-form, or HTTP/2 with Host): one name, or two readers disagree
                if !host
                    .as_bytes()
                    .eq_ignore_ascii_case(authority.as_str().as_bytes())
                {
                    return Err(Malformed::Target);
                }
                Value::Header(host.clone())
            }
        };
        let text = value.as_str().ok_or(Malformed::Host)?;
        let name = check(text)?;
        let value = if text.bytes().any(|b| b.is_ascii_uppercase()) {
            Value::Owned(text.to_ascii_lowercase().into())
        } else {
            value
        };
        Ok(Host { value, name })
    }

    /// Name and port, as a header value.
    pub(super) fn value(&self) -> HeaderValue {
        match &self.value {
            Value::Header(value) => value.clone(),
            Value::Authority(_) | Value::Owned(_) => {
                // checked when it was read
                HeaderValue::from_str(self.authority()).unwrap_or(HeaderValue::from_static(""))
            }
        }
    }

    /// The name, without port.
    #[must_use]
    pub fn name(&self) -> &str {
        self.authority().get(..self.name).unwrap_or_default()
    }

    /// Name and port.
    #[must_use]
    pub fn authority(&self) -> &str {
        self.value.as_str().unwrap_or_default()
    }
}

impl Value {
    fn as_str(&self) -> Option<&str> {
        match self {
            Value::Header(value) => value.to_str().ok(),
            Value::Authority(authority) => Some(authority.as_str()),
            Value::Owned(text) => Some(text),
        }
    }
}

/// Length of the name of a well-formed `name[:port]`.
pub(crate) fn name_length(text: &str) -> Option<usize> {
    check(text).ok()
}

/// Checks `name[:port]` and returns the length of the name.
pub(super) fn check(text: &str) -> Result<usize, Malformed> {
    let (name, port) = match text.strip_prefix('[') {
        Some(rest) => {
            let (address, after) = rest.split_once(']').ok_or(Malformed::Host)?;
            address
                .parse::<std::net::Ipv6Addr>()
                .map_err(|_| Malformed::Host)?;
            let port = match after.strip_prefix(':') {
                Some(port) => Some(port),
                None if after.is_empty() => None,
                None => return Err(Malformed::Host),
            };
            (address.len() + 2, port)
        }
        None => {
            let (name, port) = match text.split_once(':') {
                Some((name, port)) => (name, Some(port)),
                None => (text, None),
            };
            if !is_name(name) {
                return Err(Malformed::Host);
            }
            (name.len(), port)
        }
    };
    match port {
        Some(port) if port.is_empty() || port.starts_with('+') || port.parse::<u16>().is_err() => {
            Err(Malformed::Host)
        }
        _ => Ok(name),
    }
}

/// A DNS name (underscores tolerated) or an IPv4 address. No empty labels, so no trailing dot: `api.example.` would be
/// another name to some readers and the same to others.
pub(crate) fn is_name(name: &str) -> bool {
    name.len() <= 253
        && name.as_bytes().split(|byte| *byte == b'.').all(|label| {
            !label.is_empty()
                && label.len() <= 63
                && label
                    .iter()
                    .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'))
        })
}

#[cfg(test)]
mod tests {
    use super::check;

    #[test]
    fn hosts_are_names_or_addresses_with_an_optional_port() {
        for (good, name) in [
            ("a", 1),
            ("api.example:8443", 11),
            ("127.0.0.1", 9),
            ("[::1]:443", 5),
            ("[::1]", 5),
        ] {
            assert_eq!(check(good), Ok(name), "{good}");
        }
        for bad in [
            "", ":", "a:", "a:x", "a:+1", "a:70000", "a b", "a/b", "a..b", "a.", ".a", "[::1", "[::1]x",
            "[a]", "a@b", "a:1:2", "ä",
        ] {
            assert!(check(bad).is_err(), "{bad}");
        }
    }
}
