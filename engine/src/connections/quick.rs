//! Packets of connections of which all is known: a lookup, and what the protocol says of them.

use super::entry::Remembered;
use super::protocol::{self, Said};
use super::table::{Found, Id};
use super::tuple::{Tuple, Width};
use super::{Packet, Tracked, Tracker};
use crate::index::{Hash, Hasher};
use kpclass_compiler::Context;
use kpclass_compiler::header::known;
use kpclass_ruleset::conntrack::{CtStatus, Direction};
use kpclass_ruleset::decision::{Decision, Fact, Unknown};
use kpclass_ruleset::value::{CtState, protocol as number};

/// A connection, and the way of its packets, of which something can be noted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seat {
    pub(super) id: Id,
    pub(super) place: usize,
}

impl Seat {
    /// The connection's number, and which of its two ways.
    pub(crate) fn position(self) -> (usize, usize) {
        (self.id.position(), self.place)
    }
}

/// Whose packets say something of what is to come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Whose {
    /// This connection's, by number.
    One(usize),
    /// Those of several.
    Many,
    /// Nobody's.
    Nobody,
}

/// What must be known of a packet of TCP or UDP that is whole and sound.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Glance<'p, A> {
    pub(crate) tuple: Tuple<A>,
    /// Of the tuple, by the tracker's hasher.
    pub(crate) hash: Hash,
    pub(crate) tcp_flags: Option<u8>,
    /// Its ctstate is not looked at.
    pub(crate) context: &'p Context,
    /// Nanoseconds.
    pub(crate) at: u64,
}

impl<'p, A: Width> Glance<'p, A> {
    /// At a packet, if it is such a one.
    pub(crate) fn at(packet: &'p Packet, hash: Hash, at: u64) -> Option<Self> {
        let h = &packet.header;
        let is_one = h.known & (known::PORTS | known::FRAGMENT) == known::PORTS
            && matches!(h.protocol, number::TCP | number::UDP)
            && !packet.is_broken;
        is_one.then(|| Self {
            tuple: Tuple::of_ports(h),
            hash,
            tcp_flags: packet.tcp_flags(),
            context: &packet.context,
            at,
        })
    }
}

/// A packet that goes the way of one before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quick {
    /// What was noted of that.
    pub note: u32,
    /// As rules behind conntrack see it.
    pub ctstate: CtState,
    /// The way that it went.
    pub(crate) seat: Seat,
    /// When it was met, by the tracker's clock: nanoseconds.
    pub(crate) at: u64,
    /// Its connection's status behind it.
    pub(crate) status: CtStatus,
    before: Before,
}

/// A connection before a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Before {
    remembered: Remembered,
    status: CtStatus,
    deadline: u64,
}

