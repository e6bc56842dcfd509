//! `keys:`

use std::collections::BTreeMap;

use http::header::HeaderName;

use super::findings::Findings;
use super::observe::NOT_FOR_IDENTITY;
use crate::clock::UnixTime;
use crate::config::path::ConfigPath;
use crate::config::{self, KeyEntry, KeyFile, KeyPurpose};
use crate::gates::authn::IdentityHeaders;
use crate::gates::authn::api_key::{self, KeyRing, Known};
use crate::gates::authn::verdicts::Digest;

pub(super) fn compile(
    rings: &BTreeMap<String, config::KeyRing>,
    issuers: &[&str],
    headers: &IdentityHeaders,
    findings: &mut Findings<'_>,
) -> Vec<KeyRing> {
    let root = ConfigPath::root().key("keys");
    let mut compiled = Vec::new();
    for (name, ring) in rings {
        let at = root.key(name);
        if issuers.contains(&name.as_str()) {
            findings.error(
                &at,
                format!("an issuer is called `{name}`, too"),
                "records and limits tell callers apart by these names",
            );
        }
        compiled.extend(self::ring(&at, name, compiled.len(), ring, headers, findings));
    }
    compiled
}

fn ring(
    at: &ConfigPath,
    name: &str,
    index: usize,
    ring: &config::KeyRing,
    headers: &IdentityHeaders,
    findings: &mut Findings<'_>,
) -> Option<KeyRing> {
    let config::KeyRing {
        file,
        header,
        purpose,
    } = ring;
    let header = header.as_deref().unwrap_or("x-api-key");
    let at_header = at.key("header");
    let parsed = HeaderName::from_bytes(header.as_bytes()).ok();
    let parsed = parsed.filter(|name| !NOT_FOR_IDENTITY.contains(&name.as_str()));
    if parsed.is_none() {
        findings.error(
            &at_header,
            format!("`{header}` cannot carry a key"),
            "a header of its own, such as `x-api-key`",
        );
    }
    let at_file = at.key("file");
    let json = findings.file(&at_file, file)?;
    let file: KeyFile = match serde_json::from_str(&json) {
        Ok(file) => file,
        Err(why) => {
            findings.error(
                &at_file,
                format!("not a file of keys: {why}"),
                "made by `durward keys new --file FILE --client NAME`",
            );
            return None;
        }
    };
    let KeyFile {
        version,
        environment,
        keys,
    } = file;
    if version != 1 {
        findings.error(
            &at_file,
            format!("version {version} of the file of keys is unknown"),
            "",
        );
    }
    if !api_key::is_environment(environment.as_bytes()) {
        findings.error(
            &at_file,
            format!("`{environment}` is no environment"),
            "1 to 16 lower-case letters and digits",
        );
    }
    let mut ring = KeyRing::new(
        name,
        parsed?,
        &environment,
        *purpose == KeyPurpose::Identification,
        findings.line(at),
    );
    for (position, key) in keys.iter().enumerate() {
        if let Err(why) = add(&mut ring, index, key, headers) {
            findings.error(&at_file, format!("key {} of the file: {why}", position + 1), "");
        }
    }
    Some(ring)
}

fn add(ring: &mut KeyRing, index: usize, key: &KeyEntry, headers: &IdentityHeaders) -> Result<(), String> {
    let KeyEntry {
        sha256,
        client,
        scopes,
        roles,
        created,
        expires,
        revoked,
    } = key;
    let digest = digest(sha256).ok_or("`sha256` is not 64 hexadecimal digits")?;
    time("created", created)?;
    let expires = expires.as_deref().map(|text| time("expires", text)).transpose()?;
    // a date that cannot be read does not bring a key back
    revoked.as_deref().map(|text| time("revoked", text)).transpose()?;
    let texts = [client].into_iter().chain(scopes).chain(roles);
    if texts
        .into_iter()
        .any(|text| text.is_empty() || text.trim() != text)
    {
        return Err("`client`, a scope or a role is empty or padded".to_owned());
    }
    if scopes.iter().any(|scope| scope.contains(' ')) {
        return Err("a scope has a space in it".to_owned());
    }
    let known = Known {
        digest,
        client,
        scopes,
        roles,
        expires,
        is_revoked: revoked.is_some(),
    };
    match ring.add(index, &known, headers) {
        Ok(true) => Ok(()),
        Ok(false) => Err("it is there twice".to_owned()),
        Err(why) => Err(format!("it cannot be told to services: {why}")),
    }
}

fn digest(hexadecimal: &str) -> Option<Digest> {
    let mut digest = Digest::default();
    let pairs = hexadecimal.as_bytes().chunks(2);
    if hexadecimal.len() != 2 * digest.len() {
        return None;
    }
    for (byte, pair) in digest.iter_mut().zip(pairs) {
        let value = |b: &u8| char::from(*b).to_digit(16);
        let [high, low] = pair else { return None };
        *byte = u8::try_from(value(high)? << 4 | value(low)?).ok()?;
    }
    Some(digest)
}

fn time(name: &str, text: &str) -> Result<UnixTime, String> {
    let time: jiff::Timestamp = text.parse().map_err(|why| format!("`{name}`: {why}"))?;
    let millis = u64::try_from(time.as_millisecond()).map_err(|_| format!("`{name}`: before 1970"))?;
    Ok(UnixTime::from_millis(millis))
}
