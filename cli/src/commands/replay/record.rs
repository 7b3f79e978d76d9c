//! From the engine's report to the record of `replay`.

use super::reproduce::reproduce;
use super::verdicts::{decision_text, place};
use crate::args::Replay;
use crate::options::replay::{Check, ReplayOptions};
use crate::render::quantity::counted;
use crate::render::reason;
use crate::render::replay::{
    CheckResult, Disagreement, Dispositions, EndpointTraffic, MissingFact, Refusal, ReplayReport,
    ServiceTraffic, Timing,
};
use kpclass_engine::check;
use kpclass_engine::report::{self, Report};
use kpclass_engine::rules::{FamilyRules, Rules};
use kpclass_reference::{Event, Traced};
use kpclass_ruleset::value::Family;
use kpclass_ruleset::{Ruleset, TableId, spec};
use std::collections::BTreeMap;

/// Names what the report's ids stand for.
pub(super) struct Names<'a> {
    /// The rules.
    pub(super) rules: &'a Rules<'a>,
    /// What was typed.
    pub(super) typed: &'a Replay,
    /// What it means.
    pub(super) options: &'a ReplayOptions,
}

impl Names<'_> {
    /// The record.
    pub(super) fn report(
        &self,
        from: Report,
        warnings: Vec<String>,
        compile_s: f64,
    ) -> ReplayReport {
        let d = from.dispositions;
        let refusals = self.refusals(&from.refusals);
        let connections = from.connections.as_ref();
        ReplayReport {
            schema: ReplayReport::SCHEMA,
            frames: from.frames,
            classified: from.classified,
            skipped: from
                .skipped
                .iter()
                .map(|(name, n)| ((*name).to_owned(), *n))
                .collect(),
            bytes: from.bytes,
            dispositions: Dispositions {
                forward: d.forward,
                local: d.local,
                out: d.out,
                drop: d.drop,
                reject: d.reject,
                unknown: d.unknown,
            },
            masqueraded: from.masqueraded,
            services: from.services.iter().map(service).collect(),
            unmatched: from.unmatched,
            connections: connections.map(|of| self.connections(of, &refusals)),
            check: CheckResult {
                mode: match self.options.check {
                    Check::Full => "full".to_owned(),
                    Check::Sample(n) => format!("sample:{n}"),
                    Check::Off => "off".to_owned(),
                },
                checked: from.check.checked,
                disagreements: from.check.disagreements,
            },
            warnings,
            timing: Timing {
                compile_s,
                replay_s: from.timing.replay_s,
                check_s: from.timing.check_s,
            },
            refusals,
            unknowns: self.unknowns(&from.unknowns),
            disagreements: from
                .check
                .shown
                .iter()
                .filter_map(|d| self.disagreement(d))
                .chain(from.check.followed.iter().filter_map(|d| self.followed(d)))
                .collect(),
            rules: self
                .rules
                .families()
                .map(|(_, of)| what_is_there(of.ruleset))
                .collect(),
            captures: from.captures,
        }
    }

    /// By reason and Service, most packets first.
    fn refusals(&self, refusals: &[report::Refusal]) -> Vec<Refusal> {
        let mut by_reason: BTreeMap<_, (u64, Vec<String>)> = BTreeMap::new();
        for refusal in refusals {
            let Some(of) = self.rules.of(refusal.family) else {
                continue;
            };
            let reason = match refusal.rule {
                None => "the policy of a chain, or routing".to_owned(),
                Some(rule) => reason::reason(of.ruleset, rule)
                    .map_or_else(|| format!("rule {}", located(of, rule)), str::to_owned),
            };
            let service = refusal.rule.and_then(|rule| of.services.name_of_rule(rule));
            let key = (
                refusal.disposition.name(),
                reason,
                service.map(str::to_owned),
            );
            let row = by_reason.entry(key).or_default();
            row.0 += refusal.packets;
            if row.1.len() < MOST_RULES {
                row.1.extend(refusal.rule.map(|rule| located(of, rule)));
            }
        }
        let row = |((disposition, reason, service), (packets, rules))| Refusal {
            disposition,
            reason,
            rules,
            service,
            packets,
        };
        let mut rows: Vec<Refusal> = by_reason.into_iter().map(row).collect();
        rows.sort_by_key(|row| std::cmp::Reverse(row.packets));
        rows
    }

    /// By fact, most packets first; the rule that asked most often stands for all.
    fn unknowns(&self, unknowns: &[report::MissingFact]) -> Vec<MissingFact> {
        let mut rows: Vec<MissingFact> = Vec::new();
        let mut found: BTreeMap<String, usize> = BTreeMap::new();
        let mut sorted = unknowns.to_vec();
        sorted.sort_by_key(|missing| std::cmp::Reverse(missing.packets));
        for missing in sorted {
            let Some(of) = self.rules.of(missing.family) else {
                continue;
            };
            let fact = missing.unknown.fact.describe(of.ruleset);
            if let Some(at) = found.get(&fact) {
                rows[*at].packets += missing.packets;
                rows[*at].more_rules += 1;
                continue;
            }
            found.insert(fact.clone(), rows.len());
            let rule = missing.unknown.rule;
            rows.push(MissingFact {
                fact,
                option: missing.unknown.fact.option(),
                asked_by: rule.map_or("routing".to_owned(), |rule| located(of, rule)),
                more_rules: 0,
                packets: missing.packets,
            });
        }
        rows.sort_by_key(|row| std::cmp::Reverse(row.packets));
        rows
    }

    fn followed(&self, found: &check::FollowedDisagreement) -> Option<Disagreement> {
        let capture = self.typed.captures.get(found.capture as usize)?;
        let capture = capture.display().to_string();
        // One capture, which can be read again, tells its connection, too.
        let asked = match self.typed.captures[..] {
            [_] if capture != "-" => ("--frame", format!("{capture}:{}", found.frame)),
            _ => ("--packet", found.packet.clone()),
        };
        Some(Disagreement {
            frame: found.frame,
            capture,
            packet: found.packet.clone(),
            reference: found.reference.clone(),
            program: found.program.clone(),
            reproduce: reproduce(self.typed, asked),
        })
    }

    fn disagreement(&self, found: &check::Disagreement) -> Option<Disagreement> {
        let of = self.rules.of(found.family)?;
        let reference = match &found.reference {
            Some(decision) => {
                let traced = of.walk.decide(&found.packet, found.draw);
                format!(
                    "{}  path: {}",
                    decision_text(decision, of),
                    path(&traced, of)
                )
            }
            None => "reads other fields from this frame".to_owned(),
        };
        let capture = &self
            .typed
            .captures
            .get(found.capture as usize)?
            .display()
            .to_string();
        let packet = spec::of_packet(&found.packet);
        let asked = match found.reference {
            Some(_) => ("--packet", packet.clone()),
            None => ("--frame", format!("{capture}:{}", found.frame)),
        };
        Some(Disagreement {
            frame: found.frame,
            capture: capture.clone(),
            packet: format!("{packet}  (number drawn {:#018x})", found.draw),
            reference,
            program: decision_text(&found.program, of),
            reproduce: reproduce(self.typed, asked),
        })
    }
}

