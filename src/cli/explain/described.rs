//! The description of a request, and the question that it puts to the gateway.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use http::header::{AUTHORIZATION, HOST, HeaderMap, HeaderName, HeaderValue};
use http::{Method, Uri, Version};
use serde::Deserialize;

use super::token;
use crate::clock::UnixTime;
use crate::config::OneOrMany;
use crate::gates::authn::KeysFrom;
use crate::gates::authn::introspection::Said;
use crate::gates::authn::jwk::KeySet;
use crate::gates::network::client_address;
use crate::gateway::Gateway;
use crate::head::{Head, Malformed, RawHead};
use crate::request::{Peer, Request, TlsFacts};
use crate::world::recorded::Recorded;

/// A request as somebody wrote it down.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Described {
    /// Method.
    method: String,
    /// `https://HOST/PATH?QUERY`
    url: String,
    /// Header fields: a value, or a list of them.
    #[serde(default)]
    headers: BTreeMap<String, OneOrMany>,
    /// `ADDRESS:PORT` of the socket's other end.
    #[serde(default)]
    from: Option<String>,
    /// The time of the decision, RFC 3339. Default: now.
    #[serde(default)]
    at: Option<String>,
    /// Keys of issuers that the configuration would fetch: name → file with a key set.
    #[serde(default)]
    keys: BTreeMap<String, String>,
    /// What issuers say of the token when they are asked (RFC 7662): name → answer.
    #[serde(default)]
    introspection: BTreeMap<String, serde_json::Value>,
    /// Instead of a token: what a good one would say.
    #[serde(default)]
    token: Option<Claimed>,
}

/// Claims of a token that is taken as verified.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Claimed {
    /// Name of the issuer.
    issuer: String,
    /// What it says. `iss`, `aud`, `iat`, `exp` and `sub` are filled in where they are missing.
    #[serde(default)]
    claims: BTreeMap<String, serde_json::Value>,
}

/// A request and the evidence to decide it with.
#[derive(Debug)]
pub(super) struct Question {
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    peer: Peer,
    pub(super) world: Recorded,
}

/// The request as the gates see it.
pub(super) struct Asked<'a> {
    head: Head,
    question: &'a Question,
}

impl Described {
    pub(super) fn question(self, gateway: &Gateway, base: &Path) -> Result<Question, String> {
        let Described {
            method,
            url,
            headers,
            from,
            at,
            keys,
            introspection,
            token,
        } = self;
        let url: Uri = url.parse().map_err(|why| format!("url: {why}"))?;
        let authority = url.authority().ok_or("url: it has no host")?.clone();
        let mut fields = HeaderMap::new();
        for (name, values) in &headers {
            let name = HeaderName::from_bytes(name.as_bytes()).map_err(|why| format!("headers: {why}"))?;
            for value in values.as_slice() {
                let value = HeaderValue::from_str(value).map_err(|why| format!("headers.{name}: {why}"))?;
                fields.append(name.clone(), value);
            }
        }
        if !fields.contains_key(HOST) {
            let host = HeaderValue::from_str(authority.as_str()).map_err(|why| format!("url: {why}"))?;
            fields.insert(HOST, host);
        }
        let now = match at {
            None => UnixTime::of_system(),
            Some(text) => {
                let time: jiff::Timestamp = text.parse().map_err(|why| format!("at: {why}"))?;
                UnixTime::from_millis(u64::try_from(time.as_millisecond()).map_err(|_| "at: before 1970")?)
            }
        };
        let mut known = Vec::new();
        for issuer in &gateway.issuers {
            known.push(match (keys.get(&*issuer.name), &issuer.keys) {
                (Some(file), _) => Some(Arc::new(read_keys(&base.join(file))?)),
                (None, KeysFrom::Given(keys)) => Some(keys.clone()),
                (None, KeysFrom::Url(_) | KeysFrom::Nowhere) => None,
            });
        }
        let issuer_of = |name: &str| {
            let found = gateway.issuers.iter().position(|issuer| *issuer.name == *name);
            found.ok_or_else(|| format!("the configuration has no issuer `{name}`"))
        };
        for name in keys.keys() {
            issuer_of(name)?;
        }
        let mut said = vec![None; gateway.issuers.len()];
        for (name, answer) in &introspection {
            let index = issuer_of(name)?;
            let answer = Said::parse(answer.to_string().as_bytes())
                .map_err(|_| format!("introspection.{name}: not an answer of RFC 7662"))?;
            if let Some(slot) = said.get_mut(index) {
                *slot = Some(Arc::new(answer));
            }
        }
        if let Some(Claimed { issuer, claims }) = token {
            let index = issuer_of(&issuer)?;
            let policy = gateway.issuers.get(index).ok_or("no such issuer")?;
            let (value, set) = token::sign(&policy.jwt, claims, now)?;
            fields.insert(
                AUTHORIZATION,
                HeaderValue::from_str(&value).map_err(|why| format!("token: {why}"))?,
            );
            if let Some(slot) = known.get_mut(index) {
                *slot = Some(Arc::new(set));
            }
        }
        let address: Option<SocketAddr> = from
            .map(|from| from.parse().map_err(|why| format!("from: {why}")))
            .transpose()?;
        let tls = (url.scheme_str() == Some("https")).then(|| {
            let host = authority.host().to_ascii_lowercase();
            Arc::new(TlsFacts {
                version: "TLSv1.3".to_owned(),
                cipher: String::new(),
                // described is who speaks to whom they mean to
                names: [host.trim_matches(['[', ']']).to_owned()].into(),
                sni: Some(host),
            })
        });
        let client = address.map(|a| client_address(a.ip(), &fields, &gateway.trusted_proxies));
        Ok(Question {
            method: method.parse().map_err(|why| format!("method: {why}"))?,
            uri: url
                .path_and_query()
                .map_or("/", |target| target.as_str())
                .parse()
                .map_err(|_| "url: no path")?,
            headers: fields,
            peer: Peer { address, client, tls },
            world: Recorded {
                said,
                ..Recorded::new(gateway, now, known)
            },
        })
    }
}

impl Question {
    pub(super) fn request(&self, gateway: &Gateway) -> Result<Asked<'_>, Malformed> {
        let head = gateway.read_head(RawHead {
            method: &self.method,
            uri: &self.uri,
            version: Version::HTTP_11,
            headers: &self.headers,
            ended: false,
        })?;
        Ok(Asked { head, question: self })
    }
}

impl Request for Asked<'_> {
    fn head(&self) -> &Head {
        &self.head
    }

    fn headers(&self) -> &HeaderMap {
        &self.question.headers
    }

    fn peer(&self) -> &Peer {
        &self.question.peer
    }
}

fn read_keys(file: &Path) -> Result<KeySet, String> {
    let at = |why: String| format!("keys: {}: {why}", file.display());
    let json = std::fs::read(file).map_err(|why| at(why.to_string()))?;
    KeySet::parse(&json).map_err(|why| at(why.to_string()))
}
