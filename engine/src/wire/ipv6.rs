//! The IPv6 header and its extension headers (RFC 8200; authentication header: RFC 4302).

use super::{be16, be32, be128};

mod field {
    pub(super) const VERSION_CLASS: usize = 0;
    pub(super) const PAYLOAD_LENGTH: usize = 4;
    pub(super) const NEXT_HEADER: usize = 6;
    pub(super) const HOP_LIMIT: usize = 7;
    pub(super) const SOURCE: usize = 8;
    pub(super) const DESTINATION: usize = 24;
}

mod extension_field {
    pub(super) const NEXT_HEADER: usize = 0;
    pub(super) const LENGTH: usize = 1;
    pub(super) const FRAGMENT: usize = 2;
    pub(super) const IDENTIFICATION: usize = 4;
}

/// Numbers of the extension headers that are walked over: those of the kernel's `ipv6_ext_hdr`.
pub mod next_header {
    /// Hop-by-hop options.
    pub const HOP_BY_HOP: u8 = 0;
    /// Routing.
    pub const ROUTING: u8 = 43;
    /// Fragment.
    pub const FRAGMENT: u8 = 44;
    /// Authentication.
    pub const AUTHENTICATION: u8 = 51;
    /// Nothing follows.
    pub const NONE: u8 = 59;
    /// Destination options.
    pub const DESTINATION_OPTIONS: u8 = 60;
}

const IPV6_LEN: usize = 40;

/// An IPv6 header.
#[derive(Clone, Copy, Debug)]
pub struct Ipv6<'a>(&'a [u8; IPV6_LEN]);

impl<'a> Ipv6<'a> {
    /// Bytes of the header.
    pub const LEN: usize = IPV6_LEN;

    /// Where the number of the header that follows stands.
    pub const NEXT_HEADER: usize = field::NEXT_HEADER;

    /// The header at the beginning of `bytes`.
    pub fn read(bytes: &'a [u8]) -> Option<Self> {
        bytes.first_chunk().map(Self)
    }

    /// The version: 6, unless it is something else.
    pub fn version(self) -> u8 {
        self.0[field::VERSION_CLASS] >> 4
    }

    /// The upper six bits of the traffic class.
    pub fn dscp(self) -> u8 {
        (be16(self.0, field::VERSION_CLASS) >> 6) as u8 & 0x3f
    }

    /// The lower two bits of the traffic class.
    pub fn ecn(self) -> u8 {
        (be16(self.0, field::VERSION_CLASS) >> 4) as u8 & 3
    }

    /// Bytes behind this header, as it says.
    pub fn payload_len(self) -> u16 {
        be16(self.0, field::PAYLOAD_LENGTH)
    }

    /// Number of the header that follows.
    pub fn next_header(self) -> u8 {
        self.0[field::NEXT_HEADER]
    }

    /// Hop limit.
    pub fn hop_limit(self) -> u8 {
        self.0[field::HOP_LIMIT]
    }

    /// Source address.
    pub fn source(self) -> u128 {
        be128(self.0, field::SOURCE)
    }

    /// Destination address.
    pub fn destination(self) -> u128 {
        be128(self.0, field::DESTINATION)
    }
}

const EXTENSION_LEN: usize = 8;

/// The first eight bytes of an extension header; each kind has at least as many.
#[derive(Clone, Copy, Debug)]
pub struct Extension<'a> {
    number: u8,
    bytes: &'a [u8; EXTENSION_LEN],
}

impl<'a> Extension<'a> {
    /// Bytes of the part that all have.
    pub const LEN: usize = EXTENSION_LEN;

    /// Whether `number` is that of an extension header.
    pub fn is_extension(number: u8) -> bool {
        use next_header::{AUTHENTICATION, DESTINATION_OPTIONS, FRAGMENT, HOP_BY_HOP, ROUTING};
        matches!(
            number,
            HOP_BY_HOP | ROUTING | FRAGMENT | AUTHENTICATION | DESTINATION_OPTIONS
        )
    }

    /// The header numbered `number` at the beginning of `bytes`.
    pub fn read(number: u8, bytes: &'a [u8]) -> Option<Self> {
        bytes.first_chunk().map(|bytes| Self { number, bytes })
    }

    /// Number of the header that follows.
    pub fn next_header(self) -> u8 {
        self.bytes[extension_field::NEXT_HEADER]
    }

    /// Bytes of the whole header, as it says.
    pub fn header_len(self) -> usize {
        let units = usize::from(self.bytes[extension_field::LENGTH]);
        match self.number {
            next_header::FRAGMENT => Self::LEN,
            next_header::AUTHENTICATION => (units + 2) * 4,
            _ => (units + 1) * 8,
        }
    }

    /// Whether its length is one that its kind can have: an authentication header's fixed part has 12 bytes, the others' 8.
    pub fn is_sound(self) -> bool {
        self.number != next_header::AUTHENTICATION || self.header_len() >= 12
    }

    /// Whether it is a fragment header, of a fragment other than the first.
    pub fn is_later_fragment(self) -> bool {
        self.number == next_header::FRAGMENT
            && be16(self.bytes, extension_field::FRAGMENT) >> 3 != 0
    }

    /// Where a fragment's bytes begin in what is fragmented, of a fragment header.
    pub fn fragment_offset(self) -> u32 {
        u32::from(be16(self.bytes, extension_field::FRAGMENT) & !7)
    }

    /// Whether others follow, of a fragment header.
    pub fn more_fragments(self) -> bool {
        be16(self.bytes, extension_field::FRAGMENT) & 1 != 0
    }

    /// What the fragments of a datagram have in common, of a fragment header.
    pub fn identification(self) -> u32 {
        be32(self.bytes, extension_field::IDENTIFICATION)
    }
}
