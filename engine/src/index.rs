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

/// So many of 8 cells are used at most.
const MOST_OF_8: usize = 5;

/// Positions by hash.
#[derive(Debug)]
pub(crate) struct Index {
    cells: Vec<Cell>,
    /// Shifts a hash to its cell.
    shift: u32,
    len: usize,
}

impl Index {
    pub(crate) fn new() -> Self {
        Self::with_bits(4)
    }

    fn with_bits(bits: u32) -> Self {
        Self {
            cells: vec![EMPTY; 1 << bits],
            shift: 32 - bits,
            len: 0,
        }
    }

    #[inline(always)]
    fn mask(&self) -> usize {
        self.cells.len() - 1
    }

    #[inline(always)]
    fn home(&self, hash: u32) -> usize {
        (hash >> self.shift) as usize & self.mask()
    }

    /// What a lookup will read first comes nearer.
    #[inline(always)]
    pub(crate) fn come_nearer(&self, Hash(hash): Hash) {
        near::ask_for(&self.cells[self.home(hash)]);
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
            at = (at + 1) & self.mask();
        }
    }

    /// Takes all out.
    pub(crate) fn clear(&mut self) {
        self.cells.fill(EMPTY);
        self.len = 0;
    }

    /// Puts a value in, which must not be there.
    pub(crate) fn insert(&mut self, Hash(hash): Hash, value: u32) {
        if (self.len + 1) * 8 > self.cells.len() * MOST_OF_8 {
            self.grow();
        }
        self.put(Cell { hash, value });
        self.len += 1;
    }

    fn put(&mut self, cell: Cell) {
        let mut at = self.home(cell.hash);
        while self.cells[at].value != FREE {
            at = (at + 1) & self.mask();
        }
        self.cells[at] = cell;
    }

    /// More than 2^31 cells are never needed: values are as many.
    fn grow(&mut self) {
        let mut larger = Self::with_bits(33 - self.shift);
        let cells = self.cells.iter().filter(|cell| cell.value != FREE);
        cells.for_each(|cell| larger.put(*cell));
        (self.cells, self.shift) = (larger.cells, larger.shift);
    }

    /// Puts another value in the place of one.
    pub(crate) fn replace(&mut self, hash: Hash, old: u32, new: u32) {
        if let Some(at) = self.position(hash, old) {
            self.cells[at].value = new;
        }
    }

    /// Takes a value out, if it is there.
    pub(crate) fn remove(&mut self, hash: Hash, value: u32) {
        let Some(mut free) = self.position(hash, value) else {
            return;
        };
        self.len -= 1;
        // Those behind it that a lookup would not find any more move up.
        let mut at = free;
        loop {
            at = (at + 1) & self.mask();
            let cell = self.cells[at];
            if cell.value == FREE {
                break;
            }
            let from_home = at.wrapping_sub(self.home(cell.hash)) & self.mask();
            let from_free = at.wrapping_sub(free) & self.mask();
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
            at = (at + 1) & self.mask();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Values in few homes, put in and taken out in many orders, stand beside a plain list.
    #[test]
    fn values_are_found_until_they_are_taken_out() {
        let mut state = 1_u64;
        let mut next = |below: u64| {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            (state >> 33) % below
        };
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
