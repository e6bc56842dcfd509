//! Client certificates (mutual TLS): the certificate of a connection as a credential of its requests.
//!
//! The handshake has refused what is not good ([`truststore`]); a route asks for certain ones of what is left ([`Accepted`]).
//! What a handshake found is held against the truststore of the moment by every request ([`presented`]), so that neither a
//! connection nor a resumed session carries trust on that has been withdrawn.

pub mod presented;
pub mod text;
pub mod truststore;

use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::claims::Claims;
use super::headers::IdentityHeaders;
use super::jwt::Verified as Said;
use super::verdicts::Digest;
use super::{Authenticated, AuthnError};
use crate::gateway::Gateway;
use crate::identity::{Client, Derived, Kind};
use crate::request::Request;
use crate::world::World;
pub use presented::{Presented, Says};
pub use truststore::{Authority, Truststore, Verified};

/// Certificates that routes take, by one name.
#[derive(Debug)]
pub struct Accepted {
    /// That name.
    pub name: Arc<str>,
    /// Index of the truststore that they were verified with.
    pub trust: usize,
    /// Which of them; none: all.
    pub allow: Box<[Allowed]>,
    /// Line of the configuration.
    pub line: u32,
}

/// What a certificate must be like, in all that is there.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Allowed {
    /// A CA above it.
    pub ca: Option<Ca>,
    /// A URI that it has.
    pub san_uri: Option<Uri>,
    /// A DNS name that it has, in lower case.
    pub san_dns: Option<Box<str>>,
    /// Its subject.
    pub subject: Option<Box<str>>,
    /// SHA-256 of its public key.
    pub spki_sha256: Option<Digest>,
    /// SHA-256 of itself.
    pub sha256: Option<Digest>,
}

/// How a CA is named.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ca {
    /// By its subject.
    Subject(Box<str>),
    /// By its certificate.
    Sha256(Digest),
}

/// Which URIs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Uri {
    /// This one.
    Exactly(Box<str>),
    /// All that begin so; ends with `/`.
    Below(Box<str>),
}

impl Accepted {
    /// Authenticates the caller by the certificate of the connection; `None` where it has none.
    ///
    /// # Errors
    /// It is none of these.
    pub(super) fn authenticate<R: Request, W: World>(
        &self,
        gateway: &Gateway,
        request: &R,
        world: &W,
    ) -> Result<Option<Arc<Client>>, AuthnError> {
        let Some(presented) = presented(request) else {
            return Ok(None);
        };
        let verified = presented.check(gateway, world.now())?;
        let trust = gateway.truststores.get(self.trust);
        if trust.is_none_or(|trust| trust.name != presented.trust) {
            return Err(AuthnError::CertificateOfAnother);
        }
        let is_allowed = |allowed: &Allowed| allowed.covers(&presented.says, &verified);
        if !self.allow.is_empty() && !self.allow.iter().any(is_allowed) {
            return Err(AuthnError::CertificateNotAllowed);
        }
        if let Some(known) = &*presented.client.load()
            && known.0 == gateway.authn_policy
        {
            return Ok(Some(known.1.clone()));
        }
        let client = Arc::new(client(presented, self.trust, &gateway.identity_headers)?);
        presented
            .client
            .store(Some(Arc::new((gateway.authn_policy, client.clone()))));
        Ok(Some(client))
    }

    /// In the terms of the configuration.
    #[must_use]
    pub fn terms(&self, gateway: &Gateway) -> String {
        let trust = gateway.truststores.get(self.trust);
        let trust = trust.map_or("", |trust| &trust.name);
        match &*self.allow {
            [] => format!("client_certificate: {} (all of {trust})", self.name),
            [_] => format!("client_certificate: {} (1 rule, of {trust})", self.name),
            rules => format!(
                "client_certificate: {} ({} rules, of {trust})",
                self.name,
                rules.len()
            ),
        }
    }
}

impl Allowed {
    fn covers(&self, says: &Says, verified: &Verified) -> bool {
        let Allowed {
            ca,
            san_uri,
            san_dns,
            subject,
            spki_sha256,
            sha256,
        } = self;
        let is_above = |ca: &Ca| {
            verified.authorities.iter().any(|authority| match ca {
                Ca::Subject(subject) => authority.subject == *subject,
                Ca::Sha256(sha256) => authority.sha256 == *sha256,
            })
        };
        let has_uri = |asked: &Uri| {
            says.uris.iter().any(|uri| match asked {
                Uri::Exactly(exactly) => uri == exactly,
                Uri::Below(start) => uri.len() > start.len() && uri.starts_with(&**start),
            })
        };
        ca.as_ref().is_none_or(is_above)
            && san_uri.as_ref().is_none_or(has_uri)
            && san_dns.as_ref().is_none_or(|name| says.dns_names.contains(name))
            && subject.as_ref().is_none_or(|subject| says.subject == *subject)
            && spki_sha256.is_none_or(|digest| says.spki_sha256 == digest)
            && sha256.is_none_or(|digest| says.sha256 == digest)
    }
}

/// The certificate of a request's connection.
pub fn presented<R: Request>(request: &R) -> Option<&Arc<Presented>> {
    request.peer().tls.as_ref()?.certificate.as_ref()
}

fn client(presented: &Presented, index: usize, headers: &IdentityHeaders) -> Result<Client, AuthnError> {
    let says = &presented.says;
    let mut claims = serde_json::json!({
        "sub": says.identity(), "subject": says.subject, "issuer": says.issuer, "serial": says.serial,
        "san_uri": says.uris, "san_dns": says.dns_names, "sha256": text::hex(&says.sha256),
    });
    if let (Some(id), Some(claims)) = (says.spiffe_id(), claims.as_object_mut()) {
        claims.insert("spiffe_id".to_owned(), id.into());
    }
    let said = Said {
        claims: Claims::parse(claims.to_string().as_bytes())?,
        subject: says.identity().to_owned(),
        client_id: None,
        scopes: Vec::new(),
        roles: Vec::new(),
        expires: says.not_after,
        not_before: None,
        key_id: None,
        generation: 0,
    };
    Ok(Client {
        kind: Kind::Certificate,
        issuer: index,
        authority: presented.trust.clone(),
        tenant: None,
        headers: headers.render(&presented.trust, None, &said)?,
        subject: said.subject.into(),
        client_id: None,
        scopes: Box::default(),
        roles: Box::default(),
        claims: said.claims,
        until: said.expires,
        authenticated: Authenticated(()),
        derived: Derived::default(),
    })
}

/// RFC 8705 section 3: a token that is bound to a certificate is good on connections with that certificate only.
///
/// # Errors
/// The connection has another certificate, or none.
pub(super) fn is_bound<R: Request>(client: &Client, request: &R) -> Result<(), AuthnError> {
    let Some(thumbprint) = client.claims.certificate_thumbprint()? else {
        return Ok(());
    };
    let presented = presented(request).ok_or(AuthnError::TokenCertificateMissing)?;
    let ours = URL_SAFE_NO_PAD.encode(presented.says.sha256);
    if ours != thumbprint {
        return Err(AuthnError::TokenCertificateMismatch);
    }
    Ok(())
}