/// Rules that are named where one reason has several.
const MOST_RULES: usize = 5;

/// `filter FORWARD 12 (line 40)`.
pub(super) fn located(of: &FamilyRules<'_>, rule: kpclass_ruleset::RuleId) -> String {
    let line = of.ruleset.rule(rule).source.line;
    format!("{} (line {line})", place(of.ruleset, rule))
}

/// `nat PREROUTING 2 -> nat KUBE-SERVICES 5 -> …`.
fn path(traced: &Traced, of: &FamilyRules<'_>) -> String {
    let matched = traced
        .path
        .iter()
        .filter(|s| !matches!(s.event, Event::Immaterial(_)));
    let steps: Vec<String> = matched
        .filter_map(|step| Some(place(of.ruleset, step.rule?)))
        .collect();
    if steps.is_empty() {
        "no rule".to_owned()
    } else {
        steps.join(" -> ")
    }
}

/// `IPv4: 1234 rules in nat, filter; not in the dump, taken to accept: raw, mangle, security`.
fn what_is_there(ruleset: &Ruleset) -> String {
    let family = match ruleset.family() {
        Family::V4 => "IPv4",
        Family::V6 => "IPv6",
    };
    let (there, absent): (Vec<TableId>, _) = TableId::ALL
        .into_iter()
        .partition(|table| ruleset.has_table(*table));
    let names = |tables: Vec<TableId>| {
        tables
            .iter()
            .map(|t| t.name())
            .collect::<Vec<_>>()
            .join(", ")
    };
    let rules = counted(ruleset.rules().len() as u64, "rule");
    let text = format!("{family}: {rules} in {}", names(there));
    match absent.is_empty() {
        true => text,
        false => format!(
            "{text}; not in the dump, taken to accept: {}",
            names(absent)
        ),
    }
}

fn service(from: &report::ServiceTraffic) -> ServiceTraffic {
    let endpoint = |e: &report::EndpointTraffic| EndpointTraffic {
        endpoint: super::verdicts::destination(e.endpoint),
        packets: e.packets,
        probability: e.probability,
    };
    ServiceTraffic {
        service: from.service.clone(),
        key: from.key.clone(),
        packets: from.tally.packets,
        bytes: from.tally.bytes,
        masqueraded: from.tally.masqueraded,
        endpoints: from.endpoints.iter().map(endpoint).collect(),
    }
}
