//! Writes a flat JSON object onto one line, field by field, without asking a serializer about each.
//!
//! Every request writes one, refused ones two, and a general serializer took as much time for it as all gates together.

use std::net::IpAddr;
use std::time::Duration;

/// The name of a field, as it stands between two values.
macro_rules! field {
    ($name:literal) => {
        concat!(",\"", $name, "\":")
    };
}
pub(crate) use field;

/// An object that is being written at the end of a buffer. Names come from [`field!`].
pub(crate) struct Object<'a> {
    line: &'a mut Vec<u8>,
    /// Where the object begins: its first comma becomes its brace.
    start: usize,
}

impl<'a> Object<'a> {
    pub(crate) fn new(line: &'a mut Vec<u8>) -> Object<'a> {
        let start = line.len();
        Object { line, start }
    }

    /// Ends the object.
    pub(crate) fn end(self) {
        match self.line.get_mut(self.start) {
            Some(first) => *first = b'{',
            None => self.line.push(b'{'),
        }
        self.line.push(b'}');
    }

    pub(crate) fn text(&mut self, field: &'static str, value: &str) {
        self.raw(field);
        quoted(self.line, value);
    }

    /// Fields that another object was given before, with their leading comma.
    pub(crate) fn written(&mut self, fields: &str) {
        self.raw(fields);
    }

    pub(crate) fn text_if(&mut self, field: &'static str, value: Option<&str>) {
        if let Some(value) = value {
            self.text(field, value);
        }
    }

    /// A text that is written by `write`, and needs no escape.
    pub(crate) fn plain(&mut self, field: &'static str, write: impl FnOnce(&mut Vec<u8>)) {
        self.raw(field);
        self.line.push(b'"');
        write(self.line);
        self.line.push(b'"');
    }

    pub(crate) fn texts(&mut self, field: &'static str, values: &[Box<str>]) {
        self.raw(field);
        for (index, value) in values.iter().enumerate() {
            self.line.push(if index == 0 { b'[' } else { b',' });
            quoted(self.line, value);
        }
        if values.is_empty() {
            self.line.push(b'[');
        }
        self.line.push(b']');
    }

    pub(crate) fn texts_unless_empty(&mut self, field: &'static str, values: &[Box<str>]) {
        if !values.is_empty() {
            self.texts(field, values);
        }
    }

    pub(crate) fn number(&mut self, field: &'static str, value: u64) {
        self.raw(field);
        number(self.line, value);
    }

    pub(crate) fn truth(&mut self, field: &'static str, value: bool) {
        self.raw(field);
        self.raw(if value { "true" } else { "false" });
    }

    /// Seconds, with microseconds.
    pub(crate) fn seconds(&mut self, field: &'static str, value: Duration) {
        self.raw(field);
        number(self.line, value.as_secs());
        self.line.push(b'.');
        digits(self.line, value.subsec_micros(), 6);
    }

    pub(crate) fn address(&mut self, field: &'static str, value: IpAddr) {
        self.plain(field, |line| address(line, value));
    }

    fn raw(&mut self, text: &str) {
        self.line.extend_from_slice(text.as_bytes());
    }
}

/// A number with leading zeros.
pub(crate) fn digits(line: &mut Vec<u8>, mut value: u32, places: usize) {
    let start = line.len();
    line.resize(start + places, b'0');
    for place in line.iter_mut().skip(start).rev() {
        *place = b'0' + u8::try_from(value % 10).unwrap_or(0);
        value /= 10;
    }
}

fn number(line: &mut Vec<u8>, value: u64) {
    line.extend_from_slice(itoa::Buffer::new().format(value).as_bytes());
}

fn address(line: &mut Vec<u8>, address: IpAddr) {
    match address {
        IpAddr::V4(v4) => {
            for (index, octet) in v4.octets().into_iter().enumerate() {
                if index > 0 {
                    line.push(b'.');
                }
                number(line, octet.into());
            }
        }
        IpAddr::V6(v6) => line.extend_from_slice(v6.to_string().as_bytes()),
    }
}

fn quoted(line: &mut Vec<u8>, text: &str) {
    if needs_escape(text.as_bytes()) {
        // writing a text to memory does not fail
        let _ = serde_json::to_writer(line, text);
    } else {
        line.push(b'"');
        line.extend_from_slice(text.as_bytes());
        line.push(b'"');
    }
}

/// Whether there is a control character, `"` or `\`. Looks at eight bytes in one step; who is above 0x7f is none.
fn needs_escape(text: &[u8]) -> bool {
    const ONES: u64 = u64::from_ne_bytes([1; 8]);
    const HIGH: u64 = u64::from_ne_bytes([0x80; 8]);
    // the high bit of the lowest such byte is set, whatever is above it
    let below = |eight: u64, limit: u8| eight.wrapping_sub(ONES * u64::from(limit)) & !eight & HIGH;
    let is = |eight: u64, byte: u8| below(eight ^ (ONES * u64::from(byte)), 1);
    let (eights, rest) = text.as_chunks::<8>();
    let in_eights = eights.iter().any(|eight| {
        let eight = u64::from_le_bytes(*eight);
        below(eight, b' ') | is(eight, b'"') | is(eight, b'\\') != 0
    });
    in_eights
        || rest
            .iter()
            .any(|byte| *byte < b' ' || matches!(byte, b'"' | b'\\'))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    proptest! {
        // S85: whatever a client puts into a field, it stays one field of one line
        #[test]
        fn what_is_written_is_read_back(
            text in any::<String>(),
            texts in proptest::collection::vec(any::<String>(), 0..4),
            number: u64,
            truth: bool,
            address: IpAddr,
            micros in 0..u64::from(u32::MAX),
        ) {
            let mut line = b"before".to_vec();
            let mut object = Object::new(&mut line);
            object.text(field!("text"), &text);
            object.text_if(field!("none"), None);
            let boxed: Vec<Box<str>> = texts.iter().map(|text| text.as_str().into()).collect();
            object.texts(field!("texts"), &boxed);
            object.number(field!("number"), number);
            object.truth(field!("truth"), truth);
            object.address(field!("address"), address);
            object.seconds(field!("seconds"), Duration::from_micros(micros));
            object.end();
            let line = String::from_utf8(line).unwrap();
            let line = line.strip_prefix("before").unwrap();
            prop_assert_eq!(line.find('\n'), None);
            let read: serde_json::Value = serde_json::from_str(line).unwrap();
            let seconds = read["seconds"].as_f64().unwrap();
            prop_assert!((seconds * 1e6 - micros as f64).abs() < 0.5, "{}", line);
            let expected = json!({
                "text": text,
                "texts": texts,
                "number": number,
                "truth": truth,
                "address": address.to_string(),
                "seconds": seconds,
            });
            prop_assert_eq!(read, expected);
        }
    }

    #[test]
    fn each_byte_is_told_apart_in_each_place() {
        for byte in 0..=255_u8 {
            for place in 0..19 {
                let mut text = [b'a'; 19];
                text[place] = byte;
                let expected = byte < b' ' || byte == b'"' || byte == b'\\';
                assert_eq!(needs_escape(&text), expected, "{byte} at {place}");
            }
        }
    }

    #[test]
    fn an_object_without_fields_is_one() {
        let mut line = Vec::new();
        Object::new(&mut line).end();
        assert_eq!(line, b"{}");
    }
}
