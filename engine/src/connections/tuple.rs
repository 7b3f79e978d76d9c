//! What a connection is found by (CONNTRACK.md 1), in as few bytes as its family allows.

use crate::index::{self, Hasher};
use kpclass_compiler::header::Header;
use kpclass_ruleset::conntrack;
use kpclass_ruleset::value::{Family, address_number, number_address, protocol};
use std::fmt::Debug;
use std::hash::Hash;

/// An address of one family, as a number.
pub trait Width: Copy + Debug + Eq + Hash + Ord + Send + Sync + 'static {
    /// The family.
    const FAMILY: Family;
    /// Where an entry of the family begins: at a cache line's beginning, if it fits into one.
    type Line: Copy + Debug + Send + Sync;
    /// Of a number that fits.
    fn of(number: u128) -> Self;
    /// As a number.
    fn number(self) -> u128;
}

/// Nothing, at the beginning of a cache line.
#[derive(Clone, Copy, Debug)]
#[repr(align(64))]
pub struct Line;

impl Width for u32 {
    const FAMILY: Family = Family::V4;
    type Line = Line;
    #[inline]
    fn of(number: u128) -> Self {
        number as u32
    }
    #[inline]
    fn number(self) -> u128 {
        self.into()
    }
}

impl Width for u128 {
    const FAMILY: Family = Family::V6;
    type Line = ();
    #[inline]
    fn of(number: u128) -> Self {
        number
    }
    #[inline]
    fn number(self) -> u128 {
        self
    }
}

/// Address, and port or what stands in its place.
pub(crate) type End<A> = (A, u16);

/// Protocol and both sides.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Tuple<A> {
    pub(super) source: A,
    pub(super) destination: A,
    pub(super) source_part: u16,
    pub(super) destination_part: u16,
    pub(super) protocol: u8,
}

/// ICMP and ICMPv6 queries, each with its reply.
const PAIRS: [(u8, u8, u8); 6] = [
    (protocol::ICMP, 8, 0),
    (protocol::ICMP, 13, 14),
    (protocol::ICMP, 15, 16),
    (protocol::ICMP, 17, 18),
    (protocol::ICMPV6, 128, 129),
    (protocol::ICMPV6, 139, 140),
];

impl<A: Width> Tuple<A> {
    #[inline(always)]
    pub(crate) fn hash(&self, hasher: &Hasher) -> index::Hash {
        let parts = u64::from(self.source_part) << 16 | u64::from(self.destination_part);
        let rest = u64::from(self.protocol) << 32 | parts;
        hasher.hash(self.source.number(), self.destination.number(), rest)
    }

    /// Of a packet that has ports.
    #[inline(always)]
    pub(crate) fn of_ports(header: &Header) -> Self {
        Self::new(
            header.protocol,
            (A::of(header.source), header.source_port),
            (A::of(header.destination), header.destination_port),
        )
    }

    pub(crate) fn new(protocol: u8, source: End<A>, destination: End<A>) -> Self {
        Self {
            source: source.0,
            destination: destination.0,
            source_part: source.1,
            destination_part: destination.1,
            protocol,
        }
    }

    pub(crate) fn protocol(self) -> u8 {
        self.protocol
    }

    pub(crate) fn from(self) -> End<A> {
        (self.source, self.source_part)
    }

    pub(crate) fn to(self) -> End<A> {
        (self.destination, self.destination_part)
    }

    pub(super) fn has_ports(self) -> bool {
        has_ports(self.protocol)
    }

    pub(super) fn is_icmp(self) -> bool {
        matches!(self.protocol, protocol::ICMP | protocol::ICMPV6)
    }

    /// An answer's; `None`: nothing answers it, or it is no answer.
    pub(super) fn inverse(self) -> Option<Self> {
        let (source_part, destination_part) = match self.is_icmp() {
            false => (self.destination_part, self.source_part),
            true => {
                let [kind, code] = self.destination_part.to_be_bytes();
                let other = PAIRS.iter().find_map(|(of, query, reply)| match kind {
                    _ if *of != self.protocol => None,
                    k if k == *query => Some(*reply),
                    k if k == *reply => Some(*query),
                    _ => None,
                })?;
                (self.source_part, u16::from_be_bytes([other, code]))
            }
        };
        Some(Self {
            source: self.destination,
            destination: self.source,
            source_part,
            destination_part,
            protocol: self.protocol,
        })
    }

    /// In the words that all trackers share.
    pub(crate) fn shared(self) -> conntrack::Tuple {
        let address = |a: A| number_address(A::FAMILY, a.number());
        conntrack::Tuple {
            protocol: self.protocol,
            source: (address(self.source), self.source_part),
            destination: (address(self.destination), self.destination_part),
        }
    }

    /// `None`: of the other family.
    pub(crate) fn of_shared(tuple: &conntrack::Tuple) -> Option<Self> {
        let end = |(address, part)| {
            let is_own = Family::of(address) == A::FAMILY;
            is_own.then(|| (A::of(address_number(address)), part))
        };
        let (source, destination) = (end(tuple.source)?, end(tuple.destination)?);
        Some(Self::new(tuple.protocol, source, destination))
    }
}

pub(super) fn has_ports(number: u8) -> bool {
    use protocol::{SCTP, TCP, UDP, UDPLITE};
    matches!(number, TCP | UDP | UDPLITE | SCTP)
}
