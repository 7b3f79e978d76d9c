//! What a worker counts: plain sums, so that workers' counts add up in any order.

use crate::rules::Rules;
use crate::skip::SkipReason;
use ahash::AHashMap;
use kpclass_compiler::program::Outcome;
use kpclass_compiler::program::node::{Act, ActId, EndId};
use kpclass_compiler::{ClassId, Program};
use kpclass_ruleset::RuleId;
use kpclass_ruleset::decision::{Decision, Disposition, Nat, Snat};
use kpclass_ruleset::value::Family;
use std::collections::BTreeMap;

/// Packets and bytes, and how many of the packets were masqueraded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Packets.
    pub packets: u64,
    /// Bytes on the wire.
    pub bytes: u64,
    /// Masqueraded packets.
    pub masqueraded: u64,
}

impl Tally {
    #[inline]
    fn add(&mut self, bytes: u32, masqueraded: bool) {
        self.packets += 1;
        self.bytes += u64::from(bytes);
        self.masqueraded += u64::from(masqueraded);
    }

    /// Adds another's.
    pub fn merge(&mut self, other: &Self) {
        self.packets += other.packets;
        self.bytes += other.bytes;
        self.masqueraded += other.masqueraded;
    }
}

/// How packets ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Ending {
    /// Where.
    pub disposition: Disposition,
    /// The rule that dropped or rejected them.
    pub decided_by: Option<RuleId>,
}

/// What took packets of one class.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Taker {
    /// A rule that rewrote their destination.
    Dnat(Nat, RuleId),
    /// A rule that dropped or rejected them.
    Refusal(RuleId),
    /// None.
    Nothing,
}

/// One family's counts. A packet counts once under its end, and once under what took it; both are positions in the program, but for
/// the packets that took the long way (a missing fact, or a class that is walked).
#[derive(Clone, Debug, Default)]
pub struct FamilyCounts {
    /// By end.
    ends: Vec<Tally>,
    /// By DNAT act.
    acts: Vec<Tally>,
    /// Packets whose destination stays, by class and end: `class * ends + end`, where that is not too many.
    kept: Vec<Tally>,
    /// Where it is, by `class << 32 | end`.
    kept_sparse: AHashMap<u64, Tally>,
    /// Of the long way.
    long: AHashMap<(ClassId, Taker, Ending), Tally>,
}

/// Up to this many tallies of classes and ends are kept as a list: they fit into a core's own cache.
const MAX_DENSE: usize = 1 << 15;

/// A worker's counts.
#[derive(Clone, Debug)]
pub struct Counts {
    /// Frames seen.
    pub frames: u64,
    /// Bytes on the wire of all frames.
    pub bytes: u64,
    /// Frames without a verdict, by reason.
    pub skipped: [u64; SkipReason::COUNT],
    v4: FamilyCounts,
    v6: FamilyCounts,
}

impl Counts {
    /// Nothing counted yet.
    pub fn new(rules: &Rules<'_>) -> Self {
        let family = |family| {
            let program = rules.of(family).map(|rules| &rules.program);
            let kept = program.map_or(0, |program| program.classes().len() * program.end_count());
            FamilyCounts {
                kept: vec![Tally::default(); if kept <= MAX_DENSE { kept } else { 0 }],
                ends: vec![Tally::default(); program.map_or(0, Program::end_count)],
                acts: vec![Tally::default(); program.map_or(0, |program| program.acts().len())],
                ..FamilyCounts::default()
            }
        };
        Self {
            frames: 0,
            bytes: 0,
            skipped: [0; SkipReason::COUNT],
            v4: family(Family::V4),
            v6: family(Family::V6),
        }
    }

    /// One family's.
    pub fn family_mut(&mut self, family: Family) -> &mut FamilyCounts {
        match family {
            Family::V4 => &mut self.v4,
            Family::V6 => &mut self.v6,
        }
    }

    /// Adds another worker's.
    pub fn merge(&mut self, other: &Self) {
        self.frames += other.frames;
        self.bytes += other.bytes;
        for (mine, theirs) in self.skipped.iter_mut().zip(&other.skipped) {
            *mine += theirs;
        }
        self.v4.merge(&other.v4);
        self.v6.merge(&other.v6);
    }

    /// One family's.
    pub fn family(&self, family: Family) -> &FamilyCounts {
        match family {
            Family::V4 => &self.v4,
            Family::V6 => &self.v6,
        }
    }
}

