//! A condition in a state: answered, or left to the packet.

use super::Machine;
use super::state::{
    Address, Class, DSCP_REWRITTEN, Leg, Mark, NONE, SETS_CHANGED, State, TTL_REWRITTEN,
};
use crate::graph::{Ask, Graph, MaskedAddress, Op};
use crate::program::test::{AddressOf, Device, Test};
use crate::program::{SetTest, addresses};
use kpclass_ruleset::Hook;
use kpclass_ruleset::decision::Fact;
use kpclass_ruleset::matches::{AddressTypes, PortSide};
use kpclass_ruleset::value::{CtState, CtStates, Interface, InterfacePattern, PortRange};

/// The answer to a condition.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Answer {
    /// True or false.
    Known(bool),
    /// The packet's own fields tell.
    Test(Test),
    /// The packet's own fields tell whether this entry of a list is meant; the condition is then asked again.
    Ask(Test, u16),
    /// Drawn with probability n/d.
    Chance(u32, u32),
}

pub(super) const UNKNOWN_LOCAL: Answer = Answer::Test(Test::Unknown(Fact::LocalAddresses));

impl Machine<'_> {
    /// Answers `ask` in `state`. `recent` conditions may change the state's entries.
    pub(super) fn answer(&mut self, state: &mut State, ask: Ask, inverted: bool) -> Answer {
        match ask {
            Ask::True => Answer::Known(true),
            Ask::False => Answer::Known(false),
            Ask::Unknown(fact) => Answer::Test(Test::Unknown(fact)),
            Ask::Source(prefix) => source(self.graph, state, prefix),
            Ask::SourceRange(first, last) => match source_of(self.graph, state) {
                Some(AddressOf::Known(a)) => Answer::Known(first <= a && a <= last),
                Some(AddressOf::Mapped(to)) => Answer::Test(Test::MappedRange(to, first, last)),
                Some(_) => Answer::Test(Test::SourceRange(first, last)),
                None => UNKNOWN_LOCAL,
            },
            Ask::Destination(prefix) => self.destination(state, prefix),
            Ask::DestinationRange(first, last) => match state.destination {
                Address::Known(a) => Answer::Known(first <= a && a <= last),
                Address::Original => Answer::Test(Test::DestinationRange(first, last)),
                Address::SomeLocal => UNKNOWN_LOCAL,
            },
            Ask::InInterface(pattern) => in_interface(state, pattern),
            Ask::OutInterface(pattern) => self.out_interface(state, pattern),
            Ask::Protocol(p) => self.protocol(state, p),
            Ask::PortProtocol => match state.protocol {
                Some(p) => Answer::Known(addresses::has_port_field(p)),
                None => Answer::Test(Test::PortProtocol),
            },
            Ask::HasPorts => match state.class {
                Class::Exact { .. } | Class::Port { .. } => Answer::Known(true),
                Class::Portless { .. } => Answer::Known(false),
                Class::Other => Answer::Test(Test::HasPorts),
            },
            Ask::Fragment => match state.class {
                Class::Exact { .. } | Class::Port { .. } => Answer::Known(false),
                Class::Other | Class::Portless { .. } => Answer::Test(Test::Fragment),
            },
            Ask::SourcePort(range) => Answer::Test(Test::SourcePort(range)),
            Ask::DestinationPort(range) => destination_port(state, range),
            Ask::PortList(side, list) => {
                let known = state.destination_port;
                let ports = &self.graph.port_lists[list.0 as usize];
                match (side, known) {
                    (PortSide::Destination, Some(port)) => {
                        Answer::Known(ports.iter().any(|r| r.contains(port)))
                    }
                    (PortSide::Either, Some(port)) if ports.iter().any(|r| r.contains(port)) => {
                        Answer::Known(true)
                    }
                    (PortSide::Either, Some(_)) => {
                        Answer::Test(Test::PortList(PortSide::Source, list))
                    }
                    _ => Answer::Test(Test::PortList(side, list)),
                }
            }
            Ask::TcpFlags(mask, value) => Answer::Test(Test::TcpFlags(mask, value)),
            Ask::HasIcmp => match state.class {
                Class::Exact { .. } | Class::Port { .. } => Answer::Known(false),
                Class::Other | Class::Portless { .. } => Answer::Test(Test::HasIcmp),
            },
            Ask::Icmp(false, 255, _, _) => Answer::Known(true),
            Ask::Icmp(_, kind, first, last) => Answer::Test(Test::Icmp(kind, first, last)),
            Ask::Mark(mask, value) => mark(state.mark, mask, value),
            Ask::Connmark(mask, value) => mark(state.connmark, mask, value),
            Ask::CtState(states) => ctstate(state, states),
            Ask::HasConnection => Answer::Known(has_connection(state)),
            Ask::OriginalSource(prefix) => Answer::Test(Test::Source(prefix)),
            Ask::OriginalDestination(prefix) => match state.class {
                Class::Exact { destination, .. } | Class::Portless { destination, .. } => {
                    Answer::Known(prefix.contains(destination))
                }
                _ => Answer::Test(Test::Destination(prefix)),
            },
            Ask::OriginalSourcePort(range) => Answer::Test(Test::SourcePort(range)),
            Ask::OriginalDestinationPort(range) => match state.class {
                Class::Exact { port, .. } | Class::Port { port, .. } => {
                    Answer::Known(range.contains(port))
                }
                _ => Answer::Test(Test::DestinationPort(range)),
            },
            Ask::SourceType(types, limit_in, limit_out) => {
                let of = source_of(self.graph, state);
                self.address_type(state, of, types, limit_in, limit_out)
            }
            Ask::DestinationType(types, limit_in, limit_out) => {
                self.address_type(state, destination_of(state), types, limit_in, limit_out)
            }
            Ask::Chance(n, d) => Answer::Chance(n, d),
            Ask::Recent(id) => self.recent(state, self.graph.recents[id as usize], inverted),
            Ask::Set(id) => self.set(state, id),
            Ask::FromDevice if matches!(state.leg, Leg::Send | Leg::Lo) => Answer::Known(false),
            Ask::FromDevice => Answer::Test(Test::FromDevice),
            Ask::Mac(mac) => Answer::Test(Test::Mac(mac)),
            Ask::Length(range) => Answer::Test(Test::Length(range)),
            Ask::Ttl(..) if state.rewritten & TTL_REWRITTEN != 0 => {
                Answer::Test(Test::Unknown(Fact::Ttl))
            }
            Ask::Ttl(first, last) => {
                Answer::Test(Test::Ttl(first, last, state.leg == Leg::Forward))
            }
            Ask::Dscp(_) if state.rewritten & DSCP_REWRITTEN != 0 => {
                Answer::Test(Test::Unknown(Fact::Dscp))
            }
            Ask::Dscp(value) => Answer::Test(Test::Dscp(value)),
        }
    }

    /// An original destination outside the exact classes is none of their addresses with the known port; the
    /// index leaves such rules out, so that only prefixes reach the packet.
    fn destination(&self, state: &State, prefix: MaskedAddress) -> Answer {
        match state.destination {
            Address::Known(a) => Answer::Known(prefix.contains(a)),
            Address::Original => Answer::Test(Test::Destination(prefix)),
            Address::SomeLocal => UNKNOWN_LOCAL,
        }
    }

    fn protocol(&self, state: &State, number: u8) -> Answer {
        match state.protocol {
            Some(p) => Answer::Known(p == number),
            None => Answer::Test(Test::Protocol(number)),
        }
    }

    fn out_interface(&self, state: &State, pattern: InterfacePattern) -> Answer {
        let hook = state.place().map(|(_, hook)| hook);
        if matches!(hook, Some(Hook::Prerouting | Hook::Input) | None) {
            return Answer::Known(pattern.matches(Interface::none()));
        }
        if pattern.prefix && pattern.name.name().is_empty() {
            return Answer::Known(true);
        }
        let sent = state.leg == Leg::Send;
        let local = match state.destination {
            Address::Known(a) => self.locals.leads_to_lo(a),
            Address::SomeLocal => true,
            Address::Original if sent => return Answer::Test(Test::OutInterface(pattern, true)),
            Address::Original => false,
        };
        if sent && local {
            return Answer::Known(pattern.matches(Interface::lo()));
        }
        if !pattern.prefix && pattern.name == Interface::lo() {
            return Answer::Known(false);
        }
        Answer::Test(Test::OutInterface(pattern, false))
    }

    fn address_type(
        &self,
        state: &State,
        of: Option<AddressOf>,
        types: AddressTypes,
        limit_in: bool,
        limit_out: bool,
    ) -> Answer {
        let limit = match (limit_in, limit_out) {
            (true, _) => Some(arrival(state)),
            (_, true) => Some(self.departure(state)),
            _ => None,
        };
        let Some(of) = of else {
            return self.type_of_this_node(types, limit);
        };
        if let (AddressOf::Known(a), None) = (of, limit) {
            let family = self.graph.family;
            return known(addresses::type_matches(self.locals, family, a, types));
        }
        Answer::Test(Test::AddressType(of, types, limit))
    }

    /// `addrtype` of an address of this node of which no more is known. Which device holds it is then not known either.
    fn type_of_this_node(&self, types: AddressTypes, limit: Option<Device>) -> Answer {
        let nature = addresses::Nature {
            kind: addresses::Kind::Unicast,
            local: limit.is_none().then_some(true),
        };
        let answer = addresses::type_of_matches(self.graph.family, nature, types);
        known(answer.map_err(|missing| match (missing, limit) {
            (Fact::LocalAddresses, Some(device)) => device.fact(),
            _ => missing,
        }))
    }

    /// The device by which the packet leaves.
    fn departure(&self, state: &State) -> Device {
        let hook = state.place().map(|(_, hook)| hook);
        if matches!(hook, Some(Hook::Prerouting | Hook::Input) | None) {
            return Device::LeavesBy(Some(Interface::none()));
        }
        let by_lo = match state.destination {
            _ if state.leg != Leg::Send => false,
            Address::Known(a) => self.locals.leads_to_lo(a),
            Address::SomeLocal => true,
            Address::Original => return Device::Departure,
        };
        Device::LeavesBy(by_lo.then(Interface::lo))
    }

    fn set(&mut self, state: &State, id: u32) -> Answer {
        let ask = self.graph.sets[id as usize];
        if state.rewritten & SETS_CHANGED != 0 {
            return Answer::Test(Test::Unknown(Fact::IpSet(ask.name)));
        }
        let test = SetTest {
            ask,
            id,
            source: source_of(self.graph, state),
            destination: destination_of(state),
            destination_port: state.destination_port,
            mark: state.mark,
            arrival: arrival(state),
            departure: self.departure(state),
        };
        Answer::Test(Test::Set(self.set_test(test)))
    }
}

