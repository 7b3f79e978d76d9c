//! The few values that one ruleset is written with.

use super::node;
use crate::numbers::Numbers;
use kpclass_ruleset::value::{Family, Prefix};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// The values of one ruleset.
#[derive(Clone, Debug)]
pub(super) struct Values {
    pub family: Family,
    /// Addresses that rules ask for; the last three are endpoints, to which others are rewritten.
    pub addresses: [IpAddr; 7],
    /// The node's.
    pub locals: [IpAddr; 4],
    pub prefixes: [Prefix; 4],
    pub ports: [u16; 4],
    /// `first:last`.
    pub port_ranges: [(u16, u16); 3],
    pub marks: [u32; 3],
    pub masks: [u32; 3],
    pub macs: [&'static str; 2],
}

const fn v4(a: u8, b: u8, c: u8, d: u8) -> IpAddr {
    IpAddr::V4(Ipv4Addr::new(a, b, c, d))
}

const fn v6(a: u16, b: u16, g: u16, h: u16) -> IpAddr {
    IpAddr::V6(Ipv6Addr::new(a, b, 0, 0, 0, 0, g, h))
}

/// Services and whoever is outside.
const FAR: [[IpAddr; 6]; 2] = [
    [
        v4(10, 128, 0, 1),
        v4(10, 128, 0, 10),
        v4(198, 51, 100, 7),
        v4(203, 0, 113, 9),
        v4(8, 8, 8, 8),
        v4(100, 64, 0, 1),
    ],
    [
        v6(0xfd98, 0, 0, 1),
        v6(0xfd98, 0, 0, 10),
        v6(0x2001, 0xdb8, 0, 7),
        v6(0x2001, 0xdb8, 1, 9),
        v6(0x2606, 0x4700, 0, 0x1111),
        v6(0x2001, 0xdb8, 3, 1),
    ],
];

/// Endpoints: neighbours, so that a range of addresses holds them.
const ENDPOINTS: [[IpAddr; 4]; 2] = [
    [
        v4(10, 0, 0, 5),
        v4(10, 0, 0, 6),
        v4(10, 0, 0, 7),
        v4(10, 0, 1, 7),
    ],
    [
        v6(0xfd01, 0, 0, 5),
        v6(0xfd01, 0, 0, 6),
        v6(0xfd01, 0, 0, 7),
        v6(0xfd01, 0, 1, 7),
    ],
];

/// Networks with their length, or with a mask of holes (`None`).
const NETWORKS: [[(IpAddr, Option<u32>); 9]; 2] = [
    [
        (v4(10, 0, 0, 0), Some(8)),
        (v4(10, 0, 0, 0), Some(16)),
        (v4(10, 0, 0, 4), Some(30)),
        (v4(10, 128, 0, 0), Some(9)),
        (v4(192, 168, 0, 0), Some(16)),
        (v4(128, 0, 0, 0), Some(1)),
        (v4(203, 0, 113, 8), Some(31)),
        (v4(10, 0, 0, 7), None),
        (v4(192, 0, 0, 2), None),
    ],
    [
        (v6(0xfd01, 0, 0, 0), Some(64)),
        (v6(0xfd00, 0, 0, 0), Some(8)),
        (v6(0xfd01, 0, 0, 4), Some(126)),
        (v6(0xfd98, 0, 0, 0), Some(112)),
        (v6(0xfd00, 0xa, 0, 0), Some(64)),
        (v6(0x8000, 0, 0, 0), Some(1)),
        (v6(0x2001, 0xdb8, 1, 8), Some(127)),
        (v6(0xfd01, 0, 0, 7), None),
        (v6(0xfd00, 0, 0, 2), None),
    ],
];

/// Masks with a hole: the first and the last part of an address count.
const HOLES: [IpAddr; 2] = [
    v4(255, 0, 0, 255),
    IpAddr::V6(Ipv6Addr::new(0xffff, 0, 0, 0, 0, 0, 0, 0xffff)),
];

const PORTS: [u16; 9] = [0, 53, 80, 81, 443, 8080, 30_080, 65_534, 65_535];
const PORT_RANGES: [(u16, u16); 6] = [
    (0, 100),
    (80, 81),
    (80, 90),
    (1024, 65_535),
    (30_000, 32_767),
    (65_534, 65_535),
];
const MARKS: [u32; 6] = [0x4000, 0x8000, 1, 0x4001, 0x10_0000, u32::MAX];
const MASKS: [u32; 5] = [0x4000, 0x8000, 0xff, 0xf_ffff, u32::MAX];

impl Values {
    /// A few of all that there are.
    pub(super) fn drawn(family: Family, numbers: &mut Numbers) -> Self {
        let at = family as usize;
        let far: [IpAddr; 4] = few(FAR[at], numbers);
        let near: [IpAddr; 3] = few(ENDPOINTS[at], numbers);
        let [a, b, c, d] = far;
        let [e, f, g] = near;
        Self {
            family,
            addresses: [a, b, c, d, e, f, g],
            locals: node::addresses(family),
            prefixes: few(NETWORKS[at], numbers).map(|(address, len)| network(address, len)),
            ports: few(PORTS, numbers),
            port_ranges: few(PORT_RANGES, numbers),
            marks: few(MARKS, numbers),
            masks: few(MASKS, numbers),
            macs: ["02:00:00:00:00:fe", "02:00:00:00:01:01"],
        }
    }

    /// Those that others are rewritten to.
    pub(super) fn endpoints(&self) -> [IpAddr; 3] {
        [self.addresses[4], self.addresses[5], self.addresses[6]]
    }
}

/// The first of them in another order.
fn few<T: Copy, const N: usize, const ALL: usize>(
    mut from: [T; ALL],
    numbers: &mut Numbers,
) -> [T; N] {
    const { assert!(0 < ALL && N <= ALL, "there are enough") };
    numbers.shuffle(&mut from);
    std::array::from_fn(|i| from[i])
}

fn network(address: IpAddr, len: Option<u32>) -> Prefix {
    let hole = HOLES[Family::of(address) as usize];
    let network = match len {
        Some(len) => Prefix::with_len(address, len),
        None => Prefix::new(address, hole),
    };
    network.unwrap_or(Prefix::host(address))
}
