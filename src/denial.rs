//! Every way to say no.
//!
//! One closed set: status, reason, public code, challenge and gate are total functions of it, so a new way to refuse
//! cannot be forgotten anywhere. The *reason* is precise and goes to records, metrics and `explain`; the *code* is what
//! the client is told, coarser where detail would help an attacker.

use std::sync::Arc;
use std::time::Duration;

use http::StatusCode;

use crate::gates::authn::attestation::AttestationError;
use crate::gates::authn::introspection::signed::Untrusted;
use crate::gates::authn::{AuthnError, Scheme, Schemes};
use crate::gates::content::jwe::JweError;
use crate::gates::limits::Standing;
use crate::head::Malformed;

/// What a gate says: its result, or why not.
pub type Verdict<T = ()> = Result<T, Denial>;

/// A refusal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Denial {
    /// The head can be understood in more than one way.
    Malformed(Malformed),
    /// The head was not at its end when its time was.
    HeadTooSlow,
    /// Plain HTTP carried something that must not cross the network unprotected (S10).
    PlainHttp(PlainHttp),
    /// The connection is not one for this host.
    Misdirected,
    /// No route has this host and path.
    NoRoute,
    /// The path is known, the method is not; holds the value of `Allow`.
    MethodNotAllowed(Arc<str>),
    /// No credential, or one that is not good; and with what the route can be asked instead.
    Unauthenticated(AuthnError, Schemes),
    /// Too many requests of one address, whoever they are.
    Flooded,
    /// The credential is not looked at, after too many that were not good; holds when to try again.
    Attempts(Whose, Duration),
    /// The key of the token has signed more proofs than are remembered of one key; holds when to try again.
    ProofsOfKey(Duration),
    /// The caller has used up a limit.
    RateLimited(Standing),
    /// The application has not shown that it is the genuine one.
    Attestation(AttestationError),
    /// The caller has to log in again, or better; holds what the challenge asks for, and how a token is sent then.
    StepUp(Short, Arc<str>, Scheme),
    /// The caller may not, or not from there, or not now.
    Forbidden(Forbidden),
    /// The connection may not leave HTTP, or not so.
    Upgrade(UpgradeError),
    /// What was sent is not what the route takes.
    Content(ContentError),
    /// Something that the decision needs is missing. Never the client's fault.
    Unavailable(Dependency, Duration),
    /// Admitted, but the upstream did not answer.
    Upstream(UpstreamError),
    /// A fault of ours.
    Internal,
}

/// Why a caller is refused, known or not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Forbidden {
    /// A scope is missing. Holds those that the route asks for, apart by spaces, none where no token was sent that could have
    /// them; and how it was sent.
    Scope(Arc<str>, Scheme),
    /// None of the route's roles is granted.
    Role,
    /// A permission is missing.
    Permission,
    /// A part of the path is not what the credential says.
    Claim,
    /// Not from this network.
    Network,
    /// Not from this country.
    Country,
    /// Not from a country that nobody knows.
    CountryUnknown,
    /// Not now.
    Time,
    /// An expression is not true.
    Condition,
    /// An expression has no value: a claim is missing, or of another type than it is taken for.
    ConditionError,
}

/// Why a connection does not leave HTTP.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UpgradeError {
    /// The route has no WebSocket, or something else was asked for.
    NotTaken,
    /// Not the handshake of RFC 6455 section 4.1.
    Handshake,
    /// A version other than 13.
    Version,
    /// `Origin` is not one that the route takes.
    Origin,
}

