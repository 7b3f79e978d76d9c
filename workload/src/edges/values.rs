//! What the rules of one ruleset name, each a choice for every packet's other fields.

use super::devices;
use crate::numbers::Numbers;
use kpclass_ruleset::Ruleset;
use kpclass_ruleset::matches::{MatchKind, Ports};
use kpclass_ruleset::node::NodeFacts;
use kpclass_ruleset::target::{NatRange, Target};
use kpclass_ruleset::value::{Family, Interface, address_number, number_address};
use std::net::IpAddr;

/// The values, sorted, each once.
#[derive(Clone, Debug)]
pub(super) struct Values {
    family: Family,
    addresses: Vec<u128>,
    ports: Vec<u16>,
    interfaces: Vec<Interface>,
    marks: Vec<u32>,
    /// The node's addresses.
    pub(super) locals: Vec<IpAddr>,
}

impl Values {
    /// Those of a ruleset, on a node with these addresses.
    pub(super) fn of(ruleset: &Ruleset, locals: Vec<IpAddr>, node: Option<&NodeFacts>) -> Self {
        let family = ruleset.family();
        let outside: [u128; 2] = match family {
            Family::V4 => [0xc0a8_0709, 0x0808_0808],
            Family::V6 => [0x2001_0db8 << 96 | 9, 0xfd00 << 112 | 0x99],
        };
        let mut values = Self {
            family,
            addresses: outside.to_vec(),
            ports: vec![0, 1, 80, 443, 65535],
            interfaces: vec![Interface::lo()],
            marks: vec![0, 0, 0x4000, 0x8000, u32::MAX],
            locals,
        };
        let own = values.locals.iter().map(|a| address_number(*a));
        values.addresses.extend(own);
        values.interfaces.extend(node.into_iter().flat_map(devices));
        for (_, rule) in ruleset.rules() {
            for m in ruleset.matches(rule) {
                values.add_match(&m.kind);
            }
            if let Target::Dnat(range) | Target::Redirect(range) = &rule.target {
                values.add_range(range);
            }
        }
        values.addresses.sort_unstable();
        values.addresses.dedup();
        values.ports.sort_unstable();
        values.ports.dedup();
        values.interfaces.sort_unstable();
        values.interfaces.dedup();
        values
    }

    fn add_match(&mut self, kind: &MatchKind) {
        match kind {
            MatchKind::Source(p) | MatchKind::Destination(p) => {
                self.addresses.push(address_number(p.address()));
            }
            MatchKind::InInterface(p) | MatchKind::OutInterface(p) => self.interfaces.push(p.name),
            MatchKind::Tcp(t) => self.add_ports(t.ports),
            MatchKind::Udp(p) | MatchKind::Sctp(p) | MatchKind::Dccp(p) => self.add_ports(*p),
            MatchKind::Multiport(list) => {
                let ends = list
                    .ports
                    .iter()
                    .flat_map(|range| [range.first, range.last]);
                self.ports.extend(ends);
            }
            MatchKind::Iprange(range) => {
                for (first, last, _) in [range.source, range.destination].into_iter().flatten() {
                    self.addresses
                        .extend([address_number(first), address_number(last)]);
                }
            }
            MatchKind::Conntrack(ct) => {
                for (prefix, _) in [ct.original_source, ct.original_destination]
                    .into_iter()
                    .flatten()
                {
                    self.addresses.push(address_number(prefix.address()));
                }
            }
            MatchKind::Mark(test) => self.marks.push(test.value),
            _ => {}
        }
    }

    fn add_ports(&mut self, of: Ports) {
        for range in [of.source, of.destination] {
            self.ports.extend([range.first, range.last]);
        }
    }

    fn add_range(&mut self, range: &NatRange) {
        if let Some((first, last)) = range.addresses {
            self.addresses
                .extend([address_number(first), address_number(last)]);
        }
        if let Some(ports) = range.ports {
            self.ports.extend([ports.first, ports.last]);
        }
    }

    /// An address, or one beside it.
    pub(super) fn address(&self, numbers: &mut Numbers) -> IpAddr {
        let number = numbers.pick(&self.addresses).copied().unwrap_or_default();
        let step = numbers.choose([0, 0, 0, 0, 1, u128::MAX]);
        let all = match self.family {
            Family::V4 => u128::from(u32::MAX),
            Family::V6 => u128::MAX,
        };
        number_address(self.family, number.wrapping_add(step) & all)
    }

    /// A port, or one beside it.
    pub(super) fn port(&self, numbers: &mut Numbers) -> u16 {
        let port = numbers.pick(&self.ports).copied().unwrap_or_default();
        port.wrapping_add(numbers.choose([0, 0, 0, 1, u16::MAX]))
    }

    /// A device, or none that is known.
    pub(super) fn device(&self, numbers: &mut Numbers) -> Option<Interface> {
        match numbers.index(3) {
            0 => None,
            1 => Interface::new("eth0"),
            _ => numbers.pick(&self.interfaces).copied(),
        }
    }

    /// A mark.
    pub(super) fn mark(&self, numbers: &mut Numbers) -> u32 {
        numbers.pick(&self.marks).copied().unwrap_or_default()
    }
}
