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
    slotting: Slotting,
}

/// Where an address stands.
#[derive(Clone, Copy, Debug)]
struct Slotting {
    multiplier: u64,
    shift: u32,
    /// Too many addresses for this: any address may be one.
    is_crowded: bool,
}

impl Slotting {
    #[inline(always)]
    fn slot<A: Address>(self, address: A) -> usize {
        (address.folded().wrapping_mul(self.multiplier) >> self.shift) as usize
    }
}

/// A set of addresses, for whoever asks of many.
#[derive(Clone, Copy, Debug)]
pub(super) struct Slots<'l, A> {
    slots: &'l [A],
    slotting: Slotting,
}

impl<A: Address> Slots<'_, A> {
    /// Whether an ordinary address is one of these, unless they are crowded.
    #[inline(always)]
    pub(super) fn hold(&self, address: A) -> bool {
        self.slots[self.slotting.slot(address)] == address
    }

    /// Whether [`Self::hold`] does not tell.
    #[inline(always)]
    pub(super) fn is_crowded(&self) -> bool {
        self.slotting.is_crowded
    }
}

impl<A: Address> Locals<A> {
    pub(super) fn new(addresses: &[A]) -> Self {
        for bits in 4..=MOST_BITS {
            for multiplier in (0..TRIES).map(|i| SPREAD.wrapping_add(i << 1)) {
                let slotting = Slotting {
                    multiplier,
                    shift: u64::BITS - bits,
                    is_crowded: false,
                };
                let slots = vec![A::default(); 1 << bits];
                let mut locals = Self { slots, slotting };
                if addresses.iter().all(|address| locals.put(*address)) {
                    return locals;
                }
            }
        }
        Self {
            slots: vec![A::default()],
            slotting: Slotting {
                multiplier: 0,
                shift: 0,
                is_crowded: true,
            },
        }
    }

    /// Puts an address in its slot, if that is free.
    fn put(&mut self, address: A) -> bool {
        let at = self.slotting.slot(address);
        let is_free = self.slots[at] == A::default() || self.slots[at] == address;
        self.slots[at] = address;
        is_free
    }

    #[inline(always)]
    pub(super) fn slots(&self) -> Slots<'_, A> {
        Slots {
            slots: &self.slots,
            slotting: self.slotting,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn held(count: u32) -> usize {
        let address = |i: u32| u32::new(u128::from(0x0a00_0001 + 7 * i));
        let own: Vec<u32> = (0..count).map(address).collect();
        let locals = Locals::new(&own);
        let may_hold = |address| locals.slots().is_crowded() || locals.slots().hold(address);
        assert!(own.iter().all(|address| may_hold(*address)));
        (count..10_000).filter(|i| may_hold(address(*i))).count()
    }

    #[test]
    fn other_addresses_are_told_apart_unless_there_are_too_many() {
        assert_eq!([0, 1, 5, 40].map(held), [0; 4]);
        assert_eq!(held(5_000), 5_000);
        let v6 = [1u128 << 100 | 2, 1 << 100 | 3].map(u128::new);
        let locals = Locals::new(&v6[..1]);
        let hold = |address| locals.slots().hold(address);
        assert!(hold(v6[0]) && !hold(v6[1]));
    }
}
