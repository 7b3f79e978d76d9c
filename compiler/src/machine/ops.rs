//! What a matching rule does to the state.

use super::ask::has_connection;
use super::state::{
    Address, Class, DSCP_REWRITTEN, Leg, Mark, NONE, NOTRACKED, SETS_CHANGED, State, TTL_REWRITTEN,
};
use super::{End, Machine, Stop, draw};
use crate::graph::{MaskedAddress, Op};
use crate::program::addresses;
use crate::program::node::{Act, DnatAct};
use crate::program::test::Test;
use kpclass_ruleset::decision::{Disposition, Fact, MAX_NAT_CHOICES};
use kpclass_ruleset::target::{ConnmarkOp, MarkSet, NatRange};
use kpclass_ruleset::value::{
    CtState, Family, Interface, PortRange, address_number, number_address,
};
use kpclass_ruleset::{Hook, RuleId, TableId};

/// [`State::choice`]: this address of the range is the one.
pub(super) const CHOSEN: u32 = 1 << 15;
/// The packet has ports.
const WITH_PORTS: u32 = 1 << 14;
/// It has none.
const WITHOUT_PORTS: u32 = 1 << 13;
/// The rewrite changes address or port.
const CHANGED: u32 = 1 << 12;
/// It does not.
pub(super) const UNCHANGED: u32 = 1 << 11;
/// Nobody can tell.
const MAYBE_CHANGED: u32 = 1 << 10;
/// The position in the range, or among the devices.
pub(crate) const POSITION: u32 = (1 << 10) - 1;
/// The new destination has no route from where the packet comes from.
const STRANDED: u32 = 1 << 16;
/// It has.
const ROUTED: u32 = 1 << 17;
/// The destination is link-local.
const ON_LINK: u32 = 1 << 18;
/// It is not.
const OFF_LINK: u32 = 1 << 19;

/// The port stays.
const SAME_PORT: u32 = 1 << 20;