fn source(graph: &Graph, state: &State, prefix: MaskedAddress) -> Answer {
    match source_of(graph, state) {
        Some(AddressOf::Known(a)) => Answer::Known(prefix.contains(a)),
        Some(AddressOf::Mapped(to)) => mapped_source(to, prefix),
        Some(_) => Answer::Test(Test::Source(prefix)),
        None => UNKNOWN_LOCAL,
    }
}

/// Of a source whose network part a NETMAP has replaced, only the rest is left to the packet.
fn mapped_source(to: MaskedAddress, prefix: MaskedAddress) -> Answer {
    let rest = prefix.mask & !to.mask;
    if (to.address ^ prefix.address) & prefix.mask & to.mask != 0 {
        return Answer::Known(false);
    }
    if rest == 0 {
        return Answer::Known(true);
    }
    Answer::Test(Test::Source(MaskedAddress {
        address: prefix.address & rest,
        mask: rest,
    }))
}

/// The present source; `None`: some address of this node.
pub(super) fn source_of(graph: &Graph, state: &State) -> Option<AddressOf> {
    match (state.source, state.netmap) {
        (Address::Known(a), _) => Some(AddressOf::Known(a)),
        (Address::SomeLocal, _) => None,
        (Address::Original, NONE) => Some(AddressOf::Source),
        (Address::Original, rule) => match graph.rules[rule as usize].op {
            Op::Netmap(to) => Some(AddressOf::Mapped(to)),
            _ => Some(AddressOf::Source),
        },
    }
}

