//! Open streams whose client certificate is taken back (M11, U20).

use std::time::{Duration, Instant};

use super::asking;
use crate::support::client::{Connection, request};
use crate::support::pki::{Held, authority, client};
use crate::support::ws::{Frame, WebSockets};
use crate::support::{Gateway, Origin, Reply, eventually};

const SECOND: Duration = Duration::from_secs(1);
const DAY: i64 = 86_400;

/// A part every twentieth of a second, for 30 seconds; `/events` and `/public` as event streams.
fn streaming() -> Origin {
    Origin::answering(|seen| {
        let kind = if seen.target == "/open" {
            "text/csv"
        } else {
            "text/event-stream"
        };
        let head = format!("HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\nTransfer-Encoding: chunked\r\n\r\n");
        let mut parts = vec![head.into_bytes()];
        parts.extend((0..600).map(|n| format!("d\r\ndata: {n:05}\n\n\r\n").into_bytes()));
        Reply {
            parts,
            delay: Duration::from_millis(50),
            close: false,
        }
    })
}

struct House {
    gateway: Gateway,
    _sockets: WebSockets,
    _origin: Origin,
}

fn house(ca: &Held, trust: &str, files: &[(&str, &[u8])]) -> House {
    let (sockets, origin) = (WebSockets::start(), streaming());
    let route =
        |path: &str, rules: &str| format!("- {{ match: {{ methods: [GET], path: {path} }}, {rules} }}\n");
    let mtls = "auth: { client_certificate: partners }";
    let mut start = asking(
        ca,
        trust,
        &format!(
            "client_certificates: {{ partners: {{ trust: partners }} }}\n\
             upstreams: {{ o: {{ targets: [\"{}\"] }}, sockets: {{ targets: [\"{}\"] }} }}\nroutes:\n{}{}{}{}",
            origin.address,
            sockets.address,
            route("/ws", &format!("{mtls}, websocket: {{}}, upstream: sockets")),
            route("/events", &format!("{mtls}, upstream: o")),
            route("/open", &format!("{mtls}, upstream: o")),
            // a certificate that is not good is refused here, too
            route("/public", "public: { reason: test, owner: us }, upstream: o"),
        ),
    );
    for (name, contents) in files {
        start = start.file(name, contents);
    }
    House {
        gateway: start.start(),
        _sockets: sockets,
        _origin: origin,
    }
}

/// One stream of each kind on connections with this certificate.
struct Streams {
    socket: Connection,
    events: Connection,
    open: Connection,
    public: Connection,
}

impl Streams {
    fn open(gateway: &Gateway, held: &Held) -> Streams {
        let stream = |path: &str| {
            let mut connection = held.client(gateway).connect();
            connection.write(request("GET", path, &[], ""));
            assert_eq!(connection.status(), 200, "{path}");
            connection
        };
        let mut socket = held.client(gateway).connect();
        socket.upgrade("/ws", &[]);
        let head = socket.head();
        assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
        Streams {
            socket,
            events: stream("/events"),
            open: stream("/open"),
            public: stream("/public"),
        }
    }

    /// All of them have ended, each in its way.
    fn are_over(mut self) {
        let frame = self.socket.frame().unwrap();
        assert_eq!(
            (frame.code(), &frame.payload[2..]),
            (Some(1008), &b"invalid_client_certificate"[..])
        );
        for mut ended in [self.events, self.public] {
            let rest = String::from_utf8_lossy(&ended.rest()).into_owned();
            assert!(rest.ends_with("0\r\n\r\n"), "a clean end: {rest:?}");
        }
        let rest = String::from_utf8_lossy(&self.open.rest()).into_owned();
        assert!(
            !rest.ends_with("0\r\n\r\n"),
            "cut off, so that it is not taken for whole"
        );
    }

    /// They go on.
    fn stay(&mut self) {
        let hello = Frame {
            opcode: 1,
            payload: b"hello".to_vec(),
        };
        self.socket.send(&hello);
        assert_eq!(self.socket.frame().unwrap(), hello);
        for stream in [&mut self.events, &mut self.open, &mut self.public] {
            // more than can have come before
            assert_eq!(stream.bytes(1000).len(), 1000);
        }
    }
}

