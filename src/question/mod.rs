//! A request that somebody wrote down, and the question that it puts to a gateway: for `explain`, and for the tests that
//! stand in a configuration.

mod certificate;
mod proof;
mod token;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, LazyLock};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::header::{AUTHORIZATION, HOST, HeaderMap, HeaderName, HeaderValue};
use http::uri::Authority;
use http::{Method, Uri, Version};
use openssl::pkey::{PKey, Private};
use schemars::JsonSchema;
use serde::Deserialize;
use uuid::Uuid;

pub use certificate::Certified;
pub use proof::Proved;

use crate::clock::UnixTime;
use crate::config::OneOrMany;
use crate::gates::authn::attestation::{self, Verifier};
use crate::gates::authn::introspection::Said;
use crate::gates::authn::jwk::KeySet;
use crate::gates::authn::revocation::list::DenyList;
use crate::gates::authn::revocation::{self, Revocations, Source};
use crate::gates::authn::{KeysFrom, Scheme, api_key};
use crate::gates::network::client_address;
use crate::gateway::Gateway;
use crate::head::{Head, Malformed, RawHead};
use crate::request::{Peer, Request, TlsFacts};
use crate::world::recorded::Recorded;
use crate::world::revocations;

/// Stands for the number of the request, where one is asked several times.
const NUMBER: &str = "{n}";

/// A request as somebody wrote it down.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Described {
    /// Method.
    pub method: String,
    /// `https://HOST/PATH?QUERY`
    pub url: String,
    /// Header fields: a value, or a list of them.
    #[serde(default)]
    pub headers: BTreeMap<String, OneOrMany>,
    /// `ADDRESS:PORT` of the socket's other end. Default: not known; in a test, 203.0.113.1:50000.
    #[serde(default)]
    pub from: Option<String>,
    /// The time of the decision, RFC 3339. Default: now; in a test, noon of 1 January 2026, UTC.
    #[serde(default)]
    pub at: Option<String>,
    /// Keys of issuers that the configuration would fetch: name → file with a key set.
    #[serde(default)]
    pub keys: BTreeMap<String, String>,
    /// What issuers say of the token when they are asked (RFC 7662): name → answer.
    #[serde(default)]
    pub introspection: BTreeMap<String, serde_json::Value>,
    /// Entries of the deny list, beside those of the file that the configuration names.
    #[serde(default)]
    pub revoked: Vec<String>,
    /// Instead of a token: what a good one would say.
    #[serde(default)]
    pub token: Option<Claimed>,
    /// Instead of a proof of possession (DPoP): what a good one would say. The token, or what its issuer says of it, is bound
    /// to its key, unless it has a `cnf`.
    #[serde(default)]
    pub dpop: Option<Proved>,
    /// Instead of an attestation: what a good one would say.
    #[serde(default)]
    pub attestation: Option<Attested>,
    /// Instead of an API key: what a good one would grant.
    #[serde(default)]
    pub api_key: Option<Granted>,
    /// Instead of a client certificate: what a good one would say.
    #[serde(default)]
    pub client_certificate: Option<Certified>,
}

/// Claims of an attestation that is taken as verified.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Attested {
    /// Name in the top-level `attestations`.
    pub by: String,
    /// What it says. `iss`, `aud`, `exp` and what binds it to `Authorization` are filled in where they are missing.
    #[serde(default)]
    pub claims: BTreeMap<String, serde_json::Value>,
}

/// What an API key is taken to grant.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Granted {
    /// Name of the ring that it is of, in the top-level `keys`.
    pub keys: String,
    /// Whose. Default: somebody.
    #[serde(default)]
    pub client: Option<String>,
    /// Granted scopes. Default: none.
    #[serde(default)]
    pub scopes: Vec<String>,
    /// Granted roles, as the values that a token's would have. Default: none.
    #[serde(default)]
    pub roles: Vec<String>,
}

/// Claims of a token that is taken as verified.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Claimed {
    /// Name of the issuer.
    pub issuer: String,
    /// What it says. `iss`, `aud`, `iat`, `exp` and `sub` are filled in where they are missing.
    #[serde(default)]
    pub claims: BTreeMap<String, serde_json::Value>,
}