/// Why a request's content is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ContentError {
    /// Longer than the route's limit.
    TooLarge,
    /// A body without Content-Type.
    TypeMissing,
    /// More than one Content-Type.
    TypeRepeated,
    /// Content-Type is not a media type, or names a charset other than UTF-8.
    TypeMalformed,
    /// Not one of the route's media types.
    TypeNotAllowed,
    /// Content-Encoding: what cannot be read cannot be judged.
    Encoded,
    /// The client stopped sending before the announced end.
    Incomplete,
    /// The chunks of the body are malformed.
    Chunks,
    /// The rest of the body did not come in time.
    TooSlow,
    /// Fields behind the body (RFC 9110 section 6.5): they would be lost on the way.
    Trailers,
    /// All memory for bodies is taken. Not the client's fault.
    MemoryExhausted,
    /// It could not be opened.
    Encrypted(JweError),
}

/// What plain HTTP must not carry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PlainHttp {
    /// A credential: it was exposed and should be replaced.
    Credential,
    /// A body, or a method that is not safe to repeat.
    Body,
}

/// Of whom too many credentials were not good.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Whose {
    /// Of the address.
    Address,
    /// Of those that claim to be of the account.
    Account,
}

/// In what a log-in falls short.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Short {
    /// Of another class.
    Class,
    /// By other methods.
    Methods,
    /// Too long ago.
    Age,
}

/// Outside evidence that a decision may need.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dependency {
    /// The keys of a token's issuer, or its answer about the token.
    IdentityProvider,
    /// An answer about the token that can be believed.
    Introspection(Untrusted),
    /// The list of what was taken back.
    Revocations,
    /// Room to remember that a proof was used (RFC 9449 section 11.1).
    ProofMemory,
    /// Room for the record of the request.
    Records,
}

/// Why an upstream did not answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UpstreamError {
    /// No target has an address.
    Unresolved,
    /// No connection within the deadline.
    ConnectTimeout,
    /// The connection was refused or broke while it was made.
    ConnectFailed,
    /// The TLS handshake failed.
    Tls,
    /// Its certificate is by nobody who is trusted.
    Untrusted,
    /// Its certificate is for another name.
    Name,
    /// Its certificate, or one that vouches for it, is no longer or not yet good.
    Expired,
    /// Its certificate is good, and none of the chain's keys is pinned.
    Pin,
    /// The version of TLS, or the suite, will not do.
    Weak,
    /// No answer within the deadline.
    Timeout,
    /// The connection broke before the answer was complete.
    Broken,
    /// The answer was not HTTP.
    Malformed,
    /// It answered with this 5xx, whose body stays inside.
    Failed(u16),
}

/// The gates, in the order of the pipeline.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Gate {
    /// Room for its record, where nothing may pass without one
    Records,
    /// Canonical head
    Head,
    /// Too many of one address
    Flood,
    /// Host, path and method
    Route,
    /// Who
    Authn,
    /// May they
    Authz,
    /// How often
    Limits,
    /// Leaving HTTP
    Upgrade,
    /// What is sent
    Content,
    /// After admission
    Upstream,
}

impl Gate {
    /// Stable word for records and metrics.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Gate::Records => "records",
            Gate::Head => "head",
            Gate::Flood => "flood",
            Gate::Route => "route",
            Gate::Authn => "authn",
            Gate::Authz => "authz",
            Gate::Limits => "limits",
            Gate::Upgrade => "upgrade",
            Gate::Content => "content",
            Gate::Upstream => "upstream",
        }
    }
}

impl From<Malformed> for Denial {
    fn from(why: Malformed) -> Denial {
        Denial::Malformed(why)
    }
}

impl Denial {
    /// Which gate refuses so.
    #[must_use]
    pub fn gate(&self) -> Gate {
        match self {
            Denial::Malformed(_) | Denial::HeadTooSlow | Denial::PlainHttp(_) => Gate::Head,
            Denial::Misdirected | Denial::NoRoute | Denial::MethodNotAllowed(_) => Gate::Route,
            Denial::Unauthenticated(..)
            | Denial::Attempts(..)
            | Denial::Attestation(_)
            | Denial::ProofsOfKey(_)
            | Denial::Unavailable(
                Dependency::IdentityProvider
                | Dependency::Introspection(_)
                | Dependency::Revocations
                | Dependency::ProofMemory,
                _,
            ) => Gate::Authn,
            Denial::Unavailable(Dependency::Records, _) => Gate::Records,
            Denial::Forbidden(_) | Denial::StepUp(..) => Gate::Authz,
            Denial::Flooded => Gate::Flood,
            Denial::RateLimited(_) => Gate::Limits,
            Denial::Upgrade(_) => Gate::Upgrade,
            Denial::Content(_) => Gate::Content,
            Denial::Upstream(_) | Denial::Internal => Gate::Upstream,
        }
    }

