//! An HTTP/2 client over TLS, one connection a call.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use http::Request;
use openssl::ssl::{SslConnector, SslConnectorBuilder, SslMethod};

use super::{Answer, Authority};

/// Sends requests on one connection, one after another, each with its body in one or more DATA frames, and returns the
/// answers; `None` where the stream was reset. Fewer than requests where the gateway said goodbye in between.
pub fn exchange(
    address: SocketAddr,
    authority: &Authority,
    requests: Vec<(Request<()>, Vec<Bytes>)>,
) -> Vec<Option<Answer>> {
    exchange_slowly(address, authority, requests, Duration::ZERO)
}

/// The same, with a pause after each part of a body.
pub fn exchange_slowly(
    address: SocketAddr,
    authority: &Authority,
    requests: Vec<(Request<()>, Vec<Bytes>)>,
    pause: Duration,
) -> Vec<Option<Answer>> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        tokio::time::timeout(Duration::from_secs(30), run(address, authority, requests, pause))
            .await
            .expect("too slow")
    })
}

/// One request without a body.
pub fn get(address: SocketAddr, authority: &Authority, path: &str, headers: &[(&str, &str)]) -> Answer {
    let mut request = Request::get(format!("https://api.example{path}"));
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let request = request.body(()).unwrap();
    exchange(address, authority, vec![(request, Vec::new())])
        .remove(0)
        .expect("the stream was reset")
}

/// A connection, and the task that drives it.
pub async fn connect(
    address: SocketAddr,
    authority: &Authority,
) -> (::h2::client::SendRequest<Bytes>, tokio::task::JoinHandle<()>) {
    connect_with(address, authority, |_| ()).await
}

/// The same with settings.
pub async fn connect_with(
    address: SocketAddr,
    authority: &Authority,
    settings: impl FnOnce(&mut SslConnectorBuilder),
) -> (::h2::client::SendRequest<Bytes>, tokio::task::JoinHandle<()>) {
    let mut builder = SslConnector::builder(SslMethod::tls_client()).unwrap();
    let mut store = openssl::x509::store::X509StoreBuilder::new().unwrap();
    store.add_cert(authority.certificate.clone()).unwrap();
    builder.set_cert_store(store.build());
    builder.set_alpn_protos(b"\x02h2").unwrap();
    settings(&mut builder);
    let ssl = builder
        .build()
        .configure()
        .unwrap()
        .into_ssl("api.example")
        .unwrap();
    let socket = tokio::net::TcpStream::connect(address).await.unwrap();
    let mut stream = tokio_openssl::SslStream::new(ssl, socket).unwrap();
    std::pin::Pin::new(&mut stream).connect().await.unwrap();
    let (client, connection) = ::h2::client::handshake(stream).await.unwrap();
    let driver = tokio::spawn(async move { _ = connection.await });
    (client, driver)
}

async fn run(
    address: SocketAddr,
    authority: &Authority,
    requests: Vec<(Request<()>, Vec<Bytes>)>,
    pause: Duration,
) -> Vec<Option<Answer>> {
    let (mut client, driver) = connect(address, authority).await;
    let mut answers = Vec::new();
    for (request, parts) in requests {
        // told to leave (GOAWAY) before it was sent: to be sent elsewhere
        client = match client.ready().await {
            Ok(client) => client,
            Err(why) if why.is_go_away() && why.reason() == Some(::h2::Reason::NO_ERROR) => break,
            Err(why) => panic!("{why}"),
        };
        answers.push(one_slowly(&mut client, request, parts, pause).await.ok());
    }
    driver.abort();
    answers
}

/// One request and its answer; the parts of its body as DATA frames.
pub async fn one(
    client: &mut ::h2::client::SendRequest<Bytes>,
    request: Request<()>,
    parts: Vec<Bytes>,
) -> Result<Answer, ::h2::Error> {
    one_slowly(client, request, parts, Duration::ZERO).await
}

/// The same, with a pause after each part of the body.
async fn one_slowly(
    client: &mut ::h2::client::SendRequest<Bytes>,
    request: Request<()>,
    parts: Vec<Bytes>,
    pause: Duration,
) -> Result<Answer, ::h2::Error> {
    let (response, mut body) = client.send_request(request, parts.is_empty())?;
    let sending = async {
        let last = parts.len().saturating_sub(1);
        for (index, mut part) in parts.into_iter().enumerate() {
            while !part.is_empty() {
                body.reserve_capacity(part.len().min(16_384));
                let Some(Ok(capacity)) = std::future::poll_fn(|cx| body.poll_capacity(cx)).await else {
                    return;
                };
                let piece = part.split_to(capacity.min(part.len()));
                let end = index == last && part.is_empty();
                if body.send_data(piece, end).is_err() {
                    return;
                }
            }
            if !pause.is_zero() {
                tokio::time::sleep(pause).await;
            }
        }
    };
    let receiving = async {
        let (head, mut body) = response.await?.into_parts();
        let mut bytes = Vec::new();
        while let Some(part) = body.data().await {
            let part = part?;
            body.flow_control().release_capacity(part.len())?;
            bytes.extend_from_slice(&part);
        }
        let headers = head
            .headers
            .iter()
            .map(|(n, v)| (n.to_string(), String::from_utf8_lossy(v.as_bytes()).into()));
        Ok(Answer {
            status: head.status.as_u16(),
            headers: headers.collect(),
            body: bytes,
        })
    };
    tokio::pin!(sending, receiving);
    // an answer may come before everything is sent
    tokio::select! {
        biased;
        answer = &mut receiving => answer,
        () = &mut sending => receiving.await,
    }
}