/// Opens streams of both, takes something back, and looks at what becomes of them.
fn taken_back(house: &House, held: &Held, neighbour: &Held, name: &str, contents: &[u8], reason: &str) {
    let gateway = &house.gateway;
    let (streams, mut others) = (Streams::open(gateway, held), Streams::open(gateway, neighbour));
    // nothing has happened yet
    let mut before = Streams::open(gateway, held);
    before.stay();
    drop(before);
    let begun = Instant::now();
    gateway.folder.write(name, contents);
    gateway.signal("HUP");
    streams.are_over();
    let took = begun.elapsed();
    assert!(took < SECOND, "{reason}: {took:?}");
    others.stay();
    let is_it = |record: &&serde_json::Value| {
        record["durward.closed"] == reason || record["error.type"] == reason && record["url.path"] == "/open"
    };
    eventually("the records", || {
        let records = gateway.records();
        (records.iter().filter(is_it).count() >= 4).then_some(())
    });
    let metrics = gateway.admin("/metrics").text();
    for (kind, count) in [("websocket", 1), ("events", 2)] {
        let line = format!("durward_streams_ended_total{{kind=\"{kind}\",reason=\"{reason}\"}} {count}\n");
        assert!(metrics.contains(&line), "{line}: {metrics}");
    }
}

// M11, U20: by its fingerprint
#[test]
fn streams_of_a_certificate_that_is_denied_end_within_a_second_and_their_neighbours_stay() {
    let ca = authority("root").root();
    let (held, neighbour) = (ca.issue(&client("held")), ca.issue(&client("neighbour")));
    let house = house(&ca, ", denied_file: denied.txt", &[("denied.txt", b"")]);
    let denied = format!("{} # stolen\n", held.sha256());
    let reason = "client_certificate_denied";
    taken_back(&house, &held, &neighbour, "denied.txt", denied.as_bytes(), reason);
}

// M11, U20: by a list of its CA
#[test]
fn streams_of_a_certificate_that_its_ca_revokes_end_within_a_second_and_their_neighbours_stay() {
    let ca = authority("root").root();
    let (held, neighbour) = (ca.issue(&client("held")), ca.issue(&client("neighbour")));
    let house = house(
        &ca,
        ", crl: [ca.crl]",
        &[("ca.crl", &ca.revoking(&[], -DAY, DAY))],
    );
    let list = ca.revoking(&[&held], -DAY, DAY);
    taken_back(
        &house,
        &held,
        &neighbour,
        "ca.crl",
        &list,
        "client_certificate_revoked",
    );
}

// M11, S19: with its CA
#[test]
fn streams_of_a_ca_that_is_taken_away_end_within_a_second_and_their_neighbours_stay() {
    let (ca, other) = (authority("root").root(), authority("other").root());
    let (held, neighbour) = (ca.issue(&client("held")), other.issue(&client("neighbour")));
    let house = house(&ca, "", &[("ca.pem", &[ca.pem(), other.pem()].concat())]);
    let reason = "client_certificate_issuer_unknown";
    taken_back(&house, &held, &neighbour, "ca.pem", &other.pem(), reason);
}

// M11, U20: nobody has to tell the gateway, and a list that ends is no list
#[test]
fn streams_end_when_the_file_changes_and_when_a_list_is_out_of_date() {
    let ca = authority("root").root();
    let held = ca.issue(&client("held"));
    let lists = ca.revoking(&[], -DAY, 6);
    let house = house(
        &ca,
        ", crl: [ca.crl], on_stale: refuse, denied_file: denied.txt",
        &[("ca.crl", &lists), ("denied.txt", b"")],
    );
    let gateway = &house.gateway;
    // the list has six seconds
    Streams::open(gateway, &held).are_over();
    gateway.folder.write("ca.crl", ca.revoking(&[], -DAY, DAY));
    let streams = eventually("a new list", || {
        let mut connection = held.client(gateway).try_connect().ok()?;
        connection.write(request("GET", "/open", &[], ""));
        let is_good = connection.status_within(SECOND) == Some(200);
        is_good.then(|| Streams::open(gateway, &held))
    });
    let begun = Instant::now();
    gateway.folder.write("denied.txt", held.sha256());
    streams.are_over();
    // two glances at the file, the time to compile it, and what a busy machine takes
    let took = begun.elapsed();
    assert!(took < SECOND * 2, "{took:?}");
}
