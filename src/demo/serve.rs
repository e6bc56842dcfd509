//! A small HTTP/1.1 server on a thread of its own, for the demo's origin and issuer.
//!
//! What is answered is a plain function of the request; this file owns sockets, deadlines and bounds.

use std::convert::Infallible;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderValue};
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::{Body, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use serde_json::{Value, json};
use tokio::sync::{Semaphore, oneshot};

/// An answer, whole.
pub type Answer = Response<Full<Bytes>>;

/// Connections served at a time; more wait to be accepted.
const CONNECTIONS: usize = 256;
/// Largest body read, in bytes: twice what the gateway lets through.
const BODY: usize = 2 << 20;
/// For a request head, waiting for it included: longer than the gateway keeps idle connections (30 s).
const HEAD_TIMEOUT: Duration = Duration::from_secs(75);
/// For a request body.
const BODY_TIMEOUT: Duration = Duration::from_secs(30);

/// A running server. Dropping it stops the server and waits for its thread.
#[derive(Debug)]
pub struct Server {
    /// Where it listens.
    pub address: SocketAddr,
    stop: Option<oneshot::Sender<Infallible>>,
    thread: Option<JoinHandle<()>>,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop.take();
        if let Some(thread) = self.thread.take() {
            // A thread that has panicked has already said so on stderr.
            let _ = thread.join();
        }
    }
}

/// A socket on a free port of 127.0.0.1, for [`serve`].
///
/// # Errors
/// Those of the operating system.
pub fn bind() -> io::Result<TcpListener> {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
}

/// Serves `answer` on `socket` from a thread called `name`, until the [`Server`] is dropped.
///
/// # Errors
/// Those of the operating system: no thread or no file descriptors left.
pub fn serve<F>(name: &str, socket: TcpListener, answer: F) -> io::Result<Server>
where
    F: Fn(&Request<Bytes>) -> Answer + Send + Sync + 'static,
{
    let address = socket.local_addr()?;
    socket.set_nonblocking(true)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .enable_time()
        .build()?;
    let socket = {
        let _entered = runtime.enter();
        tokio::net::TcpListener::from_std(socket)?
    };
    let (stop, stopped) = oneshot::channel::<Infallible>();
    let thread = std::thread::Builder::new().name(name.to_owned()).spawn(move || {
        runtime.block_on(async {
            tokio::select! {
                () = accept(socket, Arc::new(answer)) => {}
                _ = stopped => {}
            }
        });
    })?;
    Ok(Server {
        address,
        stop: Some(stop),
        thread: Some(thread),
    })
}

async fn accept<F>(socket: tokio::net::TcpListener, answer: Arc<F>)
where
    F: Fn(&Request<Bytes>) -> Answer + Send + Sync + 'static,
{
    let permits = Arc::new(Semaphore::new(CONNECTIONS));
    while let Ok(permit) = Arc::clone(&permits).acquire_owned().await {
        let Ok((stream, _)) = socket.accept().await else {
            // Out of file descriptors, most likely: some will be closed soon.
            tokio::time::sleep(Duration::from_millis(100)).await;
            continue;
        };
        let answer = Arc::clone(&answer);
        tokio::spawn(async move {
            let service = service_fn(move |request| respond(request, Arc::clone(&answer)));
            // Ends with an error when the client goes away mid-request: nothing to do about that here.
            let _ = http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(HEAD_TIMEOUT)
                .serve_connection(TokioIo::new(stream), service)
                .await;
            drop(permit);
        });
    }
}

async fn respond<F>(request: Request<Incoming>, answer: Arc<F>) -> Result<Answer, Infallible>
where
    F: Fn(&Request<Bytes>) -> Answer,
{
    let (head, body) = request.into_parts();
    let too_large = json!({"error": "the body is larger than this service takes"});
    if body.size_hint().lower() > BODY as u64 {
        // Announced: not even waited for.
        return Ok(json(StatusCode::PAYLOAD_TOO_LARGE, &too_large));
    }
    let body = tokio::time::timeout(BODY_TIMEOUT, Limited::new(body, BODY).collect()).await;
    Ok(match body {
        Ok(Ok(body)) => answer(&Request::from_parts(head, body.to_bytes())),
        Ok(Err(_)) => json(StatusCode::PAYLOAD_TOO_LARGE, &too_large),
        Err(_) => json(
            StatusCode::REQUEST_TIMEOUT,
            &json!({"error": "the body did not arrive"}),
        ),
    })
}

/// An answer of type `application/json`.
#[must_use]
pub fn json(status: StatusCode, body: &Value) -> Answer {
    let mut answer = Response::new(Full::new(Bytes::from(format!("{body}\n"))));
    *answer.status_mut() = status;
    answer
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    answer
}

/// One request over a real socket, for tests: the whole answer as text.
#[cfg(test)]
pub fn exchange(address: SocketAddr, request: &str) -> String {
    use std::io::{Read, Write};
    let mut stream = std::net::TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dropped_server_is_gone() {
        let server = serve("test", bind().unwrap(), |_| json(StatusCode::OK, &json!("here"))).unwrap();
        let address = server.address;
        let answer = exchange(address, "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
        assert!(
            answer.starts_with("HTTP/1.1 200 ") && answer.ends_with("\"here\"\n"),
            "{answer}"
        );
        drop(server);
        assert!(std::net::TcpStream::connect(address).is_err());
    }

    #[test]
    fn a_body_over_the_limit_is_not_kept() {
        let server = serve("test", bind().unwrap(), |_| json(StatusCode::OK, &json!("here"))).unwrap();
        let request = format!(
            "POST / HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: {}\r\n\r\n",
            BODY + 1
        );
        let answer = exchange(server.address, &request);
        assert!(answer.starts_with("HTTP/1.1 413 "), "{answer}");
    }
}
