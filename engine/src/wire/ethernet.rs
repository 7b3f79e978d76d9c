//! Ethernet II, and the 802.1Q tag that may follow it.

use super::{be16, six};

mod field {
    pub(super) const SOURCE: usize = 6;
    pub(super) const TYPE: usize = 12;
    pub(super) const TAGGED_TYPE: usize = 2;
}

/// EtherTypes (IEEE 802 numbers) that are told apart here.
pub mod ethertype {
    /// IPv4.
    pub const IPV4: u16 = 0x0800;
    /// ARP.
    pub const ARP: u16 = 0x0806;
    /// 802.1Q customer tag.
    pub const VLAN: u16 = 0x8100;
    /// 802.1ad service tag.
    pub const QINQ: u16 = 0x88a8;
    /// The service tag of equipment older than 802.1ad.
    pub const QINQ_OLD: u16 = 0x9100;
    /// IPv6.
    pub const IPV6: u16 = 0x86dd;
}

const ETHERNET_LEN: usize = 14;

/// An Ethernet II header.
#[derive(Clone, Copy, Debug)]
pub struct Ethernet<'a>(&'a [u8; ETHERNET_LEN]);

impl<'a> Ethernet<'a> {
    /// Bytes of the header.
    pub const LEN: usize = ETHERNET_LEN;

    /// The header at the beginning of `bytes`.
    pub fn read(bytes: &'a [u8]) -> Option<Self> {
        bytes.first_chunk().map(Self)
    }

    /// Source address.
    pub fn source(self) -> [u8; 6] {
        six(self.0, field::SOURCE)
    }

    /// EtherType; up to 1500 it is an 802.3 length.
    pub fn ethertype(self) -> u16 {
        be16(self.0, field::TYPE)
    }
}

const VLAN_LEN: usize = 4;

/// What follows the EtherType of a tag: its control field, and the type of what it encloses.
#[derive(Clone, Copy, Debug)]
pub struct Vlan<'a>(&'a [u8; VLAN_LEN]);

impl<'a> Vlan<'a> {
    /// Bytes of the tag behind its EtherType.
    pub const LEN: usize = VLAN_LEN;

    /// The tag at the beginning of `bytes`.
    pub fn read(bytes: &'a [u8]) -> Option<Self> {
        bytes.first_chunk().map(Self)
    }

    /// EtherType of what the tag encloses.
    pub fn ethertype(self) -> u16 {
        be16(self.0, field::TAGGED_TYPE)
    }
}
