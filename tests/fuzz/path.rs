//! One path, decoded once (U15).

use std::cell::Cell;

use durward::head::{Head, RawHead};
use http::{HeaderMap, Method, Uri, Version};
use proptest::prelude::*;

use crate::{hold, is_often};

/// Pieces that readers take differently.
fn paths() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        6 => "[a-z0-9._~-]{1,4}".prop_map(|text| text),
        2 => Just("/".to_owned()),
        2 => "%[0-9A-Fa-f]{2}".prop_map(|text| text),
        1 => prop::sample::select(vec![
            "//", ".", "..", "/./", "/../", "%2e", "%2F", "%5c", "\\", ";", ";a=b", "%00", "%252e", "%25", "%c0%ae", "%C3%A4", "%e2%82%ac",
            "%ff", "%", "%2", "?", "#", "@", ":", "+", "*", "'", "%7E", "%41", "%3b", "%3F", "%23", "%0d%0a", "%20", "%E3%80%80",
        ]).prop_map(str::to_owned),
    ];
    prop::collection::vec(piece, 0..8).prop_map(|pieces| format!("/{}", pieces.concat()))
}

fn read(target: &str) -> Option<Head> {
    let uri: Uri = target.parse().ok()?;
    let mut headers = HeaderMap::new();
    headers.insert("host", "api.example".parse().unwrap());
    Head::parse(RawHead {
        method: &Method::GET,
        uri: &uri,
        version: Version::HTTP_11,
        headers: &headers,
        ended: true,
    })
    .ok()
}

/// As any upstream does it: once, byte by byte.
fn decode(path: &str) -> Vec<u8> {
    let mut bytes = path.bytes();
    let mut decoded = Vec::new();
    while let Some(byte) = bytes.next() {
        decoded.push(if byte == b'%' {
            let digits = [bytes.next().unwrap(), bytes.next().unwrap()];
            u8::from_str_radix(std::str::from_utf8(&digits).unwrap(), 16).unwrap()
        } else {
            byte
        });
    }
    decoded
}

#[test]
fn what_is_authorised_is_what_every_reader_reads() {
    let (taken, decoded) = (Cell::new(0), Cell::new(0));
    hold("paths", paths(), |given| {
        let Some(head) = read(&given) else { return Ok(()) };
        taken.set(taken.get() + 1);
        let path = given.split(['?', '#']).next().unwrap();
        let meaning = decode(path);
        // nothing is lost or made up
        prop_assert_eq!(decode(head.path()), meaning.clone());
        decoded.set(decoded.get() + u32::from(path.contains('%')));
        // a second reading finds nothing new
        let again = read(&head.target()).expect("what is sent is taken");
        prop_assert_eq!((again.path(), again.query()), (head.path(), head.query()));
        // nor does a second decoding, or one that takes other characters for syntax
        let text = String::from_utf8(meaning).expect("UTF-8");
        prop_assert!(
            !text.contains(['%', ';', '\\', '?', '#']) && !text.chars().any(char::is_control),
            "{}",
            text
        );
        let segments: Vec<&str> = text.split('/').skip(1).collect();
        let (last, others) = segments.split_last().unwrap();
        prop_assert!(others.iter().all(|segment| !segment.is_empty()), "{}", text);
        prop_assert!(
            !others
                .iter()
                .chain([last])
                .any(|segment| matches!(*segment, "." | "..")),
            "{}",
            text
        );
        // as many segments as were written
        prop_assert_eq!(segments.len(), path.matches('/').count());
        Ok(())
    });
    is_often("a path was taken", &taken);
    is_often("an encoded path was taken", &decoded);
}
