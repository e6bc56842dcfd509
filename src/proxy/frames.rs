//! Where the frames of a WebSocket begin and end (RFC 6455 section 5.2), so that a frame of ours can be put between them.
//!
//! Nothing of a frame's content is looked at.

use bytes::Bytes;

/// Follows the bytes of one direction.
#[derive(Debug, Default)]
pub(super) struct Frames {
    /// The head of a frame, as far as it is here: 14 bytes at most.
    head: Vec<u8>,
    /// Bytes of payload that are still to come.
    payload: u64,
    closed: bool,
}

impl Frames {
    /// Takes note of bytes that pass.
    pub(super) fn follow(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let skipped = usize::try_from(self.payload)
                .unwrap_or(usize::MAX)
                .min(bytes.len());
            self.payload -= u64::try_from(skipped).unwrap_or(0);
            bytes = bytes.get(skipped..).unwrap_or_default();
            if let Some((first, rest)) = bytes.split_first() {
                self.head.push(*first);
                bytes = rest;
                if let Some(length) = payload(&self.head) {
                    const CLOSE: u8 = 8;
                    self.closed |= self.head.first().is_some_and(|first| first & 0x0f == CLOSE);
                    self.payload = length;
                    self.head.clear();
                }
            }
        }
    }

    /// Whether a frame may be put here: the last one is over, and none said goodbye.
    pub(super) fn is_between(&self) -> bool {
        self.payload == 0 && self.head.is_empty() && !self.closed
    }

    /// Whether this direction has said goodbye.
    pub(super) fn is_closed(&self) -> bool {
        self.closed
    }
}

/// Length of the payload, once the head of a frame is complete, its mask included.
fn payload(head: &[u8]) -> Option<u64> {
    let second = *head.get(1)?;
    let mask = if second & 0x80 == 0 { 0 } else { 4 };
    let (length, bytes): (&[u8], usize) = match second & 0x7f {
        126 => (head.get(2..4)?, 4),
        127 => (head.get(2..10)?, 10),
        _ => (&[], 2),
    };
    if head.len() < bytes + mask {
        return None;
    }
    match second & 0x7f {
        126 | 127 => Some(length.iter().fold(0, |sum, byte| sum << 8 | u64::from(*byte))),
        short => Some(u64::from(short)),
    }
}

/// A Close frame (section 5.5.1). Those of clients are masked; a mask of zeros is one.
pub(super) fn close(code: u16, reason: &str, masked: bool) -> Bytes {
    let length = u8::try_from(reason.len() + 2).unwrap_or(2);
    let mask: &[u8] = if masked { &[0; 4] } else { &[] };
    let flag = if masked { 0x80 } else { 0 };
    [
        &[0x88, length | flag],
        mask,
        &code.to_be_bytes(),
        reason.as_bytes(),
    ]
    .concat()
    .into()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn frame(opcode: u8, payload: usize, masked: bool) -> Vec<u8> {
        let flag = if masked { 0x80 } else { 0 };
        let mut frame = vec![0x80 | opcode];
        match payload {
            0..126 => frame.push(payload as u8 | flag),
            126..65_536 => {
                frame.push(126 | flag);
                frame.extend((payload as u16).to_be_bytes());
            }
            _ => {
                frame.push(127 | flag);
                frame.extend((payload as u64).to_be_bytes());
            }
        }
        if masked {
            frame.extend([1, 2, 3, 4]);
        }
        frame.extend(std::iter::repeat_n(0x88, payload));
        frame
    }

    #[test]
    fn the_goodbye_is_seen_and_nothing_is_put_behind_it() {
        let mut frames = Frames::default();
        assert!(frames.is_between());
        frames.follow(&close(1001, "draining", true));
        assert!(frames.is_closed() && !frames.is_between());
    }

    proptest! {
        #[test]
        fn the_ends_of_frames_are_found_however_the_bytes_are_cut(
            sizes in prop::collection::vec((prop::sample::select(vec![0usize, 1, 125, 126, 127, 65_535, 65_536, 70_000]), any::<bool>()), 1..5),
            cut in 1usize..5000,
        ) {
            let mut bytes = Vec::new();
            let mut ends = vec![0];
            for (size, masked) in sizes {
                bytes.extend(frame(2, size, masked));
                ends.push(bytes.len());
            }
            let mut frames = Frames::default();
            let mut passed = 0;
            for piece in bytes.chunks(cut) {
                frames.follow(piece);
                passed += piece.len();
                prop_assert_eq!(frames.is_between(), ends.contains(&passed), "after {} bytes", passed);
            }
            prop_assert!(!frames.is_closed());
        }
    }
}
