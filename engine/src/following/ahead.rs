//! Which endpoints the packets ahead show behind nat: the kernel's own choice for a connection that is about to begin (CONNTRACK.md 10).

use crate::connections::Packet;
use ahash::{AHashMap, AHashSet};
use kpclass_compiler::Program;
use kpclass_compiler::header::known;
use kpclass_compiler::program::node::{Act, ActId};
use kpclass_ruleset::value::address_number;

/// Address and port.
type End = (u128, u16);

/// Endpoints that one client's port is seen with; more are not told apart.
const MOST: usize = 4;

/// What two blocks of frames show: the present one, and the next.
#[derive(Debug)]
pub(super) struct Ahead {
    /// Where rules send packets.
    endpoints: AHashSet<End>,
    present: AHashMap<(u8, End), Vec<End>>,
    next: AHashMap<(u8, End), Vec<End>>,
}

impl Ahead {
    pub(super) fn new(program: &Program) -> Self {
        let acts = (0..program.act_count() as u32).map(|at| program.act(ActId(at)));
        let endpoints = acts.filter_map(|act| match act {
            Act::Dnat(dnat) => Some((address_number(dnat.address?), dnat.port?)),
            _ => None,
        });
        Self {
            endpoints: endpoints.collect(),
            present: AHashMap::new(),
            next: AHashMap::new(),
        }
    }

    /// Notes a packet of the next block.
    pub(super) fn note(&mut self, packet: &Packet) {
        let h = &packet.header;
        if h.known & known::PORTS == 0 {
            return;
        }
        let (from, to) = (
            (h.source, h.source_port),
            (h.destination, h.destination_port),
        );
        for (client, endpoint) in [(from, to), (to, from)] {
            if self.endpoints.contains(&endpoint) {
                let seen = self.next.entry((h.protocol, client)).or_default();
                if seen.len() < MOST && !seen.contains(&endpoint) {
                    seen.push(endpoint);
                }
            }
        }
    }

    /// The next block is the present one.
    pub(super) fn turn(&mut self) {
        std::mem::swap(&mut self.present, &mut self.next);
        self.next.clear();
    }

    /// The endpoints that a client's port is seen with, in this block or the next; as one of these addresses, too, which nat may have given it.
    pub(super) fn seen_with<'s>(
        &'s self,
        packet: &Packet,
        locals: &'s [u128],
    ) -> impl Iterator<Item = End> + 's {
        let h = packet.header;
        let is_empty = self.present.is_empty() && self.next.is_empty();
        let addresses = [h.source].into_iter().chain(locals.iter().copied());
        addresses
            .filter(move |_| !is_empty)
            .flat_map(move |address| {
                let key = (h.protocol, (address, h.source_port));
                [&self.present, &self.next].map(|block| block.get(&key))
            })
            .flatten()
            .flatten()
            .copied()
    }
}
