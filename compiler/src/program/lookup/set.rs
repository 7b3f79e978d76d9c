//! Drawing one of some members.

/// Members that one is drawn from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Set {
    /// Behind the class's first member.
    pub(super) offset: u32,
    pub(super) members: u32,
    /// The row of thresholds.
    pub(super) first_threshold: u32,
    /// What is left of a number behind the guess tells that the guess is right, if it is so far from either end.
    margin: u32,
    /// The numbers in between.
    sure: u32,
}

impl Set {
    pub(super) fn new(thresholds: &[u64], offset: u32, first_threshold: u32) -> Self {
        let (margin, sure) = sure(thresholds);
        Self {
            offset,
            members: thresholds.len() as u32 + 1,
            first_threshold,
            margin,
            sure,
        }
    }

    /// The same with its thresholds in another place.
    pub(super) fn moved(self, first_threshold: u32) -> Self {
        Self {
            first_threshold,
            ..self
        }
    }

    /// The member that a number draws, if that is sure without a look at the thresholds.
    #[inline(always)]
    pub(super) fn guess(&self, draw: u64) -> Option<u32> {
        let product = u128::from(draw) * u128::from(self.members);
        let (guess, rest) = ((product >> 64) as u32, (product >> 32) as u32);
        (rest.wrapping_sub(self.margin) < self.sure).then_some(guess)
    }
}

/// How far from either end the upper 32 bits of what is left tell that a guess is right, and how many such numbers there are.
///
/// Of `n` members a number `d` is guessed to draw the one at `g`, where `d * n = g * 2^64 + rest`. If each threshold `t` at `k` has
/// `t * n` within `e` of `k * 2^64`, and `rest` is farther than that from 0 and 2^64, then all thresholds up to `g` are below `d`, and no others.
fn sure(thresholds: &[u64]) -> (u32, u32) {
    let members = thresholds.len() as u128 + 1;
    let off = |(at, threshold): (u128, &u64)| (u128::from(*threshold) * members).abs_diff(at << 64);
    match (1..).zip(thresholds).map(off).max() {
        None => (0, u32::MAX),
        Some(most) => {
            let margin = (most >> 32) + 1;
            let sure = (1u128 << 32).saturating_sub(2 * margin);
            (margin.min(u32::MAX.into()) as u32, sure as u32)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The numbers around each threshold and around where equal distances would have one, and some in between.
    fn numbers(thresholds: &[u64]) -> Vec<u64> {
        let members = thresholds.len() as u128 + 1;
        let even = (0..=members).map(|at| ((at << 64) / members).min(u64::MAX.into()) as u64);
        let edges = thresholds.iter().copied().chain(even);
        let spread = (0..64u64).map(|i| i.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let offsets = [0, 1, 1 << 20, 1 << 32, 1 << 33, 1 << 34, 1 << 40, 1 << 60];
        let around =
            |edge: u64| offsets.map(|by: u64| [edge.wrapping_sub(by), edge.wrapping_add(by)]);
        edges.chain(spread).flat_map(around).flatten().collect()
    }

    /// How many of the numbers have a sure guess; all of these are right.
    fn sure_guesses(thresholds: &[u64]) -> usize {
        let set = Set::new(thresholds, 0, 0);
        let drawn = |draw: u64| thresholds.iter().filter(|below| **below <= draw).count() as u32;
        let guessed = |draw: &u64| match set.guess(*draw) {
            Some(member) => {
                assert_eq!(member, drawn(*draw), "{draw:#x} of {thresholds:x?}");
                true
            }
            None => false,
        };
        numbers(thresholds)
            .iter()
            .filter(|draw| guessed(draw))
            .count()
    }

    #[test]
    fn a_sure_guess_is_what_the_thresholds_say() {
        // As kube-proxy writes them, in steps of 2^-31 of all numbers.
        let even = |members: u64| -> Vec<u64> {
            let below = |at: u64| ((at << 31) / members) << 33;
            (1..members).map(below).collect()
        };
        for members in [1, 2, 3, 7, 10, 100, 1000] {
            assert!(sure_guesses(&even(members)) > 500, "{members} members");
        }
        assert_eq!(sure_guesses(&[1 << 60]), 0);
        sure_guesses(&[(1 << 63) - (1 << 50), u64::MAX - 5]);
        sure_guesses(&[0, 0]);
    }
}
