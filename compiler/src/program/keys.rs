//! From a packet's destination key to its class: one probe for the exact key, one for protocol and port.

use super::lookup::{Address, Port, Table, Tuple, Value, port_key};
use crate::header::{Header, known};
use crate::machine::state::Class;
use kpclass_ruleset::value::Family;

/// A class, by position in the program's classes. The last stands for every key that rules do not single out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ClassId(pub u32);

impl Value for ClassId {
    const NONE: Self = Self(u32::MAX);
}

/// The keys of a program's classes.
#[derive(Clone, Debug)]
pub struct Keys {
    v4: Table<<u32 as Address>::Key, ClassId>,
    v6: Table<<u128 as Address>::Key, ClassId>,
    ports: Table<u64, ClassId>,
    has_ports: bool,
    other: ClassId,
}

impl Keys {
    /// Of the classes, in order; the last must be [`Class::Other`].
    pub(crate) fn new(family: Family, classes: impl ExactSizeIterator<Item = Class>) -> Self {
        let other = ClassId(classes.len() as u32 - 1);
        let (mut v4, mut v6, mut ports) = (Vec::new(), Vec::new(), Vec::new());
        for (i, class) in classes.enumerate() {
            let id = ClassId(i as u32);
            match (class, family) {
                (
                    Class::Exact {
                        protocol,
                        destination,
                        port,
                    },
                    Family::V4,
                ) => {
                    v4.push((u32::new(destination).key(protocol, Port::new(port)), id));
                }
                (
                    Class::Exact {
                        protocol,
                        destination,
                        port,
                    },
                    Family::V6,
                ) => {
                    v6.push((u128::new(destination).key(protocol, Port::new(port)), id));
                }
                (Class::Port { protocol, port }, _) => ports.push((port_key(protocol, port), id)),
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
        let (protocol, port) = (header.protocol, header.destination_port);
        let exact = if header.known & known::V6 == 0 {
            self.v4.get(Tuple::<u32>::of_fields(header).key)
        } else {
            self.v6.get(Tuple::<u128>::of_fields(header).key)
        };
        match exact {
            Some(class) => class,
            None if self.has_ports => {
                let class = self.ports.get(port_key(protocol, port));
                class.unwrap_or(self.other)
            }
            None => self.other,
        }
    }

    /// The class of every other key.
    pub fn other(&self) -> ClassId {
        self.other
    }

    pub(crate) fn bytes(&self) -> usize {
        [self.v4.bytes(), self.v6.bytes(), self.ports.bytes()]
            .into_iter()
            .sum()
    }
}
