//! Link types: what a frame begins with.

use std::fmt;

/// A link type's number in the registry of `tcpdump.org/linktypes.html`, or a BSD's own number for raw IP.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LinkType(pub u32);

impl LinkType {
    /// BSD loopback; a family in the capturing machine's byte order.
    pub const NULL: Self = Self(0);
    /// Ethernet.
    pub const ETHERNET: Self = Self(1);
    /// OpenBSD loopback; a family in network order.
    pub const LOOP: Self = Self(108);
    /// Linux cooked, version 1.
    pub const LINUX_SLL: Self = Self(113);
    /// IPv4, and nothing before it.
    pub const IPV4: Self = Self(228);
    /// IPv6, and nothing before it.
    pub const IPV6: Self = Self(229);
    /// Linux cooked, version 2.
    pub const LINUX_SLL2: Self = Self(276);
    /// IPv4 or IPv6, and nothing before it.
    pub const RAW: Self = Self(101);
    /// `DLT_RAW` of most systems, written by some programs instead of [`Self::RAW`].
    pub const DLT_RAW: Self = Self(12);
    /// `DLT_RAW` of OpenBSD.
    pub const DLT_RAW_OPENBSD: Self = Self(14);

    /// Whether it is IP of either version, and nothing before it.
    pub fn is_raw(self) -> bool {
        matches!(self, Self::RAW | Self::DLT_RAW | Self::DLT_RAW_OPENBSD)
    }
}

/// `link type 105`.
impl fmt::Display for LinkType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "link type {}", self.0)
    }
}
