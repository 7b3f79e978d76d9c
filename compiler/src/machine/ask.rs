//! A condition in a state: answered, or left to the packet.

use super::Machine;
use super::state::{
    Address, Class, DSCP_REWRITTEN, Leg, Mark, NONE, NOTRACKED, SETS_CHANGED, State, TTL_REWRITTEN,
};
use crate::graph::{AddressRange, Ask, Graph, MaskedAddress, Op};
use crate::program::test::{AddressOf, Limit, PortRewrite, Rewrite, Test};
use crate::program::{Leaves, SetTest, addresses};
use kpclass_ruleset::decision::Fact;
use kpclass_ruleset::matches::{AddressTypes, PortSide};
use kpclass_ruleset::value::{CtState, CtStates, Interface, InterfacePattern, PortRange};
use kpclass_ruleset::{Hook, TableId};

/// The answer to a condition.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Answer {
    /// True or false.
    Known(bool),
    /// The packet's own fields tell.
    Test(Test),
    /// Drawn with probability n/d.
    Chance(u32, u32),
    /// The packet's own fields tell something else first, then this is asked again: what is remembered where they hold, and where not.
    First { test: Test, yes: u32, no: u32 },
}

pub(super) const UNKNOWN_LOCAL: Answer = Answer::Test(Test::Unknown(Fact::LocalAddresses));

