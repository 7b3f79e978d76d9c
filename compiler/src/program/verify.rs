//! What must hold of every program. A breach is always the compiler's fault, never the input's.
//!
//! 1. Every child of a node exists and comes before it (so every way ends, and no node recurs).
//! 2. Every test, draw, act, end, address, route and set test that a node names exists.
//! 3. A selection's thresholds ascend strictly, and it has one target more than thresholds.
//! 4. Every chance is n/d with n ≤ d, d > 0.
//! 5. Every class has one root for each hook and ctstate; the last class is the one for all other keys, and a class's key leads
//!    to the class.
//! 6. Every DNAT belongs to a class.

use super::Program;
use super::node::{Act, ActId, Node, NodeId, RouteTo};
use super::test::Test;
use crate::header::{Header, known};
use crate::machine::state::Class;
use kpclass_ruleset::value::Family;
use std::fmt;

/// A breach of the program's invariants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Broken(String);

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "the compiled program is broken, which is a fault of kpclass: {}",
            self.0
        )
    }
}

impl std::error::Error for Broken {}

impl Program {
    /// Checks every invariant.
    ///
    /// # Errors
    /// The first breach.
    pub fn verify(&self) -> Result<(), Broken> {
        for (at, node) in self.nodes.iter().enumerate() {
            self.verify_node(NodeId(at as u32), *node)
                .map_err(|why| Broken(format!("node {at}: {why}")))?;
        }
        let mut acts = (0..self.acts.len() as u32).map(ActId);
        acts.try_for_each(|act| self.verify_act(act))
            .map_err(Broken)?;
        self.verify_classes().map_err(Broken)
    }

    fn verify_node(&self, id: NodeId, node: Node) -> Result<(), String> {
        let exists = |at: u32, len: usize, what: &str| {
            if (at as usize) < len {
                Ok(())
            } else {
                Err(format!("{what} {at} does not exist"))
            }
        };
        match node {
            Node::Test { test, yes, no, .. } => {
                exists(test.0, self.tests.len(), "test")?;
                if let Test::Set(set) = self.tests[test.0 as usize] {
                    exists(set, self.set_tests.len(), "set test")?;
                }
                before(&[yes, no], id)
            }
            Node::Draw { draw, yes, no } => {
                exists(draw.0, self.draws.len(), "draw")?;
                let draw = self.draws[draw.0 as usize];
                chance(draw.n, draw.d)?;
                before(&[yes, no], id)
            }
            Node::Select {
                first,
                count,
                targets,
            } => {
                exists(first + count - 1, self.thresholds.len(), "threshold")?;
                exists(targets + count, self.targets.len(), "target")?;
                let thresholds = &self.thresholds[first as usize..(first + count) as usize];
                if !thresholds.is_sorted_by(|a, b| a.below < b.below) {
                    return Err("thresholds do not ascend".into());
                }
                thresholds.iter().try_for_each(|t| chance(t.n, t.d))?;
                let targets = targets as usize..(targets + count + 1) as usize;
                before(&self.targets[targets], id)
            }
            Node::Route {
                destination,
                children,
            } => {
                exists(children, self.route_children.len(), "route")?;
                if let RouteTo::Known(address) = destination {
                    exists(address, self.addresses.len(), "address")?;
                }
                before(&self.route_children[children as usize], id)
            }
            Node::Act { act, next, .. } => {
                exists(act.0, self.acts.len(), "act")?;
                before(&[next], id)
            }
            Node::End(end) => exists(end.0, self.ends.len(), "end"),
            Node::Walk { .. } => Ok(()),
        }
    }

    fn verify_act(&self, act: ActId) -> Result<(), String> {
        if !self.acts.is_sound(act) {
            return Err(format!("act {} names nothing", act.0));
        }
        let class = self.act_class(act);
        match self.act(act) {
            Act::Dnat(_) if class.0 as usize >= self.classes.len() => {
                Err(format!("dnat {} belongs to no class", act.0))
            }
            _ => Ok(()),
        }
    }

    fn verify_classes(&self) -> Result<(), String> {
        let roots = self.roots_each() * self.classes.len();
        if self.roots.len() != roots {
            return Err(format!("{} roots, not {roots}", self.roots.len()));
        }
        if self
            .roots
            .iter()
            .any(|root| root.0 as usize >= self.nodes.len())
        {
            return Err("a root does not exist".into());
        }
        for (at, class) in self.classes.iter().enumerate() {
            let found = self.keys.class(&self.key_header(*class)).0 as usize;
            if found != at {
                return Err(format!("the key of class {at} leads to class {found}"));
            }
        }
        match self.classes.last() {
            Some(Class::Other) => Ok(()),
            _ => Err("the last class is not that of all other keys".into()),
        }
    }

