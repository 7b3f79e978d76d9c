//! Positions by hash: an open table, most of a lookup in one cache line.
//!
//! What stands at a position is compared by whoever asks, so that nothing of it is kept twice.

use crate::near;
use ahash::RandomState;

/// A hash.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Hash(u32);

impl Hash {
    #[inline(always)]
    pub(crate) fn number(self) -> u32 {
        self.0
    }
}

/// Makes hashes. Its keys are drawn anew for each run: who sends packets cannot know which tuples meet.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Hasher {
    keys: [u64; 3],
}

impl Hasher {
    pub(crate) fn new() -> Self {
        let state = RandomState::new();
        Self {
            keys: [0_u8, 1, 2].map(|key| state.hash_one(key)),
        }
    }

    /// Of two addresses and of what fits into a word.
    #[inline(always)]
    pub(crate) fn hash(&self, one: u128, other: u128, rest: u64) -> Hash {
        let [a, b, c] = self.keys;
        let low = mix(one as u64 ^ a, other as u64 ^ b);
        let mut all = mix(low ^ rest, c);
        // Of IPv4 there is none.
        let high = ((one >> 64) as u64, (other >> 64) as u64);
        if high != (0, 0) {
            all = mix(all ^ high.0, high.1 ^ b);
        }
        Hash((all >> 32) as u32 ^ all as u32)
    }
}

/// Both halves of a product.
#[inline(always)]
fn mix(a: u64, b: u64) -> u64 {
    let product = u128::from(a) * u128::from(b);
    product as u64 ^ (product >> 64) as u64
}

/// A hash, and what stands there; [`FREE`] if nothing does.
#[derive(Clone, Copy, Debug)]
struct Cell {
    hash: u32,
    value: u32,
}

const FREE: u32 = u32::MAX;

const EMPTY: Cell = Cell {
    hash: 0,
    value: FREE,
};

/// So many of 4 cells are used at most.
const MOST_OF_4: usize = 3;

/// Cells of an empty index.
const FEWEST: usize = 16;

/// Positions by hash.
#[derive(Debug)]
pub(crate) struct Index {
    cells: Vec<Cell>,
    len: usize,
    /// So often was something changed.
    changes: u32,
}

/// The first value that stood at a hash.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Guess {
    value: u32,
    changes: u32,
}

impl Guess {
    /// None.
    pub(crate) const NONE: Self = Self {
        value: FREE,
        changes: 0,
    };

    /// It, which may be there no more.
    #[inline(always)]
    pub(crate) fn value(self) -> Option<u32> {
        (self.value != FREE).then_some(self.value)
    }
}

impl Index {
    pub(crate) fn new() -> Self {
        Self::with_cells(FEWEST)
    }

    fn with_cells(cells: usize) -> Self {
        Self {
            cells: vec![EMPTY; cells],
            len: 0,
            changes: 0,
        }
    }

    /// Cells are in the order of hashes, however many they are.
    #[inline(always)]
    fn home(&self, hash: u32) -> usize {
        ((u64::from(hash) * self.cells.len() as u64) >> 32) as usize
    }

    /// The cell behind one; behind the last, the first.
    #[inline(always)]
    fn next(&self, at: usize) -> usize {
        if at + 1 == self.cells.len() {
            0
        } else {
            at + 1
        }
    }

    /// How many cells further on one is than another.
    fn distance(&self, from: usize, to: usize) -> usize {
        match to.checked_sub(from) {
            Some(distance) => distance,
            None => to + self.cells.len() - from,
        }
    }

    /// Bytes that it takes.
    #[cfg(test)]
    pub(crate) fn allocated(&self) -> usize {
        self.cells.capacity() * size_of::<Cell>()
    }

    /// What a lookup will read first comes nearer.
    #[inline(always)]
    pub(crate) fn come_nearer(&self, Hash(hash): Hash) {
        near::ask_for(&self.cells[self.home(hash)]);
    }

    /// What a lookup would find first.
    #[inline(always)]
    pub(crate) fn guess(&self, hash: Hash) -> Guess {
        Guess {
            value: self.find(hash, |_| true).unwrap_or(FREE),
            changes: self.changes,
        }
    }

    /// What a lookup still finds first.
    #[inline(always)]
    pub(crate) fn found(&self, guess: Guess) -> Option<u32> {
        guess.value().filter(|_| guess.changes == self.changes)
    }

