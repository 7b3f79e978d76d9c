//! What a replay counts of a packet, held against a decision.

use kpclass_compiler::header::Header;
use kpclass_compiler::program::node::Act;
use kpclass_compiler::{Context, Piece, Program};
use kpclass_ruleset::RuleId;
use kpclass_ruleset::decision::{Decision, Disposition, Nat, Snat};

/// What a replay counts of a decision.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Counted {
    disposition: Disposition,
    decided_by: Option<RuleId>,
    dnat_by: Option<RuleId>,
    masqueraded: bool,
}

impl Counted {
    pub(super) fn of(decision: &Decision) -> Self {
        Self {
            disposition: decision.disposition,
            decided_by: decision.decided_by,
            dnat_by: decision.dnat.map(|(_, rule)| rule),
            masqueraded: matches!(decision.snat, Some((Snat::Masquerade, _))),
        }
    }

    /// What the program's short way says; `None`: it leaves the packet to [`Program::decide`].
    pub(super) fn by(
        program: &Program,
        header: &Header,
        context: &Context,
        number: u64,
    ) -> Option<Self> {
        let outcome = program.outcome(header, context, number)?;
        let end = program.end(outcome.end);
        let dnat = outcome.dnat.map(|act| program.act(act));
        Some(Self {
            disposition: end.disposition,
            decided_by: end.decided_by,
            dnat_by: dnat.and_then(|act| match act {
                Act::Dnat(dnat) => Some(dnat.rule),
                _ => None,
            }),
            masqueraded: outcome.masqueraded,
        })
    }

    /// A decision with what is counted in the place of what it says.
    fn written_into(self, decision: &Decision) -> Decision {
        let unknown_nat = Nat {
            address: None,
            port: None,
        };
        let nat = decision.dnat.map_or(unknown_nat, |(nat, _)| nat);
        Decision {
            disposition: self.disposition,
            decided_by: self.decided_by,
            dnat: self.dnat_by.map(|rule| (nat, rule)),
            snat: decision.snat.filter(|_| self.masqueraded),
            ..decision.clone()
        }
    }
}

/// Pieces whose ends are asked for, at most.
const MOST_PIECES: usize = 64;

/// The first number for which a replay would count a packet otherwise than its pieces say, and what it counts. Asked are both ends of each piece.
pub fn first_miscount(
    program: &Program,
    header: &Header,
    context: &Context,
    pieces: &[Piece],
) -> Option<(u64, Decision)> {
    let mut first = 0;
    for piece in pieces.iter().take(MOST_PIECES) {
        for number in [first, piece.last] {
            let counted = Counted::by(program, header, context, number);
            let differs = |counted: &Counted| *counted != Counted::of(&piece.decision);
            if let Some(counted) = counted.filter(differs)
                && !piece.decision.gave_up()
            {
                return Some((number, counted.written_into(&piece.decision)));
            }
        }
        first = piece.last.wrapping_add(1);
    }
    None
}
