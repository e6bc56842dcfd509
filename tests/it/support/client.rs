//! An HTTP/1.1 client that sends exactly the bytes it is given.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use openssl::ssl::{SslConnector, SslConnectorBuilder, SslMethod, SslStream};

use super::Authority;

/// Nothing in a test takes longer than this to answer.
const PATIENCE: Duration = Duration::from_secs(20);

/// What came back.
#[derive(Debug, Clone)]
pub struct Answer {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Answer {
    /// The only value of a header, in any case.
    pub fn header(&self, name: &str) -> Option<&str> {
        let all: Vec<&str> = self
            .headers
            .iter()
            .filter(|(n, _)| n.eq_ignore_ascii_case(name))
            .map(|(_, v)| v.as_str())
            .collect();
        assert!(all.len() < 2, "{name} came {} times", all.len());
        all.first().copied()
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|why| panic!("{why}: {}", self.text()))
    }

    /// The code of a problem document.
    pub fn code(&self) -> String {
        assert_eq!(
            self.header("content-type"),
            Some("application/problem+json"),
            "{}",
            self.text()
        );
        self.json()["code"].as_str().unwrap().to_owned()
    }
}

/// Where to connect, and how.
pub struct Client {
    address: SocketAddr,
    tls: Option<SslConnector>,
    sni: Option<String>,
    any_name: bool,
    /// Sent before everything else, TLS included.
    first: Vec<u8>,
}

impl Client {
    /// Plain HTTP.
    pub fn new(address: SocketAddr) -> Client {
        Client {
            address,
            tls: None,
            sni: Some("api.example".to_owned()),
            any_name: false,
            first: Vec::new(),
        }
    }

    /// HTTPS, with this authority's certificates alone.
    pub fn trusting(self, authority: &Authority) -> Client {
        self.tls(authority, |_| ())
    }

    /// HTTPS with settings.
    pub fn tls(mut self, authority: &Authority, settings: impl FnOnce(&mut SslConnectorBuilder)) -> Client {
        let mut builder = SslConnector::builder(SslMethod::tls_client()).unwrap();
        let mut store = openssl::x509::store::X509StoreBuilder::new().unwrap();
        store.add_cert(authority.certificate.clone()).unwrap();
        builder.set_cert_store(store.build());
        settings(&mut builder);
        self.tls = Some(builder.build());
        self
    }

    /// Asks for another name in TLS.
    pub fn sni(mut self, name: &str) -> Client {
        self.sni = Some(name.to_owned());
        self
    }

    /// Asks for no name.
    pub fn without_sni(mut self) -> Client {
        self.sni = None;
        self.any_name()
    }

    /// Begins each connection with these bytes, before TLS.
    pub fn beginning(mut self, bytes: impl Into<Vec<u8>>) -> Client {
        self.first = bytes.into();
        self
    }

    /// Takes a certificate for another name.
    pub fn any_name(mut self) -> Client {
        self.any_name = true;
        self
    }

    /// Connects.
    pub fn connect(&self) -> Connection {
        self.try_connect()
            .unwrap_or_else(|why| panic!("no connection: {why}"))
    }

    /// Connects, or says why not.
    pub fn try_connect(&self) -> Result<Connection, String> {
        let stream = TcpStream::connect_timeout(&self.address, PATIENCE).map_err(|why| why.to_string())?;
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_nodelay(true).unwrap();
        let _ = (&stream).write_all(&self.first);
        let stream = match &self.tls {
            None => Stream::Plain(stream),
            Some(tls) => {
                let settings = tls
                    .configure()
                    .unwrap()
                    .use_server_name_indication(self.sni.is_some())
                    .verify_hostname(!self.any_name);
                let name = self.sni.as_deref().unwrap_or("unnamed");
                let stream = settings
                    .connect(name, stream)
                    .map_err(|why| format!("TLS: {why:?}"))?;
                Stream::Tls(Box::new(stream))
            }
        };
        Ok(Connection {
            stream: BufReader::new(stream),
        })
    }

    /// Sends these bytes on a connection of its own and reads one answer.
    pub fn send(&self, bytes: impl AsRef<[u8]>) -> Answer {
        let mut connection = self.connect();
        connection.write(bytes);
        connection.answer()
    }

    /// GET of a path for `api.example`, with headers.
    pub fn get(&self, path: &str, headers: &[(&str, &str)]) -> Answer {
        self.request("GET", path, headers, "")
    }

    /// GET with a bearer token.
    pub fn get_with(&self, path: &str, token: &str) -> Answer {
        self.get(path, &[("Authorization", &format!("Bearer {token}"))])
    }

    /// GET for another host.
    pub fn get_as(&self, path: &str, host: &str) -> Answer {
        self.send(format!(
            "GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n"
        ))
    }

    /// A request for `api.example`; a body is sent with its length.
    pub fn request(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> Answer {
        let mut connection = self.connect();
        connection.write(request(method, path, headers, body));
        connection.answer_to(method)
    }
}

/// The bytes of a request for `api.example`.
pub fn request(method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> String {
    let mut text = format!("{method} {path} HTTP/1.1\r\nHost: api.example\r\n");
    for (name, value) in headers {
        text.push_str(&format!("{name}: {value}\r\n"));
    }
    if !body.is_empty() {
        text.push_str(&format!("Content-Length: {}\r\n", body.len()));
    }
    text.push_str("\r\n");
    text.push_str(body);
    text
}

enum Stream {
    Plain(TcpStream),
    Tls(Box<SslStream<TcpStream>>),
}

impl Read for Stream {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        match self {
            Stream::Plain(stream) => stream.read(buffer),
            Stream::Tls(stream) => stream.read(buffer),
        }
    }
}

impl Write for Stream {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        match self {
            Stream::Plain(stream) => stream.write(bytes),
            Stream::Tls(stream) => stream.write(bytes),
        }
    }

