//! `listeners:` and `trusted_proxies:`

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use http::HeaderValue;
use ipnet::IpNet;

use super::acme::Accounts;
use super::certificates::slot;
use super::findings::Findings;
use super::networks::network;
use super::truststores;
use crate::config::path::ConfigPath;
use crate::config::scalar::Text;
use crate::config::{self, CertificateMode, Plaintext, Redirect, TlsProfile, TlsVersion};
use crate::gates::authn::certificate::Truststore;
use crate::gateway::certificates::{Certificates, Fallback, Slot};
use crate::gateway::router::HostPattern;
use crate::gateway::{ClientCertificates, Listener, Purpose, Route, TlsPolicy};
use crate::pki::facts;

/// AEAD with forward secrecy, nothing else (S5).
const TLS12_CIPHERS: [&str; 6] = [
    "ECDHE-ECDSA-AES256-GCM-SHA384",
    "ECDHE-RSA-AES256-GCM-SHA384",
    "ECDHE-ECDSA-CHACHA20-POLY1305",
    "ECDHE-RSA-CHACHA20-POLY1305",
    "ECDHE-ECDSA-AES128-GCM-SHA256",
    "ECDHE-RSA-AES128-GCM-SHA256",
];

/// In this order: who offers all gets one of the first two (S6).
const TLS13_CIPHERSUITES: [&str; 3] = [
    "TLS_AES_256_GCM_SHA384",
    "TLS_CHACHA20_POLY1305_SHA256",
    "TLS_AES_128_GCM_SHA256",
];

/// Two years (S11).
const HSTS_MAX_AGE: Duration = Duration::from_secs(63_072_000);

pub(super) fn compile(
    listeners: &[config::Listener],
    accounts: &Accounts,
    truststores: &[Arc<Truststore>],
    declared: &[&str],
    findings: &mut Findings<'_>,
) -> Vec<Listener> {
    let root = ConfigPath::root().key("listeners");
    if listeners.is_empty() {
        findings.incomplete(&root, "there is no listener", "");
    }
    let mut seen = BTreeSet::new();
    let compiled = listeners.iter().enumerate().filter_map(|(index, listener)| {
        let at = root.index(index);
        let config::Listener {
            address,
            tls,
            redirect_https,
            plaintext,
            proxy_protocol,
        } = listener;
        let address = address_of(&at.key("address"), address, findings);
        if let Some(address) = address
            && !seen.insert(address)
        {
            findings.error(
                &at.key("address"),
                format!("{address} is listened on already"),
                "",
            );
        }
        let purpose = match (tls, redirect_https, plaintext) {
            (Some(tls), None, None) => {
                let at = at.key("tls");
                let asked = tls.client_certificates.as_ref().and_then(|asked| {
                    let at = at.key("client_certificates");
                    client_certificates(&at, asked, truststores, declared, findings)
                });
                let is_public = address.is_some_and(|address| !address.ip().is_loopback());
                let policy = tls_policy(&at, tls, asked, is_public, accounts, findings)?;
                Purpose::Tls(Box::new(policy))
            }
            (None, Some(redirect), None) => {
                Purpose::Redirect(redirect_port(&at.key("redirect_https"), redirect, findings)?)
            }
            (None, None, Some(Plaintext { reason })) => {
                if reason.trim().is_empty() {
                    findings.error(&at.key("plaintext").key("reason"), "the reason is empty", "");
                }
                Purpose::Plaintext(reason.clone())
            }
            _ => {
                findings.incomplete(
                    &at,
                    "a listener has exactly one of `tls`, `redirect_https` and `plaintext`",
                    "plain HTTP is proxied only for a written reason: `plaintext: { reason: … }`",
                );
                return None;
            }
        };
        let proxy_protocol = match proxy_protocol {
            Some(config::ProxyProtocol { from }) => {
                self::proxies(&at.key("proxy_protocol").key("from"), from, findings)
            }
            None => Vec::new(),
        };
        Some(Listener {
            address: address?,
            purpose,
            proxy_protocol: proxy_protocol.into(),
        })
    });
    compiled.collect()
}

/// An address with a port other than 0.
pub(super) fn address_of(at: &ConfigPath, text: &Text, findings: &mut Findings<'_>) -> Option<SocketAddr> {
    let text = findings.text(at, text)?;
    match text.parse::<SocketAddr>() {
        Ok(address) if address.port() != 0 => Some(address),
        _ => {
            findings.error(
                at,
                format!("`{text}` is not an address with a port"),
                "write `0.0.0.0:443` or `[::]:443`",
            );
            None
        }
    }
}

