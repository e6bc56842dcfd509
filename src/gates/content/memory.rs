//! Memory for bodies that are read whole: one budget over all requests, so that no number of them takes the process down.
//!
//! The last quarter is for the beginnings of bodies: while a few large ones hold the rest, small ones still pass.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;

/// What is beyond this many bytes of a body does not get at the last quarter.
const SMALL: u64 = 64 * 1024;
/// Bytes taken for a body at first.
const FIRST: usize = 4096;

/// The budget.
#[derive(Debug)]
pub struct BodyMemory {
    limit: u64,
    used: AtomicU64,
}

/// The largest body that a budget of so many bytes has room for.
#[must_use]
pub fn largest(limit: u64) -> u64 {
    limit - limit / 4
}

/// The budget is used up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Exhausted;

impl BodyMemory {
    /// A budget of so many bytes.
    #[must_use]
    pub fn new(limit: u64) -> BodyMemory {
        BodyMemory {
            limit,
            used: AtomicU64::new(0),
        }
    }

    /// Bytes that are taken.
    #[must_use]
    pub fn used(&self) -> u64 {
        self.used.load(Ordering::Relaxed)
    }

    /// Takes bytes for a body that will have `whole` in all.
    fn take(&self, bytes: u64, whole: u64) -> Result<(), Exhausted> {
        let limit = if whole <= SMALL {
            self.limit
        } else {
            largest(self.limit)
        };
        let room = |used: u64| used.checked_add(bytes).filter(|sum| *sum <= limit);
        self.used
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, room)
            .map(drop)
            .map_err(|_| Exhausted)
    }
}

/// A body while it is read. What it takes of the budget goes back when it is dropped, or with the last copy of the
/// [`Bytes`] that it [became](Self::finish).
#[derive(Debug)]
pub struct BodyBuffer {
    memory: Arc<BodyMemory>,
    taken: u64,
    /// Never longer than this.
    max: usize,
    held: Held,
}

#[derive(Debug)]
enum Held {
    /// Came in one piece, and is not copied.
    Piece(Bytes),
    Pieces(Vec<u8>),
}

impl BodyBuffer {
    /// For a body of at most `max` bytes.
    #[must_use]
    pub fn new(memory: Arc<BodyMemory>, max: u64) -> BodyBuffer {
        BodyBuffer {
            memory,
            taken: 0,
            max: usize::try_from(max).unwrap_or(usize::MAX),
            held: Held::Piece(Bytes::new()),
        }
    }

    /// Bytes so far.
    #[must_use]
    pub fn len(&self) -> usize {
        match &self.held {
            Held::Piece(piece) => piece.len(),
            Held::Pieces(bytes) => bytes.len(),
        }
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Adds a piece; the caller has seen to it that the body stays within its length.
    ///
    /// # Errors
    /// [`Exhausted`]: there is no memory for it.
    pub fn push(&mut self, piece: Bytes) -> Result<(), Exhausted> {
        if self.is_empty() {
            self.account(piece.len())?;
            self.held = Held::Piece(piece);
            return Ok(());
        }
        let needed = self.len().saturating_add(piece.len());
        let capacity = match &self.held {
            Held::Piece(_) => 0,
            Held::Pieces(bytes) => bytes.capacity(),
        };
        if needed > capacity {
            // doubled, so that each byte is moved once or twice, and never beyond what the body may have
            let grown = needed
                .max(FIRST)
                .max(capacity.saturating_mul(2))
                .min(self.max.max(needed));
            self.account(grown)?;
            let mut bytes = Vec::new();
            bytes.try_reserve_exact(grown).map_err(|_| Exhausted)?;
            match &self.held {
                Held::Piece(first) => bytes.extend_from_slice(first),
                Held::Pieces(before) => bytes.extend_from_slice(before),
            }
            self.held = Held::Pieces(bytes);
        }
        if let Held::Pieces(bytes) = &mut self.held {
            bytes.extend_from_slice(&piece);
        }
        Ok(())
    }

    /// From now on this many bytes are taken.
    fn account(&mut self, bytes: usize) -> Result<(), Exhausted> {
        let bytes = u64::try_from(bytes).unwrap_or(u64::MAX);
        self.memory.take(bytes.saturating_sub(self.taken), bytes)?;
        self.taken = self.taken.max(bytes);
        Ok(())
    }

    /// The whole body.
    #[must_use]
    pub fn finish(self) -> Bytes {
        Bytes::from_owner(self)
    }
}

impl AsRef<[u8]> for BodyBuffer {
    fn as_ref(&self) -> &[u8] {
        match &self.held {
            Held::Piece(piece) => piece,
            Held::Pieces(bytes) => bytes,
        }
    }
}

impl Drop for BodyBuffer {
    fn drop(&mut self) {
        self.memory.used.fetch_sub(self.taken, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_body_in_one_piece_is_not_copied() {
        let memory = Arc::new(BodyMemory::new(1 << 20));
        let piece = Bytes::from(vec![7; 1000]);
        let mut buffer = BodyBuffer::new(memory.clone(), 4000);
        buffer.push(piece.clone()).unwrap();
        assert_eq!(memory.used(), 1000);
        let whole = buffer.finish();
        assert_eq!(whole.as_ptr(), piece.as_ptr());
        // the budget gets it back with the last copy
        let slice = whole.slice(10..20);
        drop(whole);
        assert_eq!(memory.used(), 1000);
        drop(slice);
        assert_eq!(memory.used(), 0);
    }

    #[test]
    fn small_bodies_pass_while_large_ones_hold_three_quarters() {
        let memory = Arc::new(BodyMemory::new(1 << 20));
        let body = |bytes: usize| {
            let mut buffer = BodyBuffer::new(memory.clone(), 1 << 20);
            buffer.push(Bytes::from(vec![0; bytes])).map(|()| buffer)
        };
        let large = body(768 * 1024).unwrap();
        assert_eq!(body(64 * 1024 + 1).unwrap_err(), Exhausted);
        let small: Vec<_> = (0..4).map(|_| body(64 * 1024).unwrap()).collect();
        assert_eq!(body(1).unwrap_err(), Exhausted);
        assert_eq!(memory.used(), 1 << 20);
        drop((large, small));
        assert_eq!(memory.used(), 0);
    }

    proptest! {
        #[test]
        fn pieces_become_the_whole_and_everything_taken_is_given_back(
            pieces in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..3000), 0..40),
        ) {
            let memory = Arc::new(BodyMemory::new(1 << 16));
            let expected = pieces.concat();
            let mut buffer = BodyBuffer::new(memory.clone(), expected.len() as u64);
            let fits = pieces.into_iter().all(|piece| buffer.push(Bytes::from(piece)).is_ok());
            prop_assert!(memory.used() <= 1 << 16);
            prop_assert!(memory.used() >= buffer.len() as u64);
            if fits {
                prop_assert_eq!(&buffer.finish()[..], &expected[..]);
            } else {
                prop_assert!(expected.len() > largest(1 << 16) as usize / 2);
                drop(buffer);
            }
            prop_assert_eq!(memory.used(), 0);
        }
    }
}
