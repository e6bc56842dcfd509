//! The gates, in order. Read this file first.
//!
//! [`Gateway::admit`] is the decision: a pure function of the snapshot, the facts of the request and the evidence of the
//! [`World`]. The proxy calls it on live traffic, `explain` on described requests; there is no other one.
//!
//! ```text
//! head      one canonical view, or 400          (made before, by Head::parse: there is no Request without it)
//! flood     requests of one address             429
//! peer      the connection's name and certificate 401 421
//! route     host + path + method                404 405 421
//! authz     network, country, time, expressions 403
//! authn     credential → Client                 401 429 503
//! authn     attestation of the application     401
//! authz     scopes, roles, permissions, claims,
//!           expressions                         401 403
//! limits    per caller, address, route          429
//! upgrade   WebSocket, where the route has it     400 403 426
//! content   length and type of the body         413 415
//! ```
//!
//! Cheap refusals come first: no signature is checked for a path that does not exist, and no body is read for a caller who
//! may not send one. A gate that is in shadow says its word into the trace, and the request passes; authentication cannot be.

use std::net::IpAddr;

use crate::denial::{Denial, Gate, Verdict};
use crate::gates::authn::{AuthnError, Schemes};
use crate::gates::authz::Facts;
use crate::gates::content::BodyPlan;
use crate::gates::limits::Standing;
use crate::gates::upgrade::{self, Tunnel};
use crate::gateway::router::Found;
use crate::gateway::{Access, Gateway, Purpose, RouteId};
use crate::identity::Identity;
use crate::request::Request;
use crate::trace::{Detail, Trace};
use crate::world::World;

/// The only ticket upstream: says that every gate of its route let the request pass.
///
/// Nothing but [`Gateway::admit`] can make one:
///
/// ```compile_fail
/// use durward::pipeline::Admitted;
/// let forged = Admitted { _sealed: () };
/// ```
#[must_use]
#[derive(Debug, Clone)]
pub struct Admitted {
    route: RouteId,
    identity: Identity,
    standing: Option<Standing>,
    body: BodyPlan,
    tunnel: Option<Tunnel>,
    _sealed: (),
}

impl Admitted {
    /// The route whose gates were passed.
    #[must_use]
    pub fn route(&self) -> RouteId {
        self.route
    }

    /// Who was admitted.
    #[must_use]
    pub fn identity(&self) -> &Identity {
        &self.identity
    }

    /// What is left of the tightest limit, if the route has one.
    #[must_use]
    pub fn standing(&self) -> Option<Standing> {
        self.standing
    }

    /// Leave to become a WebSocket, where that was asked for.
    #[must_use]
    pub fn tunnel(&self) -> Option<Tunnel> {
        self.tunnel
    }

    /// How the body is to be read.
    #[must_use]
    pub fn body(&self) -> BodyPlan {
        self.body
    }
}

impl Gateway {
    /// What a handshake has found is held against the truststore of this moment (U20), and a certificate counts for the
    /// very name that was asked for only (S30).
    fn check_certificate<R: Request, W: World>(&self, request: &R, world: &W) -> Option<Denial> {
        let tls = request.peer().tls.as_ref()?;
        let Some(presented) = &tls.certificate else {
            let listener = self.listeners.get(tls.listener?)?;
            return match &listener.purpose {
                Purpose::Tls(policy) if policy.client_certificates.is_some_and(|asked| asked.is_required) => {
                    let why = AuthnError::CertificateMissing;
                    Some(Denial::Unauthenticated(why, Schemes::CERTIFICATE))
                }
                _ => None,
            };
        };
        if !tls.is_named(request.head().host()) {
            return Some(Denial::Misdirected);
        }
        let why = presented.check(self, world.now()).err()?;
        Some(Denial::Unauthenticated(why, Schemes::CERTIFICATE))
    }

    /// The first gates, by themselves: the door asks them of an address that is known to flood, before more is made of its
    /// request than a head.
    ///
    /// # Errors
    /// [`Denial::Flooded`]
    pub fn check_flood<W: World>(&self, client: Option<IpAddr>, world: &W, trace: &mut Trace) -> Verdict {
        trace.passed(Gate::Head, 0, Detail::Head);
        let Some(flood) = &self.flood else { return Ok(()) };
        let verdict = flood.check(client, world);
        trace.settle(verdict, flood.mode, Gate::Flood, flood.line, Detail::Flood)
    }