fn redirect_port(at: &ConfigPath, redirect: &Redirect, findings: &mut Findings<'_>) -> Option<u16> {
    let text = match redirect {
        Redirect::Switch(true) | Redirect::To(config::RedirectTo { port: None }) => return Some(443),
        Redirect::Switch(false) => {
            findings.error(at, "`redirect_https: false` says nothing", "leave the key out");
            return None;
        }
        Redirect::To(config::RedirectTo {
            port: Some(config::Port::Number(port)),
        }) => port.to_string(),
        Redirect::To(config::RedirectTo {
            port: Some(config::Port::Text(port)),
        }) => findings.text(&at.key("port"), port)?,
    };
    let port = text.parse::<u16>().ok().filter(|port| *port != 0);
    if port.is_none() {
        findings.error(&at.key("port"), "not a port: 1 to 65535", "");
    }
    port
}

/// Indices of the truststores that listeners verify certificates with.
pub(super) fn truststores(listeners: &[Listener]) -> Vec<usize> {
    let asked = listeners.iter().filter_map(|listener| match &listener.purpose {
        Purpose::Tls(tls) => tls.client_certificates.map(|asked| asked.trust),
        Purpose::Plaintext(_) | Purpose::Redirect(_) => None,
    });
    asked.collect()
}

fn client_certificates(
    at: &ConfigPath,
    asked: &config::ClientCertificates,
    truststores: &[Arc<Truststore>],
    declared: &[&str],
    findings: &mut Findings<'_>,
) -> Option<ClientCertificates> {
    let config::ClientCertificates { mode, trust } = asked;
    let is_required = match mode {
        CertificateMode::Off => return None,
        CertificateMode::Optional => false,
        CertificateMode::Required => true,
    };
    let Some(trust) = trust else {
        findings.incomplete(
            at,
            "nothing says whose certificates are good",
            "name a truststore: `trust: …`",
        );
        return None;
    };
    let trust = truststores::trust(&at.key("trust"), trust, truststores, declared, findings)?;
    Some(ClientCertificates { is_required, trust })
}

fn tls_policy(
    at: &ConfigPath,
    tls: &config::Tls,
    client_certificates: Option<ClientCertificates>,
    is_public: bool,
    accounts: &Accounts,
    findings: &mut Findings<'_>,
) -> Option<TlsPolicy> {
    let config::Tls {
        profile,
        min_version,
        ciphers,
        ciphersuites,
        certificates,
        default_certificate,
        // read before
        client_certificates: _,
        http2,
        hsts_max_age,
    } = tls;
    let tls12 = match (profile, min_version) {
        (TlsProfile::Modern, Some(TlsVersion::V1_2)) => {
            findings.error(
                &at.key("min_version"),
                "profile `modern` is TLS 1.3 only",
                "use `profile: intermediate`, or leave `min_version` out",
            );
            false
        }
        (TlsProfile::Modern, _) | (_, Some(TlsVersion::V1_3)) => false,
        (TlsProfile::Intermediate, None | Some(TlsVersion::V1_2)) => true,
    };
    if ciphers.is_some() && !tls12 {
        // S7
        findings.warning(
            &at.key("ciphers"),
            "these TLS 1.2 suites have no effect: the lowest version is TLS 1.3",
            "TLS 1.3 suites are chosen with `ciphersuites`",
        );
    }
    let ciphers = suites(&at.key("ciphers"), ciphers.as_deref(), &TLS12_CIPHERS, findings);
    let ciphersuites = suites(
        &at.key("ciphersuites"),
        ciphersuites.as_deref(),
        &TLS13_CIPHERSUITES,
        findings,
    );

    let list = at.key("certificates");
    if certificates.is_empty() {
        findings.incomplete(&list, "there is no certificate", "");
    }
    let slots: Vec<_> = certificates
        .iter()
        .enumerate()
        .filter_map(|(index, certificate)| {
            let at = list.index(index);
            let slot = slot(&at, certificate, accounts, findings)?;
            let shown = slot.current().filter(|_| is_public);
            let leaf = shown.as_ref().and_then(|shown| shown.chain.first());
            if leaf.is_some_and(|leaf| facts::is_self_issued(leaf)) {
                findings.unfit(
                    &at,
                    "the certificate is self-signed: nobody vouches for it",
                    "get one from a CA (`durward tls csr`, or `acme`), or listen on a loopback address",
                );
            }
            Some(slot)
        })
        .collect();
    let complete = slots.len() == certificates.len();
    let certificates = by_name(
        &at.key("default_certificate"),
        default_certificate,
        slots,
        complete,
        findings,
    );

    let day = Duration::from_secs(86_400);
    let max_age = findings.duration(
        &at.key("hsts_max_age"),
        *hsts_max_age,
        HSTS_MAX_AGE,
        Duration::ZERO..=day * 3650,
    );
    let hsts = HeaderValue::from_str(&format!("max-age={}", max_age.as_secs())).ok()?;
    Some(TlsPolicy {
        tls12,
        ciphers,
        ciphersuites,
        certificates,
        client_certificates,
        http2: *http2,
        hsts,
    })
}

