//! Lists of what many classes have in common.

use ahash::RandomState;
use hashbrown::HashTable;
use std::hash::Hash;

/// Lists that are one where they are equal, side by side.
pub(super) struct Lists<T, K> {
    pub(super) all: Vec<T>,
    /// What each of `all` was made of.
    pub(super) keys: Vec<K>,
    /// First position and length of each list.
    pub(super) known: HashTable<(u32, u32)>,
    state: RandomState,
}

impl<T, K: Copy + Eq + Hash> Lists<T, K> {
    pub(super) fn new() -> Self {
        Self {
            all: Vec::new(),
            keys: Vec::new(),
            known: HashTable::new(),
            state: RandomState::new(),
        }
    }

    /// The first position of a list; `of` makes its members where it is new.
    pub(super) fn first(&mut self, list: &[K], of: impl Fn(&K) -> T) -> u32 {
        let Self {
            all,
            keys,
            known,
            state,
        } = self;
        let of_known = |(first, len): &(u32, u32)| &keys[*first as usize..][..*len as usize];
        let hash = state.hash_one(list);
        if let Some((first, _)) = known.find(hash, |known| of_known(known) == list) {
            return *first;
        }
        let new = (all.len() as u32, list.len() as u32);
        known.insert_unique(hash, new, |known| state.hash_one(of_known(known)));
        all.extend(list.iter().map(of));
        keys.extend_from_slice(list);
        new.0
    }
}
