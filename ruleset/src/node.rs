//! Facts of the node that a dump does not hold: its addresses, its ipsets, a few settings.

use crate::value::Interface;
use ahash::AHashSet;
use std::net::{IpAddr, Ipv4Addr};

mod addresses;
mod error;
pub mod ipset;

#[cfg(test)]
mod tests;

pub use addresses::parse_addresses;
pub use error::FactsError;

/// What is known of the node.
#[derive(Clone, Debug, Default)]
pub struct NodeFacts {
    /// Its addresses; `None`: not given, and only loopback is known to be its own.
    pub local: Option<LocalAddresses>,
    /// Its ipsets, by name; `None`: not given.
    pub ipsets: Option<ipset::IpSets>,
    /// `net.ipv4.conf.*.route_localnet`; `None`: not given.
    pub route_localnet: Option<bool>,
    /// What a jump to an absent chain that is not kube-proxy's does.
    pub missing_chains: MissingChains,
}

/// What a jump to an absent chain whose name does not begin with `KUBE-` does. (`KUBE-MARK-MASQ`, `KUBE-MARK-DROP` and
/// `KUBE-POSTROUTING` have their well-known bodies; any other absent `KUBE-*` is unknown.)
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum MissingChains {
    /// It returns.
    #[default]
    Return,
    /// It makes the decision unknown.
    Unknown,
}

/// The node's own addresses. Loopback (127.0.0.0/8, ::1) is always one of them.
#[derive(Clone, Debug, Default)]
pub struct LocalAddresses {
    /// Every address.
    pub addresses: AHashSet<IpAddr>,
    /// The devices' addresses, each device's first one first, where the input told them.
    pub devices: Vec<(Interface, IpAddr)>,
}

impl LocalAddresses {
    /// From bare addresses.
    pub fn new(addresses: impl IntoIterator<Item = IpAddr>) -> Self {
        Self {
            addresses: addresses.into_iter().collect(),
            devices: Vec::new(),
        }
    }
}

impl LocalAddresses {
    /// Whether every address is told with its device, so that a device without addresses here has none.
    pub fn knows_every_device(&self) -> bool {
        let told: AHashSet<IpAddr> = self.devices.iter().map(|(_, address)| *address).collect();
        !told.is_empty() && self.addresses.is_subset(&told)
    }
}

impl NodeFacts {
    /// Whether `address` is this node's; `None`: not known.
    pub fn is_local(&self, address: IpAddr) -> Option<bool> {
        if is_loopback(address) {
            return Some(true);
        }
        self.local
            .as_ref()
            .map(|local| local.addresses.contains(&address))
    }
}

/// 127.0.0.0/8 or ::1.
pub fn is_loopback(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(a) => a.is_loopback(),
        IpAddr::V6(a) => a.is_loopback(),
    }
}

/// 255.255.255.255.
pub fn is_limited_broadcast(address: IpAddr) -> bool {
    address == IpAddr::V4(Ipv4Addr::BROADCAST)
}

/// `02:00:00:00:00:01`, in either case.
pub(crate) fn parse_mac(text: &str) -> Option<[u8; 6]> {
    let mut bytes = [0; 6];
    let mut parts = text.split(':');
    for byte in &mut bytes {
        let digits =
            |p: &&str| matches!(p.len(), 1 | 2) && p.bytes().all(|b| b.is_ascii_hexdigit());
        let part = parts.next().filter(digits)?;
        *byte = u8::from_str_radix(part, 16).ok()?;
    }
    parts.next().is_none().then_some(bytes)
}
