//! The chunked body of an HTTP/1 request, as the client's bytes spell it (RFC 9112 section 7.1).
//!
//! Read beside the parser behind us, in as many parts as it comes: whatever could end the body elsewhere for another
//! reader is refused. Chunk extensions are refused too. The standard says to ignore those that are not known, and none is;
//! what they are used for is to be read differently by two parsers.

use crate::head::{Malformed, is_tchar};

/// Digits of a chunk's size at most: 16 times 4 bits.
const MAX_DIGITS: u8 = 16;
/// Bytes of all trailer fields at most.
const MAX_TRAILERS: u16 = 4096;
/// What only a head may say (RFC 9110 section 6.5.1): framing, routing, credentials, and how the content is to be read.
const FORBIDDEN: [&[u8]; 14] = [
    b"authorization",
    b"connection",
    b"content-encoding",
    b"content-length",
    b"content-range",
    b"content-type",
    b"cookie",
    b"expect",
    b"host",
    b"keep-alive",
    b"te",
    b"trailer",
    b"transfer-encoding",
    b"upgrade",
];
/// The longest of them.
const LONGEST: usize = 17;

/// Reads one chunked body.
#[derive(Debug, Default)]
pub struct Chunks {
    state: State,
    /// Size of the chunk, then what is left of it.
    left: u64,
    digits: u8,
    /// Bytes of trailer fields so far.
    trailers: u16,
    name: [u8; LONGEST],
    name_len: u8,
}

#[derive(Debug, Default, Clone, Copy)]
enum State {
    /// Digits of the size.
    #[default]
    Size,
    /// LF after the size.
    SizeEnd,
    Data,
    /// CR after the data.
    DataEnd,
    /// LF after that.
    DataLineEnd,
    /// First byte of a trailer field, or CR of the end.
    TrailerStart,
    TrailerName,
    TrailerValue,
    TrailerEnd,
    /// LF of the end.
    End,
    Done,
}

impl Chunks {
    /// Reads on. `Some`: the body ends after so many of these bytes.
    ///
    /// # Errors
    /// [`Malformed::Chunk`] or [`Malformed::Trailer`].
    pub fn read(&mut self, bytes: &[u8]) -> Result<Option<usize>, Malformed> {
        let mut index = 0;
        while let Some(byte) = bytes.get(index).copied() {
            if let State::Data = self.state {
                let here = u64::try_from(bytes.len() - index)
                    .unwrap_or(u64::MAX)
                    .min(self.left);
                self.left -= here;
                index += usize::try_from(here).unwrap_or(usize::MAX);
                if self.left == 0 {
                    self.state = State::DataEnd;
                }
                continue;
            }
            index += 1;
            self.state = self.step(byte)?;
            if let State::Done = self.state {
                return Ok(Some(index));
            }
        }
        Ok(None)
    }

    fn step(&mut self, byte: u8) -> Result<State, Malformed> {
        match (self.state, byte) {
            (State::Size, b'\r') if self.digits > 0 => Ok(State::SizeEnd),
            (State::Size, _) => {
                let digit = char::from(byte).to_digit(16).ok_or(Malformed::Chunk)?;
                self.digits += 1;
                if self.digits > MAX_DIGITS {
                    return Err(Malformed::Chunk);
                }
                self.left = self.left << 4 | u64::from(digit);
                Ok(State::Size)
            }
            (State::SizeEnd, b'\n') => {
                self.digits = 0;
                Ok(if self.left == 0 {
                    State::TrailerStart
                } else {
                    State::Data
                })
            }
            (State::DataEnd, b'\r') => Ok(State::DataLineEnd),
            (State::DataLineEnd, b'\n') => Ok(State::Size),
            (State::SizeEnd | State::Data | State::DataEnd | State::DataLineEnd, _) => Err(Malformed::Chunk),
            (State::TrailerStart, b'\r') => Ok(State::End),
            (State::TrailerStart, _) => {
                self.name_len = 0;
                self.trailer_name(byte)
            }
            (State::TrailerName, _) => self.trailer_name(byte),
            (State::TrailerValue, b'\r') => Ok(State::TrailerEnd),
            (State::TrailerValue, b'\t' | 0x20..=0x7e | 0x80..) => self.counted(State::TrailerValue),
            (State::TrailerEnd, b'\n') => Ok(State::TrailerStart),
            (State::End, b'\n') => Ok(State::Done),
            (State::TrailerValue | State::TrailerEnd | State::End | State::Done, _) => {
                Err(Malformed::Trailer)
            }
        }
    }

