//! Packets of connections that were there before: what the rules make of them is remembered with the entry.

use super::entry::{Entry, Place};
use super::look::Look;
use super::table::Id;
use super::tuple::Width;
use super::{Ends, Packet, Seat, Tracked, Tracker, context, has_looked};
use ahash::AHashMap;
use kpclass_compiler::{Common, Connection, Context, Later, Left, Side};
use kpclass_ruleset::conntrack::{CtStatus, Direction};
use kpclass_ruleset::decision::{Decision, Disposition};
use kpclass_ruleset::target::RejectWith;
use kpclass_ruleset::value::CtState;

/// What the rules make of a packet whose connection translates by itself.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Verdict {
    /// Of packets that came so.
    pub(super) context: Context,
    decision: Decision,
    ctstate: CtState,
    has_looked: bool,
    connmark: u32,
    /// It came to where its destination is translated.
    is_sent_on: bool,
    /// And its source.
    is_from_another: bool,
}

impl Verdict {
    /// Whether the connection's entry stays as its protocol made it.
    fn is_plain(&self) -> bool {
        let reset = Disposition::Reject(RejectWith::TcpReset);
        self.has_looked && self.has_connection() && self.decision.disposition != reset
    }

    /// Whether it came to the end of its way, and so to wherever it is translated.
    fn passes(&self) -> bool {
        use Disposition::{Forward, Local, Out};
        matches!(self.decision.disposition, Forward | Local | Out)
    }

    fn has_connection(&self) -> bool {
        !matches!(self.ctstate, CtState::Invalid | CtState::Untracked)
    }

    /// What became of a packet of this entry.
    pub(super) fn taken_by<A: Width>(
        &self,
        packet: &Packet,
        entry: &Entry<A>,
        direction: Direction,
    ) -> Tracked<A> {
        let has_connection = self.has_connection();
        let later = entry.later(direction);
        Tracked {
            direction: has_connection.then_some(direction),
            tuples: has_connection.then(|| (entry.original, entry.reply())),
            connmark: self.connmark,
            rules: if has_connection {
                entry.rules
            } else {
                (None, None)
            },
            header: translated(packet, self, &later),
            ..Tracked::alone(self.ctstate, self.decision.clone())
        }
    }
}

/// All that were met.
#[derive(Debug, Default)]
pub(super) struct Verdicts {
    list: Vec<Verdict>,
    ids: AHashMap<Verdict, u16>,
    /// Of packets with which rules do the same, whatever their connection.
    common: AHashMap<Common, Place>,
}

/// More are not remembered: rules can be written that make a verdict of its own for each connection.
const MOST: usize = u16::MAX as usize;

impl Verdicts {
    #[inline(always)]
    pub(super) fn of(&self, place: Place) -> Option<&Verdict> {
        self.list.get(usize::from(place.verdict))
    }

    fn remember(&mut self, verdict: &Verdict) -> Place {
        let next = self.list.len();
        let verdict = match self.ids.get(verdict) {
            Some(id) => *id,
            None if next >= MOST => return Place::NONE,
            None => {
                self.list.push(verdict.clone());
                self.ids.insert(verdict.clone(), next as u16);
                next as u16
            }
        };
        Place {
            verdict,
            ..Place::NONE
        }
    }

    fn share(&mut self, common: Common, known: Place) {
        if self.common.len() < MOST {
            self.common.insert(common, known);
        }
    }
}

