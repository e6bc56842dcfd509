//! Heads of HTTP/1: what is taken, and what is made of it.

use std::cell::Cell;

use durward::head::{Head, HeadReader, RawHead, WireLimits};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Uri, Version};
use proptest::prelude::*;

use crate::{hold, is_often};

const LIMITS: WireLimits = WireLimits {
    bytes: 4096,
    fields: 20,
};

/// Mostly one of the first, now and then one of the second.
fn mostly(good: &[&'static str], bad: &[&'static str]) -> impl Strategy<Value = String> + Clone {
    prop_oneof![
        12 => prop::sample::select(good.to_vec()),
        1 => prop::sample::select(bad.to_vec()),
    ]
    .prop_map(str::to_owned)
}

fn heads() -> impl Strategy<Value = Vec<u8>> {
    let method = mostly(&["GET", "POST", "get"], &["TRACE", "CONNECT", "G T", ""]);
    let target = mostly(
        &["/", "/a/b?c=d", "http://api.example/x", "/%41", "/%C3%A4?%zz"],
        &[
            "/a%2fb",
            "http://other/x",
            "*",
            "a:443",
            "/#f",
            "/a b",
            "",
            "/../a",
            "//a",
            "/a?b?c#d",
        ],
    );
    let version = mostly(&["HTTP/1.1"], &["HTTP/1.0", "HTTP/1.2", "http/1.1"]);
    let end = || prop_oneof![60 => Just("\r\n"), 1 => Just("\n"), 1 => Just("\r"), 1 => Just("\r\r\n")];
    let host = mostly(
        &["Host: api.example", "Host: API.example:443", "host:api.example "],
        &[
            "Host: other",
            "Host:",
            "X: a",
            "Host: api.example\0",
            "Host: a b",
            "Host : api.example",
        ],
    );
    let field = prop_oneof![
        12 => prop::sample::select(vec![
            "Content-Length: 3", "Content-Length: 0", "Transfer-Encoding: chunked", "Connection: close", "X-A: b", "X-B:", "Accept: */*",
            "Expect: 100-continue", "Upgrade: websocket", "X-Forwarded-For: 1.2.3.4",
        ]).prop_map(str::to_owned),
        1 => prop::sample::select(vec![
            "Content-Length: 3, 3", "Content-Length: +3", "Transfer-Encoding: gzip, chunked", "X: a\r\n b", " X: a", "X : a", "X", ": a",
            "X: \u{1}", "Connection: Host", "Host: other",
        ]).prop_map(str::to_owned),
        1 => "[ -~]{0,12}".prop_map(|text| text),
    ];
    let fields = prop::collection::vec((field, end()), 0..4);
    (method, target, version, end(), host, end(), fields).prop_map(
        |(method, target, version, first, host, second, fields)| {
            let mut head = format!("{method} {target} {version}{first}{host}{second}");
            for (field, end) in fields {
                head.push_str(&field);
                head.push_str(end);
            }
            head.push_str("\r\n");
            head.into_bytes()
        },
    )
}

/// The head as the gates see it; `None` where it is refused on the way.
fn judged(bytes: &[u8]) -> Option<Head> {
    let wire = HeadReader::default().read(bytes, LIMITS).ok()??;
    let text = std::str::from_utf8(&bytes[..wire.len]).ok()?;
    let mut lines = text.trim_start_matches("\r\n").split("\r\n");
    let mut words = lines.next()?.split(' ');
    let (method, uri): (Method, Uri) = (words.next()?.parse().ok()?, words.next()?.parse().ok()?);
    let version = match words.next()? {
        "HTTP/1.0" => Version::HTTP_10,
        _ => Version::HTTP_11,
    };
    let mut headers = HeaderMap::new();
    for (name, value) in lines.filter_map(|line| line.split_once(':')) {
        headers.append(
            HeaderName::from_bytes(name.as_bytes()).ok()?,
            HeaderValue::from_str(value.trim()).ok()?,
        );
    }
    Head::parse(RawHead {
        method: &method,
        uri: &uri,
        version,
        headers: &headers,
        ended: false,
    })
    .ok()
}

#[test]
fn what_is_sent_upstream_is_read_as_what_was_judged() {
    let taken = Cell::new(0);
    hold("heads", heads(), |bytes| {
        let Some(head) = judged(&bytes) else { return Ok(()) };
        taken.set(taken.get() + 1);
        let sent = format!(
            "{} {} HTTP/1.1\r\nHost: {}\r\n\r\n",
            head.method(),
            head.target(),
            head.authority()
        );
        let Some(read) = judged(sent.as_bytes()) else {
            return Err(TestCaseError::fail(format!("refused by itself: {sent:?}")));
        };
        prop_assert_eq!(
            (
                read.method(),
                read.host(),
                read.authority(),
                read.path(),
                read.query()
            ),
            (
                head.method(),
                head.host(),
                head.authority(),
                head.path(),
                head.query()
            )
        );
        prop_assert_eq!(head.host().to_ascii_lowercase(), head.host());
        prop_assert!(!matches!(*head.method(), Method::CONNECT | Method::TRACE));
        Ok(())
    });
    is_often("a head was taken", &taken);
}

#[test]
fn a_head_means_the_same_however_it_arrives() {
    let taken = Cell::new(0);
    let cut = prop::collection::vec(any::<prop::sample::Index>(), 0..5);
    hold("pieces of heads", (heads(), cut), |(bytes, cuts)| {
        let whole = HeadReader::default().read(&bytes, LIMITS);
        let mut ends: Vec<usize> = cuts.iter().map(|cut| cut.index(bytes.len())).collect();
        ends.sort_unstable();
        ends.push(bytes.len());
        let mut reader = HeadReader::default();
        let mut last = Ok(None);
        for end in ends {
            last = reader.read(&bytes[..end], LIMITS);
            if !matches!(last, Ok(None)) {
                break;
            }
        }
        taken.set(taken.get() + u32::from(matches!(whole, Ok(Some(_)))));
        let word = |read: &Result<Option<_>, durward::head::Malformed>| format!("{read:?}");
        // which of several faults is found first may differ, whether there is one may not
        if whole.is_ok() || last.is_ok() {
            prop_assert_eq!(word(&whole), word(&last), "{}", bytes.escape_ascii());
        }
        Ok(())
    });
    is_often("a head was taken", &taken);
}

#[test]
fn arbitrary_bytes_are_bounded() {
    hold(
        "arbitrary heads",
        prop::collection::vec(any::<u8>(), 0..6000),
        |bytes| {
            if let Ok(Some(head)) = HeadReader::default().read(&bytes, LIMITS) {
                prop_assert!(head.len <= bytes.len());
            }
            Ok(())
        },
    );
}
