//! Authentication: from credentials to an identity.
//!
//! [`Authn`] says which credentials a route takes and how they combine; each kind has a file. The way of a token
//! ([`tokens`]): [`bearer`] finds it, [`verdicts`] remembers it, [`jws`] reads it strictly and trusts none of it, [`jwk`]
//! offers the keys that may have signed it, [`crypto`] checks the signature, [`claims`] reads what was signed and [`jwt`]
//! decides whether that is acceptable from this issuer now. Tokens that say nothing are their issuer's to tell
//! ([`introspection`]). API keys are known by their digests ([`api_key`]), certificates by who issued them ([`certificate`]).
//! A token that is bound to a key or to a certificate counts with that alone ([`dpop`], [`certificate`]).
//!
//! A credential that is not good refuses the request: nothing falls through to another way in.

pub mod api_key;
pub mod attempts;
pub mod attestation;
pub mod bearer;
pub mod certificate;
mod challenge;
pub mod claims;
pub mod crypto;
pub mod dpop;
pub mod error;
pub mod headers;
pub mod introspection;
pub(crate) mod json;
pub mod jwk;
pub mod jws;
pub mod jwt;
mod query;
pub mod revocation;
pub mod shared_tokens;
pub mod tokens;
pub mod verdicts;

#[cfg(test)]
pub(crate) mod tests;

use std::sync::Arc;
use std::time::Duration;

pub use bearer::Scheme;
pub use challenge::Schemes;
pub use error::AuthnError;
pub use headers::IdentityHeaders;
pub use tokens::Tokens;

use crate::denial::{Denial, Dependency, Verdict, Whose};
use crate::gateway::Gateway;
use crate::identity::Client;
use crate::request::Request;
use crate::trace::Trace;
use crate::world::World;
use crate::world::fetch::KeysUrl;
use dpop::Possession;
use introspection::signed::Untrusted;
use jwk::KeySet;
use revocation::Standing;

/// Proof that a client was authenticated: cannot be made outside this gate.
#[derive(Debug)]
pub struct Authenticated(());

/// Credentials that a route takes.
#[derive(Debug)]
pub struct Authn {
    /// Which, and how many of them.
    pub asks: Asks,
    /// What attests the application in addition, by index in the snapshot.
    pub attestation: Option<usize>,
    /// Line of the route's `auth`.
    pub line: u32,
}

/// How credentials combine. Whatever the combination, each one that is sent and that the route takes must be good.
#[derive(Debug)]
pub enum Asks {
    /// This one.
    One(Accepts),
    /// Any one. The first that is sent says who it is.
    Any(Box<[Accepts]>),
    /// Every one.
    All {
        /// Cheap ones first.
        parts: Box<[Accepts]>,
        /// Which of them says who it is.
        identity: usize,
    },
}

/// A kind of credential, and whose.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Accepts {
    /// A bearer token.
    Token(Tokens),
    /// An API key, of the ring with this index.
    ApiKey(usize),
    /// A client certificate, of those with this index.
    Certificate(usize),
}

/// Why a credential does not authenticate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// It is not good.
    Bad(AuthnError),
    /// Whether it is good cannot be told now; holds when to try again.
    Unavailable(Duration),
    /// What its issuer says of it is not believed; holds when to try again.
    Untrusted(Untrusted, Duration),
    /// It is not looked at, after too many that were not good; holds when to try again.
    TooMany(Whose, Duration),
    /// Whether it was taken back cannot be told now; holds when to try again.
    Unrevoked(Duration),
    /// Whether its proof is new could not be told the next time; holds when to try again.
    ProofsFull(Duration),
    /// The same, because its key has used up its share of the memory.
    ProofsOfKey(Duration),
}

impl From<AuthnError> for Refusal {
    fn from(why: AuthnError) -> Refusal {
        Refusal::Bad(why)
    }
}

