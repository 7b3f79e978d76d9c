//! A table's chains and the jumps between them, before any rule is written: so that each rule knows at which hooks it will be asked, by
//! which the kernel refuses matches and targets.

use crate::numbers::Numbers;
use kpclass_ruleset::{Hook, TableId};

/// A set of hooks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Hooks(u8);

impl Hooks {
    /// Where the arrival device and the link header can be asked for.
    pub(super) const ARRIVING: Self =
        Self(1 << Hook::Prerouting as u8 | 1 << Hook::Input as u8 | 1 << Hook::Forward as u8);
    /// Where nat rewrites the destination.
    pub(super) const DESTINATION: Self =
        Self(1 << Hook::Prerouting as u8 | 1 << Hook::Output as u8);
    /// Where nat rewrites the source.
    pub(super) const SOURCE: Self = Self(1 << Hook::Postrouting as u8 | 1 << Hook::Input as u8);

    /// One.
    pub(super) fn of(hook: Hook) -> Self {
        Self(1 << hook as u8)
    }

    /// The union.
    pub(super) fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Whether there are some, and all of them are among `other`.
    pub(super) fn only(self, other: Self) -> bool {
        self.0 != 0 && self.0 & !other.0 == 0
    }

    /// Whether some of them are among `other`.
    pub(super) fn any_of(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }
}

/// A chain to be filled.
#[derive(Clone, Debug)]
pub(super) struct Chain {
    pub name: String,
    pub builtin: Option<Hook>,
    /// From which hooks jumps lead here.
    pub hooks: Hooks,
    depth: usize,
    /// Jumps that stand in it: to which chain, and whether they go (`-g`).
    pub jumps: Vec<(usize, bool)>,
    /// How many other rules it gets.
    pub rules: usize,
}

/// Chains jump this deep at most.
const DEEPEST: usize = 5;
/// Chains of users that a table has at most.
const MOST: usize = 7;

/// A table's chains, the built-in ones first; jumps only lead to chains further on, so none leads back.
pub(super) fn chains(table: TableId, rules: usize, numbers: &mut Numbers) -> Vec<Chain> {
    let builtin = table.hooks().iter().map(|hook| Chain {
        name: hook.chain().to_owned(),
        builtin: Some(*hook),
        hooks: Hooks::of(*hook),
        depth: 0,
        jumps: Vec::new(),
        rules: 0,
    });
    let mut chains: Vec<Chain> = builtin.collect();
    let own = 2 + numbers.index(MOST - 1).min(rules / 3);
    for number in 0..own {
        let mut chain = Chain {
            name: format!("{}-{}", table.name(), (b'a' + number as u8) as char),
            builtin: None,
            hooks: Hooks::default(),
            depth: 0,
            jumps: Vec::new(),
            rules: 0,
        };
        // Now and then a chain to which nothing leads.
        let callers = if numbers.chance(0.05) {
            0
        } else {
            1 + numbers.index(3)
        };
        for _ in 0..callers {
            let caller = numbers.index(chains.len());
            if fits(table, &chains[caller], &chain) {
                let to = chains.len();
                chains[caller].jumps.push((to, numbers.chance(0.2)));
                chain.hooks = chain.hooks.with(chains[caller].hooks);
                chain.depth = chain.depth.max(chains[caller].depth + 1);
            }
        }
        chains.push(chain);
    }
    spread(&mut chains, rules, numbers);
    chains
}

/// Whether a caller is not too deep, and (in nat) rewrites the same side of a packet as the others.
fn fits(table: TableId, caller: &Chain, chain: &Chain) -> bool {
    let destination = Hooks::DESTINATION;
    let same_side = table != TableId::Nat
        || chain.hooks == Hooks::default()
        || caller.hooks == Hooks::default()
        || caller.hooks.any_of(destination) == chain.hooks.any_of(destination);
    caller.depth < DEEPEST && same_side
}

/// Gives the chains their rules; one in eight chains of users stays empty.
fn spread(chains: &mut [Chain], rules: usize, numbers: &mut Numbers) {
    let open: Vec<usize> = (0..chains.len())
        .filter(|at| chains[*at].builtin.is_some() || numbers.chance(0.875))
        .collect();
    for _ in 0..rules {
        if let Some(at) = numbers.pick(&open) {
            chains[*at].rules += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn jumps_lead_on_and_carry_their_hooks() {
        let mut deepest = 0;
        for seed in 0..50 {
            for table in TableId::ALL {
                let chains = chains(table, 30, &mut Numbers::new(seed));
                for (at, chain) in chains.iter().enumerate() {
                    assert!(chain.depth <= DEEPEST);
                    deepest = deepest.max(chain.depth);
                    for (to, _) in &chain.jumps {
                        assert!(*to > at);
                        assert!(
                            chain.hooks == Hooks::default() || chain.hooks.only(chains[*to].hooks)
                        );
                    }
                }
            }
        }
        assert!(deepest >= 4);
    }
}
