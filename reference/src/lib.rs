//! The reference: a packet's linear walk through a node's rules, as obvious as it can be written. It judges the compiled
//! program, so it shares nothing with it but the typed rules, is written from `ruleset/WALK.md` alone, keeps no cache and takes
//! no short cut.
//!
//! # The walk in sentences
//! 1. A packet takes the legs of its way in order: tables at hooks, routing between them (`traversal`; tests `traversal`, corpus `routing`).
//! 2. At a leg its table's built-in chain is walked, rule by rule, with a jump stack (`walk`; tests and corpus `chains`).
//! 3. A rule's matches are asked in order, three-valued (`matches`; corpus `headers`, `addrtype`, `memory`, `nat`).
//! 4. A rule that matches does what its target does (`targets`; corpus `nat`, `marks`, `unknowns`).
//! 5. A `statistic`, and the address of a nat range, is a draw: the walk goes on for a first part of the numbers drawn with a hit,
//!    for the rest with a miss (`draw`; tests and corpus `draws`).
//! 6. A rule of which it is not known whether it matches is followed both ways; where they differ, the decision is unknown
//!    (`walk`; corpus `unknowns`).
//! 7. The same walk answers for one number drawn ([`Walk::decide`]), for all of them ([`Walk::partition`]), and in exact
//!    probabilities ([`Walk::outcomes`]).
#![forbid(unsafe_code)]

mod assumption;
pub mod connections;
mod draw;
pub mod fragments;
mod load;
mod matches;
mod memory;
mod outcomes;
pub mod packet;
mod probability;
mod state;
mod targets;
mod traversal;
mod truth;
mod walk;

pub use assumption::Assumption;
pub use load::LoadError;
pub use outcomes::Outcome;
pub use probability::Probability;
pub use state::{Event, Step};

use draw::{Numbers, Point};
use kpclass_ruleset::Ruleset;
use kpclass_ruleset::decision::{Decision, Disposition};
use kpclass_ruleset::node::{LocalAddresses, NodeFacts};
use kpclass_ruleset::packet::Packet;
use state::State;

/// The walk of packets of one family through one node's rules.
#[derive(Clone, Copy, Debug)]
pub struct Walk<'a> {
    ruleset: &'a Ruleset,
    node: &'a NodeFacts,
    conntrack: bool,
    implied_postrouting: bool,
    every_device_is_known: bool,
}

/// A decision with how it came about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Traced {
    /// The decision.
    pub decision: Decision,
    /// The rules that matched, in order, and the policies that ended tables.
    pub path: Vec<Step>,
    /// What it rests on beside the rules.
    pub assumptions: Vec<Assumption>,
}

/// The decision for the numbers drawn behind the piece before it, up to `last`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Piece {
    /// The last number, included.
    pub last: u64,
    /// The decision.
    pub decision: Decision,
}

impl<'a> Walk<'a> {
    /// A walk through `ruleset` on a node of which `node` is known.
    ///
    /// # Errors
    /// Where chains lead back to themselves, as the kernel refuses them.
    pub fn new(ruleset: &'a Ruleset, node: &'a NodeFacts) -> Result<Self, LoadError> {
        load::refuse_loops(ruleset)?;
        let implied_postrouting = load::implies_postrouting(ruleset);
        let conntrack = implied_postrouting || load::turns_conntrack_on(ruleset);
        Ok(Self {
            ruleset,
            node,
            conntrack,
            implied_postrouting,
            every_device_is_known: node
                .local
                .as_ref()
                .is_some_and(LocalAddresses::knows_every_device),
        })
    }

    /// Whether some rule turns connection tracking on. (Without it, nat is not asked.)
    pub fn is_conntrack_on(&self) -> bool {
        self.conntrack
    }

    /// What happens to `packet`, which is of the ruleset's family, for one number drawn.
    pub fn decide(&self, packet: &Packet, draw: u64) -> Traced {
        let way = self.ways(State::new(packet), Point::new(draw)).pop();
        match way {
            Some(way) => Traced {
                decision: way.decision,
                path: way.path,
                assumptions: way.assumptions,
            },
            // There is always a way: a draw leaves one side to each number.
            None => Traced {
                decision: State::new(packet).decision(Disposition::Drop, None),
                path: Vec::new(),
                assumptions: Vec::new(),
            },
        }
    }

    /// What happens to `packet` for every number drawn: pieces in ascending order that cover `0..=u64::MAX`, neighbours distinct.
    pub fn partition(&self, packet: &Packet) -> Vec<Piece> {
        let mut pieces: Vec<Piece> = Vec::new();
        let mut end = 0u128;
        for way in self.ways(State::new(packet), Numbers::ALL) {
            end += way.share.0;
            // At most 2^64 numbers follow one another, so the last one fits.
            let last = u64::try_from(end - 1).unwrap_or(u64::MAX);
            match pieces.last_mut() {
                Some(before) if before.decision == way.decision => before.last = last,
                _ => pieces.push(Piece {
                    last,
                    decision: way.decision,
                }),
            }
        }
        pieces
    }

    /// The distinct things that can happen to `packet`, most probable first. Two are distinct if disposition, rewritten addresses and ports, or final
    /// mark differ; which rules did it does not matter.
    pub fn outcomes(&self, packet: &Packet) -> Vec<Outcome> {
        outcomes::gather(self.ways(State::new(packet), Probability::one()))
    }
}
