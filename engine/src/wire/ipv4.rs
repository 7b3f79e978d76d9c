//! The IPv4 header (RFC 791).

use super::{be16, be32};

mod field {
    pub(super) const VERSION_IHL: usize = 0;
    pub(super) const TOS: usize = 1;
    pub(super) const TOTAL_LENGTH: usize = 2;
    pub(super) const IDENTIFICATION: usize = 4;
    pub(super) const FRAGMENT: usize = 6;
    pub(super) const TTL: usize = 8;
    pub(super) const PROTOCOL: usize = 9;
    pub(super) const SOURCE: usize = 12;
    pub(super) const DESTINATION: usize = 16;
}

const FRAGMENT_OFFSET: u16 = 0x1fff;
const MORE_FRAGMENTS: u16 = 0x2000;

const IPV4_LEN: usize = 20;

/// An IPv4 header without its options.
#[derive(Clone, Copy, Debug)]
pub struct Ipv4<'a>(&'a [u8; IPV4_LEN]);

impl<'a> Ipv4<'a> {
    /// Bytes of the header without options.
    pub const LEN: usize = IPV4_LEN;

    /// The header at the beginning of `bytes`.
    pub fn read(bytes: &'a [u8]) -> Option<Self> {
        bytes.first_chunk().map(Self)
    }

    /// The version: 4, unless it is something else.
    pub fn version(self) -> u8 {
        self.0[field::VERSION_IHL] >> 4
    }

    /// Bytes of the header with its options, as it says; below [`Self::LEN`] it lies.
    pub fn header_len(self) -> usize {
        usize::from(self.0[field::VERSION_IHL] & 0xf) * 4
    }

    /// The upper six bits of the type of service.
    pub fn dscp(self) -> u8 {
        self.0[field::TOS] >> 2
    }

    /// Bytes of header and payload, as it says.
    pub fn total_len(self) -> u16 {
        be16(self.0, field::TOTAL_LENGTH)
    }

    /// What its fragments have in common.
    pub fn identification(self) -> u16 {
        be16(self.0, field::IDENTIFICATION)
    }

    /// Whether it is a fragment other than the first.
    pub fn is_later_fragment(self) -> bool {
        be16(self.0, field::FRAGMENT) & FRAGMENT_OFFSET != 0
    }

    /// Whether it is a fragment, the first one included.
    pub fn is_fragment(self) -> bool {
        self.more_fragments() || self.is_later_fragment()
    }

    /// Whether others follow.
    pub fn more_fragments(self) -> bool {
        be16(self.0, field::FRAGMENT) & MORE_FRAGMENTS != 0
    }

    /// Where a fragment's bytes begin in its datagram's payload.
    pub fn fragment_offset(self) -> u32 {
        u32::from(be16(self.0, field::FRAGMENT) & FRAGMENT_OFFSET) * 8
    }

    /// The lower two bits of the type of service.
    pub fn ecn(self) -> u8 {
        self.0[field::TOS] & 3
    }

    /// Time to live.
    pub fn ttl(self) -> u8 {
        self.0[field::TTL]
    }

    /// Protocol number of the payload.
    pub fn protocol(self) -> u8 {
        self.0[field::PROTOCOL]
    }

    /// Source address.
    pub fn source(self) -> u32 {
        be32(self.0, field::SOURCE)
    }

    /// Destination address.
    pub fn destination(self) -> u32 {
        be32(self.0, field::DESTINATION)
    }
}
