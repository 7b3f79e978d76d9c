//! The node's own addresses, in slots that no two of them share: whether an address is one of them is told without a branch that packets
//! in turn from here and from elsewhere would mispredict.

use super::Address;
use super::table::SPREAD;

/// Bits of a slot's number, at most.
const MOST_BITS: u32 = 12;

/// Multipliers that are tried for each number of slots.
const TRIES: u64 = 16;

/// A set of addresses. (Address 0, which is no ordinary one, stands in empty slots.)
#[derive(Clone, Debug)]
pub(super) struct Locals<A> {
    slots: Vec<A>,
    multiplier: u64,
    shift: u32,
    /// Too many addresses for this: any address may be one.
    is_crowded: bool,
}

impl<A: Address> Locals<A> {
    pub(super) fn new(addresses: &[A]) -> Self {
        for bits in 4..=MOST_BITS {
            for multiplier in (0..TRIES).map(|i| SPREAD.wrapping_add(i << 1)) {
                let mut locals = Self {
                    slots: vec![A::default(); 1 << bits],
                    multiplier,
                    shift: u64::BITS - bits,
                    is_crowded: false,
                };
                if addresses.iter().all(|address| locals.put(*address)) {
                    return locals;
                }
            }
        }
        Self {
            slots: vec![A::default()],
            multiplier: 0,
            shift: 0,
            is_crowded: true,
        }
    }

    /// Puts an address in its slot, if that is free.
    fn put(&mut self, address: A) -> bool {
        let at = self.slot(address);
        let is_free = self.slots[at] == A::default() || self.slots[at] == address;
        self.slots[at] = address;
        is_free
    }

    #[inline(always)]
    fn slot(&self, address: A) -> usize {
        (address.folded().wrapping_mul(self.multiplier) >> self.shift) as usize
    }

    /// Whether an ordinary address is one of these; where they are crowded, not for sure.
    #[inline(always)]
    pub(super) fn may_hold(&self, address: A) -> bool {
        (self.slots[self.slot(address)] == address) | self.is_crowded
    }

    /// Whether [`Self::may_hold`] is not for sure.
    #[inline(always)]
    pub(super) fn is_crowded(&self) -> bool {
        self.is_crowded
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn held(count: u32) -> usize {
        let address = |i: u32| u32::new(u128::from(0x0a00_0001 + 7 * i));
        let own: Vec<u32> = (0..count).map(address).collect();
        let locals = Locals::new(&own);
        assert!(own.iter().all(|address| locals.may_hold(*address)));
        (count..10_000)
            .filter(|i| locals.may_hold(address(*i)))
            .count()
    }

    #[test]
    fn other_addresses_are_told_apart_unless_there_are_too_many() {
        assert_eq!([0, 1, 5, 40].map(held), [0; 4]);
        assert_eq!(held(5_000), 5_000);
        let v6 = [1u128 << 100 | 2, 1 << 100 | 3].map(u128::new);
        let locals = Locals::new(&v6[..1]);
        assert!(locals.may_hold(v6[0]) && !locals.may_hold(v6[1]));
    }
}