    /// The status that the client gets; never below 400.
    #[must_use]
    pub fn status(&self) -> StatusCode {
        match self {
            Denial::Malformed(Malformed::Method) => StatusCode::METHOD_NOT_ALLOWED,
            Denial::Malformed(Malformed::Version) => StatusCode::HTTP_VERSION_NOT_SUPPORTED,
            Denial::Malformed(Malformed::HeadTooLarge | Malformed::TooManyFields) => {
                StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE
            }
            Denial::HeadTooSlow => StatusCode::REQUEST_TIMEOUT,
            Denial::Malformed(_) => StatusCode::BAD_REQUEST,
            Denial::PlainHttp(_) | Denial::Forbidden(_) => StatusCode::FORBIDDEN,
            Denial::Misdirected => StatusCode::MISDIRECTED_REQUEST,
            Denial::NoRoute => StatusCode::NOT_FOUND,
            Denial::MethodNotAllowed(_) => StatusCode::METHOD_NOT_ALLOWED,
            Denial::Unauthenticated(..) | Denial::Attestation(_) | Denial::StepUp(..) => {
                StatusCode::UNAUTHORIZED
            }
            Denial::Flooded | Denial::RateLimited(_) | Denial::Attempts(..) | Denial::ProofsOfKey(_) => {
                StatusCode::TOO_MANY_REQUESTS
            }
            Denial::Upgrade(why) => match why {
                UpgradeError::NotTaken | UpgradeError::Handshake => StatusCode::BAD_REQUEST,
                UpgradeError::Version => StatusCode::UPGRADE_REQUIRED,
                UpgradeError::Origin => StatusCode::FORBIDDEN,
            },
            Denial::Content(why) => match why {
                ContentError::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
                ContentError::Incomplete
                | ContentError::Chunks
                | ContentError::Trailers
                | ContentError::Encrypted(_) => StatusCode::BAD_REQUEST,
                ContentError::MemoryExhausted => StatusCode::SERVICE_UNAVAILABLE,
                ContentError::TooSlow => StatusCode::REQUEST_TIMEOUT,
                ContentError::TypeMissing
                | ContentError::TypeRepeated
                | ContentError::TypeMalformed
                | ContentError::TypeNotAllowed
                | ContentError::Encoded => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            },
            Denial::Unavailable(..) => StatusCode::SERVICE_UNAVAILABLE,
            Denial::Upstream(why) => match why {
                UpstreamError::Unresolved => StatusCode::SERVICE_UNAVAILABLE,
                UpstreamError::ConnectTimeout | UpstreamError::Timeout => StatusCode::GATEWAY_TIMEOUT,
                UpstreamError::ConnectFailed
                | UpstreamError::Tls
                | UpstreamError::Untrusted
                | UpstreamError::Name
                | UpstreamError::Expired
                | UpstreamError::Pin
                | UpstreamError::Weak
                | UpstreamError::Broken
                | UpstreamError::Malformed => StatusCode::BAD_GATEWAY,
                UpstreamError::Failed(status) => {
                    StatusCode::from_u16(*status).unwrap_or(StatusCode::BAD_GATEWAY)
                }
            },
            Denial::Internal => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }

    /// The precise, stable word for records, metrics and `explain`.
    #[must_use]
    pub fn reason(&self) -> &'static str {
        match self {
            Denial::Malformed(why) => why.reason(),
            Denial::HeadTooSlow => "head_too_slow",
            Denial::PlainHttp(PlainHttp::Credential) => "plaintext_credential",
            Denial::PlainHttp(PlainHttp::Body) => "plaintext_body",
            Denial::Misdirected => "host_misdirected",
            Denial::NoRoute => "route_unknown",
            Denial::MethodNotAllowed(_) => "method_not_allowed",
            Denial::Unauthenticated(why, _) => why.reason(),
            Denial::Forbidden(Forbidden::Scope(..)) => "scope_missing",
            Denial::Forbidden(Forbidden::Role) => "role_missing",
            Denial::Forbidden(Forbidden::Permission) => "permission_missing",
            Denial::Forbidden(Forbidden::Claim) => "claim_mismatch",
            Denial::Forbidden(Forbidden::Network) => "network_not_allowed",
            Denial::Forbidden(Forbidden::Country) => "country_not_allowed",
            Denial::Forbidden(Forbidden::CountryUnknown) => "country_unknown",
            Denial::Forbidden(Forbidden::Time) => "time_not_allowed",
            Denial::Forbidden(Forbidden::Condition) => "condition_not_met",
            Denial::Forbidden(Forbidden::ConditionError) => "condition_error",
            Denial::Attestation(why) => why.reason(),
            Denial::StepUp(Short::Class, ..) => "acr_insufficient",
            Denial::StepUp(Short::Methods, ..) => "amr_insufficient",
            Denial::StepUp(Short::Age, ..) => "authentication_too_old",
            Denial::Flooded => "flooded",
            Denial::Attempts(Whose::Address, _) => "attempts_of_address",
            Denial::Attempts(Whose::Account, _) => "attempts_for_account",
            Denial::RateLimited(_) => "rate_limited",
            Denial::Upgrade(why) => match why {
                UpgradeError::NotTaken => "upgrade_not_taken",
                UpgradeError::Handshake => "websocket_handshake",
                UpgradeError::Version => "websocket_version",
                UpgradeError::Origin => "websocket_origin",
            },
            Denial::Content(why) => match why {
                ContentError::TooLarge => "body_too_large",
                ContentError::TypeMissing => "content_type_missing",
                ContentError::TypeRepeated => "content_type_repeated",
                ContentError::TypeMalformed => "content_type_malformed",
                ContentError::TypeNotAllowed => "content_type_not_allowed",
                ContentError::Encoded => "content_encoding",
                ContentError::Incomplete => "body_incomplete",
                ContentError::Chunks => "body_chunks_malformed",
                ContentError::TooSlow => "body_too_slow",
                ContentError::Trailers => "body_trailers",
                ContentError::MemoryExhausted => "body_memory_exhausted",
                ContentError::Encrypted(why) => why.reason(),
            },
            Denial::Unavailable(Dependency::IdentityProvider, _) => "identity_provider_unavailable",
            Denial::Unavailable(Dependency::Introspection(why), _) => why.reason(),
            Denial::Unavailable(Dependency::Revocations, _) => "revocations_unavailable",
            Denial::Unavailable(Dependency::ProofMemory, _) => "dpop_memory_full",
            Denial::ProofsOfKey(_) => "dpop_proofs_of_key",
            Denial::Unavailable(Dependency::Records, _) => "records_full",
            Denial::Upstream(why) => match why {
                UpstreamError::Unresolved => "upstream_unresolved",
                UpstreamError::ConnectTimeout => "upstream_connect_timeout",
                UpstreamError::ConnectFailed => "upstream_connect_failed",
                UpstreamError::Tls => "upstream_tls",
                UpstreamError::Untrusted => "upstream_certificate_untrusted",
                UpstreamError::Name => "upstream_certificate_name",
                UpstreamError::Expired => "upstream_certificate_expired",
                UpstreamError::Pin => "upstream_pin_mismatch",
                UpstreamError::Weak => "upstream_tls_weak",
                UpstreamError::Timeout => "upstream_timeout",
                UpstreamError::Broken => "upstream_broken",
                UpstreamError::Malformed => "upstream_malformed",
                UpstreamError::Failed(_) => "upstream_failed",
            },
            Denial::Internal => "internal_error",
        }
    }

