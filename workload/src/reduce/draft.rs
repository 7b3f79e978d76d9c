//! A ruleset that parts can be taken out of.

use kpclass_ruleset::ids::Strings;
use kpclass_ruleset::matches::{Match, MatchKind};
use kpclass_ruleset::target::Target;
use kpclass_ruleset::value::Family;
use kpclass_ruleset::{ChainId, FileId, Hook, Policy, Ruleset, RulesetBuilder, Source, TableId};
use std::rc::Rc;

/// A chain, by its id in the ruleset that the draft was made of.
#[derive(Clone, Debug)]
struct DraftChain {
    id: ChainId,
    table: TableId,
    name: String,
    hook: Option<Hook>,
    policy: Policy,
}

#[derive(Clone, Debug)]
struct DraftRule {
    chain: ChainId,
    matches: Vec<Match>,
    target: Target,
}

/// Tables, chains and rules that are still there.
#[derive(Clone, Debug)]
pub(super) struct Draft {
    tables: Vec<TableId>,
    chains: Vec<DraftChain>,
    rules: Vec<DraftRule>,
    strings: Rc<Strings>,
}

impl Draft {
    /// All of a ruleset.
    pub(super) fn of(ruleset: &Ruleset) -> Self {
        let tables = TableId::ALL.into_iter().filter(|t| ruleset.has_table(*t));
        let declared = ruleset.chains().filter(|(_, chain)| chain.declared);
        let chains = declared.map(|(id, chain)| DraftChain {
            id,
            table: chain.table,
            name: ruleset.text(chain.name).to_owned(),
            hook: chain.hook,
            policy: chain.policy,
        });
        // A chain that is not declared has no rules; jumps to it go with it.
        let known = |target: &Target| match target {
            Target::Jump(to) | Target::Goto(to) => ruleset.chain(*to).declared,
            _ => true,
        };
        let rules = ruleset.rules().map(|(_, rule)| rule);
        let rules = rules
            .filter(|rule| known(&rule.target))
            .map(|rule| DraftRule {
                chain: rule.chain,
                matches: ruleset.matches(rule).to_vec(),
                target: rule.target.clone(),
            });
        Self {
            tables: tables.collect(),
            chains: chains.collect(),
            rules: rules.collect(),
            strings: Rc::new(ruleset.strings().clone()),
        }
    }

    /// As a ruleset.
    pub(super) fn ruleset(&self, family: Family) -> Ruleset {
        let mut builder = RulesetBuilder::new(family);
        builder.strings = Strings::clone(&self.strings);
        self.tables
            .iter()
            .for_each(|table| builder.add_table(*table));
        let mut now: Vec<(ChainId, ChainId)> = Vec::with_capacity(self.chains.len());
        for chain in &self.chains {
            let id = builder.chain(chain.table, &chain.name);
            builder.declare(id);
            builder.set_policy(id, chain.policy);
            now.push((chain.id, id));
        }
        let source = Source {
            file: FileId(0),
            line: 0,
        };
        // `chains` is in the order of ids, and stays so.
        let find = |id: ChainId| {
            now.binary_search_by_key(&id, |(old, _)| *old)
                .ok()
                .map(|at| now[at].1)
        };
        for rule in &self.rules {
            let target = match &rule.target {
                Target::Jump(to) => find(*to).map(Target::Jump),
                Target::Goto(to) => find(*to).map(Target::Goto),
                other => Some(other.clone()),
            };
            if let (Some(chain), Some(target)) = (find(rule.chain), target) {
                builder.push(chain, rule.matches.iter().cloned(), target, source, None);
            }
        }
        builder.finish(vec!["reduced".into()])
    }

    pub(super) fn tables(&self) -> usize {
        self.tables.len()
    }

    pub(super) fn chains(&self) -> usize {
        self.chains.len()
    }

    pub(super) fn rules(&self) -> usize {
        self.rules.len()
    }

    /// Matches of all rules together.
    pub(super) fn matches(&self) -> usize {
        self.rules.iter().map(|rule| rule.matches.len()).sum()
    }

    /// Without the `at`-th table and all in it.
    pub(super) fn without_table(&mut self, at: usize) {
        let table = self.tables.remove(at);
        for at in (0..self.chains.len()).rev() {
            if self.chains[at].table == table {
                self.without_chain(at);
            }
        }
    }

    /// Without the `at`-th chain, its rules, and the jumps to it.
    pub(super) fn without_chain(&mut self, at: usize) {
        let gone = self.chains.remove(at).id;
        self.rules.retain(|rule| {
            let leads = matches!(rule.target, Target::Jump(to) | Target::Goto(to) if to == gone);
            rule.chain != gone && !leads
        });
    }

    /// Without the `at`-th rule.
    pub(super) fn without_rule(&mut self, at: usize) {
        self.rules.remove(at);
    }

    /// Without the `at`-th match of all.
    pub(super) fn without_match(&mut self, mut at: usize) {
        for rule in &mut self.rules {
            match at.checked_sub(rule.matches.len()) {
                Some(left) => at = left,
                None => {
                    rule.matches.remove(at);
                    return;
                }
            }
        }
    }

    /// Drops the protocol of the `at`-th rule with the modules that need one; false if it has none.
    pub(super) fn drop_transport(&mut self, at: usize) -> bool {
        let matches = &mut self.rules[at].matches;
        let before = matches.len();
        matches.retain(|m| {
            !matches!(
                m.kind,
                MatchKind::Protocol(_)
                    | MatchKind::Tcp(_)
                    | MatchKind::Udp(_)
                    | MatchKind::Sctp(_)
                    | MatchKind::Dccp(_)
                    | MatchKind::Icmp(_)
                    | MatchKind::Icmpv6(_)
                    | MatchKind::Multiport(_)
            )
        });
        matches.len() < before
    }

    /// Lets the `at`-th chain, if it is built-in, accept; false if nothing changes.
    pub(super) fn accept_by_policy(&mut self, at: usize) -> bool {
        let chain = &mut self.chains[at];
        let drops = chain.hook.is_some() && chain.policy == Policy::Drop;
        chain.policy = Policy::Accept;
        drops
    }

    /// Lets the `at`-th rule jump where it went; false if nothing changes.
    pub(super) fn jump_for_goto(&mut self, at: usize) -> bool {
        let target = &mut self.rules[at].target;
        match *target {
            Target::Goto(to) => {
                *target = Target::Jump(to);
                true
            }
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use kpclass_ruleset::readers::{Input, read};

    #[test]
    fn a_chain_takes_its_rules_and_the_jumps_to_it_along() {
        let text = "*filter\n:FORWARD ACCEPT [0:0]\n:a - [0:0]\n:b - [0:0]\n-A FORWARD -j a\n\
                    -A FORWARD -g b\n-A a -j ACCEPT\n-A b -j a\nCOMMIT\n";
        let rules = read(&[Input::new("t", text)]).unwrap().v4.unwrap();
        let mut draft = Draft::of(&rules);
        assert_eq!((draft.tables(), draft.chains(), draft.rules()), (1, 3, 4));
        draft.without_chain(1);
        assert_eq!((draft.chains(), draft.rules()), (2, 1));
        assert_eq!(draft.ruleset(Family::V4).rules().len(), 1);
        draft.without_table(0);
        assert_eq!((draft.tables(), draft.chains(), draft.rules()), (0, 0, 0));
    }
}
