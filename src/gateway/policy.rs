//! What one route demands, in the terms that the gates work in.

use std::sync::Arc;

use http::{Method, StatusCode};

use super::router::HostPattern;
use crate::gates::authn::Authn;
use crate::gates::authz::{Asked, Authz, Circumstance};
use crate::gates::content::Content;
use crate::gates::limits::Limits;
use crate::gates::upgrade::WebSocket;
use crate::head::Repairs;

/// Index of a route in its snapshot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct RouteId(pub(crate) usize);

/// A route and all its gates.
#[derive(Debug)]
pub struct Route {
    /// Name in records, metrics and `prove`.
    pub id: Arc<str>,
    /// Hosts.
    pub host: HostPattern,
    /// Methods, as written.
    pub methods: Box<[Method]>,
    /// Path template.
    pub path: Arc<str>,
    /// What paths may be rid of.
    pub repairs: Repairs,
    /// From where and when, whoever asks: all of these.
    pub circumstances: Box<[Asked<Circumstance>]>,
    /// Who may.
    pub access: Access,
    /// How often.
    pub limits: Limits,
    /// What may be sent.
    pub content: Content,
    /// Whether connections may become WebSockets.
    pub websocket: Option<WebSocket>,
    /// Who answers.
    pub action: Action,
    /// What it does not take over from the defaults and its groups.
    pub disabled: Option<Disabled>,
    /// Line of its `match`.
    pub line: u32,
}

/// What a route does not take over, and why not (U5).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Disabled {
    /// What, in words.
    pub what: Box<str>,
    /// The written reason.
    pub reason: Box<str>,
    /// Line of the marker.
    pub line: u32,
}

/// Who may use a route. There is no third way, and no default.
#[derive(Debug)]
pub enum Access {
    /// Everybody.
    Public(Public),
    /// Who is authenticated and authorized.
    Protected {
        /// Credentials taken.
        authn: Authn,
        /// What they must grant.
        authz: Authz,
    },
}

/// Why a route needs no credential.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Public {
    /// The written reason.
    pub reason: Arc<str>,
    /// Who answers for it.
    pub owner: Arc<str>,
    /// Line of the marker.
    pub line: u32,
}

/// Who answers.
#[derive(Debug, Clone)]
pub enum Action {
    /// An upstream, by index in the snapshot.
    Upstream(usize),
    /// The gateway itself.
    Respond {
        /// With this status
        status: StatusCode,
        /// and this text.
        body: bytes::Bytes,
    },
    /// The gateway itself, with the metadata of a resource.
    Metadata(bytes::Bytes),
}
