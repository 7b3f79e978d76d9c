//! Operations on the source: what nat makes of it, and what rules behind that see; with the masquerade that a dump without its chains implies.

use super::ops::{CHOSEN, UNCHANGED, apply};
use super::state::{Address, IMPLIED, NONE, State};
use super::{Machine, Stop};
use crate::graph::Op;
use crate::program::node::Act;
use crate::program::test::{PortRewrite, Rewrite, Test};
use kpclass_ruleset::decision::Snat;
use kpclass_ruleset::target::MarkSet;
use kpclass_ruleset::value::address_number;
use kpclass_ruleset::{Hook, RuleId, TableId};

/// `KUBE-MARK-MASQ`'s bit.
const MASQ_BIT: u32 = 0x4000;

/// kube-proxy masquerades with `--random-fully`.
const KUBE_MASQUERADE: PortRewrite = PortRewrite::DrawnOfItsKind;

/// What a missing POSTROUTING implies.
pub(super) enum Implied {
    Nothing,
    Masquerade,
    /// It depends on what the packet came with.
    Asks(Test),
}

impl Machine<'_> {
    /// Remembers the rewrite, if some rule may ask whether it changed anything.
    pub(super) fn note_snat(&self, state: &mut State, rule: u32) {
        if self.graph.asked.snat_state || self.graph.asked.late_source_port {
            state.snat = rule;
        }
    }

    /// What it was.
    pub(super) fn source_rewrite(&self, state: &State) -> Option<Rewrite> {
        let rule = self.graph.rules.get(state.snat as usize);
        match rule.map(|rule| rule.op) {
            Some(Op::Snat(snat, ports)) => Some(Rewrite::To(snat, ports)),
            Some(Op::Netmap(to)) => Some(Rewrite::Netmap(to)),
            _ if state.snat == NONE => None,
            // A body of KUBE-POSTROUTING.
            _ => Some(Rewrite::To(Snat::Masquerade, KUBE_MASQUERADE)),
        }
    }

    /// What it made of the source port.
    pub(super) fn port_rewrite(&self, state: &State) -> PortRewrite {
        match (
            self.translated_source_port(state),
            self.source_rewrite(state),
        ) {
            (Some(ports), _) => PortRewrite::Drawn(ports),
            (None, Some(Rewrite::To(_, ports))) => ports,
            (None, Some(Rewrite::Netmap(_)) | None) => PortRewrite::Kept,
        }
    }

    pub(super) fn snat(&mut self, state: &mut State, id: RuleId, snat: Snat, acts: &mut Vec<Act>) {
        acts.push(Act::Snat(snat, id));
        self.note_snat(state, state.rule);
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
    pub(super) fn kube_postrouting(
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
        let masquerade = Op::Snat(Snat::Masquerade, KUBE_MASQUERADE);
        self.nat(state, id, &masquerade, acts)
    }

    /// The same where all of nat POSTROUTING is missing: whether what a rule marked is masqueraded on that rule's account. The packet is asked
    /// for a bit that no rule has set or cleared; [`State::choice`] notes the answer.
    pub(super) fn implied(&self, state: &State) -> Implied {
        let here = state.place() == Some((TableId::Nat, Hook::Postrouting));
        let bit = state.mark.masked(MASQ_BIT);
        match (state.choice, bit.keep, bit.xor) {
            _ if !here || !self.graph.implied_masquerade || !state.marked => Implied::Nothing,
            (UNCHANGED, ..) | (0, 0, 0) => Implied::Nothing,
            (CHOSEN, ..) | (0, 0, _) => Implied::Masquerade,
            _ => Implied::Asks(Test::Mark(MASQ_BIT, MASQ_BIT ^ bit.xor)),
        }
    }

    /// Does what is implied.
    pub(super) fn masquerade(&mut self, state: &mut State, acts: &mut Vec<Act>) {
        let flip = MarkSet {
            value: MASQ_BIT,
            mask: 0,
        };
        state.mark = apply(flip, state.mark);
        self.note_snat(state, IMPLIED);
        state.source = Address::SomeLocal;
        acts.push(Act::MasqueradeByMarker);
        self.leave_stage(state);
    }
}