/// A description that was understood; whom it is put to is still open.
#[derive(Debug, Clone)]
pub struct Facts {
    method: Method,
    uri: Uri,
    authority: Authority,
    is_tls: bool,
    headers: HeaderMap,
    from: Option<SocketAddr>,
    at: Option<UnixTime>,
    keys: BTreeMap<String, String>,
    introspection: BTreeMap<String, serde_json::Value>,
    revoked: Vec<String>,
    token: Option<Claimed>,
    dpop: Option<Proved>,
    attestation: Option<Attested>,
    api_key: Option<Granted>,
    client_certificate: Option<Certified>,
}

/// A request and the evidence to decide it with.
#[derive(Debug)]
pub struct Question {
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    peer: Peer,
    now: UnixTime,
    keys: Vec<Option<Arc<KeySet>>>,
    said: Vec<Option<Arc<Said>>>,
    revoked: DenyList,
}

/// The request as the gates see it.
#[derive(Debug)]
pub struct Asked<'a> {
    head: Head,
    question: &'a Question,
}

impl Described {
    /// Understands it.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn facts(&self) -> Result<Facts, String> {
        let Described {
            method,
            url,
            headers,
            from,
            at,
            keys,
            introspection,
            revoked,
            token,
            dpop,
            attestation,
            api_key,
            client_certificate,
        } = self;
        if let Some(certified) = client_certificate {
            certified
                .says()
                .map_err(|why| format!("client_certificate: {why}"))?;
        }
        let url: Uri = url.parse().map_err(|why| format!("url: {why}"))?;
        let authority = url.authority().ok_or("url: it has no host")?.clone();
        let mut fields = HeaderMap::new();
        for (name, values) in headers {
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
        let at = match at {
            None => None,
            Some(text) => {
                let time: jiff::Timestamp = text.parse().map_err(|why| format!("at: {why}"))?;
                let millis = u64::try_from(time.as_millisecond()).map_err(|_| "at: before 1970")?;
                Some(UnixTime::from_millis(millis))
            }
        };
        let from: Option<SocketAddr> = from
            .as_ref()
            .map(|from| from.parse().map_err(|why| format!("from: {why}")))
            .transpose()?;
        for (name, answer) in introspection {
            said(name, answer)?;
        }
        Ok(Facts {
            method: method.parse().map_err(|why| format!("method: {why}"))?,
            uri: url
                .path_and_query()
                .map_or("/", |target| target.as_str())
                .parse()
                .map_err(|_| "url: no path")?,
            authority,
            is_tls: url.scheme_str() == Some("https"),
            headers: fields,
            from,
            at,
            keys: keys.clone(),
            introspection: introspection.clone(),
            revoked: revoked.clone(),
            token: token.clone(),
            dpop: dpop.clone(),
            attestation: attestation.clone(),
            api_key: api_key.clone(),
            client_certificate: client_certificate.clone(),
        })
    }

    /// Whether something in it depends on how often it was asked.
    #[must_use]
    pub fn is_numbered(&self) -> bool {
        let claims = self.token.iter().flat_map(|token| token.claims.values());
        let proofs = self.dpop.iter().flat_map(|proof| proof.claims.values());
        let claims = claims.chain(proofs);
        // else the second would be refused because it was used before
        let is_proven_anew = self
            .dpop
            .as_ref()
            .is_some_and(|proof| !proof.claims.contains_key("jti"));
        is_proven_anew
            || self.from.as_ref().is_some_and(|from| from.contains(NUMBER))
            || claims
                .filter_map(|claim| claim.as_str())
                .any(|text| text.contains(NUMBER))
    }

    /// The same, as the `n`th request: `{n}` in its address and in claims that are texts.
    #[must_use]
    pub fn numbered(&self, n: u32) -> Described {
        let mut described = self.clone();
        let n = n.to_string();
        if let Some(from) = &mut described.from {
            *from = from.replace(NUMBER, &n);
        }
        let Described { token, dpop, .. } = &mut described;
        let claims = token.iter_mut().flat_map(|token| token.claims.values_mut());
        let proofs = dpop.iter_mut().flat_map(|proof| proof.claims.values_mut());
        for claim in claims.chain(proofs) {
            if let serde_json::Value::String(text) = claim {
                *text = text.replace(NUMBER, &n);
            }
        }
        described
    }
}

