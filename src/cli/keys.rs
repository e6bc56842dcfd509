//! `durward keys`: makes, lists and takes back API keys, in the file that `keys.*.file` of the configuration names.
//!
//! The file holds digests; a key is printed once, when it is made. A running gateway that reads the file notices the
//! change by itself.

use std::fs::{File, OpenOptions};
use std::io::{self, IsTerminal, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, Subcommand};
use openssl::rand::rand_bytes;

use crate::clock::UnixTime;
use crate::config::scalar::Span;
use crate::config::{KeyEntry, KeyFile};
use crate::gates::authn::api_key::{DIGITS, RANDOM, compose, digest, is_environment};

/// API keys.
#[derive(Debug, Args)]
pub struct Keys {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Make a key and print it, once
    New(New),
    /// List the keys of a file: whose they are and until when, never the keys
    List(List),
    /// Take a key back, or all keys of a client
    Revoke(Revoke),
}

#[derive(Debug, Args)]
struct New {
    /// File of keys; made if there is none
    #[arg(short, long, value_name = "FILE")]
    file: PathBuf,
    /// Whose key it is
    #[arg(long, value_name = "NAME")]
    client: String,
    /// A scope that it grants; can be repeated
    #[arg(long = "scope", value_name = "SCOPE")]
    scopes: Vec<String>,
    /// A role value that it grants; can be repeated
    #[arg(long = "role", value_name = "ROLE")]
    roles: Vec<String>,
    /// How long it is good: `90d`. Default: until it is taken back
    #[arg(long, value_name = "SPAN")]
    expires: Option<Span>,
    /// For a new file: part of each of its keys. Default: live
    #[arg(long, value_name = "NAME")]
    environment: Option<String>,
}

