//! A deny list: one entry a line, in a file as on a server.
//!
//! ```text
//! # kind authority value; the authority is an issuer or a ring of keys by its name, or * for any
//! jti main 5f1c2c4e-9b43
//! sub main ada
//! sid main 8c2f
//! client partners acme
//! issued-before main 2026-11-22T12:00:00Z
//! issued-before main 2026-11-22T12:00:00Z sub ada
//! issued-before main 2026-11-22T12:00:00Z client mobile app
//! ```
//!
//! Of an issuer with tenants, `entra` is all of them, and `entra/TENANT` one. A value is the rest of its line. What cannot be read is an error and never skipped: it may be the entry that matters.

use std::collections::{HashMap, HashSet};

use super::super::claims::ClaimPath;
use crate::clock::UnixTime;
use crate::identity::Client;

/// Longest line, in bytes.
pub const MAX_LINE: usize = 1024;
/// Entries of one list at most: some 150 MiB.
pub const MAX_ENTRIES: usize = 1 << 20;
/// Longest file, in bytes.
pub const MAX_BYTES: u64 = 64 << 20;

/// What entries begin with. What is none of the first is the last.
const KINDS: [&str; 5] = ["jti", "sub", "sid", "client", "issued-before"];
/// Any issuer or ring of keys.
const ANY: &str = "*";

/// What is taken back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    authority: Box<str>,
    what: What,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum What {
    Token(Box<str>),
    Subject(Box<str>),
    Session(Box<str>),
    Client(Box<str>),
    Before(UnixTime),
    SubjectBefore(Box<str>, UnixTime),
    ClientBefore(Box<str>, UnixTime),
}

/// Entries, to be looked up.
#[derive(Debug, Clone, Default)]
pub struct DenyList {
    by_authority: HashMap<Box<str>, Of>,
    entries: usize,
}

/// What is taken back of one authority.
#[derive(Debug, Clone, Default)]
struct Of {
    tokens: HashSet<Box<str>>,
    subjects: HashSet<Box<str>>,
    sessions: HashSet<Box<str>>,
    clients: HashSet<Box<str>>,
    /// Everything issued before.
    before: UnixTime,
    subjects_before: HashMap<Box<str>, UnixTime>,
    clients_before: HashMap<Box<str>, UnixTime>,
}

/// Reads a line; `None`: empty, or a remark. `authorities`: names that there are.
///
/// # Errors
/// What is wrong with it; nothing of the line is repeated but the name of an authority.
pub fn parse(line: &str, authorities: &[&str]) -> Result<Option<Entry>, String> {
    let line = line.trim();
    if line.is_empty() || line.starts_with('#') {
        return Ok(None);
    }
    if line.len() > MAX_LINE {
        return Err(format!("longer than {MAX_LINE} bytes"));
    }
    let (kind, rest) = word(line);
    if !KINDS.contains(&kind) {
        return Err(format!("it begins with none of {}", KINDS.join(", ")));
    }
    let (authority, rest) = word(rest);
    if authority != ANY && !authorities.contains(&authority) {
        let shown: String = authority.chars().take(64).collect();
        return Err(format!("no issuer and no ring of keys is called {shown:?}"));
    }
    let value = |text: &str| match text.trim() {
        "" => Err("there is no value".to_owned()),
        text => Ok(Box::from(text)),
    };
    let what = match kind {
        "jti" => What::Token(value(rest)?),
        "sub" => What::Subject(value(rest)?),
        "sid" => What::Session(value(rest)?),
        "client" => What::Client(value(rest)?),
        _ => {
            let (time, rest) = word(rest);
            let time: jiff::Timestamp = time
                .parse()
                .map_err(|_| "the time is not one of RFC 3339".to_owned())?;
            let millis = u64::try_from(time.as_millisecond()).map_err(|_| "before 1970".to_owned())?;
            let time = UnixTime::from_millis(millis);
            match word(rest) {
                ("", _) => What::Before(time),
                ("sub", rest) => What::SubjectBefore(value(rest)?, time),
                ("client", rest) => What::ClientBefore(value(rest)?, time),
                _ => return Err("after the time comes `sub`, `client` or nothing".to_owned()),
            }
        }
    };
    Ok(Some(Entry {
        authority: authority.into(),
        what,
    }))
}

/// The first word, and what follows.
fn word(text: &str) -> (&str, &str) {
    let text = text.trim_start();
    text.split_once(char::is_whitespace).unwrap_or((text, ""))
}

impl DenyList {
    /// Reads a list.
    ///
    /// # Errors
    /// The first line that cannot be read, and what is wrong with it.
    pub fn read(text: &str, authorities: &[&str]) -> Result<DenyList, String> {
        let mut list = DenyList::default();
        for (index, line) in text.lines().enumerate() {
            let entry = parse(line, authorities).map_err(|why| format!("line {}: {why}", index + 1))?;
            if let Some(entry) = entry {
                list.add(entry);
            }
            if list.entries > MAX_ENTRIES {
                return Err(format!("more than {MAX_ENTRIES} entries"));
            }
        }
        Ok(list)
    }

