//! `routes.*.auth`: which credentials, and how they combine.

use super::dpop;
use super::findings::Findings;
use super::routes::Names;
use crate::config::path::ConfigPath;
use crate::config::{Auth, Credential, OneOrMany};
use crate::gates::authn::dpop::Demand;
use crate::gates::authn::{Accepts, Asks, KeysFrom, Tokens};

/// `None` where there are none that could be used; that was said.
pub(super) fn asks(
    at: &ConfigPath,
    auth: &Auth,
    names: &Names<'_>,
    findings: &mut Findings<'_>,
) -> Option<Asks> {
    let Auth {
        jwt,
        introspection,
        api_key,
        client_certificate,
        any_of,
        all_of,
        dpop,
        scopes: _,
        roles: _,
        attestation: _,
        step_up: _,
        mode: _,
    } = auth;
    let alone = [
        jwt.is_some(),
        introspection.is_some(),
        api_key.is_some(),
        client_certificate.is_some(),
    ];
    let given = alone.into_iter().chain([!any_of.is_empty(), !all_of.is_empty()]);
    if given.filter(|is_given| *is_given).count() != 1 {
        findings.incomplete(
            at,
            "`auth` has exactly one of `jwt`, `introspection`, `api_key`, `client_certificate`, `any_of` and `all_of`",
            "to ask for more than one credential, list them under `any_of` or `all_of`",
        );
        return None;
    }
    let dpop = dpop::demand(at, *dpop, jwt.is_some() || introspection.is_some(), findings);
    let read = |key: &str, list: &[Credential], findings: &mut Findings<'_>| {
        let at = at.key(key);
        let parts: Vec<Option<Accepts>> = list
            .iter()
            .enumerate()
            .map(|(index, credential)| self::credential(&at.index(index), credential, names, findings))
            .collect();
        // where one is missing, what is left would be another combination
        parts.into_iter().collect::<Option<Vec<Accepts>>>()
    };
    let asks = if !any_of.is_empty() {
        any(
            &at.key("any_of"),
            read("any_of", any_of, findings)?,
            names,
            findings,
        )
    } else if !all_of.is_empty() {
        all(
            &at.key("all_of"),
            read("all_of", all_of, findings)?,
            names,
            findings,
        )?
    } else {
        let parts = (
            jwt.as_ref(),
            introspection.as_deref(),
            api_key.as_deref(),
            client_certificate.as_deref(),
        );
        Asks::One(part(at, parts, dpop, names, findings)?)
    };
    // S61
    let authenticates = |accepts: &Accepts| !identifies_only(accepts, names);
    let is_enough = match &asks {
        Asks::One(accepts) => authenticates(accepts),
        Asks::Any(parts) => parts.iter().all(authenticates),
        Asks::All { .. } => true,
    };
    if !is_enough {
        findings.error(
            at,
            "keys whose purpose is identification authenticate nobody",
            "ask for something else beside such a key: `all_of: [{ jwt: … }, { api_key: … }]`",
        );
    }
    Some(asks)
}

fn identifies_only(accepts: &Accepts, names: &Names<'_>) -> bool {
    matches!(accepts, Accepts::ApiKey(index) if names.keys.get(*index).is_some_and(|ring| ring.identifies_only))
}

fn credential(
    at: &ConfigPath,
    credential: &Credential,
    names: &Names<'_>,
    findings: &mut Findings<'_>,
) -> Option<Accepts> {
    let Credential {
        jwt,
        introspection,
        api_key,
        client_certificate,
        dpop,
    } = credential;
    let given = [
        jwt.is_some(),
        introspection.is_some(),
        api_key.is_some(),
        client_certificate.is_some(),
    ];
    if given.into_iter().filter(|is_given| *is_given).count() != 1 {
        findings.incomplete(
            at,
            "each entry has exactly one of `jwt`, `introspection`, `api_key` and `client_certificate`",
            "write `- { jwt: … }` and `- { api_key: … }` as entries of their own",
        );
        return None;
    }
    let parts = (
        jwt.as_ref(),
        introspection.as_deref(),
        api_key.as_deref(),
        client_certificate.as_deref(),
    );
    let dpop = dpop::demand(at, *dpop, jwt.is_some() || introspection.is_some(), findings);
    part(at, parts, dpop, names, findings)
}

