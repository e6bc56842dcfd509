//! API keys: `dwk_live_<43 of base62>_<checksum>`, known by their digests alone (S55, U24).
//!
//! A key holds 256 random bits, so a plain SHA-256 of it can neither be guessed nor reversed, and looking the digest up
//! tells nothing about it by how long it takes: which bytes of a digest agree is nothing that an attacker can choose.
//! Prefix and checksum are for the scanners that look for leaked secrets, and refuse most of what is no key at no cost.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use http::header::{HeaderMap, HeaderName};

use super::claims::Claims;
use super::headers::IdentityHeaders;
use super::jwt::Verified;
use super::verdicts::{self, Digest};
use super::{Authenticated, AuthnError};
use crate::clock::UnixTime;
use crate::identity::{Client, Derived, Kind};

/// What every key begins with.
pub const PREFIX: &str = "dwk";
/// Random characters of a key: 62^43 is more than 2^256.
pub const RANDOM: usize = 43;
/// Characters of the checksum: CRC-32 of all that is before the last `_`, in base62.
const CHECKSUM: usize = 6;
/// Longest name of an environment, in bytes.
const MAX_ENVIRONMENT: usize = 16;
/// The digits of base62.
pub const DIGITS: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/// Keys of one file, and how they are sent.
pub struct KeyRing {
    /// Its name in the configuration.
    pub name: Arc<str>,
    /// Which header carries a key.
    pub header: HeaderName,
    /// The same in the spellings that a query might use.
    query_names: Box<[Box<str>]>,
    /// Keys of other environments are refused.
    environment: Box<str>,
    /// Says which application it is, and authenticates nobody (S61).
    pub identifies_only: bool,
    keys: HashMap<Digest, ApiKey>,
    /// Line of the configuration.
    pub line: u32,
}

/// A key that was made.
struct ApiKey {
    client: Arc<Client>,
    is_revoked: bool,
}

/// What is known of a key but itself.
#[derive(Debug)]
pub struct Known<'a> {
    /// SHA-256 of it.
    pub digest: Digest,
    /// Whose.
    pub client: &'a str,
    /// Granted.
    pub scopes: &'a [String],
    /// Granted, as the values that a token's would have.
    pub roles: &'a [String],
    /// Its end.
    pub expires: Option<UnixTime>,
    /// Whether it was taken back.
    pub is_revoked: bool,
}

impl KeyRing {
    /// An empty ring; `index` is its place in the snapshot.
    #[must_use]
    pub fn new(
        name: &str,
        header: HeaderName,
        environment: &str,
        identifies_only: bool,
        line: u32,
    ) -> KeyRing {
        let query_names = [header.as_str(), "x-api-key", "api-key", "apikey"];
        KeyRing {
            name: name.into(),
            query_names: query_names.map(|name| name.replace('_', "-").into()).into(),
            header,
            environment: environment.into(),
            identifies_only,
            keys: HashMap::new(),
            line,
        }
    }

    /// Adds a key; `index` is the ring's place in the snapshot. Says whether there was none with this digest.
    ///
    /// # Errors
    /// What it says cannot be told in a header.
    pub fn add(
        &mut self,
        index: usize,
        key: &Known<'_>,
        headers: &IdentityHeaders,
    ) -> Result<bool, AuthnError> {
        let claims = serde_json::json!({
            "sub": key.client, "client_id": key.client, "scope": key.scopes.join(" "), "roles": key.roles,
        });
        let verified = Verified {
            claims: Claims::parse(claims.to_string().as_bytes())?,
            subject: key.client.to_owned(),
            client_id: Some(key.client.to_owned()),
            scopes: key.scopes.to_vec(),
            roles: key.roles.to_vec(),
            expires: key.expires.unwrap_or(UnixTime::MAX),
            not_before: None,
            key_id: None,
            generation: 0,
        };
        let until = verified.expires;
        let client = Client {
            kind: Kind::ApiKey,
            issuer: index,
            authority: self.name.clone(),
            tenant: None,
            headers: headers.render(&self.name, None, &verified)?,
            subject: verified.subject.into(),
            client_id: verified.client_id.map(Into::into),
            scopes: verified.scopes.into_iter().map(Into::into).collect(),
            roles: verified.roles.into_iter().map(Into::into).collect(),
            claims: verified.claims,
            until,
            authenticated: Authenticated(()),
            derived: Derived::default(),
        };
        let made = ApiKey {
            client: Arc::new(client),
            is_revoked: key.is_revoked,
        };
        Ok(self.keys.insert(key.digest, made).is_none())
    }