    /// A header with the key of a class; of a port class with a destination that makes no exact class.
    fn key_header(&self, class: Class) -> Header {
        let v6 = if self.family == Family::V6 {
            known::V6
        } else {
            0
        };
        match class {
            Class::Exact {
                protocol,
                destination,
                port,
            } => Header {
                protocol,
                destination,
                destination_port: port,
                known: v6 | known::PORTS,
                ..Header::default()
            },
            Class::Port { protocol, port } => {
                let mut header = Header {
                    protocol,
                    destination_port: port,
                    known: v6 | known::PORTS,
                    ..Header::default()
                };
                let is_exact = |header: &Header| {
                    let class = self.keys.class(header).0 as usize;
                    matches!(self.classes[class], Class::Exact { .. })
                };
                // At most as many destinations make an exact class as there are classes.
                for destination in 0..=self.classes.len() as u128 {
                    header.destination = destination;
                    if !is_exact(&header) {
                        break;
                    }
                }
                header
            }
            Class::Portless { .. } | Class::Other => Header {
                known: v6,
                ..Header::default()
            },
        }
    }
}

fn before(children: &[NodeId], id: NodeId) -> Result<(), String> {
    match children.iter().find(|child| **child >= id) {
        Some(child) => Err(format!("child {} does not come before it", child.0)),
        None => Ok(()),
    }
}

fn chance(n: u32, d: u32) -> Result<(), String> {
    if d > 0 && n <= d {
        Ok(())
    } else {
        Err(format!("a chance of {n}/{d}"))
    }
}

#[cfg(test)]
mod tests {
    use super::super::node::{ActKind, DrawId, EndId, TestId};
    use super::*;
    use crate::{Config, Passes};
    use kpclass_ruleset::RuleId;
    use kpclass_ruleset::node::NodeFacts;
    use kpclass_ruleset::readers::{Input, read};

    fn program() -> Program {
        let input = Input {
            name: "small.rules".into(),
            family: None,
            table: None,
            bytes: include_str!("../../tests/small.rules").into(),
        };
        let ruleset = read(&[input]).unwrap().v4.unwrap();
        let config = Config {
            passes: Passes::with_all_nodes(),
            ..Config::default()
        };
        Program::compile(&ruleset, &NodeFacts::default(), &config).unwrap()
    }

    /// Breaks a sound program and expects what `verify` says of it to hold `what`.
    fn broken(what: &str, damage: impl FnOnce(&mut Program)) {
        let mut program = program();
        assert_eq!(program.verify(), Ok(()));
        damage(&mut program);
        let why = program.verify().expect_err(what).to_string();
        assert!(why.contains(what), "{why}");
    }

    fn test_node(yes: u32) -> Node {
        Node::Test {
            test: TestId(0),
            inverted: false,
            again: false,
            rule: RuleId(0),
            yes: NodeId(yes),
            no: NodeId(0),
        }
    }

    #[test]
    fn children_come_before_their_parents() {
        broken("child 5 does not come before", |p| {
            p.nodes[5] = test_node(5)
        });
    }

    #[test]
    fn what_a_node_names_exists() {
        let (yes, no) = (NodeId(0), NodeId(1));
        broken("draw 9999 does not exist", |p| {
            p.nodes[3] = Node::Draw {
                draw: DrawId(9999),
                yes,
                no,
            };
        });
        broken("end 9999 does not exist", |p| {
            p.nodes[3] = Node::End(EndId(9999))
        });
        broken("act 9999 does not exist", |p| {
            let act = ActId(9999);
            p.nodes[3] = Node::Act {
                act,
                kind: ActKind::Mark,
                next: no,
            };
        });
        broken("route 9999 does not exist", |p| {
            p.nodes[3] = Node::Route {
                destination: RouteTo::Original,
                children: 9999,
            };
        });
        broken("test 0 does not exist", |p| {
            p.tests.clear();
            p.nodes[3] = test_node(0);
        });
    }

    #[test]
    fn thresholds_ascend_and_chances_are_at_most_one() {
        broken("thresholds do not ascend", |p| p.thresholds.reverse());
        broken("a chance of 3/2", |p| {
            (p.thresholds[0].n, p.thresholds[0].d) = (3, 2)
        });
    }

    #[test]
    fn each_class_is_found_by_its_key_and_has_its_roots() {
        broken("leads to class", |p| p.classes.swap(0, 1));
        broken("not that of all other keys", |p| {
            let last = p.classes.len() - 1;
            p.classes[last] = Class::Portless {
                protocol: 6,
                destination: 0,
            };
        });
        broken("roots, not", |p| p.roots.truncate(1));
        broken("a root does not exist", |p| p.roots[0] = NodeId(u32::MAX));
        broken("belongs to no class", |p| p.acts.disown_all());
    }
}
