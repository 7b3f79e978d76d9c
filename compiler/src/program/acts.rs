//! A program's acts, packed: each endpoint of each class has one.

use super::keys::ClassId;
use super::node::{Act, ActId, DnatAct};
use crate::machine::state::NONE;
use kpclass_ruleset::RuleId;
use std::net::IpAddr;

/// Acts with the classes that they belong to.
#[derive(Clone, Debug, Default)]
pub(crate) struct Acts {
    list: Vec<Packed>,
    /// IPv6 addresses.
    wide: Vec<IpAddr>,
    /// What is rare.
    others: Vec<Act>,
}

/// An act in 16 bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Packed {
    class: ClassId,
    rule: RuleId,
    /// The address, or a position, as `kind` says.
    value: u32,
    port: u16,
    has_port: bool,
    kind: Kind,
}

const _: () = assert!(size_of::<Packed>() == 16);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// To this IPv4 address.
    Narrow,
    /// To an address in `wide`.
    Wide,
    /// To the packet's own address.
    Own,
    /// To some address of this node.
    Local,
    /// The rule set the mark.
    MarkedBy,
    /// Another, in `others`.
    Other,
}

impl Acts {
    /// Adds an act; `class` is [`NONE`] unless it belongs to one.
    pub(crate) fn push(&mut self, class: ClassId, act: Act) -> ActId {
        let packed = self.pack(class, act);
        self.list.push(packed);
        ActId(self.list.len() as u32 - 1)
    }

    fn pack(&mut self, class: ClassId, act: Act) -> Packed {
        let plain = |kind, rule, value| Packed {
            class,
            rule,
            value,
            port: 0,
            has_port: false,
            kind,
        };
        match act {
            Act::Dnat(dnat) => {
                let (kind, value) = match dnat.address {
                    Some(IpAddr::V4(address)) => (Kind::Narrow, address.to_bits()),
                    Some(address) => {
                        self.wide.push(address);
                        (Kind::Wide, self.wide.len() as u32 - 1)
                    }
                    None if dnat.own_address => (Kind::Own, 0),
                    None => (Kind::Local, 0),
                };
                Packed {
                    port: dnat.port.unwrap_or_default(),
                    has_port: dnat.port.is_some(),
                    ..plain(kind, dnat.rule, value)
                }
            }
            Act::MarkedBy(rule) => plain(Kind::MarkedBy, rule, 0),
            other => {
                self.others.push(other);
                plain(Kind::Other, RuleId(NONE), self.others.len() as u32 - 1)
            }
        }
    }

    pub(crate) fn get(&self, act: ActId) -> Act {
        let packed = self.list[act.0 as usize];
        let address = match packed.kind {
            Kind::Narrow => Some(IpAddr::V4(packed.value.into())),
            Kind::Wide => Some(self.wide[packed.value as usize]),
            Kind::Own | Kind::Local => None,
            Kind::MarkedBy => return Act::MarkedBy(packed.rule),
            Kind::Other => return self.others[packed.value as usize],
        };
        Act::Dnat(DnatAct {
            address,
            own_address: packed.kind == Kind::Own,
            port: packed.has_port.then_some(packed.port),
            rule: packed.rule,
        })
    }

    pub(crate) fn class(&self, act: ActId) -> ClassId {
        self.list[act.0 as usize].class
    }

    pub(crate) fn len(&self) -> usize {
        self.list.len()
    }

    pub(crate) fn shrink(&mut self) {
        self.list.shrink_to_fit();
        self.wide.shrink_to_fit();
    }

    pub(crate) fn bytes(&self) -> usize {
        [
            size_of_val(&*self.list),
            size_of_val(&*self.wide),
            size_of_val(&*self.others),
        ]
        .into_iter()
        .sum()
    }

    /// Whether an act names something that there is.
    pub(crate) fn is_sound(&self, act: ActId) -> bool {
        let packed = &self.list[act.0 as usize];
        match packed.kind {
            Kind::Wide => (packed.value as usize) < self.wide.len(),
            Kind::Other => (packed.value as usize) < self.others.len(),
            _ => true,
        }
    }

    #[cfg(test)]
    pub(super) fn disown_all(&mut self) {
        self.list
            .iter_mut()
            .for_each(|packed| packed.class = ClassId(NONE));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use kpclass_ruleset::decision::Snat;

    #[test]
    fn what_is_packed_comes_out_again() {
        let dnat = |address: Option<&str>, own_address, port| {
            Act::Dnat(DnatAct {
                address: address.map(|a| a.parse().unwrap()),
                own_address,
                port,
                rule: RuleId(7),
            })
        };
        let all = [
            dnat(Some("10.1.2.3"), false, Some(0)),
            dnat(Some("fd00::1"), false, None),
            dnat(Some("fd00::2"), false, Some(80)),
            dnat(None, true, Some(81)),
            dnat(None, false, None),
            Act::MarkedBy(RuleId(3)),
            Act::MasqueradeByMarker,
            Act::Snat(Snat::Masquerade, RuleId(9)),
        ];
        let mut acts = Acts::default();
        for (at, act) in all.into_iter().enumerate() {
            assert_eq!(acts.push(ClassId(at as u32), act), ActId(at as u32));
        }
        for (at, act) in all.into_iter().enumerate() {
            let id = ActId(at as u32);
            assert_eq!((acts.get(id), acts.class(id)), (act, ClassId(id.0)));
        }
    }
}
