//! Frames that show a packet a second time, behind nat (CONNTRACK.md 10).

use super::entry::{Client, Entry};
use super::packet::Packet;
use super::tuple::Width;
use super::{Tracker, protocol};
use kpclass_ruleset::conntrack::Direction;
use std::time::Duration;

/// What a frame shows that is no packet to ask about as it stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sight {
    /// A packet that was asked about before, translated already.
    Behind,
    /// A reply, translated already, of a connection whose replies are met no other way: as it came it went from the first to the second side.
    Reply((u128, u16), (u128, u16)),
}

impl<A: Width> Tracker<'_, A> {
    /// What a frame shows, if it is no packet to ask about as it stands.
    pub fn sight(&mut self, packet: &Packet, at: Duration) -> Option<Sight> {
        self.now = self.now.max(protocol::nanos(at));
        if !self.program.conntrack_on() || packet.is_error() || self.table.len() == 0 {
            return None;
        }
        let tuple = packet.tuple::<A>()?;
        if self.table.by_tuple(&tuple, self.now).is_some() {
            return None;
        }
        match self.table.by_tuple(&tuple.inverse()?, self.now) {
            Some((_, Direction::Reply)) => Some(Sight::Behind),
            Some((id, Direction::Original)) => {
                let entry = self.table.get(id)?;
                match entry.meets_replies {
                    true => Some(Sight::Behind),
                    false => Some(self.as_it_came(entry)),
                }
            }
            None => {
                let is_local = self.is_local();
                let is_open = self.table.may_have_sent(&tuple, is_local, self.now);
                is_open.then_some(Sight::Behind)
            }
        }
    }

    /// The reply before nat translated it. MASQUERADE's address, where it was not seen: one that the node has.
    fn as_it_came(&self, entry: &Entry<A>) -> Sight {
        let own = entry.original.source_part;
        let (address, part) = match entry.client {
            Client::Known(address, part) => (address, part),
            Client::Open(open) => {
                let own_address = || entry.original.destination;
                let local = self.program.local_addresses().first();
                let address = open.addresses.map(|(first, _)| first);
                let address = address.or_else(|| local.map(|a| A::of(*a)));
                (
                    address.unwrap_or_else(own_address),
                    open.part.unwrap_or(own),
                )
            }
        };
        let server = (entry.server.0.number(), entry.server.1);
        Sight::Reply(server, (address.number(), part))
    }
}
