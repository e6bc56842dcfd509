//! The one canonical view of a request's head.
//!
//! Every gate, the router and the upstream see the same method, host, path and query: what was judged is what is
//! sent. Whatever two readers could understand differently is refused here and never repaired (U15). It never looks at
//! routes or identities.
//!
//! Sources: RFC 9110 section 7.2 (Host), RFC 9112 section 6 (framing), RFC 3986 section 3.3 (paths).

mod authority;
mod connection;
mod framing;
mod path;
mod repair;
mod wire;

use http::header::{HeaderMap, HeaderValue};
use http::{Method, Uri, Version};

pub use authority::Host;
pub(crate) use authority::{is_name as is_host_name, name_length};
pub use framing::BodyLength;
pub use path::CanonicalPath;
pub(crate) use path::canonical as canonical_path;
pub use repair::{Repair, Repairs};
pub(crate) use wire::is_tchar;
pub use wire::{HeadReader, WireHead, WireLimits};

/// Why a head is not understood in exactly one way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Malformed {
    /// Neither origin-form nor an absolute-form that agrees with Host.
    Target,
    /// A character that a path cannot hold.
    PathCharacter,
    /// `%` without two hexadecimal digits.
    PathEncoding,
    /// An encoded character that some reader takes for syntax: `/ \ . % ; ? #`, NUL and other controls.
    PathEncodedSyntax,
    /// Percent-encoded bytes that are not UTF-8.
    PathUtf8,
    /// A `.` or `..` segment.
    PathDotSegment,
    /// An empty segment (`//`).
    PathEmptySegment,
    /// A `;` parameter.
    PathParameter,
    /// A character that a query cannot hold.
    Query,
    /// No Host.
    HostMissing,
    /// More than one Host.
    HostRepeated,
    /// Host is no name, address or port.
    Host,
    /// More than one Content-Length, a list, no number, or not the length of the body.
    ContentLength,
    /// A transfer coding other than exactly `chunked`, or one where none may be.
    TransferEncoding,
    /// Content-Length beside Transfer-Encoding.
    FramingConflict,
    /// `Connection` nominates headers that are not the client's to remove (RFC 9110 section 7.6.1).
    Connection,
    /// CONNECT or TRACE.
    Method,
    /// Lines that do not end in CRLF, folded lines, control characters, or blanks where none belong (RFC 9112 sections 2
    /// to 5).
    Syntax,
    /// Neither HTTP/1.0 nor HTTP/1.1 nor HTTP/2.
    Version,
    /// The head has more bytes than it may.
    HeadTooLarge,
    /// The head has more fields than it may.
    TooManyFields,
    /// A chunk whose size or end is not spelled as RFC 9112 section 7.1 spells it, or that has an extension.
    Chunk,
    /// A stream of HTTP/2 that could not become a request, or was reset before it did.
    Stream,
    /// A trailer field that is not well-formed, or that no trailer may hold (RFC 9110 section 6.5.1).
    Trailer,
}

impl Malformed {
    /// All of them, for tests and documentation.
    pub const ALL: &[Malformed] = &[
        Malformed::Target,
        Malformed::PathCharacter,
        Malformed::PathEncoding,
        Malformed::PathEncodedSyntax,
        Malformed::PathUtf8,
        Malformed::PathDotSegment,
        Malformed::PathEmptySegment,
        Malformed::PathParameter,
        Malformed::Query,
        Malformed::HostMissing,
        Malformed::HostRepeated,
        Malformed::Host,
        Malformed::ContentLength,
        Malformed::TransferEncoding,
        Malformed::FramingConflict,
        Malformed::Connection,
        Malformed::Method,
        Malformed::Syntax,
        Malformed::Version,
        Malformed::HeadTooLarge,
        Malformed::TooManyFields,
        Malformed::Chunk,
        Malformed::Trailer,
        Malformed::Stream,
    ];

