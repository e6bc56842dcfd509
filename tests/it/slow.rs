//! Clients that hold connections: each is gone at its deadline, costs little until then, and nobody else notices.
//!
//! `DURWARD_BINARY=target/release/durward DURWARD_SLOW_CLIENTS=2000 DURWARD_SLOW_SECONDS=60 DURWARD_IDLE_CLIENTS=1500 cargo test
//! --test it slow:: -- --nocapture` makes as many of them, with deadlines that long, and prints what they cost.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use openssl::ssl::{SslConnector, SslMethod};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::support::frames::{self, END_HEADERS};
use crate::support::{Authority, Gateway, Origin};

/// Ways to be slow, and how the gateway counts their end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Slow {
    /// Connects, and says nothing.
    Silent,
    /// Shakes hands, and says nothing.
    Idle,
    /// A byte of a head now and then.
    Head,
    /// A byte of a body now and then.
    Body,
    /// One request, and then nothing.
    KeepAlive,
    /// Agrees on HTTP/2, and does not begin.
    NoPreface,
    /// Begins with HTTP/2, and asks for nothing.
    Http2Idle,
    /// A byte of a frame now and then.
    Http2Frame,
    /// A byte of a body now and then.
    Http2Body,
}

const ALL: [Slow; 9] = [
    Slow::Silent,
    Slow::Idle,
    Slow::Head,
    Slow::Body,
    Slow::KeepAlive,
    Slow::NoPreface,
    Slow::Http2Idle,
    Slow::Http2Frame,
    Slow::Http2Body,
];

impl Slow {
    fn counted_as(self) -> &'static str {
        match self {
            Slow::Silent => "handshake_timeout",
            Slow::Idle | Slow::Head | Slow::NoPreface | Slow::Http2Frame => "head_timeout",
            Slow::KeepAlive | Slow::Http2Idle => "idle_timeout",
            Slow::Body | Slow::Http2Body => "body_too_slow",
        }
    }

    /// What is sent at once, and what is dripped.
    fn words(self) -> (Vec<u8>, Vec<u8>) {
        let start = [
            b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec(),
            frames::frame(frames::SETTINGS, 0, 0, &[]),
        ]
        .concat();
        let post = [
            &frames::request("POST", "/")[..],
            &[("content-type", "application/json")],
        ]
        .concat();
        match self {
            Slow::Silent | Slow::Idle | Slow::NoPreface => (vec![], vec![]),
            Slow::Head => (b"GET / HTTP/1.1\r\nHost: api.example\r\nX: ".to_vec(), b"x".to_vec()),
            Slow::Body => (
                b"POST / HTTP/1.1\r\nHost: api.example\r\nContent-Type: application/json\r\nContent-Length: 100000\r\n\r\n".to_vec(),
                b" ".to_vec(),
            ),
            Slow::KeepAlive => (b"GET / HTTP/1.1\r\nHost: api.example\r\n\r\n".to_vec(), vec![]),
            Slow::Http2Idle => (start, vec![]),
            Slow::Http2Frame => ([start, frames::frame(frames::HEADERS, END_HEADERS, 1, &[0; 1000])[..9].to_vec()].concat(), b"\x82".to_vec()),
            Slow::Http2Body => (
                [start, frames::frame(frames::HEADERS, END_HEADERS, 1, &frames::block(&post))].concat(),
                frames::frame(frames::DATA, 0, 1, b" "),
            ),
        }
    }

    /// How long it was held, from the moment that its deadline began.
    async fn hold(self, address: SocketAddr, tls: SslConnector, drip: Duration) -> Duration {
        let socket = TcpStream::connect(address).await.unwrap();
        if self == Slow::Silent {
            return self.talk(socket, drip).await;
        }
        let mut configuration = tls.configure().unwrap();
        if matches!(
            self,
            Slow::NoPreface | Slow::Http2Idle | Slow::Http2Frame | Slow::Http2Body
        ) {
            configuration.set_alpn_protos(b"\x02h2").unwrap();
        }
        let ssl = configuration.into_ssl("api.example").unwrap();
        let mut stream = tokio_openssl::SslStream::new(ssl, socket).unwrap();
        std::pin::Pin::new(&mut stream).connect().await.unwrap();
        self.talk(stream, drip).await
    }

    async fn talk<S: AsyncRead + AsyncWrite + Unpin>(self, mut stream: S, drip: Duration) -> Duration {
        let (first, again) = self.words();
        let began = Instant::now();
        let _ = stream.write_all(&first).await;
        let _ = stream.flush().await;
        let mut bytes = [0; 4096];
        loop {
            tokio::select! {
                read = stream.read(&mut bytes) => if matches!(read, Ok(0) | Err(_)) {
                    return began.elapsed();
                },
                () = tokio::time::sleep(drip) => {
                    let sent = stream.write_all(&again).await;
                    if sent.is_err() || stream.flush().await.is_err() {
                        return began.elapsed();
                    }
                }
            }
        }
    }
}

