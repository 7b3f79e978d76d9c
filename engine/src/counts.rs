//! What a worker counts: plain sums, so that workers' counts add up in any order.

use crate::near;
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
    /// Counts a packet of so many bytes.
    #[inline(always)]
    pub fn add(&mut self, bytes: u32, masqueraded: bool) {
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
#[derive(Clone, Debug)]
pub struct FamilyCounts {
    other_class: ClassId,
    /// Packets by end.
    ends: Vec<u64>,
    /// By DNAT act.
    acts: Vec<Tally>,
    /// Packets of the class of all other keys whose destination stays, by end.
    other: Vec<Tally>,
    /// Those of the other classes.
    kept: AHashMap<(ClassId, EndId), Tally>,
    /// Of the long way.
    long: Long,
}

/// What is counted apart on the long way.
type LongKey = (ClassId, Taker, Ending);

/// Counts of the long way.
#[derive(Clone, Debug, Default)]
struct Long {
    tallies: Vec<Tally>,
    positions: AHashMap<LongKey, u32>,
}

impl Long {
    fn position(&mut self, key: LongKey) -> u32 {
        let next = self.tallies.len() as u32;
        let position = *self.positions.entry(key).or_insert(next);
        if position == next {
            self.tallies.push(Tally::default());
        }
        position
    }

    fn iter(&self) -> impl Iterator<Item = (&LongKey, &Tally)> {
        let positions = self.positions.iter();
        positions.map(|(key, at)| (key, &self.tallies[*at as usize]))
    }
}

/// Where packets of the long way are counted that all come to the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Account(u32);

impl Account {
    fn new(position: u32, masqueraded: bool) -> Self {
        Self(position << 1 | u32::from(masqueraded))
    }

    fn position(self) -> usize {
        (self.0 >> 1) as usize
    }

    fn is_masqueraded(self) -> bool {
        self.0 & 1 != 0
    }

    /// As a number.
    pub(crate) fn number(self) -> u32 {
        self.0
    }

    /// From its number.
    pub(crate) fn of(number: u32) -> Self {
        Self(number)
    }
}

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
            let ends = program.map_or(0, Program::end_count);
            FamilyCounts {
                other_class: program.map_or(ClassId(0), Program::other),
                other: vec![Tally::default(); ends],
                ends: vec![0; ends],
                acts: vec![Tally::default(); program.map_or(0, |program| program.act_count())],
                kept: AHashMap::new(),
                long: Long::default(),
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
        let Outcome {
            end,
            dnat,
            masqueraded,
        } = *outcome;
        self.end(end, 1);
        match dnat {
            Some(act) => self.acts[act.0 as usize].add(bytes, masqueraded),
            None => self.keep(class, end, bytes, masqueraded),
        }
    }

    /// Counts packets under their end alone.
    pub fn end(&mut self, end: EndId, packets: u64) {
        self.ends[end.0 as usize] += packets;
    }

    /// Counts a packet whose destination stays under its class.
    #[inline(always)]
    pub fn keep(&mut self, class: ClassId, end: EndId, bytes: u32, masqueraded: bool) {
        self.kept(class, end).add(bytes, masqueraded);
    }

    /// Adds what an act rewrote.
    pub fn merge_act(&mut self, act: ActId, tally: &Tally) {
        self.acts[act.0 as usize].merge(tally);
    }

    /// Adds packets of a class whose destination stayed.
    pub fn merge_kept(&mut self, class: ClassId, end: EndId, tally: &Tally) {
        self.kept(class, end).merge(tally);
    }

    #[inline]
    fn kept(&mut self, class: ClassId, end: EndId) -> &mut Tally {
        if class == self.other_class {
            return &mut self.other[end.0 as usize];
        }
        self.kept.entry((class, end)).or_default()
    }

    /// Counts a decision of the long way.
    pub fn decision(&mut self, class: ClassId, decision: &Decision, bytes: u32) {
        let account = self.account(class, decision);
        self.add(account, bytes);
    }

    /// Counts a packet of the long way.
    #[inline]
    pub fn add(&mut self, account: Account, bytes: u32) {
        self.long.tallies[account.position()].add(bytes, account.is_masqueraded());
    }

    /// Where it would be counted comes nearer.
    #[inline(always)]
    pub(crate) fn come_nearer(&self, account: Account) {
        if let Some(tally) = self.long.tallies.get(account.position()) {
            near::ask_for(tally);
        }
    }

    /// Where packets of a class are counted that are decided so.
    pub fn account(&mut self, class: ClassId, decision: &Decision) -> Account {
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
        Account::new(self.long.position((class, taker, ending)), masqueraded)
    }

    fn merge(&mut self, other: &Self) {
        for (mine, theirs) in self.ends.iter_mut().zip(&other.ends) {
            *mine += theirs;
        }
        let acts = self.acts.iter_mut().zip(&other.acts);
        for (mine, theirs) in acts.chain(self.other.iter_mut().zip(&other.other)) {
            mine.merge(theirs);
        }
        for (key, tally) in &other.kept {
            self.kept.entry(*key).or_default().merge(tally);
        }
        for (key, tally) in other.long.iter() {
            let position = self.long.position(*key);
            self.long.tallies[position as usize].merge(tally);
        }
    }

    /// Packets by how they ended.
    pub fn endings(&self, program: &Program) -> BTreeMap<Ending, u64> {
        let mut endings: BTreeMap<Ending, u64> = BTreeMap::new();
        for (at, packets) in self.ends.iter().enumerate().filter(|(_, n)| **n > 0) {
            *endings.entry(ending(program, at as u32)).or_default() += packets;
        }
        for ((_, _, ending), tally) in self.long.iter() {
            *endings.entry(*ending).or_default() += tally.packets;
        }
        endings
    }

    /// Packets by class and what took them.
    pub fn takers(&self, program: &Program) -> BTreeMap<(ClassId, Taker), Tally> {
        let mut takers: BTreeMap<(ClassId, Taker), Tally> = BTreeMap::new();
        for (at, tally) in self.acts.iter().enumerate().filter(|(_, t)| t.packets > 0) {
            let act = ActId(at as u32);
            if let Act::Dnat(dnat) = program.act(act) {
                let nat = Nat {
                    address: dnat.address,
                    port: dnat.port,
                };
                let taker = (program.act_class(act), Taker::Dnat(nat, dnat.rule));
                takers.entry(taker).or_default().merge(tally);
            }
        }
        let other = self.other.iter().enumerate();
        let other = other.map(|(end, tally)| (self.other_class, EndId(end as u32), tally));
        let kept = self.kept.iter();
        let kept = kept.map(|((class, end), tally)| (*class, *end, tally));
        for (class, end, tally) in other.chain(kept).filter(|(_, _, t)| t.packets > 0) {
            let decided_by = ending(program, end.0).decided_by;
            let taker = decided_by.map_or(Taker::Nothing, Taker::Refusal);
            takers.entry((class, taker)).or_default().merge(tally);
        }
        for ((class, taker, _), tally) in self.long.iter() {
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