impl FamilyCounts {
    /// Counts an outcome of the short way.
    #[inline]
    pub fn outcome(&mut self, class: ClassId, outcome: &Outcome, bytes: u32) {
        self.ends[outcome.end.0 as usize].add(bytes, outcome.masqueraded);
        let tally = match outcome.dnat {
            Some(act) => &mut self.acts[act.0 as usize],
            None => self.kept(class, outcome.end.0),
        };
        tally.add(bytes, outcome.masqueraded);
    }

    #[inline]
    fn kept(&mut self, class: ClassId, end: u32) -> &mut Tally {
        if self.kept.is_empty() {
            let key = u64::from(class.0) << 32 | u64::from(end);
            return self.kept_sparse.entry(key).or_default();
        }
        &mut self.kept[class.0 as usize * self.ends.len() + end as usize]
    }

    /// Counts a decision of the long way.
    pub fn decision(&mut self, class: ClassId, decision: &Decision, bytes: u32) {
        let taker = match (decision.dnat, decision.decided_by) {
            (Some((nat, rule)), _) => Taker::Dnat(nat, rule),
            (None, Some(rule)) => Taker::Refusal(rule),
            (None, None) => Taker::Nothing,
        };
        let ending = Ending {
            disposition: decision.disposition,
            decided_by: decision.decided_by,
        };
        let masqueraded = matches!(decision.snat, Some((Snat::Masquerade, _)));
        let tally = self.long.entry((class, taker, ending)).or_default();
        tally.add(bytes, masqueraded);
    }

    fn merge(&mut self, other: &Self) {
        let dense = self.ends.iter_mut().zip(&other.ends);
        let dense = dense.chain(self.acts.iter_mut().zip(&other.acts));
        for (mine, theirs) in dense.chain(self.kept.iter_mut().zip(&other.kept)) {
            mine.merge(theirs);
        }
        for (key, tally) in &other.kept_sparse {
            self.kept_sparse.entry(*key).or_default().merge(tally);
        }
        for (key, tally) in &other.long {
            self.long.entry(*key).or_default().merge(tally);
        }
    }

    /// Packets by how they ended.
    pub fn endings(&self, program: &Program) -> BTreeMap<Ending, Tally> {
        let mut endings: BTreeMap<Ending, Tally> = BTreeMap::new();
        for (at, tally) in self.ends.iter().enumerate().filter(|(_, t)| t.packets > 0) {
            endings
                .entry(ending(program, at as u32))
                .or_default()
                .merge(tally);
        }
        for ((_, _, ending), tally) in &self.long {
            endings.entry(*ending).or_default().merge(tally);
        }
        endings
    }

    /// Packets by class and what took them.
    pub fn takers(&self, program: &Program) -> BTreeMap<(ClassId, Taker), Tally> {
        let mut takers: BTreeMap<(ClassId, Taker), Tally> = BTreeMap::new();
        for (at, tally) in self.acts.iter().enumerate().filter(|(_, t)| t.packets > 0) {
            let act = ActId(at as u32);
            if let Act::Dnat(dnat) = program.acts()[at] {
                let nat = Nat {
                    address: dnat.address,
                    port: dnat.port,
                };
                let taker = (program.act_class(act), Taker::Dnat(nat, dnat.rule));
                takers.entry(taker).or_default().merge(tally);
            }
        }
        let each = self.ends.len().max(1);
        let dense = self.kept.iter().enumerate();
        let dense = dense.map(|(at, tally)| (at / each, at % each, tally));
        let sparse = self.kept_sparse.iter();
        let sparse = sparse.map(|(key, tally)| ((key >> 32) as usize, *key as u32 as usize, tally));
        for (class, end, tally) in dense.chain(sparse).filter(|(_, _, t)| t.packets > 0) {
            let decided_by = ending(program, end as u32).decided_by;
            let taker = decided_by.map_or(Taker::Nothing, Taker::Refusal);
            takers
                .entry((ClassId(class as u32), taker))
                .or_default()
                .merge(tally);
        }
        for ((class, taker, _), tally) in &self.long {
            takers.entry((*class, *taker)).or_default().merge(tally);
        }
        takers
    }
}

fn ending(program: &Program, end: u32) -> Ending {
    let end = program.end(EndId(end));
    Ending {
        disposition: end.disposition,
        decided_by: end.decided_by,
    }
}
