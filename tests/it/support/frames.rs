//! HTTP/2 by hand: frames as they are written, whether or not they should be (RFC 9113 section 4.1).

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use openssl::ssl::{SslConnector, SslMethod, SslStream};

use super::Authority;

pub const DATA: u8 = 0;
pub const HEADERS: u8 = 1;
pub const PRIORITY: u8 = 2;
pub const RST_STREAM: u8 = 3;
pub const SETTINGS: u8 = 4;
pub const PING: u8 = 6;
pub const GOAWAY: u8 = 7;
pub const WINDOW_UPDATE: u8 = 8;
pub const CONTINUATION: u8 = 9;

pub const END_STREAM: u8 = 1;
pub const END_HEADERS: u8 = 4;

/// A frame as it came.
#[derive(Debug, Clone)]
pub struct Frame {
    pub kind: u8,
    pub flags: u8,
    pub stream: u32,
    pub payload: Vec<u8>,
}

impl Frame {
    /// Of GOAWAY and RST_STREAM.
    pub fn code(&self) -> u32 {
        let at = if self.kind == GOAWAY { 4 } else { 0 };
        u32::from_be_bytes(self.payload[at..at + 4].try_into().unwrap())
    }

    /// Of HEADERS of a response: its status, where that has an index of its own (RFC 7541 appendix A).
    pub fn status(&self) -> Option<u16> {
        match self.payload.first()? {
            0x88 => Some(200),
            0x89 => Some(204),
            0x8a => Some(206),
            0x8b => Some(304),
            0x8c => Some(400),
            0x8d => Some(404),
            0x8e => Some(500),
            _ => None,
        }
    }
}

/// The bytes of a frame.
pub fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let mut bytes = (payload.len() as u32).to_be_bytes()[1..].to_vec();
    bytes.extend([kind, flags]);
    bytes.extend(stream.to_be_bytes());
    bytes.extend(payload);
    bytes
}

/// A block of header fields, each written out (RFC 7541 section 6.2.2).
pub fn block(fields: &[(&str, &str)]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (name, value) in fields {
        bytes.push(0);
        for text in [name, value] {
            integer(&mut bytes, text.len(), 7);
            bytes.extend(text.as_bytes());
        }
    }
    bytes
}

/// RFC 7541 section 5.1
fn integer(bytes: &mut Vec<u8>, value: usize, bits: u8) {
    let most = (1 << bits) - 1;
    if value < most {
        return bytes.push(value as u8);
    }
    bytes.push(most as u8);
    let mut rest = value - most;
    while rest >= 128 {
        bytes.push((rest % 128 + 128) as u8);
        rest /= 128;
    }
    bytes.push(rest as u8);
}

/// Pseudo-headers of a request for `api.example`.
pub fn request<'a>(method: &'a str, path: &'a str) -> [(&'a str, &'a str); 4] {
    [
        (":method", method),
        (":scheme", "https"),
        (":authority", "api.example"),
        (":path", path),
    ]
}

/// A connection that has sent its preface and an empty SETTINGS.
pub struct Raw {
    stream: SslStream<TcpStream>,
}

impl Raw {
    pub fn connect(address: SocketAddr, authority: &Authority) -> Raw {
        let mut raw = Raw::silent(address, authority);
        raw.write(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
        raw.write(frame(SETTINGS, 0, 0, &[]));
        raw
    }

    /// The same, and nothing was sent yet.
    pub fn silent(address: SocketAddr, authority: &Authority) -> Raw {
        let mut builder = SslConnector::builder(SslMethod::tls_client()).unwrap();
        let mut store = openssl::x509::store::X509StoreBuilder::new().unwrap();
        store.add_cert(authority.certificate.clone()).unwrap();
        builder.set_cert_store(store.build());
        builder.set_alpn_protos(b"\x02h2").unwrap();
        let socket = TcpStream::connect(address).unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        socket.set_write_timeout(Some(Duration::from_secs(20))).unwrap();
        socket.set_nodelay(true).unwrap();
        let stream = builder.build().connect("api.example", socket).unwrap();
        assert_eq!(stream.ssl().selected_alpn_protocol(), Some(&b"h2"[..]));
        Raw { stream }
    }

    /// Sends bytes; `false` where the other end takes no more.
    pub fn write(&mut self, bytes: impl AsRef<[u8]>) -> bool {
        self.stream
            .write_all(bytes.as_ref())
            .and_then(|()| self.stream.flush())
            .is_ok()
    }

    pub fn send(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) -> bool {
        self.write(frame(kind, flags, stream, payload))
    }

    /// A whole request without a body.
    pub fn get(&mut self, stream: u32, path: &str) -> bool {
        self.send(
            HEADERS,
            END_HEADERS | END_STREAM,
            stream,
            &block(&request("GET", path)),
        )
    }

    /// The next frame; `None` where the connection ends, or nothing comes within `patience`.
    pub fn read_within(&mut self, patience: Duration) -> Option<Frame> {
        self.stream.get_ref().set_read_timeout(Some(patience)).unwrap();
        let mut header = [0; 9];
        self.stream.read_exact(&mut header).ok()?;
        let length = u32::from_be_bytes([0, header[0], header[1], header[2]]) as usize;
        let mut payload = vec![0; length];
        self.stream.read_exact(&mut payload).ok()?;
        Some(Frame {
            kind: header[3],
            flags: header[4],
            stream: u32::from_be_bytes(header[5..9].try_into().unwrap()) & !(1 << 31),
            payload,
        })
    }

    pub fn read(&mut self) -> Option<Frame> {
        self.read_within(Duration::from_secs(20))
    }

    /// Everything until the connection ends.
    pub fn rest(&mut self) -> Vec<Frame> {
        std::iter::from_fn(|| self.read()).collect()
    }

    /// Reads until there is such a frame.
    pub fn until(&mut self, what: impl Fn(&Frame) -> bool) -> Option<Frame> {
        loop {
            let frame = self.read()?;
            if what(&frame) {
                return Some(frame);
            }
        }
    }

    /// Whether the other end has closed, or closes within `patience`. Frames that come meanwhile are thrown away.
    pub fn is_closed_within(&mut self, patience: Duration) -> bool {
        let end = std::time::Instant::now() + patience;
        let mut bytes = [0; 4096];
        loop {
            let left = end.saturating_duration_since(std::time::Instant::now());
            if left.is_zero() {
                return false;
            }
            self.stream.get_ref().set_read_timeout(Some(left)).unwrap();
            match self.stream.read(&mut bytes) {
                Ok(0) => return true,
                Ok(_) => {}
                Err(why) => {
                    return !matches!(
                        why.kind(),
                        std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut
                    );
                }
            }
        }
    }
}
