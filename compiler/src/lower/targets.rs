//! One target → the operation that it is, at the hooks from which its chain is reached.

use crate::graph::{MaskedAddress, Op};
use crate::lower::Lowering;
use kpclass_ruleset::decision::{Fact, Snat};
use kpclass_ruleset::node::MissingChains;
use kpclass_ruleset::target::{Extension, NatRange, Target};
use kpclass_ruleset::{ChainId, Hook, Rule, TableId};

const DESTINATION_HOOKS: u8 = 1 << Hook::Prerouting as u8 | 1 << Hook::Output as u8;
const SOURCE_HOOKS: u8 = 1 << Hook::Postrouting as u8 | 1 << Hook::Input as u8;

impl Lowering<'_> {
    /// The operation of a rule in a chain that is reached from `hooks`.
    pub(super) fn lower_target(&mut self, rule: &Rule, hooks: u8) -> Op {
        let in_nat = self.ruleset.chain(rule.chain).table == TableId::Nat;
        let destination = in_nat && hooks & !DESTINATION_HOOKS == 0;
        let source = in_nat && hooks & !SOURCE_HOOKS == 0;
        match &rule.target {
            Target::None | Target::Transparent(_) => Op::Next,
            Target::Accept => Op::Accept,
            Target::Drop => Op::Drop,
            Target::Reject(with) => Op::Reject(*with),
            Target::Return => Op::Return,
            Target::Jump(to) => self.jump(*to, Op::Jump(to.0)),
            Target::Goto(to) => self.jump(*to, Op::Goto(to.0)),
            Target::Mark(set) => Op::Mark(*set),
            Target::Connmark(op) => Op::Connmark(*op),
            Target::Dnat(range) if destination => Op::Dnat(*range),
            Target::Redirect(range) if destination => Op::Redirect(*range),
            Target::Netmap(to) if destination => Op::NetmapDestination(MaskedAddress::new(*to)),
            Target::Netmap(to) if source => Op::NetmapSource(MaskedAddress::new(*to)),
            Target::Snat(range) if source => Op::Snat(snat(*range)),
            Target::Masquerade(_) if source => Op::Snat(Snat::Masquerade),
            // The kernel refuses them elsewhere (WALK.md 1.6).
            Target::Dnat(_)
            | Target::Redirect(_)
            | Target::Netmap(_)
            | Target::Snat(_)
            | Target::Masquerade(_) => Op::Unknown(Fact::NatHook),
            Target::Notrack => Op::Notrack,
            Target::Rewrite(extension) => self.rewrite(*extension),
            Target::SetChange(_) => Op::ChangeSets,
            Target::Undecided(extension) => Op::Unknown(Fact::Target(extension.name)),
        }
    }

    fn rewrite(&self, extension: Extension) -> Op {
        match self.ruleset.text(extension.name) {
            "TTL" | "HL" => Op::RewriteTtl,
            _ => Op::RewriteDscp,
        }
    }

    fn jump(&self, to: ChainId, op: Op) -> Op {
        let chain = self.ruleset.chain(to);
        if chain.declared {
            return op;
        }
        let in_nat = chain.table == TableId::Nat;
        match self.ruleset.text(chain.name) {
            "KUBE-MARK-MASQ" if in_nat => Op::SetMarkBit(0x4000),
            "KUBE-MARK-DROP" if in_nat => Op::SetMarkBit(0x8000),
            "KUBE-POSTROUTING" if in_nat => Op::KubePostrouting,
            name if name.starts_with("KUBE-") => Op::Unknown(Fact::Chain(to)),
            _ if self.node.missing_chains == MissingChains::Unknown => Op::Unknown(Fact::Chain(to)),
            // A goto to a chain that returns at once ends this chain.
            _ if matches!(op, Op::Goto(_)) => Op::Return,
            _ => Op::Next,
        }
    }
}

fn snat(range: NatRange) -> Snat {
    Snat::To {
        addresses: range.addresses,
        ports: range.ports.map(|p| (p.first, p.last)),
    }
}
