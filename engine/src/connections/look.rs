//! What conntrack finds before any table (CONNTRACK.md 2).

use super::Tracker;
use super::entry::{Entry, Remembered};
use super::packet::Packet;
use super::pressure::FULL;
use super::protocol::{self, Said};
use super::sctp;
use super::table::{Found, Id};
use super::tuple::{Tuple, Width};
use kpclass_ruleset::conntrack::{CtStatus, Direction};
use kpclass_ruleset::decision::{Fact, Unknown};
use kpclass_ruleset::value::CtState;

/// Why a packet is INVALID.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Cause {
    /// Its headers contradict themselves, or its type is unknown.
    Malformed,
    /// It can begin no connection, and belongs to none.
    NoConnection,
    /// Its connection's state does not allow it.
    OutOfState,
    /// An ICMP error about a packet of no connection.
    UnrelatedError,
}

/// What it finds.
#[derive(Clone, Copy, Debug)]
pub(super) struct Look<A> {
    pub(super) ctstate: CtState,
    /// The entry as it is behind conntrack, with the packet's direction.
    pub(super) entry: Option<(Entry<A>, Direction)>,
    /// Where it stands in the table; of a first packet it does not.
    pub(super) id: Option<Id>,
    /// The entry that this packet ends.
    pub(super) ends: Option<Id>,
    /// It cannot be told whose it is.
    pub(super) unknown: Option<Unknown>,
    /// If it is nobody's, it begins a connection of this tuple, with its inverse.
    pub(super) may_begin: Option<(Tuple<A>, Tuple<A>)>,
    /// An entry that it begins is of no use: only tags would tell what belongs to it.
    pub(super) is_out_of_the_blue: bool,
    /// It is the first reply.
    pub(super) is_first_reply: bool,
    /// Why it is INVALID.
    pub(super) cause: Option<Cause>,
}

impl<A> Look<A> {
    pub(super) fn none(ctstate: CtState) -> Self {
        Self {
            ctstate,
            entry: None,
            id: None,
            ends: None,
            unknown: None,
            may_begin: None,
            is_out_of_the_blue: false,
            is_first_reply: false,
            cause: None,
        }
    }

    fn invalid(cause: Cause) -> Self {
        Self {
            cause: Some(cause),
            ..Self::none(CtState::Invalid)
        }
    }

    fn lacks(fact: Fact) -> Self {
        Self::by(Unknown { rule: None, fact })
    }

    fn by(unknown: Unknown) -> Self {
        Self {
            unknown: Some(unknown),
            ..Self::none(CtState::Invalid)
        }
    }
}