impl Machine<'_> {
    /// Executes the target of rule `id`, whose conditions hold.
    pub(super) fn execute(
        &mut self,
        state: &mut State,
        id: RuleId,
        op: &Op,
        acts: &mut Vec<Act>,
    ) -> Option<Stop> {
        let end = |state: &State, disposition| {
            Some(Stop::End(End {
                disposition,
                decided_by: Some(id),
                mark: state.mark,
            }))
        };
        match *op {
            Op::Drop => return end(state, Disposition::Drop),
            Op::Reject(with) => return end(state, Disposition::Reject(with)),
            Op::Unknown(fact) => return unknown(state, Some(id), fact),
            Op::Accept => self.leave_stage(state),
            Op::Return => return self.end_of_chain(state),
            Op::Jump(to) => self.jump(state, to),
            Op::Goto(to) => self.go_to(state, to),
            Op::Dnat(_) | Op::Redirect(_) | Op::Snat(..) | Op::Netmap(_) => {
                return self.nat(state, id, op, acts);
            }
            Op::KubePostrouting => return self.kube_postrouting(state, id, acts),
            _ => {
                self.note(state, id, op, acts);
                state.pass_rule();
            }
        }
        None
    }

    /// A rewrite, at a hook at which the kernel takes it (WALK.md 1.6).
    pub(super) fn nat(
        &mut self,
        state: &mut State,
        id: RuleId,
        op: &Op,
        acts: &mut Vec<Act>,
    ) -> Option<Stop> {
        use Hook::{Input, Output, Postrouting, Prerouting};
        let of_destination = match state.place() {
            Some((TableId::Nat, Prerouting | Output)) => true,
            Some((TableId::Nat, Postrouting | Input)) => false,
            _ => return unknown(state, Some(id), Fact::NatHook),
        };
        match (*op, of_destination) {
            (Op::Dnat(range), true) => return self.dnat(state, id, range, acts),
            (Op::Redirect(range), true) => return self.redirect(state, id, range, acts),
            (Op::Netmap(to), true) => return self.netmap(state, id, to, acts),
            (Op::Netmap(to), false) => {
                acts.push(Act::NetmapSource(to, id));
                state.netmap = state.rule;
                self.note_snat(state, state.rule);
                self.leave_stage(state);
            }
            (Op::Snat(snat, _), false) => self.snat(state, id, snat, acts),
            _ => return unknown(state, Some(id), Fact::NatHook),
        }
        None
    }

    /// Targets after which the walk goes on with the next rule.
    fn note(&self, state: &mut State, id: RuleId, op: &Op, acts: &mut Vec<Act>) {
        match *op {
            Op::Mark(set) => {
                state.mark = apply(set, state.mark);
                if set.value & set.mask != 0 {
                    let by = self.credited(state, id);
                    state.marked = true;
                    acts.push(Act::MarkedBy(by));
                }
            }
            Op::SetMarkBit(bit) => {
                state.mark = apply(
                    MarkSet {
                        value: bit,
                        mask: bit,
                    },
                    state.mark,
                );
                state.marked = true;
                acts.push(Act::MarkedBy(id));
            }
            Op::Connmark(op) if has_connection(state) && self.graph.conntrack_on => {
                connmark(state, op);
            }
            Op::Notrack if takes_notrack(state) => {
                state.ctstate = CtState::Untracked;
                state.rewritten |= NOTRACKED;
            }
            Op::RewriteTtl => state.rewritten |= TTL_REWRITTEN,
            Op::RewriteDscp => state.rewritten |= DSCP_REWRITTEN,
            Op::ChangeSets => state.rewritten |= SETS_CHANGED,
            _ => {}
        }
    }

    /// The rule that a mark is credited to: in a `KUBE-MARK-…` chain the one that jumped there.
    fn credited(&self, state: &State, id: RuleId) -> RuleId {
        let in_mark_chain = self.graph.chains[state.chain as usize].is_mark_chain;
        if in_mark_chain && state.entered_by != NONE {
            return self.graph.rules[state.entered_by as usize].id;
        }
        id
    }

    fn jump(&mut self, state: &mut State, to: u32) {
        let frame = self.push_frame(state);
        self.go_to(state, to);
        state.stack = frame;
    }

    fn go_to(&self, state: &mut State, to: u32) {
        let entered_by = state.rule;
        state.enter(self.graph, to);
        state.choice = 0;
        state.entered_by = if self.graph.chains[to as usize].is_mark_chain {
            entered_by
        } else {
            NONE
        };
    }

    fn dnat(
        &mut self,
        state: &mut State,
        id: RuleId,
        range: NatRange,
        acts: &mut Vec<Act>,
    ) -> Option<Stop> {
        let addresses = range
            .addresses
            .map(|(a, b)| (address_number(a), address_number(b)));
        let chosen = match addresses {
            None => None,
            Some((first, last)) if first == last => Some(first),
            Some((first, last)) => {
                let more = last.checked_sub(first);
                let Some(more) = more.filter(|more| *more < MAX_NAT_CHOICES) else {
                    return unknown(state, Some(id), Fact::NatAddress);
                };
                let at = u128::from(state.choice & POSITION);
                if state.choice & CHOSEN == 0 && at < more {
                    return choose(state, (more - at + 1) as u32);
                }
                Some(first + at)
            }
        };
        let to = chosen.map_or(state.destination, Address::Known);
        self.rewrite_destination(state, id, to, range, acts)
    }

    fn redirect(
        &mut self,
        state: &mut State,
        id: RuleId,
        range: NatRange,
        acts: &mut Vec<Act>,
    ) -> Option<Stop> {
        if state.choice & STRANDED != 0 && state.leg != Leg::Send {
            return dropped(state, Some(id));
        }
        let at = (state.choice & POSITION) as usize;
        let Some(on_link) = self.is_on_link(state) else {
            return Some(ask(
                state,
                id,
                Test::LinkLocalDestination,
                [ON_LINK, OFF_LINK],
            ));
        };
        let to = match self.locals.devices(on_link).get(at) {
            _ if state.leg == Leg::Send => Address::Known(addresses::loopback(self.graph.family)),
            Some((_, first)) if state.choice & CHOSEN != 0 => Address::Known(*first),
            Some((device, _)) => return Some(arrived_by(state, id, *device)),
            None if self.locals.every_device_is_known && state.choice & CHOSEN == 0 => {
                return Some(self.known_arrival(state, id));
            }
            None => Address::SomeLocal,
        };
        self.rewrite_destination(state, id, to, range, acts)
    }

    /// Whether the destination is link-local, which only IPv6 minds; `None`: the packet tells.
    fn is_on_link(&self, state: &State) -> Option<bool> {
        match (state.destination, state.choice & (ON_LINK | OFF_LINK)) {
            _ if self.graph.family == Family::V4 || state.leg == Leg::Send => Some(false),
            (Address::Known(a), _) => Some(addresses::is_link_local(self.graph.family, a)),
            (Address::SomeLocal, _) => Some(false),
            (Address::Original, 0) => None,
            (Address::Original, bits) => Some(bits == ON_LINK),
        }
    }

    /// Stops at a redirect whose device is none of those with addresses: one that is known has none, and the packet is dropped.
    fn known_arrival(&self, state: &State, id: RuleId) -> Stop {
        let (mut dropped, mut unknown) = (*state, *state);
        dropped.choice |= STRANDED;
        unknown.choice |= CHOSEN;
        Stop::Test {
            test: Test::ArrivalKnown,
            inverted: false,
            again: false,
            rule: id,
            yes: dropped,
            no: unknown,
        }
    }

    fn netmap(
        &mut self,
        state: &mut State,
        id: RuleId,
        to: MaskedAddress,
        acts: &mut Vec<Act>,
    ) -> Option<Stop> {
        let Address::Known(present) = state.destination else {
            return Some(Stop::NeedsKey);
        };
        let to = Address::Known(to.address | present & !to.mask);
        self.rewrite_destination(state, id, to, NatRange::default(), acts)
    }

    /// Port and address change; nat is done with the destination. What the class leaves open is asked first.
    fn rewrite_destination(
        &mut self,
        state: &mut State,
        id: RuleId,
        to: Address,
        range: NatRange,
        acts: &mut Vec<Act>,
    ) -> Option<Stop> {
        let Some(has_ports) = has_ports(state) else {
            return Some(ask(state, id, Test::HasPorts, [WITH_PORTS, WITHOUT_PORTS]));
        };
        if has_ports && is_port_drawn(range) {
            return unknown(state, Some(id), Fact::NatAddress);
        }
        let port = match (range.ports.filter(|_| has_ports), state.destination_port) {
            (None, present) => present,
            (Some(ports), Some(present)) => Some(rewrite_port(ports, range.base_port, present)),
            (Some(ports), None) if ports.first == ports.last => Some(ports.first),
            (Some(_), None) => return Some(Stop::NeedsKey),
        };
        let changed = match self.is_changed(state, to, port) {
            Ok(changed) => changed,
            Err((test, notes)) => return Some(ask(state, id, test, notes)),
        };
        let stranded = match (
            self.needs_route(state, to),
            state.choice & (STRANDED | ROUTED),
        ) {
            (Some(test), 0) => return Some(ask(state, id, test, [STRANDED, ROUTED])),
            (_, answer) => answer == STRANDED,
        };
        let address = match to {
            Address::Known(a) => Some(number_address(self.graph.family, a)),
            Address::Original | Address::SomeLocal => None,
        };
        let act = DnatAct {
            address,
            own_address: to == Address::Original,
            port: port.filter(|_| has_ports),
            rule: id,
        };
        acts.push(Act::Dnat(act));
        state.destination = to;
        state.destination_port = port;
        if stranded {
            return dropped(state, None);
        }
        state.dnat_changed = changed;
        self.leave_stage(state);
        None
    }

    /// What tells whether the new destination of a packet of this node needs a route that it does not get, one to another host from 127.0.0.0/8
    /// (WALK.md 1.5).
    pub(super) fn needs_route(&self, state: &State, to: Address) -> Option<Test> {
        let Address::Known(to) = to else { return None };
        let asks = state.leg == Leg::Send
            && self.graph.family == Family::V4
            && self.locals.route_localnet == Some(false)
            && !self.comes_back(to);
        asks.then_some(Test::LeavesLoopback(to))
    }

    /// Whether the rewrite changes anything; or the test that tells, with what to note of its answers.
    fn is_changed(
        &self,
        state: &State,
        to: Address,
        port: Option<u16>,
    ) -> Result<Option<bool>, (Test, [u32; 2])> {
        match state.choice & (CHANGED | UNCHANGED | MAYBE_CHANGED) {
            0 => {}
            MAYBE_CHANGED => return Ok(None),
            bits => return Ok(Some(bits == CHANGED)),
        }
        let port_test = match (state.destination_port, port) {
            (Some(before), Some(after)) if before != after => return Ok(Some(true)),
            (None, Some(_)) if state.choice & SAME_PORT != 0 => None,
            (None, Some(after)) => Some(Test::DestinationPort(PortRange::single(after))),
            _ => None,
        };
        let tells = |test| Err((test, [UNCHANGED, CHANGED]));
        match (state.destination, to, port_test) {
            (before, to, None) if before == to => Ok(Some(false)),
            (before, to, Some(test)) if before == to => tells(test),
            (Address::Original, Address::Known(a), None) => tells(Test::Destination(self.host(a))),
            (Address::Original, Address::Known(a), Some(_)) => {
                tells(Test::DestinationIs(a, port.unwrap_or_default()))
            }
            // An address of this node may be the one that it was, another port is none.
            (_, Address::SomeLocal, Some(test)) => Err((test, [SAME_PORT, CHANGED])),
            (Address::Known(a), Address::SomeLocal, None) => {
                Ok((self.locals.contains(a) == Some(false)).then_some(true))
            }
            (Address::Original, Address::SomeLocal, None) => {
                Err((Test::DestinationNotLocal, [CHANGED, MAYBE_CHANGED]))
            }
            _ => Ok(Some(true)),
        }
    }

    fn host(&self, address: u128) -> MaskedAddress {
        let mask = match self.graph.family {
            Family::V4 => u128::from(u32::MAX),
            Family::V6 => u128::MAX,
        };
        MaskedAddress { address, mask }
    }
}

