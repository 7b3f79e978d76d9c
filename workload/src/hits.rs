//! Whether packets met the rules: a trace that meets only policies proves nothing.

use kpclass_ruleset::matches::{MatchKind, Statistic};
use kpclass_ruleset::target::Target;
use kpclass_ruleset::{Rule, RuleId, Ruleset};
use std::collections::BTreeMap;
use std::fmt;

/// Counts which rules packets met, over any number of rulesets.
#[derive(Clone, Debug, Default)]
pub struct Hits {
    packets: u64,
    packets_with_rule: u64,
    steps: u64,
    rules: u64,
    rules_met: u64,
    /// For each kind of match and target: how many rules have it, and how many of them were met.
    kinds: BTreeMap<&'static str, (u64, u64)>,
}

/// The counts of one ruleset, until they are added to all.
#[derive(Clone, Debug)]
pub struct RulesetHits<'r> {
    ruleset: &'r Ruleset,
    packets: u64,
    packets_with_rule: u64,
    steps: u64,
    met: Vec<bool>,
}

impl<'r> RulesetHits<'r> {
    /// Nothing met so far.
    pub fn new(ruleset: &'r Ruleset) -> Self {
        Self {
            ruleset,
            packets: 0,
            packets_with_rule: 0,
            steps: 0,
            met: vec![false; ruleset.rules().len()],
        }
    }

    /// One packet with the rules whose matches held for it.
    pub fn packet(&mut self, path: impl IntoIterator<Item = RuleId>) {
        self.packets += 1;
        let before = self.steps;
        for rule in path {
            self.steps += 1;
            if let Some(met) = self.met.get_mut(rule.index()) {
                *met = true;
            }
        }
        self.packets_with_rule += u64::from(self.steps > before);
    }

    /// The rules that no packet met.
    pub fn missed(&self) -> impl Iterator<Item = RuleId> + '_ {
        let rules = self.ruleset.rules().zip(&self.met);
        rules.filter(|(_, met)| !**met).map(|((id, _), _)| id)
    }
}

impl Hits {
    /// Adds one ruleset's.
    pub fn add(&mut self, of: &RulesetHits<'_>) {
        self.packets += of.packets;
        self.packets_with_rule += of.packets_with_rule;
        self.steps += of.steps;
        for ((_, rule), met) in of.ruleset.rules().zip(&of.met) {
            self.rules += 1;
            self.rules_met += u64::from(*met);
            for kind in kinds(of.ruleset, rule) {
                let (all, seen) = self.kinds.entry(kind).or_default();
                *all += 1;
                *seen += u64::from(*met);
            }
        }
    }

    /// How many packets there were.
    pub fn packets(&self) -> u64 {
        self.packets
    }

    /// The share of packets that met some rule.
    pub fn share_of_packets(&self) -> f64 {
        share(self.packets_with_rule, self.packets)
    }

    /// How many rules a packet met, on average.
    pub fn rules_a_packet(&self) -> f64 {
        share(self.steps, self.packets)
    }

    /// The share of rules that some packet met.
    pub fn share_of_rules(&self) -> f64 {
        share(self.rules_met, self.rules)
    }

    /// Kinds of match and target with how many rules have them and how many of those were met.
    pub fn kinds(&self) -> impl Iterator<Item = (&'static str, u64, u64)> + '_ {
        self.kinds
            .iter()
            .map(|(kind, (all, met))| (*kind, *all, *met))
    }
}

fn share(part: u64, all: u64) -> f64 {
    if all == 0 {
        return 0.0;
    }
    part as f64 / all as f64
}

/// The shares, and the kinds, one a line.
impl fmt::Display for Hits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{} packets: {:.1} % met a rule, {:.1} rules each; {:.1} % of {} rules were met",
            self.packets,
            100.0 * self.share_of_packets(),
            self.rules_a_packet(),
            100.0 * self.share_of_rules(),
            self.rules
        )?;
        for (kind, all, met) in self.kinds() {
            let percent = 100.0 * share(met, all);
            writeln!(
                f,
                "  {kind:<20} {met:>7} of {all:>7} rules {percent:>5.1} %"
            )?;
        }
        Ok(())
    }
}

