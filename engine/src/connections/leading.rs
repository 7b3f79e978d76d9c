//! The number with which a first packet goes where the captures show it to have gone.

use super::look::Look;
use super::tuple::{End, Width};
use super::{Packet, Shown, Shows, Tracker, context};
use ahash::AHashMap;
use kpclass_compiler::Followed;
use kpclass_ruleset::decision::Decision;
use kpclass_ruleset::value::{CtState, address_number};

/// Numbers that led a packet to an endpoint: they mostly lead the next one there, too.
#[derive(Debug)]
pub(super) struct Leading<A> {
    /// By protocol, destination and endpoint.
    numbers: AHashMap<(u8, End<A>, End<A>), u64>,
}

impl<A> Default for Leading<A> {
    fn default() -> Self {
        Self {
            numbers: AHashMap::new(),
        }
    }
}

/// More are not remembered.
const MOST: usize = 1 << 18;

impl<A: Width> Tracker<'_, A> {
    /// The way of a first packet, with its number: where the captures show its endpoint, and rules lead there, it does.
    pub(super) fn shown(
        &mut self,
        packet: &Packet,
        look: &Look<A>,
        draw: u64,
        shows: Option<&dyn Shows<A>>,
    ) -> (Followed, u64, Shown) {
        let mut seen = Few::default();
        if let Some(shows) = shows {
            shows.endpoints(&mut |end| seen.add(end));
        }
        let is_other = !seen.is_empty() && !seen.contains(destination(packet));
        if let Some(number) = is_other.then(|| self.led_before(packet, &seen)).flatten() {
            let followed = self.decide(packet, look, number);
            if leads(&followed, &seen) == Some(true) {
                return (followed, number, Shown::Taken);
            }
            self.lists.undo();
        }
        let followed = self.decide(packet, look, draw);
        match leads(&followed, &seen) {
            Some(true) if is_other => return (followed, draw, Shown::Taken),
            Some(false) if is_other => {}
            // It is not sent on, or nothing is shown.
            _ => return (followed, draw, Shown::Nothing),
        }
        self.lists.undo();
        match self.number(packet, look, &seen) {
            Some((followed, number)) => (followed, number, Shown::Taken),
            None => (self.decide(packet, look, draw), draw, Shown::Elsewhere),
        }
    }

    fn led_before(&self, packet: &Packet, seen: &Few<A>) -> Option<u64> {
        let (protocol, to) = (packet.header.protocol, destination(packet));
        let mut numbers = seen
            .ends()
            .filter_map(|end| self.leading.numbers.get(&(protocol, to, *end)));
        numbers.next().copied()
    }

    /// One of all numbers that leads to one of these endpoints.
    fn number(
        &mut self,
        packet: &Packet,
        look: &Look<A>,
        seen: &Few<A>,
    ) -> Option<(Followed, u64)> {
        let numbers = self.program.dnat_numbers(&packet.header);
        let ends = numbers.into_iter();
        let ends = ends.filter_map(|(dnat, number)| {
            Some(((A::of(address_number(dnat.address?)), dnat.port?), number))
        });
        let found = self.first_of(packet, look, seen, ends);
        found.or_else(|| {
            let context = context(packet, CtState::New);
            let pieces = self.program.partition(&packet.header, &context);
            let pieces = pieces.unwrap_or_default().into_iter();
            let ends = pieces.filter_map(|piece| Some((endpoint(&piece.decision)?, piece.last)));
            self.first_of(packet, look, seen, ends)
        })
    }

    /// The first of these numbers that leads where it may; all are remembered.
    fn first_of(
        &mut self,
        packet: &Packet,
        look: &Look<A>,
        seen: &Few<A>,
        numbers: impl Iterator<Item = (End<A>, u64)>,
    ) -> Option<(Followed, u64)> {
        let mut found = None;
        for (end, number) in numbers {
            self.remember(packet, end, number);
            if found.is_none() && seen.contains(end) {
                // The lists that packets before it filled may lead it elsewhere.
                let followed = self.decide(packet, look, number);
                match leads(&followed, seen) {
                    Some(true) => found = Some((followed, number)),
                    _ => self.lists.undo(),
                }
            }
        }
        found
    }

    fn remember(&mut self, packet: &Packet, end: End<A>, number: u64) {
        let numbers = &mut self.leading.numbers;
        if numbers.len() >= MOST {
            numbers.clear();
        }
        numbers.insert((packet.header.protocol, destination(packet), end), number);
    }
}

fn destination<A: Width>(packet: &Packet) -> End<A> {
    let h = &packet.header;
    (A::of(h.destination), h.destination_port)
}

/// Whether a packet was led to one of these endpoints; `None`: to none at all.
fn leads<A: Width>(followed: &Followed, seen: &Few<A>) -> Option<bool> {
    endpoint(&followed.decision).map(|end| seen.contains(end))
}

/// Where a decision sends a packet.
fn endpoint<A: Width>(decision: &Decision) -> Option<End<A>> {
    let (nat, _) = decision.dnat?;
    Some((A::of(address_number(nat.address?)), nat.port?))
}

/// A few ends; more are left out.
struct Few<A> {
    ends: [Option<End<A>>; 4],
}

impl<A> Default for Few<A> {
    fn default() -> Self {
        Self {
            ends: [const { None }; 4],
        }
    }
}

impl<A: Width> Few<A> {
    fn ends(&self) -> impl Iterator<Item = &End<A>> {
        self.ends.iter().flatten()
    }

    fn is_empty(&self) -> bool {
        self.ends[0].is_none()
    }

    fn contains(&self, end: End<A>) -> bool {
        self.ends().any(|of| *of == end)
    }

    fn add(&mut self, end: End<A>) {
        if !self.contains(end)
            && let Some(free) = self.ends.iter_mut().find(|of| of.is_none())
        {
            *free = Some(end);
        }
    }
}
