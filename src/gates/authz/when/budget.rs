//! What one evaluation may cost.
//!
//! The text of an expression bounds how many parts it has. What each of them looks at comes with the token, and one look
//! inside another at a long list could still take long: so work is counted, and who asks for too much is refused.

use std::cell::Cell;

use super::Fault;

/// Units of work: a byte that is looked at is one. Some hundred microseconds, for the worst of tokens.
const WORK: usize = 1 << 18;
/// What looking at one part of an expression counts for.
const STEP: usize = 16;

/// The work that is left.
#[derive(Debug)]
pub(super) struct Budget(Cell<usize>);

impl Budget {
    pub(super) fn new() -> Budget {
        Budget(Cell::new(WORK))
    }

    /// One part of the expression, or one element of a list, is looked at.
    pub(super) fn step(&self) -> Result<(), Fault> {
        self.bytes(STEP)
    }

    /// So many bytes are looked at.
    pub(super) fn bytes(&self, bytes: usize) -> Result<(), Fault> {
        let left = self.0.get().checked_sub(bytes).ok_or(Fault::TooMuch)?;
        self.0.set(left);
        Ok(())
    }
}
