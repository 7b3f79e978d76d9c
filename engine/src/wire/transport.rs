//! TCP, what the other protocols with ports begin with, and ICMP.

use super::be16;

mod field {
    pub(super) const SOURCE_PORT: usize = 0;
    pub(super) const DESTINATION_PORT: usize = 2;
    pub(super) const TCP_FLAGS: usize = 13;
    pub(super) const ICMP_TYPE: usize = 0;
    pub(super) const ICMP_CODE: usize = 1;
}

const PORTS_LEN: usize = 4;

/// The ports that TCP, UDP, UDP-Lite, SCTP and DCCP all begin with.
#[derive(Clone, Copy, Debug)]
pub struct Ports<'a>(&'a [u8; PORTS_LEN]);

impl<'a> Ports<'a> {
    /// Bytes of the two ports.
    pub const LEN: usize = PORTS_LEN;

    /// The ports at the beginning of `bytes`.
    pub fn read(bytes: &'a [u8]) -> Option<Self> {
        bytes.first_chunk().map(Self)
    }

    /// Source port.
    pub fn source(self) -> u16 {
        be16(self.0, field::SOURCE_PORT)
    }

    /// Destination port.
    pub fn destination(self) -> u16 {
        be16(self.0, field::DESTINATION_PORT)
    }
}

const TCP_LEN: usize = 20;

/// A TCP header without options.
#[derive(Clone, Copy, Debug)]
pub struct Tcp<'a>(&'a [u8; TCP_LEN]);

impl<'a> Tcp<'a> {
    /// Bytes of the header without options.
    pub const LEN: usize = TCP_LEN;

    /// The header at the beginning of `bytes`.
    pub fn read(bytes: &'a [u8]) -> Option<Self> {
        bytes.first_chunk().map(Self)
    }

    /// The flags; bits as in `kpclass_ruleset::packet::tcp_flag`.
    pub fn flags(self) -> u8 {
        self.0[field::TCP_FLAGS]
    }
}

const ICMP_LEN: usize = 8;

/// An ICMP or ICMPv6 header, as far as the kernel reads it for every type.
#[derive(Clone, Copy, Debug)]
pub struct Icmp<'a>(&'a [u8; ICMP_LEN]);

impl<'a> Icmp<'a> {
    /// Bytes of the header.
    pub const LEN: usize = ICMP_LEN;

    /// The message at the beginning of `bytes`.
    pub fn read(bytes: &'a [u8]) -> Option<Self> {
        bytes.first_chunk().map(Self)
    }

    /// Type.
    pub fn kind(self) -> u8 {
        self.0[field::ICMP_TYPE]
    }

    /// Code.
    pub fn code(self) -> u8 {
        self.0[field::ICMP_CODE]
    }
}
