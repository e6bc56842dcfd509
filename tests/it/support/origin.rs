//! An HTTP/1.1 origin that records the very bytes it was sent and answers as it is told.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use openssl::ssl::{SslAcceptor, SslAcceptorBuilder, SslMethod};

/// A request as the origin got it.
#[derive(Debug, Clone)]
pub struct Seen {
    /// Method.
    pub method: String,
    /// Target, byte for byte.
    pub target: String,
    /// Names as sent, values trimmed.
    pub headers: Vec<(String, String)>,
    /// The body; what came of it, where it broke off.
    pub body: Vec<u8>,
    /// Whether the body came to its end.
    pub complete: bool,
}

impl Seen {
    /// All values of a header, in any case.
    pub fn all(&self, name: &str) -> Vec<&str> {
        self.headers
            .iter()
            .filter(|(n, _)| n.eq_ignore_ascii_case(name))
            .map(|(_, v)| v.as_str())
            .collect()
    }

    /// The only value of a header.
    pub fn header(&self, name: &str) -> Option<&str> {
        let all = self.all(name);
        assert!(all.len() < 2, "{name} arrived {} times", all.len());
        all.first().copied()
    }
}

/// What the origin answers.
pub struct Reply {
    /// Everything, as it goes over the wire, in parts.
    pub parts: Vec<Vec<u8>>,
    /// Waits so long before each part.
    pub delay: Duration,
    /// Closes the connection afterwards.
    pub close: bool,
}

impl Reply {
    /// A status with headers and a body.
    pub fn new(status: u16, headers: &[(&str, &str)], body: &str) -> Reply {
        let mut text = format!("HTTP/1.1 {status} Status\r\nContent-Length: {}\r\n", body.len());
        for (name, value) in headers {
            text.push_str(&format!("{name}: {value}\r\n"));
        }
        text.push_str("\r\n");
        text.push_str(body);
        Reply::raw(text)
    }

    /// These bytes.
    pub fn raw(bytes: impl Into<Vec<u8>>) -> Reply {
        Reply {
            parts: vec![bytes.into()],
            delay: Duration::ZERO,
            close: false,
        }
    }

    pub fn ok() -> Reply {
        Reply::new(
            200,
            &[("Content-Type", "application/json")],
            "{\"from\":\"origin\"}",
        )
    }

    pub fn after(mut self, delay: Duration) -> Reply {
        self.delay = delay;
        self
    }

    pub fn closing(mut self) -> Reply {
        self.close = true;
        self
    }
}

type Behaviour = dyn Fn(&Seen) -> Reply + Send + Sync;

/// A running origin. Its threads end with the process.
pub struct Origin {
    pub address: SocketAddr,
    seen: Arc<Mutex<Vec<Seen>>>,
    connections: Arc<AtomicUsize>,
    heads: Arc<AtomicUsize>,
}

impl Origin {
    /// Answers 200 to everything.
    pub fn start() -> Origin {
        Origin::answering(|_| Reply::ok())
    }

    pub fn answering(behaviour: impl Fn(&Seen) -> Reply + Send + Sync + 'static) -> Origin {
        Origin::serving(any_port(), behaviour, Some)
    }

    /// The same at this address.
    pub fn at(address: SocketAddr, behaviour: impl Fn(&Seen) -> Reply + Send + Sync + 'static) -> Origin {
        Origin::serving(TcpListener::bind(address).unwrap(), behaviour, |stream| {
            Some(stream)
        })
    }

    /// The same behind TLS, with this certificate and key in PEM.
    pub fn tls(
        certificate: &[u8],
        key: &[u8],
        behaviour: impl Fn(&Seen) -> Reply + Send + Sync + 'static,
    ) -> Origin {
        Origin::tls_with(certificate, key, behaviour, |_| {})
    }

    /// The same, with something else about its TLS.
    pub fn tls_with(
        certificate: &[u8],
        key: &[u8],
        behaviour: impl Fn(&Seen) -> Reply + Send + Sync + 'static,
        change: impl FnOnce(&mut SslAcceptorBuilder),
    ) -> Origin {
        let mut acceptor = SslAcceptor::mozilla_intermediate_v5(SslMethod::tls_server()).unwrap();
        acceptor
            .set_certificate(&openssl::x509::X509::from_pem(certificate).unwrap())
            .unwrap();
        acceptor
            .set_private_key(&openssl::pkey::PKey::private_key_from_pem(key).unwrap())
            .unwrap();
        change(&mut acceptor);
        let acceptor = acceptor.build();
        Origin::serving(any_port(), behaviour, move |stream| acceptor.accept(stream).ok())
    }

