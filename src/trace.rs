//! How a decision came about.
//!
//! The pipeline leaves a mark at each gate: which gate, its word, the line of configuration that decided. Marks are small
//! and need no memory of their own, so every request has them; what they mean is written out only where somebody asks
//! ([`Traced::steps`]): by `explain`, of a described request or of one that was refused. Both write it from the same marks.

use std::sync::Arc;

use http::{HeaderValue, Method};
use smallvec::SmallVec;

use crate::denial::{Denial, Gate, Verdict};
use crate::gates::Mode;
use crate::gates::authn::verdicts::Digest;
use crate::gateway::router::Found;
use crate::gateway::{Access, Gateway, RouteId};
use crate::head::Head;
use crate::identity::Client;

/// Marks that a request has room for without asking for memory; more than most routes have gates.
const USUAL: usize = 14;

/// What there is to say of a head that is none.
pub const HEAD_REFUSED: Detail = Detail::Text("the head is refused");

/// One gate's word.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// Which gate.
    pub gate: Gate,
    /// What it said.
    pub word: Word,
    /// What was found or asked for. Nothing secret.
    pub detail: String,
    /// Line of the configuration that decided, 0 where none did.
    pub line: u32,
}

/// What a gate said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Word {
    /// The request may go on.
    Passed,
    /// It may not, for this reason.
    Denied(&'static str),
    /// It might not, for this reason, were the gate enforced.
    Shadowed(&'static str),
}

/// What a mark is about; enough to write it out later.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Detail {
    /// Method, path and host.
    Head,
    /// The flood limit.
    Flood,
    /// The route that was found.
    Route,
    /// The methods that the path has.
    Methods,
    /// Why the route needs no credential.
    Public,
    /// The caller that was found.
    Caller,
    /// The credentials that the route takes.
    Credentials,
    /// A circumstance that the route asks for, by index.
    Circumstance(u16),
    /// A grant that the route asks for, by index.
    Grant(u16),
    /// The limits of the route.
    Limits,
    /// One limit, by index.
    Limit(u16),
    /// The content that the route takes.
    Content,
    /// Exactly this.
    Text(&'static str),
}

#[derive(Debug, Clone, Copy)]
struct Mark {
    gate: Gate,
    kind: Kind,
    detail: Detail,
    line: u32,
    /// Empty where it passed.
    reason: &'static str,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Passed,
    Denied,
    Shadowed,
}

/// Filled by the pipeline as it goes.
#[derive(Debug, Default)]
pub struct Trace {
    /// The route, once one matched.
    pub route: Option<RouteId>,
    /// The caller, once authenticated.
    pub client: Option<Arc<Client>>,
    /// The credential that was looked at, good or not.
    pub credential: Option<Digest>,
    /// The nonce that the caller's next proof should have, where it is time to tell (RFC 9449 section 8).
    pub nonce: Option<HeaderValue>,
    /// Networks that the caller's token was seen from lately, where they are so many that it is to be told (M14).
    pub networks: Option<usize>,
    marks: SmallVec<[Mark; USUAL]>,
}

impl Trace {
    /// The gate let the request pass.
    pub fn passed(&mut self, gate: Gate, line: u32, detail: Detail) {
        self.mark(gate, Kind::Passed, "", line, detail);
    }

    /// The gate refused the request; hands the denial on.
    pub fn denied(&mut self, denial: Denial, line: u32, detail: Detail) -> Denial {
        self.mark(denial.gate(), Kind::Denied, denial.reason(), line, detail);
        denial
    }

    /// The gate would have refused the request, and is not enforced.
    pub fn shadowed(&mut self, denial: &Denial, line: u32, detail: Detail) {
        self.mark(denial.gate(), Kind::Shadowed, denial.reason(), line, detail);
    }

    /// A gate's verdict, as its mode lets it count.
    ///
    /// # Errors
    /// The gate's denial, where the gate is enforced.
    pub fn settle(&mut self, verdict: Verdict, mode: Mode, gate: Gate, line: u32, detail: Detail) -> Verdict {
        match (verdict, mode) {
            (Ok(()), _) => {
                self.passed(gate, line, detail);
                Ok(())
            }
            // a fault of ours is no verdict of the gate's
            (Err(denial), Mode::Shadow) if denial != Denial::Internal => {
                self.shadowed(&denial, line, detail);
                Ok(())
            }
            (Err(denial), _) => Err(self.denied(denial, line, detail)),
        }
    }

    fn mark(&mut self, gate: Gate, kind: Kind, reason: &'static str, line: u32, detail: Detail) {
        self.marks.push(Mark {
            gate,
            kind,
            detail,
            line,
            reason,
        });
    }

    /// Whether the last word was a refusal.
    #[must_use]
    pub fn ends_denied(&self) -> bool {
        self.marks.last().is_some_and(|mark| mark.kind == Kind::Denied)
    }

    /// Gates and reasons of refusals that were not enforced.
    pub fn shadows(&self) -> impl Iterator<Item = (Gate, &'static str)> {
        let shadowed = self.marks.iter().filter(|mark| mark.kind == Kind::Shadowed);
        shadowed.map(|mark| (mark.gate, mark.reason))
    }

    /// What is to be told of the request once it is over, which is no more of it than its words are made of: neither the
    /// buffer that the head lies in nor the claims of the caller. `head` is the head that was decided about.
    #[must_use]
    pub fn end(&mut self, head: Option<&Head>) -> Traced {
        Traced {
            seen: head.map(|head| Seen {
                method: head.method().clone(),
                host: head.host().into(),
                path: head.path().into(),
            }),
            caller: self.client.as_deref().map(Client::described),
            route: self.route,
            marks: self.marks.drain(..).collect(),
        }
    }
}

/// A trace that outlives its request.
#[derive(Debug)]
pub struct Traced {
    seen: Option<Seen>,
    caller: Option<Arc<str>>,
    route: Option<RouteId>,
    marks: Box<[Mark]>,
}

/// What is told of a head.
#[derive(Debug)]
struct Seen {
    method: Method,
    host: Box<str>,
    path: Box<str>,
}

impl Traced {
    /// The route, if one matched. An index of the snapshot that decided.
    #[must_use]
    pub fn route(&self) -> Option<RouteId> {
        self.route
    }

    /// Bytes that it holds beside itself, of its own.
    #[must_use]
    pub fn bytes(&self) -> usize {
        let text = self.seen.as_ref();
        text.map_or(0, |seen| seen.host.len() + seen.path.len()) + size_of_val(&*self.marks)
    }

    /// Everything written out, in order. `gateway` is the snapshot that decided.
    #[must_use]
    pub fn steps(&self, gateway: &Gateway) -> Vec<Step> {
        let steps = self.marks.iter().map(|mark| Step {
            gate: mark.gate,
            word: match mark.kind {
                Kind::Passed => Word::Passed,
                Kind::Denied => Word::Denied(mark.reason),
                Kind::Shadowed => Word::Shadowed(mark.reason),
            },
            detail: self.describe(mark.detail, gateway).unwrap_or_default(),
            line: mark.line,
        });
        steps.collect()
    }

    fn describe(&self, detail: Detail, gateway: &Gateway) -> Option<String> {
        let route = || gateway.route(self.route?);
        let protected = || match &route()?.access {
            Access::Protected { authn, authz } => Some((authn, authz)),
            Access::Public(_) => None,
        };
        Some(match detail {
            Detail::Head => {
                let Seen { method, host, path } = self.seen.as_ref()?;
                format!("{method} {path} for {host}")
            }
            Detail::Flood => format!("at most {} a second", gateway.flood?.per_address),
            Detail::Route => {
                let route = route()?;
                format!("{} ({})", route.id, route.path)
            }
            Detail::Methods => {
                let Seen { method, host, path } = self.seen.as_ref()?;
                match gateway.router.find(host, path, method) {
                    Found::OtherMethods(allow) => format!("the path takes {allow}"),
                    Found::Route(_) | Found::Nothing => return None,
                }
            }
            Detail::Public => match &route()?.access {
                Access::Public(public) => format!("public: {} (owner: {})", public.reason, public.owner),
                Access::Protected { .. } => return None,
            },
            Detail::Caller => self.caller.as_deref()?.to_owned(),
            Detail::Credentials => protected()?.0.describe(gateway),
            Detail::Circumstance(index) => {
                let asked = route()?.circumstances.get(usize::from(index))?;
                asked.describe()
            }
            Detail::Grant(index) => protected()?.1.grants.get(usize::from(index))?.describe(),
            Detail::Limits => route()?.limits.describe(gateway),
            Detail::Limit(index) => gateway.limits.get(usize::from(index))?.describe(),
            Detail::Content => route()?.content.describe(),
            Detail::Text(text) => text.to_owned(),
        })
    }
}
