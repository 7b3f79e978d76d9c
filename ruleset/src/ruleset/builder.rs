//! Chains and rules while they are read.

mod places;

use super::{Chain, Counters, Hook, Policy, Rule, Ruleset, Source, TableId};
use crate::ids::{ChainId, StrId, Strings};
use crate::matches::Match;
use crate::target::Target;
use crate::value::Family;
use places::Places;
use std::ops::Range;

#[derive(Clone, Debug)]
struct PendingChain {
    table: TableId,
    name: StrId,
    hook: Option<Hook>,
    policy: Policy,
    declared: bool,
    counters: Option<Counters>,
    /// Among the rules of its table.
    rules: Places,
}

/// Collects chains and rules in any order; [`finish`](Self::finish) lays them out.
#[derive(Clone, Debug)]
pub struct RulesetBuilder {
    family: Family,
    /// The interned strings, for the matches and targets being built.
    pub strings: Strings,
    present: [bool; 5],
    chains: Vec<PendingChain>,
    /// The chains of each table by their names' ids.
    by_name: [Vec<Option<ChainId>>; 5],
    /// Of each table, in the order in which they were read: nearly always the one in which they are laid out.
    rules: [Vec<Rule>; 5],
    matches: Vec<Match>,
}

impl RulesetBuilder {
    /// An empty one.
    pub fn new(family: Family) -> Self {
        Self {
            family,
            strings: Strings::default(),
            present: [false; 5],
            chains: Vec::new(),
            by_name: Default::default(),
            rules: Default::default(),
            matches: Vec::new(),
        }
    }

    /// The family.
    pub fn family(&self) -> Family {
        self.family
    }

    /// Notes that an input holds the table.
    pub fn add_table(&mut self, table: TableId) {
        self.present[table as usize] = true;
    }

    /// Whether an input holds the table.
    pub fn has_table(&self, table: TableId) -> bool {
        self.present[table as usize]
    }

    /// Whether no input holds any table.
    pub fn is_empty(&self) -> bool {
        self.present == [false; 5]
    }

    /// The chain of that name, if it was named before.
    pub fn find(&self, table: TableId, name: &str) -> Option<ChainId> {
        let name = self.strings.find(name)?;
        *self.by_name[table as usize].get(name.index())?
    }

    /// The chain of that name, which is added, undeclared, if it is new.
    pub fn chain(&mut self, table: TableId, name: &str) -> ChainId {
        let name_id = self.strings.intern(name);
        if let Some(id) = *self.slot(table, name_id) {
            return id;
        }
        let id = ChainId(self.chains.len() as u32);
        *self.slot(table, name_id) = Some(id);
        self.chains.push(PendingChain {
            table,
            name: name_id,
            hook: Hook::from_chain(name).filter(|h| table.hooks().contains(h)),
            policy: Policy::Accept,
            declared: false,
            counters: None,
            rules: Places::default(),
        });
        id
    }

    fn slot(&mut self, table: TableId, name: StrId) -> &mut Option<ChainId> {
        let by_name = &mut self.by_name[table as usize];
        if name.index() >= by_name.len() {
            by_name.resize(name.index() + 1, None);
        }
        &mut by_name[name.index()]
    }

    /// Notes that the dump holds the chain.
    pub fn declare(&mut self, chain: ChainId) {
        let chain = &mut self.chains[chain.index()];
        chain.declared = true;
        self.present[chain.table as usize] = true;
    }

    /// Whether the dump holds the chain.
    pub fn is_declared(&self, chain: ChainId) -> bool {
        self.chains[chain.index()].declared
    }

    /// Sets a built-in chain's policy.
    pub fn set_policy(&mut self, chain: ChainId, policy: Policy) {
        self.chains[chain.index()].policy = policy;
    }

    /// Sets the counters beside a chain's policy.
    pub fn set_counters(&mut self, chain: ChainId, counters: Counters) {
        self.chains[chain.index()].counters = Some(counters);
    }

    /// Whether the chain is built-in.
    pub fn is_builtin(&self, chain: ChainId) -> bool {
        self.chains[chain.index()].hook.is_some()
    }

