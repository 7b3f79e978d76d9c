//! Entries whose source nat chose, and nothing has shown yet what it chose.

use super::entry::{Entry, Open};
use super::tuple::{End, Width};
use ahash::AHashMap;

/// Protocol, server side, and the port that nat has kept.
type Key<A> = (u8, End<A>, Option<u16>);

/// All of them, by slot, and by server.
#[derive(Debug)]
pub(super) struct Opens<A> {
    of: AHashMap<u32, Placed<A>>,
    by_server: AHashMap<Key<A>, Vec<u32>>,
    /// Some source may be none of this node's addresses.
    has_ranges: bool,
}

/// One, with its position in the list of its key; [`NOWHERE`]: it was met when it was over, and is in none.
#[derive(Clone, Copy, Debug)]
struct Placed<A> {
    open: Open<A>,
    position: u32,
}

const NOWHERE: u32 = u32::MAX;

impl<A> Default for Opens<A> {
    fn default() -> Self {
        Self {
            of: AHashMap::new(),
            by_server: AHashMap::new(),
            has_ranges: false,
        }
    }
}

impl<A: Width> Opens<A> {
    pub(super) fn insert(&mut self, id: u32, entry: &Entry<A>, open: Open<A>) {
        self.has_ranges |= open.addresses.is_some();
        let key = (entry.original.protocol, entry.server, open.part);
        let list = self.by_server.entry(key).or_default();
        let position = list.len() as u32;
        list.push(id);
        self.of.insert(id, Placed { open, position });
    }

    pub(super) fn remove(&mut self, id: u32, entry: &Entry<A>) {
        let Some(placed) = self.of.remove(&id) else {
            return;
        };
        let key = (entry.original.protocol, entry.server, placed.open.part);
        if placed.position != NOWHERE {
            self.take_out(&key, placed.position as usize);
        }
    }

    /// Takes the one at a position out of its list; the last of the list comes to stand there.
    fn take_out(&mut self, key: &Key<A>, position: usize) {
        let Some(list) = self.by_server.get_mut(key) else {
            return;
        };
        list.swap_remove(position);
        match list.get(position) {
            Some(moved) => {
                if let Some(placed) = self.of.get_mut(moved) {
                    placed.position = position as u32;
                }
            }
            None if list.is_empty() => {
                self.by_server.remove(key);
            }
            None => {}
        }
    }

    /// What is known of the source of one.
    pub(super) fn get(&self, id: u32) -> Option<Open<A>> {
        self.of.get(&id).map(|placed| placed.open)
    }

    /// Whether any source can be this address.
    pub(super) fn may_have(&self, address: A, is_local: impl Fn(A) -> Option<bool>) -> bool {
        self.has_ranges || is_local(address) != Some(false)
    }

    /// Those live ones of a server whose source may be this one: of more than two, two. Those that are over are not met again.
    pub(super) fn fitting(
        &mut self,
        protocol: u8,
        server: End<A>,
        source: End<A>,
        is_local: impl Fn(A) -> Option<bool>,
        is_live: impl Fn(u32) -> bool,
    ) -> [Option<u32>; 2] {
        let mut found = [None; 2];
        for part in [Some(source.1), None] {
            let key = (protocol, server, part);
            let mut at = 0;
            while let Some(id) = self.by_server.get(&key).and_then(|list| list.get(at)) {
                let id = *id;
                if !is_live(id) {
                    self.take_out(&key, at);
                    if let Some(placed) = self.of.get_mut(&id) {
                        placed.position = NOWHERE;
                    }
                    continue;
                }
                at += 1;
                let fits = self
                    .get(id)
                    .is_some_and(|open| open.fits(source, &is_local));
                if fits && let Some(free) = found.iter_mut().find(|free| free.is_none()) {
                    *free = Some(id);
                }
                if found[1].is_some() {
                    return found;
                }
            }
        }
        found
    }

    /// Those that are there, and their servers.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.of.len() + self.by_server.len()
    }

    /// Bytes that it takes.
    #[cfg(test)]
    pub(super) fn allocated(&self) -> usize {
        let lists = self.by_server.values();
        let lists = lists.map(|ids| ids.capacity() * size_of::<u32>());
        super::table::of_map(&self.of)
            + super::table::of_map(&self.by_server)
            + lists.sum::<usize>()
    }
}

#[cfg(test)]
mod tests {
    use super::super::entry::Client;
    use super::super::tuple::Tuple;
    use super::*;
    use crate::numbers::numbers;

    const SERVER: End<u32> = (2, 53);

    /// Some are put in, taken out and over in many orders, beside a plain list.
    #[test]
    fn those_that_fit_are_found_while_they_live() {
        let mut opens = Opens::default();
        let mut there: Vec<(u32, Entry<u32>, bool)> = Vec::new();
        let mut next = numbers();
        for id in 0..4000 {
            let part = (next(3) > 0).then(|| 4000 + next(2) as u16);
            let addresses = (next(4) == 0).then_some((20, 30));
            let open = Open { addresses, part };
            let original = Tuple::new(17, (id, 4000), SERVER);
            let mut entry = Entry::new(original, Tuple::new(17, SERVER, (id, 4000)), 0);
            entry.client = Client::Open(open);
            opens.insert(id, &entry, open);
            there.push((id, entry, true));
            while there.len() > 12 || next(3) == 0 && !there.is_empty() {
                let (id, entry, _) = there.swap_remove(next(there.len() as u64) as usize);
                opens.remove(id, &entry);
            }
            if let Some(last) = there.last_mut() {
                last.2 &= next(4) > 0;
            }
            let source = (19 + next(3) as u32, 4000 + next(2) as u16);
            let is_local = |address| Some(address == 19);
            let is_live = |id| there.iter().any(|(of, _, is_live)| *of == id && *is_live);
            let fits = |(_, entry, is_live): &&(u32, Entry<u32>, bool)| {
                let Client::Open(open) = entry.client else {
                    return false;
                };
                *is_live && open.fits(source, is_local)
            };
            let expected = there.iter().filter(fits).count().min(2);
            let found = opens.fitting(17, SERVER, source, is_local, is_live);
            let found: Vec<u32> = found.into_iter().flatten().collect();
            assert_eq!(found.len(), expected, "after {id}");
            let are_they = |id: &u32| there.iter().filter(fits).any(|(of, ..)| of == id);
            assert!(found.iter().all(are_they), "after {id}");
        }
        there
            .iter()
            .for_each(|(id, entry, _)| opens.remove(*id, entry));
        assert_eq!(opens.len(), 0);
    }
}
