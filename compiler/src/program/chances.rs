//! How likely a class's draws make each rewrite, for reports: shares are held against them.

use super::Program;
use super::keys::ClassId;
use super::lookup::{Address, Lookup, Lookups, Port, Taker};
use super::node::{Act, ActId, DnatAct, Node, NodeId};
use crate::machine::state::Class;
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
        let key = self.classes[class.0 as usize];
        let flat = match &self.lookups {
            Lookups::None => None,
            Lookups::V4(lookup) => lookup.chances(key),
            Lookups::V6(lookup) => lookup.chances(key),
        };
        match flat {
            Some(found) => self.dnats(found),
            None => parts::of_class(self, class).chances(ClassId(0)),
        }
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
        self.dnats(found)
    }

    fn dnats(&self, found: AHashMap<ActId, f64>) -> Vec<(DnatAct, f64)> {
        let mut chances: Vec<_> = found.into_iter().collect();
        chances.sort_by_key(|(act, _)| *act);
        let dnat = |(act, chance): (ActId, f64)| match self.act(act) {
            Act::Dnat(dnat) => Some((dnat, chance)),
            _ => None,
        };
        chances.into_iter().filter_map(dnat).collect()
    }
}

impl<A: Address> Lookup<A> {
    /// The chance of each act of a class of one key that all come this way.
    fn chances(&self, class: Class) -> Option<AHashMap<ActId, f64>> {
        let Class::Exact {
            protocol,
            destination,
            port,
        } = class
        else {
            return None;
        };
        let (first, sets) = self.sets_of(A::new(destination).key(protocol, Port::new(port)))?;
        let mut found: AHashMap<ActId, f64> = AHashMap::new();
        for (offset, thresholds) in sets {
            let ends = thresholds.iter().map(|below| *below as f64 / ALL_NUMBERS);
            let mut from = 0.0;
            for (member, to) in ends.chain([1.0]).enumerate() {
                if let Taker::Dnat(act) = self.takers()[first + offset + member] {
                    let known = found.entry(act).or_insert(0.0);
                    *known = known.max(to - from);
                }
                from = to;
            }
        }
        Some(found)
    }
}

/// So many numbers can be drawn.
const ALL_NUMBERS: f64 = 18_446_744_073_709_551_616.0;
