//! The embedded demo: everything that a gateway needs around it, on the loopback interface.
//!
//! A vehicle-data [`origin`] to guard, an [`issuer`] whose tokens it takes, and a development [`ca`] for its TLS. The demo
//! knows nothing of the gateway it shows: it hands over a configuration file ([`CONFIGURATION`]) with the values of the
//! references in it ([`Demo::variables`]), and knows by heart what should be seen ([`Demo::examples`]).

pub mod ca;
pub mod examples;
pub mod issuer;
pub mod keys;
pub mod origin;
pub mod proof;
pub mod token;

mod form;
mod serve;
mod vehicle;

use std::ffi::OsString;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

pub use examples::Example;
pub use keys::Algorithm;
pub use token::{TokenRequest, token};

use proof::Verifier;

use crate::pki::store::State;

/// The gateway's configuration for the demo, as in `conf/`. Its references are resolved with [`Demo::variables`].
pub const CONFIGURATION: &str = include_str!("../../conf/demo.yaml");

/// How the service knows the gateway's key, as in the configuration.
const PROOF_KEY_ID: &str = "demo";
/// The line of the configuration that makes the gateway sign.
const SIGN: &str = "    # sign: ";

/// What can be chosen about a demo.
#[derive(Debug, Clone)]
pub struct Options {
    /// The state directory, made if missing.
    pub dir: PathBuf,
    /// Port of the gateway's HTTPS listener, on 127.0.0.1.
    pub https_port: u16,
    /// Port of the listener that redirects plain HTTP.
    pub http_port: u16,
    /// Port of metrics and health.
    pub admin_port: u16,
    /// Whether the service takes requests of the gateway alone.
    pub proof: bool,
    /// The `durward` that the printed lines call. Default: the running executable.
    pub program: Option<PathBuf>,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            dir: default_dir(),
            https_port: 8443,
            http_port: 8080,
            admin_port: 9100,
            proof: false,
            program: None,
        }
    }
}

/// `$XDG_STATE_HOME/durward/demo`, or `~/.local/state/durward/demo`, or a folder of the temporary directory.
#[must_use]
pub fn default_dir() -> PathBuf {
    default_dir_from(std::env::var_os("XDG_STATE_HOME"), std::env::var_os("HOME"))
}

fn default_dir_from(state_home: Option<OsString>, home: Option<OsString>) -> PathBuf {
    // The XDG specification has relative paths ignored.
    let absolute = |value: Option<OsString>| value.map(PathBuf::from).filter(|path| path.is_absolute());
    let base = absolute(state_home).or_else(|| Some(absolute(home)?.join(".local/state")));
    base.map_or_else(
        || std::env::temp_dir().join("durward-demo"),
        |base| base.join("durward/demo"),
    )
}

/// A running demo. Dropping it stops the origin and the issuer.
#[derive(Debug)]
pub struct Demo {
    origin: serve::Server,
    issuer: serve::Server,
    dir: String,
    program: String,
    options: Options,
    /// What gateway and service share.
    proof_key: String,
}

/// Prepares the state directory and starts origin and issuer, each on a free port and a thread of its own.
///
/// # Errors
/// Those of the operating system and of OpenSSL; `InvalidInput` if a path is not UTF-8; `PermissionDenied` as said at
/// [`State::open`] and [`State::read`].
pub fn start(options: &Options) -> io::Result<Demo> {
    let state = State::open(&options.dir)?;
    let lock = state.lock()?;
    ca::ensure(&state)?;
    keys::ensure(&state)?;
    issuer::ensure(&state)?;
    drop(lock);
    let program = options.program.clone().map_or_else(std::env::current_exe, Ok)?;
    // of this run alone
    let mut key = [0; 32];
    openssl::rand::rand_bytes(&mut key)?;
    let proof_key = STANDARD.encode(key);
    let verifier = Verifier::new(PROOF_KEY_ID, &proof_key).filter(|_| options.proof);
    Ok(Demo {
        origin: origin::start(verifier)?,
        proof_key,
        issuer: issuer::start(&state)?,
        dir: utf8(state.path())?,
        program: utf8(&program)?,
        options: options.clone(),
    })
}

