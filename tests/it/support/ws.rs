//! WebSockets (RFC 6455): an origin that speaks them, and the client's side of a connection.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::client::Connection;

/// The key of RFC 6455 section 1.3.
pub const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";

/// A whole frame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    pub opcode: u8,
    pub payload: Vec<u8>,
}

impl Frame {
    pub fn text(text: &str) -> Frame {
        Frame {
            opcode: 1,
            payload: text.as_bytes().to_vec(),
        }
    }

    pub fn close(code: u16) -> Frame {
        Frame {
            opcode: 8,
            payload: code.to_be_bytes().to_vec(),
        }
    }

    /// Code of a Close frame.
    pub fn code(&self) -> Option<u16> {
        (self.opcode == 8).then(|| u16::from_be_bytes([self.payload[0], self.payload[1]]))
    }

    /// As it goes over the wire; clients mask.
    pub fn bytes(&self, masked: bool) -> Vec<u8> {
        let flag = if masked { 0x80 } else { 0 };
        let mut bytes = vec![0x80 | self.opcode];
        match self.payload.len() {
            length @ 0..126 => bytes.push(length as u8 | flag),
            length @ 126..65_536 => {
                bytes.push(126 | flag);
                bytes.extend((length as u16).to_be_bytes());
            }
            length => {
                bytes.push(127 | flag);
                bytes.extend((length as u64).to_be_bytes());
            }
        }
        if masked {
            let mask = [1, 2, 3, 4];
            bytes.extend(mask);
            bytes.extend(self.payload.iter().zip(mask.iter().cycle()).map(|(a, b)| a ^ b));
        } else {
            bytes.extend(&self.payload);
        }
        bytes
    }

    /// The next one; `None` where the connection ends.
    pub fn read(reader: &mut impl Read) -> Option<Frame> {
        let mut head = [0; 2];
        reader.read_exact(&mut head).ok()?;
        let length = match head[1] & 0x7f {
            126 => {
                let mut length = [0; 2];
                reader.read_exact(&mut length).ok()?;
                u64::from(u16::from_be_bytes(length))
            }
            127 => {
                let mut length = [0; 8];
                reader.read_exact(&mut length).ok()?;
                u64::from_be_bytes(length)
            }
            short => u64::from(short),
        };
        let mut mask = [0; 4];
        if head[1] & 0x80 != 0 {
            reader.read_exact(&mut mask).ok()?;
        }
        let mut payload = vec![0; usize::try_from(length).unwrap()];
        reader.read_exact(&mut payload).ok()?;
        for (byte, mask) in payload.iter_mut().zip(mask.iter().cycle()) {
            *byte ^= mask;
        }
        Some(Frame {
            opcode: head[0] & 0x0f,
            payload,
        })
    }
}

/// What an origin saw.
#[derive(Debug, Default, Clone)]
pub struct Heard {
    /// Heads of handshakes, as sent.
    pub heads: Vec<String>,
    /// Close codes; `None` for connections that ended without.
    pub ends: Vec<Option<u16>>,
}

/// An origin that echoes frames. By the end of the path: `half` sends half a frame at first, `mute` only listens, `wrong`
/// accepts another key, `no` refuses.
pub struct WebSockets {
    pub address: SocketAddr,
    heard: Arc<Mutex<Heard>>,
}

impl WebSockets {
    pub fn start() -> WebSockets {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let heard = Arc::new(Mutex::new(Heard::default()));
        let log = heard.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let log = log.clone();
                std::thread::spawn(move || serve(stream, &log));
            }
        });
        WebSockets { address, heard }
    }

    pub fn heard(&self) -> Heard {
        self.heard.lock().unwrap().clone()
    }
}

fn serve(mut stream: TcpStream, log: &Mutex<Heard>) -> Option<()> {
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        if reader.read_line(&mut head).ok()? == 0 {
            return None;
        }
    }
    log.lock().unwrap().heads.push(head.clone());
    let path = head.split(' ').nth(1)?.rsplit('/').next()?.to_owned();
    let key = head.lines().find_map(|line| {
        line.to_ascii_lowercase()
            .starts_with("sec-websocket-key:")
            .then(|| line[18..].trim().to_owned())
    });
    let Some(key) = key.filter(|_| path != "no") else {
        return stream
            .write_all(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno")
            .ok();
    };
    let key = if path == "wrong" { "wrong".to_owned() } else { key };
    let accept = STANDARD.encode(openssl::sha::sha1(
        format!("{key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11").as_bytes(),
    ));
    let answer = format!(
        "HTTP/1.1 101 Switching Protocols\r\nServer: secret/1.0\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: {accept}\r\n\r\n"
    );
    stream.write_all(answer.as_bytes()).ok()?;
    if path == "half" {
        stream.write_all(&[0x81, 10, b'h', b'a', b'l', b'f']).ok()?;
    }
    let end = loop {
        let Some(frame) = Frame::read(&mut reader) else {
            break None;
        };
        if let Some(code) = frame.code() {
            let _ = stream.write_all(&frame.bytes(false));
            break Some(code);
        }
        if path != "mute" && stream.write_all(&frame.bytes(false)).is_err() {
            break None;
        }
    };
    log.lock().unwrap().ends.push(end);
    Some(())
}

impl Connection {
    /// Asks for a WebSocket with these further headers.
    pub fn upgrade(&mut self, path: &str, headers: &[(&str, &str)]) {
        let mut text = format!(
            "GET {path} HTTP/1.1\r\nHost: api.example\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: {KEY}\r\nSec-WebSocket-Version: 13\r\n"
        );
        for (name, value) in headers {
            text.push_str(&format!("{name}: {value}\r\n"));
        }
        self.write(text + "\r\n");
    }

    /// The head of the next answer, whatever its status.
    pub fn head(&mut self) -> String {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.extend(self.bytes(1));
        }
        String::from_utf8(head).unwrap()
    }

    pub fn send(&mut self, frame: &Frame) {
        self.write(frame.bytes(true));
    }

    /// The next frame; `None` where the connection ends instead.
    pub fn frame(&mut self) -> Option<Frame> {
        Frame::read(self.reader())
    }

    /// Ends the wait for bytes after so long.
    pub fn patience(&mut self, patience: Duration) {
        self.socket().set_read_timeout(Some(patience)).unwrap();
    }
}
