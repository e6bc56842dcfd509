//! From where, by country, as a database of the operator's says (MaxMind's DB format 2.0).
//!
//! A database knows where an address is registered, not where a person is: it keeps whole countries out, and nobody who
//! means to get in. An address that it does not know is of no country, and refused unless the condition says otherwise.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use maxminddb::{PathElement, Reader};

use super::list;
use crate::denial::{Denial, Forbidden, Verdict};

/// Two capital letters (ISO 3166-1 alpha-2).
pub type Code = [u8; 2];

/// Countries that may ask, and such that may not.
#[derive(Debug, Clone)]
pub struct Countries {
    /// Who may; empty: all.
    pub allow: Box<[Code]>,
    /// Who may not.
    pub deny: Box<[Code]>,
    /// Whether an address may ask whose country nobody knows.
    pub unknown: bool,
    /// Who knows.
    pub database: Arc<CountryDatabase>,
}

/// Which country an address is of.
pub struct CountryDatabase {
    reader: Reader<Vec<u8>>,
}

impl CountryDatabase {
    /// Reads a database.
    ///
    /// # Errors
    /// It is none.
    pub fn read(bytes: Vec<u8>) -> Result<CountryDatabase, String> {
        let reader = Reader::from_source(bytes).map_err(|why| why.to_string())?;
        Ok(CountryDatabase { reader })
    }

    /// The country of an address; `None` where the database does not know it, or is broken there.
    #[must_use]
    pub fn country(&self, address: IpAddr) -> Option<Code> {
        let place = self.reader.lookup(address.to_canonical()).ok()?;
        let path = [PathElement::Key("country"), PathElement::Key("iso_code")];
        let code: &str = place.decode_path(&path).ok()??;
        code.as_bytes().try_into().ok()
    }
}

impl fmt::Debug for CountryDatabase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CountryDatabase").finish_non_exhaustive()
    }
}

impl Countries {
    /// # Errors
    /// [`Forbidden::Country`], or [`Forbidden::CountryUnknown`].
    pub fn check(&self, client: Option<IpAddr>) -> Verdict {
        let known = client.and_then(|client| self.database.country(client));
        match known {
            None if self.unknown => Ok(()),
            None => Err(Denial::Forbidden(Forbidden::CountryUnknown)),
            Some(country)
                if self.deny.contains(&country)
                    || !(self.allow.is_empty() || self.allow.contains(&country)) =>
            {
                Err(Denial::Forbidden(Forbidden::Country))
            }
            Some(_) => Ok(()),
        }
    }
}

impl fmt::Display for Countries {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = |codes: &[Code]| {
            codes
                .iter()
                .map(|code| String::from_utf8_lossy(code).into_owned())
                .collect()
        };
        let (allow, deny): (Vec<String>, Vec<String>) = (names(&self.allow), names(&self.deny));
        f.write_str("from ")?;
        if allow.is_empty() {
            f.write_str("any country")?;
        }
        list(f, allow)?;
        if !deny.is_empty() {
            f.write_str(" but not ")?;
            list(f, deny)?;
        }
        f.write_str(if self.unknown {
            ", or an unknown country"
        } else {
            ""
        })
    }
}