    fn trailer_name(&mut self, byte: u8) -> Result<State, Malformed> {
        let length = usize::from(self.name_len);
        if byte == b':' && length > 0 {
            let name = self.name.get(..length).unwrap_or_default();
            if FORBIDDEN.contains(&name) {
                return Err(Malformed::Trailer);
            }
            return self.counted(State::TrailerValue);
        }
        if !is_tchar(byte) {
            return Err(Malformed::Trailer);
        }
        // a name that is longer than all of them is none of them
        match self.name.get_mut(length) {
            Some(place) => {
                *place = byte.to_ascii_lowercase();
                self.name_len += 1;
            }
            None => self.name = [0; LONGEST],
        }
        self.counted(State::TrailerName)
    }

    fn counted(&mut self, next: State) -> Result<State, Malformed> {
        self.trailers += 1;
        if self.trailers > MAX_TRAILERS {
            return Err(Malformed::Trailer);
        }
        Ok(next)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(body: &[u8]) -> Result<Option<usize>, Malformed> {
        Chunks::default().read(body)
    }

    fn drip(body: &[u8]) -> Result<Option<usize>, Malformed> {
        let mut chunks = Chunks::default();
        for (index, byte) in body.iter().enumerate() {
            match chunks.read(std::slice::from_ref(byte)) {
                Ok(None) => {}
                Ok(Some(_)) => return Ok(Some(index + 1)),
                Err(why) => return Err(why),
            }
        }
        Ok(None)
    }

    // U16
    #[test]
    fn chunks_are_spelled_in_one_way_only() {
        for (good, length) in [
            ("0\r\n\r\n", 5),
            ("2\r\n{}\r\n0\r\n\r\nGET", 12),
            ("0a\r\n0123456789\r\n000\r\n\r\n", 23),
            ("1\r\na\r\n0\r\nX-Digest: a b\t\r\nY:\r\n\r\n", 31),
        ] {
            assert_eq!(read(good.as_bytes()), Ok(Some(length)), "{good:?}");
            assert_eq!(drip(good.as_bytes()), Ok(Some(length)), "{good:?}");
        }
        let long = format!("0\r\nX: {}", "x".repeat(4096));
        for (bad, why) in [
            ("\r\n", Malformed::Chunk),
            ("2\n{}", Malformed::Chunk),
            ("2 \r\n{}", Malformed::Chunk),
            (" 2\r\n{}", Malformed::Chunk),
            ("0x2\r\n{}", Malformed::Chunk),
            ("+2\r\n{}", Malformed::Chunk),
            ("2;\r\n{}", Malformed::Chunk),
            ("2;a=b\r\n{}", Malformed::Chunk),
            ("2\r{}", Malformed::Chunk),
            ("2\r\n{}}\r\n", Malformed::Chunk),
            ("2\r\n{}\n0\r\n\r\n", Malformed::Chunk),
            ("2\r\n{}0\r\n\r\n", Malformed::Chunk),
            ("00000000000000000\r\n\r\n", Malformed::Chunk),
            ("0\r\n X: y\r\n\r\n", Malformed::Trailer),
            ("0\r\nX : y\r\n\r\n", Malformed::Trailer),
            ("0\r\nX\r\n\r\n", Malformed::Trailer),
            ("0\r\n: y\r\n\r\n", Malformed::Trailer),
            ("0\r\nX: y\n\r\n", Malformed::Trailer),
            ("0\r\nX: \0\r\n\r\n", Malformed::Trailer),
            ("0\r\nContent-Length: 3\r\n\r\n", Malformed::Trailer),
            ("0\r\nTransfer-Encoding: chunked\r\n\r\n", Malformed::Trailer),
            ("0\r\n\rX", Malformed::Trailer),
            (&long, Malformed::Trailer),
        ] {
            assert_eq!(read(bad.as_bytes()), Err(why), "{bad:?}");
            assert_eq!(drip(bad.as_bytes()), Err(why), "{bad:?}");
        }
        for unfinished in ["", "2", "2\r\n{", "0\r\n", "0\r\nX: y\r\n"] {
            assert_eq!(read(unfinished.as_bytes()), Ok(None), "{unfinished:?}");
        }
    }

    #[test]
    fn a_size_of_sixteen_digits_does_not_wrap() {
        let mut chunks = Chunks::default();
        assert_eq!(chunks.read(b"ffffffffffffffff\r\n"), Ok(None));
        assert_eq!(chunks.left, u64::MAX);
    }
}