    /// The stable word that the client is told.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Denial::Malformed(Malformed::Method) => "method_not_allowed",
            Denial::Malformed(Malformed::HeadTooLarge | Malformed::TooManyFields) => "head_too_large",
            Denial::Malformed(Malformed::Version) => self.reason(),
            Denial::Malformed(_) => "request_malformed",
            Denial::Unauthenticated(why, _) => why.public_code(),
            Denial::Forbidden(Forbidden::Scope(..)) => "insufficient_scope",
            Denial::Forbidden(Forbidden::Role) => "insufficient_role",
            Denial::Forbidden(Forbidden::Permission) => "insufficient_permission",
            Denial::Forbidden(Forbidden::Claim) => "resource_of_others",
            // neither where from nor when would do: that is nobody's business outside
            Denial::Forbidden(
                Forbidden::Network | Forbidden::Country | Forbidden::CountryUnknown | Forbidden::Time,
            ) => "not_from_here_or_not_now",
            // what it takes a claim for is nobody's business outside
            Denial::Forbidden(Forbidden::Condition | Forbidden::ConditionError) => "condition_not_met",
            Denial::Upstream(why) => match why {
                UpstreamError::ConnectTimeout | UpstreamError::Timeout => "upstream_timeout",
                UpstreamError::Unresolved
                | UpstreamError::ConnectFailed
                | UpstreamError::Tls
                | UpstreamError::Untrusted
                | UpstreamError::Name
                | UpstreamError::Expired
                | UpstreamError::Pin
                | UpstreamError::Weak
                | UpstreamError::Broken
                | UpstreamError::Malformed => "upstream_unavailable",
                UpstreamError::Failed(_) => "upstream_failed",
            },
            Denial::Attestation(why) => why.public_code(),
            Denial::StepUp(..) => "insufficient_user_authentication",
            // what is wrong with the issuer is between it and us
            Denial::Unavailable(Dependency::Introspection(_), _) => "identity_provider_unavailable",
            // what is wrong would tell who tries keys something of ours
            Denial::Content(ContentError::Encrypted(_)) => "body_not_decryptable",
            // which of them is nothing that who tries should know
            Denial::Attempts(..) => "too_many_refused_credentials",
            Denial::HeadTooSlow
            | Denial::PlainHttp(_)
            | Denial::Misdirected
            | Denial::NoRoute
            | Denial::MethodNotAllowed(_)
            | Denial::Flooded
            | Denial::ProofsOfKey(_)
            | Denial::RateLimited(_)
            | Denial::Upgrade(_)
            | Denial::Content(_)
            | Denial::Unavailable(..)
            | Denial::Internal => self.reason(),
        }
    }

    /// One sentence for the client. Nothing of the request is repeated in it.
    #[must_use]
    pub fn detail(&self) -> &'static str {
        match self {
            Denial::Malformed(Malformed::Method) => "This method is not served here.",
            Denial::Malformed(Malformed::Version) => "This version of HTTP is not spoken here.",
            Denial::Malformed(Malformed::HeadTooLarge | Malformed::TooManyFields) => {
                "The head of the request is larger than it may be."
            }
            Denial::HeadTooSlow => "The head of the request did not come in time.",
            Denial::Malformed(_) => "The request can be understood in more than one way, or not at all.",
            Denial::PlainHttp(PlainHttp::Credential) => {
                "A credential was sent over plain HTTP. It has to be considered exposed: replace it, and use HTTPS."
            }
            Denial::PlainHttp(PlainHttp::Body) => "This was sent over plain HTTP. Use HTTPS.",
            Denial::Misdirected => "This connection is not for this host; connect anew, by its name.",
            Denial::NoRoute => "There is nothing here.",
            Denial::MethodNotAllowed(_) => "The resource does not take this method; see Allow.",
            Denial::Unauthenticated(why, _) => why.description(),
            Denial::Forbidden(Forbidden::Scope(..)) => {
                "The credential lacks a scope that this resource asks for."
            }
            Denial::Forbidden(Forbidden::Role) => {
                "The caller has none of the roles that this resource asks for."
            }
            Denial::Forbidden(Forbidden::Permission) => {
                "The caller lacks a permission that this resource asks for."
            }
            Denial::Forbidden(Forbidden::Claim) => "The credential is not for this resource.",
            Denial::Forbidden(
                Forbidden::Network | Forbidden::Country | Forbidden::CountryUnknown | Forbidden::Time,
            ) => "This may not be asked from here, or not now.",
            Denial::Forbidden(Forbidden::Condition | Forbidden::ConditionError) => {
                "A condition of this resource is not met."
            }
            Denial::Attestation(AttestationError::Missing) => {
                "An attestation of the application is required."
            }
            Denial::Attestation(_) => "The attestation of the application is not good.",
            Denial::StepUp(Short::Age, ..) => "A more recent log-in is required.",
            Denial::StepUp(..) => "A log-in of another kind is required.",
            Denial::Flooded => "Too many requests from this address.",
            Denial::RateLimited(_) => "A limit is used up; see Retry-After.",
            Denial::Attempts(..) => "Too many credentials were not good; see Retry-After.",
            Denial::Upgrade(why) => match why {
                UpgradeError::NotTaken => "The connection cannot be upgraded here.",
                UpgradeError::Handshake => "This is not the handshake of a WebSocket.",
                UpgradeError::Version => "The version of the WebSocket has to be 13.",
                UpgradeError::Origin => "The origin may not open a WebSocket here.",
            },
            Denial::Content(why) => match why {
                ContentError::TooLarge => "The body is larger than this resource takes.",
                ContentError::TypeMissing => "The body has no Content-Type.",
                ContentError::TypeRepeated => "There is more than one Content-Type.",
                ContentError::TypeMalformed => "Content-Type is malformed, or its charset is not UTF-8.",
                ContentError::TypeNotAllowed => "The resource does not take this media type.",
                ContentError::Encoded => {
                    "The resource does not take encoded bodies; send it without Content-Encoding."
                }
                ContentError::Incomplete => "The body ended early.",
                ContentError::Chunks => "The chunks of the body are malformed.",
                ContentError::TooSlow => "The body did not come in time.",
                ContentError::Encrypted(_) => "The body is not encrypted as this resource takes it.",
                ContentError::Trailers => "The body is followed by trailers, which are not taken here.",
                ContentError::MemoryExhausted => {
                    "There is no room for the body now. This is not a fault of the request; try again later."
                }
            },
            Denial::Unavailable(Dependency::Revocations, _) => {
                "Whether the credential was revoked cannot be told at the moment."
            }
            Denial::Unavailable(Dependency::ProofMemory, _) => {
                "No more proofs can be taken now. This is not a fault of the proof; sign a new one later."
            }
            Denial::ProofsOfKey(_) => "Too many proofs of one key; see Retry-After.",
            Denial::Unavailable(Dependency::IdentityProvider | Dependency::Introspection(_), _) => {
                "The token cannot be checked now. This is not a fault of the token; try again later."
            }
            Denial::Unavailable(Dependency::Records, _) => {
                "The request cannot be recorded now, and nothing is served without a record; try again later."
            }
            Denial::Upstream(UpstreamError::ConnectTimeout | UpstreamError::Timeout) => {
                "The service did not answer in time."
            }
            Denial::Upstream(UpstreamError::Failed(_)) => "The service failed.",
            Denial::Upstream(_) => "The service cannot be reached.",
            Denial::Internal => "Something went wrong here.",
        }
    }

    /// `WWW-Authenticate` (RFC 9110 section 11.6.1, RFC 6750 section 3), on every 401 and where a scope would help.
    #[must_use]
    pub fn challenge(&self) -> Option<String> {
        match self {
            Denial::Unauthenticated(why, schemes) => Some(schemes.challenge(*why)),
            // no RFC names such a scheme; a 401 has to name one
            Denial::Attestation(AttestationError::Missing) => {
                Some("Attestation realm=\"durward\"".to_owned())
            }
            Denial::Attestation(why) => Some(format!(
                "Attestation realm=\"durward\", error=\"{}\"",
                why.public_code()
            )),
            // RFC 9470 section 3
            Denial::StepUp(_, asks, scheme) => Some(format!(
                "{} realm=\"durward\", error=\"insufficient_user_authentication\", \
                 error_description=\"{}\"{asks}",
                scheme.as_str(),
                self.detail()
            )),
            // what is missing to an API key cannot be asked for in this way
            Denial::Forbidden(Forbidden::Scope(scopes, scheme)) if !scopes.is_empty() => Some(format!(
                "{} realm=\"durward\", error=\"insufficient_scope\", scope=\"{scopes}\"",
                scheme.as_str()
            )),
            _ => None,
        }
    }

    /// `Allow`, on 405 (RFC 9110 section 15.5.6).
    #[must_use]
    pub fn allow(&self) -> Option<&str> {
        match self {
            Denial::MethodNotAllowed(allow) => Some(allow),
            // CONNECT and TRACE: no path was looked at, so there is nothing to allow
            Denial::Malformed(Malformed::Method) => Some(""),
            _ => None,
        }
    }

    /// `Retry-After` in whole seconds, at least 1.
    #[must_use]
    pub fn retry_after(&self) -> Option<u64> {
        match self {
            Denial::Flooded | Denial::Content(ContentError::MemoryExhausted) => Some(1),
            Denial::RateLimited(Standing { quota, .. }) => Some(seconds(quota.reset)),
            Denial::Attempts(_, reset) | Denial::ProofsOfKey(reset) => Some(seconds(*reset)),
            Denial::Unavailable(_, after) => Some(after.as_secs().max(1)),
            Denial::Upstream(UpstreamError::Unresolved) => Some(1),
            _ => None,
        }
    }

    /// Whether it is the credential that is refused, rather than the request or its moment.
    #[must_use]
    pub fn is_of_credential(&self) -> bool {
        match self {
            Denial::Unauthenticated(..) | Denial::Attestation(_) | Denial::StepUp(..) => true,
            Denial::Forbidden(why) => match why {
                Forbidden::Scope(..) | Forbidden::Role | Forbidden::Permission => true,
                // with another path, from elsewhere or later it may do; and which paths were tried is worth knowing
                Forbidden::Claim
                | Forbidden::Network
                | Forbidden::Country
                | Forbidden::CountryUnknown
                | Forbidden::Time
                | Forbidden::Condition
                | Forbidden::ConditionError => false,
            },
            _ => false,
        }
    }

    /// Whether the connection ends with it: its state is unknown, or, after an upstream failed, Pingora ends it.
    #[must_use]
    pub fn closes(&self) -> bool {
        matches!(
            self,
            Denial::Malformed(_)
                | Denial::HeadTooSlow
                | Denial::Upgrade(_)
                | Denial::Upstream(_)
                | Denial::Content(
                    ContentError::TooLarge
                        | ContentError::Incomplete
                        | ContentError::Chunks
                        | ContentError::TooSlow
                        | ContentError::Trailers
                        | ContentError::MemoryExhausted
                )
                | Denial::Internal
        )
    }
}

/// Whole seconds, rounded up: who waits so long is admitted.
fn seconds(span: Duration) -> u64 {
    u64::try_from(span.as_millis().div_ceil(1000).max(1)).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