/// An issuer and where its keys are.
#[derive(Debug)]
pub struct IssuerPolicy {
    /// Its name: that of its entry in the configuration; of a tenant, `ENTRY/TENANT`.
    pub name: Arc<str>,
    /// Name of its entry.
    pub entry: Arc<str>,
    /// Which tenant of the provider it is.
    pub tenant: Option<Arc<str>>,
    /// What its tokens must be like.
    pub jwt: jwt::Issuer,
    /// Where its keys are.
    pub keys: KeysFrom,
    /// How it is asked about tokens.
    pub introspection: Option<introspection::Introspection>,
    /// Line of the configuration.
    pub line: u32,
}

/// Where an issuer's keys come from.
#[derive(Debug, Clone)]
pub enum KeysFrom {
    /// With the configuration.
    Given(Arc<KeySet>),
    /// Fetched and kept fresh.
    Url(Box<KeysUrl>),
    /// Nowhere: its tokens are only asked about.
    Nowhere,
}

impl Authn {
    /// Authenticates the caller. `trace` is told which credential was looked at last.
    ///
    /// # Errors
    /// [`Denial::Unauthenticated`] for any fault of a credential; [`Denial::Unavailable`] where what is needed to check it
    /// is missing, which is not the client's fault (U2).
    pub async fn check<R: Request, W: World>(
        &self,
        gateway: &Gateway,
        request: &R,
        world: &W,
        trace: &mut Trace,
    ) -> Verdict<Arc<Client>> {
        let schemes = || {
            let sent = bearer::sent(request.headers(), None).ok().flatten();
            let algorithms = gateway.dpop.algorithms;
            self.schemes().for_sent(sent.map(|sent| sent.scheme), algorithms)
        };
        let denial = |refusal| match refusal {
            Refusal::Bad(why) => Denial::Unauthenticated(why, schemes()),
            Refusal::Unavailable(retry) => Denial::Unavailable(Dependency::IdentityProvider, retry),
            Refusal::Untrusted(why, retry) => Denial::Unavailable(Dependency::Introspection(why), retry),
            Refusal::TooMany(whose, retry) => Denial::Attempts(whose, retry),
            Refusal::Unrevoked(retry) => Denial::Unavailable(Dependency::Revocations, retry),
            Refusal::ProofsFull(retry) => Denial::Unavailable(Dependency::ProofMemory, retry),
            Refusal::ProofsOfKey(retry) => Denial::ProofsOfKey(retry),
        };
        // who speaks to somebody else has not been asked for a certificate in our name (S30)
        let tls = request.peer().tls.as_ref();
        let is_named = tls.is_none_or(|tls| tls.is_named(request.head().host()));
        let missing = |schemes| match schemes {
            Schemes::CERTIFICATE if !is_named => Denial::Misdirected,
            Schemes::CERTIFICATE => Denial::Unauthenticated(AuthnError::CertificateMissing, schemes),
            _ => {
                let schemes = schemes.for_sent(None, gateway.dpop.algorithms);
                Denial::Unauthenticated(AuthnError::CredentialsMissing, schemes)
            }
        };
        let mut identity = None;
        let mut possession = Possession::default();
        match &self.asks {
            Asks::One(accepts) => {
                identity = accepts
                    .authenticate(gateway, request, world, &mut possession, trace)
                    .await
                    .map_err(denial)?;
            }
            Asks::Any(any) => {
                for accepts in any {
                    let found = accepts
                        .authenticate(gateway, request, world, &mut possession, trace)
                        .await;
                    identity = identity.or(found.map_err(denial)?);
                }
            }
            Asks::All {
                parts,
                identity: which,
            } => {
                for (index, accepts) in parts.iter().enumerate() {
                    let found = accepts
                        .authenticate(gateway, request, world, &mut possession, trace)
                        .await;
                    // what is missing is asked for, rather than what is there already
                    let client = found.map_err(denial)?.ok_or_else(|| missing(accepts.scheme()))?;
                    if index == *which {
                        identity = Some(client);
                    }
                }
            }
        }
        let identity = identity.ok_or_else(|| missing(self.schemes()))?;
        let copied = possession.of_whoever_has_it();
        // once for a request, whatever its token is good for, and last: a proof that is looked at is used up
        possession.prove(gateway, request, world, trace).map_err(denial)?;
        if let (Some(settings), Some(token), Some(client)) =
            (&gateway.shared_tokens, copied, request.peer().client)
        {
            let token = verdicts::digest(token);
            trace.networks = world.sightings().saw(&token, client, world.now(), settings);
        }
        Ok(identity)
    }

