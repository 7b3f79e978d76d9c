//! Ruleset → [`Graph`]: matches become conditions, targets become operations, rules that cannot matter go.

mod asked;
mod matches;
mod targets;

use crate::graph::{
    Ask, Asked, Condition, Graph, ListId, LoweredChain, LoweredRule, Op, RecentAsk,
};
use kpclass_ruleset::conntrack::LaterOption;
use kpclass_ruleset::matches::{MatchKind, SetMatch};
use kpclass_ruleset::node::NodeFacts;
use kpclass_ruleset::target::Target;
use kpclass_ruleset::value::{CtStates, PortRange};
use kpclass_ruleset::{ChainId, Hook, Rule, Ruleset, StrId, TableId, ordered};
use std::ops::Range;

/// The hooks (bits) whose nat chains are asked before the destination is settled.
const BEFORE_NAT: u8 = 1 << Hook::Prerouting as u8 | 1 << Hook::Output as u8;

/// Chains whose rules are lowered, and what these point at.
#[derive(Default)]
struct Lowered {
    rules: Vec<LoweredRule>,
    conditions: Vec<Condition>,
    chains: Vec<LoweredChain>,
    port_lists: Vec<Vec<PortRange>>,
    recents: Vec<RecentAsk>,
    sets: Vec<SetMatch>,
    later_options: Vec<Option<Vec<LaterOption>>>,
    asked: Asked,
}

/// The work in progress.
pub(super) struct Lowering<'a> {
    ruleset: &'a Ruleset,
    node: &'a NodeFacts,
    conntrack_on: bool,
    hooks_of: &'a [u8],
    /// Whether the dump holds every chain that is jumped to, as most do: to look at each chain for it would fetch them all from memory.
    has_all_chains: bool,
    /// The names of chains whose `MARK` is credited to the rule that jumped there.
    mark_chains: [Option<StrId>; 2],
    done: &'a mut Lowered,
}

/// Rules from which on they are gone through by two threads.
pub(crate) const MANY: usize = 10_000;

/// Rules that are lowered at a time, but for the last chain's: so few that they are put with the others while they are in the cache.
const PIECE: u32 = 2048;

/// Lowers a ruleset.
pub(crate) fn lower(ruleset: &Ruleset, node: &NodeFacts) -> Graph {
    let implied_masquerade = implies_masquerade(ruleset);
    let conntrack_on = implied_masquerade || turns_conntrack_on(ruleset);
    let hooks_of = reaching_hooks(ruleset);
    let has_all_chains = ruleset.chains().all(|(_, chain)| chain.declared);
    let mark_chains = ["KUBE-MARK-MASQ", "KUBE-MARK-DROP"].map(|name| ruleset.strings().find(name));
    let rules = ruleset.rules().len();
    let mut lowered = Lowered {
        rules: Vec::with_capacity(rules),
        conditions: Vec::with_capacity(4 * rules),
        ..Lowered::default()
    };
    let pieces = pieces(ruleset);
    ordered::each_again(
        pieces.len(),
        || (),
        |(), at, done| {
            let mut lowering = Lowering {
                ruleset,
                node,
                conntrack_on,
                hooks_of: &hooks_of,
                has_all_chains,
                mark_chains,
                done,
            };
            let chains = pieces[at].clone();
            chains.for_each(|id| lowering.lower_chain(ChainId(id)));
        },
        |piece| lowered.append(piece),
    );
    let mut entries = [[None; 5]; 5];
    for table in TableId::ALL {
        for hook in Hook::ALL {
            entries[table as usize][hook as usize] = ruleset.entry(table, hook).map(|id| id.0);
        }
    }
    Graph {
        family: ruleset.family(),
        rules: lowered.rules,
        conditions: lowered.conditions,
        chains: lowered.chains,
        entries,
        port_lists: lowered.port_lists,
        recents: lowered.recents,
        set_names: lowered
            .sets
            .iter()
            .map(|s| ruleset.text(s.name).to_owned())
            .collect(),
        sets: lowered.sets,
        later_options: lowered.later_options,
        conntrack_on,
        implied_masquerade,
        asked: lowered.asked,
    }
}

/// The chains in pieces.
fn pieces(ruleset: &Ruleset) -> Vec<Range<u32>> {
    let (mut pieces, mut piece, mut first_rule) = (Vec::new(), 0..0, 0);
    for (id, chain) in ruleset.chains() {
        piece.end = id.0 + 1;
        if chain.rules.end - first_rule >= PIECE {
            first_rule = chain.rules.end;
            pieces.push(std::mem::replace(&mut piece, id.0 + 1..id.0 + 1));
        }
    }
    pieces.extend((piece.start < piece.end).then_some(piece));
    pieces
}

