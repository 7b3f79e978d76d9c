//! Packets of connections of which all is known: a lookup, and what the protocol says of them.

use super::entry::Remembered;
use super::protocol::{self, Said};
use super::slot::may_be_evicted;
use super::table::{Found, Id};
use super::tuple::{Tuple, Width};
use super::{Packet, Tracked, Tracker};
use crate::index::{Guess, Hash, Hasher};
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
    /// Of what has that hash.
    pub(crate) guess: Guess,
    pub(crate) tcp_flags: Option<u8>,
    /// Its ctstate is not looked at.
    pub(crate) context: &'p Context,
    /// Nanoseconds.
    pub(crate) at: u64,
}

impl<'p, A: Width> Glance<'p, A> {
    /// At a packet, if it is such a one.
    pub(crate) fn at(packet: &'p Packet, (hash, guess): (Hash, Guess), at: u64) -> Option<Self> {
        let h = &packet.header;
        let is_one = h.known & (known::PORTS | known::FRAGMENT) == known::PORTS
            && matches!(h.protocol, number::TCP | number::UDP)
            && !packet.is_broken;
        is_one.then(|| Self {
            tuple: Tuple::of_ports(h),
            hash,
            guess,
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
    /// Its connection before it, and behind it.
    before: State,
    behind: State,
}

/// What a packet may change of its connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct State {
    remembered: Remembered,
    status: CtStatus,
    deadline: u64,
}

impl Quick {
    /// How long the connection would have lived without the packet, if that is all that the packet changed, and it may be told of any time before: of many such
    /// packets the last one of each way leaves what all of them leave. Nanoseconds of the tracker's clock.
    pub(crate) fn changes_only_its_life(&self) -> Option<u64> {
        let Self { before, behind, .. } = self;
        let is_same = match (before.remembered, behind.remembered) {
            (Remembered::Tcp(before), Remembered::Tcp(behind)) => behind.says_no_more_than(before),
            (before, behind) => before == behind,
        };
        let lives = behind.deadline >= before.deadline;
        (is_same && lives && behind.status == before.status).then_some(before.deadline)
    }
}

impl<A: Width> Tracker<'_, A> {
    /// Notes a number, not `u32::MAX`, with a connection's way, until the rules are asked of it anew.
    pub fn note(&mut self, seat: Seat, note: u32) {
        if let Some(slot) = self.table.slot_mut(seat.id) {
            slot.note(seat.place, note);
        }
    }

    /// Nothing is noted of the connection with this original tuple any more.
    pub(crate) fn forget_notes(&mut self, original: &Tuple<A>) {
        if let Some((id, _)) = self.table.by_tuple(original, self.now)
            && let Some(slot) = self.table.slot_mut(id)
        {
            for place in 0..2 {
                slot.note(place, u32::MAX);
            }
        }
    }

    /// The hasher of tuples.
    pub(crate) fn hasher(&self) -> Hasher {
        self.table.hasher()
    }

    /// Where the entry is found that a tuple of this hash has comes nearer.
    #[inline(always)]
    pub(crate) fn come_nearer(&self, hash: Hash) {
        self.table.come_nearer(hash);
    }

    /// The entry that it probably has, which comes nearer.
    #[inline(always)]
    pub(crate) fn guess(&self, hash: Hash) -> Guess {
        self.table.guess(hash)
    }

    /// What may be noted of the way of its packets.
    #[inline(always)]
    pub(crate) fn note_of(&self, guess: Guess) -> Option<u32> {
        self.table.note_of(guess)
    }

    /// Takes a packet for which all happens that happened to one that is noted. `None`: there is no such, and nothing was changed.
    #[inline]
    pub(crate) fn quick(&mut self, glance: &Glance<'_, A>) -> Option<Quick> {
        let Glance {
            tuple,
            hash,
            guess,
            tcp_flags,
            context,
            at,
        } = *glance;
        let now = self.now.max(at);
        if !self.program.conntrack_on() || self.table.pressure.is_over(now) {
            return None;
        }
        let may_evict = self.table.pressure.is_on();
        let (id, direction) = self.table.held_by_guess(guess, hash, &tuple)?;
        if self.table.is_vague(id) {
            return None;
        }
        let slot = self.table.slot_mut(id)?;
        let (mut remembered, mut status) = (slot.remembered(), slot.status());
        let has_reply = status.intersects(CtStatus::SEEN_REPLY);
        let ctstate = match direction {
            Direction::Original if !has_reply => CtState::New,
            Direction::Reply if !has_reply || !slot.meets_replies() => return None,
            _ => CtState::Established,
        };
        let place = slot.place(direction as usize);
        let verdict = self.verdicts.of(place)?;
        let is_same = verdict.context.ctstate == ctstate && verdict.context.is_alike(context);
        if slot.deadline <= now || place.note == u32::MAX || !is_same {
            return None;
        }
        let before = State {
            remembered,
            status,
            deadline: slot.deadline,
        };
        let changes = (&mut remembered, &mut status);
        let protocol = (tuple.protocol, tcp_flags);
        let said = protocol::ask_of_ports(changes, protocol, direction, now, &self.timeouts);
        match said {
            // Of what may be evicted before it, nothing is noted, or it may be behind it, too.
            _ if may_evict && may_be_evicted(status, remembered) => return None,
            Said::Valid(None) => {}
            Said::Valid(Some(timeout)) => slot.deadline = now.saturating_add(timeout),
            _ => return None,
        }
        slot.remember(remembered, status);
        let deadline = slot.deadline;
        self.table.lives_until(id, before.deadline, deadline);
        self.now = now;
        Some(Quick {
            note: place.note,
            ctstate,
            seat: Seat {
                id,
                place: direction as usize,
            },
            at: now,
            before,
            behind: State {
                remembered,
                status,
                deadline,
            },
        })
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
            Some((entry, verdict)) => verdict.taken_by(packet, &entry, direction),
            None => Tracked::alone(
                CtState::Invalid,
                Decision::unknown(Unknown {
                    rule: None,
                    fact: Fact::Conntrack,
                }),
            ),
        };
        Tracked {
            status: quick.behind.status,
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
        // Of a full table nobody knows who is evicted.
        let is_full = self.table.len() + 1 >= self.timeouts.settings.max as usize;
        let (Some(tuple), false) = (tuple, is_full) else {
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
