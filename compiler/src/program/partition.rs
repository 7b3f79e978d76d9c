//! The program's whole answer for one packet, as a function of the number drawn.

use super::Program;
use super::evaluate::{Context, Halt, Place, Registers, Run, either, unknown};
use super::node::Draw;
use crate::header::Header;
use crate::machine::state::NONE;
use kpclass_ruleset::RuleId;
use kpclass_ruleset::decision::{Decision, Fact, MAX_FORKS};

/// Draws that one packet's partition may take; what is left behind them is not claimed to be known. (Rules can be written that draw ever again.)
pub(super) const MAX_DRAWS: u32 = 1 << 17;

/// The decision for the numbers after the piece before, up to `last`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Piece {
    /// The last number, included.
    pub last: u64,
    /// The decision.
    pub decision: Decision,
}

/// A stretch of numbers still to be followed.
struct Stretch {
    at: Place,
    registers: Registers,
    last: u64,
}

impl Program {
    /// The decisions of all numbers, in ascending order; neighbours differ. `None` as for [`Program::decide`].
    pub fn partition(&self, header: &Header, context: &Context) -> Option<Vec<Piece>> {
        let mut run = self.run(header, context)?;
        let root = run.root()?;
        let all = Stretch {
            at: root,
            registers: Registers::default(),
            last: u64::MAX,
        };
        Some(run.pieces(all, 0, 0))
    }
}

impl Run<'_> {
    /// The pieces from `first` to the stretch's last number.
    fn pieces(&mut self, all: Stretch, first: u64, forks: u32) -> Vec<Piece> {
        let mut pieces: Vec<Piece> = Vec::new();
        let mut work = vec![all];
        let mut from = first;
        while let Some(Stretch {
            at,
            mut registers,
            last,
        }) = work.pop()
        {
            let halt = self.advance(at, &mut registers);
            match halt {
                Halt::End(decision) => append(&mut pieces, Piece { last, decision }),
                Halt::Draw { .. } | Halt::Select { .. } if self.draws_left == 0 => {
                    let decision = unknown(RuleId(NONE), Fact::TooMany);
                    append(&mut pieces, Piece { last, decision });
                }
                Halt::Draw {
                    draw: Draw { below, .. },
                    yes,
                    no,
                } => {
                    self.draws_left -= 1;
                    if below <= last {
                        work.push(Stretch {
                            at: no,
                            registers,
                            last,
                        });
                    }
                    if from < below {
                        work.push(Stretch {
                            at: yes,
                            registers,
                            last: last.min(below - 1),
                        });
                    }
                    continue;
                }
                Halt::Select {
                    first,
                    count,
                    targets,
                } => {
                    self.draws_left = self.draws_left.saturating_sub(count);
                    self.select(&mut work, from, last, registers, (first, count, targets));
                    continue;
                }
                Halt::Unknown { rule, .. } if forks == MAX_FORKS => {
                    append(
                        &mut pieces,
                        Piece {
                            last,
                            decision: unknown(rule, Fact::TooMany),
                        },
                    );
                }
                Halt::Unknown {
                    rule,
                    fact,
                    yes,
                    no,
                } => {
                    let held = Stretch {
                        at: yes,
                        registers: registers.assuming(rule),
                        last,
                    };
                    let failed = Stretch {
                        at: no,
                        registers: registers.assuming_nothing(),
                        last,
                    };
                    let held = self.pieces(held, from, forks + 1);
                    let failed = self.pieces(failed, from, forks + 1);
                    for piece in merge(held, failed, &unknown(rule, fact)) {
                        append(&mut pieces, piece);
                    }
                }
            }
            from = last.wrapping_add(1);
        }
        pieces
    }

    /// Pushes the targets of a selection that numbers from `from` to `last` reach, the lowest on top.
    fn select(
        &self,
        work: &mut Vec<Stretch>,
        from: u64,
        last: u64,
        registers: Registers,
        (first, count, targets): (u32, u32, u32),
    ) {
        let thresholds = &self.program.thresholds[first as usize..(first + count) as usize];
        for i in (0..=count as usize).rev() {
            let low = if i == 0 { 0 } else { thresholds[i - 1].below };
            let high = thresholds
                .get(i)
                .map_or(u64::MAX, |t| t.below.wrapping_sub(1));
            if low <= last && from <= high && thresholds.get(i).is_none_or(|t| t.below > low) {
                let at = self.place(self.program.targets[targets as usize + i]);
                work.push(Stretch {
                    at,
                    registers,
                    last: last.min(high),
                });
            }
        }
    }
}

/// Adds a piece, or lengthens the one before if it says the same.
fn append(pieces: &mut Vec<Piece>, piece: Piece) {
    match pieces.last_mut() {
        Some(before) if before.decision == piece.decision => before.last = piece.last,
        _ => pieces.push(piece),
    }
}

/// Where both ways agree, that; elsewhere the unknown.
fn merge(held: Vec<Piece>, failed: Vec<Piece>, unknown: &Decision) -> Vec<Piece> {
    let mut merged = Vec::new();
    let (mut a, mut b) = (held.into_iter().peekable(), failed.into_iter().peekable());
    while let (Some(x), Some(y)) = (a.peek(), b.peek()) {
        let last = x.last.min(y.last);
        let decision = either(&x.decision, &y.decision, || unknown.clone());
        let (x_ends, y_ends) = (x.last == last, y.last == last);
        append(&mut merged, Piece { last, decision });
        if x_ends {
            a.next();
        }
        if y_ends {
            b.next();
        }
    }
    merged
}