impl Lowered {
    /// Puts the next chains, which are emptied, behind these.
    fn append(&mut self, next: &mut Self) {
        let (rules, conditions) = (self.rules.len() as u32, self.conditions.len() as u32);
        let lists = [
            self.port_lists.len(),
            self.recents.len(),
            self.sets.len(),
            self.later_options.len(),
        ];
        let [port_lists, recents, sets, later_options] = lists.map(|len| len as u32);
        let moved = |range: &mut Range<u32>, by: u32| *range = range.start + by..range.end + by;
        for chain in &mut next.chains {
            moved(&mut chain.rules, rules);
        }
        for rule in &mut next.rules {
            moved(&mut rule.conditions, conditions);
        }
        let conditions_that_point = next.conditions.iter_mut();
        for condition in conditions_that_point.filter(|_| lists != [0; 4]) {
            match &mut condition.ask {
                Ask::PortList(_, ListId(at)) => *at += port_lists,
                Ask::Recent(at) => *at += recents,
                Ask::Set(at) => *at += sets,
                Ask::Later(at) => *at += later_options,
                _ => {}
            }
        }
        self.chains.append(&mut next.chains);
        self.rules.append(&mut next.rules);
        self.conditions.append(&mut next.conditions);
        self.port_lists.append(&mut next.port_lists);
        self.recents.append(&mut next.recents);
        self.sets.append(&mut next.sets);
        self.later_options.append(&mut next.later_options);
        self.asked = self.asked.or(std::mem::take(&mut next.asked));
    }
}

impl Lowering<'_> {
    fn lower_chain(&mut self, id: ChainId) {
        let chain = self.ruleset.chain(id);
        // The lo leg asks raw and mangle PREROUTING after nat.
        let is_late = chain.table != TableId::Nat || self.hooks_of[id.index()] & !BEFORE_NAT != 0;
        let start = self.done.rules.len() as u32;
        for (rule_id, rule) in self.ruleset.chain_rules(id) {
            let first = self.done.conditions.len();
            for m in self.ruleset.matches(rule) {
                self.lower_match(m);
            }
            self.conditions_in_order(first);
            let op = self.lower_target(rule);
            if self.matters(first, op) {
                self.done.note(first, op, is_late);
                let conditions = first as u32..self.done.conditions.len() as u32;
                self.done.rules.push(LoweredRule {
                    id: rule_id,
                    conditions,
                    op,
                });
            } else {
                self.done.conditions.truncate(first);
            }
        }
        self.done.chains.push(LoweredChain {
            rules: start..self.done.rules.len() as u32,
            policy: chain.policy,
            is_mark_chain: self.mark_chains.contains(&Some(chain.name)),
            table: chain.table,
            is_late,
        });
    }

    /// Drops what is always true and, between the conditions that have effects, puts those that are always known
    /// first: a false one then decides before an unknown one is followed both ways. The order of the unknown ones,
    /// which names the missing fact, stays.
    fn conditions_in_order(&mut self, first: usize) {
        let holds =
            |c: &Condition| matches!((c.ask, c.inverted), (Ask::True, false) | (Ask::False, true));
        let never = |c: &Condition| {
            !c.of_connection
                && matches!((c.ask, c.inverted), (Ask::True, true) | (Ask::False, false))
        };
        let mut end = first;
        for at in first..self.done.conditions.len() {
            if !holds(&self.done.conditions[at]) {
                self.done.conditions.swap(end, at);
                end += 1;
            }
        }
        self.done.conditions.truncate(end);
        if self.done.conditions[first..].iter().any(never) {
            self.done.conditions.truncate(first);
            self.ask(false, Ask::False);
        }
        let kept = &mut self.done.conditions[first..];
        let local_known = self.node.local.is_some();
        for segment in kept.split_mut(|c| has_effect(&c.ask)) {
            segment.sort_by_key(|c| may_be_unknown(&c.ask, local_known));
        }
    }

    /// A rule that never matches, or does nothing, is left out, unless asking it has an effect.
    fn matters(&self, first: usize, op: Op) -> bool {
        let conditions = &self.done.conditions[first..];
        if conditions
            .iter()
            .any(|c| c.ask == Ask::False && !c.inverted && !c.of_connection)
        {
            return false;
        }
        op != Op::Next || conditions.iter().any(|c| has_effect(&c.ask))
    }
}

