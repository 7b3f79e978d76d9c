//! All outcomes of one packet with their exact probabilities.

use crate::assumption::Assumption;
use crate::probability::Probability;
use crate::state::Step;
use crate::walk::Way;
use kpclass_ruleset::decision::{Decision, Disposition, Nat, Snat};

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
#[derive(PartialEq)]
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
    for way in ways {
        let effect = Effect::of(&way.decision);
        if let Some(same) = outcomes
            .iter_mut()
            .find(|o| Effect::of(&o.decision) == effect)
        {
            same.probability = same.probability.plus(&way.share);
            for assumption in way.assumptions {
                if !same.assumptions.contains(&assumption) {
                    same.assumptions.push(assumption);
                }
            }
        } else {
            outcomes.push(Outcome {
                probability: way.share,
                decision: way.decision,
                path: way.path,
                assumptions: way.assumptions,
            });
        }
    }
    outcomes.sort_by(|a, b| b.probability.cmp(&a.probability));
    outcomes
}