/// The certificates by name. `complete`: none was left out for its faults.
fn by_name(
    at: &ConfigPath,
    default: &Option<Text>,
    slots: Vec<Arc<Slot>>,
    complete: bool,
    findings: &mut Findings<'_>,
) -> Certificates {
    let default = default.as_ref().and_then(|name| findings.text(at, name));
    let fallback = match default.as_deref() {
        None => Fallback::First,
        Some("none") => Fallback::Refuse,
        Some(name) => Fallback::Name(name.to_ascii_lowercase()),
    };
    let certificates = Certificates::new(slots, &fallback);
    if let Fallback::Name(name) = &fallback
        && complete
        && !certificates.has(name)
    {
        findings.error(
            at,
            format!("no certificate of this listener is for `{name}`"),
            "name a host of one of them, or write `none` to refuse clients that ask for no name, or for an unknown one",
        );
    }
    certificates
}

fn suites(
    at: &ConfigPath,
    asked: Option<&[String]>,
    allowed: &[&str],
    findings: &mut Findings<'_>,
) -> String {
    let Some(asked) = asked else {
        return allowed.join(":");
    };
    if asked.is_empty() {
        findings.error(at, "the list is empty", "leave the key out for the profile's own");
    }
    for (index, suite) in asked.iter().enumerate() {
        if !allowed.contains(&suite.as_str()) {
            findings.error(
                &at.index(index),
                format!("suite `{suite}` is not allowed: only AEAD with forward secrecy is"),
                format!("one of {}", allowed.join(", ")),
            );
        }
    }
    asked.join(":")
}

/// `proxy_protocol:`
fn proxies(at: &ConfigPath, from: &[Text], findings: &mut Findings<'_>) -> Vec<IpNet> {
    if from.is_empty() {
        findings.incomplete(
            at,
            "nobody sends a header",
            "name the networks of your own proxies, or leave the key out",
        );
    }
    networks(at, from, findings)
}

/// Networks of the operator's own proxies.
pub(super) fn networks(root: &ConfigPath, networks: &[Text], findings: &mut Findings<'_>) -> Vec<IpNet> {
    let parsed = networks.iter().enumerate().filter_map(|(index, text)| {
        let at = root.index(index);
        let network = network(&at, text, findings)?;
        if network.prefix_len() == 0 {
            let help = "name the networks of your own proxies";
            findings.error(&at, "this believes everybody", help);
        }
        Some(network)
    });
    parsed.collect()
}

/// The port of metrics and health is one of its own.
pub(super) fn check_admin(listeners: &[Listener], admin: Option<SocketAddr>, findings: &mut Findings<'_>) {
    let Some(admin) = admin else { return };
    if listeners.iter().any(|listener| listener.address == admin) {
        findings.error(
            &ConfigPath::root().key("admin").key("address"),
            format!("{admin} is an address of `listeners`"),
            "metrics and health have a port of their own, by default 127.0.0.1:9100",
        );
    }
}

/// Every host that a route names must be covered by a certificate of some TLS listener (S23).
pub(super) fn check_names(listeners: &[Listener], routes: &[Route], findings: &mut Findings<'_>) {
    let tls: Vec<&TlsPolicy> = listeners
        .iter()
        .filter_map(|listener| match &listener.purpose {
            Purpose::Tls(tls) => Some(&**tls),
            Purpose::Plaintext(_) | Purpose::Redirect(_) => None,
        })
        .collect();
    if tls.is_empty() {
        return;
    }
    let names: Vec<&String> = tls
        .iter()
        .flat_map(|tls| tls.certificates.slots())
        .flat_map(|slot| slot.names.iter())
        .collect();
    for (index, route) in routes.iter().enumerate() {
        let covered = match &route.host {
            HostPattern::Any => true,
            HostPattern::Exact(host) => names.iter().any(|name| crate::request::covers(name, host)),
            HostPattern::Wildcard(suffix) => names.iter().any(|name| name.strip_prefix("*.") == Some(suffix)),
        };
        if !covered {
            findings.error(
                &ConfigPath::root()
                    .key("routes")
                    .index(index)
                    .key("match")
                    .key("host"),
                format!("no certificate is for `{}`", route.host),
                "clients would refuse the connection",
            );
        }
    }
}
