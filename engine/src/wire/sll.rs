//! Linux cooked captures, version 1 (`LINKTYPE_LINUX_SLL`) and 2 (`LINKTYPE_LINUX_SLL2`): what `tcpdump -i any` writes.

use super::{be16, be32, six};

mod field {
    pub(super) const DEVICE_TYPE: usize = 2;
    pub(super) const ADDRESS_LEN: usize = 4;
    pub(super) const ADDRESS: usize = 6;
    pub(super) const PROTOCOL: usize = 14;
}

mod field2 {
    pub(super) const PROTOCOL: usize = 0;
    pub(super) const INTERFACE_INDEX: usize = 4;
    pub(super) const DEVICE_TYPE: usize = 8;
    pub(super) const ADDRESS_LEN: usize = 11;
    pub(super) const ADDRESS: usize = 12;
}

/// Types of device (`linux/if_arp.h`) that change what a cooked header's fields mean.
pub mod arphrd {
    /// Its addresses are MACs.
    pub const ETHER: u16 = 1;
    /// Frame relay: the protocol field is not to be read.
    pub const FRAD: u16 = 770;
    /// 802.11 with a radiotap header: the protocol field is not to be read.
    pub const IEEE80211_RADIOTAP: u16 = 803;
    /// Netlink: the protocol field is a netlink family.
    pub const NETLINK: u16 = 824;
}

const SLL_LEN: usize = 16;

/// A version 1 header.
#[derive(Clone, Copy, Debug)]
pub struct Sll<'a>(&'a [u8; SLL_LEN]);

impl<'a> Sll<'a> {
    /// Bytes of the header.
    pub const LEN: usize = SLL_LEN;

    /// The header at the beginning of `bytes`.
    pub fn read(bytes: &'a [u8]) -> Option<Self> {
        bytes.first_chunk().map(Self)
    }

    /// The type of device, see [`arphrd`].
    pub fn device_type(self) -> u16 {
        be16(self.0, field::DEVICE_TYPE)
    }

    /// The sender's MAC, if the device has such addresses.
    pub fn source(self) -> Option<[u8; 6]> {
        let is_mac = self.device_type() == arphrd::ETHER && be16(self.0, field::ADDRESS_LEN) == 6;
        is_mac.then(|| six(self.0, field::ADDRESS))
    }

    /// EtherType.
    pub fn protocol(self) -> u16 {
        be16(self.0, field::PROTOCOL)
    }
}

const SLL2_LEN: usize = 20;

/// A version 2 header.
#[derive(Clone, Copy, Debug)]
pub struct Sll2<'a>(&'a [u8; SLL2_LEN]);

impl<'a> Sll2<'a> {
    /// Bytes of the header.
    pub const LEN: usize = SLL2_LEN;

    /// The header at the beginning of `bytes`.
    pub fn read(bytes: &'a [u8]) -> Option<Self> {
        bytes.first_chunk().map(Self)
    }

    /// The type of device, see [`arphrd`].
    pub fn device_type(self) -> u16 {
        be16(self.0, field2::DEVICE_TYPE)
    }

    /// The number of the device (`ip link` prints it) that the frame was seen on.
    pub fn interface_index(self) -> u32 {
        be32(self.0, field2::INTERFACE_INDEX)
    }

    /// The sender's MAC, if the device has such addresses.
    pub fn source(self) -> Option<[u8; 6]> {
        let is_mac = self.device_type() == arphrd::ETHER && self.0[field2::ADDRESS_LEN] == 6;
        is_mac.then(|| six(self.0, field2::ADDRESS))
    }

    /// EtherType.
    pub fn protocol(self) -> u16 {
        be16(self.0, field2::PROTOCOL)
    }
}