    fn flush(&mut self) -> std::io::Result<()> {
        match self {
            Stream::Plain(stream) => stream.flush(),
            Stream::Tls(stream) => stream.flush(),
        }
    }
}

/// One connection, for requests one after another.
pub struct Connection {
    stream: BufReader<Stream>,
}

impl Connection {
    /// Sends bytes. A connection that the other end has closed already is no error: the answer may still be there.
    pub fn write(&mut self, bytes: impl AsRef<[u8]>) {
        let _ = self
            .stream
            .get_mut()
            .write_all(bytes.as_ref())
            .and_then(|()| self.stream.get_mut().flush());
    }

    /// The negotiated TLS session.
    pub fn ssl(&self) -> &openssl::ssl::SslRef {
        match self.stream.get_ref() {
            Stream::Tls(stream) => stream.ssl(),
            Stream::Plain(_) => panic!("not TLS"),
        }
    }

    /// Reads one answer.
    pub fn answer(&mut self) -> Answer {
        self.answer_to("GET")
    }

    /// Reads one answer to a request with this method.
    pub fn answer_to(&mut self, method: &str) -> Answer {
        self.try_answer(method).expect("no answer")
    }

    /// Reads one answer; `None` where the connection ends instead.
    pub fn try_answer(&mut self, method: &str) -> Option<Answer> {
        loop {
            let mut line = String::new();
            self.stream.read_line(&mut line).ok().filter(|n| *n > 0)?;
            let status: u16 = line.split(' ').nth(1)?.trim().parse().ok()?;
            let mut headers = Vec::new();
            loop {
                let mut line = String::new();
                self.stream.read_line(&mut line).ok().filter(|n| *n > 0)?;
                let line = line.trim_end();
                if line.is_empty() {
                    break;
                }
                let (name, value) = line.split_once(':')?;
                headers.push((name.to_owned(), value.trim().to_owned()));
            }
            if status < 200 {
                continue;
            }
            let mut answer = Answer {
                status,
                headers,
                body: Vec::new(),
            };
            if method != "HEAD" && status != 204 && status != 304 {
                self.body(&mut answer)?;
            }
            return Some(answer);
        }
    }

    fn body(&mut self, answer: &mut Answer) -> Option<()> {
        if answer.header("transfer-encoding") == Some("chunked") {
            loop {
                let mut line = String::new();
                self.stream.read_line(&mut line).ok().filter(|n| *n > 0)?;
                let size = usize::from_str_radix(line.trim(), 16).ok()?;
                let mut chunk = vec![0; size + 2];
                self.stream.read_exact(&mut chunk).ok()?;
                if size == 0 {
                    return Some(());
                }
                answer.body.extend_from_slice(&chunk[..size]);
            }
        }
        match answer.header("content-length") {
            Some(length) => {
                answer.body = vec![0; length.parse().ok()?];
                self.stream.read_exact(&mut answer.body).ok()
            }
            None => self.stream.read_to_end(&mut answer.body).ok().map(|_| ()),
        }
    }

    /// Status of the next head; `None` where none comes within `patience`.
    pub fn status_within(&mut self, patience: Duration) -> Option<u16> {
        self.socket().set_read_timeout(Some(patience)).unwrap();
        let mut line = String::new();
        let read = self.stream.read_line(&mut line);
        self.socket().set_read_timeout(Some(PATIENCE)).unwrap();
        read.ok()?;
        line.split(' ').nth(1)?.parse().ok()
    }

    /// Status of the next head, interim or final, which is read and thrown away.
    pub fn status(&mut self) -> u16 {
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            assert!(
                self.stream.read_line(&mut head).is_ok_and(|n| n > 0),
                "no answer: {head}"
            );
        }
        head.split(' ').nth(1).unwrap().parse().unwrap()
    }

    /// Where bytes come from.
    pub fn reader(&mut self) -> &mut impl Read {
        &mut self.stream
    }

    /// The socket below.
    pub fn socket(&self) -> &TcpStream {
        match self.stream.get_ref() {
            Stream::Plain(stream) => stream,
            Stream::Tls(stream) => stream.get_ref(),
        }
    }

    /// The next bytes, exactly so many.
    pub fn bytes(&mut self, count: usize) -> Vec<u8> {
        let mut bytes = vec![0; count];
        self.stream.read_exact(&mut bytes).expect("the connection ended");
        bytes
    }

    /// Everything until the connection ends.
    pub fn rest(&mut self) -> Vec<u8> {
        let mut bytes = Vec::new();
        let _ = self.stream.read_to_end(&mut bytes);
        bytes
    }

    /// Whether the other end has closed, or closes within `patience`.
    pub fn is_closed_within(&mut self, patience: Duration) -> bool {
        self.socket().set_read_timeout(Some(patience)).unwrap();
        let mut byte = [0];
        let ended = match self.stream.read(&mut byte) {
            Ok(0) => true,
            Ok(_) => panic!("more came"),
            Err(why) => !matches!(
                why.kind(),
                std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut
            ),
        };
        self.socket().set_read_timeout(Some(PATIENCE)).unwrap();
        ended
    }
}