impl Facts {
    /// Puts the question to a gateway, at this time unless the description has one of its own. Files are in `base`. A
    /// described API key is given to the gateway.
    ///
    /// # Errors
    /// The gateway has no such issuer or ring of keys, or a file of keys cannot be read.
    pub fn ask(self, gateway: &mut Gateway, base: &Path, now: UnixTime) -> Result<Question, String> {
        let Facts {
            method,
            uri,
            authority,
            is_tls,
            mut headers,
            from,
            at,
            keys,
            introspection,
            revoked,
            token,
            dpop,
            attestation,
            api_key,
            client_certificate,
        } = self;
        let now = at.unwrap_or(now);
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
        let confirmation = dpop
            .as_ref()
            .map(|_| Proved::confirmation(&gateway.dpop))
            .transpose()?;
        let mut said = vec![None; gateway.issuers.len()];
        for (name, mut answer) in introspection {
            let index = issuer_of(&name)?;
            if let (Some(confirmation), Some(members)) = (&confirmation, answer.as_object_mut()) {
                members.entry("cnf").or_insert_with(|| confirmation.clone());
            }
            if let Some(slot) = said.get_mut(index) {
                *slot = Some(Arc::new(self::said(&name, &answer)?));
            }
        }
        let revoked = deny_list(gateway, &revoked)?;
        if let Some(Claimed { issuer, mut claims }) = token {
            let index = issuer_of(&issuer)?;
            let policy = gateway.issuers.get(index).ok_or("no such issuer")?;
            let scheme = match confirmation {
                Some(confirmation) => {
                    claims.entry("cnf".to_owned()).or_insert(confirmation);
                    Scheme::Dpop
                }
                None => Scheme::Bearer,
            };
            let (token, set) = token::sign(&policy.jwt, claims, now)?;
            let value = HeaderValue::from_str(&format!("{} {token}", scheme.as_str()));
            headers.insert(AUTHORIZATION, value.map_err(|why| format!("token: {why}"))?);
            if let Some(slot) = known.get_mut(index) {
                *slot = Some(set);
            }
        }
        if let Some(proof) = dpop {
            let scheme = if is_tls { "https" } else { "http" };
            let what = proof::For {
                method: &method,
                url: format!("{scheme}://{authority}{}", uri.path()),
                now,
            };
            proof.give_to(&mut headers, &gateway.dpop, what)?;
        }
        if let Some(attested) = attestation {
            let (name, value) = attested.give_to(gateway, &headers, now)?;
            headers.insert(name, value);
        }
        if let Some(granted) = api_key {
            let (name, value) = granted.give_to(gateway)?;
            headers.insert(name, value);
        }
        let certificate = match client_certificate {
            Some(certified) if is_tls => Some(Arc::new(certified.present_to(gateway)?)),
            Some(_) => return Err("client_certificate: there is none without https".to_owned()),
            None => None,
        };
        let tls = is_tls.then(|| {
            let host = authority.host().to_ascii_lowercase();
            Arc::new(TlsFacts {
                version: "TLSv1.3".to_owned(),
                cipher: String::new(),
                // described is who speaks to whom they mean to
                names: [host.trim_matches(['[', ']']).to_owned()].into(),
                sni: Some(host),
                group: None,
                certificate,
                listener: None,
            })
        });
        let client = from.map(|a| client_address(a.ip(), &headers, &gateway.trusted_proxies));
        Ok(Question {
            method,
            uri,
            headers,
            peer: Peer {
                address: from,
                client,
                tls,
            },
            now,
            keys: known,
            said,
            revoked,
        })
    }
}

impl Attested {
    /// Makes an attestation that the gateway takes: the header to send.
    fn give_to(
        self,
        gateway: &mut Gateway,
        headers: &HeaderMap,
        now: UnixTime,
    ) -> Result<(HeaderName, HeaderValue), String> {
        let Attested { by, mut claims } = self;
        let mut all = gateway.attestations.iter_mut();
        let attestation = all
            .find(|attestation| *attestation.name == *by)
            .ok_or_else(|| format!("the configuration has no attestation `{by}`"))?;
        let mut say = |name: &str, value: Option<serde_json::Value>| {
            if let Some(value) = value {
                claims.entry(name.to_owned()).or_insert(value);
            }
        };
        say(
            "iss",
            attestation.issuer.as_ref().map(|issuer| issuer.as_str().into()),
        );
        say("aud", attestation.audience.as_ref().map(|us| us.as_str().into()));
        say("exp", Some((now.seconds() + 10).into()));
        if let Some(binding) = &attestation.binding {
            let digest = attestation::digest_of_authorization(headers);
            say(
                &binding.written,
                digest.map(|digest| STANDARD.encode(digest).into()),
            );
        }
        let text = serde_json::to_string(&claims).map_err(|why| format!("attestation: {why}"))?;
        let key = DESCRIBED.as_ref().ok_or("attestation: there is no key for it")?;
        let token = attestation::sign(key, &text).ok_or("attestation: it cannot be signed")?;
        attestation.verifiers.push(Verifier::Secret(key.clone()));
        let value = HeaderValue::from_str(&token).map_err(|why| format!("attestation: {why}"))?;
        Ok((attestation.header.clone(), value))
    }
}

