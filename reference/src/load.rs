//! What is asked of a ruleset once: that its chains do not loop, and whether it turns conntrack on.

use kpclass_ruleset::matches::MatchKind;
use kpclass_ruleset::target::Target;
use kpclass_ruleset::{Hook, RuleId, Ruleset, TableId};
use std::fmt;

/// Why a ruleset cannot be walked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoadError {
    chain: String,
    table: TableId,
}

impl LoadError {
    /// A chain that the loop runs through.
    pub fn chain(&self) -> &str {
        &self.chain
    }
}

impl fmt::Display for LoadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "chain {} of table {} leads back to itself",
            self.chain,
            self.table.name()
        )
    }
}

impl std::error::Error for LoadError {}

/// The chains that the rules of one chain jump or go to, still to be looked at.
struct Looking {
    chain: usize,
    next: u32,
    end: u32,
}

/// Refuses chains that lead back to themselves (WALK.md 3.5), depth first on a stack of its own.
pub(crate) fn refuse_loops(ruleset: &Ruleset) -> Result<(), LoadError> {
    #[derive(Clone, Copy, PartialEq)]
    enum Seen {
        No,
        Open,
        Done,
    }
    let mut seen = vec![Seen::No; ruleset.chains().len()];
    for (root, _) in ruleset.chains() {
        let mut stack = Vec::new();
        let mut enter = Some(root);
        loop {
            if let Some(chain) = enter.take() {
                match seen[chain.index()] {
                    Seen::Done => {}
                    Seen::Open => {
                        let table = ruleset.chain(chain).table;
                        return Err(LoadError {
                            chain: ruleset.chain_name(chain).into(),
                            table,
                        });
                    }
                    Seen::No => {
                        seen[chain.index()] = Seen::Open;
                        let rules = &ruleset.chain(chain).rules;
                        stack.push(Looking {
                            chain: chain.index(),
                            next: rules.start,
                            end: rules.end,
                        });
                    }
                }
            }
            let Some(top) = stack.last_mut() else { break };
            if top.next == top.end {
                seen[top.chain] = Seen::Done;
                stack.pop();
                continue;
            }
            if let Target::Jump(to) | Target::Goto(to) = ruleset.rule(RuleId(top.next)).target {
                enter = Some(to);
            }
            top.next += 1;
        }
    }
    Ok(())
}

/// WALK.md 1.1: whether some rule, reachable or not, turns conntrack on. Test `load::what_turns_conntrack_on`, corpus `facts.toml`: fact 1.
pub(crate) fn turns_conntrack_on(ruleset: &Ruleset) -> bool {
    ruleset.rules().any(|(_, rule)| {
        needs_conntrack(ruleset, rule.chain, &rule.target)
            || ruleset
                .matches(rule)
                .iter()
                .any(|m| asks_conntrack(ruleset, &m.kind))
    })
}

fn asks_conntrack(ruleset: &Ruleset, kind: &MatchKind) -> bool {
    match kind {
        MatchKind::Conntrack(_) | MatchKind::State(_) | MatchKind::Connmark(_) => true,
        MatchKind::Undecided(undecided) => matches!(
            ruleset.text(undecided.module),
            "connbytes" | "connlabel" | "connlimit" | "helper" | "cluster"
        ),
        _ => false,
    }
}

fn needs_conntrack(ruleset: &Ruleset, chain: kpclass_ruleset::ChainId, target: &Target) -> bool {
    match target {
        Target::Dnat(_)
        | Target::Snat(_)
        | Target::Masquerade(_)
        | Target::Redirect(_)
        | Target::Netmap(_)
        | Target::Connmark(_) => true,
        Target::Transparent(extension) => {
            matches!(ruleset.text(extension.name), "CT" | "CONNSECMARK")
        }
        Target::Undecided(extension) => {
            matches!(ruleset.text(extension.name), "SYNPROXY" | "CLUSTERIP")
        }
        // The body that a missing KUBE-POSTROUTING is taken to have.
        Target::Jump(to) | Target::Goto(to) => {
            !ruleset.chain(*to).declared
                && ruleset.chain(chain).table == TableId::Nat
                && ruleset.chain_name(*to) == "KUBE-POSTROUTING"
        }
        _ => false,
    }
}

/// WALK.md 3.6, in bold: nat POSTROUTING was cut away, and its body is known.
pub(crate) fn implies_postrouting(ruleset: &Ruleset) -> bool {
    let empty = ruleset
        .entry(TableId::Nat, Hook::Postrouting)
        .is_none_or(|chain| ruleset.chain(chain).rules.is_empty());
    let Some(mark_masq) = ruleset.chain_named(TableId::Nat, "KUBE-MARK-MASQ") else {
        return false;
    };
    empty
        && ruleset.chain_named(TableId::Nat, "KUBE-POSTROUTING").is_none()
        && ruleset.rules().any(|(_, rule)| {
            matches!(rule.target, Target::Jump(to) | Target::Goto(to) if to == mark_masq)
        })
}
