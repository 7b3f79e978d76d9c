//! Keys in buckets of one cache line (IPv4): a probe touches one line, and a second only where a bucket has overflowed.

use std::hash::Hash;
use std::hint::select_unpredictable;

/// What destination keys are packed into.
pub trait Key: Copy + Eq + Hash + Send + Sync + std::fmt::Debug {
    /// No packet's.
    const EMPTY: Self;

    /// A hash of it and a seed: one multiplication to 128 bits for each 64 bits, folded.
    fn mixed(self, seed: u64) -> u64;
}

/// Odd, with its bits spread (the golden ratio).
pub(super) const SPREAD: u64 = 0x9e37_79b9_7f4a_7c15;

/// Multiplies to 128 bits and folds: each half of the product depends on all bits.
#[inline(always)]
pub(super) fn fold(a: u64, b: u64) -> u64 {
    let product = u128::from(a) * u128::from(b);
    product as u64 ^ (product >> 64) as u64
}

/// IPv4: address, protocol, port.
impl Key for u64 {
    const EMPTY: Self = Self::MAX;

    #[inline(always)]
    fn mixed(self, seed: u64) -> u64 {
        fold(self ^ seed, SPREAD)
    }
}

/// IPv6: the address's halves, then protocol and port.
impl Key for [u64; 3] {
    const EMPTY: Self = [u64::MAX; 3];

    #[inline(always)]
    fn mixed(self, seed: u64) -> u64 {
        self.into_iter()
            .fold(seed, |state, part| fold(part ^ state, SPREAD))
    }
}

/// What keys lead to.
pub trait Value: Copy + Default + Eq {
    /// What no key leads to.
    const NONE: Self;
}

const WAYS: usize = 4;

/// Four keys with what each leads to. The used ones come first.
#[derive(Clone, Debug)]
#[repr(align(64))]
pub struct Bucket<K, V> {
    keys: [K; WAYS],
    values: [V; WAYS],
}

impl<K: Key, V: Value> Bucket<K, V> {
    /// What a key in this bucket leads to; else `none` if it is nowhere in the table, or [`Value::NONE`] if it may be in another bucket.
    #[inline(always)]
    pub(super) fn find(&self, key: K, none: V) -> V {
        // In which of the ways it stands, or whether in any, can not be predicted.
        let mut found = select_unpredictable(self.is_full(), V::NONE, none);
        for (other, value) in self.keys.iter().zip(&self.values) {
            found = select_unpredictable(*other == key, *value, found);
        }
        found
    }

    #[inline(always)]
    fn is_full(&self) -> bool {
        self.keys[WAYS - 1] != K::EMPTY
    }
}

const _: () = assert!(size_of::<Bucket<u64, super::Place>>() == 64);

/// A table from packed keys to values. What does not fit into its bucket stands in the next one that has room.
#[derive(Clone, Debug)]
pub struct Table<K, V> {
    buckets: Vec<Bucket<K, V>>,
    hashing: Hashing,
}

/// Which bucket a key belongs into.
#[derive(Clone, Copy, Debug)]
pub(super) struct Hashing {
    /// Random, so that no dump can be written whose keys meet in one bucket.
    seed: u64,
    buckets: u64,
}

impl Hashing {
    #[inline(always)]
    pub(super) fn bucket<K: Key>(self, key: K) -> usize {
        ((u128::from(key.mixed(self.seed)) * u128::from(self.buckets)) >> 64) as usize
    }
}

impl<K: Key, V: Value> Table<K, V> {
    pub(in crate::program) fn new(entries: &[(K, V)]) -> Self {
        let empty = Bucket {
            keys: [K::EMPTY; WAYS],
            values: [V::default(); WAYS],
        };
        let buckets = entries.len().div_ceil(WAYS / 2).max(1);
        let mut table = Self {
            buckets: vec![empty; buckets],
            hashing: Hashing {
                seed: ahash::RandomState::new().hash_one(0u64),
                buckets: buckets as u64,
            },
        };
        for (key, value) in entries {
            table.insert(*key, *value);
        }
        table
    }

