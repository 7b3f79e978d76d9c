//! The chains of endpoints are alike: what comes from the endpoint itself is marked, everything is rewritten to it, and behind that no later
//! rule tells one from the other. So the way through one of them, in one state, is followed once, and copied for the others.

use crate::graph::{Ask, Condition, Graph, Op};
use crate::machine::Machine;
use crate::machine::state::{Address, Class, Leg, Mark, NONE, State};
use crate::program::node::{Act, DnatAct, NodeId};
use crate::program::test::Test;
use kpclass_ruleset::value::{CtState, Family, address_number, number_address};
use kpclass_ruleset::{Hook, RuleId, TableId};
use std::hash::{Hash, Hasher};

/// What is an endpoint's own.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Endpoint {
    /// The rule that marks, and the one that rewrites.
    rules: [RuleId; 2],
    dnat: DnatAct,
}

/// All that the way through an endpoint's chain depends on, beside what is its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    marking: Marking,
    leg: Leg,
    stage: u8,
    mark: Mark,
    connmark: Mark,
    ctstate: CtState,
    marked: bool,
    rewritten: u8,
    snat: u32,
    recent: u32,
    protocol: u8,
    /// What the endpoint goes on as ([`crate::tail`]).
    goes_on_as: (u128, Option<u16>),
}

/// Only what tells most apart: equality looks at the rest.
impl Hash for Entry {
    fn hash<H: Hasher>(&self, hasher: &mut H) {
        let marks = u64::from(self.mark.xor) << 32 | u64::from(self.leg as u8);
        hasher.write_u64(marks ^ self.goes_on_as.0 as u64 ^ u64::from(self.protocol) << 16);
    }
}

/// How the first rule marks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Marking {
    /// By a chain that does nothing else.
    Chain(u32),
    Bit(u32),
}

/// A way to where nat is settled: what is noted, the last being the rewrite, and what follows.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Side {
    pub(crate) marked: Option<MarkedBy>,
    pub(crate) then: NodeId,
}

/// Which rule set the mark.
#[derive(Clone, Copy, Debug)]
pub(crate) enum MarkedBy {
    /// The endpoint's first.
    Own,
    /// Another.
    Rule(RuleId),
}

/// The ways of what comes from the endpoint, and of what does not.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ways {
    pub(crate) own: Side,
    pub(crate) other: Side,
}

impl Endpoint {
    /// The rewrite.
    pub(crate) fn dnat(&self) -> Act {
        Act::Dnat(self.dnat)
    }

    /// The note of who marked.
    pub(crate) fn note(&self, by: MarkedBy) -> Act {
        Act::MarkedBy(match by {
            MarkedBy::Own => self.rules[0],
            MarkedBy::Rule(rule) => rule,
        })
    }

    /// A side of the endpoint's way by the acts on it; `None`: it is not of the form that can be copied.
    pub(crate) fn side(&self, acts: &[Act], then: NodeId) -> Option<Side> {
        let (rewrite, marks) = acts.split_last()?;
        let marked = match marks {
            [] => None,
            [Act::MarkedBy(rule)] if *rule == self.rules[0] => Some(MarkedBy::Own),
            [Act::MarkedBy(rule)] if *rule != self.rules[1] => Some(MarkedBy::Rule(*rule)),
            _ => return None,
        };
        (*rewrite == self.dnat()).then_some(Side { marked, then })
    }
}

impl Machine<'_> {
    /// Whether a stop at `test`, whose yes leads to `yes`, is at the beginning of an endpoint's chain, and the way through it depends on
    /// nothing that is not in the entry. Each line is one of the reasons.
    pub(crate) fn endpoint(&mut self, test: &Test, yes: &State) -> Option<(Entry, Endpoint)> {
        let graph = self.graph;
        let Test::Source(source) = test else {
            return None;
        };
        let chain = graph.chains.get(yes.chain as usize)?;
        let first = chain.rules.start;
        let stands = (yes.rule, yes.condition, yes.choice) == (first, 1, 0);
        if !stands || chain.rules.len() != 2 || source.host(graph.family).is_none() {
            return None;
        }
        let before_nat = matches!(
            (yes.leg, yes.place()),
            (Leg::Arrive, Some((TableId::Nat, Hook::Prerouting)))
                | (Leg::Send, Some((TableId::Nat, Hook::Output)))
        );
        let own_source = yes.source == Address::Original && yes.netmap == NONE;
        let asks_for_route = yes.leg == Leg::Send
            && graph.family == Family::V4
            && self.locals.route_localnet == Some(false);
        let has_ports = matches!(yes.class, Class::Exact { .. } | Class::Port { .. });
        if !before_nat || !own_source || asks_for_route || !has_ports || graph.asked.late_draw {
            return None;
        }
        let protocol = yes.protocol?;
        let marking = marking(graph, first)?;
        let (to, port) = rewrite(graph, first + 1, protocol)?;
        // Where nothing changes, or the packet must say whether something does, it is another way.
        let changes = yes.destination_port? != port
            || matches!(yes.destination, Address::Known(before) if before != to);
        if !changes {
            return None;
        }
        let rules = [first, first + 1].map(|rule| graph.rules[rule as usize].id);
        let dnat = DnatAct {
            address: Some(number_address(graph.family, to)),
            own_address: false,
            port: Some(port),
            rule: rules[1],
        };
        let entry = Entry {
            marking,
            leg: yes.leg,
            stage: yes.stage,
            mark: yes.mark,
            connmark: yes.connmark,
            ctstate: yes.ctstate,
            marked: yes.marked,
            rewritten: yes.rewritten,
            snat: yes.snat,
            recent: yes.recent,
            protocol,
            goes_on_as: self.tail.goes_on_as(graph, self.locals, (to, Some(port)))?,
        };
        Some((entry, Endpoint { rules, dnat }))
    }
}

/// `-s ENDPOINT -j KUBE-MARK-MASQ`.
fn marking(graph: &Graph, rule: u32) -> Option<Marking> {
    let rule = &graph.rules[rule as usize];
    if rule.conditions.len() != 1 || graph.conditions(rule).iter().any(is_not_plain) {
        return None;
    }
    match rule.op {
        Op::SetMarkBit(bit) => Some(Marking::Bit(bit)),
        Op::Jump(to) => {
            let chain = &graph.chains[to as usize];
            let only = &graph.rules[chain.rules.start as usize..chain.rules.end as usize];
            let marks = matches!(only, [only] if only.conditions.is_empty() && matches!(only.op, Op::Mark(_)));
            marks.then_some(Marking::Chain(to))
        }
        _ => None,
    }
}

/// `-p PROTOCOL -m PROTOCOL -j DNAT --to-destination ENDPOINT:PORT`, which takes every packet of the protocol.
fn rewrite(graph: &Graph, rule: u32, protocol: u8) -> Option<(u128, u16)> {
    let rule = &graph.rules[rule as usize];
    let takes = |condition: &Condition| match condition.ask {
        Ask::Protocol(asked) => asked == protocol && !is_not_plain(condition),
        Ask::HasPorts => !is_not_plain(condition),
        _ => false,
    };
    let Op::Dnat(range) = rule.op else {
        return None;
    };
    let ((first, last), ports) = (range.addresses?, range.ports?);
    let is_one = first == last && ports.first == ports.last && range.base_port.is_none();
    let takes_all = graph.conditions(rule).iter().all(takes);
    (is_one && takes_all).then(|| (address_number(first), ports.first))
}

fn is_not_plain(condition: &Condition) -> bool {
    condition.inverted || condition.of_connection
}

#[cfg(test)]
mod tests;