/// Signs attestations that are described.
static DESCRIBED: LazyLock<Option<PKey<Private>>> = LazyLock::new(|| {
    let random = format!("{}{}", Uuid::new_v4().simple(), Uuid::new_v4().simple());
    PKey::hmac(random.as_bytes()).ok()
});

impl Granted {
    /// Makes a key that the gateway takes: the header to send.
    fn give_to(&self, gateway: &mut Gateway) -> Result<(HeaderName, HeaderValue), String> {
        let Granted {
            keys,
            client,
            scopes,
            roles,
        } = self;
        let mut rings = gateway.keys.iter_mut().enumerate();
        let (index, ring) = rings
            .find(|(_, ring)| *ring.name == **keys)
            .ok_or_else(|| format!("the configuration has no ring of keys `{keys}`"))?;
        let random = format!("{}{}", Uuid::new_v4().simple(), Uuid::new_v4().simple());
        let random = random.get(..api_key::RANDOM).unwrap_or_default();
        let key = api_key::compose(ring.environment(), random);
        let known = api_key::Known {
            digest: api_key::digest(key.as_bytes()),
            client: client.as_deref().unwrap_or("somebody"),
            scopes,
            roles,
            expires: None,
            is_revoked: false,
        };
        ring.add(index, &known, &gateway.identity_headers)
            .map_err(|why| format!("api_key: {}", why.reason()))?;
        let value = HeaderValue::from_str(&key).map_err(|why| format!("api_key: {why}"))?;
        Ok((ring.header.clone(), value))
    }
}

impl Question {
    /// The request, as this gateway reads it.
    ///
    /// # Errors
    /// Its head is none.
    pub fn request(&self, gateway: &Gateway) -> Result<Asked<'_>, Malformed> {
        let head = gateway.read_head(RawHead {
            method: &self.method,
            uri: &self.uri,
            version: Version::HTTP_11,
            headers: &self.headers,
            ended: false,
        })?;
        Ok(Asked { head, question: self })
    }

    /// The outside as the question has it, in which nothing was counted yet; with room to count so many callers apart.
    #[must_use]
    pub fn world(&self, gateway: &Gateway, callers: usize) -> Recorded {
        let revocations = Revocations::default();
        revocations.replace(Source::File, self.revoked.clone());
        Recorded {
            said: self.said.clone(),
            revocations,
            ..Recorded::new(gateway, self.now, self.keys.clone(), callers)
        }
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

/// What an issuer says of a token.
fn said(name: &str, answer: &serde_json::Value) -> Result<Said, String> {
    Said::parse(answer.to_string().as_bytes())
        .map_err(|_| format!("introspection.{name}: not an answer of RFC 7662"))
}

/// What a description lists, and the file that the configuration names. What is on a server is not known here.
fn deny_list(gateway: &Gateway, revoked: &[String]) -> Result<DenyList, String> {
    let Some(revocation) = &gateway.revocation else {
        return match revoked {
            [] => Ok(DenyList::default()),
            _ => Err("revoked: the configuration has no `revocation`".to_owned()),
        };
    };
    let mut list = match &revocation.file {
        Some(file) => revocations::read_file(file, gateway).map_err(|why| format!("revocation: {why}"))?,
        None => DenyList::default(),
    };
    for entry in revoked {
        let entry = revocation::list::parse(entry, &revocations::authorities(gateway));
        let entry = entry.map_err(|why| format!("revoked: {why}"))?;
        entry.into_iter().for_each(|entry| list.add(entry));
    }
    Ok(list)
}

fn read_keys(file: &Path) -> Result<KeySet, String> {
    let at = |why: String| format!("keys: {}: {why}", file.display());
    let json = std::fs::read(file).map_err(|why| at(why.to_string()))?;
    KeySet::parse(&json).map_err(|why| at(why.to_string()))
}
