//! Lists whose equal members are one.

use ahash::RandomState;
use hashbrown::HashTable;
use std::hash::Hash;

/// A list whose equal members are one.
#[derive(Debug)]
pub(crate) struct Interned<T> {
    pub(crate) list: Vec<T>,
    /// Positions in the list, by the members' hashes, once there are more than [`FEW`].
    ids: Option<Ids>,
}

#[derive(Debug)]
struct Ids {
    table: HashTable<u32>,
    state: RandomState,
}

/// So few are compared one by one: a walk of one packet meets no more.
const FEW: usize = 16;

impl<T: Eq + Hash> Interned<T> {
    pub(crate) fn new() -> Self {
        Self {
            list: Vec::new(),
            ids: None,
        }
    }

    pub(crate) fn id(&mut self, value: T) -> u32 {
        let Self { list, ids } = self;
        let next = list.len() as u32;
        if list.len() < FEW {
            if let Some(known) = list.iter().position(|of| *of == value) {
                return known as u32;
            }
            list.push(value);
            return next;
        }
        let Ids { table, state } = ids.get_or_insert_with(|| Ids::of(list));
        let hash = state.hash_one(&value);
        if let Some(id) = table.find(hash, |id| list[*id as usize] == value) {
            return *id;
        }
        list.push(value);
        table.insert_unique(hash, next, |id| state.hash_one(&list[*id as usize]));
        next
    }
}

impl Ids {
    fn of<T: Hash>(list: &[T]) -> Self {
        let (mut table, state) = (HashTable::new(), RandomState::new());
        let hash = |id: &u32| state.hash_one(&list[*id as usize]);
        for id in 0..list.len() as u32 {
            table.insert_unique(hash(&id), id, hash);
        }
        Self { table, state }
    }
}
