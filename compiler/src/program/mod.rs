//! The compiled program: a table from destination keys to nodes, and the nodes.

mod acts;
pub(crate) mod addresses;
mod answer;
mod chances;
pub(crate) mod common;
mod display;
mod evaluate;
mod follow;
mod keys;
pub mod lookup;
pub mod node;
mod outcome;
mod partition;
mod sets;
pub mod test;
mod verify;

pub(crate) use acts::Acts;
pub use common::Common;
pub use evaluate::Context;
pub use follow::{Followed, FollowedFirst, Left};
pub use keys::{ClassId, Keys};
pub use outcome::Outcome;
pub use partition::Piece;
pub use verify::Broken;

use crate::config::Config;
use crate::machine::Rules;
use crate::machine::state::{Class, Mark};
use kpclass_ruleset::Hook;
use kpclass_ruleset::matches::SetMatch;
use kpclass_ruleset::value::{CtState, Family, Interface};
use node::{Act, ActId, DnatAct, Draw, End, Node, NodeId};
use std::sync::Arc;
use test::{AddressOf, PortRewrite, Test};

/// A `set` condition with what was rewritten before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct SetTest {
    pub(crate) ask: SetMatch,
    /// The condition, by position in the graph's.
    pub(crate) id: u32,
    /// `None`: some address of this node.
    pub(crate) source: Option<AddressOf>,
    pub(crate) source_port: PortRewrite,
    pub(crate) destination: Option<AddressOf>,
    /// `None`: the packet's own.
    pub(crate) destination_port: Option<u16>,
    pub(crate) mark: Mark,
    /// The in-interface, where the way tells it.
    pub(crate) leg_in: Option<Interface>,
    /// The out-interface.
    pub(crate) leg_out: Leaves,
}

/// By which device a packet leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Leaves {
    /// This one, or none at all.
    By(Interface),
    /// Not known, but not `lo`.
    NotLo,
    /// `lo` where the destination that it came with comes back, else not `lo`.
    AsItCame,
}

/// Ruleset and node facts, compiled. Immutable; shared by all workers.
#[derive(Clone, Debug)]
pub struct Program {
    pub(crate) family: Family,
    pub(crate) config: Config,
    pub(crate) keys: Keys,
    pub(crate) classes: Vec<Class>,
    /// Where the program starts: for each class by hook (PREROUTING, OUTPUT), then by the configuration's ctstates.
    pub(crate) roots: Vec<NodeId>,
    pub(crate) nodes: Vec<Node>,
    pub(crate) tests: Vec<Test>,
    pub(crate) draws: Vec<Draw>,
    /// Thresholds of the selections.
    pub(crate) thresholds: Vec<Draw>,
    /// Targets of the selections.
    pub(crate) targets: Vec<NodeId>,
    pub(crate) route_children: Vec<[NodeId; 3]>,
    pub(crate) addresses: Vec<u128>,
    pub(crate) acts: Acts,
    pub(crate) ends: Vec<End>,
    /// The rules themselves, for the classes that are walked, with sets and node facts.
    pub(crate) rules: Arc<Rules>,
    pub(crate) set_tests: Vec<SetTest>,
    pub(crate) walked: usize,
    /// For each class whether a `recent` list is met on some way of its packets before nat's first turn is over, or may be.
    pub(crate) recent: Vec<bool>,
    pub(crate) lookups: lookup::Lookups,
}

impl Program {
    /// The family.
    pub fn family(&self) -> Family {
        self.family
    }

    /// What it was compiled for.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// Every class.
    pub fn classes(&self) -> &[Class] {
        &self.classes
    }

    /// What conditions ask about.
    pub fn asked(&self) -> crate::graph::Asked {
        self.rules.graph.asked
    }

    /// Whether some rule turns connection tracking on.
    pub fn conntrack_on(&self) -> bool {
        self.rules.graph.conntrack_on
    }

    /// The roots of a class.
    pub(crate) fn class_roots(&self, class: ClassId) -> &[NodeId] {
        let each = self.roots_each();
        &self.roots[class.0 as usize * each..][..each]
    }

    /// The root of a class for a start of [`Self::root_index`].
    #[inline]
    pub(crate) fn root(&self, class: ClassId, root: usize) -> NodeId {
        self.roots[class.0 as usize * self.roots_each() + root]
    }

    /// Roots of one class.
    #[inline]
    pub(crate) fn roots_each(&self) -> usize {
        2 * self.config.ctstates.len()
    }

    /// Whether an address of the family is known to be the node's.
    #[inline]
    pub fn is_local(&self, address: u128) -> bool {
        self.locality(address) == Some(true)
    }

    /// Whether an address of the family is the node's; `None`: not known.
    #[inline]
    pub fn locality(&self, address: u128) -> Option<bool> {
        self.rules.locals.contains(address)
    }

    /// Whether some rule changes the mark of connections.
    pub fn changes_connmarks(&self) -> bool {
        self.rules.graph.asked.sets_connmarks
    }

    /// Number of nodes.
    pub fn len(&self) -> usize {
        self.nodes.len()
    }

    /// Whether it has no node.
    pub fn is_empty(&self) -> bool {
        self.nodes.is_empty()
    }

    /// How many starts of classes (a class has one for each hook and ctstate) are walked, being too large to compile.
    pub fn walked_classes(&self) -> usize {
        self.walked
    }

    /// The class of every key that rules do not single out.
    pub fn other(&self) -> ClassId {
        self.keys.other()
    }

    /// The node's addresses of the family, as far as they are given, loopback not among them.
    pub fn local_addresses(&self) -> &[u128] {
        self.rules.locals.numbers()
    }

    /// Its flat form.
    pub fn lookups(&self) -> &lookup::Lookups {
        &self.lookups
    }

    /// How many acts there are; a [`ActId`] is a position among them.
    pub fn act_count(&self) -> usize {
        self.acts.len()
    }

    /// An act.
    pub fn act(&self, act: ActId) -> Act {
        self.acts.get(act)
    }

    /// All rewrites of a destination.
    pub fn dnats(&self) -> impl Iterator<Item = DnatAct> {
        (0..self.act_count() as u32).filter_map(|at| match self.act(ActId(at)) {
            Act::Dnat(dnat) => Some(dnat),
            _ => None,
        })
    }

    /// The class that an act belongs to.
    pub fn act_class(&self, act: ActId) -> ClassId {
        self.acts.class(act)
    }

    /// Which of a class's roots a packet starts at; `None`: not compiled for this ctstate.
    pub fn root_index(&self, hook: Hook, ctstate: CtState) -> Option<usize> {
        let at = match &*self.config.ctstates {
            [only] => (*only == ctstate).then_some(0)?,
            several => several.iter().position(|s| *s == ctstate)?,
        };
        Some(if hook == Hook::Output {
            self.config.ctstates.len() + at
        } else {
            at
        })
    }

    /// Bytes that the program takes.
    pub fn bytes(&self) -> usize {
        [
            size_of_val(&*self.nodes),
            size_of_val(&*self.tests),
            size_of_val(&*self.draws),
            size_of_val(&*self.thresholds),
            size_of_val(&*self.targets),
            size_of_val(&*self.route_children),
            size_of_val(&*self.addresses),
            self.acts.bytes(),
            size_of_val(&*self.ends),
            size_of_val(&*self.classes),
            size_of_val(&*self.roots),
            self.keys.bytes(),
            self.lookups.bytes(),
        ]
        .into_iter()
        .sum()
    }
}