    /// A value that stands at a hash, and is the one.
    #[inline(always)]
    pub(crate) fn find(&self, Hash(hash): Hash, mut is_it: impl FnMut(u32) -> bool) -> Option<u32> {
        let mut at = self.home(hash);
        loop {
            let cell = self.cells[at];
            if cell.value == FREE {
                return None;
            }
            if cell.hash == hash && is_it(cell.value) {
                return Some(cell.value);
            }
            at = self.next(at);
        }
    }

    /// Takes all out.
    pub(crate) fn clear(&mut self) {
        self.cells.fill(EMPTY);
        self.len = 0;
        self.changes = self.changes.wrapping_add(1);
    }

    /// Puts a value in, which must not be there.
    pub(crate) fn insert(&mut self, Hash(hash): Hash, value: u32) {
        if (self.len + 1) * 4 > self.cells.len() * MOST_OF_4 {
            self.grow();
        }
        self.put(Cell { hash, value });
        self.len += 1;
        self.changes = self.changes.wrapping_add(1);
    }

    fn put(&mut self, cell: Cell) {
        let mut at = self.home(cell.hash);
        while self.cells[at].value != FREE {
            at = self.next(at);
        }
        self.cells[at] = cell;
    }

    /// By half: with each doubling, half of what is taken would be empty.
    fn grow(&mut self) {
        let cells = self.cells.len();
        let mut larger = Self::with_cells(cells + cells / 2);
        let cells = self.cells.iter().filter(|cell| cell.value != FREE);
        cells.for_each(|cell| larger.put(*cell));
        self.cells = larger.cells;
    }

    /// Puts another value in the place of one.
    pub(crate) fn replace(&mut self, hash: Hash, old: u32, new: u32) {
        if let Some(at) = self.position(hash, old) {
            self.cells[at].value = new;
            self.changes = self.changes.wrapping_add(1);
        }
    }

    /// Takes a value out, if it is there.
    pub(crate) fn remove(&mut self, hash: Hash, value: u32) {
        let Some(mut free) = self.position(hash, value) else {
            return;
        };
        self.len -= 1;
        self.changes = self.changes.wrapping_add(1);
        // Those behind it that a lookup would not find any more move up.
        let mut at = free;
        loop {
            at = self.next(at);
            let cell = self.cells[at];
            if cell.value == FREE {
                break;
            }
            let from_home = self.distance(self.home(cell.hash), at);
            let from_free = self.distance(free, at);
            if from_home >= from_free {
                self.cells[free] = cell;
                free = at;
            }
        }
        self.cells[free] = EMPTY;
    }

    fn position(&self, Hash(hash): Hash, value: u32) -> Option<usize> {
        let mut at = self.home(hash);
        loop {
            let cell = self.cells[at];
            if cell.value == FREE {
                return None;
            }
            if cell.hash == hash && cell.value == value {
                return Some(at);
            }
            at = self.next(at);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::numbers::numbers;

    /// Values in few homes, put in and taken out in many orders, stand beside a plain list.
    #[test]
    fn values_are_found_until_they_are_taken_out() {
        let mut next = numbers();
        let mut index = Index::new();
        let mut there: Vec<(u32, u32)> = Vec::new();
        for value in 0..20_000 {
            // Neighbouring homes, the last and the first among them.
            let hash = (next(12) as u32).wrapping_sub(6) << 26 | next(3) as u32;
            index.insert(Hash(hash), value);
            there.push((hash, value));
            while there.len() > 200 || next(3) == 0 && !there.is_empty() {
                let (hash, value) = there.swap_remove(next(there.len() as u64) as usize);
                index.remove(Hash(hash), value);
                index.remove(Hash(hash), value);
                assert_eq!(index.find(Hash(hash), |of| of == value), None);
            }
            let missing = there
                .iter()
                .find(|(hash, value)| index.find(Hash(*hash), |of| of == *value) != Some(*value));
            assert_eq!(missing, None, "after {value}");
        }
        assert_eq!(index.len, there.len());
    }

    #[test]
    fn a_value_stands_in_the_place_of_another() {
        let mut index = Index::new();
        index.insert(Hash(7), 1);
        index.replace(Hash(7), 1, 2);
        assert_eq!(index.find(Hash(7), |_| true), Some(2));
    }
}
