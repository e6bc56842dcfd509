//! HTTP/2 against those who serve it: each attack is ended early, and costs neither memory nor time (RFC 9113 section
//! 10.5).

use std::time::{Duration, Instant};

use crate::support::frames::{self, CONTINUATION, DATA, END_HEADERS, END_STREAM, Raw};
use crate::support::{Gateway, Origin, Reply, eventually};

/// Sent at most by each attacker.
const MANY: u32 = 20_000;

fn start(origin: &Origin) -> Gateway {
    Gateway::start(&format!(
        "connections: {{ write_timeout: 2s }}\n\
         upstreams: {{ o: {{ targets: [\"{}\"] }} }}\n\
         routes: [{{ match: {{ methods: [GET, POST], path: / }}, public: {{ reason: a, owner: b }}, upstream: o }}]\n",
        origin.address
    ))
}

/// Memory of its own in KiB, and processor time in clock ticks of 10 ms.
fn cost(gateway: &Gateway) -> (u64, u64) {
    let pid = gateway.pid();
    let rollup = std::fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap();
    let line = rollup.lines().find(|line| line.starts_with("Pss:")).unwrap();
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let times: Vec<u64> = stat
        .rsplit_once(')')
        .unwrap()
        .1
        .split_whitespace()
        .filter_map(|word| word.parse().ok())
        .collect();
    (
        line.split_whitespace().nth(1).unwrap().parse().unwrap(),
        times[10] + times[11],
    )
}

/// Ten attackers, one after the other: each is told to leave, or cut off, before it has sent everything; memory grows by
/// less than 24 MiB (of which the allocator keeps most) and no more than three seconds of processor time are spent (by a binary that is not optimized). How
/// many words each got off, and the code of the goodbye to those that heard it.
fn attack(mut word: impl FnMut(&mut Raw, u32) -> bool) -> (Vec<u32>, Vec<u32>) {
    let origin = Origin::start();
    let gateway = start(&origin);
    let mut good = gateway.client().connect();
    let before = cost(&gateway);
    let (mut sent, mut codes) = (Vec::new(), Vec::new());
    for _ in 0..10 {
        let mut raw = Raw::connect(gateway.https, &gateway.authority);
        let got = (0..MANY).find(|index| !word(&mut raw, *index));
        sent.push(got.unwrap_or(MANY));
        // those whose last words crossed the goodbye do not hear it
        codes.extend(
            raw.rest()
                .iter()
                .filter(|frame| frame.kind == frames::GOAWAY)
                .map(frames::Frame::code),
        );
        assert!(raw.is_closed_within(Duration::from_secs(1)));
    }
    let after = cost(&gateway);
    let (grown, spent) = (after.0.saturating_sub(before.0), after.1 - before.1);
    println!("sent {sent:?}, told {codes:?}, {grown} KiB, {spent}0 ms");
    assert!(grown < 24 << 10, "{grown} KiB");
    assert!(spent < 300, "{spent}0 ms");
    good.write("GET / HTTP/1.1\r\nHost: api.example\r\n\r\n");
    assert_eq!(good.answer().status, 200);
    (sent, codes)
}

fn ended_early(sent: &[u32]) {
    assert!(sent.iter().all(|sent| *sent < MANY), "{sent:?}");
}

// CVE-2023-44487
#[test]
fn rapid_reset() {
    let (sent, _) = attack(|raw, index| {
        raw.get(2 * index + 1, "/") && raw.send(frames::RST_STREAM, 0, 2 * index + 1, &8u32.to_be_bytes())
    });
    ended_early(&sent);
}

// CVE-2023-44487, slowly: each is decided and on its way before it is reset
#[test]
fn resets_of_requests_that_are_under_way_are_counted() {
    let origin = Origin::answering(|_| Reply::ok().after(Duration::from_millis(500)));
    let gateway = start(&origin);
    let mut raw = Raw::connect(gateway.https, &gateway.authority);
    let mut index = 0;
    let began = Instant::now();
    while raw.get(2 * index + 1, "/") {
        std::thread::sleep(Duration::from_millis(3));
        if !raw.send(frames::RST_STREAM, 0, 2 * index + 1, &8u32.to_be_bytes()) {
            break;
        }
        index += 1;
        assert!(
            index < 400 && began.elapsed() < Duration::from_secs(15),
            "never told to leave"
        );
    }
    assert!(index >= 100, "{index} are within what is allowed");
    eventually("it is counted", || {
        gateway
            .admin("/metrics")
            .text()
            .contains("reason=\"http2_resets\"} 1")
            .then_some(())
    });
}

// CVE-2025-8671 (MadeYouReset): the server is made to reset
#[test]
fn streams_that_we_are_made_to_reset_are_counted_too() {
    let (sent, _) = attack(|raw, index| {
        // an increment of 0 is an error of the stream
        raw.get(2 * index + 1, "/") && raw.send(frames::WINDOW_UPDATE, 0, 2 * index + 1, &[0; 4])
    });
    ended_early(&sent);
}

// CVE-2024-27316
#[test]
fn a_block_of_headers_without_an_end() {
    let (sent, _) = attack(|raw, index| match index {
        0 => raw.send(
            frames::HEADERS,
            END_STREAM,
            1,
            &frames::block(&frames::request("GET", "/")),
        ),
        _ => raw.send(CONTINUATION, 0, 1, &frames::block(&[("x-more", "and more")])),
    });
    ended_early(&sent);
    let (sent, _) = attack(|raw, index| match index {
        0 => raw.send(
            frames::HEADERS,
            END_STREAM,
            1,
            &frames::block(&frames::request("GET", "/")),
        ),
        _ => raw.send(CONTINUATION, 0, 1, &[]),
    });
    ended_early(&sent);
}