    /// Adds an entry.
    pub fn add(&mut self, entry: Entry) {
        let of = self.by_authority.entry(entry.authority).or_default();
        let later = |known: &mut UnixTime, time: UnixTime| *known = time.max(*known);
        match entry.what {
            What::Token(id) => _ = of.tokens.insert(id),
            What::Subject(subject) => _ = of.subjects.insert(subject),
            What::Session(session) => _ = of.sessions.insert(session),
            What::Client(client) => _ = of.clients.insert(client),
            What::Before(time) => later(&mut of.before, time),
            What::SubjectBefore(subject, time) => later(of.subjects_before.entry(subject).or_default(), time),
            What::ClientBefore(client, time) => later(of.clients_before.entry(client).or_default(), time),
        }
        self.entries += 1;
    }

    /// Entries, those that say the same counted each.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries == 0
    }

    /// Whether this client is on it. What does not say when it was issued was issued before anything.
    #[must_use]
    pub fn denies(&self, client: &Client) -> bool {
        !self.is_empty()
            && [&*client.authority, client.entry(), ANY]
                .iter()
                .filter_map(|authority| self.by_authority.get(*authority))
                .any(|of| of.denies(client))
    }
}

impl Of {
    fn denies(&self, client: &Client) -> bool {
        let issued = client.claims.issued_at().unwrap_or(UnixTime::EPOCH);
        let subject = &*client.subject;
        let id = client.claims.token_id();
        let of_client = client.client_id.as_deref();
        issued < self.before
            || self.subjects.contains(subject)
            || self
                .subjects_before
                .get(subject)
                .is_some_and(|time| issued < *time)
            || id.is_some_and(|id| self.tokens.contains(id))
            || of_client.is_some_and(|client| {
                self.clients.contains(client)
                    || self.clients_before.get(client).is_some_and(|time| issued < *time)
            })
            || self.denies_session(client)
    }

    fn denies_session(&self, client: &Client) -> bool {
        if self.sessions.is_empty() {
            return false;
        }
        // OpenID Connect Front-Channel Logout 1.0 section 3: a text
        let session = client.claims.text(&ClaimPath::of("sid"));
        session
            .ok()
            .flatten()
            .is_some_and(|session| self.sessions.contains(session))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::gates::authn::tests::{NOW_SECONDS, client_with};

    const KNOWN: [&str; 2] = ["main", "partners"];

    // U25, M14: each kind alone, and each value that is almost the same
    #[test]
    fn every_kind_denies_what_it_names_and_nothing_else() {
        let client = client_with(json!({ "jti": "t-1", "sid": "s-1" }));
        let issued = jiff::Timestamp::from_second(i64::try_from(NOW_SECONDS - 60).unwrap()).unwrap();
        let later = issued + jiff::SignedDuration::from_millis(1);
        for (line, expected) in [
            ("jti main t-1".to_owned(), true),
            ("jti main t-2".to_owned(), false),
            ("jti main T-1".to_owned(), false),
            ("jti partners t-1".to_owned(), false),
            ("jti * t-1".to_owned(), true),
            ("sub main alice".to_owned(), true),
            ("  sub\tmain   alice  # no remark".to_owned(), false),
            ("  sub\tmain   alice  ".to_owned(), true),
            ("sub main alic".to_owned(), false),
            ("sid main s-1".to_owned(), true),
            ("sid main t-1".to_owned(), false),
            ("client main app".to_owned(), true),
            ("client main alice".to_owned(), false),
            (format!("issued-before main {issued}"), false),
            (format!("issued-before main {later}"), true),
            (format!("issued-before partners {later}"), false),
            (format!("issued-before * {later}"), true),
            (format!("issued-before main {later} sub alice"), true),
            (format!("issued-before main {later} sub bob"), false),
            (format!("issued-before main {issued} sub alice"), false),
            (format!("issued-before main {later} client app"), true),
            (format!("issued-before main {later} client other"), false),
        ] {
            let list = DenyList::read(&format!("# list\n\nsub main bob\n{line}\n"), &KNOWN).unwrap();
            assert_eq!(list.denies(&client), expected, "{line}");
            assert_eq!(list.len(), 2);
        }
        assert!(!DenyList::default().denies(&client));
    }

    #[test]
    fn what_does_not_say_when_it_was_issued_was_issued_before_anything() {
        let list = DenyList::read("issued-before main 1971-01-01T00:00:00Z", &KNOWN).unwrap();
        assert!(list.denies(&client_with(json!({ "iat": null }))));
        assert!(!list.denies(&client_with(json!({}))));
    }

    #[test]
    fn a_line_that_cannot_be_read_is_an_error_at_its_place() {
        for (line, why) in [
            ("jti", "no issuer and no ring"),
            ("jti main", "there is no value"),
            (
                "jti elsewhere x",
                "no issuer and no ring of keys is called \"elsewhere\"",
            ),
            ("token main x", "it begins with none of"),
            ("issued-before main yesterday", "the time is not one of RFC 3339"),
            ("issued-before main 2026-01-01", "the time is not one of RFC 3339"),
            (
                "issued-before main 2026-01-01T00:00:00Z jti x",
                "after the time comes",
            ),
            ("issued-before main 2026-01-01T00:00:00Z sub", "there is no value"),
        ] {
            let said = DenyList::read(&format!("sub main bob\n{line}"), &KNOWN).unwrap_err();
            assert!(
                said.starts_with("line 2: ") && said.contains(why),
                "{line}: {said}"
            );
        }
        let long = format!("sub main {}", "x".repeat(MAX_LINE));
        assert!(DenyList::read(&long, &KNOWN).is_err());
    }
}
