//! What a matching rule does to the state.

use super::ask::has_connection;
use super::state::{
    Address, Class, DSCP_REWRITTEN, Leg, Mark, NONE, SETS_CHANGED, State, TTL_REWRITTEN,
};
use super::{End, Machine, Stop, draw};
use crate::graph::{MaskedAddress, Op};
use crate::program::addresses;
use crate::program::node::{Act, DnatAct};
use crate::program::test::Test;
use kpclass_ruleset::decision::{Disposition, Fact, MAX_NAT_CHOICES, Snat};
use kpclass_ruleset::target::{ConnmarkOp, MarkSet, NatRange};
use kpclass_ruleset::value::{
    CtState, Family, Interface, PortRange, address_number, number_address,
};
use kpclass_ruleset::{Hook, RuleId, TableId};

/// [`State::choice`]: this address of the range is the one.
pub(super) const CHOSEN: u16 = 1 << 15;
/// The packet has ports.
const WITH_PORTS: u16 = 1 << 14;
/// It has none.
const WITHOUT_PORTS: u16 = 1 << 13;
/// The rewrite changes address or port.
const CHANGED: u16 = 1 << 12;
/// It does not.
const UNCHANGED: u16 = 1 << 11;
/// Nobody can tell.
const MAYBE_CHANGED: u16 = 1 << 10;
/// The position in the range, or among the devices.
pub(crate) const POSITION: u16 = (1 << 10) - 1;

/// `KUBE-MARK-MASQ`'s bit.
const MASQ_BIT: u32 = 0x4000;