// RFC 7541 section 7.3: a small block that stands for a large list
#[test]
fn a_bomb_of_header_fields() {
    let origin = Origin::start();
    let gateway = start(&origin);
    let before = cost(&gateway);
    for _ in 0..20 {
        let mut raw = Raw::connect(gateway.https, &gateway.authority);
        // 4,000 bytes into the dynamic table, and then 16,000 times the same: an index is one byte
        let mut block = frames::block(&frames::request("GET", "/"));
        block.push(0x40);
        block.extend([1, b'x']);
        block.extend([0x7f, 0xa1, 0x1e]);
        block.extend([b'y'; 4000]);
        block.extend(std::iter::repeat_n(0xbe, 12_000));
        raw.send(frames::HEADERS, END_HEADERS | END_STREAM, 1, &block);
        let answer = raw.until(|frame| {
            matches!(frame.kind, frames::GOAWAY | frames::RST_STREAM)
                || (frame.kind == frames::HEADERS && frame.stream == 1)
        });
        assert!(answer.is_none_or(|frame| frame.status() != Some(200)));
    }
    let after = cost(&gateway);
    assert!(
        after.0.saturating_sub(before.0) < 24 << 10,
        "{} KiB",
        after.0 - before.0
    );
    assert_eq!(origin.connections(), 0);
}

// CVE-2019-9512, CVE-2019-9515, CVE-2019-9513
#[test]
fn frames_that_carry_nothing() {
    let pings = |raw: &mut Raw, _| raw.send(frames::PING, 0, 0, &[0; 8]);
    let settings = |raw: &mut Raw, _| raw.send(frames::SETTINGS, 0, 0, &[0, 3, 0, 0, 0, 100]);
    let priorities = |raw: &mut Raw, index| raw.send(frames::PRIORITY, 0, 2 * index + 1, &[0, 0, 0, 0, 1]);
    let windows = |raw: &mut Raw, _| raw.send(frames::WINDOW_UPDATE, 0, 0, &[0, 0, 0, 1]);
    let unknown = |raw: &mut Raw, _| raw.send(0xee, 0, 0, &[0; 16]);
    for (name, (sent, codes)) in [
        ("PING", attack(pings)),
        ("SETTINGS", attack(settings)),
        ("PRIORITY", attack(priorities)),
        ("WINDOW_UPDATE", attack(windows)),
        ("unknown", attack(unknown)),
    ] {
        ended_early(&sent);
        assert!(codes.iter().all(|code| *code == 11), "{name}: {codes:?}");
    }
}

// CVE-2019-9518
#[test]
fn data_without_data() {
    let (sent, _) = attack(|raw, index| match index {
        0 => {
            let fields = [
                &frames::request("POST", "/")[..],
                &[("content-type", "application/json")],
            ]
            .concat();
            raw.send(frames::HEADERS, END_HEADERS, 1, &frames::block(&fields))
        }
        _ => raw.send(DATA, 0, 1, &[]),
    });
    ended_early(&sent);
}

// CVE-2019-9511, CVE-2019-9517: asks for much, and takes none of it
#[test]
fn windows_that_never_open() {
    let long = "x".repeat(4 << 20);
    let origin = Origin::answering(move |_| Reply::new(200, &[], &long));
    let gateway = start(&origin);
    let before = cost(&gateway);
    let mut held: Vec<Raw> = (0..5)
        .map(|_| {
            let mut raw = Raw::connect(gateway.https, &gateway.authority);
            for stream in 0..20 {
                raw.get(2 * stream + 1, "/");
            }
            raw
        })
        .collect();
    eventually("they have their answers begun", || {
        (origin.seen().len() >= 100).then_some(())
    });
    std::thread::sleep(Duration::from_millis(500));
    let held_for = cost(&gateway).0.saturating_sub(before.0);
    // Pingora reads ahead by up to eight times 64 KiB for each
    assert!(
        held_for < 100 * 800,
        "{held_for} KiB for a hundred answers of 4 MiB"
    );
    // each is given up once the client has taken nothing for so long
    eventually("all of them are over", || {
        let records = gateway.records();
        (records.len() == 100 && records.iter().all(|record| record["durward.outcome"] == "abort"))
            .then_some(())
    });
    // the connections themselves are good for more
    for raw in &mut held {
        assert!(raw.send(frames::PING, 0, 0, &[1; 8]));
        assert!(raw.until(|frame| frame.kind == frames::PING).is_some());
    }
}

// S74: as many requests as a connection may make, and none of them lost
#[test]
fn a_connection_ends_after_its_last_request_with_notice() {
    let gateway = Gateway::start(
        "connections: { max_requests: 5 }\n\
         routes: [{ match: { methods: [GET], path: / }, public: { reason: a, owner: b }, respond: 204 }]\n",
    );
    let mut raw = Raw::connect(gateway.https, &gateway.authority);
    for stream in 0..7 {
        raw.get(2 * stream + 1, "/");
    }
    let rest = raw.rest();
    let answered = rest
        .iter()
        .filter(|frame| frame.kind == frames::HEADERS && frame.status() == Some(204))
        .count();
    // two were on their way when the notice was given
    assert_eq!(answered, 7);
    let goodbyes: Vec<&frames::Frame> = rest.iter().filter(|frame| frame.kind == frames::GOAWAY).collect();
    assert!(goodbyes.iter().all(|goodbye| goodbye.code() == 0), "{goodbyes:?}");
    assert_eq!(goodbyes[0].payload[..4], [0x7f, 0xff, 0xff, 0xff]);
    assert_eq!(goodbyes.last().unwrap().payload[..4], [0, 0, 0, 13]);
    assert!(rest.iter().all(|frame| frame.flags & !0x2d == 0));
}