    /// Stable word for records, metrics and problem documents.
    #[must_use]
    pub fn reason(self) -> &'static str {
        match self {
            Malformed::Target => "target_malformed",
            Malformed::PathCharacter => "path_character",
            Malformed::PathEncoding => "path_encoding",
            Malformed::PathEncodedSyntax => "path_encoded_syntax",
            Malformed::PathUtf8 => "path_not_utf8",
            Malformed::PathDotSegment => "path_dot_segment",
            Malformed::PathEmptySegment => "path_empty_segment",
            Malformed::PathParameter => "path_parameter",
            Malformed::Query => "query_character",
            Malformed::HostMissing => "host_missing",
            Malformed::HostRepeated => "host_repeated",
            Malformed::Host => "host_malformed",
            Malformed::ContentLength => "content_length_malformed",
            Malformed::TransferEncoding => "transfer_encoding",
            Malformed::FramingConflict => "framing_conflict",
            Malformed::Connection => "connection_nomination",
            Malformed::Method => "method_forbidden",
            Malformed::Syntax => "head_syntax",
            Malformed::Version => "version_not_supported",
            Malformed::HeadTooLarge => "head_too_large",
            Malformed::TooManyFields => "too_many_fields",
            Malformed::Chunk => "chunk_malformed",
            Malformed::Stream => "http2_stream",
            Malformed::Trailer => "trailer_malformed",
        }
    }
}

/// What came over the wire, before it is judged.
#[derive(Debug, Clone, Copy)]
pub struct RawHead<'a> {
    /// As sent.
    pub method: &'a Method,
    /// The request target; for HTTP/2 with `:authority`.
    pub uri: &'a Uri,
    /// Protocol version.
    pub version: Version,
    /// All header fields.
    pub headers: &'a HeaderMap,
    /// Whether the transport has already said that no body follows (HTTP/2: END_STREAM on HEADERS).
    pub ended: bool,
}

/// The canonical head. Cheap to make: nothing is copied unless it had to be changed.
#[derive(Debug, Clone)]
pub struct Head {
    method: Method,
    host: Host,
    path: CanonicalPath,
    uri: Uri,
    version: Version,
    body: BodyLength,
}

impl Head {
    /// Judges a head.
    ///
    /// # Errors
    /// The first thing found in it that is ambiguous or not allowed; see [`Malformed`].
    pub fn parse(raw: RawHead<'_>) -> Result<Head, Malformed> {
        Head::with_path(raw, || CanonicalPath::parse(raw.uri))
    }

    /// Judges a head whose path was refused, as if it were what is left of it after repairs. Only for a route that stands
    /// for all of them.
    ///
    /// # Errors
    /// As [`parse`](Self::parse), and where no repair makes it a path.
    pub fn repair(raw: RawHead<'_>) -> Result<(Head, Repairs), Malformed> {
        let (path, repairs) = repair::repaired(raw.uri.path()).ok_or(Malformed::Target)?;
        Ok((Head::with_path(raw, || Ok(CanonicalPath::of(path)))?, repairs))
    }

    fn with_path(
        raw: RawHead<'_>,
        path: impl FnOnce() -> Result<CanonicalPath, Malformed>,
    ) -> Result<Head, Malformed> {
        if matches!(*raw.method, Method::CONNECT | Method::TRACE) {
            return Err(Malformed::Method);
        }
        let host = Host::parse(raw.uri, raw.headers, raw.version)?;
        connection::check(raw.headers)?;
        let body = BodyLength::parse(raw.headers, raw.version, raw.ended)?;
        let path = path()?;
        path::check_query(raw.uri.query())?;
        Ok(Head {
            method: raw.method.clone(),
            host,
            path,
            uri: raw.uri.clone(),
            version: raw.version,
            body,
        })
    }

    /// The method, as sent: methods are case-sensitive.
    #[must_use]
    pub fn method(&self) -> &Method {
        &self.method
    }

    /// Host in lower case, without port.
    #[must_use]
    pub fn host(&self) -> &str {
        self.host.name()
    }

    /// Host and port as they go upstream in `Host`.
    #[must_use]
    pub fn authority(&self) -> &str {
        self.host.authority()
    }

    /// The same, shared with the request where that is as good.
    #[must_use]
    pub fn authority_value(&self) -> HeaderValue {
        self.host.value()
    }

    /// The canonical path, percent-encoded; what the router matches and the upstream receives.
    #[must_use]
    pub fn path(&self) -> &str {
        self.path.as_str(&self.uri)
    }

    /// The path as it was sent, before anything was done to it.
    #[must_use]
    pub fn path_as_sent(&self) -> &str {
        self.uri.path()
    }

