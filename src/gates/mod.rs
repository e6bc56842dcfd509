//! The gates a request passes, one noun each. A gate decides; it never talks to a socket.

pub mod authn;
pub mod authz;
pub mod content;
pub mod flood;
pub mod limits;
pub mod network;
pub mod upgrade;

/// Whether a gate's word counts (U6).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Mode {
    /// What it refuses is refused.
    #[default]
    Enforce,
    /// What it would refuse is recorded and counted, and passes.
    Shadow,
}

impl Mode {
    /// For descriptions: nothing, or that it is not enforced.
    #[must_use]
    pub fn note(self) -> &'static str {
        match self {
            Mode::Enforce => "",
            Mode::Shadow => " [SHADOW: not enforced]",
        }
    }
}
