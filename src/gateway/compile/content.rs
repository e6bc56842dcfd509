//! `request:` of a route

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use http::header::HeaderValue;
use openssl::nid::Nid;
use openssl::pkey::{Id, PKey, Private};

use super::certificates::secret_key;
use super::findings::Findings;
use crate::config::path::ConfigPath;
use crate::config::{self, BodyHandling, JweAlgorithm, JweKey, RequestRules};
use crate::gates::content::jwe::{self, Algorithm, Jwe, Key};
use crate::gates::content::{self, Content, Reading, memory};
use crate::gateway::certificates::stands_in;

/// S78
const MAX_BODY: u64 = 1 << 20;
/// Nothing in front of a service needs more.
const MAX_MAX_BODY: u64 = 1 << 30;
const BODY_TIMEOUT: Duration = Duration::from_secs(30);
const SHORTEST_BODY_TIMEOUT: Duration = Duration::from_millis(100);
const LONGEST_BODY_TIMEOUT: Duration = Duration::from_secs(600);

pub(super) fn compile(
    at: &ConfigPath,
    rules: &RequestRules,
    body_memory: u64,
    findings: &mut Findings<'_>,
) -> Content {
    let RequestRules {
        mode,
        max_body,
        content_types,
        body,
        body_timeout,
        jwe,
    } = rules;
    let max_body_written = max_body.is_some();
    let max_body = max_body.map_or(MAX_BODY, |size| size.bytes());
    let most = memory::largest(body_memory);
    if max_body > MAX_MAX_BODY {
        findings.error(&at.key("max_body"), "must be at most 1g", "");
    } else if *body == BodyHandling::Buffer && max_body > most {
        findings.error(
            &at.key("max_body"),
            format!(
                "a single buffered body may take at most three quarters of `server.body_memory`: {most} bytes"
            ),
            "raise `server.body_memory`, or write `body: stream`",
        );
    }
    let within = findings.duration(
        &at.key("body_timeout"),
        *body_timeout,
        BODY_TIMEOUT,
        SHORTEST_BODY_TIMEOUT..=LONGEST_BODY_TIMEOUT,
    );
    if *body == BodyHandling::Stream && body_timeout.is_some() {
        findings.error(
            &at.key("body_timeout"),
            "a body that is passed on as it comes has no such deadline",
            "remove it, or `body: stream`",
        );
    }
    let at_jwe = at.key("jwe");
    if jwe.is_some()
        && (content_types.is_some() || *body == BodyHandling::Stream || *mode != config::Mode::Enforce)
    {
        findings.error(
            &at_jwe,
            "encrypted bodies are application/jose, read whole, and nothing else",
            "remove `content_types`, `body: stream` and `mode: shadow`; what is inside is `jwe.content_types`",
        );
    }
    let usual = if jwe.is_some() {
        jwe::MEDIA_TYPE
    } else {
        "application/json"
    };
    let types = content_types.clone().unwrap_or_else(|| vec![usual.to_owned()]);
    let jwe = jwe.as_ref().and_then(|jwe| self::jwe(&at_jwe, jwe, findings));
    for (index, media_type) in types.iter().enumerate() {
        if media_type != content::ANY && content::essence(media_type) != Some(media_type.as_str()) {
            let at = at.key("content_types").index(index);
            findings.error(
                &at,
                format!("`{media_type}` is not a media type"),
                "write `application/json`, without parameters",
            );
        }
    }
    let types = types.iter().map(|t| t.to_ascii_lowercase().into()).collect();
    Content {
        max_body,
        types,
        reading: match body {
            BodyHandling::Buffer => Reading::Whole { within },
            BodyHandling::Stream => Reading::Stream,
        },
        jwe: jwe.map(Arc::new),
        is_written: max_body_written || content_types.is_some(),
        mode: super::conditions::mode(*mode),
        line: findings.line(at),
    }
}

fn jwe(at: &ConfigPath, written: &config::Jwe, findings: &mut Findings<'_>) -> Option<Jwe> {
    let config::Jwe { keys, content_types } = written;
    let list = at.key("keys");
    if keys.is_empty() {
        findings.incomplete(&list, "without a key nothing can be opened", "");
    }
    let (mut compiled, mut kids) = (Vec::new(), BTreeSet::new());
    for (index, key) in keys.iter().enumerate() {
        let at = list.index(index);
        let JweKey { kid, algorithm, key } = key;
        let is_told_apart = match kid {
            Some(kid) => !kid.is_empty() && kids.insert(kid.as_str()),
            None => keys.len() == 1,
        };
        if !is_told_apart {
            findings.error(&at.key("kid"), "several keys are told apart by their `kid`", "");
        }
        let at = at.key("key");
        let Some(key) = secret_key(&at, key, findings) else {
            continue;
        };
        if !stands_in(&key) && !fits(*algorithm, &key) {
            findings.error(
                &at,
                "not a key of this algorithm",
                "RSA of 2048 bits or more, or EC on P-256 or P-384",
            );
        }
        compiled.push(Key {
            kid: kid.clone(),
            algorithm: match algorithm {
                JweAlgorithm::RsaOaep256 => Algorithm::RsaOaep256,
                JweAlgorithm::EcdhEs => Algorithm::EcdhEs,
                JweAlgorithm::EcdhEsA256Kw => Algorithm::EcdhEsA256Kw,
            },
            key,
        });
    }
    let usual = ["application/json".to_owned()];
    let types = content_types.as_deref().unwrap_or(&usual);
    let list = at.key("content_types");
    if types.is_empty() {
        findings.incomplete(&list, "what is inside has to be of some type", "");
    }
    let mut taken = Vec::new();
    for (index, media_type) in types.iter().enumerate() {
        let is_one = content::essence(media_type) == Some(media_type.as_str()) && media_type != content::ANY;
        match HeaderValue::from_str(media_type) {
            Ok(value) if is_one => taken.push((media_type.to_ascii_lowercase(), value)),
            _ => findings.error(
                &list.index(index),
                format!("`{media_type}` is not a media type"),
                "write `application/json`, without parameters",
            ),
        }
    }
    Some(Jwe {
        keys: compiled,
        content_types: taken,
    })
}

/// Whether a key is of the kind that an algorithm needs. The public half says it, too, of a key that stays in a token.
fn fits(algorithm: JweAlgorithm, key: &PKey<Private>) -> bool {
    match algorithm {
        JweAlgorithm::RsaOaep256 => key.id() == Id::RSA && key.bits() >= 2048,
        JweAlgorithm::EcdhEs | JweAlgorithm::EcdhEsA256Kw => {
            let curve = || {
                let public = PKey::public_key_from_der(&key.public_key_to_der().ok()?).ok()?;
                public.ec_key().ok()?.group().curve_name()
            };
            key.id() == Id::EC && matches!(curve(), Some(Nid::X9_62_PRIME256V1 | Nid::SECP384R1))
        }
    }
}
