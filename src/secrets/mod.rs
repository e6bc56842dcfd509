//! Where what is not in the configuration comes from: environment, files, sealed files and stores. Nothing else reads a
//! secret.

pub mod aws;
pub mod keeper;
pub mod pkcs11;
pub mod seal;
pub mod sigv4;
pub mod store;
pub mod vault;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use openssl::pkey::{PKey, Private};
use parking_lot::Mutex;
use serde_json::Value;

use crate::config::scalar::{Lookup, ObjectType, Stored, TokenObject, Unresolved};
use keeper::{Keeper, Reading};
use seal::SealingKey;
use store::{Document, Settings, StoreError, Stores};

/// Files larger than this are not read.
const MAX_FILE: u64 = 4 << 20;

const IS_NO_TEXT: &str = "a private key stays in its token: it can be the key of a certificate, of `sign` or of `jwe`, and no part of a text";

/// Environment and files, as the process sees them; and stores, for those who ask for that.
#[derive(Debug, Default)]
pub struct Sources {
    /// Relative paths start here: the folder of the configuration.
    base: PathBuf,
    /// Asked before the environment.
    overrides: HashMap<String, String>,
    /// Files that were asked for, so that a change of theirs is noticed.
    read: Mutex<Vec<PathBuf>>,
    /// Whose logins to go on with; `None`: stores are not asked.
    keeper: Option<Arc<Keeper>>,
    opened: Mutex<Opened>,
}

/// What the configuration says about sealed files and stores.
#[derive(Default)]
struct Opened {
    keys: Vec<SealingKey>,
    /// One of them is in a store that was not asked.
    lacks_keys: bool,
    stores: Option<Arc<Stores>>,
    /// What they said so far.
    documents: BTreeMap<Document, Arc<Value>>,
    failed: bool,
    /// One did not answer: no more time is spent on it.
    is_silent: bool,
    not_asked: BTreeSet<Stored>,
}

impl fmt::Debug for Opened {
    /// Without what was read.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Opened")
            .field("stores", &self.stores)
            .finish_non_exhaustive()
    }
}

/// What a sealed file is sealed for: to be itself. `None` for what is no file.
#[must_use]
pub fn purpose_of(path: &Path) -> Option<String> {
    Some(format!("secret/{}", path.file_name()?.to_str()?))
}

impl Sources {
    /// Relative paths start in the folder of `configuration`.
    #[must_use]
    pub fn beside(configuration: &Path) -> Sources {
        let base = configuration.parent().unwrap_or(Path::new("")).to_owned();
        Sources {
            base,
            ..Sources::default()
        }
    }

    /// With values that go before the environment's.
    #[must_use]
    pub fn with(mut self, overrides: impl IntoIterator<Item = (String, String)>) -> Sources {
        self.overrides.extend(overrides);
        self
    }

    /// Asks stores too, and goes on with the logins that are kept.
    #[must_use]
    pub fn asking(mut self, keeper: Arc<Keeper>) -> Sources {
        self.keeper = Some(keeper);
        self
    }

    /// Sealed files are opened with these from now on. `are_all`: none of them is in a store that was not asked.
    pub fn unlock(&self, keys: Vec<SealingKey>, are_all: bool) {
        let mut opened = self.opened.lock();
        opened.keys = keys;
        opened.lacks_keys = !are_all;
    }

    /// The keys that open what is sealed; the first one seals.
    #[must_use]
    pub fn sealing_keys(&self) -> Vec<SealingKey> {
        self.opened.lock().keys.clone()
    }

    /// Secrets are asked for there from now on.
    pub fn open(&self, settings: Settings) {
        let kept = self.keeper.as_ref().and_then(|keeper| keeper.stores());
        let stores = kept
            .filter(|stores| *stores.settings() == settings)
            .unwrap_or_else(|| Arc::new(Stores::new(settings)));
        self.opened.lock().stores = Some(stores);
    }

    /// What was had of the stores.
    #[must_use]
    pub fn reading(&self) -> Reading {
        let opened = self.opened.lock();
        let fingerprints = opened.documents.iter().map(|(document, contents)| {
            let fingerprint = store::fingerprint(contents);
            (document.clone(), fingerprint)
        });
        Reading {
            read: fingerprints.collect(),
            stores: opened.stores.clone(),
            failed: opened.failed,
        }
    }

    /// What stores were not asked for.
    #[must_use]
    pub fn not_asked(&self) -> Vec<String> {
        self.opened
            .lock()
            .not_asked
            .iter()
            .map(Stored::to_string)
            .collect()
    }

    fn unseal(&self, path: &Path) -> Result<String, String> {
        let keys = self.sealing_keys();
        if keys.is_empty() {
            return Err("there are no `secrets.sealing_keys`".to_owned());
        }
        let sealed = self.file(path).map_err(|why| why.to_string())?;
        let purpose = purpose_of(path).ok_or("no file")?;
        let opened = seal::open(&keys, &sealed, &purpose).map_err(|why| why.to_string())?;
        let text = String::from_utf8(opened).map_err(|_| "what is sealed is no text")?;
        Ok(text.trim_end_matches(['\n', '\r']).to_owned())
    }