fn trusting(authority: &Authority) -> SslConnector {
    let mut builder = SslConnector::builder(SslMethod::tls_client()).unwrap();
    let mut store = openssl::x509::store::X509StoreBuilder::new().unwrap();
    store.add_cert(authority.certificate.clone()).unwrap();
    builder.set_cert_store(store.build());
    builder.build()
}

/// Memory of a process that is its own, in KiB.
fn memory(pid: u32) -> u64 {
    let rollup = std::fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap();
    let line = rollup.lines().find(|line| line.starts_with("Pss:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

/// How long a good client waits for its answers.
#[derive(Debug)]
struct Waits {
    median: Duration,
    p99: Duration,
    /// Of the second half, when nobody is shaking hands any longer.
    later_p99: Duration,
}

/// Asks and waits until it is told to end.
fn waits(gateway: &Gateway, mut until: impl FnMut() -> bool) -> Waits {
    let mut connection = gateway.client().connect();
    let mut all = Vec::new();
    while !until() || all.is_empty() {
        let began = Instant::now();
        connection.write("GET / HTTP/1.1\r\nHost: api.example\r\n\r\n");
        let answer = connection.answer();
        assert_eq!(answer.status, 200);
        all.push(began.elapsed());
        if answer.header("connection") == Some("close") {
            // as many requests as a connection may make
            connection = gateway.client().connect();
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    let quantile = |waits: &[Duration], percent: usize| {
        let mut waits = waits.to_vec();
        waits.sort();
        waits[(waits.len() * percent / 100).min(waits.len() - 1)]
    };
    Waits {
        median: quantile(&all, 50),
        p99: quantile(&all, 99),
        later_p99: quantile(&all[all.len() / 2..], 99),
    }
}

fn number(variable: &str, default: u64) -> u64 {
    std::env::var(variable).map_or(default, |value| value.parse().unwrap())
}

// S74
#[test]
fn slow_clients_are_gone_at_their_deadlines_and_good_ones_do_not_notice() {
    let (clients, seconds) = (
        number("DURWARD_SLOW_CLIENTS", 198),
        number("DURWARD_SLOW_SECONDS", 3),
    );
    let deadline = Duration::from_secs(seconds);
    let origin = Origin::start();
    let gateway = Gateway::start(&format!(
        "connections: {{ max_per_address: 5000, handshake_timeout: {}s, head_timeout: {seconds}s, \
         idle_timeout: {seconds}s, body_grace: {seconds}s }}\n\
         upstreams: {{ o: {{ targets: [\"{}\"], timeouts: {{ total: 5m, read: 5m }} }} }}\n\
         routes: [{{ match: {{ methods: [GET, POST], path: / }}, public: {{ reason: a, owner: b }}, upstream: o, \
         request: {{ body_timeout: 10m }} }}]\n",
        seconds.min(50),
        origin.address
    ));
    let alone = Instant::now();
    let usual = waits(&gateway, || alone.elapsed() > Duration::from_secs(1));
    let before = memory(gateway.pid());

    let tls = trusting(&gateway.authority);
    let address = gateway.https;
    let slow = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(async move {
            let mut held = tokio::task::JoinSet::new();
            for index in 0..clients {
                let kind = ALL[index as usize % ALL.len()];
                let (tls, drip) = (tls.clone(), Duration::from_millis(500));
                held.spawn(async move { (kind, kind.hold(address, tls, drip).await) });
            }
            held.join_all().await
        })
    });
    // when all of them are there; handshakes take their time, too
    let end = Instant::now() + deadline;
    let mut most = 0;
    let beside = waits(&gateway, || {
        most = most.max(memory(gateway.pid()));
        Instant::now() > end || slow.is_finished()
    });
    let held = slow.join().unwrap();

    // the clock is coarse, what is too slow is seen once a second, and machines that run tests are busy
    let latest = deadline + Duration::from_secs(6);
    for (kind, time) in &held {
        let deadline = if *kind == Slow::Silent {
            deadline.min(Duration::from_secs(50))
        } else {
            deadline
        };
        assert!(*time < latest, "{kind:?} was held for {time:?}");
        assert!(
            *time + Duration::from_millis(1500) > deadline,
            "{kind:?} was held for {time:?} only"
        );
    }
    let metrics = gateway.admin("/metrics").text();
    for kind in ALL {
        let label = format!("{{listener=\"{address}\",reason=\"{}\"}} ", kind.counted_as());
        let line = metrics
            .lines()
            .find(|line| line.contains("_connections_") && line.contains(&label));
        let line = line.unwrap_or_else(|| panic!("{kind:?} was not counted:\n{metrics}"));
        let counted: u64 = line.rsplit(' ').next().unwrap().parse().unwrap();
        let same = ALL
            .iter()
            .filter(|other| other.counted_as() == kind.counted_as())
            .count() as u64;
        assert!(counted >= same * (clients / ALL.len() as u64), "{line}");
    }
    let each = most.saturating_sub(before) / clients;
    let Waits {
        median,
        p99,
        later_p99,
    } = &beside;
    println!(
        "{clients} slow clients: {each} KiB each; a good one waits {median:?}, p99 {p99:?}, of the second half {later_p99:?}; \
         alone {usual:?}"
    );
    // by a binary that is not optimized, and with what handshakes took; an optimized one takes half of it
    assert!(each <= 192, "{each} KiB for each");
    assert!(
        beside.median < usual.median * 2 + Duration::from_millis(20),
        "{beside:?} beside them, {usual:?} alone"
    );
    // a head and a body that come too slowly are requests that were refused
    let records = gateway.records();
    for reason in ["head_too_slow", "body_too_slow", "handshake_timeout"] {
        assert!(
            records.iter().any(|record| record["error.type"] == reason),
            "{reason}"
        );
    }
}

/// Connects, asks once, and stays.
async fn stay(address: SocketAddr, tls: SslConnector) -> tokio_openssl::SslStream<TcpStream> {
    let ssl = tls.configure().unwrap().into_ssl("api.example").unwrap();
    let socket = TcpStream::connect(address).await.unwrap();
    let mut stream = tokio_openssl::SslStream::new(ssl, socket).unwrap();
    std::pin::Pin::new(&mut stream).connect().await.unwrap();
    let request = b"GET / HTTP/1.1\r\nHost: api.example\r\n\r\n";
    stream.write_all(request).await.unwrap();
    let mut answer = Vec::new();
    while !answer.ends_with(b"\r\n\r\n{\"from\":\"origin\"}") {
        let mut bytes = [0; 4096];
        let read = stream.read(&mut bytes).await.unwrap();
        assert!(read > 0);
        answer.extend_from_slice(&bytes[..read]);
    }
    stream
}

// S74: what a connection costs while nothing is asked for on it
#[test]
fn idle_connections_cost_little() {
    let clients = number("DURWARD_IDLE_CLIENTS", 200);
    let origin = Origin::start();
    let gateway = Gateway::start(&format!(
        "upstreams: {{ o: {{ targets: [\"{}\"] }} }}\n\
         routes: [{{ match: {{ methods: [GET], path: / }}, public: {{ reason: a, owner: b }}, upstream: o }}]\n",
        origin.address
    ));
    let (address, tls) = (gateway.https, trusting(&gateway.authority));
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    // what a process takes once is not theirs
    let warm: Vec<_> = (0..50)
        .map(|_| runtime.block_on(stay(address, tls.clone())))
        .collect();
    let before = memory(gateway.pid());
    let held: Vec<_> = (0..clients)
        .map(|_| runtime.block_on(stay(address, tls.clone())))
        .collect();
    std::thread::sleep(Duration::from_millis(500));
    let each = memory(gateway.pid()).saturating_sub(before) as f64 / clients as f64;
    println!("{clients} idle connections: {each:.1} KiB each");
    // a binary that is not optimized takes more than twice as much
    let most = if std::env::var_os("DURWARD_BINARY").is_some() {
        48.0
    } else {
        160.0
    };
    assert!(each <= most, "{each:.1} KiB for each");
    drop((warm, held));
}

// S74: what a client does not read is not kept for it
#[test]
fn a_client_that_does_not_read_is_given_up() {
    let long = "x".repeat(32 << 20);
    let origin = Origin::answering(move |_| crate::support::Reply::new(200, &[], &long));
    let gateway = Gateway::start(&format!(
        "connections: {{ write_timeout: 500ms }}\n\
         upstreams: {{ o: {{ targets: [\"{}\"] }} }}\n\
         routes: [{{ match: {{ methods: [GET], path: / }}, public: {{ reason: a, owner: b }}, upstream: o }}]\n",
        origin.address
    ));
    let before = memory(gateway.pid());
    let mut connection = gateway.client().connect();
    connection.write("GET / HTTP/1.1\r\nHost: api.example\r\n\r\n");
    assert_eq!(connection.status(), 200);
    let record = crate::support::eventually("its record", || gateway.records().pop());
    assert_eq!(record["durward.outcome"], "abort");
    let grown = memory(gateway.pid()).saturating_sub(before);
    // of 32 MiB; the first request of a process takes some by itself
    assert!(grown < 16 << 10, "{grown} KiB");
    let metrics = || gateway.admin("/metrics").text();
    crate::support::eventually("no upstream is blamed", || {
        let metrics = metrics();
        (metrics.contains("durward_connections{") && !metrics.contains("reason=\"upstream_")).then_some(())
    });
}

// S74: answers that nobody reads, one after the other
#[test]
fn a_client_that_asks_and_never_reads_is_given_up() {
    let gateway = Gateway::start(
        "connections: { write_timeout: 500ms }\n\
         routes: [{ match: { methods: [GET], path: / }, public: { reason: a, owner: b }, respond: 200 }]\n",
    );
    let socket = std::net::TcpStream::connect(gateway.http).unwrap();
    socket.set_write_timeout(Some(Duration::from_secs(20))).unwrap();
    let request = "GET / HTTP/1.1\r\nHost: api.example\r\n\r\n".repeat(1000);
    let began = Instant::now();
    let mut writer = &socket;
    while std::io::Write::write_all(&mut writer, request.as_bytes()).is_ok() {
        assert!(
            began.elapsed() < Duration::from_secs(15),
            "it still takes requests"
        );
    }
    crate::support::eventually("it is counted", || {
        let metrics = gateway.admin("/metrics").text();
        (metrics.contains("reason=\"write_timeout\"} 1") || metrics.contains("reason=\"max_requests\"} 1"))
            .then_some(())
    });
}
