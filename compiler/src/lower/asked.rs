//! What the conditions ask about, and where.

use super::Lowered;
use crate::graph::{Ask, Asked, Op, RecentAsk};
use kpclass_ruleset::matches::RecentOperation;
use kpclass_ruleset::value::CtStates;

impl Lowered {
    /// Notes what a rule asks whose conditions begin at `first` and are the last.
    pub(super) fn note(&mut self, first: usize, op: Op, is_late: bool) {
        let asked = &mut self.asked;
        asked.sets_connmarks |= matches!(op, Op::Connmark(_));
        asked.notracks |= op == Op::Notrack;
        for condition in &self.conditions[first..] {
            note(&self.recents, &condition.ask, is_late, asked);
        }
    }
}

impl Asked {
    /// What either asks about.
    pub(super) fn or(self, other: Self) -> Self {
        let Self {
            snat_state,
            late_draw,
            original,
            connection,
            late_sets,
            late_recent,
            sets_connmarks,
            notracks,
            source_port,
            late_source_port,
            tcp_flags,
            icmp,
            length,
            ttl,
            dscp,
            mac,
            fragment,
            in_interface,
        } = other;
        Self {
            snat_state: self.snat_state | snat_state,
            late_draw: self.late_draw | late_draw,
            original: self.original | original,
            connection: self.connection | connection,
            late_sets: self.late_sets | late_sets,
            late_recent: self.late_recent | late_recent,
            sets_connmarks: self.sets_connmarks | sets_connmarks,
            notracks: self.notracks | notracks,
            source_port: self.source_port | source_port,
            late_source_port: self.late_source_port | late_source_port,
            tcp_flags: self.tcp_flags | tcp_flags,
            icmp: self.icmp | icmp,
            length: self.length | length,
            ttl: self.ttl | ttl,
            dscp: self.dscp | dscp,
            mac: self.mac | mac,
            fragment: self.fragment | fragment,
            in_interface: self.in_interface | in_interface,
        }
    }
}

/// `recents`: those that conditions point at.
fn note(recents: &[RecentAsk], ask: &Ask, late: bool, asked: &mut Asked) {
    match *ask {
        Ask::Chance(..) => asked.late_draw |= late,
        Ask::OriginalSource(_) | Ask::OriginalDestination(_) => asked.original = true,
        Ask::Later(_) => {
            asked.connection = true;
            asked.snat_state = true;
        }
        Ask::OriginalDestinationPort(_) => {
            asked.original = true;
            asked.connection = true;
            asked.icmp = true;
        }
        Ask::CtState(states) if states.intersects(CtStates::SNAT) => {
            asked.snat_state = true;
            asked.source_port = true;
        }
        Ask::OriginalSourcePort(_) => {
            asked.original = true;
            asked.connection = true;
            asked.source_port = true;
        }
        Ask::Recent(id) => {
            let recent = recents[id as usize];
            asked.late_sets |= late && recent.by_destination;
            asked.late_recent |= late && recent.operation != RecentOperation::Set;
        }
        Ask::Set(_) => {
            asked.late_sets |= late;
            asked.late_source_port |= late;
            note_set(asked);
        }
        Ask::SourcePort(_) | Ask::PortList(..) => {
            asked.source_port = true;
            asked.late_source_port |= late;
        }
        Ask::TcpFlags(..) => asked.tcp_flags = true,
        Ask::Icmp(..) => asked.icmp = true,
        Ask::Length(_) => asked.length = true,
        Ask::Ttl(..) => asked.ttl = true,
        Ask::Dscp(_) => asked.dscp = true,
        Ask::Mac(_) => asked.mac = true,
        Ask::Fragment => asked.fragment = true,
        Ask::InInterface(_) => asked.in_interface = true,
        _ => {}
    }
}

/// A set may ask for anything that a dimension can be.
fn note_set(asked: &mut Asked) {
    asked.source_port = true;
    asked.icmp = true;
    asked.mac = true;
    asked.in_interface = true;
}
