//! The node's ipsets, as `ipset save` writes them.

use ahash::AHashMap;
use std::net::IpAddr;

mod save;
#[cfg(test)]
mod tests;

pub use save::{SavedSets, parse_ipsets};

/// Sets by name.
pub type IpSets = AHashMap<String, IpSet>;

/// One set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IpSet {
    /// What each dimension of an entry is (`hash:ip,port,net` has three); empty for `list:set`.
    pub dimensions: Vec<Dimension>,
    /// Entries.
    pub entries: Vec<Entry>,
    /// Names of the member sets of a `list:set`.
    pub members: Vec<String>,
}

/// What one part of an entry is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Dimension {
    /// An address (with the set's `netmask`, applied when read).
    Ip,
    /// A network.
    Net,
    /// A protocol with a port (or an ICMP type and code).
    Port,
    /// A link address: unknown where the packet's is.
    Mac,
    /// A device name.
    Iface,
    /// A mark.
    Mark,
}

/// An entry: an element is in the set if some entry without `nomatch` holds it and no more specific entry with `nomatch` does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// One value a dimension.
    pub values: Vec<Value>,
    /// `nomatch`.
    pub nomatch: bool,
}

/// A part of an entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    /// Addresses from the first to the last, included.
    Addresses(IpAddr, IpAddr),
    /// Protocol and ports, first and last included; `bitmap:port` holds no protocol (then `None`: TCP and UDP).
    Port(Option<u8>, u16, u16),
    /// A link address.
    Mac([u8; 6]),
    /// A device.
    Iface(String),
    /// A mark.
    Mark(u32),
}
