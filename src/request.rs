//! The facts of a request that a decision is made from.
//!
//! A trait, because the same decision is made on live traffic by the proxy and on described requests by `explain`.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

use http::header::HeaderMap;

use crate::gates::authn::certificate::Presented;
use crate::head::Head;

/// The facts of one request.
pub trait Request {
    /// The canonical head.
    fn head(&self) -> &Head;
    /// All header fields, as sent.
    fn headers(&self) -> &HeaderMap;
    /// Who is at the other end of the connection.
    fn peer(&self) -> &Peer;
}

/// The other end of the connection.
#[derive(Debug, Clone, Default)]
pub struct Peer {
    /// Address of the socket.
    pub address: Option<SocketAddr>,
    /// Address of the client, through declared proxies.
    pub client: Option<IpAddr>,
    /// What was negotiated; `None` on plain HTTP.
    pub tls: Option<Arc<TlsFacts>>,
}

/// What was negotiated with the client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsFacts {
    /// `TLSv1.3`
    pub version: String,
    /// Suite, by OpenSSL's name.
    pub cipher: String,
    /// Server name that the client asked for, in lower case.
    pub sni: Option<String>,
    /// Names of the certificate that the client was shown, in lower case; `*.` kept.
    pub names: Arc<[String]>,
    /// Group of the key exchange, by its registered name; `None` where the library does not tell.
    pub group: Option<&'static str>,
    /// The client's certificate, if it has presented one.
    pub certificate: Option<Arc<Presented>>,
    /// Index of the listener; `None` where the connection is only described.
    pub listener: Option<usize>,
}

impl TlsFacts {
    /// Whether the client asked for exactly this host when it connected.
    #[must_use]
    pub fn is_named(&self, host: &str) -> bool {
        self.sni.as_deref() == Some(host)
    }

    /// Whether the certificate that was shown is for this host: only then does the client know whom it speaks to
    /// (RFC 9110 section 7.4, RFC 9113 section 9.1.2).
    #[must_use]
    pub fn is_for(&self, host: &str) -> bool {
        // an address in a URL has brackets, in a certificate none
        let address = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
        match address.and_then(|address| address.parse::<Ipv6Addr>().ok()) {
            Some(address) => self.names.iter().any(|name| name.parse() == Ok(address)),
            None => self.names.iter().any(|name| covers(name, host)),
        }
    }
}

/// Whether a certificate's name covers a host (RFC 9525 section 6.3): `*.` stands for exactly one label.
#[must_use]
pub fn covers(name: &str, host: &str) -> bool {
    match name.strip_prefix("*.") {
        Some(suffix) => host.split_once('.').is_some_and(|(_, parent)| parent == suffix),
        None => name == host,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // S30
    #[test]
    fn a_certificate_is_for_its_names_and_addresses_and_nothing_else() {
        let facts = TlsFacts {
            version: String::new(),
            cipher: String::new(),
            sni: None,
            names: ["api.example", "*.wild.example", "127.0.0.1", "::1"]
                .map(str::to_owned)
                .into(),
            group: None,
            certificate: None,
            listener: None,
        };
        for host in ["api.example", "a.wild.example", "127.0.0.1", "[::1]", "[0:0::1]"] {
            assert!(facts.is_for(host), "{host}");
        }
        for host in [
            "",
            "example",
            "x.api.example",
            "wild.example",
            "a.b.wild.example",
            "127.0.0.2",
            "[::2]",
            "*.wild.example.evil",
        ] {
            assert!(!facts.is_for(host), "{host}");
        }
    }
}