/// The present destination; `None`: some address of this node.
pub(super) fn destination_of(state: &State) -> Option<AddressOf> {
    match state.destination {
        Address::Known(a) => Some(AddressOf::Known(a)),
        Address::SomeLocal => None,
        Address::Original => Some(AddressOf::Destination),
    }
}

fn destination_port(state: &State, range: PortRange) -> Answer {
    match state.destination_port {
        Some(port) => Answer::Known(range.contains(port)),
        None => Answer::Test(Test::DestinationPort(range)),
    }
}

fn in_interface(state: &State, pattern: InterfacePattern) -> Answer {
    match state.leg {
        Leg::Send => Answer::Known(pattern.matches(Interface::none())),
        Leg::Lo => Answer::Known(pattern.matches(Interface::lo())),
        _ if pattern.prefix && pattern.name.name().is_empty() => Answer::Known(true),
        _ => Answer::Test(Test::InInterface(pattern)),
    }
}

fn mark(present: Mark, mask: u32, value: u32) -> Answer {
    let kept = present.keep & mask;
    let fixed = !present.keep;
    if present.xor & mask & fixed != value & fixed {
        return Answer::Known(false);
    }
    if kept == 0 {
        return Answer::Known(value & !mask == 0);
    }
    if value & !mask != 0 {
        return Answer::Known(false);
    }
    Answer::Test(Test::Mark(kept, (value ^ present.xor) & kept))
}

fn ctstate(state: &State, states: CtStates) -> Answer {
    let snat = state.snat_done && states.intersects(CtStates::SNAT);
    if states.contains(state.ctstate) || has_connection(state) && snat {
        return Answer::Known(true);
    }
    if !has_connection(state) || !states.intersects(CtStates::DNAT) {
        return Answer::Known(false);
    }
    state.dnat_changed.map_or(UNKNOWN_LOCAL, Answer::Known)
}

pub(super) fn has_connection(state: &State) -> bool {
    !matches!(state.ctstate, CtState::Invalid | CtState::Untracked)
}

/// The device by which the packet came.
fn arrival(state: &State) -> Device {
    match state.leg {
        Leg::Send => Device::ArrivedBy(Interface::none()),
        Leg::Lo => Device::ArrivedBy(Interface::lo()),
        _ => Device::Arrival,
    }
}

/// An answer that no packet changes.
fn known(answer: Result<bool, Fact>) -> Answer {
    answer.map_or_else(|fact| Answer::Test(Test::Unknown(fact)), Answer::Known)
}
