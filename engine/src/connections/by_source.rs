//! Entries whose source nat has changed, or may have, by the source of their original tuple: nat asks what that was given before.

use super::entry::{Client, Entry};
use super::tuple::{End, Width};
use ahash::AHashMap;

/// A protocol and the source of a tuple.
pub(super) type Side<A> = (u8, End<A>);

const NONE: u32 = u32::MAX;

/// Lists of slots, the newest first.
#[derive(Debug)]
pub(super) struct BySource<A> {
    lists: AHashMap<Side<A>, List>,
    /// Of those that have neighbours in their list.
    neighbours: AHashMap<u32, Neighbours>,
}

#[derive(Clone, Copy, Debug)]
struct List {
    newest: u32,
    /// How many of it have got another port.
    moved: u32,
}

/// [`NONE`]: none.
#[derive(Clone, Copy, Debug)]
struct Neighbours {
    newer: u32,
    older: u32,
}

impl Neighbours {
    const NONE: Self = Self {
        newer: NONE,
        older: NONE,
    };
}

impl<A> Default for BySource<A> {
    fn default() -> Self {
        Self {
            lists: AHashMap::new(),
            neighbours: AHashMap::new(),
        }
    }
}

/// Whether an entry's source is another than it was, or may be.
pub(super) fn is_translated<A: Width>(entry: &Entry<A>) -> bool {
    let own = entry.original.inverse().map(|inverse| inverse.to());
    match entry.client {
        Client::Known(address, part) => Some((address, part)) != own,
        Client::Open(_) => true,
    }
}

/// Whether it has another port, or may have.
pub(super) fn is_moved<A: Width>(entry: &Entry<A>) -> bool {
    let own = entry.original.source_part;
    match entry.client {
        Client::Known(_, part) => !entry.original.is_icmp() && part != own,
        Client::Open(open) => open.part != Some(own),
    }
}

fn side<A: Width>(entry: &Entry<A>) -> Side<A> {
    (entry.original.protocol, entry.original.from())
}

impl<A: Width> BySource<A> {
    /// Puts an entry before those that have its source.
    pub(super) fn insert(&mut self, id: u32, entry: &Entry<A>) {
        let moved = u32::from(is_moved(entry));
        let first = List {
            newest: NONE,
            moved: 0,
        };
        let list = self.lists.entry(side(entry)).or_insert(first);
        let older = std::mem::replace(&mut list.newest, id);
        list.moved += moved;
        if older != NONE {
            self.set(id, |of| of.older = older);
            self.set(older, |of| of.newer = id);
        }
    }

    /// Takes one out as it was put in, or [`Self::settle`]d.
    pub(super) fn remove(&mut self, id: u32, entry: &Entry<A>) {
        let Neighbours { newer, older } = self.of(id);
        if newer == NONE && older == NONE {
            self.lists.remove(&side(entry));
            return;
        }
        self.neighbours.remove(&id);
        if older != NONE {
            self.set(older, |of| of.newer = newer);
        }
        if newer != NONE {
            self.set(newer, |of| of.older = older);
        }
        if let Some(list) = self.lists.get_mut(&side(entry)) {
            list.moved -= u32::from(is_moved(entry));
            if newer == NONE {
                list.newest = older;
            }
        }
    }

    /// Which source an entry got is known now.
    pub(super) fn settle(&mut self, before: &Entry<A>, behind: &Entry<A>) {
        if let Some(list) = self.lists.get_mut(&side(before)) {
            list.moved += u32::from(is_moved(behind));
            list.moved -= u32::from(is_moved(before));
        }
    }

    /// Whether some entry of a source may have got another port.
    pub(super) fn has_moved(&self, side: &Side<A>) -> bool {
        self.lists.get(side).is_some_and(|list| list.moved > 0)
    }

    /// The entries of a source, the newest first.
    pub(super) fn of_source(&self, side: &Side<A>) -> impl Iterator<Item = u32> {
        let newest = self.lists.get(side).map(|list| list.newest);
        let older = |id: &u32| Some(self.of(*id).older).filter(|id| *id != NONE);
        std::iter::successors(newest, older)
    }

    fn of(&self, id: u32) -> Neighbours {
        let found = self.neighbours.get(&id);
        found.copied().unwrap_or(Neighbours::NONE)
    }

    fn set(&mut self, id: u32, change: impl FnOnce(&mut Neighbours)) {
        let neighbours = self.neighbours.entry(id).or_insert(Neighbours::NONE);
        change(neighbours);
        if (neighbours.newer, neighbours.older) == (NONE, NONE) {
            self.neighbours.remove(&id);
        }
    }

    /// Sources and neighbours.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.lists.len() + self.neighbours.len()
    }

    /// Bytes that it takes.
    #[cfg(test)]
    pub(super) fn allocated(&self) -> usize {
        super::table::of_map(&self.lists) + super::table::of_map(&self.neighbours)
    }
}

#[cfg(test)]
mod tests {
    use super::super::entry::Open;
    use super::super::tuple::Tuple;
    use super::*;

    const SIDE: Side<u32> = (17, (1, 4000));

    fn entry(client: Client<u32>) -> Entry<u32> {
        let original = Tuple::new(17, (1, 4000), (2, 53));
        let mut entry = Entry::new(original, Tuple::new(17, (2, 53), (1, 4000)), 0);
        entry.client = client;
        entry
    }

    #[test]
    fn it_is_known_whether_some_have_another_port() {
        let open = |part| {
            let addresses = None;
            entry(Client::Open(Open { addresses, part }))
        };
        let kinds = [
            (open(None), true),
            (open(Some(4000)), false),
            (entry(Client::Known(9, 4000)), false),
            (entry(Client::Known(9, 4001)), true),
        ];
        let mut list = BySource::default();
        for (one, is_one) in kinds {
            for (other, is_other) in kinds {
                list.insert(1, &one);
                list.insert(2, &other);
                assert_eq!(list.has_moved(&SIDE), is_one || is_other);
                let closed = entry(Client::Known(9, 4000));
                list.settle(&other, &closed);
                assert_eq!(list.has_moved(&SIDE), is_one);
                list.remove(1, &one);
                assert!(!list.has_moved(&SIDE));
                list.insert(3, &one);
                list.remove(2, &closed);
                assert_eq!(list.has_moved(&SIDE), is_one);
                list.remove(3, &one);
                assert_eq!(list.len(), 0);
            }
        }
    }
}
