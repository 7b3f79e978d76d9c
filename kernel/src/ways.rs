//! The ways of packets by the kernel's counters: which rules it counted, and how often, against what the reference's ways add up to.

use crate::error::KernelError;
use crate::kernel::Kernel;
use kpclass_reference::{Event, Walk};
use kpclass_ruleset::matches::MatchKind;
use kpclass_ruleset::packet::Packet;
use kpclass_ruleset::target::Target;
use kpclass_ruleset::{Hook, Rule, RuleId, Ruleset, TableId, save};
use std::collections::HashMap;

/// A rule that the kernel counted otherwise than the reference.
#[derive(Clone, Copy, Debug)]
pub struct Miscount {
    /// The rule.
    pub rule: RuleId,
    /// Packets that the kernel counted.
    pub kernel: u64,
    /// Packets that matched it by the reference's ways.
    pub reference: u64,
}

/// How often each rule should be counted.
#[derive(Debug, Default)]
pub(crate) struct Ways(HashMap<RuleId, u64>);

impl Ways {
    /// Adds the rules that the packet matches; not where a rule on its way is open, or a number drawn tells the way. (The lowest number takes
    /// the first side of every draw, the highest the other: one way for both is one for all.)
    pub(crate) fn add(&mut self, walk: &Walk<'_>, packet: &Packet) -> bool {
        if packet.hook == Hook::Prerouting && packet.in_interface.is_none() {
            return false;
        }
        let path = walk.decide(packet, 0).path;
        if walk.decide(packet, u64::MAX).path != path {
            return false;
        }
        let open = |event| matches!(event, Event::Immaterial(_) | Event::Unknown(_));
        if path.iter().any(|step| open(step.event)) {
            return false;
        }
        for rule in path.iter().filter_map(|step| step.rule) {
            *self.0.entry(rule).or_default() += 1;
        }
        true
    }

    /// Rules met.
    pub(crate) fn rules(&self) -> u64 {
        self.0.len() as u64
    }

    /// The rules that the kernel counted otherwise.
    pub(crate) fn miscounts(&self, ruleset: &Ruleset, counted: &Counters) -> Vec<Miscount> {
        ruleset
            .rules()
            .filter(|(_, rule)| !may_be_open(ruleset, rule))
            .filter_map(|(rule, _)| {
                let kernel = counted.of(ruleset, rule);
                let reference = self.0.get(&rule).copied().unwrap_or(0);
                (kernel != reference).then_some(Miscount {
                    rule,
                    kernel,
                    reference,
                })
            })
            .collect()
    }
}

/// Whether the reference may pass a rule over without a word: one that does nothing, and asks what may not be known of a packet.
fn may_be_open(ruleset: &Ruleset, rule: &Rule) -> bool {
    let does_nothing = matches!(rule.target, Target::None | Target::Transparent(_));
    does_nothing
        && ruleset.matches(rule).iter().any(|m| {
            matches!(
                m.kind,
                MatchKind::OutInterface(_)
                    | MatchKind::Addrtype(_)
                    | MatchKind::Conntrack(_)
                    | MatchKind::Set(_)
                    | MatchKind::Undecided(_)
            )
        })
}

/// A rule's place: table, chain, and number in it.
type Place = (TableId, String, u32);

fn place(ruleset: &Ruleset, rule: RuleId) -> Place {
    let chain = ruleset.rule(rule).chain;
    (
        ruleset.chain(chain).table,
        ruleset.chain_name(chain).to_string(),
        ruleset.rulenum(rule),
    )
}

/// What the kernel holds: its rules as it prints them, and how often each was counted.
#[derive(Debug, Default)]
pub(crate) struct Counters(HashMap<Place, (String, u64)>);

impl Counters {
    pub(crate) fn read(kernel: &Kernel) -> Result<Self, KernelError> {
        let Some(saved) = kernel.saved()? else {
            return Ok(Self::default());
        };
        let rules = saved.rules().map(|(id, rule)| {
            let packets = rule.counters.map_or(0, |counters| counters.packets);
            (place(&saved, id), (save::rule_text(&saved, id), packets))
        });
        Ok(Self(rules.collect()))
    }

    fn of(&self, ruleset: &Ruleset, rule: RuleId) -> u64 {
        self.0.get(&place(ruleset, rule)).map_or(0, |(_, n)| *n)
    }

    /// The rules that the kernel was told otherwise than we read them: each as we do, and as the kernel prints it.
    pub(crate) fn misread(&self, ruleset: &Ruleset) -> Vec<(String, Option<String>)> {
        let mut misread = Vec::new();
        for (id, _) in ruleset.rules() {
            let ours = save::rule_text(ruleset, id);
            let theirs = self.0.get(&place(ruleset, id)).map(|(text, _)| text);
            if theirs != Some(&ours) {
                misread.push((ours, theirs.cloned()));
            }
        }
        if self.0.len() > ruleset.rules().len() {
            misread.push((String::from("(nothing)"), Some(String::from("more rules"))));
        }
        misread
    }

    /// The rules that were counted, in the order that `ruleset` has them.
    pub(crate) fn way(&self, ruleset: &Ruleset) -> Vec<RuleId> {
        let ids = ruleset.rules().map(|(id, _)| id);
        ids.filter(|id| self.of(ruleset, *id) > 0).collect()
    }
}
