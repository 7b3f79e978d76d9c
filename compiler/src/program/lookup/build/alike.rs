//! The members of a class are nearly all alike: what comes from an endpoint itself is marked, everything is rewritten to it, and behind that all
//! go the same ways. So the first of them is gathered and followed, and the others get what it got.

use super::super::{Address, Taker};
use super::{Builder, Gathered, Question};
use crate::program::node::{ActId, ActKind, Node, NodeId, TestId};

/// A step of the ways of a member, up to where those of all members meet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    /// The question that is the member's own, and whether it is inverted.
    Own(bool),
    /// The rewrite that is its own.
    Rewrite,
    /// Anything else is noted.
    Note(ActKind),
    Meet(NodeId),
}

/// An endpoint's ways.
#[derive(Clone, Copy, Debug)]
pub(super) struct Alike {
    /// The member, of those in the same set, that it goes as: itself or an earlier one.
    pub(super) first: usize,
    /// What it asks of a packet's source.
    pub(super) own: TestId,
    /// What it rewrites the destination by.
    pub(super) rewrite: ActId,
}

/// The ways that the members of a set go.
#[derive(Debug, Default)]
pub(super) struct Shapes {
    /// Of the last member that no earlier one was like.
    last: Vec<Step>,
    first: usize,
    /// Its own question.
    own: Option<TestId>,
    /// Whether another member with these ways and another question was gathered: behind where they meet, none of them is asked.
    is_sure: bool,
    /// Room for the next member's.
    next: Vec<Step>,
}

impl Shapes {
    /// The next member is of another set.
    pub(super) fn begin(&mut self) {
        self.last.clear();
        self.is_sure = false;
    }

    /// Whether nothing new can be met on a member's ways.
    pub(super) fn is_known(&self, alike: Option<Alike>, member: usize) -> bool {
        self.is_sure && alike.is_some_and(|alike| alike.first != member)
    }

    /// A member was gathered.
    pub(super) fn gathered(&mut self, alike: Option<Alike>, member: usize) {
        if let Some(alike) = alike.filter(|alike| alike.first != member) {
            self.is_sure |= self.own != Some(alike.own);
        }
    }
}

impl<A: Address> Builder<'_, A> {
    /// The ways of a member of a set; `None`: they are not an endpoint's.
    pub(super) fn alike(
        &self,
        gathered: &Gathered,
        (set, member): (usize, usize),
        shapes: &mut Shapes,
    ) -> Option<Alike> {
        shapes.next.clear();
        let mut found = None;
        for selection in &gathered.sets[set].selections {
            let from = self.target(*selection, member);
            let own = self.endpoint(from, gathered, &mut shapes.next)?;
            if found.replace(own).is_some_and(|before| before != own) {
                return None;
            }
        }
        let (own, rewrite) = found?;
        if shapes.next != shapes.last {
            std::mem::swap(&mut shapes.next, &mut shapes.last);
            (shapes.first, shapes.own, shapes.is_sure) = (member, Some(own), false);
        }
        Some(Alike {
            first: shapes.first,
            own,
            rewrite,
        })
    }

    /// An endpoint's own question and rewrite; its steps are added.
    fn endpoint(
        &self,
        from: NodeId,
        gathered: &Gathered,
        steps: &mut Vec<Step>,
    ) -> Option<(TestId, ActId)> {
        let nodes = &self.program.nodes;
        let Node::Test {
            test,
            inverted,
            yes,
            no,
            ..
        } = nodes[from.0 as usize]
        else {
            return None;
        };
        let is_asked = gathered.questions.contains(&Question::Test(test));
        if is_asked || !self.is_host(test) || self.is_of_no_ordinary_source(test) {
            return None;
        }
        steps.push(Step::Own(inverted));
        let mut rewrite = None;
        for mut at in [yes, no] {
            while let Node::Act { act, kind, next } = nodes[at.0 as usize] {
                if kind != ActKind::Dnat {
                    steps.push(Step::Note(kind));
                } else if rewrite.replace(act).is_none_or(|before| before == act) {
                    steps.push(Step::Rewrite);
                } else {
                    return None;
                }
                at = next;
            }
            steps.push(Step::Meet(at));
        }
        Some((test, rewrite?))
    }

    /// Puts a member that goes as an earlier one, which is at `first`; whether that is so.
    pub(super) fn put_alike(
        &mut self,
        alike: Option<Alike>,
        as_first: Option<Alike>,
        first: usize,
    ) -> bool {
        let (Some(alike), Some(as_first)) = (alike, as_first) else {
            return false;
        };
        // Else something in front of the draw took the packets.
        let is_taken = self.takers.get(first) == Some(&Taker::Dnat(as_first.rewrite));
        if is_taken {
            let mut member = self.members[first];
            member.own = self.source(Some(alike.own));
            self.members.push(member);
            self.takers.push(Taker::Dnat(alike.rewrite));
        }
        is_taken
    }
}