impl Machine<'_> {
    /// Answers `ask` in `state`. `recent` conditions may change the state's entries.
    pub(super) fn answer(&mut self, state: &mut State, ask: &Ask, inverted: bool) -> Answer {
        match *ask {
            Ask::True => Answer::Known(true),
            Ask::False => Answer::Known(false),
            Ask::Unknown(fact) => Answer::Test(Test::Unknown(fact)),
            Ask::Source(prefix) => source(self.graph, state, prefix),
            Ask::SourceRange(AddressRange { first, last }) => match source_of(state) {
                Some(AddressOf::Known(a)) => Answer::Known(first <= a && a <= last),
                Some(AddressOf::Mapped(rule)) => Answer::Test(Test::MappedRange(rule, first, last)),
                Some(_) => Answer::Test(Test::SourceRange(first, last)),
                None => UNKNOWN_LOCAL,
            },
            Ask::Destination(prefix) => self.destination(state, prefix),
            Ask::DestinationRange(AddressRange { first, last }) => match state.destination {
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
            Ask::SourcePort(range) => Answer::Test(match self.port_rewrite(state) {
                PortRewrite::Kept => Test::SourcePort(range),
                rewrite => Test::NewSourcePort(rewrite, range),
            }),
            Ask::DestinationPort(range) => destination_port(state, range),
            Ask::PortList(side, list) => {
                let known = state.destination_port;
                let ports = &self.graph.port_lists[list.0 as usize];
                let rewrite = self.port_rewrite(state);
                match (side, known) {
                    (PortSide::Destination, Some(port)) => {
                        Answer::Known(ports.iter().any(|r| r.contains(port)))
                    }
                    (PortSide::Either, Some(port)) if ports.iter().any(|r| r.contains(port)) => {
                        Answer::Known(true)
                    }
                    (PortSide::Source | PortSide::Either, _) if rewrite != PortRewrite::Kept => {
                        let either = side == PortSide::Either && known.is_none();
                        Answer::Test(Test::NewSourcePortList(rewrite, list, either))
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
            Ask::CtState(states) => ctstate(state, states, self.source_rewrite(state)),
            Ask::HasConnection => Answer::Known(has_connection(state)),
            // Of packets that are walked alone: each is its connection's first.
            Ask::Direction(original) => Answer::Known(original),
            Ask::Later(_) => Answer::Test(Test::Unknown(Fact::Conntrack)),
            Ask::OriginalSource(prefix) => Answer::Test(Test::Source(prefix)),
            Ask::OriginalDestination(prefix) => match state.class {
                Class::Exact { destination, .. } | Class::Portless { destination, .. } => {
                    Answer::Known(prefix.contains(destination))
                }
                _ => Answer::Test(Test::Destination(prefix)),
            },
            Ask::OriginalSourcePort(range) => match state.class {
                Class::Exact { .. } | Class::Port { .. } => Answer::Test(Test::SourcePort(range)),
                _ => Answer::Test(Test::TupleSourcePort(range)),
            },
            Ask::OriginalDestinationPort(range) => match state.class {
                Class::Exact { port, .. } | Class::Port { port, .. } => {
                    Answer::Known(range.contains(port))
                }
                _ => Answer::Test(Test::TupleDestinationPort(range)),
            },
            Ask::SourceType(types, limit_in, limit_out) => {
                let limit = self.limit(state, limit_in, limit_out);
                self.address_type(source_of(state), types, limit)
            }
            Ask::DestinationType(types, limit_in, limit_out) => {
                let limit = self.limit(state, limit_in, limit_out);
                self.address_type(destination_of(state), types, limit)
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
        let local = match self.leaving(state, hook) {
            Address::Known(a) => self.comes_back(a),
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

    pub(super) fn comes_back(&self, address: u128) -> bool {
        addresses::comes_back(self.locals, self.graph.family, address)
    }

    fn address_type(&self, of: Option<AddressOf>, types: AddressTypes, limit: Limit) -> Answer {
        let Some(of) = of else {
            let family = self.graph.family;
            let answer = addresses::own_type_matches(family, types, limit != Limit::None);
            return known(answer.map_err(|why| match why {
                Fact::LocalAddresses => limit.fact(),
                other => other,
            }));
        };
        match (of, limit) {
            (AddressOf::Known(a), Limit::None) => known(addresses::type_matches(
                self.locals,
                self.graph.family,
                a,
                types,
            )),
            _ => Answer::Test(Test::AddressType(of, types, limit)),
        }
    }

    /// The device that `--limit-iface-in` or `-out` means here.
    fn limit(&self, state: &State, limit_in: bool, limit_out: bool) -> Limit {
        match (limit_in, limit_out) {
            (false, false) => return Limit::None,
            (true, _) => {
                return match state.leg {
                    Leg::Send => Limit::Known(Interface::none(), false),
                    Leg::Lo => Limit::Known(Interface::lo(), false),
                    _ => Limit::Arrival,
                };
            }
            (false, true) => {}
        }
        let hook = state.place().map(|(_, hook)| hook);
        if matches!(hook, Some(Hook::Prerouting | Hook::Input) | None) {
            return Limit::Known(Interface::none(), true);
        }
        match self.leaving(state, hook) {
            _ if state.leg != Leg::Send => Limit::Departure,
            Address::Original => Limit::Sent,
            Address::Known(a) if !self.comes_back(a) => Limit::Departure,
            Address::Known(_) | Address::SomeLocal => Limit::Known(Interface::lo(), true),
        }
    }

    /// The destination whose route `-o` is about: the present one, but at OUTPUT the first, which the packet itself tells where the class does not.
    fn leaving(&self, state: &State, hook: Option<Hook>) -> Address {
        match (hook, state.class) {
            (
                Some(Hook::Output),
                Class::Exact { destination, .. } | Class::Portless { destination, .. },
            ) => Address::Known(destination),
            (Some(Hook::Output), _) => Address::Original,
            _ => state.destination,
        }
    }

    /// The device that the packet leaves by, as far as the way tells.
    fn leg_out(&self, state: &State, hook: Hook) -> Leaves {
        if matches!(hook, Hook::Prerouting | Hook::Input) {
            return Leaves::By(Interface::none());
        }
        match self.leaving(state, Some(hook)) {
            _ if state.leg != Leg::Send => Leaves::NotLo,
            Address::Original => Leaves::AsItCame,
            Address::Known(a) if !self.comes_back(a) => Leaves::NotLo,
            Address::Known(_) | Address::SomeLocal => Leaves::By(Interface::lo()),
        }
    }

    fn set(&mut self, state: &State, id: u32) -> Answer {
        let ask = self.graph.sets[id as usize];
        if state.rewritten & SETS_CHANGED != 0 {
            return Answer::Test(Test::Unknown(Fact::IpSet(ask.name)));
        }
        let (_, hook) = state
            .place()
            .unwrap_or((kpclass_ruleset::TableId::Filter, Hook::Forward));
        let test = SetTest {
            ask,
            id,
            source: source_of(state),
            source_port: self.port_rewrite(state),
            destination: destination_of(state),
            destination_port: state.destination_port,
            mark: state.mark,
            leg_in: match state.leg {
                Leg::Send => Some(Interface::none()),
                Leg::Lo => Some(Interface::lo()),
                _ => None,
            },
            leg_out: self.leg_out(state, hook),
        };
        Answer::Test(Test::Set(self.set_tests.id(test)))
    }
}

/// An answer that no packet's field changes.
fn known(answer: Result<bool, Fact>) -> Answer {
    match answer {
        Ok(answer) => Answer::Known(answer),
        Err(fact) => Answer::Test(Test::Unknown(fact)),
    }
}

pub(super) fn source(graph: &Graph, state: &State, prefix: MaskedAddress) -> Answer {
    match source_of(state) {
        Some(AddressOf::Known(a)) => Answer::Known(prefix.contains(a)),
        Some(AddressOf::Mapped(rule)) => mapped_source(graph, rule, prefix),
        Some(_) => Answer::Test(Test::Source(prefix)),
        None => UNKNOWN_LOCAL,
    }
}

/// Of a source whose network part a NETMAP has replaced, only the rest is left to the packet.
pub(super) fn mapped_source(graph: &Graph, rule: u32, prefix: MaskedAddress) -> Answer {
    let Op::Netmap(to) = graph.rules[rule as usize].op else {
        return Answer::Test(Test::Source(prefix));
    };
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
pub(super) fn source_of(state: &State) -> Option<AddressOf> {
    match state.source {
        Address::Known(a) => Some(AddressOf::Known(a)),
        Address::Original if state.netmap != NONE => Some(AddressOf::Mapped(state.netmap)),
        Address::Original => Some(AddressOf::Source),
        Address::SomeLocal => None,
    }
}

/// The present destination; `None`: some address of this node.
pub(super) fn destination_of(state: &State) -> Option<AddressOf> {
    match state.destination {
        Address::Known(a) => Some(AddressOf::Known(a)),
        Address::Original => Some(AddressOf::Destination),
        Address::SomeLocal => None,
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

fn ctstate(state: &State, states: CtStates, rewrite: Option<Rewrite>) -> Answer {
    if states.contains(seen_ctstate(state)) {
        return Answer::Known(true);
    }
    if !has_connection(state) {
        return Answer::Known(false);
    }
    let dnat = match states.intersects(CtStates::DNAT) {
        true => state.dnat_changed,
        false => Some(false),
    };
    match (dnat, rewrite.filter(|_| states.intersects(CtStates::SNAT))) {
        (Some(true), _) => Answer::Known(true),
        (_, Some(rewrite)) => Answer::Test(Test::SourceChanged(rewrite, dnat.is_none())),
        (Some(false), None) => Answer::Known(false),
        (None, None) => UNKNOWN_LOCAL,
    }
}

pub(super) fn has_connection(state: &State) -> bool {
    !matches!(seen_ctstate(state), CtState::Invalid | CtState::Untracked)
}

/// In raw conntrack has not seen the packet yet (WALK.md 6): as if it were INVALID, unless a NOTRACK was met.
pub(super) fn seen_ctstate(state: &State) -> CtState {
    if is_before_conntrack(state) && state.rewritten & NOTRACKED == 0 {
        CtState::Invalid
    } else {
        state.ctstate
    }
}

fn is_before_conntrack(state: &State) -> bool {
    matches!(state.place(), Some((TableId::Raw, _))) && state.leg != Leg::Lo
}
