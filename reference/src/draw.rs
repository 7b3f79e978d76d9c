//! The numbers that remain possible on a way (WALK.md 5): one walk, three things it is asked for.

use crate::probability::{Chance, Probability};
use std::cmp::Ordering;

/// A share of the numbers drawn. It is split at draws; two sequences of shares of one whole are laid over one another
/// where an unknown rule was followed both ways.
pub(crate) trait Share: Clone {
    /// A question is followed through at most so many draws that leave both sides, or a ruleset written to do so would fill the memory with ways. Real
    /// ones have one such draw an endpoint.
    const MAX_DRAWS: u32;

    /// The first `hits / of` of it, and the rest; `None` for a side that nothing is left to.
    fn split(&self, chance: Chance) -> (Option<Self>, Option<Self>);

    /// What two shares with the same beginning have in common, and what is left of each.
    fn overlap(self, other: Self) -> Overlap<Self>;
}

/// The parts of two shares that begin at the same number.
pub(crate) struct Overlap<S> {
    /// In both.
    pub(crate) both: S,
    /// The first one's rest.
    pub(crate) first: Option<S>,
    /// The second one's rest.
    pub(crate) second: Option<S>,
}

/// One number: where it stands in the interval, and the interval's width.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Point {
    offset: u128,
    width: u128,
}

impl Point {
    /// `draw` among all numbers.
    pub(crate) fn new(draw: u64) -> Self {
        Self {
            offset: u128::from(draw),
            width: 1 << 64,
        }
    }
}

/// The numbers that hit: rounded down.
fn hits(width: u128, chance: Chance) -> u128 {
    width * u128::from(chance.hits) / u128::from(chance.of)
}

impl Share for Point {
    const MAX_DRAWS: u32 = u32::MAX;

    /// Sentence 5.1, tests `draws::hits_come_first` and `draws::decide_agrees_with_partition_at_every_border`.
    fn split(&self, chance: Chance) -> (Option<Self>, Option<Self>) {
        let hit = hits(self.width, chance);
        if self.offset < hit {
            (
                Some(Self {
                    offset: self.offset,
                    width: hit,
                }),
                None,
            )
        } else {
            (
                None,
                Some(Self {
                    offset: self.offset - hit,
                    width: self.width - hit,
                }),
            )
        }
    }

    fn overlap(self, _: Self) -> Overlap<Self> {
        Overlap {
            both: self,
            first: None,
            second: None,
        }
    }
}

/// So many consecutive numbers; the shares of a walk follow one another in ascending order.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Numbers(pub(crate) u128);

impl Numbers {
    /// All of them.
    pub(crate) const ALL: Self = Self(1 << 64);
}

impl Share for Numbers {
    const MAX_DRAWS: u32 = 1 << 17;

    fn split(&self, chance: Chance) -> (Option<Self>, Option<Self>) {
        let hit = hits(self.0, chance);
        let some = |width| (width > 0).then_some(Self(width));
        (some(hit), some(self.0 - hit))
    }

    fn overlap(self, other: Self) -> Overlap<Self> {
        let both = self.0.min(other.0);
        let rest = |width| (width > both).then(|| Self(width - both));
        Overlap {
            both: Self(both),
            first: rest(self.0),
            second: rest(other.0),
        }
    }
}

impl Share for Probability {
    /// The n-th draw of a chain makes a fraction of 31·n bits, and each way keeps its own.
    const MAX_DRAWS: u32 = 1 << 13;

    fn split(&self, chance: Chance) -> (Option<Self>, Option<Self>) {
        let side = |n| (n > 0).then(|| self.times(n, chance.of));
        (side(chance.hits), side(chance.of - chance.hits))
    }

    fn overlap(self, other: Self) -> Overlap<Self> {
        match self.cmp(&other) {
            Ordering::Equal => Overlap {
                both: self,
                first: None,
                second: None,
            },
            Ordering::Less => {
                let rest = other.minus(&self);
                Overlap {
                    both: self,
                    first: None,
                    second: Some(rest),
                }
            }
            Ordering::Greater => {
                let rest = self.minus(&other);
                Overlap {
                    both: other,
                    first: Some(rest),
                    second: None,
                }
            }
        }
    }
}