/// `NOTRACK` stands in raw; on the lo leg it takes only what has no connection.
fn takes_notrack(state: &State) -> bool {
    let in_raw = matches!(state.place(), Some((TableId::Raw, _)));
    in_raw && (state.leg != Leg::Lo || state.ctstate == CtState::Invalid)
}

/// Whether the packet has ports, where the class or an earlier answer tells.
fn has_ports(state: &State) -> Option<bool> {
    match state.class {
        Class::Exact { .. } | Class::Port { .. } => Some(true),
        Class::Portless { .. } => Some(false),
        Class::Other => match state.choice & (WITH_PORTS | WITHOUT_PORTS) {
            0 => None,
            bits => Some(bits == WITH_PORTS),
        },
    }
}

/// Stops to ask whether the packet arrived by this device, or by one of those after it.
fn arrived_by(state: &State, rule: RuleId, device: Interface) -> Stop {
    let (mut yes, mut no) = (*state, *state);
    yes.choice |= CHOSEN;
    no.choice += 1;
    Stop::Test {
        test: Test::ArrivedBy(device),
        inverted: false,
        again: false,
        rule,
        yes,
        no,
    }
}

/// Stops at this rule to ask; the answer is noted in [`State::choice`].
pub(super) fn ask(state: &State, rule: RuleId, test: Test, notes: [u32; 2]) -> Stop {
    let (mut yes, mut no) = (*state, *state);
    yes.choice |= notes[0];
    no.choice |= notes[1];
    Stop::Test {
        test,
        inverted: false,
        again: false,
        rule,
        yes,
        no,
    }
}