impl<A: Width> Tracker<'_, A> {
    pub(super) fn look(&mut self, packet: &Packet) -> Look<A> {
        let arrives = packet.arrives();
        if packet.is_broken && arrives || packet.is_unknown_icmp() {
            return Look::invalid(Cause::Malformed);
        }
        if packet.is_left_alone() {
            return Look::none(CtState::Untracked);
        }
        if packet.is_error() {
            return self.look_at_error(packet);
        }
        let Some(tuple) = packet.tuple::<A>() else {
            return Look::lacks(Fact::Conntrack);
        };
        let may_begin = || tuple.inverse().map(|inverse| (tuple, inverse));
        match self.find(&tuple, arrives) {
            Found::One(id, direction) => self.next(packet, tuple, id, direction),
            Found::Nothing => self.begin(packet, tuple, None),
            Found::Fits(id) => {
                self.table.close(id, tuple.to());
                self.next(packet, tuple, id, Direction::Reply)
            }
            Found::Several => Look {
                may_begin: may_begin(),
                ..Look::lacks(Fact::NatAddress)
            },
            Found::Vague(unknown) => Look {
                may_begin: may_begin(),
                ..Look::by(unknown)
            },
        }
    }

    /// A first packet. `ends`: the entry whose place it takes.
    fn begin(&mut self, packet: &Packet, tuple: Tuple<A>, ends: Option<Id>) -> Look<A> {
        let Some(inverse) = tuple.inverse() else {
            return Look::invalid(Cause::NoConnection);
        };
        let max = self.timeouts.settings.max as usize;
        if self.table.len() >= max {
            self.table.expire(self.now);
            if self.table.len() >= max {
                self.press();
                return Look {
                    may_begin: Some((tuple, inverse)),
                    ..Look::by(FULL)
                };
            }
        }
        let mut entry = Entry::new(tuple, inverse, self.now);
        let (direction, now, timeouts) = (Direction::Original, self.now, &self.timeouts);
        match protocol::ask(&mut entry, packet, direction, true, now, timeouts) {
            Said::Valid(timeout) => {
                entry.deadline = now.saturating_add(timeout.unwrap_or_default());
                let chunks = packet.chunks.as_deref();
                let is_sctp = matches!(entry.remembered, Remembered::Sctp(_));
                let is_blue = is_sctp && chunks.is_some_and(sctp::is_out_of_the_blue);
                if is_blue {
                    let longest = timeouts.longest(tuple.protocol);
                    entry.deadline = now.saturating_add(longest);
                }
                Look {
                    entry: Some((entry, direction)),
                    ends,
                    is_out_of_the_blue: is_blue,
                    ..Look::none(CtState::New)
                }
            }
            Said::Unknown => Look::lacks(Fact::Conntrack),
            _ => Look {
                ends,
                ..Look::invalid(Cause::NoConnection)
            },
        }
    }

    /// A packet of an entry.
    fn next(&mut self, packet: &Packet, tuple: Tuple<A>, id: Id, direction: Direction) -> Look<A> {
        let Some(mut entry) = self.table.get(id) else {
            return Look::lacks(Fact::Conntrack);
        };
        let has_reply = entry.status.intersects(CtStatus::SEEN_REPLY);
        let ctstate = match direction {
            Direction::Original if !has_reply => CtState::New,
            _ => CtState::Established,
        };
        let (now, timeouts) = (self.now, &self.timeouts);
        let mut look = Look {
            id: Some(id),
            ..Look::none(ctstate)
        };
        match protocol::ask(&mut entry, packet, direction, false, now, timeouts) {
            Said::Valid(None) => {}
            Said::Valid(Some(timeout)) => entry.deadline = now.saturating_add(timeout),
            Said::Gone => look.ends = Some(id),
            Said::BeginsAnew => return self.begin(packet, tuple, Some(id)),
            Said::Unknown => return Look::lacks(Fact::Conntrack),
            // What it changed stays, though the packet has no connection.
            Said::Invalid => {
                if let Some(slot) = self.table.slot_mut(id) {
                    slot.remember(entry.remembered, entry.status);
                    self.table.entry_changed(id);
                }
                return Look::invalid(Cause::OutOfState);
            }
        }
        if direction == Direction::Reply {
            entry.meets_replies |= !packet.is_rewritten;
            look.is_first_reply = !has_reply;
            entry.status = entry.status.with(CtStatus::SEEN_REPLY);
        }
        look.entry = Some((entry, direction));
        look
    }

    /// CONNTRACK.md 6.1.
    fn look_at_error(&mut self, packet: &Packet) -> Look<A> {
        let invalid = Look::invalid(Cause::UnrelatedError);
        let carried = packet.carried.as_ref().and_then(Tuple::<A>::of_shared);
        let Some(inverse) = carried.and_then(Tuple::inverse) else {
            return invalid;
        };
        let found = self.find(&inverse, packet.arrives());
        let (id, direction) = match found {
            Found::One(id, direction) => (id, direction),
            Found::Fits(id) => {
                self.table.close(id, inverse.to());
                (id, Direction::Reply)
            }
            Found::Several => return Look::lacks(Fact::NatAddress),
            Found::Vague(unknown) => return Look::by(unknown),
            Found::Nothing => return invalid,
        };
        match self.table.get(id) {
            Some(entry) if inverse.destination.number() == packet.header.destination => Look {
                entry: Some((entry, direction)),
                id: Some(id),
                ..Look::none(CtState::Related)
            },
            _ => invalid,
        }
    }
}
