//! Numbers drawn from a seed: the same on every machine and in every version.

/// splitmix64 (Steele, Lea, Flood 2014).
#[derive(Clone, Debug)]
pub struct Numbers(u64);

impl Numbers {
    /// The numbers of a seed.
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// 64 bits.
    pub fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `end`; 0 where `end` is 0.
    pub fn below(&mut self, end: u64) -> u64 {
        ((u128::from(self.bits()) * u128::from(end)) >> 64) as u64
    }

    /// An index into something of `len` members; 0 where `len` is 0.
    pub fn index(&mut self, len: usize) -> usize {
        self.below(len as u64) as usize
    }

    /// True with this probability.
    pub fn chance(&mut self, probability: f64) -> bool {
        // The upper 53 bits are what a double holds exactly.
        ((self.bits() >> 11) as f64) < probability * (1u64 << 53) as f64
    }

    /// One of several; `None` of none.
    pub fn pick<'a, T>(&mut self, from: &'a [T]) -> Option<&'a T> {
        from.get(self.index(from.len()))
    }

    /// One of several.
    pub fn choose<T: Copy, const N: usize>(&mut self, from: [T; N]) -> T {
        const { assert!(N > 0, "there is something to choose") };
        from[self.index(N)]
    }

    /// Puts a list in another order.
    pub fn shuffle<T>(&mut self, list: &mut [T]) {
        for end in (2..=list.len()).rev() {
            list.swap(end - 1, self.index(end));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Numbers;

    #[test]
    fn a_seed_gives_the_published_numbers() {
        let mut numbers = Numbers::new(1_234_567);
        let drawn: Vec<u64> = (0..3).map(|_| numbers.bits()).collect();
        assert_eq!(
            drawn,
            [
                6_457_827_717_110_365_317,
                3_203_168_211_198_807_973,
                9_817_491_932_198_370_423
            ]
        );
    }

    #[test]
    fn numbers_stay_below_their_end() {
        let mut numbers = Numbers::new(0);
        assert!((0..1000).all(|_| numbers.below(7) < 7));
        assert_eq!((numbers.below(0), numbers.index(0)), (0, 0));
        assert!((0..100).all(|_| numbers.chance(1.0) && !numbers.chance(0.0)));
        assert_eq!(numbers.pick::<u8>(&[]), None);
    }

    #[test]
    fn a_shuffle_moves_members_and_loses_none() {
        let mut list: Vec<u32> = (0..20).collect();
        Numbers::new(1).shuffle(&mut list);
        assert!(list.iter().zip(0..).any(|(a, b)| *a != b));
        list.sort_unstable();
        assert!(list.into_iter().eq(0..20));
    }
}