impl<A: Width> Tracker<'_, A> {
    pub(super) fn later(&mut self, packet: &Packet, look: &Look<A>, draw: u64) -> Tracked<A> {
        let (Some((entry, direction)), Some(id)) = (look.entry, look.id) else {
            return self.nobodys(packet, look, draw);
        };
        let context = context(packet, look.ctstate);
        let place = place(direction, look.ctstate);
        let known = place.and_then(|place| self.verdicts.of(entry.places[place]));
        let asked = entry.asked(direction, true, self.now);
        if let Some(verdict) = known.filter(|verdict| verdict.context == context).cloned() {
            return self.settle(packet, look, (entry, direction, id), &verdict);
        }
        let (header, program) = (&packet.header, self.program);
        let common = place.and_then(|_| program.common(header, &context, &asked));
        let shared = common.and_then(|common| self.verdicts.common.get(&common).copied());
        if let (Some(place), Some(shared)) = (place, shared)
            && let Some(verdict) = self.verdicts.of(shared).cloned()
        {
            let mut entry = entry;
            self.give(&mut entry, id, (place, shared), &verdict);
            return self.settle(packet, look, (entry, direction, id), &verdict);
        }
        let lists = &mut self.lists;
        let followed = program.follow(header, &context, Some(&asked), lists, draw);
        if let Disposition::Unknown(unknown) = followed.decision.disposition {
            return self.unknown(packet, look, unknown);
        }
        let verdict = Verdict {
            context,
            ctstate: followed.left.ctstate.unwrap_or(look.ctstate),
            has_looked: has_looked(&followed.left),
            connmark: followed.left.connmark,
            is_sent_on: came_to(packet, &followed.left, &asked, Way::To),
            is_from_another: came_to(packet, &followed.left, &asked, Way::From),
            decision: followed.decision,
        };
        let mut entry = entry;
        if let Some(place) = place.filter(|_| !followed.varies && !program.changes_connmarks()) {
            let known = self.verdicts.remember(&verdict);
            if let Some(common) = common.filter(|_| followed.is_common && verdict.passes()) {
                self.verdicts.share(common, known);
            }
            self.give(&mut entry, id, (place, known), &verdict);
        }
        self.settle(packet, look, (entry, direction, id), &verdict)
    }

    /// Remembers a verdict with an entry.
    fn give(&mut self, entry: &mut Entry<A>, id: Id, at: (usize, Place), verdict: &Verdict) {
        let (place, known) = at;
        entry.places[place] = known;
        // Otherwise the entry is not put back.
        if !verdict.has_looked
            && let Some(slot) = self.table.slot_mut(id)
        {
            slot.set_place(place, known);
        }
    }

    fn settle(
        &mut self,
        packet: &Packet,
        look: &Look<A>,
        (mut entry, direction, id): (Entry<A>, Direction, Id),
        verdict: &Verdict,
    ) -> Tracked<A> {
        let mut status = CtStatus::default();
        if verdict.has_looked {
            entry.mark = verdict.connmark;
            self.close_if_reset(&mut entry, packet, &verdict.decision);
            status = entry.status;
            match look.ends {
                Some(ended) => self.table.remove(ended),
                None => self.table.put_back(id, entry),
            }
        }
        let place = place(direction, look.ctstate).filter(|place| {
            let known = self.verdicts.of(entry.places[*place]);
            look.ends.is_none() && verdict.is_plain() && known == Some(verdict)
        });
        Tracked {
            seat: place.map(|place| Seat { id, place }),
            status,
            is_first_reply: look.is_first_reply,
            ..verdict.taken_by(packet, &entry, direction)
        }
    }
}

/// Where an entry remembers the verdict; errors are few, and not remembered.
fn place(direction: Direction, ctstate: CtState) -> Option<usize> {
    (ctstate != CtState::Related).then_some(direction as usize)
}

#[derive(Clone, Copy, PartialEq)]
enum Way {
    To,
    From,
}

/// Whether what is left of the packet shows its new destination, or source; where that is no other, it does not matter.
fn came_to(packet: &Packet, left: &Left, asked: &Connection, way: Way) -> bool {
    let Some(later) = asked.later else {
        return false;
    };
    let has_ports = packet.ports().is_some();
    let (side, present, port) = match way {
        Way::To => (later.to, left.destination, left.ports.map(|p| p.1)),
        Way::From => (later.from, left.source, left.ports.map(|p| p.0)),
    };
    side.is_some_and(|(address, part): Side| {
        address == present && (!has_ports || part.is_none() || part == port)
    })
}

fn translated(packet: &Packet, verdict: &Verdict, later: &Later) -> Ends {
    let to = later.to.filter(|_| verdict.is_sent_on);
    let from = later.from.filter(|_| verdict.is_from_another);
    let h = &packet.header;
    Ends {
        source: from.map_or(Some(h.source), |side| side.0),
        destination: to.map_or(Some(h.destination), |side| side.0),
        ports: packet.ports().map(|(own_from, own_to)| {
            let port = |side: Option<Side>, own| side.and_then(|s| s.1).unwrap_or(own);
            (Some(port(from, own_from)), Some(port(to, own_to)))
        }),
    }
}
