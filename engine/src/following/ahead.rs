//! What the frames ahead show behind nat: the kernel's own choices for a connection that is about to begin (CONNTRACK.md 10).

use crate::connections::{Packet, Shows};
use ahash::{AHashMap, AHashSet};
use kpclass_compiler::Program;
use kpclass_compiler::header::known;
use kpclass_compiler::program::node::{Act, ActId};
use kpclass_ruleset::packet::tcp_flag::ACK;
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
    present: Block,
    next: Block,
}

/// What the frames of one block show.
#[derive(Debug, Default)]
struct Block {
    /// By protocol and a client's address and port.
    endpoints: AHashMap<(u8, End), Vec<End>>,
    /// By sign, from where to which endpoint.
    signs: AHashMap<u64, Vec<(End, End)>>,
    /// By a SYN's sequence number, to where it was answered from which endpoint.
    answers: AHashMap<u32, Vec<(End, End)>>,
}

impl Block {
    fn clear(&mut self) {
        self.endpoints.clear();
        self.signs.clear();
        self.answers.clear();
    }

    /// From where to which endpoints a packet was sent.
    fn ways(&self, packet: &Packet) -> impl Iterator<Item = (End, End)> {
        let signed = packet.sign.and_then(|sign| self.signs.get(&sign));
        let answered = packet.syn.and_then(|syn| self.answers.get(&syn));
        signed.into_iter().chain(answered).flatten().copied()
    }
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
            present: Block::default(),
            next: Block::default(),
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
                let seen = self.next.endpoints.entry((h.protocol, client)).or_default();
                if seen.len() < MOST && !seen.contains(&endpoint) {
                    seen.push(endpoint);
                }
            }
        }
        let (is_to, is_from) = (self.endpoints.contains(&to), self.endpoints.contains(&from));
        let add = |seen: &mut Vec<(End, End)>, way| {
            if seen.len() < MOST && !seen.contains(&way) {
                seen.push(way);
            }
        };
        if let Some(sign) = packet.sign.filter(|_| is_to) {
            add(self.next.signs.entry(sign).or_default(), (from, to));
        }
        let is_answer = is_from && h.tcp_flags & ACK != 0;
        if let Some(syn) = packet.syn.filter(|_| is_answer) {
            add(self.next.answers.entry(syn).or_default(), (to, from));
        }
    }

    /// The next block is the present one.
    pub(super) fn turn(&mut self) {
        std::mem::swap(&mut self.present, &mut self.next);
        self.next.clear();
    }

    fn blocks(&self) -> impl Iterator<Item = &Block> {
        let blocks = [&self.present, &self.next].into_iter();
        blocks.filter(|block| !block.endpoints.is_empty())
    }
}

/// What is shown of one packet's connection.
pub(super) struct Glimpse<'s> {
    pub(super) ahead: &'s Ahead,
    pub(super) packet: &'s Packet,
    /// Addresses that nat may give it.
    pub(super) locals: &'s [u128],
}

impl Shows for Glimpse<'_> {
    fn endpoints(&self, take: &mut dyn FnMut(End)) {
        let h = &self.packet.header;
        for block in self.ahead.blocks() {
            let own = [h.source].into_iter().chain(self.locals.iter().copied());
            for address in own {
                let seen = block.endpoints.get(&(h.protocol, (address, h.source_port)));
                seen.into_iter().flatten().for_each(|end| take(*end));
            }
            block.ways(self.packet).for_each(|(_, to)| take(to));
        }
    }

    fn source(&self, server: End) -> Option<End> {
        let ways = self
            .ahead
            .blocks()
            .flat_map(|block| block.ways(self.packet));
        let mut sources = ways.filter(|(_, to)| *to == server);
        let (first, _) = sources.next()?;
        sources.all(|(from, _)| from == first).then_some(first)
    }
}