    /// How many chains were named so far.
    pub fn chain_count(&self) -> usize {
        self.chains.len()
    }

    /// How many rules the chain has so far.
    pub fn rule_count(&self, chain: ChainId) -> usize {
        self.chains[chain.index()].rules.len()
    }

    /// Appends a rule (`-A`); declares its chain.
    pub fn push(
        &mut self,
        chain: ChainId,
        matches: impl IntoIterator<Item = Match>,
        target: Target,
        source: Source,
        counters: Option<Counters>,
    ) {
        let at = self.rule_count(chain);
        self.insert(chain, at, matches, target, source, counters);
    }

    /// Inserts a rule before the `at`-th, from 0 (`-I`); past the end it is appended.
    pub fn insert(
        &mut self,
        chain: ChainId,
        at: usize,
        matches: impl IntoIterator<Item = Match>,
        target: Target,
        source: Source,
        counters: Option<Counters>,
    ) {
        let first = self.matches.len() as u32;
        self.matches.extend(matches);
        let matches = first..self.matches.len() as u32;
        let id = self.add(chain, matches, target, source, counters);
        self.chains[chain.index()].rules.insert(at, id);
    }

    /// Makes room for so many more rules. Room that is not used is never cleared, and costs nothing.
    pub(crate) fn reserve(&mut self, table: TableId, rules: usize) {
        self.rules[table as usize].reserve(rules);
        self.matches.reserve(4 * rules);
    }

    /// Takes in the matches of many rules, which [`Self::push_with`] gives each its own of; the position of the first.
    pub(crate) fn add_matches(&mut self, matches: &mut Vec<Match>) -> u32 {
        let first = self.matches.len() as u32;
        self.matches.append(matches);
        first
    }

    /// Appends a rule whose matches are there already.
    pub(crate) fn push_with(
        &mut self,
        chain: ChainId,
        matches: Range<u32>,
        target: Target,
        source: Source,
        counters: Option<Counters>,
    ) {
        let id = self.add(chain, matches, target, source, counters);
        self.chains[chain.index()].rules.push(id);
    }

    /// Takes in a rule that stands nowhere yet.
    fn add(
        &mut self,
        chain: ChainId,
        matches: Range<u32>,
        target: Target,
        source: Source,
        counters: Option<Counters>,
    ) -> u32 {
        self.declare(chain);
        let rules = &mut self.rules[self.chains[chain.index()].table as usize];
        rules.push(Rule {
            chain,
            first_match: matches.start,
            match_count: matches.end - matches.start,
            target,
            source,
            counters,
        });
        rules.len() as u32 - 1
    }

    /// Takes the `at`-th rule, from 0, out of a chain (`-D`); false if there is none.
    pub fn remove(&mut self, chain: ChainId, at: usize) -> bool {
        self.chains[chain.index()].rules.remove(at)
    }

    /// The matches and target of a chain's `at`-th rule, from 0.
    pub fn rule(&self, chain: ChainId, at: usize) -> Option<(&[Match], &Target)> {
        let chain = &self.chains[chain.index()];
        let rule = &self.rules[chain.table as usize][chain.rules.get(at)? as usize];
        let first = rule.first_match as usize;
        Some((
            &self.matches[first..first + rule.match_count as usize],
            &rule.target,
        ))
    }

    /// Empties a chain (`-F CHAIN`, and `:CHAIN` of a restore text).
    pub fn flush(&mut self, chain: ChainId) {
        self.chains[chain.index()].rules.clear();
    }

    /// Undeclares an emptied chain (`-X CHAIN`).
    pub fn delete(&mut self, chain: ChainId) {
        let chain = &mut self.chains[chain.index()];
        chain.rules.clear();
        chain.declared = false;
    }

    /// Renames a chain (`-E`), jumps to it included; false if the name is taken, or either is a built-in chain's.
    pub fn rename(&mut self, chain: ChainId, name: &str) -> bool {
        let name = self.strings.intern(name);
        let PendingChain {
            table, name: old, ..
        } = self.chains[chain.index()];
        let builtin =
            Hook::from_chain(&self.strings[name]).is_some_and(|h| table.hooks().contains(&h));
        if builtin || self.is_builtin(chain) || self.slot(table, name).is_some() {
            return false;
        }
        *self.slot(table, old) = None;
        *self.slot(table, name) = Some(chain);
        self.chains[chain.index()].name = name;
        true
    }

