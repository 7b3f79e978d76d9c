//! How likely a class's draws make each rewrite, for reports: shares are held against them.

use super::Program;
use super::keys::ClassId;
use super::lookup::{Address, Lookup, Lookups, Port, Sets, Taker};
use super::node::{Act, ActId, DnatAct, Node, NodeId};
use crate::header::Header;
use crate::machine::state::Class;
use crate::parts;
use ahash::AHashMap;

impl Program {
    /// The chance of each DNAT of a class, for a packet whose tests lead to the draw that can choose it; where several ways lead to one, the largest.
    /// A class that is walked has none.
    pub fn dnat_chances(&self, class: ClassId) -> Vec<(DnatAct, f64)> {
        let served = Node::Walk { served: true };
        let roots = self.class_roots(class);
        let is_served = roots
            .iter()
            .any(|root| self.nodes[root.0 as usize] == served);
        let key = self.classes[class.0 as usize];
        match self.drawn(key).filter(|drawn| is_served || drawn.is_all) {
            Some(drawn) => self.of_dnats(drawn.chances()),
            // Its nodes were dropped.
            None if is_served => parts::of_class(self, class).chances(ClassId(0)),
            None => self.chances(class),
        }
    }

    /// For rewrites of a packet's destination numbers that may lead to them, which [`Program::decide`] must tell; not every rewrite may be here, nor every number.
    pub fn dnat_numbers(&self, header: &Header) -> Vec<(DnatAct, u64)> {
        let key = Class::Exact {
            protocol: header.protocol,
            destination: header.destination,
            port: header.destination_port,
        };
        let drawn = self.drawn(key);
        let stretches = drawn.into_iter().flat_map(|drawn| drawn.stretches);
        let stretches = stretches.filter(|of| of.from < of.to);
        let number = |of: Stretch| match self.act(of.act) {
            Act::Dnat(dnat) => Some((dnat, (of.to - 1) as u64)),
            _ => None,
        };
        stretches.filter_map(number).collect()
    }

    /// What the packets of a key draw from, where they come the flat way.
    fn drawn(&self, key: Class) -> Option<Drawn> {
        match &self.lookups {
            Lookups::None => None,
            Lookups::V4(lookup) => lookup.drawn_by(key),
            Lookups::V6(lookup) => lookup.drawn_by(key),
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
        self.of_dnats(largest(found.into_iter().collect()))
    }

    fn of_dnats(&self, chances: Vec<(ActId, f64)>) -> Vec<(DnatAct, f64)> {
        let dnat = |(act, chance): (ActId, f64)| match self.act(act) {
            Act::Dnat(dnat) => Some((dnat, chance)),
            _ => None,
        };
        chances.into_iter().filter_map(dnat).collect()
    }
}

/// What the packets of one key draw from.
struct Drawn {
    stretches: Vec<Stretch>,
    /// Nothing else rewrites their destination.
    is_all: bool,
}

/// Numbers that draw the same.
struct Stretch {
    act: ActId,
    from: u128,
    /// Not included.
    to: u128,
}

impl Drawn {
    fn chances(&self) -> Vec<(ActId, f64)> {
        let chance = |of: &Stretch| of.to as f64 / ALL_NUMBERS - of.from as f64 / ALL_NUMBERS;
        largest(
            self.stretches
                .iter()
                .map(|of| (of.act, chance(of)))
                .collect(),
        )
    }
}

/// For each act its largest chance.
fn largest(mut chances: Vec<(ActId, f64)>) -> Vec<(ActId, f64)> {
    chances.sort_unstable_by(|a, b| a.0.cmp(&b.0).then(b.1.total_cmp(&a.1)));
    chances.dedup_by_key(|(act, _)| *act);
    chances
}

impl<A: Address> Lookup<A> {
    fn drawn_by(&self, class: Class) -> Option<Drawn> {
        let Class::Exact {
            protocol,
            destination,
            port,
        } = class
        else {
            return None;
        };
        let key = A::new(destination).key(protocol, Port::new(port));
        let Sets { sets, leaves } = self.sets_of(key)?;
        let mut stretches = Vec::new();
        let mut has_slow = false;
        for (first, thresholds) in &sets {
            let mut from = 0;
            let ends = thresholds.iter().map(|below| u128::from(*below));
            for (at, to) in ends.chain([1 << 64]).enumerate() {
                let member = first + at;
                has_slow |= self.row(member, leaves).iter().any(|leaf| leaf.is_slow());
                if let Taker::Dnat(act) = self.takers()[member] {
                    stretches.push(Stretch { act, from, to });
                }
                from = to;
            }
        }
        Some(Drawn {
            stretches,
            // Of several sets each is drawn from for some answers only: the leaves of the others lead nowhere.
            is_all: sets.len() == 1 && !has_slow,
        })
    }
}

/// So many numbers can be drawn.
const ALL_NUMBERS: f64 = 18_446_744_073_709_551_616.0;
