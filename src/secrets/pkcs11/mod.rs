//! PKCS#11 tokens (OASIS PKCS #11 2.40): HSMs, smart cards and SoftHSM.
//!
//! Data objects and secret keys that may be extracted are read, as other stores are. Private keys stay where they are: the
//! OpenSSL provider `pkcs11` has the token sign with them, wherever OpenSSL would have signed itself.

#[cfg(feature = "pkcs11")]
mod provider;
#[cfg(feature = "pkcs11")]
mod token;

use std::fmt;
use std::path::PathBuf;

#[cfg(feature = "pkcs11")]
pub use token::Token;

/// Whether this build can speak to tokens.
pub const IS_BUILT: bool = cfg!(feature = "pkcs11");

/// Which token, and who we are there.
#[derive(Clone, PartialEq, Eq)]
pub struct Settings {
    /// The library of its maker.
    pub module: PathBuf,
    /// Label of the token.
    pub token: String,
    /// PIN of its user.
    pub pin: String,
    /// The OpenSSL provider, for private keys that stay in the token.
    pub provider: Option<PathBuf>,
}

impl fmt::Debug for Settings {
    /// Without the PIN.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "pkcs11 {} {}", self.module.display(), self.token)
    }
}
