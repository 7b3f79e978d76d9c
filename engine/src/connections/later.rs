//! Packets of connections that were there before: what the rules make of them is remembered with the entry.

use super::entry::{Entry, VerdictId};
use super::look::Look;
use super::tuple::Width;
use super::{Ends, Packet, Tracked, Tracker, context, has_looked};
use ahash::AHashMap;
use kpclass_compiler::{Connection, Context, Left, Side};
use kpclass_ruleset::conntrack::{CtStatus, Direction};
use kpclass_ruleset::decision::{Decision, Disposition};
use kpclass_ruleset::value::CtState;

/// What the rules make of a packet whose connection translates by itself.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Verdict {
    /// Of packets that came so.
    context: Context,
    decision: Decision,
    ctstate: CtState,
    has_looked: bool,
    connmark: u32,
    /// It came to where its destination is translated.
    is_sent_on: bool,
    /// And its source.
    is_from_another: bool,
}

/// All that were met.
#[derive(Debug, Default)]
pub(super) struct Verdicts {
    list: Vec<Verdict>,
    ids: AHashMap<Verdict, u32>,
}

/// More are not remembered: rules can be written that make a verdict of its own for each connection.
const MOST: usize = 1 << 16;

impl Verdicts {
    fn get(&self, id: VerdictId) -> Option<&Verdict> {
        self.list.get(id.0 as usize)
    }

    fn remember(&mut self, verdict: &Verdict) -> VerdictId {
        if let Some(id) = self.ids.get(verdict) {
            return VerdictId(*id);
        }
        if self.list.len() >= MOST {
            return VerdictId::NONE;
        }
        let id = self.list.len() as u32;
        self.list.push(verdict.clone());
        self.ids.insert(verdict.clone(), id);
        VerdictId(id)
    }
}

impl<A: Width> Tracker<'_, A> {
    pub(super) fn later(&mut self, packet: &Packet, look: &Look<A>, draw: u64) -> Tracked<A> {
        let (Some((entry, direction)), Some(id)) = (look.entry, look.id) else {
            return self.nobodys(packet, look, draw);
        };
        let context = context(packet, look.ctstate);
        let place = place(direction, look.ctstate);
        let known = place.and_then(|place| self.verdicts.get(entry.verdicts[place]));
        let asked = entry.asked(direction, true, self.now);
        if let Some(verdict) = known.filter(|verdict| verdict.context == context).cloned() {
            return self.settle(packet, look, (entry, direction, id), &verdict, &asked);
        }
        let (header, lists) = (&packet.header, &mut self.lists);
        let program = self.program;
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
            entry.verdicts[place] = self.verdicts.remember(&verdict);
            if !verdict.has_looked {
                // The entry is not put back.
                if let Some(kept) = self.table.get_mut(id) {
                    kept.verdicts[place] = entry.verdicts[place];
                }
            }
        }
        self.settle(packet, look, (entry, direction, id), &verdict, &asked)
    }

    fn settle(
        &mut self,
        packet: &Packet,
        look: &Look<A>,
        (mut entry, direction, id): (Entry<A>, Direction, super::table::Id),
        verdict: &Verdict,
        asked: &Connection,
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
        let has_connection = !matches!(verdict.ctstate, CtState::Invalid | CtState::Untracked);
        Tracked {
            direction: has_connection.then_some(direction),
            status,
            tuples: has_connection.then(|| (entry.original, entry.reply())),
            connmark: verdict.connmark,
            is_first_reply: look.is_first_reply,
            rules: if has_connection {
                entry.rules
            } else {
                (None, None)
            },
            header: translated(packet, verdict, asked),
            ..Tracked::alone(verdict.ctstate, verdict.decision.clone())
        }
    }
}

/// Where an entry remembers the verdict; errors are few, and not remembered.
fn place(direction: Direction, ctstate: CtState) -> Option<usize> {
    match (direction, ctstate) {
        (_, CtState::Related) => None,
        (Direction::Original, CtState::New) => Some(0),
        (Direction::Original, _) => Some(1),
        (Direction::Reply, _) => Some(2),
    }
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

fn translated(packet: &Packet, verdict: &Verdict, asked: &Connection) -> Ends {
    let later = asked.later;
    let to = later.and_then(|l| l.to).filter(|_| verdict.is_sent_on);
    let from = later
        .and_then(|l| l.from)
        .filter(|_| verdict.is_from_another);
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
