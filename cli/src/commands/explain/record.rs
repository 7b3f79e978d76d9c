//! From the reference's outcomes to the record of `explain`.

use crate::render::explain::{
    AskedPacket, Destination, Explanation, Missing, Outcome, Place, SourceNat, Step,
};
use crate::render::reason;
use kpclass_reference::{self as reference, Event};
use kpclass_ruleset::decision::{Decision, Disposition, Nat, Snat};
use kpclass_ruleset::services::Services;
use kpclass_ruleset::{FileId, Hook, Policy, RuleId, Ruleset, save};
use std::net::IpAddr;

/// Names what the rules' ids stand for.
pub(crate) struct Names<'a> {
    /// The rules.
    pub ruleset: &'a Ruleset,
    /// The Services behind them.
    pub services: &'a Services,
}

impl Names<'_> {
    /// What becomes of a packet, by its spec and the hook where it starts, without a connection.
    pub(crate) fn explanation(
        &self,
        (spec, hook): (String, Hook),
        outcomes: &[reference::Outcome],
        program_agrees: bool,
    ) -> Explanation {
        let outcomes = outcomes.iter().map(|outcome| self.outcome(outcome));
        Explanation {
            schema: Explanation::SCHEMA,
            packet: AskedPacket {
                spec,
                hook: match hook {
                    Hook::Output => "output",
                    _ => "prerouting",
                },
            },
            outcomes: outcomes.collect(),
            program_agrees,
            connection: None,
        }
    }

    /// One outcome.
    fn outcome(&self, outcome: &reference::Outcome) -> Outcome {
        let decision = &outcome.decision;
        Outcome {
            probability: outcome.probability.as_f64(),
            exact: outcome.probability.to_string(),
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
            assumptions: outcome
                .assumptions
                .iter()
                .map(ToString::to_string)
                .collect(),
            path: outcome
                .path
                .iter()
                .filter_map(|step| self.step(step))
                .collect(),
            ended_by: self.ended_by(outcome),
        }
    }

    /// The Service whose packet it is: that of the rule which sent it to an endpoint, else of the one which ended it, else of the
    /// last on its way that has one.
    pub(crate) fn service(&self, decision: &Decision, path: &[reference::Step]) -> Option<&str> {
        let rules = decision
            .dnat
            .map(|(_, rule)| rule)
            .into_iter()
            .chain(decision.decided_by);
        rules
            .chain(path.iter().rev().filter_map(|step| step.rule))
            .find_map(|rule| self.services.name_of_rule(rule))
    }

    fn missing(&self, decision: &Decision) -> Option<Missing> {
        let Disposition::Unknown(unknown) = decision.disposition else {
            return None;
        };
        Some(Missing {
            rule: unknown.rule.map(|rule| self.place(rule)),
            fact: unknown.fact.describe(self.ruleset),
            option: unknown.fact.option(),
        })
    }

    /// A rule on the way. A policy is none, and a rule of which it is not known whether it matches, and that makes no
    /// difference, is not mentioned.
    fn step(&self, step: &reference::Step) -> Option<Step> {
        let id = step
            .rule
            .filter(|_| !matches!(step.event, Event::Immaterial(_)))?;
        let text = save::rule_text(self.ruleset, id);
        let place = self.place(id);
        Some(Step {
            file: self.shown_file(id),
            text: without_chain(&text, &place.chain).to_owned(),
            depth: step.depth,
            lo_leg: step.lo_leg,
            reason: match step.event {
                Event::Unknown(_) => Some("not known whether it matches"),
                _ => reason::reason(self.ruleset, id),
            },
            place,
        })
    }

    /// The rule's file, where there are several.
    fn shown_file(&self, id: RuleId) -> Option<String> {
        let several = !self.ruleset.file(FileId(1)).is_empty();
        several.then(|| {
            self.ruleset
                .file(self.ruleset.rule(id).source.file)
                .to_owned()
        })
    }

    /// What dropped the packet, where no rule did.
    fn ended_by(&self, outcome: &reference::Outcome) -> Option<String> {
        let decision = &outcome.decision;
        if decision.disposition != Disposition::Drop || decision.decided_by.is_some() {
            return None;
        }
        let policy = outcome.path.last().and_then(|step| match step.event {
            Event::Policy(chain) => Some(self.ruleset.chain(chain)),
            _ => None,
        });
        Some(match policy.filter(|chain| chain.policy == Policy::Drop) {
            Some(chain) => {
                format!(
                    "{} {}: policy DROP",
                    chain.table.name(),
                    self.ruleset.text(chain.name)
                )
            }
            None => "routing drops it: no packet with such addresses goes on".to_owned(),
        })
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

/// `-A CHAIN -s … -j …` without what the tree says already.
fn without_chain<'t>(text: &'t str, chain: &str) -> &'t str {
    let rest = text
        .strip_prefix("-A ")
        .and_then(|rest| rest.strip_prefix(chain));
    rest.map_or(text, str::trim_start)
}

fn destination(nat: Nat) -> Destination {
    Destination {
        address: nat.address.map(|address| address.to_string()),
        port: nat.port,
    }
}

fn source_nat(snat: Snat) -> SourceNat {
    let range = |(first, last): (IpAddr, IpAddr)| match first == last {
        true => first.to_string(),
        false => format!("{first}-{last}"),
    };
    match snat {
        Snat::Masquerade => SourceNat::Masquerade,
        Snat::To { addresses, .. } => SourceNat::Snat {
            address: addresses.map(range),
        },
        Snat::Netmap(address) => SourceNat::Snat {
            address: Some(address.to_string()),
        },
    }
}
