//! From the reference's outcomes to the record of `explain`.

use crate::render::explain::{Destination, Missing, Outcome, Place, SourceNat, Step};
use crate::render::reason;
use kpclass_reference as reference;
use kpclass_reference::Probability;
use kpclass_ruleset::decision::{Decision, Disposition, Nat, Snat};
use kpclass_ruleset::services::Services;
use kpclass_ruleset::target::Target;
use kpclass_ruleset::{RuleId, Ruleset, save};
use std::net::IpAddr;

/// Names what the rules' ids stand for.
pub(crate) struct Names<'a> {
    /// The rules.
    pub ruleset: &'a Ruleset,
    /// The Services behind them.
    pub services: &'a Services,
}

impl Names<'_> {
    /// The outcomes, each that can be told from the others once, most probable first. Two that differ only in their way
    /// (an endpoint that is reached through two rules, say) become one with the sum of their probabilities and the more probable way.
    pub(crate) fn outcomes(&self, outcomes: &[reference::Outcome]) -> Vec<Outcome> {
        let mut merged: Vec<(Probability, Outcome)> = Vec::new();
        let mut found = std::collections::HashMap::new();
        for outcome in outcomes {
            let record = self.outcome(outcome);
            match found.entry(appearance(&record)) {
                std::collections::hash_map::Entry::Vacant(new) => {
                    new.insert(merged.len());
                    merged.push((outcome.probability.clone(), record));
                }
                std::collections::hash_map::Entry::Occupied(at) => {
                    let (probability, first) = &mut merged[*at.get()];
                    *probability = probability.plus(&outcome.probability);
                    first.assumptions.extend(record.assumptions);
                }
            }
        }
        merged.sort_by(|(a, _), (b, _)| b.cmp(a));
        merged.into_iter().map(|(probability, record)| with_probability(&probability, record)).collect()
    }

    fn outcome(&self, outcome: &reference::Outcome) -> Outcome {
        let decision = &outcome.decision;
        Outcome {
            probability: 0.0,
            exact: String::new(),
            disposition: decision.disposition.name(),
            dnat: decision.dnat.map(|(nat, _)| destination(nat)),
            snat: decision.snat.map(|(snat, _)| source_nat(snat)),
            mark: decision.mark,
            reject_with: match decision.disposition {
                Disposition::Reject(with) => Some(with.name()),
                _ => None,
            },
            service: self.service(decision, &outcome.path).map(str::to_owned),
            unknown: self.missing(decision),
            assumptions: outcome.assumptions.clone(),
            path: outcome.path.iter().map(|rule| self.step(*rule)).collect(),
        }
    }

    /// The Service whose packet it is: that of the rule which sent it to an endpoint, else of the one which ended it, else of the
    /// last on its way that has one.
    pub(crate) fn service(&self, decision: &Decision, path: &[RuleId]) -> Option<&str> {
        let rules = decision.dnat.map(|(_, rule)| rule).into_iter().chain(decision.decided_by);
        rules.chain(path.iter().rev().copied()).find_map(|rule| self.services.name_of_rule(rule))
    }

    fn missing(&self, decision: &Decision) -> Option<Missing> {
        let Disposition::Unknown(unknown) = decision.disposition else { return None };
        Some(Missing {
            rule: unknown.rule.map(|rule| self.place(rule)),
            fact: unknown.fact.describe(self.ruleset),
            option: unknown.fact.option(),
        })
    }

    fn step(&self, id: RuleId) -> Step {
        let rule = self.ruleset.rule(id);
        let text = save::rule_text(self.ruleset, id);
        let place = self.place(id);
        Step {
            file: self.ruleset.file(rule.source.file).to_owned(),
            text: without_chain(&text, &place.chain).to_owned(),
            calls: match rule.target {
                Target::Jump(to) | Target::Goto(to) => Some(self.ruleset.chain_name(to).to_owned()),
                _ => None,
            },
            reason: reason::reason(self.ruleset, id),
            place,
        }
    }

    fn place(&self, id: RuleId) -> Place {
        let rule = self.ruleset.rule(id);
        let chain = self.ruleset.chain(rule.chain);
        Place {
            table: chain.table.name(),
            chain: self.ruleset.text(chain.name).to_owned(),
            rule: self.ruleset.rulenum(id),
            line: rule.source.line,
        }
    }
}

/// What tells outcomes apart for whoever reads the record: all of it but the way and what follows from the way.
fn appearance(outcome: &Outcome) -> impl Eq + std::hash::Hash + use<> {
    let unknown = outcome.unknown.as_ref().map(|missing| (missing.rule.clone(), missing.fact.clone()));
    (
        (outcome.disposition, outcome.dnat.clone(), outcome.snat.clone(), outcome.mark),
        (outcome.reject_with, outcome.service.clone(), unknown),
    )
}

fn with_probability(probability: &Probability, mut record: Outcome) -> Outcome {
    record.probability = probability.as_f64();
    record.exact = probability.to_string();
    let mut seen = std::collections::HashSet::new();
    record.assumptions.retain(|assumption| seen.insert(assumption.clone()));
    record
}

/// `-A CHAIN -s … -j …` without what the tree says already.
fn without_chain<'t>(text: &'t str, chain: &str) -> &'t str {
    let rest = text.strip_prefix("-A ").and_then(|rest| rest.strip_prefix(chain));
    rest.map_or(text, str::trim_start)
}

fn destination(nat: Nat) -> Destination {
    Destination { address: nat.address.map(|address| address.to_string()), port: nat.port }
}

fn source_nat(snat: Snat) -> SourceNat {
    let range = |(first, last): (IpAddr, IpAddr)| match first == last {
        true => first.to_string(),
        false => format!("{first}-{last}"),
    };
    match snat {
        Snat::Masquerade => SourceNat::Masquerade,
        Snat::To { addresses, .. } => SourceNat::Snat { address: addresses.map(range) },
        Snat::Netmap(address) => SourceNat::Snat { address: Some(address.to_string()) },
    }
}