type Parts<'a> = (
    Option<&'a OneOrMany>,
    Option<&'a str>,
    Option<&'a str>,
    Option<&'a str>,
);

fn part(
    at: &ConfigPath,
    (jwt, introspection, api_key, client_certificate): Parts<'_>,
    dpop: Demand,
    names: &Names<'_>,
    findings: &mut Findings<'_>,
) -> Option<Accepts> {
    if let Some(jwt) = jwt {
        let jwt = issuers(&at.key("jwt"), jwt, names, findings);
        return Some(Accepts::Token(Tokens {
            jwt,
            introspection: None,
            dpop,
        }));
    }
    if let Some(name) = introspection {
        let at = at.key("introspection");
        let index = issuer(&at, name, names, findings)?;
        if names
            .issuers
            .get(index)
            .is_some_and(|issuer| issuer.introspection.is_none())
        {
            findings.error(
                &at,
                format!("the issuer `{name}` is not asked about tokens"),
                format!("add `introspection` to `issuers.{name}`"),
            );
        }
        return Some(Accepts::Token(Tokens {
            jwt: Box::default(),
            introspection: Some(index),
            dpop,
        }));
    }
    if let Some(name) = client_certificate {
        let known = names.client_certificates;
        let found = known.iter().position(|accepted| *accepted.name == *name);
        let declared = &names.declared.client_certificates;
        if found.is_none() && !declared.contains(&name) {
            let (at, known) = (at.key("client_certificate"), declared.iter().copied());
            findings.unknown(&at, "client certificate", "client_certificates", name, known);
        }
        return found.map(Accepts::Certificate);
    }
    let name = api_key?;
    let found = names.keys.iter().position(|ring| *ring.name == *name);
    let declared = &names.declared.keys;
    if found.is_none() && !declared.contains(&name) {
        let at = at.key("api_key");
        findings.unknown(&at, "ring of keys", "keys", name, declared.iter().copied());
    }
    found.map(Accepts::ApiKey)
}

fn issuers(at: &ConfigPath, jwt: &OneOrMany, names: &Names<'_>, findings: &mut Findings<'_>) -> Box<[usize]> {
    let asked = jwt.as_slice();
    if asked.is_empty() {
        findings.incomplete(at, "no issuer is named", "");
    }
    let issuers = asked.iter().enumerate().filter_map(|(index, name)| {
        let at = if matches!(jwt, OneOrMany::One(_)) {
            at.clone()
        } else {
            at.index(index)
        };
        let found = issuer(&at, name, names, findings)?;
        if matches!(names.issuers.get(found), Some(issuer) if matches!(issuer.keys, KeysFrom::Nowhere)) {
            findings.error(
                &at,
                format!("the issuer `{name}` has no keys to check signatures with"),
                format!("add `jwks` or `discovery` to `issuers.{name}`, or ask for `introspection: {name}`"),
            );
        }
        Some(found)
    });
    issuers.collect()
}

fn issuer(at: &ConfigPath, name: &str, names: &Names<'_>, findings: &mut Findings<'_>) -> Option<usize> {
    let found = names.issuers.iter().position(|issuer| *issuer.name == *name);
    let declared = &names.declared.issuers;
    if found.is_none() && !declared.contains(&name) {
        findings.unknown(at, "issuer", "issuers", name, declared.iter().copied());
    }
    found
}

