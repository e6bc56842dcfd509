//! The stores that secrets are kept in, and how they are asked.
//!
//! They are asked while a configuration is compiled and in the background, never for a request. What one of them says is
//! kept for the length of one compilation, so that a certificate and its key are of the same moment.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use http::StatusCode;
use openssl::pkey::{PKey, Private};
use openssl::x509::X509;
use serde_json::Value;

use super::vault::{self, Vault};
use super::{aws, pkcs11};
use crate::config::scalar::{Stored, TokenObject};
use crate::world::http::{Asker, FetchError};

/// Longest answer, in bytes.
pub(super) const MAX_ANSWER: usize = 1 << 20;

/// What is asked for as a whole: the secret that holds one field or more.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Document {
    /// A path in Vault.
    Vault(String),
    /// A secret of AWS Secrets Manager.
    AwsSm(String),
    /// An object in the token.
    Pkcs11(TokenObject),
}

impl Document {
    /// The one that a reference is into, and its field in it.
    #[must_use]
    pub fn of(stored: &Stored) -> Option<(Document, Option<&str>)> {
        match stored {
            Stored::Sealed(_) => None,
            Stored::Vault { path, field } => Some((Document::Vault(path.clone()), Some(field))),
            Stored::AwsSm { name, field } => Some((Document::AwsSm(name.clone()), field.as_deref())),
            Stored::Pkcs11(object) => Some((Document::Pkcs11(object.clone()), Some("value"))),
        }
    }
}

impl fmt::Display for Document {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Document::Vault(path) => write!(f, "vault:{path}"),
            Document::AwsSm(name) => write!(f, "aws-sm:{name}"),
            Document::Pkcs11(object) => write!(f, "pkcs11:{object}"),
        }
    }
}

/// Which stores there are.
#[derive(Debug, Clone, PartialEq)]
pub struct Settings {
    /// Between two looks whether a secret has changed.
    pub refresh: Duration,
    /// Deadline of one question, a login included.
    pub timeout: Duration,
    /// `${vault:…}`.
    pub vault: Option<vault::Settings>,
    /// `${aws-sm:…}`.
    pub aws: Option<aws::Settings>,
    /// `${pkcs11:…}`.
    pub pkcs11: Option<pkcs11::Settings>,
}

/// Why a store did not give a secret. Never holds one.
#[derive(Debug, PartialEq, Eq)]
pub enum StoreError {
    /// `secrets` does not say where that is.
    NotConfigured,
    /// There is no such secret.
    Missing,
    /// There is, without this field.
    NoField,
    /// We may not.
    Refused(StatusCode, String),
    /// We may not log in.
    Login(StatusCode),
    /// No answer.
    Unreachable(FetchError),
    /// A token did not give it: which, and why.
    Token(String),
    /// The answer, or what we would ask, is of no use.
    Unusable(&'static str),
}

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            StoreError::NotConfigured => f.write_str("`secrets` does not say where this store is"),
            StoreError::Missing => f.write_str("there is no such secret"),
            StoreError::NoField => f.write_str("the secret has no such field, or it is not text"),
            StoreError::Refused(status, word) => write!(f, "refused: {} {word}", status.as_u16()),
            StoreError::Login(status) => write!(f, "the login was refused: {}", status.as_u16()),
            StoreError::Unreachable(why) => why.fmt(f),
            StoreError::Token(why) => f.write_str(why),
            StoreError::Unusable(why) => f.write_str(why),
        }
    }
}

impl From<FetchError> for StoreError {
    fn from(why: FetchError) -> StoreError {
        StoreError::Unreachable(why)
    }
}

/// The stores, with what we are logged in with.
#[derive(Debug)]
pub struct Stores {
    settings: Settings,
    vault: Option<Vault>,
}

impl Stores {
    /// Nothing is asked yet.
    #[must_use]
    pub fn new(settings: Settings) -> Stores {
        let vault = settings.vault.clone().map(Vault::new);
        Stores { settings, vault }
    }

    /// What they were made of.
    #[must_use]
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Whether it is known where that is.
    #[must_use]
    pub fn has(&self, document: &Document) -> bool {
        match document {
            Document::Vault(_) => self.vault.is_some(),
            Document::AwsSm(_) => self.settings.aws.is_some(),
            Document::Pkcs11(_) => self.settings.pkcs11.is_some(),
        }
    }