impl Machine<'_> {
    /// Executes the target of rule `id`, whose conditions hold.
    pub(super) fn execute(
        &mut self,
        state: &mut State,
        id: RuleId,
        op: Op,
        acts: &mut Vec<Act>,
    ) -> Option<Stop> {
        let end = |state: &State, disposition| {
            Some(Stop::End(End {
                disposition,
                decided_by: Some(id),
                mark: state.mark,
            }))
        };
        match op {
            Op::Drop => return end(state, Disposition::Drop),
            Op::Reject(with) => return end(state, Disposition::Reject(with)),
            Op::Unknown(fact) => return unknown(state, id, fact),
            Op::Accept => self.leave_stage(state),
            Op::Return => return self.end_of_chain(state),
            Op::Jump(to) => self.jump(state, to),
            Op::Goto(to) => self.go_to(state, to),
            Op::Dnat(_) | Op::Redirect(_) | Op::Snat(_) | Op::Netmap(_) => {
                return self.nat(state, id, op, acts);
            }
            Op::KubePostrouting => return self.kube_postrouting(state, id, acts),
            _ => {
                self.note(state, id, op, acts);
                *state = state.skip_rule();
            }
        }
        None
    }

    /// A rewrite, at a hook at which the kernel takes it (WALK.md 1.6).
    fn nat(&mut self, state: &mut State, id: RuleId, op: Op, acts: &mut Vec<Act>) -> Option<Stop> {
        let rewrites = nat_hook(state);
        match (op, rewrites) {
            (Op::Dnat(range), Some(Rewrites::Destination)) => self.dnat(state, id, range, acts),
            (Op::Redirect(range), Some(Rewrites::Destination)) => {
                self.redirect(state, id, range, acts)
            }
            (Op::Netmap(to), Some(Rewrites::Destination)) => self.netmap(state, id, to, acts),
            (Op::Netmap(to), Some(Rewrites::Source)) => {
                acts.push(Act::NetmapSource(to, id));
                state.netmap = state.rule;
                state.snat_done = true;
                self.leave_stage(state);
                None
            }
            (Op::Snat(snat), Some(Rewrites::Source)) => {
                self.snat(state, id, snat, acts);
                None
            }
            _ => unknown(state, id, Fact::NatHook),
        }
    }

    /// Targets after which the walk goes on with the next rule.
    fn note(&self, state: &mut State, id: RuleId, op: Op, acts: &mut Vec<Act>) {
        match op {
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
            Op::Notrack if state.leg != Leg::Lo && is_in_raw(state) => {
                state.ctstate = CtState::Untracked;
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

    fn snat(&mut self, state: &mut State, id: RuleId, snat: Snat, acts: &mut Vec<Act>) {
        acts.push(Act::Snat(snat, id));
        state.snat_done = true;
        state.source = match snat {
            Snat::To {
                addresses: Some((first, last)),
                ..
            } if first == last => Address::Known(address_number(first)),
            Snat::To {
                addresses: None, ..
            } => state.source,
            _ => Address::SomeLocal,
        };
        self.leave_stage(state);
    }

    /// The well-known body of a `KUBE-POSTROUTING` that the dump lacks (WALK.md 3.6).
    fn kube_postrouting(
        &mut self,
        state: &mut State,
        id: RuleId,
        acts: &mut Vec<Act>,
    ) -> Option<Stop> {
        let marked = state.mark.masked(MASQ_BIT);
        if marked.keep != 0 && state.choice != CHOSEN {
            let mut yes = *state;
            yes.choice = CHOSEN;
            let test = Test::Mark(MASQ_BIT, MASQ_BIT ^ marked.xor);
            return Some(Stop::Test {
                test,
                inverted: false,
                again: false,
                rule: id,
                yes,
                no: state.skip_rule(),
            });
        }
        if marked.keep == 0 && marked.xor == 0 {
            *state = state.skip_rule();
            return None;
        }
        state.mark = apply(
            MarkSet {
                value: MASQ_BIT,
                mask: 0,
            },
            state.mark,
        );
        self.nat(state, id, Op::Snat(Snat::Masquerade), acts)
    }

    /// The same where all of nat POSTROUTING is missing: what a rule marked is masqueraded on that rule's account. `None`: it is not.
    pub(super) fn implied_masquerade(
        &mut self,
        state: &mut State,
        acts: &mut Vec<Act>,
    ) -> Option<Implied> {
        let here = state.place() == Some((TableId::Nat, Hook::Postrouting));
        let answered = std::mem::take(&mut state.choice);
        if !here || !self.graph.implied_masquerade || !state.marked || answered == UNCHANGED {
            return None;
        }
        let bit = state.mark.masked(MASQ_BIT);
        match (answered, bit.keep, bit.xor) {
            (CHOSEN, ..) => {}
            (_, 0, 0) => return None,
            (_, 0, _) => {}
            // No rule has set it or cleared it: the packet tells.
            _ => {
                let test = Test::Mark(MASQ_BIT, MASQ_BIT ^ bit.xor);
                let stop = ask(state, RuleId(NONE), test, [CHOSEN, UNCHANGED]);
                return Some(Implied::Asked(stop));
            }
        }
        let flip = MarkSet {
            value: MASQ_BIT,
            mask: 0,
        };
        state.mark = apply(flip, state.mark);
        state.snat_done = true;
        state.source = Address::SomeLocal;
        acts.push(Act::MasqueradeByMarker);
        Some(Implied::Masqueraded)
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
                let count = last.saturating_sub(first).saturating_add(1);
                if count > MAX_NAT_CHOICES || last < first {
                    return unknown(state, id, Fact::NatAddress);
                }
                let at = u128::from(state.choice & POSITION);
                if state.choice & CHOSEN == 0 && at + 1 < count {
                    return choose(state, (count - at) as u32);
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
        let at = usize::from(state.choice & POSITION);
        let to = match self.locals.devices().get(at) {
            _ if state.leg == Leg::Send => Address::Known(addresses::loopback(self.graph.family)),
            Some((_, first)) if state.choice & CHOSEN != 0 => Address::Known(*first),
            Some((device, _)) => return Some(arrived_by(state, id, *device)),
            None => Address::SomeLocal,
        };
        self.rewrite_destination(state, id, to, range, acts)
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
            return unknown(state, id, Fact::NatAddress);
        }
        let port = match (range.ports.filter(|_| has_ports), state.destination_port) {
            (None, present) => present,
            (Some(ports), Some(present)) => Some(rewrite_port(ports, range.base_port, present)),
            (Some(ports), None) if ports.first == ports.last => Some(ports.first),
            (Some(_), None) => return Some(Stop::NeedsKey),
        };
        let changed = match self.is_changed(state, to, port) {
            Ok(changed) => changed,
            Err(Test::DestinationNotLocal) => {
                return Some(ask(
                    state,
                    id,
                    Test::DestinationNotLocal,
                    [CHANGED, MAYBE_CHANGED],
                ));
            }
            Err(test) => return Some(ask(state, id, test, [UNCHANGED, CHANGED])),
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
        state.dnat_changed = changed;
        self.leave_stage(state);
        None
    }

    /// Whether the rewrite changes anything, or the test that tells (true: nothing changes).
    fn is_changed(
        &self,
        state: &State,
        to: Address,
        port: Option<u16>,
    ) -> Result<Option<bool>, Test> {
        match state.choice & (CHANGED | UNCHANGED | MAYBE_CHANGED) {
            0 => {}
            MAYBE_CHANGED => return Ok(None),
            bits => return Ok(Some(bits == CHANGED)),
        }
        let port_test = match (state.destination_port, port) {
            (Some(before), Some(after)) if before != after => return Ok(Some(true)),
            (None, Some(after)) => Some(Test::DestinationPort(PortRange::single(after))),
            _ => None,
        };
        match (state.destination, to, port_test) {
            (before, to, None) if before == to => Ok(Some(false)),
            (before, to, Some(test)) if before == to => Err(test),
            (Address::Original, Address::Known(a), None) => Err(Test::Destination(self.host(a))),
            (Address::Original, Address::Known(a), Some(_)) => {
                Err(Test::DestinationIs(a, port.unwrap_or_default()))
            }
            (Address::Known(a), Address::SomeLocal, _) => {
                Ok((self.locals.contains(a) == Some(false)).then_some(true))
            }
            (Address::Original, Address::SomeLocal, _) => Err(Test::DestinationNotLocal),
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
fn ask(state: &State, rule: RuleId, test: Test, notes: [u16; 2]) -> Stop {
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

fn unknown(state: &State, id: RuleId, fact: Fact) -> Option<Stop> {
    let disposition = Disposition::Unknown(kpclass_ruleset::decision::Unknown {
        rule: Some(id),
        fact,
    });
    Some(Stop::End(End {
        disposition,
        decided_by: None,
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

fn apply(set: MarkSet, mark: Mark) -> Mark {
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

/// What a nat POSTROUTING that the dump lacks does.
pub(super) enum Implied {
    /// It masquerades: nat is done.
    Masqueraded,
    /// It asks for the mark.
    Asked(Stop),
}

/// What a hook of nat rewrites.
enum Rewrites {
    Destination,
    Source,
}

fn nat_hook(state: &State) -> Option<Rewrites> {
    match state.place()? {
        (TableId::Nat, Hook::Prerouting | Hook::Output) => Some(Rewrites::Destination),
        (TableId::Nat, Hook::Postrouting | Hook::Input) => Some(Rewrites::Source),
        _ => None,
    }
}

fn is_in_raw(state: &State) -> bool {
    matches!(state.place(), Some((TableId::Raw, _)))
}