    fn serving<S: Read + Write>(
        listener: TcpListener,
        behaviour: impl Fn(&Seen) -> Reply + Send + Sync + 'static,
        wrap: impl Fn(TcpStream) -> Option<S> + Send + Sync + 'static,
    ) -> Origin {
        let address = listener.local_addr().unwrap();
        let seen = Arc::new(Mutex::new(Vec::new()));
        let connections = Arc::new(AtomicUsize::new(0));
        let heads = Arc::new(AtomicUsize::new(0));
        let (log, count, begun) = (seen.clone(), connections.clone(), heads.clone());
        let behaviour: Arc<Behaviour> = Arc::new(behaviour);
        let wrap = Arc::new(wrap);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                count.fetch_add(1, Ordering::SeqCst);
                let (log, behaviour, wrap) = (log.clone(), behaviour.clone(), wrap.clone());
                let begun = begun.clone();
                std::thread::spawn(move || {
                    if let Some(stream) = wrap(stream) {
                        serve(stream, &log, &begun, &*behaviour);
                    }
                });
            }
        });
        Origin {
            address,
            seen,
            connections,
            heads,
        }
    }

    /// Everything that was asked so far, broken requests included.
    pub fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }

    /// The only request that was asked.
    pub fn only(&self) -> Seen {
        let seen = self.seen();
        assert_eq!(seen.len(), 1, "{seen:?}");
        seen[0].clone()
    }

    /// Requests begun so far, those included that are still being read.
    pub fn begun(&self) -> usize {
        self.heads.load(Ordering::SeqCst)
    }

    /// Connections accepted so far.
    pub fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }
}

fn any_port() -> TcpListener {
    TcpListener::bind("127.0.0.1:0").unwrap()
}

fn serve<S: Read + Write>(stream: S, log: &Mutex<Vec<Seen>>, begun: &AtomicUsize, behaviour: &Behaviour) {
    let mut stream = BufReader::new(stream);
    while let Some(mut seen) = head(&mut stream) {
        begun.fetch_add(1, Ordering::SeqCst);
        seen.complete = body(&mut stream, &mut seen).is_some();
        let complete = seen.complete;
        log.lock().unwrap().push(seen.clone());
        if !complete {
            return;
        }
        let reply = behaviour(&seen);
        for part in &reply.parts {
            std::thread::sleep(reply.delay);
            if stream
                .get_mut()
                .write_all(part)
                .and_then(|()| stream.get_mut().flush())
                .is_err()
            {
                return;
            }
        }
        if reply.close {
            return;
        }
    }
}

fn head<S: Read>(stream: &mut BufReader<S>) -> Option<Seen> {
    let mut line = String::new();
    stream.read_line(&mut line).ok().filter(|n| *n > 0)?;
    let mut words = line.trim_end().splitn(3, ' ');
    let (method, target) = (words.next()?.to_owned(), words.next()?.to_owned());
    let mut headers = Vec::new();
    loop {
        let mut line = String::new();
        stream.read_line(&mut line).ok().filter(|n| *n > 0)?;
        let line = line.trim_end_matches(['\r', '\n']);
        if line.is_empty() {
            return Some(Seen {
                method,
                target,
                headers,
                body: Vec::new(),
                complete: false,
            });
        }
        let (name, value) = line.split_once(':')?;
        headers.push((name.to_owned(), value.trim().to_owned()));
    }
}

fn body<S: Read>(stream: &mut BufReader<S>, seen: &mut Seen) -> Option<()> {
    if seen
        .all("transfer-encoding")
        .iter()
        .any(|v| v.eq_ignore_ascii_case("chunked"))
    {
        loop {
            let mut line = String::new();
            stream.read_line(&mut line).ok().filter(|n| *n > 0)?;
            let size = usize::from_str_radix(line.trim(), 16).ok()?;
            let mut chunk = vec![0; size + 2];
            stream.read_exact(&mut chunk).ok()?;
            if size == 0 {
                return Some(());
            }
            seen.body.extend_from_slice(&chunk[..size]);
        }
    }
    let length: usize = seen
        .all("content-length")
        .first()
        .map_or(Some(0), |v| v.parse().ok())?;
    let mut limited = stream.take(length as u64);
    let read = limited.read_to_end(&mut seen.body);
    (read.is_ok() && seen.body.len() == length).then_some(())
}
