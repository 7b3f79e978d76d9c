//! The reference judges the program on one packet: what both decide for every number that can be drawn, what the program decides
//! for one number drawn and counts in a replay, and the outcomes with their probabilities.

mod counted;
mod difference;

pub use counted::first_miscount;
pub use difference::{Difference, Question, first_difference};

use counted::Counted;
use kpclass_compiler::header::Header;
use kpclass_compiler::{Context, Piece, Program};
use kpclass_reference::Walk;
use kpclass_ruleset::Ruleset;
use kpclass_ruleset::decision::Decision;
use kpclass_ruleset::line::{describe, effect};
use kpclass_ruleset::node::NodeFacts;
use kpclass_ruleset::packet::Packet;
use std::collections::BTreeMap;

/// Of a packet's pieces, at most about so many are drawn from.
const DRAWN_PIECES: usize = 16;

/// A share of 2^64 numbers lies this close to its exact probability: each draw rounds down by less than one number.
const ROUNDING: f64 = 1e-9;

/// One family's rules, walked and compiled.
#[derive(Clone, Copy, Debug)]
pub struct Judge<'a> {
    ruleset: &'a Ruleset,
    node: &'a NodeFacts,
    walk: &'a Walk<'a>,
    program: &'a Program,
}

impl<'a> Judge<'a> {
    /// The judge of `program`, which was compiled from `ruleset` and `node` as `walk` was made.
    pub fn new(
        ruleset: &'a Ruleset,
        node: &'a NodeFacts,
        walk: &'a Walk<'a>,
        program: &'a Program,
    ) -> Self {
        Self {
            ruleset,
            node,
            walk,
            program,
        }
    }

    /// Whether both decide alike for all numbers at once, deciding rules and marks included; the reference's pieces if so.
    ///
    /// # Errors
    /// The lowest number for which they differ.
    pub fn partition(
        &self,
        packet: &Packet,
    ) -> Result<Vec<kpclass_reference::Piece>, Box<Difference>> {
        let asked = Question::Partition;
        let reference = self.walk.partition(packet);
        let Some(program) = self.pieces(packet) else {
            return Err(self.not_compiled(packet, asked));
        };
        match first_difference(&reference, &program) {
            None => Ok(reference),
            Some((number, r, p)) => {
                let lines = (describe(self.ruleset, r), describe(self.ruleset, p));
                Err(self.difference(packet, Some(number), asked, lines))
            }
        }
    }

    /// Asks everything but the outcomes: all numbers at once, and at the ends of the pieces one number each, decided and counted.
    ///
    /// # Errors
    /// The first difference.
    pub fn decisions(
        &self,
        packet: &Packet,
    ) -> Result<Vec<kpclass_reference::Piece>, Box<Difference>> {
        let pieces = self.partition(packet)?;
        let step = pieces.len().div_ceil(DRAWN_PIECES).max(1);
        for at in (0..pieces.len()).step_by(step) {
            let first = match at.checked_sub(1).map(|before| pieces[before].last) {
                Some(last) => last.wrapping_add(1),
                None => 0,
            };
            for number in [first, pieces[at].last] {
                self.drawn(packet, number, &pieces[at].decision)?;
            }
        }
        Ok(pieces)
    }

    /// Asks for the outcomes: the program's, with their shares of the numbers, must be the reference's, with their exact probabilities.
    /// (Where either gives up, nothing is asked.)
    ///
    /// # Errors
    /// If an outcome is missing on one side, or its share is another.
    pub fn outcomes(&self, packet: &Packet) -> Result<(), Box<Difference>> {
        let asked = Question::Outcomes;
        let outcomes = self.walk.outcomes(packet);
        let mut reference = BTreeMap::new();
        for outcome in &outcomes {
            if outcome.decision.gave_up() {
                return Ok(());
            }
            let line = effect(self.ruleset, &outcome.decision);
            *reference.entry(line).or_default() += outcome.probability.as_f64();
        }
        let Some(pieces) = self.pieces(packet) else {
            return Err(self.not_compiled(packet, asked));
        };
        if pieces.iter().any(|piece| piece.decision.gave_up()) {
            return Ok(());
        }
        let program = shares(self.ruleset, &pieces);
        let of = |shares: &BTreeMap<String, f64>, line: &str| shares.get(line).copied();
        let differs = |line: &&String| {
            let (r, p) = (of(&reference, line), of(&program, line));
            (r.unwrap_or(0.0) - p.unwrap_or(0.0)).abs() > ROUNDING
        };
        match reference.keys().chain(program.keys()).find(differs) {
            None => Ok(()),
            Some(line) => {
                let said = |shares| match of(shares, line) {
                    Some(share) => format!("{line} with {share:.12}"),
                    None => format!("never {line}"),
                };
                let lines = (said(&reference), said(&program));
                Err(self.difference(packet, None, asked, lines))
            }
        }
    }

    /// One number: what the program decides, and what a replay would count.
    fn drawn(
        &self,
        packet: &Packet,
        number: u64,
        decision: &Decision,
    ) -> Result<(), Box<Difference>> {
        let (header, context) = (Header::from(packet), Context::from(packet));
        let decided = self.program.decide(&header, &context, number);
        if decision.gave_up() || decided.as_ref().is_some_and(Decision::gave_up) {
            return Ok(());
        }
        let reference = || describe(self.ruleset, decision);
        if decided.as_ref() != Some(decision) {
            let program = match &decided {
                Some(decided) => describe(self.ruleset, decided),
                None => NOT_COMPILED.to_owned(),
            };
            let lines = (reference(), program);
            return Err(self.difference(packet, Some(number), Question::Decide, lines));
        }
        match Counted::by(self.program, &header, &context, number) {
            Some(counted) if counted != Counted::of(decision) => {
                let lines = (reference(), format!("{counted:?}"));
                Err(self.difference(packet, Some(number), Question::Count, lines))
            }
            _ => Ok(()),
        }
    }

    fn pieces(&self, packet: &Packet) -> Option<Vec<Piece>> {
        self.program
            .partition(&Header::from(packet), &Context::from(packet))
    }

    fn not_compiled(&self, packet: &Packet, asked: Question) -> Box<Difference> {
        let lines = ("an answer".to_owned(), NOT_COMPILED.to_owned());
        self.difference(packet, None, asked, lines)
    }

    fn difference(
        &self,
        packet: &Packet,
        number: Option<u64>,
        asked: Question,
        lines: (String, String),
    ) -> Box<Difference> {
        Difference::new(packet, self.node, number, asked, lines)
    }
}

const NOT_COMPILED: &str = "not compiled for this packet";

/// Each effect's share of all numbers.
fn shares(ruleset: &Ruleset, pieces: &[Piece]) -> BTreeMap<String, f64> {
    let mut shares: BTreeMap<String, f64> = BTreeMap::new();
    let mut from = 0u128;
    for piece in pieces {
        let end = u128::from(piece.last) + 1;
        let line = effect(ruleset, &piece.decision);
        *shares.entry(line).or_default() += (end - from) as f64 / 2f64.powi(64);
        from = end;
    }
    shares
}
