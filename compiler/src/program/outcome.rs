//! The short answer for the hot loop: which end a packet reaches, and by which rewrites, as positions to count by.

use super::evaluate::Context;
use super::keys::ClassId;
use super::node::{Act, ActId, End, EndId, Node, NodeId, RouteTo};
use super::{Program, addresses};
use crate::header::Header;
use kpclass_ruleset::decision::Snat;

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

    /// Reads where a packet's evaluation will begin, so that it is in the cache by then: reads of many packets overlap, evaluations hardly do.
    #[inline]
    pub fn touch(&self, class: ClassId, root: usize) -> u32 {
        match self.nodes[self.root(class, root).0 as usize] {
            Node::Test { yes, .. } => yes.0,
            Node::Select { first, .. } => first,
            _ => 0,
        }
    }

    /// The outcome for a number drawn; `root` is of [`Program::root_index`]. `None` where a fact is missing or the class is walked:
    /// then [`Program::decide`] tells.
    #[inline]
    pub fn outcome(
        &self,
        class: ClassId,
        root: usize,
        header: &Header,
        context: &Context,
        draw: u64,
    ) -> Option<Outcome> {
        let mut at = self.root(class, root);
        let mut outcome = Outcome {
            end: EndId(0),
            dnat: None,
            masqueraded: false,
        };
        let run = self.run(header, context)?;
        loop {
            at = match self.nodes[at.0 as usize] {
                Node::Test {
                    test,
                    inverted,
                    yes,
                    no,
                    ..
                } => match run.answer(&self.tests[test.0 as usize]) {
                    Ok(answer) if answer != inverted => yes,
                    Ok(_) => no,
                    Err(_) => return None,
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
                } => self.routed(header, context, destination, children)?,
                Node::Act { act, next } => {
                    match self.acts[act.0 as usize] {
                        Act::Dnat(_) => outcome.dnat = Some(act),
                        Act::Snat(snat, _) => outcome.masqueraded = snat == Snat::Masquerade,
                        Act::MasqueradeByMarker => outcome.masqueraded = true,
                        Act::NetmapSource(..) | Act::MarkedBy(_) => {}
                    }
                    next
                }
                Node::End(end) => {
                    outcome.end = end;
                    return Some(outcome);
                }
                Node::Walk => return None,
            };
        }
    }

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
