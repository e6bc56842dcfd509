//! A client certificate that somebody wrote down instead of presenting it.

use schemars::JsonSchema;
use serde::Deserialize;

use crate::clock::UnixTime;
use crate::gates::authn::certificate::{Authority, Presented, Says, Verified, text};
use crate::gateway::Gateway;

/// What a client certificate is taken to say.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Certified {
    /// Name of the truststore that it was verified with.
    pub trust: String,
    /// Its subject, as records show it (RFC 4514). Default: CN=somebody.
    #[serde(default)]
    pub subject: Option<String>,
    /// A CA above it: its subject, or the SHA-256 of its certificate. Default: none that is known by name.
    #[serde(default)]
    pub ca: Option<String>,
    /// URIs among its alternative names. Default: none.
    #[serde(default)]
    pub san_uri: Vec<String>,
    /// DNS names among them. Default: none.
    #[serde(default)]
    pub san_dns: Vec<String>,
    /// SHA-256 of its public key. Default: one that nobody has.
    #[serde(default)]
    pub spki_sha256: Option<String>,
    /// SHA-256 of itself. Default: one that nobody has.
    #[serde(default)]
    pub sha256: Option<String>,
}

impl Certified {
    /// # Errors
    /// A digest is none.
    pub(super) fn says(&self) -> Result<Says, String> {
        let Certified {
            trust: _,
            subject,
            ca: _,
            san_uri,
            san_dns,
            spki_sha256,
            sha256,
        } = self;
        let digest = |name: &str, text: &Option<String>| match text {
            None => Ok([0; 32]),
            Some(text) => text::digest_of_hex(text).ok_or_else(|| format!("{name}: not a SHA-256")),
        };
        Ok(Says {
            subject: subject.as_deref().unwrap_or("CN=somebody").into(),
            issuer: Box::default(),
            serial: Box::default(),
            uris: san_uri.iter().map(|uri| uri.as_str().into()).collect(),
            dns_names: san_dns
                .iter()
                .map(|name| name.to_ascii_lowercase().into())
                .collect(),
            sha256: digest("sha256", sha256)?,
            spki_sha256: digest("spki_sha256", spki_sha256)?,
            not_after: UnixTime::MAX,
        })
    }

    /// A certificate that the gateway takes, unless it denies it.
    ///
    /// # Errors
    /// It has no such truststore.
    pub(super) fn present_to(&self, gateway: &Gateway) -> Result<Presented, String> {
        let trust = &self.trust;
        let known = gateway.truststores.iter().find(|store| *store.name == **trust);
        let truststore = known.ok_or_else(|| format!("the configuration has no truststore `{trust}`"))?;
        let authorities = self.ca.iter().map(|ca| match text::digest_of_hex(ca) {
            Some(sha256) => Authority {
                subject: Box::default(),
                sha256,
            },
            None => Authority {
                subject: ca.as_str().into(),
                sha256: [0; 32],
            },
        });
        let verified = Verified {
            authorities: authorities.collect(),
            until: UnixTime::MAX,
        };
        Ok(Presented::described(self.says()?, truststore, verified))
    }
}
