//! Which source a new connection gets (CONNTRACK.md 3.5).

use super::entry::{Client, Entry, Open};
use super::table::Table;
use super::tuple::{End, Tuple, Width};
use kpclass_ruleset::conntrack::CtStatus;
use kpclass_ruleset::decision::Snat;
use kpclass_ruleset::target::NatRange;
use kpclass_ruleset::value::address_number;

/// What a rule asks of the source.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wanted {
    /// As the decision has it; `None`: no rule rewrites it.
    pub(super) snat: Option<Snat>,
    /// The rule's range.
    pub(super) range: NatRange,
}

/// One entry that is to get its source.
pub(super) struct Choice<'t, A: Width> {
    pub(super) table: &'t mut Table<A>,
    /// The node's own addresses.
    pub(super) locals: &'t [u128],
    pub(super) now: u64,
}

/// An ICMP query's id would be chosen at random.
pub(super) struct RandomId;

impl<A: Width> Choice<'_, A> {
    /// The source of the entry's reply tuple: chosen, or left open; the status SNAT where it is another one.
    pub(super) fn choose(&mut self, entry: &mut Entry<A>, wanted: &Wanted) -> Result<(), RandomId> {
        let (address, part) = entry.original.from();
        let chosen = self.choice(entry, wanted);
        entry.client = match (chosen, icmp_answer(entry)) {
            (client, None) => client,
            (Client::Known(to, id), Some(answer)) if id == part => Client::Known(to, answer),
            (Client::Open(open), Some(answer)) if open.part.is_some() => Client::Open(Open {
                part: Some(answer),
                ..open
            }),
            _ => return Err(RandomId),
        };
        if chosen != Client::Known(address, part) {
            entry.status = entry.status.with(CtStatus::SNAT);
        }
        Ok(())
    }

    fn choice(&mut self, entry: &Entry<A>, wanted: &Wanted) -> Client<A> {
        let own = entry.original.from();
        let (addresses, ports) = range(own.0, wanted);
        let is_random = wanted.range.random || wanted.range.random_fully;
        let in_ports = |part: u16| ports.is_none_or(|(low, high)| (low..=high).contains(&part));
        let has_choice = entry.original.has_ports() || entry.original.is_icmp();
        let open = |part| Client::Open(Open { addresses, part });
        let keeps_port = !is_random && in_ports(own.1);
        let protocol = entry.original.protocol;
        if wanted.snat.is_some() && has_choice && self.table.has_vague(protocol, self.now) {
            return open(None);
        }
        let Some((first, last)) = addresses else {
            let keeps = keeps_port && self.keeps_port_on_any(entry);
            return open((keeps || !has_choice).then_some(own.1));
        };
        let in_range = |(a, p): End<A>| (first..=last).contains(&a) && in_ports(p);
        if !is_random && in_range(own) {
            if !self.is_taken(entry, own) {
                return Client::Known(own.0, own.1);
            }
        } else if !is_random && let Some((address, part)) = self.mapped_before(entry, in_range) {
            return Client::Known(address, part);
        }
        if first != last {
            return open((keeps_port || !has_choice).then_some(own.1));
        }
        if !has_choice || keeps_port && !self.is_taken(entry, (first, own.1)) {
            return Client::Known(first, own.1);
        }
        match ports {
            Some((low, high)) if low == high => Client::Known(first, low),
            _ => open(None),
        }
    }

    /// Whether MASQUERADE keeps the port whichever of the node's addresses it takes: it is free on all of them, and the socket has no other one already.
    fn keeps_port_on_any(&mut self, entry: &Entry<A>) -> bool {
        let own = entry.original.from();
        let side = (entry.original.protocol, own);
        if self.table.has_moved(&side, self.now) {
            return false;
        }
        let locals = self.locals;
        locals
            .iter()
            .all(|a| !self.is_taken(entry, (A::of(*a), own.1)))
    }

    /// The source of the newest live connection of the same socket, if it lies in the range and is free here, too.
    fn mapped_before(
        &mut self,
        entry: &Entry<A>,
        in_range: impl Fn(End<A>) -> bool,
    ) -> Option<End<A>> {
        let own = entry.original.from();
        let id = entry.original.is_icmp().then_some(own.1);
        let side = (entry.original.protocol, own);
        let mut before = self.table.with_source(&side, self.now);
        let source = before.find_map(|other| match other.client {
            Client::Known(address, part) => {
                let source = (address, id.unwrap_or(part));
                (source != own && in_range(source)).then_some(source)
            }
            Client::Open(_) => None,
        })?;
        drop(before);
        (!self.is_taken(entry, source)).then_some(source)
    }

    /// Whether another live entry has the tuple of the answers that would come to this source.
    pub(super) fn is_taken(&mut self, entry: &Entry<A>, source: End<A>) -> bool {
        let part = icmp_answer(entry).unwrap_or(source.1);
        let reply = Tuple::new(entry.original.protocol, entry.server, (source.0, part));
        let holder = self.table.by_tuple(&reply, self.now);
        let holder = holder.and_then(|(id, _)| self.table.get(id));
        holder.is_some_and(|other| other.original != entry.original)
    }
}

/// The addresses (`None`: the node's) and ports that a source is wanted in.
#[expect(clippy::type_complexity)]
fn range<A: Width>(own: A, wanted: &Wanted) -> (Option<(A, A)>, Option<(u16, u16)>) {
    let (addresses, ports) = match wanted.snat {
        None => (Some((own, own)), None),
        Some(Snat::Netmap(to)) => {
            let to = A::of(address_number(to));
            (Some((to, to)), None)
        }
        Some(Snat::Masquerade) => (None, wanted.range.ports.map(|p| (p.first, p.last))),
        Some(Snat::To { addresses, ports }) => {
            let number = |a| A::of(address_number(a));
            let addresses = addresses.map(|(a, b)| (number(a), number(b)));
            (Some(addresses.unwrap_or((own, own))), ports)
        }
    };
    (addresses, ports.map(|(a, b)| (a.min(b), a.max(b))))
}

/// The destination part of the answers to an ICMP query: type and code.
fn icmp_answer<A: Width>(entry: &Entry<A>) -> Option<u16> {
    let inverse = entry.original.inverse()?;
    entry.original.is_icmp().then_some(inverse.destination_part)
}