    /// The kinds of credentials, in the order in which they are looked at.
    pub fn accepts(&self) -> &[Accepts] {
        match &self.asks {
            Asks::One(accepts) => std::slice::from_ref(accepts),
            Asks::Any(parts) | Asks::All { parts, .. } => parts,
        }
    }

    /// The schemes that the route can be asked with.
    #[must_use]
    pub fn schemes(&self) -> Schemes {
        self.accepts()
            .iter()
            .fold(Schemes::default(), |all, accepts| all.and(accepts.scheme()))
    }

    /// What is asked for, in words.
    #[must_use]
    pub fn describe(&self, gateway: &Gateway) -> String {
        let each: Vec<String> = self
            .accepts()
            .iter()
            .map(|accepts| accepts.describe(gateway))
            .collect();
        match &self.asks {
            Asks::One(_) | Asks::Any(_) => format!("asks for {}", each.join(" or ")),
            Asks::All { .. } => format!("asks for {}", each.join(" and ")),
        }
    }

    /// The same in the terms of the configuration; what says who it is comes first.
    #[must_use]
    pub fn terms(&self, gateway: &Gateway) -> String {
        let attestation = self.attestation.and_then(|index| gateway.attestations.get(index));
        let attested = attestation.map(|attestation| format!("; {}", attestation.describe()));
        self.terms_of_credentials(gateway) + &attested.unwrap_or_default()
    }

    fn terms_of_credentials(&self, gateway: &Gateway) -> String {
        let mut each: Vec<String> = self
            .accepts()
            .iter()
            .map(|accepts| accepts.terms(gateway))
            .collect();
        match &self.asks {
            Asks::One(_) => each.concat(),
            Asks::Any(_) => format!("any of {}", each.join("; ")),
            Asks::All { identity, .. } => {
                if let Some(first) = each.get_mut(..=*identity) {
                    first.rotate_right(1);
                }
                format!("all of {}", each.join("; "))
            }
        }
    }
}

