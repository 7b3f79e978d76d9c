//! Ruleset → [`Graph`]: matches become conditions, targets become operations, rules that cannot matter go.

mod matches;
mod targets;

use crate::graph::{Ask, Asked, Condition, Graph, LoweredChain, LoweredRule, Op, RecentAsk};
use kpclass_ruleset::conntrack::LaterOption;
use kpclass_ruleset::matches::{MatchKind, RecentOperation, SetMatch};
use kpclass_ruleset::node::NodeFacts;
use kpclass_ruleset::target::Target;
use kpclass_ruleset::value::{CtStates, PortRange};
use kpclass_ruleset::{Chain, ChainId, Hook, Rule, Ruleset, TableId};

/// The hooks (bits) whose nat chains are asked before the destination is settled.
const BEFORE_NAT: u8 = 1 << Hook::Prerouting as u8 | 1 << Hook::Output as u8;

/// The work in progress.
pub(super) struct Lowering<'a> {
    ruleset: &'a Ruleset,
    node: &'a NodeFacts,
    conntrack_on: bool,
    rules: Vec<LoweredRule>,
    conditions: Vec<Condition>,
    port_lists: Vec<Vec<PortRange>>,
    recents: Vec<RecentAsk>,
    sets: Vec<SetMatch>,
    later_options: Vec<Option<Vec<LaterOption>>>,
    hooks_of: Vec<u8>,
}

/// Lowers a ruleset. The ruleset's chains must not loop.
pub(crate) fn lower(ruleset: &Ruleset, node: &NodeFacts) -> Graph {
    let implied_masquerade = implies_masquerade(ruleset);
    let mut lowering = Lowering {
        ruleset,
        node,
        conntrack_on: implied_masquerade || turns_conntrack_on(ruleset),
        rules: Vec::with_capacity(ruleset.rules().len()),
        conditions: Vec::with_capacity(4 * ruleset.rules().len()),
        port_lists: Vec::new(),
        recents: Vec::new(),
        sets: Vec::new(),
        later_options: Vec::new(),
        hooks_of: reaching_hooks(ruleset),
    };
    let chains = ruleset
        .chains()
        .map(|(id, chain)| lowering.lower_chain(id, chain))
        .collect();
    let mut entries = [[None; 5]; 5];
    for table in TableId::ALL {
        for hook in Hook::ALL {
            entries[table as usize][hook as usize] = ruleset.entry(table, hook).map(|id| id.0);
        }
    }
    let mut graph = Graph {
        family: ruleset.family(),
        rules: lowering.rules,
        conditions: lowering.conditions,
        chains,
        entries,
        port_lists: lowering.port_lists,
        recents: lowering.recents,
        set_names: lowering
            .sets
            .iter()
            .map(|s| ruleset.text(s.name).to_owned())
            .collect(),
        sets: lowering.sets,
        later_options: lowering.later_options,
        conntrack_on: lowering.conntrack_on,
        implied_masquerade,
        asked: Asked::default(),
    };
    graph.asked = asked(&graph);
    graph
}

impl Lowering<'_> {
    fn lower_chain(&mut self, id: ChainId, chain: &Chain) -> LoweredChain {
        let start = self.rules.len() as u32;
        for (rule_id, rule) in self.ruleset.chain_rules(id) {
            let first = self.conditions.len();
            for m in self.ruleset.matches(rule) {
                self.lower_match(m);
            }
            self.conditions_in_order(first);
            let op = self.lower_target(rule);
            if self.matters(first, op) {
                let conditions = first as u32..self.conditions.len() as u32;
                self.rules.push(LoweredRule {
                    id: rule_id,
                    conditions,
                    op,
                });
            } else {
                self.conditions.truncate(first);
            }
        }
        let name = self.ruleset.text(chain.name);
        LoweredChain {
            rules: start..self.rules.len() as u32,
            policy: chain.policy,
            is_mark_chain: matches!(name, "KUBE-MARK-MASQ" | "KUBE-MARK-DROP"),
            table: chain.table,
            // The lo leg asks raw and mangle PREROUTING after nat.
            is_late: chain.table != TableId::Nat || self.hooks_of[id.index()] & !BEFORE_NAT != 0,
        }
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
        for at in first..self.conditions.len() {
            if !holds(&self.conditions[at]) {
                self.conditions.swap(end, at);
                end += 1;
            }
        }
        self.conditions.truncate(end);
        if self.conditions[first..].iter().any(never) {
            self.conditions.truncate(first);
            self.ask(false, Ask::False);
        }
        let kept = &mut self.conditions[first..];
        let local_known = self.node.local.is_some();
        for segment in kept.split_mut(|c| has_effect(&c.ask)) {
            segment.sort_by_key(|c| may_be_unknown(&c.ask, local_known));
        }
    }

    /// A rule that never matches, or does nothing, is left out, unless asking it has an effect.
    fn matters(&self, first: usize, op: Op) -> bool {
        let conditions = &self.conditions[first..];
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
        for (_, rule) in ruleset.chain_rules(id) {
            if let Target::Jump(to) | Target::Goto(to) = rule.target {
                work.push((to, hooks[id.index()]));
            }
        }
    }
    hooks
}

/// What the conditions ask about, and where.
fn asked(graph: &Graph) -> Asked {
    let mut asked = Asked::default();
    for chain in &graph.chains {
        for rule in &graph.rules[chain.rules.start as usize..chain.rules.end as usize] {
            asked.sets_connmarks |= matches!(rule.op, Op::Connmark(_));
            asked.notracks |= rule.op == Op::Notrack;
            for condition in graph.conditions(rule) {
                note(graph, &condition.ask, chain.is_late, &mut asked);
            }
        }
    }
    asked
}

fn note(graph: &Graph, ask: &Ask, late: bool, asked: &mut Asked) {
    match *ask {
        Ask::Chance(..) => asked.late_draw |= late,
        Ask::OriginalSource(_) | Ask::OriginalDestination(_) => asked.original = true,
        Ask::Later(_) => {
            asked.connection = true;
            asked.snat_state = true;
        }
        Ask::OriginalDestinationPort(_) => {
            asked.original = true;
            asked.connection = true;
            asked.icmp = true;
        }
        Ask::CtState(states) if states.intersects(CtStates::SNAT) => {
            asked.snat_state = true;
            asked.source_port = true;
        }
        Ask::OriginalSourcePort(_) => {
            asked.original = true;
            asked.connection = true;
            asked.source_port = true;
        }
        Ask::Recent(id) => {
            let recent = graph.recents[id as usize];
            asked.late_sets |= late && recent.by_destination;
            asked.late_recent |= late && recent.operation != RecentOperation::Set;
        }
        Ask::Set(_) => {
            asked.late_sets |= late;
            note_set(asked);
        }
        Ask::SourcePort(_) | Ask::PortList(..) => asked.source_port = true,
        Ask::TcpFlags(..) => asked.tcp_flags = true,
        Ask::Icmp(..) => asked.icmp = true,
        Ask::Length(_) => asked.length = true,
        Ask::Ttl(..) => asked.ttl = true,
        Ask::Dscp(_) => asked.dscp = true,
        Ask::Mac(_) => asked.mac = true,
        Ask::Fragment => asked.fragment = true,
        Ask::InInterface(_) => asked.in_interface = true,
        _ => {}
    }
}

/// A set may ask for anything that a dimension can be.
fn note_set(asked: &mut Asked) {
    asked.source_port = true;
    asked.icmp = true;
    asked.mac = true;
    asked.in_interface = true;
}
