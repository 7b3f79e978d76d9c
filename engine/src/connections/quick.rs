//! Packets of connections of which all is known: a lookup, and what the protocol says of them.

use super::protocol::{self, Said};
use super::table::Id;
use super::tuple::{Tuple, Width};
use super::{Packet, Tracker, context};
use crate::index::{Hash, Hasher};
use kpclass_compiler::header::known;
use kpclass_ruleset::conntrack::{CtStatus, Direction};
use kpclass_ruleset::value::{CtState, protocol as number};

/// A connection, and the way of its packets, of which something can be noted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seat {
    pub(super) id: Id,
    pub(super) place: usize,
}

/// A packet that goes the way of one before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quick {
    /// What was noted of that.
    pub note: u32,
    /// As rules behind conntrack see it.
    pub ctstate: CtState,
}

impl<A: Width> Tracker<'_, A> {
    /// Notes a number, not `u32::MAX`, with a connection's way, until the rules are asked of it anew.
    pub fn note(&mut self, seat: Seat, note: u32) {
        if let Some(entry) = self.table.get_mut(seat.id) {
            entry.places[seat.place].note = note;
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

    /// Takes a packet, whose tuple has this hash, for which all happens that happened to one that is noted. `None`: there is no such, and nothing was changed.
    #[inline]
    pub(crate) fn quick(&mut self, packet: &Packet, hash: Hash, at: u64) -> Option<Quick> {
        let tuple = self.plain(packet)?;
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
        let is_same = verdict.context == context(packet, ctstate);
        if entry.deadline <= now || place.note == u32::MAX || !is_same {
            return None;
        }
        let before = (entry.remembered, entry.status);
        match protocol::ask(entry, packet, direction, false, now, &self.settings) {
            Said::Valid(None) => {}
            Said::Valid(Some(timeout)) => {
                entry.deadline = now.saturating_add(timeout);
                let deadline = entry.deadline;
                self.table.lives_until(deadline);
            }
            _ => {
                (entry.remembered, entry.status) = before;
                return None;
            }
        }
        self.now = now;
        Some(Quick {
            note: place.note,
            ctstate,
        })
    }

    /// The tuple of a packet of TCP or UDP that conntrack looks at.
    fn plain(&self, packet: &Packet) -> Option<Tuple<A>> {
        let h = &packet.header;
        let is_one = h.known & (known::PORTS | known::FRAGMENT) == known::PORTS
            && matches!(h.protocol, number::TCP | number::UDP)
            && !packet.is_broken
            && self.program.conntrack_on();
        is_one.then(|| Tuple::of_ports(h))
    }
}
