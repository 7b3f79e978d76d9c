//! What a replay found, the same for every number of workers but for the timing.

use crate::check::{Check, CheckReport};
use crate::counts::{Counts, Ending, Taker, Tally};
use crate::following::ConnectionsReport;
use crate::replay::{Cut, Settings};
use crate::rules::{FamilyRules, Rules};
use crate::skip::SkipReason;
use kpclass_compiler::program::node::DnatAct;
use kpclass_compiler::{ClassId, Program};
use kpclass_ruleset::RuleId;
use kpclass_ruleset::decision::{Disposition, Nat, Unknown};
use kpclass_ruleset::value::Family;
use std::collections::BTreeMap;

/// A replay's report.
#[derive(Clone, Debug)]
pub struct Report {
    /// Names of the captures.
    pub captures: Vec<String>,
    /// Frames read.
    pub frames: u64,
    /// Their bytes on the wire.
    pub bytes: u64,
    /// Frames without a verdict, by reason; only reasons that were met.
    pub skipped: Vec<(&'static str, u64)>,
    /// Frames with a verdict.
    pub classified: u64,
    /// Packets by where they end.
    pub dispositions: Dispositions,
    /// Packets whose source is masqueraded.
    pub masqueraded: u64,
    /// Traffic by Service and key.
    pub services: Vec<ServiceTraffic>,
    /// Classified packets that no Service took.
    pub unmatched: u64,
    /// Packets dropped or rejected, by what did it.
    pub refusals: Vec<Refusal>,
    /// Packets whose verdict is unknown, by what is missing.
    pub unknowns: Vec<MissingFact>,
    /// Captures that ended early.
    pub cuts: Vec<Cut>,
    /// Of connections, where they are followed.
    pub connections: Option<ConnectionsReport>,
    /// The check.
    pub check: CheckReport,
    /// Seconds.
    pub timing: Timing,
}

/// Packets by where they end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Dispositions {
    /// To another host.
    pub forward: u64,
    /// To this node.
    pub local: u64,
    /// From this node.
    pub out: u64,
    /// Dropped.
    pub drop: u64,
    /// Rejected.
    pub reject: u64,
    /// Unknown.
    pub unknown: u64,
}

impl Dispositions {
    fn add(&mut self, disposition: Disposition, packets: u64) {
        let count = match disposition {
            Disposition::Forward => &mut self.forward,
            Disposition::Local => &mut self.local,
            Disposition::Out => &mut self.out,
            Disposition::Drop => &mut self.drop,
            Disposition::Reject(_) => &mut self.reject,
            Disposition::Unknown(_) => &mut self.unknown,
        };
        *count += packets;
    }
}

/// Traffic to one key of a Service.
#[derive(Clone, Debug, PartialEq)]
pub struct ServiceTraffic {
    /// `namespace/name:port`.
    pub service: String,
    /// `tcp 10.152.183.1:443`; `tcp *:30080` for a node port.
    pub key: String,
    /// All of it, refused packets included.
    pub tally: Tally,
    /// Its endpoints: those that got packets, and those that could have.
    pub endpoints: Vec<EndpointTraffic>,
}

/// Traffic to one endpoint.
#[derive(Clone, Debug, PartialEq)]
pub struct EndpointTraffic {
    /// Where.
    pub endpoint: Nat,
    /// Packets.
    pub packets: u64,
    /// The chance that the rules give it; `None` where they are walked.
    pub probability: Option<f64>,
}

/// Packets dropped or rejected by one rule, policy, or by routing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// Whose rules.
    pub family: Family,
    /// Dropped, or rejected with what.
    pub disposition: Disposition,
    /// The rule; `None`: a chain's policy, or routing.
    pub rule: Option<RuleId>,
    /// Packets.
    pub packets: u64,
}

/// Packets whose verdict needs a fact.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MissingFact {
    /// Whose rules.
    pub family: Family,
    /// What, and where it was asked for.
    pub unknown: Unknown,
    /// Packets.
    pub packets: u64,
}

/// Seconds.
#[derive(Clone, Copy, Debug, Default)]
pub struct Timing {
    /// From opening the captures to the merged counts.
    pub replay_s: f64,
    /// The check.
    pub check_s: f64,
}

/// Traffic to one key of a Service, and how much of it went to each endpoint.
type Row = (Tally, BTreeMap<Nat, u64>);

/// Rows by Service name, family and class.
type Rows = BTreeMap<(String, Family, ClassId), Row>;

/// Sums over all kinds, on the way to a report.
#[derive(Default)]
struct Sums {
    dispositions: Dispositions,
    masqueraded: u64,
    classified: u64,
    unmatched: u64,
    refusals: BTreeMap<(Family, Disposition, Option<RuleId>), u64>,
    unknowns: BTreeMap<(Family, Unknown), u64>,
    services: Rows,
}

