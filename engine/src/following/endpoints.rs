//! Whether an address and port are those of an endpoint, and what a packet from or to one shows.

use super::ahead::{Key, Showing, Sighted, Way};
use crate::connections::{End, Packet, Tuple, Width};
use crate::index::{Hash, Hasher};
use crate::near;
use kpclass_compiler::Program;
use kpclass_compiler::header::known;
use kpclass_compiler::program::node::DnatAct;
use kpclass_ruleset::packet::tcp_flag::ACK;
use kpclass_ruleset::value::address_number;

/// Where rules send packets.
#[derive(Debug)]
pub(super) struct Endpoints<A> {
    hasher: Hasher,
    /// An open table, half of it free at least: a lookup mostly reads one cache line.
    places: Vec<Place<A>>,
    /// A bit for each hash's top bits: whether an endpoint may have them.
    filter: Vec<u64>,
    shift: u32,
}

/// Of the table.
#[derive(Clone, Copy, Debug)]
struct Place<A> {
    address: A,
    port: u16,
    is_taken: bool,
}

const _: () = assert!(size_of::<Place<u32>>() == 8);

/// Bits of the filter for each endpoint, at least.
const BITS_EACH: usize = 16;

impl<A: Width> Endpoints<A> {
    /// Those of a program; all hashes of this family are made by one `hasher`.
    pub(super) fn new(program: Option<&Program>, hasher: Hasher) -> Self {
        let dnats = program.into_iter().flat_map(Program::dnats);
        let end = |dnat: DnatAct| Some((A::of(address_number(dnat.address?)), dnat.port?));
        Self::of(dnats.filter_map(end).collect(), hasher)
    }

    fn of(mut ends: Vec<End<A>>, hasher: Hasher) -> Self {
        ends.sort_unstable();
        ends.dedup();
        let free = Place {
            address: A::of(0),
            port: 0,
            is_taken: false,
        };
        let bits = (ends.len() * BITS_EACH).next_power_of_two().max(64);
        let mut endpoints = Self {
            hasher,
            places: vec![free; 2 * ends.len() + 1],
            filter: vec![0; bits / 64],
            shift: 32 - bits.trailing_zeros(),
        };
        ends.into_iter().for_each(|end| endpoints.add(end));
        endpoints
    }

    fn add(&mut self, end: End<A>) {
        let hash = self.hash(end);
        let (word, bit) = self.filter_bit(hash);
        self.filter[word] |= 1 << bit;
        let mut at = self.home(hash);
        while self.places[at].is_taken {
            at = self.next(at);
        }
        let (address, port) = end;
        self.places[at] = Place {
            address,
            port,
            is_taken: true,
        };
    }

    #[inline(always)]
    fn home(&self, hash: Hash) -> usize {
        ((u64::from(hash.number()) * self.places.len() as u64) >> 32) as usize
    }

    #[inline(always)]
    fn next(&self, at: usize) -> usize {
        if at + 1 == self.places.len() {
            0
        } else {
            at + 1
        }
    }

    #[inline(always)]
    fn filter_bit(&self, hash: Hash) -> (usize, u32) {
        let at = hash.number() >> self.shift;
        ((at / 64) as usize, at % 64)
    }

    /// Whether it may be one; if not, it is none.
    #[inline(always)]
    fn may_hold(&self, hash: Hash) -> bool {
        let (word, bit) = self.filter_bit(hash);
        self.filter[word] >> bit & 1 != 0
    }

    #[inline(always)]
    fn hold(&self, end: End<A>, hash: Hash) -> bool {
        let mut at = self.home(hash);
        loop {
            let place = self.places[at];
            if !place.is_taken || (place.address, place.port) == end {
                return place.is_taken;
            }
            at = self.next(at);
        }
    }

    #[inline(always)]
    fn hash(&self, (address, port): End<A>) -> Hash {
        self.hasher.hash(address.number(), 0, u64::from(port))
    }

