//! The short answer for the hot loop: which end a packet reaches, and by which rewrites, as positions to count by.

use super::evaluate::Context;
use super::keys::ClassId;
use super::lookup::{Address, Leaf, Lookup, Lookups, Member, Tuple};
use super::node::{ActId, ActKind, End, EndId, Node, NodeId, RouteTo};
use super::{Program, addresses};
use crate::header::Header;
use kpclass_ruleset::Hook;
use kpclass_ruleset::value::{CtState, Interface};

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

/// What counting needs of the acts on a way.
#[derive(Clone, Copy, Default)]
pub(super) struct Noted {
    pub(super) dnat: Option<ActId>,
    pub(super) masqueraded: bool,
    /// Some act rewrote the source, or was credited with the mark.
    pub(super) has_others: bool,
}

impl Noted {
    pub(super) fn note(&mut self, act: ActId, kind: ActKind) {
        self.has_others |= kind != ActKind::Dnat;
        match kind {
            ActKind::Dnat => self.dnat = Some(act),
            ActKind::Masquerade => self.masqueraded = true,
            ActKind::Snat => self.masqueraded = false,
            ActKind::Mark => {}
        }
    }
}

impl Program {
    /// The class of a packet of the program's family.
    #[inline]
    pub fn class(&self, header: &Header) -> ClassId {
        self.keys.class(header)
    }

    /// The class of a tuple.
    #[cold]
    pub fn class_of<A: Address>(&self, tuple: &Tuple<A>) -> ClassId {
        self.class(&tuple.header(self.family))
    }

    /// An end, by position.
    pub fn end(&self, end: EndId) -> &End {
        &self.ends[end.0 as usize]
    }

    /// How many ends there are.
    pub fn end_count(&self) -> usize {
        self.ends.len()
    }

    /// Where a packet goes for one number drawn; `None`: [`Program::decide`] tells (a fact is missing, its class is walked, or the program
    /// was not compiled for it).
    pub fn outcome(&self, header: &Header, context: &Context, draw: u64) -> Option<Outcome> {
        let flat = match &self.lookups {
            Lookups::None => None,
            Lookups::V4(lookup) => lookup.outcome(self, header, context, draw),
            Lookups::V6(lookup) => lookup.outcome(self, header, context, draw),
        };
        flat.or_else(|| self.outcome_by_nodes(header, context, draw))
    }

    /// See [`Lookup::plain_outcome`].
    pub(super) fn plain_outcome(
        &self,
        header: &Header,
        context: &Context,
        draw: u64,
    ) -> Option<(EndId, Option<ActId>)> {
        match &self.lookups {
            Lookups::None => None,
            Lookups::V4(lookup) => lookup.plain_outcome(self, header, context, draw),
            Lookups::V6(lookup) => lookup.plain_outcome(self, header, context, draw),
        }
    }

    /// The same by the nodes alone.
    pub fn outcome_by_nodes(
        &self,
        header: &Header,
        context: &Context,
        draw: u64,
    ) -> Option<Outcome> {
        let mut noted = Noted::default();
        let end = self.end_by_nodes(header, context, draw, |act, kind| noted.note(act, kind))?;
        let Noted {
            dnat, masqueraded, ..
        } = noted;
        Some(Outcome {
            end,
            dnat,
            masqueraded,
        })
    }

    /// The end to which the nodes lead, if no fact is missing on the way and no class is walked; `note` is given each act on it.
    pub(super) fn end_by_nodes(
        &self,
        header: &Header,
        context: &Context,
        draw: u64,
        mut note: impl FnMut(ActId, ActKind),
    ) -> Option<EndId> {
        let root = self.root_index(context.hook, context.ctstate)?;
        let mut at = self.root(self.class(header), root);
        loop {
            at = match self.nodes[at.0 as usize] {
                Node::Test {
                    test,
                    inverted,
                    yes,
                    no,
                    ..
                } => {
                    let test = &self.tests[test.0 as usize];
                    match self.asked_of(header, context).answer(test).ok()? != inverted {
                        true => yes,
                        false => no,
                    }
                }
                Node::Draw {
                    draw: threshold,
                    yes,
                    no,
                } => match draw < self.draws[threshold.0 as usize].below {
                    true => yes,
                    false => no,
                },
                Node::Select {
                    first,
                    count,
                    targets,
                } => self.selected(first, count, targets, draw),
                Node::Route {
                    destination,
                    children,
                } => self.routed(header, context, destination, children)?,
                Node::Act { act, kind, next } => {
                    note(act, kind);
                    next
                }
                Node::End(end) => return Some(end),
                Node::Walk { .. } => return None,
            };
        }
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

impl<A: Address> Tuple<A> {
    /// Of a packet that comes the flat way, unless its class takes the nodes'.
    pub fn of_flat(program: &Program, header: &Header, context: &Context) -> Option<Self> {
        let tuple = Self::of(header)?;
        let by_lo = context.in_interface == Some(Interface::lo());
        let kept_out = context.hook != Hook::Output && (by_lo || program.is_local(header.source));
        (context.ctstate == CtState::New && tuple.source.is_ordinary() && !kept_out)
            .then_some(tuple)
    }
}

impl<A: Address> Lookup<A> {
    /// Where a packet goes, if it comes this way.
    fn outcome(
        &self,
        program: &Program,
        header: &Header,
        context: &Context,
        draw: u64,
    ) -> Option<Outcome> {
        let (member, leaf) = self.reached(program, header, context, draw)?;
        Some(Outcome {
            end: leaf.end(),
            dnat: self.dnat(member, leaf),
            masqueraded: leaf.is_masqueraded(),
        })
    }

    /// The end and the rewrite of a packet's destination, if it comes this way and nothing else is done to it.
    pub(super) fn plain_outcome(
        &self,
        program: &Program,
        header: &Header,
        context: &Context,
        draw: u64,
    ) -> Option<(EndId, Option<ActId>)> {
        let (member, leaf) = self.reached(program, header, context, draw)?;
        leaf.is_plain()
            .then(|| (leaf.end(), self.dnat(member, leaf)))
    }

    fn reached(
        &self,
        program: &Program,
        header: &Header,
        context: &Context,
        draw: u64,
    ) -> Option<(u32, Leaf)> {
        let tuple = Tuple::<A>::of_flat(program, header, context)?;
        let is_sent = context.hook == Hook::Output;
        let at_hand = self.at_hand();
        let place = at_hand.place(tuple.key, self.bucket(tuple.key));
        let drawn = at_hand.draw(place, draw, &tuple, is_sent);
        let ask_more = || self.ask_more(program, drawn, &tuple, context, draw);
        let (member, answers) = drawn.settled().or_else(ask_more)?;
        let Member { own, row } = self.members()[member as usize];
        let leaf = at_hand.leaf(row, answers, own == tuple.source);
        (!leaf.is_slow()).then_some((member, leaf))
    }
}