impl Report {
    pub(crate) fn new(
        rules: &Rules<'_>,
        settings: &Settings,
        captures: Vec<String>,
        counts: Counts,
        check: CheckReport,
        cuts: Vec<Cut>,
        timing: Timing,
    ) -> Self {
        debug_assert!(settings.check == Check::Off || check.check == settings.check);
        let mut sums = Sums::default();
        for (family, of) in rules.families() {
            let counted = counts.family(family);
            for (ending, packets) in counted.endings(&of.program) {
                sums.end(family, ending, packets);
            }
            for ((class, taker), tally) in counted.takers(&of.program) {
                sums.take(family, of, class, taker, tally);
            }
        }
        let skipped = counts.skipped.iter().enumerate().filter(|(_, n)| **n > 0);
        Self {
            captures,
            frames: counts.frames,
            bytes: counts.bytes,
            skipped: skipped.map(|(i, n)| (SkipReason::name_at(i), *n)).collect(),
            classified: sums.classified,
            dispositions: sums.dispositions,
            masqueraded: sums.masqueraded,
            services: services(rules, sums.services),
            unmatched: sums.unmatched,
            refusals: sums
                .refusals
                .into_iter()
                .map(|((family, disposition, rule), packets)| Refusal {
                    family,
                    disposition,
                    rule,
                    packets,
                })
                .collect(),
            unknowns: sums
                .unknowns
                .into_iter()
                .map(|((family, unknown), packets)| MissingFact {
                    family,
                    unknown,
                    packets,
                })
                .collect(),
            cuts,
            connections: None,
            check,
            timing,
        }
    }
}

impl Sums {
    fn end(&mut self, family: Family, ending: Ending, packets: u64) {
        self.classified += packets;
        self.dispositions.add(ending.disposition, packets);
        match ending.disposition {
            Disposition::Drop | Disposition::Reject(_) => {
                let refusal = (family, ending.disposition, ending.decided_by);
                *self.refusals.entry(refusal).or_default() += packets;
            }
            Disposition::Unknown(unknown) => {
                *self.unknowns.entry((family, unknown)).or_default() += packets;
            }
            Disposition::Forward | Disposition::Local | Disposition::Out => {}
        }
    }

    fn take(
        &mut self,
        family: Family,
        of: &FamilyRules<'_>,
        class: ClassId,
        taker: Taker,
        tally: Tally,
    ) {
        self.masqueraded += tally.masqueraded;
        let (rule, nat) = match taker {
            Taker::Dnat(nat, rule) => (Some(rule), Some(nat)),
            Taker::Refusal(rule) => (Some(rule), None),
            Taker::Nothing => (None, None),
        };
        let Some(service) = rule.and_then(|rule| of.services.name_of_rule(rule)) else {
            self.unmatched += tally.packets;
            return;
        };
        let key = (service.to_owned(), family, class);
        let row = self.services.entry(key).or_default();
        row.0.merge(&tally);
        if let Some(nat) = nat {
            *row.1.entry(nat).or_default() += tally.packets;
        }
    }
}

/// The rows with the chances that the rules give each endpoint.
fn services(rules: &Rules<'_>, rows: Rows) -> Vec<ServiceTraffic> {
    let row = |((service, family, class), (tally, packets)): (_, Row)| {
        let of = rules.of(family)?;
        let mut endpoints: BTreeMap<Nat, EndpointTraffic> = packets
            .into_iter()
            .map(|(endpoint, packets)| {
                (
                    endpoint,
                    EndpointTraffic {
                        endpoint,
                        packets,
                        probability: None,
                    },
                )
            })
            .collect();
        for (endpoint, chance) in chances(&of.program, class) {
            let unused = EndpointTraffic {
                endpoint,
                packets: 0,
                probability: None,
            };
            let entry = endpoints.entry(endpoint).or_insert(unused);
            entry.probability = Some(entry.probability.unwrap_or(0.0).max(chance));
        }
        Some(ServiceTraffic {
            service,
            key: of.program.class_name(class),
            tally,
            endpoints: endpoints.into_values().collect(),
        })
    };
    rows.into_iter().filter_map(row).collect()
}

fn chances(program: &Program, class: ClassId) -> impl Iterator<Item = (Nat, f64)> {
    let nat = |dnat: DnatAct| Nat {
        address: dnat.address,
        port: dnat.port,
    };
    let chances = program.dnat_chances(class).into_iter();
    chances.map(move |(dnat, chance)| (nat(dnat), chance))
}
