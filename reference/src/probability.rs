//! Exact probabilities.

use num_bigint::BigUint;
use num_traits::{One, ToPrimitive, Zero};
use std::cmp::Ordering;
use std::fmt;

/// A rational number of 0..=1, reduced. The denominator is kept as an odd number times a power of two, because the
/// chances of `statistic --mode random` are over 2^31: a chain of 5,000 endpoints has a denominator of 155,000 bits, which
/// must not be divided or compared by a general gcd.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Probability {
    numerator: BigUint,
    odd: BigUint,
    twos: u64,
}

/// A chance of `hits` in `of`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Chance {
    /// At most `of`.
    pub(crate) hits: u32,
    /// At least 1.
    pub(crate) of: u32,
}

impl Probability {
    /// Certainty.
    pub fn one() -> Self {
        Self {
            numerator: BigUint::one(),
            odd: BigUint::one(),
            twos: 0,
        }
    }

    /// Impossibility.
    pub fn zero() -> Self {
        Self {
            numerator: BigUint::zero(),
            odd: BigUint::one(),
            twos: 0,
        }
    }

    /// Whether it is 0.
    pub fn is_zero(&self) -> bool {
        self.numerator.is_zero()
    }

    /// Whether it is exactly 1.
    pub fn is_one(&self) -> bool {
        self.twos == 0 && self.numerator == self.odd
    }

    /// The reduced denominator.
    pub fn denominator(&self) -> BigUint {
        &self.odd << self.twos
    }

    /// The nearest `f64`, to about one unit in the last place; 1.0 only for values within 2^-64 of it.
    pub fn as_f64(&self) -> f64 {
        let denominator = self.denominator();
        // Keep 64 bits of the denominator and as many as fit of the numerator: both fit an f64's range then.
        let excess = denominator.bits().saturating_sub(64);
        let scale = 64u64;
        let numerator: BigUint = (&self.numerator << scale) >> excess;
        let denominator: BigUint = denominator >> excess;
        let quotient = numerator.to_f64().unwrap_or(0.0) / denominator.to_f64().unwrap_or(1.0);
        quotient / 2f64.powi(64)
    }

    /// The sum.
    #[must_use]
    pub fn plus(&self, other: &Self) -> Self {
        let (a, b, odd, twos) = self.over_one_denominator(other);
        Self {
            numerator: a + b,
            odd,
            twos,
        }
        .reduced()
    }

    /// The difference; 0 where `other` is the larger.
    #[must_use]
    pub fn minus(&self, other: &Self) -> Self {
        let (a, b, odd, twos) = self.over_one_denominator(other);
        let numerator = if a > b { a - b } else { BigUint::zero() };
        Self {
            numerator,
            odd,
            twos,
        }
        .reduced()
    }

    /// The product with `n / d`.
    pub(crate) fn times(&self, n: u32, d: u32) -> Self {
        let twos = d.trailing_zeros();
        Self {
            numerator: &self.numerator * n,
            odd: &self.odd * (d >> twos),
            twos: self.twos + u64::from(twos),
        }
        .reduced()
    }

    fn over_one_denominator(&self, other: &Self) -> (BigUint, BigUint, BigUint, u64) {
        let twos = self.twos.max(other.twos);
        let a = &self.numerator << (twos - self.twos);
        let b = &other.numerator << (twos - other.twos);
        if self.odd == other.odd {
            return (a, b, self.odd.clone(), twos);
        }
        (a * &other.odd, b * &self.odd, &self.odd * &other.odd, twos)
    }

    fn reduced(mut self) -> Self {
        let Some(zeros) = self.numerator.trailing_zeros() else {
            return Self::zero();
        };
        let halvings = zeros.min(self.twos);
        self.numerator >>= halvings;
        self.twos -= halvings;
        if !self.odd.is_one() {
            let divisor = greatest_common_divisor(&self.odd, &self.numerator);
            self.numerator /= &divisor;
            self.odd /= &divisor;
        }
        self
    }
}

/// Euclid's. The first step brings a long numerator down to the size of the odd part.
fn greatest_common_divisor(a: &BigUint, b: &BigUint) -> BigUint {
    let (mut a, mut b) = (a.clone(), b.clone());
    while !b.is_zero() {
        let rest = a % &b;
        a = std::mem::replace(&mut b, rest);
    }
    a
}

impl Ord for Probability {
    fn cmp(&self, other: &Self) -> Ordering {
        let (a, b, ..) = self.over_one_denominator(other);
        a.cmp(&b)
    }
}

impl PartialOrd for Probability {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// `n/d`.
impl fmt::Display for Probability {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.numerator, self.denominator())
    }
}

impl fmt::Debug for Probability {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reduces_and_prints() {
        let half = Probability::one().times(1 << 30, 1 << 31);
        assert_eq!(half.to_string(), "1/2");
        assert_eq!(half.plus(&half).to_string(), "1/1");
        assert!(half.plus(&half).is_one());
        let sixth = half.times(1, 3);
        assert_eq!(sixth.to_string(), "1/6");
        assert_eq!(half.minus(&sixth).to_string(), "1/3");
        assert_eq!(
            half.plus(&sixth).plus(&sixth).plus(&sixth),
            Probability::one()
        );
        assert_eq!(sixth.minus(&half), Probability::zero());
        assert!(sixth.minus(&half).is_zero() && !sixth.is_zero());
        assert!(!half.is_one() && !sixth.is_one());
        assert!(sixth < half);
    }

    #[test]
    fn as_f64_is_close_however_long_the_fraction() {
        let mut p = Probability::one();
        for _ in 0..200 {
            p = p.times(2_147_483_646, 1 << 31);
        }
        assert!((p.as_f64() - (1.0 - 200.0 / f64::from(1u32 << 30))).abs() < 1e-12);
        assert_eq!(Probability::one().as_f64(), 1.0);
        assert_eq!(Probability::zero().as_f64(), 0.0);
        assert_eq!(Probability::one().times(1, 3).as_f64(), 1.0 / 3.0);
    }
}
