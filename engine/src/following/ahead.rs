//! What the frames ahead show behind nat: the kernel's own choices for a connection that is about to begin (CONNTRACK.md 10).

use crate::connections::{End, Packet, Shows, Width};
use crate::index::{Hash, Hasher, Index};
use kpclass_compiler::Program;
use kpclass_compiler::header::known;
use kpclass_compiler::program::node::{Act, ActId};
use kpclass_ruleset::packet::tcp_flag::ACK;
use kpclass_ruleset::value::address_number;

/// Ways that are kept of what shows one; more are not told apart.
const MOST: usize = 4;

/// What two blocks of frames show: the present one, and the next.
#[derive(Debug)]
pub(super) struct Ahead<A> {
    hasher: Hasher,
    endpoints: Endpoints<A>,
    present: Block<A>,
    next: Block<A>,
}

/// Where rules send packets.
#[derive(Debug)]
struct Endpoints<A> {
    ends: Vec<End<A>>,
    index: Index,
}

impl<A: Width> Endpoints<A> {
    fn new(program: &Program, hasher: &Hasher) -> Self {
        let mut endpoints = Self {
            ends: Vec::new(),
            index: Index::new(),
        };
        for at in 0..program.act_count() as u32 {
            if let Act::Dnat(dnat) = program.act(ActId(at))
                && let (Some(address), Some(port)) = (dnat.address, dnat.port)
            {
                let end = (A::of(address_number(address)), port);
                if !endpoints.hold(hasher, end) {
                    let position = endpoints.ends.len() as u32;
                    endpoints.index.insert(hash_end(hasher, end), position);
                    endpoints.ends.push(end);
                }
            }
        }
        endpoints
    }

    #[inline(always)]
    fn hold(&self, hasher: &Hasher, end: End<A>) -> bool {
        let is_it = |at: u32| self.ends.get(at as usize) == Some(&end);
        self.index.find(hash_end(hasher, end), is_it).is_some()
    }
}

#[inline(always)]
fn hash_end<A: Width>(hasher: &Hasher, (address, port): End<A>) -> Hash {
    hasher.hash(address.number(), 0, u64::from(port))
}

/// By what a way is found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Key<A> {
    /// Protocol, and a client's address and port.
    Client(u8, End<A>),
    /// What nat leaves as it is of a packet on its way to an endpoint.
    Sign(u64),
    /// The sequence number of a SYN that an endpoint answers.
    Answer(u32),
}

impl<A: Width> Key<A> {
    #[inline(always)]
    fn hash(&self, hasher: &Hasher) -> Hash {
        let (kind, address, rest) = match *self {
            Self::Client(protocol, (address, port)) => (
                1,
                address.number(),
                u64::from(protocol) << 16 | u64::from(port),
            ),
            Self::Sign(sign) => (2, 0, sign),
            Self::Answer(syn) => (3, 0, u64::from(syn)),
        };
        hasher.hash(address, kind, rest)
    }
}

/// From where to which endpoint.
type Way<A> = (End<A>, End<A>);

/// A way that a frame shows.
#[derive(Clone, Copy, Debug)]
struct Seen<A> {
    key: Key<A>,
    way: Way<A>,
    /// The next one of the same key, or [`NONE`].
    next: u32,
}

const NONE: u32 = u32::MAX;

/// What the frames of one block show.
#[derive(Debug)]
struct Block<A> {
    seen: Vec<Seen<A>>,
    /// The first of each key.
    index: Index,
}

impl<A: Width> Block<A> {
    fn new() -> Self {
        Self {
            seen: Vec::new(),
            index: Index::new(),
        }
    }

    fn clear(&mut self) {
        if !self.seen.is_empty() {
            self.seen.clear();
            self.index.clear();
        }
    }

    fn first(&self, key: &Key<A>, hash: Hash) -> Option<u32> {
        let is_it = |at: u32| {
            self.seen
                .get(at as usize)
                .is_some_and(|seen| seen.key == *key)
        };
        self.index.find(hash, is_it)
    }

