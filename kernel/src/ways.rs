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
        let traced = walk.decide(packet, 0);
        let path = &traced.path;
        if walk.decide(packet, u64::MAX).path != *path {
            return false;
        }
        // After a rewrite of the source by lo, rules that ask for it are open, and those that do nothing are passed over without a word.
        if traced.decision.snat.is_some() && path.iter().any(|step| step.lo_leg) {
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
            if theirs.is_none_or(|theirs| ranges_as_they_are(theirs) != ranges_as_they_are(&ours)) {
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

/// The rule's text with what nf_tables cannot tell apart said in one way: all ports but those up to N, or from N on, are a range.
fn ranges_as_they_are(rule: &str) -> String {
    let mut words: Vec<String> = Vec::new();
    for word in rule.split(' ') {
        let [.., not, option] = &words[..] else {
            words.push(word.to_string());
            continue;
        };
        if not == "!"
            && matches!(option.as_str(), "--sport" | "--dport")
            && let Some(range) = rest_of_ports(word)
        {
            let option = option.clone();
            words.truncate(words.len() - 2);
            words.extend([option, range]);
            continue;
        }
        words.push(word.to_string());
    }
    words.join(" ")
}

fn rest_of_ports(range: &str) -> Option<String> {
    let (first, last) = range.split_once(':')?;
    match (first.parse().ok()?, last.parse().ok()?) {
        (0, last) if last < u16::MAX => Some(format!("{}:65535", last + 1)),
        (first, u16::MAX) if first > 0u16 => Some(format!("0:{}", first - 1)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::ranges_as_they_are;

    #[test]
    fn all_ports_but_a_beginning_or_an_end_are_a_range() {
        let said = |rule: &str| ranges_as_they_are(rule);
        let udp = "-A a -p udp -m udp";
        assert_eq!(
            said("-A a ! --dport 0:100 -j b"),
            "-A a --dport 101:65535 -j b"
        );
        assert_eq!(said("-A a ! --sport 9:65535"), "-A a --sport 0:8");
        for same in [
            "! --dport 5:9",
            "--dport 0:100",
            "! --dport 0:65535",
            "! --dport 7",
        ] {
            assert_eq!(said(&format!("{udp} {same}")), format!("{udp} {same}"));
        }
    }
}
