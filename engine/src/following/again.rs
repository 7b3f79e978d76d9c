//! What the reference is told of packets that go the way of one before them: of those that follow one another the last of each way, a while later. They change
//! nothing but how long their connection lives, and that only before anything else is told of it.

use crate::connections::{Packet, Quick, Whose};
use crate::extract::Plain;
use kpclass_compiler::Context;

/// The longest that a packet is kept, in nanoseconds of the captures' clock. Only those are kept whose connection would live longer without them, so that
/// whoever is told of them late has it, too.
const WHILE: u64 = 4_000_000_000;

/// So many are kept at most.
const MOST: usize = 1 << 16;

const NONE: u32 = u32::MAX;

/// A packet, as small as it can be.
#[derive(Debug)]
pub(super) enum Small {
    Plain(Plain, Context),
    Any(Box<Packet>),
}

impl Small {
    pub(super) fn packet(&self) -> Packet {
        match self {
            Self::Plain(plain, context) => Packet::new(plain.of_connection(), *context),
            Self::Any(packet) => Packet::clone(packet),
        }
    }
}

/// A packet that goes the way of one before it.
#[derive(Debug)]
pub(super) struct Again {
    pub(super) capture: u32,
    pub(super) frame: u64,
    pub(super) packet: Small,
    pub(super) quick: Quick,
}

/// Those that are kept.
#[derive(Debug, Default)]
pub(super) struct KeptBack {
    /// The position in `kept`, by connection and way.
    positions: Vec<[u32; 2]>,
    kept: Vec<Option<Again>>,
    /// When the first of them came.
    since: u64,
}

impl KeptBack {
    /// Whether nothing may be kept any longer at this time.
    pub(super) fn is_due(&self, now: u64) -> bool {
        let is_late = now >= self.since.saturating_add(WHILE);
        !self.kept.is_empty() && (is_late || self.kept.len() >= MOST)
    }

    /// Keeps a packet in place of the one before it. It comes back if it has to be told of now.
    pub(super) fn keep(&mut self, again: Again) -> Option<Again> {
        let (connection, way) = again.quick.seat.position();
        let Some(deadline) = again.quick.changes_only_its_life() else {
            return Some(again);
        };
        if connection >= self.positions.len() {
            self.positions.resize(connection + 1, [NONE; 2]);
        }
        let positions = &mut self.positions[connection];
        let is_first = *positions == [NONE; 2];
        if is_first && deadline < again.quick.at.saturating_add(WHILE) {
            return Some(again);
        }
        match self.kept.get_mut(positions[way] as usize) {
            Some(kept) => *kept = Some(again),
            None => {
                if self.kept.is_empty() {
                    self.since = again.quick.at;
                }
                positions[way] = self.kept.len() as u32;
                self.kept.push(Some(again));
            }
        }
        None
    }

    /// Gives back those of a connection, or all, in the captures' order.
    pub(super) fn take(&mut self, whose: Whose) -> Vec<Again> {
        let mut taken: Vec<Again> = match whose {
            Whose::Nobody => return Vec::new(),
            Whose::One(connection) => {
                let Some(positions) = self.positions.get_mut(connection) else {
                    return Vec::new();
                };
                let positions = std::mem::replace(positions, [NONE; 2]);
                let kept = &mut self.kept;
                let taken = positions.map(|at| kept.get_mut(at as usize).and_then(Option::take));
                taken.into_iter().flatten().collect()
            }
            Whose::Many => {
                let taken = self.kept.drain(..).flatten();
                let positions = &mut self.positions;
                let clear = |again: &Again| positions[again.quick.seat.position().0] = [NONE; 2];
                taken.inspect(clear).collect()
            }
        };
        taken.sort_unstable_by_key(|again| (again.capture, again.frame));
        taken
    }
}