    /// Notes a way, unless it is there.
    fn add(&mut self, hasher: &Hasher, key: Key<A>, way: Way<A>) {
        let hash = key.hash(hasher);
        let position = self.seen.len() as u32;
        let new = Seen {
            key,
            way,
            next: NONE,
        };
        let Some(mut at) = self.first(&key, hash) else {
            self.index.insert(hash, position);
            self.seen.push(new);
            return;
        };
        for others in 1.. {
            let seen = &mut self.seen[at as usize];
            if seen.way == way || others == MOST {
                return;
            }
            if seen.next == NONE {
                seen.next = position;
                break;
            }
            at = seen.next;
        }
        self.seen.push(new);
    }

    /// The ways that were noted.
    fn ways(&self, hasher: &Hasher, key: Key<A>) -> impl Iterator<Item = Way<A>> {
        let mut at = match self.seen.is_empty() {
            true => NONE,
            false => self.first(&key, key.hash(hasher)).unwrap_or(NONE),
        };
        std::iter::from_fn(move || {
            let seen = self.seen.get(at as usize)?;
            at = seen.next;
            Some(seen.way)
        })
    }
}

impl<A: Width> Ahead<A> {
    pub(super) fn new(program: &Program) -> Self {
        let hasher = Hasher::new();
        Self {
            endpoints: Endpoints::new(program, &hasher),
            hasher,
            present: Block::new(),
            next: Block::new(),
        }
    }

    /// Notes a packet of the next block.
    pub(super) fn note(&mut self, packet: &Packet) {
        let h = &packet.header;
        if h.known & known::PORTS == 0 {
            return;
        }
        let hasher = &self.hasher;
        let from = (A::of(h.source), h.source_port);
        let to = (A::of(h.destination), h.destination_port);
        let is_to = self.endpoints.hold(hasher, to);
        let is_from = self.endpoints.hold(hasher, from);
        if is_to {
            let way = (from, to);
            self.next.add(hasher, Key::Client(h.protocol, from), way);
            if let Some(sign) = packet.sign {
                self.next.add(hasher, Key::Sign(sign), way);
            }
        }
        if is_from {
            let way = (to, from);
            self.next.add(hasher, Key::Client(h.protocol, to), way);
            if let Some(syn) = packet.syn.filter(|_| h.tcp_flags & ACK != 0) {
                self.next.add(hasher, Key::Answer(syn), way);
            }
        }
    }

    /// The next block is the present one.
    pub(super) fn turn(&mut self) {
        std::mem::swap(&mut self.present, &mut self.next);
        self.next.clear();
    }

    /// The ways of a key in both blocks.
    fn ways(&self, key: Key<A>) -> impl Iterator<Item = Way<A>> {
        let blocks = [&self.present, &self.next].into_iter();
        blocks.flat_map(move |block| block.ways(&self.hasher, key))
    }

    /// From where to which endpoints a packet was sent, as far as what nat leaves of it shows.
    fn of_packet(&self, packet: &Packet) -> impl Iterator<Item = Way<A>> {
        let keys = [packet.sign.map(Key::Sign), packet.syn.map(Key::Answer)];
        keys.into_iter().flatten().flat_map(|key| self.ways(key))
    }
}

/// What is shown of one packet's connection.
pub(super) struct Glimpse<'s, A> {
    pub(super) ahead: &'s Ahead<A>,
    pub(super) packet: &'s Packet,
    /// Addresses that nat may give it.
    pub(super) locals: &'s [u128],
}

impl<A: Width> Shows<A> for Glimpse<'_, A> {
    fn endpoints(&self, take: &mut dyn FnMut(End<A>)) {
        let h = &self.packet.header;
        let own = [h.source].into_iter().chain(self.locals.iter().copied());
        for address in own {
            let key = Key::Client(h.protocol, (A::of(address), h.source_port));
            self.ahead.ways(key).for_each(|(_, to)| take(to));
        }
        self.ahead
            .of_packet(self.packet)
            .for_each(|(_, to)| take(to));
    }

    fn source(&self, server: End<A>) -> Option<End<A>> {
        let mut ways = self.ahead.of_packet(self.packet);
        let mut sources = ways.by_ref().filter(|(_, to)| *to == server);
        let (first, _) = sources.next()?;
        sources.all(|(from, _)| from == first).then_some(first)
    }
}
