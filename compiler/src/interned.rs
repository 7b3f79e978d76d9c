//! Lists whose equal members are one.

use ahash::RandomState;
use hashbrown::HashTable;
use std::hash::Hash;

/// A list whose equal members are one.
#[derive(Debug)]
pub(crate) struct Interned<T> {
    pub(crate) list: Vec<T>,
    /// Positions in the list, by the members' hashes.
    ids: HashTable<u32>,
    state: RandomState,
}

impl<T: Copy + Eq + Hash> Interned<T> {
    pub(crate) fn new() -> Self {
        Self {
            list: Vec::new(),
            ids: HashTable::new(),
            state: RandomState::new(),
        }
    }

    pub(crate) fn id(&mut self, value: T) -> u32 {
        let Self { list, ids, state } = self;
        let hash = state.hash_one(value);
        if let Some(id) = ids.find(hash, |id| list[*id as usize] == value) {
            return *id;
        }
        let id = list.len() as u32;
        list.push(value);
        ids.insert_unique(hash, id, |id| state.hash_one(list[*id as usize]));
        id
    }
}