    /// The environment whose keys are taken.
    #[must_use]
    pub fn environment(&self) -> &str {
        &self.environment
    }

    /// How many keys there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.keys.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// What was sent as the key, not looked at; `None` where nothing was.
    ///
    /// # Errors
    /// There is more than one, or one in the query, which ends up in logs.
    pub(super) fn sent<'a>(
        &self,
        headers: &'a HeaderMap,
        query: Option<&str>,
    ) -> Result<Option<&'a [u8]>, AuthnError> {
        let mut values = headers.get_all(&self.header).iter();
        let sent = match (values.next(), values.next()) {
            (value, None) => value.map(|value| value.as_bytes()),
            _ => return Err(AuthnError::ApiKeyRepeated),
        };
        if query.is_some_and(|query| super::query::names(query, |name| self.is_name(name))) {
            return Err(AuthnError::ApiKeyInQuery);
        }
        Ok(sent)
    }

    fn is_name(&self, name: &[u8]) -> bool {
        self.query_names.iter().any(|ours| {
            ours.len() == name.len()
                && name
                    .iter()
                    .zip(ours.bytes())
                    .all(|(a, b)| a.eq_ignore_ascii_case(&b) || (*a == b'_' && b == b'-'))
        })
    }

    /// Whose key it is.
    ///
    /// # Errors
    /// Why it is not good.
    pub(super) fn client(
        &self,
        sent: &[u8],
        digest: &Digest,
        now: UnixTime,
    ) -> Result<&Arc<Client>, AuthnError> {
        let environment = environment(sent).ok_or(AuthnError::ApiKeyMalformed)?;
        if environment != self.environment.as_bytes() {
            return Err(AuthnError::ApiKeyEnvironment);
        }
        let key = self.keys.get(digest).ok_or(AuthnError::ApiKeyUnknown)?;
        if key.is_revoked {
            return Err(AuthnError::ApiKeyRevoked);
        }
        if now >= key.client.until {
            return Err(AuthnError::ApiKeyExpired);
        }
        Ok(&key.client)
    }
}

/// How many, and of whom nothing.
impl fmt::Debug for KeyRing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyRing")
            .field("name", &self.name)
            .field("keys", &self.keys.len())
            .finish_non_exhaustive()
    }
}

/// Whether an environment can be called so: 1 to 16 lower-case letters and digits.
#[must_use]
pub fn is_environment(name: &[u8]) -> bool {
    (1..=MAX_ENVIRONMENT).contains(&name.len())
        && name.iter().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit())
}

/// The key of these random digits, with its checksum.
#[must_use]
pub fn compose(environment: &str, random: &str) -> String {
    let key = format!("{PREFIX}_{environment}_{random}");
    let checksum = checksum(key.as_bytes());
    format!("{key}_{}", String::from_utf8_lossy(&checksum))
}

/// The environment of a key that is one by its form and checksum.
#[must_use]
pub fn environment(key: &[u8]) -> Option<&[u8]> {
    let (signed, sum) = key.split_at_checked(key.len().checked_sub(CHECKSUM)?)?;
    let signed = signed.strip_suffix(b"_")?;
    let rest = signed.strip_prefix(PREFIX.as_bytes())?.strip_prefix(b"_")?;
    let (rest, random) = rest.split_at_checked(rest.len().checked_sub(RANDOM)?)?;
    let environment = rest.strip_suffix(b"_")?;
    (is_environment(environment) && random.iter().all(u8::is_ascii_alphanumeric) && checksum(signed) == sum)
        .then_some(environment)
}

fn checksum(bytes: &[u8]) -> [u8; CHECKSUM] {
    let mut rest = crc32fast::hash(bytes);
    let mut digits = [b'0'; CHECKSUM];
    for digit in digits.iter_mut().rev() {
        let value = usize::try_from(rest % 62).unwrap_or_default();
        *digit = DIGITS.get(value).copied().unwrap_or(b'0');
        rest /= 62;
    }
    digits
}

/// The digest under which a key is kept.
#[must_use]
pub fn digest(key: &[u8]) -> Digest {
    verdicts::digest(key)
}