impl Accepts {
    /// `None`: no credential of this kind was sent. What a token is bound to is told to `possession`.
    async fn authenticate<'r, R: Request, W: World>(
        &self,
        gateway: &Gateway,
        request: &'r R,
        world: &W,
        possession: &mut Possession<'r>,
        trace: &mut Trace,
    ) -> Result<Option<Arc<Client>>, Refusal> {
        let found = self.identify(gateway, request, world, possession, trace).await?;
        if let (Some(client), Some(_)) = (&found, &gateway.revocation) {
            match world.revocations().standing(client, world.now()) {
                Standing::Good => {}
                Standing::Revoked => return Err(AuthnError::revoked(client.kind).into()),
                Standing::Unknown(retry) => return Err(Refusal::Unrevoked(retry)),
            }
        }
        Ok(found)
    }

    /// Whose credential it is, whether or not it was taken back.
    async fn identify<'r, R: Request, W: World>(
        &self,
        gateway: &Gateway,
        request: &'r R,
        world: &W,
        possession: &mut Possession<'r>,
        trace: &mut Trace,
    ) -> Result<Option<Arc<Client>>, Refusal> {
        match self {
            Accepts::Token(tokens) => {
                let Some(sent) = bearer::sent(request.headers(), request.head().query())? else {
                    return Ok(None);
                };
                let client = tokens
                    .authenticate(gateway, request, world, sent.token, trace)
                    .await?;
                certificate::is_bound(&client, request)?;
                possession.add(&client, sent, tokens.dpop)?;
                Ok(Some(client))
            }
            Accepts::ApiKey(index) => {
                let Some(ring) = gateway.keys.get(*index) else {
                    return Err(AuthnError::ApiKeyUnknown.into());
                };
                let Some(sent) = ring.sent(request.headers(), request.head().query())? else {
                    return Ok(None);
                };
                let digest = api_key::digest(sent);
                trace.credential = Some(digest);
                let now = world.now();
                let found = ring.client(sent, &digest, now).cloned().map_err(Refusal::from);
                if found.is_err() {
                    let (attempts, client) = (&gateway.attempts, request.peer().client);
                    let attempt = attempts.begin(world.attempts(), Some(&digest), client, now, trace)?;
                    attempt.settle(&found);
                }
                found.map(Some)
            }
            Accepts::Certificate(index) => {
                let Some(accepted) = gateway.client_certificates.get(*index) else {
                    return Err(AuthnError::CertificateNotAllowed.into());
                };
                if let Some(presented) = certificate::presented(request) {
                    trace.credential = Some(presented.says.sha256);
                }
                Ok(accepted.authenticate(gateway, request, world)?)
            }
        }
    }

    fn scheme(&self) -> Schemes {
        match self {
            Accepts::Token(tokens) => Schemes::of_tokens(tokens.dpop),
            Accepts::ApiKey(_) => Schemes::API_KEY,
            Accepts::Certificate(_) => Schemes::CERTIFICATE,
        }
    }

    fn describe(&self, gateway: &Gateway) -> String {
        match self {
            Accepts::Token(Tokens {
                jwt,
                introspection,
                dpop,
            }) => {
                let signed = format!("a token of {}", names(gateway, jwt).join(" or "));
                let token = match introspection.map(|index| names(gateway, &[index]).concat()) {
                    None => signed,
                    Some(asked) if jwt.is_empty() => format!("a token that {asked} says is active"),
                    Some(asked) => format!("{signed} or one that {asked} says is active"),
                };
                token + dpop.note()
            }
            Accepts::ApiKey(index) => match gateway.keys.get(*index) {
                Some(ring) => format!("an API key of {}", ring.name),
                None => "an API key".to_owned(),
            },
            Accepts::Certificate(index) => match gateway.client_certificates.get(*index) {
                Some(accepted) => format!("a client certificate of {}", accepted.name),
                None => "a client certificate".to_owned(),
            },
        }
    }

    fn terms(&self, gateway: &Gateway) -> String {
        match self {
            Accepts::Token(Tokens {
                jwt,
                introspection,
                dpop,
            }) => {
                let mut terms = Vec::new();
                if !jwt.is_empty() {
                    terms.push(format!("jwt: {}", names(gateway, jwt).join(" ")));
                }
                if let Some(index) = introspection {
                    terms.push(format!("introspection: {}", names(gateway, &[*index]).concat()));
                }
                terms.join("; ") + dpop.note()
            }
            Accepts::ApiKey(index) => match gateway.keys.get(*index) {
                Some(ring) if ring.identifies_only => format!("api_key: {} (identifies only)", ring.name),
                Some(ring) => format!("api_key: {}", ring.name),
                None => "api_key".to_owned(),
            },
            Accepts::Certificate(index) => match gateway.client_certificates.get(*index) {
                Some(accepted) => accepted.terms(gateway),
                None => "client_certificate".to_owned(),
            },
        }
    }
}

/// The names of issuers. Where all tenants of a provider are meant, its own.
fn names(gateway: &Gateway, issuers: &[usize]) -> Vec<String> {
    let named = issuers.iter().filter_map(|index| gateway.issuers.get(*index));
    let mut names: Vec<String> = Vec::new();
    for issuer in named {
        let mut of_entry = (0..)
            .zip(&gateway.issuers)
            .filter(|(_, other)| other.entry == issuer.entry);
        let is_whole = issuer.tenant.is_some() && of_entry.all(|(index, _)| issuers.contains(&index));
        let name = if is_whole {
            let tenants = gateway.issuers.iter().filter(|other| other.entry == issuer.entry);
            format!("{} (tenants: {})", issuer.entry, tenants.count())
        } else {
            issuer.name.to_string()
        };
        if !names.contains(&name) {
            names.push(name);
        }
    }
    names
}
