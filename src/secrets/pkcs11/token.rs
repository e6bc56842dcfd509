//! A token that is asked: one session, opened when it is first needed and again when it was lost.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use cryptoki::context::{CInitializeArgs, CInitializeFlags, Pkcs11};
use cryptoki::error::{Error, RvError};
use cryptoki::object::{Attribute, AttributeType, ObjectClass, ObjectHandle};
use cryptoki::session::{Session, UserType};
use cryptoki::types::AuthPin;
use openssl::pkey::{PKey, Private};
use parking_lot::Mutex;
use serde_json::{Value, json};

use super::{Settings, provider};
use crate::config::scalar::{ObjectType, TokenObject};
use crate::secrets::store::StoreError;

/// How long a question waits for the one before it. A token that hangs must not collect threads.
const PATIENCE: Duration = Duration::from_secs(1);

/// A module is one for the process: loaded once, and never unloaded, since the OpenSSL provider may be using it.
static MODULES: Mutex<BTreeMap<PathBuf, Pkcs11>> = Mutex::new(BTreeMap::new());

/// Logins are for the process, too. And a PIN that was refused is remembered here: some tokens lock themselves at the third.
static TOKENS: Mutex<Vec<Arc<Token>>> = Mutex::new(Vec::new());

/// A token, and our session with it.
#[derive(Debug)]
pub struct Token {
    settings: Settings,
    state: Mutex<State>,
}

#[derive(Debug)]
enum State {
    Closed,
    Open(Open),
    /// The PIN is wrong, or locked.
    Refused,
}

#[derive(Debug)]
struct Open {
    session: Session,
    slot: u64,
}

/// Why a question was not answered.
enum Trouble {
    /// In the object that was asked for: asking again would not help.
    Object(String),
    /// In the session, or what is below it.
    Session(String),
}

impl From<Error> for Trouble {
    fn from(why: Error) -> Trouble {
        Trouble::Session(words(&why))
    }
}

impl Token {
    /// The one with these settings.
    #[must_use]
    pub fn of(settings: &Settings) -> Arc<Token> {
        let mut tokens = TOKENS.lock();
        if let Some(token) = tokens.iter().find(|token| token.settings == *settings) {
            return token.clone();
        }
        let token = Arc::new(Token {
            settings: settings.clone(),
            state: Mutex::new(State::Closed),
        });
        tokens.push(token.clone());
        token
    }

    /// What there is to know of an object: its text as `value`, or of a private key the public one as `public`.
    ///
    /// # Errors
    /// [`StoreError::Token`].
    pub fn read(&self, object: &TokenObject) -> Result<Value, StoreError> {
        self.ask(object, |session, handle| match object.class {
            ObjectType::Data => {
                let bytes = value(session, handle)?;
                let text =
                    String::from_utf8(bytes).map_err(|_| Trouble::Object("it is no text".to_owned()))?;
                Ok(json!({ "value": text.trim_end_matches(['\n', '\r']) }))
            }
            ObjectType::SecretKey => Ok(json!({ "value": STANDARD.encode(value(session, handle)?) })),
            ObjectType::Private => {
                let key = provider::key(&self.settings, object).map_err(Trouble::Object)?;
                let public = key
                    .public_key_to_der()
                    .map_err(|_| Trouble::Object("its public key is not to be had".to_owned()))?;
                Ok(json!({ "public": STANDARD.encode(public) }))
            }
        })
    }

    /// A private key that stays in the token.
    ///
    /// # Errors
    /// [`StoreError::Token`].
    pub fn key(&self, object: &TokenObject) -> Result<PKey<Private>, StoreError> {
        self.ask(object, |_, _| {
            provider::key(&self.settings, object).map_err(Trouble::Object)
        })
    }