    /// Asks for one, within the deadline.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn read(&self, document: &Document) -> Result<Value, StoreError> {
        let answer = async {
            match document {
                Document::Vault(path) => {
                    let vault = self.vault.as_ref().ok_or(StoreError::NotConfigured)?;
                    let ca = self.settings.vault.as_ref().map_or(&[][..], |vault| &vault.ca);
                    vault.read(&asker(ca)?, path).await
                }
                Document::AwsSm(name) => {
                    let settings = self.settings.aws.as_ref().ok_or(StoreError::NotConfigured)?;
                    aws::read(settings, &asker(&[])?, name).await
                }
                Document::Pkcs11(object) => self.object(object.clone()).await,
            }
        };
        tokio::time::timeout(self.settings.timeout, answer)
            .await
            .unwrap_or(Err(StoreError::Unreachable(FetchError::Timeout)))
    }

    /// The same from code that is not asynchronous, on a thread of its own: the caller may be on a runtime already.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub fn read_now(&self, document: &Document) -> Result<Value, StoreError> {
        let asked = || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            let runtime = runtime.map_err(|_| StoreError::Unusable("no runtime"))?;
            let answer = runtime.block_on(self.read(document));
            // a token that hangs is not waited for
            runtime.shutdown_background();
            answer
        };
        std::thread::scope(|scope| scope.spawn(asked).join())
            .unwrap_or(Err(StoreError::Unusable("the question was broken off")))
    }

    /// An object of the token. Tokens are asked by a thread: their interface knows no other way.
    #[cfg(feature = "pkcs11")]
    async fn object(&self, object: TokenObject) -> Result<Value, StoreError> {
        let settings = self.settings.pkcs11.as_ref().ok_or(StoreError::NotConfigured)?;
        let token = pkcs11::Token::of(settings);
        tokio::task::spawn_blocking(move || token.read(&object))
            .await
            .unwrap_or(Err(StoreError::Unusable("the question was broken off")))
    }

    /// There is none in this build: a configuration that names one is refused.
    #[cfg(not(feature = "pkcs11"))]
    async fn object(&self, _: TokenObject) -> Result<Value, StoreError> {
        Err(StoreError::NotConfigured)
    }

    /// A private key that stays in the token.
    ///
    /// # Errors
    /// See [`StoreError`].
    #[cfg(feature = "pkcs11")]
    pub fn key(&self, object: &TokenObject) -> Result<PKey<Private>, StoreError> {
        let settings = self.settings.pkcs11.as_ref().ok_or(StoreError::NotConfigured)?;
        pkcs11::Token::of(settings).key(object)
    }

    /// There is none in this build: a configuration that names one is refused.
    ///
    /// # Errors
    /// [`StoreError::NotConfigured`].
    #[cfg(not(feature = "pkcs11"))]
    pub fn key(&self, _: &TokenObject) -> Result<PKey<Private>, StoreError> {
        Err(StoreError::NotConfigured)
    }

    /// Renews what we are logged in with, when it is time to.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn renew(&self) -> Result<(), StoreError> {
        let (Some(vault), Some(settings)) = (&self.vault, &self.settings.vault) else {
            return Ok(());
        };
        let renewed = async { vault.renew(&asker(&settings.ca)?).await };
        tokio::time::timeout(self.settings.timeout, renewed)
            .await
            .unwrap_or(Err(StoreError::Unreachable(FetchError::Timeout)))
    }
}

/// Of its own for each question: it lives on the runtime that asks.
fn asker(ca: &[X509]) -> Result<Asker, StoreError> {
    Asker::new(ca).map_err(|_| StoreError::Unusable("TLS cannot be set up with this CA"))
}

/// The text of a field; of the whole where none is named.
///
/// # Errors
/// [`StoreError::NoField`].
pub fn field(document: &Value, field: Option<&str>) -> Result<String, StoreError> {
    let text = match (document, field) {
        (Value::String(text), None) => Some(text.clone()),
        // AWS keeps a map as the text of its JSON
        (Value::String(text), Some(field)) => {
            let map: Option<BTreeMap<String, Value>> = serde_json::from_str(text).ok();
            map.and_then(|map| Some(map.get(field)?.as_str()?.to_owned()))
        }
        (document, Some(field)) => document.get(field).and_then(Value::as_str).map(str::to_owned),
        _ => None,
    };
    text.ok_or(StoreError::NoField)
}

/// Tells contents apart without keeping them.
#[must_use]
pub fn fingerprint(document: &Value) -> [u8; 32] {
    openssl::sha::sha256(document.to_string().as_bytes())
}