    /// The query without `?`, as sent.
    #[must_use]
    pub fn query(&self) -> Option<&str> {
        self.uri.query()
    }

    /// Path and query in canonical form, as they go upstream: shared with the request where they came that way.
    ///
    /// # Errors
    /// Only for a path that no request can have.
    pub fn target_uri(&self) -> Result<Uri, http::Error> {
        let mut parts = http::uri::Parts::default();
        parts.path_and_query = match self.uri.path_and_query() {
            Some(sent) if self.path.is_as_sent() => Some(sent.clone()),
            _ => Some(self.target().parse()?),
        };
        Ok(Uri::from_parts(parts)?)
    }

    /// Path and query in canonical form.
    #[must_use]
    pub fn target(&self) -> String {
        match self.query() {
            Some(query) => format!("{}?{query}", self.path()),
            None => self.path().to_owned(),
        }
    }

    /// Version spoken by the client.
    #[must_use]
    pub fn version(&self) -> Version {
        self.version
    }

    /// How much body was announced.
    #[must_use]
    pub fn body(&self) -> BodyLength {
        self.body
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(method: &str, target: &str, headers: &[(&str, &str)]) -> Result<Head, Malformed> {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(
                http::HeaderName::from_bytes(name.as_bytes()).unwrap(),
                http::HeaderValue::from_str(value).unwrap(),
            );
        }
        Head::parse(RawHead {
            method: &method.parse().unwrap(),
            uri: &target.parse().unwrap(),
            version: Version::HTTP_11,
            headers: &map,
            ended: false,
        })
    }

    #[test]
    fn a_plain_head_is_taken_as_it_is() {
        let head = head(
            "GET",
            "/v1/vehicles/1HG?full=yes",
            &[("host", "API.example:8443")],
        )
        .unwrap();
        assert_eq!(
            (head.host(), head.path(), head.query()),
            ("api.example", "/v1/vehicles/1HG", Some("full=yes"))
        );
        assert_eq!(head.authority(), "api.example:8443");
        assert_eq!(head.target_uri().unwrap(), "/v1/vehicles/1HG?full=yes");
    }

    #[test]
    fn absolute_form_must_agree_with_host() {
        let same = head("GET", "http://api.example/x", &[("host", "api.example")]).unwrap();
        assert_eq!(same.target(), "/x");
        assert_eq!(same.target_uri().unwrap(), "/x");
        let encoded = head("GET", "http://api.example/%78?y=%78", &[("host", "api.example")]).unwrap();
        assert_eq!(encoded.target_uri().unwrap(), "/x?y=%78");
        assert_eq!(
            head("GET", "http://other/x", &[("host", "api.example")]).unwrap_err(),
            Malformed::Target
        );
    }

    #[test]
    fn methods_that_tunnel_or_reflect_are_refused() {
        assert_eq!(
            head("TRACE", "/", &[("host", "a")]).unwrap_err(),
            Malformed::Method
        );
    }

    #[test]
    fn framing_is_unambiguous_or_refused() {
        let post = |extra: &[(&str, &str)]| {
            let mut headers = vec![("host", "a")];
            headers.extend_from_slice(extra);
            head("POST", "/", &headers).map(|h| h.body())
        };
        assert_eq!(post(&[("content-length", "4")]), Ok(BodyLength::Known(4)));
        assert_eq!(post(&[("transfer-encoding", "chunked")]), Ok(BodyLength::Unknown));
        assert_eq!(post(&[]), Ok(BodyLength::None));
        assert_eq!(
            post(&[("content-length", "4"), ("content-length", "4")]),
            Err(Malformed::ContentLength)
        );
        for bad in ["4, 4", "+4", "", " ", "0x4", "18446744073709551616"] {
            assert_eq!(
                post(&[("content-length", bad)]),
                Err(Malformed::ContentLength),
                "{bad:?}"
            );
        }
        for bad in ["gzip, chunked", "identity", "chunked, chunked", ""] {
            assert_eq!(
                post(&[("transfer-encoding", bad)]),
                Err(Malformed::TransferEncoding),
                "{bad:?}"
            );
        }
        assert_eq!(
            post(&[("content-length", "4"), ("transfer-encoding", "chunked")]),
            Err(Malformed::FramingConflict)
        );
    }
}
