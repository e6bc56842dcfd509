//! The services behind the gateway: their addresses, whose turn it is, and how they are spoken to.

pub mod balance;
mod diagnosis;
pub mod resolve;
pub mod signature;
pub mod tls;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use balance::Schedule;
pub use diagnosis::Diagnosis;
use resolve::Named;
use signature::Signer;
pub use tls::Tls;

/// A compiled upstream.
#[derive(Debug)]
pub struct Upstream {
    /// Its name in the configuration.
    pub name: Arc<str>,
    /// Its targets.
    pub targets: Box<[Target]>,
    /// Whose turn it is.
    pub schedule: Schedule,
    /// TLS towards it.
    pub tls: Option<Tls>,
    /// What requests to it are signed with; `None`: they are not.
    pub sign: Option<Signer>,
    /// Deadlines.
    pub timeouts: Timeouts,
    /// How long an idle connection is kept.
    pub idle: Duration,
    /// Further targets tried when a connection cannot be made.
    pub connect_retries: u8,
    /// Whether it is told the client's certificate.
    pub client_certificate_header: bool,
    /// Whether it gets the proofs of callers' tokens (RFC 9449).
    pub forwards_proof: bool,
    /// Whether bodies of its 5xx answers are replaced.
    pub replace_error_bodies: bool,
}

/// One address of an upstream.
#[derive(Debug)]
pub enum Target {
    /// Known.
    Fixed(SocketAddr),
    /// Looked up in the background.
    Named(Named),
}

/// Deadlines of one request.
#[derive(Debug, Clone, Copy)]
pub struct Timeouts {
    /// Connecting, TLS included.
    pub connect: Duration,
    /// Each wait for bytes of the answer.
    pub read: Duration,
    /// Each wait until bytes are taken.
    pub write: Duration,
    /// From the choice of the target to the last byte. Checked whenever bytes arrive, and bounds each wait: an answer
    /// that stalls is given up after twice this time at the latest.
    pub total: Duration,
}

impl Upstream {
    /// Whether `authority` (host, or host and port) is one of its own addresses or its TLS name.
    #[must_use]
    pub fn is_at(&self, authority: &str) -> bool {
        let host = match authority.rsplit_once(':') {
            Some((host, port)) if port.bytes().all(|b| b.is_ascii_digit()) => host,
            _ => authority,
        };
        self.tls
            .as_ref()
            .is_some_and(|tls| tls.server_name.eq_ignore_ascii_case(host))
            || self.targets.iter().any(|target| match target {
                Target::Fixed(address) => {
                    authority == address.to_string()
                        || host.trim_matches(['[', ']']) == address.ip().to_string()
                }
                Target::Named(named) => named
                    .name
                    .rsplit_once(':')
                    .is_some_and(|(name, _)| name.eq_ignore_ascii_case(host)),
            })
    }

    /// A target as it was written, by index.
    #[must_use]
    pub fn target_name(&self, target: usize) -> String {
        match self.targets.get(target) {
            Some(Target::Fixed(address)) => address.to_string(),
            Some(Target::Named(named)) => named.name.clone(),
            None => String::new(),
        }
    }

    /// The next target with its address, in turn by weight; targets without an address are passed over, and those that were `tried`
    /// already as long as there are others. `None`: none has an address.
    #[must_use]
    pub fn next(&self, tried: &[SocketAddr]) -> Option<(usize, SocketAddr)> {
        let turn = self.schedule.next();
        let scheduled = self.targets.get(turn).and_then(Target::address);
        if let Some(address) = scheduled.filter(|address| !tried.contains(address)) {
            return Some((turn, address));
        }
        // from the one whose turn it was, so that the others share what it cannot take
        let others = || {
            self.targets
                .iter()
                .enumerate()
                .cycle()
                .skip(turn)
                .take(self.targets.len())
                .filter_map(|(index, target)| Some((index, target.address()?)))
        };
        others()
            .find(|(_, address)| !tried.contains(address))
            .or_else(|| others().next())
    }

    /// Whether any target has an address. Takes nobody's turn.
    #[must_use]
    pub fn is_resolved(&self) -> bool {
        self.targets.iter().any(|target| match target {
            Target::Fixed(_) => true,
            Target::Named(named) => named.is_resolved(),
        })
    }
}

impl Target {
    /// Where it is; of several addresses the next.
    #[must_use]
    pub fn address(&self) -> Option<SocketAddr> {
        match self {
            Target::Fixed(address) => Some(*address),
            Target::Named(named) => named.next(),
        }
    }
}
