//! Addresses and ports as loops over packets have them: as they stand in a packet.

use super::Tuple;
use super::table::{Key, SPREAD, fold};
use kpclass_ruleset::value::Family;

/// Odd, with its bits spread otherwise than those of [`SPREAD`].
const SPREAD_TOO: u64 = 0xd6e8_feb8_6659_fd93;

/// An address, as wide as its family's: its bytes as they stand in a packet, read as a little-endian number, so that no loop turns them around.
pub trait Address:
    Copy + Eq + std::hash::Hash + Default + Send + Sync + std::fmt::Debug + 'static
{
    /// Which family's.
    const FAMILY: Family;

    /// Address, protocol and port, packed.
    type Key: Key + Default;

    /// Of the number that the address is.
    fn new(number: u128) -> Self;

    /// The number that the address is.
    fn number(self) -> u128;

    /// Whether the masked address is `value`.
    fn is_in(self, mask: Self, value: Self) -> bool;

    /// 64 bits of it.
    fn folded(self) -> u64;

    /// Whether routing asks nothing of it but whose it is (WALK.md 2).
    fn is_ordinary(self) -> bool;

    /// The destination key.
    fn key(self, protocol: u8, port: Port) -> Self::Key;

    /// What a destination key is of.
    fn of_key(key: Self::Key) -> (Self, u8, Port);

    /// A number to draw with, by a keyed hash of a tuple.
    fn draw(tuple: &Tuple<Self>, seed: u64) -> u64;
}

/// Whether IPv4 addresses that begin with a byte are ordinary.
static ORDINARY: [bool; 256] = {
    let mut ordinary = [false; 256];
    let mut first = 1;
    while first < 224 {
        ordinary[first] = first != 127;
        first += 1;
    }
    ordinary
};

/// The key of IPv4 that a packet has: `word` begins with the destination address and the source port, and ends with the destination port.
#[inline(always)]
pub fn v4_key(word: u64, protocol: u8) -> u64 {
    word & !(0xffff << 32) | u64::from(protocol) << 32
}

impl Address for u32 {
    const FAMILY: Family = Family::V4;

    type Key = u64;

    fn new(number: u128) -> Self {
        (number as Self).swap_bytes()
    }

    #[inline(always)]
    fn number(self) -> u128 {
        self.swap_bytes().into()
    }

    #[inline(always)]
    fn is_in(self, mask: Self, value: Self) -> bool {
        self & mask == value
    }

    #[inline(always)]
    fn folded(self) -> u64 {
        self.into()
    }

    #[inline(always)]
    fn is_ordinary(self) -> bool {
        ORDINARY[(self & 0xff) as usize]
    }

    /// Address, protocol, 0, port: as in a packet, but for the source port.
    #[inline(always)]
    fn key(self, protocol: u8, port: Port) -> u64 {
        u64::from(self) | u64::from(protocol) << 32 | u64::from(port.0) << 48
    }

    #[inline(always)]
    fn of_key(key: u64) -> (Self, u8, Port) {
        (key as Self, (key >> 32) as u8, Port((key >> 48) as u16))
    }

    #[inline(always)]
    fn draw(tuple: &Tuple<Self>, seed: u64) -> u64 {
        let from = u64::from(tuple.source) | u64::from(tuple.source_port.0) << 32;
        let state = fold(tuple.key ^ seed ^ SPREAD_TOO, from ^ SPREAD);
        fold(state, SPREAD)
    }
}

impl Address for u128 {
    const FAMILY: Family = Family::V6;

    type Key = [u64; 3];

    fn new(number: u128) -> Self {
        number.swap_bytes()
    }

    #[inline(always)]
    fn number(self) -> u128 {
        self.swap_bytes()
    }

    #[inline(always)]
    fn is_in(self, mask: Self, value: Self) -> bool {
        self & mask == value
    }

    #[inline(always)]
    fn folded(self) -> u64 {
        self as u64 ^ (self >> 64) as u64
    }

    #[inline(always)]
    fn is_ordinary(self) -> bool {
        let loopback_bit = 1 << 120;
        (self & !loopback_bit != 0) & (self & 0xff != 0xff) & (self & 0xc0ff != 0x80fe)
    }

    #[inline(always)]
    fn key(self, protocol: u8, port: Port) -> [u64; 3] {
        let rest = u64::from(protocol) << 32 | u64::from(port.0) << 48;
        [self as u64, (self >> 64) as u64, rest]
    }

    #[inline(always)]
    fn of_key([low, high, rest]: [u64; 3]) -> (Self, u8, Port) {
        let address = u128::from(high) << 64 | u128::from(low);
        (address, (rest >> 32) as u8, Port((rest >> 48) as u16))
    }

    #[inline(always)]
    fn draw(tuple: &Tuple<Self>, seed: u64) -> u64 {
        let [low, high, rest] = tuple.key;
        let from = u64::from(tuple.source_port.0);
        let state = fold(rest ^ seed ^ SPREAD_TOO, from ^ SPREAD);
        let state = fold(state ^ low, high ^ SPREAD);
        let (low, high) = (tuple.source as u64, (tuple.source >> 64) as u64);
        fold(fold(state ^ low, high ^ SPREAD), SPREAD)
    }
}

/// A port: its bytes as they stand in a packet, read as a little-endian number.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Port(u16);

impl Port {
    /// Of its bytes.
    #[inline(always)]
    pub fn of_bytes(bytes: [u8; 2]) -> Self {
        Self(u16::from_le_bytes(bytes))
    }

    /// Of a port's number.
    #[inline]
    pub fn new(number: u16) -> Self {
        Self(number.swap_bytes())
    }

    /// The port's number.
    #[inline]
    pub fn number(self) -> u16 {
        self.0.swap_bytes()
    }
}
