//! Sets of bytes, as grammars name them, looked up in a table: they are asked about every byte of every request.

/// Letters and digits of ASCII, and some more.
pub(crate) struct Octets([bool; 256]);

impl Octets {
    /// Letters, digits, and these.
    pub(crate) const fn alphanumeric_and(others: &[u8]) -> Octets {
        let mut table = [false; 256];
        let mut byte = 0;
        #[expect(clippy::indexing_slicing, reason = "evaluated while it is compiled")]
        while byte < 256 {
            table[byte] = (byte as u8).is_ascii_alphanumeric();
            byte += 1;
        }
        let mut index = 0;
        #[expect(clippy::indexing_slicing, reason = "evaluated while it is compiled")]
        while index < others.len() {
            table[others[index] as usize] = true;
            index += 1;
        }
        Octets(table)
    }

    /// Whether it is one of them.
    pub(crate) fn has(&self, byte: u8) -> bool {
        // a byte is always in a table of 256
        self.0.get(usize::from(byte)).is_some_and(|is| *is)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn letters_digits_and_those_named_are_in_it_and_nothing_else() {
        const SET: Octets = Octets::alphanumeric_and(b"-\xff");
        for byte in 0..=u8::MAX {
            let expected = byte.is_ascii_alphanumeric() || byte == b'-' || byte == 0xff;
            assert_eq!(SET.has(byte), expected, "{byte}");
        }
    }
}