impl<A: Width> Tracker<'_, A> {
    /// Notes a number, not `u32::MAX`, with a connection's way, until the rules are asked of it anew.
    pub fn note(&mut self, seat: Seat, note: u32) {
        if let Some(entry) = self.table.get_mut(seat.id) {
            entry.places[seat.place].note = note;
        }
    }

    /// Nothing is noted of the connection with this original tuple any more.
    pub(crate) fn forget_notes(&mut self, original: &Tuple<A>) {
        if let Some((id, _)) = self.table.by_tuple(original, self.now)
            && let Some(entry) = self.table.get_mut(id)
        {
            for place in &mut entry.places {
                place.note = u32::MAX;
            }
        }
    }

    /// The hasher of tuples.
    pub(crate) fn hasher(&self) -> Hasher {
        self.table.hasher()
    }

    /// What will be read of the entry that a tuple of this hash has comes nearer: its position, and, a while later, itself.
    #[inline(always)]
    pub(crate) fn come_nearer(&self, hash: Hash, is_near: bool) {
        self.table.come_nearer(hash, is_near);
    }

    /// Takes a packet for which all happens that happened to one that is noted. `None`: there is no such, and nothing was changed.
    #[inline]
    pub(crate) fn quick(&mut self, glance: &Glance<'_, A>) -> Option<Quick> {
        let Glance {
            tuple,
            hash,
            tcp_flags,
            context,
            at,
        } = *glance;
        if !self.program.conntrack_on() {
            return None;
        }
        let (id, direction) = self.table.held_by(hash, &tuple)?;
        if self.table.is_vague(id) {
            return None;
        }
        let now = self.now.max(at);
        let entry = self.table.get_mut(id)?;
        let has_reply = entry.status.intersects(CtStatus::SEEN_REPLY);
        let ctstate = match direction {
            Direction::Original if !has_reply => CtState::New,
            Direction::Reply if !has_reply || !entry.meets_replies => return None,
            _ => CtState::Established,
        };
        let place = entry.places[direction as usize];
        let verdict = self.verdicts.of(place)?;
        let is_same = verdict.context
            == Context {
                ctstate,
                ..*context
            };
        if entry.deadline <= now || place.note == u32::MAX || !is_same {
            return None;
        }
        let before = Before {
            remembered: entry.remembered,
            status: entry.status,
            deadline: entry.deadline,
        };
        let protocol = (tuple.protocol, tcp_flags);
        match protocol::ask_of_ports(entry, protocol, direction, now, &self.timeouts) {
            Said::Valid(None) => {}
            Said::Valid(Some(timeout)) => entry.deadline = now.saturating_add(timeout),
            _ => {
                (entry.remembered, entry.status) = (before.remembered, before.status);
                return None;
            }
        }
        let (status, deadline) = (entry.status, entry.deadline);
        self.table.lives_until(deadline);
        self.now = now;
        Some(Quick {
            note: place.note,
            ctstate,
            seat: Seat {
                id,
                place: direction as usize,
            },
            at: now,
            status,
            before,
        })
    }

    /// How long the connection would have lived without the packet, if that is all that the packet changed, and it may be told of any time before: of many such
    /// packets the last one of each way leaves what all of them leave. Nanoseconds of the tracker's clock.
    pub(crate) fn changes_only_its_life(&self, quick: &Quick) -> Option<u64> {
        let entry = self.table.get(quick.seat.id)?;
        let before = &quick.before;
        let is_same = match (before.remembered, entry.remembered) {
            (Remembered::Tcp(before), Remembered::Tcp(behind)) => behind.says_no_more_than(before),
            (before, behind) => before == behind,
        };
        let lives = entry.deadline >= before.deadline;
        (is_same && lives && entry.status == before.status).then_some(before.deadline)
    }

    /// What became of a packet that went the way of one before it, as long as that way is noted.
    pub(crate) fn again(&self, packet: &Packet, quick: &Quick) -> Tracked<A> {
        let Seat { id, place } = quick.seat;
        let direction = match place {
            0 => Direction::Original,
            _ => Direction::Reply,
        };
        let entry = self.table.get(id);
        let noted = entry.and_then(|entry| Some((entry, self.verdicts.of(entry.places[place])?)));
        let tracked = match noted {
            Some((entry, verdict)) => verdict.taken_by(packet, entry, direction),
            None => Tracked::alone(
                CtState::Invalid,
                Decision::unknown(Unknown {
                    rule: None,
                    fact: Fact::Conntrack,
                }),
            ),
        };
        Tracked {
            status: quick.status,
            ..tracked
        }
    }

    /// Whose packets of before say something of this one, or are changed by it.
    pub(crate) fn whose(&mut self, packet: &Packet, at: u64) -> Whose {
        if !self.program.conntrack_on() {
            return Whose::Nobody;
        }
        self.now = self.now.max(at);
        let tuple = packet.tuple::<A>().filter(|_| !packet.is_error());
        let Some(tuple) = tuple else {
            return Whose::Many;
        };
        let is_local = self.is_local();
        match self
            .table
            .find(&tuple, packet.arrives(), is_local, self.now)
        {
            Found::One(id, _) | Found::Fits(id) => Whose::One(id.position()),
            Found::Several | Found::Vague(_) => Whose::Many,
            // Or it is seen again, behind nat.
            Found::Nothing => {
                let inverse = tuple.inverse();
                let known = inverse.and_then(|tuple| self.table.by_tuple(&tuple, self.now));
                known.map_or(Whose::Nobody, |(id, _)| Whose::One(id.position()))
            }
        }
    }
}