/// One of them. Tokens of all kinds are one entry: a request carries one token, and its form says which kind it is.
fn any(at: &ConfigPath, parts: Vec<Accepts>, names: &Names<'_>, findings: &mut Findings<'_>) -> Asks {
    let mut merged: Vec<Accepts> = Vec::new();
    for (index, part) in parts.into_iter().enumerate() {
        let at = at.index(index);
        match part {
            Accepts::Token(Tokens {
                jwt,
                introspection,
                dpop,
            }) => {
                let before = merged.iter_mut().find_map(|accepts| match accepts {
                    Accepts::Token(tokens) => Some(tokens),
                    Accepts::ApiKey(_) | Accepts::Certificate(_) => None,
                });
                let Some(tokens) = before else {
                    merged.push(Accepts::Token(Tokens {
                        jwt,
                        introspection,
                        dpop,
                    }));
                    continue;
                };
                if tokens.dpop != dpop {
                    findings.error(
                        &at,
                        "another entry asks for something else of its tokens by `dpop`",
                        "all tokens come in the same header, and clients are told of one way: write the same beside each",
                    );
                }
                if !jwt.is_empty() && !tokens.jwt.is_empty() {
                    findings.error(
                        &at,
                        "there is a `jwt` already",
                        "list the issuers there: `jwt: [a, b]`",
                    );
                }
                if introspection.is_some() && tokens.introspection.is_some() {
                    findings.error(
                        &at,
                        "there is an `introspection` already",
                        "a token that says nothing does not say whom to ask, and it is shown to nobody else",
                    );
                }
                if !jwt.is_empty() {
                    tokens.jwt = jwt;
                }
                tokens.introspection = tokens.introspection.or(introspection);
            }
            Accepts::ApiKey(_) => {
                same_header(&at, &part, &merged, names, findings);
                merged.push(part);
            }
            Accepts::Certificate(_) => {
                one_certificate(&at, &merged, findings);
                merged.push(part);
            }
        }
    }
    match <[Accepts; 1]>::try_from(merged) {
        Ok([only]) => Asks::One(only),
        Err(parts) => Asks::Any(parts.into()),
    }
}

/// All of them, the cheap ones first: a forged token is refused before its issuer is asked about it.
fn all(at: &ConfigPath, parts: Vec<Accepts>, names: &Names<'_>, findings: &mut Findings<'_>) -> Option<Asks> {
    for (index, part) in parts.iter().enumerate() {
        let before = parts.get(..index).unwrap_or_default();
        let is_repeated = before.iter().any(|other| match (part, other) {
            (Accepts::Token(a), Accepts::Token(b)) => a.jwt.is_empty() == b.jwt.is_empty(),
            _ => false,
        });
        if is_repeated {
            findings.error(
                &at.index(index),
                "a request carries one token, which cannot be of two issuers",
                "to take either, list the issuers in one entry: `jwt: [a, b]`",
            );
        }
        match part {
            Accepts::Token(_) => {}
            Accepts::ApiKey(_) => same_header(&at.index(index), part, before, names, findings),
            Accepts::Certificate(_) => one_certificate(&at.index(index), before, findings),
        }
    }
    let first = parts.first().filter(|first| !identifies_only(first, names));
    let Some(first) = first.cloned() else {
        findings.error(
            &at.index(0),
            "keys whose purpose is identification authenticate nobody",
            "the first entry says who it is: put what authenticates there",
        );
        return None;
    };
    let cost = |accepts: &Accepts| match accepts {
        Accepts::ApiKey(_) | Accepts::Certificate(_) => 0,
        Accepts::Token(tokens) if tokens.introspection.is_none() => 1,
        Accepts::Token(_) => 2,
    };
    let mut sorted = parts;
    sorted.sort_by_key(cost);
    let identity = sorted.iter().position(|accepts| *accepts == first)?;
    Some(Asks::All {
        parts: sorted.into(),
        identity,
    })
}

fn one_certificate(at: &ConfigPath, before: &[Accepts], findings: &mut Findings<'_>) {
    if before
        .iter()
        .any(|other| matches!(other, Accepts::Certificate(_)))
    {
        findings.error(
            at,
            "there is a `client_certificate` already",
            "a connection has one certificate: list what it may be like in one `allow`",
        );
    }
}

fn same_header(
    at: &ConfigPath,
    part: &Accepts,
    before: &[Accepts],
    names: &Names<'_>,
    findings: &mut Findings<'_>,
) {
    let header = |accepts: &Accepts| match accepts {
        Accepts::ApiKey(index) => names.keys.get(*index).map(|ring| &ring.header),
        Accepts::Token(_) | Accepts::Certificate(_) => None,
    };
    let ours = header(part);
    if ours.is_some() && before.iter().any(|other| header(other) == ours) {
        findings.error(
            at,
            "another entry's keys are sent in the same header",
            "a key that is not of one ring is refused: give the rings headers of their own",
        );
    }
}
