//! The gates, in order. Read this file first.
//!
//! [`Gateway::admit`] is the decision: a pure function of the snapshot, the facts of the request and the evidence of the
//! [`World`]. The proxy calls it on live traffic, `explain` on described requests; there is no other one.
//!
//! ```text
//! head      one canonical view, or 400          (made before, by Head::parse: there is no Request without it)
//! flood     requests of one address             429
//! route     host + path + method                404 405 421
//! authn     credential → Client                 401 503
//! authz     scopes, roles                       403
//! limits    per caller, address, route          429
//! upgrade   WebSocket, where the route has it     400 403 426
//! content   length and type of the body         413 415
//! ```
//!
//! Cheap refusals come first: no signature is checked for a path that does not exist, and no body is read for a caller who
//! may not send one.

use crate::denial::{Denial, Gate, Verdict};
use crate::gates::content::BodyPlan;
use crate::gates::limits::Standing;
use crate::gates::upgrade::{self, Tunnel};
use crate::gateway::router::Found;
use crate::gateway::{Access, Gateway, RouteId};
use crate::identity::Identity;
use crate::request::Request;
use crate::trace::Trace;
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
        trace.passed(Gate::Head, 0, || {
            format!("{} {} for {}", head.method(), head.path(), head.host())
        });

        if let Some(flood) = &self.flood {
            if let Err(denial) = flood.check(request.peer().client, world) {
                return Err(trace.denied(denial, flood.line, || format!("{} a second", flood.per_address)));
            }
            trace.passed(Gate::Flood, flood.line, || {
                format!("at most {} a second", flood.per_address)
            });
        }

        if let Some(tls) = &request.peer().tls
            && !tls.is_for(head.host())
        {
            return Err(trace.denied(Denial::Misdirected, 0, || {
                "the certificate that was shown is for other names".to_owned()
            }));
        }

        let id = match self.router.find(head.host(), head.path(), head.method()) {
            Found::Route(id) => id,
            Found::OtherMethods(allow) => {
                return Err(trace.denied(Denial::MethodNotAllowed(allow.clone()), 0, || {
                    format!("the path takes {allow}")
                }));
            }
            Found::Nothing => {
                return Err(trace.denied(Denial::NoRoute, 0, || {
                    "no route has this host and path".to_owned()
                }));
            }
        };
        let Some(route) = self.route(id) else {
            return Err(trace.denied(Denial::Internal, 0, || {
                "the router named an unknown route".to_owned()
            }));
        };
        trace.route = Some(id);
        trace.passed(Gate::Route, route.line, || {
            format!("{} ({})", route.id, route.path)
        });

        let identity = match &route.access {
            Access::Public(public) => {
                trace.passed(Gate::Authn, public.line, || {
                    format!("public: {} (owner: {})", public.reason, public.owner)
                });
                Identity::Anonymous
            }
            Access::Protected { authn, authz } => {
                let client = match authn.check(self, request, world, trace).await {
                    Ok(client) => client,
                    Err(denial) => return Err(trace.denied(denial, authn.line, || authn.describe(self))),
                };
                trace.client = Some(client.clone());
                trace.passed(Gate::Authn, authn.line, || client.describe());
                if let Err(denial) = authz.check(&client) {
                    return Err(trace.denied(denial, authz.line, || format!("asks for {}", authz.describe())));
                }
                trace.passed(Gate::Authz, authz.line, || {
                    format!("asks for {}", authz.describe())
                });
                Identity::Client(client)
            }
        };

        let limits = &route.limits;
        let standing = match limits.check(self, id, &identity, request.peer().client, world) {
            Ok(standing) => standing,
            Err(denial) => return Err(trace.denied(denial, limits.line, || limits.describe(self))),
        };
        if standing.is_some() {
            trace.passed(Gate::Limits, limits.line, || limits.describe(self));
        }

        let tunnel = match upgrade::check(route.websocket.as_ref(), head, request.headers()) {
            Ok(tunnel) => tunnel,
            Err(denial) => {
                let line = route.websocket.as_ref().map_or(0, |websocket| websocket.line);
                return Err(trace.denied(denial, line, || "an upgrade".to_owned()));
            }
        };
        if let (Some(_), Some(websocket)) = (tunnel, &route.websocket) {
            trace.passed(Gate::Upgrade, websocket.line, || "a WebSocket".to_owned());
        }

        let body = match route.content.check(head, request.headers()) {
            Ok(body) => body,
            Err(denial) => {
                return Err(trace.denied(denial, route.content.line, || route.content.describe()));
            }
        };
        trace.passed(Gate::Content, route.content.line, || route.content.describe());

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
