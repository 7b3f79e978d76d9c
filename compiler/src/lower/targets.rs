//! One target → the operation that it is.

use crate::graph::{MaskedAddress, Op};
use crate::lower::Lowering;
use crate::program::test::PortRewrite;
use kpclass_ruleset::decision::{Fact, Snat};
use kpclass_ruleset::node::MissingChains;
use kpclass_ruleset::target::{Extension, NatRange, Target};
use kpclass_ruleset::value::PortRange;
use kpclass_ruleset::{ChainId, Rule, TableId};

impl Lowering<'_> {
    /// The operation of a rule.
    pub(super) fn lower_target(&mut self, rule: &Rule) -> Op {
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
            Target::Dnat(range) => Op::Dnat(*range),
            Target::Redirect(range) => Op::Redirect(*range),
            Target::Netmap(to) => Op::Netmap(MaskedAddress::new(*to)),
            Target::Snat(range) => Op::Snat(snat(*range), port_rewrite(*range)),
            Target::Masquerade(range) => Op::Snat(Snat::Masquerade, port_rewrite(*range)),
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
        if self.has_all_chains {
            return op;
        }
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

fn port_rewrite(range: NatRange) -> PortRewrite {
    let is_random = range.random || range.random_fully;
    let ports = range.ports.map(|range| PortRange {
        first: range.first.min(range.last),
        last: range.first.max(range.last),
    });
    match ports {
        Some(range) if is_random => PortRewrite::Drawn(range),
        Some(range) => PortRewrite::Into(range),
        None if is_random => PortRewrite::DrawnOfItsKind,
        None => PortRewrite::Kept,
    }
}

fn snat(range: NatRange) -> Snat {
    Snat::To {
        addresses: range.addresses,
        ports: range.ports.map(|p| (p.first, p.last)),
    }
}
