//! How likely a class's draws make each rewrite, for reports: shares are held against them.

use super::Program;
use super::keys::ClassId;
use super::node::{Act, ActId, DnatAct, Node, NodeId};
use crate::parts;
use ahash::AHashMap;

impl Program {
    /// The chance of each DNAT of a class, for a packet whose tests lead to the draw that can choose it; where several ways lead to one, the largest.
    /// A class that is walked has none.
    pub fn dnat_chances(&self, class: ClassId) -> Vec<(DnatAct, f64)> {
        let served = Node::Walk { served: true };
        let roots = self.class_roots(class);
        if !roots
            .iter()
            .any(|root| self.nodes[root.0 as usize] == served)
        {
            return self.chances(class);
        }
        // Its nodes were dropped.
        parts::of_class(self, class).chances(ClassId(0))
    }

    fn chances(&self, class: ClassId) -> Vec<(DnatAct, f64)> {
        let mut best: AHashMap<NodeId, f64> = AHashMap::new();
        let mut found: AHashMap<ActId, f64> = AHashMap::new();
        let roots = self.class_roots(class);
        let mut work: Vec<(NodeId, f64)> = roots.iter().map(|root| (*root, 1.0)).collect();
        while let Some((at, chance)) = work.pop() {
            let known = best.entry(at).or_insert(-1.0);
            if *known >= chance {
                continue;
            }
            *known = chance;
            match self.nodes[at.0 as usize] {
                Node::Test { yes, no, .. } => work.extend([(yes, chance), (no, chance)]),
                Node::Draw { draw, yes, no } => {
                    let draw = self.draws[draw.0 as usize];
                    let p = f64::from(draw.n) / f64::from(draw.d);
                    work.extend([(yes, chance * p), (no, chance * (1.0 - p))]);
                }
                Node::Select {
                    first,
                    count,
                    targets,
                } => {
                    let mut left = chance;
                    for i in 0..count {
                        let draw = self.thresholds[(first + i) as usize];
                        let taken = left * f64::from(draw.n) / f64::from(draw.d);
                        work.push((self.targets[(targets + i) as usize], taken));
                        left -= taken;
                    }
                    work.push((self.targets[(targets + count) as usize], left));
                }
                Node::Act { act, next, .. } => match self.act(act) {
                    Act::Dnat(_) => {
                        let known = found.entry(act).or_insert(0.0);
                        *known = known.max(chance);
                    }
                    _ => work.push((next, chance)),
                },
                // Nothing behind routing rewrites a destination.
                Node::Route { .. } | Node::End(_) | Node::Walk { .. } => {}
            }
        }
        let mut chances: Vec<_> = found.into_iter().collect();
        chances.sort_by_key(|(act, _)| *act);
        let dnat = |(act, chance): (ActId, f64)| match self.act(act) {
            Act::Dnat(dnat) => Some((dnat, chance)),
            _ => None,
        };
        chances.into_iter().filter_map(dnat).collect()
    }
}
