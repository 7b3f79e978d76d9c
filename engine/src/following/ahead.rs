//! What the frames ahead show behind nat: the kernel's own choices for a connection that is about to begin (CONNTRACK.md 10).

use super::endpoints::Endpoints;
use super::reader::{Block, plain_tuple};
use super::shown::{InBlock, is_in_the_middle};
use crate::connections::{End, Packet, Shows, Tuple, Width};
use crate::extract::Plain;
use crate::index::{Hash, Hasher, Index};

/// Ways that are kept of what shows one; more are not told apart.
const MOST: usize = 4;

/// What a packet with ports may show.
pub(super) struct Showing<A> {
    pub(super) tuple: Tuple<A>,
    pub(super) tcp_flags: u8,
    pub(super) sign: Option<u64>,
    /// With its hop limit.
    pub(super) datagram: Option<(u64, u8)>,
    pub(super) syn: Option<u32>,
}

impl Showing<u32> {
    #[inline(always)]
    pub(super) fn of_plain(plain: &Plain) -> Self {
        Self {
            tuple: plain_tuple(plain),
            tcp_flags: plain.tcp_flags,
            sign: plain.sign(),
            datagram: plain.datagram().map(|of| (of, plain.ttl())),
            syn: plain.syn(),
        }
    }
}

/// By what a way is found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Key<A> {
    /// Protocol, and a client's address and port.
    Client(u8, End<A>),
    /// What nat leaves as it is of a packet on its way to an endpoint.
    Sign(u64),
    /// The same of a datagram, with the hop limit that it had one hop before.
    Datagram(u64, u8),
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
            Self::Datagram(of, ttl) => (4, ttl.into(), of),
        };
        hasher.hash(address, kind, rest)
    }
}

/// From where to which endpoint.
pub(super) type Way<A> = (End<A>, End<A>);

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
pub(super) struct Sighted<A> {
    seen: Vec<Seen<A>>,
    /// The first of each key.
    index: Index,
}

impl<A> Default for Sighted<A> {
    fn default() -> Self {
        Self {
            seen: Vec::new(),
            index: Index::new(),
        }
    }
}

impl<A: Width> Sighted<A> {
    pub(super) fn clear(&mut self) {
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
    pub(super) fn add(&mut self, hasher: &Hasher, key: Key<A>, way: Way<A>) {
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

/// What is shown of one packet's connection: by the frames of its own block, and of the next.
pub(super) struct Glimpse<'s, A> {
    pub(super) blocks: [Option<&'s Block>; 2],
    pub(super) endpoints: &'s Endpoints<A>,
    pub(super) packet: &'s Packet,
    /// Addresses that nat may give it.
    pub(super) locals: &'s [u128],
}

impl<A: InBlock> Glimpse<'_, A> {
    fn ways(&self, key: Key<A>) -> impl Iterator<Item = Way<A>> {
        let hasher = self.endpoints.hasher();
        let blocks = self.blocks.iter().flatten();
        let at_once = blocks.clone().map(|block| &A::shown(block).at_once);
        let middle = blocks.filter(|_| is_in_the_middle(self.packet));
        let middle = middle.map(|block| A::middle(block, self.endpoints));
        at_once
            .chain(middle)
            .flat_map(move |sighted| sighted.ways(hasher, key))
    }

    /// From where to which endpoints it was sent, as far as what nat leaves of it shows.
    fn of_packet(&self) -> impl Iterator<Item = Way<A>> {
        let (sign, syn) = (self.packet.sign, self.packet.syn);
        let keys = [sign.map(Key::Sign), syn.map(Key::Answer)];
        let known_again = keys.into_iter().flatten().flat_map(|key| self.ways(key));
        known_again.chain(self.of_datagram())
    }

    /// The same of a datagram, of which less tells it from others: none other may look so, and nat must have left its port (as MASQUERADE does where that is free).
    fn of_datagram(&self) -> Option<Way<A>> {
        let h = &self.packet.header;
        let mut ways = self.ways(Key::Datagram(self.packet.datagram?, h.ttl));
        let way = ways.next()?;
        let is_alone = ways.all(|other| other == way);
        (is_alone && way.0.1 == h.source_port).then_some(way)
    }
}

impl<A: InBlock> Shows<A> for Glimpse<'_, A> {
    fn endpoints(&self, take: &mut dyn FnMut(End<A>)) {
        let h = &self.packet.header;
        let own = [h.source].into_iter().chain(self.locals.iter().copied());
        for address in own {
            let key = Key::Client(h.protocol, (A::of(address), h.source_port));
            self.ways(key).for_each(|(_, to)| take(to));
        }
        self.of_packet().for_each(|(_, to)| take(to));
    }

    fn source(&self, server: End<A>) -> Option<End<A>> {
        let mut ways = self.of_packet();
        let mut sources = ways.by_ref().filter(|(_, to)| *to == server);
        let (first, _) = sources.next()?;
        sources.all(|(from, _)| from == first).then_some(first)
    }
}
