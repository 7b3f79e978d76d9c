//! A packet's answer to a test.

use super::evaluate::Context;
use super::test::{AddressOf, Limit, PortRewrite, Rewrite, Test};
use super::{Program, SetTest, addresses, sets};
use crate::header::{Header, known};
use kpclass_ruleset::decision::{Fact, Snat};
use kpclass_ruleset::matches::{AddressTypes, PortSide};
use kpclass_ruleset::value::{Family, Interface, InterfacePattern, PortRange, address_number};

/// A packet that is asked.
pub(super) struct Asked<'p> {
    pub(super) program: &'p Program,
    pub(super) header: &'p Header,
    pub(super) context: &'p Context,
    /// The set tests that tests point at: the program's, or those that a walk met.
    pub(super) set_tests: &'p [SetTest],
}

impl Asked<'_> {
    /// The packet's answer to a test.
    #[inline]
    pub(super) fn answer(&self, test: &Test) -> Result<bool, Fact> {
        let h = self.header;
        let has = |bit: u16| h.known & bit != 0;
        let known_field = |bit: u16, fact: Fact, answer: bool| {
            if has(bit) { Ok(answer) } else { Err(fact) }
        };
        Ok(match *test {
            Test::Unknown(fact) => return Err(fact),
            Test::Source(prefix) => prefix.contains(h.source),
            Test::SourceRange(first, last) => first <= h.source && h.source <= last,
            Test::Destination(prefix) => prefix.contains(h.destination),
            Test::DestinationRange(first, last) => first <= h.destination && h.destination <= last,
            Test::DestinationIs(address, port) => {
                h.destination == address && has(known::PORTS) && h.destination_port == port
            }
            Test::MappedRange(rule, first, last) => {
                (first..=last).contains(&self.address(AddressOf::Mapped(rule)))
            }
            Test::MappedIs(rule, source, m, n) => {
                let own = if source { h.source } else { h.destination };
                self.address(AddressOf::Mapped(rule)) & m == own & n
            }
            Test::SidesMeet(source, destination) => {
                h.source & source == h.destination & destination
            }
            Test::Protocol(p) => h.protocol == p,
            Test::PortProtocol => addresses::has_port_field(h.protocol),
            Test::HasPorts => has(known::PORTS),
            Test::Fragment => has(known::FRAGMENT),
            Test::SourcePort(range) => has(known::PORTS) && range.contains(h.source_port),
            Test::NewSourcePort(..) | Test::NewSourcePortList(..) if !has(known::PORTS) => false,
            Test::NewSourcePort(rewrite, range) => {
                return all_alike(rewrite.of(h.source_port), &[range]);
            }
            Test::NewSourcePortList(rewrite, list, either) => {
                let ports = &self.program.rules.graph.port_lists[list.0 as usize];
                if either && ports.iter().any(|r| r.contains(h.destination_port)) {
                    return Ok(true);
                }
                return all_alike(rewrite.of(h.source_port), ports);
            }
            Test::DestinationPort(range) => has(known::PORTS) && range.contains(h.destination_port),
            Test::TupleSourcePort(range) => match (has(known::PORTS), has(known::ICMP)) {
                (true, _) => range.contains(h.source_port),
                (false, true) => return Err(Fact::Conntrack),
                (false, false) => range.contains(0),
            },
            Test::TupleDestinationPort(range) => match (has(known::PORTS), has(known::ICMP)) {
                (true, _) => range.contains(h.destination_port),
                (false, true) => range.contains(u16::from_be_bytes([h.icmp_type, h.icmp_code])),
                (false, false) => range.contains(0),
            },
            Test::SourceChanged(rewrite, else_unknown) => {
                return match self.source_changed(rewrite) {
                    Ok(false) if else_unknown => Err(Fact::LocalAddresses),
                    answer => answer,
                };
            }
            Test::LeavesLoopback(to) => h.leaves_loopback(to),
            Test::LinkLocalDestination => {
                addresses::is_link_local(self.program.family, h.destination)
            }
            Test::ArrivalKnown => self.context.in_interface.is_some(),
            Test::PortList(side, list) => {
                let ports = &self.program.rules.graph.port_lists[list.0 as usize];
                has(known::PORTS)
                    && ports.iter().any(|r| match side {
                        PortSide::Source => r.contains(h.source_port),
                        PortSide::Destination => r.contains(h.destination_port),
                        PortSide::Either => {
                            r.contains(h.source_port) || r.contains(h.destination_port)
                        }
                    })
            }
            Test::TcpFlags(mask, value) => has(known::TCP_FLAGS) && h.tcp_flags & mask == value,
            Test::HasIcmp => has(known::ICMP),
            Test::Icmp(kind, first, last) => {
                has(known::ICMP)
                    && h.icmp_type == kind
                    && first <= h.icmp_code
                    && h.icmp_code <= last
            }
            Test::Mark(mask, value) => self.context.mark & mask == value,
            Test::InInterface(pattern) => return self.in_interface(pattern),
            Test::OutInterface(pattern, sent) => return self.out_interface(pattern, sent),
            Test::AddressType(of, types, limit) => return self.address_type(of, types, limit),
            Test::ComesBack => self.comes_back(),
            Test::DestinationNotLocal => self.destination_local() == Some(false),
            Test::RefusedOnEntry => {
                let by_lo = self.context.in_interface == Some(Interface::lo());
                addresses::refused_on_entry(h.source, h.destination, by_lo)
            }
            Test::ArrivedBy(device) => self.context.in_interface == Some(device),
            Test::FromDevice => self.context.in_interface != Some(Interface::lo()),
            Test::Mac(mac) => return known_field(known::MAC, Fact::Mac, h.source_mac == mac),
            Test::Length(range) => {
                return known_field(known::LENGTH, Fact::Length, range.contains(h.length));
            }
            Test::Ttl(first, last, forwarded) => {
                let ttl = if forwarded {
                    h.ttl.saturating_sub(1)
                } else {
                    h.ttl
                };
                return known_field(known::TTL, Fact::Ttl, first <= ttl && ttl <= last);
            }
            Test::Dscp(value) => return known_field(known::DSCP, Fact::Dscp, h.dscp == value),
            Test::Set(at) => return self.in_set(at),
        })
    }

    fn destination_local(&self) -> Option<bool> {
        self.program.rules.locals.contains(self.header.destination)
    }

    /// Whether nat gave the source another address or port than it had (WALK.md 6, conntrack).
    fn source_changed(&self, rewrite: Rewrite) -> Result<bool, Fact> {
        let (h, program) = (self.header, self.program);
        let (snat, ports) = match rewrite {
            Rewrite::Netmap(to) => return Ok(!to.contains(h.source)),
            Rewrite::To(snat, ports) => (snat, ports),
        };
        let address = match snat {
            Snat::Netmap(to) => Ok(address_number(to) != h.source),
            Snat::Masquerade => {
                let loopback = program.family == Family::V4 && h.source >> 24 == 127
                    || program.family == Family::V6 && h.source == 1;
                let foreign = program.rules.locals.contains(h.source) == Some(false);
                match loopback || foreign {
                    true => Ok(true),
                    false => Err(Fact::LocalAddresses),
                }
            }
            Snat::To { addresses, .. } => {
                match addresses.map(|(first, last)| (address_number(first), address_number(last))) {
                    None => Ok(false),
                    Some((first, last)) if first == last => Ok(first != h.source),
                    Some((first, last)) if (first..=last).contains(&h.source) => {
                        Err(Fact::NatAddress)
                    }
                    Some(_) => Ok(true),
                }
            }
        };
        match (address, self.keeps_port(ports)) {
            (Ok(true), _) | (_, Ok(false)) => Ok(true),
            (Err(fact), _) | (_, Err(fact)) => Err(fact),
            (Ok(false), Ok(true)) => Ok(false),
        }
    }

    fn keeps_port(&self, rewrite: PortRewrite) -> Result<bool, Fact> {
        let (h, own) = (self.header, self.header.source_port);
        match h.known & known::PORTS != 0 {
            true => all_alike(rewrite.of(own), &[PortRange::single(own)]),
            false => Ok(true),
        }
    }

    fn comes_back(&self) -> bool {
        let program = self.program;
        addresses::comes_back(
            &program.rules.locals,
            program.family,
            self.header.destination,
        )
    }

    fn in_interface(&self, pattern: InterfacePattern) -> Result<bool, Fact> {
        match self.context.in_interface {
            Some(interface) => Ok(pattern.matches(interface)),
            // Without a known device it is at least not lo.
            None if !pattern.prefix && pattern.name == Interface::lo() => Ok(false),
            None => Err(Fact::InInterface),
        }
    }

    fn out_interface(&self, pattern: InterfacePattern, sent: bool) -> Result<bool, Fact> {
        if sent && self.comes_back() {
            return Ok(pattern.matches(Interface::lo()));
        }
        if !pattern.prefix && pattern.name == Interface::lo() {
            return Ok(false);
        }
        Err(Fact::OutInterface)
    }

    fn address_type(&self, of: AddressOf, types: AddressTypes, limit: Limit) -> Result<bool, Fact> {
        let address = self.address(of);
        let (rules, family) = (&self.program.rules, self.program.family);
        let (locals, node) = (&rules.locals, &rules.node);
        let device = match limit {
            Limit::None => return addresses::type_matches(locals, family, address, types),
            Limit::Arrival => self.context.in_interface,
            Limit::Known(device, _) => Some(device),
            Limit::Departure => None,
            Limit::Sent => self.comes_back().then(Interface::lo),
        };
        addresses::limited_type_matches(locals, node, family, address, types, device, limit.fact())
    }

    pub(super) fn address(&self, of: AddressOf) -> u128 {
        match of {
            AddressOf::Source => self.header.source,
            AddressOf::Destination => self.header.destination,
            AddressOf::Known(a) => a,
            AddressOf::Mapped(rule) => self.program.rules.graph.mapped(rule, self.header.source),
        }
    }

    fn in_set(&self, at: u32) -> Result<bool, Fact> {
        let test = &self.set_tests[at as usize];
        sets::contains(self, test)
    }
}

/// Whether the ports of `drawn`, of which nat takes one, are in the list: all of them or none.
pub(crate) fn all_alike(drawn: PortRange, list: &[PortRange]) -> Result<bool, Fact> {
    let mut outside = drawn.first;
    loop {
        // The first port that is not known to be in the list.
        let holds = |range: &&PortRange| range.contains(outside);
        match list.iter().find(holds) {
            Some(range) if range.last >= drawn.last => return Ok(true),
            Some(range) => outside = range.last + 1,
            None => break,
        }
    }
    let meets = |range: &PortRange| range.first <= drawn.last && drawn.first <= range.last;
    match list.iter().any(meets) {
        true => Err(Fact::NatPort),
        false => Ok(false),
    }
}
