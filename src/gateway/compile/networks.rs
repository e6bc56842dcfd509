//! Networks, as they are written wherever one is named.

use std::net::IpAddr;

use ipnet::IpNet;

use super::findings::Findings;
use crate::config::path::ConfigPath;
use crate::config::scalar::Text;

/// A network, or an address that is one of its own; `None` after it was said what it is instead.
pub(super) fn network(at: &ConfigPath, text: &Text, findings: &mut Findings<'_>) -> Option<IpNet> {
    let text = findings.text(at, text)?;
    let address = || text.parse::<IpAddr>().ok().map(IpNet::from);
    let Some(network) = text.parse::<IpNet>().ok().or_else(address) else {
        let message = format!("`{text}` is not a network");
        findings.error(at, message, "write `10.0.0.0/8` or an address");
        return None;
    };
    if let IpNet::V6(network) = network
        && network.addr().to_ipv4_mapped().is_some()
    {
        // addresses are held against this as what they map
        findings.error(at, "this is an IPv4 network", "write it as one: `10.0.0.0/8`");
    }
    Some(network)
}