/// Paths go into YAML and into shell lines, both text.
fn utf8(path: &Path) -> io::Result<String> {
    path.to_str().map(str::to_owned).ok_or_else(|| {
        io::Error::new(
            io::ErrorKind::InvalidInput,
            format!("{} is not UTF-8", path.display()),
        )
    })
}

impl Demo {
    /// Where the vehicle data is.
    #[must_use]
    pub fn origin(&self) -> SocketAddr {
        self.origin.address
    }

    /// Where the issuer is.
    #[must_use]
    pub fn issuer(&self) -> SocketAddr {
        self.issuer.address
    }

    /// The state directory, absolute.
    #[must_use]
    pub fn dir(&self) -> &Path {
        Path::new(&self.dir)
    }

    /// The configuration that goes with it: requests are signed where the service asks for that.
    #[must_use]
    pub fn configuration(&self) -> String {
        if self.options.proof {
            CONFIGURATION.replacen(SIGN, "    sign: ", 1)
        } else {
            CONFIGURATION.to_owned()
        }
    }

    /// The values of the `${env:…}` references in [`CONFIGURATION`], by name. They are handed over rather than set: the
    /// environment of the process stays what it was.
    #[must_use]
    pub fn variables(&self) -> Vec<(&'static str, String)> {
        let local = |port| SocketAddr::from((Ipv4Addr::LOCALHOST, port)).to_string();
        vec![
            ("DURWARD_DEMO_HTTPS", local(self.options.https_port)),
            ("DURWARD_DEMO_HTTPS_PORT", self.options.https_port.to_string()),
            ("DURWARD_DEMO_HTTP", local(self.options.http_port)),
            ("DURWARD_DEMO_ADMIN", local(self.options.admin_port)),
            ("DURWARD_DEMO_DIR", self.dir.clone()),
            (
                "DURWARD_DEMO_JWKS",
                format!("http://{}/jwks.json", self.issuer.address),
            ),
            ("DURWARD_DEMO_ORIGIN", self.origin.address.to_string()),
            ("DURWARD_DEMO_PROOF_KEY", self.proof_key.clone()),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pki::store::Scratch;

    #[test]
    fn the_default_directory_follows_xdg() {
        let dir = |state: Option<&str>, home: Option<&str>| {
            default_dir_from(state.map(OsString::from), home.map(OsString::from))
        };
        assert_eq!(dir(Some("/s"), Some("/h")), Path::new("/s/durward/demo"));
        assert_eq!(
            dir(Some("relative"), Some("/h")),
            Path::new("/h/.local/state/durward/demo")
        );
        assert_eq!(dir(None, Some("/h")), Path::new("/h/.local/state/durward/demo"));
        assert_eq!(dir(None, None), std::env::temp_dir().join("durward-demo"));
    }

    #[test]
    fn two_demos_share_a_directory() {
        let scratch = Scratch::new();
        let options = Options {
            dir: scratch.0.clone(),
            ..Options::default()
        };
        let first = start(&options).unwrap();
        let second = start(&options).unwrap();
        assert_ne!(first.origin(), second.origin());
        assert_eq!(first.dir(), second.dir());
    }

    #[test]
    fn every_reference_of_the_configuration_has_a_value_and_the_reverse() {
        let scratch = Scratch::new();
        let demo = start(&Options {
            dir: scratch.0.clone(),
            ..Options::default()
        })
        .unwrap();
        let mut named: Vec<&str> = CONFIGURATION
            .split("${env:")
            .skip(1)
            .filter_map(|rest| rest.split([':', '}']).next())
            .collect();
        let mut given: Vec<&str> = demo.variables().iter().map(|(name, _)| *name).collect();
        named.sort_unstable();
        given.sort_unstable();
        assert_eq!(named, given);
    }
}
