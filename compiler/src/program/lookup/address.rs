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

    /// Whether none of the addresses that are `value` under the mask is ordinary, as far as their first bytes tell.
    fn holds_no_ordinary(mask: Self, value: Self) -> bool;

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

    fn holds_no_ordinary(mask: Self, value: Self) -> bool {
        mask & 0xff == 0xff && !value.is_ordinary()
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

    fn holds_no_ordinary(mask: Self, value: Self) -> bool {
        let is_of_groups = mask & 0xff == 0xff && value & 0xff == 0xff;
        is_of_groups || (mask, value) == (Self::MAX, Self::new(1))
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

#[cfg(test)]
mod tests {
    use super::super::super::addresses::{Kind, is_link_local, kind};
    use super::*;
    use kpclass_ruleset::value::address_number;
    use std::net::IpAddr;

    fn number(text: &str) -> u128 {
        address_number(text.parse::<IpAddr>().expect("an address"))
    }

    #[test]
    fn ordinary_is_what_routing_asks_nothing_of() {
        let v4 = |text| u32::new(number(text)).is_ordinary();
        for yes in ["1.0.0.0", "126.255.255.255", "128.0.0.0", "223.255.255.255"] {
            assert!(v4(yes), "{yes}");
        }
        for no in [
            "0.0.0.0",
            "0.0.0.1",
            "127.0.0.1",
            "127.255.255.255",
            "224.0.0.1",
            "255.255.255.255",
        ] {
            assert!(!v4(no), "{no}");
        }
        #[rustfmt::skip]
        let v6 = [
            "::", "::1", "::2", "::100", "fd00::1", "fe00::1", "fe7f::1", "fe80::1", "fe80::", "febf::1", "fec0::1", "ff02::1", "ffff::",
            "2001:db8::", "100::", "200::1",
        ];
        for text in v6 {
            let address = number(text);
            let is_unicast = kind(Family::V6, address) == Kind::Unicast;
            let ordinary = is_unicast && !is_link_local(Family::V6, address);
            assert_eq!(u128::new(address).is_ordinary(), ordinary, "{text}");
        }
    }

    #[test]
    fn a_key_tells_what_it_is_of() {
        let (port, protocol) = (Port::new(443), 6);
        let v4 = u32::new(number("10.96.0.1"));
        assert_eq!(u32::of_key(v4.key(protocol, port)), (v4, protocol, port));
        let v6 = u128::new(number("fd00:1:2:3:4:5:6:7"));
        assert_eq!(u128::of_key(v6.key(protocol, port)), (v6, protocol, port));
        assert_eq!(v6.folded(), 0x0300_0200_0100_00fd ^ 0x0700_0600_0500_0400);
    }

    /// How many bits of a drawn number change, on average, with one bit of what it is drawn from.
    fn changed<A: Address>(
        of: impl Fn(u64) -> (Tuple<A>, u64),
        other: impl Fn(u64) -> (Tuple<A>, u64),
    ) -> f64 {
        let draw = |(tuple, seed): (Tuple<A>, u64)| A::draw(&tuple, seed);
        let bits = (0..64).map(|i| (draw(of(i)) ^ draw(other(i))).count_ones());
        f64::from(bits.sum::<u32>()) / 64.0
    }

    /// The `i`th tuple and seed, with one bit flipped: of 80 bits source port and seed, then of the addresses, port and protocol.
    fn flipped<A: Address>(i: u64, bit: u32, width: u32) -> (Tuple<A>, u64) {
        let mixed = |salt: u64| fold(i ^ salt, SPREAD);
        let wide = |salt| u128::from(mixed(salt)) << 64 | u128::from(mixed(salt + 1));
        let flip = |from: u32| {
            if (from..from + 128).contains(&bit) {
                1u128 << (bit - from)
            } else {
                0
            }
        };
        let narrow = |number: u128| {
            if width == 32 {
                number & 0xffff_ffff
            } else {
                number
            }
        };
        let source = A::new(narrow(wide(1) ^ flip(1000)));
        let destination = A::new(narrow(wide(3) ^ flip(2000)));
        let tuple = Tuple {
            key: destination.key(
                (mixed(5) as u8) ^ flip(3000) as u8,
                Port::new(mixed(6) as u16 ^ flip(4000) as u16),
            ),
            source,
            source_port: Port::new(mixed(7) as u16 ^ flip(5000) as u16),
        };
        (tuple, mixed(8) ^ flip(6000) as u64)
    }

    #[test]
    fn every_bit_changes_half_of_the_number_drawn() {
        fn check<A: Address>(width: u32) {
            let fields = [
                (1000, width),
                (2000, width),
                (3000, 8),
                (4000, 16),
                (5000, 16),
                (6000, 64),
            ];
            for (from, bits) in fields {
                for bit in from..from + bits {
                    let average =
                        changed::<A>(|i| flipped(i, 0, width), |i| flipped(i, bit, width));
                    assert!((24.0..40.0).contains(&average), "{width} {bit}: {average}");
                }
            }
        }
        check::<u32>(32);
        check::<u128>(128);
    }
}
