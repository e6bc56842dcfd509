//! PROXY protocol, versions 1 and 2.

use std::io::Cursor;

use durward::listener::proxy_protocol::{Source, read};
use proptest::prelude::*;

use crate::hold;

const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";

fn parsed(bytes: &[u8]) -> (std::io::Result<Source>, usize) {
    let mut cursor = Cursor::new(bytes);
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let source = runtime.block_on(read(&mut cursor));
    (source, usize::try_from(cursor.position()).unwrap())
}

#[test]
fn what_is_believed_was_said_and_is_a_header_to_its_end() {
    let start = prop::sample::select(vec![
        b"".to_vec(),
        b"PROXY TCP4 ".to_vec(),
        b"PROXY TCP4 192.0.2.1 192.0.2.2 ".to_vec(),
        b"PROXY TCP6 ::1 ::2 1 2\r".to_vec(),
        b"PROXY UNKNOWN".to_vec(),
        SIGNATURE.to_vec(),
        [SIGNATURE, &[0x21, 0x11, 0, 12]].concat(),
        [SIGNATURE, &[0x21, 0x21, 0, 36]].concat(),
        [SIGNATURE, &[0x20, 0x00, 0, 0]].concat(),
    ]);
    let rest = prop_oneof![
        prop::collection::vec(any::<u8>(), 0..80),
        "[0-9 .:\r\n]{0,60}".prop_map(String::into_bytes),
        Just(b"1 2\r\n".to_vec()),
    ];
    hold("proxy headers", (start, rest), |(start, rest)| {
        let bytes = [start, rest].concat();
        let (source, read) = parsed(&bytes);
        prop_assert!(read <= bytes.len());
        if let Ok(source) = source {
            let header = &bytes[..read];
            // what follows is no part of it, and what is missing makes it none
            let (again, length) = parsed(&[header, b"GET / HTTP/1.1\r\n"].concat());
            prop_assert_eq!(length, read);
            prop_assert_eq!(format!("{:?}", again.ok()), format!("{:?}", Some(&source)));
            prop_assert!(
                parsed(&header[..read - 1]).0.is_err(),
                "{}",
                header.escape_ascii()
            );
            if let (Source::Client(client), true) = (&source, header.starts_with(b"PROXY ")) {
                let text = String::from_utf8(header.to_vec()).unwrap();
                let words: Vec<&str> = text.trim_end().split(' ').collect();
                prop_assert_eq!(words[2].parse(), Ok(client.ip()));
                prop_assert_eq!(words[4].parse(), Ok(client.port()));
            }
        }
        Ok(())
    });
}