    fn insert(&mut self, key: K, value: V) {
        let mut at = self.bucket(key);
        loop {
            let bucket = &mut self.buckets[at];
            if let Some(free) = bucket.keys.iter().position(|k| *k == K::EMPTY) {
                bucket.keys[free] = key;
                bucket.values[free] = value;
                return;
            }
            at = self.after(at);
        }
    }

    fn after(&self, at: usize) -> usize {
        if at + 1 == self.buckets.len() {
            0
        } else {
            at + 1
        }
    }

    /// The bucket that a key belongs into.
    #[inline(always)]
    pub fn bucket(&self, key: K) -> usize {
        self.hashing.bucket(key)
    }

    #[inline(always)]
    pub(super) fn hashing(&self) -> Hashing {
        self.hashing
    }

    /// Its buckets, for whoever looks for many keys.
    #[inline(always)]
    pub(super) fn buckets(&self) -> &[Bucket<K, V>] {
        &self.buckets
    }

    /// What a key leads to; `bucket` is its own.
    #[inline(always)]
    pub fn find(&self, key: K, bucket: usize) -> Option<V> {
        let found = self.buckets[bucket].find(key, V::NONE);
        if found == V::NONE {
            return self.find_behind(key, bucket);
        }
        Some(found)
    }

    /// What a key leads to that is not in its own bucket.
    #[inline(never)]
    pub(super) fn find_behind(&self, key: K, bucket: usize) -> Option<V> {
        if !self.buckets[bucket].is_full() {
            return None;
        }
        let mut at = self.after(bucket);
        while at != bucket {
            let bucket = &self.buckets[at];
            if let Some(way) = bucket.keys.iter().position(|found| *found == key) {
                return Some(bucket.values[way]);
            }
            if !bucket.is_full() {
                return None;
            }
            at = self.after(at);
        }
        None
    }

    /// The value of a key.
    #[inline]
    pub(in crate::program) fn get(&self, key: K) -> Option<V> {
        self.find(key, self.bucket(key))
    }

    pub(in crate::program) fn bytes(&self) -> usize {
        std::mem::size_of_val(&*self.buckets)
    }
}

#[cfg(test)]
mod tests {
    use super::super::Place;
    use super::*;

    /// Keys spread by a fixed generator, so many that some hundreds of buckets overflow.
    fn keys() -> impl Iterator<Item = u64> {
        (0..20_000u64).map(|i| i.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 8)
    }

    #[test]
    fn what_was_put_in_is_found_and_nothing_else() {
        let of = |plan| Place::new(7, plan);
        let entries: Vec<(u64, Place)> = keys().zip((0..).map(of)).collect();
        let (inside, outside) = entries.split_at(10_000);
        let table = Table::new(inside);
        for (key, place) in inside {
            assert_eq!(table.find(*key, table.bucket(*key)), Some(*place));
        }
        for (key, _) in outside {
            assert_eq!(table.find(*key, table.bucket(*key)), None);
        }
        let overflowed = inside
            .iter()
            .filter(|(key, _)| !table.buckets[table.bucket(*key)].keys.contains(key));
        assert!(overflowed.count() > 100);
        for (key, place) in inside.iter().chain(outside) {
            let bucket = &table.buckets[table.bucket(*key)];
            let expected = match (bucket.keys.contains(key), bucket.is_full()) {
                (true, _) => *place,
                (false, true) => Place::NONE,
                (false, false) => of(9),
            };
            assert_eq!(bucket.find(*key, of(9)), expected);
        }
    }

    #[test]
    fn a_table_may_be_full_of_keys_that_meet() {
        let place = Place::new(1, 2);
        let entries: Vec<([u64; 3], Place)> = (0..5).map(|i| ([i, 0, 0], place)).collect();
        let mut table = Table::new(&entries[..3]);
        table.buckets.truncate(1);
        table.hashing.buckets = 1;
        for (key, _) in &entries[3..4] {
            table.insert(*key, place);
        }
        assert_eq!(table.find([9, 9, 9], 0), None);
        assert_eq!(Table::<u64, Place>::new(&[]).find(5, 0), None);
    }
}