fn kinds(ruleset: &Ruleset, rule: &Rule) -> Vec<&'static str> {
    let matches = ruleset.matches(rule).iter();
    let mut kinds: Vec<&'static str> = matches.map(|m| match_kind(&m.kind)).collect();
    kinds.sort_unstable();
    kinds.dedup();
    kinds.push(target_kind(&rule.target));
    kinds
}

fn match_kind(kind: &MatchKind) -> &'static str {
    match kind {
        MatchKind::Source(p) | MatchKind::Destination(p) if p.len().is_none() => "mask with holes",
        MatchKind::Source(_) => "-s",
        MatchKind::Destination(_) => "-d",
        MatchKind::InInterface(_) => "-i",
        MatchKind::OutInterface(_) => "-o",
        MatchKind::Protocol(_) => "-p",
        MatchKind::Fragment => "-f",
        MatchKind::Comment(_) => "comment",
        MatchKind::Tcp(tcp) if tcp.flags_mask != 0 => "tcp flags",
        MatchKind::Tcp(_) => "tcp",
        MatchKind::Udp(_) => "udp",
        MatchKind::Sctp(_) => "sctp",
        MatchKind::Dccp(_) => "dccp",
        MatchKind::Icmp(_) => "icmp",
        MatchKind::Icmpv6(_) => "icmp6",
        MatchKind::Multiport(_) => "multiport",
        MatchKind::Iprange(_) => "iprange",
        MatchKind::Mark(_) => "mark",
        MatchKind::Connmark(_) => "connmark",
        MatchKind::Conntrack(_) => "conntrack",
        MatchKind::State(_) => "state",
        MatchKind::Addrtype(_) => "addrtype",
        MatchKind::Statistic(Statistic::Random { .. }) => "statistic random",
        MatchKind::Statistic(Statistic::Nth { .. }) => "statistic nth",
        MatchKind::Recent(_) => "recent",
        MatchKind::Set(_) => "set",
        MatchKind::Mac(_) => "mac",
        MatchKind::Length(_) => "length",
        MatchKind::Ttl(_) => "ttl",
        MatchKind::Dscp(_) => "dscp",
        MatchKind::Undecided(_) => "undecided",
        MatchKind::Nfacct(_) => "nfacct",
    }
}

fn target_kind(target: &Target) -> &'static str {
    match target {
        Target::None => "(no target)",
        Target::Accept => "ACCEPT",
        Target::Drop => "DROP",
        Target::Reject(_) => "REJECT",
        Target::Return => "RETURN",
        Target::Jump(_) => "-j chain",
        Target::Goto(_) => "-g chain",
        Target::Mark(_) => "MARK",
        Target::Connmark(_) => "CONNMARK",
        Target::Dnat(_) => "DNAT",
        Target::Snat(_) => "SNAT",
        Target::Masquerade(_) => "MASQUERADE",
        Target::Redirect(_) => "REDIRECT",
        Target::Netmap(_) => "NETMAP",
        Target::Notrack => "NOTRACK",
        Target::Transparent(_) => "LOG and the like",
        Target::Rewrite(_) | Target::SetChange(_) | Target::Undecided(_) => "undecided target",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use kpclass_ruleset::readers::{Input, read};

    #[test]
    fn rules_and_their_kinds_are_counted() {
        let text = "*filter\n:FORWARD ACCEPT [0:0]\n-A FORWARD -s 10.0.0.1/32 -j DROP\n\
                    -A FORWARD -p tcp -m tcp --dport 80 -j ACCEPT\nCOMMIT\n";
        let ruleset = read(&[Input::new("t", text)]).unwrap().v4.unwrap();
        let mut of = RulesetHits::new(&ruleset);
        of.packet([RuleId(1)]);
        of.packet([]);
        assert!(of.missed().eq([RuleId(0)]));
        let mut hits = Hits::default();
        hits.add(&of);
        assert_eq!((hits.packets(), hits.share_of_packets()), (2, 0.5));
        assert_eq!((hits.share_of_rules(), hits.rules_a_packet()), (0.5, 0.5));
        let kinds: Vec<_> = hits.kinds().collect();
        let wanted = [
            ("-p", 1, 1),
            ("-s", 1, 0),
            ("ACCEPT", 1, 1),
            ("DROP", 1, 0),
            ("tcp", 1, 1),
        ];
        assert_eq!(kinds, wanted);
    }
}