    /// Every chain of a table that the dump holds.
    pub fn declared_chains(&self, table: TableId) -> Vec<ChainId> {
        let declared = self
            .chains
            .iter()
            .enumerate()
            .filter(|(_, c)| c.table == table && c.declared);
        declared.map(|(i, _)| ChainId(i as u32)).collect()
    }

    /// Lays the rules out table by table and chain by chain, in the order in which the chains were first named.
    /// A chain that nothing declares and nothing jumps to is left out. `files` are the names of the inputs.
    pub fn finish(mut self, files: Vec<String>) -> Ruleset {
        let order = self.order();
        let mut renumbered = vec![ChainId(u32::MAX); self.chains.len()];
        for (new, old) in order.iter().enumerate() {
            renumbered[*old] = ChainId(new as u32);
        }
        let mut ruleset = Ruleset {
            family: self.family,
            rules: self.lay_out(&order),
            strings: self.strings,
            files,
            present: self.present,
            builtin: [[None; 5]; 5],
            chains: Vec::with_capacity(order.len()),
            matches: self.matches,
            jumps: Vec::new(),
            jump_ends: Vec::with_capacity(order.len()),
        };
        let mut start = 0;
        for old in order {
            let pending = &self.chains[old];
            let id = ChainId(ruleset.chains.len() as u32);
            let end = start + pending.rules.len() as u32;
            for rule in &mut ruleset.rules[start as usize..end as usize] {
                rule.chain = id;
                if let Target::Jump(to) | Target::Goto(to) = &mut rule.target {
                    *to = renumbered[to.index()];
                    ruleset.jumps.push(*to);
                }
            }
            if let (Some(hook), true) = (pending.hook, pending.declared) {
                ruleset.builtin[pending.table as usize][hook as usize] = Some(id);
            }
            ruleset.chains.push(Chain {
                table: pending.table,
                name: pending.name,
                hook: pending.hook,
                policy: pending.policy,
                declared: pending.declared,
                counters: pending.counters,
                rules: start..end,
            });
            ruleset.jump_ends.push(ruleset.jumps.len() as u32);
            start = end;
        }
        ruleset
    }

    /// The chains that stay, table by table.
    fn order(&self) -> Vec<usize> {
        let mut stays: Vec<bool> = self.chains.iter().map(|chain| chain.declared).collect();
        if stays.contains(&false) {
            for chain in &self.chains {
                let rules = &self.rules[chain.table as usize];
                for rule in chain.rules.iter().map(|at| &rules[at as usize]) {
                    if let Target::Jump(to) | Target::Goto(to) = rule.target {
                        stays[to.index()] = true;
                    }
                }
            }
        }
        let mut order: Vec<usize> = (0..self.chains.len()).filter(|at| stays[*at]).collect();
        order.sort_by_key(|at| self.chains[*at].table);
        order
    }

    /// Takes the rules out, those of the chains in order; they are many, and hardly ever have to be moved.
    fn lay_out(&mut self, order: &[usize]) -> Vec<Rule> {
        let mut tables = std::mem::take(&mut self.rules);
        for table in TableId::ALL {
            let chains = order.iter().map(|at| &self.chains[*at]);
            let mut places = chains
                .filter(|chain| chain.table == table)
                .map(|chain| &chain.rules);
            let rules = &mut tables[table as usize];
            let end = places.clone().try_fold(0, |at, places| places.run_from(at));
            if end != Some(rules.len() as u32) {
                let places = places.by_ref().flat_map(Places::iter);
                *rules = places.map(|at| rules[at as usize].clone()).collect();
            }
        }
        let largest = (0..tables.len()).max_by_key(|at| tables[*at].len());
        let largest = largest.unwrap_or_default();
        let mut rules = std::mem::take(&mut tables[largest]);
        let mut tables = tables.into_iter();
        let before: Vec<Rule> = tables.by_ref().take(largest).flatten().collect();
        rules.splice(0..0, before);
        rules.extend(tables.flatten());
        rules
    }
}
