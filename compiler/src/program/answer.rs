//! A packet's answer to a test.

use super::evaluate::Context;
use super::test::{AddressOf, Device, Test};
use super::{Program, SetTest, addresses, sets};
use crate::header::{Header, known};
use kpclass_ruleset::decision::Fact;
use kpclass_ruleset::matches::{AddressTypes, PortSide};
use kpclass_ruleset::value::{Interface, InterfacePattern};

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
            Test::MappedRange(to, first, last) => {
                (first..=last).contains(&self.address(AddressOf::Mapped(to)))
            }
            Test::SameAddress((a, m), (b, n)) => self.address(a) & m == self.address(b) & n,
            Test::DestinationIs(address, port) => {
                h.destination == address && has(known::PORTS) && h.destination_port == port
            }
            Test::Protocol(p) => h.protocol == p,
            Test::PortProtocol => addresses::has_port_field(h.protocol),
            Test::HasPorts => has(known::PORTS),
            Test::Fragment => has(known::FRAGMENT),
            Test::SourcePort(range) => has(known::PORTS) && range.contains(h.source_port),
            Test::DestinationPort(range) => has(known::PORTS) && range.contains(h.destination_port),
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
            Test::DestinationLocal => self.program.rules.locals.leads_to_lo(h.destination),
            Test::DestinationNotLocal => {
                self.program.rules.locals.contains(h.destination) == Some(false)
            }
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

    fn in_interface(&self, pattern: InterfacePattern) -> Result<bool, Fact> {
        match self.context.in_interface {
            Some(interface) => Ok(pattern.matches(interface)),
            // Without a known device it is at least not lo.
            None if !pattern.prefix && pattern.name == Interface::lo() => Ok(false),
            None => Err(Fact::InInterface),
        }
    }

    fn out_interface(&self, pattern: InterfacePattern, sent: bool) -> Result<bool, Fact> {
        if sent
            && self
                .program
                .rules
                .locals
                .leads_to_lo(self.header.destination)
        {
            return Ok(pattern.matches(Interface::lo()));
        }
        if !pattern.prefix && pattern.name == Interface::lo() {
            return Ok(false);
        }
        Err(Fact::OutInterface)
    }

    fn address_type(
        &self,
        of: AddressOf,
        types: AddressTypes,
        limit: Option<Device>,
    ) -> Result<bool, Fact> {
        let address = self.address(of);
        let (rules, family) = (&self.program.rules, self.program.family);
        let Some(limit) = limit else {
            return addresses::type_matches(&rules.locals, family, address, types);
        };
        let facts = (&rules.locals, &rules.node);
        let limit = (self.device(limit), limit.fact());
        addresses::limited_type_matches(facts, family, address, types, limit)
    }

    pub(super) fn address(&self, of: AddressOf) -> u128 {
        match of {
            AddressOf::Source => self.header.source,
            AddressOf::Destination => self.header.destination,
            AddressOf::Known(a) => a,
            AddressOf::Mapped(to) => to.address | self.header.source & !to.mask,
        }
    }

    /// The device; `None`: not known, but not `lo`.
    pub(super) fn device(&self, device: Device) -> Option<Interface> {
        match device {
            Device::Arrival => self.context.in_interface,
            Device::ArrivedBy(device) => Some(device),
            Device::Departure => {
                let locals = &self.program.rules.locals;
                locals
                    .leads_to_lo(self.header.destination)
                    .then(Interface::lo)
            }
            Device::LeavesBy(device) => device,
        }
    }

    fn in_set(&self, at: u32) -> Result<bool, Fact> {
        let test = &self.set_tests[at as usize];
        sets::contains(self, test)
    }
}
