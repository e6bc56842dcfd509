//! From where, by address (S65, S68).
//!
//! The address is the client's, through the operator's own proxies ([`crate::gates::network`]). An IPv4 address is the same
//! whether it is written as such or mapped into IPv6.

use std::fmt;
use std::net::IpAddr;

use ipnet::IpNet;

use super::list;
use crate::denial::{Denial, Forbidden, Verdict};

/// Networks that may ask, and such that may not.
#[derive(Debug, Clone)]
pub struct Networks {
    /// Who may; empty: everybody.
    pub allow: Box<[IpNet]>,
    /// Who may not, even if allowed.
    pub deny: Box<[IpNet]>,
}

impl Networks {
    /// # Errors
    /// [`Forbidden::Network`]; also where there is no address, as on a local socket.
    pub fn check(&self, client: Option<IpAddr>) -> Verdict {
        let refused = Err(Denial::Forbidden(Forbidden::Network));
        let Some(client) = client.map(|client| client.to_canonical()) else {
            return refused;
        };
        let is_in = |networks: &[IpNet]| networks.iter().any(|network| network.contains(&client));
        if is_in(&self.deny) || !(self.allow.is_empty() || is_in(&self.allow)) {
            return refused;
        }
        Ok(())
    }
}

impl fmt::Display for Networks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("from ")?;
        if self.allow.is_empty() {
            f.write_str("any network")?;
        }
        list(f, &*self.allow)?;
        if !self.deny.is_empty() {
            f.write_str(" but not ")?;
            list(f, &*self.deny)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // S68
    #[test]
    fn addresses_are_held_against_both_lists_and_mapped_ones_are_what_they_map() {
        let nets = |texts: &[&str]| {
            texts
                .iter()
                .map(|text| text.parse().unwrap())
                .collect::<Box<[IpNet]>>()
        };
        let networks = Networks {
            allow: nets(&["10.0.0.0/8", "2001:db8::/32"]),
            deny: nets(&["10.9.0.0/16"]),
        };
        let passes =
            |networks: &Networks, address: &str| networks.check(Some(address.parse().unwrap())).is_ok();
        for (address, expected) in [
            ("10.1.2.3", true),
            ("::ffff:10.1.2.3", true),
            ("2001:db8::1", true),
            ("10.9.0.1", false),
            ("::ffff:10.9.0.1", false),
            ("11.0.0.1", false),
            ("2001:db9::1", false),
            ("::10.1.2.3", false),
        ] {
            assert_eq!(passes(&networks, address), expected, "{address}");
        }
        assert!(networks.check(None).is_err(), "nobody knows from where");
        let all_but = Networks {
            allow: nets(&[]),
            deny: nets(&["192.0.2.0/24"]),
        };
        assert!(passes(&all_but, "192.0.3.1") && !passes(&all_but, "192.0.2.1"));
    }
}
