//! All outcomes of one packet with their exact probabilities.

use crate::assumption::Assumption;
use crate::probability::Probability;
use crate::state::Step;
use crate::walk::Way;
use kpclass_ruleset::decision::{Decision, Disposition, Nat, Snat};
use std::collections::HashMap;

/// One distinct outcome.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// Its exact probability.
    pub probability: Probability,
    /// The decision of the first way that leads to it.
    pub decision: Decision,
    /// That way's path.
    pub path: Vec<Step>,
    /// What all ways that lead to it rest on.
    pub assumptions: Vec<Assumption>,
}

/// What makes outcomes distinct: what happens to the packet, not which rules did it. (An unknown is one with its rule and fact.)
#[derive(PartialEq, Eq, Hash)]
struct Effect {
    disposition: Disposition,
    dnat: Option<Nat>,
    snat: Option<Snat>,
    mark: u32,
}

impl Effect {
    fn of(decision: &Decision) -> Self {
        Self {
            disposition: decision.disposition,
            dnat: decision.dnat.map(|(nat, _)| nat),
            snat: decision.snat.map(|(snat, _)| snat),
            mark: decision.mark,
        }
    }
}

/// Puts ways with one effect together, most probable first, ties in order of the first number drawn.
pub(crate) fn gather(ways: Vec<Way<Probability>>) -> Vec<Outcome> {
    let mut outcomes: Vec<Outcome> = Vec::new();
    let mut places = HashMap::new();
    for way in ways {
        let place = *places
            .entry(Effect::of(&way.decision))
            .or_insert(outcomes.len());
        match outcomes.get_mut(place) {
            Some(same) => same.add(way),
            None => outcomes.push(Outcome {
                probability: way.share,
                decision: way.decision,
                path: way.path,
                assumptions: way.assumptions,
            }),
        }
    }
    outcomes.sort_by(|a, b| b.probability.cmp(&a.probability));
    outcomes
}

impl Outcome {
    fn add(&mut self, way: Way<Probability>) {
        self.probability = self.probability.plus(&way.share);
        for assumption in way.assumptions {
            if !self.assumptions.contains(&assumption) {
                self.assumptions.push(assumption);
            }
        }
    }
}
