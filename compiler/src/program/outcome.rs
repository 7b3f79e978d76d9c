//! The short answer for the hot loop: which end a packet reaches, and by which rewrites, as positions to count by.

use super::evaluate::Context;
use super::keys::ClassId;
use super::node::{ActId, ActKind, End, EndId, Node, NodeId, RouteTo};
use super::{Program, addresses};
use crate::header::Header;

/// Where a packet went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// How it ended.
    pub end: EndId,
    /// The rewrite of its destination.
    pub dnat: Option<ActId>,
    /// Whether its source is masqueraded.
    pub masqueraded: bool,
}

/// A packet on its way through the nodes.
#[derive(Clone, Copy, Debug)]
pub struct Cursor {
    at: NodeId,
    outcome: Outcome,
}

/// What a step led to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Another node.
    On,
    /// The end.
    Done(Outcome),
    /// A missing fact, or a class that is walked: [`Program::decide`] tells.
    LongWay,
}

impl Program {
    /// The class of a packet of the program's family.
    #[inline]
    pub fn class(&self, header: &Header) -> ClassId {
        self.keys.class(header)
    }

    /// An end, by position.
    pub fn end(&self, end: EndId) -> &End {
        &self.ends[end.0 as usize]
    }

    /// How many ends there are.
    pub fn end_count(&self) -> usize {
        self.ends.len()
    }

    /// A cursor at the start of a packet's way; `root` is of [`Program::root_index`].
    #[inline]
    pub fn cursor(&self, class: ClassId, root: usize) -> Cursor {
        let outcome = Outcome {
            end: EndId(0),
            dnat: None,
            masqueraded: false,
        };
        Cursor {
            at: self.root(class, root),
            outcome,
        }
    }

    /// One node on. Stepping many packets in turn lets what each waits for in memory arrive while the others step.
    #[inline]
    pub fn step(&self, cursor: &mut Cursor, header: &Header, context: &Context, draw: u64) -> Step {
        let next = match self.nodes[cursor.at.0 as usize] {
            Node::Test {
                test,
                inverted,
                yes,
                no,
                ..
            } => match self
                .asked_of(header, context)
                .answer(&self.tests[test.0 as usize])
            {
                Ok(answer) if answer != inverted => yes,
                Ok(_) => no,
                Err(_) => return Step::LongWay,
            },
            Node::Draw {
                draw: threshold,
                yes,
                no,
            } => {
                if draw < self.draws[threshold.0 as usize].below {
                    yes
                } else {
                    no
                }
            }
            Node::Select {
                first,
                count,
                targets,
            } => self.selected(first, count, targets, draw),
            Node::Route {
                destination,
                children,
            } => match self.routed(header, context, destination, children) {
                Some(next) => next,
                None => return Step::LongWay,
            },
            Node::Act { act, kind, next } => {
                match kind {
                    ActKind::Dnat => cursor.outcome.dnat = Some(act),
                    ActKind::Masquerade => cursor.outcome.masqueraded = true,
                    ActKind::Snat => cursor.outcome.masqueraded = false,
                    ActKind::Mark => {}
                }
                next
            }
            Node::End(end) => {
                cursor.outcome.end = end;
                return Step::Done(cursor.outcome);
            }
            Node::Walk => return Step::LongWay,
        };
        cursor.at = next;
        Step::On
    }

    #[inline]
    fn routed(
        &self,
        header: &Header,
        context: &Context,
        destination: RouteTo,
        children: u32,
    ) -> Option<NodeId> {
        use addresses::Route;
        let [dropped, local, forward] = self.route_children[children as usize];
        let to = match destination {
            RouteTo::SomeLocal => return Some(local),
            RouteTo::Original => header.destination,
            RouteTo::Known(at) => self.addresses[at as usize],
        };
        match self.route(header, context, to) {
            Route::Dropped => Some(dropped),
            Route::Local => Some(local),
            Route::Forward => Some(forward),
            Route::Unknown(_) => None,
        }
    }
}