/// Whether asking changes something: a draw is used up, a list remembers.
pub(crate) fn has_effect(ask: &Ask) -> bool {
    matches!(ask, Ask::Chance(..) | Ask::Recent(_))
}

/// Whether the answer can be missing. (Of an address it can where a rewrite has made it some address of this node.)
fn may_be_unknown(ask: &Ask, local_known: bool) -> bool {
    match *ask {
        Ask::Unknown(_)
        | Ask::SourceRange(..)
        | Ask::DestinationRange(..)
        | Ask::OriginalSourcePort(_)
        | Ask::InInterface(_)
        | Ask::OutInterface(_)
        | Ask::Mac(_)
        | Ask::Length(_)
        | Ask::Ttl(..)
        | Ask::Dscp(_)
        | Ask::Set(_)
        | Ask::Later(_) => true,
        Ask::SourceType(types, limit_in, limit_out)
        | Ask::DestinationType(types, limit_in, limit_out) => {
            !local_known || limit_in || limit_out || types.0 & !0b10_1110 != 0
        }
        Ask::CtState(states) => {
            states.intersects(CtStates::SNAT) || states.intersects(CtStates::DNAT)
        }
        _ => false,
    }
}

/// Which matches and targets need connections (WALK.md 1.1).
fn turns_conntrack_on(ruleset: &Ruleset) -> bool {
    let target = |rule: &Rule| match &rule.target {
        Target::Dnat(_)
        | Target::Snat(_)
        | Target::Masquerade(_)
        | Target::Redirect(_)
        | Target::Netmap(_)
        | Target::Connmark(_) => true,
        Target::Transparent(e) => matches!(ruleset.text(e.name), "CT" | "CONNSECMARK"),
        Target::Undecided(e) => matches!(ruleset.text(e.name), "SYNPROXY" | "CLUSTERIP"),
        Target::Jump(to) | Target::Goto(to) => {
            let chain = ruleset.chain(*to);
            !chain.declared
                && chain.table == TableId::Nat
                && ruleset.text(chain.name) == "KUBE-POSTROUTING"
        }
        _ => false,
    };
    let matched = |rule: &Rule| {
        ruleset.matches(rule).iter().any(|m| match &m.kind {
            MatchKind::Conntrack(_) | MatchKind::State(_) | MatchKind::Connmark(_) => true,
            MatchKind::Undecided(u) => matches!(
                ruleset.text(u.module),
                "connbytes" | "connlabel" | "connlimit" | "helper" | "cluster"
            ),
            _ => false,
        })
    };
    ruleset
        .rules()
        .any(|(_, rule)| target(rule) || matched(rule))
}

/// WALK.md 3.6: a nat table cut down to the interesting chains, whose marks would otherwise lead nowhere.
fn implies_masquerade(ruleset: &Ruleset) -> bool {
    let empty = ruleset
        .entry(TableId::Nat, Hook::Postrouting)
        .is_none_or(|chain| ruleset.chain(chain).rules.is_empty());
    let Some(mark_chain) = ruleset.chain_named(TableId::Nat, "KUBE-MARK-MASQ") else {
        return false;
    };
    let jumps = |rule: &Rule| matches!(rule.target, Target::Jump(to) | Target::Goto(to) if to == mark_chain);
    empty
        && ruleset.has_table(TableId::Nat)
        && ruleset
            .chain_named(TableId::Nat, "KUBE-POSTROUTING")
            .is_none()
        && ruleset.rules().any(|(_, rule)| jumps(rule))
}

/// For each chain, the hooks (bits of [`Hook`]) from which it is reached.
fn reaching_hooks(ruleset: &Ruleset) -> Vec<u8> {
    let mut hooks = vec![0; ruleset.chains().len()];
    let mut work: Vec<(ChainId, u8)> = ruleset
        .chains()
        .filter(|(_, chain)| chain.declared)
        .filter_map(|(id, chain)| Some((id, 1 << chain.hook? as u8)))
        .collect();
    while let Some((id, bits)) = work.pop() {
        if hooks[id.index()] & bits == bits {
            continue;
        }
        hooks[id.index()] |= bits;
        let bits = hooks[id.index()];
        work.extend(ruleset.chain_jumps(id).iter().map(|to| (*to, bits)));
    }
    hooks
}