    /// Decides about a request.
    ///
    /// # Errors
    /// The [`Denial`] of the first gate that refuses. `trace` tells how it came to that, and which route and caller
    /// were found on the way.
    pub async fn admit<R: Request, W: World>(
        &self,
        request: &R,
        world: &W,
        trace: &mut Trace,
    ) -> Verdict<Admitted> {
        let head = request.head();
        let client = request.peer().client;
        self.check_flood(client, world, trace)?;

        if let Some(tls) = &request.peer().tls
            && !tls.is_for(head.host())
        {
            let detail = Detail::Text("the certificate that was shown is for other names");
            return Err(trace.denied(Denial::Misdirected, 0, detail));
        }

        if let Some(denial) = self.check_certificate(request, world) {
            let detail = Detail::Text("the client's certificate");
            return Err(trace.denied(denial, 0, detail));
        }

        let id = match self.router.find(head.host(), head.path(), head.method()) {
            Found::Route(id) => id,
            Found::OtherMethods(allow) => {
                return Err(trace.denied(Denial::MethodNotAllowed(allow.clone()), 0, Detail::Methods));
            }
            Found::Nothing => {
                let detail = Detail::Text("no route has this host and path");
                return Err(trace.denied(Denial::NoRoute, 0, detail));
            }
        };
        let Some(route) = self.route(id) else {
            let detail = Detail::Text("the router named an unknown route");
            return Err(trace.denied(Denial::Internal, 0, detail));
        };
        trace.route = Some(id);
        trace.passed(Gate::Route, route.line, Detail::Route);

        let facts = Facts {
            head,
            address: client,
            now: world.now(),
        };
        for (index, asked) in (0..).zip(&route.circumstances) {
            let verdict = asked.what.check(&facts);
            let detail = Detail::Circumstance(index);
            trace.settle(verdict, asked.mode, Gate::Authz, asked.line, detail)?;
        }

        let identity = match &route.access {
            Access::Public(public) => {
                trace.passed(Gate::Authn, public.line, Detail::Public);
                Identity::Anonymous
            }
            Access::Protected { authn, authz } => {
                let client = match authn.check(self, request, world, trace).await {
                    Ok(client) => client,
                    Err(denial @ Denial::Attempts(..)) => {
                        let detail = Detail::Text("too many before it were not good");
                        return Err(trace.denied(denial, self.attempts.line, detail));
                    }
                    Err(denial) => return Err(trace.denied(denial, authn.line, Detail::Credentials)),
                };
                trace.client = Some(client.clone());
                trace.passed(Gate::Authn, authn.line, Detail::Caller);
                if let Some(index) = authn.attestation {
                    let Some(attestation) = self.attestations.get(index) else {
                        let detail = Detail::Text("an unknown attestation is asked for");
                        return Err(trace.denied(Denial::Internal, authn.line, detail));
                    };
                    let verdict = attestation.check(request.headers(), world.now());
                    let detail = Detail::Text("an attestation of the application");
                    trace.settle(verdict, attestation.mode, Gate::Authn, attestation.line, detail)?;
                }
                if authz.grants.is_empty() {
                    let detail = Detail::Text("asks for nothing beyond a valid credential");
                    trace.passed(Gate::Authz, authz.line, detail);
                }
                // authentication may have taken its time
                let facts = Facts {
                    now: world.now(),
                    ..facts
                };
                for (index, asked) in (0..).zip(&authz.grants) {
                    let verdict = asked.what.check(&client, &facts);
                    let detail = Detail::Grant(index);
                    trace.settle(verdict, asked.mode, Gate::Authz, asked.line, detail)?;
                }
                Identity::Client(client)
            }
        };

        let limits = &route.limits;
        let standing = match limits.check(self, id, &identity, client, world, trace) {
            Ok(standing) => standing,
            Err(denial) => return Err(trace.denied(denial, limits.line, Detail::Limits)),
        };
        if !limits.list.is_empty() {
            trace.passed(Gate::Limits, limits.line, Detail::Limits);
        }

        let tunnel = match upgrade::check(route.websocket.as_ref(), head, request.headers()) {
            Ok(tunnel) => tunnel,
            Err(denial) => {
                let line = route.websocket.as_ref().map_or(0, |websocket| websocket.line);
                return Err(trace.denied(denial, line, Detail::Text("an upgrade")));
            }
        };
        if let (Some(_), Some(websocket)) = (tunnel, &route.websocket) {
            trace.passed(Gate::Upgrade, websocket.line, Detail::Text("a WebSocket"));
        }

        let content = &route.content;
        let (verdict, body) = match content.check(head, request.headers()) {
            Ok(plan) => (Ok(()), plan),
            Err(denial) => (Err(denial), content.unjudged()),
        };
        trace.settle(
            verdict,
            content.mode,
            Gate::Content,
            content.line,
            Detail::Content,
        )?;

        Ok(Admitted {
            route: id,
            identity,
            standing,
            body,
            tunnel,
            _sealed: (),
        })
    }
}
