//! Frames that show a packet a second time, behind nat (CONNTRACK.md 10).

use super::entry::{Client, Entry};
use super::packet::Packet;
use super::table::Id;
use super::tuple::{Tuple, Width};
use super::{Tracker, protocol};
use kpclass_ruleset::conntrack::{self, Direction};
use std::time::Duration;

/// What a frame shows that is no packet to ask about as it stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sight {
    /// A packet that was asked about before, translated already.
    Behind,
    /// A reply, translated already, of a connection whose replies are met no other way.
    Reply(Reply),
}

/// A reply as it came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reply {
    /// From.
    pub server: (u128, u16),
    /// To.
    pub client: (u128, u16),
    /// The source that its connection, whose original tuple this is, is taken to have got: the captures do not show which nat chose, but whose reply it is.
    pub closes: Option<conntrack::Tuple>,
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
                    false => Some(Sight::Reply(self.as_it_came(id, &entry))),
                }
            }
            None => {
                let is_local = self.is_local();
                let is_open = self.table.may_have_sent(&tuple, is_local, self.now);
                is_open.then_some(Sight::Behind)
            }
        }
    }

    /// The reply before nat translated it. An open source is closed: by an address that the node has, and a port that nobody else has there.
    fn as_it_came(&mut self, id: Id, entry: &Entry<A>) -> Reply {
        let own = entry.original.source_part;
        let server = (entry.server.0.number(), entry.server.1);
        let open = match entry.client {
            Client::Known(address, part) => {
                return Reply {
                    server,
                    client: (address.number(), part),
                    closes: None,
                };
            }
            Client::Open(open) => open,
        };
        let local = self.program.local_addresses().first();
        let address = open.addresses.map(|(first, _)| first);
        let address = address.or_else(|| local.map(|a| A::of(*a)));
        let address = address.unwrap_or(entry.original.destination);
        let protocol = entry.original.protocol;
        let first = open.part.unwrap_or(own);
        let is_free = |part: &u16| {
            let reply = Tuple::new(protocol, entry.server, (address, *part));
            self.table.by_tuple(&reply, self.now).is_none()
        };
        let mut parts = (0..=u16::MAX).map(|more| first.wrapping_add(more));
        let part = parts.find(is_free).unwrap_or(first);
        self.table.close(id, (address, part));
        Reply {
            server,
            client: (address.number(), part),
            closes: Some(entry.original.shared()),
        }
    }
}