#[derive(Debug, Args)]
struct List {
    /// File of keys
    #[arg(short, long, value_name = "FILE")]
    file: PathBuf,
    /// As JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
struct Which {
    /// The key, as `list` names it
    #[arg(long, value_name = "ID")]
    id: Option<String>,
    /// All keys of this client
    #[arg(long, value_name = "NAME")]
    client: Option<String>,
    /// The key that stands on the standard input: one that was found where it should not be
    #[arg(long)]
    leaked: bool,
}

#[derive(Debug, Args)]
struct Revoke {
    /// File of keys
    #[arg(short, long, value_name = "FILE")]
    file: PathBuf,
    #[command(flatten)]
    which: Which,
}

impl Keys {
    pub(super) fn run(&self) -> io::Result<ExitCode> {
        match &self.verb {
            Verb::New(new) => new.run(),
            Verb::List(list) => list.run(),
            Verb::Revoke(revoke) => revoke.run(),
        }
    }
}

impl New {
    fn run(&self) -> io::Result<ExitCode> {
        let texts = [&self.client].into_iter().chain(&self.scopes).chain(&self.roles);
        let is_padded = |text: &&String| text.is_empty() || text.trim() != text.as_str();
        if texts
            .into_iter()
            .any(|text| is_padded(&text) || text.contains(char::is_control))
        {
            return Err(io::Error::other(
                "a client, scope or role is empty, padded, or not printable",
            ));
        }
        if self.scopes.iter().any(|scope| scope.contains(' ')) {
            return Err(io::Error::other("a scope has no spaces: repeat --scope for each"));
        }
        let _lock = lock(&self.file)?;
        let mut keys = match std::fs::read_to_string(&self.file) {
            Ok(text) => parse(&self.file, &text)?,
            Err(why) if why.kind() == io::ErrorKind::NotFound => KeyFile {
                version: 1,
                environment: self.environment.clone().unwrap_or_else(|| "live".to_owned()),
                keys: Vec::new(),
            },
            Err(why) => return Err(at(&self.file, &why)),
        };
        if self
            .environment
            .as_ref()
            .is_some_and(|asked| *asked != keys.environment)
        {
            return Err(io::Error::other(format!(
                "the keys of {} are of the environment `{}`; each environment has a file of its own",
                self.file.display(),
                keys.environment
            )));
        }
        if !is_environment(keys.environment.as_bytes()) {
            return Err(io::Error::other(
                "an environment is 1 to 16 lower-case letters and digits: live, test",
            ));
        }
        let now = UnixTime::of_system();
        let key = compose(&keys.environment, &random()?);
        let entry = KeyEntry {
            sha256: hexadecimal(&digest(key.as_bytes())),
            client: self.client.clone(),
            scopes: self.scopes.clone(),
            roles: self.roles.clone(),
            created: timestamp(now)?,
            expires: self
                .expires
                .map(|span| timestamp(now.saturating_add(span.duration())))
                .transpose()?,
            revoked: None,
        };
        let id = id(&entry).to_owned();
        keys.keys.push(entry);
        // known before it is told: a key that nobody wrote down is worth nothing
        write(&self.file, &keys)?;
        let mut out = io::stdout().lock();
        writeln!(out, "{key}")?;
        if io::stdout().is_terminal() {
            writeln!(
                io::stderr(),
                "key {id} of {}: shown once, kept nowhere; only its digest is in {}",
                self.client,
                self.file.display()
            )?;
        }
        Ok(ExitCode::SUCCESS)
    }
}

impl List {
    fn run(&self) -> io::Result<ExitCode> {
        let keys = read(&self.file)?;
        let now = UnixTime::of_system();
        let mut out = io::stdout().lock();
        if self.json {
            let all: Vec<_> = keys
                .keys
                .iter()
                .map(|entry| {
                    serde_json::json!({
                        "id": id(entry), "client": entry.client, "state": state(entry, now), "scopes": entry.scopes,
                        "roles": entry.roles, "created": entry.created, "expires": entry.expires, "revoked": entry.revoked,
                    })
                })
                .collect();
            writeln!(out, "{:#}", serde_json::Value::from(all))?;
            return Ok(ExitCode::SUCCESS);
        }
        for entry in &keys.keys {
            let until = match (&entry.revoked, &entry.expires) {
                (Some(revoked), _) => format!("since {revoked}"),
                (None, Some(expires)) => format!("until {expires}"),
                (None, None) => "no end".to_owned(),
            };
            let granted = [entry.scopes.as_slice(), entry.roles.as_slice()]
                .concat()
                .join(" ");
            writeln!(
                out,
                "{}  {:<7}  {until:<26}  {}  {granted}",
                id(entry),
                state(entry, now),
                entry.client
            )?;
        }
        Ok(ExitCode::SUCCESS)
    }
}

impl Revoke {
    fn run(&self) -> io::Result<ExitCode> {
        let Which { id, client, leaked } = &self.which;
        let leaked = if *leaked {
            let mut line = String::new();
            io::stdin().read_line(&mut line)?;
            Some(hexadecimal(&digest(line.trim().as_bytes())))
        } else {
            None
        };
        let _lock = lock(&self.file)?;
        let mut keys = read(&self.file)?;
        let now = timestamp(UnixTime::of_system())?;
        let mut revoked = Vec::new();
        for entry in &mut keys.keys {
            let is_meant = id.as_deref().is_some_and(|asked| asked == self::id(entry))
                || client.as_ref().is_some_and(|asked| *asked == entry.client)
                || leaked.as_ref().is_some_and(|digest| *digest == entry.sha256);
            if is_meant && entry.revoked.is_none() {
                entry.revoked = Some(now.clone());
                revoked.push(format!("{} of {}", self::id(entry), entry.client));
            }
        }
        if revoked.is_empty() {
            writeln!(
                io::stderr(),
                "durward: no such key in {}, or it is revoked already",
                self.file.display()
            )?;
            return Ok(ExitCode::FAILURE);
        }
        write(&self.file, &keys)?;
        for key in revoked {
            writeln!(io::stdout(), "revoked {key}")?;
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// The first digits of the digest: enough to name a key among others, and nothing to call with.
fn id(entry: &KeyEntry) -> &str {
    entry.sha256.get(..12).unwrap_or(&entry.sha256)
}

fn state(entry: &KeyEntry, now: UnixTime) -> &'static str {
    let end = entry
        .expires
        .as_deref()
        .and_then(|text| text.parse::<jiff::Timestamp>().ok());
    let now = i64::try_from(now.millis()).unwrap_or(i64::MAX);
    match (&entry.revoked, end) {
        (Some(_), _) => "revoked",
        (None, Some(end)) if end.as_millisecond() <= now => "expired",
        (None, _) => "active",
    }
}

/// Random digits of base62: bytes beyond the last multiple of 62 are drawn again, so that all digits are as likely.
fn random() -> io::Result<String> {
    let mut digits = String::with_capacity(RANDOM);
    let mut bytes = [0; 64];
    while digits.len() < RANDOM {
        rand_bytes(&mut bytes)?;
        let fair = bytes.iter().filter(|byte| **byte < 248);
        let drawn = fair.filter_map(|byte| DIGITS.get(usize::from(byte % 62)));
        digits.extend(drawn.take(RANDOM - digits.len()).map(|digit| char::from(*digit)));
    }
    Ok(digits)
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn timestamp(time: UnixTime) -> io::Result<String> {
    let seconds = i64::try_from(time.seconds()).map_err(io::Error::other)?;
    let time = jiff::Timestamp::from_second(seconds).map_err(io::Error::other)?;
    Ok(time.to_string())
}

fn read(file: &Path) -> io::Result<KeyFile> {
    let text = std::fs::read_to_string(file).map_err(|why| at(file, &why))?;
    parse(file, &text)
}

fn parse(file: &Path, text: &str) -> io::Result<KeyFile> {
    let keys: KeyFile = serde_json::from_str(text)
        .map_err(|why| io::Error::other(format!("{} is no file of keys: {why}", file.display())))?;
    if keys.version != 1 {
        return Err(io::Error::other(format!(
            "{}: version {} is unknown",
            file.display(),
            keys.version
        )));
    }
    Ok(keys)
}

fn at(file: &Path, why: &io::Error) -> io::Error {
    io::Error::new(why.kind(), format!("{}: {why}", file.display()))
}

fn folder(file: &Path) -> &Path {
    file.parent()
        .filter(|folder| !folder.as_os_str().is_empty())
        .unwrap_or(Path::new("."))
}

/// Held while the file is changed: of the folder, as the file itself is replaced.
fn lock(file: &Path) -> io::Result<File> {
    let folder = File::open(folder(file)).map_err(|why| at(folder(file), &why))?;
    folder.lock()?;
    Ok(folder)
}

/// As a whole or not at all, and for the owner alone: a reader sees the old file or the new one.
fn write(file: &Path, keys: &KeyFile) -> io::Result<()> {
    let text = serde_json::to_string_pretty(keys).map_err(io::Error::other)?;
    let mut name = file.file_name().unwrap_or_default().to_owned();
    name.push(".new");
    let new = folder(file).join(name);
    let written = || {
        // what an earlier attempt left is in nobody's use: the folder is locked
        let _ = std::fs::remove_file(&new);
        let mut out = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&new)?;
        writeln!(out, "{text}")?;
        out.sync_all()?;
        std::fs::rename(&new, file)?;
        File::open(folder(file))?.sync_all()
    };
    written().map_err(|why| at(file, &why))
}
