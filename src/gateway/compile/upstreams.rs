//! `upstreams:`

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use super::findings::Findings;
use super::{upstream_sign, upstream_tls};
use crate::config::path::ConfigPath;
use crate::config::scalar::Text;
use crate::config::{self, ErrorBodies, WeightedTarget};
use crate::head::is_host_name;
use crate::upstream::balance::Schedule;
use crate::upstream::resolve::Named;
use crate::upstream::tls::Pin;
use crate::upstream::{Target, Timeouts, Upstream};

const SECOND: Duration = Duration::from_secs(1);
const SHORTEST: Duration = Duration::from_millis(1);
const HOUR: Duration = Duration::from_secs(3600);

pub(super) fn compile(
    upstreams: &BTreeMap<String, config::Upstream>,
    pins: &[Text],
    findings: &mut Findings<'_>,
) -> Vec<Upstream> {
    let pins = upstream_tls::pins(&ConfigPath::root().key("upstream_pins"), pins, findings);
    let root = ConfigPath::root().key("upstreams");
    upstreams
        .iter()
        .filter_map(|(name, upstream)| self::upstream(&root.key(name), name, upstream, &pins, findings))
        .collect()
}

fn upstream(
    at: &ConfigPath,
    name: &str,
    upstream: &config::Upstream,
    pins: &[Pin],
    findings: &mut Findings<'_>,
) -> Option<Upstream> {
    let config::Upstream {
        targets,
        tls,
        sign,
        timeouts,
        client_certificate_header,
        forward_dpop,
        idle,
        connect_retries,
        error_bodies,
    } = upstream;
    let list = at.key("targets");
    if targets.is_empty() {
        findings.incomplete(&list, "there is no target", "");
    }
    let (mut addresses, mut weights) = (Vec::new(), Vec::new());
    for (index, target) in targets.iter().enumerate() {
        let at = list.index(index);
        let (at, address, weight) = match target {
            config::Target::Address(address) => (at, address, 1),
            config::Target::Weighted(WeightedTarget { address, weight }) => {
                if !(1..=1000).contains(weight) {
                    findings.error(&at.key("weight"), "must be 1 to 1000", "");
                }
                (at.key("address"), address, *weight)
            }
        };
        addresses.extend(self::target(&at, address, findings));
        weights.push(weight.clamp(1, 1000));
    }
    let connect_retries = connect_retries.unwrap_or(1);
    if connect_retries > 8 {
        findings.error(&at.key("connect_retries"), "must be 0 to 8", "");
    }
    let tls = match tls {
        None => None,
        Some(tls) => Some(upstream_tls::compile(&at.key("tls"), name, tls, pins, findings)?),
    };
    let sign = match sign {
        None => None,
        Some(sign) => Some(upstream_sign::compile(&at.key("sign"), sign, findings)?),
    };
    Some(Upstream {
        name: name.into(),
        targets: addresses.into(),
        schedule: Schedule::new(&weights),
        tls,
        sign,
        timeouts: self::timeouts(&at.key("timeouts"), timeouts, findings),
        idle: findings.duration(&at.key("idle"), *idle, SECOND * 30, SHORTEST..=HOUR),
        connect_retries,
        client_certificate_header: *client_certificate_header,
        forwards_proof: *forward_dpop,
        replace_error_bodies: *error_bodies == ErrorBodies::Replace,
    })
}

fn target(at: &ConfigPath, text: &Text, findings: &mut Findings<'_>) -> Option<Target> {
    let text = findings.text(at, text)?;
    if let Ok(address) = text.parse::<SocketAddr>() {
        return Some(Target::Fixed(address));
    }
    let named = text
        .rsplit_once(':')
        .is_some_and(|(host, port)| is_host_name(host) && port.parse::<u16>().is_ok_and(|port| port != 0));
    if !named {
        findings.error(at, format!("`{text}` is not HOST:PORT"), "");
        return None;
    }
    Some(Target::Named(Named::new(text)))
}

fn timeouts(at: &ConfigPath, timeouts: &config::Timeouts, findings: &mut Findings<'_>) -> Timeouts {
    let config::Timeouts {
        connect,
        read,
        write,
        total,
    } = timeouts;
    let mut wait = |key: &str, span, default| findings.duration(&at.key(key), span, default, SHORTEST..=HOUR);
    Timeouts {
        connect: wait("connect", *connect, SECOND * 2),
        read: wait("read", *read, SECOND * 30),
        write: wait("write", *write, SECOND * 30),
        total: wait("total", *total, SECOND * 60),
    }
}