    /// A private key that stays in its token.
    ///
    /// # Errors
    /// As [`Lookup::stored`].
    pub fn token_key(&self, object: &TokenObject) -> Result<PKey<Private>, Unresolved> {
        let stored = Stored::Pkcs11(object.clone());
        // what is known of it is kept with what else was read, so that another key in its place is noticed
        self.known(&stored, Document::Pkcs11(object.clone()))?;
        let stores = self.opened.lock().stores.clone();
        stores
            .map_or(Err(StoreError::NotConfigured), |stores| stores.key(object))
            .map_err(|why| self.failed(&stored, &why))
    }

    /// The whole secret, where it is to be had.
    fn known(&self, stored: &Stored, document: Document) -> Result<Arc<Value>, Unresolved> {
        let stores = self.opened.lock().stores.clone();
        if !stores.is_some_and(|stores| stores.has(&document)) {
            return Err(fault(stored, &StoreError::NotConfigured));
        }
        if self.keeper.is_none() {
            self.opened.lock().not_asked.insert(stored.clone());
            return Err(Unresolved::NotAsked);
        }
        self.document(document).map_err(|why| self.failed(stored, &why))
    }

    /// A store did not give what was asked for: it is asked again.
    fn failed(&self, stored: &Stored, why: &StoreError) -> Unresolved {
        self.opened.lock().failed = true;
        fault(stored, why)
    }

    /// The whole secret, asked for once.
    fn document(&self, document: Document) -> Result<Arc<Value>, StoreError> {
        let stores = {
            let opened = self.opened.lock();
            if let Some(known) = opened.documents.get(&document) {
                return Ok(known.clone());
            }
            if opened.is_silent {
                return Err(StoreError::Unusable("not asked: a store did not answer just now"));
            }
            opened.stores.clone().ok_or(StoreError::NotConfigured)?
        };
        let contents = match stores.read_now(&document) {
            Ok(contents) => Arc::new(contents),
            Err(why) => {
                self.opened.lock().is_silent |= matches!(why, StoreError::Unreachable(_));
                return Err(why);
            }
        };
        self.opened.lock().documents.insert(document, contents.clone());
        Ok(contents)
    }

    /// The path as it is opened.
    #[must_use]
    pub fn path(&self, path: &Path) -> PathBuf {
        self.base.join(path)
    }

    /// Files that were asked for so far.
    #[must_use]
    pub fn read(&self) -> Vec<PathBuf> {
        self.read.lock().clone()
    }

    /// A file that need not be text, of at most so many bytes.
    ///
    /// # Errors
    /// It cannot be read, or is larger.
    pub fn bytes(&self, path: &Path, most: u64) -> io::Result<Vec<u8>> {
        std::fs::read(self.admissible(path, most)?)
    }

    /// Where a file is that may be read.
    fn admissible(&self, path: &Path, most: u64) -> io::Result<PathBuf> {
        let path = self.path(path);
        self.read.lock().push(path.clone());
        let meta = std::fs::metadata(&path)?;
        if !meta.is_file() {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a file"));
        }
        if meta.len() > most {
            let why = format!("larger than {} MiB", most >> 20);
            return Err(io::Error::new(io::ErrorKind::FileTooLarge, why));
        }
        Ok(path)
    }

    /// Who can read or write a file; its owner, where it is not there.
    #[must_use]
    pub fn readers(&self, path: &Path) -> Readers {
        let mode = std::fs::metadata(self.path(path)).map_or(0, |meta| meta.permissions().mode());
        match (mode & 0o070, mode & 0o007) {
            (0, 0) => Readers::Owner,
            (_, 0) => Readers::Group,
            _ => Readers::Everybody,
        }
    }
}

/// Who can get at a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Readers {
    /// Nobody else.
    Owner,
    /// Its group, too.
    Group,
    /// Every user of the machine.
    Everybody,
}

impl Lookup for Sources {
    fn env(&self, name: &str) -> Option<String> {
        self.overrides
            .get(name)
            .cloned()
            .or_else(|| std::env::var(name).ok())
    }

    fn file(&self, path: &Path) -> io::Result<String> {
        std::fs::read_to_string(self.admissible(path, MAX_FILE)?)
    }

    fn stored(&self, stored: &Stored) -> Result<String, Unresolved> {
        let (document, field) = match (stored, Document::of(stored)) {
            (Stored::Pkcs11(object), _) if object.class == ObjectType::Private => {
                return Err(fault(stored, &IS_NO_TEXT));
            }
            (_, Some(found)) => found,
            (Stored::Sealed(path), None) => {
                return self.unseal(path).map_err(|why| {
                    let mut opened = self.opened.lock();
                    if opened.lacks_keys {
                        opened.not_asked.insert(stored.clone());
                        return Unresolved::NotAsked;
                    }
                    fault(stored, &why)
                });
            }
            (_, None) => return Err(fault(stored, &StoreError::NotConfigured)),
        };
        let contents = self.known(stored, document)?;
        store::field(&contents, field).map_err(|why| self.failed(stored, &why))
    }
}

fn fault(stored: &Stored, why: &dyn fmt::Display) -> Unresolved {
    Unresolved::Stored {
        stored: stored.clone(),
        why: why.to_string(),
    }
}