/// The name by which operators speak of a key: the first 12 hexadecimal digits of its digest.
#[must_use]
pub fn id(digest: &Digest) -> String {
    digest.iter().take(6).map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const RANDOM_PART: &str = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefg";

    fn ring(keys: &[Known<'_>]) -> KeyRing {
        let mut ring = KeyRing::new("partners", HeaderName::from_static("x-api-key"), "live", false, 1);
        let headers = IdentityHeaders::new(Vec::new(), Vec::new());
        for key in keys {
            assert!(ring.add(0, key, &headers).unwrap());
        }
        ring
    }

    fn known(key: &str) -> Known<'static> {
        Known {
            digest: digest(key.as_bytes()),
            client: "acme",
            scopes: &[],
            roles: &[],
            expires: None,
            is_revoked: false,
        }
    }

    // U24: the form is public; scanners are told of it once
    #[test]
    fn the_form_of_a_key_does_not_change() {
        let key = compose("live", RANDOM_PART);
        assert_eq!(key, format!("dwk_live_{RANDOM_PART}_2GA22z"));
        assert_eq!(environment(key.as_bytes()), Some(&b"live"[..]));
    }

    // S55
    #[test]
    fn every_changed_character_is_noticed_without_looking_the_key_up() {
        let key = compose("live", RANDOM_PART);
        for at in 0..key.len() {
            let mut changed = key.clone().into_bytes();
            changed[at] = if changed[at] == b'x' { b'y' } else { b'x' };
            assert_eq!(environment(&changed), None, "byte {at}");
            assert_eq!(environment(&key.as_bytes()[..at]), None, "cut at {at}");
        }
        for other in [
            "",
            "dwk",
            "dwk_live_",
            "_",
            "dwk__",
            &format!("{key} "),
            &key.to_uppercase(),
        ] {
            assert_eq!(environment(other.as_bytes()), None, "{other}");
        }
    }

    // S55
    #[test]
    fn a_key_is_good_from_its_making_to_its_end_unless_it_is_taken_back() {
        let (good, ends, back) = (
            compose("live", RANDOM_PART),
            compose("live", &RANDOM_PART.replace('0', "a")),
            compose("live", &RANDOM_PART.replace('0', "b")),
        );
        let ring = ring(&[
            known(&good),
            Known {
                expires: Some(UnixTime::from_seconds(100)),
                ..known(&ends)
            },
            Known {
                is_revoked: true,
                ..known(&back)
            },
        ]);
        let judged = |key: &str, now| {
            ring.client(
                key.as_bytes(),
                &digest(key.as_bytes()),
                UnixTime::from_millis(now),
            )
            .map(|client| client.subject.to_string())
        };
        assert_eq!(judged(&good, 0), Ok("acme".to_owned()));
        assert_eq!(judged(&good, u64::MAX - 1), Ok("acme".to_owned()));
        assert_eq!(judged(&ends, 99_999), Ok("acme".to_owned()));
        assert_eq!(judged(&ends, 100_000), Err(AuthnError::ApiKeyExpired));
        assert_eq!(judged(&back, 0), Err(AuthnError::ApiKeyRevoked));
        let unknown = compose("live", &RANDOM_PART.replace('0', "c"));
        assert_eq!(judged(&unknown, 0), Err(AuthnError::ApiKeyUnknown));
        let test = compose("test", RANDOM_PART);
        assert_eq!(judged(&test, 0), Err(AuthnError::ApiKeyEnvironment));
        assert_eq!(judged("hunter2", 0), Err(AuthnError::ApiKeyMalformed));
    }

    // S55
    #[test]
    fn a_key_is_found_in_its_header_and_refused_anywhere_else() {
        let ring = ring(&[]);
        let found = |values: &[&str], query: Option<&str>| {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append("x-api-key", value.parse().unwrap());
            }
            ring.sent(&headers, query).map(|sent| sent.map(<[u8]>::to_vec))
        };
        assert_eq!(found(&[], None), Ok(None));
        assert_eq!(found(&["a"], Some("key=1&q=api_key")), Ok(Some(b"a".to_vec())));
        assert_eq!(found(&["a", "a"], None), Err(AuthnError::ApiKeyRepeated));
        for query in [
            "api_key=a",
            "x=1&X-Api-Key=a",
            "apikey",
            "%61pi_key=a",
            "x;api-key=b",
        ] {
            assert_eq!(found(&[], Some(query)), Err(AuthnError::ApiKeyInQuery), "{query}");
            assert_eq!(
                found(&["a"], Some(query)),
                Err(AuthnError::ApiKeyInQuery),
                "{query}"
            );
        }
    }
}