    pub(super) fn hasher(&self) -> &Hasher {
        &self.hasher
    }

    /// The hash of a packet's tuple.
    #[inline(always)]
    pub(super) fn hash_of(&self, tuple: &Tuple<A>) -> Hash {
        tuple.hash(&self.hasher)
    }

    /// The ends of a tuple, to be looked up later.
    #[inline(always)]
    pub(super) fn ends(&self, tuple: &Tuple<A>) -> Ends {
        Ends {
            from: self.hash(tuple.from()),
            to: self.hash(tuple.to()),
        }
    }

    /// Whether a packet may show something.
    #[inline(always)]
    pub(super) fn may_show(&self, ends: Ends) -> bool {
        self.may_hold(ends.from) | self.may_hold(ends.to)
    }

    /// What [`Self::note`] will read first comes nearer.
    #[inline(always)]
    pub(super) fn come_nearer(&self, ends: Ends) {
        near::ask_for(&self.places[self.home(ends.from)]);
        near::ask_for(&self.places[self.home(ends.to)]);
    }

    /// Notes what a packet shows.
    #[inline(always)]
    pub(super) fn note(&self, showing: &Showing<A>, ends: Ends, sighted: &mut Sighted<A>) {
        let (from, to) = (showing.tuple.from(), showing.tuple.to());
        if self.hold(to, ends.to) {
            let hop_before = |(of, ttl): (u64, u8)| Key::Datagram(of, ttl.wrapping_add(1));
            let sign = showing.sign.map(Key::Sign);
            let key = sign.or(showing.datagram.map(hop_before));
            self.note_way((from, to), showing, key, sighted);
        }
        if self.hold(from, ends.from) {
            let syn = showing.syn.filter(|_| showing.tcp_flags & ACK != 0);
            self.note_way((to, from), showing, syn.map(Key::Answer), sighted);
        }
    }

    /// The same of any packet.
    pub(super) fn note_any(&self, packet: &Packet, sighted: &mut Sighted<A>) {
        let h = &packet.header;
        if h.known & known::PORTS != 0 {
            let showing = Showing {
                tuple: Tuple::of_ports(h),
                tcp_flags: h.tcp_flags,
                sign: packet.sign,
                datagram: packet.datagram.map(|of| (of, h.ttl)),
                syn: packet.syn,
            };
            let ends = self.ends(&showing.tuple);
            self.note(&showing, ends, sighted);
        }
    }

    fn note_way(
        &self,
        way: Way<A>,
        showing: &Showing<A>,
        key: Option<Key<A>>,
        sighted: &mut Sighted<A>,
    ) {
        let client = Key::Client(showing.tuple.protocol(), way.0);
        sighted.add(&self.hasher, client, way);
        if let Some(key) = key {
            sighted.add(&self.hasher, key, way);
        }
    }
}

/// The hashes of both ends of a tuple.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Ends {
    from: Hash,
    to: Hash,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn those_named_are_endpoints_and_their_neighbours_are_none() {
        let named = |at: u32| (0x0a00_0000 + at / 7, 1000 + (at % 7) as u16);
        // Twice each, as Services share endpoints.
        let ends = (0..7000).chain(0..7000).map(named).collect();
        let endpoints = Endpoints::<u32>::of(ends, Hasher::new());
        let hold = |end| {
            let hash = endpoints.hash(end);
            let held = endpoints.hold(end, hash);
            assert!(
                !held || endpoints.may_hold(hash),
                "{end:?} passes no filter"
            );
            held
        };
        for at in 0..7000 {
            assert!(hold(named(at)), "{at}");
            let (address, port) = named(at);
            assert!(
                !hold((address, port + 7)) && !hold((address + 1000, port)),
                "{at}"
            );
        }
        let nothing = Endpoints::<u128>::new(None, Hasher::new());
        assert!(!nothing.hold((0, 0), nothing.hash((0, 0))));
    }
}
