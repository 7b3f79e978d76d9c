//! From a packet's destination key to its class: one probe for the exact key, one for protocol and port.

use crate::header::{Header, known};
use crate::machine::state::Class;
use kpclass_ruleset::value::Family;

/// A class, by position in the program's classes. The last stands for every key that rules do not single out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ClassId(pub u32);

/// An open-addressing table from packed keys to classes. Empty slots hold [`EMPTY`].
#[derive(Clone, Debug)]
struct Table<K> {
    slots: Vec<(K, u32)>,
    mask: usize,
    /// Random, so that no dump can be written whose keys meet in one slot.
    seed: u64,
}

const EMPTY: u32 = u32::MAX;

/// A packed key.
trait Key: Copy + Eq + Default {
    /// A hash of it and a seed: one multiplication to 128 bits for each 64 bits, folded.
    fn mixed(self, seed: u64) -> u64;
}

#[inline]
fn fold(a: u64, b: u64) -> u64 {
    let product = u128::from(a) * u128::from(b);
    product as u64 ^ (product >> 64) as u64
}

/// Odd, with its bits spread (the golden ratio).
const SPREAD: u64 = 0x9e37_79b9_7f4a_7c15;

impl Key for u64 {
    #[inline]
    fn mixed(self, seed: u64) -> u64 {
        fold(self ^ seed, SPREAD)
    }
}

impl Key for u32 {
    #[inline]
    fn mixed(self, seed: u64) -> u64 {
        u64::from(self).mixed(seed)
    }
}

impl Key for (u128, u32) {
    #[inline]
    fn mixed(self, seed: u64) -> u64 {
        let low = (self.0 as u64).mixed(seed);
        let high = ((self.0 >> 64) as u64).mixed(low);
        u64::from(self.1).mixed(high)
    }
}

impl<K: Key> Table<K> {
    fn new(entries: &[(K, u32)]) -> Self {
        let capacity = (entries.len() * 2).max(2).next_power_of_two();
        let mut table = Self {
            slots: vec![(K::default(), EMPTY); capacity],
            mask: capacity - 1,
            seed: ahash::RandomState::new().hash_one(0u64),
        };
        for (key, class) in entries {
            let mut at = table.slot(key);
            while table.slots[at].1 != EMPTY {
                at = (at + 1) & table.mask;
            }
            table.slots[at] = (*key, *class);
        }
        table
    }

    #[inline]
    fn slot(&self, key: &K) -> usize {
        key.mixed(self.seed) as usize & self.mask
    }

    #[inline]
    fn find(&self, key: &K) -> Option<u32> {
        let mut at = self.slot(key);
        loop {
            let (found, class) = self.slots[at];
            if class == EMPTY {
                return None;
            }
            if found == *key {
                return Some(class);
            }
            at = (at + 1) & self.mask;
        }
    }
}

/// The keys of a program's classes.
#[derive(Clone, Debug)]
pub struct Keys {
    v4: Table<u64>,
    v6: Table<(u128, u32)>,
    ports: Table<u32>,
    has_ports: bool,
    other: ClassId,
}

impl Keys {
    /// Of the classes, in order; the last must be [`Class::Other`].
    pub(crate) fn new(family: Family, classes: impl ExactSizeIterator<Item = Class>) -> Self {
        let other = ClassId(classes.len() as u32 - 1);
        let (mut v4, mut v6, mut ports) = (Vec::new(), Vec::new(), Vec::new());
        for (i, class) in classes.enumerate() {
            let id = i as u32;
            match (class, family) {
                (
                    Class::Exact {
                        protocol,
                        destination,
                        port,
                    },
                    Family::V4,
                ) => {
                    v4.push((pack(destination as u32, protocol, port), id));
                }
                (
                    Class::Exact {
                        protocol,
                        destination,
                        port,
                    },
                    Family::V6,
                ) => {
                    v6.push(((destination, pack_port(protocol, port)), id));
                }
                (Class::Port { protocol, port }, _) => ports.push((pack_port(protocol, port), id)),
                _ => {}
            }
        }
        Self {
            v4: Table::new(&v4),
            v6: Table::new(&v6),
            has_ports: !ports.is_empty(),
            ports: Table::new(&ports),
            other,
        }
    }

    /// The class of a packet of the program's family.
    #[inline]
    pub fn class(&self, header: &Header) -> ClassId {
        if header.known & known::PORTS == 0 {
            return self.other;
        }
        let exact = if header.known & known::V6 == 0 {
            let destination = header.destination as u32;
            self.v4
                .find(&pack(destination, header.protocol, header.destination_port))
        } else {
            let port = pack_port(header.protocol, header.destination_port);
            self.v6.find(&(header.destination, port))
        };
        match exact {
            Some(class) => ClassId(class),
            None if self.has_ports => self
                .ports
                .find(&pack_port(header.protocol, header.destination_port))
                .map_or(self.other, ClassId),
            None => self.other,
        }
    }

    /// The class of every other key.
    pub fn other(&self) -> ClassId {
        self.other
    }

    pub(crate) fn bytes(&self) -> usize {
        std::mem::size_of_val(&*self.v4.slots)
            + std::mem::size_of_val(&*self.v6.slots)
            + std::mem::size_of_val(&*self.ports.slots)
    }
}

#[inline]
fn pack(destination: u32, protocol: u8, port: u16) -> u64 {
    u64::from(destination) << 24 | u64::from(protocol) << 16 | u64::from(port)
}

#[inline]
fn pack_port(protocol: u8, port: u16) -> u32 {
    u32::from(protocol) << 16 | u32::from(port)
}
