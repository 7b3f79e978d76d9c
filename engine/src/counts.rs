//! What a worker counts: plain sums, so that workers' counts add up in any order.

use crate::rules::Rules;
use crate::skip::SkipReason;
use ahash::AHashMap;
use kpclass_compiler::program::Outcome;
use kpclass_compiler::{ClassId, Program};
use kpclass_ruleset::RuleId;
use kpclass_ruleset::decision::{Decision, Disposition, Nat, Snat};
use kpclass_ruleset::value::Family;

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

/// What a packet is counted under: its class, its new destination with the rule, its end with the rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Kind {
    /// The class of its key.
    pub class: ClassId,
    /// The rewrite.
    pub dnat: Option<(Nat, RuleId)>,
    /// The end.
    pub disposition: Disposition,
    /// The rule that dropped or rejected it.
    pub decided_by: Option<RuleId>,
}

/// One family's counts.
#[derive(Clone, Debug, Default)]
pub struct FamilyCounts {
    /// By class and end, for packets whose destination stays: `class * ends + end`.
    ends: AHashMap<u64, Tally>,
    /// By DNAT act and end.
    dnats: Vec<AHashMap<u32, Tally>>,
    /// Packets that took the long way: a missing fact, or a class that is walked.
    others: AHashMap<Kind, Tally>,
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
        let family = |family| FamilyCounts {
            dnats: vec![
                AHashMap::new();
                rules
                    .of(family)
                    .map_or(0, |rules| rules.program.acts().len())
            ],
            ..FamilyCounts::default()
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

    /// Everything that was counted of a family, in a fixed order.
    pub fn kinds(&self, family: Family, program: &Program) -> Vec<(Kind, Tally)> {
        let counts = match family {
            Family::V4 => &self.v4,
            Family::V6 => &self.v6,
        };
        counts.kinds(program)
    }
}

impl FamilyCounts {
    /// Counts an outcome of the short way.
    #[inline]
    pub fn outcome(&mut self, class: ClassId, outcome: &Outcome, bytes: u32) {
        let tally = match outcome.dnat {
            Some(act) => self.dnats[act.0 as usize].entry(outcome.end.0).or_default(),
            None => {
                let key = u64::from(class.0) << 32 | u64::from(outcome.end.0);
                self.ends.entry(key).or_default()
            }
        };
        tally.add(bytes, outcome.masqueraded);
    }

    /// Counts a decision of the long way.
    pub fn decision(&mut self, class: ClassId, decision: &Decision, bytes: u32) {
        let kind = Kind {
            class,
            dnat: decision.dnat,
            disposition: decision.disposition,
            decided_by: decision.decided_by,
        };
        let masqueraded = matches!(decision.snat, Some((Snat::Masquerade, _)));
        self.others.entry(kind).or_default().add(bytes, masqueraded);
    }

    fn merge(&mut self, other: &Self) {
        for (key, tally) in &other.ends {
            self.ends.entry(*key).or_default().merge(tally);
        }
        for (mine, theirs) in self.dnats.iter_mut().zip(&other.dnats) {
            for (end, tally) in theirs {
                mine.entry(*end).or_default().merge(tally);
            }
        }
        for (kind, tally) in &other.others {
            self.others.entry(*kind).or_default().merge(tally);
        }
    }

    fn kinds(&self, program: &Program) -> Vec<(Kind, Tally)> {
        let mut kinds = self.others.clone();
        for (key, tally) in &self.ends {
            let kind = program.kind_of(ClassId((key >> 32) as u32), None, *key as u32);
            kinds.entry(kind).or_default().merge(tally);
        }
        for (act, ends) in self.dnats.iter().enumerate() {
            for (end, tally) in ends {
                let kind = program.kind_of_act(act as u32, *end);
                kinds.entry(kind).or_default().merge(tally);
            }
        }
        let mut kinds: Vec<_> = kinds.into_iter().collect();
        kinds.sort_by_key(|(kind, _)| *kind);
        kinds
    }
}

/// What positions in a program stand for.
trait Kinds {
    fn kind_of(&self, class: ClassId, dnat: Option<(Nat, RuleId)>, end: u32) -> Kind;
    fn kind_of_act(&self, act: u32, end: u32) -> Kind;
}

impl Kinds for Program {
    fn kind_of(&self, class: ClassId, dnat: Option<(Nat, RuleId)>, end: u32) -> Kind {
        let end = self.end(kpclass_compiler::program::node::EndId(end));
        Kind {
            class,
            dnat,
            disposition: end.disposition,
            decided_by: end.decided_by,
        }
    }

    fn kind_of_act(&self, act: u32, end: u32) -> Kind {
        use kpclass_compiler::program::node::{Act, ActId};
        let class = self.act_class(ActId(act));
        let dnat = match self.acts()[act as usize] {
            Act::Dnat(dnat) => Some((
                Nat {
                    address: dnat.address,
                    port: dnat.port,
                },
                dnat.rule,
            )),
            _ => None,
        };
        self.kind_of(class, dnat, end)
    }
}