/// Whether the kernel draws one of several ports.
fn is_port_drawn(range: NatRange) -> bool {
    let several = range.ports.is_some_and(|ports| ports.first != ports.last);
    several && range.base_port.is_none() && (range.random || range.random_fully)
}

/// The port after DNAT (`nf_nat_core.c`, `nf_nat_l4proto_unique_tuple`).
fn rewrite_port(ports: PortRange, base: Option<u16>, present: u16) -> u16 {
    let Some(base) = base else {
        return if ports.contains(present) {
            present
        } else {
            ports.first
        };
    };
    let size = u32::from(ports.last.saturating_sub(ports.first)) + 1;
    let offset = u32::from(present.wrapping_sub(base)) % size;
    ports.first.wrapping_add(offset as u16)
}

pub(super) fn unknown(state: &State, rule: Option<RuleId>, fact: Fact) -> Option<Stop> {
    let disposition = Disposition::Unknown(kpclass_ruleset::decision::Unknown { rule, fact });
    Some(Stop::End(End {
        disposition,
        decided_by: None,
        mark: state.mark,
    }))
}

pub(super) fn dropped(state: &State, decided_by: Option<RuleId>) -> Option<Stop> {
    Some(Stop::End(End {
        disposition: Disposition::Drop,
        decided_by,
        mark: state.mark,
    }))
}

/// One of `left` equally likely addresses, or one of the others.
fn choose(state: &mut State, left: u32) -> Option<Stop> {
    let (mut this, mut others) = (*state, *state);
    this.choice |= CHOSEN;
    others.choice += 1;
    draw(state, 1, left, this, others)
}

pub(super) fn apply(set: MarkSet, mark: Mark) -> Mark {
    mark.masked(!set.mask).plus(Mark::known(set.value))
}

/// `xt_connmark.c`.
fn connmark(state: &mut State, op: ConnmarkOp) {
    match op {
        ConnmarkOp::Set(set) => state.connmark = apply(set, state.connmark),
        ConnmarkOp::Save { nfmask, ctmask } => {
            state.connmark = state
                .connmark
                .masked(!ctmask)
                .plus(state.mark.masked(nfmask));
        }
        ConnmarkOp::Restore { nfmask, ctmask } => {
            state.mark = state
                .mark
                .masked(!nfmask)
                .plus(state.connmark.masked(ctmask));
        }
    }
}