    /// Asks about one object, and once more in a new session if the one we had was lost.
    fn ask<T>(
        &self,
        object: &TokenObject,
        question: impl Fn(&Session, ObjectHandle) -> Result<T, Trouble>,
    ) -> Result<T, StoreError> {
        let said = |slot: Option<u64>, why: String| {
            let slot = slot.map_or_else(String::new, |slot| format!(" (slot {slot})"));
            StoreError::Token(format!("token `{}`{slot}: {why}", self.settings.token))
        };
        let Some(mut state) = self.state.try_lock_for(PATIENCE) else {
            return Err(said(None, "it has not answered the question before".to_owned()));
        };
        let asked =
            |open: &Open| find(&open.session, object).and_then(|found| question(&open.session, found));
        if let State::Open(open) = &*state {
            match asked(open) {
                Ok(answer) => return Ok(answer),
                Err(Trouble::Object(why)) => return Err(said(Some(open.slot), why)),
                Err(Trouble::Session(why)) => {
                    log::info!(target: "durward::secrets", "token `{}`: {why}; a new session is opened", self.settings.token);
                    *state = State::Closed;
                }
            }
        }
        if matches!(*state, State::Refused) {
            let why = "the PIN was refused before: not tried again, so that the token does not lock itself";
            return Err(said(None, why.to_owned()));
        }
        let open = match open(&self.settings) {
            Ok(open) => open,
            Err((
                slot,
                Error::Pkcs11(RvError::PinIncorrect | RvError::PinLocked | RvError::PinLenRange, _),
            )) => {
                *state = State::Refused;
                return Err(said(slot, "the PIN is refused".to_owned()));
            }
            Err((None, Error::InvalidValue)) => return Err(said(None, "there is no such token".to_owned())),
            Err((slot, why)) => return Err(said(slot, words(&why))),
        };
        let slot = open.slot;
        let answer =
            asked(&open).map_err(|(Trouble::Object(why) | Trouble::Session(why))| said(Some(slot), why));
        *state = State::Open(open);
        answer
    }
}

/// A session that is logged in. What fails is said with the slot that it failed in.
fn open(settings: &Settings) -> Result<Open, (Option<u64>, Error)> {
    let module = module(&settings.module).map_err(|why| (None, why))?;
    let slots = module
        .get_slots_with_initialized_token()
        .map_err(|why| (None, why))?;
    let is_it = |slot: &cryptoki::slot::Slot| {
        let token = module.get_token_info(*slot);
        token.is_ok_and(|token| token.label() == settings.token)
    };
    let slot = slots.into_iter().find(is_it).ok_or((None, Error::InvalidValue))?;
    let at = Some(slot.id());
    let session = module.open_ro_session(slot).map_err(|why| (at, why))?;
    match session.login(UserType::User, Some(&AuthPin::from(settings.pin.clone()))) {
        // logins are for the process: the provider may have been first
        Ok(()) | Err(Error::Pkcs11(RvError::UserAlreadyLoggedIn, _)) => Ok(Open {
            session,
            slot: slot.id(),
        }),
        Err(why) => Err((at, why)),
    }
}

/// The library, initialized: that may have been undone, or been done by the provider.
fn module(path: &Path) -> Result<Pkcs11, Error> {
    let mut modules = MODULES.lock();
    let module = match modules.get(path) {
        Some(module) => module.clone(),
        None => {
            let module = Pkcs11::new(path)?;
            modules.insert(path.to_owned(), module.clone());
            module
        }
    };
    match module.initialize(CInitializeArgs::new(CInitializeFlags::OS_LOCKING_OK)) {
        Ok(()) | Err(Error::Pkcs11(RvError::CryptokiAlreadyInitialized, _)) => Ok(module),
        Err(why) => Err(why),
    }
}

/// The one object that is meant.
fn find(session: &Session, object: &TokenObject) -> Result<ObjectHandle, Trouble> {
    let TokenObject { label, id, class } = object;
    let class = match class {
        ObjectType::Data => ObjectClass::DATA,
        ObjectType::SecretKey => ObjectClass::SECRET_KEY,
        ObjectType::Private => ObjectClass::PRIVATE_KEY,
    };
    let mut template = vec![Attribute::Class(class), Attribute::Token(true)];
    template.extend(
        label
            .as_ref()
            .map(|label| Attribute::Label(label.clone().into_bytes())),
    );
    template.extend(id.clone().map(Attribute::Id));
    match session.find_objects(&template)?.as_slice() {
        [found] => Ok(*found),
        [] => Err(Trouble::Object(format!("there is no object `{object}`"))),
        several => Err(Trouble::Object(format!(
            "there are {} objects `{object}`: name one by its `id` as well",
            several.len()
        ))),
    }
}

/// What an object holds.
fn value(session: &Session, handle: ObjectHandle) -> Result<Vec<u8>, Trouble> {
    let attributes = session.get_attributes(handle, &[AttributeType::Value])?;
    let value = attributes.into_iter().find_map(|attribute| match attribute {
        Attribute::Value(bytes) => Some(bytes),
        _ => None,
    });
    value.ok_or_else(|| Trouble::Object("it may not leave the token: it is not extractable".to_owned()))
}

/// What a library says is a code, never what was asked about.
fn words(why: &Error) -> String {
    match why {
        Error::Pkcs11(code, function) => format!("C_{function:?}: {code:?}"),
        Error::LibraryLoading(why) => format!("the module cannot be loaded: {why}"),
        other => other.to_string(),
    }
}
