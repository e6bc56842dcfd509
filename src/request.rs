//! The facts of a request that a decision is made from.
//!
//! A trait, because the same decision is made on live traffic by the proxy and on described requests by `explain`.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use http::header::HeaderMap;

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
}
